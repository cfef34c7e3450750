--
-- The guard: what a live migration needs cannot be taken away, by anybody.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE ROLE guard_owner;
CREATE SCHEMA guard AUTHORIZATION guard_owner;
SET ROLE guard_owner;
SET search_path = guard;

CREATE TABLE "order" (id integer PRIMARY KEY, "select" text, other integer, fixed text COLLATE "C");
INSERT INTO "order" SELECT i, 'a b' || i, i, 'F' || i FROM generate_series(1, 3) i;
SELECT migrate.define('guard "1"', '"order"', add => '"from" text, "to" text',
	up => $$"from" = split_part("select", ' ', 1), "to" = split_part("select", ' ', 2)$$,
	down => $$"select" = "from" || ' ' || "to"$$, remove => '{select}');
SELECT migrate.define('guard_lower', '"order"', add => 'lowered text', up => $$lowered = lower(fixed)$$);

-- Nothing is guarded before it is live.
BEGIN;
ALTER TABLE "order" DROP COLUMN "select";
ROLLBACK;

SELECT migrate.expand('guard "1"');
SELECT migrate.expand('guard_lower');
RESET ROLE;

-- Columns: of the old form, of the new, one that is read, the row version; also by cascade.
ALTER TABLE "order" DROP COLUMN "select";
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE "order" DROP COLUMN "to" CASCADE;
ALTER TABLE "order" DROP COLUMN fixed;
ALTER TABLE "order" DROP COLUMN row_version;
ALTER TABLE "order" RENAME COLUMN "select" TO picked;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE "order" RENAME "from" TO since;
ALTER TABLE "order" RENAME row_version TO rv;
ALTER TABLE "order" ALTER COLUMN "select" TYPE varchar(100);
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE "order" ALTER COLUMN fixed TYPE text COLLATE "POSIX";
ALTER TABLE "order" ALTER COLUMN row_version TYPE bigint;
ALTER TABLE "order" ALTER COLUMN row_version DROP NOT NULL;
ALTER TABLE "order" ALTER COLUMN row_version DROP DEFAULT;
ALTER TABLE "order" ALTER COLUMN row_version SET DEFAULT 7;
\echo :LAST_ERROR_SQLSTATE

-- The proof.
ALTER TABLE "order" DROP CONSTRAINT row_version_2;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE "order" RENAME CONSTRAINT row_version_3 TO rv;

-- The trigger.
DROP TRIGGER "!migrate" ON "order";
ALTER TABLE "order" DISABLE TRIGGER "!migrate";
\echo :LAST_ERROR_SQLSTATE
-- of all at once, ours stay as they are
ALTER TABLE "order" DISABLE TRIGGER USER;
ALTER TABLE "order" DISABLE TRIGGER ALL, DISABLE TRIGGER "!migrate";
ALTER TABLE "order" ENABLE TRIGGER ALL;
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = '"order"'::regclass AND NOT tgisinternal ORDER BY tgname;
ALTER TABLE "order" ENABLE REPLICA TRIGGER "!migrate";
ALTER TRIGGER "!migrate" ON "order" RENAME TO "renamed";
DROP TRIGGER "~migrate" ON "order";
ALTER TABLE "order" DISABLE TRIGGER "~migrate";
CREATE OR REPLACE TRIGGER "!migrate" BEFORE UPDATE ON "order"
	FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
DROP FUNCTION migrate.write_trigger() CASCADE;

-- The table, and what takes it along.
DROP TABLE "order";
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
DROP TABLE "order" CASCADE;
DROP SCHEMA guard CASCADE;
DROP OWNED BY guard_owner CASCADE;
SET client_min_messages = warning;
DROP EXTENSION migrate CASCADE;
RESET client_min_messages;
\set VERBOSITY default

-- Only a superuser can put the guard off.
SET ROLE guard_owner;
SET migrate.guard = off;
\echo :LAST_ERROR_SQLSTATE
DROP TABLE "order";
RESET ROLE;
BEGIN;
SET LOCAL migrate.guard = off;
ALTER TABLE "order" DISABLE TRIGGER "!migrate";
ROLLBACK;
ALTER TABLE "order" DISABLE TRIGGER "!migrate";

-- What is no harm goes on working.
SET client_min_messages = warning;
ALTER TABLE "order" ENABLE ALWAYS TRIGGER "!migrate";
ALTER TABLE "order" ADD COLUMN extra integer DEFAULT 5, ADD CONSTRAINT positive CHECK (other > 0);
ALTER TABLE "order" ALTER COLUMN other SET DEFAULT 3, ALTER COLUMN "from" SET DEFAULT 'x', ALTER COLUMN "select" SET STATISTICS 10;
ALTER TABLE "order" ALTER COLUMN other TYPE bigint;
ALTER TABLE "order" RENAME other TO rest;
ALTER TABLE "order" RENAME CONSTRAINT positive TO above_zero;
ALTER TABLE "order" DROP CONSTRAINT above_zero, DROP COLUMN extra;
ALTER TABLE "order" SET UNLOGGED;
ALTER TABLE "order" SET LOGGED;
ALTER TABLE "order" OWNER TO CURRENT_USER;
ALTER TABLE "order" OWNER TO guard_owner;
CREATE SCHEMA guard_elsewhere AUTHORIZATION guard_owner;
ALTER TABLE "order" SET SCHEMA guard_elsewhere;
ALTER TABLE guard_elsewhere."order" RENAME TO orders;
ALTER TABLE guard_elsewhere.orders SET SCHEMA guard;
VACUUM FULL orders;
CLUSTER orders USING order_pkey;
REINDEX TABLE orders;
SELECT * FROM orders ORDER BY id;
BEGIN;
TRUNCATE orders;
ROLLBACK;
RESET client_min_messages;

