-- Rows that are not worth converting: deleted or moved where they would be.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE ROLE prune_owner;
CREATE ROLE prune_other;
CREATE SCHEMA prune AUTHORIZATION prune_owner;
GRANT USAGE ON SCHEMA prune TO prune_other;
SET search_path = prune;
SET ROLE prune_owner;

CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE WARNING 'a trigger of %: %', tg_table_name, tg_op; RETURN coalesce(new, old); END $$;

--
-- Soft-deleted rows go to an archive; no user trigger fires, no policy hides them
--
CREATE TABLE pr_users (id integer PRIMARY KEY, full_name text, note text, deleted_at timestamptz);
INSERT INTO pr_users SELECT i, 'First' || i || ' Last' || i, repeat('long ', 2000),
	CASE i % 4 WHEN 0 THEN now() - interval '2 years' WHEN 1 THEN now() END
	FROM generate_series(1, 200) i;
CREATE TRIGGER touch BEFORE DELETE OR UPDATE ON pr_users FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER touch_too AFTER DELETE OR UPDATE ON pr_users FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER touch_all AFTER DELETE ON pr_users EXECUTE FUNCTION touch();
ALTER TABLE pr_users ENABLE ROW LEVEL SECURITY;
ALTER TABLE pr_users FORCE ROW LEVEL SECURITY;
CREATE TABLE pr_users_archive (deleted_at timestamptz, id integer PRIMARY KEY, note text,
	full_name text NOT NULL, first_name text, archived_at timestamptz NOT NULL DEFAULT now(),
	serial integer GENERATED ALWAYS AS IDENTITY);
SELECT migrate.set_prune('pr_users', $$deleted_at < now() - interval '1 year'$$, 'pr_users_archive');
SELECT migrate.set_prune('pr_users', $$pr_users.deleted_at  < now() - '1 year'::interval$$, 'pr_users_archive');
SELECT migrate.define('pr_split', 'pr_users',
	add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$,
	remove => '{full_name}');
SELECT migrate.expand('pr_split');
CALL migrate.run('pr_users', max_rows => 20);
SELECT rows_converted + rows_pruned AS done, rows_converted > 0 AS converted, rows_pruned > 0 AS pruned
	FROM migrate.progress WHERE migration = 'pr_split';
CALL migrate.run('pr_users');
SET ROLE NONE;
SELECT count(*), count(*) FILTER (WHERE row_version = 2) AS converted,
	count(*) FILTER (WHERE deleted_at < now() - interval '1 year') AS old FROM pr_users;
SET ROLE prune_owner;
SELECT count(*), min(serial), max(serial), bool_and(id % 4 = 0 AND note = repeat('long ', 2000)
	AND full_name = 'First' || id || ' Last' || id AND first_name = 'First' || id
	AND archived_at IS NOT NULL AND deleted_at < now() - interval '1 year') AS whole
	FROM pr_users_archive;
SELECT event, detail FROM migrate.history WHERE migration = 'pr_split';

-- The condition follows renames, and what it needs cannot go
ALTER TABLE pr_users RENAME deleted_at TO removed_at;
ALTER TABLE pr_users DROP COLUMN removed_at;
ALTER TABLE pr_users ALTER removed_at TYPE timestamp;
SELECT migrate.set_prune('pr_users', $$removed_at < now() - interval '1 year'$$);	-- not to the archive
SELECT migrate.unset_prune('pr_users');
SELECT migrate.unset_prune('pr_users');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'pr_users'::regclass AND tgname = 'migrate_prune';

