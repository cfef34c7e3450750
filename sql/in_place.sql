--
-- An up that assigns a column which the table has already: a fix of the data.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
SET datestyle = iso;

CREATE TABLE in_place_users (
	id integer PRIMARY KEY,
	email text,
	note text,
	key text GENERATED ALWAYS AS ('<' || email || '>') STORED);
INSERT INTO in_place_users
SELECT i, 'User' || i || '@Example.ORG' FROM generate_series(1, 6) i;

--
-- define: what may be rewritten, and what not
--
CREATE TABLE in_place_parted (part integer, name text) PARTITION BY LIST (part);
SELECT migrate.define('in_place_bad', 'in_place_users', up => 'key = lower(key)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('in_place_bad', 'in_place_users', add => 'domain text',
	up => $$domain = split_part(email, '@', 2), email = lower(email)$$, remove => '{email}');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('in_place_bad', 'in_place_parted', up => 'part = part + 0');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('in_place_bad', 'in_place_users', up => 'email = nosuch');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('in_place_lower', 'in_place_users', up => 'email = lower(email)');
SELECT migrate.expand('in_place_lower');

--
-- reads: every row as converted, and what is generated from it as well
--
COPY in_place_users (id, email, row_version) TO STDOUT;
SELECT id, email, key FROM in_place_users WHERE email LIKE '%example.org' ORDER BY id;
SELECT count(*) FROM in_place_users WHERE email LIKE '%Example%' OR key LIKE '%Example%';
SELECT u FROM in_place_users u WHERE id = 1;
EXPLAIN (VERBOSE, COSTS OFF) SELECT email FROM in_place_users;
SELECT o.id, o.email, o.key FROM (VALUES (1), (7)) v (id)
	LEFT JOIN in_place_users o ON o.id = v.id ORDER BY v.id;

--
-- writes: applied whenever the column is set, to stale rows and converted ones
--
INSERT INTO in_place_users (id, email) VALUES (11, 'Eve@Example.ORG'), (12, NULL) RETURNING id, email, key;
UPDATE in_place_users SET note = 'n' WHERE id IN (1, 11) RETURNING id, email, key, row_version;
UPDATE in_place_users SET email = 'New' || email WHERE id IN (2, 11) RETURNING id, email, key, row_version;
-- written back as it was read: nothing was set
UPDATE in_place_users SET email = email, note = note WHERE id = 3 RETURNING id, email, key;
INSERT INTO in_place_users (id, email) VALUES (4, 'Other@X'), (13, 'Upsert@X')
	ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email || in_place_users.email
	RETURNING id, email, key;
COPY in_place_users (id, email) FROM STDIN;
14	Copied@X
\.
COPY in_place_users (id, email, row_version) TO STDOUT;

--
-- the backfill, and contract, which drops nothing
--
CALL migrate.run('in_place_users');
COPY in_place_users (id, email, row_version) TO STDOUT;
SELECT count(*) FROM in_place_users WHERE key IS DISTINCT FROM '<' || email || '>';
EXPLAIN (VERBOSE, COSTS OFF) SELECT email FROM in_place_users;
SELECT * FROM migrate.check_contract('in_place_lower') WHERE NOT ok;
SELECT migrate.contract('in_place_lower');
SELECT event, detail FROM migrate.history WHERE migration = 'in_place_lower' ORDER BY at;
INSERT INTO in_place_users (id, email) VALUES (15, 'After@X') RETURNING email;

--
-- an up that is not idempotent: rows that show it fail, and the others go on
--
CREATE TABLE in_place_twice (id integer PRIMARY KEY, name text);
INSERT INTO in_place_twice VALUES (1, 'a'), (2, '...b'), (3, NULL), (4, '.c');
SELECT migrate.define('in_place_dot', 'in_place_twice', up => $$name = regexp_replace(name, '^\.', '')$$);
SELECT migrate.expand('in_place_dot');
CALL migrate.run('in_place_twice');
SELECT relation, migration, row_key, sqlstate, message FROM migrate.failures
	WHERE migration = 'in_place_dot' ORDER BY row_key;
