-- Published views: two releases of one table at once, and what becomes of them.
CREATE DATABASE regress_migrate_publish;
\c regress_migrate_publish
CREATE EXTENSION migrate;
CREATE ROLE regress_publish_reader;
CREATE ROLE regress_publish_writer;
CREATE ROLE regress_publish_clerk;
CREATE ROLE regress_publish_auditor BYPASSRLS;
CREATE SCHEMA app;
SET search_path = app;
CREATE TABLE "A ""table"" with a name that is as long as names can be, so 63" (
	id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gone int, full_name text NOT NULL DEFAULT 'No Body',
	price int DEFAULT 5, once int DEFAULT 5, twice int GENERATED ALWAYS AS (once * 2) STORED, owner text DEFAULT current_user,
	"A ""column"" with a name that is as long as names can be, so 63b" int, old int DEFAULT 1);
ALTER TABLE "A ""table"" with a name that is as long as names can be, so 63" RENAME TO "the ""Table";
ALTER TABLE "the ""Table" DROP COLUMN gone;
ALTER TABLE "the ""Table" ALTER id RESTART WITH 1;
INSERT INTO "the ""Table" (full_name, price, owner)
	SELECT 'A' || g || ' B', g, CASE WHEN g % 2 = 0 THEN 'regress_publish_reader' ELSE 'regress_publish_clerk' END
	FROM generate_series(1, 4) g;
COMMENT ON TABLE "the ""Table" IS $$it's "one"$$;
COMMENT ON COLUMN "the ""Table".full_name IS 'both\names';
COMMENT ON COLUMN "the ""Table".price IS 'an integer';
GRANT USAGE ON SCHEMA app TO regress_publish_reader, regress_publish_auditor;
GRANT USAGE ON SCHEMA app TO regress_publish_writer, regress_publish_clerk WITH GRANT OPTION;
GRANT SELECT ON "the ""Table" TO regress_publish_auditor, regress_publish_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON "the ""Table" TO regress_publish_writer WITH GRANT OPTION;
GRANT SELECT (id, full_name, price, once, twice, owner, old,
	"A ""column"" with a name that is as long as names can be, so 63b"), UPDATE (full_name) ON "the ""Table" TO regress_publish_clerk;

SELECT migrate.create_release('1');
SELECT migrate.define('names', '"the ""Table"', add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = coalesce(first_name || ' ' || last_name, '- -')$$, remove => '{full_name}');
SELECT migrate.define('price', '"the ""Table"', add => 'price numeric(12,2)', up => 'price = old.price', down => 'price = new.price');
SELECT migrate.define('old', '"the ""Table"', add => 'young int', up => 'young = -old', down => 'old = -young', remove => '{old}');
SELECT migrate.create_release('2', '{names,price,old}');
SELECT migrate.publish('2', 'r2');
SELECT migrate.expand('names'), migrate.expand('price'), migrate.expand('old');
COMMENT ON COLUMN "the ""Table".first_name IS 'the first';
GRANT SELECT (first_name), INSERT (first_name, last_name), REFERENCES (first_name) ON "the ""Table" TO regress_publish_clerk;
SELECT migrate.publish('1', 'r1'), migrate.publish('2', 'r2');
CREATE VIEW columns_shown AS SELECT attrelid::regclass AS view, attname, format_type(atttypid, atttypmod) AS type,
	col_description(attrelid, attnum) AS comment, attacl::text[] AS acl
	FROM pg_attribute WHERE attrelid IN (SELECT view FROM migrate.published_view) ORDER BY attrelid::regclass::text COLLATE "C", attnum;
\set ON_ERROR_ROLLBACK on
SELECT regexp_replace(view::text, ' with.*63', ' ...') AS view, regexp_replace(attname, ' with.*63', ' ...') AS attname, type, comment,
	regexp_replace(acl::text, '/[^,}]*', '', 'g') AS acl FROM columns_shown;
SELECT oid::regclass AS view, reloptions, obj_description(oid) AS comment, grantee::regrole,
	string_agg(privilege_type || CASE WHEN is_grantable THEN '*' ELSE '' END, ', ' ORDER BY privilege_type) AS rights
	FROM pg_class, aclexplode(relacl) WHERE oid IN (SELECT view FROM migrate.published_view) AND grantee <> relowner
	GROUP BY 1, 2, 3, 4 ORDER BY oid::regclass::text COLLATE "C", grantee::regrole::text COLLATE "C";
SELECT nspname, grantee::regrole, privilege_type, is_grantable FROM pg_namespace, aclexplode(nspacl)
	WHERE nspname IN ('r1', 'r2') AND grantee <> nspowner ORDER BY 1, grantee::regrole::text COLLATE "C";

