-- Releases: what their clients know, sessions that are pinned to them, and their views.
CREATE DATABASE regress_migrate_release;
\c regress_migrate_release
CREATE EXTENSION migrate;
CREATE TABLE people (id int PRIMARY KEY, full_name text NOT NULL DEFAULT '? ?', price int, note text);
ALTER TABLE people ADD COLUMN gone int, ADD COLUMN gone2 int;
ALTER TABLE people DROP COLUMN gone, DROP COLUMN gone2;
COMMENT ON TABLE people IS 'everybody';
COMMENT ON COLUMN people.note IS 'anything';
INSERT INTO people SELECT g, 'A' || g || ' B', g, 'n' FROM generate_series(1, 3) g;
SELECT migrate.create_release('2026.1');
SELECT migrate.define('names', 'people', add => 'first_name text, last_name text',
	up => $$first_name = nullif(split_part(full_name, ' ', 1), '-'), last_name = nullif(split_part(full_name, ' ', 2), '-')$$,
	down => $$full_name = coalesce(first_name || ' ' || last_name, '- -')$$, remove => '{full_name}');
SELECT migrate.define('price', 'people', add => 'price numeric(12,2)', up => 'price = old.price', down => 'price = new.price');
SELECT migrate.create_release('2026.2', '{price}');
SELECT migrate.create_release('2026.2', '{nothing}');
SELECT migrate.create_release('', '{}');
SELECT migrate.expand('names'), migrate.expand('price');
SELECT migrate.create_release('2026.2');
SELECT migrate.create_release('2026.2');
SELECT migrate.create_release('2026.2', '{names}');
SELECT name, migrations, retired_at IS NOT NULL AS retired, pinned_sessions FROM migrate.releases;

-- Published views have the columns of their release.
SELECT migrate.publish('2026.1', 'r1'), migrate.publish('2026.2', 'r2');
SELECT attrelid::regclass, attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum),
	obj_description(attrelid) FROM pg_attribute
	WHERE attrelid IN ('r1.people'::regclass, 'r2.people'::regclass) ORDER BY attrelid::regclass::text, attnum;
SELECT * FROM r1.people ORDER BY id;
SELECT * FROM r2.people ORDER BY id;
INSERT INTO r1.people (id, full_name, price) VALUES (4, 'C D', 4) RETURNING *;
INSERT INTO r2.people (id, first_name, last_name, price) VALUES (5, 'E', 'F', 5.00) RETURNING *;
UPDATE r2.people SET last_name = 'Z', price = price + 1 WHERE id = 4 RETURNING *;
UPDATE r1.people SET full_name = 'Y Y', price = 7 WHERE id = 5 RETURNING *;
INSERT INTO r2.people (id, first_name, last_name) VALUES (1, 'G', 'H') ON CONFLICT (id)
	DO UPDATE SET first_name = EXCLUDED.first_name RETURNING *;
DELETE FROM r1.people WHERE id = 2 RETURNING *;
SELECT * FROM r1.people ORDER BY id;
SELECT migrate.publish('2026.2', 'r1');
SELECT migrate.publish('2026.1', 'r1');

-- A pinned session uses what its release knows.
SET migrate.release = 'none';
SET migrate.release = '2026.1';
SELECT count(*) FROM people;
SELECT full_name FROM people WHERE id = 1;
SELECT first_name FROM people WHERE id = 1;
SELECT id FROM people WHERE EXISTS (SELECT FROM people p WHERE p.id > people.id AND p.last_name = 'Z');
SELECT * FROM people WHERE id = 1;
SELECT *, first_name FROM people WHERE id = 1;
INSERT INTO people SELECT * FROM people WHERE false;
UPDATE people SET last_name = 'X' WHERE id = 1;
INSERT INTO people (id, first_name) VALUES (9, 'X');
SELECT first_name FROM r2.people WHERE id = 1;
SET migrate.release = '2026.2';
SELECT full_name FROM people WHERE id = 1;
SELECT first_name, price FROM people WHERE id = 1;
INSERT INTO people (id, first_name, last_name) VALUES (1, 'Y', 'Y') ON CONFLICT (id) DO UPDATE SET first_name = people.first_name;
INSERT INTO people (id, first_name, last_name) VALUES (1, 'Y', 'Y') ON CONFLICT (id) DO UPDATE SET first_name = EXCLUDED.full_name;
COPY people (id, full_name) TO stdout;
COPY (SELECT full_name FROM people) TO stdout;
SELECT name, pinned_sessions FROM migrate.releases;
BEGIN;
SET LOCAL migrate.release = '2026.1';
SELECT name, pinned_sessions FROM migrate.releases;
COMMIT;
SELECT name, pinned_sessions FROM migrate.releases;
RESET migrate.release;
SELECT name, pinned_sessions FROM migrate.releases;

