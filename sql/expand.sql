--
-- migrate.expand: what it adds, what it depends on, what it refuses.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE SCHEMA expa;
CREATE SCHEMA expa_functions;
SET search_path = expa, expa_functions;

CREATE FUNCTION expa_functions.first_word(text) RETURNS text
	LANGUAGE sql IMMUTABLE AS $$ SELECT split_part($1, ' ', 1) $$;
CREATE TABLE users (id integer PRIMARY KEY, full_name text NOT NULL);
INSERT INTO users VALUES (1, 'Ada Lovelace'), (2, 'Alan Turing');
SELECT migrate.define('expa_split', 'users', add => 'first_name text, last_name text',
	up => $$first_name = first_word(full_name), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}');
SELECT migrate.define('expa_initial', 'users', add => 'initial text', up => $$initial = left(first_name, 1)$$);

-- In the order of the graph.
SELECT migrate.expand('expa_initial');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.expand('nosuch');
\echo :LAST_ERROR_SQLSTATE

-- The heap is not touched: same file, same size.
SELECT pg_relation_filenode('users') AS filenode, pg_relation_size('users') AS size \gset
SELECT migrate.expand('expa_split');
SELECT pg_relation_filenode('users') = :filenode AS same_file, pg_relation_size('users') = :size AS same_size;
\d users
SELECT * FROM users ORDER BY id;
SELECT state, version FROM migrate.migration WHERE name = 'expa_split';
SELECT * FROM migrate.managed WHERE relation = 'users'::regclass;
SELECT direction, target, expression FROM migrate.assignment WHERE migration = 'expa_split' ORDER BY 1 DESC, 2;
SELECT migration, event, role = current_user AS role, detail FROM migrate.event
WHERE migration LIKE 'expa%' ORDER BY seq;

-- Again: nothing to do.
SELECT migrate.expand('expa_split');

-- The next one: one version further, no second trigger, the chain reads through.
SELECT migrate.expand('expa_initial');
SELECT * FROM users ORDER BY id;
SELECT conname, convalidated FROM pg_constraint WHERE conrelid = 'users'::regclass AND contype = 'c' ORDER BY 1;
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'users'::regclass;

