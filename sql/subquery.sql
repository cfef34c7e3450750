--
-- Sub-queries in up and down: what they may be, what they read, with whose eyes.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
CREATE SCHEMA subquery;
SET search_path = subquery;
CREATE TABLE countries (code text PRIMARY KEY, gone integer, name text, vat numeric);
ALTER TABLE countries DROP COLUMN gone;
INSERT INTO countries VALUES ('de', 'Germany', 19), ('fr', 'France', 20), ('xx', NULL, NULL);
CREATE TABLE orders (id integer PRIMARY KEY, gone integer, country text, tags integer[]);
ALTER TABLE orders DROP COLUMN gone;
INSERT INTO orders SELECT i, (ARRAY['de', 'fr', 'xx', 'zz'])[i], ARRAY[i, i + 1] FROM generate_series(1, 4) i;
RESET client_min_messages;

--
-- every kind of it, over tables, CTEs, functions and values, at any depth
--
SELECT migrate.define('sub_name', 'orders', add => 'country_name text',
	up => $$country_name = coalesce((SELECT name FROM countries c WHERE c.code = country), '?')$$,
	down => $$country = (SELECT code FROM countries WHERE name = country_name)$$);
-- without tables it is as good as its functions
SELECT migrate.define('sub_tags', 'orders', add => 'max_tag integer', up => 'max_tag = (SELECT max(t) FROM unnest(tags) t)');
SET client_min_messages = warning;
SELECT migrate.define('sub_all', 'orders', add => 'vat numeric(6,2), known boolean, best text, tagged text[],
	any_of boolean, all_of boolean, pair text',
	up => $$vat = (SELECT max(vat) FROM countries WHERE code <= orders.country),
		known = EXISTS (SELECT FROM countries WHERE code = country AND name IN
			(SELECT name FROM countries c2 WHERE c2.code = orders.country)),
		best = (WITH w AS (SELECT code, vat FROM countries WHERE code <> country)
			SELECT code FROM w WHERE vat = (SELECT max(w2.vat) FROM w w2) OR code > orders.country ORDER BY vat DESC NULLS LAST LIMIT 1),
		tagged = ARRAY(SELECT t || country FROM unnest(tags) t UNION ALL SELECT country || v FROM (VALUES (1), (2)) v (v)),
		any_of = country = ANY (SELECT code FROM countries),
		all_of = (country, 'x') <> ALL (SELECT code, 'x' FROM countries),
		pair = (SELECT c.name || l.other FROM countries c, LATERAL (SELECT max(code) AS other FROM countries d
			WHERE d.code <> c.code AND d.code <> country) l WHERE c.code = country)$$);
-- several columns of one sub-query
SELECT migrate.define('sub_multi', 'orders', add => 'a text, b numeric, c integer, d text',
	up => $$(a, b) = (SELECT name, vat FROM countries c WHERE c.code = orders.country),
		(c, d) = ROW(id + 1, (SELECT upper(country)))$$);
RESET client_min_messages;
SELECT rows_checked, rows_failed, first_error, round_trip_failures FROM migrate.dry_run('sub_multi');
SELECT migrate.expand('sub_name');
SELECT migrate.expand('sub_tags');
SELECT migrate.expand('sub_all');
SELECT migrate.expand('sub_multi');
SELECT migration, target, expression FROM migrate.assignment WHERE migration LIKE 'sub%' ORDER BY migration, target;

SELECT * FROM orders ORDER BY id;
SELECT id FROM orders WHERE country_name = 'France' AND known;
EXPLAIN (VERBOSE, COSTS OFF) SELECT max_tag FROM orders;

-- The same definition in other words; and another one.
SET client_min_messages = warning;
SELECT migrate.define('sub_name', 'orders', add => 'country_name text',
	up => $$country_name = coalesce((SELECT  name FROM subquery.countries c
		WHERE c.code = orders.country), '?'::text)$$,
	down => $$country = (SELECT code FROM countries WHERE name = country_name)$$);
