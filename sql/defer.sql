--
-- on_error => 'defer': writes of the old form for which up fails are stored
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
CREATE SCHEMA defer;
SET search_path = defer;

CREATE TABLE readings (id integer PRIMARY KEY, value text, note text);
INSERT INTO readings VALUES (1, '10'), (2, 'ten'), (3, '30');
SELECT migrate.define('defer_number', 'readings', add => 'number integer', up => 'number = value::integer',
	down => 'value = CASE number WHEN 13 THEN (1 / (number - 13))::text ELSE number::text END', remove => '{value}', on_error => 'defer');
SELECT migrate.expand('defer_number');
\d readings

-- INSERT, in every way
INSERT INTO readings VALUES (11, '11'), (12, 'twelve');
INSERT INTO readings (id, value) SELECT 13, 'thirteen';
COPY readings (id, value) FROM STDIN;
14	fourteen
15	15
\.
INSERT INTO readings VALUES (2, 'zwei', 'upsert'), (16, 'sixteen', NULL)
	ON CONFLICT (id) DO UPDATE SET value = EXCLUDED.value, note = EXCLUDED.note;
MERGE INTO readings r USING (VALUES (3, 'three'), (17, 'seventeen')) v (id, value) ON r.id = v.id
	WHEN MATCHED THEN UPDATE SET value = v.value
	WHEN NOT MATCHED THEN INSERT (id, value) VALUES (v.id, v.value);
SELECT id, value, note, row_version FROM readings ORDER BY id;
COPY readings TO STDOUT;
SELECT row_key, migration, sqlstate, message, attempts FROM migrate.failures WHERE relation = 'readings'::regclass ORDER BY row_key;
SELECT failures, contractable FROM migrate.status WHERE name = 'defer_number';

-- a new column of such a row reads as any other that fails
SELECT number FROM readings WHERE id = 12;
SELECT id, number FROM readings WHERE id IN (1, 11, 15) ORDER BY id;
INSERT INTO readings VALUES (15, 'EXCLUDED') ON CONFLICT (id) DO UPDATE SET number = EXCLUDED.number;
INSERT INTO readings VALUES (15, '15') ON CONFLICT (id) DO UPDATE SET number = EXCLUDED.number WHERE EXCLUDED.number > 0;

-- UPDATE: of a converted row, of one that is deferred, of a stale one
UPDATE readings SET value = 'eleven' WHERE id = 11;
UPDATE readings SET note = 'still' WHERE id IN (11, 12);
UPDATE readings SET value = 'one' WHERE id = 1;
-- what mends a row converts it, and nothing is left to be known
UPDATE readings SET value = '11' WHERE id = 11;
UPDATE readings SET id = 120 WHERE id = 12;
UPDATE readings SET id = 1, value = '1', note = 'mended' WHERE id = 1;
DELETE FROM readings WHERE id = 13;
COPY readings TO STDOUT;
SELECT row_key, message, attempts FROM migrate.failures WHERE relation = 'readings'::regclass ORDER BY row_key;

-- the new form is never given up: not what a statement sets,
INSERT INTO readings (id, number) VALUES (13, 13);
INSERT INTO readings (id, number) VALUES (18, 18);
UPDATE readings SET number = 5 WHERE id = 120;
UPDATE readings SET value = 'x', number = NULL WHERE id = 120;
-- nor does an error of another kind count
BEGIN;
SAVEPOINT a;
SET LOCAL statement_timeout = '1ms';
\set VERBOSITY sqlstate
INSERT INTO readings SELECT 20, pg_sleep(10)::text;
\set VERBOSITY default
ROLLBACK;

-- rolled back with the writer
BEGIN;
INSERT INTO readings VALUES (21, 'bad');
SAVEPOINT a;
UPDATE readings SET value = '120' WHERE id = 120;
DELETE FROM readings WHERE id = 21;
SELECT row_key FROM migrate.failures WHERE relation = 'readings'::regclass ORDER BY row_key;
ROLLBACK TO a;
SELECT row_key FROM migrate.failures WHERE relation = 'readings'::regclass ORDER BY row_key;
ROLLBACK;

