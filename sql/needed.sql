--
-- "needed": a migration that has to do with some of the rows only.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE SCHEMA needed;
SET search_path = needed;

CREATE TABLE items (id integer PRIMARY KEY, kind text, size text, note text);
INSERT INTO items SELECT i, CASE i % 3 WHEN 0 THEN 'box' WHEN 1 THEN 'bag' END, i || ' cm'
	FROM unnest('{1,2,3,4,5,6,9,18}'::integer[]) i;

--
-- define
--
CREATE FUNCTION is_box(text) RETURNS boolean IMMUTABLE LANGUAGE sql RETURN $1 = 'box';
\set def 'SELECT migrate.define(''needed_bad'', ''items'', add => ''width integer'', up => $$width = split_part(size, '' '', 1)::integer$$, needed => '
:def 'kind');
\echo :LAST_ERROR_SQLSTATE
:def 'kind = box');
\echo :LAST_ERROR_SQLSTATE
:def 'width > 0');
\echo :LAST_ERROR_SQLSTATE
:def 'is_box(kind)');
\echo :LAST_ERROR_SQLSTATE
:def 'random() < 0.5');
\echo :LAST_ERROR_SQLSTATE
:def $$kind <> current_user$$);
\echo :LAST_ERROR_SQLSTATE
:def 'id < (SELECT max(id) FROM items)');
\echo :LAST_ERROR_SQLSTATE
:def 'count(*) > 1');
\echo :LAST_ERROR_SQLSTATE
:def 'true; DROP TABLE items');
\echo :LAST_ERROR_SQLSTATE
:def 'true ORDER BY 1');
\echo :LAST_ERROR_SQLSTATE
:def '');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('needed_bad', 'items', add => 'width integer', needed => 'true');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('needed_bad', 'items', add => 'width integer',
	up => 'width = length(size), kind = upper(kind)', needed => $$kind <> upper(kind)$$);
\echo :LAST_ERROR_SQLSTATE
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
SELECT migrate.define('needed_bad', 'items', add => 'width positive', up => 'width = 1', needed => 'id > 1');
\echo :LAST_ERROR_SQLSTATE

SELECT migrate.define('needed_width', 'items', add => 'width integer',
	up => $$width = split_part(size, ' ', 1)::integer$$, down => $$size = width || ' cm'$$,
	needed => $$kind IN ('box', 'crate')$$, remove => '{size}');
-- the same in other words, and another
SELECT migrate.define('needed_width', 'items', add => 'width integer',
	up => $$width = split_part(size, ' ', 1)::integer$$, down => $$size = width || ' cm'$$,
	needed => $$items.kind = ANY ('{box,crate}')$$, remove => '{size}');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('needed_width', 'items', add => 'width integer',
	up => $$width = split_part(size, ' ', 1)::integer$$, down => $$size = width || ' cm'$$,
	needed => $$(items.kind IN ('box', 'crate'))$$, remove => '{size}');
SELECT rows_checked, rows_failed, round_trip_failures FROM migrate.dry_run('needed_width');
SELECT migrate.expand('needed_width');
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
	WHERE conrelid = 'items'::regclass AND contype = 'c';

--
-- reads: three-valued, and NULL beyond an outer join
--
SELECT * FROM items ORDER BY id;
EXPLAIN (VERBOSE, COSTS OFF) SELECT width FROM items;
SELECT v.id, i.width FROM (VALUES (3), (4), (7)) v (id) LEFT JOIN items i USING (id) ORDER BY 1;

