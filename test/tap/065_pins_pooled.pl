# Pins through pgbouncer: by SET LOCAL and by role where transactions share a server's
# session, by SET where clients do so one after another. What is left behind by whom
# ever ends, in whichever way, holds up nothing.
use strict;
use warnings;

use File::Temp;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($program) = grep { $_ && -x }
  ($ENV{PGBOUNCER}, map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin');
plan skip_all => 'pgbouncer is not installed' unless $program;

my $node = PostgreSQL::Test::Cluster->new('pooled');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
fsync = off
CONF
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub pinned { return sql(q{SELECT coalesce(string_agg(release, ',' ORDER BY release), 'none') FROM migrate.pinned_sessions()}); }

sub comes_to_be_pinned
{
	my ($expected, $name) = @_;
	$node->poll_query_until('postgres', 'SELECT count(*) FROM migrate.pinned_sessions()', $expected);
	is(sql('SELECT count(*) FROM migrate.pinned_sessions()'), $expected, $name);
}

sql(<<'SQL');
CREATE EXTENSION migrate;
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT i, i FROM generate_series(1, 3) i;
SELECT migrate.create_release('old');
SELECT migrate.define('m', 't', add => 'b int', up => 'b = -a', down => 'a = -b', remove => '{a}');
SELECT migrate.expand('m');
SELECT migrate.create_release('new');
CREATE ROLE app LOGIN;
CREATE ROLE old_app LOGIN;
CREATE ROLE new_app LOGIN;
GRANT SELECT, INSERT, UPDATE ON t TO app, old_app, new_app;
ALTER ROLE old_app SET migrate.release = 'old';
ALTER ROLE new_app SET migrate.release = 'new';
SQL

# ---- the pool: one session of the server for each role

my $folder = File::Temp->newdir(TEMPLATE => 'pgb_XXXXXX', TMPDIR => 1);
my ($host, $port) = ($node->host, $node->port);
append_to_file("$folder/users", join('', map { qq("$_" ""\n) } qw(app old_app new_app)));
append_to_file("$folder/conf", <<"CONF");
[databases]
pooled = host=$host port=$port dbname=postgres pool_mode=transaction
lent = host=$host port=$port dbname=postgres pool_mode=session
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = $folder
logfile = $folder/log
pidfile = $folder/pid
auth_type = trust
auth_file = $folder/users
default_pool_size = 1
CONF
my $pool;

sub start_pool
{
	$pool = IPC::Run::start([ $program, '-q', "$folder/conf" ], '<', \undef, '>', '/dev/null', '2>', '/dev/null');
	my $connection = "host=$folder port=6432 dbname=pooled user=app";
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if system("psql -X -c 'SELECT 1' '$connection' > /dev/null 2>&1") == 0;
		select(undef, undef, undef, 0.1);
	}
	die slurp_file("$folder/log");
}

my @clients;

sub client
{
	my ($database, $role) = @_;
	my $client = $node->background_psql('postgres', on_error_stop => 0,
		extra_params => [ '-d', "host=$folder port=6432 dbname=$database user=$role" ]);
	push @clients, $client;
	return $client;
}

# A statement's result, or the first line of its error.
sub ask
{
	my ($client, $statement) = @_;
	my $result = $client->query($statement);
	my ($error) = $client->{stderr} =~ /ERROR:\s+(.*)/;
	$client->{stderr} = '';
	return $error // $result;
}

my $unknown_b = 'column "b" of relation "t" is not known to release "old"';
my $unknown_a = 'column "a" of relation "t" is not known to release "new"';
start_pool();

# ---- SET LOCAL

