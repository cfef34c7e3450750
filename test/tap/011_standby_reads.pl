# A hot standby reads every row as converted: through plans that were made before
# the table was expanded, while rows are converted elsewhere, under a snapshot
# that is older than the conversions, and as a primary after it.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
autovacuum = off
hot_standby_feedback = on
wal_receiver_status_interval = 1s
max_standby_streaming_delay = -1
CONF
$primary->start;
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

$primary->safe_psql('postgres', <<'SQL');
CREATE EXTENSION migrate;
CREATE TABLE people (id integer PRIMARY KEY, full_name text);
INSERT INTO people SELECT i, 'Name' || i || ' Rest' FROM generate_series(1, 100) i;
CREATE FUNCTION people_of(integer) RETURNS SETOF people LANGUAGE sql STABLE
	AS 'SELECT * FROM people WHERE id = $1';
SELECT migrate.define('split', 'people', add => 'first_name text',
	up => $$first_name = coalesce(split_part(full_name, ' ', 1), '-')$$);
CREATE TABLE pets (owner_id integer, pet text);
INSERT INTO pets VALUES (1, 'cat');
CREATE TABLE owners (id integer PRIMARY KEY);
INSERT INTO owners VALUES (1), (2);
SET client_min_messages = warning;
SELECT migrate.define('pet', 'owners', add => 'pet text', up => 'pet = (SELECT pet FROM pets WHERE owner_id = id)');
SELECT migrate.expand('pet');
SQL
$primary->wait_for_catchup($standby);

# A session that stays, and has its plans from before.
my ($in, $out) = ('', '');
my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $standby->connstr('postgres') ],
	'<', \$in, '>', \$out, '2>&1', IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));

sub ask
{
	my ($sql) = @_;
	$out = '';
	$in .= "$sql\n\\echo done\n";
	$session->pump until $out =~ /^done$/m;
	(my $answer = $out) =~ s/\n?done\n$//;
	return $answer;
}

ask(<<'SQL');
SET plan_cache_mode = force_generic_plan;
PREPARE whole (integer) AS SELECT p FROM people p WHERE id = $1;
PREPARE called (integer) AS SELECT full_name FROM people_of($1);
SQL
is(ask('EXECUTE whole(1);'), '(1,"Name1 Rest")', 'a standby plans before the table is expanded');
is(ask('EXECUTE called(1);'), 'Name1 Rest', 'and takes in a function');

$primary->safe_psql('postgres', <<'SQL');
SELECT migrate.expand('split');
UPDATE people SET first_name = 'new' WHERE id = 2;
SQL
$primary->wait_for_catchup($standby);
is(ask('EXECUTE whole(1);'), '(1,"Name1 Rest",1,Name1)', 'a cached plan is made again');
is(ask('EXECUTE whole(2);'), '(2,"Name2 Rest",2,new)', 'and reads what was written since');
is(ask('SELECT first_name FROM people_of(1);'), 'Name1', 'a function is called');
is($standby->safe_psql('postgres',
		"SELECT count(*), count(DISTINCT first_name) FROM people WHERE first_name LIKE 'N%'"),
	'99|99', 'a new session reads the rows converted');

is(ask('PREPARE pet AS SELECT id, pet FROM owners ORDER BY id; EXECUTE pet;'), "1|cat\n2|",
	'a sub-query reads other tables there');
$primary->safe_psql('postgres', "INSERT INTO pets VALUES (2, 'dog'); ALTER TABLE pets RENAME TO animals");
$primary->wait_for_catchup($standby);
is(ask('EXECUTE pet;'), "1|cat\n2|dog", 'as they are now, and under another name');
$primary->safe_psql('postgres', "SELECT migrate.rollback('pet'); SELECT migrate.forget('pet')");

# A snapshot from before the conversions. The primary keeps the rows that it sees
# (once it knows of it). The conversion waits for it unless told to let the table
# grow; completion does not.
ask('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM people;');
$primary->poll_query_until('postgres', 'SELECT backend_xmin IS NOT NULL FROM pg_stat_replication')
  or die 'no feedback from the standby';
my $notice;
$primary->psql('postgres', "SET migrate.lock_timeout = '500ms'; CALL migrate.run('people')",
	stderr => \$notice, on_error_die => 1);
like($notice, qr{table "people" waits for an old snapshot of process \d+ \(.*, standby, },
	'the primary waits for the standby, by name');
$primary->safe_psql('postgres', "SET migrate.wait_for_horizon = off; CALL migrate.run('people')");
is($primary->safe_psql('postgres', "SELECT state FROM migrate.migration"), 'complete',
	'the primary completes the migration');
$primary->wait_for_catchup($standby);
is(ask("SELECT count(*), count(DISTINCT first_name), max(row_version) = min(row_version) FROM people WHERE id <> 2;"),
	'99|99|t', 'an old snapshot on the standby sees stale rows, converted');
is(ask('EXECUTE whole(3);'), '(3,"Name3 Rest",1,Name3)', 'by a cached plan, too');
my $snapshots = "SELECT ok, detail, hint FROM migrate.check_contract('split') WHERE check_name = 'snapshots'";
like($primary->safe_psql('postgres', $snapshots),
	qr/^f\|.*standby standby \(by process \d+.*\), snapshot \d+ transactions old.*\|.*on standby, end its oldest transactions: SELECT pid/,
	'the standby is in the way of a contract, by name');
ask('COMMIT;');
$primary->poll_query_until('postgres', "SELECT ok FROM ($snapshots) s") or die 'the standby stays in the way';
is($primary->safe_psql('postgres', $snapshots), 't||', 'no longer, once it has said that its snapshot is gone');
is(ask('EXECUTE whole(3);'), '(3,"Name3 Rest",2,Name3)', 'a new one sees them as they are now');
like($standby->safe_psql('postgres', 'EXPLAIN (VERBOSE) SELECT first_name FROM people'),
	qr/CASE/, 'a standby converts also what is complete');

$standby->append_conf('postgresql.conf', 'hot_standby_feedback = off');
$standby->reload;
$primary->poll_query_until('postgres', 'SELECT backend_xmin IS NULL FROM pg_stat_replication')
  or die 'the standby goes on with its feedback';
like($primary->safe_psql('postgres', $snapshots), qr/^t\|Not known here, for lack of hot_standby_feedback, is what is read on: standby standby/,
	'one that says nothing is mentioned');

$in .= "\\q\n";
$session->finish;
$standby->promote;
unlike($standby->safe_psql('postgres', 'EXPLAIN (VERBOSE) SELECT first_name FROM people'),
	qr/CASE/, 'once it is promoted it does not');
is($standby->safe_psql('postgres', 'SELECT count(DISTINCT first_name) FROM people'),
	'100', 'and every row is there');

$standby->stop;
$primary->stop;
done_testing();
