# Heap and indexes are sound, and no larger than a rewrite would leave them, after
# a conversion under traffic; after crashes in its midst; and on a standby. A
# session in migrate.wait() is not in its way, an old snapshot is, and is named.
#
# ROWS scales it up.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = $ENV{ROWS} || 20000;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.naptime = 1h
restart_after_crash = on
wal_keep_size = 2GB
autovacuum = off
CONF
$node->start;

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

sub wait_until
{
	my ($query, $what) = @_;
	ok($node->poll_query_until('postgres', $query), $what);
	return;
}

plan skip_all => 'amcheck is not installed'
  if sql("SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'") == 0;

sql('CREATE EXTENSION migrate; CREATE EXTENSION amcheck');

# Indexes of each kind, none of them on a new column; a row that will be toasted.
sub create_table
{
	my ($name) = @_;
	sql("CREATE TABLE $name (id integer PRIMARY KEY, name text, val integer, payload text,
			twice integer GENERATED ALWAYS AS (val * 2) STORED) WITH (fillfactor = 100);
		ALTER TABLE $name ALTER payload SET STORAGE EXTERNAL;
		INSERT INTO $name SELECT i, md5(i::text), i % 100, CASE WHEN i % 1000 = 0
			THEN (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 200) g)
			ELSE repeat(md5(i::text), 4) END FROM generate_series(1, $rows) i;
		CREATE INDEX ON $name (name);
		CREATE INDEX ON $name (upper(name)) WHERE val > 50;
		CREATE INDEX ON $name USING hash (name);
		CREATE INDEX ON $name USING brin (id);
		CREATE INDEX ON $name USING gin (to_tsvector('simple', name));
		CREATE INDEX ON $name USING gist (point(id, val));
		ALTER TABLE $name ADD EXCLUDE USING btree (twice WITH =, id WITH =);
		VACUUM ANALYZE $name;
		SELECT migrate.define('$name', '$name', add => 'name_norm text', up => 'name_norm = upper(name)',
			down => 'name = lower(name_norm)')");
	return;
}

sub expand
{
	my ($name) = @_;
	sql("SELECT migrate.expand('$name')");
	return;
}

