--
-- Tables of every kind that can be managed, as they are before a migration.
--
CREATE ROLE smith_owner LOGIN;
CREATE ROLE smith_user LOGIN;
CREATE SCHEMA smith AUTHORIZATION smith_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER ROLE smith_owner SET search_path = smith;
ALTER ROLE smith_user SET search_path = smith;
SET ROLE smith_owner;
SET search_path = smith;

CREATE TYPE place AS (street text, house integer);
CREATE DOMAIN percentage AS integer CHECK (VALUE BETWEEN 0 AND 100);
CREATE FUNCTION initials(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
	$$BEGIN RETURN left(split_part($1, ' ', 1), 1) || left(split_part($1, ' ', 2), 1); END$$;

CREATE TABLE people (id integer PRIMARY KEY, gone text, full_name text, email text, age integer, price integer,
	key text GENERATED ALWAYS AS (email || '/') STORED);
ALTER TABLE people DROP COLUMN gone;
INSERT INTO people SELECT i, CASE WHEN i % 5 > 0 THEN 'First' || i || ' Last' || i END,
	CASE WHEN i % 7 > 0 THEN 'Mail' || i END, i % 90, i * 10 FROM generate_series(1, 200) i;

CREATE TABLE orders (id integer, region integer, item text, amount integer, at timestamptz DEFAULT now(),
	PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE orders_north PARTITION OF orders FOR VALUES IN (1);
CREATE TABLE orders_south (gone integer, amount integer, item text, at timestamptz, region integer NOT NULL,
	id integer NOT NULL, gone2 text) PARTITION BY RANGE (id);
ALTER TABLE orders_south DROP COLUMN gone, DROP COLUMN gone2;
CREATE TABLE orders_south_old PARTITION OF orders_south FOR VALUES FROM (MINVALUE) TO (50);
CREATE TABLE orders_south_new (at timestamptz, id integer NOT NULL, region integer NOT NULL, item text, gone text, amount integer);
ALTER TABLE orders_south_new DROP COLUMN gone;
ALTER TABLE orders_south ATTACH PARTITION orders_south_new FOR VALUES FROM (50) TO (MAXVALUE);
ALTER TABLE orders ATTACH PARTITION orders_south FOR VALUES IN (2);
CREATE TABLE orders_rest PARTITION OF orders DEFAULT;
INSERT INTO orders SELECT i, i % 4, 'item ' || i % 9, i % 100 FROM generate_series(1, 200) i;

CREATE TABLE notes (id integer PRIMARY KEY, owner text, body text, level integer);
INSERT INTO notes SELECT i, CASE i % 3 WHEN 0 THEN 'smith_user' WHEN 1 THEN 'smith_owner' END, 'Body ' || i,
	i % 10 FROM generate_series(1, 100) i;

CREATE TABLE plain (id integer PRIMARY KEY, name text, n integer, flag boolean, at timestamptz, amount numeric, tags text[],
	doc jsonb, part integer REFERENCES people ON DELETE CASCADE);
INSERT INTO plain SELECT i, 'Name ' || i, i, i % 2 = 0, now(), i / 3.0, ARRAY['a', 'b' || i], jsonb_build_object('i', i), i
	FROM generate_series(1, 100) i;
RESET ROLE;