-- What columns default to, are computed or counted from is the table's, also when it changes.
INSERT INTO r1."the ""Table" DEFAULT VALUES RETURNING id, full_name, price, twice, owner = current_user AS by_me, old;
INSERT INTO r2."the ""Table" DEFAULT VALUES RETURNING id, first_name, last_name, price, twice, owner = current_user AS by_me, young;
INSERT INTO r1."the ""Table" (full_name, price) VALUES (DEFAULT, 7), ('E F', DEFAULT) RETURNING id, full_name, price, twice, old;
INSERT INTO r2."the ""Table" (first_name, last_name, price, young) VALUES ('F', 'G', 8, DEFAULT), ('G', 'H', DEFAULT, -9) RETURNING id, first_name, last_name, price, twice, young;
INSERT INTO r1."the ""Table" (id) VALUES (1);
INSERT INTO r1."the ""Table" (id) OVERRIDING SYSTEM VALUE VALUES (1) ON CONFLICT (id) DO UPDATE SET full_name = EXCLUDED.full_name || '!', price = 9
	RETURNING id, full_name, price, twice;
UPDATE r1."the ""Table" SET twice = 1;
ALTER TABLE "the ""Table" ALTER old SET DEFAULT 2;
INSERT INTO r1."the ""Table" (price) VALUES (1) RETURNING price, old;
INSERT INTO r2."the ""Table" (price) VALUES (2) RETURNING price, young;
-- MERGE goes through views from server 17 on.
DO $$
BEGIN
	IF current_setting('server_version_num')::int >= 170000 THEN
		EXECUTE $merge$MERGE INTO r2."the ""Table" t USING (VALUES (2, 1), (3, NULL), (NULL, 7)) v (id, price) ON t.id = v.id
			WHEN MATCHED AND v.price IS NULL THEN DELETE
			WHEN MATCHED THEN UPDATE SET price = v.price, last_name = 'Merged'
			WHEN NOT MATCHED THEN INSERT (first_name, last_name, price) VALUES ('By', 'Merge', v.price)$merge$;
	ELSE
		UPDATE r2."the ""Table" SET price = 1, last_name = 'Merged' WHERE id = 2;
		DELETE FROM r2."the ""Table" WHERE id = 3;
		INSERT INTO r2."the ""Table" (first_name, last_name, price) VALUES ('By', 'Merge', 7);
	END IF;
END
$$;
DELETE FROM r2."the ""Table" WHERE id > 4 AND first_name IS DISTINCT FROM 'By';
SELECT id, full_name, price, old FROM r1."the ""Table" ORDER BY id;
SELECT id, first_name, last_name, price, young FROM r2."the ""Table" ORDER BY id;

-- Rights are those on the table, of who asks; to read takes those on all columns of a view.
SET ROLE regress_publish_clerk;
SELECT id, full_name, price FROM r1."the ""Table" WHERE id = 1;
SELECT id, first_name FROM r2."the ""Table" WHERE id = 1;
SELECT id, last_name FROM r2."the ""Table" WHERE id = 1;
UPDATE r1."the ""Table" SET full_name = 'By Clerk' WHERE id = 1 RETURNING full_name;
UPDATE r1."the ""Table" SET price = 1 WHERE id = 1;
INSERT INTO r2."the ""Table" (first_name, last_name) VALUES ('A', 'Clerk');
DELETE FROM r1."the ""Table";
SET ROLE regress_publish_reader;
SELECT count(*) FROM r2."the ""Table";
UPDATE r2."the ""Table" SET first_name = 'X';
RESET ROLE;
REVOKE SELECT ON "the ""Table" FROM regress_publish_reader;
SET ROLE regress_publish_reader;
SELECT count(*) FROM r2."the ""Table";
RESET ROLE;
GRANT SELECT ON "the ""Table" TO regress_publish_reader;