--
-- writes: stamped as ever, computed where it is needed
--
INSERT INTO items (id, kind, size) VALUES (11, 'box', '11 cm'), (12, 'bag', '12 cm'), (13, NULL, 'large');
INSERT INTO items (id, kind, width) VALUES (14, 'box', 14), (15, 'bag', 15);
-- stale rows
UPDATE items SET note = 'n' WHERE id IN (1, 3);
UPDATE items SET size = '60 cm' WHERE id = 6;
UPDATE items SET width = 40 WHERE id = 4;
-- a row that comes to need it: what is not there is computed
UPDATE items SET kind = 'box' WHERE id = 12;
-- rows that do so no more: by another column, and by a write of the old form
UPDATE items SET kind = 'bag' WHERE id = 11;
UPDATE items SET kind = NULL, size = 'gone' WHERE id = 14;
-- and stale ones
UPDATE items SET kind = 'box' WHERE id = 2;
UPDATE items SET kind = 'bag', size = size WHERE id = 9;
UPDATE items SET kind = 'bag', size = 'gone' WHERE id = 18;
-- what a client of the new form put into a row that is not in need stays there
UPDATE items SET kind = 'sack' WHERE id = 15;
UPDATE items SET kind = 'box' WHERE id = 15;
UPDATE items SET size = 'large' WHERE id = 13;
COPY items TO STDOUT;

--
-- the backfill leaves alone what is not in need: neither moved, nor logged
--
CREATE TABLE big (id integer PRIMARY KEY, email text) WITH (autovacuum_enabled = off);
INSERT INTO big SELECT i, CASE WHEN i % 1000 = 0 THEN 'User' ELSE 'user' END || i || repeat('x', 100)
	FROM generate_series(1, 20000) i;
CREATE TABLE big_before AS SELECT id, ctid AS was FROM big;
SELECT migrate.define('needed_lower', 'big', up => 'email = lower(email)', needed => 'email <> lower(email)');
SELECT migrate.expand('needed_lower');
SELECT count(*) FROM big WHERE email <> lower(email);
SELECT pg_current_wal_insert_lsn() AS lsn \gset
CALL migrate.run('big');
-- 20 rows of 20000: far less than a page each
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), :'lsn') < 500000 AS little_wal;
SELECT count(*) FILTER (WHERE b.ctid <> was) AS moved, count(*) FILTER (WHERE row_version = 1) AS left_alone,
	count(*) FILTER (WHERE email <> lower(email)) AS wrong FROM big b JOIN big_before USING (id);
SELECT name, state FROM migrate.status WHERE name = 'needed_lower';
EXPLAIN (VERBOSE, COSTS OFF) SELECT email FROM big;
-- in a complete one, rows of the old version are written like any
UPDATE big SET email = 'USER1' WHERE id = 1 RETURNING email, row_version;
-- while the proof holds those to it that would bypass the trigger
SET migrate.guard = off;
ALTER TABLE big DISABLE TRIGGER ALL;
UPDATE big SET email = 'USER2' WHERE id = 2;
\echo :LAST_ERROR_SQLSTATE
UPDATE big SET email = 'user two' WHERE id = 2 RETURNING email, row_version;
ALTER TABLE big ENABLE ALWAYS TRIGGER "!migrate";
RESET migrate.guard;

--
-- contract, and what comes after: old versions stay, and are upgraded by the next
--
CALL migrate.run('items');
COPY items TO STDOUT;
SELECT * FROM migrate.check_contract('needed_width') WHERE NOT ok;
SELECT migrate.contract('needed_width', skip => '{window,usage}');
SELECT migrate.contract('needed_lower', skip => '{window,usage}');
SELECT relation, version, floor FROM migrate.managed WHERE relation IN ('big'::regclass, 'items'::regclass) ORDER BY 1;
SELECT id, kind, width, row_version FROM items ORDER BY id;
UPDATE items SET note = 'after' WHERE id = 5 RETURNING *;
SELECT migrate.define('needed_next', 'items', add => 'label text',
	up => $$label = coalesce(kind, '?') || coalesce(width, 0)$$);
SELECT migrate.expand('needed_next');
-- a row that comes from elsewhere, in a version that others still have
INSERT INTO items (id, kind, width, row_version) VALUES (21, 'bag', NULL, 1);
SELECT id, kind, width, label, row_version FROM items ORDER BY id;
CALL migrate.run('items');
SELECT migrate.contract('needed_next', skip => '{window,usage}');
SELECT relation, version, floor FROM migrate.managed WHERE relation = 'items'::regclass;
SELECT id, kind, width, label, row_version FROM items ORDER BY id;

