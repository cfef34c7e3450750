-- Foreign keys, and columns that do not read as they are stored.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;

CREATE TABLE fk_codes (id integer PRIMARY KEY, code text UNIQUE, shown text GENERATED ALWAYS AS ('<' || code || '>') STORED UNIQUE);
INSERT INTO fk_codes VALUES (1, 'one'), (2, 'two'), (3, 'THREE');
CREATE TABLE fk_items (id integer PRIMARY KEY, code text CONSTRAINT fk_of_items REFERENCES fk_codes (code) ON UPDATE CASCADE);

-- What others refer to is not rewritten in place: who deletes a stale row would leave
-- those behind who refer to what it reads as
SELECT migrate.define('fk_codes', 'fk_codes', up => 'code = upper(code)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('fk_id', 'fk_codes', up => 'id = abs(id)');
SELECT migrate.forget('fk_id');
ALTER TABLE fk_items DROP CONSTRAINT fk_of_items;
SELECT migrate.define('fk_codes', 'fk_codes', up => 'code = upper(code)');
-- nor by who comes between define and expand; nor what is generated from it
ALTER TABLE fk_items ADD CONSTRAINT fk_of_items FOREIGN KEY (code) REFERENCES fk_codes (code) NOT VALID;
SELECT migrate.expand('fk_codes');
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE fk_items DROP CONSTRAINT fk_of_items;
CREATE TABLE fk_shown (shown text CONSTRAINT fk_of_shown REFERENCES fk_codes (shown));
SELECT migrate.expand('fk_codes');
DROP TABLE fk_shown;
-- nor by a REFERENCES that is to become a foreign key
SELECT migrate.define('fk_new', 'fk_items', add => 'new_code text REFERENCES fk_codes (code)', up => 'new_code = code');
SELECT migrate.expand('fk_new');
SELECT migrate.expand('fk_codes');
SELECT migrate.rollback('fk_new');

-- And nobody comes to refer to it, before it is rewritten to the end
SELECT migrate.expand('fk_codes');
ALTER TABLE fk_items ADD CONSTRAINT fk_of_items FOREIGN KEY (code) REFERENCES fk_codes (code) NOT VALID;
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE fk_shown (shown text REFERENCES fk_codes (shown));
SELECT migrate.expand('fk_new');
CREATE TABLE fk_by_id (id integer REFERENCES fk_codes);
DROP TABLE fk_by_id;
CALL migrate.run('fk_codes');
ALTER TABLE fk_items ADD CONSTRAINT fk_of_items FOREIGN KEY (code) REFERENCES fk_codes (code);
INSERT INTO fk_items VALUES (1, 'ONE');
DELETE FROM fk_codes WHERE id = 1;
UPDATE fk_codes SET code = 'uno' WHERE id = 1;
SELECT migrate.define('fk_codes', 'fk_codes', up => 'code = upper( code )');

-- Of partitions, too, whoever refers to one alone
CREATE TABLE fk_parted (part integer, code text, PRIMARY KEY (part, code)) PARTITION BY LIST (part);
CREATE TABLE fk_parted_1 PARTITION OF fk_parted FOR VALUES IN (1);
CREATE TABLE fk_of_part (part integer, code text, CONSTRAINT fk_of_part FOREIGN KEY (part, code) REFERENCES fk_parted_1);
SELECT migrate.define('fk_parted', 'fk_parted', up => 'code = upper(code)');
DROP TABLE fk_of_part;
SELECT migrate.define('fk_parted', 'fk_parted', up => 'code = upper(code)');
SELECT migrate.expand('fk_parted');
CREATE TABLE fk_of_part (part integer, code text, CONSTRAINT fk_of_part FOREIGN KEY (part, code) REFERENCES fk_parted);
CREATE TABLE fk_of_part (part integer, code text, CONSTRAINT fk_of_part FOREIGN KEY (part, code) REFERENCES fk_parted_1);

-- A column that refers may be rewritten: it is held to what it reads as
CREATE TABLE fk_states (state text PRIMARY KEY);
INSERT INTO fk_states VALUES ('done'), ('closed'), ('open');
CREATE TABLE fk_tasks (id integer PRIMARY KEY, state text CONSTRAINT fk_of_tasks REFERENCES fk_states);
INSERT INTO fk_tasks VALUES (1, 'done'), (2, 'open');
SELECT migrate.define('fk_tasks', 'fk_tasks', up => $$state = 'closed'$$, needed => $$state = 'done'$$);
SELECT migrate.expand('fk_tasks');
DELETE FROM fk_states WHERE state = 'closed';
DELETE FROM fk_states WHERE state = 'done';
-- but not be left half rewritten, where that may be stored what is gone
SELECT migrate.rollback('fk_tasks');
\echo :LAST_ERROR_SQLSTATE
CALL migrate.run('fk_tasks');
SELECT migrate.rollback('fk_tasks', discard => true);
SELECT t.id, t.state, s.state FROM fk_tasks t LEFT JOIN fk_states s USING (state) ORDER BY 1;
SELECT migrate.expand('fk_tasks');
ALTER TABLE fk_tasks DROP CONSTRAINT fk_of_tasks, ADD CONSTRAINT fk_of_tasks FOREIGN KEY (state) REFERENCES fk_states NOT VALID;
SELECT migrate.rollback('fk_tasks', discard => true);

SET client_min_messages = error;
SELECT migrate.rollback(name, discard => true) FROM migrate.migration
	WHERE name LIKE 'fk\_%' AND state IN ('expanded', 'complete') ORDER BY seq DESC;
SELECT migrate.forget(name) FROM migrate.migration WHERE name LIKE 'fk\_%' ORDER BY seq DESC;
DROP TABLE fk_items, fk_codes, fk_parted, fk_tasks, fk_states;
