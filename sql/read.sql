--
-- Reads: every row is seen as if it were already converted, in whatever query.
--
-- Where nothing else is said, the tables hold rows as they were found (version
-- 1, nothing stored in the new columns) and rows that were written since
-- (version 2). COPY shows them as they are stored. What "up" makes of nothing
-- is something, '-', which no outer join must show.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;

CREATE TABLE read_people (id integer PRIMARY KEY, gone integer, full_name text);
ALTER TABLE read_people DROP COLUMN gone;
INSERT INTO read_people
SELECT i, nullif((ARRAY['Ada Lovelace', 'Alan Turing', '', 'Emmy Noether'])[i % 4 + 1], '')
FROM generate_series(1, 8) i;

-- Made before the table is expanded, used after it.
CREATE FUNCTION read_before(integer) RETURNS SETOF read_people
	LANGUAGE sql STABLE AS 'SELECT * FROM read_people WHERE id = $1';
CREATE FUNCTION read_counted() RETURNS bigint
	LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(p) FROM read_people p); END';
SET plan_cache_mode = force_generic_plan;
PREPARE read_row (integer) AS SELECT p FROM read_people p WHERE id = $1;
PREPARE read_inlined (integer) AS SELECT full_name FROM read_before($1);
EXECUTE read_row (1);
EXECUTE read_inlined (1);
SELECT read_counted();

SELECT migrate.define('read_split', 'read_people',
	add => 'first_name text, known boolean',
	up => $$first_name = coalesce(split_part(full_name, ' ', 1), '-'), known = length(full_name) > 11$$,
	down => $$full_name = first_name || ' of old'$$);
SELECT migrate.expand('read_split');
UPDATE read_people SET first_name = 'new ' || id WHERE id IN (2, 6);
UPDATE read_people SET full_name = full_name WHERE id = 3;

COPY read_people TO STDOUT;
SELECT id, first_name, known FROM read_people ORDER BY id;
SELECT * FROM read_people ORDER BY id;

--
-- What the planner makes of it
--
EXPLAIN (VERBOSE, COSTS OFF) SELECT first_name FROM read_people WHERE known;
EXPLAIN (VERBOSE, COSTS OFF) SELECT id, full_name FROM read_people;
EXPLAIN (VERBOSE, COSTS OFF) SELECT p FROM read_people p WHERE id = 1;
EXPLAIN (VERBOSE, COSTS OFF) UPDATE read_people SET full_name = first_name WHERE known RETURNING known;

--
-- Columns and whole rows
--
SELECT (p).first_name, (p.*).known, p.first_name || '!' AS said FROM read_people p WHERE id < 3 ORDER BY id;
SELECT p, p::text, row_to_json(p), to_jsonb(p) ->> 'first_name' AS first FROM read_people p WHERE id IN (1, 2) ORDER BY id;
CREATE FUNCTION read_initial(read_people) RETURNS text LANGUAGE sql AS 'SELECT left($1.first_name, 1)';
CREATE FUNCTION read_initial_loop(p read_people) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN left(p.first_name, 1); END';
SELECT id, read_initial(p), p.read_initial, read_initial_loop(p) FROM read_people p ORDER BY id;
SELECT p = ROW(1, 'Alan Turing', 1, 'Alan', false)::read_people AS equal FROM read_people p WHERE id = 1;
SELECT count(p), count(p.first_name), count(DISTINCT p) FROM read_people p;
SELECT tableoid::regclass, ctid, first_name FROM read_people WHERE id = 1;

--
-- Outer joins: what is not there is NULL, whole rows too
--
SELECT x, p, p.first_name, p IS NULL AS missing, p.known
FROM generate_series(1, 9, 4) x LEFT JOIN read_people p ON p.id = x ORDER BY x;
SELECT x, p.first_name FROM read_people p RIGHT JOIN generate_series(8, 10) x ON p.id = x ORDER BY x;
SELECT a.id, b.id, a.first_name, b.first_name
FROM (SELECT * FROM read_people WHERE id < 4) a FULL JOIN (SELECT * FROM read_people WHERE id > 2) b USING (id) ORDER BY 1, 2;
SELECT first_name, a.id, b.id
FROM (SELECT * FROM read_people WHERE id < 3) a FULL JOIN (SELECT * FROM read_people WHERE id IN (1, 5)) b USING (first_name)
ORDER BY 1, 2, 3;
SELECT j, j.first_name FROM (read_people a NATURAL JOIN read_people b) j WHERE id = 1;
SELECT x, q.first FROM generate_series(8, 9) x LEFT JOIN (SELECT id, first_name AS first FROM read_people) q ON q.id = x ORDER BY x;