--
-- in a chain: judged on the row's form one level below
--
CREATE TABLE chain (id integer PRIMARY KEY, a text, b text, other text);
INSERT INTO chain SELECT i, CASE WHEN i % 2 = 0 THEN 'A' ELSE 'a' END || i, 'B' || i, 'o' FROM generate_series(1, 8) i;
SELECT migrate.define('needed_one', 'chain', up => 'a = lower(a)', needed => 'a <> lower(a)');
SELECT migrate.define('needed_two', 'chain', add => 'c text', up => $$c = a || '/' || b$$,
	down => $$a = split_part(c, '/', 1)$$, needed => $$a = lower(a) AND a > 'a4'$$);
SELECT migrate.define('needed_three', 'chain', up => 'other = upper(other)', needed => 'id > 7');
SELECT migrate.expand('needed_one');
UPDATE chain SET b = 'x' WHERE id = 7;
SELECT migrate.expand('needed_two');
SELECT migrate.expand('needed_three');
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
	WHERE conrelid = 'chain'::regclass AND contype = 'c' ORDER BY 1;
COPY chain TO STDOUT;
SELECT id, a, b, c, other, row_version FROM chain ORDER BY id;
UPDATE chain SET c = 'NEW/c' WHERE id = 1;
UPDATE chain SET a = 'Z9' WHERE id = 3;
COPY chain (id, a, b, c, other) TO STDOUT;
CALL migrate.run('chain');
SELECT name, state FROM migrate.status WHERE name IN ('needed_one', 'needed_two', 'needed_three');
SELECT id, a, b, c, other, row_version FROM chain ORDER BY id;

--
-- partitions, with columns at other places
--
CREATE TABLE parted (part integer, kind text, a text) PARTITION BY LIST (part);
CREATE TABLE parted_1 (dropped text, a text, kind text, part integer);
ALTER TABLE parted_1 DROP COLUMN dropped;
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
INSERT INTO parted VALUES (1, 'x', 'one'), (1, 'y', 'one'), (2, 'x', 'two'), (2, NULL, 'two');
SELECT migrate.define('needed_parted', 'parted', add => 'b text', up => 'b = upper(a)', down => 'a = lower(b)',
	needed => $$kind = 'x'$$, remove => '{a}');
SELECT migrate.expand('needed_parted');
INSERT INTO parted VALUES (1, 'x', 'new'), (2, 'y', 'new');
SELECT tableoid::regclass, part, kind, a, b, row_version FROM parted ORDER BY part, kind, a;
UPDATE parted SET kind = 'x' WHERE kind = 'y' AND a = 'one';
UPDATE parted SET part = 3 - part WHERE a = 'two';
CALL migrate.run('parted');
SELECT tableoid::regclass, part, kind, a, b, row_version FROM parted ORDER BY part, kind, a;
SELECT migrate.contract('needed_parted', skip => '{window,usage}');

-- where "needed" reads what is removed the proof names that, and goes with it
CREATE TABLE leaving (id integer PRIMARY KEY, a text);
INSERT INTO leaving VALUES (1, 'x'), (2, NULL);
SELECT migrate.define('needed_leaving', 'leaving', add => 'b text', up => 'b = upper(a)', down => 'a = lower(b)',
	needed => 'a IS NOT NULL', remove => '{a}');
