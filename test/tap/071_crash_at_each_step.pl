# The server is killed at each step of a contract, and of expand, of the work to
# completion and of rollback: what it had begun is as if it had never been, nothing is
# lost, and it can be done again. After the commit it is as done.
#
# The points at which to die need nothing in the library: each of these takes its
# steps by DDL, where event triggers are, and by changes of the extension's
# tables, on which a superuser can put triggers. The last of them fires in the commit.
#
# All steps of contract are tried, and some of the others'; all with ALL_STEPS=1.
# Which is decided by SEED.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $seed = $ENV{SEED} // time;
my $all = $ENV{ALL_STEPS};
srand($seed);
note("SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
restart_after_crash = off
fsync = off
CONF
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# ---- where to die ----

sql(<<'SQL');
CREATE EXTENSION migrate;
CREATE SCHEMA fault;
CREATE SEQUENCE fault.steps;
CREATE FUNCTION fault.step() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
	IF nextval('fault.steps') = current_setting('fault.at', true)::bigint THEN
		COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID';
	END IF;
END $$;
CREATE FUNCTION fault.on_event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM fault.step(); END';
CREATE FUNCTION fault.on_write() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM fault.step(); RETURN NULL; END';
GRANT USAGE ON SCHEMA fault TO PUBLIC;
SELECT format('CREATE TRIGGER fault AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH STATEMENT EXECUTE FUNCTION fault.on_write()', c.oid::regclass)
FROM pg_class c WHERE relnamespace = 'migrate'::regnamespace AND relkind = 'r'
\gexec
CREATE CONSTRAINT TRIGGER fault_at_commit AFTER INSERT ON migrate.event DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION fault.on_write();
CREATE EVENT TRIGGER fault_start ON ddl_command_start EXECUTE FUNCTION fault.on_event();
CREATE EVENT TRIGGER fault_end ON ddl_command_end EXECUTE FUNCTION fault.on_event();
CREATE EVENT TRIGGER fault_drop ON sql_drop EXECUTE FUNCTION fault.on_event();
SQL

# Its postmaster has ended, too, as soon as its file has gone.
sub start_again
{
	my $file = $node->data_dir . '/postmaster.pid';
	usleep(10_000) while -e $file;
	$node->stop('immediate', fail_ok => 1);
	$node->start;
	return;
}

# Run a statement that dies at its nth step; false where it has no such step.
sub dies_at
{
	my ($statement, $step) = @_;
	my ($status, undef, $err) = $node->psql('postgres',
		"SELECT setval('fault.steps', 1, false); SET fault.at = $step; $statement");

	return 0 if $status == 0;
	like($err, qr/server closed the connection|connection to server was lost|terminating connection/,
		"$statement dies at step $step") or diag($err);
	start_again();
	return 1;
}

sub steps_of { return sql("SELECT setval('fault.steps', 1, false); SET fault.at = 0; $_[0]; SELECT last_value FROM fault.steps") =~ s/.*\n//sr; }

# ---- what is to stay ----

sub state_of { return sql("SELECT state FROM migrate.status WHERE name = '$_[0]'"); }

# All that the catalogs say of the table and its migration.
sub shape_of
{
	my ($table) = @_;
	return sql(<<"SQL");
SELECT attname, atttypid::regtype, attisdropped FROM pg_attribute WHERE attrelid = '$table'::regclass AND attnum > 0 ORDER BY attnum;
SELECT tgname FROM pg_trigger WHERE tgrelid = '$table'::regclass ORDER BY 1;
SELECT conname, convalidated FROM pg_constraint WHERE conrelid = '$table'::regclass ORDER BY 1;
SELECT * FROM migrate.managed WHERE relation = '$table'::regclass;
SELECT name, state, version FROM migrate.migration WHERE relation = '$table'::regclass;
SELECT event FROM migrate.event WHERE migration = '$table' ORDER BY seq;
SQL
}

# What is in the table, by row: a is what the old form says, b is twice that.
my %rows;

# Writes in each form that the table has, and a look at all rows.
sub check_use
{
	my ($table, $forms, $name) = @_;
	my $id = 1 + int rand 100;

	if ($forms =~ /a/)
	{
		$rows{$id} += 1;
		sql("UPDATE $table SET a = a + 1 WHERE id = $id");
	}
	if ($forms =~ /b/)
	{
		$rows{$id} += 5;
		sql("UPDATE $table SET b = b + 10 WHERE id = $id");
	}
	my $expected = join "\n", map { $forms eq 'a' ? "$_|$rows{$_}"
			: $forms eq 'b' ? "$_|" . 2 * $rows{$_} : "$_|$rows{$_}|" . 2 * $rows{$_} }
		sort { $a <=> $b } keys %rows;
	my $columns = join ', ', 'id', split //, $forms;
	is(sql("SELECT $columns FROM $table ORDER BY id"), $expected, $name);
	return;
}

sub make_table
{
	my ($table) = @_;
	%rows = map { $_ => $_ } 1 .. 100;
	sql(<<"SQL");
CREATE TABLE $table (id integer PRIMARY KEY, a integer) WITH (fillfactor = 50);
INSERT INTO $table SELECT i, i FROM generate_series(1, 100) i;
SELECT migrate.define('$table', '$table', add => 'b integer CHECK (b < 1000000)', up => 'b = a * 2', down => 'a = b / 2', remove => '{a}');
SQL
	return;
}

# Which steps to try: the last is in the commit.
sub chosen
{
	my ($count, $some) = @_;
	return 1 .. $count if $all || !$some;
	my %steps = map { $_ => 1 } $count, map { 1 + int rand $count } 1 .. $some;
	return sort { $a <=> $b } keys %steps;
}

# Die at steps of a statement that is one transaction, and then do it.
sub try_steps
{
	my ($table, $statement, $some, $before, $after) = @_;
	my $count = steps_of("BEGIN; $statement; SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK");
	my $shape = shape_of($table);

	cmp_ok($count, '>', 5, "$statement has $count steps");
	foreach my $step (chosen($count, $some))
	{
		dies_at($statement, $step) or do { fail("$statement has a step $step"); next };
		is(shape_of($table), $shape, "and after step $step nothing is changed");
		check_use($table, $before, 'and the table is in use as before');
	}
	ok(!dies_at($statement, $count + 1), 'there is no other step');
	$node->psql('postgres', q{COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'});
	start_again();
	check_use($table, $after, 'once committed, it has happened');
	return;
}

# The work to completion commits as it goes.
sub try_completion
{
	my ($table) = @_;
	my $statement = "CALL migrate.run('$table')";
	my $step = 1;

	while (state_of($table) ne 'complete')
	{
		dies_at($statement, $step) or last;
		check_use($table, 'ab', "after step $step both forms are right");
		$step = $all ? $step + 1 : $step + 1 + int rand 6;
	}
	is(state_of($table), 'complete', 'in the end it is complete');
	return;
}

make_table('kept');
try_steps('kept', "SELECT migrate.expand('kept')", 3, 'a', 'ab');
try_completion('kept');
try_steps('kept', "SELECT migrate.contract('kept', skip => '{window,usage}')", 0, 'ab', 'b');
is(state_of('kept'), 'contracted', 'it is contracted');

make_table('undone');
sql("SELECT migrate.expand('undone')");
sql("CALL migrate.run('undone', 50)");
try_steps('undone', "SELECT migrate.rollback('undone')", 3, 'ab', 'a');
sql("SELECT migrate.expand('undone')");
sql("CALL migrate.run('undone')");
check_use('undone', 'ab', 'what was rolled back can be expanded and completed again');

$node->stop;
done_testing();
