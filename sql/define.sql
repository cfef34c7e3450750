--
-- migrate.define: what is recorded, what is refused, and where.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE SCHEMA def;
SET search_path = def;

CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a integer, b text);
CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT upper($1) || '!' $$;
CREATE TABLE users (id integer PRIMARY KEY, full_name text NOT NULL, age integer,
	gone integer, code char(3) COLLATE "C" NOT NULL DEFAULT 'xxx');
ALTER TABLE users DROP COLUMN gone;

-- Recorded: nothing of the table changes.
SELECT migrate.define('def_split', 'users',
	add => 'first_name text, last_name varchar(30) COLLATE "C"',
	up => $$first_name = split_part(full_name, ' ', 1),
		last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$,
	remove => '{full_name}', comment => 'two names');
\d users
SELECT name, relation, state, version, depends_on, remove, inputs, comment
FROM migrate.migration WHERE name = 'def_split';
SELECT "position", name, type FROM migrate.added_column WHERE migration = 'def_split' ORDER BY 1;

-- The same again, also in other words: nothing to do.
SELECT migrate.define('def_split', 'users',
	add => 'first_name text, last_name varchar(30) COLLATE "C"',
	up => $$first_name = split_part(full_name, ' ', 1),
		last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$,
	remove => '{full_name}', comment => 'two names');
SELECT migrate.define('def_split', 'def.users',
	add => 'first_name pg_catalog.text, last_name character varying(30) COLLATE pg_catalog."C"',
	up => $$first_name = split_part(users.full_name, ' '::text, 1), last_name = split_part((full_name), ' ', 2)$$,
	down => $$full_name = (first_name || ' ') || last_name$$,
	remove => '{full_name}', comment => 'two names');

-- Another definition under a known name: each part is named.
\set again 'SELECT migrate.define(''def_split'', ''users'', comment => ''two names'', '
\set rest 'add => ''first_name text, last_name varchar(30) COLLATE "C"'', up => $$first_name = split_part(full_name, '' '', 1), last_name = split_part(full_name, '' '', 2)$$, '
:again :rest down => $$full_name = first_name || '-' || last_name$$, remove => '{full_name}');
\echo :LAST_ERROR_SQLSTATE
:again :rest down => $$full_name = first_name || ' ' || last_name$$);
\echo :LAST_ERROR_SQLSTATE
:again add => 'first_name text, last_name varchar(31) COLLATE "C"', remove => '{full_name}',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$);
\echo :LAST_ERROR_SQLSTATE
:again add => 'first_name text, last_name varchar(30) COLLATE "C"', remove => '{full_name}',
	up => $$first_name = split_part(full_name, ' ', 2), last_name = split_part(full_name, ' ', 1)$$,
	down => $$full_name = first_name || ' ' || last_name$$);
\echo :LAST_ERROR_SQLSTATE

SELECT migrate.define('def_split', 'users', :rest down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}');
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE others (LIKE users);
SELECT migrate.define('def_split', 'others', comment => 'two names',
	:rest down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}');
\echo :LAST_ERROR_SQLSTATE
DROP TABLE others;

-- What the parser refuses, with the place in the user's own text.
SELECT migrate.define('def_bad', 'users', add => 'a text, b nosuchtype');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text b');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text); DROP TABLE users; SELECT (1');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text, a integer');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'LIKE users');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text, ctid integer');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'age integer');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'row_version text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text NOT NULL');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a anyelement');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a integer COLLATE "C"');
\echo :LAST_ERROR_SQLSTATE

SELECT migrate.define('def_bad', 'users', add => 'a text', up => 'a = nosuch || age');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', up => 'a = nosuch(age)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a integer', up => 'a = full_name');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', up => 'b = full_name');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', up => 'a = full_name, nosuch = 1');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', up => 'a = full_name, a = full_name');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text, b text', up => 'a = full_name, b = a');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', up => 'a = full_name', down => 'a = full_name');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', up => 'a = full_name WHERE age > 3');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', up => 'a = full_name; DROP TABLE users');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', up => '');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a double precision', up => 'a = age + random()');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a bigint', up => 'a = sum(age)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a bigint', up => 'a = row_number() OVER ()');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a integer', up => 'a = generate_series(1, age)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a integer', up => 'a = (SELECT max(id) FROM users)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a integer', up => 'a = $1');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a integer[]', up => 'a[1] = age');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a pair', up => 'a.b = full_name');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a integer, b text', up => '(a, b.x) = (1, 2)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a integer', up => 'a = DEFAULT');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', down => 'full_name = DEFAULT');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', up => 'a = age::text || other.full_name');
\echo :LAST_ERROR_SQLSTATE
-- another table's qualifier is no way to name an old column that a new one replaces
SELECT migrate.define('def_bad', 'users', add => 'age bigint', up => 'age = other.age');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a integer', up => 'a = age, row_version = 3');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', up => 'a = users');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a tid', up => 'a = ctid');
\echo :LAST_ERROR_SQLSTATE

-- Stable functions are let in, with a word of warning.
SELECT migrate.define('def_stable', 'users', add => 'a text', up => 'a = to_char(now(), full_name)');
SELECT migrate.forget('def_stable');

