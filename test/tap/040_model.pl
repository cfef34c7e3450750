# Whatever is written in whichever form, through a table's whole life of migrations,
# reads in every form as a plain model says.
#
# A life is some hundred steps on a table of one of several shapes, drawn from a
# seed of its own: MIGRATE_MODEL_SEED repeats it. MIGRATE_MODEL_CRASH=1 has the
# server crash now and then. A failure is cut down to the steps that matter.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use Test::More;

use MigrationMaker;
use ModelTest;
use TableLife;

my ($node, $steps) = start_server(120);
my ($life, $model, $maker, $traffic, @waiting);

sub step { return $life->step(@_); }
sub sql { my ($sql, $code) = @_; return step({ sql => $sql, code => $code // sub { return undef } }); }
sub on_name { my ($function, $migration, $more) = @_; return "SELECT migrate.$function(" . quoted($migration->{name}) . ($more // '') . ')'; }
sub live { return @{ $model->{live} }; }
sub is_complete { return $model->{complete}{ $_[0]{name} }; }

# ---- reading ----

sub read_all { return step($traffic->read_all); }

# Somebody has a snapshot and no lock on the table, and reads by it now and then.
my $reader_holds;

sub hold_snapshot
{
	return if $reader_holds;
	$reader_holds = 1;
	return step({ session => 'reader', sql => 'BEGIN ISOLATION LEVEL ' . pick('REPEATABLE READ', 'SERIALIZABLE')
		  . ' READ ONLY; SELECT 1', code => sub { $model->freeze('reader'); return '1' } });
}

sub read_by_snapshot
{
	return unless $reader_holds;
	my @columns = $traffic->all_columns;
	my $what = join ', ', @columns;

	return step({ session => 'reader', sql => "SAVEPOINT s; SELECT $what FROM $life->{name}; ROLLBACK TO s",
		code => sub { return TableTraffic::lines_of(\@columns, $model->frozen('reader')) } });
}

sub let_go
{
	return unless $reader_holds;
	read_by_snapshot();
	$reader_holds = 0;
	return step({ session => 'reader', sql => 'COMMIT', code => sub { $model->release('reader'); return () } });
}

# ---- changes of state ----

# A view of what the server has completed, and which constraints hold for all.
sub look
{
	return step({ sql => q{SELECT name, bool_or(phase) FROM (SELECT name, true AS phase FROM migrate.status WHERE state = 'complete'}
		  . q{ UNION ALL SELECT migration, false FROM migrate.added_constraint WHERE phase <> 'excused') s GROUP BY name},
		code => sub { return undef },
		then => sub {
			my ($lines) = @_;
			my %state = map { /^(.*)\|(.)$/ ? ($1 => $2) : () } @$lines;
			$model->{holds} = { map { $_ => 1 } keys %state };
			$model->{complete} = { map { $_ => 1 } grep { $state{$_} eq 't' } keys %state };
			return;
		} });
}

sub convert_some
{
	my ($max) = @_;
	my $sql = "CALL migrate.run('$life->{name}'" . (defined $max ? ", max_rows => $max)" : ')');

	$life->together(sub { sql("SET client_min_messages = error; $sql"); look(); });
	return;
}

# Expand one that was rolled back, or a new one.
sub expand
{
	my $again = chance(0.7) ? pop @waiting : undef;
	my $migration = $again;

	return if !$migration && @waiting;
	$life->together(sub {
		$migration //= $maker->next_migration($model);
		sql($maker->definition($migration)) unless $again;
		step({ sql => 'SELECT rows_failed FROM migrate.dry_run(' . quoted($migration->{name}) . ')',
			code => sub { return '0' } }) if chance(0.3) && !@{ $migration->{checks} // [] };
		if (chance(0.15))
		{
			sql('BEGIN', sub { push @{ $life->{saved} }, $model->snapshot; return () });
			sql(on_name('expand', $migration), sub { $model->expand($migration); return undef });
			read_all();
			sql('ROLLBACK', sub { $model->restore(pop @{ $life->{saved} }) if @{ $life->{saved} }; return () });
		}
		sql(on_name('expand', $migration), sub { $model->expand($migration); return undef });
	});
	$migration->{done}->();
	count_done('expanded');
	return;
}

# What was mended in place stays so where it is stored: the model is told.
sub take_notes
{
	my ($migration) = @_;
	my @columns = @{ $migration->{mended} };

	return step({ sql => 'SELECT ' . join(', ', 'id', @columns) . " FROM $life->{name}", code => sub { return undef },
		then => sub {
			my ($lines) = @_;
			my $rows = $model->{rows};
			foreach my $line (@$lines)
			{
				my ($id, @values) = map { $_ eq '\N' ? undef : $_ } split /\|/, $line, -1;
				my $row = $rows->{$id} or return "row $id is not known";
				my $stored = { %$row, map { $columns[$_] => $values[$_] } 0 .. $#columns };
				my $mended = MigrationModel::upgraded($stored, { %$migration, up =>
					[ grep { MigrationModel::is_in_place($migration, $_) } @{ $migration->{up} } ] });
				foreach my $column (@columns)
				{
					return "$column of row $id" unless MigrationModel::same($mended->{$column}, $row->{$column})
					  || MigrationModel::same($stored->{$column}, $row->{$column});
				}
				$rows->{$id} = $model->generate($stored);
			}
			return;
		} });
}

# The newest goes first.
sub rollback
{
	my ($migration) = reverse live() or return;
	my @columns = map { $_->[0] } @{ $migration->{add} };

	return if is_complete($migration) && chance(0.7);
	let_go() if @{ $migration->{mended} };
	$life->together(sub {
		sql($_) foreach $traffic->forget_columns(@columns);
		sql(on_name('rollback', $migration, ', discard => true'), sub { $model->rollback($migration); return undef });
		take_notes($migration) if @{ $migration->{mended} };
	});
	$migration->{undone}->();
	push @waiting, $migration;
	if (chance(0.2))
	{
		sql(on_name('forget', $migration = shift @waiting));
		%$migration = (%$migration, done => sub { });
	}
	count_done('rolled back');
	return;
}

# Rows that break a new form's constraints keep it from being complete.
sub mend_broken
{
	foreach (1 .. 5)
	{
		my %done;
		my @broken = grep { !$done{ $_->[0]{id} }++ } $model->broken or return 1;
		foreach (@broken)
		{
			my ($row, $check) = @$_;
			my ($column, $value) = @{$check}{qw(column good)};
			step({ sql => "SET model.target = ''; UPDATE $life->{name} SET $column = " . quoted($value) . " WHERE id = $row->{id}",
				code => sub {
					$model->{trigger} = undef;
					my $now = $model->{rows}{ $row->{id} } or return ();
					$model->update($now, { $column => $value });
					return () } });
		}
	}
	return !$model->broken;
}

sub complete
{
	return unless live();
	let_go();
	$life->together(sub {
		my $is_sound = mend_broken();
		foreach my $round (1 .. 2)
		{
			sql("SELECT migrate.retry('$life->{name}')");
			convert_some();
			last unless grep { !is_complete($_) } live();
		}
		return unless $is_sound;
		step({ sql => 'SELECT name FROM migrate.status WHERE relation IS NOT NULL AND '
			  . q{state = 'expanded' UNION ALL SELECT message FROM migrate.failures}, code => sub { return () } });
		count_done('completed');
	});
	return;
}

# CHECKs that earlier migrations left on columns which are going.
sub drop_checks
{
	my (@columns) = @_;
	my $names = join ', ', map { quoted($_) } @columns;

	return "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint c"
	  . " JOIN pg_attribute a ON attrelid = conrelid AND conkey = ARRAY[attnum]"
	  . " WHERE conrelid = '$life->{name}'::regclass AND contype = 'c' AND attname::text = ANY (ARRAY[$names]::text[]) \\gexec";
}

sub contract
{
	my $migration = pick(grep { is_complete($_) } live()) or return;
	my $rename = $migration->{rename} // {};

	# What another one uses must stay, and one that is waiting may want it.
	if ($model->users_of($migration, @{ $migration->{remove} }, keys %$rename))
	{
		return step({ sql => "DO \$\$ BEGIN PERFORM migrate.contract(" . quoted($migration->{name})
			  . ", skip => '{window,usage}'); RAISE 'contracted'; EXCEPTION WHEN object_not_in_prerequisite_state THEN END \$\$",
			code => sub { return () } });
	}
	return if @waiting;
	let_go();
	$life->together(sub {
		sql($_) foreach $traffic->forget_columns(@{ $migration->{remove} }, keys %$rename);
		sql(drop_checks(@{ $migration->{remove} }));
		sql(on_name('contract', $migration, ", '10 s', '{window,usage}'"), sub { $model->contract($migration); return undef });
	});
	$maker->renamed($_, $rename->{$_}) foreach keys %$rename;
	count_done('contracted');
	return;
}

# What others do to a table.
sub maintain
{
	my $name = $life->{name};
	my $is_plain = !@{ $life->{table}{partitions} };
	my $what = pick('VACUUM FULL', 'VACUUM', 'VACUUM (FREEZE)', 'ANALYZE', 'REINDEX TABLE', 'TRUNCATE',
		($is_plain ? 'CLUSTER' : 'DETACH'), 'pause');

	return if $what eq 'TRUNCATE' && chance(0.8);
	let_go() if $what =~ /TRUNCATE|DETACH|CLUSTER|FULL/;
	return detach() if $what eq 'DETACH';
	return sql("SELECT migrate.pause('$name'), migrate.resume('$name')") if $what eq 'pause' && live();
	return if $what eq 'pause';
	return sql("TRUNCATE $name", sub { $model->{rows} = {}; return () }) if $what eq 'TRUNCATE';
	return sql("CLUSTER $name USING ${name}_pkey") if $what eq 'CLUSTER';
	return sql("$what $name");
}

# A partition goes with the rows that it has, which the guard would not let it, and
# comes back. (Were a migration completed meanwhile, the server would not take it.)
sub detach
{
	$life->together(sub {
		sql("SET client_min_messages = error; SET migrate.guard = off;"
			. " ALTER TABLE $life->{name} DETACH PARTITION parted_p1; RESET migrate.guard", sub {
			my $rows = $model->{rows};
			$life->{away} = { map { $_ => $rows->{$_} } grep { $rows->{$_}{part} == 1 } keys %$rows };
			$model->{rows} = { map { $_ => $rows->{$_} } grep { !$life->{away}{$_} } keys %$rows };
			return () });
		read_all();
		sql("ALTER TABLE $life->{name} ATTACH PARTITION parted_p1 FOR VALUES IN (1)", sub {
			$model->{rows} = { %{ $model->{rows} }, %{ $life->{away} } };
			return () });
	});
	return;
}

sub crash
{
	$reader_holds = 0;
	$traffic->{prepared} = {};
	return step({ do => sub {
		my ($self) = @_;
		$node->stop('immediate');
		$node->start;
		$self->{sessions} = {};
		$self->{model}->release('reader');
		count_done('crashes');
		return } });
}

# Names that were joined again and again would be all that the test is about.
sub delete_giants
{
	foreach my $row (grep { grep { defined && length > 6000 } values %$_ } $model->rows)
	{
		step({ sql => "DELETE FROM $life->{name} WHERE id = $row->{id}",
			code => sub { delete $model->{rows}{ $row->{id} }; return () } });
	}
	return;
}

sub change_state
{
	my $draw = rand();

	delete_giants();
	crash() if $ENV{MIGRATE_MODEL_CRASH} && chance(0.05);
	hold_snapshot() if chance(0.1);
	if ($draw < 0.3 && live() < 6 || !live()) { expand(); }
	elsif ($draw < 0.55) { convert_some(1 + int(rand(15))); }
	elsif ($draw < 0.66) { rollback(); }
	elsif ($draw < 0.75) { complete(); }
	elsif ($draw < 0.85) { contract(); }
	else { maintain(); }
	read_by_snapshot() if chance(0.4);
	read_all();
	return;
}

# ---- statements ----

# With what the table's own trigger is to do with it.
sub statement
{
	my ($statement) = @_;
	return step($statement) unless $life->{table}{has_trigger};
	my ($set, $trigger) = $traffic->next_trigger;

	return step({ sql => "$set;\n$statement->{sql}",
		code => sub { $model->{trigger} = $trigger; return $statement->{code}->() } });
}

# Several statements of which some or all are taken back.
sub transaction
{
	my %prepared = %{ $traffic->{prepared} };
	my $save = sub { push @{ $life->{saved} }, $model->snapshot; return () };
	my $drop = sub { pop @{ $life->{saved} }; return () };
	my $back = sub { $model->restore($life->{saved}[-1]) if @{ $life->{saved} }; return () };
	my $restore = sub { $back->(); return $drop->() };

	$life->together(sub {
		sql('BEGIN' . pick('', ' ISOLATION LEVEL REPEATABLE READ', ' ISOLATION LEVEL SERIALIZABLE'), $save);
		foreach (1 .. 1 + int(rand(4)))
		{
			my $next = $traffic->next_statement;
			if ($next->{sql} =~ /^(BEGIN|PREPARE)/)
			{
				$traffic->{prepared} = {%prepared};
				next;
			}
			sql('SAVEPOINT s', $save);
			if (!statement($next) || chance(0.3)) { sql('ROLLBACK TO s', $restore); }
			else { sql('RELEASE s', $drop); }
		}
		if (chance(0.5)) { sql('COMMIT', $drop); }
		else { sql('ROLLBACK', $restore); }
	});
	return;
}

# ---- lives ----

my @shapes = qw(plain parted triggered generated);

sub live_once
{
	my ($seed) = @_;
	my $name = $shapes[ $seed % @shapes ];

	srand($seed);
	$model = new_model($name);
	$maker = MigrationMaker->new(table => $name);
	$traffic = new_traffic($name, $model, 0, 60);
	@waiting = ();
	$reader_holds = 0;
	$life = TableLife->new(node => $node, name => $name, table => table_of($name), model => $model);
	foreach my $n (1 .. $steps)
	{
		if (chance(0.09)) { change_state(); }
		elsif (chance(0.05)) { transaction(); }
		else { statement($traffic->next_statement); }
		read_all() if $n % 5 == 0;
	}
	complete();
	read_all();
	$life->end;
	return;
}

my $lives = 0;
for (; goes_on($lives, $ENV{MIGRATE_MODEL_LIVES} // 2 * @shapes); $lives++)
{
	live_once(seed());
	next_seed();
}
pass("reads in every form are as the model says in $lives lives");

note("seeds to " . (seed() - 1) . ': ' . count_done());
$node->stop;
done_testing();
