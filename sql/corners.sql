--
-- Corners: each of these once read wrong, lost a write, or failed.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;

--
-- An INSERT that says DEFAULT of a column has not set it: object mappers say it
-- of every column that they know and have no value for
--

CREATE TABLE corner_defaults (id integer PRIMARY KEY, full_name text);
SELECT migrate.define('corner_defaults', 'corner_defaults',
	add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1),
			last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$,
	remove => '{full_name}');
SELECT migrate.expand('corner_defaults');
INSERT INTO corner_defaults (id, full_name, first_name, last_name) VALUES (1, 'Ada Lovelace', DEFAULT, DEFAULT);
INSERT INTO corner_defaults (id, full_name, first_name, last_name) VALUES
	(2, 'Grace Hopper', DEFAULT, DEFAULT), (3, 'Alan Turing', DEFAULT, DEFAULT);
INSERT INTO corner_defaults (id, full_name, first_name, last_name) VALUES (4, DEFAULT, 'Emmy', 'Noether');
MERGE INTO corner_defaults USING (VALUES (5)) v (i) ON id = i
WHEN NOT MATCHED THEN INSERT (id, full_name, first_name, last_name) VALUES (i, 'Kurt Goedel', DEFAULT, DEFAULT);
-- a NULL is a value, and so is what happens to be the default
INSERT INTO corner_defaults (id, full_name, first_name, last_name) VALUES
	(6, 'not this', NULL, NULL), (7, 'not this', NULL, NULL);
ALTER TABLE corner_defaults ALTER first_name SET DEFAULT 'Nemo';
INSERT INTO corner_defaults (id, full_name, first_name) VALUES (8, 'Carl Gauss', DEFAULT);
INSERT INTO corner_defaults (id, full_name, first_name) VALUES (9, 'not this', 'Nemo');
MERGE INTO corner_defaults USING (VALUES (10)) v (i) ON id = i
WHEN NOT MATCHED THEN INSERT (id, full_name, first_name) VALUES (i, 'not this', 'Nemo');
-- each row of several for itself, also where they say their version
INSERT INTO corner_defaults (id, full_name, first_name, last_name) VALUES
	(11, 'Ada Lovelace', DEFAULT, DEFAULT), (12, 'not this', 'Grace', 'Hopper'), (13, 'not this', NULL, DEFAULT);
INSERT INTO corner_defaults (id, full_name, first_name, last_name, row_version) VALUES
	(14, 'Ada Lovelace', DEFAULT, DEFAULT, DEFAULT), (15, 'not this', NULL, NULL, DEFAULT), (16, 'Alan Turing', 'not', 'this', 1);
SELECT id, full_name, first_name, last_name FROM corner_defaults ORDER BY id;
SELECT migrate.rollback('corner_defaults', discard => true);
DROP TABLE corner_defaults;

--
-- A column generated from one that a migration adds reads, in a stale row, as
-- generated from what that one reads as
--

CREATE TABLE corner_generated (id integer PRIMARY KEY, a integer);
INSERT INTO corner_generated SELECT i, i FROM generate_series(1, 3) i;
SELECT migrate.define('corner_generated', 'corner_generated', add => 'b integer',
	up => 'b = a * 10', down => 'a = b / 10', remove => '{a}');
SELECT migrate.expand('corner_generated');
ALTER TABLE corner_generated ADD COLUMN g integer GENERATED ALWAYS AS (coalesce(b, -1) + a) STORED;
UPDATE corner_generated SET b = 29 WHERE id = 2;
SELECT id, a, b, g FROM corner_generated WHERE g > 0 ORDER BY id;
UPDATE corner_generated SET a = 5 WHERE id = 3 RETURNING a, b, g;
CALL migrate.run('corner_generated');
SELECT id, a, b, g FROM corner_generated ORDER BY id;
-- it is nobody's but its owner's
ALTER TABLE corner_generated DROP COLUMN g;
SELECT migrate.rollback('corner_generated', discard => true);
DROP TABLE corner_generated;

--
-- What a table's own BEFORE triggers change, in either form, is in the other too
--