-- So is row-level security, by columns of either form, shown or not.
ALTER TABLE "the ""Table" ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON "the ""Table" FOR SELECT TO regress_publish_reader USING (owner = current_user AND first_name <> 'A4');
CREATE POLICY writers ON "the ""Table" TO regress_publish_writer USING (price < 4) WITH CHECK (full_name <> 'Not This' AND last_name <> 'Nor');
SET ROLE regress_publish_reader;
SELECT id, full_name, owner FROM r1."the ""Table" ORDER BY id;
SELECT id, first_name, owner FROM r2."the ""Table" ORDER BY id;
SET ROLE regress_publish_auditor;
SELECT count(*) > 2 AS all_of_them FROM r2."the ""Table";
SET ROLE regress_publish_writer;
SELECT id, first_name, price FROM r2."the ""Table" ORDER BY id;
INSERT INTO r2."the ""Table" (first_name, last_name, price) VALUES ('Not', 'This', 2);
INSERT INTO r1."the ""Table" (full_name, price) VALUES ('Any Nor', 2);
INSERT INTO r1."the ""Table" (full_name, price) VALUES ('Any Body', 2) RETURNING full_name;
UPDATE r2."the ""Table" SET last_name = 'Nor' WHERE first_name = 'Any';
UPDATE r1."the ""Table" SET full_name = 'Not This' WHERE full_name = 'Any Body';
DELETE FROM r2."the ""Table" WHERE id = 4;
DELETE FROM r2."the ""Table" WHERE first_name = 'Any' RETURNING first_name;
RESET ROLE;
CREATE ROLE regress_publish_owner;
ALTER TABLE "the ""Table" OWNER TO regress_publish_owner;
ALTER TABLE "the ""Table" FORCE ROW LEVEL SECURITY;
SET ROLE regress_publish_owner;
SELECT count(*) FROM app."the ""Table";
RESET ROLE;
GRANT USAGE ON SCHEMA app, r1 TO regress_publish_owner;
GRANT SELECT ON r1."the ""Table" TO regress_publish_owner;
SET ROLE regress_publish_owner;
SELECT count(*) FROM r1."the ""Table";
RESET ROLE;
ALTER TABLE "the ""Table" NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;

-- After changes of the table: as it was, until it is published again.
ALTER TABLE "the ""Table" ADD COLUMN extra int DEFAULT 3;
GRANT SELECT (extra) ON "the ""Table" TO regress_publish_clerk;
ALTER TABLE "the ""Table" RENAME owner TO holder;
SELECT string_agg(attname, ', ') FILTER (WHERE attname !~ '63') FROM columns_shown GROUP BY view ORDER BY view::text COLLATE "C";
SELECT migrate.publish('2', 'r2');
SELECT string_agg(attname, ', ') FILTER (WHERE attname !~ '63') FROM columns_shown GROUP BY view ORDER BY view::text COLLATE "C";
ALTER TABLE "the ""Table" RENAME TO people;
SELECT migrate.publish('1', 'r1'), migrate.publish('2', 'r2');
SELECT view, relation FROM migrate.published_view ORDER BY view::text COLLATE "C";
CREATE VIEW app.on_it AS SELECT price FROM r1."the ""Table";
ALTER TABLE people ADD COLUMN another int;
SELECT migrate.publish('1', 'r1');
ALTER TABLE people RENAME another TO other;
SELECT migrate.publish('1', 'r1');
DROP VIEW app.on_it;
SELECT migrate.publish('1', 'r1');

-- The next release, beside these; what is in the way of a rollback and of a contract is named.
SELECT migrate.define('third', 'people', add => 'third int', up => 'third = other', remove => '{other}');
SELECT migrate.expand('third');
SELECT migrate.create_release('3');
SELECT migrate.publish('3', 'r3');
SELECT string_agg(attname, ', ') FILTER (WHERE attname !~ '63') FROM columns_shown GROUP BY view ORDER BY view::text COLLATE "C";
SELECT migrate.rollback('third');
SELECT migrate.unpublish('r3');
SELECT migrate.rollback('third');
SELECT migrate.publish('3', 'r3');
SELECT migrate.forget('third');
CALL migrate.run('people');
SELECT migrate.retire_release('1');
SELECT migrate.publish('1', 'r1');
SELECT check_name, detail, hint FROM migrate.check_contract('names') WHERE NOT ok AND check_name NOT IN ('window', 'usage');
SELECT migrate.contract('names', skip => '{window,usage}');
SELECT migrate.unpublish('r1');
DROP POLICY writers ON people;
SELECT migrate.contract('names', skip => '{window,usage}'), migrate.contract('price', skip => '{window,usage}'), migrate.contract('old', skip => '{window,usage}');
SELECT migrate.publish('2', 'r2');
SELECT string_agg(attname || ' ' || type, ', ') FILTER (WHERE attname !~ '63') FROM columns_shown GROUP BY view ORDER BY view::text COLLATE "C";
SELECT id, first_name, last_name, price, young FROM r2."the ""Table" ORDER BY id;

