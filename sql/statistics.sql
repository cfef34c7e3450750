-- The planner's estimates on columns of stale rows.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;

-- How many rows the planner expects of a query.
CREATE FUNCTION stat_rows(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
	RETURN plan->0->'Plan'->>'Plan Rows';
END $$;
CREATE VIEW stat_objects AS
	SELECT stxrelid::regclass AS relation, stxname AS name,
		CASE stxowner WHEN current_user::regrole THEN 'superuser' ELSE stxowner::regrole::text END AS owner
	FROM pg_statistic_ext WHERE stxname LIKE '!migrate%' AND coalesce(stxstattarget, -1) <> 0 ORDER BY 1, 2;

-- Few rows, so that ANALYZE takes all of them as its sample. A third are NULL.
CREATE TABLE stat_stale (id integer PRIMARY KEY, full_name text) WITH (autovacuum_enabled = off);
INSERT INTO stat_stale
	SELECT i, CASE WHEN i % 3 > 0 THEN 'n' || i % 10 || ' ' || i END
	FROM generate_series(1, 5000) AS i;
SELECT migrate.define('stat_split', 'stat_stale', add => 'first text, last varchar(12), number integer',
	up => $$first = split_part(full_name, ' ', 1), last = split_part(full_name, ' ', 2),
		number = length(full_name)$$,
	down => $$full_name = first || ' ' || last$$, remove => '{full_name}');
SELECT migrate.expand('stat_split');
SELECT * FROM stat_objects WHERE relation = 'stat_stale'::regclass;

-- A table that was converted by hand, for comparison.
CREATE TABLE stat_twin WITH (autovacuum_enabled = off) AS SELECT * FROM stat_stale;
UPDATE stat_stale SET id = id WHERE id <= 1000; -- these are converted
ANALYZE stat_stale, stat_twin;
SELECT count(*) AS stale FROM stat_stale WHERE row_version = 1;

SELECT condition, stat_rows('SELECT * FROM stat_stale WHERE ' || condition) AS stale,
	stat_rows('SELECT * FROM stat_twin WHERE ' || condition) AS converted
FROM (VALUES ('first = ''n3'''), ('first IS NULL'), ('first IN (''n1'', ''n2'')'),
	('number < 6'), ('last = ''17'''), ('first > ''n7'''), ('first LIKE ''n8%''')) AS c (condition);
SELECT stat_rows('SELECT first, count(*) FROM stat_stale GROUP BY first') AS stale,
	stat_rows('SELECT first, count(*) FROM stat_twin GROUP BY first') AS converted;
SELECT stat_rows('SELECT * FROM stat_stale a JOIN stat_stale b USING (first)') AS stale,
	stat_rows('SELECT * FROM stat_twin a JOIN stat_twin b USING (first)') AS converted;

-- A second migration changes what columns read as only where it assigns them;
-- statistics on the others stay, with what ANALYZE found.
SELECT migrate.define('stat_second', 'stat_stale', add => 'initial text',
	up => 'initial = left(first, 1)');
SELECT migrate.expand('stat_second');
SELECT * FROM stat_objects WHERE relation = 'stat_stale'::regclass;
SELECT stat_rows($$SELECT * FROM stat_stale WHERE first = 'n3'$$);
ANALYZE stat_stale;
SELECT stat_rows($$SELECT * FROM stat_stale WHERE initial = 'n'$$);

-- Rolled back, it takes its own along.
SELECT migrate.rollback('stat_second');
SELECT * FROM stat_objects WHERE relation = 'stat_stale'::regclass;

-- When the migration is complete there is nothing to know beside the columns. The
-- objects are silent, but stay: a query may be planned just now that knows them.
CALL migrate.run('stat_stale');
SELECT * FROM stat_objects WHERE relation = 'stat_stale'::regclass;
SELECT stxname FROM pg_statistic_ext WHERE stxrelid = 'stat_stale'::regclass ORDER BY 1;
ANALYZE stat_stale;
SELECT stat_rows($$SELECT * FROM stat_stale WHERE first = 'n3'$$);
SELECT migrate.contract('stat_split', skip => '{window,usage}');
SELECT count(*) FROM pg_statistic_ext WHERE stxrelid = 'stat_stale'::regclass;

-- They do not keep an update from being HOT.
CREATE TABLE stat_hot (id integer PRIMARY KEY, a text) WITH (fillfactor = 40, autovacuum_enabled = off);
INSERT INTO stat_hot SELECT i, 'x' || i FROM generate_series(1, 200) AS i;
SELECT migrate.define('stat_hot', 'stat_hot', add => 'b text', up => 'b = upper(a)');
SELECT migrate.expand('stat_hot');
BEGIN;
UPDATE stat_hot SET a = a;
SELECT pg_stat_get_xact_tuples_hot_updated('stat_hot'::regclass);
COMMIT;

SELECT migrate.rollback('stat_hot');

-- The owner need not be allowed to create anything in the schema.
CREATE ROLE stat_owner;
CREATE SCHEMA stat_schema;
CREATE TABLE stat_schema.owned (id integer, a text);
ALTER TABLE stat_schema.owned OWNER TO stat_owner;
GRANT USAGE ON SCHEMA stat_schema TO stat_owner;
SET ROLE stat_owner;
SELECT migrate.define('stat_owned', 'stat_schema.owned', add => 'b text', up => 'b = upper(a)');
SELECT migrate.expand('stat_owned');
SELECT migrate.define('stat_owned2', 'stat_schema.owned', add => 'c text, d xml, e text',
	up => $$c = lower(b), d = xmlparse(content a), e = to_char(id, '99')$$);
SELECT migrate.expand('stat_owned2');
RESET ROLE;
-- Neither on a type without order, nor on what is not immutable.
SELECT * FROM stat_objects WHERE relation = 'stat_schema.owned'::regclass;

-- ANALYZE fails where "up" does, until the backfill has found such a row.
CREATE TABLE stat_bad (id integer PRIMARY KEY, a text) WITH (autovacuum_enabled = off);
INSERT INTO stat_bad VALUES (1, '1'), (2, 'two');
SELECT migrate.define('stat_bad', 'stat_bad', add => 'b integer', up => 'b = a::integer');
SELECT migrate.expand('stat_bad');
ANALYZE stat_bad;
CALL migrate.run('stat_bad');
SELECT row_key, message FROM migrate.failures WHERE relation = 'stat_bad'::regclass;
ANALYZE stat_bad;

-- Of a partitioned table, on each partition: that is where rows are estimated.
CREATE TABLE stat_parts (id integer, a text) PARTITION BY RANGE (id);
CREATE TABLE stat_part1 PARTITION OF stat_parts FOR VALUES FROM (0) TO (500);
CREATE TABLE stat_part2 (junk integer, a text, id integer);
ALTER TABLE stat_part2 DROP COLUMN junk;
ALTER TABLE stat_parts ATTACH PARTITION stat_part2 FOR VALUES FROM (500) TO (1000);
INSERT INTO stat_parts SELECT i, 'x' || i % 4 FROM generate_series(0, 999) AS i;
SELECT migrate.define('stat_parts', 'stat_parts', add => 'b text', up => 'b = upper(a)');
SELECT migrate.expand('stat_parts');
ANALYZE stat_parts;
SELECT * FROM stat_objects WHERE relation IN ('stat_parts'::regclass, 'stat_part1'::regclass, 'stat_part2'::regclass);
SELECT stat_rows($$SELECT * FROM stat_parts WHERE b = 'X1'$$);
SELECT stat_rows($$SELECT b, count(*) FROM stat_parts GROUP BY b$$);
SELECT migrate.rollback('stat_parts');
SELECT * FROM stat_objects WHERE relation IN ('stat_parts'::regclass, 'stat_part1'::regclass, 'stat_part2'::regclass);

-- As good as a converted table's: skewed values, ranges, NULLs, groups, sorting,
-- joins; within a factor of what a table converted by hand has, and of the truth.
CREATE TABLE stat_skew (id integer PRIMARY KEY, a text, n integer) WITH (autovacuum_enabled = off);
INSERT INTO stat_skew SELECT i, CASE WHEN i % 10 = 0 THEN NULL WHEN i % 2 = 0 THEN 'common' ELSE 'rare ' || i % 500 END, i * i
	FROM generate_series(1, 10000) AS i;
CREATE TABLE stat_skew_twin WITH (autovacuum_enabled = off) AS
	SELECT id, upper(a) AS b, n / 100 AS m, lower(left(a, 4)) AS kind FROM stat_skew;
SELECT migrate.define('stat_skew', 'stat_skew', add => 'b text, m integer, kind text',
	up => 'b = upper(a), m = n / 100, kind = lower(left(a, 4))', down => 'a = lower(b)');
SELECT migrate.expand('stat_skew');
SELECT migrate.create_index('stat_skew', 'm', while_stale => true);
UPDATE stat_skew SET id = id WHERE id % 3 = 0;
ANALYZE stat_skew, stat_skew_twin;
CREATE FUNCTION stat_compare(query text, actual bigint DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE stale bigint := stat_rows(format(query, 'stat_skew'));
	converted bigint := stat_rows(format(query, 'stat_skew_twin'));
BEGIN
	EXECUTE format('SELECT count(*) FROM (%s) q', format(query, 'stat_skew')) INTO actual;
	RETURN CASE WHEN greatest(stale, 1) / greatest(converted, 1)::float BETWEEN 0.9 AND 1.1
		THEN 'as converted' ELSE format('%s, converted %s', stale, converted) END
		|| CASE WHEN (stale + 10) / (actual + 10)::float BETWEEN 0.5 AND 2
		THEN ', and true' ELSE format(', but %s of %s', stale, actual) END;
END $$;
SELECT q AS query, stat_compare(q) AS estimate FROM unnest(ARRAY[
	'SELECT * FROM %s WHERE b = ''COMMON''',
	'SELECT * FROM %s WHERE b = ''RARE 7''',
	'SELECT * FROM %s WHERE b IS NULL',
	'SELECT * FROM %s WHERE b <> ''COMMON''',
	'SELECT * FROM %s WHERE b IN (''COMMON'', ''RARE 1'', ''RARE 3'')',
	'SELECT * FROM %s WHERE b BETWEEN ''RARE 1'' AND ''RARE 3''',
	'SELECT * FROM %s WHERE b LIKE ''RARE 4%%''',
	'SELECT * FROM %s WHERE m < 10000',
	'SELECT * FROM %s WHERE m BETWEEN 500000 AND 600000 AND kind = ''comm''',
	'SELECT DISTINCT kind FROM %s',
	'SELECT kind, count(*) FROM %s GROUP BY kind',
	'SELECT b, count(*) FROM %s GROUP BY b',
	'SELECT x.id FROM %1$s x JOIN %1$s y ON x.m = y.m WHERE x.kind = ''rare''']) AS q;

-- So the plans are the same (but that the column cannot be had from the index alone).
CREATE FUNCTION stat_plan(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text; nodes text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS off) ' || query LOOP
		line := replace(line, 'Index Only Scan', 'Index Scan');
		nodes := nodes || coalesce((regexp_match(line, '^[ >-]*((Bitmap )?(Index|Seq|Heap) Scan|Sort\M(?! Key)|Nested Loop|Hash Join|Merge Join)'))[1] || ' ', '');
	END LOOP;
	RETURN nodes;
END $$;
CALL migrate.run('stat_skew', 1);
CREATE PROCEDURE stat_await(index text, there boolean) LANGUAGE plpgsql AS $$
BEGIN
	WHILE there <> EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
						   WHERE c.relname = index AND (i.indisvalid OR NOT there)) LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CALL stat_await('!migrate_stat_skew_m_idx', true);
CREATE INDEX ON stat_skew_twin (m);
ANALYZE stat_skew, stat_skew_twin;
SET max_parallel_workers_per_gather = 0;
SELECT q AS query, CASE WHEN stat_plan(format(q, 'stat_skew')) = stat_plan(format(q, 'stat_skew_twin')) THEN 'the same'
		ELSE stat_plan(format(q, 'stat_skew')) || 'and not ' || stat_plan(format(q, 'stat_skew_twin')) END AS plan
FROM unnest(ARRAY[
	'SELECT * FROM %s WHERE m = 40000',
	'SELECT * FROM %s WHERE m IN (40000, 10000)',
	'SELECT * FROM %s WHERE m < 900000',
	'SELECT * FROM %s WHERE m > 90 ORDER BY m LIMIT 3',
	'SELECT m FROM %s ORDER BY m DESC LIMIT 3',
	'SELECT min(m) FROM %s',
	'SELECT * FROM %1$s x JOIN %1$s y ON x.m = y.m WHERE x.b = ''RARE 7''']) AS q;
RESET max_parallel_workers_per_gather;
CALL migrate.run('stat_skew');
CALL stat_await('!migrate_stat_skew_m_idx', false);
SELECT migrate.contract('stat_skew', skip => '{window,usage}');

-- One of somebody else's is not taken for ours by its name.
CREATE TABLE stat_mine (id integer PRIMARY KEY, a text, b text) PARTITION BY LIST (id);
CREATE TABLE stat_mine_1 PARTITION OF stat_mine FOR VALUES IN (1);
CREATE STATISTICS "!migrate_a" ON id, b FROM stat_mine;
CREATE STATISTICS "!migrate_b" ON lower(b) FROM stat_mine_1;
CREATE STATISTICS "!migrate_c" ON lower(a), (b || a) FROM stat_mine;
SELECT migrate.define('stat_mine', 'stat_mine', add => 'c text', up => 'c = a', down => 'a = c', remove => '{a}');
SELECT migrate.expand('stat_mine');
SELECT * FROM stat_objects WHERE relation::text LIKE 'stat_mine%';
CALL migrate.run('stat_mine');
SELECT * FROM stat_objects WHERE relation::text LIKE 'stat_mine%';
SELECT migrate.contract('stat_mine', skip => '{window,usage}');
ALTER TABLE stat_mine DETACH PARTITION stat_mine_1;
DROP STATISTICS "!migrate_c";
SELECT migrate.contract('stat_mine', skip => '{window,usage}');
SELECT * FROM stat_objects WHERE relation::text LIKE 'stat_mine%';
DROP TABLE stat_mine, stat_mine_1;
