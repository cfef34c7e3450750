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
