# Read repair: rows that are read are converted by the background worker before
# others, whatever the pace.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;

# At this pace the worker would be at the table for an hour.
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.naptime = 1h
migrate.max_rows_per_second = 20
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

sql(q(CREATE EXTENSION migrate));
sql("CREATE TABLE t (id integer PRIMARY KEY, a text, filler char(500) DEFAULT '');
	INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 36000) i;
	SELECT migrate.define('m', 't', add => 'b text', up => 'b = upper(a)')");
sql("SELECT migrate.expand('m')");
wait_until('SELECT count(*) > 0 FROM t WHERE row_version = 2 AND id < 1000',
	'the worker has begun at the beginning');

# The reader need not stay: the note outlives its session.
is(sql('SELECT b FROM t WHERE id IN (35000, 36000) ORDER BY id'), "ROW 35000\nROW 36000",
	'rows at the end are read');
wait_until('SELECT min(row_version) = 2 FROM t WHERE id IN (35000, 36000)',
	'they are converted');
is(sql('SELECT count(*) FROM t WHERE row_version = 2 AND id BETWEEN 15000 AND 20000'), 0,
	'and those of the middle are not');
is(sql('SELECT blocks_done < blocks_total / 10 AND rows_repaired BETWEEN 2 AND rows_converted
		FROM migrate.progress'), 't', 'the progress shows it');

# Reads that meet more than can be noted do not harm.
is(sql('SELECT count(b) FROM t'), 36000, 'every row is read');
sql('ALTER SYSTEM SET migrate.max_rows_per_second = 0');
sql('SELECT pg_reload_conf()');
is(sql("SELECT migrate.wait('m', '3min')"), 't', 'complete');
is(sql("SELECT detail FROM migrate.history WHERE migration = 'm' AND event = 'complete'"),
	'36000 rows converted in the background', 'each row was converted once');

$node->stop;
done_testing();
