# Several clients change the same rows at once, in transactions of every isolation
# level, while rows are converted and migrations come and go: no change is lost,
# and every form of every row that anybody sees is as the changes before made it.
#
# Each row has a counter, which each change takes one further. So what committed
# can be put in order, row by row, and played to the model; and a row that
# somebody has seen says by its counter what it should have been. A change adds
# to what a column of some form reads as, so it is lost or wrong where that is.
#
# While the state changes clients keep to the columns that are there both before
# and after. When all are done the model is told of the changes, then of the state.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use IO::Select;
use PostgreSQL::Test::Utils;
use Test::More;

use MigrationMaker;
use ModelTest;
use PsqlPipe;

my ($node, $steps) = start_server(600);
my ($name, $model, $maker, $admin, $backfill, @clients, @changes, @sights, $converting);

# ---- transactions ----

# What may be added to a column: SQL, and the same for the model. NULL stays.
sub addition
{
	my ($column) = @_;
	my $type = $model->type($column);
	my $by = 1 + int(rand(20));

	return ("t.$column + $by", sub { $_[0] + $by }) if $type eq 'i';
	return ("'c' || (substr(t.$column, 2)::integer + $by)", sub { 'c' . (substr($_[0], 1) + $by) }) if $type eq 'x';
	return ("right(t.$column || '$by', 9)", sub { my $text = "$_[0]$by"; length $text > 9 ? substr($text, -9) : $text });
}

sub change
{
	my ($tag, $id, @columns) = @_;
	my $column = pick(@columns);
	my ($sql, $code) = addition($column);
	my $set = "$column = $sql, n = t.n + 1";
	my $returning = join ', ', "'$tag'", map { "t.$_" } 'id', 'n', @columns;
	my $insert = "INSERT INTO $name AS t (id, part, n) VALUES ($id, 0, 0) ON CONFLICT (id) DO UPDATE SET $set";
	my $update = "UPDATE $name t SET $set WHERE id = $id";

	return { sql => (chance(0.2) ? $insert : $update) . " RETURNING $returning", column => $column, code => $code };
}

sub look_at
{
	my ($tag, $id, @columns) = @_;
	my $what = join ', ', "'$tag'", 'id', 'n', @columns;
	my $lock = pick('', '', ' FOR UPDATE', ' FOR NO KEY UPDATE', ' FOR SHARE', ' FOR KEY SHARE', ' FOR UPDATE SKIP LOCKED');
	my $where = chance(0.5) ? "id = $id" : 'id % 4 = ' . $id % 4;

	return { sql => "SELECT $what FROM $name WHERE $where$lock" };
}

sub begin_transaction
{
	my ($client, @columns) = @_;
	my @statements = map {
		my ($tag, $id) = ($_, int(rand(8)));
		chance(0.7) ? change($tag, $id, @columns) : look_at($tag, $id, @columns)
	} 0 .. int(rand(4));
	my $sql = join '; ', 'BEGIN ISOLATION LEVEL ' . pick('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'),
		(map { $_->{sql} } @statements), 'COMMIT';

	record($sql);
	@{$client}{qw(busy statements columns)} = (1, \@statements, \@columns);
	$client->{psql}->send($sql);
	return;
}

