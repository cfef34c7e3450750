# Uses of deprecated columns are counted exactly, by cached plans of several sessions at
# once, while a worker carries the counts to the table. They survive a restart, and a
# crash but for the last interval. There is always an answer when there is no more
# room. A standby counts by itself, and follows a brown-out.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $transactions = $ENV{TRANSACTIONS} // 250;	# of each of four clients

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.usage_flush_interval = 1h
max_worker_processes = 16
max_connections = 20
autovacuum = off
fsync = off
CONF
$node->start;

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql);
}

sub set_interval
{
	my ($interval) = @_;
	sql("ALTER SYSTEM SET migrate.usage_flush_interval = '$interval'");
	sql('SELECT pg_reload_conf()');
	return;
}

sub deprecate_users
{
	my ($database) = @_;
	sql(q{CREATE EXTENSION migrate;
		CREATE TABLE users (id integer PRIMARY KEY, full_name text);
		INSERT INTO users SELECT i, 'a b' FROM generate_series(1, 100) i;
		SELECT migrate.define('split', 'users', add => 'first_name text',
			up => $$first_name = split_part(full_name, ' ', 1)$$, remove => '{full_name}');
		SELECT migrate.expand('split');
		SELECT migrate.wait('split');
		SELECT migrate.deprecate('split')}, $database);
	return;
}

my $counted = q{SELECT coalesce(sum(count), 0) FROM migrate.column_usage};
my $carried = q{SELECT coalesce(sum(count), 0) FROM migrate.column_use};

deprecate_users();

# Four clients with cached plans, while counts are carried all the time and asked for.
set_interval('1s');
my $script = $node->basedir . '/old.sql';
append_to_file($script, "SELECT full_name FROM users WHERE id = 1;\nUPDATE users SET full_name = 'c d' WHERE id = :client_id + 2;\n");
my ($out, $err) = ('', '');
my $pgbench = IPC::Run::start([ 'pgbench', '-n', '-c4', '-j2', "-t$transactions", '-Mprepared', "-f$script",
	'-h', $node->host, '-p', $node->port, 'postgres' ], '>', \$out, '2>', \$err,
	IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
my $before = 0;
my $fell = 0;
while ($pgbench->pumpable)
{
	my $now = sql($counted);
	$fell++ if $now < $before;
	$before = $now;
	$pgbench->pump_nb;
}
ok($pgbench->finish, 'the clients met no error') or diag $err;
is($fell, 0, 'what was counted never became less');
is(sql('SELECT kind, count FROM migrate.column_usage ORDER BY kind'),
	'read|' . 4 * $transactions . "\nwrite|" . 4 * $transactions, 'and is exact');
ok($node->poll_query_until('postgres', $carried, 8 * $transactions), 'all of it is carried to the table');
is(sql($counted), 8 * $transactions, 'and counted once');

# A crash loses no more than the last interval; a restart nothing.
$node->stop('immediate');
$node->start;
is(sql($counted), 8 * $transactions, 'a crash loses nothing that was carried');
set_interval('1h');
sql('SELECT full_name FROM users') foreach 1 .. 3;
is(sql($carried), 8 * $transactions, 'what came since is in memory');
$node->restart;
is(sql($counted), 8 * $transactions + 3, 'and survives a restart');
set_interval('1s');
ok($node->poll_query_until('postgres', $carried, 8 * $transactions + 3), 'to be carried then');
set_interval('1h');

# More programs than there is room for: none is lost, some are not named.
sql(q{DO $$ BEGIN
	FOR i IN 1 .. 1100 LOOP
		PERFORM set_config('application_name', 'program ' || i, false);
		PERFORM full_name FROM users WHERE id = i;
	END LOOP; END $$});
is(sql($counted), 8 * $transactions + 3 + 1100, 'every use of 1100 programs is counted');
is(sql('SELECT count(*) > 0 FROM migrate.column_usage WHERE role IS NULL AND application_name IS NULL'), 't',
	'some of them for nobody in particular');
like(sql(q{SELECT detail FROM migrate.check_contract('split') WHERE check_name = 'usage'}),
	qr/and \d+ more in migrate.column_usage/, 'the contract is refused, and names some');
set_interval('1s');
ok($node->poll_query_until('postgres', $carried, 8 * $transactions + 3 + 1100), 'and carried');
sql(q{SET application_name = 'a late one'; SELECT full_name FROM users});
is(sql(q{SELECT count FROM migrate.column_usage WHERE application_name = 'a late one'}), 1, 'which makes room');
set_interval('1h');

# A database that is dropped leaves nothing behind.
sql('CREATE DATABASE other');
deprecate_users('other');
sql('SELECT full_name FROM users', 'other');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'other'"), 'nobody stays there');
sql('DROP DATABASE other');
set_interval('1s');
$node->restart;
sql(q{SET application_name = 'after the drop'; SELECT full_name FROM users});
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM migrate.column_use WHERE application_name = 'after the drop'}),
	'the launcher goes on');
unlike(slurp_file($node->logfile), qr/FATAL:  database \d+ does not exist/, 'and does not look for it');

# A standby.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
sub on_standby { my ($sql) = @_; return $standby->safe_psql('postgres', $sql); }
sub catch_up { $node->wait_for_catchup($standby, 'replay', $node->lsn('insert')); return; }

catch_up();
my $there = q{SELECT coalesce(sum(count), 0) FROM migrate.column_usage WHERE application_name = 'reader'};
on_standby(q{SET application_name = 'reader'; SELECT full_name FROM users WHERE id = 1});
is(on_standby($there), 1, 'a standby counts what is used there');
is(sql($there), 0, 'which the primary cannot see');
$standby->restart;
is(on_standby($there), 1, 'and keeps it over a restart');
sql(q{SELECT migrate.deprecate('split', '0')});
like(sql(q{SELECT ok, detail, hint FROM migrate.check_contract('split') WHERE check_name = 'usage'}),
	qr/^t\|Uses on standbys are counted there, .* connected are: standby\.\|Run on each: /, 'check_contract says so');

sql(q{SELECT migrate.deprecate('split', '0', 'error')});
catch_up();
my ($status, undef, $error) = $standby->psql('postgres', 'SELECT full_name FROM users');
like($error, qr/column "full_name" does not exist\nDETAIL:  Migration "split" will drop it/, 'a brown-out is in force there');
sql(q{SELECT migrate.deprecate('split', '0', 'log')});
catch_up();
is(on_standby('SELECT count(full_name) FROM users'), 100, 'and ends there');

# Promoted, it carries what it has counted.
$standby->promote;
ok($standby->poll_query_until('postgres', q{SELECT count(*) > 0 FROM migrate.column_use WHERE application_name = 'reader'}),
	'promoted, it writes down what was counted before');

done_testing();
