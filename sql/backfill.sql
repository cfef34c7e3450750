-- What CALL migrate.run() and its companions promise, in one session.
-- (Tables are small and limits are given in rows: nothing here depends on time.)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE ROLE bf_owner;
CREATE ROLE bf_other;
CREATE SCHEMA bf AUTHORIZATION bf_owner;
GRANT USAGE ON SCHEMA bf TO bf_other;
SET search_path = bf;
SET ROLE bf_owner;

--
-- An owner who is no superuser converts in parts, and the books agree
--
CREATE TABLE bf_people (id int PRIMARY KEY, full_name text) WITH (autovacuum_enabled = off);
INSERT INTO bf_people SELECT i, 'First' || i || ' Last' || i FROM generate_series(1, 2000) i;
SELECT migrate.define('bf_split', 'bf_people',
	add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$,
	remove => '{full_name}');
CALL migrate.run('bf_people');		-- not managed yet
SELECT migrate.expand('bf_split');
SELECT migration, relation, phase, blocks_done, rows_converted, percent, workers
	FROM migrate.progress WHERE migration LIKE 'bf%';
CALL migrate.run('bf_people', max_rows => 600);
SELECT count(*) FILTER (WHERE row_version = 2) AS converted,
	count(*) FILTER (WHERE row_version < 2) AS stale FROM bf_people;
SELECT migration, phase, rows_converted, percent BETWEEN 1 AND 99 AS under_way, length(bar)
	FROM migrate.progress WHERE migration LIKE 'bf%';
CALL migrate.run('bf_people', max_rows => 120);
CALL migrate.run('bf_people', max_rows => 0);
CALL migrate.run('bf_people');
SELECT state FROM migrate.status WHERE name = 'bf_split';
SELECT count(*) FROM bf_people
	WHERE row_version = 2 AND first_name = 'First' || id AND last_name = 'Last' || id;
-- the proof is the server's own
SELECT conname, convalidated FROM pg_constraint
	WHERE conrelid = 'bf_people'::regclass AND conname = 'row_version_2';
SELECT event, detail FROM migrate.history WHERE migration = 'bf_split';
SELECT count(*) FROM migrate.progress WHERE migration LIKE 'bf%';
CALL migrate.run('bf_people');		-- nothing left to do

--
-- In a transaction block it is refused, and by others
--
BEGIN;
CALL migrate.run('bf_people');
ROLLBACK;
SET ROLE bf_other;
CALL migrate.run('bf_people');
SELECT migrate.pause('bf_people');
SELECT migrate.resume('bf_people');
SELECT migrate.retry('bf_people');
SELECT migrate.wait('bf_split');
CALL migrate.run();					-- nothing of its own
SET ROLE bf_owner;
CALL migrate.run(0);
SELECT migrate.pause(NULL);
SELECT migrate.wait(NULL);
SELECT migrate.wait('bf_none');

--
-- pause and resume, wait
--
CREATE TABLE bf_pause (id int PRIMARY KEY, a int);
INSERT INTO bf_pause SELECT i, i FROM generate_series(1, 10) i;
SELECT migrate.define('bf_pause', 'bf_pause', add => 'b int', up => 'b = a + 1', down => 'a = b - 1',
	remove => '{a}');
SELECT migrate.wait('bf_pause', '1ms');		-- not expanded
SELECT migrate.expand('bf_pause');
SELECT migrate.pause('bf_pause');
SELECT phase, throttled_by FROM migrate.progress WHERE migration = 'bf_pause';
CALL migrate.run('bf_pause');
CALL migrate.run();
SELECT count(*) FROM bf_pause WHERE row_version < 2;
SELECT migrate.wait('bf_pause', '1ms');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT migrate.wait('bf_pause', '1ms');
ROLLBACK;
BEGIN;
UPDATE bf_pause SET a = 0 WHERE id = 1;
SELECT migrate.wait('bf_pause', '1ms');
ROLLBACK;
CREATE FUNCTION bf_wait() RETURNS boolean LANGUAGE plpgsql AS
	$$BEGIN RETURN (SELECT migrate.wait('bf_pause', '1ms') FROM pg_sleep(0)); END$$;
\set SHOW_CONTEXT never
SELECT bf_wait() FROM bf_pause;
\set SHOW_CONTEXT errors
SELECT migrate.resume('bf_pause');
CALL migrate.run();
SELECT migrate.wait('bf_pause');