CREATE TABLE corner_triggers (id integer PRIMARY KEY, a integer, note text) PARTITION BY RANGE (id);
CREATE TABLE corner_triggers_low (note text, a integer, id integer NOT NULL);
ALTER TABLE corner_triggers ATTACH PARTITION corner_triggers_low FOR VALUES FROM (0) TO (10);
CREATE TABLE corner_triggers_high PARTITION OF corner_triggers FOR VALUES FROM (10) TO (3000);
INSERT INTO corner_triggers SELECT i, i, 'none' FROM generate_series(1, 6) i;
SELECT migrate.define('corner_triggers', 'corner_triggers', add => 'b integer',
	up => 'b = a * 10', down => 'a = b / 10', remove => '{a}');
SELECT migrate.expand('corner_triggers');
CREATE FUNCTION corner_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	CASE NEW.note
	WHEN 'seen' THEN RAISE NOTICE 'a is %, b is %', NEW.a, NEW.b;
	WHEN 'old' THEN NEW.a := 77;
	WHEN 'new' THEN NEW.b := 779;
	WHEN 'both' THEN NEW.a := 1; NEW.b := 88;
	WHEN 'version' THEN NEW.row_version := 1;
	WHEN 'out' THEN RETURN NULL;
	WHEN 'nested' THEN
		INSERT INTO corner_triggers (id, b, note) VALUES (NEW.id + 1000, 55, 'old');
		UPDATE corner_triggers SET b = 66 WHERE id = 1;
		NEW.a := 99;
	ELSE
	END CASE;
	RETURN NEW;
END
$$;
CREATE TRIGGER corner_trigger BEFORE INSERT OR UPDATE ON corner_triggers
	FOR EACH ROW EXECUTE FUNCTION corner_trigger();
UPDATE corner_triggers SET note = 'old' WHERE id = 2;
UPDATE corner_triggers SET note = 'new', a = 5 WHERE id = 3;
UPDATE corner_triggers SET note = 'out', a = 5 WHERE id = 4;
UPDATE corner_triggers SET note = 'seen', a = 5 WHERE id = 5;
-- moved to another partition, where all fire once more
UPDATE corner_triggers SET note = 'old', id = 16 WHERE id = 6;
INSERT INTO corner_triggers (id, a, note) VALUES (11, 2, 'old'), (12, 2, 'out'), (13, 2, 'nested'),
	(14, 2, 'new'), (15, 2, 'version');
INSERT INTO corner_triggers (id, b, note) VALUES (17, 25, 'none'), (18, 25, 'old')
ON CONFLICT (id) DO UPDATE SET note = 'new';
INSERT INTO corner_triggers (id, b, note) VALUES (18, 25, 'seen') ON CONFLICT (id) DO UPDATE SET note = 'new';
COPY corner_triggers (id, b, note) FROM STDIN;
21	35	old
22	35	out
23	35	both
\.
SELECT id, a, b, note, row_version FROM corner_triggers ORDER BY id;
-- without them nobody looks
DROP TRIGGER corner_trigger ON corner_triggers;
UPDATE corner_triggers SET a = 3, note = 'none' WHERE id = 3 RETURNING a, b;
SELECT migrate.rollback('corner_triggers', discard => true);
DROP TABLE corner_triggers;
DROP FUNCTION corner_trigger();

--
-- A unique index on what stale rows do not hold yet would let in what reads as twice
--

CREATE TABLE corner_unique (id integer PRIMARY KEY, a integer);
INSERT INTO corner_unique SELECT i, i FROM generate_series(1, 3) i;
SELECT migrate.define('corner_unique', 'corner_unique', add => '"the b" integer',
	up => '"the b" = a * 10', down => 'a = "the b" / 10', remove => '{a}');
SELECT migrate.expand('corner_unique');
ALTER TABLE corner_unique ADD UNIQUE ("the b");
CREATE UNIQUE INDEX ON corner_unique (id, (abs("the b")));
ALTER TABLE corner_unique ADD EXCLUDE USING btree ("the b" WITH =);
CREATE INDEX ON corner_unique ("the b");
CREATE UNIQUE INDEX corner_unique_old ON corner_unique (a);
DROP INDEX corner_unique_old;
CALL migrate.run('corner_unique');
ALTER TABLE corner_unique ADD UNIQUE ("the b");
INSERT INTO corner_unique (id, "the b") VALUES (4, 30) ON CONFLICT ("the b") DO NOTHING;
SELECT migrate.contract('corner_unique', '20 s', '{window,usage}');
DROP TABLE corner_unique;