-- In every kind of statement, and when it was prepared before.
PREPARE new_form AS SELECT first_name FROM people WHERE id = 1;
PREPARE old_form(int) AS UPDATE people SET full_name = full_name WHERE id = $1 RETURNING full_name;
PREPARE any_form AS SELECT count(*) FROM (SELECT * FROM people) p;
CREATE FUNCTION new_form() RETURNS text LANGUAGE plpgsql AS $$DECLARE r text; BEGIN EXECUTE 'EXECUTE new_form' INTO r; RETURN r; END$$;
EXECUTE new_form;
SET migrate.release = '2026.1';
EXECUTE new_form;
EXPLAIN EXECUTE new_form;
CREATE TABLE copied AS EXECUTE new_form;
EXECUTE old_form(1);
EXECUTE any_form;
SELECT new_form();
CREATE TABLE copied AS SELECT first_name FROM people;
DECLARE c CURSOR WITH HOLD FOR SELECT first_name FROM people;
EXPLAIN SELECT first_name FROM people;
CREATE VIEW of_people AS SELECT first_name FROM people;
COPY people (id, full_name, price, note, row_version, first_name) TO stdout;
COPY (SELECT id FROM people WHERE last_name > 'A') TO stdout;
DELETE FROM people WHERE first_name = 'A';
UPDATE people SET note = 'n' WHERE id = 1 RETURNING last_name;
SELECT count(*) FROM people GROUP BY id, first_name;
SELECT count(*) FROM people a JOIN people b USING (id, first_name);
VALUES ((SELECT max(first_name) FROM people));
MERGE INTO people p USING (VALUES (1)) v (id) ON p.id = v.id WHEN MATCHED THEN UPDATE SET first_name = 'M';
-- What stands for all columns is not refused, as by a dump, nor is what goes on from there.
COPY people (id, full_name, price, note, row_version, first_name, last_name, price_new) TO stdout;
SELECT p FROM people p WHERE id = 1;
SELECT first_name FROM (SELECT * FROM people) p WHERE id = 1;
UPDATE people SET note = 'n' WHERE id = 1 RETURNING *;
BEGIN;
SET LOCAL migrate.release = '2026.2';
EXECUTE new_form;
EXECUTE old_form(1);
ROLLBACK;
EXECUTE old_form(1);
BEGIN;
SAVEPOINT s;
SET LOCAL migrate.release = '2026.2';
ROLLBACK TO s;
SELECT release FROM migrate.pinned_sessions();
EXECUTE old_form(1);
SET LOCAL migrate.release = '2026.2';
RELEASE s;
SELECT release FROM migrate.pinned_sessions();
COMMIT;
CREATE FUNCTION pinned() RETURNS text LANGUAGE sql SET migrate.release = '2026.2'
	AS $$SELECT string_agg(release, ',') FROM migrate.pinned_sessions()$$;
SELECT pinned(), release FROM migrate.pinned_sessions();
SET migrate.release = '';
SELECT count(*) FROM migrate.pinned_sessions();
EXECUTE new_form;
-- A default may be meant for another database.
CREATE ROLE regress_release_role;
ALTER ROLE regress_release_role SET migrate.release = 'none';
ALTER ROLE regress_release_role SET migrate.release = '2026.1';
DROP ROLE regress_release_role;
SET migrate.release = '2026.1';
DISCARD ALL;
SHOW migrate.release;
SELECT count(*) FROM migrate.pinned_sessions();
DROP FUNCTION new_form(), pinned();