--
-- Grouping, ordering, windows
--
SELECT first_name, count(*) FROM read_people GROUP BY first_name HAVING first_name <> 'Ada' ORDER BY first_name;
SELECT id, first_name FROM read_people GROUP BY id HAVING max(first_name) > 'E' ORDER BY id;
SELECT first_name, known, count(*), GROUPING(first_name) FROM read_people GROUP BY CUBE (first_name, known) ORDER BY 1, 2, 4;
SELECT DISTINCT ON (known) known, first_name FROM read_people ORDER BY known, first_name;
SELECT id, rank() OVER (PARTITION BY known ORDER BY first_name), first_name FROM read_people ORDER BY id LIMIT 4;
SELECT string_agg(first_name, ',' ORDER BY first_name DESC) FILTER (WHERE known IS NOT TRUE) FROM read_people;
-- columns that depend on the key, beside what they are computed from, grouped or not
SELECT id, full_name, first_name, p, ctid, tableoid::regclass, GROUPING(full_name)
FROM read_people p WHERE id IN (2, 4, 7) GROUP BY GROUPING SETS ((id), (id, full_name)) ORDER BY id, 7;
SELECT x, id, p, first_name FROM generate_series(7, 9) x LEFT JOIN read_people p ON p.id = x
GROUP BY GROUPING SETS ((x, id), (x, id, row_version)) ORDER BY x;
SELECT id, first_name FROM read_people TABLESAMPLE SYSTEM (100) GROUP BY ROLLUP (id, first_name) HAVING id < 2 ORDER BY 1, 2;

--
-- Sub-queries, at all levels
--
SELECT id, (SELECT first_name FROM read_people i WHERE i.id = o.id) FROM read_people o WHERE first_name = 'Alan' ORDER BY id;
SELECT id FROM read_people o WHERE EXISTS (SELECT 1 FROM read_people i WHERE i.first_name = o.first_name AND i.id <> o.id) ORDER BY id;
SELECT id FROM read_people o WHERE id =
	(SELECT max(id) FROM read_people m WHERE EXISTS
		(SELECT 1 WHERE m.first_name = o.first_name AND m.known IS NOT DISTINCT FROM o.known)) ORDER BY id;
SELECT 'Emmy' IN (SELECT first_name FROM read_people), 'Emmy' = ALL (SELECT first_name FROM read_people);
SELECT (SELECT count(*) FROM read_people WHERE first_name = 'Ada');
SELECT ARRAY(SELECT first_name FROM read_people ORDER BY id);
VALUES ((SELECT first_name FROM read_people WHERE id = 1)), ('literal');
SELECT o.id, l.* FROM read_people o, LATERAL (SELECT o.first_name AS f, count(*) FROM read_people i WHERE i.first_name = o.first_name) l WHERE o.id < 3 ORDER BY 1;
SELECT o.id, f FROM read_people o, LATERAL unnest(ARRAY[o.first_name, o.known::text]) f WHERE o.id < 3 ORDER BY 1, 2;
SELECT count(*) FROM read_people TABLESAMPLE BERNOULLI ((SELECT 100 * count(*) FROM read_people WHERE first_name = 'new 2'));
SELECT * FROM read_people ORDER BY id LIMIT (SELECT count(*) FROM read_people WHERE first_name = 'Ada') OFFSET 1;
WITH w AS (SELECT id, first_name FROM read_people) SELECT count(*) FROM w WHERE first_name = 'Emmy';
WITH w AS MATERIALIZED (SELECT p FROM read_people p) SELECT (p).first_name FROM w ORDER BY 1 LIMIT 2;
WITH RECURSIVE r(id, path) AS (
	SELECT id, first_name FROM read_people WHERE id = 1
	UNION ALL SELECT p.id, r.path || ' ' || p.first_name FROM r JOIN read_people p ON p.id = r.id + 1)
SELECT path FROM r ORDER BY id DESC LIMIT 1;
SELECT first_name FROM read_people WHERE id = 1 UNION SELECT first_name FROM read_people WHERE id = 5
EXCEPT SELECT first_name FROM read_people WHERE id = 6;

--
-- Views, and what is made from queries
--
CREATE VIEW read_view AS SELECT id, first_name AS first, known FROM read_people;
CREATE VIEW read_barrier WITH (security_barrier) AS SELECT * FROM read_people WHERE known;
CREATE VIEW read_whole AS SELECT p FROM read_people p;
SELECT * FROM read_view WHERE first = 'Emmy' ORDER BY id;
SELECT id, first_name FROM read_barrier WHERE first_name = 'Emmy' ORDER BY id;
SELECT (p).first_name FROM read_whole WHERE (p).id = 1;
\d read_view
SELECT pg_get_viewdef('read_view') LIKE '%CASE%' AS rewritten;
CREATE TABLE read_copied AS SELECT * FROM read_view;
CREATE MATERIALIZED VIEW read_kept AS SELECT first, count(*) FROM read_view GROUP BY first;
SELECT * FROM read_copied WHERE id = 1;
SELECT * FROM read_kept ORDER BY 1;
COPY (SELECT id, first_name FROM read_people ORDER BY id LIMIT 2) TO STDOUT;

--
-- Functions: an SQL function that returns a set is run, not taken in
--
CREATE FUNCTION read_named(text) RETURNS SETOF read_people
	LANGUAGE sql STABLE AS 'SELECT * FROM read_people WHERE first_name = $1';
