--
-- Row for row a sub-query in "up" yields what it yields in a query: from the tree that
-- was stored, from its text, in the backfill and in the trigger.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
CREATE SCHEMA subquery_forms;
SET search_path = subquery_forms;
CREATE TYPE pair AS (a integer, b text);
CREATE TABLE other (code text, n integer, p pair, at timestamptz);
INSERT INTO other SELECT 'c' || i % 4, i, ROW(i, 'b' || i)::pair, '2024-01-01 00:00+00'::timestamptz + i * interval '5 hour'
FROM generate_series(1, 9) i;
CREATE TABLE t (id integer PRIMARY KEY, code text, n integer, p pair, tags integer[], j jsonb);
INSERT INTO t SELECT i, 'c' || i % 5, i, CASE WHEN i % 2 = 0 THEN ROW(i, 'x')::pair END, ARRAY[i, 3, i + 1],
	jsonb_build_object('k', i, 'l', jsonb_build_array(i, 7)) FROM generate_series(1, 8) i;
INSERT INTO t (id) VALUES (100);
CREATE TABLE rows AS SELECT * FROM t;

CREATE TABLE exprs (n serial, e text);
INSERT INTO exprs (e) VALUES
	('(SELECT code)'), ('(SELECT t.code FROM other o LIMIT 1)'), ('(SELECT DISTINCT t.code FROM other o)'),
	('(SELECT t.code FROM other o GROUP BY t.code)'), ('(SELECT t.code || count(*) FROM other o GROUP BY t.code ORDER BY t.code LIMIT t.n)'),
	('(SELECT max(o.n) FILTER (WHERE o.n < t.n) FROM other o)'),
	('ARRAY(SELECT o.n FROM other o WHERE o.code = t.code ORDER BY o.n)'), ('ARRAY(SELECT t.n UNION SELECT o.n FROM other o WHERE o.n < t.n EXCEPT SELECT t.id - 1 ORDER BY 1)'),
	('ARRAY(SELECT column1 FROM (VALUES (t.code), (t.id::text), (NULL)) v)'), ('(VALUES (t.n))'),
	('ARRAY(WITH RECURSIVE r(i) AS (SELECT t.n UNION ALL SELECT i - 1 FROM r WHERE i > t.n - 3) SELECT i FROM r)'),
	('(SELECT (t.p).b || (o.p).a FROM other o WHERE (o.p).a = (t.p).a)'), ('(SELECT t.p)'), ('(SELECT o.p FROM other o WHERE o.n = t.n)'),
	('(SELECT string_agg(o.n::text || t.code, '','' ORDER BY o.n * t.n DESC) FROM other o WHERE o.code <= t.code)'),
	('(SELECT sum(w) FROM (SELECT rank() OVER (PARTITION BY o.code ORDER BY o.n + t.n) AS w FROM other o) x)'),
	('(SELECT l.m FROM other o, LATERAL (SELECT o.n + t.n AS m) l WHERE o.n = t.n)'), ('(SELECT count(*) FROM other o JOIN other o2 USING (code) WHERE o.n < t.n)'),
	('(SELECT array_agg((g, c) ORDER BY g, c) FROM (SELECT o.code AS c, grouping(o.code) AS g FROM other o WHERE o.n < t.n GROUP BY ROLLUP (o.code)) x)'),
	('CASE WHEN EXISTS (SELECT FROM other o WHERE o.n = t.n AND EXISTS (SELECT FROM other o2 WHERE o2.code = o.code AND o2.n > t.n)) THEN (SELECT ''yes'' || t.n) ELSE ''no'' END'),
	('(t.code, t.n) IN (SELECT o.code, o.n FROM other o)'), ('t.n > ALL (SELECT o.n FROM other o WHERE o.code = t.code)'), ('t.n NOT IN (SELECT o.n FROM other o WHERE o.n < 4)'),
	('ROW(t.code, t.n) = (SELECT o.code, o.n FROM other o WHERE o.n = t.n)'), ('(SELECT x.k FROM jsonb_to_record(t.j) AS x(k integer))'),
	('(SELECT sum(e::integer) FROM jsonb_array_elements_text(t.j -> ''l'') e)'), ('ARRAY(SELECT unnest(t.tags) EXCEPT SELECT o.n FROM other o ORDER BY 1)'),
	('(SELECT array_agg(a.v * a.i) FROM unnest(t.tags) WITH ORDINALITY a(v, i))'), ('(SELECT max(o.at::date) FROM other o WHERE o.n < t.n)'),
	('(SELECT coalesce((SELECT min(o2.n) FROM other o2 WHERE o2.n > o.n AND o2.n > t.n), -t.n) FROM other o WHERE o.n = t.id)'),
	('(SELECT t.code COLLATE "C" < max(o.code) FROM other o)'), ('(SELECT other.n FROM other WHERE other.n = t.id)'),
	('(SELECT to_json(o) FROM other o WHERE o.n = t.n)'), ('(WITH a AS (SELECT n FROM other WHERE n <= t.n), b AS MATERIALIZED (SELECT * FROM a WHERE n > 1) SELECT sum(b.n) + (SELECT count(*) FROM a) FROM b)'),
	('array_length(ARRAY(SELECT generate_series(1, t.n)), 1)');

SELECT migrate.define('forms', 't', add => string_agg(format('e%s text', n), ', '),
	up => string_agg(format('e%s = (%s)::text', n, e), ', ')) FROM exprs;
CREATE TABLE direct (id integer, n integer, v text);
DO $$
DECLARE r record;
BEGIN
	FOR r IN SELECT * FROM exprs LOOP
		EXECUTE format('INSERT INTO direct SELECT id, %s, (%s)::text FROM t', r.n, r.e);
	END LOOP;
END $$;
CREATE FUNCTION differences() RETURNS TABLE (e text, id integer, direct text, got text) LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
	FOR r IN SELECT * FROM exprs LOOP
		RETURN QUERY EXECUTE format('SELECT %L::text, t.id, d.v, t.e%s FROM t JOIN direct d USING (id)
			WHERE d.n = %2$s AND d.v IS DISTINCT FROM t.e%2$s', r.e, r.n);
	END LOOP;
END $$;
SELECT count(*), count(v) FROM direct;

SELECT migrate.expand('forms');
SELECT * FROM differences();
DELETE FROM migrate.assignment_tree WHERE migration = 'forms';
\c -
SET search_path = subquery_forms;
SELECT * FROM differences();
CALL migrate.run('t');
SELECT * FROM differences();
TRUNCATE t;
INSERT INTO t SELECT * FROM rows;
SELECT count(*) FROM t WHERE e1 IS NOT NULL;
SELECT * FROM differences();

SET client_min_messages = warning;
SELECT migrate.rollback('forms', discard => true);
DROP SCHEMA subquery_forms CASCADE;
