--
-- A table's owner plays foul with what a definition brings into DDL: defaults,
-- domains, conditions, constants. Whoever defines, expands, converts, contracts or rolls back,
-- that code runs as the owner, and can leave nothing behind that runs as another.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE ROLE ddl_mallory;
CREATE SCHEMA safety_ddl AUTHORIZATION ddl_mallory;
SET search_path = safety_ddl;

-- The last column tells where code ran with rights that are not the owner's: a
-- superuser's at once, or at the end of his transaction by way of a deferred trigger.
SET ROLE ddl_mallory;
CREATE TABLE loot (id serial, at text, who name);
CREATE FUNCTION explode() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN NEW.who = current_user; UPDATE safety_ddl.loot SET who = current_user WHERE id = NEW.id; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER explode AFTER INSERT ON loot DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION explode();
CREATE FUNCTION take(v text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		INSERT INTO safety_ddl.loot (at) VALUES (v);
	EXCEPTION WHEN OTHERS THEN
		NULL;
	END;
	IF current_user <> 'ddl_mallory' THEN
		RAISE WARNING 'taken at %', v;
	END IF;
	RETURN v;
END $$;
CREATE FUNCTION evil(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN safety_ddl.take(v); END $$;
CREATE FUNCTION is_evil(v text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN RETURN safety_ddl.take(v) IS NOT NULL; END $$;
CREATE FUNCTION loot() RETURNS TABLE (at text, who name) LANGUAGE sql AS
	$$ DELETE FROM safety_ddl.loot WHERE who <> 'ddl_mallory' RETURNING at, who $$;
CREATE DOMAIN with_default AS text DEFAULT evil('domain default');
CREATE DOMAIN checked AS text CHECK (is_evil('domain check of ' || VALUE));
CREATE TABLE bait (id integer PRIMARY KEY, a text, CONSTRAINT own CHECK (is_evil('own check')));
INSERT INTO bait SELECT i, 'row ' || i FROM generate_series(1, 3) i;
CREATE INDEX own_index ON bait ((evil('index')), id) WHERE is_evil('predicate');

SELECT migrate.define('safety_ddl', 'bait',
	add => $$b with_default,
			 c text DEFAULT evil('default'),
			 d checked[] DEFAULT '{default}',
			 e text CHECK (e <> ALL ('{condition}'::checked[]) AND is_evil('condition')),
			 f text NOT NULL,
			 g text UNIQUE$$,
	up => $$b = a, d = ARRAY[a], f = evil(a), g = a$$,
	down => 'a = b', remove => '{a}');
DELETE FROM loot;
RESET ROLE;

-- A superuser expands, converts, which puts the constraints into force, and contracts.
SELECT migrate.expand('safety_ddl');
SELECT * FROM loot();
SELECT migrate.create_index('safety_ddl', 'b');
SELECT migrate.create_index('safety_ddl', 'b, (safety_ddl.evil(b))');
SELECT migrate.create_index('safety_ddl', 'b) WHERE (safety_ddl.evil(b) IS NOT NULL');
CALL migrate.run('bait');
SELECT * FROM loot();
SELECT migrate.contract('safety_ddl', skip => '{window,usage}');
SELECT * FROM loot();
SELECT state FROM migrate.migration WHERE name = 'safety_ddl';

-- He defines, with the owner's types; asks for the same again, in other words; tries it, and rolls back.
SET client_min_messages = error;
SELECT migrate.define('safety_ddl_2', 'bait', add => $$h checked[] DEFAULT '{h}', i text$$,
	up => $$d = '{in place}', i = evil(b)$$, down => $$e = evil(i)$$);
SELECT migrate.define('safety_ddl_2', 'bait', add => $$h checked[] DEFAULT '{h}', i text$$,
	up => $$d  = '{in place}', i = evil(b)$$, down => $$e  = evil(i)$$);
RESET client_min_messages;
SELECT * FROM loot();
SELECT rows_checked, rows_failed FROM migrate.dry_run('safety_ddl_2');
SELECT * FROM loot();
SELECT migrate.expand('safety_ddl_2');
SELECT migrate.rollback('safety_ddl_2');
SELECT * FROM loot();

-- Rows that break a constraint, or fail, are named and tried again.
SET ROLE ddl_mallory;
CREATE TABLE bait3 (id integer, a text);
INSERT INTO bait3 SELECT i, 'row ' || i FROM generate_series(1, 3) i;
CREATE FUNCTION fails(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN IF safety_ddl.take($1) = 'row 2' THEN RAISE 'failed as %', current_user; END IF; RETURN NULL; END $$;
SELECT migrate.define('safety_ddl_3', 'bait3', add => $$b text NOT NULL CHECK (b <> evil('b'))$$,
	up => $$b = fails(a)$$);
DELETE FROM loot;
RESET ROLE;
SELECT migrate.expand('safety_ddl_3');
CALL migrate.run('bait3');
SELECT migrate.retry('bait3');
CALL migrate.run('bait3');
SELECT row_key, message, attempts FROM migrate.failures WHERE relation = 'bait3'::regclass ORDER BY 1;
DELETE FROM bait3 WHERE a = 'row 2';
SELECT migrate.retry('bait3');
CALL migrate.run('bait3');
SELECT row_key, message FROM migrate.failures WHERE relation = 'bait3'::regclass ORDER BY 1;
SELECT * FROM loot();
SELECT migrate.rollback('safety_ddl_3');

-- What has no function in it for all to see runs some all the same: SQL/JSON calls
-- casts to json and types' input. (Of servers that have it; told by what would be taken.)
SET ROLE ddl_mallory;
CREATE TYPE mood AS ENUM ('foul');
CREATE FUNCTION evil_json(mood) RETURNS json LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN RETURN to_json(safety_ddl.take('cast to json')); END $$;
CREATE CAST (mood AS json) WITH FUNCTION evil_json(mood);
CREATE TABLE bait4 (id integer, m mood, j jsonb);
INSERT INTO bait4 VALUES (1, 'foul', '{"k": ["v"]}');
DO $$
BEGIN
	SET LOCAL client_min_messages = error;
	IF current_setting('server_version_num')::integer >= 170000 THEN
		PERFORM migrate.define('safety_ddl_4', 'safety_ddl.bait4', add => 'a text, b text',
			up => $up$a = JSON_OBJECT('m': m), b = JSON_VALUE(j, '$.k[0]' RETURNING checked)$up$);
	ELSE
		PERFORM migrate.define('safety_ddl_4', 'safety_ddl.bait4', add => 'a text, b text', up => $up$a = m, b = j$up$);
	END IF;
END $$;
DELETE FROM loot;
RESET ROLE;
SELECT migrate.expand('safety_ddl_4');
SELECT count(a), count(b) FROM bait4;
INSERT INTO bait4 VALUES (2, 'foul', '{"k": ["w"]}');
SELECT * FROM loot();
SELECT migrate.rollback('safety_ddl_4');

-- An index that goes by the name of one of ours: to look at it folds its constants.
SET ROLE ddl_mallory;
CREATE TABLE bait6 (id integer, a text);
INSERT INTO bait6 VALUES (1, 'one');
SELECT migrate.define('safety_ddl_6', 'bait6', add => 'b text', up => 'b = upper(a)');
SELECT migrate.expand('safety_ddl_6');
BEGIN;
SELECT migrate.create_index('safety_ddl_6', 'b', while_stale => true);
CREATE INDEX "!migrate_bait6_b_idx" ON bait6 (evil('index of our name'));
COMMIT;
DELETE FROM loot;
RESET ROLE;
CALL migrate.run('bait6');
SELECT * FROM loot();
SELECT migrate.rollback('safety_ddl_6');

-- A table changes hands: from then on the code runs as the new owner, on partitions, too.
CREATE ROLE ddl_heir;
GRANT USAGE ON SCHEMA safety_ddl TO ddl_heir;
SET ROLE ddl_mallory;
CREATE FUNCTION as_whom(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1 || ' as ' || current_user; END $$;
CREATE TABLE bait5 (id integer, a text) PARTITION BY RANGE (id);
CREATE TABLE bait5_1 PARTITION OF bait5 FOR VALUES FROM (1) TO (10);
INSERT INTO bait5 VALUES (1, 'one');
SELECT migrate.define('safety_ddl_5', 'bait5', add => 'b text', up => 'b = as_whom(a)', down => 'a = as_whom(b)');
SELECT migrate.expand('safety_ddl_5');
RESET ROLE;
SELECT b FROM bait5;
SELECT b FROM bait5_1;
ALTER TABLE bait5 OWNER TO ddl_heir;
SELECT b FROM bait5;
SELECT b FROM bait5_1;
INSERT INTO bait5_1 (id, b) VALUES (2, 'two') RETURNING a;
ALTER TABLE bait5 OWNER TO ddl_mallory;
SELECT migrate.rollback('safety_ddl_5');

SET client_min_messages = warning;
DROP SCHEMA safety_ddl CASCADE;
DROP ROLE ddl_mallory, ddl_heir;