-- What a live migration uses cannot be dropped.
DROP FUNCTION expa_functions.first_word(text);
\echo :LAST_ERROR_SQLSTATE
-- A rename changes nothing, and neither does another function that would be
-- found first, or in place of the old name, or that fits the argument better.
ALTER FUNCTION expa_functions.first_word(text) RENAME TO first_word_of;
CREATE FUNCTION expa_functions.first_word(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'hijacked'::text $$;
CREATE FUNCTION expa.split_part(text, text, integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'hijacked'::text $$;
SET search_path = expa, expa_functions, pg_catalog;
SELECT * FROM users ORDER BY id;
UPDATE users SET full_name = 'Grace Hopper' WHERE id = 2;
SELECT * FROM users ORDER BY id;
SET search_path = expa, expa_functions;
SELECT target, expression FROM migrate.assignment WHERE migration = 'expa_split' AND direction = 'u' ORDER BY 1;

-- What was dropped between define and expand is noticed, and nothing is left behind.
CREATE TABLE late (a text);
CREATE FUNCTION expa_functions.late(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1 $$;
SELECT migrate.define('expa_late', 'late', add => 'b text', up => 'b = late(a)');
DROP FUNCTION expa_functions.late(text);
SELECT migrate.expand('expa_late');
\echo :LAST_ERROR_SQLSTATE
\d late

-- A column of one's own under the name of the row version.
CREATE TABLE own (id integer, row_version text);
INSERT INTO own VALUES (1, 'mine');
SELECT migrate.define('expa_own', 'own', add => 'b text', up => 'b = upper(row_version)');
SELECT migrate.define('expa_own', 'own', add => 'b integer', up => 'b = id');
SELECT migrate.forget('expa_own');
SELECT migrate.define('expa_own', 'own', add => 'b integer', up => 'b = id + 1');
SELECT migrate.expand('expa_own');
\echo :LAST_ERROR_SQLSTATE
\d own
SELECT migrate.manage('own', 'row_version');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.manage('own', 'a version column''s name');
SELECT migrate.manage('own', 'a version column''s name');
SELECT migrate.manage('own', 'another');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.expand('expa_own');
\d own
SELECT * FROM own;

-- An error in the middle leaves nothing.
CREATE TABLE fails (a text);
SELECT migrate.define('expa_fails', 'fails', add => 'b text', up => 'b = a');
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS
	$$ BEGIN IF tg_tag = 'CREATE TRIGGER' THEN RAISE 'no triggers today'; END IF; END $$;
CREATE EVENT TRIGGER migrate_expa_refuse ON ddl_command_end EXECUTE FUNCTION refuse();
SELECT migrate.expand('expa_fails');
DROP EVENT TRIGGER migrate_expa_refuse;
\d fails
SELECT state, version FROM migrate.migration WHERE name = 'expa_fails';
SELECT count(*) FROM migrate.managed WHERE relation = 'fails'::regclass;
-- Nor does a rolled back transaction.
BEGIN;
SELECT migrate.expand('expa_fails');
SELECT b FROM fails;
ROLLBACK;
\d fails

-- A domain with a constraint: no rewrite, no check of rows that are not there yet.
CREATE DOMAIN positive AS integer NOT NULL CHECK (VALUE > 0);
CREATE TABLE domains (id integer, n integer);
INSERT INTO domains SELECT i, i FROM generate_series(1, 3) i;
SELECT migrate.define('expa_domain', 'domains', add => 'p positive', up => 'p = n');
SELECT pg_relation_filenode('domains') AS filenode \gset
SELECT migrate.expand('expa_domain');
SELECT pg_relation_filenode('domains') = :filenode AS same_file;
\d domains
SELECT * FROM domains ORDER BY id;
-- An old client, who does not know of the domain, is not refused for leaving it out,
INSERT INTO domains (id, n) VALUES (4, 4), (5, 5) RETURNING *;
-- but for a value that it does not allow; a new one is for both.
INSERT INTO domains (id, n) VALUES (4, -4);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO domains (id, p) VALUES (6, NULL);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO domains (id, p) VALUES (6, -6);
\echo :LAST_ERROR_SQLSTATE
DROP DOMAIN positive;
\echo :LAST_ERROR_SQLSTATE

-- A partitioned table: every partition, whatever its attribute numbers.
CREATE TABLE parted (gone integer, id integer, a integer) PARTITION BY LIST (id);
ALTER TABLE parted DROP COLUMN gone;
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 (a integer, x text, id integer);
ALTER TABLE parted_2 DROP COLUMN x;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES IN (2);
INSERT INTO parted VALUES (1, 10), (2, 20);
SELECT migrate.define('expa_parted', 'parted', add => 'b integer', up => 'b = a * 2', down => 'a = b / 2');
SELECT migrate.expand('expa_parted');
SELECT tableoid::regclass, * FROM parted ORDER BY id;
SELECT * FROM parted_2;
INSERT INTO parted (id, b) VALUES (1, 100);
INSERT INTO parted_2 (id, b) VALUES (2, 200);
SELECT tableoid::regclass, * FROM parted ORDER BY id, b;
SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger WHERE tgname = '!migrate'
	AND tgrelid::regclass::text LIKE 'parted%' ORDER BY 1;
-- One that is made later.
CREATE TABLE parted_3 PARTITION OF parted FOR VALUES IN (3);
INSERT INTO parted (id, a) VALUES (3, 30);
SELECT * FROM parted_3;

-- Only the owner may.
CREATE ROLE migrate_expa_stranger;
SET ROLE migrate_expa_stranger;
SELECT migrate.expand('expa_fails');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.manage('expa.fails');
RESET ROLE;
-- An owner who is no superuser may, and what is added is the owner's.
ALTER TABLE fails OWNER TO migrate_expa_stranger;
GRANT USAGE, CREATE ON SCHEMA expa TO migrate_expa_stranger;
SET ROLE migrate_expa_stranger;
SELECT migrate.expand('expa_fails');
INSERT INTO fails (a) VALUES ('x') RETURNING *;
RESET ROLE;

SET client_min_messages = warning;
SET migrate.guard = off;
DROP SCHEMA expa, expa_functions CASCADE;
DROP ROLE migrate_expa_stranger;
