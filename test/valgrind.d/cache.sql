--
-- What a session knows of conversions, under valgrind: several tables with several
-- migrations, many statements, and between and within these all that makes it look again.
-- Each round ends with a look at all rows.
--
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS migrate;
CREATE SCHEMA cached;
SET search_path = cached;

-- "half" is of the user's code, and replaced again and again; "named" asks another table
-- that is being migrated, so one conversion runs within another's.
CREATE DOMAIN small AS integer CHECK (VALUE < 1000000);
CREATE FUNCTION half(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 / 2';
CREATE TABLE names (id integer PRIMARY KEY, name text);
INSERT INTO names SELECT i, 'name ' || i FROM generate_series(1, 10) i;

DO $$
BEGIN
	FOR n IN 1..8 LOOP
		EXECUTE format('CREATE TABLE t%s (id integer PRIMARY KEY, gone text, twice small, note text, ref integer)', n);
		EXECUTE format('ALTER TABLE t%s DROP COLUMN gone', n);
		EXECUTE format('INSERT INTO t%s SELECT i, i * 2, repeat(''n'', i * 100), 1 + i %% 10 FROM generate_series(1, 20) i', n);
		PERFORM migrate.define('cached_half_' || n, ('t' || n)::regclass, add => 'once small',
			up => 'once = half(twice)', down => 'twice = once * 2', remove => '{twice}');
		PERFORM migrate.expand('cached_half_' || n);
	END LOOP;
	PERFORM migrate.define('cached_names', 'names', add => 'title text', up => 'title = upper(name)',
		down => 'name = lower(title)', remove => '{name}');
	PERFORM migrate.expand('cached_names');
END$$;

-- A statement that is under way, whose own trigger has the session forget what it runs with.
CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF new.id % 4 = 0 THEN
		CREATE OR REPLACE FUNCTION half(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 / 2 + 0';
		UPDATE cached.t2 SET twice = twice + 2 WHERE id = new.id;
	END IF;
	RETURN new;
END$$;
CREATE TRIGGER forget BEFORE INSERT OR UPDATE ON t1 FOR EACH ROW EXECUTE FUNCTION forget();

CREATE PROCEDURE use_all(round integer) LANGUAGE plpgsql AS $$
BEGIN
	FOR n IN 1..8 LOOP
		EXECUTE format('INSERT INTO t%s (id, twice, ref) SELECT i, i * 2, 1 FROM generate_series($1, $1 + 4) i', n) USING 1000 * round;
		EXECUTE format('INSERT INTO t%s (id, once, ref) VALUES ($1, $1, 2) ON CONFLICT (id) DO UPDATE SET once = excluded.once', n)
			USING 1000 * round + 4;
		EXECUTE format('UPDATE t%s SET once = once + 1 WHERE id %% 5 = $1', n) USING round % 5;
		EXECUTE format('UPDATE t%s SET twice = twice + 2 WHERE once > 5 AND id %% 5 = $1', n) USING (round + 1) % 5;
		BEGIN
			EXECUTE format('UPDATE t%s SET twice = 2000000 WHERE id = 3', n);
			RAISE 'a value that its domain does not allow was stored';
		EXCEPTION WHEN check_violation THEN
		END;
		EXECUTE format('DELETE FROM t%s WHERE id %% 5 = $1 AND once > 100', n) USING (round + 2) % 5;
	END LOOP;
END$$;

CREATE PROCEDURE look() LANGUAGE plpgsql AS $$
DECLARE
	wrong bigint;
BEGIN
	FOR n IN 1..8 LOOP
		EXECUTE format('SELECT count(*) FROM t%s WHERE twice IS DISTINCT FROM once * 2', n) INTO wrong;
		IF wrong > 0 THEN
			RAISE '% rows of t% are not right', wrong, n;
		END IF;
	END LOOP;
END$$;

-- By the protocol and by plans that are kept, besides.
PREPARE by_old AS UPDATE t3 SET twice = twice + 2 WHERE id = $1;
PREPARE by_new AS UPDATE t3 SET once = once + 1 WHERE id = $1 RETURNING twice;
PREPARE reading AS SELECT t.once, n.title FROM t4 t JOIN names n ON n.id = t.ref WHERE t.id < $1;
SET plan_cache_mode = force_generic_plan;

\set ON_ERROR_STOP 1
\o /dev/null
CALL use_all(1);
EXECUTE by_old(1);
EXECUTE by_new(1);
EXECUTE reading(9);

-- Whatever is done to the tables and to what their conversions are made of.
ALTER TABLE t3 ADD COLUMN more integer DEFAULT 1;
CALL use_all(2);
EXECUTE by_old(2);
CREATE OR REPLACE FUNCTION half(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 / 2; END';
EXECUTE by_new(2);
ALTER DOMAIN small ADD CHECK (VALUE > -1000);
CALL use_all(3);
ALTER TABLE t5 RENAME TO t5_once;
ALTER TABLE t5_once RENAME TO t5;
ALTER TABLE t6 DROP COLUMN note;
ANALYZE t1, t2, t3;
CALL use_all(4);
CALL look();

-- A second migration of each table, and within the same transaction another that is taken back.
SELECT migrate.define('cached_text_' || n, ('t' || n)::regclass, add => 'digits text',
	up => 'digits = once::text', down => 'once = digits::integer', remove => '{}') FROM generate_series(1, 8) n;
BEGIN;
SELECT migrate.expand('cached_text_' || n) FROM generate_series(1, 4) n;
CALL use_all(5);
SAVEPOINT s;
SELECT migrate.expand('cached_text_' || n) FROM generate_series(5, 8) n;
CALL use_all(6);
UPDATE t7 SET digits = '77' WHERE id = 7 RETURNING twice;
ROLLBACK TO s;
CALL use_all(6);
EXECUTE by_old(3);
EXECUTE by_new(3);
COMMIT;
UPDATE t2 SET digits = '7' WHERE id < 8 RETURNING twice;
DECLARE c CURSOR WITH HOLD FOR SELECT once, digits FROM t2;
FETCH 3 FROM c;
SELECT migrate.rollback('cached_text_2', true);
FETCH 3 FROM c;
CALL use_all(7);
CALL look();

-- Converted, contracted, and gone.
CALL migrate.run('names');
CALL migrate.run('t4');
SELECT migrate.rollback('cached_text_1', true), migrate.rollback('cached_text_3', true);
CALL migrate.run('t8');
EXECUTE reading(9);
CALL use_all(8);
SELECT migrate.contract('cached_names', '1min', '{window,usage}');
EXECUTE reading(9);
DROP TRIGGER forget ON t1;
CALL look();
DEALLOCATE ALL;
