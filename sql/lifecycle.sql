--
-- The whole life of a migration, define to contract, on tables that are out of
-- the ordinary: in each, an old and a new client write before and after the
-- backfill, and both forms agree all the time.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
CREATE SCHEMA life;
SET search_path = life;

-- How many rows disagree between the two forms, as they are read.
CREATE FUNCTION life(migration text, odd_table regclass, old_insert text, new_insert text,
	old_update text, new_update text, disagree text) RETURNS TABLE (step text, rows bigint, disagreeing bigint)
LANGUAGE plpgsql AS $$
DECLARE
	look text := format('SELECT count(*), count(*) FILTER (WHERE %s) FROM %s', disagree, odd_table);
BEGIN
	step := 'expanded';
	PERFORM migrate.expand(migration);
	EXECUTE look INTO rows, disagreeing;
	RETURN NEXT;
	step := 'written';
	EXECUTE old_insert;
	EXECUTE new_insert;
	EXECUTE old_update;
	EXECUTE new_update;
	EXECUTE look INTO rows, disagreeing;
	RETURN NEXT;
END $$;

-- A name that is a key word, quoted columns, dropped ones before and after, names of 63 bytes.
CREATE TABLE "order" (gone_1 text, "select" integer PRIMARY KEY, gone_2 integer,
	"an old column's name, with as many bytes as a name may have !!!" text, gone_3 text);
ALTER TABLE "order" DROP COLUMN gone_1, DROP COLUMN gone_2;
INSERT INTO "order" SELECT i, 'row ' || i, 'x' FROM generate_series(1, 5) i;
ALTER TABLE "order" DROP COLUMN gone_3;
SELECT migrate.define('order by "select"', '"order"',
	add => '"from" text, "a new column''s name, with as many bytes as a name may have !!!" text',
	up => $$"from" = upper("an old column's name, with as many bytes as a name may have !!!"),
		"a new column's name, with as many bytes as a name may have !!!" = reverse("an old column's name, with as many bytes as a name may have !!!")$$,
	down => $$"an old column's name, with as many bytes as a name may have !!!" = reverse("a new column's name, with as many bytes as a name may have !!!")$$,
	remove => ARRAY['an old column''s name, with as many bytes as a name may have !!!']);
SELECT * FROM life('order by "select"', '"order"',
	$$INSERT INTO "order" VALUES (6, 'old')$$,
	$$INSERT INTO "order" ("select", "a new column's name, with as many bytes as a name may have !!!") VALUES (7, 'new')$$,
	$$UPDATE "order" SET "an old column's name, with as many bytes as a name may have !!!" = 'changed' WHERE "select" = 1$$,
	$$UPDATE "order" SET "a new column's name, with as many bytes as a name may have !!!" = 'changed' WHERE "select" = 2$$,
	$$"an old column's name, with as many bytes as a name may have !!!" IS DISTINCT FROM reverse("a new column's name, with as many bytes as a name may have !!!")$$);
CALL migrate.run('"order"');
SELECT migrate.contract('order by "select"', skip => '{window,usage}');
\d "order"
SELECT * FROM "order" ORDER BY 1;

-- An empty table.
CREATE TABLE empty (a integer);
SELECT migrate.define('life_empty', 'empty', add => 'b integer', up => 'b = a + 1', down => 'a = b - 1', remove => '{a}');
SELECT migrate.expand('life_empty');
CALL migrate.run('empty');
SELECT state FROM migrate.status WHERE name = 'life_empty';
SELECT migrate.contract('life_empty', skip => '{window,usage}');
INSERT INTO empty (b) VALUES (1) RETURNING *;

-- One row, one page; no primary key, and rows that are equal.
CREATE TABLE twins (a integer);
INSERT INTO twins VALUES (1), (1), (NULL);
SELECT migrate.define('life_twins', 'twins', add => 'b integer', up => 'b = a + 1', down => 'a = b - 1', remove => '{a}');
SELECT * FROM life('life_twins', 'twins', 'INSERT INTO twins (a) VALUES (1), (NULL)', 'INSERT INTO twins (b) VALUES (2), (NULL)',
	'UPDATE twins SET a = 5 WHERE ctid = ''(0,1)''', 'UPDATE twins SET b = b + 10 WHERE a = 1', 'b IS DISTINCT FROM a + 1');
