--
-- Writes: whoever writes a row, in whichever form, both forms of it agree.
--
-- A written row is stamped with the newest version, so what a SELECT shows of
-- it is what is stored.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;

CREATE TABLE write_users (id integer PRIMARY KEY, full_name text, note text);
INSERT INTO write_users
SELECT i, 'First' || i || ' Last' || i FROM generate_series(1, 20) i;
SELECT migrate.define('write_split', 'write_users',
	add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1),
			last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$,
	remove => '{full_name}');
SELECT migrate.expand('write_split');

CREATE VIEW write_people AS
SELECT id, full_name AS name, first_name AS given, last_name AS family FROM write_users;

-- Shows rows as stored, since nothing converts a COPY: here all are stale.
COPY write_users (id, full_name, first_name, last_name, row_version) TO STDOUT;

--
-- INSERT: the columns that it names tell the form
--

-- the old form
INSERT INTO write_users (id, full_name) VALUES (101, 'Ada Lovelace');
-- the new form
INSERT INTO write_users (id, first_name, last_name) VALUES (102, 'Grace', 'Hopper');
-- both: the new one wins
INSERT INTO write_users (id, full_name, first_name, last_name) VALUES (103, 'not this', 'Alan', 'Turing');
-- neither: old, and up of nothing is nothing
INSERT INTO write_users (id) VALUES (104);
-- several rows, of which one says NULL: it has no name in the old form either
INSERT INTO write_users (id, first_name, last_name) VALUES (105, 'Kurt', 'Goedel'), (106, NULL, 'Prince');
-- a NULL that is named counts: the new form has no name, whatever else is said
INSERT INTO write_users (id, full_name, first_name, last_name) VALUES (107, 'not this', NULL, NULL);
-- INSERT ... SELECT, positions and no column list
INSERT INTO write_users (id, full_name) SELECT 108, full_name FROM write_users WHERE id = 101;
INSERT INTO write_users VALUES (109, 'Emmy Noether', 'by position');
-- through a view, by other names
INSERT INTO write_people (id, name) VALUES (110, 'Paul Erdos');
INSERT INTO write_people (id, given, family) VALUES (111, 'Sofia', 'Kovalevskaya');
-- prepared, and planned once for all executions
SET plan_cache_mode = force_generic_plan;
PREPARE write_old (integer, text) AS INSERT INTO write_users (id, full_name) VALUES ($1, $2);
PREPARE write_new (integer, text, text) AS INSERT INTO write_users (id, first_name, last_name) VALUES ($1, $2, $3);
EXECUTE write_old (112, 'Carl Gauss');
EXECUTE write_old (113, 'Henri Poincare');
EXECUTE write_new (114, 'Leonhard', 'Euler');
RESET plan_cache_mode;
DEALLOCATE ALL;
SELECT id, full_name, first_name, last_name, note, row_version FROM write_users WHERE id > 100 ORDER BY id;

-- RETURNING shows the row as it was stored.
INSERT INTO write_users (id, full_name) VALUES (115, 'David Hilbert') RETURNING first_name, last_name, row_version;
INSERT INTO write_users (id, first_name, last_name) VALUES (116, 'Maryam', 'Mirzakhani') RETURNING full_name, row_version;

-- DEFAULT VALUES: the defaults are those of the old form.
CREATE TABLE write_defaults (id serial, full_name text DEFAULT 'No Name');
SELECT migrate.define('write_defaults_split', 'write_defaults',
	add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1),
			last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$,
	remove => '{full_name}');
SELECT migrate.expand('write_defaults_split');
INSERT INTO write_defaults DEFAULT VALUES;
INSERT INTO write_defaults (full_name) VALUES (DEFAULT), ('Ada Lovelace');
SELECT * FROM write_defaults ORDER BY id;

--
-- COPY FROM: its column list tells the form
--

