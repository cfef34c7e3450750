--
-- Whose rights a read takes: those of the reader, for the column that he names;
-- what computes it runs as the table's owner.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
CREATE ROLE read_owner;
CREATE ROLE read_user;
CREATE ROLE read_stranger;
GRANT CREATE ON SCHEMA public TO read_owner;
RESET client_min_messages;

SET ROLE read_owner;
CREATE TABLE read_secrets (id integer PRIMARY KEY, region text, full_name text, salary integer);
INSERT INTO read_secrets VALUES (1, 'north', 'Ada Lovelace', 10), (2, 'south', 'Alan Turing', 20), (3, NULL, NULL, NULL),
	(4, 'north', 'Emmy Noether', 40);
CREATE TABLE read_grades (above integer, grade text);
INSERT INTO read_grades VALUES (0, 'low'), (15, 'high');
CREATE FUNCTION read_who(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
	$$BEGIN RETURN coalesce($1, '-') || ' as ' || current_user || ' from ' || current_setting('search_path'); END$$;
CREATE FUNCTION read_grade(integer) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
	$$BEGIN RETURN (SELECT grade FROM public.read_grades WHERE above <= $1 ORDER BY above DESC LIMIT 1); END$$;
REVOKE EXECUTE ON FUNCTION read_who(text), read_grade(integer) FROM PUBLIC;
SELECT migrate.define('read_rights', 'read_secrets',
	add => 'first_name text, area text, who text, grade text',
	up => $$first_name = coalesce(split_part(full_name, ' ', 1), '-'), area = coalesce(region, 'nowhere'), who = read_who(full_name),
		grade = read_grade(salary)$$);
SELECT migrate.expand('read_rights');
UPDATE read_secrets SET region = region WHERE id = 4;
GRANT SELECT (id, first_name, who, grade) ON read_secrets TO read_user;
RESET ROLE;

-- Expressions of the owner's functions are called through migrate.up()
EXPLAIN (VERBOSE, COSTS OFF) SELECT first_name, who, grade FROM read_secrets;

-- The column that is named, not what it is made of
SET ROLE read_user;
SELECT id, first_name, who, grade FROM read_secrets ORDER BY id;
SELECT count(*) FROM read_secrets WHERE who LIKE '%as read_owner%';
\set VERBOSITY sqlstate
SELECT full_name FROM read_secrets;
SELECT area FROM read_secrets;
SELECT s FROM read_secrets s;
SELECT read_who('me');
SELECT count(*) FROM read_grades;
SELECT first_name, max(area) FROM read_secrets GROUP BY ROLLUP (first_name);
\set VERBOSITY default
SELECT first_name, who, count(*) FROM read_secrets WHERE id < 3 GROUP BY GROUPING SETS ((first_name, who), ()) ORDER BY 1;
RESET ROLE;
-- The superuser lends nothing either
SELECT who FROM read_secrets WHERE id = 1;
SELECT x, who, grade FROM generate_series(3, 5) x LEFT JOIN read_secrets s ON s.id = x ORDER BY x;
SET ROLE read_stranger;
\set VERBOSITY sqlstate
SELECT first_name FROM read_secrets;
\set VERBOSITY default
RESET ROLE;

-- Nobody calls migrate.up() by hand, whatever he passes
SELECT migrate.up('read_secrets', 'read_rights', 'who', 'me'::text);
SELECT migrate.up('read_secrets', 'read_rights', 'who', 'me'::text) IS NULL;
SELECT migrate.up('pg_class', NULL, 'who', 1, 2, 3) IS NULL;
SELECT migrate.up(NULL, NULL, NULL, VARIADIC ARRAY[1, 2]) IS NULL;
DO $$ DECLARE t text; BEGIN t := migrate.up('read_secrets', 'read_rights', 'who', 'me'::text); END $$;

--
-- Views: their owner's rights
--
CREATE VIEW read_rights_view AS SELECT id, first_name, who, grade FROM read_secrets;
ALTER VIEW read_rights_view OWNER TO read_owner;
GRANT SELECT ON read_rights_view TO read_stranger;
SET ROLE read_stranger;
SELECT * FROM read_rights_view WHERE grade = 'low' ORDER BY id;
SELECT first_name, grade, count(*) FROM read_rights_view GROUP BY CUBE (first_name, grade) HAVING first_name = 'Ada' ORDER BY 2;
RESET ROLE;

--
-- Row-level security sees converted values
--
SET ROLE read_owner;
CREATE TABLE read_policed (id integer PRIMARY KEY, region text, note text);
INSERT INTO read_policed VALUES (1, 'N', 'a'), (2, 'S', 'b'), (3, NULL, 'c'), (4, 'N', 'd');
SELECT migrate.define('read_policed', 'read_policed', add => 'area text',
	up => $$area = CASE coalesce(region, 'N') WHEN 'N' THEN 'north' ELSE 'south' END$$,
	down => $$region = upper(left(area, 1))$$);
SELECT migrate.expand('read_policed');
UPDATE read_policed SET note = note WHERE id = 4;
ALTER TABLE read_policed ENABLE ROW LEVEL SECURITY;
CREATE POLICY read_north ON read_policed TO read_user USING (area = 'north') WITH CHECK (area <> 'south');
CREATE TABLE read_areas (area text);
INSERT INTO read_areas VALUES ('south');
CREATE POLICY read_listed ON read_policed FOR SELECT TO read_stranger
	USING (EXISTS (SELECT FROM read_areas a WHERE a.area = read_policed.area));
GRANT ALL ON read_policed TO read_user;
GRANT SELECT ON read_policed, read_areas TO read_stranger;
SET ROLE read_user;
SELECT id, area FROM read_policed ORDER BY id;
COPY read_policed (id, area) TO STDOUT;
SELECT area, id, note, count(*) FROM read_policed GROUP BY GROUPING SETS ((id, note), (id)) ORDER BY id, note;
SELECT x, p FROM generate_series(2, 3) x LEFT JOIN read_policed p ON p.id = x ORDER BY x;
UPDATE read_policed SET note = 'seen' RETURNING id, area;
\set VERBOSITY sqlstate
INSERT INTO read_policed (id, region) VALUES (5, 'S');
INSERT INTO read_policed (id, area) VALUES (5, 'south');
UPDATE read_policed SET area = 'south' WHERE id = 1;
\set VERBOSITY default
INSERT INTO read_policed (id, region) VALUES (5, 'N') RETURNING area;
INSERT INTO read_policed (id, region, note) VALUES (1, 'N', 'again')
	ON CONFLICT (id) DO UPDATE SET note = EXCLUDED.note || ' ' || read_policed.area RETURNING id, note;
SET ROLE read_stranger;
SELECT id, area FROM read_policed ORDER BY id;
SELECT id, note, area FROM read_policed p GROUP BY GROUPING SETS ((id), (id, note)) ORDER BY 1, 2;
RESET ROLE;

-- Parallel plans carry the conversion along; what is not known to be safe stays in the leader
SET ROLE read_owner;
CREATE TABLE read_many (id integer, n integer);
INSERT INTO read_many SELECT i, i % 10 FROM generate_series(1, 2000) i;
CREATE FUNCTION read_twice(integer) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT $1 * 2';
SELECT migrate.define('read_many', 'read_many', add => 'more integer, twice integer',
	up => 'more = coalesce(n, 0) + 1, twice = read_twice(n)');
SELECT migrate.expand('read_many');
UPDATE read_many SET n = n WHERE id % 2 = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
EXPLAIN (COSTS OFF) SELECT sum(more) FROM read_many WHERE more > 5;
SELECT sum(more), count(m) FROM read_many m WHERE more > 5;
EXPLAIN (COSTS OFF) SELECT sum(twice) FROM read_many;
SELECT sum(twice) FROM read_many;
RESET ROLE;

SET client_min_messages = warning;
SET migrate.guard = off;
DROP OWNED BY read_owner, read_user, read_stranger CASCADE;
DROP ROLE read_owner, read_user, read_stranger;