COPY in_place_twice TO STDOUT;
-- mended by the client
UPDATE in_place_twice SET name = 'b' WHERE id = 2;
SELECT migrate.retry('in_place_twice');
CALL migrate.run('in_place_twice');
SELECT name, state, failures FROM migrate.status WHERE name = 'in_place_dot';

--
-- rollback: what was overwritten does not come back
--
SELECT migrate.rollback('in_place_dot');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.rollback('in_place_dot', discard => true);
SELECT * FROM in_place_twice ORDER BY id;
-- as long as no row was converted there is nothing to lose
SELECT migrate.expand('in_place_dot');
SELECT migrate.rollback('in_place_dot');
SELECT id, name FROM in_place_twice ORDER BY id;

-- an up that fails on a row does not keep the client from mending it
CREATE TABLE in_place_fail (id integer PRIMARY KEY, n text);
INSERT INTO in_place_fail VALUES (1, '07'), (2, 'x');
SELECT migrate.define('in_place_number', 'in_place_fail', up => 'n = n::integer');
SELECT migrate.expand('in_place_number');
UPDATE in_place_fail SET n = '08' WHERE id = 2;
SELECT * FROM in_place_fail ORDER BY id;

--
-- in a chain: what an older migration's up, or a newer one's down, assigns
--
CREATE TABLE in_place_chain (id integer PRIMARY KEY, full_name text);
INSERT INTO in_place_chain SELECT i, 'ada' || i || ' king' FROM generate_series(1, 6) i;
SELECT migrate.define('in_place_split', 'in_place_chain', add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}');
SELECT migrate.define('in_place_capital', 'in_place_chain',
	up => 'first_name = initcap(first_name), last_name = initcap(last_name)');
SELECT migrate.define('in_place_initials', 'in_place_chain', add => 'initials text, shown text',
	up => $$initials = left(first_name, 1) || left(last_name, 1), shown = last_name || ', ' || first_name$$,
	down => $$last_name = split_part(shown, ', ', 1), first_name = split_part(shown, ', ', 2)$$);
SELECT migrate.expand('in_place_split');
UPDATE in_place_chain SET full_name = 'eve king' WHERE id IN (2, 5, 6);
SELECT migrate.expand('in_place_capital');
UPDATE in_place_chain SET full_name = 'bob king' WHERE id = 3;
SELECT migrate.expand('in_place_initials');
COPY in_place_chain TO STDOUT;
SELECT id, full_name, first_name, last_name, initials, shown FROM in_place_chain ORDER BY id;
-- each client in its own form, on stale rows and new ones
INSERT INTO in_place_chain (id, full_name) VALUES (11, 'kurt goedel');
INSERT INTO in_place_chain (id, first_name, last_name) VALUES (12, 'emmy', 'noether');
INSERT INTO in_place_chain (id, shown) VALUES (13, 'turing, alan');
UPDATE in_place_chain SET full_name = 'carl gauss' WHERE id = 1;
UPDATE in_place_chain SET first_name = 'sofia' WHERE id = 2;
UPDATE in_place_chain SET shown = 'hopper, grace' WHERE id = 3;
-- a stale row, all columns written back but one changed: in the older form, and in the newer
UPDATE in_place_chain SET full_name = 'max planck', first_name = first_name, last_name = last_name WHERE id = 5;
UPDATE in_place_chain SET full_name = full_name, first_name = 'lise', last_name = last_name WHERE id = 6;
COPY in_place_chain (id, full_name, first_name, last_name, initials, shown) TO STDOUT;
-- a younger one reads what it rewrites
SELECT migrate.rollback('in_place_capital', discard => true);
\echo :LAST_ERROR_SQLSTATE
CALL migrate.run('in_place_chain');
SELECT id, full_name, first_name, last_name, initials, shown FROM in_place_chain ORDER BY id;

