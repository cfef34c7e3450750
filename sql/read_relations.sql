--
-- Reads of partitioned tables, of tables with odd names, and of columns of all
-- sorts of types.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;

--
-- Partitions, whose columns have other numbers than the parent's
--
CREATE TABLE read_parts (id integer, label text, weight integer, kind integer) PARTITION BY RANGE (id);
CREATE TABLE read_low (label text, kind integer, dropped integer, id integer, weight integer);
ALTER TABLE read_low DROP COLUMN dropped;
ALTER TABLE read_parts ATTACH PARTITION read_low FOR VALUES FROM (0) TO (10);
CREATE TABLE read_high PARTITION OF read_parts FOR VALUES FROM (10) TO (30) PARTITION BY LIST (kind);
CREATE TABLE read_high_some (x integer, weight integer, y integer, label text, kind integer, id integer);
ALTER TABLE read_high_some DROP COLUMN x, DROP COLUMN y;
ALTER TABLE read_high ATTACH PARTITION read_high_some FOR VALUES IN (1, 2, 3);
CREATE TABLE read_high_rest PARTITION OF read_high DEFAULT;
INSERT INTO read_parts SELECT i, 'l' || i, i % 5, i % 4 FROM generate_series(1, 24) i;
SELECT migrate.define('read_grams', 'read_parts', add => 'grams integer, tag text',
	up => $$grams = coalesce(weight, -1) * 1000, tag = coalesce(upper(label), '-')$$,
	down => $$weight = grams / 1000$$);
SELECT migrate.expand('read_grams');
UPDATE read_parts SET label = label WHERE id % 3 = 0;

SELECT tableoid::regclass, array_agg(DISTINCT row_version) AS versions, sum(grams), min(tag) FROM read_parts GROUP BY 1 ORDER BY 1;
SELECT p, p.tag FROM read_parts p WHERE id IN (1, 3, 11, 12) ORDER BY id;
SELECT p, p.tag FROM read_low p WHERE id IN (1, 3) ORDER BY id;
SELECT p, p.tag FROM read_high p WHERE id IN (11, 12) ORDER BY id;
SELECT p, p.tag FROM read_high_some p WHERE id IN (11, 12) ORDER BY id;
SELECT count(*) FROM ONLY read_parts WHERE tag IS NOT NULL;
SELECT x, p.grams, h.tag, h FROM generate_series(9, 11) x LEFT JOIN read_parts p ON p.id = x
	LEFT JOIN read_high_some h ON h.id = x ORDER BY x;
SELECT id, tag, weight, p FROM read_parts p WHERE id IN (1, 12)
	GROUP BY GROUPING SETS ((id, tag, weight, p), (id)) ORDER BY 1, 2;
SET enable_partitionwise_join = on;
SET enable_partitionwise_aggregate = on;
SELECT count(*), sum(a.grams), max(b.tag) FROM read_parts a JOIN read_parts b USING (id) WHERE a.tag = b.tag;
RESET enable_partitionwise_join;
RESET enable_partitionwise_aggregate;
EXPLAIN (VERBOSE, COSTS OFF) SELECT grams FROM read_parts;

BEGIN;
UPDATE read_parts SET grams = grams + 1000 WHERE tag = 'L1' RETURNING id, weight, grams, tag;
-- to another partition, with what was computed there
UPDATE read_parts SET id = 29 WHERE tag = 'L2' RETURNING tableoid::regclass, id, grams, tag, row_version;
UPDATE read_low SET id = id + 1 WHERE tag = 'L8' RETURNING id, grams, tag;
INSERT INTO read_parts (id, weight, label, kind) VALUES (25, 2, 'in', 2), (5, NULL, 'in', 0) RETURNING tableoid::regclass, grams, tag;
INSERT INTO read_parts (id, grams) VALUES (26, 3000), (6, NULL) RETURNING tableoid::regclass, weight, grams, tag;
DELETE FROM read_high WHERE grams = 4000 RETURNING id, tag, read_high;
MERGE INTO read_parts p USING (VALUES ('L4', 1), ('none', 7)) s (tag, n) ON p.tag = s.tag
	WHEN MATCHED THEN UPDATE SET grams = p.grams * 10
	WHEN NOT MATCHED THEN INSERT (id, grams) VALUES (s.n, 7000);
SELECT id, weight, grams, tag FROM read_low ORDER BY id, grams;
ROLLBACK;
-- a partition attached later is read like the others
CREATE TABLE read_later (tag text, grams integer, row_version integer NOT NULL DEFAULT 1, label text, weight integer, id integer, kind integer,
	CONSTRAINT row_version_2 CHECK (row_version >= 2));
INSERT INTO read_later (id, label, tag, grams, row_version) VALUES (40, 'later', 'LATER', 4, 2);
ALTER TABLE read_parts ATTACH PARTITION read_later FOR VALUES FROM (40) TO (50);
INSERT INTO read_parts (id, label, weight) VALUES (41, 'after', 1);
SELECT id, tag, grams FROM read_parts WHERE id > 24 ORDER BY id;
SELECT id, tag, grams FROM read_later ORDER BY id;

