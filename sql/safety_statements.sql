--
-- A table's owner plays foul in "up" and "down": whatever statement a superuser, or a
-- server process, has run on the table, and however it is prepared, that code runs as
-- the owner, and leaves nothing behind that runs as another.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE ROLE statements_mallory;
CREATE ROLE statements_reader;
CREATE SCHEMA safety_st AUTHORIZATION statements_mallory;
GRANT USAGE ON SCHEMA safety_st TO statements_reader;
SET search_path = safety_st;

-- What is taken tells as whom, be it at the end of the transaction, by a deferred trigger.
SET ROLE statements_mallory;
CREATE TABLE loot (id serial, at text, who name);
CREATE FUNCTION explode() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN UPDATE safety_st.loot SET who = current_user WHERE id = NEW.id; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER explode AFTER INSERT ON loot DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION explode();
CREATE FUNCTION try(command text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
EXCEPTION WHEN OTHERS THEN
	NULL;
END $$;
CREATE FUNCTION take(v text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM safety_st.try(format('INSERT INTO safety_st.loot (at) VALUES (%L)', v));
	PERFORM safety_st.try('SET ROLE ' || session_user);
	PERFORM safety_st.try('SET SESSION AUTHORIZATION ' || session_user);
	PERFORM safety_st.try('RESET SESSION AUTHORIZATION');
	PERFORM safety_st.try('LISTEN statements');
	PERFORM safety_st.try('PREPARE statements AS SELECT 1');
	PERFORM safety_st.try('DECLARE statements CURSOR WITH HOLD FOR SELECT 1');
	PERFORM safety_st.try('CREATE TEMP TABLE safe_looking (id integer)');
	PERFORM set_config('search_path', 'safety_st', false), set_config('migrate.read_repair', 'on', false),
		set_config('row_security', 'off', false), set_config('application_name', 'mallory', false);
	IF current_user <> 'statements_mallory' THEN
		RAISE WARNING 'taken from %', v;
	END IF;
	RETURN v;
END $$;
CREATE FUNCTION evil(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN safety_st.take(v); END $$;
CREATE FUNCTION evil_sql(v text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT safety_st.evil(v) $$;
CREATE FUNCTION evil_any(v anyelement) RETURNS anyelement LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM safety_st.take(v::text); RETURN v; END $$;
CREATE FUNCTION evil_variadic(VARIADIC v text[]) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN safety_st.take(v[1]); END $$;
CREATE FUNCTION loot() RETURNS TABLE (what text) LANGUAGE sql SET search_path = pg_catalog AS $$
	SELECT 'role ' || current_user WHERE current_user <> session_user OR current_user = 'statements_mallory'
	UNION ALL SELECT 'as ' || who || ': ' || at FROM safety_st.loot WHERE who <> 'statements_mallory'
	UNION ALL SELECT 'channel ' || c FROM pg_listening_channels() c
	UNION ALL SELECT 'statement ' || name FROM pg_prepared_statements WHERE name = 'statements'
	UNION ALL SELECT 'cursor ' || name FROM pg_cursors
	UNION ALL SELECT 'table ' || relname FROM pg_class WHERE relname = 'safe_looking'
	UNION ALL SELECT 'setting ' || name FROM pg_settings
		WHERE (name, setting) IN (('row_security', 'off'), ('application_name', 'mallory'), ('migrate.read_repair', 'on'))
$$;
CREATE TYPE pair AS (x text, y text);
CREATE TABLE bait (id integer PRIMARY KEY, a text);
INSERT INTO bait SELECT i, 'row ' || i FROM generate_series(1, 4) i;
CREATE TABLE follows (id integer, a text);
SELECT migrate.define('safety_st', 'bait', add => $$b text, c text, d text, e pair, f text DEFAULT evil('default')$$,
	up => $$b = evil(a), c = evil_sql(a), d = evil_any(evil_variadic(a, 'x')), e = ROW(evil(a), 'y')::pair, f = evil('constant')$$,
	down => 'a = evil(b)');
SELECT migrate.expand('safety_st');
GRANT ALL ON bait TO statements_reader;
DELETE FROM loot;
RESET ROLE;

-- Reads
\o /dev/null
EXPLAIN SELECT * FROM bait;
EXPLAIN ANALYZE SELECT * FROM bait WHERE b = 'row 1';
SELECT bait FROM bait;
SELECT (e).x, count(*) FROM bait GROUP BY GROUPING SETS ((e), ()) ORDER BY 1;
PREPARE generic (text) AS SELECT b, f FROM bait WHERE c = $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE generic ('row 1');
SET ROLE statements_reader;
EXECUTE generic ('row 2');
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM bait;
RESET ROLE;
FETCH 2 FROM c;
COMMIT;
COPY (SELECT b FROM bait) TO STDOUT;
CREATE VIEW his_view AS SELECT * FROM bait;
CREATE FUNCTION his_function() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER STABLE AS 'SELECT b FROM safety_st.bait';
SET ROLE statements_reader;
SELECT his_function();
RESET ROLE;
SELECT * FROM his_view FOR UPDATE;
CREATE TABLE his_copy AS SELECT * FROM bait;
CREATE MATERIALIZED VIEW his_matview AS SELECT b FROM bait;
REFRESH MATERIALIZED VIEW his_matview;
ANALYZE bait;
VACUUM ANALYZE bait;
\o
SELECT * FROM loot();

-- Writes
ALTER TABLE follows ADD FOREIGN KEY (id) REFERENCES bait ON UPDATE CASCADE;
\o /dev/null
INSERT INTO bait (id, b, f) VALUES (6, 'new', 'x') RETURNING *;
INSERT INTO bait (id, b, f, row_version) VALUES (10, 'new', 'x', NULL) RETURNING *;
-- (What gives a column no value evaluates its default as the writer, as on any table.)
ALTER TABLE bait ALTER f DROP DEFAULT;
INSERT INTO bait (id, a) VALUES (5, 'old') RETURNING *;
INSERT INTO bait (id, b) VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET b = EXCLUDED.b || bait.b RETURNING *;
UPDATE bait SET b = 'other' WHERE id = 2;
UPDATE bait SET id = 12 WHERE id = 2;
MERGE INTO bait USING (VALUES (3, 'm'), (7, 'm')) v (id, b) ON bait.id = v.id
	WHEN MATCHED THEN UPDATE SET b = v.b WHEN NOT MATCHED THEN INSERT (id, b) VALUES (v.id, v.b);
DELETE FROM bait WHERE b = 'm' RETURNING *;
COPY bait (id, a) FROM STDIN;
8	copied
\.
COPY bait (id, b) FROM STDIN;
9	copied
\.
DO $$ BEGIN UPDATE safety_st.bait SET a = 'in a block' WHERE id = 8; END $$;
SET session_replication_role = replica;
UPDATE bait SET a = 'replicated' WHERE id = 9;
RESET session_replication_role;
\o
SELECT * FROM loot();

-- Trials, conversion, rollback; after the owner has changed what he called
SET ROLE statements_mallory;
CREATE OR REPLACE FUNCTION evil(v text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN safety_st.take('changed'); END $$;
RESET ROLE;
SELECT rows_failed FROM migrate.dry_run('safety_st');
SELECT * FROM loot();
CALL migrate.run('bait');
SELECT * FROM loot();
DROP VIEW his_view;
DROP MATERIALIZED VIEW his_matview;
SELECT migrate.rollback('safety_st');
SELECT migrate.rollback('safety_st', discard => true);
SELECT * FROM loot();
-- That it was called all the while, and would have told
SELECT safety_st.take('by the superuser');
SELECT count(*) > 5 FROM loot();

UNLISTEN *;
CLOSE ALL;
DEALLOCATE ALL;
SET client_min_messages = warning;
RESET row_security;
RESET application_name;
DROP TABLE IF EXISTS safe_looking;
DROP SCHEMA safety_st CASCADE;
DROP ROLE statements_mallory, statements_reader;
