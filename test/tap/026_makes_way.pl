# The workers leave a database that somebody wants for himself, come back where it
# is still there, and do not press into one that is closed nor fill the log.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = 20000;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.naptime = 1h
migrate.max_rows_per_second = 1000
max_worker_processes = 16
autovacuum = off
CONF
$node->start;

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql);
}

sub set
{
	my ($name, $value) = @_;
	sql("ALTER SYSTEM SET $name = $value");
	sql('SELECT pg_reload_conf()');
	return;
}

sub wait_until
{
	my ($query, $what, $database) = @_;
	ok($node->poll_query_until($database // 'postgres', $query), $what);
	return;
}

sub worker_in
{
	my ($database) = @_;
	return sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'migrate worker' AND datname = '$database'");
}

# Seen from elsewhere: nobody must be connected.
sub is_at_work
{
	my ($database, $what) = @_;
	wait_until("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'migrate worker'
		AND datname = '$database' AND query LIKE '%converting table%')", $what);
	return;
}

sub create_database
{
	my ($name, $up) = @_;
	sql("CREATE DATABASE $name");
	sql("CREATE EXTENSION migrate;
		CREATE FUNCTION slow(integer) RETURNS integer LANGUAGE plpgsql STABLE AS \$\$
			BEGIN PERFORM pg_catalog.pg_sleep(0.005); RETURN \$1 * 10; END\$\$;
		CREATE TABLE t (id integer PRIMARY KEY, a integer);
		INSERT INTO t SELECT i, i FROM generate_series(1, $rows) i;
		SELECT migrate.define('m', 't', add => 'b integer', up => 'b = $up');
		SELECT migrate.expand('m')", $name);
	is_at_work($name, "$name is worked on");
	return;
}

# -- Whoever may, gets the database; the work goes on where it is by then.
sql("SET allow_in_place_tablespaces = on; CREATE TABLESPACE other_place LOCATION ''");
sql('CREATE ROLE stranger LOGIN');
create_database('shop', 'a * 10');
my $pid = worker_in('shop');
my ($rc, undef, $err) = $node->psql('postgres', 'SET ROLE stranger; DROP DATABASE shop');
like($err, qr/must be owner/, 'a stranger may not drop it');
is(worker_in('shop'), $pid, 'nor send its worker away');
sql('ALTER DATABASE shop RENAME TO store');
is_at_work('store', 'at work after RENAME');
sql('ALTER DATABASE store SET TABLESPACE other_place');
is_at_work('store', 'at work after SET TABLESPACE');
sql('CREATE DATABASE copy TEMPLATE store');
is_at_work('store', 'at work after it was a template');
sql('DROP DATABASE copy');

# -- A command that fails has not sent them away for good.
my ($in, $out, $errors) = ('', '', '');
my $client = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('store') ],
	'<', \$in, '>', \$out, '2>', \$errors, IPC::Run::timeout(180));
$in .= "SELECT 'connected';\n";
$client->pump until $out =~ /connected/;
($rc, undef, $err) = $node->psql('postgres', 'DROP DATABASE store');
like($err, qr/being accessed by other users.*There is 1 other session/s, 'a client that is connected is in the way, and he alone');
$in .= "\\q\n";
$client->finish;
is_at_work('store', 'at work after a command that failed');
set('migrate.max_rows_per_second', 0);
is(sql("SELECT migrate.wait('m', '3min')", 'store'), 't', 'complete in the end');
is(sql("SELECT detail FROM migrate.history WHERE event = 'complete'", 'store'),
	"$rows rows converted in the background", 'each row was converted once');
sql('DROP DATABASE store');

# -- Batches that would take a minute, and a query that takes an hour, give way, too.
set('migrate.target_batch_time', q{'1min'});
create_database('slow', 'public.slow(a)');
sql('DROP DATABASE slow');
set('migrate.throttle_query', q{'SELECT pg_catalog.pg_sleep(3600)'});
create_database('held', 'a * 10');
sql('DROP DATABASE held WITH (FORCE)');
set('migrate.throttle_query', q{''});
set('migrate.target_batch_time', q{'100ms'});

# -- One that is closed is left alone, and found again.
set('migrate.max_rows_per_second', 1000);
create_database('closed', 'a * 10');
sql('ALTER DATABASE closed ALLOW_CONNECTIONS false');
my $log = -s $node->logfile;
$node->restart;
set('migrate.naptime', q{'1s'});
wait_until("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'migrate launcher'", 'the launcher is there');
sql('SELECT pg_sleep(2)');
unlike(slurp_file($node->logfile, $log), qr/not currently accepting connections/, 'nobody tries to connect to it');
sql('ALTER DATABASE closed ALLOW_CONNECTIONS true');
is_at_work('closed', 'at work when it is open again');
$log = -s $node->logfile;
sql('ALTER DATABASE closed ALLOW_CONNECTIONS false');
$pid = worker_in('closed');
sql("SELECT pg_terminate_backend($pid)");
wait_until(q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'closed'}, 'closed while it is worked on');
unlike(slurp_file($node->logfile, $log), qr/not currently accepting connections/, 'nobody tries to connect then');
sql('DROP DATABASE closed');
set('migrate.naptime', q{'1h'});

# -- No process to spare: one warning, and another try.
set('max_worker_processes', 3);
$log = -s $node->logfile;
$node->restart;
sql('CREATE DATABASE crowded');
sql("CREATE EXTENSION migrate; CREATE TABLE t (id integer PRIMARY KEY, a integer);
	INSERT INTO t SELECT i, i FROM generate_series(1, $rows) i;
	SELECT migrate.define('m', 't', add => 'b integer', up => 'b = a');
	SELECT migrate.expand('m')", 'crowded');
my $shortage = qr/WARNING:  migrate could not start a background worker/;
for (1 .. 1800)
{
	last if slurp_file($node->logfile, $log) =~ $shortage;
	sql('SELECT pg_sleep(0.1)');
}
sql('SELECT pg_sleep(2.5)');
is(() = slurp_file($node->logfile, $log) =~ /$shortage/g, 1, 'no process to spare: one warning');
set('max_worker_processes', 16);
set('migrate.max_rows_per_second', 0);
$node->restart;
is(sql("SELECT migrate.wait('m', '3min')", 'crowded'), 't', 'complete when there is one');

done_testing();
