-- Defaults and constraints in "add".
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;

CREATE VIEW con_constraints AS
	SELECT conrelid::regclass AS relation, conname, pg_get_constraintdef(oid) AS definition
	FROM pg_constraint WHERE conrelid::regclass::text LIKE 'con\_%' AND contype = 'c'
		AND conname NOT LIKE 'row_version%' ORDER BY 1, 2;
CREATE VIEW con_columns AS
	SELECT attrelid::regclass AS relation, attname, attnotnull, pg_get_expr(adbin, adrelid) AS "default"
	FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum
	WHERE attrelid::regclass::text LIKE 'con\_%' AND attnum > 0 AND NOT attisdropped
		AND (attnotnull OR adbin IS NOT NULL) AND attname NOT IN ('id', 'row_version')
	ORDER BY 1, attnum;

CREATE TABLE con_users (id integer PRIMARY KEY, name text);
CREATE SEQUENCE token_of_con;
INSERT INTO con_users VALUES (1, 'ann'), (2, 'bob'), (3, NULL), (4, 'this one is far too long');

-- What is refused.
SELECT migrate.define('con_bad', 'con_users', add => 'a text UNIQUE WITH (fillfactor = 50)', up => 'a = name');
SELECT migrate.define('con_bad', 'con_users', add => 'a text PRIMARY KEY', up => 'a = name');
SELECT migrate.define('con_bad', 'con_users', add => 'a text UNIQUE DEFERRABLE', up => 'a = name');
SELECT migrate.define('con_bad', 'con_users', add => 'a xid UNIQUE');
SELECT migrate.define('con_bad', 'con_users', add => 'a bigserial', up => 'a = id');
SELECT migrate.define('con_bad', 'con_users', add => 'a integer GENERATED ALWAYS AS (id) STORED');
SELECT migrate.define('con_bad', 'con_users', add => 'a integer GENERATED ALWAYS AS IDENTITY');
SELECT migrate.define('con_bad', 'con_users', add => 'a text CHECK (a > 5)', up => 'a = name');
SELECT migrate.define('con_bad', 'con_users', add => 'a text CHECK (a)', up => 'a = name');
SELECT migrate.define('con_bad', 'con_users', add => 'a text CHECK (a <> b)', up => 'a = name');
SELECT migrate.define('con_bad', 'con_users', add => 'a text CHECK (a <> name)', up => 'a = name');
SELECT migrate.define('con_bad', 'con_users', add => 'a text CHECK (a IN (SELECT name FROM con_users))', up => 'a = name');
SELECT migrate.define('con_bad', 'con_users', add => 'a integer DEFAULT ''x''', up => 'a = id');
SELECT migrate.define('con_bad', 'con_users', add => 'a integer DEFAULT id', up => 'a = id');
SELECT migrate.define('con_bad', 'con_users', add => 'a text NOT NULL');
SELECT migrate.define('con_bad', 'con_users', add => 'a timestamptz NOT NULL DEFAULT now()');

SELECT migrate.define('con_bad', 'con_users', add => 'a text NOT NULL', up => 'a = name', needed => 'name IS NOT NULL');
SELECT migrate.define('con_bad', 'con_users', add => 'a text DEFAULT ''x''', up => 'a = name', needed => 'name IS NOT NULL');

-- They hold for the new form from the start, and for the old one not yet.
SELECT migrate.define('con_users', 'con_users',
	add => $$label text NOT NULL CONSTRAINT con_label_length CHECK (length(label) < 10),
		state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'gone')),
		token bigint DEFAULT nextval('token_of_con')$$,
	up => 'label = upper(name)', down => 'name = lower(label)', remove => '{name}');
SELECT pg_relation_filenode('con_users') AS before \gset
SELECT migrate.expand('con_users');
SELECT pg_relation_filenode('con_users') = :before AS not_rewritten;
SELECT * FROM con_constraints;
SELECT * FROM con_columns;
SELECT id, name, label, state, token FROM con_users ORDER BY id;

-- The new form.
INSERT INTO con_users (id, label) VALUES (10, NULL);
INSERT INTO con_users (id, label) VALUES (10, 'much too long');
INSERT INTO con_users (id, label, state) VALUES (10, 'TEN', 'odd');
INSERT INTO con_users (id, label) VALUES (10, 'TEN') RETURNING name, state, token;
UPDATE con_users SET label = NULL WHERE id = 1;
UPDATE con_users SET label = 'much too long' WHERE id = 1;
UPDATE con_users SET label = 'A' WHERE id = 1;
UPDATE con_users SET state = 'gone' WHERE id = 3;			-- its label is NULL
MERGE INTO con_users u USING (VALUES (1), (11)) v (id) ON u.id = v.id
	WHEN MATCHED THEN UPDATE SET label = NULL
	WHEN NOT MATCHED THEN INSERT (id, label) VALUES (v.id, 'x');
