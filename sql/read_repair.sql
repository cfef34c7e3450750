--
-- Read repair: blocks in which reads meet stale rows are converted before others.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
CREATE ROLE repair_owner;
CREATE ROLE repair_user;
GRANT CREATE ON SCHEMA public TO repair_owner;
RESET client_min_messages;
SET ROLE repair_owner;

-- A block of this table holds fewer than ten rows.
CREATE TABLE repair (id integer PRIMARY KEY, a text, filler char(1000) DEFAULT '');
INSERT INTO repair SELECT i, 'row ' || i FROM generate_series(1, 200) i;
SELECT migrate.define('repair', 'repair', add => 'b text', up => 'b = upper(a)');
SELECT migrate.expand('repair');

-- Off: nothing in the plan. A plan that is cached follows the setting.
SET enable_bitmapscan = off;
SET enable_memoize = off;
PREPARE by_id AS SELECT b FROM repair WHERE id = 200;
EXPLAIN (COSTS OFF) EXECUTE by_id;
EXECUTE by_id;
SET migrate.read_repair = on;
EXPLAIN (COSTS OFF) EXECUTE by_id;
BEGIN;
SET LOCAL migrate.read_repair = off;
EXPLAIN (COSTS OFF) EXECUTE by_id;
ROLLBACK;
EXPLAIN (COSTS OFF) EXECUTE by_id;

-- What was read comes first; and of what is noted, no more than what was asked for.
EXECUTE by_id;
CALL migrate.run('repair', 1);
SELECT count(*), min(id) > 190 AS are_last FROM repair WHERE row_version > 1;
SELECT rows_converted, rows_repaired, blocks_done FROM migrate.progress WHERE migration = 'repair';
EXECUTE by_id;
CALL migrate.run('repair', 200);
SELECT state FROM migrate.migration WHERE name = 'repair';
EXPLAIN (COSTS OFF) EXECUTE by_id;

--
-- Which scans: those of tables whose new columns are read, whatever stands around them
--
CREATE TABLE repair2 (id integer PRIMARY KEY, a text, filler char(1000) DEFAULT '');
INSERT INTO repair2 SELECT i, 'row ' || i FROM generate_series(1, 200) i;
SELECT migrate.define('repair2', 'repair2', add => 'b text', up => 'b = upper(a)');
SELECT migrate.expand('repair2');
CREATE FUNCTION repaired() RETURNS text LANGUAGE sql AS
	$$ SELECT string_agg(id::text, ' ' ORDER BY id) FROM repair2 WHERE row_version > 1 $$;
EXPLAIN (COSTS OFF) SELECT a FROM repair2 WHERE id = 1;
EXPLAIN (COSTS OFF) UPDATE repair2 SET a = b WHERE id = 1;
EXPLAIN (COSTS OFF) DELETE FROM repair2 WHERE b = 'x';
EXPLAIN (COSTS OFF) SELECT b FROM repair2 WHERE id = 1 FOR UPDATE;
EXPLAIN (COSTS OFF) SELECT x, b FROM generate_series(1, 2) x LEFT JOIN repair2 ON id = x;
EXPLAIN (COSTS OFF) SELECT (SELECT r FROM repair2 r WHERE id = x) FROM generate_series(1, 2) x;
EXPLAIN (COSTS OFF) SELECT max(b) FROM repair2 GROUP BY ROLLUP (id);

-- The row is there, or is not, as without it
SELECT x, b FROM generate_series(199, 201) x LEFT JOIN repair2 ON id = x ORDER BY x;
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id, b FROM repair2 WHERE id IN (120, 121) ORDER BY id;
FETCH ALL FROM c;
FETCH PRIOR FROM c;
COMMIT;
CREATE VIEW repair_view WITH (security_barrier) AS SELECT id, b FROM repair2 WHERE id < 60;
SELECT * FROM repair_view WHERE b = 'ROW 56';
CALL migrate.run('repair2', 30);
SELECT repaired() LIKE '%56%', repaired() LIKE '%120 121%', repaired() LIKE '%200', repaired() NOT LIKE '% 70%';

-- Nothing is noted while the table is paused; also by plans that were made before
PREPARE by_id2 AS SELECT b FROM repair2 WHERE id = 70;
EXPLAIN (COSTS OFF) EXECUTE by_id2;
SELECT migrate.pause('repair2');
EXPLAIN (COSTS OFF) EXECUTE by_id2;
SELECT migrate.resume('repair2');
EXPLAIN (COSTS OFF) EXECUTE by_id2;

-- By what row-level security hides nothing is noted, nor by who may not read
ALTER TABLE repair2 ENABLE ROW LEVEL SECURITY;
CREATE POLICY repair_few ON repair2 USING (id <> 80);
GRANT SELECT (id, b) ON repair2 TO repair_user;
SET ROLE repair_user;
SET enable_seqscan = off;
SELECT id, b FROM repair2 WHERE id = 80;
SELECT id, b FROM repair2 WHERE id = 100;
RESET enable_seqscan;
SET ROLE repair_owner;
CALL migrate.run('repair2', 7);
SELECT repaired() LIKE '% 100%', repaired() NOT LIKE '% 80%';

