--
-- What the write triggers cost, in nanoseconds for a row.
--
--	psql -X -v rows=5000 -v rounds=100 -f test/bench/write.sql
--
-- on a scratch database of a server that has the library preloaded, as superuser,
-- on Linux. It is processor time, and of each figure the best of the rounds, in
-- which the tables take turns, so that what else the machine does counts less. "both" is
-- how a table is that has a migration. "first only" is without the second trigger, which
-- brings the forms in step again after the table's own; "own trigger" is with a BEFORE row
-- trigger in PL/pgSQL that changes nothing. What one would do without the extension:
-- "generated", stored generated columns; "PL/pgSQL", a trigger that computes them.
--
\if :{?rows}
\else
\set rows 5000
\endif
\if :{?rounds}
\else
\set rounds 100
\endif
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
CREATE SCHEMA bench;
SET search_path = bench;
SET migrate.guard = off;
SET max_parallel_workers_per_gather = 0;

CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE result (nr serial, tables text, statement text, ns numeric);

CREATE PROCEDURE make(name text, live boolean, second boolean, own boolean) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE UNLOGGED TABLE %I (id integer, full_name text, note integer)', name);
	EXECUTE format('ALTER TABLE %I SET (autovacuum_enabled = off)', name);
	IF own THEN
		EXECUTE format('CREATE TRIGGER own BEFORE INSERT OR UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION nothing()', name);
	END IF;
	IF live THEN
		PERFORM migrate.define('bench_' || name, quote_ident(name)::regclass, add => 'first_name text, last_name text',
			up => $up$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$up$,
			down => $down$full_name = first_name || ' ' || last_name$down$);
		PERFORM migrate.expand('bench_' || name);
	ELSE
		EXECUTE format('ALTER TABLE %I ADD row_version integer NOT NULL DEFAULT 1, ADD first_name text, ADD last_name text', name);
	END IF;
	IF live AND NOT second THEN
		EXECUTE format('DROP TRIGGER "~migrate" ON %I', name);
	END IF;
END$$;

-- Of this process so far, in nanoseconds. It is brought up to date when the process sleeps.
CREATE FUNCTION cpu() RETURNS numeric LANGUAGE sql VOLATILE AS
	$$SELECT pg_sleep(0.001); SELECT split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::numeric$$;

CREATE PROCEDURE measure(name text, statement text, rows integer, fill text DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
	began numeric;
BEGIN
	EXECUTE format('TRUNCATE %I', name);
	IF fill IS NOT NULL THEN EXECUTE format(fill, name); END IF;
	COMMIT;
	began := cpu();
	EXECUTE format(statement, name);
	INSERT INTO result (tables, statement, ns) VALUES (name, statement, round((cpu() - began) / rows));
	COMMIT;
END$$;

CREATE PROCEDURE bench(name text, rows integer) LANGUAGE plpgsql AS $$
DECLARE
	fill text := 'INSERT INTO %I (id, full_name) SELECT i, ''First Last'' || i FROM generate_series(1, ' || rows || ') i';
BEGIN
	CALL measure(name, fill, rows);
	CALL measure(name, 'UPDATE %I SET note = 1', rows, fill);
	CALL measure(name, 'UPDATE %I SET full_name = ''Other Name'' || id', rows, fill);
END$$;

CALL make('plain', false, false, false);
CALL make('first only', true, false, false);
CALL make('both', true, true, false);
CALL make('plain, own trigger', false, false, true);
CALL make('first only, own trigger', true, false, true);
CALL make('both, own trigger', true, true, true);
CALL make('generated', false, false, false);
ALTER TABLE generated DROP first_name, DROP last_name,
	ADD first_name text GENERATED ALWAYS AS (split_part(full_name, ' ', 1)) STORED,
	ADD last_name text GENERATED ALWAYS AS (split_part(full_name, ' ', 2)) STORED;
CALL make('PL/pgSQL', false, false, false);
CREATE FUNCTION split() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.first_name := split_part(NEW.full_name, ' ', 1);
	NEW.last_name := split_part(NEW.full_name, ' ', 2);
	NEW.row_version := 2;
	RETURN NEW;
END$$;
CREATE TRIGGER split BEFORE INSERT OR UPDATE ON "PL/pgSQL" FOR EACH ROW EXECUTE FUNCTION split();

-- Each does what it is there for.
DO $$
DECLARE
	name text;
	wrong integer;
BEGIN
	FOREACH name IN ARRAY '{both,generated,PL/pgSQL}'::text[] LOOP
		EXECUTE format('INSERT INTO %I (id, full_name) VALUES (1, ''A B'')', name);
		EXECUTE format('UPDATE %I SET full_name = ''C D''', name);
		EXECUTE format('SELECT count(*) FROM %I WHERE (first_name, last_name) IS DISTINCT FROM (''C'', ''D'')', name)
			INTO wrong;
		IF wrong > 0 THEN
			RAISE 'the columns of "%" are wrong', name;
		END IF;
	END LOOP;
END$$;
SELECT format('CALL bench(%L, %s)', name, :rows) FROM generate_series(1, :rounds) round,
	unnest('{plain,first only,both,"plain, own trigger","first only, own trigger","both, own trigger",generated,PL/pgSQL}'::text[]) name
	ORDER BY round \gexec

SELECT tables, min(ns) FILTER (WHERE statement LIKE 'INSERT%') AS "insert",
	min(ns) FILTER (WHERE statement LIKE '%note%') AS "update note",
	min(ns) FILTER (WHERE statement LIKE '%Other%') AS "update full_name"
FROM result GROUP BY tables ORDER BY min(nr);

SET client_min_messages = error;
DROP SCHEMA bench CASCADE;
