# Standbys that are in the way, and those that the work is in the way of: a query there against
# the pruning here, with feedback and without, a chain of standbys, one that replays
# late, and one that is waited for by each commit and never comes.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.naptime = 1s
autovacuum = off
fsync = off
wal_receiver_status_interval = 1s
CONF
$primary->start;
$primary->backup('base');

sub sql { return $primary->safe_psql('postgres', join ';', @_); }
sub set { my ($name, $value) = @_; sql("ALTER SYSTEM SET $name = $value", 'SELECT pg_reload_conf()'); return; }

sub is_held_by
{
	my ($name, $by, $what) = @_;
	ok($primary->poll_query_until('postgres', "SELECT throttled_by ~ '$by' FROM migrate.progress WHERE migration = '$name'"), $what);
	return;
}

sub completes
{
	my ($name) = @_;
	ok($primary->poll_query_until('postgres', "SELECT state = 'complete' FROM migrate.migration WHERE name = '$name'"), "$name is complete");
	return;
}

# A table whose conversion begins with resume().
sub create
{
	my ($name) = @_;
	sql("CREATE TABLE $name (id integer PRIMARY KEY, a integer)",
		"INSERT INTO $name SELECT i, i FROM generate_series(1, 5000) i",
		"SELECT migrate.define('$name', '$name', add => 'b integer', up => 'b = a * 2')",
		"BEGIN; SELECT migrate.expand('$name'); SELECT migrate.pause('$name'); COMMIT");
	return;
}

sub standby
{
	my ($name, $upstream) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);
	$upstream->backup("for_$name") if $upstream != $primary;
	$standby->init_from_backup($upstream, $upstream == $primary ? 'base' : "for_$name", has_streaming => 1);
	$standby->append_conf('postgresql.conf', "primary_slot_name = '$name'") if $name eq 'chained';
	$standby->start;
	return $standby;
}

sub change
{
	my ($standby, @settings) = @_;
	$standby->append_conf('postgresql.conf', join "\n", @settings);
	$standby->reload;
	return;
}

# A transaction that goes on reading a table as it was.
sub reader
{
	my ($standby, $table) = @_;
	my $session = $standby->background_psql('postgres', on_error_stop => 0);
	$session->query("BEGIN ISOLATION LEVEL REPEATABLE READ");
	is($session->query("SELECT sum(b) FROM $table"), '25005000', $standby->name . ": $table is read");
	return $session;
}

sql('CREATE EXTENSION migrate');
create($_) foreach qw(conflict fed_back slotted late alone);
my $standby = standby('standby', $primary);
$primary->wait_for_catchup($standby);

# ---- a query there against the pruning here

change($standby, 'hot_standby_feedback = off', 'max_standby_streaming_delay = 100ms');
my $reader = reader($standby, 'conflict');
my $logged = -s $standby->logfile;
sql(q{SELECT migrate.resume('conflict')});
completes('conflict');
ok($standby->wait_for_log(qr/due to conflict with recovery\n.*User query might have needed to see row versions that must be removed/, $logged),
	'a query on the standby is cancelled for the pruning, with the usual words');
$primary->wait_for_catchup($standby);
eval { $reader->quit };
is($standby->safe_psql('postgres', 'SELECT sum(b) FROM conflict'), '25005000', 'and the next one reads the same');

# ---- its feedback holds the pruning, and the backfill says whose it is

change($standby, 'hot_standby_feedback = on', 'max_standby_streaming_delay = -1');
$reader = reader($standby, 'fed_back');
ok($primary->poll_query_until('postgres', 'SELECT backend_xmin IS NOT NULL FROM pg_stat_replication'), 'the standby feeds back');
sql(q{SELECT migrate.resume('fed_back')});
my $sender = sql('SELECT pid FROM pg_stat_replication');
is_held_by('fed_back', "an old snapshot of process $sender [(].*standby", 'held by the sender to the standby');
is($reader->query('SELECT sum(b) FROM fed_back'), '25005000', 'while the query there reads on');
$reader->query('COMMIT');
$reader->quit;
change($standby, 'hot_standby_feedback = off');
completes('fed_back');

# ---- the same at the end of a chain, and a slot

sql(q{SELECT pg_create_physical_replication_slot('slot')});
change($standby, q{primary_slot_name = 'slot'});
$standby->safe_psql('postgres', q{SELECT pg_create_physical_replication_slot('chained')});
my $chained = standby('chained', $standby);
change($_, 'hot_standby_feedback = on', 'max_standby_streaming_delay = -1') foreach $standby, $chained;
$primary->wait_for_catchup($standby);
$standby->wait_for_catchup($chained, 'replay', $primary->lsn('write'));
$reader = reader($chained, 'slotted');
ok($primary->poll_query_until('postgres', q{SELECT xmin IS NOT NULL FROM pg_replication_slots WHERE slot_name = 'slot'}),
	'the standby of the standby feeds back');
sql(q{SELECT migrate.resume('slotted')});
is_held_by('slotted', 'replication slot slot', 'held by the slot of the first in the chain');
is($reader->query('SELECT sum(b) FROM slotted'), '25005000', 'while the query at its end reads on');
$reader->query('COMMIT');
change($_, 'hot_standby_feedback = off') foreach $chained, $standby;
completes('slotted');
$standby->wait_for_catchup($chained, 'replay', $primary->lsn('write'));
is($reader->query('SELECT sum(b) FROM slotted'), '25005000', 'and reads the same when it is complete');
unlike($_->safe_psql('postgres', 'SELECT string_agg(backend_type, $$ $$) FROM pg_stat_activity'), qr/migrate/,
	$_->name . ': no process of ours is there') foreach $standby, $chained;
$reader->quit;
$chained->stop;

# ---- one that replays late

change($standby, q{recovery_min_apply_delay = '10min'});
set('migrate.max_replication_lag', q{'200ms'});
set('migrate.max_rows_per_second', 1000);
sql(q{SELECT migrate.resume('late')});
is_held_by('late', '^migrate.max_replication_lag$', 'held by a standby that replays late');
cmp_ok(sql('SELECT count(*) FROM late WHERE row_version = 2'), '<', 5000, 'before all is converted');
set('migrate.max_rows_per_second', 0);
change($standby, 'recovery_min_apply_delay = 0');
completes('late');
set('migrate.max_replication_lag', 0);
unlike(slurp_file($_->logfile), qr/\[\d+\] (?:WARNING|ERROR|PANIC):/, $_->name . ': none of its processes has tried to write')
	foreach $standby, $chained;
$standby->stop;

# ---- one that commits wait for, and that is not there: not those of the worker

set('synchronous_standby_names', q{'nobody'});
my $local = 'SET synchronous_commit = local';
sql($local, q{SELECT migrate.resume('alone')});
completes('alone');
sql($local, q{SELECT migrate.define('alone_2', 'alone', add => 'd integer', up => 'd = a')},
	q{SELECT migrate.expand('alone_2')}, q{SELECT migrate.pause('alone')});
my $run = $primary->background_psql('postgres', on_error_stop => 0);
$run->query_until(qr/begun/, "\\echo begun\nSELECT migrate.resume('alone');\n");
ok($primary->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')}),
	'a session waits for it as with each commit');
my @workers = split /\n/, sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type ~ '^migrate'});
my $stopped = eval { $primary->stop('fast', timeout => 60); 1 };
ok($stopped, 'and the server stops');
is(scalar(grep { kill 0, $_ } @workers), 0, 'with all of our processes');
eval { $run->quit };
done_testing();
