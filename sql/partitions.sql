--
-- Partitions that come to a managed table, leave it, or are looked at on their own
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
\set VERBOSITY terse

CREATE TABLE parts (id integer PRIMARY KEY, a integer) PARTITION BY RANGE (id);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_default PARTITION OF parts DEFAULT;
INSERT INTO parts SELECT i, i FROM generate_series(1, 4) i;
-- made by jobs that know of no migration, before there is one
CREATE TABLE parts_1 (gone text, a integer, id integer NOT NULL);
ALTER TABLE parts_1 DROP COLUMN gone;
INSERT INTO parts_1 SELECT i, i FROM generate_series(10, 13) i;
CREATE TABLE parts_2 (id integer NOT NULL, a integer) PARTITION BY RANGE (id);
CREATE TABLE parts_20 PARTITION OF parts_2 FOR VALUES FROM (20) TO (25);
INSERT INTO parts_2 VALUES (20, 20);
SELECT migrate.define('parts', 'parts', add => 'b integer NOT NULL DEFAULT 5 CHECK (b <> 7)',
	up => 'b = a * 10', down => 'a = b / 10', remove => '{a}');
SELECT migrate.expand('parts');
UPDATE parts SET b = 15 WHERE id = 1;

--
-- A table in the old form is made ready by ATTACH
--
BEGIN;
ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES FROM (10) TO (20);
SELECT * FROM parts_1 ORDER BY id LIMIT 1;
ROLLBACK;
SELECT * FROM parts_1 ORDER BY id LIMIT 1;
ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES FROM (10) TO (20);
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (20) TO (30);
SELECT tableoid::regclass, * FROM parts ORDER BY id;
SELECT * FROM parts_1 WHERE b = 110;
-- it takes both forms, also directly
INSERT INTO parts_1 (id, a) VALUES (14, 14);
INSERT INTO parts_20 (id, b) VALUES (21, 215);
COPY parts_1 (id, b) FROM STDIN;
15	155
\.
UPDATE parts_1 SET b = b + 1 WHERE id = 10;
-- a partition of a partition, made meanwhile, and a table that comes to that
CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM (30) TO (40) PARTITION BY RANGE (id);
CREATE TABLE parts_30 (id integer NOT NULL, a integer);
ALTER TABLE parts_3 ATTACH PARTITION parts_30 FOR VALUES FROM (30) TO (35);
INSERT INTO parts_30 (id, a) VALUES (30, 30);
SELECT tableoid::regclass, * FROM parts WHERE b > 100 AND id <> 12 ORDER BY id;

--
-- What cannot come
--
CREATE TABLE parts_own (id integer NOT NULL, a integer, b integer);
SELECT migrate.manage('parts_own');
ALTER TABLE parts ATTACH PARTITION parts_own FOR VALUES FROM (50) TO (60);
\echo :LAST_ERROR_SQLSTATE
DROP TABLE parts_own;
CREATE TABLE other (id integer, a integer) PARTITION BY RANGE (id);
SELECT migrate.define('parts_other', 'other', add => 'b integer', up => 'b = a * 10', down => 'a = b / 10');
SELECT migrate.expand('parts_other');
CREATE TABLE other_1 PARTITION OF other FOR VALUES FROM (0) TO (10) PARTITION BY LIST (b);
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE other_1 PARTITION OF other FOR VALUES FROM (0) TO (10) PARTITION BY LIST (a);
CREATE TABLE other_1 (id integer, a integer) PARTITION BY LIST (a);
ALTER TABLE other ATTACH PARTITION other_1 FOR VALUES FROM (0) TO (10);
CREATE FOREIGN DATA WRAPPER parts_wrapper;
CREATE SERVER parts_server FOREIGN DATA WRAPPER parts_wrapper;
CREATE FOREIGN TABLE other_2 PARTITION OF other FOR VALUES FROM (10) TO (20) SERVER parts_server;
\echo :LAST_ERROR_SQLSTATE
CREATE FOREIGN TABLE other_2 (id integer, a integer) SERVER parts_server;
ALTER TABLE other ATTACH PARTITION other_2 FOR VALUES FROM (10) TO (20);
SELECT migrate.rollback('parts_other');
ALTER TABLE other ATTACH PARTITION other_1 FOR VALUES FROM (0) TO (10);
-- nor can it be defined, or expanded, with such
SELECT migrate.define('parts_key', 'other', add => 'b integer', up => 'b = a * 10', remove => '{a}');
SELECT migrate.define('parts_key', 'other', add => 'b integer', up => 'b = a * 10', down => 'a = b / 10');
SELECT migrate.define('parts_key', 'other', up => 'a = abs(a)');
ALTER TABLE other DETACH PARTITION other_1;
CREATE FOREIGN TABLE other_3 PARTITION OF other FOR VALUES FROM (20) TO (30) SERVER parts_server;
SELECT migrate.expand('parts_other');
\echo :LAST_ERROR_SQLSTATE
DROP TABLE other, other_1;
DROP FOREIGN DATA WRAPPER parts_wrapper CASCADE;