-- what is left holds the contract back
CALL migrate.run('readings');
SELECT phase, throttled_by FROM migrate.progress WHERE migration = 'defer_number';
SELECT check_name, ok, detail, hint FROM migrate.check_contract('defer_number') WHERE check_name IN ('state', 'rows');
INSERT INTO readings VALUES (22, 'later');
SELECT row_key, attempts FROM migrate.failures WHERE relation = 'readings'::regclass ORDER BY row_key;
SELECT migrate.retry('readings');
CALL migrate.run('readings');
SELECT row_key, attempts FROM migrate.failures WHERE relation = 'readings'::regclass ORDER BY row_key;
-- and nothing more is needed once they are mended
UPDATE readings SET value = id::text WHERE row_version < 2;
CALL migrate.run('readings');
SELECT state, failures FROM migrate.status WHERE name = 'defer_number';
SELECT event, detail FROM migrate.history WHERE migration = 'defer_number';
\d readings
-- from then on up must not fail
\set SHOW_CONTEXT always
INSERT INTO readings VALUES (23, 'bad');
\set SHOW_CONTEXT errors
SELECT migrate.contract('defer_number', skip => '{window,usage}');
SELECT * FROM readings ORDER BY id;

--
-- What the new form holds and the old one does not is not lost
--
CREATE TABLE people (id integer PRIMARY KEY, name text, born text, seen date);
SELECT migrate.define('defer_people', 'people', add => 'first text, last text, year integer, tag text',
	up => $$first = split_part(name, ' ', 1), last = split_part(name, ' ', 2), year = born::integer$$,
	down => $$name = first || ' ' || last$$, on_error => 'defer');
SELECT migrate.expand('defer_people');
INSERT INTO people VALUES (1, 'Ann Lee', '1990'), (2, 'Bob Ray', '1991'), (3, 'Cy Day', '1992'), (4, 'Di Fox', '1993');
UPDATE people SET first = 'Mary Ann' WHERE id = 1;	-- up would split it otherwise
UPDATE people SET year = 2000 WHERE id = 2;			-- which no down keeps
UPDATE people SET tag = 'kept' WHERE id = 4;		-- which no up touches
UPDATE people SET born = 'unknown' WHERE id = 1;
UPDATE people SET born = 'unknown' WHERE id <> 1;
UPDATE people SET name = 'Ann Marie', born = 'unknown' WHERE id = 1;	-- all of it is overwritten
COPY (SELECT id, name, born, tag, row_version FROM people) TO STDOUT;
COPY people (id, name, first, last, year, tag) TO STDOUT;
UPDATE people SET born = 1900 + id;
SELECT * FROM people ORDER BY id;
SELECT count(*) FROM migrate.failures WHERE relation = 'people'::regclass;

