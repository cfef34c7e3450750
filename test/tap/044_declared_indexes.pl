# Declared indexes are built in the background, whatever comes in between.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.naptime = 1s
max_worker_processes = 16
migrate.wait_for_horizon = off
restart_after_crash = on
autovacuum = off
CONF
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION migrate');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub create
{
	my ($name, $rows) = @_;
	sql("CREATE TABLE $name (id integer PRIMARY KEY, a integer);
		INSERT INTO $name SELECT i, i FROM generate_series(1, $rows) i;
		SELECT migrate.define('$name', '$name', add => 'b integer', up => 'b = a * 10',
			down => 'a = b / 10', remove => '{a}')");
	return;
}

sub declare
{
	my ($name, $options) = @_;
	sql("BEGIN; SELECT migrate.expand('$name');
		SELECT migrate.create_index('$name', 'b'$options); COMMIT");
	return;
}

sub indexes
{
	my ($name) = @_;
	return sql("SELECT string_agg(c.relname || CASE WHEN i.indisvalid THEN '' ELSE ' (invalid)' END,
			' ' ORDER BY c.relname)
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		WHERE i.indrelid = '$name'::regclass AND NOT i.indisprimary");
}

# Wait for a completion. A wait that begins in the same moment as a building is
# told so, and to call again.
sub completed
{
	my ($name) = @_;
	my ($rc, $out, $err);
	do
	{
		($rc, $out, $err) = $node->psql('postgres', "SELECT migrate.wait('$name', '60s')");
	} while ($err =~ /wait for each other/);
	return $out . $err;
}

my $builder = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'migrate index builder'";

# Who waits for the completion holds a snapshot, for which a concurrent build
# would wait. Both kinds; the wait begins while there is nothing yet.
foreach my $stale ('', ', while_stale => true')
{
	my $name = $stale ? 'stale' : 'plain';

	create($name, 50000);
	declare($name, $stale);
	is(completed($name), 't', "$name: completed while somebody waits for it");
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_index WHERE indrelid = '$name'::regclass AND NOT indisprimary");
	is(indexes($name), "${name}_b_idx", "$name: the plain index is there, and no other");
}

# A statement that takes its snapshot, is then looked at by a builder, and only
# then says that it waits: each would wait for the other.
create('circle', 1000);
my ($lock_in, $lock_out, $lock_err) = ('', '', '');
my $timer = IPC::Run::timeout(120);
my $lock = IPC::Run::start(
	[ 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr('postgres') ],
	'<', \$lock_in, '>', \$lock_out, '2>', \$lock_err, $timer);
$lock_in .= "SELECT pg_advisory_lock(42);\nSELECT 'locked';\n";
$lock->pump until $lock_out =~ /locked/;
my ($wait_out, $wait_err) = ('', '');
my $waiter = IPC::Run::start(
	[ 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr('postgres'), '-c',
		"SELECT migrate.wait('circle') FROM (SELECT pg_advisory_lock(42) OFFSET 0) s" ],
	'<', \undef, '>', \$wait_out, '2>', \$wait_err, $timer);
$node->poll_query_until('postgres',
	"SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted)");
declare('circle', ', while_stale => true');
$node->poll_query_until('postgres', "SELECT EXISTS ($builder AND wait_event_type = 'Lock')");
$lock_in .= "\\q\n";
$lock->finish;
$waiter->finish;
like($wait_err, qr/wait for each other/, 'a wait that a building waits for is told so');
is(completed('circle'), 't', 'and then the building goes on');

# Nor is a wait passed by that is part of something larger: the rest may read by the index.
create('larger', 1000);
sql("SELECT migrate.expand('larger'); SELECT migrate.pause('larger')");
my $larger = q{DO $$ BEGIN PERFORM migrate.wait('larger'); END $$};
$waiter = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('postgres'), '-c', $larger ],
	'<', \undef, '>', \$wait_out, '2>', \$wait_err, $timer);
