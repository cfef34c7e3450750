--
-- Stable expressions: computed by the settings of the session at hand, each time anew.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE SCHEMA stable;
SET search_path = stable;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
CREATE TABLE events (id integer PRIMARY KEY, placed timestamptz, born text);
INSERT INTO events SELECT i, '2024-01-01 00:30:00+00', '01/02/2024' FROM generate_series(1, 4) i;
SELECT migrate.define('stable_days', 'events', add => 'day date, birth date, utc date',
	up => $$day = placed::date, birth = born::date, utc = (placed AT TIME ZONE 'UTC')::date$$);
SELECT migrate.expand('stable_days');

-- Nothing of it is kept in a plan, or in the evaluator, from one setting to the next.
PREPARE days AS SELECT id, day, birth, utc FROM events WHERE id < 3 AND day > '2020-01-01' ORDER BY id;
EXECUTE days;
SET timezone = 'America/New_York';
SET datestyle = 'ISO, DMY';
EXECUTE days;
SET plan_cache_mode = force_generic_plan;
EXECUTE days;
SET timezone = 'UTC';
EXECUTE days;
SET datestyle = 'ISO, MDY';
EXECUTE days;
BEGIN;
DECLARE c CURSOR FOR SELECT id, day FROM events ORDER BY id;
FETCH 1 FROM c;
SET LOCAL timezone = 'America/New_York';
FETCH 1 FROM c;
COMMIT;
RESET plan_cache_mode;

-- A query that may not run in parallel does not, whatever it is encouraged to.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT day, birth, count(*) FROM events GROUP BY 1, 2;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- Who writes or converts decides what is stored.
INSERT INTO events VALUES (5, '2024-01-01 00:30:00+00', '01/02/2024');
SET timezone = 'America/New_York';
INSERT INTO events VALUES (6, '2024-01-01 00:30:00+00', '01/02/2024');
UPDATE events SET born = born WHERE id = 1;
UPDATE events SET placed = placed + interval '1 second' WHERE id = 2;
CALL migrate.run('events', max_rows => 1);
SET timezone = 'UTC';
CALL migrate.run('events');
SELECT id, day, birth, utc, row_version FROM events ORDER BY id;

-- now() is the transaction's, current_user the table's owner.
CREATE ROLE migrate_stable_owner;
GRANT ALL ON SCHEMA stable TO migrate_stable_owner;
CREATE TABLE notes (id integer PRIMARY KEY);
INSERT INTO notes VALUES (1);
ALTER TABLE notes OWNER TO migrate_stable_owner;
SET client_min_messages = warning;
SELECT migrate.define('stable_notes', 'notes', add => 'seen timestamptz, by_whom name', up => 'seen = now(), by_whom = current_user');
SELECT migrate.expand('stable_notes');
SELECT id, seen = now() AS now, by_whom FROM notes;
SELECT migrate.rollback('stable_notes', discard => true);
SELECT migrate.rollback('stable_days', discard => true);
DROP SCHEMA stable CASCADE;
DROP ROLE migrate_stable_owner;