-- what an older form is computed from anew is what is read, not what is stored
CREATE TABLE in_place_sum (id integer PRIMARY KEY, name text, note text);
INSERT INTO in_place_sum VALUES (1, 'ada', ' x '), (2, 'ada', ' x ');
SELECT migrate.define('in_place_length', 'in_place_sum', add => 'length integer', up => 'length = length(name) + length(note)');
SELECT migrate.define('in_place_trim', 'in_place_sum', up => 'note = btrim(note)');
SELECT migrate.expand('in_place_length');
UPDATE in_place_sum SET name = name;
SELECT migrate.expand('in_place_trim');
UPDATE in_place_sum SET id = id WHERE id = 2;
UPDATE in_place_sum SET name = 'eve' RETURNING id, name, note, length;
-- nor is it computed anew, or rewritten again, because what was read is written back
CREATE TABLE in_place_back (id integer PRIMARY KEY, note text);
INSERT INTO in_place_back VALUES (1, ' X '), (2, ' X ');
SELECT migrate.define('in_place_measure', 'in_place_back', add => 'length integer', up => 'length = length(note)');
SELECT migrate.define('in_place_x', 'in_place_back', up => $$note = replace(note, 'x', 'y')$$);
SELECT migrate.define('in_place_bare', 'in_place_back', up => 'note = btrim(lower(note))');
SELECT migrate.expand('in_place_measure'), migrate.expand('in_place_x'), migrate.expand('in_place_bare');
UPDATE in_place_back SET id = id WHERE id = 2;
UPDATE in_place_back SET note = note RETURNING id, note, length;
-- what is written back so is no reason to forget what a row was in need of
CREATE TABLE in_place_end (id integer PRIMARY KEY, note text, price integer);
INSERT INTO in_place_end VALUES (1, ' x ', 200), (2, ' x ', 200);
SELECT migrate.define('in_place_pad', 'in_place_end', up => 'note = btrim(note)');
SELECT migrate.define('in_place_shout', 'in_place_end', add => 'shout text', up => 'shout = upper(note)', needed => 'price > 100');
SELECT migrate.expand('in_place_pad'), migrate.expand('in_place_shout');
UPDATE in_place_end SET id = id WHERE id = 2;
UPDATE in_place_end SET note = note, price = NULL RETURNING id, note, price, shout;

--
-- policies and constraints see converted values
--
CREATE ROLE in_place_reader;
CREATE TABLE in_place_rls (id integer PRIMARY KEY, owner text CHECK (owner <> 'nobody'));
INSERT INTO in_place_rls VALUES (1, 'IN_PLACE_READER'), (2, 'Other');
SELECT migrate.define('in_place_owner', 'in_place_rls', up => 'owner = lower(owner)');
SELECT migrate.expand('in_place_owner');
ALTER TABLE in_place_rls ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON in_place_rls USING (owner = current_user);
GRANT ALL ON in_place_rls TO in_place_reader;
SET ROLE in_place_reader;
SELECT id, owner FROM in_place_rls;
INSERT INTO in_place_rls VALUES (3, 'In_Place_Reader') RETURNING id, owner;
INSERT INTO in_place_rls VALUES (4, 'Nobody');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
INSERT INTO in_place_rls VALUES (4, 'Nobody');
\echo :LAST_ERROR_SQLSTATE

--
-- partitions, with columns at other places
--
CREATE TABLE in_place_parted_1 (name text, dropped integer, part integer);
ALTER TABLE in_place_parted_1 DROP COLUMN dropped;
ALTER TABLE in_place_parted ATTACH PARTITION in_place_parted_1 FOR VALUES IN (1);
CREATE TABLE in_place_parted_2 PARTITION OF in_place_parted FOR VALUES IN (2);
INSERT INTO in_place_parted VALUES (1, 'One'), (2, 'Two');
SELECT migrate.define('in_place_parted', 'in_place_parted', up => 'name = upper(name)');
SELECT migrate.expand('in_place_parted');
INSERT INTO in_place_parted VALUES (1, 'eins'), (2, 'zwei');
UPDATE in_place_parted SET part = 3 - part, name = name || 's';
SELECT part, name FROM in_place_parted ORDER BY part, name;
SELECT name FROM in_place_parted_1 ORDER BY name;

-- what is computed from a column that is rewritten in place, and not written, is so
-- from what it reads as: in stale rows as in converted ones
CREATE TABLE in_place_kept (id integer PRIMARY KEY, a text, b text, n integer);
INSERT INTO in_place_kept SELECT i, NULL, 'B', NULL FROM generate_series(1, 3) AS i;
SELECT migrate.define('in_place_kept_1', 'in_place_kept', add => 'd text', up => $$d = b || '/' || coalesce(n, 0)::text$$);
SELECT migrate.define('in_place_kept_2', 'in_place_kept', add => 'e text', up => 'e = upper(b)',
	needed => 'n IS NULL');
