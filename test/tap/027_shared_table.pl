# Sessions that convert one table together, be it by migrate.run() or as workers: what limits
# the table limits all of them, each has a part, and what each part had to leave is
# come back for.

use strict;
use warnings;

use File::Basename;
use lib dirname(__FILE__) . '/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PsqlPipe;
use Test::More;

# With so small a cache, a heap of 512 blocks is worth dividing.
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
migrate.naptime = 1h
migrate.max_workers = 8
shared_buffers = '8MB'
max_worker_processes = 16
autovacuum = off
CONF
$node->start;

# Eight in a block.
my $rows = 16000;

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

sub make
{
	my ($name) = @_;
	sql("CREATE TABLE $name (id integer PRIMARY KEY, a integer, pad text);
		INSERT INTO $name SELECT i, i, repeat('x', 900) FROM generate_series(1, $rows) i;
		SELECT migrate.define('$name', '$name', add => 'b integer', up => 'b = a * 10', down => 'a = b / 10',
			remove => '{a}'); SELECT migrate.expand('$name')");
	return;
}

# Sessions that are at a table and convert nothing.
my @sitting;

sub sit
{
	my ($name, $count) = @_;
	for (1 .. $count)
	{
		my $session = PsqlPipe->new($node->connstr('postgres'));
		$session->query("SET application_name = 'sits'; SET migrate.lock_timeout = '1h';
			SET migrate.throttle_query = 'SELECT true'");
		$session->send("CALL migrate.run('$name')");
		push @sitting, $session;
	}
	wait_until("SELECT count(*) = " . @sitting . " FROM pg_stat_activity WHERE application_name = 'sits'
		AND query LIKE 'CALL%' AND wait_event = 'Extension'", "$name: so many sit at it: " . @sitting);
	return;
}

sub rise
{
	sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sits'");
	$_->receive, $_->close for @sitting;
	@sitting = ();
	wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'sits'", 'they rise');
	return;
}

sql('CREATE EXTENSION migrate; CREATE EXTENSION amcheck');

# -- A limit of the table, in steps of a tenth of a second: how many rows one transaction
#    converts says which share of it the session has. (A pass over a window converts 32 of these.)
sub most_at_once
{
	my ($name, $limit) = @_;
	my $before = sql('SELECT txid_current()');
	sql("SET migrate.$limit; CALL migrate.run('$name', 60)");
	return sql("SELECT max(n) FROM (SELECT count(*) AS n FROM $name
		WHERE row_version = 2 AND xmin::text::bigint > $before GROUP BY xmin) s");
}

make('limited');
is(most_at_once('limited', 'max_rows_per_second = 300'), 30, 'a session alone has the whole limit');
sit('limited', 1);
is(most_at_once('limited', 'max_rows_per_second = 300'), 15, 'with another, half of it');
sit('limited', 3);
is(most_at_once('limited', 'max_rows_per_second = 300'), 6, 'with four, a fifth');
make('elsewhere');
is(most_at_once('elsewhere', 'max_rows_per_second = 300'), 30, 'a limit is one of a table');
rise();
is(most_at_once('limited', 'max_rows_per_second = 300'), 30, 'who has gone takes no share');

# Calls for a few rows each are no way around it.
my $took = sql("SELECT clock_timestamp() AS began \\gset
	SET migrate.max_rows_per_second = 250;\n" . ("CALL migrate.run('limited', 25);\n" x 5) .
	"SELECT extract(epoch FROM clock_timestamp() - :'began')");
$took =~ s/.*\n//s;
cmp_ok($took, '>=', 0.45, 'calls for a few rows each keep to it, too');

$node->stop;
done_testing();
