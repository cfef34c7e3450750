# pg_upgrade carries a database that is in the middle of everything from one server to
# the next, and each goes on with the work.
#
# MIGRATE_UPGRADE_FROM names the folders of the programs of the servers to come from, with
# ":" between them, each of a lower version than the next one, the last of a lower one than
# that tested; with the library installed for each, and all built with the same options
# as far as pg_upgrade minds. MIGRATE_UPGRADE_MODE is an option of pg_upgrade, as
# "--link" or "--swap"; by default files are copied.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Midway qw(make_midway reads_of stored_in catalog_of is_unchanged go_on_to_the_end);
use OtherServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @programs = split /:/, $ENV{MIGRATE_UPGRADE_FROM} // '';
plan skip_all => 'MIGRATE_UPGRADE_FROM names no server to come from' unless @programs;
my @mode = grep { $_ } $ENV{MIGRATE_UPGRADE_MODE};

# With so small a cache, a small heap is worth dividing.
my $configuration = <<'CONF';
shared_preload_libraries = 'migrate'
migrate.autostart = off
migrate.naptime = 1s
migrate.workers_per_table = 3
shared_buffers = 1MB
max_worker_processes = 16
autovacuum = off
fsync = off
CONF

my $node = PostgreSQL::Test::Cluster->new('tested');
push @programs, $node->config_data('--bindir');
my $folder = PostgreSQL::Test::Utils::tempdir_short();
my @servers = map {
	OtherServer->new(programs => $_, host => $folder, port => $node->port, data => PostgreSQL::Test::Utils::tempdir() . '/data')
} @programs;
$_->init($configuration) foreach @servers;

# ---- another database, with what Midway has not: parts of a heap, rows to be pruned, pins by
# ---- default, and the extension in the oldest version, which is updated after the first upgrade

my ($oldest) = sort map { /--(.*)\.sql$/ } glob "$FindBin::RealBin/../../src/sql/released/*.sql";

sub set
{
	my ($server, $name, $value) = @_;
	$server->safe_psql('postgres', "ALTER SYSTEM SET $name = $value");
	$server->safe_psql('postgres', 'SELECT pg_reload_conf()');
	return;
}

sub make_more
{
	my ($server) = @_;
	$server->safe_psql('postgres', 'CREATE DATABASE more');
	$server->safe_psql('more', "CREATE EXTENSION migrate VERSION '$oldest'");
	$server->safe_psql('more', <<'SQL');
CREATE TABLE early (a integer, id integer PRIMARY KEY);
INSERT INTO early SELECT i, i FROM generate_series(1, 30) i;
SELECT migrate.define('early', 'early', add => 'b integer', up => 'b = a', down => 'a = b', remove => '{a}');
SELECT migrate.expand('early');
CALL migrate.run();
SELECT migrate.contract('early', skip => '{window,usage}');
CREATE TABLE large (id integer PRIMARY KEY, a integer, filler text DEFAULT repeat('x', 300));
INSERT INTO large (id, a) SELECT i, i FROM generate_series(1, 40000) i;
CREATE TABLE archive (id integer, a integer, filler text, b integer);
SELECT migrate.create_release('old');
SELECT migrate.define('large', 'large', add => 'b integer', up => 'b = a * 10', down => 'a = b / 10', remove => '{a}');
SELECT migrate.expand('large');
SELECT migrate.set_prune('large', 'b % 20 = 0 AND id > 39000', 'archive');
CREATE ROLE pinned LOGIN;
GRANT SELECT ON large TO pinned;
ALTER ROLE pinned IN DATABASE more SET migrate.release = 'old';
SQL
	set($server, 'migrate.max_rows_per_second', 2000);
	set($server, 'migrate.autostart', 'on');
	ok($server->poll_query_until('more', 'SELECT count(*) > 1 AND sum(rows_converted) > 0 FROM migrate.backfill'), 'a heap is in parts');
	set($server, 'migrate.autostart', 'off');
	$server->poll_query_until('more', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type ~ 'migrate.*worker')});
	return;
}

sub more_of
{
	my ($server) = @_;
	return $server->safe_psql('more', <<'SQL');
SELECT relation::regclass, first_block, next_block, end_block, phase, rows_converted, rows_pruned FROM migrate.backfill ORDER BY 1::text, 2;
SELECT row_version, count(*), sum(id), sum(b) FROM large GROUP BY 1 ORDER BY 1;
SELECT count(*), sum(id) FROM archive;
SELECT relation::regclass, archive::regclass FROM migrate.prune;
SELECT name, state, version FROM migrate.migration ORDER BY 1;
SELECT * FROM early ORDER BY 1;
SQL
}

# Rows that failed are no part of a dump.
sub failures_of
{
	my ($server) = @_;
	return $server->safe_psql('midway', q{SELECT relation::regclass, migration, row_key, sqlstate, row_tid FROM migrate.failure ORDER BY 3});
}