--
-- What cannot be asked for
--
CREATE TABLE pr_t (id integer PRIMARY KEY, v integer, w varchar(10));
SELECT migrate.set_prune('pr_t', 'v < random()');
SELECT migrate.set_prune('pr_t', 'v < (SELECT 1)');
SELECT migrate.set_prune('pr_t', 'v < max(v)');
SELECT migrate.set_prune('pr_t', 'v < generate_series(1, 2)');
SELECT migrate.set_prune('pr_t', 'v < rank() OVER ()');
SELECT migrate.set_prune('pr_t', 'nonesuch IS NULL');
SELECT migrate.set_prune('pr_t', 'v + 1');
SELECT migrate.set_prune('pr_t', 'v > 1 GROUP BY v');
SELECT migrate.set_prune('pr_t', 'v > 1; DROP TABLE pr_t');
SELECT migrate.set_prune('pr_t', 'v >');
SELECT migrate.set_prune('pr_t', 'pr_t IS NULL');
SELECT migrate.set_prune('pr_t', 'tableoid = 0');
SELECT migrate.set_prune('pr_t', NULL);
SELECT migrate.set_prune(NULL, 'true');
SELECT migrate.set_prune('pg_class', 'true');
CREATE VIEW pr_v AS SELECT * FROM pr_t;
SELECT migrate.set_prune('pr_v', 'true');
CREATE TABLE pr_part (id integer, v integer) PARTITION BY RANGE (id);
CREATE TABLE pr_part_1 PARTITION OF pr_part FOR VALUES FROM (0) TO (100);
SELECT migrate.set_prune('pr_part_1', 'true');
SELECT migrate.unset_prune('pr_part_1');
SET ROLE prune_other;
SELECT migrate.set_prune('pr_t', 'true');
SELECT migrate.unset_prune('pr_t');
SET ROLE prune_owner;
-- archives
SELECT migrate.set_prune('pr_t', 'v > 1', 'pr_t');
SELECT migrate.set_prune('pr_part', 'v > 1', 'pr_part_1');
SELECT migrate.set_prune('pr_t', 'v > 1', 'pr_v');
CREATE TABLE pr_a (id integer, w varchar(10));
SELECT migrate.set_prune('pr_t', 'v > 1', 'pr_a');
ALTER TABLE pr_a ADD v bigint;
SELECT migrate.set_prune('pr_t', 'v > 1', 'pr_a');
ALTER TABLE pr_a ALTER v TYPE integer, ALTER w TYPE varchar(5);
SELECT migrate.set_prune('pr_t', 'v > 1', 'pr_a');
CREATE TEMP TABLE pr_temp (id integer, v integer, w varchar);
SELECT migrate.set_prune('pr_t', 'v > 1', 'pr_temp');
DROP TABLE pr_temp;
CREATE UNLOGGED TABLE pr_unlogged (id integer, v integer, w varchar);
SELECT migrate.set_prune('pr_t', 'v > 1', 'pr_unlogged');
CREATE TABLE pr_parted (id integer, v integer, w varchar) PARTITION BY LIST (id);
CREATE UNLOGGED TABLE pr_parted_u PARTITION OF pr_parted FOR VALUES IN (1);
SELECT migrate.set_prune('pr_t', 'v > 1', 'pr_parted');
DROP TABLE pr_parted_u;
SET ROLE NONE;
CREATE FOREIGN DATA WRAPPER pr_wrapper;
CREATE SERVER pr_server FOREIGN DATA WRAPPER pr_wrapper;
CREATE FOREIGN TABLE pr_parted_f PARTITION OF pr_parted FOR VALUES IN (2) SERVER pr_server;
SELECT migrate.set_prune('pr_t', 'v > 1', 'pr_parted');
DROP FOREIGN DATA WRAPPER pr_wrapper CASCADE;
CREATE TABLE pr_parted_l PARTITION OF pr_parted FOR VALUES IN (3);
BEGIN;
SELECT migrate.set_prune('pr_t', 'v > 1', 'pr_parted');
ROLLBACK;
CREATE TABLE pr_foreign (id integer, v integer, w varchar);
SET ROLE prune_owner;
SELECT migrate.set_prune('pr_t', 'v > 1', 'pr_foreign');

--
-- An archive that does not serve any more holds the backfill up, and nothing is lost
--
INSERT INTO pr_t SELECT i, i, 'w' || i FROM generate_series(1, 10) i;
ALTER TABLE pr_a ALTER w TYPE varchar(20);
ALTER TABLE pr_a ALTER w TYPE varchar;
SELECT migrate.set_prune('pr_t', 'v > 8', 'pr_a');
SELECT migrate.define('pr_t', 'pr_t', add => 'x integer', up => 'x = v * 2');
SELECT migrate.expand('pr_t');
ALTER TABLE pr_t ADD later integer;
CALL migrate.run('pr_t');
ALTER TABLE pr_t DROP later;
DROP TABLE pr_a;
CALL migrate.run('pr_t');
SELECT count(*) FROM pr_t;
-- one that does not take a row: that one fails, and can be tried again
CREATE TABLE pr_b (id integer PRIMARY KEY, v integer, w varchar(10));
INSERT INTO pr_b VALUES (9);
SELECT migrate.set_prune('pr_t', 'v > 8', 'pr_b');
CALL migrate.run('pr_t');
SELECT row_key, sqlstate, message FROM migrate.failures WHERE relation = 'pr_t'::regclass;
SELECT rows_converted, rows_pruned FROM migrate.progress WHERE migration = 'pr_t';
DELETE FROM pr_b WHERE id = 9;
CREATE RULE nothing AS ON INSERT TO pr_b DO INSTEAD NOTHING;
SELECT migrate.retry('pr_t');
CALL migrate.run('pr_t');
SELECT row_key, sqlstate, message FROM migrate.failures WHERE relation = 'pr_t'::regclass;
DROP RULE nothing ON pr_b;
SELECT migrate.retry('pr_t');
CALL migrate.run('pr_t');
SELECT (SELECT count(*) FROM pr_t), (SELECT array_agg(id ORDER BY id) FROM pr_b);

