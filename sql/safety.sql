--
-- A table's owner plays foul: the code behind up, down, a CHECK, a domain, an
-- operator or an index never runs with the rights of whoever reads the table,
-- writes to it, converts it or contracts it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE ROLE migrate_mallory;
CREATE SCHEMA safety AUTHORIZATION migrate_mallory;
SET search_path = safety;
CREATE FUNCTION is_foul() RETURNS boolean LANGUAGE sql AS
	$$ SELECT rolsuper FROM pg_roles WHERE rolname = 'migrate_mallory' $$;

SET ROLE migrate_mallory;
-- An immutable function may not write, but a volatile one that it calls may. This
-- one tells as whom it runs, takes what it can get, and leaves a bomb that would go
-- off at the end of the transaction, with the rights of whoever commits it.
CREATE TABLE bomb (id integer PRIMARY KEY);
CREATE FUNCTION explode() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN EXECUTE 'ALTER ROLE migrate_mallory SUPERUSER'; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER explode AFTER INSERT ON bomb DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION explode();
CREATE FUNCTION take(v text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	BEGIN
		INSERT INTO safety.bomb VALUES (1);
	EXCEPTION WHEN OTHERS THEN
		NULL;
	END;
	BEGIN
		EXECUTE 'RESET ROLE';
	EXCEPTION WHEN OTHERS THEN
		NULL;
	END;
	BEGIN
		EXECUTE 'ALTER ROLE migrate_mallory SUPERUSER';
	EXCEPTION WHEN OTHERS THEN
		NULL;
	END;
	RETURN v || ' as ' || current_user || ', path ' || current_setting('search_path');
END $$;
CREATE FUNCTION evil(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN RETURN safety.take(v); END $$;
CREATE FUNCTION evil_plus(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT safety.evil($1 || $2) $$;
CREATE OPERATOR ||| (LEFTARG = text, RIGHTARG = text, FUNCTION = evil_plus);
CREATE FUNCTION evil_check(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT safety.evil($1) IS NOT NULL $$;
CREATE DOMAIN trap AS text CHECK (evil_check(VALUE));
CREATE TABLE bait (id integer PRIMARY KEY, a text);
INSERT INTO bait SELECT i, 'row ' || i FROM generate_series(1, 3) i;
SELECT migrate.define('safety_bait', 'bait', add => 'b text, c text, d trap, e text',
	up => $$b = evil(a), c = a ||| '!', d = a, e = evil('constant')$$,
	down => $$a = evil(b)$$);
SELECT migrate.expand('safety_bait');
CREATE INDEX bait_evil ON bait (evil(a));
ALTER TABLE bait ADD CONSTRAINT bait_check CHECK (evil_check(a)) NOT VALID;
RESET ROLE;

-- A superuser reads,
SELECT * FROM bait ORDER BY id;
EXPLAIN (VERBOSE, COSTS OFF) SELECT e FROM bait;
SELECT is_foul();
-- calls by hand what only a rewritten query may call,
SELECT migrate.up('bait', 'safety_bait', 'b', 'x'::text);
-- writes either form (a CHECK, an index or a domain that he names himself would run
-- as himself, as on any table: those are taken out of the way),
ALTER TABLE bait DROP CONSTRAINT bait_check;
DROP INDEX bait_evil;
INSERT INTO bait (id, a) VALUES (4, 'old form') RETURNING b;
UPDATE bait SET b = 'new form' WHERE id = 2 RETURNING a;
UPDATE bait SET a = 'updated' WHERE id = 1 RETURNING b;
SELECT is_foul();

-- and converts: here the CHECK and the index are evaluated as well.
SET ROLE migrate_mallory;
CREATE INDEX bait_evil ON bait (evil(a));
ALTER TABLE bait ADD CONSTRAINT bait_check CHECK (evil_check(b)) NOT VALID;
RESET ROLE;
CALL migrate.run('bait');
SELECT is_foul();
SELECT id, row_version, b FROM bait ORDER BY id;
SELECT state FROM migrate.migration WHERE name = 'safety_bait';
SET ROLE migrate_mallory;
DROP INDEX bait_evil;
ALTER TABLE bait DROP CONSTRAINT bait_check;
RESET ROLE;
SELECT migrate.contract('safety_bait', skip => '{window,usage}');
SELECT is_foul();

-- Rolling back counts rows by the owner's expressions.
SET ROLE migrate_mallory;
CREATE TABLE bait2 (id integer PRIMARY KEY, a text);
INSERT INTO bait2 VALUES (1, 'x');
SELECT migrate.define('safety_back', 'bait2', add => 'b text', up => 'b = evil(a)');
SELECT migrate.expand('safety_back');
RESET ROLE;
UPDATE bait2 SET b = 'other' WHERE id = 1;
SELECT migrate.rollback('safety_back');
SELECT migrate.rollback('safety_back', discard => true);
SELECT is_foul();

-- A stranger reads with no right on the function, and none on the old column:
-- the conversion is the owner's business.
CREATE ROLE migrate_stranger;
SET ROLE migrate_mallory;
CREATE FUNCTION hidden(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT upper($1) $$;
REVOKE ALL ON FUNCTION hidden(text) FROM PUBLIC;
CREATE TABLE secrets (id integer PRIMARY KEY, a text);
INSERT INTO secrets VALUES (1, 'one'), (2, 'two');
SELECT migrate.define('safety_secrets', 'secrets', add => 'b text', up => 'b = hidden(a)', remove => '{a}');
SELECT migrate.expand('safety_secrets');
GRANT USAGE ON SCHEMA safety TO migrate_stranger;
GRANT SELECT (id, b), INSERT (id, b), UPDATE (b) ON secrets TO migrate_stranger;
SET ROLE migrate_stranger;
SELECT id, b FROM secrets ORDER BY id;
SELECT a FROM secrets;
INSERT INTO secrets (id, b) VALUES (3, 'three') RETURNING b;
SELECT hidden('x');

-- After a restore expressions are read from their text, and to read a constant may
-- run a domain's CHECK: as the owner.
RESET ROLE;
SET ROLE migrate_mallory;
CREATE FUNCTION shout(text) RETURNS boolean LANGUAGE plpgsql AS
	$$ BEGIN RAISE WARNING 'checked as %', current_user; RETURN true; END $$;
CREATE DOMAIN loud AS text CHECK (safety.shout(VALUE));
CREATE TABLE restored (id integer PRIMARY KEY, a text);
INSERT INTO restored VALUES (1, 'one');
SET client_min_messages = error;
SELECT migrate.define('safety_restored', 'restored', add => 'b text[]', up => $$b = '{q}'::loud[]$$);
SELECT migrate.define('safety_restored_2', 'restored', add => 'c text[]', up => $$c = '{q}'::loud[]$$);
SELECT migrate.expand('safety_restored');
RESET ROLE;
DELETE FROM migrate.assignment_tree WHERE migration LIKE 'safety_restored%';
\c -
SET search_path = safety;
\set VERBOSITY terse
SELECT id, b FROM restored;
SELECT migrate.expand('safety_restored_2');
SELECT id, b, c FROM restored;
\set VERBOSITY default
SET client_min_messages = error;
SELECT migrate.rollback('safety_restored_2');
SELECT migrate.rollback('safety_restored');
RESET client_min_messages;

-- A sub-query reads as the owner as well: what he may not see nobody sees through it,
-- and what is behind a view, a policy or a function in it runs as he, restricted.
RESET ROLE;
CREATE TABLE vault (id integer, word text);
INSERT INTO vault VALUES (1, 'gold');
SET ROLE migrate_mallory;
CREATE TABLE words (id integer PRIMARY KEY, word text, reader name DEFAULT 'nobody');
INSERT INTO words VALUES (1, 'one'), (2, 'two');
CREATE FUNCTION peep(text) RETURNS boolean LANGUAGE plpgsql STABLE AS
	$$ BEGIN RETURN safety.take($1) IS NOT NULL; END $$;
ALTER TABLE words ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY words_policy ON words USING (peep(word));
CREATE VIEW words_view AS SELECT id, safety.take(word) AS word FROM words;
CREATE TABLE bait3 (id integer PRIMARY KEY, a text);
INSERT INTO bait3 VALUES (1, 'x'), (2, 'y');
SET client_min_messages = warning;
SELECT migrate.define('safety_sub', 'bait3', add => 'b text, c text', up => $$
	b = (SELECT word FROM words_view w WHERE w.id = bait3.id),
	c = (SELECT string_agg(word, ' ' ORDER BY word) || current_user FROM words WHERE peep(word))$$);
SELECT migrate.define('safety_vault', 'bait3', add => 'd text', up => 'd = (SELECT word FROM vault v WHERE v.id = bait3.id)');
RESET client_min_messages;
SELECT migrate.expand('safety_sub');
SELECT migrate.expand('safety_vault');
GRANT SELECT, INSERT ON bait3 TO migrate_stranger;
RESET ROLE;
SELECT b, c FROM bait3 ORDER BY id;
EXPLAIN (VERBOSE, COSTS OFF) SELECT c FROM bait3;
INSERT INTO bait3 VALUES (3, 'z');
SELECT d FROM bait3;
\echo :LAST_ERROR_SQLSTATE
SET ROLE migrate_stranger;
SELECT b, c FROM bait3 ORDER BY id;
SELECT d FROM bait3;
RESET ROLE;
CALL migrate.run('bait3');
SELECT migration, sqlstate, message FROM migrate.failures WHERE relation = 'bait3'::regclass ORDER BY row_key::text;
GRANT SELECT ON vault TO migrate_mallory;
SELECT migrate.retry('bait3');
CALL migrate.run('bait3');
INSERT INTO bait3 VALUES (4, 'z') RETURNING c, d;
SELECT id, b, c, d, row_version FROM bait3 ORDER BY id;
SELECT is_foul(), count(*) FROM bomb;
SELECT migrate.rollback('safety_vault', discard => true);
SELECT migrate.rollback('safety_sub', discard => true);

-- What shadows built-in names on the reader's path is not found.
RESET ROLE;
CREATE TABLE pg_temp.managed (relation regclass);
CREATE FUNCTION pg_temp.hidden(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'shadow'::text $$;
CREATE FUNCTION safety.upper(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'shadow'::text $$;
SET search_path = pg_temp, safety, pg_catalog;
SELECT id, b FROM secrets ORDER BY id;
RESET search_path;

SET client_min_messages = warning;
SELECT migrate.rollback('safety_secrets', discard => true);
DROP SCHEMA safety CASCADE;
DROP ROLE migrate_mallory, migrate_stranger;