SELECT migrate.define('sub_name', 'orders', add => 'country_name text',
	up => $$country_name = coalesce((SELECT name FROM countries c WHERE c.code < country), '?')$$,
	down => $$country = (SELECT code FROM countries WHERE name = country_name)$$);
\echo :LAST_ERROR_SQLSTATE
RESET client_min_messages;

--
-- writes, of either form; the backfill; all three agree
--
INSERT INTO orders (id, country) VALUES (5, 'de') RETURNING *;
INSERT INTO orders (id, country_name) VALUES (6, 'France') RETURNING id, country, country_name;
UPDATE orders SET country_name = 'Germany' WHERE id = 2 RETURNING id, country, country_name, row_version;
UPDATE orders SET country = 'fr' WHERE id = 1 RETURNING id, country, country_name, a, b;
-- a cached plan in between, and one that was made again
PREPARE names AS SELECT id, country_name FROM orders ORDER BY id;
EXECUTE names;
CREATE INDEX ON countries (name);
UPDATE countries SET name = 'Allemagne' WHERE code = 'de';
UPDATE countries SET name = 'Xanadu' WHERE code = 'xx';
-- stored values stay, stale rows follow
EXECUTE names;
CALL migrate.run('orders');
EXECUTE names;
SELECT * FROM orders ORDER BY id;

-- What an earlier statement wrote is seen, what the same one writes is not.
BEGIN;
INSERT INTO countries VALUES ('it', 'Italy', 22);
INSERT INTO orders (id, country) VALUES (7, 'it') RETURNING country_name;
WITH new AS (INSERT INTO countries VALUES ('es', 'Spain', 21))
INSERT INTO orders (id, country) VALUES (8, 'es') RETURNING country_name;
ROLLBACK;

--
-- what it reads can be renamed, but neither dropped nor retyped
--
DROP TABLE countries;
\echo :LAST_ERROR_SQLSTATE
SET client_min_messages = warning;
DROP TABLE countries CASCADE;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE countries DROP COLUMN name CASCADE;
\echo :LAST_ERROR_SQLSTATE
RESET client_min_messages;
ALTER TABLE countries ALTER COLUMN vat TYPE integer;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE countries RENAME TO lands;
ALTER TABLE lands RENAME COLUMN name TO called;
ALTER TABLE lands ADD COLUMN note text;
INSERT INTO orders (id, country) VALUES (9, 'fr') RETURNING country_name, pair;
SELECT expression FROM migrate.assignment WHERE migration = 'sub_name' ORDER BY target;

-- Read from the text, as after a restore.
UPDATE orders SET country_name = NULL;
DELETE FROM migrate.assignment_tree WHERE migration LIKE 'sub%';
\c -
SET search_path = subquery;
INSERT INTO orders (id, country, tags) VALUES (10, 'de', '{1,3}') RETURNING *;
UPDATE orders SET country_name = 'France' WHERE id = 10 RETURNING country;

-- To roll back loses what up would not give now.
UPDATE lands SET vat = 99 WHERE code = 'fr';
SELECT migrate.rollback('sub_multi');
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT migrate.rollback('sub_multi', discard => true);
SELECT migrate.rollback('sub_all', discard => true);
SELECT migrate.rollback('sub_tags', discard => true);
SELECT migrate.rollback('sub_name', discard => true);
\set VERBOSITY default
RESET client_min_messages;
-- Then nothing holds it any more.
DROP TABLE lands;
-- What was dropped since the definition.
SELECT migrate.expand('sub_name');
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE lands (code text, name text);
SET client_min_messages = warning;
SELECT migrate.define('sub_late', 'orders', depends_on => '{}', add => 'l text', up => 'l = (SELECT name FROM lands WHERE code = country)');
RESET client_min_messages;
ALTER TABLE lands ALTER COLUMN name TYPE varchar(20);
SELECT migrate.expand('sub_late');
\echo :LAST_ERROR_SQLSTATE

