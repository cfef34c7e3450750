--
-- Corners: each of these once read wrong, lost a write, or failed.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;

--
-- An INSERT that says DEFAULT of a column has not set it: object mappers say it
-- of every column that they know and have no value for
--

CREATE TABLE corner_defaults (id integer PRIMARY KEY, full_name text);
SELECT migrate.define('corner_defaults', 'corner_defaults',
	add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1),
			last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$,
	remove => '{full_name}');
SELECT migrate.expand('corner_defaults');
INSERT INTO corner_defaults (id, full_name, first_name, last_name) VALUES (1, 'Ada Lovelace', DEFAULT, DEFAULT);
INSERT INTO corner_defaults (id, full_name, first_name, last_name) VALUES
	(2, 'Grace Hopper', DEFAULT, DEFAULT), (3, 'Alan Turing', DEFAULT, DEFAULT);
INSERT INTO corner_defaults (id, full_name, first_name, last_name) VALUES (4, DEFAULT, 'Emmy', 'Noether');
MERGE INTO corner_defaults USING (VALUES (5)) v (i) ON id = i
WHEN NOT MATCHED THEN INSERT (id, full_name, first_name, last_name) VALUES (i, 'Kurt Goedel', DEFAULT, DEFAULT);
-- a NULL is a value, and so is what happens to be the default
INSERT INTO corner_defaults (id, full_name, first_name, last_name) VALUES
	(6, 'not this', NULL, NULL), (7, 'not this', NULL, NULL);
ALTER TABLE corner_defaults ALTER first_name SET DEFAULT 'Nemo';
INSERT INTO corner_defaults (id, full_name, first_name) VALUES (8, 'Carl Gauss', DEFAULT);
INSERT INTO corner_defaults (id, full_name, first_name) VALUES (9, 'not this', 'Nemo');
MERGE INTO corner_defaults USING (VALUES (10)) v (i) ON id = i
WHEN NOT MATCHED THEN INSERT (id, full_name, first_name) VALUES (i, 'not this', 'Nemo');
SELECT id, full_name, first_name, last_name FROM corner_defaults ORDER BY id;
SELECT migrate.rollback('corner_defaults', discard => true);
DROP TABLE corner_defaults;

--
-- A column generated from one that a migration adds reads, in a stale row, as
-- generated from what that one reads as
--

CREATE TABLE corner_generated (id integer PRIMARY KEY, a integer);
INSERT INTO corner_generated SELECT i, i FROM generate_series(1, 3) i;
SELECT migrate.define('corner_generated', 'corner_generated', add => 'b integer',
	up => 'b = a * 10', down => 'a = b / 10', remove => '{a}');
SELECT migrate.expand('corner_generated');
ALTER TABLE corner_generated ADD COLUMN g integer GENERATED ALWAYS AS (coalesce(b, -1) + a) STORED;
UPDATE corner_generated SET b = 29 WHERE id = 2;
SELECT id, a, b, g FROM corner_generated WHERE g > 0 ORDER BY id;
UPDATE corner_generated SET a = 5 WHERE id = 3 RETURNING a, b, g;
CALL migrate.run('corner_generated');
SELECT id, a, b, g FROM corner_generated ORDER BY id;
-- it is nobody's but its owner's
ALTER TABLE corner_generated DROP COLUMN g;
SELECT migrate.rollback('corner_generated', discard => true);
DROP TABLE corner_generated;
