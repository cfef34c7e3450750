# expand on a table in use: catalog only, whatever its size; its strong lock does
# not make others wait behind a long reader; without preloading it is refused.

use strict;
use warnings;

use IPC::Run qw(start finish);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
migrate.autostart = off
autovacuum = off
fsync = off
CONF
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A session that stays open and runs what it is given.
sub open_session
{
	my ($name) = @_;
	my %session = (in => '', out => '', err => '');
	$session{run} = start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose', '-d',
			$node->connstr('postgres') . " application_name='$name'" ],
		'<', \$session{in}, '>', \$session{out}, '2>', \$session{err},
		IPC::Run::timeout(180));
	return \%session;
}

sub say_to
{
	my ($session, $sql) = @_;
	$session->{out} = '';
	$session->{in} .= "$sql\n\\echo done\n";
	$session->{run}->pump until $session->{out} =~ /^done$/m || $session->{err} ne '';
	return $session->{out};
}

sub close_session
{
	my ($session) = @_;
	$session->{in} .= "\\q\n";
	$session->{run}->finish;
	return;
}

# -- The library only loaded by a backend is no library: refused, nothing done.
sql('CREATE EXTENSION migrate');
sql('CREATE TABLE small (a integer)');
sql(q{SELECT migrate.define('small', 'small', add => 'b integer', up => 'b = a')});
my ($status, $out, $err) = $node->psql('postgres', q{SELECT migrate.expand('small')},
	extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($err, qr/55000: migrate is not preloaded.*HINT:.*shared_preload_libraries/s,
	'expand without preloading is refused with a hint');
is(sql(q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'small'::regclass AND attnum > 0}),
	'1', 'and has added nothing');

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'migrate'");
$node->restart;

# -- A million rows: neither read nor written.
sql('CREATE TABLE big (id integer PRIMARY KEY, cents integer)');
sql('INSERT INTO big SELECT i, i FROM generate_series(1, 1000000) i');
sql('VACUUM ANALYZE big');
sql('CHECKPOINT');
sql(q{SELECT migrate.define('big', 'big', add => 'amount numeric(14,2)',
	up => 'amount = cents / 100.0', down => 'cents = (amount * 100)::integer', remove => '{cents}')});

my $file = sql(q{SELECT pg_relation_filenode('big') || ' ' || pg_relation_size('big')});
my $scans = q{SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'big'};
my $scans_before = sql($scans);
my $wal = sql('SELECT pg_current_wal_insert_lsn()');
sql(q{SELECT migrate.expand('big')});
is(sql(q{SELECT pg_relation_filenode('big') || ' ' || pg_relation_size('big')}), $file,
	'expand leaves the heap of a million rows as it is');
is(sql($scans), $scans_before, 'expand does not read it either');
cmp_ok(sql("SELECT pg_current_wal_insert_lsn() - '$wal'::pg_lsn"), '<', 1024 * 1024,
	'expand writes only the catalog to WAL');
is(sql('SELECT count(*), sum(amount) FROM big'), '1000000|5000005000.00',
	'every row reads as converted at once');

# -- Behind a long reader: gives up, naming it, and no one has waited for us.
sql('CREATE TABLE busy (id integer PRIMARY KEY, a integer)');
sql('INSERT INTO busy SELECT i, i FROM generate_series(1, 100) i');
sql(q{SELECT migrate.define('busy', 'busy', add => 'b integer', up => 'b = a')});

my $reader = open_session('the long reader');
say_to($reader, 'BEGIN; SELECT count(*) FROM busy;');
sql('SELECT pg_sleep(0.2)');

my $expand = open_session('deployer');
$expand->{in} = q{SET migrate.lock_timeout = '100ms'; SET migrate.lock_attempts = 5;
SELECT migrate.expand('busy');
\echo done
};
my $refused = 0;
my $reads = 0;
my $queued = 0;
while ($expand->{run}->pumpable && $expand->{out} !~ /done/)
{
	eval { $expand->{run}->pump_nb };
	my ($rc, undef, $stderr) =
	  $node->psql('postgres', q{SET lock_timeout = '20ms'; SELECT count(*) FROM busy});
	$refused++ if $stderr =~ /lock timeout/;
	$reads++;
	$queued += sql(q{SELECT count(*) FROM pg_locks WHERE relation = 'busy'::regclass
		AND mode = 'AccessExclusiveLock' AND NOT granted});
}
eval { $expand->{run}->finish };
like($expand->{err}, qr/55P03: could not lock table "busy" to expand migration "busy"/,
	'expand gives up behind a long reader');