my ($one, $two) = (client('pooled', 'app'), client('pooled', 'app'));
my $session = ask($one, 'SELECT pg_backend_pid()');
is(ask($two, 'SELECT pg_backend_pid()'), $session, 'clients share a session');
ask($one, q{BEGIN; SET LOCAL migrate.release = 'old'});
is(ask($one, 'SELECT a FROM t WHERE id = 1'), '1', 'a transaction speaks its release');
is(pinned(), 'old', 'and is counted');
my ($status, undef, $err) = $node->psql('postgres', q{SELECT migrate.retire_release('old')});
like($err, qr/sessions are pinned to it\nDETAIL:  Pinned: $session \(role app/, 'which keeps the release from being retired');
is(ask($one, 'SELECT b FROM t WHERE id = 1'), $unknown_b, 'and nothing else');
ask($one, 'ROLLBACK');
is(pinned(), 'none', 'nobody is pinned when it has failed');
is(ask($two, 'SELECT a, b FROM t WHERE id = 1'), '1|-1', 'nor is who comes next');
is(ask($two, q{BEGIN; SET LOCAL migrate.release = 'new'; SELECT a FROM t; COMMIT}), $unknown_a, 'who has another release speaks that');
is(ask($two, q{BEGIN; SET LOCAL migrate.release = 'new'; UPDATE t SET b = 5 WHERE id = 2 RETURNING b; COMMIT}), '5', 'and writes it');
is(ask($one, q{BEGIN; SET LOCAL migrate.release = 'old'; SELECT a FROM t WHERE id = 2; COMMIT}), '-5', 'the first one reads that in its own');
is(ask($one, 'SELECT pg_backend_pid()'), $session, 'all in one session');

# What is prepared in a session outlives a transaction and its pin.
ask($one, 'PREPARE read_b AS SELECT b FROM t WHERE id = 1');
is(ask($two, q{BEGIN; SET LOCAL migrate.release = 'old'; EXECUTE read_b; COMMIT}), $unknown_b, 'what was prepared before is looked at under the pin');
ask($two, 'ROLLBACK');
is(ask($two, q{BEGIN; SET LOCAL migrate.release = 'new'; EXECUTE read_b; COMMIT}), '-1', 'and again under the next one');

# A client that goes in the middle of a transaction takes the session with it.
ask($one, q{BEGIN; SET LOCAL migrate.release = 'old'});
kill 'KILL', $one->{run}->{KIDS}[0]{PID};
comes_to_be_pinned(0, 'a client that is killed in its transaction is not counted');

# ---- by role

my ($old, $new) = (client('pooled', 'old_app'), client('pooled', 'new_app'));
is(ask($old, 'SELECT a FROM t WHERE id = 3'), '3', 'a role has its release through the pool');
is(ask($old, 'SELECT b FROM t WHERE id = 3'), $unknown_b, 'and none but that');
is(ask($new, 'SELECT b FROM t WHERE id = 3'), '-3', 'so does another');
is(ask($new, q{BEGIN; SET LOCAL migrate.release = 'old'; SELECT a FROM t WHERE id = 3; COMMIT}), '3', 'a transaction can speak another');
is(ask($new, 'SELECT a FROM t WHERE id = 3'), $unknown_a, 'and ends with it');
is(pinned(), 'new,old', 'the sessions of the pool are counted, also idle');

# It falls back to the role's release as the session ends, and must not be counted after.
ask($new, q{BEGIN; SET LOCAL migrate.release = 'old'; SELECT a FROM t WHERE id = 3});
is(pinned(), 'old,old', 'a transaction is counted for what it speaks');
sql(q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = 'new_app'});
is(pinned(), 'old', 'a session that was ended in it is not counted');

# ---- one client after another

my $lent = client('lent', 'app');
$session = ask($lent, 'SELECT pg_backend_pid()');
ask($lent, q{SET migrate.release = 'old'});
is(pinned(), 'old,old', 'a client may SET where a session is lent to it');
$lent->quit;
pop @clients;
comes_to_be_pinned(1, 'it is given back without');
$lent = client('lent', 'app');
is(ask($lent, 'SELECT a, b, pg_backend_pid() FROM t WHERE id = 1'), "1|-1|$session", 'and lent to the next one so');

# ---- the pool ends without a word

sql(q{ALTER DATABASE postgres SET migrate.release = 'new'});
kill 'KILL', $pool->{KIDS}[0]{PID};
$pool->finish;
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE usename LIKE '%app'});
is($node->safe_psql('postgres', q{SELECT count(*) FROM migrate.pinned_sessions() WHERE pid <> pg_backend_pid()}), '0', 'none of its sessions is counted');
unlink("$folder/pid", "$folder/.s.PGSQL.6432");
start_pool();
$one = client('pooled', 'app');
is(ask($one, 'SELECT a FROM t WHERE id = 1'), $unknown_a, 'new sessions have the release of the database');
is(ask(client('pooled', 'old_app'), 'SELECT a FROM t WHERE id = 1'), '1', 'but a role its own');
sql(q{ALTER DATABASE postgres RESET migrate.release});
is(sql(q{SELECT string_agg(pid::text, ',') IS NOT NULL FROM migrate.pinned_sessions()}), 't', 'those that there are keep it');
sql(q{SELECT pg_terminate_backend(pid, 60000) FROM migrate.pinned_sessions()});
sql(q{SELECT migrate.retire_release('old')});
is(ask(client('pooled', 'old_app'), 'SELECT a FROM t WHERE id = 1'), 'release "old" is retired', 'what is retired fails the statements of its role');
is(ask($one, q{BEGIN; SET LOCAL migrate.release = 'old'; COMMIT}), 'release "old" is retired', 'and cannot be SET');

eval { $_->quit } foreach @clients;
$pool->signal('TERM');
$pool->finish;
done_testing();