--
-- An empty table, one page, no primary key
--
CREATE TABLE bf_empty (a int);
CREATE TABLE bf_keyless (a int, a2 int);
ALTER TABLE bf_keyless DROP COLUMN a2;
INSERT INTO bf_keyless VALUES (1), (2), (2), (NULL);
SELECT migrate.define('bf_empty', 'bf_empty', add => 'b int', up => 'b = a * 2', down => 'a = b / 2', remove => '{a}');
SELECT migrate.define('bf_keyless', 'bf_keyless', add => 'b int', up => 'b = a * 2', down => 'a = b / 2', remove => '{a}');
SELECT migrate.expand('bf_empty'), migrate.expand('bf_keyless');
CALL migrate.run('bf_empty');
CALL migrate.run('bf_keyless');
SELECT name, state FROM migrate.status WHERE name IN ('bf_empty', 'bf_keyless');
SELECT * FROM bf_keyless ORDER BY a;

--
-- User triggers do not fire, generated columns are computed
--
CREATE TABLE bf_triggered (
	id int PRIMARY KEY,
	price int,
	twice int GENERATED ALWAYS AS (price * 2) STORED,
	note text DEFAULT 'none');
INSERT INTO bf_triggered (id, price) SELECT i, i * 100 FROM generate_series(1, 5) i;
CREATE FUNCTION bf_shout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'a user trigger fired';
END$$;
CREATE TRIGGER before_row BEFORE UPDATE ON bf_triggered FOR EACH ROW EXECUTE FUNCTION bf_shout();
CREATE TRIGGER after_row AFTER UPDATE ON bf_triggered FOR EACH ROW EXECUTE FUNCTION bf_shout();
CREATE TRIGGER after_statement AFTER UPDATE ON bf_triggered EXECUTE FUNCTION bf_shout();
CREATE TRIGGER always AFTER UPDATE ON bf_triggered FOR EACH ROW EXECUTE FUNCTION bf_shout();
ALTER TABLE bf_triggered ENABLE ALWAYS TRIGGER always;
SELECT migrate.define('bf_triggered', 'bf_triggered', add => 'cents bigint', up => 'cents = price * 100',
	down => 'price = cents / 100', remove => '{price}');
SELECT migrate.expand('bf_triggered');
CALL migrate.run('bf_triggered');
SELECT * FROM bf_triggered ORDER BY id;

--
-- Row-level security, even forced on the owner, hides no row
--
CREATE TABLE bf_secret (id int PRIMARY KEY, a text);
INSERT INTO bf_secret SELECT i, 'x' || i FROM generate_series(1, 20) i;
ALTER TABLE bf_secret ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY few ON bf_secret USING (id <= 3);
SELECT migrate.define('bf_secret', 'bf_secret', add => 'b text', up => 'b = upper(a)', down => 'a = lower(b)', remove => '{a}');
SELECT migrate.expand('bf_secret');
CALL migrate.run('bf_secret');
ALTER TABLE bf_secret NO FORCE ROW LEVEL SECURITY;
SELECT count(*) FROM bf_secret WHERE row_version = 2 AND b = 'X' || id;

--
-- Partitions, with columns in another order, one attached midway
--
CREATE TABLE bf_parts (id int, a int) PARTITION BY RANGE (id);
CREATE TABLE bf_parts_1 PARTITION OF bf_parts FOR VALUES FROM (0) TO (100);
CREATE TABLE bf_parts_2 (gone int, a int, id int);
ALTER TABLE bf_parts_2 DROP COLUMN gone;
ALTER TABLE bf_parts ATTACH PARTITION bf_parts_2 FOR VALUES FROM (100) TO (200);
CREATE TABLE bf_parts_3 PARTITION OF bf_parts FOR VALUES FROM (200) TO (300) PARTITION BY RANGE (id);
CREATE TABLE bf_parts_31 PARTITION OF bf_parts_3 FOR VALUES FROM (200) TO (250);
INSERT INTO bf_parts SELECT i, i FROM generate_series(0, 249) i;
SELECT migrate.define('bf_parts', 'bf_parts', add => 'b int', up => 'b = a * 10', down => 'a = b / 10', remove => '{a}');
SELECT migrate.expand('bf_parts');
CALL migrate.run('bf_parts', max_rows => 30);
SELECT relation, blocks_done > 0 AS begun, rows_converted FROM migrate.progress WHERE migration = 'bf_parts';
CALL migrate.run('bf_parts_1');
CREATE TABLE bf_parts_32 (LIKE bf_parts_31 INCLUDING ALL EXCLUDING CONSTRAINTS);
ALTER TABLE bf_parts_32 ADD CONSTRAINT row_version_2 CHECK (row_version >= 2);
INSERT INTO bf_parts_32 (id, a, b, row_version) VALUES (260, 260, 2600, 2);
ALTER TABLE bf_parts_3 ATTACH PARTITION bf_parts_32 FOR VALUES FROM (250) TO (300);
UPDATE bf_parts_2 SET a = a;
ALTER TABLE bf_parts DETACH PARTITION bf_parts_2;
CALL migrate.run('bf_parts');
SELECT state FROM migrate.status WHERE name = 'bf_parts';
SELECT tableoid::regclass, count(*), bool_and(b = a * 10 AND row_version = 2) AS converted
	FROM bf_parts GROUP BY 1 ORDER BY 1;