--
-- what is refused
--
CREATE VIEW orders_view AS SELECT * FROM orders;
CREATE TEMP TABLE passing (i integer);
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text', up => 'x = (SELECT country FROM orders o WHERE o.id < orders.id)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text', up => 'x = (SELECT country FROM orders_view o WHERE o.id < orders.id)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text', up => 'x = (SELECT i FROM passing)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text', up => 'x = (SELECT name FROM lands TABLESAMPLE SYSTEM (10))');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text', up => 'x = (SELECT name FROM lands FOR UPDATE)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text', up => 'x = (SELECT name FROM lands ORDER BY random() LIMIT 1)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text', up => 'x = (WITH d AS (DELETE FROM lands RETURNING name) SELECT name FROM d)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text', up => 'x = (SELECT name, code FROM lands)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text', up => 'x = (SELECT nosuch FROM lands)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x integer', up => 'x = (SELECT name FROM lands)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text', up => 'x = (SELECT name FROM lands WHERE code = x)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text', up => 'x = (SELECT max(country) FROM lands)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text DEFAULT (SELECT max(name) FROM lands)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text CHECK (x IN (SELECT name FROM lands))');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', up => 'country = upper(country)', needed => 'country IN (SELECT code FROM lands)');
\echo :LAST_ERROR_SQLSTATE
-- several columns at once
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text, y text', up => '(x, y) = (SELECT name FROM lands)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text, y text', up => '(x, y) = (country, country, country)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text, y text', up => '(x, y) = (country, DEFAULT)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text, y text', up => '(x, y) = row_of(country)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text, y integer', up => '(x, y) = (SELECT code, name FROM lands)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('bad', 'orders', depends_on => '{}', add => 'x text, y text', up => '(x, x) = (SELECT code, name FROM lands)');
\echo :LAST_ERROR_SQLSTATE

--
-- more than one row: an error where it is met
--
INSERT INTO lands VALUES ('de', 'one'), ('fr', 'one'), ('fr', 'two');
SET client_min_messages = warning;
SELECT migrate.forget(name) FROM (SELECT name FROM migrate.migration WHERE relation = 'orders'::regclass ORDER BY seq DESC) m;
TRUNCATE orders;
INSERT INTO orders VALUES (1, 'de'), (2, 'fr');
SELECT migrate.define('sub_rows', 'orders', depends_on => '{}', add => 'l text', up => 'l = (SELECT name FROM lands WHERE code = country)');
RESET client_min_messages;
SELECT rows_checked, rows_failed, first_error, first_failed_row FROM migrate.dry_run('sub_rows');
SELECT migrate.expand('sub_rows');
SELECT id, l FROM orders;
\echo :LAST_ERROR_SQLSTATE
INSERT INTO orders VALUES (3, 'fr');
CALL migrate.run('orders');
SELECT row_key, sqlstate, message FROM migrate.failures WHERE migration = 'sub_rows';
DELETE FROM lands WHERE name = 'two';
SELECT migrate.retry('orders');
CALL migrate.run('orders');
SELECT id, l FROM orders ORDER BY id;

--
-- in place, with a generated column behind; in partitions with their columns elsewhere
--
CREATE TABLE parted (part integer, code text, shout text GENERATED ALWAYS AS (upper(code)) STORED) PARTITION BY LIST (part);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 (gone integer, shout text GENERATED ALWAYS AS (upper(code)) STORED, code text, part integer);
ALTER TABLE parted_2 DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES IN (2);
INSERT INTO parted VALUES (1, 'de'), (2, 'fr'), (2, 'no');
SET client_min_messages = warning;
SELECT migrate.define('sub_shout', 'parted', add => 'via_shout text',
	up => 'via_shout = (SELECT min(name) FROM lands WHERE upper(lands.code) = shout)');
