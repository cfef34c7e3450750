-- Migrations that assign nothing: they leave rows as they are.
CREATE DATABASE regress_migrate_unneeded;
\c regress_migrate_unneeded
CREATE EXTENSION migrate;
CREATE TABLE items (id int PRIMARY KEY, name text, old_note text, code text);
INSERT INTO items SELECT g, 'Name ' || g, 'note', 'C' || g FROM generate_series(1, 3) g;
SELECT migrate.manage('items');
CREATE TABLE untouched AS SELECT id, ctid::text AS place, xmin::text AS writer FROM items;

-- New columns without a value, a removal, and a merge of both.
SELECT migrate.define('notes', 'items', depends_on => '{}', add => 'note text, seen timestamptz DEFAULT now(), tag text UNIQUE');
SELECT migrate.define('names', 'items', depends_on => '{}', remove => '{old_note}');
SELECT migrate.define('both', 'items', depends_on => '{notes, names}');
-- The same again is the same, and a "needed" of its own has nothing to say.
SELECT migrate.define('both', 'items', depends_on => '{notes, names}');
SELECT migrate.define('x', 'items', remove => '{code}', needed => 'id > 1');
SELECT migrate.expand('notes'), migrate.expand('names'), migrate.expand('both');

-- Stale rows read as they are stored.
EXPLAIN (VERBOSE, COSTS OFF) SELECT note, seen, tag FROM items;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
 WHERE conrelid = 'items'::regclass AND contype = 'c' ORDER BY conname;
CALL migrate.run('items');
SELECT name, state FROM migrate.status ORDER BY version;
SELECT count(*) AS touched FROM items JOIN untouched USING (id)
 WHERE items.ctid::text <> place OR items.xmin::text <> writer;
SELECT id, note, seen, row_version FROM items ORDER BY id;
-- What is written has the newest version as ever.
UPDATE items SET note = 'new' WHERE id = 1;
INSERT INTO items (id, name, old_note) VALUES (4, 'Name 4', 'note');
SELECT id, note, seen IS NOT NULL AS seen, row_version FROM items ORDER BY id;

-- A trigger that is missing is noticed still.
\set VERBOSITY terse
SET migrate.guard = off;
ALTER TABLE items DISABLE TRIGGER USER;
INSERT INTO items (id, note) VALUES (5, 'marked');
INSERT INTO items (id) VALUES (5);
ALTER TABLE items ENABLE ALWAYS TRIGGER "!migrate", ENABLE ALWAYS TRIGGER "~migrate";
RESET migrate.guard;
\set VERBOSITY default

-- To contract one does not end the support of older versions.
SELECT migrate.contract('both'), migrate.contract('names', skip => '{window,usage}'), migrate.contract('notes');
SELECT version, floor FROM migrate.managed;
-- Later ones upgrade the rows from the version that they carry, and end it.
SELECT migrate.define('upper', 'items', add => 'upper_name text', up => 'upper_name = upper(name)');
SELECT migrate.expand('upper');
INSERT INTO items (id, name, note, row_version) VALUES (5, 'Name 5', 'from a dump', 1);
SELECT id, note, upper_name, row_version FROM items ORDER BY id;
-- In a chain rows are moved once, for those that need it.
SELECT migrate.define('last', 'items', add => 'last text');
SELECT migrate.expand('last');
CALL migrate.run('items');
SELECT id, upper_name, row_version FROM items ORDER BY id;
SELECT name, state FROM migrate.status ORDER BY version;
SELECT migrate.contract('last'), migrate.contract('upper');
SELECT version, floor FROM migrate.managed;
SELECT migrate.define('codes', 'items', remove => '{code}');
SELECT migrate.expand('codes');
INSERT INTO items (id, row_version) VALUES (6, 4);

-- Above one that defers its writes.
CREATE TABLE parts (id int PRIMARY KEY, size text);
INSERT INTO parts VALUES (1, '10');
SELECT migrate.define('sizes', 'parts', add => 'n int', up => 'n = size::int', on_error => 'defer');
SELECT migrate.define('colours', 'parts', add => 'colour text');
SELECT migrate.expand('sizes'), migrate.expand('colours');
INSERT INTO parts (id, size) VALUES (2, 'big');
CALL migrate.run('parts');
UPDATE parts SET size = '20' WHERE id = 2;
SELECT migrate.retry('parts');
CALL migrate.run('parts');
SELECT id, n, colour, row_version FROM parts ORDER BY id;
SELECT name, state FROM migrate.status WHERE relation = 'parts'::regclass ORDER BY version;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
 WHERE conrelid = 'parts'::regclass AND contype = 'c' ORDER BY conname;
-- What a client of the new form wrote there counts when it is rolled back.
UPDATE parts SET colour = 'red' WHERE id = 1;
SELECT migrate.rollback('colours');
SELECT migrate.rollback('colours', discard => true);

-- A CHECK that rows of the old form break, though nothing touches them.
CREATE TABLE orders (id int PRIMARY KEY);
INSERT INTO orders VALUES (1), (2);
SELECT migrate.define('shipped', 'orders', add => 'shipped text CHECK (shipped IS NOT NULL)');
SELECT migrate.expand('shipped');
CALL migrate.run('orders');
SELECT row_key, sqlstate, message FROM migrate.failures ORDER BY row_key;
UPDATE orders SET shipped = 'no';
SELECT migrate.retry('orders');
CALL migrate.run('orders');
SELECT name, state FROM migrate.status WHERE relation = 'orders'::regclass;

-- A domain that wants a value.
CREATE DOMAIN filled AS text NOT NULL;
SELECT migrate.define('filled', 'orders', add => 'filled filled');
SELECT migrate.define('filled', 'orders', add => 'filled filled', up => 'filled = id::text');

-- Partitions, one of them a copy whose rows do not say their version.
CREATE TABLE events (id int, day int) PARTITION BY RANGE (day);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
INSERT INTO events VALUES (1, 1);
SELECT migrate.define('places', 'events', add => 'place text');
SELECT migrate.expand('places');
CREATE TABLE events_2 (LIKE events INCLUDING DEFAULTS);
INSERT INTO events_2 VALUES (2, 11);
ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM (10) TO (20);
CALL migrate.run('events');
SELECT tableoid::regclass, id, place, row_version FROM events ORDER BY id;
SELECT name, state FROM migrate.status WHERE relation = 'events'::regclass;
CREATE TABLE events_3 (id int, day int);
INSERT INTO events_3 VALUES (3, 21);
ALTER TABLE events ATTACH PARTITION events_3 FOR VALUES FROM (20) TO (30);
SELECT tableoid::regclass, id, place, row_version FROM events ORDER BY id;
SELECT migrate.contract('places');

\c contrib_regression
DROP DATABASE regress_migrate_unneeded;
