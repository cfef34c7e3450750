# Old clients write rows that cannot be converted, all the while a worker converts
# the others: none of them sees an error, each such row is known and none besides,
# and once they are mended the migration completes by itself and can be contracted.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PsqlPipe;
use Test::More;

my $seconds = $ENV{MIGRATE_DEFER_SECONDS} // 3;
my $rows = 10000;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;

# The long naptime shows that what completes does so for having been asked.
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.naptime = 1h
max_worker_processes = 16
autovacuum = off
CONF
$node->start;

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql);
}

sub wait_until
{
	my ($query, $what) = @_;
	ok($node->poll_query_until('postgres', $query), $what);
	return;
}

my $phase = "SELECT phase FROM migrate.progress WHERE migration = 'number'";

# What is stored, to compare with what is recorded.
sub is_known
{
	my ($database) = @_;
	is(sql("SELECT string_agg(row_key->>'id', ',' ORDER BY (row_key->>'id')::integer)
			FROM migrate.failures WHERE relation = 'readings'::regclass", $database),
		sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM readings WHERE row_version < 2", $database),
		'the rows that are left are those that are recorded');
	return;
}

sql("CREATE EXTENSION migrate;
	CREATE TABLE readings (id integer PRIMARY KEY, value text);
	INSERT INTO readings SELECT i, CASE WHEN i % 2500 = 0 THEN 'bad' ELSE i::text END
		FROM generate_series(1, $rows) i;
	SELECT migrate.define('number', 'readings', add => 'number integer', up => 'number = value::integer',
		down => 'value = number::text', remove => '{value}', on_error => 'defer')");

my $old = $node->basedir . '/old.sql';
append_to_file($old, <<"SQL");
\\set id random(1, $rows * 5 / 4)
\\set bad random(1, 30)
INSERT INTO readings VALUES (:id, CASE WHEN :bad = 1 THEN 'bad' ELSE :id::text END)
	ON CONFLICT (id) DO UPDATE SET value = EXCLUDED.value;
UPDATE readings SET value = value || CASE WHEN :bad = 2 THEN '' ELSE 'x' END WHERE id = :id + 1;
DELETE FROM readings WHERE id = :id + 2 AND :bad = 3;
SQL
my $new = $node->basedir . '/new.sql';
append_to_file($new, <<"SQL");
\\set id random(1, 2000000000)
INSERT INTO readings (id, number) VALUES ($rows * 2 + :id, 1) ON CONFLICT DO NOTHING;
SQL

# Slowly enough for the clients to meet the worker.
sql("ALTER SYSTEM SET migrate.max_rows_per_second = " . int($rows / $seconds));
sql('SELECT pg_reload_conf()');
sql("SELECT migrate.expand('number')");
$node->command_checks_all(
	[ 'pgbench', '-n', '-c', 6, '-j', 2, '-T', $seconds, '-f', "$old\@5", '-f', "$new\@1", 'postgres' ],
	0, [qr/number of failed transactions: 0/], [qr/^(?!.*ERROR).*$/s],
	'no client sees an error while rows are converted');
wait_until("SELECT ($phase) = 'failed'", 'the worker has left what cannot be converted');
cmp_ok(sql("SELECT count(*) FROM migrate.failures"), '>', 5, 'there are such rows');
is_known();
is(sql("SELECT state FROM migrate.status WHERE name = 'number'"), 'expanded', 'and they hold the migration back');
is(sql("SELECT ok FROM migrate.check_contract('number') WHERE check_name = 'rows'"), 'f', 'and the contract');

# A dump of that restores, and can be brought to its end there.
my $dump = $node->basedir . '/dump.sql';
command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
sql('ALTER SYSTEM SET migrate.autostart = off');
sql('SELECT pg_reload_conf()');
sql('CREATE DATABASE second');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('second') ],
	'restores without an error');
