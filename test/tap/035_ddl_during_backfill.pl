# What people do to a table goes on working while a background worker converts it: it
# is renamed, moved, rewritten, given away, emptied; the worker carries on, and in the end every
# row is in both forms, those included that were written in between.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = 3000;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.naptime = 1s
migrate.max_rows_per_second = 200
migrate.target_batch_time = 20ms
allow_in_place_tablespaces = on
max_worker_processes = 16
fsync = off
autovacuum = off
CONF
$node->start;

sub sql { return $node->safe_psql('postgres', "SET client_min_messages = warning;\n$_[0]"); }

my $state = q{SELECT state FROM migrate.migration WHERE name = '%s'};
my $converted = q{SELECT coalesce(sum(rows_converted), 0) FROM migrate.backfill b JOIN migrate.migration m ON b.root = m.relation WHERE name = '%s'};

# The worker converts something after it was as far as this.
sub goes_on
{
	my ($name) = @_;
	my $before = sql(sprintf $converted, $name);
	return $node->poll_query_until('postgres', sprintf "SELECT ($converted) <> $before", $name);
}

sql("CREATE TABLESPACE elsewhere LOCATION ''");
sql(<<"SQL");
CREATE EXTENSION migrate;
CREATE ROLE first_owner;
CREATE ROLE second_owner;
CREATE SCHEMA app AUTHORIZATION first_owner;
GRANT ALL ON SCHEMA app, public TO first_owner, second_owner;
GRANT CREATE ON TABLESPACE elsewhere TO first_owner, second_owner;
SET ROLE first_owner;
CREATE TABLE app.t (id integer PRIMARY KEY, a integer);
INSERT INTO app.t SELECT i, i FROM generate_series(1, $rows) i;
SELECT migrate.define('t', 'app.t', add => 'b integer NOT NULL', up => 'b = a * 10', down => 'a = b / 10', remove => '{a}');
SELECT migrate.expand('t');
SQL

# Where the table is after each.
my @steps = (
	[ 'ALTER TABLE app.t RENAME TO "T, too"', 'app."T, too"' ],
	[ 'ALTER TABLE app."T, too" SET SCHEMA public', 'public."T, too"' ],
	[ 'ALTER TABLE "T, too" OWNER TO second_owner', 'public."T, too"' ],
	[ 'VACUUM FULL "T, too"', 'public."T, too"' ],
	[ 'CLUSTER "T, too" USING t_pkey', 'public."T, too"' ],
	[ 'REINDEX TABLE "T, too"', 'public."T, too"' ],
	[ 'REINDEX TABLE CONCURRENTLY "T, too"', 'public."T, too"' ],
	[ 'ALTER TABLE "T, too" SET TABLESPACE elsewhere', 'public."T, too"' ],
	[ 'ALTER TABLE "T, too" SET UNLOGGED', 'public."T, too"' ],
	[ 'ALTER TABLE "T, too" SET LOGGED, ADD extra integer DEFAULT 1', 'public."T, too"' ],
	[ 'ALTER TABLE "T, too" DISABLE TRIGGER ALL', 'public."T, too"' ],
	[ 'REASSIGN OWNED BY second_owner TO first_owner', 'public."T, too"' ],
	[ 'VACUUM "T, too"', 'public."T, too"' ],
	[ 'ALTER SCHEMA app RENAME TO renamed; ALTER TABLE "T, too" SET SCHEMA renamed', 'renamed."T, too"' ],
);
my $id = $rows;
for my $step (@steps)
{
	my ($command, $table) = @$step;
	goes_on('t');
	$node->safe_psql('postgres', $command);
	$id += 2;
	sql(sprintf 'INSERT INTO %s (id, a) VALUES (%d, %d); INSERT INTO %1$s (id, b) VALUES (%d, %d);
		UPDATE %1$s SET b = b + 10 WHERE id = %d; UPDATE %1$s SET a = a + 1 WHERE id = %d',
		$table, $id - 1, $id - 1, $id, $id * 10, $id - $rows, $rows - ($id - $rows));
	is(sql(sprintf $state, 't'), 'expanded', "midway: $command");
}
my $there = 'renamed."T, too"';
is(sql("SELECT count(*) FROM $there WHERE b = a * 10"), $id, 'every row reads in both forms');
sql('ALTER SYSTEM SET migrate.max_rows_per_second = 0');
sql('SELECT pg_reload_conf()');
ok($node->poll_query_until('postgres', "SELECT state = 'complete' FROM migrate.migration WHERE name = 't'"), 'the worker comes to an end');
is(sql("SELECT count(*), sum(a) FROM $there WHERE b = a * 10 AND row_version = 2"),
	$id . '|' . ($id * ($id + 1) / 2 + 2 * @steps), 'every row is in both forms, as it was written');
sql(q{SELECT migrate.contract('t', skip => '{window,usage}')});

# TRUNCATE, and rows that come after it
sql('ALTER SYSTEM SET migrate.max_rows_per_second = 100');
sql('SELECT pg_reload_conf()');
sql(q{CREATE TABLE emptied (id integer PRIMARY KEY, a integer);
	INSERT INTO emptied SELECT i, i FROM generate_series(1, 2000) i;
	SELECT migrate.define('emptied', 'emptied', add => 'b integer', up => 'b = a * 10', down => 'a = b / 10', remove => '{a}');
	SELECT migrate.expand('emptied')});
goes_on('emptied');
sql(q{BEGIN; TRUNCATE emptied; INSERT INTO emptied (id, a, row_version) VALUES (1, 1, 1), (2, 2, 1); COMMIT});
ok($node->poll_query_until('postgres', "SELECT state = 'complete' FROM migrate.migration WHERE name = 'emptied'"), 'a table that was emptied is completed');
is(sql('SELECT string_agg(id || chr(32) || b, chr(44) ORDER BY id) FROM emptied'), '1 10,2 20', 'with what came after');

$node->stop;
done_testing();