INSERT INTO con_users (id, label) VALUES (10, 'y') ON CONFLICT (id) DO UPDATE SET label = NULL;
COPY con_users (id, label) FROM stdin;
12	\N
\.

-- The old form: nothing fails, whatever up makes of it.
INSERT INTO con_users (id, name) VALUES (20, NULL), (21, 'this is too long as well');
INSERT INTO con_users (id) VALUES (22);
UPDATE con_users SET name = 'longer than the other form' WHERE id = 2;
INSERT INTO con_users (id, name) VALUES (2, NULL) ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name;
COPY con_users (id, name) FROM stdin;
23	once more too long for it
\.
UPDATE con_users SET id = id;								-- of neither form
SELECT id, name, label, state FROM con_users ORDER BY id;

-- Rows that break them hold the completion back, whether they are stale or not.
INSERT INTO con_users (id, name, row_version) VALUES (30, NULL, 1);
CALL migrate.run('con_users');
SELECT row_key, sqlstate, message FROM migrate.failures WHERE migration = 'con_users' ORDER BY 1, 2;
SELECT state, failures FROM migrate.status WHERE name = 'con_users';
SELECT phase, last_error FROM migrate.progress WHERE migration = 'con_users';
INSERT INTO con_users (id, name) VALUES (24, NULL);			-- still no matter
UPDATE con_users SET name = 'mended' WHERE name IS NULL AND id > 20;
SELECT migrate.retry('con_users');
CALL migrate.run('con_users');
SELECT row_key, sqlstate, message FROM migrate.failures WHERE migration = 'con_users' ORDER BY 1, 2;
UPDATE con_users SET name = 'short' WHERE length(name) >= 10 OR name IS NULL;
SELECT migrate.retry('con_users');
CALL migrate.run('con_users');
SELECT * FROM migrate.failures WHERE migration = 'con_users';
SELECT state FROM migrate.status WHERE name = 'con_users';

-- Then they are plain, and hold for all.
SELECT * FROM con_constraints;
SELECT * FROM con_columns;
INSERT INTO con_users (id, name) VALUES (40, NULL);
INSERT INTO con_users (id, name) VALUES (40, 'far too long for the label');
SELECT * FROM migrate.check_contract('con_users') WHERE NOT ok;
SELECT migrate.contract('con_users', skip => '{window,usage}');
SELECT * FROM con_constraints;
SELECT * FROM con_columns;
INSERT INTO con_users (id, label) VALUES (40, 'NEW') RETURNING *;

-- Stale rows that break one fail to convert, with their keys.
CREATE TABLE con_stale (id integer PRIMARY KEY, a text);
INSERT INTO con_stale VALUES (1, 'x'), (2, NULL), (3, 'far too long');
SELECT migrate.define('con_stale', 'con_stale', add => 'b varchar NOT NULL CHECK (length(b) < 5)', up => 'b = a', down => 'a = b');
SELECT migrate.expand('con_stale');
CALL migrate.run('con_stale');
SELECT row_key, sqlstate, message FROM migrate.failures WHERE migration = 'con_stale' ORDER BY 1;

-- Rolled back, they go with their columns; expanded again, they come again.
SELECT migrate.rollback('con_stale');
SELECT * FROM con_constraints WHERE relation = 'con_stale'::regclass;
SELECT migrate.expand('con_stale');
SELECT * FROM con_constraints WHERE relation = 'con_stale'::regclass;

-- The same definition again; another default is another definition.
SELECT migrate.define('con_stale', 'con_stale', add => 'b varchar NOT NULL CHECK (length(b) < 5)', up => 'b = a', down => 'a = b');
SELECT migrate.define('con_stale', 'con_stale', add => 'b varchar NOT NULL CHECK (length(b) < 6)', up => 'b = a', down => 'a = b');
SELECT migrate.define('con_stale', 'con_stale', add => 'b varchar', up => 'b = a', down => 'a = b');
-- Spaces count here, as the words of a constraint are not compared.
SELECT migrate.define('con_stale', 'con_stale', add => 'b  varchar NOT NULL CHECK (length(b) < 5)', up => 'b = a', down => 'a = b');

SELECT migrate.rollback('con_stale');