--
-- A copy takes rows of either form; what they mean is found out when they come
--
CREATE TABLE parts_copy (LIKE parts INCLUDING ALL);
CREATE TABLE IF NOT EXISTS parts_copy (LIKE parts INCLUDING ALL);
CREATE TEMP TABLE parts_temp (LIKE parts);
SELECT conrelid::regclass, conname FROM pg_constraint WHERE conrelid = 'parts_copy'::regclass AND contype = 'c';
SELECT count(*) FROM pg_statistic_ext WHERE stxrelid = 'parts_copy'::regclass;
INSERT INTO parts_temp (id, a, b) VALUES (5, 5, NULL);
INSERT INTO parts_temp (id, b) VALUES (6, 65);
INSERT INTO parts_copy (id, a) VALUES (41, 41);
INSERT INTO parts_copy (id, b) VALUES (42, 425);
\set VERBOSITY default
ALTER TABLE parts ATTACH PARTITION parts_copy FOR VALUES FROM (40) TO (50);
\set VERBOSITY terse
INSERT INTO parts SELECT * FROM parts_temp;
INSERT INTO parts SELECT * FROM parts_copy WHERE id = 42;
DELETE FROM parts_default WHERE id = 42 RETURNING *;
DELETE FROM parts_copy WHERE id = 42;
ALTER TABLE parts ATTACH PARTITION parts_copy FOR VALUES FROM (40) TO (50);
SELECT id, a, b FROM parts WHERE id IN (5, 6, 41) ORDER BY id;
-- a table as stored
CREATE TABLE parts_as AS SELECT * FROM parts WHERE id IN (1, 2);
DELETE FROM parts WHERE id IN (1, 2);
INSERT INTO parts SELECT * FROM parts_as;
SELECT id, a, b FROM parts WHERE id IN (1, 2) ORDER BY id;

--
-- A partition leaves when its rows are converted, and not before
--
\set VERBOSITY default
ALTER TABLE parts DETACH PARTITION parts_1;
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
ALTER TABLE parts DETACH PARTITION parts_1 CONCURRENTLY;
ALTER TABLE parts DETACH PARTITION parts_2;
ALTER TABLE parts DETACH PARTITION parts_default;
-- by writes is enough
UPDATE parts_1 SET a = a;
ALTER TABLE parts DETACH PARTITION parts_1 CONCURRENTLY;
SELECT * FROM parts_1 ORDER BY id;
SELECT conname, convalidated FROM pg_constraint WHERE conrelid = 'parts_1'::regclass AND conname LIKE 'row%';
-- and come again, with rows that it was given by itself
INSERT INTO parts_1 (id, a, b) VALUES (16, 16, 160);
ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES FROM (10) TO (20);
-- what is dropped need not be converted
BEGIN;
DROP TABLE parts_20;
ROLLBACK;
-- nor what is emptied or moved
TRUNCATE parts_30;
VACUUM FULL parts_0;
CLUSTER parts_1 USING parts_1_pkey;
ALTER TABLE parts_0 SET UNLOGGED;
-- rows move to another partition, and are converted by that
UPDATE parts SET id = id + 20 WHERE id = 20;
SELECT tableoid::regclass, * FROM parts WHERE id = 40;
CALL migrate.run('parts');
SELECT state FROM migrate.status WHERE name = 'parts';
SELECT tableoid::regclass, count(*), min(row_version), bool_and(a = b / 10) FROM parts GROUP BY 1 ORDER BY 1;

