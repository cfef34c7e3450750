--
-- The planner tells the write trigger which form an INSERT speaks, by the
-- columns that it names and not by their values. The new form is shown by a NULL
-- that is named: spoken new, it makes full_name NULL as well; left out, "up"
-- makes a name of nothing.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;

CREATE TABLE read_forms (dropped integer, id integer PRIMARY KEY, full_name text DEFAULT 'Old Default');
ALTER TABLE read_forms DROP COLUMN dropped;
SELECT migrate.define('read_forms', 'read_forms', add => 'first_name text',
	up => $$first_name = coalesce(split_part(full_name, ' ', 1), '-')$$, down => $$full_name = first_name || ' of new'$$);
SELECT migrate.expand('read_forms');
PREPARE read_forms_shown AS DELETE FROM read_forms RETURNING id, full_name, first_name, row_version;

INSERT INTO read_forms (id) VALUES (1);
INSERT INTO read_forms (id, full_name) VALUES (2, 'Ada Lovelace'), (3, NULL);
INSERT INTO read_forms (id, first_name) VALUES (4, 'Alan'), (5, NULL);
INSERT INTO read_forms (id, first_name) VALUES (6, NULL);
INSERT INTO read_forms VALUES (7, 'Emmy Noether');
INSERT INTO read_forms (id, first_name) SELECT i, NULL FROM generate_series(8, 9) i;
INSERT INTO read_forms (id, full_name) SELECT id + 100, full_name FROM read_forms WHERE id = 7;
INSERT INTO read_forms (id, full_name, first_name) VALUES (10, 'both', 'new');
-- a version that is named, but as "unsaid", and one that is said
INSERT INTO read_forms (id, first_name, row_version) VALUES (11, NULL, DEFAULT);
INSERT INTO read_forms (id, full_name, first_name, row_version) VALUES (12, 'From Elsewhere', 'stored', 1);
INSERT INTO read_forms (id, full_name, first_name, row_version) VALUES (13, 'From Elsewhere', 'stored', 2);
WITH w AS (INSERT INTO read_forms (id, first_name) VALUES (14, NULL) RETURNING *) SELECT id, full_name, first_name FROM w;
EXECUTE read_forms_shown;

-- by other ways
CREATE VIEW read_forms_view AS SELECT first_name AS given, id AS number, full_name AS whole FROM read_forms;
INSERT INTO read_forms_view (number, given) VALUES (20, NULL);
INSERT INTO read_forms_view (number, whole) VALUES (21, NULL);
CREATE TABLE read_source (id integer, given text);
CREATE RULE read_forward AS ON INSERT TO read_source DO ALSO INSERT INTO read_forms (id, first_name) VALUES (NEW.id, NEW.given);
INSERT INTO read_source VALUES (22, NULL);
CREATE FUNCTION read_add(integer, text) RETURNS void LANGUAGE sql AS 'INSERT INTO read_forms (id, first_name) VALUES ($1, $2)';
SELECT read_add(23, NULL);
INSERT INTO read_forms (id, first_name) VALUES (23, 'x') ON CONFLICT (id) DO UPDATE SET first_name = EXCLUDED.first_name || coalesce(EXCLUDED.full_name, '?');
COPY read_forms (id, first_name) FROM STDIN;
24	\N
\.
COPY read_forms (id, full_name) FROM STDIN;
25	\N
\.
EXECUTE read_forms_shown;

-- MERGE: each action by itself
MERGE INTO read_forms f USING (VALUES (30, 'x'), (31, 'y'), (32, 'z'), (33, 'w')) s (id, what) ON f.id = s.id
	WHEN NOT MATCHED AND what = 'x' THEN INSERT (id, first_name) VALUES (s.id, NULL)
	WHEN NOT MATCHED AND what = 'y' THEN INSERT (id, full_name) VALUES (s.id, NULL)
	WHEN NOT MATCHED AND what = 'z' THEN INSERT VALUES (s.id, 'Merged Name')
	WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id);
MERGE INTO read_forms f USING (VALUES (34)) s (id) ON f.id = s.id
	WHEN NOT MATCHED THEN INSERT (id, full_name, first_name, row_version) VALUES (s.id, 'From Elsewhere', 'stored', 1);
MERGE INTO read_forms f USING (VALUES (30), (35)) s (id) ON f.id = s.id
	WHEN MATCHED THEN UPDATE SET first_name = 'matched'
	WHEN NOT MATCHED THEN INSERT (id, first_name) VALUES (s.id, NULL);
EXECUTE read_forms_shown;

-- A chain of two: each by itself
SELECT migrate.define('read_forms_2', 'read_forms', add => 'initial text',
	up => $$initial = left(coalesce(first_name, '?'), 1)$$, down => $$first_name = initial || '.'$$);
SELECT migrate.expand('read_forms_2');
INSERT INTO read_forms (id, full_name) VALUES (40, NULL);
INSERT INTO read_forms (id, first_name) VALUES (41, NULL);
INSERT INTO read_forms (id, initial) VALUES (42, NULL), (43, 'I');
SELECT id, full_name, first_name, initial, row_version FROM read_forms ORDER BY id;
DELETE FROM read_forms;

-- No mark is made where nobody would take it out; and one that is met by no
-- trigger, because a partition has lost its own, is refused
CREATE TABLE read_unguarded (id integer, a integer) PARTITION BY RANGE (id);
CREATE TABLE read_unguarded_1 PARTITION OF read_unguarded FOR VALUES FROM (0) TO (10);
SELECT migrate.define('read_unguarded', 'read_unguarded', add => 'b integer', up => 'b = a');
SELECT migrate.expand('read_unguarded');
SET migrate.guard = off;
ALTER TABLE read_unguarded_1 DISABLE TRIGGER "!migrate";
INSERT INTO read_unguarded_1 (id, b) VALUES (1, 1);
INSERT INTO read_unguarded (id, b) VALUES (1, 1);
ALTER TABLE read_unguarded_1 ENABLE TRIGGER "!migrate";
INSERT INTO read_unguarded (id, b) VALUES (1, 1);
SET session_replication_role = replica;
INSERT INTO read_unguarded (id, b) VALUES (1, 1);
ALTER TABLE read_unguarded_1 ENABLE ALWAYS TRIGGER "!migrate";
INSERT INTO read_unguarded (id, b) VALUES (2, 2);
RESET session_replication_role;
RESET migrate.guard;
SELECT * FROM read_unguarded;
