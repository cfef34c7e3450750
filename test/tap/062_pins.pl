# Sessions are pinned to a release however the setting came to them, are counted as long
# as they last, and fail rather than read on where their release has gone: on a primary
# and on its standby, with parallel workers, beside the backfill and logical replication.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('pins');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
restart_after_crash = on
fsync = off
CONF
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub pinned { return sql(q{SELECT string_agg(name || ' ' || pinned_sessions, ', ' ORDER BY name) FROM migrate.releases}); }

sql(<<'SQL');
CREATE EXTENSION migrate;
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t VALUES (1, 1);
SELECT migrate.create_release('old');
SELECT migrate.define('m', 't', add => 'b int', up => 'b = a', down => 'a = b', remove => '{a}');
SELECT migrate.expand('m');
SELECT migrate.create_release('new');
CREATE ROLE client LOGIN;
GRANT SELECT ON t TO client;
ALTER ROLE client SET migrate.release = 'old';
CREATE DATABASE other;
SQL

my $connection = $node->connstr('postgres');
my $by_role = $node->background_psql('postgres', extra_params => [ '-U', 'client' ], on_error_stop => 0);
my $by_string = $node->background_psql('postgres',
	extra_params => [ '-d', "$connection options='-c migrate.release=new'" ], on_error_stop => 0);
is($by_role->query('SELECT a FROM t'), '1', 'a role has its release');
is($by_string->query('SELECT b FROM t'), '1', 'a connection string has it');
is(pinned(), 'new 1, old 1', 'both are counted');

