# What is recorded of rows that fail stays recorded when they are read while the round
# that has found them is not over.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PsqlPipe;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
migrate.lock_timeout = 1h
migrate.target_batch_time = 1min
migrate.read_repair = on
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

sub failures
{
	my ($table) = @_;
	return sql("SELECT string_agg(row_key->>'id', ',' ORDER BY (row_key->>'id')::integer)
		FROM migrate.failures WHERE relation = '$table'::regclass");
}

sub expand
{
	my ($table, $up) = @_;
	sql("SELECT migrate.define('$table', '$table', add => 'n integer', up => 'n = $up',
			down => 'v = n::text', remove => '{v}', on_error => 'defer');
		SELECT migrate.expand('$table')");
	return;
}

sql('CREATE EXTENSION migrate');
my $runner = PsqlPipe->new($node->connstr('postgres'));
my $holder = PsqlPipe->new($node->connstr('postgres'));

# The pass has gone by the row, and the window is still open when the row is read.
sql("CREATE TABLE passed (id integer PRIMARY KEY, v text, filler char(500) DEFAULT '');
	INSERT INTO passed SELECT i, CASE WHEN i IN (1, 391) THEN 'bad' ELSE i::text END FROM generate_series(1, 392) i");
expand('passed', 'v::integer');
$holder->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(v) FROM passed');
$runner->send("CALL migrate.run('passed')");
wait_until("SELECT EXISTS (SELECT FROM migrate.progress WHERE migration = 'passed' AND throttled_by LIKE '%snapshot of process%')",
	'the window waits');
is(failures('passed'), '1,391', 'the rows that fail have been found');
my ($result, $stdout, $stderr) = $node->psql('postgres', 'SELECT n FROM passed WHERE id = 391');
like($stderr, qr/invalid input syntax/, 'one is read');
is(sql('SELECT n FROM passed WHERE id = 100'), '100', 'and another that is stale');
wait_until("SELECT rows_repaired > 0 FROM migrate.progress WHERE migration = 'passed'", 'what was noted is converted');
$holder->query('COMMIT');
is_deeply([ $runner->receive ], [ ['390|2'], undef ], 'then the others');
is(failures('passed'), '1,391', 'they are still recorded');

# A window that waits has been gone over, however few rows a batch has time for.
sql("CREATE FUNCTION slowly(v text) RETURNS integer LANGUAGE plpgsql STABLE AS
		'BEGIN PERFORM pg_sleep(0.001); RETURN v::integer; END';
	CREATE TABLE short (id integer PRIMARY KEY, v text, filler char(500) DEFAULT '');
	INSERT INTO short SELECT i, CASE WHEN i IN (1, 391) THEN 'bad' ELSE i::text END FROM generate_series(1, 392) i");
expand('short', 'slowly(v)');
$holder->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(v) FROM short');
$runner->send("SET migrate.target_batch_time = '1ms'; CALL migrate.run('short')");
wait_until("SELECT EXISTS (SELECT FROM migrate.progress WHERE migration = 'short' AND throttled_by LIKE '%snapshot of process%')",
	'short batches: the window waits');
is(failures('short'), '1,391', 'short batches: all rows that fail have been found');
$holder->query('COMMIT');
is_deeply([ $runner->receive ], [ ['390|2'], undef ], 'short batches: then the others are converted');

$_->close for ($runner, $holder);
$node->stop;
done_testing();