-- What is removed.
SELECT migrate.define('def_bad', 'users', add => 'a text', up => 'a = full_name', remove => '{nosuch}');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', up => 'a = full_name', remove => '{full_name}');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', up => 'a = full_name', remove => '{a}');
\echo :LAST_ERROR_SQLSTATE
-- NOT NULL with a default, or nullable: the new form can be inserted.
SELECT migrate.define('def_drop', 'users', remove => '{code,age}', depends_on => '{}');
SELECT migrate.forget('def_drop');

-- Relations that cannot be managed.
CREATE VIEW a_view AS SELECT * FROM users;
CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM users;
CREATE TEMP TABLE a_temp (i integer);
CREATE SEQUENCE a_sequence;
CREATE TABLE parted (i integer, j integer) PARTITION BY LIST (i);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE inh_parent (i integer);
CREATE TABLE inh_child () INHERITS (inh_parent);
CREATE TABLE typed OF pair;
CREATE TABLE computed (i integer, j integer GENERATED ALWAYS AS (i + 1) STORED);
CREATE FOREIGN DATA WRAPPER migrate_def_wrapper;
CREATE SERVER migrate_def_server FOREIGN DATA WRAPPER migrate_def_wrapper;
CREATE FOREIGN TABLE a_foreign (i integer) SERVER migrate_def_server;
SELECT migrate.define('def_bad', 'a_view', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'a_matview', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'a_foreign', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'a_temp', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'a_sequence', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users_pkey', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'pg_catalog.pg_class', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'information_schema.sql_features', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 4294967295::oid, add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'migrate.migration', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'parted_1', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'inh_parent', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'typed', add => 'x text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'computed', up => 'j = 1');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'computed', add => 'k integer', up => 'k = j', down => 'j = k');
\echo :LAST_ERROR_SQLSTATE
-- an inherited column, which queries on the parent read as it is stored
SELECT migrate.define('def_bad', 'inh_child', up => 'i = i + 0');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'inh_child', remove => '{i}');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'parted', remove => '{i}');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'parted', add => 'a integer', up => 'a = i', down => 'i = a');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'nosuch', add => 'a text');
\echo :LAST_ERROR_SQLSTATE

-- Arguments that make no migration.
SELECT migrate.define(NULL, 'users', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', NULL, add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('', 'users', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', remove => '{age,age}');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', remove => '{age,NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', on_error => 'ignore');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', depends_on => '{nosuch}');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_bad', 'users', add => 'a text', depends_on => '{def_bad}');
\echo :LAST_ERROR_SQLSTATE

-- Only the owner may.
CREATE ROLE migrate_def_stranger;
GRANT USAGE ON SCHEMA def TO migrate_def_stranger;
GRANT ALL ON users TO migrate_def_stranger;
SET ROLE migrate_def_stranger;
SELECT migrate.define('def_bad', 'users', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.forget('def_split');
\echo :LAST_ERROR_SQLSTATE
-- Nor does anybody write the catalog by hand.
INSERT INTO migrate.managed VALUES ('users');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- Nothing of all that is recorded.
SELECT count(*) FROM migrate.migration WHERE name = 'def_bad';

-- Dependencies: the only leaf by itself, several by name.
SELECT migrate.define('def_next', 'users', add => 'initials text',
	up => $$initials = left(first_name, 1) || left(last_name, 1)$$);
SELECT migrate.define('def_side', 'users', add => 'adult boolean', up => 'adult = age >= 18',
	depends_on => '{def_split}');
SELECT migrate.define('def_more', 'users', add => 'a text');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('def_merge', 'users', depends_on => '{def_next,def_side}');
SELECT name, depends_on, inputs FROM migrate.migration WHERE name LIKE 'def\_%' ORDER BY seq;

-- Forgetting: not while another depends on it.
SELECT migrate.forget('def_side');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.forget('def_merge');
SELECT migrate.forget('nosuch');
\echo :LAST_ERROR_SQLSTATE

-- Types of every kind, on both sides; long and quoted names.
CREATE TABLE "order" ("select" integer PRIMARY KEY, m mood, p pair, d positive, arr integer[],
	"a column whose name has just as many bytes as a name may have.." text);
SELECT migrate.define('a migration named "order"', '"order"',
	add => '"from" mood, "q" pair, "where" positive, "arr2" integer[], "an added column whose name has as many bytes as a name may have" text',
	up => $$"from" = m, q = ROW((p).a + 1, (p).b)::pair, "where" = d + 1, arr2 = arr || 1,
		"an added column whose name has as many bytes as a name may have" =
			"a column whose name has just as many bytes as a name may have.." || shout("order"."select"::text)$$);
SELECT name, type FROM migrate.added_column WHERE migration LIKE 'a migration%' ORDER BY "position";

RESET search_path;
SELECT migrate.forget(name) FROM (SELECT name FROM migrate.migration WHERE relation IN
	('def.users'::regclass, 'def."order"'::regclass) ORDER BY seq DESC) m;
SET client_min_messages = warning;
DROP SCHEMA def CASCADE;
DROP FOREIGN DATA WRAPPER migrate_def_wrapper CASCADE;
DROP ROLE migrate_def_stranger;