--
-- VACUUM FULL, CLUSTER and TRUNCATE midway; noticed before the proof finds it
-- (with no time to wait, a run gives up where a proof fails)
--
SET migrate.lock_timeout = '1ms';
CREATE TABLE bf_moved (id int PRIMARY KEY, a text) WITH (autovacuum_enabled = off);
INSERT INTO bf_moved SELECT i, repeat('x', 500) || i FROM generate_series(1000, 1, -1) i;
SELECT migrate.define('bf_moved', 'bf_moved', add => 'b int', up => 'b = length(a)', down => $$a = repeat('x', b)$$, remove => '{a}');
SELECT migrate.expand('bf_moved');
CALL migrate.run('bf_moved', max_rows => 600);
VACUUM FULL bf_moved;
CALL migrate.run('bf_moved', max_rows => 100);
CLUSTER bf_moved USING bf_moved_pkey;
SELECT count(*) FROM bf_moved WHERE row_version < 2;
CALL migrate.run('bf_moved');
SELECT count(*) FROM bf_moved WHERE row_version < 2 OR b <> length(a);
SELECT state FROM migrate.status WHERE name = 'bf_moved';
CREATE TABLE bf_truncated (id int PRIMARY KEY, a text);
INSERT INTO bf_truncated SELECT i, 'x' FROM generate_series(1, 1000) i;
SELECT migrate.define('bf_truncated', 'bf_truncated', add => 'b int', up => 'b = length(a)', down => $$a = repeat('x', b)$$, remove => '{a}');
SELECT migrate.expand('bf_truncated');
CALL migrate.run('bf_truncated', max_rows => 100);
TRUNCATE bf_truncated;
INSERT INTO bf_truncated (id, a) VALUES (1, 'xx');
CALL migrate.run('bf_truncated');
SELECT id, b, row_version FROM bf_truncated;
RESET migrate.lock_timeout;

--
-- A row that fails is recorded, the rest goes on
--
CREATE TABLE bf_bad (id int PRIMARY KEY, a text);
INSERT INTO bf_bad SELECT i, CASE WHEN i IN (7, 150, 400) THEN 'bad' || i ELSE i::text END
	FROM generate_series(1, 400) i;
SELECT migrate.define('bf_bad', 'bf_bad', add => 'b int', up => 'b = a::int', down => 'a = b::text', remove => '{a}');
SELECT migrate.expand('bf_bad');
CALL migrate.run('bf_bad');
SELECT id, a, row_version FROM bf_bad WHERE row_version < 2 ORDER BY id;
SELECT relation, migration, row_key, sqlstate, message, attempts FROM migrate.failures ORDER BY row_key;
SELECT phase, percent, regexp_replace(last_error, '[0-9]+', 'N') AS last_error FROM migrate.progress WHERE migration = 'bf_bad';
SELECT state, failures FROM migrate.status WHERE name = 'bf_bad';
CALL migrate.run('bf_bad');			-- stays as it is
SELECT DISTINCT attempts FROM migrate.failures;
-- one is replaced, one is removed, one fails again
DELETE FROM bf_bad WHERE id IN (7, 150);
INSERT INTO bf_bad (id, a) VALUES (7, '7');
SELECT migrate.retry('bf_bad');
CALL migrate.run('bf_bad');
SELECT row_key, attempts FROM migrate.failures ORDER BY row_key;
DELETE FROM bf_bad WHERE id = 400;
SELECT migrate.retry('bf_bad');
CALL migrate.run('bf_bad');
SELECT count(*) FROM migrate.failures;
SELECT state FROM migrate.status WHERE name = 'bf_bad';
SELECT sum(b) = sum(id) AS agrees FROM bf_bad;
-- removed together with the blocks that they were in
CREATE TABLE bf_tail (id int PRIMARY KEY, a text);
INSERT INTO bf_tail SELECT i, 'bad' FROM generate_series(1, 3) i;
SELECT migrate.define('bf_tail', 'bf_tail', add => 'b int', up => 'b = a::int', down => 'a = b::text', remove => '{a}');
SELECT migrate.expand('bf_tail');
CALL migrate.run('bf_tail');
DELETE FROM bf_tail;
VACUUM bf_tail;
SELECT pg_relation_size('bf_tail');
SELECT migrate.retry('bf_tail');
CALL migrate.run('bf_tail');
SELECT state, failures FROM migrate.status WHERE name = 'bf_tail';

