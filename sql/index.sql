-- Indexes declared on new columns.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
SET migrate.lock_timeout = '20s';

-- A process of its own builds them: wait until an index is there, or gone.
CREATE PROCEDURE idx_await(index text, there boolean) LANGUAGE plpgsql AS $$
DECLARE
	until timestamptz := clock_timestamp() + '3min';
BEGIN
	WHILE there <> EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
						   WHERE c.relname = index AND (i.indisvalid OR NOT there)) LOOP
		IF clock_timestamp() > until THEN
			RAISE 'index % is not as it should be: there %', index, there;
		END IF;
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CREATE VIEW idx_indexes AS
	SELECT i.indrelid::regclass AS relation, c.relname AS index, i.indisunique, i.indisvalid,
		CASE c.relowner WHEN current_user::regrole THEN 'superuser' ELSE c.relowner::regrole::text END AS owner
	FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
	WHERE NOT i.indisprimary AND i.indrelid::regclass::text LIKE 'idx%' ORDER BY 1, 2;

CREATE TABLE idx_users (id integer PRIMARY KEY, tenant integer DEFAULT 7, full_name text)
	WITH (fillfactor = 40, autovacuum_enabled = off);
INSERT INTO idx_users (id, full_name) SELECT i, 'f' || i % 10 || ' l' || i FROM generate_series(1, 2000) AS i;
SELECT migrate.define('idx_split', 'idx_users', add => 'first text, last varchar(20), secret text',
	up => $$first = split_part(full_name, ' ', 1), last = split_part(full_name, ' ', 2),
		secret = to_char(id, '999')$$,
	down => $$full_name = first || ' ' || last$$, remove => '{full_name}');

-- What is refused.
SELECT migrate.create_index('idx_none', 'last');
SELECT migrate.create_index('idx_split', 'last');		-- not expanded
SELECT migrate.expand('idx_split');
SELECT migrate.create_index(NULL, 'last');
SELECT migrate.create_index('idx_split', 'last', NULL);
SELECT migrate.create_index('idx_split', 'lost');
SELECT migrate.create_index('idx_split', 'full_name');
SELECT migrate.create_index('idx_split', 'last, full_name');
SELECT migrate.create_index('idx_split', 'row_version');
SELECT migrate.create_index('idx_split', 'tenant');
SELECT migrate.create_index('idx_split', 'lower(full_name)');
SELECT migrate.create_index('idx_split', '(idx_users)');
SELECT migrate.create_index('idx_split', '(random() + length(last))');
SELECT migrate.create_index('idx_split', '(SELECT last)');
SELECT migrate.create_index('idx_split', '(lower(lost))');
SELECT migrate.create_index('idx_split', '(upper(first) || secret)', while_stale => true);
SELECT migrate.create_index('idx_split', 'first,, last');
SELECT migrate.create_index('idx_split', 'last) INCLUDE (id');
SELECT migrate.create_index('idx_split', 'last) WHERE (id > 5');
SELECT migrate.create_index('idx_split', 'last); DROP TABLE idx_users; SELECT (1');
SELECT migrate.create_index('idx_split', 'last COLLATE "nowhere"');
SELECT migrate.create_index('idx_split', 'last int4_ops');
SELECT migrate.create_index('idx_split', 'secret', while_stale => true);
CREATE ROLE idx_owner;
CREATE ROLE idx_other;
CREATE SCHEMA idx_schema;
GRANT USAGE ON SCHEMA idx_schema TO idx_owner;
CREATE TABLE idx_schema.idx_owned (id integer PRIMARY KEY, a text);
ALTER TABLE idx_schema.idx_owned OWNER TO idx_owner;
INSERT INTO idx_schema.idx_owned VALUES (1, 'x');
SET ROLE idx_owner;
SELECT migrate.define('idx_owned', 'idx_schema.idx_owned', add => 'b text', up => 'b = upper(a)');
SELECT migrate.expand('idx_owned');
SELECT migrate.create_index('idx_owned', 'b');
SET ROLE idx_other;
SELECT migrate.create_index('idx_owned', 'b');
SELECT migrate.drop_index('idx_owned', 'idx_owned_b_idx');
RESET ROLE;