CALL migrate.run('twins');
SELECT b, count(*) FROM twins GROUP BY b ORDER BY b;
SELECT migrate.contract('life_twins', skip => '{window,usage}');
SELECT b, count(*) FROM twins GROUP BY b ORDER BY b;

-- Domains, enums, arrays, composites and ranges, on both sides.
CREATE DOMAIN cents AS integer CHECK (VALUE >= 0);
CREATE DOMAIN amount AS numeric(12,2) NOT NULL CHECK (VALUE >= 0) DEFAULT 7;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE feeling AS ENUM ('bad', 'good');
CREATE TYPE pair AS (x integer, y text);
CREATE TYPE triple AS (x integer, y text, z integer);
CREATE TABLE types (id integer PRIMARY KEY, d cents, m mood, a integer[], p pair, r int4range);
INSERT INTO types SELECT i, i * 100, CASE WHEN i % 2 = 0 THEN 'sad' ELSE 'happy' END::mood, ARRAY[i, i + 1],
	ROW(i, 'y' || i)::pair, int4range(i, i + 10) FROM generate_series(1, 4) i;
SELECT migrate.define('life_types', 'types',
	add => 'd2 amount, m2 feeling, a2 text[], p2 triple, r2 int8range',
	up => $$d2 = d / 100.0, m2 = CASE m WHEN 'sad' THEN 'bad' ELSE 'good' END::feeling, a2 = a::text[],
		p2 = ROW((p).x, (p).y, (p).x)::triple, r2 = int8range(lower(r), upper(r))$$,
	down => $$d = (d2 * 100)::integer, m = CASE m2 WHEN 'bad' THEN 'sad' ELSE 'happy' END::mood, a = a2::integer[],
		p = ROW((p2).x, (p2).y)::pair, r = int4range(lower(r2)::integer, upper(r2)::integer)$$,
	remove => '{d,m,a,p,r}');
SELECT * FROM life('life_types', 'types',
	$$INSERT INTO types VALUES (5, 500, 'sad', '{5}', '(5,five)', '[5,6)')$$,
	$$INSERT INTO types (id, d2, m2, a2, p2, r2) VALUES (6, 6, 'good', '{6,7}', '(6,six,6)', '[6,9)')$$,
	$$UPDATE types SET d = 150, m = 'happy', a[1] = 99, p.y = 'changed' WHERE id = 2$$,
	$$UPDATE types SET d2 = 1.75, m2 = 'bad', a2[2] = '98', p2.y = 'changed', r2 = '[1,2)' WHERE id = 3$$,
	$$d IS DISTINCT FROM (d2 * 100)::integer OR (m = 'sad') IS DISTINCT FROM (m2 = 'bad') OR a::text IS DISTINCT FROM a2::text
		OR (p).y IS DISTINCT FROM (p2).y OR lower(r) IS DISTINCT FROM lower(r2)::integer$$);
SELECT id, d2, m2, a2, p2, r2 FROM types ORDER BY id;
INSERT INTO types (id, d2) VALUES (7, -1);
INSERT INTO types (id, d) VALUES (7, -1);
CALL migrate.run('types');
SELECT migrate.contract('life_types', skip => '{window,usage}');
SELECT * FROM types ORDER BY id;
\d types

-- Values out of line, on either side and copied from one to the other.
CREATE TABLE toasted (id integer PRIMARY KEY, a text, other integer);
ALTER TABLE toasted ALTER a SET STORAGE EXTERNAL;
INSERT INTO toasted SELECT i, repeat(i::text, 5000), 0 FROM generate_series(1, 4) i;
SELECT migrate.define('life_toasted', 'toasted', add => 'b text, n integer', up => 'b = a, n = length(a)',
	down => 'a = b', remove => '{a}');
SELECT * FROM life('life_toasted', 'toasted', $$INSERT INTO toasted (id, a) VALUES (5, repeat('old', 4000))$$,
	$$INSERT INTO toasted (id, b) VALUES (6, repeat('new', 4000))$$,
	$$UPDATE toasted SET other = 1 WHERE id = 1; UPDATE toasted SET a = a || 'x' WHERE id = 2$$,
	$$UPDATE toasted SET b = b || 'y' WHERE id = 3; UPDATE toasted SET other = 2 WHERE id = 5$$, 'a IS DISTINCT FROM b');
CALL migrate.run('toasted');
SELECT id, other, length(a) = length(b) AS same, md5(b) = md5(a) AS equal FROM toasted ORDER BY id;
SELECT migrate.contract('life_toasted', skip => '{window,usage}');
VACUUM FULL toasted;
SELECT id, length(b), n, right(b, 3) FROM toasted ORDER BY id;

