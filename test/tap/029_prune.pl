# Rows that are pruned, while the server is stopped in the middle of it, with writers who make
# rows match the condition and not match it, and who refer to them:
#
#	each row is in the table or in its archive, never in both, never in neither, at any
#		moment, on a standby too
#	what is archived met the condition, and nobody had written it
#	no row refers to one that is gone
#
# PRUNE_ROWS=n for so many rows, PRUNE_CRASHES=n for so many crashes, SEED=n for the same ones.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = $ENV{PRUNE_ROWS} // 12000;
my $crashes = $ENV{PRUNE_CRASHES} // 2;
my $seed = $ENV{SEED} // int time;
srand($seed);
note("SEED=$seed");

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.naptime = 1s
migrate.max_rows_per_second = 3000
migrate.target_batch_time = 100ms
restart_after_crash = on
autovacuum = off
CONF
$primary->start;
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

sub sql { return $primary->safe_psql('postgres', $_[0]); }

# ---- the table, and who refers to it ----

sql("CREATE EXTENSION migrate;
	CREATE TABLE users (id integer PRIMARY KEY, full_name text, gone boolean, written integer DEFAULT 0,
		filler char(100) DEFAULT '');
	CREATE TABLE users_archive (archived_at timestamptz DEFAULT now(), filler text, written integer,
		gone boolean, full_name text, id integer PRIMARY KEY, CHECK (gone));
	ALTER TABLE users_archive ALTER filler TYPE char(100);
	CREATE TABLE notes (user_id integer REFERENCES users);
	CREATE TABLE logins (user_id integer REFERENCES users ON DELETE CASCADE);
	CREATE TABLE writes (id integer);
	INSERT INTO users SELECT i, 'First Last' || i, i % 3 > 0 FROM generate_series(1, $rows) i;
	INSERT INTO notes SELECT i FROM generate_series(1, $rows, 50) i;
	INSERT INTO logins SELECT i FROM generate_series(1, $rows, 7) i;
	CREATE INDEX ON notes (user_id);
	CREATE INDEX ON logins (user_id);
	CREATE FUNCTION refer(who integer) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		IF who % 2 = 0 THEN INSERT INTO notes VALUES (who); ELSE INSERT INTO logins VALUES (who); END IF;
	EXCEPTION WHEN foreign_key_violation THEN
	END \$\$;
	SELECT migrate.define('split', 'users', add => 'last_name text',
		up => 'last_name = split_part(full_name, '' '', 2)');
	SELECT migrate.set_prune('users', 'gone', 'users_archive')");

# ---- writers ----

my $folder = PostgreSQL::Test::Utils::tempdir;
my %script = (
	turn => "\\set id random(1, $rows)
		WITH w AS (UPDATE users SET gone = NOT gone, written = written + 1 WHERE id = :id RETURNING id)
			INSERT INTO writes SELECT id FROM w;",
	undo => "\\set id random(1, $rows)
		BEGIN;
		UPDATE users SET gone = NOT gone, written = -1 WHERE id BETWEEN :id AND :id + 5;
		ROLLBACK;",
	refer => "\\set id random(1, $rows)
		SELECT refer(:id);",
	hold => "\\set id random(1, $rows)
		BEGIN;
		SELECT id FROM users WHERE id BETWEEN :id AND :id + 20 FOR KEY SHARE;
		COMMIT;");
append_to_file("$folder/$_.sql", $script{$_}) for keys %script;

sub start_writers
{
	my ($out, $err) = ('', '');
	return IPC::Run::start(
		[ 'pgbench', '-n', '-c', 3, '-R', 600, '-T', 600, '--random-seed', 1 + int rand 1000000,
			map({ ('-f', "$folder/$_.sql") } sort keys %script),
			'-h', $primary->host, '-p', $primary->port, 'postgres' ],
		'>', \$out, '2>', \$err);
}

# ---- what holds ----

my $split = 'SELECT count(*), count(DISTINCT id), min(id), max(id) FROM
	(SELECT id FROM users UNION ALL SELECT id FROM users_archive) every_row';

sub check
{
	my ($when) = @_;
	is(sql($split), "$rows|$rows|1|$rows", "$when: each row is in one place");
	is($standby->safe_psql('postgres', $split), "$rows|$rows|1|$rows", "$when: on the standby, too");
	is(sql('SELECT count(*) FROM users_archive WHERE NOT gone OR written <> 0 OR full_name <> \'First Last\' || id'),
		0, "$when: nothing is archived that was not to be, or was written");
	is(sql('SELECT count(*) FROM users u WHERE written <> (SELECT count(*) FROM writes w WHERE w.id = u.id)'),
		0, "$when: no write is lost");
	is(sql('SELECT count(*) FROM (TABLE notes UNION ALL TABLE logins) r
			WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = r.user_id)'),
		0, "$when: no row refers to one that is gone");
	return;
}

# ---- it goes on, whatever happens ----

# (What is written before it is stale like the rest.)
sql("SELECT migrate.expand('split')");
my $writers = start_writers();
for my $crash (1 .. $crashes)
{
	my $archived = $rows * 0.6 * ($crash - 0.5 + rand(0.5)) / ($crashes + 1);
	$primary->poll_query_until('postgres', "SELECT count(*) > $archived FROM users_archive")
	  or die 'nothing is archived';
	is($standby->safe_psql('postgres', $split), "$rows|$rows|1|$rows", 'in the middle: on the standby');
	is(sql("SELECT state FROM migrate.status"), 'expanded', 'it is in the middle of it');
	cmp_ok(sql('SELECT count(*) FROM writes'), '>', 0, 'others write');
	$primary->stop('immediate');
	$writers->finish;
	$primary->start;
	check("crash $crash");
	$writers = start_writers();
}
$primary->poll_query_until('postgres', "SELECT state = 'complete' FROM migrate.status")
  or die 'not complete';
$writers->signal('TERM');
$writers->finish;
$primary->wait_for_catchup($standby);
check('at the end');
is(sql('SELECT count(*) FROM migrate.failures'), 0, 'no row failed');
is(sql("SELECT count(*) FROM users u WHERE row_version <> 2 OR last_name IS DISTINCT FROM 'Last' || id"), 0,
	'what was not pruned is converted');
is(sql("SELECT count(*) FROM users u WHERE gone AND written = 0 AND NOT EXISTS (SELECT FROM notes WHERE user_id = u.id)"),
	0, 'and was not to be pruned, or was referred to');
isnt(sql('SELECT count(*) FROM users_archive'), 0, 'others are archived');
is(sql('SELECT sum(hashtext(a::text)::bigint) FROM users_archive a'),
	$standby->safe_psql('postgres', 'SELECT sum(hashtext(a::text)::bigint) FROM users_archive a'),
	'the standby has the same archive');

$standby->stop;
$primary->stop;
done_testing();
