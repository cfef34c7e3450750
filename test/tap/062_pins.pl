# Sessions are pinned to a release however the setting came to them, are counted as long
# as they last, and fail rather than read on where their release has gone.
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
$node->safe_psql('other', 'CREATE TABLE r (id int PRIMARY KEY, a int); CREATE PUBLICATION p FOR TABLE r');
$node->safe_psql('other', q{SELECT pg_create_logical_replication_slot('s', 'pgoutput')});
sql(<<'SQL');
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
sql('ALTER DATABASE postgres RESET migrate.release; DROP SUBSCRIPTION s');

kill 'KILL', sql('SELECT pid FROM migrate.pinned_sessions()');
$node->poll_query_until('postgres', 'SELECT true') until $node->psql('postgres', 'SELECT 1') == 0;
is(pinned(), 'new 0, newest 0, old 0', 'nor is one counted that was killed');
eval { $by_role->quit };

done_testing();