--
-- Partitions come and go with their rows as they are stored, and nobody is misled by the
-- version that a partition gives its rows by default
--

CREATE TABLE corner_parts (id integer PRIMARY KEY, a integer) PARTITION BY RANGE (id);
CREATE TABLE corner_parts_0 PARTITION OF corner_parts FOR VALUES FROM (0) TO (10);
CREATE TABLE corner_parts_1 PARTITION OF corner_parts FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE corner_parts_1a PARTITION OF corner_parts_1 FOR VALUES FROM (10) TO (20);
INSERT INTO corner_parts SELECT i, i FROM generate_series(1, 12) i;
SELECT migrate.define('corner_parts', 'corner_parts', add => 'b integer',
	up => 'b = a * 10', down => 'a = b / 10', remove => '{a}');
SELECT migrate.expand('corner_parts');
UPDATE corner_parts SET b = b + 1 WHERE id = 11;
UPDATE corner_parts SET a = a WHERE id IN (10, 12);
-- it goes converted, and takes rows of its own
ALTER TABLE corner_parts DETACH PARTITION corner_parts_1 CONCURRENTLY;
INSERT INTO corner_parts_1 VALUES (13, 13, DEFAULT, 130);
SELECT * FROM corner_parts_1 ORDER BY id;
-- come again, it takes either form, also directly
ALTER TABLE corner_parts ATTACH PARTITION corner_parts_1 FOR VALUES FROM (10) TO (20);
INSERT INTO corner_parts_1 (id, a) VALUES (14, 14);
COPY corner_parts_1a (id, b) FROM STDIN;
15	155
\.
CREATE TABLE corner_parts_2 (b integer, id integer NOT NULL, row_version integer NOT NULL DEFAULT 1, a integer,
	CONSTRAINT row_version_2 CHECK (row_version >= 2) NOT VALID);
ALTER TABLE corner_parts ATTACH PARTITION corner_parts_2 FOR VALUES FROM (20) TO (30);
INSERT INTO corner_parts_2 (id, b) VALUES (20, 205);
SELECT id, a, b, row_version FROM corner_parts WHERE id >= 10 ORDER BY id;
CALL migrate.run('corner_parts');
-- when all are converted anyone may go
ALTER TABLE corner_parts DETACH PARTITION corner_parts_0;
SELECT migrate.contract('corner_parts', '20 s', '{window,usage}');
DROP TABLE corner_parts, corner_parts_0;

--
-- A record of the table's type, made by a client that knows nothing of the row
-- version, can still be inserted and written back; and a version that was read before
-- the row was converted does not undo what is written with it
--

CREATE TABLE corner_records (id integer PRIMARY KEY, a integer, note text);
INSERT INTO corner_records SELECT i, i FROM generate_series(1, 3) i;
SELECT migrate.define('corner_records', 'corner_records', add => 'b integer',
	up => 'b = a * 10', down => 'a = b / 10', remove => '{a}');
SELECT migrate.expand('corner_records');
DO $$
DECLARE
	old_form corner_records;
	new_form corner_records;
BEGIN
	old_form.id := 11;
	old_form.a := 11;
	INSERT INTO corner_records VALUES (old_form.*);
	new_form.id := 12;
	new_form.b := 125;
	INSERT INTO corner_records SELECT new_form.*;
END
$$;
INSERT INTO corner_records SELECT * FROM jsonb_populate_record(NULL::corner_records, '{"id": 13, "a": 13}');
COPY corner_records (id, a, b, row_version) FROM STDIN;
14	14	\N	\N
\.
UPDATE corner_records SET (a, b, row_version) = (SELECT a, 155, NULL::integer) WHERE id = 1;
SELECT id, a, b, row_version FROM corner_records ORDER BY id;
CALL migrate.run('corner_records');
-- as if all of it had been read before
UPDATE corner_records SET a = 2, b = 277, note = 'new', row_version = 1 WHERE id = 2;
UPDATE corner_records SET a = 31, b = 30, note = 'old', row_version = 1 WHERE id = 3;
-- but a replica has it from the other side
SET session_replication_role = replica;
UPDATE corner_records SET a = 14, b = NULL, row_version = 1 WHERE id = 14;
RESET session_replication_role;
SELECT id, a, b, row_version FROM corner_records ORDER BY id;
SELECT migrate.contract('corner_records', '20 s', '{window,usage}');
DROP TABLE corner_records;
