# contract on a server with others in it: what is older than the completion holds
# it back, by name; with a wait it waits for that, and for locks, and holds nothing
# meanwhile; two that contract or roll back at once take turns.

use strict;
use warnings;

use IPC::Run qw(start);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
max_prepared_transactions = 10
fsync = off
CONF
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub error_of
{
	my (undef, undef, $err) = $node->psql('postgres', $_[0]);
	return $err;
}

# A session that stays open and runs what it is given.
sub open_session
{
	my ($name, $role) = @_;
	my %session = (in => '', out => '', err => '');
	$session{run} = start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
			$node->connstr('postgres') . " application_name='$name'" . ($role ? " user=$role" : '') ],
		'<', \$session{in}, '>', \$session{out}, '2>', \$session{err},
		IPC::Run::timeout(180));
	return \%session;
}

sub begin_to_say
{
	my ($session, $sql) = @_;
	$session->{out} = '';
	$session->{in} .= "$sql\n\\echo done\n";
	$session->{run}->pump_nb;
	return;
}

sub hear_out
{
	my ($session) = @_;
	$session->{run}->pump until $session->{out} =~ /^done$/m || $session->{err} =~ /^HINT/m;
	return $session->{out};
}

sub say_to
{
	my ($session, $sql) = @_;
	begin_to_say($session, $sql);
	return hear_out($session);
}

sub close_session
{
	my ($session) = @_;
	$session->{in} .= "\\q\n";
	eval { $session->{run}->finish };
	return;
}

# A complete migration of a table of its own.
sub complete_migration
{
	my ($name) = @_;
	sql("CREATE TABLE $name (id integer PRIMARY KEY, a integer)");
	sql("INSERT INTO $name SELECT i, i FROM generate_series(1, 100) i");
	sql("SELECT migrate.define('$name', '$name', add => 'b integer', up => 'b = a * 2',
		down => 'a = b / 2', remove => '{a}')");
	sql("SELECT migrate.expand('$name')");
	sql("CALL migrate.run('$name')");
	is(state_of($name), 'complete', "$name is complete");
	return;
}

sub state_of
{
	return sql("SELECT state FROM migrate.status WHERE name = '$_[0]'");
}