-- In a chain, each form has its own; another's client does not answer for them.
CREATE TABLE con_chain (id integer PRIMARY KEY, a integer);
INSERT INTO con_chain VALUES (1, 1);
SELECT migrate.define('con_chain1', 'con_chain', add => 'b integer CHECK (b < 100)', up => 'b = a * 10', down => 'a = b / 10');
SELECT migrate.define('con_chain2', 'con_chain', add => 'c integer NOT NULL CHECK (c < 500)', up => 'c = b * 10', down => 'b = c / 10');
SELECT migrate.expand('con_chain1');
SELECT migrate.expand('con_chain2');
INSERT INTO con_chain (id, a) VALUES (2, 50);
INSERT INTO con_chain (id, b) VALUES (3, 99);
INSERT INTO con_chain (id, b) VALUES (4, 100);
INSERT INTO con_chain (id, c) VALUES (4, 500);
INSERT INTO con_chain (id, c) VALUES (4, 499);
INSERT INTO con_chain (id, b) VALUES (5, NULL);
SELECT id, a, b, c FROM con_chain ORDER BY id;

SELECT migrate.rollback('con_chain2');
SELECT migrate.rollback('con_chain1');

-- UNIQUE is an index that is built concurrently in the end.
CREATE TABLE con_unique (id integer PRIMARY KEY, a text);
INSERT INTO con_unique VALUES (1, 'x'), (2, 'X'), (3, 'y');
SELECT migrate.define('con_unique', 'con_unique', add => 'b text UNIQUE NOT NULL, c text CONSTRAINT con_unique_c UNIQUE',
	up => 'b = upper(a)', down => 'a = lower(b)', remove => '{a}');
SELECT migrate.expand('con_unique');
INSERT INTO con_unique (id, a) VALUES (4, 'Y');
CALL migrate.run('con_unique');
SELECT row_key, sqlstate, message FROM migrate.failures WHERE migration = 'con_unique' ORDER BY 1;
UPDATE con_unique SET a = id::text WHERE id IN (2, 4);
SELECT migrate.retry('con_unique');
CALL migrate.run('con_unique');
SELECT state FROM migrate.status WHERE name = 'con_unique';
SELECT conname, contype, pg_get_constraintdef(oid) FROM pg_constraint
	WHERE conrelid = 'con_unique'::regclass AND contype <> 'c' AND contype <> 'n' ORDER BY conname;
INSERT INTO con_unique (id, b) VALUES (5, 'X') ON CONFLICT ON CONSTRAINT con_unique_b_key DO UPDATE SET c = 'again' RETURNING id, a, b, c;
INSERT INTO con_unique (id, a) VALUES (5, 'x');
SELECT migrate.rollback('con_unique', discard => true);
SELECT conname FROM pg_constraint WHERE conrelid = 'con_unique'::regclass AND contype <> 'n' ORDER BY conname;
SELECT migrate.expand('con_unique');
CALL migrate.run('con_unique');
SELECT migrate.contract('con_unique', skip => '{window,usage}');
SELECT conname, contype, pg_get_constraintdef(oid) FROM pg_constraint
	WHERE conrelid = 'con_unique'::regclass AND contype <> 'n' ORDER BY conname;

-- A new type under the same name: it is the new column that is meant.
CREATE TABLE con_price (id integer PRIMARY KEY, price integer);
INSERT INTO con_price VALUES (1, 150), (2, -5);
SELECT migrate.define('con_price', 'con_price',
	add => 'price numeric(12,2) NOT NULL DEFAULT 1 CHECK (price > 0) UNIQUE',
	up => 'price = old.price / 100.0', down => 'price = new.price * 100');
SELECT migrate.expand('con_price');
SELECT migrate.create_index('con_price', 'price DESC');
SELECT * FROM con_constraints WHERE relation = 'con_price'::regclass;
INSERT INTO con_price (id, price) VALUES (3, -10);
INSERT INTO con_price (id, price_new) VALUES (4, -10);
INSERT INTO con_price (id) VALUES (5);
DELETE FROM con_price WHERE price < 0;
SELECT id, price, price_new FROM con_price ORDER BY id;
UPDATE con_price SET price = 777 WHERE price IS NULL;
CALL migrate.run('con_price');
SELECT row_key, message FROM migrate.failures WHERE migration = 'con_price';
SELECT migrate.contract('con_price', skip => '{window,usage}');
SELECT id, price FROM con_price ORDER BY id;
SELECT * FROM con_constraints WHERE relation = 'con_price'::regclass;
SELECT * FROM con_columns WHERE relation = 'con_price'::regclass;
SELECT indexdef FROM pg_indexes WHERE tablename = 'con_price' ORDER BY 1;