my ($status, undef, $err) = $node->psql('postgres', q{SELECT migrate.retire_release('old')});
like($err, qr/cannot be retired: sessions are pinned.*\(role client/s, 'a release that is pinned is not retired, and says by whom');
$by_role->query('RESET ALL; SET migrate.release = new');
is(pinned(), 'new 2, old 0', 'a session may go over to another');
$by_string->quit;
is(pinned(), 'new 1, old 0', 'one that has gone is not counted');
is($node->safe_psql('other', 'SELECT 1'), '1', 'a database without the extension is not concerned');

sql(q{SELECT migrate.retire_release('old')});
($status, undef, $err) = $node->psql('postgres', 'SELECT a FROM t', extra_params => [ '-U', 'client' ]);
like($err, qr/release "old" is retired/, 'a default that has gone wrong lets in, and fails what needs it');
is($node->safe_psql('postgres', 'SELECT 1', extra_params => [ '-U', 'client' ]), '1', 'but nothing else');

# What is replicated speaks no release's form, whatever the database is pinned to.
$node->safe_psql('other', 'CREATE TABLE r (id int PRIMARY KEY, a int); CREATE TABLE names (id int PRIMARY KEY, old text, new text)');
$node->safe_psql('other', 'CREATE PUBLICATION p FOR TABLE r, names');
$node->safe_psql('other', q{SELECT pg_create_logical_replication_slot('s', 'pgoutput')});
sql(<<'SQL');
CREATE TABLE names (id int PRIMARY KEY, old text);
SELECT migrate.define('names', 'names', add => 'new text', up => $$new = split_part(old, ' ', 1)$$, down => 'old = new', remove => '{old}');
SELECT migrate.expand('names');
CREATE TABLE r (id int PRIMARY KEY, a int);
SELECT migrate.define('absolute', 'r', up => 'a = abs(a)');
SELECT migrate.expand('absolute');
SELECT migrate.create_release('newest');
ALTER DATABASE postgres SET migrate.release = 'newest';
SQL
(my $publisher = $node->connstr('other')) =~ s/'/''/g;
sql("CREATE SUBSCRIPTION s CONNECTION '$publisher' PUBLICATION p"
	. q{ WITH (create_slot = false, slot_name = 's', copy_data = false)});
$node->safe_psql('other', 'INSERT INTO r VALUES (1, -5)');
$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM r');
is(sql('SELECT a FROM r'), '5', 'a replicated row is converted in a database that is pinned');

# What a release in support cannot represent is refused here, but not what has been accepted there.
($status, undef, $err) = $node->psql('postgres', q{INSERT INTO names (id, new) VALUES (1, 'Mary Ann')});
like($err, qr/release "new" cannot represent/, 'a write is refused that an older release cannot represent');
$node->safe_psql('other', q{INSERT INTO names (id, new) VALUES (1, 'Mary Ann'); UPDATE names SET new = 'Ann Mary'; INSERT INTO r VALUES (2, -6)});
$node->poll_query_until('postgres', 'SELECT count(*) = 2 FROM r');
is(sql('SELECT * FROM names'), '1|Ann Mary|2|Ann Mary', 'and taken where it is replicated');
sql('ALTER DATABASE postgres RESET migrate.release; DROP SUBSCRIPTION s');

kill 'KILL', sql('SELECT pid FROM migrate.pinned_sessions()');
$node->poll_query_until('postgres', 'SELECT true') until $node->psql('postgres', 'SELECT 1') == 0;
is(pinned(), 'new 0, newest 0, old 0', 'nor is one counted that was killed');
eval { $by_role->quit };

# ---- our own workers

sql(<<'SQL');
CREATE TABLE w (id int PRIMARY KEY, a int);
INSERT INTO w SELECT i, -i FROM generate_series(1, 20000) i;
SELECT migrate.define('w', 'w', up => 'a = abs(a)', add => 'b int', remove => '{}');
SELECT migrate.expand('w');
SELECT migrate.create_release('with w');
ALTER DATABASE postgres SET migrate.release = 'with w';
ALTER SYSTEM SET migrate.autostart = on;
SELECT pg_reload_conf();
SQL
is(sql(q{SELECT migrate.wait('w', '180 s')}), 't', 'the backfill goes on in a database that is pinned');
is(sql('SELECT count(*), min(a) FROM w'), '20000|1', 'and converts, also what a client of the release would have written');
is(sql('SELECT count(*) FROM migrate.pinned_sessions() WHERE pid <> pg_backend_pid()'), '0', 'it is not pinned itself');
sql(<<'SQL');
ALTER DATABASE postgres RESET migrate.release;
ALTER SYSTEM RESET migrate.autostart;
SELECT pg_reload_conf();
SQL

# ---- parallel workers: they get the leader's settings, and neither look nor count

my $force = sql(q{SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')});
my $pin = "SET migrate.release = 'with w'; SET $force = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;";
like(sql("$pin EXPLAIN SELECT sum(a) FROM w"), qr/Workers Planned/, 'a pinned session plans for workers');
is(sql("$pin SELECT sum(a), (SELECT count(*) FROM migrate.pinned_sessions()) FROM w"), '200010000|1', 'its workers run, and are not counted');
is(sql("$pin BEGIN; SET LOCAL migrate.release = 'newest'; SELECT count(*) FROM w; COMMIT; SELECT count(*) FROM w;"),
	"20000\n20000", 'also after SET LOCAL');
($status, undef, $err) = $node->psql('postgres', "$pin SELECT sum(t.b) FROM t JOIN w USING (id, a)");
like($err, qr/ERROR:  column "a" of relation "t" is not known to release "with w"(?!.*parallel worker)/s, 'what is not known is refused before there are any');
# A default that has turned wrong is found by the leader, too.
sql(q{ALTER ROLE client SET migrate.release = 'none'; GRANT SELECT ON w TO client});
(my $settings = $pin) =~ s/^.*?;//;
($status, undef, $err) = $node->psql('postgres', "$settings SELECT sum(a) FROM w", extra_params => [ '-U', 'client' ]);
like($err, qr/ERROR:  release "none" does not exist(?!.*parallel worker)/s, 'and a release that is not there');
is($node->safe_psql('postgres', "$settings SELECT count(*) FROM pg_class WHERE relname = 'w'", extra_params => [ '-U', 'client' ]),
	1, 'but workers start with it where nothing needs it');

# ---- a standby

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
my $reader = $standby->background_psql('postgres', on_error_stop => 0);
$reader->query(q{SET migrate.release = 'new'});
is($reader->query('SELECT b FROM t'), '1', 'a session of a standby is pinned');
$reader->query('SELECT a FROM t');
like($reader->{stderr}, qr/column "a" of relation "t" is not known to release "new"/, 'and is refused what its release does not know');
$reader->{stderr} = '';
is($standby->safe_psql('postgres', q{SELECT pinned_sessions FROM migrate.releases WHERE name = 'new'}), '1', 'it is counted there');
is(sql(q{SELECT pinned_sessions FROM migrate.releases WHERE name = 'new'}), '0', 'but not on the primary');
sql(q{SELECT migrate.retire_release('new')});
$node->wait_for_catchup($standby);
$reader->query('SELECT b FROM t');
like($reader->{stderr}, qr/release "new" is retired/, 'which does not wait for it: it fails when it hears of that');
$reader->{stderr} = '';
$reader->query(q{SET migrate.release = 'newest'});
is($reader->query('SELECT b FROM t'), '1', 'and can go over to another');
$reader->quit;
$standby->stop;

done_testing();