-- It speaks its release's form where a statement tells none, and what is rewritten in place.
SELECT migrate.define('notes', 'people', up => 'note = lower(note)');
SELECT migrate.expand('notes');
SELECT migrate.create_release('2026.3');
INSERT INTO people (id, note) VALUES (20, 'Unpinned') RETURNING id, full_name, first_name, note;
SET migrate.release = '2026.3';
INSERT INTO people (id, note) VALUES (21, 'Pinned') RETURNING id, first_name, note;
UPDATE people SET note = 'PINNED' WHERE id = 20 RETURNING id, first_name, note;
UPDATE people SET note = 'STALE' WHERE id = 3 RETURNING id, first_name, note;
INSERT INTO people (id, first_name, last_name) VALUES (22, 'G', 'H') RETURNING id, first_name, note;
SET migrate.release = '2026.2';
INSERT INTO people (id, note) VALUES (23, 'Older') RETURNING id, first_name, note;
RESET migrate.release;
SELECT id, full_name, first_name, note FROM people WHERE id >= 20 ORDER BY id;
DELETE FROM people WHERE id >= 20;
SELECT migrate.rollback('notes', discard => true), migrate.forget('notes');

-- A release that is not retired holds up the contract of what it lacks.
CALL migrate.run('people');
SELECT check_name, detail, hint FROM migrate.check_contract('names') WHERE NOT ok;
SELECT migrate.contract('names', skip => '{window,usage}');
SELECT migrate.retire_release('2026.1');
SELECT migrate.retire_release('2026.1');
SELECT migrate.retire_release('none');
SET migrate.release = '2026.1';
SELECT check_name, detail, hint FROM migrate.check_contract('names') WHERE NOT ok;
SELECT migrate.unpublish('r1');
SELECT migrate.unpublish('r1');
SELECT migrate.contract('names', skip => '{window,usage}'), migrate.contract('price', skip => '{window,usage}');
SELECT * FROM r2.people ORDER BY id;
SELECT migrate.unpublish('r2');

-- Rows from before the oldest version that is supported have to go through a release that it was.
SELECT migrate.define('later', 'people', add => 'later text');
SELECT migrate.expand('later');
INSERT INTO people (id, row_version) VALUES (30, 1);
INSERT INTO people (id, row_version) VALUES (30, 99);
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'r_';

-- For who is known to speak it, nothing is rewritten; in a stale row as in another.
CREATE TABLE tags (id int PRIMARY KEY, tag text, shown text);
INSERT INTO tags VALUES (1, 'Old', 'Old'), (2, 'Old', 'Old');
SELECT migrate.define('shown', 'tags', up => 'shown = lower(tag)');
SELECT migrate.expand('shown'), migrate.create_release('shown');
UPDATE tags SET shown = shown WHERE id = 2;
SET migrate.release = 'shown';
UPDATE tags SET tag = 'New' RETURNING *;
RESET migrate.release;
UPDATE tags SET tag = 'Newer' RETURNING *;

-- All columns but generated ones, as a dump of INSERTs lists them, are not refused.
ALTER TABLE tags ADD COLUMN length int GENERATED ALWAYS AS (length(tag)) STORED;
SELECT migrate.define('size', 'tags', add => 'size int');
SELECT migrate.expand('size');
SET migrate.release = 'shown';
BEGIN;
DECLARE dump CURSOR FOR SELECT id, tag, shown, row_version, NULL, size FROM tags;
COMMIT;
SELECT count(*) FROM (SELECT id, tag, shown, row_version, size FROM tags) t;
SELECT id, tag, shown, row_version, size FROM tags WHERE size > 0;
SELECT id, tag, shown, NULL, row_version, size FROM tags;
RESET migrate.release;

-- Whom it concerns.
CREATE ROLE regress_release_stranger;
SET ROLE regress_release_stranger;
SELECT migrate.create_release('mine');
SELECT migrate.retire_release('2026.2');
SELECT migrate.publish('2026.2', 'mine');
SELECT migrate.unpublish('mine');
RESET ROLE;
DROP ROLE regress_release_stranger;

\c contrib_regression
DROP DATABASE regress_migrate_release;
