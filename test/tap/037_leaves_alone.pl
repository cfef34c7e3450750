# What the backfill leaves alone, while it is in the middle of a batch and afterwards: user
# triggers and what they keep, listeners, who works on tables that refer to this one, the server's
# statistics, and (from server 16 on) subscribers that want no rows but those of users.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use PsqlPipe;

my $rows = 3000;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.naptime = 1h
migrate.target_batch_time = 60s
autovacuum_naptime = 1s
CONF
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub wait_until
{
	my ($query, $what) = @_;
	ok($node->poll_query_until('postgres', $query), $what);
	return;
}

# ---- a batch that waits in the middle of itself, for a lock that we hold ----

sql("CREATE EXTENSION migrate;
	CREATE TABLE accounts (id integer PRIMARY KEY, name text, updated_at timestamptz DEFAULT '2001-01-01')
		WITH (fillfactor = 50, autovacuum_enabled = off);
	CREATE TABLE same (LIKE accounts INCLUDING ALL, b text) WITH (fillfactor = 50, autovacuum_enabled = off);
	CREATE TABLE logins (account integer REFERENCES accounts ON DELETE CASCADE ON UPDATE CASCADE, at timestamptz DEFAULT now());
	INSERT INTO accounts SELECT i, 'name ' || i FROM generate_series(1, $rows) i;
	INSERT INTO same SELECT i, 'name ' || i FROM generate_series(1, $rows) i;
	INSERT INTO logins SELECT 1 + i % 10 FROM generate_series(1, 100) i;
	CREATE TABLE fired (what text);
	CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
		INSERT INTO fired VALUES (tg_name);
		PERFORM pg_notify('accounts', tg_name);
		IF tg_op = 'UPDATE' AND tg_level = 'ROW' THEN new.updated_at = now(); END IF;
		RETURN new;
	END \$\$;
	CREATE TRIGGER before_row BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION fire();
	CREATE TRIGGER after_row AFTER UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION fire();
	CREATE TRIGGER before_all BEFORE UPDATE ON accounts EXECUTE FUNCTION fire();
	CREATE TRIGGER after_all AFTER UPDATE ON accounts EXECUTE FUNCTION fire();
	CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON accounts DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION fire();
	CREATE TRIGGER always BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION fire();
	ALTER TABLE accounts ENABLE ALWAYS TRIGGER always;
	CREATE FUNCTION gated(b text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS \$\$
	BEGIN
		IF b = 'NAME 2000' THEN
			WHILE NOT pg_try_advisory_xact_lock_shared(1) LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
		END IF;
		RETURN b;
	END \$\$;
	SELECT migrate.define('m', 'accounts', add => 'b text', up => 'b = upper(name)')");

# ---- subscribers ----

my $subscriber;
if ($node->pg_version >= 16)
{
	sql('CREATE PUBLICATION names FOR TABLE accounts (id, name)');
	$subscriber = PostgreSQL::Test::Cluster->new('subscriber');
	$subscriber->init;
	$subscriber->start;
	for my $origin (qw(none any))
	{
		my $connection = $node->connstr . ' dbname=postgres';
		$subscriber->safe_psql('postgres', "CREATE DATABASE origin_$origin");
		$subscriber->safe_psql("origin_$origin", "CREATE TABLE accounts (id integer PRIMARY KEY, name text);
			CREATE TABLE came (id integer);
			CREATE FUNCTION come() RETURNS trigger LANGUAGE plpgsql AS
				'BEGIN INSERT INTO public.came VALUES (new.id); RETURN new; END';
			CREATE TRIGGER come BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION come();
			ALTER TABLE accounts ENABLE ALWAYS TRIGGER come;
			CREATE SUBSCRIPTION s_$origin CONNECTION '$connection' PUBLICATION names WITH (origin = $origin)");
		$subscriber->wait_for_subscription_sync($node, "s_$origin", "origin_$origin");
	}
}

# ---- in the middle ----

my $gate = PsqlPipe->new($node->connstr('postgres'));
my $listener = PsqlPipe->new($node->connstr('postgres'));
my $user = PsqlPipe->new($node->connstr('postgres'));
$gate->query('SELECT pg_advisory_lock(1)');
$listener->query('LISTEN accounts');
sql("BEGIN; SELECT migrate.expand('m'); CREATE INDEX ON accounts (gated(b)); COMMIT");
wait_until("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'migrate worker' AND wait_event = 'PgSleep'",
	'the worker is in the middle of a batch');
my ($first, $last) = split /\|/, sql('SELECT min(id), max(id) FROM accounts WHERE row_version = 1
	AND id NOT IN (SELECT id FROM accounts WHERE row_version = 1 FOR UPDATE SKIP LOCKED)');
cmp_ok($first, '<=', $last, 'which has written rows that others see as they were');
like(sql("SELECT state || ': ' || query FROM pg_stat_activity WHERE backend_type = 'migrate worker'"),
	qr/^active: .*table accounts/, 'pg_stat_activity says what it does');
is(sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'migrate worker'
		AND application_name LIKE 'migrate%' AND xact_start IS NOT NULL AND datname = 'postgres'"), 1,
	'and as whom, since when');
is(sql("SELECT phase, workers FROM migrate.progress"), 'converting|1', 'as does migrate.progress');

sub passes
{
	my ($statement) = @_;
	my ($lines, $error) = $user->query("SET lock_timeout = '5s'; $statement");
	is($error, undef, "is not in the way of: $statement");
	return;
}

passes($_) for "INSERT INTO logins VALUES ($first)", "INSERT INTO logins SELECT i FROM generate_series($first, $last) i",
  "UPDATE logins SET account = $last WHERE account = $first", "DELETE FROM logins WHERE account = $last",
  "SELECT id FROM accounts WHERE id BETWEEN $first AND $last FOR KEY SHARE", "SELECT b FROM accounts WHERE id = $first",
  'LISTEN other; NOTIFY other; UNLISTEN other', "NOTIFY accounts, 'by hand'";
my ($lines) = $listener->query('SELECT 1');
is_deeply([ grep { /notification/ } @$lines ], [ grep { /by hand/ } @$lines ], 'who listens hears nothing but the user');
is(scalar(grep { /by hand/ } @$lines), 1, 'and hears that at once');

# ---- and afterwards ----

$gate->query('SELECT pg_advisory_unlock(1)');
is(sql("SELECT migrate.wait('m', '3min')"), 't', 'complete');
is(sql("SELECT count(*) FROM accounts WHERE row_version = 2 AND b = 'NAME ' || id"), $rows, 'every row is converted');
is(sql('SELECT count(*) FROM fired'), 0, 'no trigger has fired');
is(sql("SELECT count(*) FROM accounts WHERE updated_at <> '2001-01-01'"), 0, 'updated_at is as it was');
($lines) = $listener->query('SELECT 1');
is_deeply([ grep { /notification/ } @$lines ], [], 'nobody was notified');

# The statistics are those of an UPDATE, but for rows that were dead and are gone.
sql('UPDATE same SET b = upper(name)');
my $tables = "FROM pg_stat_user_tables WHERE relname IN ('accounts', 'same')";
wait_until("SELECT count(*) = 2 $tables AND n_tup_upd >= $rows", 'the server has heard of the updates');
is(sql("SELECT DISTINCT n_tup_ins, n_tup_upd, n_tup_del, n_live_tup, n_mod_since_analyze $tables"),
	"$rows|$rows|0|$rows|" . 2 * $rows, 'pg_stat_user_tables has what an UPDATE would leave there');
is(sql("SELECT max(n_dead_tup) = $rows, min(n_dead_tup) > 0 $tables"), 't|t', 'of dead rows no more');
sql('ALTER TABLE accounts SET (autovacuum_enabled = on, autovacuum_vacuum_threshold = 100,
	autovacuum_vacuum_scale_factor = 0)');
wait_until("SELECT autovacuum_count > 0 AND n_dead_tup = 0 $tables AND relname = 'accounts'", 'autovacuum comes for them');

# What a user writes goes to every subscriber.
SKIP:
{
	skip 'subscriptions cannot leave out an origin', 2 if !$subscriber;
	sql("UPDATE accounts SET name = 'by hand' WHERE id = 5");
	$node->wait_for_catchup("s_$_") for qw(none any);
	is($subscriber->safe_psql('origin_none', 'SELECT string_agg(id::text, \',\') FROM came'), 5,
		'a subscriber to no origin has what a user wrote');
	is($subscriber->safe_psql('origin_any', 'SELECT count(*) FROM came'), $rows + 1,
		'one to any origin has the conversions, too');
}

done_testing();