sql("INSERT INTO readings VALUES (-1, 'bad')", 'second');
sql("CALL migrate.run('readings')", 'second');
is_known('second');
sql("UPDATE readings SET value = '0' WHERE row_version < 2", 'second');
sql("CALL migrate.run('readings')", 'second');
is(sql("SELECT state FROM migrate.status WHERE name = 'number'", 'second'), 'complete', 'it completes there');

# Tried again, they fail again, new ones among them; mended, they are through.
sql('ALTER SYSTEM RESET migrate.autostart');
sql('ALTER SYSTEM RESET migrate.max_rows_per_second');
sql('SELECT pg_reload_conf()');
sql("INSERT INTO readings SELECT -i, 'bad' FROM generate_series(1, 500) i");
sql("SELECT migrate.retry('readings')");
wait_until("SELECT ($phase) = 'failed' AND NOT EXISTS (SELECT FROM migrate.failures WHERE attempts < 2)",
	'tried again');
is_known();
sql("DELETE FROM readings WHERE row_version < 2 AND id % 2 = 0");
is_known();
sql("UPDATE readings SET value = id::text WHERE row_version < 2");
is(sql("SELECT migrate.wait('number', '3min')"), 't', 'once all are mended or deleted it completes');
is(sql("SELECT count(*) FROM readings WHERE row_version < 2 OR number::text <> value OR number IS NULL"), '0',
	'and every row is converted');
my ($result, $stdout, $stderr) = $node->psql('postgres', "INSERT INTO readings VALUES (0, 'bad')");
like($stderr, qr/defers no more writes/, 'then a bad row is refused');
sql("SELECT migrate.contract('number', wait => '1min', skip => '{window,usage}')");
is(sql("SELECT state FROM migrate.status WHERE name = 'number'"), 'contracted', 'contracted');

# A table that was emptied has nothing to mend.
sql("CREATE TABLE emptied (id integer PRIMARY KEY, value text);
	SELECT migrate.define('emptied', 'emptied', up => \$\$value = (1 / length(value))::text\$\$, on_error => 'defer');
	SELECT migrate.expand('emptied'); INSERT INTO emptied VALUES (1, '')");
wait_until("SELECT phase = 'failed' FROM migrate.progress WHERE migration = 'emptied'", 'a row fails');
sql('TRUNCATE emptied');
sql("CALL migrate.run('emptied')");
is(sql("SELECT state FROM migrate.status WHERE name = 'emptied'"), 'complete', 'complete after TRUNCATE');

# Who writes to a referenced table for long does not have the end of deferring
# keep others from the table.
sql("CREATE TABLE kinds (id integer PRIMARY KEY); INSERT INTO kinds VALUES (1);
	CREATE TABLE things (id integer PRIMARY KEY, kind text); INSERT INTO things VALUES (1, '1');
	ALTER SYSTEM SET migrate.lock_timeout = '10s'; ALTER SYSTEM SET migrate.autostart = off");
sql('SELECT pg_reload_conf()');
sql("SELECT migrate.define('kind', 'things', add => 'kind_id integer REFERENCES kinds',
		up => 'kind_id = kind::integer', on_error => 'defer');
	SELECT migrate.expand('kind')");
my $writer = PsqlPipe->new($node->connstr('postgres'));
my $runner = PsqlPipe->new($node->connstr('postgres'));
$writer->query('BEGIN; INSERT INTO kinds VALUES (2)');
$runner->send("CALL migrate.run('things')");
wait_until("SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'things'::regclass AND granted
		AND mode = 'AccessExclusiveLock')", 'the end of deferring is tried');
is(sql("SET lock_timeout = '30s'; SELECT count(*) FROM things"), '1', 'and lets others through');
$writer->query('COMMIT');
$runner->receive;
is(sql("SELECT state FROM migrate.status WHERE name = 'kind'"), 'complete', 'it ends when it can');
$_->close for ($writer, $runner);

$node->stop;
done_testing();