SELECT migrate.define('in_place_kept_3', 'in_place_kept', up => 'a = coalesce(a, b), n = greatest(n, 5)');
SELECT migrate.expand('in_place_kept_1');
SELECT migrate.expand('in_place_kept_2');
INSERT INTO in_place_kept VALUES (11, NULL, 'B', NULL), (12, NULL, 'B', NULL);
SELECT migrate.expand('in_place_kept_3');
UPDATE in_place_kept SET id = id WHERE id IN (2, 12);
SELECT row_version, count(*) FROM in_place_kept GROUP BY 1 ORDER BY 1;
SELECT id, a, b, n, d, e FROM in_place_kept ORDER BY id;
UPDATE in_place_kept SET b = 'b' WHERE id <> 3 RETURNING id, a, b, n, d, e;

-- a function of the owner's runs as the owner, when others read
CREATE ROLE in_place_owner_role;
CREATE SCHEMA in_place AUTHORIZATION in_place_owner_role;
SET ROLE in_place_owner_role;
CREATE TABLE in_place.t (id integer PRIMARY KEY, who text);
INSERT INTO in_place.t VALUES (1, 'a');
CREATE FUNCTION in_place.me(text) RETURNS text IMMUTABLE LANGUAGE plpgsql
	AS $$BEGIN RETURN coalesce(nullif(split_part($1, ' ', 1), ''), 'a') || ' ' || current_user; END$$;
SELECT migrate.define('in_place_me', 'in_place.t', up => 'who = in_place.me(who)');
SELECT migrate.expand('in_place_me');
RESET ROLE;
SELECT * FROM in_place.t;
UPDATE in_place.t SET who = 'b' RETURNING who;

SET client_min_messages = error;
SELECT migrate.rollback(name, discard => true) FROM migrate.migration
	WHERE name LIKE 'in\_place%' AND state IN ('expanded', 'complete') ORDER BY seq DESC;
SELECT migrate.forget(name) FROM migrate.migration
	WHERE name LIKE 'in\_place%' AND state <> 'contracted' ORDER BY seq DESC;
DROP TABLE in_place_users, in_place_twice, in_place_fail, in_place_chain, in_place_sum, in_place_back, in_place_end, in_place_rls, in_place_parted, in_place_kept;
DROP SCHEMA in_place CASCADE;
DROP ROLE in_place_reader, in_place_owner_role;

-- Rows that a unique index refuses, here and there, at the end of pages, and many in a page:
-- they alone are left.
CREATE TABLE clashing (id integer PRIMARY KEY, email text UNIQUE);
INSERT INTO clashing
	SELECT i, CASE WHEN i % 100 = 0 OR i % 157 = 0 OR (i BETWEEN 2001 AND 2081 AND i % 2 = 1)
				   THEN 'A' || (i + 1) ELSE 'a' || i END
	FROM generate_series(1, 4000) AS i;
SELECT migrate.define('clashing', 'clashing', up => 'email = lower(email)');
SELECT migrate.expand('clashing');
CALL migrate.run('clashing');
SELECT count(*) AS stale, array_agg(id ORDER BY id) = (SELECT array_agg((row_key ->> 'id')::integer ORDER BY (row_key ->> 'id')::integer)
		FROM migrate.failures WHERE relation = 'clashing'::regclass) AS recorded
FROM clashing WHERE row_version < 2;
SELECT sqlstate, max(attempts) FROM migrate.failures WHERE relation = 'clashing'::regclass GROUP BY 1;
UPDATE clashing SET email = 'b' || id WHERE row_version < 2;
SELECT migrate.retry('clashing') > 0 AS again;
CALL migrate.run('clashing');
SELECT state FROM migrate.status WHERE name = 'clashing';
SELECT migrate.rollback('clashing', discard => true);
SELECT migrate.forget('clashing');
DROP TABLE clashing;