sub in_the_way
{
	return sql("SELECT check_name, detail, hint FROM migrate.check_contract('$_[0]')
		WHERE NOT ok AND check_name NOT IN ('window', 'usage')");
}

sql('CREATE EXTENSION migrate');

# -- Older than the completion: a slot, a prepared transaction; and one that is younger but holds the table.
sql('CREATE TABLE elsewhere (i integer)');
sql(q{SELECT pg_create_logical_replication_slot('left_behind', 'pgoutput')});
sql(q{BEGIN; INSERT INTO elsewhere VALUES (1); PREPARE TRANSACTION 'from before'});
complete_migration('old');
sql(q{BEGIN; UPDATE old SET a = 7 WHERE id = 1; PREPARE TRANSACTION 'it''s held'});
sql(q{BEGIN; INSERT INTO elsewhere VALUES (2); PREPARE TRANSACTION 'no concern'});
like(in_the_way('old'),
	qr/^snapshots\|.*prepared transaction 'from before' .*prepared transaction 'it''s held' .*logical replication slot left_behind \(not in use, catalog_xmin \d+ transactions old\)/,
	'prepared transactions and a slot are in the way, by name');
like(in_the_way('old'), qr/COMMIT PREPARED 'it''s held' or ROLLBACK PREPARED 'it''s held'.*pg_drop_replication_slot\('left_behind'\)/,
	'with what to type about them');
unlike(in_the_way('old'), qr/no concern/, 'one that is younger and holds no lock is not');
$node->restart;
like(in_the_way('old'), qr/prepared transaction 'it''s held'/,
	'prepared transactions are known after a restart as well');
like(error_of(q{SELECT migrate.contract('old', skip => '{window,usage}')}),
	qr/ERROR:  migration "old" cannot be contracted yet\nDETAIL:  snapshots: .*'from before'/,
	'contract is refused because of them');
is(state_of('old') . sql('SELECT count(a) FROM old'), 'complete100', 'and has changed nothing');
sql(q{COMMIT PREPARED 'from before'});
sql(q{COMMIT PREPARED 'it''s held'});
sql(q{SELECT pg_drop_replication_slot('left_behind')});
is(in_the_way('old'), '', 'when they are gone nothing is in the way');
sql(q{SELECT migrate.contract('old', skip => '{window,usage}')});
is(sql('SELECT b FROM old WHERE id = 1'), '14', 'contracted, with what was prepared');
sql(q{ROLLBACK PREPARED 'no concern'});

# -- It waits for a snapshot older than the completion, holding nothing.
complete_migration('waited');
my $reader = open_session('reader');
say_to($reader, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM elsewhere;');
my $innocent = open_session('innocent');
sql(q{UPDATE migrate.migration SET completed_at = clock_timestamp(),
	completed_xid = pg_current_xact_id() WHERE name = 'waited'});
say_to($innocent, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM elsewhere;');
like(in_the_way('waited'), qr/^snapshots\|These must end first: process \d+ \([^,]+, reader, idle in transaction, /,
	'the session with the old snapshot is named');
unlike(in_the_way('waited'), qr/innocent/, 'one that began after the completion is not');
like(error_of(q{SELECT migrate.contract('waited', '100 ms', '{window,usage}')}), qr/cannot be contracted yet/,
	'a wait that is too short ends in the refusal');
my $deployer = open_session('deployer');
begin_to_say($deployer, q{SELECT migrate.contract('waited', '3 min', '{window,usage}');});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity
	WHERE application_name = 'deployer' AND wait_event = 'Extension'}), 'a longer one waits');
is(sql(q{SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
	WHERE a.application_name = 'deployer' AND l.relation = 'waited'::regclass}), '0',
	'and holds no lock on the table meanwhile');
sql(q{UPDATE waited SET a = 9 WHERE id = 2});
say_to($reader, 'COMMIT;');
hear_out($deployer);
is($deployer->{err}, '', 'contract gets through when the old snapshot is gone');
is(state_of('waited'), 'contracted', 'and has contracted');
is(sql('SELECT b FROM waited WHERE id = 2'), '18', 'with what an old client wrote meanwhile');
say_to($innocent, 'COMMIT;');

# -- It waits for locks.
complete_migration('locked');
say_to($reader, 'BEGIN; SELECT count(*) FROM locked;');
like(error_of(q{SET migrate.lock_timeout = '50ms'; SET migrate.lock_attempts = 2; SELECT migrate.contract('locked', skip => '{window,usage}')}),
	qr/ERROR:  could not lock table "locked" to contract migration "locked"\nDETAIL:.*reader/,
	'behind a reader that stays it gives up, and names it');
is(state_of('locked'), 'complete', 'and has changed nothing');
begin_to_say($deployer, q{SET migrate.lock_timeout = '50ms'; SET migrate.lock_attempts = 2;
	SELECT migrate.contract('locked', '3 min', '{window,usage}');});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity
	WHERE application_name = 'deployer' AND query LIKE '%contract%' AND now() - query_start > '500 ms'}),
	'with a wait it keeps trying');
say_to($reader, 'COMMIT;');
hear_out($deployer);
is($deployer->{err}, '', 'and gets through');
is(state_of('locked'), 'contracted', 'to contract');

# -- To look whether a lock is free takes no transaction ID, however long it is held.
complete_migration('watched');
say_to($reader, 'BEGIN; SELECT count(*) FROM watched;');
my $before = sql('SELECT pg_current_xact_id()');
like(error_of(q{SET migrate.lock_timeout = '400ms'; SET migrate.lock_attempts = 2; SELECT migrate.contract('watched', skip => '{window,usage}')}),
	qr/could not lock table/, 'for a while contract looks whether the lock is free');
cmp_ok(sql('SELECT pg_current_xact_id()') - $before, '<', 8, 'for a few transaction IDs');
say_to($reader, 'COMMIT;');

