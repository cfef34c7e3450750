--
-- Tables that the workers convert, under valgrind, with what a conversion can have:
-- a function of the user's, values kept apart from the row, a sub-query, partitions with
-- columns in another order, rows that fail at first, rows that are not worth converting.
-- A batch has 100 rows, by the pace: the time that one takes here says nothing.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
ALTER SYSTEM SET migrate.max_rows_per_second = 1000;
ALTER SYSTEM SET migrate.target_batch_time = '1min';
ALTER SYSTEM SET migrate.autostart = on;
SELECT FROM pg_reload_conf();

CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL);
INSERT INTO countries SELECT 'c' || i, 'country ' || i FROM generate_series(1, 20) i;
CREATE FUNCTION shout(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN upper($1); END$$;

CREATE TABLE people (id integer PRIMARY KEY, dropped integer, code text, bio text, born text);
ALTER TABLE people DROP COLUMN dropped;
ALTER TABLE people ALTER COLUMN bio SET STORAGE EXTERNAL;
INSERT INTO people SELECT i, 'c' || 1 + i % 20, repeat('b', i * 10), i::text FROM generate_series(1, 600) i;
UPDATE people SET born = 'unknown' WHERE id % 100 = 0;

CREATE TABLE orders (id integer, cents integer, primary key (id)) PARTITION BY RANGE (id);
CREATE TABLE orders1 PARTITION OF orders FOR VALUES FROM (0) TO (300);
CREATE TABLE orders2 (cents integer, gone text, id integer NOT NULL);
ALTER TABLE orders2 DROP COLUMN gone;
ALTER TABLE orders ATTACH PARTITION orders2 DEFAULT;
INSERT INTO orders SELECT i, i * 100 FROM generate_series(1, 600) i;

CREATE TABLE visits (id integer PRIMARY KEY, at text, page text);
CREATE TABLE old_visits (page text, at text, id integer PRIMARY KEY, archived_at timestamptz DEFAULT now());
ALTER TABLE visits ALTER COLUMN page SET STORAGE EXTERNAL;
INSERT INTO visits SELECT i, '2026-01-01', repeat('p', i * 10) FROM generate_series(1, 400) i;
SELECT FROM migrate.set_prune('visits', 'id % 3 = 0', 'old_visits');

SELECT FROM migrate.define('people', 'people',
	add => 'country text, biography text, birth integer',
	up => $$country = (SELECT name FROM countries c WHERE c.code = people.code),
		biography = shout(bio), birth = born::integer$$,
	down => $$code = (SELECT c.code FROM countries c WHERE c.name = country),
		bio = lower(biography), born = birth::text$$,
	remove => '{code,bio,born}');
SELECT FROM migrate.define('orders', 'orders', add => 'price numeric', up => 'price = cents / 100.0',
	down => 'cents = price * 100', remove => '{cents}');
SELECT FROM migrate.define('visits', 'visits', add => 'day date', up => 'day = at::date', down => 'at = day::text',
	remove => '{at}');
SELECT FROM migrate.expand('people');
SELECT FROM migrate.expand('orders');
SELECT FROM migrate.expand('visits');

-- Both releases write meanwhile.
UPDATE people SET bio = bio || 'x' WHERE id % 7 = 0 AND id % 100 <> 0;
UPDATE people SET biography = 'NEW' WHERE id % 11 = 0 AND id % 100 <> 0;
INSERT INTO orders (id, price) SELECT i, i FROM generate_series(1001, 1100) i;
INSERT INTO orders (id, cents) SELECT i, i FROM generate_series(1101, 1200) i;
DELETE FROM people WHERE id % 100 <> 0 AND id > 550;

DO $$
BEGIN
	WHILE (SELECT phase FROM migrate.progress WHERE migration = 'people') <> 'failed' LOOP
		PERFORM pg_sleep(0.1);
		COMMIT;
	END LOOP;
END$$;
UPDATE people SET born = '1' WHERE id % 100 = 0;
SELECT FROM migrate.retry('people');

\o /dev/null
SELECT migrate.wait('people', '1h');
SELECT migrate.wait('orders', '1h');
SELECT migrate.wait('visits', '1h');
\o
DO $$
BEGIN
	IF EXISTS (SELECT FROM migrate.progress) THEN
		RAISE 'the tables were not converted: %', (SELECT array_agg(p::text) FROM migrate.progress p);
	END IF;
	IF EXISTS (SELECT FROM people WHERE biography IS DISTINCT FROM upper(bio) OR birth::text IS DISTINCT FROM born)
		OR EXISTS (SELECT FROM orders WHERE price * 100 <> cents)
	THEN
		RAISE 'some rows are not right';
	END IF;
	IF (SELECT count(DISTINCT xmin::text) FROM orders WHERE id <= 600) < 6 THEN
		RAISE 'the rows were converted in fewer batches than 6';
	END IF;
	IF (SELECT count(*) FROM visits WHERE day IS NULL OR id % 3 = 0) > 0
		OR (SELECT count(*) FROM old_visits WHERE page = repeat('p', id * 10)) <> 133
	THEN
		RAISE 'the rows were not pruned';
	END IF;
END$$;
SELECT FROM migrate.contract('people', '1h', '{window,usage}');
SELECT FROM migrate.rollback('orders', true);
