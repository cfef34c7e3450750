--
-- Triggers of the table's own that do not go with a migration: which are refused,
-- and which are warned of.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
CREATE SCHEMA triggers;
SET search_path = triggers;

CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE people (id integer, full_name text, email text, note text, words tsvector, gone text) PARTITION BY RANGE (id);
CREATE TABLE people_low (gone text, words tsvector, note text, email text, full_name text, id integer);
ALTER TABLE people_low DROP COLUMN gone;
ALTER TABLE people DROP COLUMN gone;
ALTER TABLE people ATTACH PARTITION people_low FOR VALUES FROM (0) TO (100);
INSERT INTO people (id, full_name, email) VALUES (1, 'Ada Lovelace', 'Ada@X');
SELECT migrate.define('trigger_names', 'people', add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}');
SELECT migrate.define('trigger_mail', 'people', up => 'email = lower(email)');

-- to be warned of: conditions on the whole row or on what is rewritten in place, and what goes by the columns that are named
CREATE TRIGGER audit AFTER UPDATE ON people FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION nothing();
CREATE TRIGGER verify AFTER UPDATE ON people_low FOR EACH ROW WHEN (OLD.email <> NEW.email) EXECUTE FUNCTION nothing();
CREATE TRIGGER renamed AFTER UPDATE OF note, full_name ON people FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER search BEFORE INSERT OR UPDATE ON people FOR EACH ROW
	EXECUTE FUNCTION tsvector_update_trigger(words, 'pg_catalog.simple', note, full_name);
-- not to be
CREATE TRIGGER new_only AFTER UPDATE ON people FOR EACH ROW WHEN (NEW.email <> OLD.note) EXECUTE FUNCTION nothing();
CREATE TRIGGER mailed AFTER UPDATE OF email ON people FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER inserted AFTER INSERT ON people FOR EACH ROW WHEN (NEW.full_name IS NULL) EXECUTE FUNCTION nothing();
CREATE TRIGGER statements AFTER UPDATE ON people EXECUTE FUNCTION nothing();
-- refused: it would be fired when the forms have been brought in step
CREATE TRIGGER "~~late" BEFORE INSERT ON people_low FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT migrate.expand('trigger_names');
ALTER TRIGGER "~~late" ON people_low RENAME TO late;
SELECT migrate.expand('trigger_names');
SELECT migrate.expand('trigger_mail');

-- made, replaced, renamed later
CREATE TRIGGER "~~late" BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER "~~late" BEFORE DELETE ON people FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER "~~after" AFTER UPDATE ON people FOR EACH ROW EXECUTE FUNCTION nothing();
ALTER TRIGGER late ON people_low RENAME TO "~~later";
CREATE TRIGGER "first name" AFTER UPDATE OF first_name ON people FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER compared AFTER UPDATE ON people FOR EACH ROW WHEN (OLD.first_name <> NEW.first_name) EXECUTE FUNCTION nothing();
CREATE TRIGGER migrate_prune AFTER UPDATE ON people FOR EACH ROW WHEN (OLD.first_name <> NEW.first_name) EXECUTE FUNCTION nothing();
DROP TRIGGER migrate_prune ON people;
CREATE OR REPLACE TRIGGER renamed AFTER UPDATE OF full_name, first_name, last_name ON people
	FOR EACH ROW EXECUTE FUNCTION nothing();
-- come with a table that is attached
CREATE TABLE people_high (id integer, full_name text, email text, note text, words tsvector);
CREATE TRIGGER "~~high" BEFORE UPDATE ON people_high FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER whole AFTER UPDATE ON people_high FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION nothing();
ALTER TABLE people ATTACH PARTITION people_high FOR VALUES FROM (100) TO (200);
ALTER TRIGGER "~~high" ON people_high RENAME TO high;
ALTER TABLE people ATTACH PARTITION people_high FOR VALUES FROM (100) TO (200);
DROP TABLE people_high;
-- to be altered otherwise is nothing new
ALTER TABLE people DISABLE TRIGGER compared;
-- what is warned of, and what is right: transition tables
DROP TRIGGER "~~after" ON people;
CREATE FUNCTION compare() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT o AS old, n AS new FROM old_people o JOIN new_people n USING (id) ORDER BY id LOOP
		RAISE WARNING '% to %', r.old, r.new;
	END LOOP;
	RETURN NULL;
END$$;
CREATE FUNCTION compare_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE WARNING '% to %', OLD, NEW;
	RETURN NULL;
END$$;
CREATE TRIGGER shown AFTER UPDATE ON people REFERENCING OLD TABLE AS old_people NEW TABLE AS new_people
	FOR EACH STATEMENT EXECUTE FUNCTION compare();
CREATE TRIGGER shown_row AFTER UPDATE ON people FOR EACH ROW EXECUTE FUNCTION compare_row();
UPDATE people SET note = 'changed';

-- a row that a trigger takes out leaves nothing behind for the next one of a MERGE
CREATE TABLE merged (id int PRIMARY KEY, full_name text, note text);
INSERT INTO merged VALUES (1, 'A B C', 'n');
SELECT migrate.define('merged', 'merged', add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$);
SELECT migrate.expand('merged');
CREATE FUNCTION take_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER take_out BEFORE INSERT ON merged FOR EACH ROW EXECUTE FUNCTION take_out();
MERGE INTO merged USING (VALUES (2), (1)) v (id) ON merged.id = v.id
	WHEN MATCHED THEN UPDATE SET note = 'm'
	WHEN NOT MATCHED THEN INSERT (id, full_name) VALUES (v.id, 'X Y Z');
SELECT * FROM merged;

SET migrate.guard = off;
SET client_min_messages = error;
DROP SCHEMA triggers CASCADE;
