--
-- deprecate: who uses what a migration removes is counted, warned or refused.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE ROLE usage_owner;
CREATE ROLE usage_other;
CREATE SCHEMA usage AUTHORIZATION usage_owner;
GRANT USAGE ON SCHEMA usage TO usage_other;
GRANT SET ON PARAMETER migrate.usage_ignore TO usage_owner;
SET search_path = usage;
SET ROLE usage_owner;
SET intervalstyle = postgres;
SET application_name = 'release 1';

CREATE TABLE users (id integer PRIMARY KEY, full_name text UNIQUE, age integer);
INSERT INTO users SELECT i, 'a b' || i, i FROM generate_series(1, 10) i;
GRANT SELECT, UPDATE ON users TO usage_other;
SELECT migrate.define('usage_split', 'users', add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}');

-- Bad input, and states in which there is nothing to deprecate.
SELECT migrate.deprecate('usage_none');
SELECT migrate.deprecate('usage_split');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.expand('usage_split');
SELECT migrate.deprecate('usage_split', '-1 s');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.deprecate('usage_split', '1001 years');
SELECT migrate.deprecate('usage_split', NULL);
SELECT migrate.deprecate('usage_split', action => 'warn');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.deprecate('usage_split', action => NULL);
SET ROLE usage_other;
SELECT migrate.deprecate('usage_split');
\echo :LAST_ERROR_SQLSTATE
SET ROLE usage_owner;

-- Before, nothing is counted, and so neither check can hold.
SELECT count(full_name) FROM users;
SELECT count(*) FROM migrate.column_usage;
SELECT check_name, detail, hint FROM migrate.check_contract('usage_split') WHERE check_name IN ('window', 'usage');

SELECT migrate.deprecate('usage_split');
SELECT deprecated_at IS NOT NULL AS deprecated, last_used, contractable FROM migrate.status WHERE name = 'usage_split';

-- What a statement counts as: read and written, so many times.
CREATE FUNCTION used(OUT read bigint, OUT written bigint) LANGUAGE sql AS
	$$SELECT coalesce(sum(count) FILTER (WHERE kind = 'read'), 0), coalesce(sum(count) FILTER (WHERE kind = 'write'), 0)
	  FROM migrate.column_usage WHERE relation = 'usage.users'::regclass$$;
CREATE FUNCTION uses_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	before record;
	after record;
BEGIN
	SELECT * INTO before FROM usage.used();
	EXECUTE statement;
	SELECT * INTO after FROM usage.used();
	RETURN concat_ws(', ', 'read ' || nullif(after.read - before.read, 0), 'written ' || nullif(after.written - before.written, 0));
END $$;
CREATE VIEW old_view AS SELECT id, full_name FROM users;
CREATE VIEW new_view AS SELECT id, first_name, last_name FROM users;
CREATE FUNCTION of_row(users) RETURNS integer LANGUAGE sql AS 'SELECT $1.id';
CREATE FUNCTION of_table(integer) RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT full_name FROM usage.users WHERE id = $1';
CREATE FUNCTION in_block(integer) RETURNS text LANGUAGE plpgsql AS
	$$BEGIN RETURN (SELECT full_name FROM usage.users WHERE id = $1); END$$;
