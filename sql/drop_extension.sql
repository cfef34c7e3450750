--
-- The extension is dropped: not while a migration is live, and without a trace afterwards.
--
SET client_min_messages = warning;
CREATE ROLE regress_drop_extension_owner;
CREATE DATABASE regress_migrate_drop;
\c regress_migrate_drop
SET client_min_messages = warning;
CREATE EXTENSION migrate;
GRANT CREATE ON SCHEMA public TO regress_drop_extension_owner;
SET ROLE regress_drop_extension_owner;
CREATE TABLE people (id integer, age text, PRIMARY KEY (id));
CREATE TABLE parted (gone integer, id integer, age text) PARTITION BY LIST (id);
ALTER TABLE parted DROP COLUMN gone;
CREATE TABLE parted1 PARTITION OF parted FOR VALUES IN (1);
INSERT INTO people VALUES (1, '20');
INSERT INTO parted VALUES (1, '20');
SELECT migrate.define(name, name::regclass, add => 'years integer', up => 'years = age::integer',
	down => 'age = years::text', remove => '{age}') FROM (VALUES ('people'), ('parted')) v(name);
SELECT migrate.expand('people'), migrate.expand('parted');
RESET ROLE;

CREATE VIEW remains AS
SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'c' AND conname ~ 'row_version|migrate'
UNION ALL SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgname ~ 'migrate'
UNION ALL SELECT stxrelid::regclass, stxname FROM pg_statistic_ext
UNION ALL SELECT NULL, nspname FROM pg_namespace WHERE nspname = 'migrate';

-- While a migration is live.
\set VERBOSITY terse
DROP EXTENSION migrate;
DROP EXTENSION migrate RESTRICT;
DROP EXTENSION migrate CASCADE;
DROP SCHEMA migrate;
DROP SCHEMA migrate CASCADE;
ALTER EXTENSION migrate SET SCHEMA public;
ALTER SCHEMA migrate RENAME TO moved;
SET ROLE regress_drop_extension_owner;
DROP EXTENSION migrate CASCADE;
RESET ROLE;

-- When none is, what is left on the tables goes with it, and is there again if the drop is taken back.
SELECT migrate.expand('parted');
CALL migrate.run();
SELECT migrate.contract('people', skip => '{window,usage}'), migrate.rollback('parted');
SELECT * FROM remains ORDER BY 1, 2;
SET ROLE regress_drop_extension_owner;
DROP EXTENSION migrate;
RESET ROLE;
BEGIN;
DROP EXTENSION migrate;
SELECT * FROM remains ORDER BY 1, 2;
INSERT INTO people VALUES (2, DEFAULT, 30) RETURNING *;
INSERT INTO people VALUES (3, 77, 30) RETURNING *;
ROLLBACK;
SELECT * FROM remains ORDER BY 1, 2;
SELECT count(*) FROM pg_depend WHERE deptype = 'x';
INSERT INTO people VALUES (3, 77, 30);
-- Other's objects are held to RESTRICT.
CREATE VIEW of_ours AS SELECT name FROM migrate.status;
DROP EXTENSION migrate;
SELECT count(*) FROM pg_depend WHERE deptype = 'x';
DROP VIEW of_ours;
REASSIGN OWNED BY regress_drop_extension_owner TO CURRENT_USER;
ALTER TABLE people OWNER TO regress_drop_extension_owner;
ALTER TABLE parted OWNER TO regress_drop_extension_owner;
DROP EXTENSION IF EXISTS migrate RESTRICT;
SELECT * FROM remains ORDER BY 1, 2;
\d people
SELECT * FROM parted;

-- Made again, it knows nothing. What a row version of then would mean is not known either.
CREATE EXTENSION migrate;
SELECT count(*) FROM migrate.status;
SELECT migrate.define('again', 'people', add => 'months integer', up => 'months = years * 12', down => 'years = months / 12');
\set VERBOSITY default
SELECT migrate.expand('again');
\set VERBOSITY terse
ALTER TABLE people DROP COLUMN row_version;
SELECT migrate.expand('again');
INSERT INTO people (id, months) VALUES (2, 24) RETURNING id, years;
CALL migrate.run();
SELECT id, months FROM people ORDER BY id;
DROP OWNED BY regress_drop_extension_owner;
SELECT migrate.rollback('again');
DROP OWNED BY regress_drop_extension_owner;
SELECT count(*) FROM migrate.managed;
DROP EXTENSION migrate;
DROP SCHEMA migrate;
SELECT * FROM remains;
\c contrib_regression
DROP DATABASE regress_migrate_drop;
DROP ROLE regress_drop_extension_owner;
