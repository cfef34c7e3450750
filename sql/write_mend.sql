--
-- A row of which "up" fails can be corrected where it stands, by the old form:
-- what it would have read as is asked for only by a statement that names it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE TABLE mend (id integer PRIMARY KEY, a text, note text);
INSERT INTO mend VALUES (1, '1', NULL), (2, 'two', NULL), (3, 'three', NULL), (4, '4', NULL);
SELECT migrate.define('mend_1', 'mend', add => 'b integer',
	up => 'b = a::integer', down => 'a = b::text', remove => '{a}');
SELECT migrate.expand('mend_1');
CALL migrate.run('mend');
SELECT row_key, message FROM migrate.failures WHERE relation = 'mend'::regclass ORDER BY 1;

-- its new form cannot be read, nor written over,
SELECT b FROM mend WHERE id = 2;
UPDATE mend SET b = 2 WHERE id = 2;
-- nor can it be left as it is,
UPDATE mend SET note = 'seen' WHERE id = 2;
-- but its old form can be corrected, or the row be deleted.
UPDATE mend SET a = '2' WHERE id = 2 RETURNING b;
DELETE FROM mend WHERE id = 3;
SELECT migrate.retry('mend');
CALL migrate.run('mend');
SELECT state, failures FROM migrate.status WHERE name = 'mend_1';
SELECT * FROM mend ORDER BY id;

-- In a chain, too: of a row that is stored in a form in between, the newer
-- migrations are computed, and the older are brought in step.
INSERT INTO mend (id, a) VALUES (5, '0');
SELECT migrate.define('mend_2', 'mend', add => 'c integer, d integer',
	up => 'c = 100 / b, d = length(note)', down => 'b = 100 / c, note = repeat(''x'', d)', remove => '{b}');
SELECT migrate.expand('mend_2');
CALL migrate.run('mend');
SELECT row_key, migration, message FROM migrate.failures WHERE relation = 'mend'::regclass ORDER BY 1;
UPDATE mend SET a = '50', note = 'xyz' WHERE id = 5;
SELECT * FROM mend ORDER BY id;
SELECT migrate.retry('mend');
CALL migrate.run('mend');
SELECT name, state FROM migrate.status WHERE relation = 'mend'::regclass ORDER BY version;

-- The form in the middle is spoken; the newest is set by a trigger before ours; it
-- is named, but not changed.
SELECT migrate.define('mend_3', 'mend', add => 'e integer',
	up => 'e = 1000 / nullif(d, 3)', down => 'd = 1000 / e');
SELECT migrate.expand('mend_3');
UPDATE mend SET c = 20 WHERE id = 1;
CREATE FUNCTION mend_before() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN NEW.e := 250; RETURN NEW; END$$;
CREATE TRIGGER "! before" BEFORE UPDATE ON mend FOR EACH ROW EXECUTE FUNCTION mend_before();
UPDATE mend SET note = 'four' WHERE id = 2;
DROP TRIGGER "! before" ON mend;
UPDATE mend SET e = NULL, note = 'fours' WHERE id = 4;
SELECT * FROM mend ORDER BY id;