sub is_sound
{
	my ($name, $what, $server) = @_;
	$server //= $node;
	is($server->safe_psql('postgres', "SELECT count(*) FROM verify_heapam('$name', check_toast => true)"),
		0, "$what: the heap is sound");
	$server->safe_psql('postgres', "SELECT bt_index_check(i.indexrelid, true) FROM pg_index i
		JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
		WHERE i.indrelid = '$name'::regclass AND a.amname = 'btree'");
	pass("$what: the B-trees are sound, and have every row");
	return;
}

sub is_converted
{
	my ($name, $what) = @_;
	is(sql("SELECT migrate.wait('$name', '5min')"), 't', "$what: complete");
	is(sql("SET enable_indexscan = off; SET enable_bitmapscan = off;
			SELECT count(*) FROM $name WHERE row_version < 2 OR name_norm IS DISTINCT FROM upper(name)"), 0,
		"$what: every row is converted");
	return;
}

sub index_sizes
{
	my ($name) = @_;
	return split /\|/, sql("SELECT pg_relation_size('$name'), pg_relation_size('${name}_pkey'),
		pg_relation_size('${name}_name_idx')");
}

# -- Alone: it ends at the size of a rewrite, while a session waits for it from the beginning.
create_table('alone');
my @before = index_sizes('alone');
expand('alone');
is_converted('alone', 'alone');
my @after = index_sizes('alone');
is_sound('alone', 'alone');
cmp_ok(sql("SELECT n_tup_hot_upd * 100 / n_tup_upd FROM pg_stat_user_tables WHERE relname = 'alone'"),
	'>=', 65, 'alone: most updates are HOT');
sql('VACUUM FULL alone');
my @rewritten = index_sizes('alone');
cmp_ok($after[0], '<=', $rewritten[0] * 1.1, 'alone: the heap is about what a rewrite leaves');
cmp_ok($after[1], '<=', $before[1] * 1.1, 'alone: the primary key has not grown');
cmp_ok($after[2], '<=', $before[2] * 1.15, 'alone: nor has the index on text');

# -- A wait that is part of something larger keeps what the rest of it reads.
sql("CREATE TABLE small (a integer); INSERT INTO small VALUES (1);
	CREATE TABLE other AS SELECT generate_series(1, 100);
	SELECT migrate.define('small', 'small', add => 'b integer', up => 'b = a');
	SELECT migrate.expand('small'); SELECT migrate.pause('small');
	CREATE FUNCTION awaited(OUT done boolean) STABLE LANGUAGE plpgsql AS
	'BEGIN FOR done IN SELECT migrate.wait(''small'') LOOP END LOOP; END'");
my ($larger, $said) = ('SELECT awaited(), (SELECT count(*) FROM other)', '');
my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $larger ],
	'<', \undef, '>', \$said, IPC::Run::timeout(180));
wait_until("SELECT count(*) = 1 FROM pg_stat_activity WHERE query = '$larger' AND wait_event = 'Extension'",
	'it waits within a query');
sql('DELETE FROM other');
sql('VACUUM other');
sql("SELECT migrate.resume('small')");
$session->finish;
is($said, "t|100\n", 'which goes on with what it saw from the beginning');

# -- An old snapshot: it is waited for, and named; then the table is as small.
create_table('held');
my $old = $node->background_psql('postgres');
$old->query_safe("SET application_name = 'the old one'");
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
expand('held');
wait_until("SELECT throttled_by LIKE 'an old snapshot of process % (%, the old one, %)'
	FROM migrate.progress WHERE migration = 'held'", 'held: it says by whom');
cmp_ok(sql("SELECT rows_converted * 100 / $rows FROM migrate.progress WHERE migration = 'held'"),
	'<', 50, 'held: it does not go on');
$old->query_safe('COMMIT');
is_converted('held', 'held');
@after = index_sizes('held');
cmp_ok($after[0], '<=', $rewritten[0] * 1.12, 'held: the heap is about what a rewrite leaves');
is_sound('held', 'held');

# -- The same where the operator would rather not wait.
sql("ALTER SYSTEM SET migrate.wait_for_horizon = off");
sql('SELECT pg_reload_conf()');
create_table('unheld');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
expand('unheld');
wait_until("SELECT rows_converted = $rows FROM migrate.progress WHERE migration = 'unheld'",
	'not to be held: it goes on');
$old->query_safe('COMMIT');
$old->quit;
is_converted('unheld', 'not to be held');
is_sound('unheld', 'not to be held');
sql('ALTER SYSTEM RESET migrate.wait_for_horizon');
sql('SELECT pg_reload_conf()');

# -- Under traffic, and crashes in its midst; a standby has the same.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = off\n");
$standby->start;

my $traffic = PostgreSQL::Test::Utils::tempdir() . '/traffic.sql';
append_to_file($traffic, <<"SQL");
\\set id random(1, $rows)
\\set new random($rows + 1, $rows * 10)
UPDATE busy SET val = val + 1 WHERE id = :id;
SELECT name_norm FROM busy WHERE id = :id;
INSERT INTO busy (id, name, val, payload) VALUES (:new, md5(:new::text), 1, 'new') ON CONFLICT DO NOTHING;
UPDATE busy SET name_norm = upper(md5(random()::text)) WHERE id = :id + 1;
DELETE FROM busy WHERE id = :new AND id % 2 = 0;
SQL

sub start_traffic
{
	return IPC::Run::start(
		[ 'pgbench', '-n', '-c', 3, '-T', 600, '-f', $traffic, $node->connstr('postgres') ],
		'>', \my $out, '2>', \my $err);
}

create_table('busy');
sql('ALTER SYSTEM SET migrate.max_rows_per_second = ' . $rows);
sql('SELECT pg_reload_conf()');
my $pgbench = start_traffic();
expand('busy');
for my $crash ('kill', 'immediate')
{
	my $converted = sql("SELECT coalesce(sum(rows_converted), 0) FROM migrate.progress");
	wait_until("SELECT rows_converted > $converted + $rows / 10 FROM migrate.progress WHERE migration = 'busy'",
		"$crash: the conversion is under way");
	sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'migrate worker'");
	if ($crash eq 'kill')
	{
		my $workers = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'migrate worker'";
		my $pid = '';
		# The one that was cancelled may be gone, and the next not there yet.
		while ($pid eq '')
		{
			wait_until("SELECT EXISTS ($workers)", 'kill: a worker is there');
			$pid = sql("$workers LIMIT 1");
		}
		kill 'KILL', $pid;
		for (1 .. 100)
		{
			last if eval { sql("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") eq '0' };
			select undef, undef, undef, 0.1;
		}
	}
	else
	{
		$node->stop('immediate');
		$node->start;
	}
	$pgbench->finish;
	$pgbench = start_traffic();
}
sql('ALTER SYSTEM RESET migrate.max_rows_per_second');
sql('SELECT pg_reload_conf()');
is_converted('busy', 'under traffic and crashes');
$pgbench->signal('TERM');
$pgbench->finish;
is_sound('busy', 'under traffic and crashes');
$node->wait_for_catchup($standby);
is_sound('busy', 'on the standby', $standby);
sql('VACUUM busy');
is_sound('busy', 'after VACUUM');

$standby->stop;
$node->stop;
done_testing();
