# The background workers: they start by themselves, stop when told to, and come
# back after whatever ended them, with nothing lost and nothing done twice.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $rows = 20000;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);

# The long naptime shows that nothing waits for it, unless a test says so.
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.naptime = 1h
max_worker_processes = 16
max_prepared_transactions = 10
restart_after_crash = on
autovacuum = off
CONF
$node->start;

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql);
}

sub set
{
	my ($name, $value) = @_;
	sql("ALTER SYSTEM SET $name = $value");
	sql('SELECT pg_reload_conf()');
	return;
}

sub create_table
{
	my ($name, $count, $database) = @_;
	sql("CREATE TABLE $name (id integer PRIMARY KEY, a integer);
		INSERT INTO $name SELECT i, i FROM generate_series(1, $count) i;
		SELECT migrate.define('$name', '$name', add => 'b integer', up => 'b = a * 10',
			down => 'a = b / 10', remove => '{a}')", $database);
	return;
}

sub expand
{
	my ($name, $database) = @_;
	sql("SELECT migrate.expand('$name')", $database);
	return;
}

sub is_completed
{
	my ($name, $count, $what, $database) = @_;
	is(sql("SELECT migrate.wait('$name', '3min')", $database), 't', "$what: complete");
	is(sql("SET enable_indexscan = off; SELECT count(*), sum(b) = sum(id) * 10, min(row_version)
		FROM $name", $database), "$count|t|2", "$what: every row is converted");
	is(sql("SELECT detail FROM migrate.history WHERE migration = '$name' AND event = 'complete'",
			$database), "$count rows converted in the background",
		"$what: the record of it agrees, each row was converted once");
	return;
}

sub wait_until
{
	my ($query, $what, $database) = @_;
	ok($node->poll_query_until($database // 'postgres', $query), $what);
	return;
}

# Half converted, and a worker at work on the other half.
sub is_halfway
{
	my ($name) = @_;
	wait_until("SELECT EXISTS (SELECT FROM migrate.progress WHERE migration = '$name'
		AND rows_converted BETWEEN 1 AND $rows - 1 AND workers = 1)", "$name is being converted");
	return;
}

sub worker_pid
{
	return sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'migrate worker'");
}

# -- By itself after expand; migrate.wait() does not hold up what it waits for.
sql('CREATE EXTENSION migrate');
create_table('first', $rows);
expand('first');
is_completed('first', $rows, 'after expand');
wait_until("SELECT count(*) = 0 FROM pg_stat_activity
	WHERE backend_type IN ('migrate worker', 'migrate database worker')",
	'the workers have left');
is(sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'migrate launcher'"), 1,
	'the launcher stays');

# -- Not before the commit, and not after a rollback.
create_table('undone', 10);
sql("BEGIN; SELECT migrate.expand('undone'); ROLLBACK");
is(sql("SELECT state FROM migrate.status WHERE name = 'undone'"), 'defined', 'a rollback leaves nothing');

# -- Two databases at once, hostile settings in one, a third without the
#    extension, a fourth that nobody may connect to; what is done can be dropped.
sql("CREATE DATABASE $_") for qw(second bare closed);
sql('ALTER DATABASE closed ALLOW_CONNECTIONS false');
sql('CREATE EXTENSION migrate', 'second');
create_table('other', $rows, 'second');
sql('CREATE ROLE powerless');
sql("ALTER DATABASE second SET $_")
  for "statement_timeout = '1ms'", "lock_timeout = '1ms'",
  "default_transaction_read_only = on", "default_transaction_isolation = 'serializable'",
  "search_path = 'nowhere'", "idle_in_transaction_session_timeout = '1ms'",
  "session_replication_role = replica", "row_security = off",
  "log_statement = 'all'", "role = 'powerless'", "idle_session_timeout = '1ms'",
  "default_transaction_deferrable = on", "quote_all_identifiers = on",
  "standard_conforming_strings = off", "array_nulls = off", "transform_null_equals = on",
  "DateStyle = 'SQL, DMY'", "extra_float_digits = -15", "lc_messages = 'C'",
  sql("SELECT count(*) FROM pg_settings WHERE name = 'transaction_timeout'") ? "transaction_timeout = '1ms'" : ();
# To undo a timeout by a SET may take longer than it allows.
my $has_transaction_timeout = sql("SELECT count(*) FROM pg_settings WHERE name = 'transaction_timeout'");
my $patient = '-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0'
  . ($has_transaction_timeout ? ' -c transaction_timeout=0' : '');
my $friendly = "SET default_transaction_read_only = off;
	SET default_transaction_isolation = 'read committed'; SET search_path = public;
	RESET ROLE; SET ROLE none; SET session_replication_role = origin;";
sub patiently { my ($statement) = @_; local $ENV{PGOPTIONS} = $patient; return sql("$friendly $statement", 'second'); }
create_table('one', $rows);
patiently("SELECT migrate.expand('other')");
expand('one');
is_completed('one', $rows, 'one of two databases');
is(patiently("SELECT migrate.wait('other', '3min')"), 't',
	'the other of two databases: complete, whatever the database is set to');
is(patiently('SELECT count(*) FROM other WHERE row_version = 2 AND b = id * 10'), $rows,
	'the other of two databases: every row is converted');
sql('DROP DATABASE second');

# -- Pause and resume.
set('migrate.max_rows_per_second', 1000);
create_table('held', $rows);
expand('held');
is_halfway('held');
sql("SELECT migrate.pause('held')");
wait_until("SELECT workers = 0 FROM migrate.progress WHERE migration = 'held'", 'paused: the worker leaves');
my $paused = sql("SELECT count(*) FROM held WHERE row_version = 2");
sql('SELECT pg_sleep(0.5)');
is(sql("SELECT count(*) FROM held WHERE row_version = 2"), $paused, 'paused: nothing is converted');
is(sql("SELECT phase FROM migrate.progress WHERE migration = 'held'"), 'paused', 'paused: it says so');
set('migrate.max_rows_per_second', 0);
sql("SELECT migrate.resume('held')");
is_completed('held', $rows, 'paused and resumed');

# -- SIGTERM ends a worker with its batch; another takes over.
set('migrate.max_rows_per_second', 1000);
create_table('ended', $rows);
expand('ended');
is_halfway('ended');
my $pid = worker_pid();
sql("SELECT pg_terminate_backend($pid)");
wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid", 'the worker ends on SIGTERM');
is_halfway('ended');
set('migrate.max_rows_per_second', 0);
is_completed('ended', $rows, 'after SIGTERM');

# -- kill -9 of the worker: the server restarts its processes, the work goes on.
set('migrate.max_rows_per_second', 1000);
create_table('killed', $rows);
expand('killed');
is_halfway('killed');
$pid = worker_pid();
kill 'KILL', $pid;
# (the server restarts: a psql that is refused breaks the pipe to it)
my $gone;
for (1 .. 20)
{
	$gone = eval { $node->poll_query_until('postgres',
			"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid") };
	last if $gone;
	sleep 1;
}
ok($gone, 'the worker is killed');
is_halfway('killed');
set('migrate.max_rows_per_second', 0);
is_completed('killed', $rows, 'after kill -9 of the worker');

# -- Crash of the whole server, and an orderly restart.
for my $mode (qw(immediate fast smart))
{
	set('migrate.max_rows_per_second', 1000);
	create_table($mode, $rows);
	expand($mode);
	is_halfway($mode);
	$node->stop($mode);
	$node->start;
	is_halfway($mode);
	set('migrate.max_rows_per_second', 0);
	is_completed($mode, $rows, "after a stop, $mode");
}

# -- An old snapshot holds completion back, and is named.
create_table('settling', 100);
my ($in, $out, $err) = ('', '', '');
my $session = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
	'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(180));
$in .= "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 'pid', pg_backend_pid();\n";
$session->pump until $out =~ /pid\|(\d+)/;
my ($holder) = $out =~ /pid\|(\d+)/;
expand('settling');
wait_until("SELECT throttled_by = 'a snapshot of process $holder' FROM migrate.progress
	WHERE migration = 'settling'", 'the holder of an old snapshot is named');
is(sql("SELECT migrate.wait('settling', '1ms')"), 'f', 'and the migration is not complete');
$in .= "COMMIT;\n\\q\n";
$session->finish;
is_completed('settling', 100, 'when the old snapshot has gone');

# -- More tables than workers.
set('migrate.max_workers', 1);
create_table("crowd_$_", 100) for 1 .. 4;
sql(join ';', map { "SELECT migrate.expand('crowd_$_')" } 1 .. 4);
is_completed("crowd_$_", 100, "one worker for four tables, table $_") for 1 .. 4;

# -- Switched off nothing happens, switched on it does.
set('migrate.autostart', 'off');
create_table('off', 100);
expand('off');
sql('SELECT pg_sleep(0.5)');
is(sql('SELECT count(*) FROM off WHERE row_version = 2'), 0, 'switched off: nothing is converted');
set('migrate.autostart', 'on');
is_completed('off', 100, 'switched on');

# -- What nobody announced, as a prepared transaction or a restored dump brings
#    it, is found by looking around.
create_table('found', 100);
sql("BEGIN; SELECT migrate.expand('found'); PREPARE TRANSACTION 'found'");
sql("COMMIT PREPARED 'found'");
sql('SELECT pg_sleep(0.5)');
is(sql('SELECT count(*) FROM found WHERE row_version = 2'), 0, 'not announced, not yet found');
set('migrate.naptime', q{'1s'});
is_completed('found', 100, 'found by looking around');
set('migrate.naptime', q{'1h'});

# -- A partition that is detached while it is worked on is let go.
set('migrate.max_rows_per_second', 1000);
sql("CREATE TABLE parted (id integer, a integer, k integer) PARTITION BY LIST (k);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
	CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
	INSERT INTO parted SELECT i, i, 1 + i / $rows FROM generate_series(1, $rows + 100) i;
	SELECT migrate.define('parted', 'parted', add => 'b integer', up => 'b = a * 10')");
my $log = -s $node->logfile;
expand('parted');
wait_until(q{SELECT next_block > 0 FROM migrate.backfill WHERE relation = 'parted_1'::regclass},
	'the first partition is worked on');
sql('SET migrate.guard = off; ALTER TABLE parted DETACH PARTITION parted_1');
is_completed('parted', 101, 'the other partition, once the first is detached');
unlike(slurp_file($node->logfile, $log), qr/terminated by signal/, 'without a crash');
set('migrate.max_rows_per_second', 0);

# -- A launcher that somebody ends comes back.
my $launcher = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'migrate launcher'};
my $ended = sql($launcher);
sql("SELECT pg_terminate_backend($ended)");
wait_until("SELECT pid <> $ended FROM ($launcher) AS launcher", 'the launcher comes back');

# -- Somebody asks for work while the launcher waits for a worker to come up; by the time
# that the launcher gets to run, the worker has come and gone, too.
set('migrate.usage_flush_interval', q{'1h'});
sql('CREATE DATABASE other');
sql('CREATE EXTENSION migrate', 'other');
create_table('asked', 10, $_) foreach 'postgres', 'other';
wait_until(q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type ~ '^migrate.*worker')}, 'no worker is there');
my ($here, $there) = map { $node->background_psql($_) } 'postgres', 'other';
my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
my $launcher_pid = sql($launcher);

sub until_there_is
{
	my ($query) = @_;
	foreach my $try (1 .. 1800) { return 1 if $here->query("SELECT ($query)::integer") eq '1'; usleep(100_000) }
	return 0;
}

kill 'STOP', $postmaster;
$here->query(q{SELECT migrate.expand('asked')});
ok(until_there_is(q{SELECT wait_event ILIKE 'BgWorkerStartup' FROM pg_stat_activity WHERE backend_type = 'migrate launcher'}),
	'the launcher waits for a worker to come up');
kill 'STOP', $launcher_pid;
$there->query(q{SELECT migrate.expand('asked')});
kill 'CONT', $postmaster;
ok(until_there_is(q{SELECT count(*) = 1 FROM migrate.migration WHERE name = 'asked' AND state = 'complete'
	AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type ~ '^migrate.*worker')}), 'the worker has come and gone');
kill 'CONT', $launcher_pid;
ok($node->poll_query_until('other', q{SELECT state = 'complete' FROM migrate.migration WHERE name = 'asked'}),
	'what was asked for meanwhile is not forgotten');
$_->quit foreach $here, $there;
set('migrate.usage_flush_interval', q{'10s'});

# -- On a standby nothing runs; once promoted it goes on where the primary was.
set('migrate.max_rows_per_second', 1000);
create_table('failover', $rows);
expand('failover');
is_halfway('failover');
$node->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'migrate%'"), 0,
	'on a standby nothing runs');
$node->stop('immediate');
$node = $standby;
$node->promote;
set('migrate.max_rows_per_second', 0);
is_completed('failover', $rows, 'after a failover');

done_testing();
