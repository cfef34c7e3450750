# Several workers at one table, and at its partitions: each converts rows of its own,
# under traffic, after kills of one of them and of the server, with
# nothing lost, nothing done twice and the progress right at any time.

use strict;
use warnings;

use File::Basename;
use IPC::Run;
use lib dirname(__FILE__) . '/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PsqlPipe;
use Test::More;

my $rows = 200000 * ($ENV{MIGRATE_TEST_SCALE} // 1);

# With so small a cache, a heap of this size is worth dividing.
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.naptime = 1h
migrate.max_workers = 4
migrate.workers_per_table = 3
migrate.max_rows_per_second = 20000
shared_buffers = '8MB'
max_worker_processes = 16
restart_after_crash = on
autovacuum = off
CONF
$node->start;

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

sub set
{
	my ($name, $value) = @_;
	sql("ALTER SYSTEM SET $name = $value");
	sql('SELECT pg_reload_conf()');
	return;
}

sub wait_until
{
	my ($query, $what) = @_;
	ok($node->poll_query_until('postgres', $query), $what);
	return;
}

sub define
{
	my ($name) = @_;
	sql("SELECT migrate.define('$name', '$name', add => 'b integer', up => 'b = a * 10',
		down => 'a = b / 10', remove => '{a}'); SELECT migrate.expand('$name')");
	return;
}

# Each worker has a part in which it has got on.
sub are_at_work
{
	my ($name, $count, $what) = @_;
	wait_until("SELECT (SELECT workers FROM migrate.progress WHERE migration = '$name') = $count
		AND (SELECT count(*) FROM migrate.backfill WHERE root = '$name'::regclass AND rows_converted > 0
			AND phase = 'converting') >= $count", "$name: $count workers at as many parts $what");
	return;
}

# The parts are next to each other, from the first block to the last of the round.
sub parts_are_disjoint
{
	my ($name) = @_;
	is(sql("SELECT count(*) FROM (SELECT first_block, next_block, end_block, blocks_total, lead(first_block) OVER
			(PARTITION BY relation ORDER BY first_block) AS next FROM migrate.backfill WHERE root = '$name'::regclass) AS b
		WHERE first_block + blocks_total <> next OR end_block > next OR next_block < first_block"), 0,
		"$name: its parts are next to each other");
	return;
}

sub has_converted_each_once
{
	my ($name, $written) = @_;
	is(sql("SELECT migrate.wait('$name', '3min')"), 't', "$name: complete");
	my $converted = sql("SELECT substring(detail, '^\\d+') FROM migrate.history
		WHERE migration = '$name' AND event = 'complete'");
	$written ? cmp_ok($converted, '<=', $rows, "$name: no row was converted twice")
	  : is($converted, $rows, "$name: each row was converted once");
	is(sql("SELECT count(*), bool_and(b = a * 10), min(row_version) FROM $name"), "$rows|t|2",
		"$name: all are");
	is(sql("SELECT count(*) FROM pg_constraint WHERE conrelid = '$name'::regclass AND conname LIKE 'row_version%'
		AND NOT convalidated"), 0, "$name: it is proved");
	is(sql("SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace,
			LATERAL verify_heapam(c.oid::regclass) WHERE nspname = 'public' AND relkind = 'r'"), 0, "$name: its heap is sound");
	sql("SELECT bt_index_check(c.oid, true) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE nspname = 'public' AND relkind = 'i'");
	return;
}

sql('CREATE EXTENSION migrate; CREATE EXTENSION amcheck');

# -- One heap, written to all the time; the first of the workers, and one that
#    helps, are ended, and later the whole server.
sql("CREATE TABLE one (id integer PRIMARY KEY, a integer, pad text);
	INSERT INTO one SELECT i, i, repeat('x', 100) FROM generate_series(1, $rows) i");
my $script = $node->basedir . '/traffic.sql';
append_to_file($script, "\\set id random(1, $rows)\nUPDATE one SET a = a + 1 WHERE id = :id;\n");
my $pgbench;

sub begin_traffic
{
	$pgbench = IPC::Run::start([ 'pgbench', '-n', '-c', '2', '-T', '600', '-R', '200', '-f', $script,
			'-h', $node->host, '-p', $node->port, 'postgres' ], '<', \undef, '>', '/dev/null', '2>', '/dev/null');
	return;
}

begin_traffic();
define('one');
are_at_work('one', 3, 'under traffic');
parts_are_disjoint('one');
my $killed = sql("SELECT string_agg(pid::text, ' ') FILTER (WHERE pg_terminate_backend(pid))
	FROM pg_stat_activity WHERE backend_type = 'migrate worker'");
wait_until("SELECT count(*) >= 2 FROM pg_stat_activity WHERE backend_type = 'migrate worker'
	AND pid <> ALL (string_to_array('$killed', ' ')::integer[])", 'one: others come when they are ended');
are_at_work('one', 3, 'after that');

# A limit is one of the table, however many keep it.
my $pace = q{SELECT rows_converted, extract(epoch FROM clock_timestamp()) FROM migrate.progress WHERE migration = 'one'};
my ($rows_then, $then) = split /\|/, sql($pace);
my ($rows_now, $now) = split /\|/, sql("DO 'BEGIN PERFORM pg_sleep(1.5); END'; $pace");
cmp_ok($rows_now - $rows_then, '<=', ($now - $then) * 20000 * 1.3, 'one: no more rows in a second than the table may have');
cmp_ok($rows_now - $rows_then, '>', 0, 'one: and more than none');

my $pid = sql("SELECT min(pid) FROM pg_stat_activity WHERE backend_type = 'migrate worker'");
kill 'KILL', $pid;
$pgbench->finish;
# (A psql that is refused while the server restarts breaks the pipe to it.)
my $is_back;
for (1 .. 20)
{
	$is_back = eval { $node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid") };
	last if $is_back;
	sleep 1;
}
ok($is_back, 'one: the server is back after a kill');
begin_traffic();
are_at_work('one', 3, 'after a crash');
parts_are_disjoint('one');

# As many as the settings say, at any time.
set('migrate.workers_per_table', 1);
wait_until("SELECT workers = 1 FROM migrate.progress WHERE migration = 'one'", 'one: those beyond workers_per_table leave');
set('migrate.workers_per_table', 3);
are_at_work('one', 3, 'when more are allowed again');
set('migrate.max_workers', 2);
wait_until("SELECT workers = 2 FROM migrate.progress WHERE migration = 'one'", 'one: those beyond max_workers leave');
set('migrate.max_workers', 4);
are_at_work('one', 3, 'when more are allowed again');

# Paused is paused for all; and they leave for other tables.
sql("SELECT migrate.pause('one')");
my $before = sql("SELECT sum(rows_converted), sum(next_block) FROM migrate.backfill");
wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'migrate worker'", 'one: all leave when it is paused');
is(sql("SELECT sum(rows_converted), sum(next_block) FROM migrate.backfill"), $before, 'one: nothing is done then');
sql("SELECT migrate.resume('one')");
are_at_work('one', 3, 'when it goes on');
my $total = sql("SELECT blocks_total FROM migrate.progress WHERE migration = 'one'");
is(sql("SELECT sum(blocks_total), max(first_block + blocks_total) FROM migrate.backfill"), "$total|$total",
	'one: the sum of the parts is the whole');
set('migrate.max_rows_per_second', 0);
has_converted_each_once('one', 1);
$pgbench->signal('TERM');
$pgbench->finish;
is(sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 0, 'one: nothing is kept');

# -- Another file under several workers: it is begun again as one.
set('migrate.max_rows_per_second', 20000);
sql("CREATE TABLE two (id integer PRIMARY KEY, a integer, pad text);
	INSERT INTO two SELECT i, i, repeat('x', 100) FROM generate_series(1, $rows) i");
define('two');
are_at_work('two', 3, 'before it is rewritten');
sql('VACUUM FULL two');
wait_until("SELECT min(filenode) = max(filenode) AND max(filenode) = pg_relation_filenode('two') AND min(round) = 1
	AND max(round) = 1 FROM migrate.backfill WHERE root = 'two'::regclass", 'two: no part is of the old file');
are_at_work('two', 3, 'after it was');
parts_are_disjoint('two');

# -- migrate.run() beside them, and a table that has none while all are busy.
set('migrate.max_workers', 3);
sql("CREATE TABLE small (id integer PRIMARY KEY, a integer); INSERT INTO small SELECT i, i FROM generate_series(1, 10) i");
define('small');
is(sql("SELECT migrate.wait('small', '1min')"), 't', 'one that helps leaves for a table that has none');
cmp_ok(sql("CALL migrate.run('two', 3000)"), '>=', 3000, 'two: migrate.run() finds rows beside workers');
set('migrate.max_rows_per_second', 0);
sql("CALL migrate.run('two')");
set('migrate.max_workers', 4);
has_converted_each_once('two', 0);

# -- Partitions.
set('migrate.max_rows_per_second', 20000);
sql("CREATE TABLE many (id integer PRIMARY KEY, a integer, pad text) PARTITION BY HASH (id);
	SELECT format('CREATE TABLE many_%s PARTITION OF many FOR VALUES WITH (modulus 5, remainder %s)', i, i)
		FROM generate_series(0, 4) i \\gexec
	INSERT INTO many SELECT i, i, repeat('x', 100) FROM generate_series(1, $rows) i");
define('many');
are_at_work('many', 3, 'of partitions');
is(sql("SELECT count(*) FILTER (WHERE first_block > 0) FROM migrate.backfill WHERE root = 'many'::regclass"), 0,
	'many: partitions come before ranges of them');
$node->stop('immediate');
$node->start;
are_at_work('many', 3, 'after a restart');
set('migrate.max_rows_per_second', 0);
has_converted_each_once('many', 0);


# -- What is left when the first round ends is come back for by all.
sub make
{
	my ($name, $count, $where) = @_;
	sql("CREATE TABLE $name (id integer PRIMARY KEY, a integer, pad text) $where");
	sql("INSERT INTO $name SELECT i, i, repeat('x', 900) FROM generate_series(1, $count) i");
	return;
}

sub leave
{
	my ($name) = @_;
	sql("SELECT migrate.rollback('$name'); SELECT migrate.forget('$name')");
	return;
}

set('migrate.max_rows_per_second', 2000);
make('later', 16000, '');
sql("SELECT migrate.manage('later'); SELECT migrate.pause('later')");
define('later');
my $holder = PsqlPipe->new($node->connstr('postgres'));
$holder->query('BEGIN; SELECT count(*) FROM (SELECT FROM later FOR UPDATE) l');
sql("SELECT migrate.resume('later')");
wait_until("SELECT phase = 'waiting' FROM migrate.progress WHERE migration = 'later'", 'later: nobody waits for rows that others hold');
wait_until("SELECT workers = 1 FROM migrate.progress WHERE migration = 'later'", 'later: who has nothing to do leaves');
wait_until("SELECT sum(skipped) = 16000 FROM migrate.backfill WHERE root = 'later'::regclass", 'later: each row is left once in a round');
parts_are_disjoint('later');
$holder->query('ROLLBACK');
are_at_work('later', 3, 'of a later round');
is(sql("SELECT min(round) > 1 FROM migrate.backfill WHERE root = 'later'::regclass"), 't', 'later: it is one');

# -- migrate.run() takes a part while workers take the others.
my $runner = PsqlPipe->new($node->connstr('postgres'));
make('shared', 16000, '');
set('migrate.workers_per_table', 2);
define('shared');
are_at_work('shared', 2, 'beside a session');
$runner->send("SET migrate.max_rows_per_second = 2000; CALL migrate.run('shared')");
wait_until("SELECT count(DISTINCT l.pid) = 3 AND count(DISTINCT l.pid) FILTER (WHERE a.backend_type = 'client backend') = 1
	AND bool_and(b.rows_converted > 0) AND count(DISTINCT first_block) >= 3
	FROM migrate.backfill b JOIN pg_locks l ON l.locktype = 'advisory' AND l.classid = b.relation
		AND l.objid = b.first_block AND l.objsubid = 28017 JOIN pg_stat_activity a USING (pid)
	WHERE b.root = 'shared'::regclass", 'shared: a session and two workers have a part each');
set('migrate.max_rows_per_second', 0);
sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%CALL%shared%' AND pid <> pg_backend_pid()");
$runner->receive;
$_->close for $runner, $holder;
$rows = 16000;
has_converted_each_once($_, 0) for 'shared', 'later';
set('migrate.workers_per_table', 3);

# -- Hardly anything to divide.
make('empty', 0, '');
make('tiny', 1, '');
sql("CREATE TABLE hollow (id integer PRIMARY KEY, a integer, pad text) PARTITION BY HASH (id);
	CREATE TABLE hollow_0 PARTITION OF hollow FOR VALUES WITH (modulus 2, remainder 0);
	CREATE TABLE hollow_1 PARTITION OF hollow FOR VALUES WITH (modulus 2, remainder 1)");
define($_) for qw(empty tiny hollow);
is(sql("SELECT migrate.wait('$_', '1min')"), 't', "$_: complete") for qw(empty tiny hollow);
is(sql('SELECT b FROM tiny'), 10, 'tiny: its row is converted');

# -- Rows that are pruned instead.
make('pruned', 16000, '');
sql("CREATE TABLE old (LIKE pruned INCLUDING ALL); SELECT migrate.define('pruned', 'pruned', add => 'b integer', up => 'b = a * 10',
	down => 'a = b / 10', remove => '{a}')");
sql("SELECT migrate.manage('pruned'); SELECT migrate.set_prune('pruned', 'a % 2 = 0', 'old'); SELECT migrate.expand('pruned')");
is(sql("SELECT migrate.wait('pruned', '1min')"), 't', 'pruned: complete');
is(sql('SELECT count(*), count(*) FILTER (WHERE b = a * 10 AND a % 2 = 1), (SELECT count(*) FROM old), (SELECT count(DISTINCT id) FROM old)
	FROM pruned'), '8000|8000|8000|8000', 'pruned: each row is either converted or archived, once');

# -- The end of it all in the midst of it.
set('migrate.max_rows_per_second', 1000);
make($_, 16000, '') for qw(dropped undone);
define('dropped');
are_at_work('dropped', 3, 'before it is dropped');
sql('SET migrate.guard = off; DROP TABLE dropped');
wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'migrate worker'", 'dropped: its workers leave');
is(sql("SELECT count(*) FROM migrate.backfill b WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = b.root)"), 0,
	'dropped: nothing is left of it');
define('undone');
are_at_work('undone', 3, 'before it is rolled back');
leave('undone');
wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'migrate worker'", 'undone: its workers leave');
is(sql("SELECT count(*), sum(a) FROM undone"), '16000|128008000', 'undone: it is as it was');
is(sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 0, 'nothing is kept');

$node->stop;
done_testing();
