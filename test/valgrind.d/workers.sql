--
-- Tables that the workers convert, under valgrind, with what a conversion can have:
-- a function of the user's, values kept apart from the row, a sub-query, partitions with
-- columns in another order, an index, rows that fail at first.
--
SET client_min_messages = warning;
CREATE EXTENSION migrate;

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

SELECT FROM migrate.define('people', 'people',
	add => 'country text, biography text, birth integer',
	up => $$country = (SELECT name FROM countries c WHERE c.code = people.code),
		biography = shout(bio), birth = born::integer$$,
	down => $$code = (SELECT c.code FROM countries c WHERE c.name = country),
		bio = lower(biography), born = birth::text$$,
	remove => '{code,bio,born}');
SELECT FROM migrate.define('orders', 'orders', add => 'price numeric', up => 'price = cents / 100.0',
	down => 'cents = price * 100', remove => '{cents}');
SELECT FROM migrate.expand('people');
SELECT FROM migrate.expand('orders');

-- Both releases write meanwhile.
UPDATE people SET bio = bio || 'x' WHERE id % 7 = 0 AND id % 100 <> 0;
UPDATE people SET biography = 'NEW' WHERE id % 11 = 0 AND id % 100 <> 0;
INSERT INTO orders (id, price) SELECT i, i FROM generate_series(1001, 1100) i;
INSERT INTO orders (id, cents) SELECT i, i FROM generate_series(1101, 1200) i;
DELETE FROM people WHERE id % 100 <> 0 AND id > 550;

DO $$
BEGIN
	WHILE (SELECT count(*) FROM migrate.failures WHERE relation = 'people'::regclass) < 6 LOOP
		PERFORM pg_sleep(0.1);
		COMMIT;
	END LOOP;
END$$;
UPDATE people SET born = '1' WHERE id % 100 = 0;
SELECT FROM migrate.retry('people');

DO $$
BEGIN
	IF NOT migrate.wait('people', '10min') OR NOT migrate.wait('orders', '10min') THEN
		RAISE 'the tables were not converted: %', (SELECT array_agg(p::text) FROM migrate.progress p);
	END IF;
	IF EXISTS (SELECT FROM people WHERE biography IS DISTINCT FROM upper(bio) OR birth::text IS DISTINCT FROM born)
		OR EXISTS (SELECT FROM orders WHERE price * 100 <> cents)
	THEN
		RAISE 'some rows are not right';
	END IF;
END$$;
SELECT FROM migrate.contract('people', '10min', '{window,usage}');
SELECT FROM migrate.rollback('orders', true);