--
-- Once all are converted: what comes must be, too
--
CREATE TABLE parts_5 (id integer NOT NULL, a integer);
INSERT INTO parts_5 VALUES (50, 50);
\set VERBOSITY default
ALTER TABLE parts ATTACH PARTITION parts_5 FOR VALUES FROM (50) TO (60);
\set VERBOSITY terse
DELETE FROM parts_5;
ALTER TABLE parts ATTACH PARTITION parts_5 FOR VALUES FROM (50) TO (60);
INSERT INTO parts_5 (id, a) VALUES (51, 51) RETURNING *;
SELECT migrate.contract('parts', '20 s', '{window,usage}');
-- without a live migration a table lacks the row version alone
CREATE TABLE parts_6 (id integer NOT NULL, b integer NOT NULL, CONSTRAINT parts_b_check CHECK (b <> 7));
INSERT INTO parts_6 VALUES (60, 600);
ALTER TABLE parts ATTACH PARTITION parts_6 FOR VALUES FROM (60) TO (70);
SELECT * FROM parts WHERE id >= 50 ORDER BY id;
-- one that was away for a while is brought up to date
ALTER TABLE parts DETACH PARTITION parts_6;
SELECT migrate.define('parts_c', 'parts', add => 'c integer', up => 'c = b + 1', down => 'b = c - 1');
SELECT migrate.expand('parts_c');
ALTER TABLE parts ATTACH PARTITION parts_6 FOR VALUES FROM (60) TO (70);
SELECT * FROM parts WHERE c > 500 ORDER BY id;

--
-- Plans over partitions: joins and aggregates by partition, pruning by what is computed
--
CREATE TABLE pairs (id integer, c integer) PARTITION BY RANGE (id);
CREATE TABLE pairs_0 PARTITION OF pairs FOR VALUES FROM (0) TO (10);
CREATE TABLE pairs_1 PARTITION OF pairs FOR VALUES FROM (10) TO (70);
INSERT INTO pairs SELECT id, c FROM parts;
SET enable_partitionwise_join = on;
SET enable_partitionwise_aggregate = on;
SELECT count(*), sum(p.c - q.c) FROM parts p JOIN pairs q ON p.id = q.id AND p.c = q.c;
SELECT id / 10, sum(c), min(tableoid::regclass::text) FROM parts GROUP BY 1 ORDER BY 1;
SELECT p.id, q.c FROM pairs p LEFT JOIN parts q ON p.id = q.id AND q.c > 600 WHERE p.id >= 50 ORDER BY 1;
PREPARE parts_pruned (integer) AS SELECT id, c FROM parts WHERE id = (SELECT $1) AND c > 0;
SET plan_cache_mode = force_generic_plan;
EXECUTE parts_pruned (60);
SELECT q.id, p.c FROM pairs q, LATERAL (SELECT c FROM parts p WHERE p.id = q.id) p WHERE q.id IN (3, 14, 60) ORDER BY 1;
RESET plan_cache_mode;
RESET enable_partitionwise_join;
RESET enable_partitionwise_aggregate;
SELECT migrate.rollback('parts_c');
EXECUTE parts_pruned (60);
SELECT tableoid::regclass, * FROM parts WHERE id >= 50 ORDER BY id;
DROP TABLE parts, parts_default, parts_as, parts_temp, pairs;

--
-- Rows of a version that the table does not take do not come with their table either
--
CREATE TABLE old_parts (id integer, a integer) PARTITION BY RANGE (id);
CREATE TABLE old_parts_0 PARTITION OF old_parts FOR VALUES FROM (0) TO (10);
INSERT INTO old_parts VALUES (1, -1);
SELECT migrate.define('old_parts', 'old_parts', up => 'a = abs(a)');
SELECT migrate.expand('old_parts');
CALL migrate.run('old_parts');
ALTER TABLE old_parts DETACH PARTITION old_parts_0;
SELECT migrate.define('old_parts_half', 'old_parts', up => 'a = least(a, 5)');
SELECT migrate.expand('old_parts_half');
CALL migrate.run('old_parts');
SELECT migrate.contract('old_parts', skip => '{window,usage}'), migrate.contract('old_parts_half', skip => '{window,usage}');
\set VERBOSITY default
ALTER TABLE old_parts ATTACH PARTITION old_parts_0 FOR VALUES FROM (0) TO (10);
UPDATE old_parts_0 SET row_version = 4;
ALTER TABLE old_parts ATTACH PARTITION old_parts_0 FOR VALUES FROM (0) TO (10);
UPDATE old_parts_0 SET row_version = 3;
ALTER TABLE old_parts ATTACH PARTITION old_parts_0 FOR VALUES FROM (0) TO (10);
ALTER TABLE old_parts ATTACH PARTITION old_parts_0 FOR VALUES FROM (0) TO (10);
SELECT migrate.define('old_parts_next', 'old_parts', add => 'b integer', up => 'b = a');
SELECT migrate.expand('old_parts_next');
CREATE TABLE old_parts_1 (LIKE old_parts);
INSERT INTO old_parts_1 (id, a, row_version) VALUES (10, 1, 5);
ALTER TABLE old_parts ATTACH PARTITION old_parts_1 FOR VALUES FROM (10) TO (20);
UPDATE old_parts_1 SET row_version = DEFAULT;
ALTER TABLE old_parts ATTACH PARTITION old_parts_1 FOR VALUES FROM (10) TO (20);
SELECT * FROM old_parts ORDER BY id;
\set VERBOSITY terse
SELECT migrate.rollback('old_parts_next');
DROP TABLE old_parts;