# A while's work, on each server: both forms are written, some rows are converted, and
# another migration is defined and completed.
sub go_on_for_a_while
{
	my ($server) = @_;
	my $version = $server->version;
	my $more = sub { return $server->safe_psql('more', "SET client_min_messages = warning; $_[0]"); };

	$server->safe_psql('midway', "INSERT INTO app.users (id, full_name) VALUES (1000 + $version, 'Old Client$version')");
	is($server->safe_psql('midway', "SELECT first_name, last_name FROM app.users WHERE id = 1000 + $version"),
		"Old|Client$version", "$version: the old form is written");
	$server->safe_psql('midway', q{CALL migrate.run('app.users', max_rows => 100)});

	$more->("UPDATE large SET b = b + 10 WHERE id = $version; UPDATE large SET a = a + 1 WHERE id = 100 + $version");
	is($more->("SELECT a, b FROM large WHERE id IN ($version, 100 + $version) ORDER BY id"),
		sprintf("%d|%d\n%d|%d", $version + 1, 10 * $version + 10, $version + 101, 10 * $version + 1010), 'in both directions');
	$more->(q{CALL migrate.run('large', max_rows => 500)});
	is($server->safe_psql('more', q{SELECT count(*) > 1 FROM migrate.backfill}), 't', 'parts are gone on with');
	$more->("SELECT migrate.define('v$version', 'early', add => 'c$version integer', up => 'c$version = b + $version', down => 'b = c$version - $version')");
	$more->("SELECT migrate.expand('v$version')");
	$more->(q{CALL migrate.run('early')});
	is($more->("SELECT state, sum(c$version - b) FROM early, migrate.status WHERE name = 'v$version' GROUP BY 1"),
		'complete|' . 30 * $version, 'one is defined, and completed');
	my $pin = `psql -XAtq -U pinned -d "@{[ $server->connstr('more') ]}" -c 'SHOW migrate.release' -c 'SELECT b FROM large' 2>&1`;
	like($pin, qr/\Aold\n.*is not known to release "old"/s, 'a pin by default holds');
	return;
}

# ---- from each to the next

sub upgrade
{
	my ($from, $to) = @_;
	my $scratch = PostgreSQL::Test::Utils::tempdir();
	chdir $scratch or die $!;
	return if ok(run_log([ "$to->{programs}/pg_upgrade", '--no-sync', @mode, '-b', $from->{programs}, '-B', $to->{programs},
			'-d', $from->{data}, '-D', $to->{data}, '-s', $folder, '-p', $from->{port}, '-P', $to->{port} ]),
		join ' ', 'pg_upgrade', @mode, $from->version, '->', $to->version);
	foreach my $log (glob("$to->{data}/pg_upgrade_output.d/*/log/*.log"), glob("$scratch/*.log"))
	{
		diag "$log\n", slurp_file($log) =~ /(.{0,3000})\z/s;
	}
	BAIL_OUT('pg_upgrade failed');
}

my $server = shift @servers;
$server->control('start');
$server->safe_psql('postgres', 'CREATE DATABASE midway');
make_midway($server, 'midway');
make_more($server);
go_on_for_a_while($server);
while (my $next = shift @servers)
{
	$server->safe_psql('midway', 'ANALYZE');	# to server 18 statistics are carried along
	my @known = map { $_->($server, 'midway') } \&stored_in, \&reads_of, \&catalog_of, \&more_of, \&failures_of;
	$server->control('stop', '-m', 'fast');
	upgrade($server, $next);
	$next->control('start');
	my @there = map { $_->($next, 'midway') } \&stored_in, \&reads_of, \&catalog_of, \&more_of, \&failures_of;
	is_unchanged($there[0], $known[0], 'rows are stored as they were');
	is_unchanged($there[1], $known[1], 'and read as they did');
	is_unchanged($there[2], $known[2], 'and all that is known of them is there');
	is_unchanged($there[3], $known[3], 'how far the work had come, too');
	is_unchanged($there[4], $known[4], 'and which rows failed');
	$next->safe_psql('more', 'ALTER EXTENSION migrate UPDATE');
	$next->safe_psql($_, 'ANALYZE') foreach qw(midway more);
	go_on_for_a_while($next);
	$server = $next;
}

# ---- to the end

$server->safe_psql('more', 'SET migrate.max_rows_per_second = 0; CALL migrate.run()');
is($server->safe_psql('more', 'SELECT count(*), count(*) FILTER (WHERE row_version = 2), sum(b / 10 - a) FROM large'),
	'39500|39500|0', 'a heap in parts is converted');
is($server->safe_psql('more', 'SELECT count(*), count(DISTINCT id), max(b % 20) FROM archive'), '500|500|0', 'or pruned');
go_on_to_the_end($server, 'midway', 'after it');
$server->control('stop', '-m', 'fast');
done_testing();
