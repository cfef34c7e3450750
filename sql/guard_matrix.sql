--
-- The guard at a glance: each command is tried while migrations are live and
-- rows stale, and what comes of it is shown:
--
--	works			and all that is promised of the table holds: what rows read as, writes of
--					both forms, constraints of the new form, the triggers
--	works, but ...	what does not hold any more
--	the server ...	refuses it anyway, with that SQLSTATE
--	...				what the guard says
--
-- All is taken back after each.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
CREATE ROLE matrix_owner;
CREATE ROLE matrix_other;
CREATE SCHEMA matrix_test;
CREATE SCHEMA matrix AUTHORIZATION matrix_owner;
CREATE SCHEMA matrix_other AUTHORIZATION matrix_owner;
GRANT CREATE, USAGE ON SCHEMA matrix TO matrix_other;
CREATE ACCESS METHOD matrix_heap TYPE TABLE HANDLER heap_tableam_handler;
SET search_path = matrix;
SET ROLE matrix_owner;

-- What an expression uses: a function, a type, an operator, a collation, another table.
CREATE COLLATION "C too" FROM "C";
CREATE FUNCTION bare(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT btrim($1) $$;
CREATE FUNCTION joined(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1 || '/' || $2 $$;
CREATE OPERATOR %% (LEFTARG = text, RIGHTARG = text, FUNCTION = joined);
CREATE DOMAIN word AS text CHECK (VALUE <> 'never');
CREATE TABLE land (code integer PRIMARY KEY, name text);
INSERT INTO land VALUES (1, 'one'), (2, 'two');
GRANT SELECT, REFERENCES ON land TO matrix_other;
CREATE TYPE alike AS (id integer, a text, c text COLLATE "C", n integer, free integer, row_version integer, b text, l integer, w text);

CREATE TABLE t (id integer PRIMARY KEY, a text, c text COLLATE "C" DEFAULT 'c', n integer DEFAULT 1, free integer);
INSERT INTO t SELECT i, ' a' || i, 'c' || i, 1, i FROM generate_series(1, 3) i;
SELECT migrate.define('matrix_b', 't', add => 'b text DEFAULT $$none$$ CHECK (b <> $$bad$$) NOT NULL',
	up => $$b = bare(a) %% c COLLATE "C too"$$, down => $$a = split_part(b, '/', 1)::word$$, remove => '{a}');
SELECT migrate.define('matrix_l', 't', add => 'l integer REFERENCES land (code) UNIQUE, w text',
	up => 'w = (SELECT name FROM land WHERE code = n)');
SELECT migrate.expand('matrix_b');
SELECT migrate.expand('matrix_l');
SELECT migrate.create_index('matrix_b', 'b');
CREATE TABLE parent_of_old (id integer, a text);
CREATE TABLE parent_of_new (id integer, b text);
CREATE TABLE parent_of_others (id integer, free integer);
CREATE TABLE child (LIKE t);
ALTER TABLE child ADD CONSTRAINT row_version_2 CHECK (row_version >= 2) NOT VALID, ADD CONSTRAINT row_version_3 CHECK (row_version >= 3) NOT VALID,
	ADD CONSTRAINT t_b_check CHECK (b <> 'bad' OR migrate.excused('matrix_b')) NOT VALID, ADD CONSTRAINT t_b_not_null CHECK (b IS NOT NULL OR migrate.excused('matrix_b')) NOT VALID;
UPDATE t SET c = c WHERE id = 2;
RESET ROLE;

-- What is promised of the table, whatever it is called by now: NULL where all of it holds.
CREATE FUNCTION matrix_test.broken(relation regclass) RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog AS
$$
DECLARE
	seen text;
	wrong text = '';
	rows text = $x$SELECT string_agg(concat_ws(' ', id, a, b, w, CASE WHEN $1 THEN NULL ELSE row_version END), ', ' ORDER BY id) FROM %s$x$;
BEGIN
	EXECUTE format(rows, relation) USING true INTO seen;
	IF seen IS DISTINCT FROM '1  a1 a1/c1 one, 2  a2 a2/c2 one, 3  a3 a3/c3 one' THEN
		wrong = wrong || ' reads: ' || coalesce(seen, 'nothing');
	END IF;
	EXECUTE format($x$UPDATE %s SET a = 'z' WHERE id = 1$x$, relation);
	EXECUTE format($x$UPDATE %s SET b = 'y/c3' WHERE id = 3$x$, relation);
	EXECUTE format($x$INSERT INTO %s (id, a, c, n) VALUES (11, 'q', 'd', 2)$x$, relation);
	EXECUTE format($x$INSERT INTO %s (id, b, c, n) VALUES (12, 'r/d', 'd', 2)$x$, relation);
	EXECUTE format(rows, relation) USING false INTO seen;
	IF seen IS DISTINCT FROM '1 z z/c1 one 3, 2  a2 a2/c2 one 3, 3 y y/c3 one 3, 11 q q/d two 3, 12 r r/d two 3' THEN
		wrong = wrong || ' writes: ' || coalesce(seen, 'nothing');
	END IF;
	BEGIN
		EXECUTE format($x$INSERT INTO %s (id, b) VALUES (13, 'bad')$x$, relation);
		wrong = wrong || ' no CHECK';
	EXCEPTION WHEN check_violation THEN
	END;
	BEGIN
		EXECUTE format($x$INSERT INTO %s (id, b, l) VALUES (14, 'x/c', 77)$x$, relation);
		wrong = wrong || ' no REFERENCES';
	EXCEPTION WHEN foreign_key_violation THEN
	END;
	IF (SELECT count(*) FROM pg_trigger WHERE tgrelid = relation AND tgname IN ('!migrate', '~migrate') AND tgenabled = 'A') <> 2 THEN
		wrong = wrong || ' no triggers';
	END IF;
	RETURN nullif(wrong, '');
EXCEPTION WHEN others THEN
	RETURN wrong || ' ERROR: ' || SQLERRM;
END
$$;

CREATE FUNCTION matrix_test.outcome(command text, who name, guard text) RETURNS text LANGUAGE plpgsql
SET search_path = matrix, pg_catalog AS
$$
DECLARE
	t regclass = 't'::regclass;
	outcome text;
	said text;
	advice text;
BEGIN
	BEGIN
		PERFORM set_config('migrate.guard', guard, true);
		EXECUTE format('SET LOCAL ROLE %I', who);
		EXECUTE command;
		RESET ROLE;
		SET LOCAL migrate.guard = on;
		outcome = CASE WHEN EXISTS (SELECT 1 FROM pg_class WHERE oid = t)
			THEN coalesce('works, but' || matrix_test.broken(t), 'works') ELSE 'works' END;
		RAISE EXCEPTION 'take it back' USING ERRCODE = 'P0777';
	EXCEPTION
		WHEN SQLSTATE 'P0777' THEN
		WHEN others THEN
			GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT;
			outcome = CASE WHEN said ~ 'migrat|stale|fired after' THEN said || CASE WHEN advice = '' THEN ', without a hint' ELSE '' END
				ELSE 'the server: ' || SQLSTATE END;
	END;
	RETURN outcome;
END
$$;

CREATE FUNCTION matrix_test.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TABLE matrix_test.partitioned (LIKE matrix.alike) PARTITION BY LIST (id);
ALTER TABLE matrix_test.partitioned ALTER row_version SET NOT NULL, OWNER TO matrix_owner;
GRANT USAGE, CREATE ON SCHEMA matrix_test TO matrix_owner;

CREATE TABLE matrix_test.attempt (no serial PRIMARY KEY, command text, outcome text);
CREATE FUNCTION matrix_test.tried(VARIADIC commands text[]) RETURNS TABLE (command text, outcome text) LANGUAGE plpgsql AS
$$
#variable_conflict use_column
BEGIN
	FOREACH command IN ARRAY commands LOOP
		outcome = matrix_test.outcome(command, session_user, 'on');
		INSERT INTO matrix_test.attempt (command, outcome) VALUES (tried.command, tried.outcome);
		RETURN NEXT;
	END LOOP;
END
$$;
SET search_path = matrix, matrix_test;
SET client_min_messages = error;
\pset format unaligned
\pset tuples_only
\pset fieldsep ' => '

-- The table as it is.
SELECT outcome('SELECT', session_user, 'on');

-- Columns: a is old, b and l are new, c and n are read, free is nobody's.
SELECT * FROM tried(
	'ALTER TABLE t DROP COLUMN a',
	'ALTER TABLE t DROP COLUMN b',
	'ALTER TABLE t DROP COLUMN c',
	'ALTER TABLE t DROP COLUMN n CASCADE',
	'ALTER TABLE t DROP COLUMN free',
	'ALTER TABLE t DROP COLUMN row_version',
	'ALTER TABLE t DROP COLUMN IF EXISTS a CASCADE',
	'ALTER TABLE ONLY t DROP COLUMN a',
	'ALTER TABLE IF EXISTS t ADD COLUMN x integer, DROP COLUMN b',
	'DO $x$ BEGIN ALTER TABLE t DROP COLUMN a; END $x$',
	'ALTER TABLE t RENAME a TO x',
	'ALTER TABLE t RENAME b TO x',
	'ALTER TABLE t RENAME c TO x',
	'ALTER TABLE t RENAME free TO x',
	'ALTER TABLE t RENAME row_version TO x',
	'ALTER TABLE t ALTER a TYPE varchar(10)',
	'ALTER TABLE t ALTER b TYPE varchar',
	'ALTER TABLE t ALTER c TYPE text COLLATE "POSIX"',
	'ALTER TABLE t ALTER n TYPE bigint',
	'ALTER TABLE t ALTER free TYPE bigint',
	'ALTER TABLE t ALTER row_version TYPE bigint',
	'ALTER TABLE t ALTER a TYPE text',
	$c$ALTER TABLE t ALTER a TYPE text USING a || 'x'$c$,
	'ALTER TABLE t ALTER n TYPE integer USING n + 1',
	'ALTER TABLE t ALTER free TYPE integer USING free + 1');

-- What columns have: defaults, NOT NULL, identity; what does not change their values.
SELECT * FROM tried(
	$c$ALTER TABLE t ALTER a SET DEFAULT 'd'$c$,
	$c$ALTER TABLE t ALTER b SET DEFAULT 'd'$c$,
	'ALTER TABLE t ALTER b DROP DEFAULT',
	'ALTER TABLE t ALTER c DROP DEFAULT',
	'ALTER TABLE t ALTER row_version SET DEFAULT 1',
	'ALTER TABLE t ALTER row_version DROP DEFAULT',
	'ALTER TABLE t ALTER row_version DROP NOT NULL',
	'ALTER TABLE t ALTER row_version SET NOT NULL',
	'ALTER TABLE t ALTER a SET NOT NULL',
	'ALTER TABLE t ALTER b SET NOT NULL',
	'ALTER TABLE t ALTER b DROP NOT NULL',
	'ALTER TABLE t ALTER n SET NOT NULL, ALTER n DROP DEFAULT, ALTER n ADD GENERATED BY DEFAULT AS IDENTITY',
	'ALTER TABLE t ALTER row_version DROP DEFAULT, ALTER row_version ADD GENERATED BY DEFAULT AS IDENTITY',
	'ALTER TABLE t ADD g text GENERATED ALWAYS AS (upper(a)) STORED',
	'ALTER TABLE t ADD g text GENERATED ALWAYS AS (upper(b)) STORED',
	'ALTER TABLE t ADD g text GENERATED ALWAYS AS (upper(b)) STORED, DROP COLUMN free; ALTER TABLE t ALTER g DROP EXPRESSION',
	'ALTER TABLE t ALTER a SET STATISTICS 100, ALTER b SET STATISTICS 200, ALTER row_version SET STATISTICS 0',
	'ALTER TABLE t ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE MAIN',
	'ALTER TABLE t ALTER a SET COMPRESSION pglz, ALTER b SET COMPRESSION pglz',
	'ALTER TABLE t ALTER a SET (n_distinct = 5), ALTER b SET (n_distinct = 5)',
	'GRANT SELECT (a, b), UPDATE (b) ON t TO matrix_other',
	$c$COMMENT ON COLUMN t.b IS 'x'$c$,
	$c$COMMENT ON COLUMN t.row_version IS 'x'$c$);

-- Constraints: the proof's, those of "add" (theirs to give up), and others.
SELECT * FROM tried(
	'ALTER TABLE t DROP CONSTRAINT row_version_2',
	'ALTER TABLE t DROP CONSTRAINT IF EXISTS row_version_3 CASCADE',
	'ALTER TABLE t RENAME CONSTRAINT row_version_3 TO x',
	'ALTER TABLE t VALIDATE CONSTRAINT row_version_2',
	'ALTER TABLE t ALTER CONSTRAINT row_version_2 DEFERRABLE',
	$c$COMMENT ON CONSTRAINT row_version_2 ON t IS 'x'$c$,
	'ALTER TABLE t DROP CONSTRAINT t_b_check',
	'ALTER TABLE t RENAME CONSTRAINT t_b_check TO x',
	'ALTER TABLE t VALIDATE CONSTRAINT t_b_check',
	'ALTER TABLE t DROP CONSTRAINT t_b_not_null',
	'ALTER TABLE t RENAME CONSTRAINT t_b_not_null TO x',
	'ALTER TABLE t DROP CONSTRAINT t_pkey',
	'ALTER TABLE t RENAME CONSTRAINT t_pkey TO x',
	$c$ALTER TABLE t ADD CHECK (b <> 'k')$c$,
	'ALTER TABLE t ADD CHECK (b IS NOT NULL) NOT VALID',
	'ALTER TABLE t ADD FOREIGN KEY (l) REFERENCES land',
	'ALTER TABLE t ADD UNIQUE (b)',
	'ALTER TABLE t ADD PRIMARY KEY (b)',
	'ALTER TABLE t ADD EXCLUDE (b WITH =)');

-- Triggers.
SELECT * FROM tried(
	'DROP TRIGGER "!migrate" ON t',
	'DROP TRIGGER IF EXISTS "~migrate" ON t CASCADE',
	'ALTER TRIGGER "!migrate" ON t RENAME TO x',
	'ALTER TABLE t DISABLE TRIGGER "!migrate"',
	'ALTER TABLE t ENABLE TRIGGER "!migrate"',
	'ALTER TABLE t ENABLE REPLICA TRIGGER "~migrate"',
	'ALTER TABLE t ENABLE ALWAYS TRIGGER "~migrate"',
	'ALTER TABLE t DISABLE TRIGGER USER',
	'ALTER TABLE t DISABLE TRIGGER ALL',
	'ALTER TABLE ONLY t DISABLE TRIGGER ALL, ENABLE TRIGGER ALL',
	'ALTER TABLE t ADD x integer, DISABLE TRIGGER USER',
	'ALTER TABLE t DISABLE TRIGGER ALL, DISABLE TRIGGER "!migrate"',
	'DROP TRIGGER t_l_fkey ON t',
	'ALTER TRIGGER t_l_fkey ON t RENAME TO x',
	'ALTER TABLE t RENAME CONSTRAINT t_l_fkey TO x',
	'ALTER TABLE t DISABLE TRIGGER t_l_fkey',
	'ALTER TABLE t ENABLE REPLICA TRIGGER t_l_fkey',
	'ALTER TABLE t ENABLE ALWAYS TRIGGER t_l_fkey',
	'CREATE OR REPLACE TRIGGER "!migrate" BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'CREATE TRIGGER "~z" BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'CREATE TRIGGER "!a" BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'CREATE TRIGGER "!migrate_mend" AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION matrix_test.nothing()',
	'CREATE TRIGGER x AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION matrix_test.nothing(); ALTER TRIGGER x ON t RENAME TO "!migrate_defer"',
	$c$COMMENT ON TRIGGER "!migrate" ON t IS 'x'$c$);

-- Indexes and statistics.
SELECT * FROM tried(
	'CREATE UNIQUE INDEX ON t (b)',
	'CREATE UNIQUE INDEX ON t (id) WHERE b IS NOT NULL',
	'CREATE UNIQUE INDEX ON t (id) INCLUDE (b)',
	'CREATE INDEX ON t (b)',
	'CREATE INDEX ON t (a)',
	'ALTER INDEX t_pkey RENAME TO x',
	'ALTER INDEX t_pkey SET (fillfactor = 50)',
	'CREATE STATISTICS s ON a, b FROM t',
	'REINDEX TABLE t',
	'CLUSTER t USING t_pkey',
	'ANALYZE t');

-- The table: what goes with it, and what does not change what it is.
SELECT * FROM tried(
	'DROP TABLE t',
	'DROP TABLE IF EXISTS child, t CASCADE',
	'DROP SCHEMA matrix CASCADE',
	'DROP OWNED BY matrix_owner',
	'DROP OWNED BY matrix_owner CASCADE',
	'DROP ROLE matrix_owner',
	'REASSIGN OWNED BY matrix_owner TO matrix_other',
	'ALTER TABLE t RENAME TO "a name of exactly sixty-three bytes, with ""quotes"" and spaces ."',
	'ALTER TABLE t SET SCHEMA matrix_other',
	'ALTER SCHEMA matrix RENAME TO matrix_renamed',
	'ALTER TABLE t OWNER TO matrix_other',
	'ALTER TABLE t SET TABLESPACE pg_default',
	'ALTER TABLE t SET UNLOGGED',
	'ALTER TABLE t SET LOGGED',
	'ALTER TABLE t SET ACCESS METHOD heap',
	'ALTER TABLE t SET ACCESS METHOD matrix_heap',
	'ALTER TABLE t SET (fillfactor = 50)',
	'ALTER TABLE t SET WITHOUT CLUSTER',
	'ALTER TABLE t REPLICA IDENTITY FULL',
	'ALTER TABLE t REPLICA IDENTITY USING INDEX t_pkey',
	'ALTER TABLE t OF alike',
	'ALTER TABLE t NOT OF',
	'ALTER TABLE t INHERIT parent_of_old',
	'ALTER TABLE t INHERIT parent_of_new',
	'ALTER TABLE t INHERIT parent_of_others',
	'ALTER TABLE t INHERIT parent_of_others; ALTER TABLE t NO INHERIT parent_of_others',
	'ALTER TABLE t INHERIT parent_of_others; ALTER TABLE parent_of_others ADD COLUMN b text',
	'ALTER TABLE t INHERIT parent_of_others; ALTER TABLE parent_of_others ADD COLUMN x text, ADD COLUMN c text COLLATE "C"',
	'ALTER TABLE matrix_test.partitioned ATTACH PARTITION t DEFAULT',
	'ALTER TABLE child INHERIT t',
	'CREATE TABLE x () INHERITS (t)',
	'CREATE TABLE x (LIKE t INCLUDING ALL)',
	'CREATE RULE r AS ON INSERT TO t DO ALSO UPDATE t SET free = 7 WHERE id = new.id',
	'CREATE RULE r AS ON UPDATE TO t WHERE new.id = 4711 DO INSTEAD NOTHING',
	'ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
	$c$CREATE POLICY p ON t USING (b <> 'none'); ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY$c$,
	$c$TRUNCATE t; INSERT INTO t (id, a, c) VALUES (1, ' a1', 'c1'), (2, ' a2', 'c2'); INSERT INTO t VALUES (3, ' a3', 'c3', 1, NULL, 1)$c$,
	'CREATE VIEW v AS SELECT b FROM t',
	'CREATE MATERIALIZED VIEW v AS SELECT b FROM t',
	'REVOKE ALL ON t FROM matrix_owner');

-- What expressions use.
SELECT * FROM tried(
	'DROP FUNCTION bare(text)',
	'DROP FUNCTION bare(text) CASCADE',
	'DROP FUNCTION joined CASCADE',
	'DROP OPERATOR %% (text, text)',
	'DROP OPERATOR %% (text, text) CASCADE',
	'DROP DOMAIN word',
	'DROP DOMAIN word CASCADE',
	'DROP COLLATION "C too" CASCADE',
	'ALTER FUNCTION bare(text) RENAME TO x',
	'ALTER FUNCTION bare(text) SET SCHEMA matrix_other',
	'ALTER FUNCTION bare(text) OWNER TO matrix_other',
	'ALTER FUNCTION bare(text) COST 1000',
	'ALTER FUNCTION bare(text) VOLATILE',
	$c$CREATE OR REPLACE FUNCTION bare(text) RETURNS text LANGUAGE sql IMMUTABLE AS $x$ SELECT btrim($1, ' ') $x$$c$,
	$c$CREATE OR REPLACE FUNCTION bare(text) RETURNS text LANGUAGE sql IMMUTABLE AS $x$ SELECT btrim($1) || '?' $x$$c$,
	'ALTER OPERATOR %% (text, text) OWNER TO matrix_other',
	'ALTER DOMAIN word RENAME TO x',
	'ALTER DOMAIN word DROP CONSTRAINT word_check',
	$c$ALTER DOMAIN word ADD CHECK (VALUE <> 'no')$c$,
	'ALTER COLLATION "C too" RENAME TO x',
	'DROP TABLE land',
	'DROP TABLE land CASCADE',
	'ALTER TABLE land DROP COLUMN name CASCADE',
	'ALTER TABLE land DROP CONSTRAINT land_pkey',
	'ALTER TABLE land DROP CONSTRAINT land_pkey CASCADE',
	'ALTER TABLE land ALTER name TYPE varchar',
	'ALTER TABLE land RENAME name TO x',
	'ALTER TABLE land SET SCHEMA matrix_other');

-- The extension.
SELECT * FROM tried(
	'DROP EXTENSION migrate',
	'DROP EXTENSION migrate CASCADE',
	'DROP SCHEMA migrate CASCADE',
	'DROP FUNCTION migrate.write_trigger() CASCADE',
	'DROP FUNCTION migrate.excused(text) CASCADE',
	'DROP TABLE migrate.managed',
	'ALTER EXTENSION migrate SET SCHEMA matrix_other',
	'ALTER SCHEMA migrate RENAME TO x');

-- The owner is refused what a superuser is refused, in the same words; and lacks some rights.
SELECT command, owners FROM (SELECT no, command, outcome, outcome(command, 'matrix_owner', 'on') AS owners FROM attempt) a
WHERE owners <> outcome ORDER BY no;

-- What the guard refuses works without it, or is the server's to refuse.
SELECT command, split_part(without, ',', 1) FROM (SELECT no, command, outcome(command, session_user, 'off') AS without
	FROM attempt WHERE outcome NOT LIKE 'works%' AND outcome NOT LIKE 'the server%') a
WHERE without NOT LIKE 'works%' ORDER BY no;

-- A generated column that a migration reads, or that follows one which is rewritten.
SET client_min_messages = warning;
\pset tuples_only off
\pset format aligned
CREATE TABLE matrix.made (id integer, a text, g text GENERATED ALWAYS AS (upper(a)) STORED, h text GENERATED ALWAYS AS (a || a) STORED,
	o integer GENERATED ALWAYS AS (id + 1) STORED);
SELECT migrate.define('matrix_made', 'made', add => 'b text', up => 'a = lower(a), b = g');
SELECT migrate.expand('matrix_made');
ALTER TABLE made ALTER g DROP EXPRESSION;
ALTER TABLE made ALTER h DROP EXPRESSION;
ALTER TABLE made ALTER o DROP EXPRESSION;
ALTER TABLE made DROP COLUMN o;
SELECT migrate.rollback('matrix_made');

-- A replaced function is warned of, where it can make a difference; the next write goes by it.
SET client_min_messages = warning;
\pset tuples_only off
\pset format aligned
\pset fieldsep '|'
SET ROLE matrix_owner;
UPDATE t SET a = ' before' WHERE id = 1 RETURNING b;
CREATE OR REPLACE FUNCTION bare(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT btrim($1) || '!' $$;
ALTER FUNCTION bare(text) COST 50;
ALTER FUNCTION bare(text) STRICT;
CREATE OR REPLACE FUNCTION unused() RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$;
CREATE OR REPLACE FUNCTION unused() RETURNS text LANGUAGE sql AS $$ SELECT 'y' $$;
UPDATE t SET a = ' after' WHERE id = 1 RETURNING b;

-- Constraints that are renamed midway come into force under their new names.
ALTER TABLE t RENAME CONSTRAINT t_b_check TO not_bad;
ALTER TABLE t RENAME CONSTRAINT t_b_not_null TO is_some;
ALTER TRIGGER t_l_fkey ON t RENAME TO some_land;
ALTER TABLE t DISABLE TRIGGER USER;
INSERT INTO t (id, b, l) VALUES (5, 'x/x', 77);
\echo :LAST_ERROR_SQLSTATE
CALL migrate.run('t');
SELECT name, state FROM migrate.status WHERE name LIKE 'matrix%' ORDER BY name;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype IN ('c', 'f', 'u') ORDER BY conname;
ALTER TABLE t RENAME CONSTRAINT some_land TO one_land;
ALTER TABLE t RENAME CONSTRAINT t_l_key TO only_l;
ALTER INDEX t_b_idx RENAME TO on_b;
DROP INDEX on_b;
SELECT migrate.rollback('matrix_l', discard => true);
SELECT migrate.contract('matrix_b', skip => '{window,usage}');
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype IN ('c', 'f', 'u') ORDER BY conname;
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 't'::regclass ORDER BY 1::text;
RESET ROLE;
SET client_min_messages = error;
DROP SCHEMA matrix, matrix_test, matrix_other CASCADE;
DROP ACCESS METHOD matrix_heap;
DROP ROLE matrix_owner, matrix_other;