SELECT migrate.define('sub_parted', 'parted', up => 'code = coalesce((SELECT name FROM lands l WHERE l.code = parted.code), code)');
RESET client_min_messages;
SELECT rows_checked, rows_failed, first_error, round_trip_failures FROM migrate.dry_run('sub_parted');
SELECT migrate.expand('sub_shout');
SELECT migrate.expand('sub_parted');
SELECT * FROM parted ORDER BY part, code;
SELECT * FROM parted_2 ORDER BY part, code;
-- from the text, as after a restore, which knows a row by the name of the whole table
BEGIN;
DELETE FROM migrate.assignment_tree WHERE migration IN ('sub_shout', 'sub_parted');
ALTER TABLE parted ALTER COLUMN via_shout SET STATISTICS 200;
SELECT * FROM parted_2 ORDER BY part, code;
ROLLBACK;
INSERT INTO parted VALUES (2, 'de') RETURNING *;
CALL migrate.run('parted');
SELECT * FROM parted ORDER BY part, code;

--
-- A managed table in it reads as converted; one that comes back to itself is stopped.
--
CREATE TABLE a (id integer PRIMARY KEY, v text);
CREATE TABLE b (id integer PRIMARY KEY, v text);
INSERT INTO a VALUES (1, 'a1'), (2, 'a2');
INSERT INTO b VALUES (1, 'b1'), (2, 'b2');
SELECT migrate.define('sub_b', 'b', add => 'w text', up => $$w = v || '!'$$, down => $$v = rtrim(w, '!')$$, remove => '{v}');
SELECT migrate.expand('sub_b');
SET client_min_messages = warning;
SELECT migrate.define('sub_a', 'a', add => 'w text', up => 'w = (SELECT w FROM b WHERE b.id = a.id)');
SELECT migrate.define('sub_a_old', 'a', add => 'x text', up => 'x = (SELECT v FROM b WHERE b.id = a.id)');
RESET client_min_messages;
SELECT migrate.expand('sub_a');
SELECT * FROM a ORDER BY id;
UPDATE b SET w = 'new' WHERE id = 1;
SELECT * FROM a ORDER BY id;
-- What is read there is not rolled back, nor contracted.
SELECT migrate.rollback('sub_b');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.expand('sub_a_old');
CALL migrate.run('b');
SELECT check_name, detail FROM migrate.check_contract('sub_b') WHERE NOT ok;
SELECT migrate.contract('sub_b', skip => '{window,usage}');
\echo :LAST_ERROR_SQLSTATE

CREATE VIEW over_b AS SELECT id, 'none'::text AS z FROM b;
SET client_min_messages = warning;
SELECT migrate.define('sub_view', 'b', add => 'z text', up => 'z = (SELECT z FROM over_b o WHERE o.id = b.id)');
\echo :LAST_ERROR_SQLSTATE
CREATE OR REPLACE VIEW over_b AS SELECT id, 'none'::text AS z FROM lands, (VALUES (1), (2)) v (id);
SELECT migrate.define('sub_view', 'b', add => 'z text', up => 'z = (SELECT max(z) FROM over_b o WHERE o.id = b.id)');
SELECT migrate.expand('sub_view');
RESET client_min_messages;
SELECT id, z FROM b ORDER BY id;
CREATE OR REPLACE VIEW over_b AS SELECT id, z FROM b;
SELECT id, z FROM b ORDER BY id;
\echo :LAST_ERROR_SQLSTATE
CREATE OR REPLACE VIEW over_b AS SELECT id, v AS z FROM b;
SELECT id, z FROM b ORDER BY id;

\set VERBOSITY terse
SET client_min_messages = error;
SELECT count(migrate.rollback(name, discard => true)) FROM (SELECT name FROM migrate.migration
	WHERE name LIKE 'sub%' AND state IN ('expanded', 'complete') ORDER BY seq DESC) m;
DROP SCHEMA subquery CASCADE;