--
-- In a chain the row keeps what comes before the migration that fails
--
CREATE TABLE chain (id integer PRIMARY KEY, a text);
INSERT INTO chain VALUES (1, '1'), (2, 'x'), (3, '0');
SELECT migrate.define('defer_chain_1', 'chain', add => 'b text', up => $$b = 'b' || a$$, down => 'a = substr(b, 2)');
SELECT migrate.define('defer_chain_2', 'chain', add => 'c integer', up => 'c = substr(b, 2)::integer', down => $$b = 'b' || c$$, on_error => 'defer');
SELECT migrate.define('defer_chain_3', 'chain', add => 'd integer', up => 'd = 100 / c', down => 'c = 100 / d');
SELECT migrate.define('defer_chain_4', 'chain', add => 'e integer', up => 'e = 1000 / (d - 50)', down => 'd = 50 + 1000 / e', on_error => 'defer');
SELECT migrate.expand('defer_chain_1');
SELECT migrate.expand('defer_chain_2');
INSERT INTO chain VALUES (4, 'deferred, then expanded');
SELECT migrate.expand('defer_chain_3');
SELECT migrate.expand('defer_chain_4');
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'chain'::regclass AND contype = 'c' ORDER BY conname;
INSERT INTO chain (id, a) VALUES (11, '1'), (12, 'y'), (13, '2');
INSERT INTO chain (id, a) VALUES (14, '0');			-- where the third does not defer
INSERT INTO chain (id, b) VALUES (15, 'bz');
INSERT INTO chain (id, d) VALUES (16, 50), (17, 25);
UPDATE chain SET a = 'yy' WHERE id IN (1, 11);
UPDATE chain SET b = 'b5' WHERE id = 12;
UPDATE chain SET a = '0' WHERE id = 1;
COPY (SELECT id, a, b, row_version FROM chain ORDER BY id) TO STDOUT;
COPY chain TO STDOUT;
SELECT row_key, migration, message FROM migrate.failures WHERE relation = 'chain'::regclass ORDER BY row_key;
CALL migrate.run('chain');
SELECT row_key, migration, message FROM migrate.failures WHERE relation = 'chain'::regclass ORDER BY row_key;
UPDATE chain SET a = '4' WHERE row_version < 5;
CALL migrate.run('chain');
SELECT name, state FROM migrate.status WHERE relation = 'chain'::regclass ORDER BY version;
SELECT conname, convalidated, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'chain'::regclass AND contype = 'c' ORDER BY conname;
SELECT * FROM chain ORDER BY id;

--
-- Rewritten in place; a generated column; a "needed"; constraints of the new form; triggers of one's own
--
CREATE TABLE odd (id integer, v text, g text GENERATED ALWAYS AS (v || '!') STORED);
SELECT migrate.define('defer_in_place', 'odd', up => $$v = lpad(v, 5 + 0 / length(v), '0')$$, on_error => 'defer');
SELECT migrate.expand('defer_in_place');
INSERT INTO odd VALUES (1, '1'), (2, ''), (3, NULL), (4, '');
UPDATE odd SET v = '' WHERE id = 1;
UPDATE odd SET v = '4' WHERE id = 4;
COPY (SELECT id, row_version FROM odd) TO STDOUT;
COPY odd TO STDOUT;
SELECT row_key, message FROM migrate.failures WHERE relation = 'odd'::regclass ORDER BY row_key;
TRUNCATE odd;
CALL migrate.run('odd');
SELECT state, failures FROM migrate.status WHERE name = 'defer_in_place';

CREATE TABLE few (id integer PRIMARY KEY, v text);
SELECT migrate.define('defer_needed', 'few', add => 'n integer', up => 'n = v::integer', needed => $$v <> '-'$$, on_error => 'defer');
SELECT migrate.expand('defer_needed');
INSERT INTO few VALUES (1, '1'), (2, '-'), (3, 'x');
UPDATE few SET v = 'y' WHERE id = 2;
UPDATE few SET v = '-' WHERE id = 3;
COPY few TO STDOUT;
UPDATE few SET v = '2' WHERE id = 2;
CALL migrate.run('few');
SELECT state FROM migrate.status WHERE name = 'defer_needed';
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'few'::regclass AND contype = 'c';

CREATE TABLE strict (id integer PRIMARY KEY, v text);
SELECT migrate.define('defer_strict', 'strict', add => 'n integer NOT NULL CHECK (n > 0) UNIQUE', up => 'n = v::integer', on_error => 'defer');
SELECT migrate.expand('defer_strict');
INSERT INTO strict VALUES (1, '1'), (2, 'x'), (3, '-3');
SELECT migrate.create_index('defer_strict', 'n', while_stale => true);
CREATE UNIQUE INDEX ON strict (n);
CALL migrate.run('strict');
SELECT phase FROM migrate.progress WHERE migration = 'defer_strict';
INSERT INTO strict VALUES (4, 'y');
UPDATE strict SET v = id WHERE id IN (2, 4);
CALL migrate.run('strict');
SELECT row_key, message FROM migrate.failures WHERE relation = 'strict'::regclass ORDER BY row_key;
INSERT INTO strict VALUES (5, 'z');
UPDATE strict SET v = '3' WHERE id = 3;
DELETE FROM strict WHERE id = 5;
SELECT migrate.retry('strict');
CALL migrate.run('strict');
SELECT state FROM migrate.status WHERE name = 'defer_strict';
\d strict