-- The plain kind: nothing is built before the rows are converted, so that
-- conversions stay HOT.
SELECT migrate.create_index('idx_split', 'first, last DESC NULLS LAST');
SELECT migrate.create_index('idx_split', 'first, last DESC NULLS LAST');	-- another name
SELECT migrate.create_index('idx_split', 'last COLLATE "C" varchar_pattern_ops, tenant', is_unique => true);
SELECT migrate.drop_index('idx_split', 'idx_users_first_last_idx1');
SELECT migrate.drop_index('idx_split', 'idx_users_first_last_idx1');
CALL migrate.run('idx_users', 200);
SELECT * FROM idx_indexes WHERE relation = 'idx_users'::regclass;
BEGIN;
UPDATE idx_users SET tenant = tenant WHERE id BETWEEN 1000 AND 1099;
SELECT pg_stat_get_xact_tuples_updated('idx_users'::regclass)
	- pg_stat_get_xact_tuples_hot_updated('idx_users'::regclass) AS not_hot;
ROLLBACK;
CALL migrate.run('idx_users');
SELECT * FROM idx_indexes WHERE relation = 'idx_users'::regclass;
SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'idx_users' ORDER BY 1;
SELECT state FROM migrate.status WHERE name = 'idx_split';
SELECT event, detail FROM migrate.history WHERE migration = 'idx_split';

-- It is not dropped by mistake, and stays after the contract.
DROP INDEX idx_users_last_tenant_key;
SELECT migrate.create_index('idx_split', 'secret');		-- too late
SELECT migrate.contract('idx_split', skip => '{window,usage}');
SELECT * FROM idx_indexes WHERE relation = 'idx_users'::regclass;
DROP INDEX idx_users_last_tenant_key;

-- While rows are stale: one index over all of them.
CREATE TABLE idx_stale (id integer PRIMARY KEY, tenant integer DEFAULT 7, full_name text)
	WITH (autovacuum_enabled = off);
INSERT INTO idx_stale (id, full_name)
	SELECT i, CASE WHEN i < 2000 THEN 'f' || i % 10 || ' l' || i END FROM generate_series(1, 2000) AS i;
SELECT migrate.define('idx_stale', 'idx_stale', add => 'first text, last varchar(20)',
	up => $$first = split_part(full_name, ' ', 1), last = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first || ' ' || last$$, remove => '{full_name}');
SELECT migrate.expand('idx_stale');
SELECT migrate.create_index('idx_stale', 'last', is_unique => true, while_stale => true);
SELECT migrate.create_index('idx_stale', 'tenant, first', while_stale => true);
CALL migrate.run('idx_stale', 50);
CALL idx_await('!migrate_idx_stale_last_key', true);
CALL idx_await('!migrate_idx_stale_tenant_first_idx', true);
SELECT count(*) FILTER (WHERE row_version = 1) > 0 AS some_stale,
	count(*) FILTER (WHERE row_version > 1) > 0 AS some_converted FROM idx_stale;

-- What it serves: =, ranges, IN, IS NULL, ORDER BY, min and max, joins.
CREATE FUNCTION idx_scans(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text; scans text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS off) ' || query LOOP
		IF line ~ '(Scan|Sort)\M' THEN
			scans := scans || CASE WHEN scans = '' THEN '' ELSE '; ' END || regexp_replace(line, '^[ >-]*', '');
		END IF;
	END LOOP;
	RETURN scans;
END $$;
ANALYZE idx_stale;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT q AS query, idx_scans(q) AS scans FROM unnest(ARRAY[
	'SELECT * FROM idx_stale WHERE last = ''l17''',
	'SELECT * FROM idx_stale WHERE last > ''l1998'' AND last < ''l2''',
	'SELECT * FROM idx_stale WHERE last IN (''l17'', ''l1999'')',
	'SELECT * FROM idx_stale WHERE last IS NULL',
	'SELECT last FROM idx_stale ORDER BY last LIMIT 5',
	'SELECT last FROM idx_stale ORDER BY last DESC',
	'SELECT max(last) FROM idx_stale',
	'SELECT * FROM idx_stale WHERE tenant = 7 AND first = ''f3''',
	'UPDATE idx_stale SET tenant = 8 WHERE last = ''l17''',
	'SELECT * FROM (VALUES (''l1''::varchar), (''l2'')) v (l) JOIN idx_stale s ON s.last = v.l']) AS q;
SELECT id, first, last FROM idx_stale WHERE last IN ('l17', 'l1999') ORDER BY last;
SELECT id, first, last FROM idx_stale WHERE last IS NULL;
SELECT last FROM idx_stale ORDER BY last LIMIT 3;
RESET enable_seqscan;
RESET enable_bitmapscan;