CREATE FUNCTION read_named_atomic(name text) RETURNS TABLE (id integer, first text)
	LANGUAGE sql STABLE BEGIN ATOMIC SELECT id, first_name FROM read_people WHERE first_name = name; END;
CREATE FUNCTION read_how_many(text) RETURNS bigint
	LANGUAGE sql STABLE AS 'SELECT count(*) FROM read_people WHERE first_name = $1';
CREATE FUNCTION read_row_type(integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	row read_people%ROWTYPE;
BEGIN
	SELECT * INTO row FROM read_people WHERE id = $1;
	RETURN row.first_name || ' ' || row;
END $$;
SELECT id, first_name FROM read_named('Alan') ORDER BY id;
SELECT * FROM read_named_atomic('Alan') ORDER BY id;
SELECT o.id, f.first_name FROM read_people o, LATERAL read_named(o.first_name) f WHERE o.id = 4 ORDER BY 1;
SELECT * FROM ROWS FROM (read_named_atomic('Emmy'), generate_series(1, 2)) ORDER BY 1;
SELECT read_how_many('Emmy'), read_row_type(1), read_row_type(2);
-- made before the table was expanded
EXECUTE read_row (1);
EXECUTE read_inlined (1);
EXPLAIN (COSTS OFF) EXECUTE read_inlined (1);
SELECT (read_before(1)).first_name;
SELECT read_counted();

--
-- Writes read, too
--
BEGIN;
UPDATE read_people SET first_name = first_name || ' x' WHERE first_name IN ('Alan', 'new 6') RETURNING id, first_name, full_name;
UPDATE read_people SET (first_name, known) = (SELECT i.first_name || ' y', NOT i.known FROM read_people i WHERE i.id = 4) WHERE id = 8
	RETURNING id, first_name, known;
UPDATE read_people p SET first_name = x.first_name FROM read_people x WHERE x.id = 1 AND p.id = 3 RETURNING p.id, p.first_name, x.first_name;
DELETE FROM read_people p WHERE known RETURNING first_name, p;
ROLLBACK;
BEGIN;
WITH gone AS (DELETE FROM read_people WHERE first_name = 'Alan' RETURNING *),
	added AS (INSERT INTO read_people (id, first_name) SELECT id + 100, first_name FROM gone RETURNING *)
SELECT id, first_name, full_name FROM added ORDER BY id;
DECLARE read_cursor CURSOR FOR SELECT id, first_name FROM read_people WHERE id = 4 FOR UPDATE;
FETCH read_cursor;
UPDATE read_people SET first_name = first_name || ' here' WHERE CURRENT OF read_cursor RETURNING first_name;
DELETE FROM read_people WHERE CURRENT OF read_cursor;
UPDATE read_view SET first = first || ' seen' WHERE first = 'Emmy' RETURNING *;
INSERT INTO read_view (id, first) VALUES (50, 'Kurt') RETURNING *;
SELECT id, first_name FROM read_people WHERE id = 50 FOR SHARE;
ROLLBACK;

-- ON CONFLICT: the row that is there is read, EXCLUDED is taken as it is, and
-- the index is found by what is stored
BEGIN;
SET LOCAL migrate.guard = off;
CREATE UNIQUE INDEX read_first ON read_people (first_name) WHERE first_name LIKE 'new%';
INSERT INTO read_people AS t (id, first_name) VALUES (1, 'One'), (2, 'Two')
	ON CONFLICT (id) DO UPDATE SET first_name = t.first_name || '+' || EXCLUDED.first_name
	WHERE t.first_name <> EXCLUDED.first_name RETURNING id, first_name, full_name;
INSERT INTO read_people AS t (id, first_name) VALUES (60, 'new 6')
	ON CONFLICT (first_name) WHERE first_name LIKE 'new%' DO UPDATE SET first_name = 'new ' || EXCLUDED.id
	RETURNING id, first_name, t;
INSERT INTO read_people AS t (id) VALUES (4) ON CONFLICT (id) DO UPDATE SET first_name = (SELECT EXCLUDED.first_name || t.first_name)
	RETURNING id, first_name;
ROLLBACK;

-- MERGE: source and target, each kind of action
BEGIN;
MERGE INTO read_people t USING (VALUES ('Ada', 201), ('Alan', 202), ('Zuse', 203), ('new 2', 204)) s (name, id)
	ON t.first_name = s.name AND t.id < 5
	WHEN MATCHED AND t.first_name = 'Ada' THEN DELETE
	WHEN MATCHED AND t.known IS NOT NULL THEN UPDATE SET first_name = t.first_name || ' merged'
	WHEN MATCHED THEN DO NOTHING
	WHEN NOT MATCHED THEN INSERT (id, first_name) VALUES (s.id, s.name);
SELECT id, first_name, full_name FROM read_people ORDER BY id;
MERGE INTO read_copied c USING read_people p ON p.id = c.id
	WHEN MATCHED THEN UPDATE SET first = p.first_name || ' copied';
SELECT * FROM read_copied ORDER BY id;
ROLLBACK;

DEALLOCATE ALL;
RESET plan_cache_mode;
