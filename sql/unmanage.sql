--
-- unmanage: a table is given back, and taken on again.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE ROLE unmanage_owner;
CREATE ROLE unmanage_other;
CREATE SCHEMA unmanage AUTHORIZATION unmanage_owner;
GRANT USAGE ON SCHEMA unmanage TO unmanage_other;
SET search_path = unmanage;
SET ROLE unmanage_owner;
CREATE TABLE t (id integer PRIMARY KEY, a text);
INSERT INTO t VALUES (1, 'x'), (2, 'y');
SELECT migrate.define('unmanage_b', 't', add => 'b text', up => 'b = upper(a)', down => 'a = lower(b)', remove => '{a}');

-- What it refuses.
SELECT migrate.unmanage(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.unmanage(4294967295::oid);
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.manage('t', '');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.unmanage('t');
SELECT migrate.expand('unmanage_b');
SELECT migrate.unmanage('t');
\echo :LAST_ERROR_SQLSTATE
CALL migrate.run('t');
SELECT migrate.unmanage('t');
SELECT migrate.contract('unmanage_b', skip => '{window,usage}');
RESET ROLE;
SET ROLE unmanage_other;
SELECT migrate.unmanage('unmanage.t');
\echo :LAST_ERROR_SQLSTATE
SET ROLE unmanage_owner;
CREATE VIEW versions AS SELECT id, row_version FROM t;
SELECT migrate.unmanage('t');
\echo :LAST_ERROR_SQLSTATE
DROP VIEW versions;
RESET ROLE;
BEGIN;
SELECT migrate.create_release('unmanage release', '{unmanage_b}');
SELECT migrate.publish('unmanage release', 'unmanage_views');
SELECT migrate.unmanage('t');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SET ROLE unmanage_owner;

-- It changes the catalog alone, and cached plans go on.
SELECT pg_relation_filenode('t') AS filenode \gset
PREPARE q AS SELECT id, b FROM t ORDER BY id;
EXECUTE q;
SELECT migrate.unmanage('t');
EXECUTE q;
SELECT pg_relation_filenode('t') = :filenode AS same_file;
\d t
SELECT * FROM migrate.managed WHERE relation = 't'::regclass;
CALL migrate.run('t');
\echo :LAST_ERROR_SQLSTATE
SELECT name, state FROM migrate.status WHERE relation = 't'::regclass;
SELECT event, detail FROM migrate.history WHERE migration = 'unmanage_b';

-- What comes next comes after it; versions go on from where they were.
SELECT migrate.define('unmanage_c', 't', add => 'c text', up => 'c = b || b', down => 'b = left(c, 1)', remove => '{b}');
SELECT migrate.expand('unmanage_c');
SELECT name, depends_on, version, state FROM migrate.status WHERE relation = 't'::regclass ORDER BY 1;
INSERT INTO t (id, b) VALUES (3, 'Z');
INSERT INTO t (id, b, row_version) VALUES (4, 'Z', 1);	-- of an old dump
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM t ORDER BY id;
CALL migrate.run('t');
SELECT migrate.contract('unmanage_c', skip => '{window,usage}');
SELECT * FROM t ORDER BY id;

-- By hand: to drop the column comes to the same, and a renamed one is still the row version.
ALTER TABLE t DROP COLUMN row_version;
SELECT count(*) FROM migrate.managed WHERE relation = 't'::regclass;
SELECT migrate.manage('t', 'rv');
SELECT version, floor FROM migrate.managed WHERE relation = 't'::regclass;
ALTER TABLE t RENAME rv TO "Row Version";
SELECT migrate.define('unmanage_d', 't', add => 'd text', up => 'd = c', down => 'c = d', remove => '{c}');
SELECT migrate.expand('unmanage_d');
SELECT * FROM t ORDER BY id;
SELECT migrate.rollback('unmanage_d');
ALTER TABLE t ALTER "Row Version" DROP NOT NULL;
SELECT migrate.expand('unmanage_d');
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE t DROP CONSTRAINT "Row Version_supported", ALTER "Row Version" SET NOT NULL, ALTER "Row Version" TYPE bigint;
SELECT migrate.expand('unmanage_d');
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE t DROP COLUMN "Row Version";
SELECT migrate.expand('unmanage_d');
SELECT * FROM t ORDER BY id;
SELECT migrate.rollback('unmanage_d');

-- Partitions, and a table that goes.
CREATE TABLE p (id integer, a text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
SELECT migrate.manage('p');
SELECT migrate.unmanage('p');
SELECT attname FROM pg_attribute WHERE attrelid = 'p1'::regclass AND attnum > 0 AND NOT attisdropped;
SELECT migrate.unmanage('p');
DROP TABLE p;
RESET ROLE;
SELECT count(*) FROM migrate.formerly_managed f WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = f.relation);
SET client_min_messages = warning;
DROP SCHEMA unmanage CASCADE;
DROP ROLE unmanage_owner, unmanage_other;