-- Uniqueness, over stale rows and converted ones, in both forms.
INSERT INTO idx_stale (id, first, last) VALUES (3001, 'x', 'l17');
INSERT INTO idx_stale (id, full_name) VALUES (3001, 'x l1900');
UPDATE idx_stale SET full_name = 'x l17' WHERE id = 1900;
UPDATE idx_stale SET full_name = full_name || 'x' WHERE id = 1900;

-- ON CONFLICT finds it, and goes on working, prepared too.
PREPARE idx_upsert (varchar, text) AS INSERT INTO idx_stale (id, first, last) VALUES (4000, $2, $1)
	ON CONFLICT (last) DO UPDATE SET first = EXCLUDED.first || '!' RETURNING id, first, last, full_name;
EXECUTE idx_upsert ('l17', 'stale');
EXECUTE idx_upsert ('l17', 'converted');
INSERT INTO idx_stale (id, full_name) VALUES (4000, 'old l18') ON CONFLICT (last) DO NOTHING;
INSERT INTO idx_stale (id, first) VALUES (4000, 'x') ON CONFLICT (first) DO NOTHING;

-- Exchanged when the migration is complete.
CALL migrate.run('idx_stale');
EXECUTE idx_upsert ('l17', 'complete');
CALL idx_await('!migrate_idx_stale_last_key', false);
EXECUTE idx_upsert ('l17', 'exchanged');
CALL idx_await('!migrate_idx_stale_tenant_first_idx', false);
SELECT * FROM idx_indexes WHERE relation = 'idx_stale'::regclass;
SET enable_seqscan = off;
EXPLAIN (COSTS off) SELECT * FROM idx_stale WHERE last = 'l17';
RESET enable_seqscan;
SELECT * FROM migrate.check_contract('idx_stale') WHERE NOT ok;
SELECT migrate.contract('idx_stale', skip => '{window,usage}');
SELECT * FROM idx_indexes WHERE relation = 'idx_stale'::regclass;

-- An exclusion constraint would not know what stale rows read as, either.
CREATE TABLE idx_exclude (id integer PRIMARY KEY, a integer);
INSERT INTO idx_exclude VALUES (1, 1);
SELECT migrate.define('idx_exclude', 'idx_exclude', add => 'b integer', up => 'b = a');
SELECT migrate.expand('idx_exclude');
ALTER TABLE idx_exclude ADD EXCLUDE (b WITH =);
CALL migrate.run('idx_exclude');
ALTER TABLE idx_exclude ADD EXCLUDE (b WITH =);
SELECT migrate.contract('idx_exclude', skip => '{window,usage}');

-- Duplicates hold the completion back, and are said.
CREATE TABLE idx_dup (id integer PRIMARY KEY, a text) WITH (autovacuum_enabled = off);
INSERT INTO idx_dup VALUES (1, 'x'), (2, 'X'), (3, 'y');
SELECT migrate.define('idx_dup', 'idx_dup', add => 'b text', up => 'b = upper(a)', down => 'a = b');
SELECT migrate.expand('idx_dup');
SELECT migrate.create_index('idx_dup', 'b', is_unique => true);
CALL migrate.run('idx_dup');
SELECT migration, row_key, sqlstate, message, attempts FROM migrate.failures WHERE relation = 'idx_dup'::regclass ORDER BY row_key;
SELECT phase, last_error FROM migrate.progress WHERE migration = 'idx_dup';
SELECT state, failures, contractable FROM migrate.status WHERE name = 'idx_dup';
SELECT * FROM idx_indexes WHERE relation = 'idx_dup'::regclass;	-- nothing is in the way of writes
CALL migrate.run('idx_dup');
SELECT attempts FROM migrate.failures WHERE relation = 'idx_dup'::regclass;
SELECT migrate.retry('idx_dup');
CALL migrate.run('idx_dup');
SELECT attempts FROM migrate.failures WHERE relation = 'idx_dup'::regclass;
UPDATE idx_dup SET a = 'z' WHERE id = 2;
SELECT migrate.retry('idx_dup');
CALL migrate.run('idx_dup');
SELECT count(*) FROM migrate.failures WHERE relation = 'idx_dup'::regclass;
SELECT state FROM migrate.status WHERE name = 'idx_dup';
SELECT * FROM idx_indexes WHERE relation = 'idx_dup'::regclass;

