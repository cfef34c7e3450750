--
-- What strangers to a table can do with what the extension brings: nothing.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE ROLE strangers_owner;
CREATE ROLE strangers_nobody;
CREATE SCHEMA strangers AUTHORIZATION strangers_owner;
GRANT USAGE ON SCHEMA strangers TO strangers_nobody;
SET search_path = strangers;
SET ROLE strangers_owner;
CREATE TABLE safe (id integer PRIMARY KEY, a text, secret text);
INSERT INTO safe VALUES (1, 'one', 'hush'), (2, 'two', 'hush');
SELECT migrate.define('strangers', 'safe', add => 'b text', up => 'b = upper(a)', down => 'a = lower(b)', remove => '{a}');
SELECT migrate.expand('strangers');
SELECT migrate.define('strangers_next', 'safe', add => 'c text', up => 'c = upper(b)');
RESET ROLE;

-- Every function and procedure, called by one who has no right on the table: with its
-- name, or its migrations', wherever that is asked for. Shown are those that do not
-- refuse him for want of a right: they tell what everybody may know. Left out are the
-- trigger functions and what queries call, which come below, two that tell nothing of a
-- table, and what has to be called outside of a transaction. (Do not put a function
-- here without having seen to it that it asks for a right, or needs none.)
CREATE FUNCTION argument(name text, type oid) RETURNS text LANGUAGE sql AS $$
	SELECT CASE
		WHEN type = 'regclass'::regtype THEN quote_literal('strangers.safe')
		WHEN name IN ('name', 'migration', 'release') AND type = 'text'::regtype THEN quote_literal('strangers')
		WHEN name = 'columns' THEN quote_literal('b')
		WHEN type = 'name'::regtype THEN quote_literal('b')
		ELSE 'NULL' END || '::' || format_type(type, NULL)
$$;
CREATE FUNCTION call_of(p pg_proc) RETURNS text LANGUAGE sql AS $$
	SELECT format(CASE p.prokind WHEN 'p' THEN 'CALL %s(%s)' ELSE 'SELECT * FROM %s(%s)' END, p.oid::regproc,
		string_agg(strangers.argument(p.proargnames[n], type), ', ' ORDER BY n))
	FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, n)
	WHERE n <= p.pronargs - p.pronargdefaults OR p.proargnames[n] = 'relation'