# Others were in the way, or a number grew too large: then it did not happen.
sub end_transaction
{
	my ($client) = @_;
	my ($lines, $error) = $client->{psql}->receive;

	$client->{busy} = 0;
	if (defined $error)
	{
		my ($code) = $error =~ /ERROR:  (\w+):/;
		give_up($error) unless ($code // '') =~ /^(40001|40P01|22003|22P02)$/;
		return count_done('taken back');
	}
	foreach my $line (@$lines)
	{
		my ($tag, $id, $n, @values) = map { $_ eq '\N' ? undef : $_ } split /\|/, $line, -1;
		my $statement = $client->{statements}[$tag];
		my %seen;
		@seen{ @{ $client->{columns} } } = @values;
		push @sights, { id => $id, n => $n, seen => \%seen };
		push @changes, { %$statement, id => $id, n => $n } if $statement->{code};
	}
	return count_done('committed');
}

# ---- the model follows ----

sub compare_sights
{
	my ($row, @here) = @_;

	foreach my $sight (@here)
	{
		my @wrong = grep { !MigrationModel::same($sight->{seen}{$_}, $row->{$_}) } keys %{ $sight->{seen} };
		give_up("row $row->{id} at $row->{n}: " . join ', ', map {
			"$_ is " . ($sight->{seen}{$_} // 'NULL') . ', expected ' . ($row->{$_} // 'NULL') } @wrong) if @wrong;
	}
	return;
}

sub follow
{
	my (@names) = @_;
	my (%sights, %changes);
	push @{ $sights{ $_->{id} }{ $_->{n} } }, $_ foreach @sights;
	push @{ $changes{ $_->{id} } }, $_ foreach @changes;

	foreach my $id (sort { $a <=> $b } keys %{ $model->{rows} })
	{
		compare_sights($model->{rows}{$id}, @{ $sights{$id}{ $model->{rows}{$id}{n} } // [] });
		foreach my $change (sort { $a->{n} <=> $b->{n} } @{ $changes{$id} // [] })
		{
			my $row = $model->{rows}{$id};
			my ($column, $old) = ($change->{column}, $row->{ $change->{column} });
			give_up("row $id: change $change->{n} comes after $row->{n}") if $change->{n} != $row->{n} + 1;
			my $new = defined $old ? $change->{code}->($old) : undef;
			compare_sights($model->update($row, { $column => $new, n => $change->{n} }), @{ $sights{$id}{ $change->{n} } });
		}
	}
	(@sights, @changes) = ();
	my @columns = ('id', 'n', @names);
	execute($admin, $model, { sql => 'SELECT ' . join(', ', @columns) . " FROM $name",
		code => sub { return TableTraffic::lines_of(\@columns, $model->rows) } });
	return;
}

# ---- everybody at work ----

sub end_backfill
{
	my (undef, $error) = $backfill->receive;
	give_up("backfill: $error") if defined $error && $error !~ /55P03/;
	$converting = 0;
	return;
}

# Clients name some columns while the administrator does something; then all wait.
sub meanwhile
{
	my ($sql, @columns) = @_;
	my %owner = map { $_->{psql}->handle => $_ } @clients;
	my $select = IO::Select->new($admin->handle, $backfill->handle, map { $_->{psql}->handle } @clients);
	my $done = 0;

	record($sql);
	$admin->send($sql);
	while (!$done)
	{
		begin_transaction($_, @columns) foreach grep { !$_->{busy} } @clients;
		if (!$converting && $model->{live} && @{ $model->{live} })
		{
			$backfill->send("SET client_min_messages = error; CALL migrate.run('$name', max_rows => 1)");
			$converting = 1;
		}
		foreach my $handle ($select->can_read(60))
		{
			if ($handle == $backfill->handle) { end_backfill(); }
			elsif ($handle != $admin->handle) { end_transaction($owner{$handle}); }
			else
			{
				my (undef, $error) = $admin->receive;
				give_up("$sql\n$error") if defined $error;
				$done = 1;
			}
		}
	}
	end_transaction($_) foreach grep { $_->{busy} } @clients;
	end_backfill() if $converting;
	follow(@columns);
	return;
}

sub without { my ($gone) = @_; my %gone = map { $_ => 1 } @$gone; return grep { !$gone{$_} } $model->names; }

sub expand
{
	my $migration = $maker->next_migration($model);
	must($admin, $maker->definition($migration));
	meanwhile('SELECT migrate.expand(' . quoted($migration->{name}) . ')', without($migration->{mended}));
	$model->expand($migration);
	$migration->{done}->();
	return count_done('expanded');
}

sub rollback
{
	my $migration = $model->{live}[-1];
	return if @{ $migration->{mended} };
	my $sql = quoted($migration->{name});
	meanwhile("SELECT migrate.rollback($sql, discard => true)", without([ map { $_->[0] } @{ $migration->{add} } ]));
	must($admin, "SELECT migrate.forget($sql)");
	$model->rollback($migration);
	$migration->{undone}->();
	return count_done('rolled back');
}

sub contract
{
	my ($migration) = @{ $model->{live} };
	return if $model->users_of($migration, @{ $migration->{remove} });
	meanwhile("CALL migrate.run('$name')", $model->names);
	must($admin, "CALL migrate.run('$name')");
	my $sql = 'SELECT migrate.contract(' . quoted($migration->{name}) . ", '20 s', '{window,usage}')";
	# What derives or mends ends with it, so nobody must write meanwhile.
	if (@{ $migration->{mended} } || !@{ $migration->{remove} }) { must($admin, $sql); }
	else { meanwhile($sql, without($migration->{remove})); }
	$model->contract($migration);
	return count_done('contracted');
}

sub share
{
	my ($shape) = @_;
	my $rows = 'SELECT i, 0, 0, i * 3 - 5, $$Ann $$ || i, $$New$$ FROM generate_series(0, 7) AS i';

	$name = "shared_$shape";
	must($admin, "CREATE TABLE $name (id integer PRIMARY KEY, part integer, n integer, i0 integer DEFAULT 5,"
		  . " s0 text, note text DEFAULT 'New')" . ($shape eq 'parted' ? ' PARTITION BY RANGE (id)' : ''));
	if ($shape eq 'parted')
	{
		must($admin, "CREATE TABLE ${name}_1 (gone text, LIKE $name INCLUDING DEFAULTS); ALTER TABLE ${name}_1 DROP COLUMN gone;"
			  . " ALTER TABLE $name ATTACH PARTITION ${name}_1 FOR VALUES FROM (0) TO (4);"
			  . " CREATE TABLE ${name}_2 PARTITION OF $name FOR VALUES FROM (4) TO (100)");
	}
	must($admin, "INSERT INTO $name (id, part, n, i0, s0, note) $rows");
	$model = MigrationModel->new(keys => ['id'], columns => [ [ 'i0', 'i' ], [ 's0', 't' ], [ 'note', 't' ] ],
		defaults => { i0 => 5, note => 'New' });
	$model->put({ id => $_, part => 0, n => 0, i0 => $_ * 3 - 5, s0 => "Ann $_", note => 'New' }) foreach 0 .. 7;
	$maker = MigrationMaker->new(table => $name, plain => 1);

	my $from = statements();
	for (my $n = 0; $n < $steps / 100; $n++)
	{
		my $draw = rand();
		my $live = @{ $model->{live} };

		meanwhile('SELECT pg_sleep(0.05)', $model->names);
		if (!$live || $draw < 0.5 && $live < 4) { expand(); }
		elsif ($draw < 0.65) { rollback(); }
		elsif ($draw < 0.9) { contract(); }
		# Not REINDEX: beside transactions of several statements it deadlocks on any table.
		else { meanwhile(pick("VACUUM FULL $name", "ANALYZE $name"), $model->names); }
	}
	pass("$name: no change is lost, and every form is as the changes before made it");
	return;
}

$admin = PsqlPipe->new($node->connstr('postgres'));
$backfill = PsqlPipe->new($node->connstr('postgres'));
@clients = map { { psql => PsqlPipe->new($node->connstr('postgres')), busy => 0 } } 1 .. 4;
share($_) foreach qw(plain parted);
$_->close foreach $admin, $backfill, map { $_->{psql} } @clients;

note(count_done());
$node->stop;
done_testing();
