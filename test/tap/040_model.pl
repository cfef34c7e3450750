# Whatever is written in whichever form, through a table's whole life of migrations,
# reads in every form as a plain model says; also while rows are converted and
# several clients are at it at once.
#
# Environment: MIGRATE_MODEL_STEPS, how many statements for each table (default
# 2500); MIGRATE_MODEL_SEED, to repeat a run. On a failure the last statements are
# shown as a script.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use MigrationMaker;
use MigrationModel;
use PsqlPipe;
use TableTraffic;

my $steps = $ENV{MIGRATE_MODEL_STEPS} // 2500;
my $seed = $ENV{MIGRATE_MODEL_SEED} // int(rand(1_000_000_000));
note("seed $seed, $steps statements for each table");
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('model');
$node->init(extra => [ '--no-locale', '-E', 'UTF8' ]);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
fsync = off
CONF
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION migrate; ' . MigrationMaker::functions());

# Not every version of the extension takes a migration that works in place.
my ($status) = $node->psql('postgres', q{CREATE TABLE probe (a integer);
	SELECT migrate.define('probe', 'probe', up => 'a = abs(a)')}, on_error_die => 0);
my $mends = $status == 0;

sub chance { return rand() < $_[0]; }
sub pick { return $_[ int(rand(@_)) ]; }

# ---- tables: their columns are id, part, i0, s0 and note, in whatever order ----

my %tables = (
	plain => {
		sql => <<'SQL', conflict => ['id'], partitions => [] },
CREATE TABLE plain (id integer PRIMARY KEY, part integer, gone integer, i0 integer DEFAULT 5, s0 text,
	note text DEFAULT 'New');
ALTER TABLE plain DROP COLUMN gone;
SQL

	# Columns at other places in every partition; one is partitioned itself.
	parted => {
		sql => <<'SQL', conflict => [ 'id', 'part' ], partitions => [ 0, 1, 2 ] });