$$;
CREATE FUNCTION outcome(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE call;
	RETURN 'done';
EXCEPTION
	WHEN insufficient_privilege THEN RETURN NULL;
	WHEN OTHERS THEN RETURN SQLERRM;
END $$;
SET ROLE strangers_nobody;
SELECT call, outcome
FROM pg_proc p, strangers.call_of(p) AS call, strangers.outcome(call)
WHERE p.pronamespace = 'migrate'::regnamespace AND p.prorettype <> 'trigger'::regtype
	AND p.proname NOT IN ('up', 'note_read', 'excused', 'active_workers', 'run') AND outcome IS NOT NULL
ORDER BY 1;
CALL migrate.run('safe');
CALL migrate.run();
SELECT * FROM migrate.up('safe', 'strangers', 'b', 'x'::text);
SELECT outcome('SELECT migrate.note_read(''(0,1)'', ''safe'', NULL)') IS NOT NULL AS refused;
SELECT migrate.excused('strangers'), migrate.excused(NULL), migrate.active_workers('safe');
RESET ROLE;
SELECT name, state FROM migrate.migration WHERE relation = 'safe'::regclass ORDER BY name;

-- The extension's tables: nobody writes them, and some may be looked at.
SELECT relname, privilege FROM pg_class,
	unnest('{INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER}'::text[]) AS privilege
WHERE relnamespace = 'migrate'::regnamespace AND relkind IN ('r', 'v')
	AND has_table_privilege('strangers_nobody', oid, privilege)
ORDER BY 1, 2;
SELECT bool_or(CASE relkind WHEN 'S' THEN has_sequence_privilege('strangers_nobody', oid, 'USAGE, SELECT, UPDATE') END)
FROM pg_class WHERE relnamespace = 'migrate'::regnamespace;
SELECT has_schema_privilege('strangers_nobody', 'migrate', 'CREATE');
-- Nor do they look where texts of users' rows are.
SELECT relname FROM pg_class WHERE relname IN ('failure', 'backfill', 'declared_index', 'assignment_tree', 'event')
	AND relnamespace = 'migrate'::regnamespace AND has_table_privilege('strangers_nobody', oid, 'SELECT');

-- A stranger's own table, with our triggers on it in any way that he likes.
GRANT CREATE ON SCHEMA strangers TO strangers_nobody;
SET ROLE strangers_nobody;
CREATE TABLE mine (id integer PRIMARY KEY, a text, b text, row_version integer DEFAULT 1);
INSERT INTO mine VALUES (1, 'a', 'b');
CREATE VIEW mine_view AS SELECT * FROM mine;
\set VERBOSITY terse
CREATE FUNCTION try_triggers(variadic functions text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	f text;
	timing text;
	command text;
	commands text[] := ARRAY['INSERT INTO mine VALUES (2, 1)', 'UPDATE mine SET b = 2', 'DELETE FROM mine', 'TRUNCATE mine',
		'UPDATE mine_view SET b = 3'];
BEGIN
	FOREACH f IN ARRAY functions LOOP
		FOREACH timing IN ARRAY '{BEFORE INSERT ON mine FOR EACH ROW,AFTER INSERT ON mine FOR EACH ROW,BEFORE UPDATE ON mine FOR EACH ROW,'
			'AFTER UPDATE ON mine FOR EACH ROW,BEFORE DELETE ON mine FOR EACH ROW,AFTER DELETE ON mine FOR EACH ROW,'
			'BEFORE INSERT ON mine,AFTER UPDATE ON mine,BEFORE TRUNCATE ON mine,INSTEAD OF UPDATE ON mine_view FOR EACH ROW}'::text[]
		LOOP
			EXECUTE format('CREATE TRIGGER t %s EXECUTE FUNCTION migrate.%s(%L)', timing, f, 'x');
			FOREACH command IN ARRAY commands LOOP
				BEGIN
					EXECUTE command;
					RAISE EXCEPTION USING ERRCODE = 'UU000';	-- take it back
				EXCEPTION
					WHEN SQLSTATE 'UU000' THEN NULL;
					WHEN OTHERS THEN RETURN NEXT format('%s %s: %s, %s', f, timing, command, SQLSTATE);
				END;
			END LOOP;
			EXECUTE 'DROP TRIGGER t ON ' || CASE WHEN timing LIKE 'INSTEAD%' THEN 'mine_view' ELSE 'mine' END;
		END LOOP;
	END LOOP;
END $$;
SELECT * FROM try_triggers('write_trigger', 'settle_trigger');
SELECT * FROM mine;
SELECT migrate.write_trigger();
CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION migrate.write_trigger();
-- Ours as code of his own: a cast, an operator, an aggregate.
CREATE TYPE his AS ENUM ('x');
CREATE CAST (his AS text) WITH FUNCTION migrate.excused(text);
CREATE OPERATOR @@@ (RIGHTARG = text, FUNCTION = migrate.excused);
SELECT @@@ 'strangers';
CREATE AGGREGATE agg (text, name, integer) (SFUNC = migrate.up, STYPE = regclass);
CREATE AGGREGATE agg (regclass) (SFUNC = migrate.note_read, STYPE = tid);
CREATE INDEX ON mine (migrate.excused(a));
\set VERBOSITY default

-- He holds no lock on what is another's by renaming what is his.
BEGIN;
ALTER TABLE mine RENAME b TO c;
SELECT relation::regclass, mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'safe'::regclass;
COMMIT;
RESET ROLE;

--
-- Columns: a right on the new one is all that it takes, and gives nothing else
--
GRANT SELECT (id, b), INSERT (id, b), UPDATE (b) ON safe TO strangers_nobody;
SET ROLE strangers_nobody;
SELECT s.id, t.b FROM safe s JOIN safe t ON t.b = upper(s.b) ORDER BY 1;
SELECT EXISTS (SELECT FROM safe WHERE b = 'TWO');
SELECT (SELECT max(b) FROM safe);
UPDATE safe SET b = 'First' WHERE id = 1 RETURNING b;
UPDATE safe SET b = b || '!' RETURNING id, b;
INSERT INTO safe (id, b) VALUES (2, 'Second') ON CONFLICT (id) DO UPDATE SET b = EXCLUDED.b || safe.b RETURNING b;
MERGE INTO safe USING (VALUES (1, 'Merged')) v (id, b) ON safe.id = v.id WHEN MATCHED THEN UPDATE SET b = v.b;
SELECT b, grouping(b) FROM safe GROUP BY CUBE (b) ORDER BY b, 2;
\set VERBOSITY terse
SELECT a FROM safe;
SELECT s FROM safe s;
SELECT s.* FROM safe s;
SELECT row_version FROM safe;
SELECT count(s) FROM safe s;
SELECT 1 FROM safe WHERE a = 'one';
SELECT 1 FROM safe s JOIN safe t USING (a);
SELECT b, count(*) FROM safe GROUP BY ROLLUP (b, a);
UPDATE safe SET b = a;
UPDATE safe SET b = 'x' RETURNING a;
UPDATE safe SET a = 'x';
INSERT INTO safe (id, b) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET b = safe.a;
INSERT INTO safe (id, b) VALUES (3, 'x') RETURNING *;
MERGE INTO safe USING (VALUES (1)) v (id) ON safe.id = v.id WHEN MATCHED AND safe.a = 'one' THEN DO NOTHING;
DELETE FROM safe WHERE b = 'x';
SELECT b FROM safe FOR SHARE;
SELECT b FROM safe WHERE migrate.up('strangers.safe', 'strangers', 'b', b) = '';
\set VERBOSITY default
RESET ROLE;
SELECT * FROM safe ORDER BY id;

--
-- Rows that policies hide: no function of the reader's sees them by way of what we
-- put into the query, and no message names them
--
SET ROLE strangers_owner;
CREATE TABLE rooms (id integer PRIMARY KEY, a text, n text);
INSERT INTO rooms VALUES (1, 'open', '1'), (2, 'shut', '2'), (3, 'open', '3'), (4, 'shut', 'none');
SELECT migrate.define('strangers_rooms', 'rooms', add => 'b text, m integer',
	up => $$b = a || ' room', m = n::integer$$, down => $$a = split_part(b, ' ', 1), n = (10 / (m - 3))::text$$);
SELECT migrate.expand('strangers_rooms');
UPDATE rooms SET n = n WHERE id IN (1, 2);
ALTER TABLE rooms ENABLE ROW LEVEL SECURITY;
ALTER TABLE rooms FORCE ROW LEVEL SECURITY;
CREATE POLICY open_ones ON rooms USING (b = 'open room');
CREATE VIEW open_rooms WITH (security_barrier) AS SELECT id, b, m FROM rooms WHERE b = 'open room';
GRANT SELECT, UPDATE ON rooms, open_rooms TO strangers_nobody;
SET ROLE strangers_nobody;
CREATE FUNCTION peep(text) RETURNS boolean LANGUAGE plpgsql COST 0.000001 AS $$ BEGIN RAISE NOTICE 'seen: %', $1; RETURN true; END $$;
SELECT id, m FROM rooms WHERE peep(b) ORDER BY id;
SELECT id, m FROM open_rooms WHERE peep(b) ORDER BY id;
SET migrate.read_repair = on;
SELECT id, m FROM rooms WHERE peep(b) ORDER BY id;
SELECT id, m FROM open_rooms WHERE peep(b) ORDER BY id;
SELECT count(*) FROM rooms r WHERE peep(r::text);
RESET migrate.read_repair;
-- He sees a row that he changes in vain, but the key of none that he may not see.
UPDATE rooms SET m = 3 WHERE id = 1;
UPDATE rooms SET b = 'shut room' WHERE id = 1;
SET ROLE strangers_owner;
-- The owner is held to the policy, too: not so what converts, or looks for what would be lost.
SELECT id FROM rooms ORDER BY id;
CALL migrate.run('rooms');
SELECT migrate.rollback('strangers_rooms');
ALTER TABLE rooms NO FORCE ROW LEVEL SECURITY;
SELECT id, row_version FROM rooms ORDER BY id;
SELECT row_key FROM migrate.failures WHERE relation = 'rooms'::regclass;
SET ROLE strangers_nobody;
SELECT row_key FROM migrate.failures WHERE relation = 'rooms'::regclass;
SELECT last_error FROM migrate.progress WHERE migration = 'strangers_rooms';
RESET ROLE;

SET client_min_messages = warning;
SET migrate.guard = off;
DROP SCHEMA strangers CASCADE;
DROP ROLE strangers_owner, strangers_nobody;