--
-- Where rows that break a constraint hold the end up, partitions come and go all the same
--
CREATE TABLE held_keys (id integer PRIMARY KEY);
INSERT INTO held_keys SELECT generate_series(1, 20);
CREATE TABLE held (id integer, v integer) PARTITION BY RANGE (id);
CREATE TABLE held_1 PARTITION OF held FOR VALUES FROM (0) TO (10);
INSERT INTO held VALUES (1, 1), (2, 99);
SELECT migrate.define('held', 'held', add => 'w integer CHECK (w > 0) REFERENCES held_keys', up => 'w = v', down => 'v = w');
SELECT migrate.expand('held');
SELECT migrate.create_index('held', 'id, w', is_unique => true);
SELECT migrate.create_index('held', 'w', while_stale => true);
CALL migrate.run('held');
SELECT relation, sqlstate FROM migrate.failures WHERE migration = 'held';
CREATE TABLE held_2 PARTITION OF held FOR VALUES FROM (10) TO (20);
INSERT INTO held VALUES (10, 10);
CREATE TABLE held_3 (id integer, v integer);
INSERT INTO held_3 VALUES (20, 20);
ALTER TABLE held ATTACH PARTITION held_3 FOR VALUES FROM (20) TO (30);
UPDATE held SET v = 2 WHERE id = 2;
ALTER TABLE held DETACH PARTITION held_1;
SELECT migrate.retry('held');
CALL migrate.run('held');
SELECT state FROM migrate.status WHERE name = 'held';
-- what it was held to when it went gives way to what its parent is held to
ALTER TABLE held ATTACH PARTITION held_1 FOR VALUES FROM (0) TO (10);
SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint
	WHERE starts_with(conname, 'held_w_') AND conrelid <> 'held'::regclass
	ORDER BY conrelid::regclass::text COLLATE "C", conname COLLATE "C";
SELECT * FROM held ORDER BY id;
SELECT migrate.rollback('held', discard => true);
DROP TABLE held, held_keys;

--
-- what leaves takes along only what is in force; what left past the guard does not come back as it is
--
CREATE TABLE left_over (id integer, v integer) PARTITION BY RANGE (id);
CREATE TABLE left_1 PARTITION OF left_over FOR VALUES FROM (0) TO (10);
CREATE TABLE left_2 PARTITION OF left_over FOR VALUES FROM (10) TO (20);
INSERT INTO left_over VALUES (1, 1), (11, 11);
SELECT migrate.define('left', 'left_over', add => 'w integer CHECK (w > 0)', up => 'w = v', down => 'v = w');
SELECT migrate.expand('left');
CREATE INDEX "!migrate_left_2_12345678" ON left_2 (w);	-- as if its builder had been here
CREATE INDEX ON left_2 (w);
UPDATE left_over SET v = v + 1 WHERE id = 11;
ALTER TABLE left_over DETACH PARTITION left_2;
\d left_2
INSERT INTO left_2 (id) VALUES (12);	-- nobody excuses anything any more
DROP TABLE left_2;
BEGIN;
SET LOCAL migrate.guard = off;
ALTER TABLE left_over DETACH PARTITION left_1;
COMMIT;
\d left_1
CALL migrate.run('left_over');
ALTER TABLE left_over ATTACH PARTITION left_1 FOR VALUES FROM (0) TO (10);
\echo :LAST_ERROR_SQLSTATE
UPDATE left_1 SET w = v, row_version = 2;	-- by hand
ALTER TABLE left_over ATTACH PARTITION left_1 FOR VALUES FROM (0) TO (10);
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'left_1'::regclass AND contype = 'c' ORDER BY 1;
SELECT migrate.rollback('left', discard => true);
DROP TABLE left_over;
