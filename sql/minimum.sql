-- What a release in support cannot represent is not written.
CREATE DATABASE regress_migrate_minimum;
\c regress_migrate_minimum
CREATE EXTENSION migrate;
CREATE TABLE people (id int PRIMARY KEY, full_name text, price int, note text);
INSERT INTO people SELECT g, 'A' || g || ' B', g, 'n' FROM generate_series(1, 4) g;
SELECT migrate.define('names', 'people', add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}');
SELECT migrate.define('price', 'people', add => 'price numeric', up => 'price = old.price', down => 'price = new.price');
SELECT migrate.expand('names'), migrate.expand('price');

-- Nobody has promised anything to old clients before there is a release that lacks it.
INSERT INTO people (id, first_name, last_name) VALUES (10, 'Mary Ann', 'S') RETURNING full_name;
SELECT migrate.create_release('all');
UPDATE people SET last_name = 'T' WHERE id = 10 RETURNING full_name;
SELECT migrate.create_release('old', '{}'), migrate.create_release('older', '{}'), migrate.create_release('between', '{names}');
UPDATE people SET last_name = 'U' WHERE id = 10;
INSERT INTO people (id, first_name, last_name) VALUES (11, 'Mary Ann', 'S');
INSERT INTO people (id, first_name) VALUES (11, 'Mary');
INSERT INTO people (id, first_name, last_name) VALUES (11, 'Mary', 'S') RETURNING full_name;
INSERT INTO people (id, first_name) VALUES (12, NULL) RETURNING full_name;

-- What it says: the place, and the row to whom may see it.
\set SHOW_CONTEXT always
DO $$
DECLARE
	state text; schema_name text; table_name text; column_name text; context text;
BEGIN
	UPDATE people SET first_name = 'A B' WHERE id = 1;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, schema_name = SCHEMA_NAME, table_name = TABLE_NAME,
		column_name = COLUMN_NAME, context = PG_EXCEPTION_CONTEXT;
	RAISE NOTICE '% %.%.% / %', state, schema_name, table_name, column_name, split_part(context, E'\n', 1);
END $$;
\set SHOW_CONTEXT errors

-- Values are compared by their bytes.
UPDATE people SET price_new = 5.5 WHERE id = 1;
UPDATE people SET price_new = 5.00 WHERE id = 1;
UPDATE people SET price_new = 5 WHERE id = 1 RETURNING price;

-- Old clients are never refused, nor what a write does not touch; both forms: the new one counts.
UPDATE people SET full_name = 'X Y Z' WHERE id = 2 RETURNING first_name, last_name;
UPDATE people SET note = 'm' WHERE id = 10 RETURNING first_name, last_name;
UPDATE people SET price_new = 7 WHERE id = 10 RETURNING price, first_name;
UPDATE people SET full_name = 'X Y', first_name = 'P', last_name = 'Q' WHERE id = 2 RETURNING full_name;
UPDATE people SET full_name = 'X Y', first_name = 'P P' WHERE id = 2;
UPDATE people SET first_name = 'Mary Ann', last_name = 'T' WHERE id = 10 RETURNING full_name;

-- By every way to write; stale rows as well.
INSERT INTO people (id, first_name, last_name) VALUES (3, 'New', 'Name')
	ON CONFLICT (id) DO UPDATE SET first_name = EXCLUDED.first_name || ' II';
INSERT INTO people (id, first_name, last_name) VALUES (3, 'New', 'Name')
	ON CONFLICT (id) DO UPDATE SET first_name = EXCLUDED.first_name RETURNING full_name;
MERGE INTO people p USING (VALUES (4, 'M N')) v (id, name) ON p.id = v.id
	WHEN MATCHED THEN UPDATE SET first_name = v.name;
MERGE INTO people p USING (VALUES (4, 'M')) v (id, name) ON p.id = v.id
	WHEN MATCHED THEN UPDATE SET first_name = v.name;
COPY people (id, first_name, last_name) FROM stdin;
20	C D	E
\.
COPY people (id, first_name, last_name) FROM stdin;
20	C	E
\.
SELECT id, full_name, first_name, last_name FROM people WHERE id IN (4, 20) ORDER BY id;
-- A row that says its version is taken at its word, and so is what replication applies.
INSERT INTO people (id, full_name, first_name, last_name, price, price_new, row_version) VALUES (30, 'R S T', 'R S', 'T', 1, 1.0, 3);
SET session_replication_role = replica;
UPDATE people SET first_name = 'U V' WHERE id = 30 RETURNING full_name;
RESET session_replication_role;