-- Rolled back, they go with their columns and are declared no more.
SELECT migrate.rollback('idx_dup');
SELECT * FROM idx_indexes WHERE relation = 'idx_dup'::regclass;
SELECT migrate.expand('idx_dup');
SELECT migrate.create_index('idx_dup', 'b', true, true);
UPDATE idx_dup SET a = 'x' WHERE id = 2;
CALL migrate.run('idx_dup', 1);
UPDATE idx_dup SET a = 'X' WHERE id = 2;
CALL migrate.run('idx_dup');
SELECT * FROM idx_indexes WHERE relation = 'idx_dup'::regclass;
SELECT row_key, sqlstate FROM migrate.failures WHERE relation = 'idx_dup'::regclass ORDER BY row_key;

-- To give it up is a way out, too.
SELECT migrate.drop_index('idx_dup', 'idx_dup_b_key');
SELECT count(*) FROM migrate.failures WHERE relation = 'idx_dup'::regclass;
CALL migrate.run('idx_dup');
SELECT state FROM migrate.status WHERE name = 'idx_dup';

-- In a chain, an index goes on serving when another migration is expanded.
CREATE TABLE idx_chain (id integer PRIMARY KEY, a text) WITH (autovacuum_enabled = off);
INSERT INTO idx_chain SELECT i, 'x' || i FROM generate_series(1, 500) AS i;
SELECT migrate.define('idx_chain1', 'idx_chain', add => 'b text', up => 'b = upper(a)', down => 'a = lower(b)');
SELECT migrate.expand('idx_chain1');
SELECT migrate.create_index('idx_chain1', 'b', false, true);
CALL migrate.run('idx_chain', 1);
CALL idx_await('!migrate_idx_chain_b_idx', true);
SELECT migrate.define('idx_chain2', 'idx_chain', add => 'c text', up => 'c = b || ''!''', down => 'b = rtrim(c, ''!'')');
SELECT migrate.expand('idx_chain2');
SELECT migrate.create_index('idx_chain2', 'c', false, true);
CALL migrate.run('idx_chain', 1);
CALL idx_await('!migrate_idx_chain_c_idx', true);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT idx_scans('SELECT * FROM idx_chain WHERE b = ''X400'''), idx_scans('SELECT * FROM idx_chain WHERE c = ''X400!''');
SELECT id, a, b, c FROM idx_chain WHERE c = 'X400!';
RESET enable_seqscan;
RESET enable_bitmapscan;
SELECT migrate.rollback('idx_chain2');
CALL migrate.run('idx_chain');
CALL idx_await('!migrate_idx_chain_b_idx', false);
SELECT * FROM idx_indexes WHERE relation = 'idx_chain'::regclass;

