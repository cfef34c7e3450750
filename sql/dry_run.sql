--
-- migrate.dry_run(): what a migration would make of the rows that there are.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE ROLE dry_run_owner;
CREATE ROLE dry_run_stranger;
CREATE SCHEMA dry_run AUTHORIZATION dry_run_owner;
GRANT USAGE ON SCHEMA dry_run TO dry_run_stranger;
SET ROLE dry_run_owner;
SET search_path = dry_run;

-- What is measured is not the same twice.
CREATE FUNCTION try(name text, sample double precision DEFAULT 100)
RETURNS TABLE (checked bigint, failed bigint, first_error text, first_failed_row jsonb,
	round_trips bigint, measured boolean) LANGUAGE sql
AS 'SELECT rows_checked, rows_failed, first_error, first_failed_row, round_trip_failures,
	estimated_seconds > 0 FROM migrate.dry_run(name, sample)';

CREATE TABLE users (id integer PRIMARY KEY, dropped text, full_name text, born text);
ALTER TABLE users DROP COLUMN dropped;
INSERT INTO users SELECT i, 'First' || i || ' Last' || i, '1990-01-01' FROM generate_series(1, 1000) i;
UPDATE users SET full_name = 'Mary Ann Evans' WHERE id = 200;
UPDATE users SET full_name = NULL WHERE id = 300;
UPDATE users SET born = 'yesterday''s' WHERE id IN (500, 400, 1000);
UPDATE users SET born = '1990-02-30' WHERE id = 600;

--
-- before it is expanded, together with what it depends on: nothing is changed
--
SELECT migrate.define('dry_split', 'users', add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}');
SELECT migrate.define('dry_born', 'users', add => 'birthday date, initials text',
	up => $$birthday = to_date(born, 'YYYY-MM-DD'), initials = left(first_name, 1) || left(last_name, 1)$$,
	down => $$born = to_char(birthday, 'YYYY-MM-DD')$$, remove => '{born}');
SELECT * FROM try('dry_split');
SELECT * FROM try('dry_born');
\d users
BEGIN;
SELECT failed FROM try('dry_born');
SELECT pg_current_xact_id_if_assigned();
COMMIT;
SELECT name, state, version FROM migrate.migration WHERE name LIKE 'dry%' ORDER BY seq;

-- some of the blocks: less is read, never nothing
SELECT checked > 0 AND checked < 500 AS some, failed FROM try('dry_split', 20);
SELECT checked > 0 AND checked < 500 AS some, failed FROM try('dry_split', 0.001);

--
-- expanded, half converted, complete
--
SELECT migrate.expand('dry_split');
UPDATE users SET full_name = full_name || ' ' WHERE id <= 500;
SELECT * FROM try('dry_split');
SELECT * FROM try('dry_born');
CALL migrate.run('users');
SELECT * FROM try('dry_split');
SELECT * FROM try('dry_born');
SELECT migrate.contract('dry_split', skip => '{window,usage}');
SELECT * FROM try('dry_split');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM try('dry_born');

--
-- every row fails
--
SELECT migrate.define('dry_fail', 'users', add => 'ratio integer', up => 'ratio = 1 / (id - id)');
SELECT * FROM try('dry_fail');
SELECT migrate.forget('dry_fail');

-- down that fails counts as well
SELECT migrate.define('dry_down', 'users', add => 'number text', up => 'number = born',
	down => 'id = number::integer');
SELECT checked, failed, first_error FROM try('dry_down');
SELECT migrate.forget('dry_down');

--
-- in place: what is not idempotent is no round trip
--
CREATE TABLE names (id integer PRIMARY KEY, name text);
INSERT INTO names VALUES (1, 'a'), (2, '..b'), (3, NULL), (4, '.c');
SELECT migrate.define('dry_dot', 'names', up => $$name = regexp_replace(name, '^\.', '')$$);
SELECT * FROM try('dry_dot');