# -- Of other roles' sessions an owner learns what pg_stat_activity would tell.
sql(q{CREATE ROLE plain_owner LOGIN; CREATE ROLE secretive LOGIN; CREATE ROLE monitor LOGIN;
	GRANT pg_read_all_stats TO monitor; GRANT plain_owner TO monitor;
	ALTER TABLE watched OWNER TO plain_owner; GRANT SELECT ON elsewhere, watched TO secretive});
my $secret = open_session('secret', 'secretive');
say_to($secret, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM elsewhere;');
sql(q{UPDATE migrate.migration SET completed_at = clock_timestamp(),
	completed_xid = pg_current_xact_id() WHERE name = 'watched'});
sub as_role
{
	my ($role, $name) = @_;
	return sql("SET SESSION AUTHORIZATION $role; SELECT detail FROM migrate.check_contract('$name') WHERE check_name = 'snapshots'");
}
like(as_role('plain_owner', 'watched'), qr/process \d+ \(secretive, secret\), snapshot \d+ transactions old/,
	'a role and program that hold it up are named to the owner, but not what they do');
like(as_role('monitor', 'watched'), qr/process \d+ \(secretive, secret, idle in transaction, in its transaction for \d+ s\)/,
	'who may read all statistics is told that, too');
say_to($secret, 'SELECT count(*) FROM watched;');
like(error_of(q{SET migrate.lock_timeout = '10ms'; SET migrate.lock_attempts = 2;
	SET SESSION AUTHORIZATION plain_owner; SELECT migrate.rollback('watched')}),
	qr/held by process \d+ \(secretive, secret\)/, 'so it is with who holds a lock');
say_to($secret, 'COMMIT;');
close_session($secret);

# -- A pinned session is named with the release that it is pinned to.
sql(q{SELECT migrate.create_release('old form', '{}')});
my $pinned = open_session('pinned');
say_to($pinned, q{SET migrate.release = 'old form';});
like(in_the_way('watched'), qr/"old form" \(pinned by process (\d+) \([^,]+, pinned, idle\)\)\.\|.*SELECT pg_terminate_backend\(\1\); SELECT migrate.retire_release\('old form'\)/,
	'a pinned session is named, and what to type');
close_session($pinned);
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM migrate.pinned_sessions()'), 'it has gone');
sql(q{SELECT migrate.retire_release('old form')});

# -- VACUUM sees no rows with its snapshot, and is not waited for.
complete_migration('vacuumed');
sql('CREATE TABLE big AS SELECT generate_series(1, 20000) i; DELETE FROM big');
my $vacuum = open_session('vacuum');
begin_to_say($vacuum, 'SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1; VACUUM big;');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM pg_stat_progress_vacuum v JOIN pg_stat_activity USING (pid) WHERE backend_xmin IS NOT NULL'),
	'a slow VACUUM is at work');
sql(q{UPDATE migrate.migration SET completed_at = clock_timestamp(),
	completed_xid = pg_current_xact_id() WHERE name = 'vacuumed'});
is(in_the_way('vacuumed'), '', 'and is not in the way');
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vacuum'});

# -- Two at once take turns: the second finds it done.
complete_migration('twice');
say_to($reader, q{BEGIN; SELECT migrate.contract('twice', skip => '{window,usage}');});
begin_to_say($deployer, q{SELECT migrate.contract('twice', skip => '{window,usage}');});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity
	WHERE application_name = 'deployer' AND wait_event_type = 'Lock'}), 'the second waits for the first');
say_to($reader, 'COMMIT;');
hear_out($deployer);
like($deployer->{err}, qr/NOTICE:  migration "twice" is already contracted, skipping/, 'and finds it done');
$deployer->{err} = '';

complete_migration('either');
say_to($reader, q{BEGIN; SELECT migrate.rollback('either');});
begin_to_say($deployer, q{SELECT migrate.contract('either', skip => '{window,usage}');});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity
	WHERE application_name = 'deployer' AND wait_event_type = 'Lock'}), 'contract waits for a rollback');
say_to($reader, 'COMMIT;');
hear_out($deployer);
like($deployer->{err}, qr/cannot be contracted yet.*state: The migration is rolled back/s, 'and is refused then');

close_session($_) for ($reader, $innocent, $deployer, $vacuum);
$node->stop;
done_testing();