-- A session that is pinned to a release between is held to the older ones.
SET migrate.release = 'between';
UPDATE people SET first_name = 'A B' WHERE id = 4;
UPDATE people SET first_name = 'AB' WHERE id = 4 RETURNING last_name;
INSERT INTO people (id, price) VALUES (31, 1) RETURNING first_name;
RESET migrate.release;

-- Retired, a release holds up nothing; the next one does.
SELECT migrate.retire_release('old');
UPDATE people SET first_name = 'A B' WHERE id = 4;
SELECT migrate.retire_release('older');
UPDATE people SET first_name = 'A B' WHERE id = 4 RETURNING full_name;
UPDATE people SET price_new = 5.5 WHERE id = 4;
SELECT migrate.retire_release('between');
UPDATE people SET price_new = 5.5 WHERE id = 4 RETURNING price;
-- What was there before a release came is left; a write to it is not.
SELECT migrate.create_release('late', '{}');
UPDATE people SET note = 'k' WHERE id = 4 RETURNING full_name, first_name;
UPDATE people SET last_name = 'k' WHERE id = 4;
BEGIN;
SELECT migrate.retire_release('late');
UPDATE people SET last_name = 'k' WHERE id = 4 RETURNING full_name;
ROLLBACK;
UPDATE people SET last_name = 'k' WHERE id = 4;

-- The table's own triggers: what they make of a row counts.
CREATE FUNCTION one_word() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.note = 'split' THEN NEW.first_name := 'T U'; END IF;
	IF NEW.note = 'old' THEN NEW.full_name := 'Old One'; END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER one_word BEFORE INSERT OR UPDATE ON people FOR EACH ROW EXECUTE FUNCTION one_word();
UPDATE people SET note = 'split' WHERE id = 1;
UPDATE people SET note = 'old', first_name = 'Z' WHERE id = 1 RETURNING full_name, first_name;
DROP TRIGGER one_word ON people;
SELECT migrate.retire_release('all'), migrate.retire_release('late');

-- A chain: each step down is judged, and the step named at which it is lost.
CREATE TABLE chain (id int PRIMARY KEY, a text);
SELECT migrate.define('b', 'chain', add => 'b text', up => 'b = lower(a)', down => 'a = b', remove => '{a}');
SELECT migrate.define('c', 'chain', add => 'c text', up => 'c = left(b, 3)', down => 'b = c', remove => '{b}');
SELECT migrate.create_release('a', '{}');
SELECT migrate.expand('b'), migrate.expand('c');
SELECT migrate.create_release('b', '{b}');
INSERT INTO chain (id, c) VALUES (1, 'xyz') RETURNING *;
INSERT INTO chain (id, c) VALUES (2, 'wxyz');
INSERT INTO chain (id, c) VALUES (2, 'XYZ');
INSERT INTO chain (id, b) VALUES (2, 'XYZ');
INSERT INTO chain (id, b) VALUES (2, 'wxyz') RETURNING *;
INSERT INTO chain (id, a) VALUES (3, 'WXYZ') RETURNING *;
SELECT migrate.retire_release('a');
INSERT INTO chain (id, c) VALUES (4, 'XYZ') RETURNING *;
INSERT INTO chain (id, c) VALUES (5, 'WXYZ');
-- A rewriting in place of what the old form is made of counts.
SELECT migrate.define('plain', 'chain', up => 'a = lower(a)');
SELECT migrate.expand('plain'), migrate.create_release('ab', '{}');
INSERT INTO chain (id, c) VALUES (5, 'XYZ');
INSERT INTO chain (id, c) VALUES (5, 'xyz') RETURNING *;
INSERT INTO chain (id, a) VALUES (6, 'XYZ') RETURNING *;

-- "needed": a row whose old form does not need it is understood as it is.
SELECT migrate.retire_release('b'), migrate.retire_release('ab');
CREATE TABLE mails (id int PRIMARY KEY, mail text);
INSERT INTO mails VALUES (1, 'Ann@X'), (2, 'bob@x');
SELECT migrate.define('folded', 'mails', add => 'folded text', up => 'folded = lower(mail)',
	down => 'mail = folded', needed => 'mail <> lower(mail)');