SELECT count(*) FILTER (WHERE check_name = 'objects' AND NOT ok) FROM migrate.check_contract('needed_leaving');
SELECT migrate.expand('needed_leaving');
CALL migrate.run('leaving');
SELECT check_name, detail FROM migrate.check_contract('needed_leaving') WHERE NOT ok;
-- nor does the proof of one that follows, and reads what comes, hold it back
SELECT migrate.define('needed_arrived', 'leaving', up => 'b = lower(b)', needed => 'b IS NOT NULL');
SELECT migrate.expand('needed_arrived');
SELECT check_name, detail FROM migrate.check_contract('needed_leaving') WHERE NOT ok;
SELECT migrate.rollback('needed_arrived', discard => true);
SELECT migrate.forget('needed_arrived');
SELECT migrate.contract('needed_leaving', skip => '{window,usage}');
SELECT * FROM leaving ORDER BY id;

--
-- rollback counts what was written to rows that need nothing
--
CREATE TABLE back (id integer PRIMARY KEY, a integer);
INSERT INTO back VALUES (1, 1), (2, -2), (3, -3);
SELECT migrate.define('needed_back', 'back', add => 'b integer', up => 'b = a + 1', needed => 'a > 0');
SELECT migrate.expand('needed_back');
UPDATE back SET a = a;
UPDATE back SET b = 5 WHERE id = 3;
SELECT migrate.rollback('needed_back');
\echo :LAST_ERROR_SQLSTATE
UPDATE back SET b = NULL WHERE id = 3;
SELECT migrate.rollback('needed_back');
SELECT name, needed_from, proof FROM migrate.migration WHERE name = 'needed_back';

--
-- a predicate that fails, fails its row; a client can mend it
--
CREATE TABLE broken (id integer PRIMARY KEY, n integer);
INSERT INTO broken VALUES (1, 1), (2, 0), (3, -3);
SELECT migrate.define('needed_broken', 'broken', add => 'm integer', up => 'm = n', needed => '1 / n > 0');
SELECT migrate.expand('needed_broken');
CALL migrate.run('broken');
SELECT row_key, message FROM migrate.failures WHERE migration = 'needed_broken';
UPDATE broken SET n = 2 WHERE id = 2;
SELECT migrate.retry('broken');
CALL migrate.run('broken');
SELECT state FROM migrate.status WHERE name = 'needed_broken';

-- A generated column is judged by who reads: nobody else's code may hide in it.
CREATE FUNCTION hidden(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT upper($1) $$;
CREATE TABLE hiding (id integer PRIMARY KEY, a text,
	h text GENERATED ALWAYS AS (hidden(a)) STORED, l text GENERATED ALWAYS AS (lower(a)) STORED);
INSERT INTO hiding (id, a) VALUES (1, 'X'), (2, 'Y');
SELECT migrate.define('needed_hiding', 'hiding', add => 'b text', up => 'b = a', needed => 'h = ''X''');
SELECT migrate.define('needed_hiding', 'hiding', add => 'b text', up => 'b = a', needed => 'l = ''x''');
SELECT migrate.expand('needed_hiding');
SELECT id, b FROM hiding ORDER BY id;

-- The proof is known again by whatever names are quoted in the session that looks for it.
CREATE TABLE quoted (id integer PRIMARY KEY, a text);
INSERT INTO quoted VALUES (1, 'x'), (2, NULL);
SELECT migrate.define('needed_quoted', 'quoted', add => 'b text', up => 'b = upper(a)', needed => 'a IS NOT NULL');
SET quote_all_identifiers = on;
SELECT migrate.expand('needed_quoted');
RESET quote_all_identifiers;
CALL migrate.run('quoted', 1);
SET quote_all_identifiers = on;
CALL migrate.run('quoted');
RESET quote_all_identifiers;
SELECT state FROM migrate.status WHERE name = 'needed_quoted';

SET client_min_messages = error;
SELECT count(migrate.rollback(name, discard => true)) FROM (SELECT name FROM migrate.migration
	WHERE name LIKE 'needed%' AND state IN ('expanded', 'complete') ORDER BY seq DESC) m;
SELECT count(migrate.forget(name)) FROM (SELECT name FROM migrate.migration
	WHERE name LIKE 'needed%' AND state <> 'contracted' ORDER BY seq DESC) m;
DROP SCHEMA needed CASCADE;
