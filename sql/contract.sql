--
-- check_contract and contract: what stands in the way, and what is left behind.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE ROLE contract_owner;
CREATE ROLE contract_other;
CREATE SCHEMA contract AUTHORIZATION contract_owner;
GRANT USAGE ON SCHEMA contract TO contract_other;
SET search_path = contract;
SET ROLE contract_owner;

CREATE TABLE users (id integer PRIMARY KEY, full_name text, age integer);
INSERT INTO users SELECT i, 'a b' || i, i FROM generate_series(1, 100) i;
SELECT migrate.define('contract_split', 'users', add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}', comment => 'one name too few');

-- Bad input.
SELECT migrate.contract('nosuch');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM migrate.check_contract('nosuch');
SELECT migrate.contract(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.contract('contract_split', skip => '{usage,objects}');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.contract('contract_split', skip => '{usage,NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.contract('contract_split', '-1 s');
\echo :LAST_ERROR_SQLSTATE
SET ROLE contract_other;
SELECT migrate.contract('contract_split');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM migrate.check_contract('contract_split');
\echo :LAST_ERROR_SQLSTATE
SET ROLE contract_owner;

-- Neither defined nor expanded is enough; everything that is missing is said at once.
\x on
SELECT * FROM migrate.check_contract('contract_split');
SELECT migrate.contract('contract_split');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.expand('contract_split');
SELECT migrate.deprecate('contract_split', '0');

CREATE VIEW old_view AS SELECT full_name FROM users;
CREATE MATERIALIZED VIEW old_matview AS SELECT upper(full_name) FROM users;
CREATE INDEX old_index ON users (lower(full_name));
CREATE STATISTICS old_statistics ON full_name, age FROM users;
CREATE POLICY old_policy ON users USING (full_name <> '');
ALTER TABLE users ADD CONSTRAINT old_check CHECK (full_name <> 'x');
ALTER TABLE users ADD CONSTRAINT old_unique UNIQUE (full_name);
CREATE TABLE pages (name text REFERENCES users (full_name));
ALTER TABLE users ADD COLUMN old_generated text GENERATED ALWAYS AS (full_name || '!') STORED;
ALTER TABLE users ALTER COLUMN full_name SET DEFAULT 'no body';
CREATE TRIGGER old_trigger AFTER UPDATE OF full_name ON users
	FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TRIGGER old_when AFTER UPDATE ON users
	FOR EACH ROW WHEN (OLD.full_name IS DISTINCT FROM NEW.full_name) EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE RULE old_rule AS ON DELETE TO users WHERE OLD.full_name = 'keep' DO INSTEAD NOTHING;
CREATE FUNCTION old_function() RETURNS text BEGIN ATOMIC SELECT full_name FROM users LIMIT 1; END;
-- What is in texts is not tracked; that the names are there can be said.
CREATE FUNCTION old_text(text) RETURNS text LANGUAGE plpgsql
	AS 'BEGIN RETURN (SELECT "full_name" FROM contract.Users WHERE full_name = $1); END';
CREATE FUNCTION other_text() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM users_full_name); END';
CREATE FUNCTION new_text() RETURNS text LANGUAGE sql AS 'SELECT first_name FROM users LIMIT 1';
ALTER TABLE users ADD CONSTRAINT new_check CHECK (first_name <> '') NOT VALID;
RESET ROLE;
SET client_min_messages = error;
CREATE PUBLICATION contract_publication FOR TABLE users (id, full_name);
CREATE PUBLICATION contract_rows FOR TABLE users WHERE (full_name <> '');
RESET client_min_messages;
SET ROLE contract_owner;
SELECT migrate.contract('contract_split');
\echo :LAST_ERROR_SQLSTATE
SELECT check_name, ok FROM migrate.check_contract('contract_split');

-- Nothing was changed by it.
\x off
SELECT state FROM migrate.status WHERE name = 'contract_split';
SELECT count(full_name) FROM users;

-- Complete, and the objects gone one by one.
CALL migrate.run('users');
SELECT check_name, detail FROM migrate.check_contract('contract_split') WHERE NOT ok;
RESET ROLE;
DROP PUBLICATION contract_publication, contract_rows;
SET ROLE contract_owner;
DROP VIEW old_view;
DROP MATERIALIZED VIEW old_matview;
DROP INDEX old_index;
DROP STATISTICS old_statistics;
DROP POLICY old_policy ON users;
DROP TABLE pages;
ALTER TABLE users DROP COLUMN old_generated, DROP CONSTRAINT old_unique;
DROP TRIGGER old_trigger ON users;
DROP TRIGGER old_when ON users;
DROP RULE old_rule ON users;
DROP FUNCTION old_function();
SELECT detail FROM migrate.check_contract('contract_split') WHERE NOT ok;
ALTER TABLE users DROP CONSTRAINT old_check;
ALTER TABLE users VALIDATE CONSTRAINT new_check;
SELECT check_name, ok, detail, hint FROM migrate.check_contract('contract_split') WHERE detail IS NOT NULL;
SELECT name, relation, state, version, depends_on, add, remove, percent, failures, contractable, comment
FROM migrate.status WHERE name = 'contract_split';
SELECT pg_relation_filenode('users') AS filenode \gset
SELECT migrate.contract('contract_split', skip => '{usage}');
SELECT pg_relation_filenode('users') = :filenode AS same_file;
\d users
SELECT version, floor FROM migrate.managed WHERE relation = 'users'::regclass;
SELECT event, role, detail FROM migrate.history WHERE migration = 'contract_split';
SELECT state, percent, contractable FROM migrate.status WHERE name = 'contract_split';

-- A plain table again, whose rows keep their version.
EXPLAIN (COSTS OFF) SELECT first_name FROM users;
INSERT INTO users (id, first_name, last_name) VALUES (101, 'x', 'y') RETURNING *;
SELECT count(*), min(row_version), max(row_version) FROM users WHERE first_name IS NOT NULL;

-- Again: nothing to do.
SELECT migrate.contract('contract_split');
SELECT * FROM migrate.check_contract('contract_split') WHERE detail IS NOT NULL;
SELECT migrate.rollback('contract_split');
\echo :LAST_ERROR_SQLSTATE

-- A failed row, and a proof that is not what it should be.
CREATE TABLE strict (id integer PRIMARY KEY, a text);
INSERT INTO strict VALUES (1, '1'), (2, 'two');
SELECT migrate.define('contract_strict', 'strict', add => 'b integer', up => 'b = a::integer', down => 'a = b::text', remove => '{a}');
SELECT migrate.expand('contract_strict');
CALL migrate.run('strict');
SELECT check_name, detail, hint FROM migrate.check_contract('contract_strict') WHERE NOT ok AND check_name = 'rows';
SELECT failures, contractable FROM migrate.status WHERE name = 'contract_strict';
DELETE FROM strict WHERE id = 2;
INSERT INTO strict VALUES (2, '2');
SELECT migrate.retry('strict');
CALL migrate.run('strict');
RESET ROLE;
BEGIN;
SET LOCAL migrate.guard = off;
ALTER TABLE strict DROP CONSTRAINT row_version_2;
SELECT check_name, detail FROM migrate.check_contract('contract_strict') WHERE NOT ok;
ALTER TABLE strict ADD CONSTRAINT row_version_2 CHECK (row_version >= 1);
SELECT check_name, detail FROM migrate.check_contract('contract_strict') WHERE NOT ok;
ROLLBACK;
SET ROLE contract_owner;
SELECT migrate.contract('contract_strict', skip => '{window,usage}');
SELECT * FROM strict ORDER BY id;

-- A chain a -> b -> c: an older migration that uses what would be dropped holds it back.
CREATE TABLE chain (id integer PRIMARY KEY, a integer, x integer);
INSERT INTO chain SELECT i, i, i FROM generate_series(1, 10) i;
SELECT migrate.define('contract_b', 'chain', add => 'b integer', up => 'b = a + 1', down => 'a = b - 1', remove => '{a}');
SELECT migrate.expand('contract_b');
SELECT migrate.define('contract_c', 'chain', add => 'c integer', up => 'c = b + 1', down => 'b = c - 1', remove => '{b}');
SELECT migrate.expand('contract_c');
SELECT migrate.define('contract_x', 'chain', add => 'y integer', up => 'y = x', down => 'x = y', remove => '{x}');
SELECT migrate.expand('contract_x');
SELECT migrate.define('contract_z', 'chain', add => 'z integer', up => 'z = c + y', depends_on => '{contract_x}');
CALL migrate.run('chain');
SELECT check_name, detail, hint FROM migrate.check_contract('contract_c') WHERE NOT ok;
-- Not the newest last: what does not concern the others may go first.
SELECT migrate.contract('contract_x', skip => '{window,usage}');
SELECT version, floor FROM migrate.managed WHERE relation = 'chain'::regclass;
SELECT * FROM chain WHERE id = 1;
UPDATE chain SET a = 100 WHERE id = 1;
UPDATE chain SET c = 52 WHERE id = 2;
SELECT * FROM chain WHERE id < 4 ORDER BY id;
SELECT migrate.contract('contract_b', skip => '{window,usage}');
SELECT migrate.contract('contract_c', skip => '{window,usage}');
SELECT * FROM chain WHERE id < 4 ORDER BY id;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'chain'::regclass;
SELECT conname FROM pg_constraint WHERE conrelid = 'chain'::regclass AND contype = 'c';
-- What is only defined counts where it was declared to come after.
SELECT migrate.forget('contract_z');
SELECT migrate.define('contract_d', 'chain', add => 'd integer', up => 'd = c', down => 'c = d', remove => '{c}', depends_on => '{contract_c,contract_x}');
SELECT migrate.define('contract_e', 'chain', add => 'e integer', up => 'e = c', depends_on => '{contract_d}');
SELECT migrate.expand('contract_d');
CALL migrate.run('chain');
SELECT check_name, detail, hint FROM migrate.check_contract('contract_d') WHERE NOT ok;
SELECT migrate.forget('contract_e');
SELECT migrate.contract('contract_d', skip => '{window,usage}');

-- Two that remove one column: it goes with the last. A third that reads it holds it back.
CREATE TABLE shared (id integer PRIMARY KEY, a text);
INSERT INTO shared VALUES (1, 'a b');
SELECT migrate.define('contract_s1', 'shared', add => 'b text', up => $$b = split_part(a, ' ', 1)$$, remove => '{a}');
SELECT migrate.define('contract_s2', 'shared', add => 'c text', up => $$c = split_part(a, ' ', 2)$$, remove => '{a}');
SELECT migrate.expand('contract_s1');
SELECT migrate.expand('contract_s2');
SELECT migrate.define('contract_s3', 'shared', add => 'd text', up => 'd = upper(a)');
SELECT migrate.expand('contract_s3');
CALL migrate.run('shared');
SELECT check_name, detail, hint FROM migrate.check_contract('contract_s2') WHERE NOT ok;
SELECT migrate.contract('contract_s1');
SELECT * FROM shared;
SELECT migrate.contract('contract_s2', skip => '{window,usage}');
SELECT migrate.contract('contract_s3');
SELECT migrate.contract('contract_s2', skip => '{window,usage}');
SELECT * FROM shared;
SELECT migration, event, detail FROM migrate.history WHERE migration LIKE 'contract_s_' AND event = 'contracted';

-- Partitions, whose attributes are numbered otherwise; what uses a partition's column counts.
CREATE TABLE parted (id integer, a text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 (junk integer, a text, id integer);
ALTER TABLE parted_2 DROP COLUMN junk;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (10) TO (20);
INSERT INTO parted VALUES (1, 'a'), (11, 'b');
SELECT migrate.define('contract_parted', 'parted', add => 'b text', up => 'b = upper(a)', down => 'a = lower(b)', remove => '{a}');
SELECT migrate.expand('contract_parted');
CALL migrate.run('parted');
CREATE INDEX on_both ON parted (a);
CREATE INDEX on_one ON parted_2 (lower(a));
CREATE VIEW of_one AS SELECT a FROM parted_2;
SELECT check_name, detail FROM migrate.check_contract('contract_parted') WHERE NOT ok;
-- What the hint says to type can be typed.
CREATE VIEW "Odd ""view""" AS SELECT a FROM parted;
CREATE STATISTICS "Odd statistics" ON a, id FROM parted;
ALTER TABLE parted ADD CONSTRAINT "Odd check" CHECK (a <> 'nosuch'), ADD "Odd generated" text GENERATED ALWAYS AS (a || a) STORED;
CREATE POLICY "Odd policy" ON parted USING (a <> '');
CREATE TRIGGER "Odd trigger" AFTER UPDATE ON parted FOR EACH ROW WHEN (OLD.a <> NEW.a) EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE FUNCTION "Odd function"(integer, OUT text) BEGIN ATOMIC SELECT a FROM parted WHERE id = $1; END;
CREATE TABLE pointing (a text, id integer) PARTITION BY LIST (id);
CREATE TABLE pointing_1 PARTITION OF pointing DEFAULT;
ALTER TABLE parted ADD CONSTRAINT "Odd unique" UNIQUE (a, id);
ALTER TABLE pointing ADD CONSTRAINT "Odd reference" FOREIGN KEY (a, id) REFERENCES parted (a, id);
SELECT statement FROM migrate.check_contract('contract_parted'),
	unnest(string_to_array(split_part(hint, 'or: ', 2), '; ')) WITH ORDINALITY AS u (statement, n)
WHERE NOT ok ORDER BY statement LIKE '%"Odd unique"', n
\gexec
SELECT migrate.contract('contract_parted', skip => '{window,usage}');
SELECT tableoid::regclass, * FROM parted ORDER BY id;
SELECT conrelid::regclass, conname FROM pg_constraint WHERE conrelid IN (SELECT relid FROM pg_partition_tree('parted')) AND contype = 'c' ORDER BY conrelid::regclass::text;

-- Names as long and as odd as they come; an empty table; one whose version column has a name of its own.
CREATE TABLE "a table with a name that is exactly sixty-three bytes long, yes" ("select" integer, "order" integer);
SELECT migrate.manage('"a table with a name that is exactly sixty-three bytes long, yes"', 'version column with a name that is sixty-three bytes long, also');
SELECT migrate.define('contract it''s "odd"', '"a table with a name that is exactly sixty-three bytes long, yes"',
	add => '"a new column with a name that is exactly sixty-three bytes long" integer',
	up => '"a new column with a name that is exactly sixty-three bytes long" = "select" + 1',
	down => '"select" = "a new column with a name that is exactly sixty-three bytes long" - 1', remove => '{select}');
SELECT migrate.expand('contract it''s "odd"');
SELECT hint FROM migrate.check_contract('contract it''s "odd"') WHERE check_name = 'state';
CALL migrate.run();
SELECT migrate.contract('contract it''s "odd"', skip => '{window,usage}');
\d "a table with a name that is exactly sixty-three bytes long, yes"

RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA contract CASCADE;
DROP ROLE contract_owner, contract_other;
