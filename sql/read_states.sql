--
-- Reads across changes of state: what was planned before is planned again, and
-- when all rows are converted nothing is left of the conversion in a plan.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
SET plan_cache_mode = force_generic_plan;

CREATE TABLE read_chain (id integer PRIMARY KEY, a integer);
INSERT INTO read_chain SELECT i, i * 10 FROM generate_series(1, 6) i;
CREATE FUNCTION read_chain_sum() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT sum(a) FROM read_chain); END';
CREATE FUNCTION read_chain_rows() RETURNS SETOF read_chain LANGUAGE sql STABLE AS 'SELECT * FROM read_chain';
PREPARE read_all AS SELECT r FROM read_chain r ORDER BY id;
EXECUTE read_all;
SELECT read_chain_sum();

SELECT migrate.define('read_b', 'read_chain', add => 'b integer', up => 'b = coalesce(a, 0) + 1', down => 'a = b - 1');
SELECT migrate.expand('read_b');
EXECUTE read_all;
PREPARE read_b_only AS SELECT id, b FROM read_chain ORDER BY id;
PREPARE read_b_insert AS INSERT INTO read_chain (id, b) VALUES ($1, $2) RETURNING a, b;
EXECUTE read_b_only;
EXECUTE read_b_insert (7, 71);
UPDATE read_chain SET a = a WHERE id IN (1, 2, 3);

-- a second one on top of it: rows of three versions
SELECT migrate.define('read_c', 'read_chain', add => 'c integer, d text', up => $$c = coalesce(b, 0) * 2, d = 'd' || b$$, down => 'b = c / 2');
SELECT migrate.expand('read_c');
UPDATE read_chain SET c = 1000 WHERE id = 1;
UPDATE read_chain SET a = a + 1 WHERE id = 2;
EXECUTE read_b_insert (8, 81);
EXECUTE read_all;
EXECUTE read_b_only;
COPY read_chain TO STDOUT;
SELECT id, a, b, c, d FROM read_chain WHERE c > 60 ORDER BY id;
SELECT x, r.c, r.d FROM generate_series(8, 9) x LEFT JOIN read_chain_rows() r ON r.id = x ORDER BY x;
EXPLAIN (VERBOSE, COSTS OFF) SELECT c FROM read_chain;

-- a cursor goes on with what it was opened with
BEGIN;
DECLARE read_open CURSOR FOR SELECT id, c, d FROM read_chain ORDER BY id;
FETCH 2 FROM read_open;
UPDATE read_chain SET c = 0;
FETCH 2 FROM read_open;
ROLLBACK;

-- complete, and the plan is the one that a table has on which nothing goes on
CALL migrate.run('read_chain');
SELECT name, state FROM migrate.migration WHERE name IN ('read_b', 'read_c') ORDER BY name;
EXPLAIN (VERBOSE, COSTS OFF) SELECT c, d, r FROM read_chain r WHERE b > 1;
EXPLAIN (VERBOSE, COSTS OFF) EXECUTE read_all;
-- (functions are taken in again, unless another table has stale rows)
SELECT c FROM read_chain_rows() WHERE d = 'd11';
EXECUTE read_all;
EXECUTE read_b_only;
SELECT read_chain_sum();
-- INSERTs still say which form they speak
EXECUTE read_b_insert (9, 91);
INSERT INTO read_chain (id, c) VALUES (10, NULL) RETURNING id, a, b, c, d;
INSERT INTO read_chain (id, a) VALUES (11, 5) RETURNING id, a, b, c, d;

-- one that is complete below one that is not
SELECT migrate.define('read_e', 'read_chain', add => 'e integer', up => 'e = c + b');
SELECT migrate.expand('read_e');
UPDATE read_chain SET a = a WHERE id = 1;
EXPLAIN (VERBOSE, COSTS OFF) SELECT b, c, e FROM read_chain;
SELECT id, b, c, e FROM read_chain ORDER BY id;

DEALLOCATE ALL;
RESET plan_cache_mode;

-- Where no table has stale rows an SQL function's query is taken in, as it was
CREATE DATABASE read_alone;
\set home :DBNAME
\c read_alone
SET client_min_messages = warning;
CREATE EXTENSION migrate;
RESET client_min_messages;
CREATE TABLE read_only_one (id integer, a integer);
INSERT INTO read_only_one VALUES (1, 1);
CREATE FUNCTION read_a() RETURNS TABLE (id integer, a integer) LANGUAGE sql STABLE AS 'SELECT id, a FROM read_only_one';
PREPARE read_a AS SELECT * FROM read_a();
EXPLAIN (COSTS OFF) EXECUTE read_a;
SELECT migrate.define('read_only_one', 'read_only_one', add => 'b integer', up => 'b = a');
EXPLAIN (COSTS OFF) EXECUTE read_a;
SELECT migrate.expand('read_only_one');
EXPLAIN (COSTS OFF) EXECUTE read_a;
CALL migrate.run('read_only_one');
EXPLAIN (COSTS OFF) SELECT * FROM read_a();
\c :home
DROP DATABASE read_alone (FORCE);