-- Of partitioned tables.
CREATE TABLE con_parts (id integer, a text) PARTITION BY RANGE (id);
CREATE TABLE con_part1 PARTITION OF con_parts FOR VALUES FROM (0) TO (10);
CREATE TABLE con_part2 (a text, id integer);
ALTER TABLE con_parts ATTACH PARTITION con_part2 FOR VALUES FROM (10) TO (20);
INSERT INTO con_parts VALUES (1, 'x'), (11, 'y');
SELECT migrate.define('con_bad', 'con_parts', add => 'b text UNIQUE', up => 'b = a');
SELECT migrate.define('con_parts', 'con_parts', add => 'b text NOT NULL DEFAULT ''none'' CHECK (b <> '''')', up => 'b = a', down => 'a = b');
SELECT migrate.expand('con_parts');
INSERT INTO con_parts (id, b) VALUES (12, NULL);
INSERT INTO con_part2 (id, b) VALUES (12, '');
INSERT INTO con_part2 (id, a) VALUES (12, NULL), (13, '');
CALL migrate.run('con_parts');
SELECT relation, sqlstate, message FROM migrate.failures WHERE migration = 'con_parts' ORDER BY 2;
UPDATE con_parts SET a = 'z' WHERE id > 11;
SELECT migrate.retry('con_parts');
CALL migrate.run('con_parts');
SELECT state FROM migrate.status WHERE name = 'con_parts';
SELECT * FROM con_constraints WHERE relation::text LIKE 'con\_part%';
SELECT * FROM con_columns WHERE relation::text LIKE 'con\_part%';
SELECT migrate.contract('con_parts', skip => '{window,usage}');

-- A trigger of the table's own that speaks another form than the statement does:
-- the constraint asks about the row at hand.
CREATE TABLE con_nested (id integer PRIMARY KEY, a text);
SELECT migrate.define('con_nested', 'con_nested', add => 'b text CHECK (b <> '''')', up => 'b = a', down => 'a = b');
SELECT migrate.expand('con_nested');
CREATE FUNCTION con_write_another() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id = 1 THEN
		INSERT INTO con_nested (id, b) VALUES (2, 'by the trigger');
	ELSIF NEW.id = 3 THEN
		INSERT INTO con_nested (id, a) VALUES (4, '');
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER another BEFORE INSERT ON con_nested FOR EACH ROW EXECUTE FUNCTION con_write_another();
INSERT INTO con_nested (id, a) VALUES (1, '');
INSERT INTO con_nested (id, b) VALUES (3, '');
SELECT id, a, b FROM con_nested ORDER BY id;
SELECT migrate.rollback('con_nested', discard => true);

-- A condition that is an OR, also as a restore makes it again: the parser flattens it.
CREATE TABLE con_either (id integer PRIMARY KEY, a integer);
INSERT INTO con_either VALUES (1, 5), (2, -5);
SELECT migrate.define('con_either', 'con_either', add => 'b integer CONSTRAINT con_either_check CHECK (b > 0 OR b < -3 OR b IS NULL)', up => 'b = a');
SELECT migrate.expand('con_either');
SELECT format('ALTER TABLE con_either DROP CONSTRAINT con_either_check, ADD CONSTRAINT con_either_check %s', definition)
	FROM con_constraints WHERE relation = 'con_either'::regclass \gexec
INSERT INTO con_either (id, a) VALUES (3, -1);
CALL migrate.run('con_either');
SELECT row_key, message FROM migrate.failures WHERE migration = 'con_either';
UPDATE con_either SET a = NULL WHERE id = 3;
SELECT migrate.retry('con_either');
CALL migrate.run('con_either');
SELECT * FROM con_constraints WHERE relation = 'con_either'::regclass;
SELECT migrate.contract('con_either', skip => '{window,usage}');

-- A row that an UPDATE moves to another partition is held to what the UPDATE said.
CREATE TABLE con_moved (id integer, part integer, a integer) PARTITION BY LIST (part);
CREATE TABLE con_moved_1 PARTITION OF con_moved FOR VALUES IN (1);
CREATE TABLE con_moved_2 (a integer, part integer, id integer);
ALTER TABLE con_moved ATTACH PARTITION con_moved_2 FOR VALUES IN (2);
INSERT INTO con_moved VALUES (1, 1, 1), (2, 1, -2), (3, 1, 3);
SELECT migrate.define('con_moved', 'con_moved', add => 'b integer NOT NULL CHECK (b > 0)', up => 'b = a', down => 'a = b');
SELECT migrate.expand('con_moved');
UPDATE con_moved SET part = 2, b = NULL WHERE id = 1;
UPDATE con_moved SET part = 2, b = -1 WHERE id = 1;
UPDATE con_moved SET part = 2, a = -1 WHERE id = 1 RETURNING tableoid::regclass, b;
UPDATE con_moved SET part = 2 WHERE id = 2 RETURNING tableoid::regclass, b;
WITH u AS (UPDATE con_moved SET b = 5 WHERE id = 3)
INSERT INTO con_moved (id, part, a) VALUES (4, 2, -4) RETURNING b;
UPDATE con_moved SET b = 6 WHERE id = 3;
INSERT INTO con_moved (id, part, a, b, row_version) VALUES (5, 2, -5, -5, 2) RETURNING b;
SELECT migrate.rollback('con_moved', discard => true);
DROP TABLE con_moved;