--
-- rows that need no conversion are not tried; without up or down there is nothing to fail
--
SELECT migrate.forget('dry_dot');
SELECT migrate.define('dry_need', 'names', up => $$name = 1 / (id - 2)$$, needed => 'id <> 2 AND name IS NOT NULL AND id > 100');
SELECT * FROM try('dry_need');
SELECT migrate.define('dry_remove', 'names', remove => '{name}');
SELECT * FROM try('dry_remove');
SELECT migrate.forget('dry_remove');
SELECT migrate.forget('dry_need');

--
-- an up that writes: it must not
--
CREATE TABLE log (line text);
CREATE FUNCTION write_line(text) RETURNS text LANGUAGE plpgsql
	AS $$BEGIN INSERT INTO dry_run.log VALUES ($1); RETURN $1; END$$;
CREATE FUNCTION noisy(text) RETURNS text STABLE LANGUAGE plpgsql
	AS $$BEGIN RETURN dry_run.write_line($1); END$$;
CREATE FUNCTION sly(text) RETURNS text STABLE LANGUAGE plpgsql
	AS $$BEGIN PERFORM set_config('transaction_read_only', 'off', false); RETURN $1 || current_user; END$$;
SET client_min_messages = warning;
SELECT migrate.define('dry_noisy', 'names', add => 'loud text', up => 'loud = noisy(name)');
SELECT migrate.define('dry_sly', 'names', add => 'sly text', up => 'sly = sly(name)', depends_on => '{}');
RESET client_min_messages;
SELECT * FROM try('dry_noisy');
SELECT * FROM try('dry_sly');
SELECT count(*) FROM log;
SHOW transaction_read_only;
CREATE TABLE writing_works_again ();

--
-- partitions, with columns at other places; an empty table
--
CREATE TABLE parted (part integer, name text) PARTITION BY LIST (part);
SELECT migrate.define('dry_parted', 'parted', add => 'upper text', up => 'upper = upper(name)',
	down => 'name = lower(upper)');
SELECT * FROM try('dry_parted');
CREATE TABLE parted_1 (name text, part integer);
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
INSERT INTO parted VALUES (1, 'one'), (1, 'Two'), (2, 'three');
SELECT * FROM try('dry_parted');

--
-- bad input, and who may
--
SELECT * FROM migrate.dry_run('nosuch');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM migrate.dry_run(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM migrate.dry_run('dry_born', 0);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM migrate.dry_run('dry_born', -1);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM migrate.dry_run('dry_born', 100.5);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM migrate.dry_run('dry_born', 'NaN');
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE names ADD COLUMN loud text;
SELECT * FROM migrate.dry_run('dry_noisy');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SET ROLE dry_run_stranger;
SELECT * FROM migrate.dry_run('dry_born');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
-- A superuser may, and what runs is the owner's.
SELECT rows_checked, rows_failed, first_error FROM migrate.dry_run('dry_sly');
-- A cancel is no row's fault.
SET statement_timeout = '1s';
CREATE FUNCTION dry_run.sleepy(text) RETURNS text STABLE LANGUAGE plpgsql
	AS $$BEGIN PERFORM pg_sleep(100); RETURN $1; END$$;
SET client_min_messages = warning;
SELECT migrate.define('dry_sleepy', 'dry_run.names', add => 'sleep text', up => 'sleep = dry_run.sleepy(name)', depends_on => '{}');
SELECT * FROM migrate.dry_run('dry_sleepy');
\echo :LAST_ERROR_SQLSTATE
RESET statement_timeout;

SET client_min_messages = error;
SELECT count(migrate.forget(name)) FROM (SELECT name FROM migrate.migration
	WHERE name LIKE 'dry%' AND state <> 'contracted' ORDER BY seq DESC) m;
DROP SCHEMA dry_run CASCADE;
DROP ROLE dry_run_owner, dry_run_stranger;