$node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'DO%larger%' AND wait_event = 'Extension'");
sql("SELECT migrate.create_index('larger', 'b'); SELECT migrate.resume('larger')");
$waiter->finish;
like($wait_err, qr/wait for each other.*Have the client send/s, 'a wait within a DO block is told so');
is(completed('larger'), 't', 'then it is built');

# An old snapshot holds the builder up; killed meanwhile, it leaves an invalid
# index, and the next one begins anew.
create('crash', 1000);
my ($in, $out, $err) = ('', '', '');
my $holder = IPC::Run::start(
	[ 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr('postgres') ],
	'<', \$in, '>', \$out, '2>', \$err, $timer);
$in .= "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 'held' FROM pg_class LIMIT 1;\n";
$holder->pump until $out =~ /held/;
declare('crash', ', while_stale => true');
$node->poll_query_until('postgres', "SELECT EXISTS ($builder AND wait_event_type = 'Lock')");
like(indexes('crash'), qr/invalid/, 'a concurrent build is held up by an old snapshot');
kill 'KILL', sql($builder);
$holder->finish;
# (psql may be gone before it is written to, while the server does not let it in.)
until (eval { $node->poll_query_until('postgres', 'SELECT true') }) { }
is(completed('crash'), 't', 'completed after the builder was killed');
$node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_index WHERE indrelid = 'crash'::regclass AND NOT indisprimary");
is(indexes('crash'), 'crash_b_idx', 'no invalid index is left behind');

# The index on what stale rows read as is dropped after completion. Who reads the table
# holds that up; killed meanwhile, its builder leaves it, and the next one drops it.
create('exchanged', 1000);
sql("BEGIN; SELECT migrate.expand('exchanged'); SELECT migrate.create_index('exchanged', 'b', while_stale => true);
	SELECT migrate.pause('exchanged'); COMMIT");
($in, $out) = ('', '');
$holder = IPC::Run::start(
	[ 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr('postgres') ],
	'<', \$in, '>', \$out, '2>', \$err, $timer);
$in .= "BEGIN; SELECT 'held' FROM exchanged LIMIT 1;\n";
$holder->pump until $out =~ /held/;
sql("SELECT migrate.resume('exchanged')");
is(completed('exchanged'), 't', 'a reader holds up no completion');
$node->poll_query_until('postgres', "SELECT EXISTS ($builder AND wait_event_type = 'Lock')");
like(indexes('exchanged'), qr/^!migrate_exchanged_b_idx \(invalid\) exchanged_b_idx$/, 'but the exchange of the index');
kill 'KILL', sql($builder);
$holder->finish;
until (eval { $node->poll_query_until('postgres', 'SELECT true') }) { }
$node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_index WHERE indrelid = 'exchanged'::regclass AND NOT indisprimary");
is(indexes('exchanged'), 'exchanged_b_idx', 'and after the kill of its builder that comes to its end');

# To roll back does not wait for the builder, nor it for the rollback.
create('undone', 1000);
($in, $out) = ('', '');
$holder = IPC::Run::start(
	[ 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr('postgres') ],
	'<', \$in, '>', \$out, '2>', \$err, $timer);
$in .= "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 'held' FROM pg_class LIMIT 1;\n";
$holder->pump until $out =~ /held/;
declare('undone', '');
$node->poll_query_until('postgres', "SELECT EXISTS ($builder)");
sql("SELECT migrate.rollback('undone')");
is(sql("SELECT state FROM migrate.status WHERE name = 'undone'"), 'rolled back',
	'rolled back under a builder that is held up');
is(indexes('undone'), '', 'and no index is left');
$in .= "COMMIT;\n\\q\n";
$holder->finish;

# From here on nobody looks again but who is told to.
sql('ALTER SYSTEM SET migrate.autostart = off');
sql('SELECT pg_reload_conf()');
$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type ~ '^migrate.*(worker|builder)')");

# A builder finds another that is about to leave, and leaves itself: who stays at it?
# One is stopped for a moment after its index was there, in any of the places that it passes by then.
create('turned_away', 300);
sql("SELECT migrate.expand('turned_away')");
sql(<<'SQL');
CREATE PROCEDURE declare_one(number integer) LANGUAGE plpgsql AS $$
DECLARE
	converted bigint;
	remaining bigint;