-- A rename of what an expression names is written into its stored text.
CREATE TYPE mood AS ENUM ('low', 'high');
CREATE FUNCTION mood_of(text) RETURNS mood LANGUAGE sql IMMUTABLE
	AS $$ SELECT CASE WHEN $1 > 'm' THEN 'high' ELSE 'low' END::guard.mood $$;
CREATE TABLE feelings (id integer PRIMARY KEY, word text);
SELECT migrate.define('guard_mood', 'feelings', add => 'mood guard.mood',
	up => $$mood = CASE WHEN word = '' THEN 'low' ELSE mood_of(word) END$$);
SELECT migrate.expand('guard_mood');
ALTER TYPE mood RENAME VALUE 'low' TO 'down';
ALTER TYPE mood RENAME TO state_of_mind;
ALTER FUNCTION mood_of(text) RENAME TO "state of";
ALTER FUNCTION "state of"(text) SET SCHEMA guard_elsewhere;
ALTER SCHEMA guard_elsewhere RENAME TO guard_there;
SELECT expression FROM migrate.assignment WHERE migration = 'guard_mood';

-- A type that goes with its column, by cascade.
DROP TYPE state_of_mind CASCADE;

-- Renamed columns of definitions that are not live: these go on working.
CREATE TABLE later (id integer PRIMARY KEY, a text, b integer);
INSERT INTO later VALUES (1, 'X', 1);
SELECT migrate.define('guard_later', 'later', add => 'c text, d integer', up => $$c = a || '.', d = b + 1$$,
	down => $$a = left(c, 1)$$, remove => '{a}');
ALTER TABLE later RENAME a TO "A";
ALTER TABLE later RENAME b TO "B";
SELECT inputs, remove FROM migrate.migration WHERE name = 'guard_later';
SELECT direction, target FROM migrate.assignment WHERE migration = 'guard_later' ORDER BY 1, 2;
SELECT migrate.expand('guard_later');
SELECT * FROM later;
UPDATE later SET c = 'Y.' RETURNING *;

-- A definition does not hold a column to its type; it is not expanded over another one.
CREATE TABLE retyped (id integer PRIMARY KEY, a integer, b integer GENERATED ALWAYS AS (id + 1) STORED);
SELECT migrate.define('guard_retyped', 'retyped', add => 'c integer', up => 'c = a + b', down => 'a = c - b', remove => '{a}');
ALTER TABLE retyped ALTER COLUMN a TYPE text;
SELECT migrate.expand('guard_retyped');
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM migrate.status WHERE name = 'guard_retyped';
ALTER TABLE retyped ALTER COLUMN a TYPE integer USING a::integer;
SELECT migrate.expand('guard_retyped');
ALTER TABLE retyped DROP COLUMN b;
\echo :LAST_ERROR_SQLSTATE

-- Partitions come and go; what they have from their parent stays.
CREATE TABLE parted (id integer, a text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 (junk integer, a text, id integer);
ALTER TABLE parted_2 DROP COLUMN junk;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (10) TO (20);
CREATE TABLE parted_3 PARTITION OF parted FOR VALUES FROM (20) TO (30);
INSERT INTO parted VALUES (1, 'a'), (11, 'b'), (21, 'c');
SELECT migrate.define('guard_parted', 'parted', add => 'b text', up => 'b = upper(a)', down => 'a = lower(b)', remove => '{a}');
SELECT migrate.expand('guard_parted');
ALTER TABLE parted_2 DISABLE TRIGGER "!migrate";
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER "!migrate" ON parted_2;
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE parted_2 ALTER COLUMN row_version SET DEFAULT 1;
ALTER TABLE parted_2 ALTER COLUMN row_version DROP DEFAULT;
ALTER TABLE parted_2 DROP CONSTRAINT row_version_2;
ALTER TABLE parted_2 DROP COLUMN b;
ALTER TABLE parted DROP COLUMN b;
DROP TABLE parted_1;
UPDATE parted_2 SET a = a;
ALTER TABLE parted DETACH PARTITION parted_2;
DROP TABLE parted_2;
SELECT * FROM parted;
DROP TABLE parted;

-- Not live any more: the table can go, with all that is known of it but the history.
SELECT migrate.rollback('guard_parted');
DROP TABLE parted;
SELECT count(*) FROM migrate.managed WHERE relation NOT IN (SELECT oid FROM pg_class);
SELECT count(*) FROM migrate.migration WHERE name = 'guard_parted';
SELECT count(*) FROM migrate.assignment WHERE migration = 'guard_parted';
SELECT count(*) FROM migrate.assignment_tree WHERE migration = 'guard_parted';
SELECT count(*) FROM migrate.added_column WHERE migration = 'guard_parted';
SELECT event, detail FROM migrate.history WHERE migration = 'guard_parted';

-- With the guard off a live one goes likewise.
BEGIN;
SET LOCAL migrate.guard = off;
DROP TABLE feelings;
COMMIT;
SELECT count(*) FROM migrate.migration WHERE name = 'guard_mood';

SELECT migrate.rollback('guard_lower');
SELECT migrate.rollback('guard "1"');
SELECT migrate.rollback('guard_later');
SELECT migrate.rollback('guard_retyped');
SET client_min_messages = warning;
DROP SCHEMA guard, guard_there CASCADE;
DROP ROLE guard_owner;