-- On expressions over new columns, of both kinds.
CREATE TABLE idx_expr (id integer PRIMARY KEY, tenant integer DEFAULT 7, a text) WITH (autovacuum_enabled = off);
INSERT INTO idx_expr (id, a) SELECT i, 'X' || i FROM generate_series(1, 500) AS i;
CREATE FUNCTION idx_double(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1 || $1 $$;
SELECT migrate.define('idx_expr', 'idx_expr', add => 'b text', up => 'b = a', down => 'a = b');
SELECT migrate.expand('idx_expr');
SELECT migrate.create_index('idx_expr', '(b), lower(b) text_pattern_ops DESC, (left(b, 3) COLLATE "C")');
SELECT migrate.create_index('idx_expr', 'tenant, lower(b)', is_unique => true, while_stale => true);
SELECT migrate.create_index('idx_expr', 'public.idx_double(b)', while_stale => true);
CALL migrate.run('idx_expr', 50);
CALL idx_await('!migrate_idx_expr_tenant_lower_key', true);
CALL idx_await('!migrate_idx_expr_idx_double_idx', true);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT idx_scans('SELECT * FROM idx_expr WHERE tenant = 7 AND lower(b) = ''x400''');
SELECT idx_scans('SELECT * FROM idx_expr WHERE idx_double(b) = ''X400X400''');
SELECT id, b FROM idx_expr WHERE lower(b) = 'x400' AND tenant = 7;
INSERT INTO idx_expr (id, b) VALUES (1000, 'x400') ON CONFLICT (tenant, lower(b)) DO UPDATE SET b = 'x400' RETURNING id, a, b;
INSERT INTO idx_expr (id, a) VALUES (1000, 'x401');
CALL migrate.run('idx_expr') \gset
\echo :remaining
SELECT state FROM migrate.status WHERE name = 'idx_expr';
INSERT INTO idx_expr (id, b) VALUES (1000, 'X400') ON CONFLICT (tenant, lower(b)) DO UPDATE SET b = 'X400' RETURNING id, a, b;
CALL idx_await('!migrate_idx_expr_tenant_lower_key', false);
CALL idx_await('!migrate_idx_expr_idx_double_idx', false);
SELECT idx_scans('SELECT * FROM idx_expr WHERE tenant = 7 AND lower(b) = ''x400''');
RESET enable_seqscan;
RESET enable_bitmapscan;
SELECT indexdef FROM pg_indexes WHERE tablename = 'idx_expr' ORDER BY 1;
SELECT migrate.contract('idx_expr', skip => '{window,usage}');

-- What an expression calls, also when it is folded, is called as the table's owner.
GRANT CREATE ON SCHEMA idx_schema TO idx_owner;
SET ROLE idx_owner;
CREATE FUNCTION idx_schema.as_owner(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF current_user <> 'idx_owner' THEN
		RAISE EXCEPTION 'called as another role';
	END IF;
	RETURN $1;
END $$;
SELECT migrate.create_index('idx_owned', 'idx_schema.as_owner(b), (b || idx_schema.as_owner(''!''))');
RESET ROLE;
CALL migrate.run('idx_schema.idx_owned');
SELECT state FROM migrate.status WHERE name = 'idx_owned';

-- A name that is taken meanwhile is not ours to drop, nor is what has it taken for ours.
CREATE TABLE idx_taken (id integer PRIMARY KEY, a integer);
INSERT INTO idx_taken VALUES (1, 1), (2, 1);
SELECT migrate.define('idx_taken', 'idx_taken', add => 'b integer', up => 'b = id');
SELECT migrate.expand('idx_taken');
SELECT migrate.create_index('idx_taken', 'b', is_unique => true);
CREATE TABLE idx_thief (id integer);
CREATE INDEX idx_taken_b_key ON idx_thief (id);
CALL migrate.run('idx_taken');
SELECT row_key, sqlstate, message FROM migrate.failures WHERE migration = 'idx_taken';
SELECT * FROM idx_indexes WHERE index = 'idx_taken_b_key';
SET migrate.guard = off;
DROP INDEX idx_taken_b_key;
CREATE INDEX idx_taken_b_key ON idx_taken (a);
RESET migrate.guard;
SELECT migrate.retry('idx_taken');
CALL migrate.run('idx_taken');
SELECT row_key, sqlstate, attempts FROM migrate.failures WHERE migration = 'idx_taken';
SELECT * FROM idx_indexes WHERE index = 'idx_taken_b_key';
SET migrate.guard = off;
DROP INDEX idx_taken_b_key;
RESET migrate.guard;
SELECT migrate.retry('idx_taken');
CALL migrate.run('idx_taken');
SELECT * FROM idx_indexes WHERE index = 'idx_taken_b_key';
SELECT state FROM migrate.status WHERE name = 'idx_taken';

-- Of partitioned tables: each leaf's is built, then they are made one.
CREATE TABLE idx_parts (id integer, region integer, a text) PARTITION BY RANGE (id);
CREATE TABLE idx_part1 PARTITION OF idx_parts FOR VALUES FROM (0) TO (100);
CREATE TABLE idx_part2 (junk integer, a text, region integer, id integer) PARTITION BY LIST (region);
ALTER TABLE idx_part2 DROP COLUMN junk;
CREATE TABLE idx_part21 (region integer, more integer, id integer, a text);
ALTER TABLE idx_part21 DROP COLUMN more;
ALTER TABLE idx_part2 ATTACH PARTITION idx_part21 FOR VALUES IN (1);
ALTER TABLE idx_parts ATTACH PARTITION idx_part2 FOR VALUES FROM (100) TO (200);
CREATE TABLE idx_part3 PARTITION OF idx_parts FOR VALUES FROM (200) TO (300);
INSERT INTO idx_parts SELECT i, 1, 'x' || i FROM generate_series(0, 299) AS i;
CREATE VIEW idx_part_indexes AS
	SELECT i.indrelid::regclass AS relation, c.relkind, i.indisunique, i.indisvalid, c.relispartition AS attached,
		CASE WHEN c.relname ~ '^!' THEN 'interim' WHEN i.indrelid::regclass::text IN ('idx_part2') THEN 'of the server''s choice'
			ELSE c.relname END AS name
	FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid::regclass::text LIKE 'idx\_part%'
	ORDER BY 1, i.indisunique, 6;
SELECT migrate.define('idx_parts', 'idx_parts', add => 'b text', up => 'b = upper(a)', down => 'a = lower(b)');
SELECT migrate.expand('idx_parts');
SELECT migrate.create_index('idx_parts', 'b', is_unique => true);
SELECT migrate.create_index('idx_parts', 'b, id', is_unique => true);
SELECT migrate.create_index('idx_parts', 'b, region, id', is_unique => true, while_stale => true);
SELECT migrate.create_index('idx_parts', 'lower(b) DESC');
CALL migrate.run('idx_parts', 50);
CREATE PROCEDURE idx_await_leaves(indexes integer) LANGUAGE plpgsql AS $$
BEGIN
	WHILE indexes <> (SELECT count(*) FROM idx_part_indexes WHERE name = 'interim' AND indisvalid) LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CALL idx_await_leaves(3);
SELECT * FROM idx_part_indexes;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT regexp_replace(idx_scans('SELECT * FROM idx_parts WHERE b = ''X150'' AND id = 150'), '"!migrate_idx_part21_\w+"', 'the interim index');
RESET enable_seqscan;
RESET enable_bitmapscan;
SELECT id, b FROM idx_parts WHERE b IN ('X50', 'X150', 'X250') ORDER BY id;
-- Partitions that come and go meanwhile.
CREATE TABLE idx_part22 PARTITION OF idx_part2 FOR VALUES IN (2);
INSERT INTO idx_parts VALUES (110, 2, 'two');
DROP TABLE idx_part3;
CALL migrate.run('idx_parts');
CALL idx_await_leaves(0);
SELECT state FROM migrate.status WHERE name = 'idx_parts';
SELECT * FROM idx_part_indexes;
INSERT INTO idx_parts (id, region, b) VALUES (150, 1, 'X150') ON CONFLICT (b, region, id) DO UPDATE SET b = 'again' RETURNING a, b;
INSERT INTO idx_parts (id, region, a) VALUES (110, 2, 'two');
CREATE TABLE idx_part4 PARTITION OF idx_parts FOR VALUES FROM (400) TO (500);
DROP INDEX idx_parts_b_region_id_key;
SELECT migrate.drop_index('idx_parts', 'idx_parts_lower_idx');
SELECT * FROM idx_part_indexes WHERE relation = 'idx_part4'::regclass;
SELECT migrate.rollback('idx_parts');
SELECT * FROM idx_part_indexes;
-- Given up, and rolled back, while it is built.
SELECT migrate.expand('idx_parts');
SELECT migrate.create_index('idx_parts', 'b', while_stale => true);
SELECT migrate.create_index('idx_parts', 'b DESC', while_stale => true);
CALL migrate.run('idx_parts', 1);
CALL idx_await_leaves(8);
SELECT migrate.drop_index('idx_parts', 'idx_parts_b_idx');
SELECT count(*) FROM idx_part_indexes;
SELECT migrate.rollback('idx_parts');
SELECT count(*) FROM idx_part_indexes;
-- A duplicate in a partition, found while rows are stale; the keys may be in one
-- index each. Nothing that is not valid is left.
INSERT INTO idx_parts SELECT 110 + i, 1, 'twice' FROM generate_series(0, 1) AS i;
UPDATE idx_parts SET id = 110 WHERE id = 111 AND a = 'twice';
UPDATE idx_parts SET id = 110 WHERE a = 'twice';
SELECT migrate.expand('idx_parts');
SELECT migrate.create_index('idx_parts', 'lower(b), id, region', is_unique => true, while_stale => true);
CALL migrate.run('idx_parts');
SELECT relation, row_key IS NOT NULL AS has_key, sqlstate, message FROM migrate.failures
	WHERE migration = 'idx_parts' AND row_key ? 'ctid';
SELECT row_key, sqlstate FROM migrate.failures WHERE migration = 'idx_parts' AND row_key ? 'index';
SELECT count(*) FROM idx_part_indexes WHERE NOT indisvalid;
DELETE FROM idx_parts WHERE ctid = (SELECT min(ctid) FROM idx_parts WHERE a = 'twice');
SELECT migrate.retry('idx_parts');
CALL migrate.run('idx_parts');
CALL idx_await_leaves(0);
SELECT count(*) FROM migrate.failures WHERE migration = 'idx_parts';
SELECT state FROM migrate.status WHERE name = 'idx_parts';
SELECT migrate.contract('idx_parts', skip => '{window,usage}');
SELECT indexname FROM pg_indexes WHERE tablename LIKE 'idx\_part%' AND tablename <> 'idx_part2' ORDER BY 1;
