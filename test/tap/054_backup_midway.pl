# A base backup that is taken while rows are converted, and recovery to a point in the
# middle of that: each has the rows of its point in time, what is recorded of the
# backfill is true of them, and the work is gone on with.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = 20000;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(has_archiving => 1, allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.naptime = 1s
migrate.max_rows_per_second = 2000
autovacuum = off
CONF
$node->start;

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

sql(<<"SQL");
CREATE EXTENSION migrate;
CREATE TABLE t (id integer PRIMARY KEY, a text);
INSERT INTO t SELECT i, i::text FROM generate_series(1, $rows) i;
CREATE TABLE note (text text);
SELECT migrate.define('t', 't', add => 'b integer', up => 'b = a::integer', down => 'a = b::text', remove => '{a}');
SELECT migrate.expand('t');
SQL

# As it is stored: how many rows the backfill has converted, and how many it says it has.
my $stored = q{SELECT (SELECT count(*) FROM t WHERE row_version = 2 AND id > 0) AS are,
	(SELECT coalesce(sum(rows_converted + rows_repaired), 0) FROM migrate.backfill) AS said};

sub wait_for_more
{
	my ($than) = @_;
	ok($node->poll_query_until('postgres', "SELECT said > $than FROM ($stored) s"), "more than $than rows are converted");
	return;
}

# ---- from a backup that is begun and ended in the middle

wait_for_more(0);
sql(q{INSERT INTO note VALUES ('before the backup')});
my $before = sql("SELECT said FROM ($stored) s");
$node->backup('midway', backup_options => [ '--checkpoint=fast' ]);
wait_for_more($before);

# ---- a point in time: a row written before it in each form, and after it

sql(q{INSERT INTO t (id, a) VALUES (-1, '-1'); INSERT INTO t (id, b) VALUES (-2, -2);
	INSERT INTO note VALUES ('before the point')});
sql(q{SELECT pg_create_restore_point('midway')});
sql(q{INSERT INTO note VALUES ('after the point'); UPDATE t SET a = '-3' WHERE id = -1; DELETE FROM t WHERE id = -2});
wait_for_more(sql("SELECT said FROM ($stored) s"));
sql('SELECT pg_switch_wal()');		# (a fast stop waits for the archiver)
$node->stop;

my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'midway', has_restoring => 1, standby => 0);
$restored->append_conf('postgresql.conf', <<'CONF');
recovery_target_name = 'midway'
recovery_target_action = 'promote'
archive_mode = off
migrate.autostart = off
CONF
$restored->start;
ok($restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'restored to a point in time');
is($restored->safe_psql('postgres', 'SELECT string_agg(text, $$, $$ ORDER BY text) FROM note'),
	'before the backup, before the point', 'which is the one');
is($restored->safe_psql('postgres', "SELECT are = said AND said > $before AND said < $rows FROM ($stored) s"),
	't', 'rows are converted as far as is recorded');
is($restored->safe_psql('postgres', 'SELECT count(*), sum(b - a::integer), sum(b) FROM t'),
	join('|', $rows + 2, 0, $rows * ($rows + 1) / 2 - 3), 'all read right');
$restored->append_conf('postgresql.conf', "migrate.autostart = on\nmigrate.max_rows_per_second = 0");
$restored->reload;
ok($restored->poll_query_until('postgres', q{SELECT state = 'complete' FROM migrate.status}), 'and the work is gone on with');
is($restored->safe_psql('postgres', 'SELECT count(*), min(row_version), sum(b - a::integer), sum(b) FROM t'),
	join('|', $rows + 2, 2, 0, $rows * ($rows + 1) / 2 - 3), 'to its end');
$restored->stop;

# ---- the backup by itself

my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'midway');
$copy->append_conf('postgresql.conf', "archive_mode = off\nmigrate.autostart = off\nmigrate.max_rows_per_second = 0");
$copy->start;
is($copy->safe_psql('postgres', 'SELECT text FROM note'), 'before the backup', 'the copy has what was there');
is($copy->safe_psql('postgres', "SELECT are = said AND said >= $before AND said < $rows FROM ($stored) s"),
	't', 'rows are converted as far as is recorded');
is($copy->safe_psql('postgres', q{CALL migrate.run('t')}) =~ s/.*\|//r, '0', 'and the work is gone on with');
is($copy->safe_psql('postgres', 'SELECT count(*), min(row_version), sum(b - a::integer) FROM t'), "$rows|2|0", 'to its end');
$copy->stop;

done_testing();
