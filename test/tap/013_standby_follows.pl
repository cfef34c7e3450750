# A standby in the middle of it: what a session there reads is the same before, during
# and after each step that it replays; nothing is written there; a query that is in
# the way of a replayed lock is cancelled, as by any DDL. The backfill waits for a standby
# that is behind, and goes on by itself where the standby has been promoted.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
migrate.naptime = 1s
autovacuum = off
fsync = off
max_standby_streaming_delay = -1
hot_standby_feedback = on
wal_receiver_status_interval = 1s
migrate.wait_for_horizon = off
CONF
$primary->start;
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
# It would convert if it were let.
$standby->append_conf('postgresql.conf', 'migrate.autostart = on');
$standby->start;

sub sql { return $primary->safe_psql('postgres', $_[0]); }
sub there { return $standby->safe_psql('postgres', $_[0]); }
sub replayed { $primary->wait_for_catchup($standby); return; }

sql(<<'SQL');
CREATE EXTENSION migrate;
CREATE TABLE t (id integer PRIMARY KEY, a integer, note text);
INSERT INTO t SELECT i, i FROM generate_series(1, 2000) i;
CREATE TABLE d (id integer PRIMARY KEY, a text);
INSERT INTO d VALUES (1, '1');
SELECT migrate.define('twice', 't', add => 'b integer', up => 'b = a * 2', down => 'a = b / 2', remove => '{a}');
SELECT migrate.define('number', 'd', add => 'n integer', up => 'n = a::integer', on_error => 'defer');
SELECT migrate.expand('number');
INSERT INTO d VALUES (2, 'two');
SQL
replayed();

# ---- each step, under a snapshot there and under a new one

# A session with a transaction that has read nothing of the table yet, so that it is in nobody's way.
my $reader = $standby->background_psql('postgres', on_error_stop => 0);
my $old = $standby->background_psql('postgres', on_error_stop => 0);
my $sum = 'SELECT count(*), sum(b) FROM t';
my $right = '2000|4002000';

$reader->query('PREPARE sum AS SELECT count(*), sum(a) FROM t');
is($reader->query('EXECUTE sum'), '2000|2001000', 'plain');
sql(q{SELECT migrate.expand('twice')});
replayed();
is($reader->query($sum), $right, 'expanded');
$reader->query("PREPARE forms AS $sum");
$old->query(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t});
$primary->poll_query_until('postgres', 'SELECT backend_xmin IS NOT NULL FROM pg_stat_replication')
  or die 'no feedback from the standby';
sql(q{CALL migrate.run('t', max_rows => 1000)});
replayed();
is($reader->query($_), $right, "half stale: $_") foreach $sum, 'EXECUTE forms';
is($old->query($sum), $right, 'under a snapshot from before');
sql(q{CALL migrate.run('t')});
is(sql(q{SELECT state FROM migrate.migration WHERE name = 'twice'}), 'complete', 'the primary does not wait for it');
replayed();
is($reader->query($_), $right, "complete: $_") foreach $sum, 'EXECUTE forms';
is($old->query($sum), $right, 'under a snapshot from before');
is($standby->safe_psql('postgres', 'SELECT id, a FROM d ORDER BY id'), "1|1\n2|two", 'a row that fails has its old form');
my (undef, undef, $err) = $standby->psql('postgres', 'SELECT n FROM d');
like($err, qr/invalid input syntax for type integer: "two"/, 'and fails where its new one is read');

# ---- it writes nothing

is(there(q{SELECT string_agg(backend_type, ', ') FROM pg_stat_activity WHERE backend_type ~ 'migrate'}), '',
	'no process of ours is there');
foreach my $statement (
	q{SELECT migrate.expand('twice')}, q{CALL migrate.run('t')}, q{SELECT migrate.pause('t')},
	q{SELECT migrate.retry('t')}, q{SELECT migrate.contract('twice')}, q{SELECT migrate.rollback('twice')},
	q{SELECT migrate.define('more', 't', add => 'c integer', up => 'c = 1')}, q{SELECT migrate.deprecate('twice')},
	q{SELECT migrate.create_release('r')}, q{UPDATE t SET a = 1})
{
	(undef, undef, $err) = $standby->psql('postgres', $statement);
	like($err, qr/ERROR:  cannot [^\n]*(?:read-only transaction|during recovery)/, "refused: $statement");
}
foreach my $statement (
	q{SELECT count(*) FROM migrate.status}, q{SELECT count(*) FROM migrate.progress}, q{SELECT count(*) FROM migrate.failures},
	q{SELECT count(*) FROM migrate.check_contract('twice')}, q{SELECT migrate.graph()}, q{SELECT count(*) FROM migrate.plan()},
	q{SELECT rows_failed FROM migrate.dry_run('twice')}, q{SELECT migrate.wait('twice', '0')})
{
	is($standby->psql('postgres', $statement), 0, "can be asked: $statement");
}

# ---- the contract takes a lock there, too

(undef, undef, $err) = $primary->psql('postgres', q{SELECT migrate.contract('twice', skip => '{window,usage}')});
like($err, qr/snapshots: .*standby standby/, 'a contract is refused for the old snapshot there');
$old->query('COMMIT; BEGIN; SELECT count(*) FROM t');
my $logged = -s $standby->logfile;
$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = 0');
$standby->reload;
sql(q{SELECT migrate.contract('twice', wait => '1 min', skip => '{window,usage}')});
ok($standby->wait_for_log(qr/due to conflict with recovery/, $logged), 'a transaction that is in its way there is ended');
replayed();
is($reader->query($_), $right, "contracted: $_") foreach $sum, 'EXECUTE forms';
unlike(there('EXPLAIN (VERBOSE) SELECT b FROM t'), qr/CASE/, 'and nothing is computed any more');
eval { $old->quit };

# ---- promoted midway

sql(q{SELECT migrate.define('half', 't', add => 'h integer', up => 'h = b / 2')});
sql(q{SELECT migrate.expand('half')});
sql(q{CALL migrate.run('t', max_rows => 500)});
replayed();
is($reader->query('SELECT count(*), sum(h) FROM t'), '2000|2001000', 'half stale again');
$primary->stop('immediate');
$standby->promote;
ok($standby->poll_query_until('postgres', q{SELECT state = 'complete' FROM migrate.migration WHERE name = 'half'}),
	'the work is gone on with when the standby is promoted');
is($reader->query('SELECT count(*), sum(h) FROM t'), '2000|2001000', 'and the session reads on');
is(there(q{SELECT count(*) FROM migrate.failures}), '1', 'a row that failed is known');
there(q{UPDATE d SET a = '2' WHERE id = 2});
ok($standby->poll_query_until('postgres', q{SELECT state = 'complete' FROM migrate.migration WHERE name = 'number'}),
	'and when it is mended all is converted');

$reader->quit;
$standby->stop;
done_testing();