CREATE TABLE busy (id integer PRIMARY KEY, v text);
CREATE FUNCTION busy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.v = 'mend' THEN NEW.v := '7'; ELSIF NEW.v = '8' THEN NEW.v := 'break'; ELSIF NEW.v = 'new' THEN NEW.n := 9; END IF;
	IF NEW.v = 'skip' THEN RETURN NULL; END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER busy BEFORE INSERT OR UPDATE ON busy FOR EACH ROW EXECUTE FUNCTION busy();
SELECT migrate.define('defer_busy', 'busy', add => 'n integer', up => 'n = v::integer', down => 'v = n::text', on_error => 'defer');
SELECT migrate.expand('defer_busy');
INSERT INTO busy VALUES (1, 'mend'), (2, '8'), (3, 'skip'), (4, '4'), (5, 'x');
UPDATE busy SET v = '8' WHERE id = 4;
UPDATE busy SET v = 'mend' WHERE id = 5;
UPDATE busy SET v = 'skip' WHERE id = 2;
INSERT INTO busy VALUES (6, 'new');
-- one that mends a row before it was recorded
CREATE FUNCTION busy_after() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE busy SET v = '70' WHERE v = 'later';
	RETURN NULL;
END $$;
CREATE TRIGGER busy_after AFTER INSERT ON busy FOR EACH ROW EXECUTE FUNCTION busy_after();
INSERT INTO busy VALUES (7, '7'), (8, 'later');
COPY busy TO STDOUT;
SELECT row_key, message FROM migrate.failures WHERE relation = 'busy'::regclass ORDER BY row_key;
-- and one that was recorded already, and is written again by the same statement
CREATE FUNCTION busy_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE busy SET v = '40' WHERE id = 4;
	UPDATE busy SET v = 'worse' WHERE id = 2;
	RETURN NULL;
END $$;
CREATE TRIGGER busy_update AFTER UPDATE ON busy FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION busy_update();
UPDATE busy SET v = 'bad' WHERE id IN (1, 2, 4);
SELECT id, v, row_version FROM busy WHERE id IN (1, 2, 4) ORDER BY id;
SELECT row_key, message FROM migrate.failures WHERE relation = 'busy'::regclass ORDER BY row_key;

--
-- Partitions, of which one has its columns in another order; rows move between them
--
CREATE TABLE parts (part integer, id integer, v text, PRIMARY KEY (part, id)) PARTITION BY LIST (part);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 (v text, gone integer, id integer NOT NULL, part integer NOT NULL);
ALTER TABLE parts_2 DROP COLUMN gone;
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES IN (2);
SELECT migrate.define('defer_parts', 'parts', add => 'n integer', up => 'n = v::integer', down => 'v = n::text', on_error => 'defer');
SELECT migrate.expand('defer_parts');
INSERT INTO parts VALUES (1, 1, '1'), (1, 2, 'x'), (2, 3, '3'), (2, 4, 'y');
UPDATE parts SET part = 3 - part WHERE id IN (1, 2);
UPDATE parts SET part = 1, v = 'z' WHERE id = 3;
INSERT INTO parts VALUES (2, 1, 'EXCLUDED') ON CONFLICT (part, id) DO UPDATE SET n = EXCLUDED.n;
INSERT INTO parts VALUES (2, 1, '1') ON CONFLICT (part, id) DO UPDATE SET n = EXCLUDED.n;
SELECT tableoid::regclass, part, id, v, row_version FROM parts ORDER BY id;
SELECT relation, row_key, message FROM migrate.failures WHERE migration = 'defer_parts' ORDER BY row_key;
ALTER TABLE parts DETACH PARTITION parts_2;
SET migrate.guard = off;
ALTER TABLE parts DETACH PARTITION parts_2;
RESET migrate.guard;
DELETE FROM parts_2 WHERE id = 4;
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES IN (2);
CREATE TABLE parts_3 PARTITION OF parts FOR VALUES IN (3);
INSERT INTO parts VALUES (3, 5, 'w');
CALL migrate.run('parts');
SELECT relation, row_key, message FROM migrate.failures WHERE migration = 'defer_parts' ORDER BY row_key;
UPDATE parts SET v = '0' WHERE row_version < 2;
CALL migrate.run('parts');
SELECT state FROM migrate.status WHERE name = 'defer_parts';
SELECT * FROM parts ORDER BY id;