like($expand->{err}, qr/DETAIL:.*the long reader.*HINT:/s, 'and says who holds the table');
cmp_ok($reads, '>', 0, "other sessions read meanwhile ($reads times)");
is($refused, 0, 'and none of them had to wait');
is($queued, 0, 'since the request never stood in line');
is(sql(q{SELECT state FROM migrate.migration WHERE name = 'busy'}), 'defined',
	'a failed expand leaves the migration defined');
is(sql(q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'busy'::regclass AND attnum > 0}),
	'2', 'and the table as it was');

# -- It keeps trying: when the reader goes, it gets through.
$expand = open_session('deployer');
$expand->{in} = q{SET migrate.lock_timeout = '100ms'; SET migrate.lock_attempts = 1000;
SELECT migrate.expand('busy');
\echo done
};
$expand->{run}->pump_nb;
$node->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'deployer' AND query LIKE '%expand%'});
say_to($reader, 'COMMIT;');
close_session($reader);
$expand->{run}->pump until $expand->{out} =~ /done/ || $expand->{err} ne '';
is($expand->{err}, '', 'expand gets through when the reader has gone');
close_session($expand);
is(sql('SELECT sum(b) FROM busy'), '5050', 'and its rows read as converted');

# -- Under writers that never pause: the lock is never free, but the line is short.
sql('CREATE TABLE hot (id integer PRIMARY KEY, a integer)');
sql('INSERT INTO hot SELECT i, 0 FROM generate_series(1, 10) i');
sql(q{SELECT migrate.define('hot', 'hot', add => 'b integer', up => 'b = a')});
my $script = $node->basedir . '/hot.sql';
append_to_file($script, "BEGIN; UPDATE hot SET a = a + 1 WHERE id = (SELECT 1 + (random() * 9)::integer); SELECT count(*) FROM hot; COMMIT;\n");
my ($bench_out, $bench_err) = ('', '');
my $bench = start([ 'pgbench', '-n', '-c', '4', '-T', '600', '-f', $script, $node->connstr('postgres') ],
	'>', \$bench_out, '2>', \$bench_err);
$node->poll_query_until('postgres', 'SELECT sum(a) > 100 FROM hot');
sql(q{SET migrate.lock_timeout = '2s'; SELECT migrate.expand('hot')});
is(sql('SELECT count(*) FROM hot WHERE b IS DISTINCT FROM a'), '0',
	'expand gets through under constant writers');
my $after = sql('SELECT sum(a) FROM hot');
$node->poll_query_until('postgres', "SELECT sum(a) > $after + 100 FROM hot");
$bench->signal('TERM');
eval { $bench->finish };
unlike($bench_err, qr/ERROR/, 'and the writers met no error');
is(sql('SELECT count(*) FROM hot WHERE b IS DISTINCT FROM a'), '0',
	'what they wrote since is in both forms');

# -- Started without the library: what would take rows as they are stored is refused.
sql(q{CREATE TABLE left_alone (id integer, a integer); INSERT INTO left_alone VALUES (1, 1);
	SELECT migrate.define('left_alone', 'left_alone', add => 'b integer', up => 'b = a', down => 'a = b');
	SELECT migrate.expand('left_alone')});
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
for my $sql (
	'INSERT INTO left_alone (id, a) VALUES (2, 2)',
	'UPDATE left_alone SET a = 2',
	q{CALL migrate.run('left_alone')},
	q{SELECT migrate.contract('left_alone', skip => '{window,usage}')},
	q{SELECT migrate.rollback('left_alone')})
{
	($status, $out, $err) = $node->psql('postgres', $sql,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($err, qr/55000: migrate is not preloaded/, "refused: $sql");
}
is(sql(q{SELECT state FROM migrate.status WHERE name = 'left_alone'}), 'expanded',
	'the state can be seen');
is(sql(q{SELECT migrate.define('later', 'left_alone', add => 'c integer', up => 'c = a')}), 'later',
	'and a migration defined');

$node->stop;
done_testing();