BEGIN
	PERFORM migrate.create_index('turned_away', format('(b + %s)', number), while_stale => true);
	COMMIT;
	CALL migrate.run('turned_away', 1, converted, remaining);
END $$;
CREATE PROCEDURE await(number integer) LANGUAGE plpgsql AS $$
DECLARE
	until timestamptz := clock_timestamp() + '30 s';
BEGIN
	WHILE number > (SELECT count(*) FROM pg_index WHERE indrelid = 'turned_away'::regclass AND indisvalid AND NOT indisprimary) LOOP
		COMMIT;
		IF clock_timestamp() > until THEN RAISE 'nobody builds index %', number; END IF;
	END LOOP;
END $$;
CREATE PROCEDURE turn_away(rounds integer) LANGUAGE plpgsql AS $$
DECLARE
	stop_short text := 'cat; (kill -STOP %1$s; sleep 0.1; kill -CONT %1$s) > /dev/null 2>&1 &';
	builder integer;
BEGIN
	FOR round IN 1 .. rounds LOOP
		CALL declare_one(2 * round - 1);
		CALL await(2 * round - 1);
		PERFORM pg_sleep(random() * 0.004);
		COMMIT;
		SELECT pid INTO builder FROM pg_stat_activity WHERE backend_type = 'migrate index builder';
		IF builder IS NOT NULL THEN
			EXECUTE format('COPY (SELECT) TO PROGRAM %L', format(stop_short, builder));
		END IF;
		CALL declare_one(2 * round);
		CALL await(2 * round);
		COMMIT;
	END LOOP;
END $$;
SQL
my $rounds = $ENV{ROUNDS} // 20;
my (undef, undef, $lost) = $node->psql('postgres', "CALL turn_away($rounds)", on_error_stop => 0);
is($lost, '', 'who turns another builder away sees to what that came for');

# The drop of the index on what stale rows read as needs a process, and none can come
# up: who runs the migration does not leave before one has.
create('not_come', 1000);
declare('not_come', ', while_stale => true');
sql("CALL migrate.run('not_come', 1)");
$node->poll_query_until('postgres', "SELECT bool_and(indisvalid) AND count(*) = 2 FROM pg_index WHERE indrelid = 'not_come'::regclass");
my $old = $node->background_psql('postgres');
$old->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');
my $runner = $node->background_psql('postgres');
$runner->query(q{SET migrate.lock_timeout = '60s'});
$runner->query_until(qr/begun/, "\\echo begun\nCALL migrate.run('not_come');\n\\echo ended\n");
$node->poll_query_until('postgres', "SELECT EXISTS ($builder AND wait_event_type = 'Lock')");
my $in_the_way = $node->background_psql('postgres');
$in_the_way->query_until(qr/begun/, "\\echo begun\nBEGIN;\nLOCK not_come IN SHARE UPDATE EXCLUSIVE MODE;\n");
$node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'not_come'::regclass AND NOT granted)");
$old->query('COMMIT');
is($in_the_way->query('SELECT 1'), 1, 'the plain index is there, and the proof is not');
$node->poll_query_until('postgres', "SELECT NOT EXISTS ($builder)");
my $logged = -s $node->logfile;
$node->safe_psql('template1', 'ALTER DATABASE postgres ALLOW_CONNECTIONS false');
$in_the_way->query('COMMIT');
$node->wait_for_log(qr/not currently accepting connections/, $logged);
$node->safe_psql('template1', 'ALTER DATABASE postgres ALLOW_CONNECTIONS true');
$runner->query_until(qr/ended/, '');
ok($node->poll_query_until('postgres', "SELECT count(*) = 2 FROM pg_index WHERE indrelid = 'not_come'::regclass"),
	'and the index for stale rows is dropped though its builder came late');
$_->quit foreach $old, $runner, $in_the_way;

$node->stop;
done_testing();