-- A table that has grown by ALTER TABLE: rows shorter than its columns are many.
CREATE TABLE grown (id integer PRIMARY KEY, a integer);
INSERT INTO grown VALUES (1, 10), (2, 20);
ALTER TABLE grown ADD b integer DEFAULT 5, ADD c text, ADD d text DEFAULT 'd';
INSERT INTO grown VALUES (3, 30);
SELECT migrate.define('life_grown', 'grown', add => 'sum integer', up => 'sum = a + b', down => 'a = sum - b', remove => '{a}');
SELECT * FROM life('life_grown', 'grown', 'INSERT INTO grown (id, a) VALUES (4, 40)', 'INSERT INTO grown (id, sum, b) VALUES (5, 55, 3)',
	'UPDATE grown SET a = 11, b = 6 WHERE id = 1', 'UPDATE grown SET sum = 99 WHERE id = 2', 'sum IS DISTINCT FROM a + b');
CALL migrate.run('grown');
SELECT * FROM grown ORDER BY id;
SELECT migrate.contract('life_grown', skip => '{window,usage}');
SELECT * FROM grown ORDER BY id;

-- Again and again on one table: the versions go on from where they were.
CREATE TABLE again (id integer PRIMARY KEY, c0 integer);
INSERT INTO again SELECT i, i FROM generate_series(1, 3) i;
SELECT migrate.define('life_again_1', 'again', add => 'c1 integer', up => 'c1 = c0 + 1', down => 'c0 = c1 - 1', remove => '{c0}');
SELECT migrate.expand('life_again_1');
CALL migrate.run('again');
SELECT migrate.contract('life_again_1', skip => '{window,usage}');
INSERT INTO again (id, c1) VALUES (4, 40);
SELECT migrate.define('life_again_2', 'again', add => 'c2 integer', up => 'c2 = c1 + 1', down => 'c1 = c2 - 1', remove => '{c1}');
SELECT migrate.expand('life_again_2');
INSERT INTO again (id, c1) VALUES (5, 50);
SELECT * FROM again ORDER BY id;
SELECT migrate.rollback('life_again_2');
INSERT INTO again (id, c1) VALUES (6, 60);
SELECT * FROM again ORDER BY id;
SELECT migrate.expand('life_again_2');
SELECT * FROM again ORDER BY id;
CALL migrate.run('again');
SELECT migrate.contract('life_again_2', skip => '{window,usage}');
SELECT * FROM again ORDER BY id;
\d again

--
-- A table that comes to inherit from a managed one is not managed with it: its
-- rows are left alone, and in nobody's way
--
CREATE TABLE parent (id integer, a text);
INSERT INTO parent VALUES (1, 'x');
SELECT migrate.define('life_parent', 'parent', add => 'b text', up => 'b = upper(a)');
SELECT migrate.expand('life_parent');
SET migrate.guard = off;	-- it is refused
CREATE TABLE child () INHERITS (parent);
RESET migrate.guard;
INSERT INTO child VALUES (2, 'y');
INSERT INTO child (id, a, row_version) VALUES (2, 'y', 2);
CALL migrate.run('parent');
SELECT tableoid::regclass, id, a, b FROM parent ORDER BY id;
SELECT state FROM migrate.status WHERE name = 'life_parent';
SELECT migrate.rollback('life_parent');
SELECT * FROM parent ORDER BY id;

--
-- A constant reads the same after a restore, which takes it from its text,
-- whatever style of dates the definer and the reader have
--
CREATE TABLE dates (id integer PRIMARY KEY, a date, i interval);
INSERT INTO dates VALUES (1, NULL, NULL);
SET datestyle = 'SQL, DMY';
SET intervalstyle = 'sql_standard';
SELECT migrate.define('life_dates', 'dates', add => 'b date, j interval',
	up => $$b = coalesce(a, '01/02/2020'::date), j = coalesce(i, '-1 day +2 hours'::interval)$$);
SELECT migrate.expand('life_dates');
RESET datestyle;
RESET intervalstyle;
SELECT b, j FROM dates;
DELETE FROM migrate.assignment_tree WHERE migration = 'life_dates';
\c -
SET search_path = life;
SELECT b, j FROM dates;
SELECT migrate.rollback('life_dates');
SET client_min_messages = warning;

DROP SCHEMA life CASCADE;