-- constraints and indexes on the new form count too
CREATE TABLE bf_checked (id int PRIMARY KEY, a int);
INSERT INTO bf_checked SELECT i, i FROM generate_series(1, 9) i;
SELECT migrate.define('bf_checked', 'bf_checked', add => 'b int, c int',
	up => 'b = nullif(a, 4), c = greatest(a, 2)', down => 'a = b', remove => '{a}');
SELECT migrate.expand('bf_checked');
ALTER TABLE bf_checked ADD CONSTRAINT bf_b CHECK (b IS NOT NULL AND b < 8) NOT VALID;
-- (the guard keeps such an index away while rows are stale)
RESET ROLE;
SET migrate.guard = off;
CREATE UNIQUE INDEX bf_c ON bf_checked (c);
RESET migrate.guard;
SET ROLE bf_owner;
CALL migrate.run('bf_checked');
SELECT row_key, sqlstate, message FROM migrate.failures WHERE relation = 'bf_checked'::regclass ORDER BY 1;
SELECT id, row_version FROM bf_checked ORDER BY id;

-- no primary key: the row is named by its place
CREATE TABLE bf_bad_keyless (a text);
INSERT INTO bf_bad_keyless VALUES ('1'), ('bad');
SELECT migrate.define('bf_bad_keyless', 'bf_bad_keyless', add => 'b int', up => 'b = a::int', down => 'a = b::text', remove => '{a}');
SELECT migrate.expand('bf_bad_keyless');
CALL migrate.run('bf_bad_keyless');
SELECT row_key, message FROM migrate.failures WHERE relation = 'bf_bad_keyless'::regclass;
-- the oldest failing migration of a chain is named
CREATE TABLE bf_chain (id int PRIMARY KEY, a text);
INSERT INTO bf_chain VALUES (1, '1'), (2, '0'), (3, 'x');
SELECT migrate.define('bf_chain_1', 'bf_chain', add => 'b int', up => 'b = a::int', down => 'a = b::text', remove => '{a}');
SELECT migrate.expand('bf_chain_1');
SELECT migrate.define('bf_chain_2', 'bf_chain', add => 'c int', up => 'c = 100 / b', down => 'b = 100 / c', remove => '{b}');
SELECT migrate.expand('bf_chain_2');
CALL migrate.run('bf_chain');
SELECT migration, row_key, message FROM migrate.failures WHERE relation = 'bf_chain'::regclass ORDER BY row_key;
DELETE FROM bf_chain WHERE id > 1;
INSERT INTO bf_chain (id, a) VALUES (4, '5');
SELECT migrate.retry('bf_chain');
CALL migrate.run('bf_chain');
SELECT name, state FROM migrate.status WHERE name LIKE 'bf_chain%';
SELECT id, a, b, c, row_version FROM bf_chain ORDER BY id;

-- whoever may not read the table does not see its failures
GRANT SELECT (id) ON bf_checked TO bf_other;
GRANT SELECT ON bf_bad_keyless TO bf_other;
SET ROLE bf_other;
SELECT relation, migration FROM migrate.failures;
SELECT count(last_error) FROM migrate.progress;
SELECT * FROM migrate.failure;
SELECT * FROM migrate.backfill;
SET ROLE bf_owner;