--
-- Foreign keys: what refers and refuses keeps its row, which is converted; the rest is
-- deleted or emptied with it, and tells its own triggers
--
CREATE TABLE pr_parent (id integer PRIMARY KEY, full_name text, gone boolean);
CREATE TABLE pr_strict (id integer REFERENCES pr_parent);
CREATE TABLE pr_restrict (id integer REFERENCES pr_parent ON DELETE RESTRICT);
CREATE TABLE pr_late (id integer REFERENCES pr_parent DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE pr_cascade (id integer REFERENCES pr_parent ON DELETE CASCADE);
CREATE TABLE pr_null (id integer REFERENCES pr_parent ON DELETE SET NULL);
CREATE TABLE pr_self (id integer PRIMARY KEY, parent integer REFERENCES pr_self ON DELETE CASCADE, gone boolean);
INSERT INTO pr_parent SELECT i, 'n' || i, i > 2 FROM generate_series(1, 10) i;
INSERT INTO pr_strict VALUES (3);
INSERT INTO pr_restrict VALUES (4);
INSERT INTO pr_late VALUES (5);
INSERT INTO pr_cascade VALUES (1), (6), (3);
INSERT INTO pr_null VALUES (7);
-- by way of another table, which only the deletion finds out
CREATE TABLE pr_middle (id integer PRIMARY KEY, parent integer REFERENCES pr_parent ON DELETE CASCADE);
CREATE TABLE pr_low (id integer REFERENCES pr_middle);
INSERT INTO pr_middle VALUES (1, 8), (2, 9);
INSERT INTO pr_low VALUES (1);
CREATE TABLE pr_log (what text);
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO prune.pr_log VALUES (tg_op || ' ' || old.id || ' of ' || tg_table_name); RETURN coalesce(new, old); END $$;
CREATE TRIGGER log AFTER DELETE OR UPDATE ON pr_cascade FOR EACH ROW EXECUTE FUNCTION log();
CREATE TRIGGER log BEFORE DELETE OR UPDATE ON pr_null FOR EACH ROW EXECUTE FUNCTION log();
SELECT migrate.define('pr_parent', 'pr_parent', add => 'n text', up => 'n = upper(full_name)');
SELECT migrate.set_prune('pr_parent', 'gone');
SELECT migrate.expand('pr_parent');
CALL migrate.run('pr_parent');
SELECT id, n, row_version FROM pr_parent ORDER BY id;
SELECT (SELECT array_agg(id ORDER BY id) FROM pr_cascade) AS cascade, (SELECT array_agg(id) FROM pr_null) AS "null";
SELECT count(*) FROM migrate.failures WHERE relation = 'pr_parent'::regclass;
SELECT detail FROM migrate.history WHERE migration = 'pr_parent' AND event = 'complete';
SELECT what FROM pr_log ORDER BY 1;
-- rows of the same table that refer to each other
INSERT INTO pr_self VALUES (1, NULL, true), (2, 1, false), (3, 2, true), (4, NULL, false), (5, 4, true);
SELECT migrate.define('pr_self', 'pr_self', add => 'n integer', up => 'n = id * 10');
SELECT migrate.set_prune('pr_self', 'gone');
SELECT migrate.expand('pr_self');
CALL migrate.run('pr_self');
SELECT id, n, row_version FROM pr_self ORDER BY id;

--
-- Columns are what they read as, also of a chain; and in a stable function of the owner's
--
CREATE TABLE pr_chain (id integer PRIMARY KEY, a integer);
CREATE TABLE pr_hold (id integer);
INSERT INTO pr_chain SELECT i, i FROM generate_series(1, 6) i;
INSERT INTO pr_hold VALUES (4);
CREATE FUNCTION is_held(integer) RETURNS boolean LANGUAGE sql STABLE
	AS 'SELECT EXISTS (SELECT FROM prune.pr_hold h WHERE h.id = $1)';
SELECT migrate.define('pr_chain_1', 'pr_chain', add => 'b integer', up => 'b = a * 10',
	down => 'a = b / 10', remove => '{a}');
SELECT migrate.define('pr_chain_2', 'pr_chain', up => 'b = least(b, 45)', depends_on => '{pr_chain_1}');
SELECT migrate.expand('pr_chain_1');
SELECT migrate.expand('pr_chain_2');
SELECT migrate.set_prune('pr_chain', 'b BETWEEN 20 AND 45 AND id <> 5 AND NOT is_held(id)');
SELECT id, b FROM pr_chain WHERE b BETWEEN 20 AND 45 AND id <> 5 AND NOT is_held(id) ORDER BY id;
CALL migrate.run('pr_chain');
SELECT id, b FROM pr_chain ORDER BY id;
DROP FUNCTION is_held;
SELECT migrate.unset_prune('pr_chain');

-- One that fails: that row is recorded, the others go on
CREATE TABLE pr_error (id integer PRIMARY KEY, a integer);
INSERT INTO pr_error SELECT i, i - 2 FROM generate_series(1, 4) i;
SELECT migrate.define('pr_error', 'pr_error', add => 'b integer', up => 'b = a');
SELECT migrate.set_prune('pr_error', '10 / a = 5');
SELECT migrate.expand('pr_error');
CALL migrate.run('pr_error');
SELECT row_key, message FROM migrate.failures WHERE relation = 'pr_error'::regclass;
SELECT migrate.set_prune('pr_error', 'a <> 0 AND 10 / a = 5');
SELECT migrate.retry('pr_error');
CALL migrate.run('pr_error');
SELECT id, b FROM pr_error ORDER BY id;

--
-- The owner's code runs as the owner, restricted, though a superuser backfills
--
CREATE TABLE pr_attack (id integer PRIMARY KEY, a integer);
INSERT INTO pr_attack SELECT i, i FROM generate_series(1, 2) i;
CREATE TABLE pr_attack_archive (id integer, a integer, who text DEFAULT current_user);
CREATE FUNCTION who(integer) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN RETURN $1 = 1 AND current_user = 'prune_owner' AND current_setting('search_path') = 'pg_catalog, pg_temp'; END $$;
CREATE FUNCTION note_who() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN new.who = new.who || ', ' || current_user; RETURN new; END $$;
CREATE TRIGGER note_who BEFORE INSERT ON pr_attack_archive FOR EACH ROW EXECUTE FUNCTION note_who();
SELECT migrate.define('pr_attack', 'pr_attack', add => 'b integer', up => 'b = a');
SELECT migrate.set_prune('pr_attack', 'who(id)', 'pr_attack_archive');
SELECT migrate.expand('pr_attack');
SET ROLE NONE;
CALL migrate.run('pr_attack');
SET ROLE prune_owner;
SELECT * FROM pr_attack_archive;

-- What was written since expand is not pruned; rollback does not bring back what was
CREATE TABLE pr_back (id integer PRIMARY KEY, a integer);
INSERT INTO pr_back SELECT i, i FROM generate_series(1, 4) i;
SELECT migrate.define('pr_back', 'pr_back', add => 'b integer', up => 'b = a');
SELECT migrate.expand('pr_back');
INSERT INTO pr_back (id, a) VALUES (5, 5);
UPDATE pr_back SET a = 3 WHERE id = 3;
SELECT migrate.set_prune('pr_back', 'b >= 3');
CALL migrate.run('pr_back', max_rows => 1);
SELECT migrate.rollback('pr_back');		-- the condition needs the column
SELECT migrate.unset_prune('pr_back');
SELECT migrate.set_prune('pr_back', 'a >= 3');
CALL migrate.run('pr_back');
SELECT migrate.rollback('pr_back');
SELECT * FROM pr_back ORDER BY id;

--
-- Partitions, with other attribute numbers, and one that comes later
--
ALTER TABLE pr_part ADD gone date;
INSERT INTO pr_part SELECT i, i, CASE WHEN i % 2 = 0 THEN date '2000-01-01' END FROM generate_series(1, 9) i;
CREATE TABLE pr_part_2 (gone date, x integer, v integer, id integer);
ALTER TABLE pr_part_2 DROP x;
INSERT INTO pr_part_2 SELECT CASE WHEN i % 2 = 0 THEN date '2000-01-01' END, i, i FROM generate_series(101, 109) i;
CREATE TABLE pr_part_archive (id integer, v integer, gone date) PARTITION BY RANGE (id);
CREATE TABLE pr_part_archive_1 PARTITION OF pr_part_archive FOR VALUES FROM (0) TO (100);
CREATE TABLE pr_part_archive_2 PARTITION OF pr_part_archive DEFAULT;
SELECT migrate.set_prune('pr_part', $$gone < current_date - 365$$, 'pr_part_archive');
ALTER TABLE pr_part ATTACH PARTITION pr_part_2 FOR VALUES FROM (100) TO (200);
SELECT migrate.define('pr_part', 'pr_part', add => 'w integer', up => 'w = v * 2');
SELECT migrate.expand('pr_part');
CALL migrate.run('pr_part');
SELECT tableoid::regclass, id, w FROM pr_part ORDER BY id;
SELECT tableoid::regclass, * FROM pr_part_archive ORDER BY id;
SELECT tgrelid::regclass, tgenabled FROM pg_trigger WHERE tgname = 'migrate_prune'
	AND tgrelid::regclass::text LIKE 'pr_part%' ORDER BY 1;
SELECT migrate.unset_prune('pr_part');
SELECT migrate.contract('pr_part');

--
-- Foreign keys of every kind: asked of many rows at once, or by their triggers; and nothing
-- waits for the commit, not even what is reached by CASCADE
--
CREATE DOMAIN pr_number AS integer CHECK (value > 0);
CREATE TABLE "Pr ""K" ("I d" pr_number PRIMARY KEY, a text, b bigint, c integer[] UNIQUE, gone boolean,
	n numeric UNIQUE, UNIQUE (b, a));
INSERT INTO "Pr ""K" SELECT i, 'a' || i % 2, i, ARRAY[i], i <= 20, nullif(i, 16) FROM generate_series(1, 21) i;
CREATE TABLE "Pr ref" ("I d" bigint CONSTRAINT wide REFERENCES "Pr ""K",
	a varchar, b integer, FOREIGN KEY (a, b) REFERENCES "Pr ""K" (a, b),
	c integer[] REFERENCES "Pr ""K" (c) ON DELETE RESTRICT, n integer REFERENCES "Pr ""K" (n)
	ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO "Pr ref" VALUES (1, 'a0', 2, ARRAY[3], 4), (5, 'a0', NULL, NULL, NULL);
ALTER TABLE "Pr ref" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "Pr ref" FORCE ROW LEVEL SECURITY;
CREATE TABLE pr_by (id integer, k integer REFERENCES "Pr ""K") PARTITION BY LIST (id);
CREATE TABLE pr_by_1 (k integer, id integer);
ALTER TABLE pr_by ATTACH PARTITION pr_by_1 FOR VALUES IN (1);
INSERT INTO pr_by VALUES (1, 6);
CREATE TABLE pr_zero (id integer DEFAULT 21 REFERENCES "Pr ""K" ON DELETE SET DEFAULT);
INSERT INTO pr_zero VALUES (7);
CREATE TABLE pr_step (id integer PRIMARY KEY, k integer REFERENCES "Pr ""K" ON DELETE CASCADE);
CREATE TABLE pr_end (id integer REFERENCES pr_step DEFERRABLE INITIALLY DEFERRED);
INSERT INTO pr_step VALUES (1, 8), (2, 9);
INSERT INTO pr_end VALUES (1);
-- one comes when the row goes: by a trigger of the archive
CREATE TABLE pr_k_archive (gone boolean, c integer[], id serial, n numeric, b bigint, "I d" integer, a text,
	double bigint GENERATED ALWAYS AS (b * 2) STORED);
ALTER TABLE pr_k_archive ALTER "I d" TYPE pr_number;
CREATE FUNCTION refer_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF new."I d" = 10 THEN INSERT INTO prune.pr_by VALUES (1, 10); END IF;
	IF new."I d" = 11 THEN DELETE FROM prune."Pr ""K" WHERE "I d" = 12; END IF;
	IF new."I d" = 13 THEN UPDATE prune."Pr ""K" SET gone = false WHERE "I d" = 14; END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER refer_late AFTER INSERT ON pr_k_archive FOR EACH ROW EXECUTE FUNCTION refer_late();
SELECT migrate.set_prune('"Pr ""K"', 'gone', 'pr_k_archive');
SELECT migrate.define('pr_k', '"Pr ""K"', add => 'x integer', up => 'x = b * 3');
SELECT migrate.expand('pr_k');
CALL migrate.run('"Pr ""K"');
SELECT "I d", gone, x, row_version FROM "Pr ""K" ORDER BY 1;
SELECT count(*), array_agg("I d"::integer ORDER BY "I d") AS ids, bool_and(double = b * 2) AS whole FROM pr_k_archive;
SELECT (SELECT array_agg(id) FROM pr_zero) AS zero, (SELECT array_agg(id) FROM pr_step) AS step,
	(SELECT array_agg(k ORDER BY k) FROM pr_by) AS by;
SELECT row_key, sqlstate, message FROM migrate.failures WHERE relation = '"Pr ""K"'::regclass;
SELECT detail FROM migrate.history WHERE migration = 'pr_k' AND event = 'complete';

-- A session that runs it may be set to anything
CREATE TABLE pr_any (id integer PRIMARY KEY, gone boolean);
CREATE TABLE pr_any_step (id integer PRIMARY KEY REFERENCES pr_any ON DELETE CASCADE);
CREATE TABLE pr_any_strict (id integer REFERENCES pr_any);
CREATE TABLE pr_any_archive (LIKE pr_any, came text DEFAULT 'no trigger');
CREATE FUNCTION came() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.came = 'a trigger'; RETURN new; END $$;
CREATE TRIGGER came BEFORE INSERT ON pr_any_archive FOR EACH ROW EXECUTE FUNCTION came();
INSERT INTO pr_any SELECT i, i <= 3 FROM generate_series(1, 4) i;
INSERT INTO pr_any_step VALUES (1), (4);
INSERT INTO pr_any_strict VALUES (2);
SELECT migrate.define('pr_any', 'pr_any', add => 'x integer', up => 'x = id');
SELECT migrate.set_prune('pr_any', 'gone', 'pr_any_archive');
SELECT migrate.expand('pr_any');
SET ROLE NONE;
SET session_replication_role = replica;
SET default_transaction_isolation = 'serializable';
SET row_security = off;
SET search_path = pg_temp;
SET idle_in_transaction_session_timeout = '1ms';
SET check_function_bodies = off;
SET constraint_exclusion = on;
SET quote_all_identifiers = on;
CALL migrate.run('prune.pr_any');
RESET quote_all_identifiers;
RESET constraint_exclusion;
RESET check_function_bodies;
RESET idle_in_transaction_session_timeout;
RESET row_security;
RESET default_transaction_isolation;
RESET session_replication_role;
SET search_path = prune;
SET default_transaction_read_only = on;
CALL migrate.run('pr_any');
RESET default_transaction_read_only;
SET ROLE prune_owner;
SELECT id, x, row_version FROM pr_any ORDER BY id;
SELECT * FROM pr_any_archive ORDER BY id;
SELECT * FROM pr_any_step ORDER BY id;

-- A condition that fails in the middle of a function's query
CREATE TABLE pr_middle_of (id integer PRIMARY KEY, a integer, wide text);
INSERT INTO pr_middle_of SELECT i, i % 10, repeat('x', 1000) FROM generate_series(1, 1000) i;
CREATE FUNCTION divides(integer) RETURNS boolean LANGUAGE sql STABLE
	AS 'SELECT 10 / $1 = 5 FROM (VALUES (1)) v LIMIT (SELECT count(*) FROM prune.pr_hold)';
SELECT migrate.define('pr_middle_of', 'pr_middle_of', add => 'b integer', up => 'b = a');
SELECT migrate.set_prune('pr_middle_of', 'divides(a)');
SELECT migrate.expand('pr_middle_of');
CALL migrate.run('pr_middle_of');
SELECT count(*), count(*) FILTER (WHERE a = 2) AS to_be_pruned FROM pr_middle_of;
SELECT count(*), min(message), max(message) FROM migrate.failures WHERE relation = 'pr_middle_of'::regclass;

RESET client_min_messages;
SET ROLE NONE;
SET client_min_messages = warning;
SET migrate.guard = off;
DROP SCHEMA prune CASCADE;
DROP ROLE prune_owner;
DROP ROLE prune_other;
SELECT count(*) FROM migrate.prune;