SELECT migrate.expand('folded'), migrate.create_release('mails', '{}');
INSERT INTO mails (id, folded) VALUES (3, 'cid@x') RETURNING *;
INSERT INTO mails (id, folded) VALUES (4, 'Cid@X');
UPDATE mails SET folded = 'dan@x' WHERE id = 1 RETURNING *;
UPDATE mails SET folded = 'Dan@x' WHERE id = 2;
UPDATE mails SET mail = 'Dan@x' WHERE id = 2 RETURNING *;

-- No down; columns beside the old form; what up cannot take back.
SELECT migrate.retire_release('mails');
CREATE TABLE extras (id int PRIMARY KEY, mail text, size int);
SELECT migrate.define('extras', 'extras', add => $$host text, nick text, kind text DEFAULT 'new', half int$$,
	up => $$host = split_part(mail, '@', 2), half = 100 / size$$, down => 'size = half');
SELECT migrate.expand('extras'), migrate.create_release('extras', '{}');
INSERT INTO extras (id, mail, size) VALUES (1, 'a@b', 5) RETURNING *;
INSERT INTO extras (id, mail, nick) VALUES (2, 'a@b', 'n');
INSERT INTO extras (id, mail, nick, host) VALUES (2, 'a@b', 'n', 'b') RETURNING *;
INSERT INTO extras (id, mail, host) VALUES (3, 'a@b', 'c');
UPDATE extras SET nick = 'm', kind = 'l' WHERE id = 1 RETURNING *;
UPDATE extras SET host = 'c' WHERE id = 1;
UPDATE extras SET host = 'c', mail = 'd@c' WHERE id = 1 RETURNING *;
UPDATE extras SET half = 10 WHERE id = 1 RETURNING size;
UPDATE extras SET half = 0 WHERE id = 1;

-- Deferred writes, sub-queries and functions of the owner, partitions with other columns.
SELECT migrate.retire_release('extras');
CREATE TABLE codes (code text PRIMARY KEY, name text);
INSERT INTO codes VALUES ('de', 'Germany'), ('fr', 'France');
CREATE FUNCTION known(text) RETURNS text STABLE LANGUAGE plpgsql AS $$
BEGIN
	IF $1 = 'xx' THEN RAISE 'no such code: %', $1; END IF;
	RETURN lower($1);
END $$;
CREATE TABLE orders (id int, gone int, code text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE orders1 PARTITION OF orders FOR VALUES FROM (0) TO (10);
CREATE TABLE orders2 (code text, id int NOT NULL);
ALTER TABLE orders DROP COLUMN gone;
ALTER TABLE orders ATTACH PARTITION orders2 FOR VALUES FROM (10) TO (20);
SELECT migrate.define('country', 'orders', add => 'country text',
	up => 'country = (SELECT name FROM codes WHERE codes.code = orders.code)',
	down => 'code = (SELECT code FROM codes WHERE codes.name = country)');
SELECT migrate.define('checked', 'orders', add => 'checked text', up => 'checked = known(code)', down => 'code = checked',
	on_error => 'defer');
SELECT migrate.expand('country'), migrate.expand('checked');
SELECT migrate.create_release('orders', '{}');
INSERT INTO orders (id, country) VALUES (1, 'Germany'), (11, 'France') RETURNING tableoid::regclass, code, country, checked;
INSERT INTO orders (id, country) VALUES (12, 'Japan');
UPDATE orders SET country = 'Japan' WHERE id = 11;
UPDATE orders SET id = 2, country = 'Germany' WHERE id = 11 RETURNING tableoid::regclass, code, country, checked;
INSERT INTO orders (id, code) VALUES (3, 'xx');
SELECT id, code, row_version FROM orders WHERE id = 3;
INSERT INTO orders (id, checked) VALUES (4, 'DE');
INSERT INTO orders (id, checked) VALUES (4, 'xx');
INSERT INTO orders (id, checked) VALUES (4, 'fr') RETURNING code, country, checked;

-- The row is not shown to who may not see it.
CREATE ROLE regress_minimum_writer;
GRANT INSERT ON people TO regress_minimum_writer;
SET ROLE regress_minimum_writer;
\set SHOW_CONTEXT always
INSERT INTO people (id, first_name, last_name) VALUES (50, 'V W', 'X');
\set SHOW_CONTEXT errors
RESET ROLE;
DROP OWNED BY regress_minimum_writer;
DROP ROLE regress_minimum_writer;

\c contrib_regression
DROP DATABASE regress_migrate_minimum;