-- A block with a row that fails waits for its turn
CREATE TABLE repair3 (id integer PRIMARY KEY, a text, filler char(1000) DEFAULT '');
INSERT INTO repair3 SELECT i, i FROM generate_series(1, 30) i;
UPDATE repair3 SET a = 'x' WHERE id = 15;
SELECT migrate.define('repair3', 'repair3', add => 'b integer', up => 'b = a::integer');
SELECT migrate.expand('repair3');
SELECT b FROM repair3 WHERE id = 15;
SELECT b FROM repair3 WHERE id = 30;
CALL migrate.run('repair3', 1);
SELECT min(id) > 20 AS is_last FROM repair3 WHERE row_version > 1;
CALL migrate.run('repair3');
SELECT row_key, attempts FROM migrate.failures WHERE relation = 'repair3'::regclass;
SELECT migrate.rollback('repair3');

-- A block that is noted as often as it is taken up, for its rows fail, stops nobody
CREATE TABLE repair5 (id integer PRIMARY KEY, a text, filler char(1000) DEFAULT '');
CREATE SEQUENCE repair5_tries;
CREATE FUNCTION read_other(id integer) RETURNS integer LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF id = 199 THEN
		PERFORM nextval('public.repair5_tries');
		BEGIN
			PERFORM b FROM public.repair5 r WHERE r.id = 200;
		EXCEPTION WHEN OTHERS THEN
		END;
	END IF;
	RETURN CASE WHEN id < 199 THEN id ELSE 1 / (id - id) END;
END $$;
INSERT INTO repair5 SELECT i, 'row ' || i FROM generate_series(1, 200) i;
SELECT migrate.define('repair5', 'repair5', add => 'b integer', up => 'b = read_other(id)');
SELECT migrate.expand('repair5');
SELECT b FROM repair5 WHERE id = 200;
CALL migrate.run('repair5');
SELECT last_value < 20 AS few_tries FROM repair5_tries;

-- Nor is it taken up again by each batch
CREATE TABLE repair6 (id integer PRIMARY KEY, a text, filler char(100) DEFAULT '');
CREATE SEQUENCE repair6_tries;
CREATE FUNCTION try_to_keep(b integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN b > 0 OR nextval('public.repair6_tries') < 0;
END $$;
CREATE FUNCTION read_last(id integer) RETURNS integer LANGUAGE plpgsql STABLE AS $$
BEGIN
	PERFORM b FROM public.repair6 r WHERE r.id = 1000;
	RETURN 1;
END $$;
INSERT INTO repair6 SELECT i, 'row ' || i FROM generate_series(1, 1000) i;
SELECT migrate.define('repair6', 'repair6', add => 'b integer',
	up => 'b = CASE WHEN id < 950 AND id % 50 = 0 THEN read_last(id) ELSE 1000 - id END');
SELECT migrate.expand('repair6');
ALTER TABLE repair6 ADD CONSTRAINT repair6_b CHECK (b IS NULL OR try_to_keep(b)) NOT VALID;
SET migrate.max_rows_per_second = 1000;
CALL migrate.run('repair6', 600);
RESET migrate.max_rows_per_second;
SELECT last_value < 4 AS few_tries FROM repair6_tries;

-- Partitions, whose columns have other numbers
CREATE TABLE repair4 (id integer, a text, filler char(1000) DEFAULT '') PARTITION BY RANGE (id);
CREATE TABLE repair4_1 PARTITION OF repair4 FOR VALUES FROM (0) TO (100);
CREATE TABLE repair4_2 (gone text, filler char(1000) DEFAULT '', a text, id integer);
ALTER TABLE repair4_2 DROP COLUMN gone;
ALTER TABLE repair4 ATTACH PARTITION repair4_2 FOR VALUES FROM (100) TO (200);
INSERT INTO repair4 SELECT i, 'row ' || i FROM generate_series(0, 199) i;
SELECT migrate.define('repair4', 'repair4', add => 'b text', up => 'b = upper(a)');
SELECT migrate.expand('repair4');
EXPLAIN (COSTS OFF) SELECT b FROM repair4 WHERE id BETWEEN 95 AND 105;
SELECT b FROM repair4 WHERE id = 199;
CALL migrate.run('repair4', 2);
SELECT tableoid::regclass, min(id) > 190 AS are_last FROM repair4 WHERE row_version > 1 GROUP BY 1;
SELECT b FROM repair4_1 WHERE id = 99;
CALL migrate.run('repair4', 2);
SELECT count(*) > 0 FROM repair4_1 WHERE row_version > 1 AND id > 90;

-- From parallel workers
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SET parallel_leader_participation = off;
EXPLAIN (COSTS OFF) SELECT id FROM repair4_1 WHERE upper(b) = 'ROW 55';
SELECT id FROM repair4_1 WHERE upper(b) = 'ROW 55';
CALL migrate.run('repair4', 10);
SELECT row_version FROM repair4 WHERE id = 55;
RESET ROLE;

SET client_min_messages = warning;
SET migrate.guard = off;
DROP OWNED BY repair_owner, repair_user CASCADE;
DROP ROLE repair_owner, repair_user;