-- A schema in which others can create objects is not for this, nor are others' views.
CREATE SCHEMA theirs AUTHORIZATION regress_publish_writer;
SELECT migrate.publish('2', 'theirs');
ALTER SCHEMA theirs OWNER TO CURRENT_USER;
SELECT migrate.publish('2', 'theirs');
GRANT CREATE ON SCHEMA theirs TO PUBLIC;
SELECT migrate.publish('2', 'theirs');
REVOKE CREATE ON SCHEMA theirs FROM PUBLIC;
SELECT migrate.unpublish('theirs');
CREATE SCHEMA theirs;
CREATE VIEW theirs.people AS SELECT 1 AS id;
SELECT migrate.publish('2', 'theirs');
ALTER VIEW theirs.people RENAME TO something;
SELECT migrate.publish('2', 'theirs');
SELECT migrate.unpublish('theirs');
SELECT relname FROM pg_class WHERE relnamespace = 'theirs'::regnamespace;
DROP SCHEMA theirs CASCADE;
GRANT CREATE ON DATABASE regress_migrate_publish TO regress_publish_owner;
SET ROLE regress_publish_owner;
SELECT migrate.publish('2', 'mine');
RESET ROLE;
SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'mine';
SELECT migrate.unpublish('mine');

-- Of tables of one name the one is shown that the search_path finds, and it stays.
CREATE SCHEMA tenant;
CREATE TABLE tenant.people (id int, name text);
SELECT migrate.define('tenant', 'tenant.people', add => 'label text', up => 'label = name');
SELECT migrate.expand('tenant');
RESET search_path;
SELECT migrate.publish('2', 'one');
SET search_path = tenant, app;
SELECT migrate.publish('2', 'one');
SET search_path = app, tenant;
SELECT migrate.publish('2', 'one'), migrate.publish('2', 'other');
RESET search_path;
SELECT migrate.publish('2', 'one'), migrate.publish('2', 'r2');
SELECT view, relation FROM migrate.published_view ORDER BY view::text COLLATE "C";
SELECT migrate.unpublish('r2');
SELECT migrate.rollback('tenant');
SELECT migrate.unpublish('one');
SELECT migrate.rollback('tenant');
SET search_path = tenant;
SELECT migrate.publish('2', 'one');
RESET search_path;
\set VERBOSITY terse
DROP TABLE tenant.people CASCADE;
\set VERBOSITY default
SELECT view, relation FROM migrate.published_view ORDER BY view::text COLLATE "C";
DROP SCHEMA other CASCADE;
SELECT migrate.unpublish('one'), migrate.unpublish('other');

-- Partitioned tables.
CREATE TABLE app.parts (id int PRIMARY KEY, a int) PARTITION BY RANGE (id);
CREATE TABLE app.parts_1 (gone int, a int, id int NOT NULL);
ALTER TABLE app.parts_1 DROP COLUMN gone;
ALTER TABLE app.parts ATTACH PARTITION app.parts_1 FOR VALUES FROM (0) TO (10);
CREATE TABLE app.parts_2 PARTITION OF app.parts FOR VALUES FROM (10) TO (20);
INSERT INTO app.parts VALUES (1, 1), (11, 11);
SELECT migrate.create_release('4');
SELECT migrate.define('parts', 'app.parts', add => 'b text', up => 'b = a::text', down => 'a = b::int', remove => '{a}');
SELECT migrate.expand('parts');
SELECT migrate.create_release('5');
SELECT migrate.publish('4', 'r4'), migrate.publish('5', 'r5');
UPDATE r4.parts SET id = 12, a = 2 WHERE id = 1 RETURNING *;
INSERT INTO r5.parts VALUES (2, '20') ON CONFLICT (id) DO NOTHING RETURNING *;
INSERT INTO r5.parts VALUES (2, '20') ON CONFLICT (id) DO UPDATE SET b = parts.b || '0' RETURNING *;
SELECT * FROM r4.parts ORDER BY id;
SELECT * FROM r5.parts ORDER BY id;

-- A schema that is renamed goes on publishing; what is known of one that was dropped does
-- not stand in its way.
BEGIN;
ALTER SCHEMA r5 RENAME TO taken_back;
ROLLBACK;
\set VERBOSITY terse
DROP SCHEMA r4 CASCADE;
\set VERBOSITY default
ALTER SCHEMA r5 RENAME TO r4;
SELECT * FROM migrate.publication WHERE schema_name IN ('r4', 'r5');
SELECT view, schema_name FROM migrate.published_view WHERE schema_name IN ('r4', 'r5') ORDER BY view::text COLLATE "C";
SELECT migrate.publish('4', 'r4');
SELECT migrate.publish('5', 'r4');
SELECT migrate.unpublish('r5');
SELECT migrate.unpublish('r4');
SELECT to_regclass('r4.parts');

\c contrib_regression
DROP DATABASE regress_migrate_publish;
DROP ROLE regress_publish_reader, regress_publish_writer, regress_publish_clerk, regress_publish_auditor, regress_publish_owner;