-- a child of a managed table, by inheritance: what is in it is converted, or refused
CREATE TABLE read_parent (id integer, a integer);
INSERT INTO read_parent VALUES (1, 1);
SELECT migrate.define('read_inherit', 'read_parent', add => 'b integer', up => 'b = a + 1');
SELECT migrate.expand('read_inherit');
SET migrate.guard = off;	-- it is refused
CREATE TABLE read_child (c text) INHERITS (read_parent);
RESET migrate.guard;
INSERT INTO read_child (id, a, b, row_version) VALUES (2, 2, 30, 2);
\set VERBOSITY sqlstate
INSERT INTO read_child (id, a) VALUES (3, 3);
\set VERBOSITY default
SELECT p, b FROM read_parent p ORDER BY id;
SELECT c, b FROM read_child c;

--
-- Names
--
CREATE SCHEMA read_odd;
CREATE TABLE read_odd."order" ("select" text, "Case When" integer,
	"a name that takes all of the sixty-three bytes that there are x" text);
INSERT INTO read_odd."order" VALUES ('from', 1, 'long'), (NULL, NULL, NULL);
SELECT migrate.define('where "we" are', 'read_odd."order"',
	add => '"end" text, "Group By" integer, "another name that takes all of the sixty-three bytes there is x" text',
	up => $$"end" = coalesce("select", 'nothing'), "Group By" = "Case When" + 1,
		"another name that takes all of the sixty-three bytes there is x" = "a name that takes all of the sixty-three bytes that there are x" || '!'$$);
SELECT migrate.expand('where "we" are');
SELECT * FROM read_odd."order" ORDER BY "end";
SELECT o, o."end" FROM read_odd."order" o LEFT JOIN read_odd."order" p ON o."end" = p."end" WHERE o."Group By" = 2;
CREATE TABLE read_nothing (id integer);
SELECT migrate.define('read_nothing', 'read_nothing', add => 'twice integer', up => 'twice = id * 2');
SELECT migrate.expand('read_nothing');
SELECT n, twice FROM read_nothing n;
SELECT count(n), max(twice) FROM read_nothing n;

--
-- Types
--
CREATE TYPE read_mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE read_pair AS (a integer, b text);
CREATE DOMAIN read_name AS text CHECK (VALUE <> 'forbidden');
CREATE DOMAIN read_short AS varchar(4);
CREATE TABLE read_types (id integer PRIMARY KEY, n integer, t text, big text);
INSERT INTO read_types VALUES (1, 1, 'one', repeat('x', 100000)), (2, 2, 'two', NULL), (3, NULL, NULL, 'small');
ALTER TABLE read_types ALTER big SET STORAGE EXTERNAL;
INSERT INTO read_types VALUES (4, 4, 'four', repeat('y', 100000));
SELECT migrate.define('read_types', 'read_types',
	add => 'arr integer[], mood read_mood, pair read_pair, name read_name, short read_short, money numeric(8,2),
		code varchar(3), "char" "char", day date, js jsonb, large text, bits bit(4), c text COLLATE "C"',
	up => $$arr = ARRAY[n, n * 2], mood = CASE WHEN n > 1 THEN 'happy' ELSE 'ok' END::read_mood,
		pair = ROW(n, t)::read_pair, name = t, short = left(t, 4), money = n / 3.0, code = left(t, 3), "char" = left(t, 1)::"char",
		day = date '2020-01-01' + n, js = jsonb_build_object('n', n, 't', t), large = big || '.', bits = n::bit(4), c = t$$);
SELECT migrate.expand('read_types');
UPDATE read_types SET n = n WHERE id IN (2, 3);
SELECT id, arr, mood, pair, name, short, money, code, "char", day, js, length(large), bits, c FROM read_types ORDER BY id;
SELECT id, arr[2], (pair).b, (pair).a + 1, js ->> 't' AS js FROM read_types WHERE mood = 'happy' AND day > '2020-01-02' ORDER BY id;
SELECT pg_typeof(name), pg_typeof(money), pg_typeof(short), length(r.large), (r).pair FROM read_types r WHERE id = 1;
SELECT x.id, t.pair, (t.pair).b, t.arr, t.js FROM generate_series(4, 5) x(id) LEFT JOIN read_types t USING (id) ORDER BY 1;
SELECT c FROM read_types WHERE c > 'A' ORDER BY c;
-- a part of a new column is set: the rest of it is what it reads as
UPDATE read_types SET pair.b = 'part', arr[1] = 100 WHERE id IN (1, 3) RETURNING id, pair, arr;
UPDATE read_types SET arr[3] = 100, pair.a = -1 WHERE id = 4 RETURNING id, pair, arr;
\set VERBOSITY terse
UPDATE read_types SET name = 'forbidden' WHERE id = 2;
UPDATE read_types SET short = 'too long' WHERE id = 2;
\set VERBOSITY default
CREATE TABLE read_types_copied AS SELECT * FROM read_types;
SELECT attname, format_type(atttypid, atttypmod), attcollation::regcollation FROM pg_attribute
WHERE attrelid = 'read_types_copied'::regclass AND attnum > 5 ORDER BY attnum;