CREATE TABLE pages (id integer REFERENCES users, name text REFERENCES users (full_name) ON UPDATE CASCADE);
INSERT INTO pages VALUES (3, 'a b3');
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY users_policy ON users USING (full_name IS NOT NULL);
SELECT statement, uses_of(statement) FROM unnest(ARRAY[
	'SELECT full_name FROM users',
	'/* migrate */ SELECT full_name FROM users',
	'SELECT id FROM users WHERE full_name = ''x''',
	'SELECT count(*) FROM users u ORDER BY max(u.full_name)',
	'SELECT * FROM users',
	'SELECT u FROM users u',
	'SELECT of_row(u) FROM users u',
	'SELECT 1 FROM users a JOIN users b USING (full_name)',
	'SELECT 1 FROM pages p WHERE EXISTS (SELECT FROM users WHERE full_name = p.name)',
	'WITH u AS (SELECT full_name FROM users) SELECT 1 FROM u',
	'SELECT full_name FROM users FOR UPDATE',
	'SELECT id FROM old_view',
	'SELECT * FROM of_table(1)',
	'SELECT in_block(1), in_block(2)',
	'CREATE TEMP TABLE copy_of AS SELECT full_name FROM users',
	'INSERT INTO users (id, full_name) VALUES (11, ''x y'')',
	'INSERT INTO users VALUES (12, ''x z'')',
	'INSERT INTO users (id, age) VALUES (11, 1) ON CONFLICT (id) DO UPDATE SET full_name = ''x u''',
	'INSERT INTO users (id, age) VALUES (11, 1) ON CONFLICT (id) DO UPDATE SET age = 1 RETURNING full_name',
	'UPDATE users SET full_name = ''x v'' WHERE id = 11',
	'UPDATE users SET age = 2 WHERE full_name = ''x v''',
	'UPDATE old_view SET full_name = ''x w'' WHERE id = 11',
	'DELETE FROM users WHERE full_name = ''x w''',
	'MERGE INTO users u USING pages p ON u.id = p.id WHEN MATCHED THEN UPDATE SET full_name = p.name',
	'EXPLAIN ANALYZE SELECT full_name FROM users',
	-- and as nothing
	'SELECT id, age, first_name, last_name FROM users',
	'SELECT count(*) FROM users',
	'SELECT * FROM new_view',
	'INSERT INTO users (id, first_name, last_name) VALUES (13, ''x'', ''q'')',
	'UPDATE users SET first_name = ''y'' WHERE id = 13',
	'INSERT INTO pages VALUES (2, ''a b2'')',
	'UPDATE users SET last_name = ''b22'' WHERE id = 2',
	'DELETE FROM users WHERE id = 13',
	'EXPLAIN SELECT full_name FROM users',
	'PREPARE not_run AS SELECT full_name FROM users',
	'ANALYZE users',
	'ALTER TABLE users ADD CHECK (full_name <> '''')',
	'CREATE INDEX ON users (full_name)']) statement;
SELECT name FROM pages ORDER BY id;

-- COPY has no plan; of a query it has.
SELECT * FROM used() \gset before_
\o /dev/null
COPY users (full_name) TO STDOUT;
COPY users TO STDOUT;
COPY (SELECT full_name FROM users) TO STDOUT;
COPY users (id) TO STDOUT;
\o
COPY users (id, full_name) FROM STDIN;
14	x c
\.
COPY users (id, first_name) FROM STDIN;
15	x
\.
SELECT read - :before_read AS read, written - :before_written AS written FROM used();

-- What migrate itself asks of the table on another's behalf.
CREATE TABLE notes (id integer, of_user integer);
INSERT INTO notes VALUES (1, 1);
SELECT migrate.define('usage_notes', 'notes', add => 'name text, author text REFERENCES users (full_name)',
	up => 'name = (SELECT full_name FROM users u WHERE u.id = of_user)');
SELECT migrate.expand('usage_notes');
SELECT name FROM notes;
SELECT statement, uses_of(statement) FROM unnest(ARRAY[
	'SELECT name FROM notes',
	'INSERT INTO notes (id, author) SELECT 2, name FROM notes',
	'SELECT migrate.rollback(''usage_notes'', discard => true)']) statement;
DROP TABLE notes;

-- Cached plans count each time that they run; and those that were made before.
PREPARE cached(integer) AS SELECT full_name FROM users WHERE id = $1;
SET plan_cache_mode = force_generic_plan;
SELECT uses_of('EXECUTE cached(1)'), uses_of('EXECUTE cached(2)');
-- In parallel, the leader counts.
SELECT count(set_config(name, 'on', false)) FROM pg_settings WHERE name IN ('debug_parallel_query', 'force_parallel_mode');
SELECT uses_of('SELECT count(full_name) FROM users');
SELECT count(set_config(name, 'off', false)) FROM pg_settings WHERE name IN ('debug_parallel_query', 'force_parallel_mode');

-- What may not be used is not used.
SET ROLE usage_other;
SELECT first_name FROM pages;
SELECT age FROM users;
UPDATE users SET age = 0 WHERE full_name = 'nobody';
-- Who, by which program. The others' programs are not everybody's business.
SELECT count(*) FROM migrate.column_usage;
SELECT last_used FROM migrate.status WHERE name = 'usage_split';
SET ROLE usage_owner;
SET application_name = 'quoted "name", of somebody''s';
SELECT count(full_name) FROM users;
SET application_name = 'pg_dump';
SELECT count(full_name) FROM users;
SET application_name = '';
SELECT count(full_name) FROM users;
SET application_name = 'release 1';
SELECT migration, relation, column_name, kind, role, application_name, count > 10 AS often,
	first_used <= last_used AS ordered
FROM migrate.column_usage ORDER BY 4, 5, 6;
SELECT last_used > deprecated_at AS used FROM migrate.status WHERE name = 'usage_split';
SET migrate.usage_ignore = 'pg_dump, "release 1"';
SELECT used() = used() AS nothing_counted, uses_of('SELECT full_name FROM users');
SET migrate.usage_ignore = 'a, "b';
RESET migrate.usage_ignore;
SELECT uses_of('SELECT full_name FROM users');
RESET ROLE;
SET SESSION AUTHORIZATION usage_other;
SET migrate.usage_ignore = '';
RESET SESSION AUTHORIZATION;
SET ROLE usage_owner;

-- The checks: who it was; what was is not counted twice.
SELECT ok, replace(regexp_replace(detail, '\d+ (times?|seconds? ago)', 'n \1', 'g'), ' second ago', ' seconds ago') AS detail, hint
FROM migrate.check_contract('usage_split') WHERE check_name = 'usage';
SELECT ok, regexp_replace(detail, 'since .*, not', 'since then, not') AS detail,
	regexp_replace(hint, 'until .*, or', 'until then, or') AS hint
FROM migrate.check_contract('usage_split') WHERE check_name = 'window';
SELECT sum(count) AS total FROM migrate.column_usage \gset
CALL migrate.run('users');
SELECT sum(count) = :total AS same FROM migrate.column_usage;
RESET ROLE;
SELECT sum(count) = :total AS carried FROM migrate.column_use WHERE relation = 'users'::regclass;
SET ROLE usage_owner;

-- Period and action change; the window stays open.
SELECT migrate.deprecate('usage_split', '0 s');
SELECT check_name, ok FROM migrate.check_contract('usage_split') WHERE check_name IN ('window', 'usage');

-- A warning, once for a statement.
SELECT migrate.deprecate('usage_split', '0 s', 'warning');
SELECT id, full_name FROM users WHERE full_name = 'a b1';
EXECUTE cached(1);
UPDATE users SET full_name = 'a b1' WHERE id = 1;
SELECT first_name FROM users WHERE id = 1;

-- A brown-out: as after the contract.
SELECT migrate.deprecate('usage_split', '0 s', 'error');
SELECT id, full_name FROM users;
\echo :LAST_ERROR_SQLSTATE
EXECUTE cached(1);
\set SHOW_CONTEXT never
SELECT in_block(1);
\set SHOW_CONTEXT errors
UPDATE users SET full_name = 'z' WHERE id = 1;
\echo :LAST_ERROR_SQLSTATE
INSERT INTO users VALUES (20, 'z');
COPY users TO STDOUT;
SELECT * FROM old_view;
SELECT first_name FROM users WHERE id = 1;
UPDATE users SET first_name = 'A' WHERE id = 1;
DELETE FROM users WHERE id = 10;
SET application_name = 'pg_dump';
SELECT id, full_name FROM users WHERE id = 1;
SET application_name = 'release 1';
BEGIN;
SELECT migrate.deprecate('usage_split', '0 s', 'log');
EXECUTE cached(1);
ROLLBACK;
EXECUTE cached(1);
SELECT migrate.deprecate('usage_split', '0 s', 'log');
EXECUTE cached(1);

-- However many names there are: it is kept of the latest alone whose they are.
RESET ROLE;
BEGIN;
INSERT INTO migrate.column_use
	SELECT 'users', 'full_name', 'read', 'usage_owner', 'name ' || i, deprecated_at, deprecated_at + i * interval '1 us', 2
	FROM migrate.status, generate_series(1, 1200) i WHERE name = 'usage_split';
SELECT count(*) AS kinds, sum(count) AS counted FROM migrate.column_usage WHERE migration = 'usage_split' \gset
COMMIT;
CALL migrate.run('users');
SELECT count(*) AS kept, count(role) AS named, sum(count) - :counted AS lost FROM migrate.column_usage WHERE migration = 'usage_split';
SELECT count = 2 * (:kinds - 1000) AS summed, u.last_used = deprecated_at + (:kinds - 1000) * interval '1 us' AS latest
	FROM migrate.column_usage u JOIN migrate.status s ON s.name = u.migration WHERE s.name = 'usage_split' AND role IS NULL;
DELETE FROM migrate.column_use WHERE application_name LIKE 'name %' OR role = '';
SET ROLE usage_owner;

-- A rollback closes it, and forgets.
BEGIN;
DROP VIEW new_view;
SELECT migrate.rollback('usage_split');
SELECT count(full_name) FROM users;
SELECT count(*) FROM migrate.column_usage;
SELECT deprecated_at FROM migrate.status WHERE name = 'usage_split';
ROLLBACK;
SELECT event, detail FROM migrate.history WHERE migration = 'usage_split' AND event = 'deprecated';

-- It holds up the contract, and its skipping is on record.
DROP TABLE copy_of;
DROP VIEW old_view;
DROP FUNCTION of_table, in_block, of_row;
DROP POLICY users_policy ON users;
DROP TABLE pages;
ALTER TABLE users DROP CONSTRAINT users_full_name_check, DROP CONSTRAINT users_full_name_key;
DROP INDEX users_full_name_idx;
SELECT migrate.deprecate('usage_split', '1 day');
SELECT full_name FROM users WHERE id = 1;
SELECT check_name FROM migrate.check_contract('usage_split') WHERE NOT ok;
SELECT migrate.contract('usage_split', skip => '{window,usage}');
SELECT detail FROM migrate.history WHERE migration = 'usage_split' AND event = 'contracted';
RESET ROLE;
SELECT count(*) FROM migrate.column_use WHERE relation = 'users'::regclass;
SET ROLE usage_owner;
SELECT full_name FROM users;

-- Partitions, whose columns have other numbers, are the table; columns of the same name are not.
CREATE TABLE parted (id integer, name text, note text) PARTITION BY LIST (id);
CREATE TABLE parted_1 (gone integer, note text, name text, id integer NOT NULL);
ALTER TABLE parted_1 DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES IN (1);
INSERT INTO parted VALUES (1, 'x');
CREATE TABLE unconcerned (id integer, name text, note text);
SELECT migrate.define('usage_parted', 'parted', add => 'title text', up => 'title = name', down => 'name = title', remove => '{name}');
SELECT migrate.expand('usage_parted');
SELECT migrate.deprecate('usage_parted', '0');
SELECT name FROM parted;
SELECT name FROM parted_1;
SELECT note FROM parted_1;
UPDATE parted SET name = 'y';
SELECT name FROM unconcerned;
SELECT relation, column_name, kind, count FROM migrate.column_usage WHERE migration = 'usage_parted' ORDER BY 3;
CALL migrate.run('parted');
SELECT migrate.contract('usage_parted');

-- Two migrations that remove one column; the one that drops it in the end has to wait.
CREATE TABLE twice (id integer, a text);
INSERT INTO twice VALUES (1, 'x');
SELECT migrate.define('usage_one', 'twice', add => 'b text', up => 'b = a', down => 'a = b', remove => '{a}');
SELECT migrate.define('usage_two', 'twice', add => 'c text', up => 'c = a', remove => '{a}', depends_on => '{usage_one}');
SELECT migrate.expand('usage_one'), migrate.expand('usage_two');
CALL migrate.run('twice');
SELECT migrate.deprecate('usage_two', action => 'warning');
SELECT a FROM twice;
SELECT migration, column_name, kind, count FROM migrate.column_usage WHERE relation = 'twice'::regclass;
SELECT check_name FROM migrate.check_contract('usage_one') WHERE NOT ok;
SELECT check_name FROM migrate.check_contract('usage_two') WHERE NOT ok;

-- One that rewrites in place has nothing to deprecate, one of a new type has.
CREATE TABLE items (id integer, email text, price integer);
SELECT migrate.define('usage_lower', 'items', up => 'email = lower(email)');
SELECT migrate.define('usage_price', 'items', add => 'price numeric(12,2)', up => 'price = old.price / 100.0',
	down => 'price = new.price * 100', depends_on => '{usage_lower}');
SELECT migrate.expand('usage_lower'), migrate.expand('usage_price');
SELECT migrate.deprecate('usage_lower');
SELECT migrate.deprecate('usage_price', action => 'error');
SELECT price FROM items;
SELECT email FROM items;
SELECT migration, column_name, kind, count FROM migrate.column_usage WHERE relation = 'items'::regclass;

RESET ROLE;
SET migrate.guard = off;
SET client_min_messages = warning;
DROP SCHEMA usage CASCADE;
SELECT count(*) FROM migrate.column_use;
REVOKE SET ON PARAMETER migrate.usage_ignore FROM usage_owner;
DROP ROLE usage_owner, usage_other;