--
-- Foreign keys hold for what a conversion changes, deferred ones at once
--
CREATE TABLE bf_parent (code text PRIMARY KEY);
INSERT INTO bf_parent VALUES ('A'), ('B');
CREATE TABLE bf_child (id int PRIMARY KEY, a text);
INSERT INTO bf_child VALUES (1, 'a'), (2, 'b'), (3, 'c');
SELECT migrate.define('bf_child', 'bf_child', add => 'code text', up => 'code = upper(a)', down => 'a = lower(code)', remove => '{a}');
SELECT migrate.expand('bf_child');
ALTER TABLE bf_child ADD CONSTRAINT bf_code FOREIGN KEY (code) REFERENCES bf_parent
	DEFERRABLE INITIALLY DEFERRED NOT VALID;
CALL migrate.run('bf_child');
SELECT row_key, sqlstate FROM migrate.failures WHERE relation = 'bf_child'::regclass;
SELECT id, row_version FROM bf_child ORDER BY id;

--
-- What runs, runs as the owner, in a restricted operation
--
RESET ROLE;
CREATE TABLE bf.bf_whoami (id int PRIMARY KEY, a text);
INSERT INTO bf_whoami VALUES (1, 'x');
CREATE FUNCTION bf_user(text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF current_setting('search_path') <> 'pg_catalog, pg_temp' THEN
		RAISE EXCEPTION 'search_path is not pinned';
	END IF;
	RETURN current_user;
END$$;
ALTER TABLE bf_whoami OWNER TO bf_owner;
SET client_min_messages = warning;
SELECT migrate.define('bf_whoami', 'bf_whoami', add => 'b text', up => 'b = bf.bf_user(a)', down => 'a = b', remove => '{a}');
RESET client_min_messages;
SELECT migrate.expand('bf_whoami');
CALL migrate.run('bf_whoami');
SELECT b FROM bf_whoami;

--
-- The operator's own query holds it up, in a session too, until it says otherwise
--
CREATE TABLE bf.bf_asked (id int PRIMARY KEY, a int);
INSERT INTO bf_asked SELECT i, i FROM generate_series(1, 10) i;
ALTER TABLE bf_asked OWNER TO bf_owner;
SELECT migrate.define('bf_asked', 'bf_asked', add => 'b int', up => 'b = a');
SELECT migrate.expand('bf_asked');
SET migrate.throttle_query =
	$$SELECT throttled_by IS NULL AND current_user = 'bf_owner' FROM migrate.progress WHERE migration = 'bf_asked'$$;
SELECT clock_timestamp() AS begin \gset
CALL migrate.run('bf_asked');
SELECT clock_timestamp() > :'begin'::timestamptz + interval '0.9 s' AS held;
RESET migrate.throttle_query;

--
-- What was done of late fades, and adds up over heaps
--
SELECT round(migrate.fading(100, '0')), round(migrate.fading(100, '20 s')), round(migrate.fading(100, '-1 s')),
	migrate.fading(100, '1 h'), migrate.fading(1e-300, '1 s');
CREATE TABLE bf.bf_pace (id int, a int) PARTITION BY LIST (id);
CREATE TABLE bf.bf_pace_1 PARTITION OF bf_pace FOR VALUES IN (1);
CREATE TABLE bf.bf_pace_2 PARTITION OF bf_pace FOR VALUES IN (2);
INSERT INTO bf_pace SELECT 1 + i % 2, i FROM generate_series(1, 2000) i;
SELECT migrate.define('bf_pace', 'bf_pace', add => 'b int', up => 'b = a');
SELECT migrate.expand('bf_pace');
CALL migrate.run('bf_pace', max_rows => 300);
SELECT rows_per_second > 0 AS rate FROM migrate.progress WHERE migration = 'bf_pace';
UPDATE migrate.backfill SET rows_recent = 200000, blocks_recent = 20, blocks_total = 1000 + next_block,
		recent_at = clock_timestamp(), recent_from = clock_timestamp() - interval '10 min'
	WHERE root = 'bf_pace'::regclass;
SELECT round(rows_per_second, -3) AS rate, eta BETWEEN '15 min' AND '20 min' AS eta
	FROM migrate.progress WHERE migration = 'bf_pace';
UPDATE migrate.backfill SET recent_at = clock_timestamp() - interval '10 min' WHERE root = 'bf_pace'::regclass;
SELECT rows_per_second, eta FROM migrate.progress WHERE migration = 'bf_pace';

SET client_min_messages = warning;
SET migrate.guard = off;
DROP SCHEMA bf CASCADE;
DROP ROLE bf_owner, bf_other;