--
-- Rolled back; expanded again
--
CREATE TABLE back (id integer PRIMARY KEY, v text);
SELECT migrate.define('defer_back', 'back', add => 'n integer', up => 'n = v::integer', down => 'v = n::text', on_error => 'defer');
SELECT migrate.expand('defer_back');
INSERT INTO back VALUES (1, '1'), (2, 'x');
SELECT migrate.rollback('defer_back');
\d back
INSERT INTO back VALUES (3, 'y');
SELECT * FROM back ORDER BY id;
SELECT migrate.expand('defer_back');
INSERT INTO back VALUES (4, 'z');
SELECT id, v, row_version FROM back ORDER BY id;
-- somebody else's trigger or constraint does not go by mistake
DROP TRIGGER "!migrate_mend" ON back;
ALTER TABLE back DROP CONSTRAINT row_version_3;
-- were our triggers missing, no row with a mark would be stored
SET migrate.guard = off;
ALTER TABLE back DISABLE TRIGGER ALL;
INSERT INTO back (id, v) VALUES (5, '5');
ALTER TABLE back ENABLE ALWAYS TRIGGER "!migrate", ENABLE ALWAYS TRIGGER "~migrate",
	ENABLE ALWAYS TRIGGER "!migrate_defer", ENABLE ALWAYS TRIGGER "!migrate_mend";
RESET migrate.guard;

-- Anybody's write is recorded; who may not read the table sees no key
CREATE ROLE defer_writer;
GRANT USAGE ON SCHEMA defer TO defer_writer;
GRANT INSERT, DELETE, UPDATE, SELECT (id) ON back TO defer_writer;
SET ROLE defer_writer;
INSERT INTO back (id, v) VALUES (6, 'secret');
UPDATE back SET v = 'another' WHERE id = 1;
DELETE FROM back WHERE id = 2;
SELECT count(*) FROM migrate.failures;
RESET ROLE;
SELECT row_key, message FROM migrate.failures WHERE relation = 'back'::regclass ORDER BY row_key;
-- a table without a key, and an isolation level that does not see what others commit
CREATE TABLE keyless (v text);
SELECT migrate.define('defer_keyless', 'keyless', add => 'n integer', up => 'n = v::integer', down => 'v = n::text', on_error => 'defer');
SELECT migrate.expand('defer_keyless');
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO keyless VALUES ('x'), ('x');
UPDATE keyless SET v = 'y';
UPDATE keyless SET v = '1' WHERE ctid = '(0,3)';
COMMIT;
SELECT row_key, message FROM migrate.failures WHERE relation = 'keyless'::regclass;
VACUUM FULL keyless;
CALL migrate.run('keyless');
SELECT row_key, message FROM migrate.failures WHERE relation = 'keyless'::regclass;
UPDATE keyless SET v = '2' WHERE v = 'y';
CALL migrate.run('keyless');
SELECT * FROM keyless;
SELECT state FROM migrate.status WHERE name = 'defer_keyless';

SET migrate.guard = off;
DROP SCHEMA defer CASCADE;
DROP ROLE defer_writer;
