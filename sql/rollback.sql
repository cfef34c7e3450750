--
-- rollback: what holds it back, and what is left behind.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE ROLE rollback_owner;
CREATE ROLE rollback_other;
CREATE SCHEMA rollback AUTHORIZATION rollback_owner;
GRANT USAGE ON SCHEMA rollback TO rollback_other;
SET search_path = rollback;
SET ROLE rollback_owner;

CREATE TABLE users (id integer PRIMARY KEY, full_name text);
INSERT INTO users SELECT i, 'a b' || i FROM generate_series(1, 10) i;
SELECT migrate.define('rollback_split', 'users', add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}');
SELECT migrate.define('rollback_initial', 'users', add => 'initial text', up => 'initial = left(first_name, 1)');

-- Bad input.
SELECT migrate.rollback('nosuch');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.rollback(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.rollback('rollback_split');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.expand('rollback_split');
SET ROLE rollback_other;
SELECT migrate.rollback('rollback_split');
\echo :LAST_ERROR_SQLSTATE
SET ROLE rollback_owner;

-- What depends on it, declared or not.
SELECT migrate.expand('rollback_initial');
SELECT migrate.rollback('rollback_split');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.rollback('rollback_initial');

-- Half converted, written by both: the old form has it all.
UPDATE users SET full_name = 'Ada Lovelace' WHERE id = 1;
UPDATE users SET first_name = 'Alan', last_name = 'Turing' WHERE id = 2;
INSERT INTO users (id, first_name, last_name) VALUES (11, 'Grace', 'Hopper');
INSERT INTO users (id, full_name) VALUES (12, 'Edsger Dijkstra');
CREATE VIEW new_view AS SELECT first_name FROM users;
CREATE INDEX new_index ON users (last_name);
CREATE POLICY new_policy ON users USING (first_name <> '');
SELECT migrate.rollback('rollback_split');
\echo :LAST_ERROR_SQLSTATE
SELECT count(first_name) FROM users;
DROP VIEW new_view;
DROP INDEX new_index;
DROP POLICY new_policy ON users;
ALTER TABLE users ADD CONSTRAINT new_check CHECK (first_name <> '') NOT VALID;
SELECT migrate.rollback('rollback_split');
\d users
SELECT * FROM users ORDER BY id;
INSERT INTO users (id, full_name) VALUES (13, 'Barbara Liskov') RETURNING *;
SELECT name, state, version, percent, contractable FROM migrate.status WHERE name LIKE 'rollback%';
SELECT direction, target, expression FROM migrate.assignment WHERE migration = 'rollback_split' ORDER BY 1, 2;
SELECT version, floor FROM migrate.managed WHERE relation = 'users'::regclass;
RESET ROLE;
SELECT count(*) FROM migrate.backfill WHERE root = 'users'::regclass;
SET ROLE rollback_owner;
SELECT event, role, detail FROM migrate.history WHERE migration = 'rollback_split';
SELECT migrate.rollback('rollback_split');

-- Expanded again: a new version, below which every row is stale, whoever wrote it; then all the way.
SELECT migrate.expand('rollback_split');
SELECT version FROM migrate.status WHERE name = 'rollback_split';
SELECT * FROM users ORDER BY id;
CALL migrate.run('users');
SELECT state, version FROM migrate.status WHERE name = 'rollback_split';
-- Complete is not too late.
SELECT migrate.rollback('rollback_split');
SELECT migrate.expand('rollback_split');
CALL migrate.run('users');
SELECT migrate.contract('rollback_split', skip => '{window,usage}');
SELECT migrate.rollback('rollback_split');
\echo :LAST_ERROR_SQLSTATE
SELECT id, first_name, last_name FROM users WHERE id IN (1, 2, 3, 11, 12, 13) ORDER BY id;

-- New columns that no down reads: what was written there would be lost.
CREATE TABLE items (id integer PRIMARY KEY, cents integer, secret text);
INSERT INTO items SELECT i, i * 100, 's' FROM generate_series(1, 10) i;
ALTER TABLE items ENABLE ROW LEVEL SECURITY;
ALTER TABLE items FORCE ROW LEVEL SECURITY;
CREATE POLICY nothing ON items USING (false);
SELECT migrate.define('rollback_price', 'items', add => 'price numeric(10,2), note text, rate real',
	up => 'price = cents / 100.0, note = secret || id', down => 'cents = (price * 100)::integer', remove => '{cents}');
SELECT migrate.expand('rollback_price');
RESET ROLE;
UPDATE items SET price = 7 WHERE id = 1;
UPDATE items SET cents = 5 WHERE id = 2;
CALL migrate.run('items');
BEGIN;
SELECT migrate.rollback('rollback_price');
SELECT id, cents FROM items WHERE id < 3 ORDER BY id;
ROLLBACK;
UPDATE items SET note = 'mine' WHERE id = 3;
UPDATE items SET note = NULL WHERE id = 4;
UPDATE items SET rate = 1.5 WHERE id IN (4, 5);
SELECT migrate.rollback('rollback_price');
\echo :LAST_ERROR_SQLSTATE
UPDATE items SET note = 's3' WHERE id = 3;
UPDATE items SET note = 's4', rate = NULL WHERE id = 4;
SELECT migrate.rollback('rollback_price');
SELECT migrate.rollback('rollback_price', discard => true);
SELECT event, detail FROM migrate.history WHERE migration = 'rollback_price' AND event = 'rolled back';
SET ROLE rollback_owner;

-- A type that cannot be compared, in partitions of other shapes.
CREATE TABLE parted (id integer, a text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 (junk integer, a text, id integer);
ALTER TABLE parted_2 DROP COLUMN junk;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (10) TO (20);
INSERT INTO parted VALUES (1, 'a'), (2, 'b'), (11, 'c'), (12, 'd');
SELECT migrate.define('rollback_json', 'parted', add => 'doc json', up => 'doc = to_json(a)');
SELECT migrate.expand('rollback_json');
UPDATE parted SET doc = '{}' WHERE id IN (2, 12);
UPDATE parted SET a = 'e' WHERE id = 1;
SELECT migrate.rollback('rollback_json');
SELECT migrate.rollback('rollback_json', true);
SELECT tableoid::regclass, * FROM parted ORDER BY id;
SELECT count(*) FROM pg_trigger WHERE tgrelid IN (SELECT relid FROM pg_partition_tree('parted'));
SELECT relid, pg_get_expr(adbin, adrelid) FROM pg_partition_tree('parted')
JOIN pg_attrdef ON adrelid = relid ORDER BY relid::text;

-- One of several: the others stay as they are. Failed rows of it are forgotten.
CREATE TABLE several (id integer PRIMARY KEY, a text, b integer);
INSERT INTO several VALUES (1, '1', 1), (2, 'x', 2);
SELECT migrate.define('rollback_first', 'several', add => 'c integer', up => 'c = a::integer', down => 'a = c::text');
SELECT migrate.define('rollback_second', 'several', add => 'd integer', up => 'd = b', down => 'b = d', depends_on => '{}');
SELECT migrate.expand('rollback_first');
SELECT migrate.expand('rollback_second');
CALL migrate.run('several');
SELECT failures FROM migrate.status WHERE name = 'rollback_first';
SELECT migrate.rollback('rollback_first');
SELECT failures FROM migrate.status WHERE name = 'rollback_first';
UPDATE several SET d = 5 WHERE id = 1;
UPDATE several SET b = 6 WHERE id = 2;
SELECT * FROM several ORDER BY id;
SELECT conname FROM pg_constraint WHERE conrelid = 'several'::regclass AND contype = 'c';
SELECT migrate.rollback('rollback_second');
SELECT * FROM several ORDER BY id;

RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA rollback CASCADE;
DROP ROLE rollback_owner, rollback_other;
