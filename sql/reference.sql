-- REFERENCES in "add".
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;

CREATE TABLE ref_countries (id integer PRIMARY KEY, code text UNIQUE, a integer, b integer, UNIQUE (a, b));
INSERT INTO ref_countries SELECT i, 'c' || i, i, i FROM generate_series(1, 10) AS i;
CREATE TABLE ref_users (id integer PRIMARY KEY, country text, boss integer);
INSERT INTO ref_users VALUES (1, 'c1', NULL), (2, 'c2', 1), (3, 'nowhere', 2), (4, NULL, NULL);
CREATE VIEW ref_constraints AS
	SELECT conrelid::regclass AS relation, conname, convalidated, pg_get_constraintdef(oid) AS definition
	FROM pg_constraint WHERE contype = 'f' AND conrelid::regclass::text LIKE 'ref\_%' AND conparentid = 0
	ORDER BY 1, 2;

-- What is refused, as the server would in the end.
SELECT migrate.define('ref_bad', 'ref_users', add => 'c text REFERENCES ref_nowhere', up => 'c = country');
SELECT migrate.define('ref_bad', 'ref_users', add => 'c text REFERENCES ref_constraints', up => 'c = country');
SELECT migrate.define('ref_bad', 'ref_users', add => 'c text REFERENCES ref_countries', up => 'c = country');
SELECT migrate.define('ref_bad', 'ref_users', add => 'c text REFERENCES ref_countries (kode)', up => 'c = country');
SELECT migrate.define('ref_bad', 'ref_users', add => 'c integer REFERENCES ref_countries (a)', up => 'c = boss');
SELECT migrate.define('ref_bad', 'ref_users', add => 'c text REFERENCES ref_countries (code) DEFERRABLE NOT DEFERRABLE', up => 'c = country');
SELECT migrate.define('ref_bad', 'ref_users', add => 'c text CHECK (c <> '''') DEFERRABLE', up => 'c = country');
SELECT migrate.define('ref_bad', 'ref_users', add => 'c text REFERENCES ref_countries (code) REFERENCES ref_countries (code)', up => 'c = country');
CREATE TEMP TABLE ref_temp (id integer PRIMARY KEY);
SELECT migrate.define('ref_bad', 'ref_users', add => 'c integer REFERENCES ref_temp', up => 'c = boss');
CREATE UNLOGGED TABLE ref_unlogged (id integer PRIMARY KEY);
SELECT migrate.define('ref_bad', 'ref_users', add => 'c integer REFERENCES ref_unlogged', up => 'c = boss');
SELECT migrate.define('ref_bad', 'ref_users', add => 'c oid REFERENCES pg_class (oid)', up => 'c = boss');
CREATE ROLE ref_owner;
CREATE ROLE ref_writer;
CREATE TABLE ref_owned (id integer PRIMARY KEY, country text);
ALTER TABLE ref_owned OWNER TO ref_owner;
SET ROLE ref_owner;
SELECT migrate.define('ref_owned', 'ref_owned', add => 'c text REFERENCES ref_countries (code)', up => 'c = country');
RESET ROLE;

-- It holds for the new form, with the rights of the referenced table's owner,
-- not for the old one, and locks what is referred to.
SELECT migrate.define('ref_users', 'ref_users',
	add => $$country_code text REFERENCES ref_countries (code) MATCH FULL DEFERRABLE,
		boss_id bigint CONSTRAINT ref_boss REFERENCES ref_users ON DELETE CASCADE$$,
	up => 'country_code = country, boss_id = boss', down => 'country = country_code, boss = boss_id',
	remove => '{country, boss}');
SELECT migrate.expand('ref_users');
SELECT * FROM ref_constraints;
INSERT INTO ref_users (id, country, boss) VALUES (5, 'nobody''s', 77);
INSERT INTO ref_users (id, country_code) VALUES (6, 'nobody''s');
GRANT INSERT, UPDATE, SELECT (id) ON ref_users TO ref_writer;
SET ROLE ref_writer;
INSERT INTO ref_users (id, country_code) VALUES (6, 'nobody''s');
INSERT INTO ref_users (id, country_code) VALUES (6, 'c6'), (7, 'c7');
RESET ROLE;
INSERT INTO ref_users (id, boss_id) VALUES (8, 99);
INSERT INTO ref_users (id, boss_id) VALUES (8, 8);
UPDATE ref_users SET country_code = 'nobody''s' WHERE id = 6;
UPDATE ref_users SET country = 'nobody''s' WHERE id = 7;
UPDATE ref_users SET country_code = 'c9' WHERE id = 7;
UPDATE ref_users SET boss_id = 1 WHERE id = 5;			-- does not speak of its country
MERGE INTO ref_users u USING (VALUES (9, 'nobody''s')) v (id, code) ON u.id = v.id
	WHEN NOT MATCHED THEN INSERT (id, country_code) VALUES (v.id, v.code);
COPY ref_users (id, country_code) FROM stdin;
9	nobody's
\.
BEGIN;
SET CONSTRAINTS ref_users_country_code_fkey DEFERRED;
INSERT INTO ref_users (id, country_code) VALUES (20, 'late');
INSERT INTO ref_countries VALUES (20, 'late');
COMMIT;
BEGIN;
SET CONSTRAINTS ref_users_country_code_fkey DEFERRED;
INSERT INTO ref_users (id, country_code) VALUES (21, 'too late');
COMMIT;

-- The table that is referred to goes its own way, but for the key.
DROP TABLE ref_countries;
ALTER TABLE ref_countries DROP CONSTRAINT ref_countries_code_key;
ALTER TABLE ref_countries RENAME TO ref_states;
ALTER TABLE ref_states RENAME code TO kode;
INSERT INTO ref_users (id, country_code) VALUES (30, 'nobody''s');
INSERT INTO ref_users (id, country_code) VALUES (30, 'c1');
DELETE FROM ref_states WHERE kode = 'c6';

-- Rows that break it hold the completion back, and nobody else.
CALL migrate.run('ref_users');
SELECT row_key, sqlstate, message FROM migrate.failures WHERE migration = 'ref_users' ORDER BY row_key;
INSERT INTO ref_users (id, country) VALUES (31, 'nobody''s');
DELETE FROM ref_users WHERE id = 31;
INSERT INTO ref_states VALUES (11, 'nowhere'), (12, 'nobody''s');
UPDATE ref_users SET country_code = 'c1' WHERE id = 6;
SELECT migrate.retry('ref_users');
CALL migrate.run('ref_users');
SELECT count(*) FROM migrate.failures WHERE migration = 'ref_users';
SELECT state FROM migrate.status WHERE name = 'ref_users';
SELECT * FROM ref_constraints;
INSERT INTO ref_users (id, country) VALUES (31, 'nowhere to be found');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'ref_users'::regclass AND NOT tgisinternal ORDER BY 1;

-- A rollback takes it away, at each stage; a contract keeps it.
SELECT migrate.rollback('ref_users', discard => true);
SELECT * FROM ref_constraints;
ALTER TABLE ref_states RENAME kode TO code;
ALTER TABLE ref_states RENAME TO ref_countries;
SELECT migrate.expand('ref_users');
SELECT migrate.rollback('ref_users');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'ref_users'::regclass AND NOT tgisinternal;
SELECT migrate.expand('ref_users');
CALL migrate.run('ref_users');
SELECT migrate.contract('ref_users', skip => '{window,usage}');
SELECT * FROM ref_constraints;
SELECT count(*) FROM migrate.added_reference;

-- Who drops the trigger gives it up.
CREATE TABLE ref_given_up (id integer PRIMARY KEY, a integer);
INSERT INTO ref_given_up VALUES (1, 77);
SELECT migrate.define('ref_given_up', 'ref_given_up', add => 'b integer REFERENCES ref_countries', up => 'b = a');
SELECT migrate.expand('ref_given_up');
DROP TRIGGER ref_given_up_b_fkey ON ref_given_up;
CALL migrate.run('ref_given_up');
SELECT state FROM migrate.status WHERE name = 'ref_given_up';

-- A new type under the same name; a value that is cast, a domain, another collation.
CREATE TABLE ref_accounts (number numeric PRIMARY KEY, name varchar(10) COLLATE "C" UNIQUE);
INSERT INTO ref_accounts VALUES (1, 'one'), (2, 'two');
CREATE DOMAIN ref_name AS text CHECK (VALUE <> '');
CREATE TABLE ref_retype (id integer PRIMARY KEY, account text, n text);
INSERT INTO ref_retype VALUES (1, '1', 'one'), (2, '3', 'two');
SELECT migrate.define('ref_retype', 'ref_retype',
	add => $$account integer REFERENCES ref_accounts ON DELETE SET NULL, name ref_name REFERENCES ref_accounts (name)$$,
	up => 'account = old.account::integer, name = n', down => 'account = new.account::text, n = name');
SELECT migrate.expand('ref_retype');
INSERT INTO ref_retype (id, account_new, name) VALUES (3, 4, 'one');
INSERT INTO ref_retype (id, account_new, name) VALUES (3, 2, 'three');
INSERT INTO ref_retype (id, account_new, name) VALUES (3, 2, 'two');
CALL migrate.run('ref_retype');
SELECT row_key, sqlstate, message FROM migrate.failures WHERE migration = 'ref_retype';
UPDATE ref_retype SET account = '2' WHERE id = 2;
SELECT migrate.retry('ref_retype');
CALL migrate.run('ref_retype');
SELECT migrate.contract('ref_retype', skip => '{window,usage}');
SELECT * FROM ref_constraints WHERE relation = 'ref_retype'::regclass;
DELETE FROM ref_accounts WHERE number = 2 AND NOT EXISTS (SELECT FROM ref_retype WHERE name = 'two');

-- Partitioned tables, on both sides: sub-partitions, other attribute numbers, and
-- partitions that come and go meanwhile.
CREATE TABLE ref_keys (id integer PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE ref_keys1 PARTITION OF ref_keys FOR VALUES FROM (0) TO (10);
CREATE TABLE ref_keys2 PARTITION OF ref_keys FOR VALUES FROM (10) TO (100);
INSERT INTO ref_keys SELECT generate_series(1, 20);
CREATE TABLE ref_parts (id integer, k integer) PARTITION BY RANGE (id);
CREATE TABLE ref_part1 PARTITION OF ref_parts FOR VALUES FROM (0) TO (10);
CREATE TABLE ref_part2 (junk text, k integer, id integer) PARTITION BY RANGE (id);
ALTER TABLE ref_part2 DROP COLUMN junk;
CREATE TABLE ref_part21 PARTITION OF ref_part2 FOR VALUES FROM (10) TO (15);
ALTER TABLE ref_parts ATTACH PARTITION ref_part2 FOR VALUES FROM (10) TO (20);
INSERT INTO ref_parts VALUES (1, 1), (11, 11), (12, 99);
SELECT migrate.define('ref_parts', 'ref_parts', add => 'key_id integer REFERENCES ref_keys DEFERRABLE INITIALLY DEFERRED',
	up => 'key_id = k', down => 'k = key_id');
SELECT migrate.expand('ref_parts');
INSERT INTO ref_part21 (id, key_id) VALUES (13, 98);
INSERT INTO ref_part21 (id, k) VALUES (13, 98);
INSERT INTO ref_parts (id, key_id) VALUES (14, 12);
CREATE TABLE ref_part22 PARTITION OF ref_part2 FOR VALUES FROM (15) TO (20);
INSERT INTO ref_parts (id, key_id) VALUES (16, 97);
INSERT INTO ref_parts (id, k) VALUES (16, 15);
CALL migrate.run('ref_parts');
SELECT relation, sqlstate, message FROM migrate.failures WHERE migration = 'ref_parts';
INSERT INTO ref_keys VALUES (98), (99);
SELECT migrate.retry('ref_parts');
CALL migrate.run('ref_parts');
SELECT state FROM migrate.status WHERE name = 'ref_parts';
SELECT * FROM ref_constraints WHERE relation::text LIKE 'ref\_part%';
SELECT conrelid::regclass, convalidated FROM pg_constraint
	WHERE contype = 'f' AND conrelid::regclass::text LIKE 'ref\_part%' AND confrelid = 'ref_keys'::regclass ORDER BY conrelid::regclass::text COLLATE "C";
\set VERBOSITY sqlstate
DELETE FROM ref_keys WHERE id = 99;
INSERT INTO ref_parts (id, k) VALUES (17, 97);
\set VERBOSITY default
SELECT migrate.rollback('ref_parts', discard => true);
SELECT * FROM ref_constraints WHERE relation::text LIKE 'ref\_part%';

-- What an UPDATE of the new form leaves alone may break it, in a stale row as in a converted one.
CREATE TABLE ref_left (id integer PRIMARY KEY, k integer, v integer);
INSERT INTO ref_left VALUES (1, 77, 1), (2, 77, 1);
SELECT migrate.define('ref_left', 'ref_left', add => 'key_id integer REFERENCES ref_keys, w integer',
	up => 'key_id = k, w = v', down => 'v = w');
SELECT migrate.expand('ref_left');
UPDATE ref_left SET v = 2 WHERE id = 2;
UPDATE ref_left SET w = 3 RETURNING *;
UPDATE ref_left SET w = 4, key_id = 78 WHERE id = 1;
SELECT migrate.rollback('ref_left', discard => true);
DROP TABLE ref_left;