CREATE TABLE parted (id integer, part integer, i0 integer DEFAULT 5, s0 text, note text DEFAULT 'New',
	PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE parted_p0 PARTITION OF parted FOR VALUES IN (0);
CREATE TABLE parted_p1 (gone integer, note text DEFAULT 'New', s0 text, i0 integer DEFAULT 5, part integer NOT NULL,
	id integer NOT NULL, gone2 text);
ALTER TABLE parted_p1 DROP COLUMN gone, DROP COLUMN gone2;
ALTER TABLE parted ATTACH PARTITION parted_p1 FOR VALUES IN (1);
CREATE TABLE parted_p2 (s0 text, id integer NOT NULL, i0 integer DEFAULT 5, note text DEFAULT 'New', part integer NOT NULL)
	PARTITION BY RANGE (id);
CREATE TABLE parted_p2_low PARTITION OF parted_p2 FOR VALUES FROM (MINVALUE) TO (30);
CREATE TABLE parted_p2_high (note text DEFAULT 'New', gone integer, s0 text, id integer NOT NULL,
	i0 integer DEFAULT 5, part integer NOT NULL);
ALTER TABLE parted_p2_high DROP COLUMN gone;
ALTER TABLE parted_p2 ATTACH PARTITION parted_p2_high FOR VALUES FROM (30) TO (MAXVALUE);
ALTER TABLE parted ATTACH PARTITION parted_p2 FOR VALUES IN (2);
CREATE TABLE parted_rest PARTITION OF parted DEFAULT;
SQL

# With a trigger that sets a column, of whatever form it is told.
$tables{triggered} = {
	sql => <<'SQL', conflict => ['id'], partitions => [], has_trigger => 1 };
CREATE TABLE triggered (id integer PRIMARY KEY, part integer, i0 integer DEFAULT 5, s0 text, note text DEFAULT 'New');
CREATE FUNCTION set_column() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF current_setting('model.target') <> '' AND NEW.id % 3 = 0 THEN
			NEW := jsonb_populate_record(NEW, jsonb_build_object(current_setting('model.target'),
				nullif(current_setting('model.value'), '\N')));
		END IF;
		RETURN NEW;
	END $$;
CREATE TRIGGER set_column BEFORE INSERT OR UPDATE ON triggered FOR EACH ROW EXECUTE FUNCTION set_column();
SQL

# ---- running statements and comparing ----

my @log;
my %done;

sub show_script
{
	my ($why) = @_;
	diag("$why\n\nseed $seed; the last statements:\n");
	diag("$_;") foreach @log;
	return;
}

sub record
{
	push @log, $_[0];
	shift @log if @log > 60;
	return;
}

sub give_up
{
	show_script($_[0]);
	fail('the table is as the model');
	done_testing();
	exit 1;
}

sub compare
{
	my ($sql, $expected, $got) = @_;
	my @expected = sort @$expected;
	my @got = sort @$got;
	return if "@expected" eq "@got" && @expected == @got;
	my %got = map { $_ => 1 } @got;
	my %expected = map { $_ => 1 } @expected;
	give_up("$sql\nexpected and not got:\n"
		  . join('', map { "\t$_\n" } grep { !$got{$_} } @expected)
		  . "got and not expected:\n" . join('', map { "\t$_\n" } grep { !$expected{$_} } @got));
	return;
}

# Do to the model what the statement says: the rows expected, or a code.
sub apply
{
	my ($model, $statement) = @_;
	my $before = $model->snapshot;
	my @lines = eval { $statement->{code}->() };

	return { lines => (@lines == 1 && !defined $lines[0] ? undef : \@lines) } unless $@;
	die $@ unless ref $@;
	$model->restore($before);
	return { code => $@->{state} };
}

sub judge
{
	my ($sql, $expected, $lines, $error) = @_;
	my ($code) = ($error // '') =~ /ERROR:  (\w+):/;

	$done{statements}++;
	$done{failing}++ if $expected->{code};
	if ($expected->{code} || defined $error)
	{
		give_up("$sql\nfails: " . ($error // '(not)') . "\nexpected: " . ($expected->{code} // '(not)'))
		  unless $expected->{code} && defined $code && $code =~ /^(22P02|23505)$/;
		return;
	}
	compare($sql, $expected->{lines}, $lines) if $expected->{lines};
	return;
}

sub execute
{
	my ($psql, $model, $statement) = @_;
	record($statement->{sql});
	my $expected = apply($model, $statement);
	judge($statement->{sql}, $expected, $psql->query($statement->{sql}));
	return defined $expected->{code} ? 0 : 1;
}

sub must
{
	my ($psql, $sql) = @_;
	record($sql);
	my ($lines, $error) = $psql->query($sql);
	give_up("$sql\n$error") if defined $error;
	return @$lines;
}

# ---- a table's life ----

sub begin_life
{
	my ($name) = @_;
	my $model = MigrationModel->new(keys => [ 'id', 'part' ],
		columns => [ [ 'i0', 'i' ], [ 's0', 't' ], [ 'note', 't' ] ],
		defaults => { i0 => 5, note => 'New' });
	my $life = { name => $name, model => $model, maker => MigrationMaker->new(table => $name, mends => $mends),
		psql => PsqlPipe->new($node->connstr('postgres')), waiting => [], floor => 1 };

	@log = ($tables{$name}{sql});
	$node->safe_psql('postgres', $tables{$name}{sql});
	return $life;
}

sub traffic_of
{
	my ($life, @ids) = @_;
	return TableTraffic->new(table => $life->{name}, model => $life->{model},
		conflict => $tables{ $life->{name} }{conflict}, partitions => $tables{ $life->{name} }{partitions},
		floor => sub { $life->{floor} },
		oldest_form => sub {
			my %added = map { $_->[0] => 1 } map { @{ $_->{add} } } @{ $life->{model}{live} };
			return [ grep { !$added{$_} } @_ ];
		},
		ids => \@ids);
}

sub quoted { return "'" . ($_[0] =~ s/'/''/gr) . "'"; }

# Expand one that was rolled back, or a new one.
sub expand
{
	my ($life) = @_;
	my $migration = chance(0.7) ? pop @{ $life->{waiting} } : undef;

	if (!$migration)
	{
		return if @{ $life->{waiting} };
		$migration = $life->{maker}->next_migration($life->{model});
		must($life->{psql}, $life->{maker}->definition($migration));
	}
	must($life->{psql}, 'SELECT migrate.expand(' . quoted($migration->{name}) . ')');
	$life->{model}->expand($migration);
	$migration->{done}->();
	$done{expanded}++;
	return;
}

# The newest goes first. What was mended in place stays so where it is stored.
sub rollback
{
	my ($life, $traffic) = @_;
	my $migration = $life->{model}{live}[-1] or return;
	my @columns = map { $_->[0] } @{ $migration->{add} };

	return if $migration->{complete} && chance(0.7);
	must($life->{psql}, $_) foreach $traffic->forget_columns(@columns);
	must($life->{psql}, 'SELECT migrate.rollback(' . quoted($migration->{name}) . ', discard => true)');
	$life->{model}->rollback($migration);
	$migration->{undone}->();
	$migration->{complete} = 0;
	push @{ $life->{waiting} }, $migration;
	take_notes($life) if $migration->{in_place};
	$done{'rolled back'}++;
	return;
}

sub take_notes
{
	my ($life) = @_;
	my $rows = $life->{model}{rows};

	foreach my $line (must($life->{psql}, "SELECT id, note FROM $life->{name}"))
	{
		my ($id, $note) = split /\|/, $line, 2;
		$note = undef if $note eq '\N';
		give_up("note of row $id: $line") unless MigrationModel::same($rows->{$id}{note}, defined $note ? lc $note : undef);
		$rows->{$id} = { %{ $rows->{$id} }, note => $note };
	}
	return;
}

sub complete
{
	my ($life) = @_;
	must($life->{psql}, "CALL migrate.run('$life->{name}')");
	my @left = must($life->{psql}, 'SELECT name FROM migrate.status WHERE relation::text = '
		  . quoted($life->{name}) . " AND state = 'expanded'");
	give_up("not complete: @left") if @left;
	$_->{complete} = 1 foreach @{ $life->{model}{live} };
	$done{completed}++;
	return;
}

sub contract
{
	my ($life, $traffic) = @_;
	my $model = $life->{model};
	my $migration = pick(grep { $_->{complete} } @{ $model->{live} }) or return;

	# What another one uses must stay, and one that is waiting may want it.
	if ($model->users_of($migration, @{ $migration->{remove} }))
	{
		my ($lines, $error) = $life->{psql}->query('SELECT migrate.contract(' . quoted($migration->{name}) . ')');
		give_up("contract of $migration->{name} should be refused: " . ($error // 'not'))
		  unless ($error // '') =~ /55000/;
		return;
	}
	return if @{ $life->{waiting} };
	must($life->{psql}, $_) foreach $traffic->forget_columns(@{ $migration->{remove} });
	must($life->{psql}, 'SELECT migrate.contract(' . quoted($migration->{name}) . ", '10 s')");
	$model->contract($migration);
	$life->{floor} = $migration->{version} if $migration->{version} > $life->{floor};
	$done{contracted}++;
	return;
}

# Names that were joined again and again would be all that the test is about.
sub delete_giants
{
	my ($life) = @_;
	my @giants = grep { grep { defined && length > 6000 } values %$_ } $life->{model}->rows;

	return unless @giants;
	must($life->{psql}, "DELETE FROM $life->{name} WHERE id IN (" . join(', ', map { $_->{id} } @giants) . ')');
	$life->{model}->delete($_) foreach @giants;
	return;
}

sub change_state
{
	my ($life, $traffic) = @_;
	delete_giants($life);
	my $live = @{ $life->{model}{live} };
	my $draw = rand();

	if ($draw < 0.35 && $live < 5 || !$live) { expand($life); }
	elsif ($draw < 0.65) { must($life->{psql}, "CALL migrate.run('$life->{name}', max_rows => " . (1 + int(rand(20))) . ')'); }
	elsif ($draw < 0.78) { rollback($life, $traffic); }
	elsif ($draw < 0.88) { complete($life); }
	else { contract($life, $traffic); }
	execute($life->{psql}, $life->{model}, $traffic->read_all);
	return;
}

# Several statements of which some or all are taken back.
sub transaction
{
	my ($life, $traffic) = @_;
	my $before = $life->{model}->snapshot;
	my %prepared = %{ $traffic->{prepared} };

	must($life->{psql}, 'BEGIN' . pick('', ' ISOLATION LEVEL REPEATABLE READ', ' ISOLATION LEVEL SERIALIZABLE'));
	foreach (1 .. 1 + int(rand(4)))
	{
		my $saved = $life->{model}->snapshot;
		set_trigger($life, $traffic);
		my $statement = $traffic->next_statement;
		if ($statement->{sql} =~ /^(BEGIN|PREPARE)/)
		{
			$traffic->{prepared} = {%prepared};
			next;
		}
		must($life->{psql}, 'SAVEPOINT s');
		if (!execute($life->{psql}, $life->{model}, $statement) || chance(0.3))
		{
			must($life->{psql}, 'ROLLBACK TO s');
			$life->{model}->restore($saved);
		}
	}
	if (chance(0.5)) { must($life->{psql}, 'COMMIT'); }
	else
	{
		must($life->{psql}, 'ROLLBACK');
		$life->{model}->restore($before);
	}
	return;
}

sub set_trigger
{
	my ($life, $traffic) = @_;
	must($life->{psql}, $traffic->next_trigger) if $tables{ $life->{name} }{has_trigger};
	return;
}

sub one_client
{
	my ($name) = @_;
	my $life = begin_life($name);
	my $traffic = traffic_of($life, 0, 60);

	foreach my $step (1 .. $steps)
	{
		set_trigger($life, $traffic);
		if (chance(0.04)) { change_state($life, $traffic); }
		elsif (chance(0.05)) { transaction($life, $traffic); }
		else { execute($life->{psql}, $life->{model}, $traffic->next_statement); }
		execute($life->{psql}, $life->{model}, $traffic->read_all) if $step % 5 == 0;
	}
	complete($life) if @{ $life->{model}{live} };
	execute($life->{psql}, $life->{model}, $traffic->read_all);
	$life->{psql}->close;
	pass("$name: reads in every form are as the model says");
	return;
}

one_client($_) foreach sort keys %tables;

note(join ', ', map { "$done{$_} $_" } sort keys %done);
$node->stop;
done_testing();
