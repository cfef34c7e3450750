--
-- A write means the same in whatever state the rows are. Each case is run on four
-- schemas of the same tables with three migrations in a chain: no row converted,
-- rows of every version, all converted, and complete. What it returns and leaves
-- behind has to be the same in all of them, but for the row version.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
CREATE SCHEMA harness;
SET search_path = harness;

CREATE TABLE log (entry text);

CREATE PROCEDURE make(state text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE SCHEMA %I', state);
	PERFORM set_config('search_path', state || ', harness', false);
	CREATE TABLE t (id integer PRIMARY KEY, full_name text, note text, n integer DEFAULT 3, email text);
	INSERT INTO t SELECT i, 'First' || i || ' Last' || i, 'note' || i, i, 'M' || i || '@X' FROM generate_series(1, 8) i;
	CREATE TABLE p (id integer, region text, a integer, note text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
	CREATE TABLE p_north (note text, gone integer, a integer, id integer NOT NULL, region text NOT NULL);
	ALTER TABLE p_north DROP COLUMN gone;
	ALTER TABLE p ATTACH PARTITION p_north FOR VALUES IN ('north');
	CREATE TABLE p_south PARTITION OF p FOR VALUES IN ('south');
	INSERT INTO p SELECT i, CASE WHEN i % 2 = 0 THEN 'north' ELSE 'south' END, i * 10, 'x' FROM generate_series(1, 8) i;
	PERFORM migrate.define(state || '_names', 't', add => 'first_name text, last_name text',
		up => $up$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$up$,
		down => $down$full_name = first_name || ' ' || last_name$down$, remove => '{full_name}');
	PERFORM migrate.define(state || '_mail', 't', up => 'email = lower(email)');
	PERFORM migrate.define(state || '_initials', 't', add => 'initials text, m integer',
		up => 'initials = left(first_name, 1) || left(last_name, 1), m = n + 100', down => 'n = m - 100', remove => '{n}');
	PERFORM migrate.define(state || '_parts', 'p', add => 'b integer', up => 'b = a + 1', down => 'a = b - 1', remove => '{a}');
	PERFORM migrate.expand(state || '_names');
	IF state = 'mixed' THEN UPDATE t SET note = note WHERE id IN (1, 5); END IF;
	PERFORM migrate.expand(state || '_mail');
	IF state = 'mixed' THEN UPDATE t SET note = note WHERE id IN (2, 6); END IF;
	PERFORM migrate.expand(state || '_initials');
	PERFORM migrate.expand(state || '_parts');
	IF state = 'mixed' THEN
		UPDATE t SET note = note WHERE id IN (3, 7);
		UPDATE p SET note = note WHERE id IN (1, 2);
	ELSIF state <> 'stale' THEN
		UPDATE t SET note = note;
		UPDATE p SET note = note;
	END IF;
	CREATE VIEW v_all AS SELECT * FROM t;
	CREATE VIEW v_old AS SELECT id, full_name AS name, n AS num, email, note FROM t WHERE n < 50 WITH CHECK OPTION;
	CREATE VIEW v_new WITH (security_barrier) AS
		SELECT id, first_name AS given, last_name AS family, m, email FROM t WHERE m > 0;
	CREATE VIEW v_nested AS SELECT id, given AS g, m FROM v_new WHERE given LIKE 'F%' WITH CASCADED CHECK OPTION;
	CREATE VIEW v_instead AS SELECT id, first_name || '' AS first_name, last_name FROM t;
END$$;

CREATE FUNCTION contents() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT (to_jsonb(t) - 'row_version')::text FROM t;
	RETURN QUERY SELECT tableoid::regclass || (to_jsonb(p) - 'row_version')::text FROM p;
	RETURN QUERY SELECT 'log ' || entry FROM log;
END$$;

CREATE FUNCTION outcome(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	r record;
	n bigint;
BEGIN
	IF statement ~* 'returning|^ *select' AND statement !~* '^ *create' THEN
		FOR r IN EXECUTE statement LOOP
			RETURN NEXT (to_jsonb(r) - 'row_version')::text;
		END LOOP;
	ELSE
		EXECUTE statement;
		GET DIAGNOSTICS n = ROW_COUNT;
		RETURN NEXT n::text;
	END IF;
EXCEPTION WHEN OTHERS THEN
	RETURN NEXT SQLSTATE || ' ' || SQLERRM;
END$$;

-- All that a case shows in a state, and nothing left behind.
CREATE FUNCTION run_in(state text, statements text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	shown text := '';
	s text;
BEGIN
	PERFORM set_config('search_path', state || ', harness', false);
	FOREACH s IN ARRAY statements LOOP
		shown := shown || (SELECT coalesce(string_agg(o, E'\n' ORDER BY o), '') FROM outcome(s) o) || E'\n--\n';
	END LOOP;
	shown := shown || (SELECT string_agg(c, E'\n' ORDER BY c) FROM contents() c);
	RAISE EXCEPTION USING ERRCODE = 'ZZ001', MESSAGE = replace(shown, state || '_', '');
EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
	RETURN SQLERRM;
END$$;

-- What the statements return where all is converted, and which other states differ.
CREATE FUNCTION same(VARIADIC statements text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	expected text := run_in('converted', statements);
	differ text := (SELECT string_agg(state, ', ') FROM unnest('{stale,mixed,complete}'::text[]) state
		WHERE run_in(state, statements) <> expected);
BEGIN
	RETURN (SELECT string_agg(CASE WHEN o ~ '^[0-9A-Z]{5} ' THEN o ELSE length(o)::text END, ', ' ORDER BY nr)
		FROM regexp_split_to_table(expected, E'\n--\n') WITH ORDINALITY x (o, nr) WHERE nr <= cardinality(statements))
		|| coalesce(' BUT NOT IN ' || differ, '');
END$$;

CALL make('stale');
CALL make('mixed');
CALL make('converted');
CALL make('complete');
CALL migrate.run('complete.t');
CALL migrate.run('complete.p');
SET search_path = harness;
SELECT relation, name, state FROM migrate.status WHERE relation::text ~ '^(stale|mixed|converted|complete)[.]' AND state = 'complete';
SELECT count(DISTINCT row_version) FROM stale.t UNION ALL SELECT count(DISTINCT row_version) FROM mixed.t;
\pset tuples_only on
\pset format unaligned

\echo INSERT
SELECT same('INSERT INTO t (id, full_name) VALUES (10, ''A B'') RETURNING *', 'INSERT INTO t (id, m) VALUES (11, 140) RETURNING *');
SELECT same('INSERT INTO t (id, full_name, first_name, last_name) VALUES (10, ''A B'', DEFAULT, DEFAULT), (11, ''A B'', ''C'', ''D''),
	(12, DEFAULT, ''E'', ''F''), (13, ''A B'', DEFAULT, NULL) RETURNING *');
SELECT same('INSERT INTO t SELECT id + 100, full_name, note, n, email FROM t RETURNING *');
SELECT same('INSERT INTO t SELECT (jsonb_populate_record(t, jsonb_build_object(''id'', id + 100))).* FROM t RETURNING *');
SELECT same('INSERT INTO t (id, full_name, first_name, m) VALUES (20, DEFAULT, DEFAULT, DEFAULT) RETURNING *',
	'INSERT INTO t (id, n, m) VALUES (21, DEFAULT, DEFAULT), (22, 5, DEFAULT), (23, DEFAULT, 140) RETURNING *');
SELECT same('INSERT INTO t (id, row_version, full_name, first_name) VALUES (30, 1, ''A B'', ''x''), (31, DEFAULT, ''A B'', DEFAULT),
	(32, DEFAULT, ''A B'', ''Q''), (33, DEFAULT, ''A B'', NULL) RETURNING *');
SELECT same('INSERT INTO t (id, row_version) VALUES (50, 99)', 'INSERT INTO t (id, row_version) VALUES (51, -5)',
	'INSERT INTO t (id, row_version, full_name) VALUES (52, NULL, ''A B''), (53, 2, ''A B''), (54, 0, ''A B'') RETURNING *');
SELECT same('ALTER TABLE t ADD i integer GENERATED ALWAYS AS IDENTITY (START 100)', 'SELECT count(i) FROM t',
	'INSERT INTO t (id, full_name, i) OVERRIDING SYSTEM VALUE VALUES (50, ''A B'', 99) RETURNING *',
	'INSERT INTO t (id, first_name, i) OVERRIDING USER VALUE VALUES (51, ''A'', 99), (52, DEFAULT, 5) RETURNING id, i > 100, full_name, first_name',
	'UPDATE t SET i = id', 'DELETE FROM t WHERE id < 50');

\echo UPDATE
SELECT same('UPDATE t SET first_name = ''Z'' WHERE id <= 4 RETURNING *', 'UPDATE t SET full_name = ''Y X'' WHERE id <= 4 RETURNING *');
SELECT same('UPDATE t SET full_name = ''Z Q'', first_name = ''W'' WHERE id <= 4 RETURNING *');
SELECT same('UPDATE t SET first_name = NULL WHERE id <= 4 RETURNING *', 'UPDATE t SET initials = NULL WHERE id > 4 RETURNING *');
SELECT same('UPDATE t SET full_name = DEFAULT, m = DEFAULT WHERE id <= 4 RETURNING *');
SELECT same('UPDATE t SET (first_name, last_name) = (last_name, first_name) RETURNING *');
SELECT same('UPDATE t SET (first_name, last_name) = (SELECT o.last_name, o.first_name FROM t o WHERE o.id = 9 - t.id) RETURNING *');
SELECT same('UPDATE t SET note = o.first_name, full_name = o.initials FROM t o WHERE o.id = 9 - t.id RETURNING t.*, o.m');
SELECT same('UPDATE t SET id = id, full_name = full_name, note = note, n = n, email = email, first_name = first_name,
	last_name = last_name, initials = initials, m = m, row_version = row_version RETURNING *');
SELECT same('UPDATE t SET id = id, full_name = full_name, note = note, n = n + 1, email = upper(email), first_name = first_name,
	last_name = last_name, initials = initials, m = m, row_version = row_version RETURNING *');
SELECT same('UPDATE t SET row_version = 99 WHERE id = 1', 'UPDATE t SET row_version = NULL WHERE id = 1',
	'UPDATE t SET row_version = 1, m = 7 WHERE id = 2 RETURNING *');

\echo ON CONFLICT, MERGE, DELETE, WITH
SELECT same('INSERT INTO t (id, full_name) VALUES (1, ''U V''), (20, ''U V'') ON CONFLICT (id) DO UPDATE SET full_name = EXCLUDED.full_name RETURNING *');
SELECT same('INSERT INTO t (id, full_name) VALUES (1, ''U V'') ON CONFLICT (id)
	DO UPDATE SET first_name = EXCLUDED.first_name WHERE t.first_name <> EXCLUDED.first_name RETURNING *');
SELECT same('INSERT INTO t (id, first_name, last_name) VALUES (1, ''U'', ''V'') ON CONFLICT ON CONSTRAINT t_pkey
	DO UPDATE SET (first_name, last_name) = (EXCLUDED.first_name, t.initials) WHERE t.initials = ''FL'' RETURNING *',
	'INSERT INTO t (id, first_name) VALUES (2, ''U'') ON CONFLICT DO NOTHING RETURNING *');
SELECT same('MERGE INTO t USING (VALUES (1, ''Q''), (20, ''R'')) v (i, x) ON t.id = v.i AND t.first_name LIKE ''F%''
	WHEN MATCHED AND t.m > 0 THEN UPDATE SET first_name = v.x, n = t.m WHEN NOT MATCHED THEN INSERT (id, first_name) VALUES (v.i, v.x)');
SELECT same('MERGE INTO t USING (SELECT id, full_name, initials FROM t) v ON t.id = 9 - v.id
	WHEN MATCHED AND v.id = 1 THEN DELETE WHEN MATCHED AND v.id = 2 THEN DO NOTHING
	WHEN MATCHED THEN UPDATE SET full_name = v.initials, m = DEFAULT WHEN NOT MATCHED THEN INSERT DEFAULT VALUES');
-- the actions of a MERGE name different columns
SELECT same('MERGE INTO t USING (SELECT id, initials x FROM t) v ON t.id = v.id
	WHEN MATCHED AND v.id < 3 THEN UPDATE SET full_name = v.x || '' '' || t.initials
	WHEN MATCHED AND v.id < 5 THEN UPDATE SET (first_name, email) = (SELECT t.last_name, ''UP'')
	WHEN MATCHED AND v.id < 7 THEN UPDATE SET m = 7, initials = NULL WHEN MATCHED THEN UPDATE SET note = ''q''');
SELECT same('MERGE INTO p USING generate_series(1, 3) i ON id = i WHEN MATCHED AND i = 1 THEN UPDATE SET a = 5
	WHEN MATCHED AND i = 2 THEN UPDATE SET b = 5 WHEN MATCHED THEN UPDATE SET region = ''north'', note = ''z''');
SELECT same('DELETE FROM t WHERE first_name = ''First3'' RETURNING *', 'DELETE FROM t USING t o WHERE t.initials = o.initials AND o.id = 1 RETURNING t.*');
SELECT same('WITH u AS (UPDATE t SET first_name = ''X'' WHERE id = 1 RETURNING *),
	i AS (INSERT INTO t (id, full_name) SELECT id + 50, full_name FROM u RETURNING *), d AS (DELETE FROM t WHERE id = 2 RETURNING *)
	SELECT * FROM u UNION ALL SELECT * FROM i UNION ALL SELECT * FROM d');

\echo views and rules
SELECT same('INSERT INTO v_old (id, name) VALUES (20, ''P Q'') RETURNING *', 'INSERT INTO v_old (id, num) VALUES (21, 77)',
	'UPDATE v_old SET num = 77 WHERE id = 1', 'UPDATE v_old SET name = ''V W'', email = ''Up'' WHERE id = 1 RETURNING *',
	'DELETE FROM v_old WHERE name LIKE ''%3'' RETURNING *');
SELECT same('INSERT INTO v_new (id, given, family, m) VALUES (20, ''P'', ''Q'', 120) RETURNING *',
	'UPDATE v_new SET given = family WHERE m > 104 RETURNING *', 'UPDATE v_new SET m = -5 WHERE id = 1 RETURNING *',
	'DELETE FROM v_new WHERE given = ''First2'' RETURNING *', 'SELECT * FROM v_new');
SELECT same('INSERT INTO v_nested (id, g, m) VALUES (20, ''P'', 120)', 'INSERT INTO v_nested (id, g, m) VALUES (20, ''FP'', -1)',
	'UPDATE v_nested SET g = ''P'' WHERE id = 1', 'UPDATE v_nested SET g = ''F'', m = m + 1 RETURNING *');
SELECT same('INSERT INTO v_all (id, full_name, first_name) VALUES (21, ''P Q'', ''R''), (22, ''P Q'', DEFAULT) RETURNING *',
	'INSERT INTO v_all VALUES (23, ''P Q'') RETURNING *', 'UPDATE v_all SET m = 1 WHERE id = 1 RETURNING *');
SELECT same('CREATE RULE r AS ON UPDATE TO t DO ALSO INSERT INTO log VALUES (OLD.first_name || NEW.first_name)', 'UPDATE t SET full_name = ''X Y'' WHERE id <= 2');
SELECT same('CREATE RULE r AS ON DELETE TO t DO ALSO INSERT INTO log VALUES (OLD.first_name || OLD.m)', 'DELETE FROM t WHERE id = 1');
SELECT same('CREATE RULE r AS ON INSERT TO t DO INSTEAD UPDATE t SET first_name = NEW.first_name WHERE id = NEW.id', 'INSERT INTO t (id, first_name) VALUES (1, ''R'')');

\echo partitions
SELECT same('INSERT INTO p (id, region, a, b) VALUES (20, ''north'', 5, DEFAULT), (21, ''south'', DEFAULT, 6) RETURNING *',
	'UPDATE p SET region = CASE region WHEN ''north'' THEN ''south'' ELSE ''north'' END, b = b + 1 WHERE id < 7 RETURNING *',
	'UPDATE p SET region = ''north'' RETURNING *', 'UPDATE p SET region = ''south'', a = 77 WHERE id = 1 RETURNING *',
	'INSERT INTO p_north (id, region, b, a) VALUES (30, ''north'', 5, DEFAULT), (31, ''north'', DEFAULT, 6) RETURNING *');
SELECT same('MERGE INTO p USING (VALUES (2, ''north''), (99, ''south'')) v (i, r) ON id = i AND region = r
	WHEN MATCHED THEN UPDATE SET region = ''south'', b = 1000 WHEN NOT MATCHED THEN INSERT (id, region, b) VALUES (i, r, 55)',
	'INSERT INTO p (id, region, b) VALUES (2, ''south'', 7), (3, ''south'', 8) ON CONFLICT (id, region) DO UPDATE SET b = EXCLUDED.a + p.b RETURNING *');

\echo records and cursors
CREATE FUNCTION by_cursor() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c CURSOR FOR SELECT * FROM t WHERE first_name LIKE 'First%' FOR UPDATE;
	r record;
BEGIN
	FOR r IN c LOOP
		IF r.id % 2 = 0 THEN UPDATE t SET last_name = r.initials WHERE CURRENT OF c;
		ELSE UPDATE t SET full_name = r.initials || ' ' || r.first_name WHERE CURRENT OF c;
		END IF;
	END LOOP;
END$$;
SELECT same('SELECT by_cursor()');
SELECT same('CREATE FUNCTION f(t) RETURNS text LANGUAGE sql AS ''SELECT $1.first_name || $1.initials''', 'SELECT f(t) FROM t', 'UPDATE t SET note = f(t) RETURNING *');
SELECT same('CREATE FUNCTION f(i integer) RETURNS t LANGUAGE sql AS ''SELECT t FROM t WHERE id = i''',
	'INSERT INTO t SELECT (jsonb_populate_record(f(i), jsonb_build_object(''id'', i + 100))).* FROM generate_series(1, 3) i', 'UPDATE t SET note = (f(id)).initials');
SELECT same('CREATE FUNCTION f() RETURNS SETOF t LANGUAGE plpgsql AS
	''BEGIN RETURN QUERY SELECT * FROM t; RETURN QUERY UPDATE t SET first_name = initials RETURNING *; END''', 'SELECT * FROM f()');

\echo definitions changed midway
SELECT same('ALTER TABLE t ADD extra integer DEFAULT 7', 'UPDATE t SET first_name = ''A'' WHERE id = 1 RETURNING *', 'INSERT INTO t (id, full_name) VALUES (50, ''A B'') RETURNING *');
SELECT same('ALTER TABLE t ALTER full_name SET DEFAULT ''De Fault'', ALTER m SET DEFAULT 7', 'INSERT INTO t (id) VALUES (50) RETURNING *',
	'INSERT INTO t (id, m) VALUES (51, DEFAULT), (52, 150) RETURNING *', 'UPDATE t SET m = DEFAULT WHERE id = 1 RETURNING *');
SELECT same('SET LOCAL session_replication_role = replica', 'UPDATE t SET first_name = ''A'' WHERE id = 1 RETURNING *',
	'UPDATE t SET full_name = ''A B'' WHERE id = 2 RETURNING *', 'INSERT INTO t (id, full_name) VALUES (60, ''Z Z'') RETURNING *', 'SET LOCAL session_replication_role = origin');

\echo triggers of the table itself
CREATE FUNCTION note_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log VALUES (TG_NAME || ' ' || TG_OP || (to_jsonb(NEW) - 'row_version')::text);
	RETURN NEW;
END$$;
CREATE FUNCTION change_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT (jsonb_populate_record($1, %L)).*', TG_ARGV[0]) USING NEW INTO NEW;
	RETURN NEW;
END$$;
CREATE FUNCTION run_after() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() < 2 THEN EXECUTE TG_ARGV[0] USING NEW.id; END IF;
	RETURN NULL;
END$$;
SELECT same('CREATE TRIGGER a BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note_new()',
	'CREATE CONSTRAINT TRIGGER z AFTER INSERT OR UPDATE ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_new()',
	'UPDATE t SET first_name = ''Q'' WHERE id = 1', 'UPDATE t SET full_name = ''R S'' WHERE id = 2', 'UPDATE t SET note = ''N'' WHERE id = 4',
	'INSERT INTO t (id, m) VALUES (20, 5)', 'INSERT INTO t (id, full_name, n) VALUES (21, ''G H'', 5)', 'SET CONSTRAINTS ALL IMMEDIATE');
SELECT same('CREATE TRIGGER a BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION change_new(''{"first_name": "T"}'')',
	'UPDATE t SET full_name = ''Q R'' RETURNING *', 'UPDATE t SET note = ''y'' RETURNING *', 'INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET m = 77 RETURNING *');
SELECT same('CREATE TRIGGER a BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION change_new(''{"full_name": "T U", "email": "UPPER"}'')',
	'UPDATE t SET first_name = ''Q'', m = m + 1 RETURNING *', 'INSERT INTO t (id, m) VALUES (30, 3) RETURNING *');
SELECT same('CREATE TRIGGER " early" BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION change_new(''{"first_name": "Early"}'')',
	'UPDATE t SET note = ''x'' WHERE id < 3 RETURNING *', 'UPDATE t SET full_name = ''X Y'' WHERE id = 3 RETURNING *', 'INSERT INTO t (id, first_name) VALUES (51, ''P'') RETURNING *');
SELECT same('CREATE TRIGGER " early" BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION change_new(''{"full_name": "Early Name"}'')',
	'UPDATE t SET note = ''x'' WHERE id < 3 RETURNING *', 'UPDATE t SET first_name = ''X'' WHERE id = 3 RETURNING *', 'INSERT INTO t (id, full_name) VALUES (51, ''P Q'') RETURNING *');
SELECT same('CREATE TRIGGER a AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION run_after(''UPDATE t SET note = first_name, m = m + 1 WHERE id = $1'')',
	'UPDATE t SET full_name = ''A B'' WHERE id < 3', 'INSERT INTO t (id, m) VALUES (40, 5)');
SELECT same('CREATE TRIGGER a AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION run_after(''UPDATE t SET full_name = initials || '''' '''' || email WHERE id = 9 - $1'')',
	'UPDATE t SET first_name = ''A'' WHERE id < 3');
CREATE FUNCTION write_names() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log VALUES (to_jsonb(OLD)::text);
	UPDATE t SET first_name = NEW.first_name, last_name = NEW.last_name WHERE id = OLD.id;
	RETURN NEW;
END$$;
SELECT same('CREATE TRIGGER i INSTEAD OF UPDATE ON v_instead FOR EACH ROW EXECUTE FUNCTION write_names()', 'UPDATE v_instead SET first_name = first_name || ''X'' WHERE id < 3 RETURNING *');

\echo transition tables show converted rows
CREATE FUNCTION note_tables() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log SELECT 'old ' || (to_jsonb(o) - 'row_version')::text FROM old_rows o;
	INSERT INTO log SELECT 'new ' || (to_jsonb(w) - 'row_version')::text FROM new_rows w;
	INSERT INTO log SELECT 'changed ' || o.id FROM old_rows o JOIN new_rows w USING (id)
		WHERE (to_jsonb(o) - 'row_version' - 'note') <> (to_jsonb(w) - 'row_version' - 'note');
	RETURN NULL;
END$$;
CREATE FUNCTION note_sets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log SELECT concat_ws(' ', first_name, email, count(*), max(initials)) FROM old_rows GROUP BY GROUPING SETS ((first_name), (email), (first_name, email));
	INSERT INTO log SELECT o.first_name || n.initials FROM old_rows o LEFT JOIN old_rows n ON n.id = o.id + 1;
	RETURN NULL;
END$$;
SELECT same('CREATE TRIGGER s AFTER UPDATE ON t REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_tables()',
	'UPDATE t SET note = ''A'', m = CASE id WHEN 1 THEN 5 ELSE m END', 'UPDATE t SET full_name = ''A B'' WHERE id < 3');
SELECT same('CREATE TRIGGER s AFTER DELETE ON t REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION note_sets()', 'DELETE FROM t WHERE m > 103');
SELECT same('CREATE TRIGGER s AFTER UPDATE ON p REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_tables()',
	'UPDATE p SET b = b + 1 WHERE id < 5', 'UPDATE p SET region = ''north'' WHERE id > 5');
SELECT same('CREATE TRIGGER s AFTER UPDATE ON p_north REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_tables()',
	'UPDATE p_north SET b = b + 1');

\echo what only later servers can
CREATE TABLE later (outcome text);
SELECT current_setting('server_version_num')::integer >= 160000 AS is_16, current_setting('server_version_num')::integer >= 170000 AS is_17,
	current_setting('server_version_num')::integer >= 180000 AS is_18 \gset
\if :is_16
CREATE FUNCTION copy_default() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	COPY t (id, full_name, first_name) FROM PROGRAM 'printf "60\tA B\t\\\\D\n61\tA B\tC\n"' (DEFAULT '\D');
END$$;
INSERT INTO later SELECT same('ALTER TABLE t ALTER first_name SET DEFAULT ''Nemo''', 'SELECT copy_default()');
\endif
\if :is_17
INSERT INTO later SELECT same('MERGE INTO t USING (SELECT id + 1 AS i, initials x FROM t WHERE id < 4) v ON t.id = v.i AND t.first_name LIKE ''F%''
	WHEN MATCHED THEN UPDATE SET full_name = v.x || t.initials WHEN NOT MATCHED BY SOURCE AND t.first_name = ''First1'' THEN DELETE
	WHEN NOT MATCHED BY SOURCE THEN UPDATE SET first_name = t.initials WHEN NOT MATCHED BY TARGET THEN INSERT (id, m) VALUES (v.i, 1)
	RETURNING merge_action(), t.*, v.*');
INSERT INTO later SELECT same('MERGE INTO v_new t USING (VALUES (1, ''Q''), (20, ''R'')) v (i, x) ON t.id = v.i
	WHEN MATCHED THEN UPDATE SET given = v.x WHEN NOT MATCHED THEN INSERT (id, given, m) VALUES (v.i, v.x, 500) RETURNING merge_action(), t.*');
INSERT INTO later SELECT same('MERGE INTO t USING t s ON s.m = t.m + 1 WHEN MATCHED AND t.first_name = ''First2'' THEN DELETE
	WHEN MATCHED THEN UPDATE SET last_name = s.first_name WHEN NOT MATCHED BY SOURCE AND t.m > 107 THEN UPDATE SET full_name = ''No One''
	WHEN NOT MATCHED THEN DO NOTHING RETURNING merge_action(), t.*, s.initials AS x');
INSERT INTO later SELECT same('MERGE INTO p USING (SELECT id AS i, b AS x FROM p WHERE id < 5) v ON p.id = v.i + 1 WHEN MATCHED THEN UPDATE SET b = x, region = ''south''
	WHEN NOT MATCHED BY SOURCE THEN UPDATE SET a = 0 WHEN NOT MATCHED THEN INSERT (id, region, b) VALUES (v.i + 50, ''north'', v.x) RETURNING merge_action(), p.*');
INSERT INTO later SELECT same('MERGE INTO v_old t USING (VALUES (1, ''Q R''), (20, ''R S'')) v (i, x) ON t.id = v.i WHEN MATCHED THEN UPDATE SET name = v.x
	WHEN NOT MATCHED THEN INSERT (id, name, num) VALUES (v.i, v.x, 9) WHEN NOT MATCHED BY SOURCE AND t.num > 6 THEN DELETE RETURNING merge_action(), t.*');
INSERT INTO later SELECT same('WITH m AS (MERGE INTO t USING (VALUES (1), (30)) v (i) ON t.id = v.i WHEN MATCHED THEN UPDATE SET m = m + 1000
	WHEN NOT MATCHED THEN INSERT (id, first_name) VALUES (i, ''a'') RETURNING merge_action() AS act, t.*) SELECT act, n, m, first_name, initials FROM m');
INSERT INTO later SELECT same('SELECT j.* FROM t, JSON_TABLE(to_json(first_name || m), ''$'' COLUMNS (v text PATH ''$'')) j',
	'SELECT JSON_OBJECT(''a'': first_name, ''b'': m RETURNING jsonb) j, JSON_VALUE(to_jsonb(t), ''$.first_name'') v FROM t');
\endif
\if :is_18
INSERT INTO later SELECT same('UPDATE t SET first_name = ''Q'' WHERE id < 5 RETURNING old.first_name, new.first_name AS n, old.initials, old.email, new.email AS e, to_jsonb(old) - ''row_version'' AS o');
INSERT INTO later SELECT same('DELETE FROM t WHERE first_name = ''First1'' RETURNING old.first_name, new.first_name AS n, new IS NULL AS gone');
INSERT INTO later SELECT same('INSERT INTO t (id, full_name) VALUES (1, ''U V''), (20, ''W X'') ON CONFLICT (id) DO UPDATE SET full_name = EXCLUDED.full_name
	RETURNING old.first_name, new.first_name AS n, old IS NULL AS is_new, to_jsonb(old) - ''row_version'' AS o');
INSERT INTO later SELECT same('MERGE INTO t USING (VALUES (1, ''Q''), (20, ''R''), (3, ''gone'')) v (i, x) ON t.id = v.i WHEN MATCHED AND v.x = ''gone'' THEN DELETE
	WHEN MATCHED AND t.m > 0 THEN UPDATE SET first_name = v.x, n = t.m WHEN NOT MATCHED THEN INSERT (id, first_name) VALUES (v.i, v.x)
	RETURNING merge_action(), old.first_name, new.first_name AS n, to_jsonb(old) - ''row_version'' AS o, to_jsonb(new) - ''row_version'' AS w');
INSERT INTO later SELECT same('UPDATE p SET region = ''north'', b = b + 1 WHERE id < 4 RETURNING old.b, new.b AS n, old.region');
INSERT INTO later SELECT same('UPDATE t SET first_name = ''Q'' FROM t s WHERE s.id = t.id + 1 RETURNING WITH (OLD AS o, NEW AS n) o.first_name AS a, n.last_name AS b, s.first_name AS c,
	o.m AS d, (SELECT max(x.initials) FROM t x WHERE x.m < n.m) AS e');
INSERT INTO later SELECT same('UPDATE v_new SET given = ''Q'' WHERE m < 104 RETURNING old.given AS a, new.given AS b, old.m AS c', 'UPDATE v_nested SET g = ''FQ'' WHERE m < 106 RETURNING old.g AS a, new.g AS b');
INSERT INTO later SELECT same('SELECT a.first_name, b.last_name, a.m + b.m AS mm FROM t a JOIN t b ON a.id = b.id WHERE a.m > 102',
	'SELECT a.first_name FROM t a JOIN t b USING (id) JOIN t c ON c.id = b.id AND c.email = lower(a.email)', 'SELECT id FROM t WHERE m = 101 OR m = 103 OR m = 104',
	'SELECT left(first_name, 5) AS k, m % 2 AS z, count(*), grouping(m % 2) AS g FROM t GROUP BY CUBE (left(first_name, 5), m % 2) HAVING sum(m) > 100');
INSERT INTO later SELECT same('ALTER TABLE t ADD g integer GENERATED ALWAYS AS (m * 2) VIRTUAL', 'SELECT a.g, b.g AS h FROM t a LEFT JOIN t b ON a.g = b.g + 2', 'SELECT g % 3 AS x, count(*) FROM t GROUP BY ROLLUP (g % 3)',
	'UPDATE t SET n = 50 WHERE g > 210 RETURNING old.g AS a, new.g AS b', 'MERGE INTO t USING (VALUES (202)) v (x) ON t.g = v.x WHEN MATCHED THEN UPDATE SET m = 900 RETURNING old.g AS a, new.g AS b');
INSERT INTO later SELECT same('ALTER TABLE p ADD g integer GENERATED ALWAYS AS (b * 2) VIRTUAL', 'SELECT id, g FROM p WHERE g > 60', 'UPDATE p SET b = 1, region = ''north'' WHERE g < 60 RETURNING old.g AS a, new.g AS b',
	'INSERT INTO p (id, region, a) VALUES (90, ''south'', 9) RETURNING g');
-- One that is refused has to be refused everywhere.
INSERT INTO later SELECT replace(same('ALTER TABLE t ADD CONSTRAINT nn NOT NULL m NOT VALID', 'INSERT INTO t (id, n) VALUES (50, NULL) RETURNING id', 'ALTER TABLE t ADD CONSTRAINT ne CHECK (m > 500) NOT ENFORCED',
	'UPDATE t SET n = 1 WHERE id = 2'), '23502 null value in column "m" of relation "t" violates not-null constraint', 'refused');
INSERT INTO later SELECT same('ALTER TABLE t ADD g text GENERATED ALWAYS AS (first_name || ''/'' || email) VIRTUAL', 'SELECT g FROM t',
	'UPDATE t SET g = DEFAULT, first_name = ''A'' WHERE id = 1 RETURNING g, old.g AS o', 'INSERT INTO t (id, full_name) VALUES (40, ''I J'') RETURNING g',
	'UPDATE t SET email = ''XX'' WHERE g LIKE ''First2%'' RETURNING *', 'DELETE FROM t WHERE g = ''First3/m3@x'' RETURNING g');
\endif
SELECT outcome FROM later WHERE outcome ~ '[0-9A-Z]{5} |BUT NOT IN';

\pset format aligned
\pset tuples_only off
SET client_min_messages = error;
SET migrate.guard = off;
DROP SCHEMA stale, mixed, converted, complete, harness CASCADE;