COPY write_users (id, full_name) FROM STDIN;
201	Niels Abel
202	\N
\.
COPY write_users (id, first_name, last_name) FROM STDIN;
203	Evariste	Galois
204	\N	\N
\.
COPY write_users (last_name, id, first_name, full_name) FROM STDIN;
Banach	205	Stefan	not this
\N	211	\N	not this
\.
-- what COPY's own WHERE clause runs as it is simplified is not taken for the COPY
CREATE FUNCTION write_is_known(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN EXISTS (SELECT FROM write_defaults WHERE id = $1);
END
$$;
COPY write_users (id, full_name, first_name) FROM STDIN WHERE write_is_known(1);
212	not this	\N
\.
-- No list means all columns, the version too: rows as stored in that version.
COPY write_users FROM STDIN;
206	Georg Cantor	stale	1	\N	\N
207	kept as it is	converted	2	Felix	Klein
\.
SELECT id, full_name, first_name, last_name, row_version FROM write_users WHERE id > 200 ORDER BY id;

-- A COPY's column list is forgotten when it fails; the next row is judged by itself.
COPY write_users (id, first_name, last_name) FROM STDIN;
not a number	Evariste	Galois
\.
INSERT INTO write_users (id, full_name) VALUES (208, 'Bernhard Riemann') RETURNING first_name, last_name;

-- A trigger's INSERT within a COPY speaks its own form, and rows of the COPY after it still theirs.
CREATE FUNCTION write_from_inbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO write_users (id, full_name) VALUES (NEW.id + 1000, 'From Trigger');
	RETURN NEW;
END
$$;
CREATE TRIGGER write_from_inbox AFTER INSERT ON write_users
	FOR EACH ROW WHEN (NEW.note = 'twice') EXECUTE FUNCTION write_from_inbox();
COPY write_users (id, first_name, last_name, note) FROM STDIN;
209	Joseph	Fourier	twice
210	Pierre	Laplace	twice
\.
DROP TRIGGER write_from_inbox ON write_users;
SELECT id, full_name, first_name, last_name FROM write_users WHERE id % 1000 IN (209, 210) ORDER BY id;

--
-- UPDATE of stale rows
--

-- one form
UPDATE write_users SET full_name = 'Old Form' WHERE id = 1;
UPDATE write_users SET first_name = 'New', last_name = 'Form' WHERE id = 2;
-- a part of the new form: the other part is what the row read as
UPDATE write_users SET first_name = 'Part' WHERE id = 3;
-- both: the new one wins
UPDATE write_users SET full_name = 'not this', first_name = 'Both', last_name = 'Forms' WHERE id = 4;
-- neither: the row is converted by the way
UPDATE write_users SET note = 'neither' WHERE id = 5;
-- an explicit NULL, in a column that is NULL as stored but reads as something
UPDATE write_users SET last_name = NULL WHERE id = 6;
UPDATE write_users SET full_name = NULL WHERE id = 7;
-- all that was read written back, and one thing changed: only that was set
UPDATE write_users SET id = id, full_name = 'Orm Changed', note = note,
	first_name = 'First8', last_name = 'Last8' WHERE id = 8;
UPDATE write_users SET id = id, full_name = 'First9 Last9', note = 'orm',
	first_name = 'Orm', last_name = 'Last9' WHERE id = 9;
UPDATE write_users SET id = id, full_name = full_name, note = 'orm', first_name = first_name,
	last_name = last_name, row_version = row_version WHERE id = 10;
-- from the row's own columns, as they read
UPDATE write_users SET first_name = upper(first_name) WHERE id = 11;
UPDATE write_users SET (first_name, last_name) = (SELECT last_name, first_name) WHERE id = 12;
-- UPDATE ... FROM
UPDATE write_users u SET full_name = v.name FROM (VALUES (13, 'From Values')) v (id, name) WHERE u.id = v.id;
UPDATE write_users u SET last_name = o.first_name FROM write_users o WHERE u.id = 14 AND o.id = 101;
-- through a view
UPDATE write_people SET name = 'Through View' WHERE id = 15;
UPDATE write_people SET given = 'Given' WHERE id = 16;
SELECT id, full_name, first_name, last_name, note, row_version FROM write_users WHERE id <= 16 ORDER BY id;

--
-- UPDATE of converted rows
--

UPDATE write_users SET full_name = 'Old Again' WHERE id = 1;
UPDATE write_users SET first_name = 'Newer' WHERE id = 2;
UPDATE write_users SET full_name = 'not this', last_name = 'Won' WHERE id = 3;
UPDATE write_users SET note = 'untouched' WHERE id = 4;
UPDATE write_users SET first_name = NULL WHERE id = 5;
-- written back in full with another old name: the new form, though named, was not set
UPDATE write_users SET id = id, full_name = 'Orm Again', note = note,
	first_name = 'Orm', last_name = 'Changed' WHERE id = 8;
-- no change of value is no change of form: full_name cannot be told from first and last name, and stays
UPDATE write_users SET full_name = 'kept as it is', first_name = 'Felix' WHERE id = 207;
SELECT id, full_name, first_name, last_name, note, row_version FROM write_users
WHERE id <= 8 AND id NOT IN (6, 7) OR id = 207 ORDER BY id;

--
-- ON CONFLICT, MERGE, data-modifying CTE, on stale rows (17 to 20) and converted ones
--

INSERT INTO write_users (id, full_name) VALUES (17, 'Up Sert'), (1, 'Up Sert')
ON CONFLICT (id) DO UPDATE SET full_name = EXCLUDED.full_name;
INSERT INTO write_users (id, first_name, last_name) VALUES (18, 'Neo', 'Upsert'), (2, 'Neo', 'Upsert')
ON CONFLICT (id) DO UPDATE SET first_name = EXCLUDED.first_name;
-- EXCLUDED is the row as it would be stored: an old-form INSERT has a new form there
INSERT INTO write_users (id, full_name) VALUES (3, 'Ex Cluded')
ON CONFLICT (id) DO UPDATE SET last_name = EXCLUDED.last_name;
MERGE INTO write_users u USING (VALUES (19, 'Mer Ged'), (119, 'Mer Inserted')) v (id, name) ON u.id = v.id
WHEN MATCHED THEN UPDATE SET full_name = v.name
WHEN NOT MATCHED THEN INSERT (id, full_name) VALUES (v.id, v.name);
MERGE INTO write_users u USING (VALUES (20, 'Mer'), (120, 'Mer')) v (id, name) ON u.id = v.id
WHEN MATCHED THEN UPDATE SET first_name = v.name
WHEN NOT MATCHED THEN INSERT (id, first_name, last_name) VALUES (v.id, v.name, 'New');
-- two actions of one MERGE in different forms
MERGE INTO write_users u USING (VALUES (121, 'In', 'Old'), (122, 'In', 'New')) v (id, a, b) ON u.id = v.id
WHEN NOT MATCHED AND v.b = 'Old' THEN INSERT (id, full_name) VALUES (v.id, v.a || ' ' || v.b)
WHEN NOT MATCHED THEN INSERT (id, first_name, last_name) VALUES (v.id, v.a, v.b);
WITH inserted AS (
	INSERT INTO write_users (id, first_name, last_name) VALUES (123, 'Common', 'Table') RETURNING *
), updated AS (
	UPDATE write_users SET full_name = 'Cee Tee' WHERE id = 4 RETURNING *
)
SELECT id, full_name, first_name, last_name FROM inserted UNION ALL
SELECT id, full_name, first_name, last_name FROM updated ORDER BY id;
SELECT id, full_name, first_name, last_name, row_version FROM write_users
WHERE id IN (1, 2, 3, 4, 17, 18, 19, 20) OR id BETWEEN 119 AND 123 ORDER BY id;

-- stale rows, each updated by another action: what the others name, it has not set
CREATE TABLE write_merged (id integer PRIMARY KEY, n integer, note text);
INSERT INTO write_merged SELECT i, i, 'Note' FROM generate_series(1, 5) i;
SELECT migrate.define('write_merged', 'write_merged', add => 'm integer, k integer', up => 'm = n * 10, k = length(note)',
	down => 'n = m / 10');
SELECT migrate.define('write_merged_note', 'write_merged', up => 'note = lower(note)');
SELECT migrate.expand('write_merged'), migrate.expand('write_merged_note');
MERGE INTO write_merged w USING generate_series(1, 5) i ON w.id = i
WHEN MATCHED AND i = 1 THEN UPDATE SET n = 7
WHEN MATCHED AND i = 2 THEN UPDATE SET m = 80
WHEN MATCHED AND i = 3 THEN UPDATE SET note = 'New'
WHEN MATCHED AND i = 4 THEN UPDATE SET m = NULL, k = NULL
WHEN MATCHED THEN UPDATE SET id = id + 10;
SELECT * FROM write_merged ORDER BY id;
SELECT migrate.rollback(m, discard => true) FROM unnest('{write_merged_note,write_merged}'::text[]) m;
DROP TABLE write_merged;

--
-- A row that says its version
--

-- as stored in version 1: upgraded, whatever its new form held
INSERT INTO write_users (id, full_name, first_name, last_name, row_version)
VALUES (301, 'Stored Old', 'not', 'this', 1);
-- as stored in version 2: as is
INSERT INTO write_users (id, full_name, first_name, last_name, row_version)
VALUES (302, 'kept as it is', 'Stored', 'New', 2);
-- in an UPDATE that is what the client once read, written back with the rest: the
-- row is as it is meanwhile, and what was changed counts
UPDATE write_users SET full_name = 'kept as it is', first_name = 'Changed', last_name = 'New', row_version = 1
WHERE id = 302;
SELECT id, full_name, first_name, last_name, row_version FROM write_users WHERE id > 300 AND id < 1000 ORDER BY id;
-- saying that nothing is said
UPDATE write_users SET row_version = DEFAULT, first_name = 'Defaulted' WHERE id = 301
RETURNING full_name, row_version;
UPDATE write_users SET row_version = DEFAULT WHERE id = 301 RETURNING full_name, row_version;
-- and an upsert takes over the newest, for a row that is stale
CREATE TABLE write_upsert (id integer PRIMARY KEY, a integer);
INSERT INTO write_upsert VALUES (1, 10);
SELECT migrate.define('write_upsert', 'write_upsert', add => 'b integer, c integer', up => 'b = a + 1, c = a + 2', down => 'a = b - 1');
SELECT migrate.expand('write_upsert');
INSERT INTO write_upsert (id, a) VALUES (1, 20)
ON CONFLICT (id) DO UPDATE SET b = EXCLUDED.b, row_version = EXCLUDED.row_version
RETURNING *;
-- beyond what is known: refused, in INSERT, UPDATE and COPY
INSERT INTO write_users (id, full_name, row_version) VALUES (303, 'From Future', 3);
UPDATE write_users SET row_version = 3 WHERE id = 302;
UPDATE write_users SET row_version = -1 WHERE id = 302;
COPY write_users (id, full_name, row_version) FROM STDIN;
304	From Nowhere	0
\.
\set VERBOSITY sqlstate
INSERT INTO write_users (id, full_name, row_version) VALUES (303, 'From Future', 3);
-- a mark such as the planner makes for a migration that is not there
INSERT INTO write_users (id, full_name, row_version) VALUES (303, 'From Nowhere', -100);
\set VERBOSITY default

--
-- A chain of three live migrations: a -> b -> c -> d
--

CREATE TABLE write_chain (id integer PRIMARY KEY, a integer, note text);
INSERT INTO write_chain SELECT i, i FROM generate_series(1, 8) i;
SELECT migrate.define('write_ab', 'write_chain', add => 'b integer',
	up => 'b = a * 10', down => 'a = b / 10', remove => '{a}');
SELECT migrate.expand('write_ab');
-- row 1 is of version 2, rows 2 and up are stale
UPDATE write_chain SET note = 'version 2' WHERE id = 1;
SELECT migrate.define('write_bc', 'write_chain', add => 'c integer',
	up => 'c = b + 1', down => 'b = c - 1', remove => '{b}');
SELECT migrate.expand('write_bc');
-- row 2 is of version 3
UPDATE write_chain SET note = 'version 3' WHERE id = 2;
SELECT migrate.define('write_cd', 'write_chain', add => 'd text',
	up => $$d = 'd' || c$$, down => 'c = substr(d, 2)::integer', remove => '{c}');
SELECT migrate.expand('write_cd');

-- each of the four forms inserts: all agree
INSERT INTO write_chain (id, a) VALUES (11, 1);
INSERT INTO write_chain (id, b) VALUES (12, 10);
INSERT INTO write_chain (id, c) VALUES (13, 11);
INSERT INTO write_chain (id, d) VALUES (14, 'd11');
-- two forms that disagree: the newest wins
INSERT INTO write_chain (id, a, c) VALUES (15, 9, 11);
INSERT INTO write_chain (id, b, d) VALUES (16, 99, 'd11');
COPY write_chain (id, b) FROM STDIN;
17	10
\.
-- a row of each version, as stored
INSERT INTO write_chain (id, a, b, c, d, row_version) VALUES (18, 1, 0, 0, 'x', 1), (19, 1, 10, 0, 'x', 2),
	(20, 1, 10, 11, 'x', 3), (21, 1, 10, 11, 'd11', 4);
-- all of those hold 1, 10, 11, d11
SELECT id, a, b, c, d, row_version FROM write_chain WHERE id > 10 ORDER BY id;
-- each form updates stale rows (of versions 2, 3 and 1), and nothing is lost
UPDATE write_chain SET a = 5 WHERE id = 1;
UPDATE write_chain SET b = 50 WHERE id = 2;
UPDATE write_chain SET c = 51 WHERE id = 3;
UPDATE write_chain SET d = 'd51' WHERE id = 4;
UPDATE write_chain SET note = 'by the way' WHERE id = 5;
-- an old-form and a new-form change at once: the newest wins
UPDATE write_chain SET a = 7, d = 'd51' WHERE id = 6;
-- rows 1 to 6 hold 5, 50, 51, d51
SELECT id, a, b, c, d, note, row_version FROM write_chain WHERE id <= 6 ORDER BY id;
-- the same once converted: 6, 60, 61, d61
UPDATE write_chain SET a = 6 WHERE id = 1;
UPDATE write_chain SET b = 60 WHERE id = 2;
UPDATE write_chain SET c = 61 WHERE id = 3;
UPDATE write_chain SET d = 'd61' WHERE id = 4;
SELECT id, a, b, c, d, row_version FROM write_chain WHERE id <= 4 ORDER BY id;

--
-- What cannot be converted is refused, and says where
--

CREATE TABLE write_rates (id integer, part text, cents integer, PRIMARY KEY (part, id));
INSERT INTO write_rates VALUES (1, 'x', 100);
SELECT migrate.define('write_rate', 'write_rates', add => 'rate integer',
	up => 'rate = 10000 / cents', down => 'cents = 10000 / rate', remove => '{cents}');
SELECT migrate.expand('write_rate');
-- up fails
INSERT INTO write_rates (id, part, cents) VALUES (2, 'x', 0);
-- down fails
INSERT INTO write_rates (id, part, rate) VALUES (3, 'x', 0);
UPDATE write_rates SET rate = 0 WHERE id = 1;
-- on the way, in COPY
COPY write_rates (id, part, rate) FROM STDIN;
4	x	0
\.
-- without the right to read the table the key is not told
CREATE ROLE regress_write_blind;
GRANT INSERT ON write_rates TO regress_write_blind;
SET ROLE regress_write_blind;
INSERT INTO write_rates (id, part, rate) VALUES (5, 'x', 0);
RESET ROLE;
REVOKE ALL ON write_rates FROM regress_write_blind;
DROP ROLE regress_write_blind;
-- a failure in a subtransaction leaves the next writes as they should be
DO $$
BEGIN
	INSERT INTO write_rates (id, part, rate) VALUES (6, 'x', 0);
EXCEPTION WHEN division_by_zero THEN
	INSERT INTO write_rates (id, part, rate) VALUES (6, 'x', 4);
END
$$;
UPDATE write_rates SET rate = 50 WHERE id = 1;
SELECT id, cents, rate, row_version FROM write_rates ORDER BY id;

-- What breaks a constraint is refused by the server itself.
ALTER TABLE write_rates ADD CONSTRAINT write_rates_cents CHECK (cents < 9000);
INSERT INTO write_rates (id, part, rate) VALUES (7, 'x', 1);

--
-- An expression that runs SQL which fires the same trigger, and makes everybody
-- look at the table anew
--

CREATE TABLE write_deep (id integer PRIMARY KEY, old integer);
CREATE FUNCTION write_deeper(integer, integer) RETURNS integer LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF $1 < 3 THEN
		EXECUTE format('SELECT write_deepest(%s, %s)', $1, $2);
	END IF;
	RETURN $2 + 1;
END
$$;
CREATE FUNCTION write_deepest(integer, integer) RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = public AS $$
BEGIN
	INSERT INTO write_deep (id, old) VALUES ($1 + 1, $2 + 10);
	ANALYZE write_deep;
END
$$;
ALTER FUNCTION write_deeper(integer, integer) SET search_path = public;
SELECT migrate.define('write_deep', 'write_deep', add => 'new integer',
	up => 'new = write_deeper(id, old)', down => 'old = new - 1', remove => '{old}');
SELECT migrate.expand('write_deep');
-- rows 2 and 3 are written while row 1 is converted
INSERT INTO write_deep (id, old) VALUES (1, 100);
SELECT id, old, new, row_version FROM write_deep ORDER BY id;

--
-- What foreign keys do, they do to both forms
--

CREATE TABLE write_codes (code text PRIMARY KEY);
CREATE TABLE write_items (id integer PRIMARY KEY,
	code text REFERENCES write_codes ON UPDATE CASCADE ON DELETE SET NULL);
INSERT INTO write_codes VALUES ('a-1'), ('b-2'), ('c-3');
INSERT INTO write_items VALUES (1, 'a-1'), (2, 'b-2');
SELECT migrate.define('write_code', 'write_items', add => 'letter text, digit integer',
	up => $$letter = split_part(code, '-', 1), digit = split_part(code, '-', 2)::integer$$,
	down => $$code = letter || '-' || digit::text$$, remove => '{code}');
SELECT migrate.expand('write_code');
INSERT INTO write_items (id, letter, digit) VALUES (3, 'c', 3);
UPDATE write_codes SET code = 'x-9' WHERE code IN ('a-1');
UPDATE write_codes SET code = 'z-9' WHERE code IN ('c-3');
DELETE FROM write_codes WHERE code = 'b-2';
SELECT * FROM write_items ORDER BY id;
-- the new form is held to the key as well
INSERT INTO write_items (id, letter, digit) VALUES (4, 'no', 1);

--
-- A function that is replaced is used as it is now
--

CREATE TABLE write_replaced (id integer PRIMARY KEY, old text);
CREATE FUNCTION write_decorate(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '<' || $1 || '>' $$;
SELECT migrate.define('write_replaced', 'write_replaced', add => 'new text',
	up => 'new = write_decorate(old)', down => $$old = trim(new, '<>[]')$$, remove => '{old}');
SELECT migrate.expand('write_replaced');
INSERT INTO write_replaced (id, old) VALUES (1, 'before');
CREATE OR REPLACE FUNCTION write_decorate(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '[' || $1 || ']' $$;
INSERT INTO write_replaced (id, old) VALUES (2, 'after');
SELECT * FROM write_replaced ORDER BY id;

--
-- Replication's role fires it too
--

SET session_replication_role = replica;
INSERT INTO write_users (id, full_name) VALUES (401, 'Repli Ca');
UPDATE write_users SET first_name = 'Origin' WHERE id = 401;
RESET session_replication_role;
SELECT id, full_name, first_name, last_name, row_version FROM write_users WHERE id = 401;

--
-- Names, dropped columns, types
--

CREATE TABLE "order" (
	gone integer,
	"select" text,
	"a column name that is as long as names can be: sixty-three byte" text,
	gone_too text
);
ALTER TABLE "order" DROP COLUMN gone;
INSERT INTO "order" VALUES ('from', 'long', 'x');
SELECT migrate.define('write "quoted" ''name''', '"order"',
	add => '"where" text, "another name that is as long as names can be, 63 bytes, no more" text',
	up => $$"where" = upper("select"),
			"another name that is as long as names can be, 63 bytes, no more" = "a column name that is as long as names can be: sixty-three byte"$$,
	down => $$"select" = lower("where"),
			"a column name that is as long as names can be: sixty-three byte" = "another name that is as long as names can be, 63 bytes, no more"$$,
	remove => '{select,"a column name that is as long as names can be: sixty-three byte"}');
SELECT migrate.expand('write "quoted" ''name''');
ALTER TABLE "order" ADD COLUMN after text DEFAULT 'after';
ALTER TABLE "order" DROP COLUMN gone_too;
-- no primary key: the row is stale, and told by nothing but its values
UPDATE "order" SET "where" = 'GROUP' WHERE "select" = 'from';
INSERT INTO "order" ("select") VALUES ('having');
INSERT INTO "order" ("another name that is as long as names can be, 63 bytes, no more", "where") VALUES ('LONG', 'LIMIT');
COPY "order" ("select") FROM STDIN;
offset
\.
UPDATE "order" SET "where" = 'ORDER' WHERE "select" = 'having';
\x on
SELECT * FROM "order" ORDER BY "select";
\x off

CREATE DOMAIN write_positive AS integer CHECK (VALUE > 0);
CREATE TYPE write_point AS (x integer, y integer);
CREATE TYPE write_mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE write_types (
	id write_positive PRIMARY KEY,
	n integer,
	list text,
	x integer,
	y integer,
	mood integer,
	big text
);
INSERT INTO write_types
SELECT i, i, 'a,b', i, -i, i % 3 + 1, (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 400) g)
FROM generate_series(1, 6) i;
SELECT migrate.define('write_types', 'write_types',
	add => 'n2 write_positive, items text[], p write_point, feeling write_mood, large text',
	up => $$n2 = n, items = string_to_array(list, ','), p = ROW(x, y)::write_point,
			feeling = CASE mood WHEN 1 THEN 'sad'::write_mood WHEN 2 THEN 'ok' ELSE 'happy' END, large = big$$,
	down => $$n = n2, list = array_to_string(items, ','), x = (p).x, y = (p).y,
			mood = CASE feeling WHEN 'sad' THEN 1 WHEN 'ok' THEN 2 ELSE 3 END, big = large$$,
	remove => '{n,list,x,y,mood,big}');
SELECT migrate.expand('write_types');
UPDATE write_types SET n = 10, x = 7, mood = 3 WHERE id = 1;
UPDATE write_types SET p = ROW(8, 9), items = items || 'c'::text, feeling = 'happy' WHERE id = 2;
UPDATE write_types SET items[1] = 'z', p.y = 5 WHERE id = 3;
UPDATE write_types SET n2 = 40 WHERE id = 4;
-- a large value copied, changed, written back, and left alone
UPDATE write_types SET big = big || 'old' WHERE id = 4;
UPDATE write_types SET large = large || 'new' WHERE id = 5;
UPDATE write_types SET large = large, big = big, list = 'q' WHERE id = 6;
UPDATE write_types SET large = large, big = big, list = 'r' WHERE id = 6;
INSERT INTO write_types (id, n2, items, p, feeling, large) VALUES (7, 70, '{u,v}', '(1,2)', 'ok', 'short');
INSERT INTO write_types (id, n, list, x, y, mood, big) SELECT 8, n, list, x, y, mood, big FROM write_types WHERE id = 5;
SELECT id, n, list, x, y, mood, length(big), n2, items, p, feeling, length(large), big = large AS same, right(large, 3), row_version
FROM write_types ORDER BY id;
-- the domain holds for what up computes
INSERT INTO write_types (id, n) VALUES (9, -1);
UPDATE write_types SET n = 0 WHERE id = 1;

--
-- A table without a primary key, and a stored row in an error
--

CREATE TABLE write_keyless (cents integer);
INSERT INTO write_keyless VALUES (100);
SELECT migrate.define('write_keyless', 'write_keyless', add => 'rate integer',
	up => 'rate = 10000 / cents', down => 'cents = 10000 / rate', remove => '{cents}');
SELECT migrate.expand('write_keyless');
UPDATE write_keyless SET rate = 0;
INSERT INTO write_keyless (rate) VALUES (0);
UPDATE write_keyless SET rate = 50;
SELECT * FROM write_keyless;

--
-- Generated columns are the server's to compute, after us, and ours to read; columns
-- that no migration has to do with are left alone
--

CREATE TABLE write_generated (
	id integer PRIMARY KEY, cents integer,
	twice integer GENERATED ALWAYS AS (cents * 2) STORED,
	other text DEFAULT 'other'
);
INSERT INTO write_generated (id, cents) VALUES (1, 100), (2, 200), (3, 300);
SELECT migrate.define('write_generated', 'write_generated', add => 'euros numeric(12,2), double integer',
	up => 'euros = cents / 100.0, double = twice', down => 'cents = euros * 100', remove => '{cents}');
SELECT migrate.expand('write_generated');
UPDATE write_generated SET euros = 3 WHERE id = 1;
UPDATE write_generated SET other = 'changed' WHERE id = 2;
UPDATE write_generated SET cents = 400 WHERE id = 3;
INSERT INTO write_generated (id, euros) VALUES (4, 4.5);
INSERT INTO write_generated (id, cents) VALUES (5, 500);
SELECT * FROM write_generated ORDER BY id;
UPDATE write_generated SET cents = 600 WHERE id = 5 RETURNING *;

--
-- Triggers of the table's own see a row in both forms; one that comes before ours counts
--

CREATE FUNCTION write_watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE '% % % % %', TG_OP, NEW.full_name, NEW.first_name, NEW.last_name, NEW.row_version;
	RETURN NEW;
END
$$;
CREATE FUNCTION write_meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.full_name = 'Med Dled';
	RETURN NEW;
END
$$;
CREATE TRIGGER a_watch BEFORE INSERT OR UPDATE ON write_users FOR EACH ROW EXECUTE FUNCTION write_watch();
INSERT INTO write_users (id, full_name) VALUES (501, 'Be Fore');
UPDATE write_users SET first_name = 'Aft' WHERE id = 501;
CREATE TRIGGER " first" BEFORE UPDATE ON write_users FOR EACH ROW EXECUTE FUNCTION write_meddle();
UPDATE write_users SET note = 'meddled' WHERE id = 501;
DROP TRIGGER " first" ON write_users;
DROP TRIGGER a_watch ON write_users;

--
-- Partitions with columns of their own order, made before and after
--

CREATE TABLE write_parted (id integer, full_name text, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE write_parted_n PARTITION OF write_parted FOR VALUES IN ('north');
CREATE TABLE write_parted_s (gone integer, region text NOT NULL, full_name text, id integer NOT NULL);
ALTER TABLE write_parted_s DROP COLUMN gone;
ALTER TABLE write_parted ATTACH PARTITION write_parted_s FOR VALUES IN ('south');
INSERT INTO write_parted SELECT i, 'First' || i || ' Last' || i, r FROM generate_series(1, 4) i, (VALUES ('north'), ('south')) v (r);
SELECT migrate.define('write_parted', 'write_parted', add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1),
			last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}');
SELECT migrate.expand('write_parted');
CREATE TABLE write_parted_e PARTITION OF write_parted FOR VALUES IN ('east');
-- by the parent
UPDATE write_parted SET full_name = 'Old Form' WHERE id = 1;
UPDATE write_parted SET first_name = 'New' WHERE id = 2;
INSERT INTO write_parted (id, region, full_name) SELECT 11, r, 'In Old' FROM (VALUES ('north'), ('south'), ('east')) v (r);
INSERT INTO write_parted (id, region, first_name, last_name) SELECT 12, r, 'In', 'New' FROM (VALUES ('north'), ('south'), ('east')) v (r);
COPY write_parted (region, last_name, first_name, id) FROM STDIN;
north	New	Copied	13
south	New	Copied	13
east	New	Copied	13
north	Newer	Copied	14
\.
COPY write_parted (full_name, first_name, last_name, region, id) FROM STDIN;
not this	\N	\N	south	18
not this	\N	\N	north	18
\.
COPY write_parted (region, full_name, id) FROM STDIN;
south	Copied Old	15
north	Copied Old	15
\.
-- by the partition
UPDATE write_parted_s SET last_name = 'Direct' WHERE id = 3;
INSERT INTO write_parted_s (id, region, full_name) VALUES (16, 'south', 'Di Rect');
COPY write_parted_s (id, region, last_name, first_name) FROM STDIN;
17	south	Rect	Di
\.
-- from one partition to another: a stale row, a converted one, and one that changes on the way
UPDATE write_parted SET region = 'east' WHERE id = 4 AND region = 'south';
UPDATE write_parted SET region = 'south', first_name = 'Moved' WHERE id = 4 AND region = 'north';
UPDATE write_parted SET region = 'east', full_name = 'Moved Too' WHERE id = 16;
SELECT tableoid::regclass, id, full_name, first_name, last_name, row_version FROM write_parted ORDER BY id, region;

--
-- The trigger is ours to put on tables
--

SELECT migrate.write_trigger();
CREATE TABLE write_unmanaged (id integer);
CREATE TRIGGER wrong BEFORE INSERT ON write_unmanaged FOR EACH ROW EXECUTE FUNCTION migrate.write_trigger();
INSERT INTO write_unmanaged VALUES (1);
DROP TRIGGER wrong ON write_unmanaged;
CREATE TRIGGER wrong AFTER INSERT ON write_unmanaged FOR EACH ROW EXECUTE FUNCTION migrate.write_trigger();
INSERT INTO write_unmanaged VALUES (1);
DROP TRIGGER wrong ON write_unmanaged;
CREATE TRIGGER wrong BEFORE INSERT ON write_unmanaged EXECUTE FUNCTION migrate.write_trigger();
INSERT INTO write_unmanaged VALUES (1);

--
-- A domain that gets a constraint: what was compiled before heeds it
--

CREATE DOMAIN write_word AS text;
CREATE TABLE write_words (id integer PRIMARY KEY, old text);
SELECT migrate.define('write_words', 'write_words', add => 'new write_word', up => 'new = old', down => 'old = new');
SELECT migrate.expand('write_words');
INSERT INTO write_words (id, old) VALUES (1, 'fine');
ALTER DOMAIN write_word ADD CHECK (VALUE <> 'bad');
INSERT INTO write_words (id, old) VALUES (2, 'bad');
ALTER DOMAIN write_word SET NOT NULL;
INSERT INTO write_words (id, old) VALUES (3, NULL);
SELECT id, old, new FROM write_words;
