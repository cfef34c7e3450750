--
-- A row that cannot be converted can be mended by whoever speaks its own form.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
CREATE SCHEMA mend;
SET search_path = mend;

CREATE TABLE readings (id integer PRIMARY KEY, value text, note text);
INSERT INTO readings VALUES (1, '10'), (2, 'ten'), (3, '30'), (4, 'forty'), (5, 'fifty');
SELECT migrate.define('mend_number', 'readings', add => 'number integer', up => 'number = value::integer',
	down => 'value = number::text', remove => '{value}');
SELECT migrate.expand('mend_number');
CALL migrate.run('readings');
SELECT row_key, sqlstate, message FROM migrate.failures WHERE migration = 'mend_number' ORDER BY row_key;

-- What leaves it as it is, or makes it no better, fails as its conversion does;
UPDATE readings SET note = 'checked' WHERE id = 2;
UPDATE readings SET value = 'zwei' WHERE id = 2;
-- what mends it does not, also where all that was read is written back with it.
UPDATE readings SET value = '2' WHERE id = 2 RETURNING *;
UPDATE readings SET id = 4, value = '4', note = NULL WHERE id = 4 RETURNING *;
-- The new form cannot be compared with what it never was.
UPDATE readings SET number = 5 WHERE id = 5;
DELETE FROM readings WHERE id = 5;
SELECT migrate.retry('readings');
CALL migrate.run('readings');
SELECT * FROM readings ORDER BY id;
SELECT state FROM migrate.status WHERE name = 'mend_number';

-- The same in a chain: the row has the first form and lacks the second.
SELECT migrate.define('mend_half', 'readings', add => 'half integer', up => 'half = 100 / number', down => 'number = 100 / half');
SELECT migrate.expand('mend_half');
UPDATE readings SET number = 0 WHERE id = 1;
UPDATE readings SET number = 50 WHERE id = 1 RETURNING *;
UPDATE readings SET value = '25' WHERE id = 3 RETURNING *;
UPDATE readings SET half = 4 WHERE id = 4 RETURNING *;

SET migrate.guard = off;
DROP SCHEMA mend CASCADE;
