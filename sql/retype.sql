--
-- A new type under the column's own name.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS migrate;
RESET client_min_messages;
CREATE SCHEMA retype;
SET search_path = retype;

CREATE TABLE items (id integer PRIMARY KEY, price integer NOT NULL, price_new text, "Due" text);
INSERT INTO items SELECT i, i * 100, 'taken', '2026-01-0' || i FROM generate_series(1, 4) i;

--
-- define: old and new tell the two apart
--
SELECT migrate.define('retype_bad', 'items', add => 'price numeric(12,2)');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('retype_bad', 'items', add => 'price numeric(12,2)', up => 'price = new.price / 100');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('retype_bad', 'items', add => 'price numeric(12,2)', up => 'price = old.price / 100.0');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('retype_bad', 'items', add => 'price numeric(12,2)', up => 'price = old.price / 100.0',
	down => 'price = price * 100');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('retype_bad', 'items', add => 'price numeric(12,2)', up => 'price = old.id');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('retype_bad', 'items', add => 'price numeric, price text', up => 'price = old.price');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('retype_price', 'items', add => 'price numeric(12,2), "Due" date',
	up => 'price = old.price / 100.0, "Due" = make_date(2026, 1, split_part(old."Due", $$-$$, 3)::integer)',
	down => 'price = new.price * 100, "Due" = date_part($$year$$, new."Due") || $$-01-0$$ || date_part($$day$$, new."Due")');
SELECT remove FROM migrate.migration WHERE name = 'retype_price';
SELECT name, type, rename_to FROM migrate.added_column WHERE migration = 'retype_price' ORDER BY "position";
-- the same again, with what it implies and without, in other words too
SET client_min_messages = warning;
SELECT migrate.define('retype_price', 'items', add => 'price numeric(12,2), "Due" date', remove => '{Due,price}',
	up => 'price = items.price / 100.0, "Due" = make_date(2026, 1, split_part("Due", $$-$$, 3)::integer)',
	down => 'price = new.price * 100, "Due" = date_part($$year$$, new."Due") || $$-01-0$$ || date_part($$day$$, new."Due")');
SELECT migrate.define('retype_price', 'items', add => 'price numeric(12,3), "Due" date',
	up => 'price = items.price / 100.0, "Due" = make_date(2026, 1, split_part("Due", $$-$$, 3)::integer)',
	down => 'price = new.price * 100, "Due" = date_part($$year$$, new."Due") || $$-01-0$$ || date_part($$day$$, new."Due")');
\echo :LAST_ERROR_SQLSTATE
RESET client_min_messages;
SELECT rows_checked, rows_failed, first_error, round_trip_failures FROM migrate.dry_run('retype_price');

--
-- expand: clients of the table see the old column under its name, and the new one beside it
--
SELECT migrate.expand('retype_price');
SELECT * FROM items ORDER BY id;
INSERT INTO items (id, price, "Due") VALUES (11, 1100, '2026-01-05');
INSERT INTO items (id, price_new1, "Due_new") VALUES (12, 12.34, '2026-01-06');
UPDATE items SET price = 201 WHERE id = 2;
UPDATE items SET price_new1 = 3.99 WHERE id = 3;
SELECT id, price, price_new1, "Due", "Due_new" FROM items ORDER BY id;
SELECT migrate.define('retype_price', 'items', add => 'price numeric(12,2), "Due" date',
	up => 'price = old.price / 100.0, "Due" = make_date(2026, 1, split_part(old."Due", $$-$$, 3)::integer)',
	down => 'price = new.price * 100, "Due" = date_part($$year$$, new."Due") || $$-01-0$$ || date_part($$day$$, new."Due")');
ALTER TABLE items RENAME price_new1 TO x;
\echo :LAST_ERROR_SQLSTATE

-- and back, and again
SELECT migrate.rollback('retype_price');
SELECT * FROM items ORDER BY id;
SELECT migrate.expand('retype_price');

--
-- contract: the old one goes, the new one takes its name; not under a live migration's feet
--
SELECT migrate.define('retype_total', 'items', add => 'total numeric', up => 'total = price_new1 * 2');
SELECT migrate.expand('retype_total');
CALL migrate.run('items');
SELECT check_name, detail FROM migrate.check_contract('retype_price') WHERE NOT ok;
SELECT migrate.contract('retype_total', skip => '{window,usage}');
CREATE VIEW prices AS SELECT id, price_new1 FROM items;
SELECT migrate.contract('retype_price', skip => '{window,usage}');
SELECT event, detail FROM migrate.history WHERE migration = 'retype_price' AND event = 'contracted';
\d items
SELECT * FROM items ORDER BY id;
SELECT * FROM prices ORDER BY id;
SELECT name, type, rename_to FROM migrate.added_column WHERE migration = 'retype_price' ORDER BY "position";
INSERT INTO items (id, price) VALUES (13, 13.5) RETURNING *;
-- once more from there, in a chain of which none is expanded yet
SELECT migrate.define('retype_cents', 'items', add => 'price bigint', up => 'price = round(old.price * 100)',
	down => 'price = new.price / 100.0');
SELECT migrate.define('retype_text', 'items', add => 'label text', up => 'label = price_new1 || $$ cents$$');
SELECT rows_checked, rows_failed, first_error, round_trip_failures FROM migrate.dry_run('retype_text');
SELECT migrate.expand('retype_cents');
SELECT migrate.expand('retype_text');
SELECT id, price, price_new1, label FROM items ORDER BY id;

-- another migration that drops the old column as well goes first
CREATE TABLE twice (id integer PRIMARY KEY, a integer);
SELECT migrate.define('retype_twice', 'twice', add => 'a text', up => 'a = old.a', down => 'a = new.a::integer');
SELECT migrate.define('retype_drop', 'twice', remove => '{a}');
SELECT migrate.define('retype_again', 'twice', add => 'a bigint', up => 'a = old.a', down => 'a = new.a');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.expand('retype_twice');
SELECT migrate.expand('retype_drop');
CALL migrate.run('twice');
SELECT check_name, detail, hint FROM migrate.check_contract('retype_twice') WHERE NOT ok;
SELECT migrate.contract('retype_drop', skip => '{window,usage}');
SELECT migrate.contract('retype_twice', skip => '{window,usage}');
SELECT attname, atttypid::regtype FROM pg_attribute WHERE attrelid = 'twice'::regclass AND attnum > 0 AND NOT attisdropped;

--
-- with constraints: they are the new column's, by whatever name
--
CREATE TABLE strict (id integer PRIMARY KEY, price integer NOT NULL);
INSERT INTO strict VALUES (1, 100), (2, 0);
SELECT migrate.define('retype_strict', 'strict', add => 'price numeric DEFAULT 5', down => 'price = new.price * 100');
\echo :LAST_ERROR_SQLSTATE
SELECT migrate.define('retype_strict', 'strict', down => 'price = new.price * 100',
	add => 'price numeric(10,2) NOT NULL DEFAULT 5 CHECK (price > 0), tax numeric CHECK (tax < new.price)',
	up => 'price = old.price / 100.0, tax = price / 1000.0');
SELECT migrate.expand('retype_strict');
INSERT INTO strict (id, price) VALUES (3, 300);
INSERT INTO strict (id, price_new) VALUES (4, 0);
\echo :LAST_ERROR_SQLSTATE
CALL migrate.run('strict');
SELECT row_key, message FROM migrate.failures WHERE migration = 'retype_strict';
UPDATE strict SET price = 200 WHERE id = 2;
SELECT migrate.retry('strict');
CALL migrate.run('strict');
SELECT migrate.contract('retype_strict', skip => '{window,usage}');
\d strict
SELECT * FROM strict ORDER BY id;

--
-- what users gave to the name and not to the type, the new column takes over
--
SET client_min_messages = warning;
CREATE ROLE retype_reader;
CREATE ROLE retype_other;
GRANT USAGE ON SCHEMA retype TO retype_reader, retype_other;
CREATE TABLE heir (id integer GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 5 MAXVALUE 1000), num serial, price integer, note text);
SELECT migrate.define('heir_bad', 'heir', add => 'id bigint', up => 'id = old.id', down => 'id = new.id');
\echo :LAST_ERROR_SQLSTATE
COMMENT ON COLUMN heir.price IS 'in cents';
COMMENT ON COLUMN heir.num IS 'a number';
GRANT SELECT (price), UPDATE (price) ON heir TO retype_other WITH GRANT OPTION;
SET ROLE retype_other;
GRANT SELECT (price) ON retype.heir TO retype_reader;
RESET ROLE;
ALTER TABLE heir ALTER price SET STATISTICS 77, ALTER price SET (n_distinct = 12), ALTER num SET STATISTICS 5;
CREATE UNIQUE INDEX heir_price_key ON heir (price);
CREATE INDEX ON heir (price);
ALTER TABLE heir ADD CHECK (price > 0), ADD CONSTRAINT of_users1 CHECK (note <> '');
INSERT INTO heir (price, note) SELECT i * 100, 'x' FROM generate_series(1, 4) i;
SELECT migrate.define('retype_heir', 'heir',
	add => $$id bigint NOT NULL, num bigint DEFAULT nextval('heir_num_seq') CONSTRAINT of_num_check1 CHECK (num > 0),
		price numeric(12,2) UNIQUE CHECK (price > 0)$$,
	up => 'id = old.id, num = old.num, price = old.price / 100.0', down => 'id = new.id, num = new.num, price = new.price * 100');
SELECT migrate.expand('retype_heir');
SELECT migrate.create_index('retype_heir', 'price DESC');
-- its own come first
COMMENT ON COLUMN heir.num_new IS 'a bigger number';
ALTER TABLE heir ALTER num_new SET STATISTICS 6;
GRANT INSERT (price_new) ON heir TO retype_reader;
GRANT SELECT (note) ON heir TO retype_reader;
CALL migrate.run('heir');
ALTER TABLE heir DROP CONSTRAINT heir_price_check;
DROP INDEX heir_price_key, heir_price_idx;
PREPARE surviving AS SELECT note FROM heir;
EXECUTE surviving;
SELECT migrate.contract('retype_heir', skip => '{window,usage}');
EXECUTE surviving;
DEALLOCATE surviving;
\d heir
SELECT attname, coalesce(attstattarget, -1) AS target, nullif(array(SELECT o FROM unnest(attoptions) o WHERE o ~ '^n_distinct'), '{}') AS attoptions, col_description(attrelid, attnum) FROM pg_attribute
	WHERE attrelid = 'heir'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname;
SELECT attname, grantee::regrole, privilege_type, is_grantable, grantor = 'retype_other'::regrole AS by_other
	FROM pg_attribute, aclexplode(attacl) WHERE attrelid = 'heir'::regclass AND NOT attisdropped ORDER BY 1, 2::text, 3, 5;
SELECT seqtypid::regtype, seqstart, seqincrement, seqmax FROM pg_sequence WHERE seqrelid = 'heir_id_seq'::regclass;
INSERT INTO heir (price) VALUES (5), (6) RETURNING id, num, price;
SET ROLE retype_reader;
SELECT price FROM retype.heir ORDER BY price LIMIT 1;
RESET ROLE;
REVOKE ALL ON SCHEMA retype FROM retype_other;
DROP ROLE retype_other;	-- the privilege is known to depend on it
-- a sequence goes on with the column that uses it, whatever that is called; a default from an identity's is the identity
CREATE TABLE heir_of_sequence (old serial, id bigint GENERATED BY DEFAULT AS IDENTITY);
SELECT migrate.define('heir_sequence', 'heir_of_sequence',
	add => $$new bigint DEFAULT nextval('heir_of_sequence_old_seq'), id integer NOT NULL DEFAULT nextval('heir_of_sequence_id_seq')$$,
	up => 'new = old, id = old.id', down => 'old = new, id = new.id', remove => '{old}');
INSERT INTO heir_of_sequence DEFAULT VALUES;
SELECT migrate.expand('heir_sequence');
CALL migrate.run('heir_of_sequence');
SELECT migrate.contract('heir_sequence', skip => '{window,usage}');
INSERT INTO heir_of_sequence DEFAULT VALUES RETURNING *;
\d heir_of_sequence
DROP TABLE heir_of_sequence;
-- of partitions, each its own
CREATE TABLE heirs (id integer, price integer) PARTITION BY RANGE (id);
CREATE TABLE heirs_1 PARTITION OF heirs FOR VALUES FROM (0) TO (10);
COMMENT ON COLUMN heirs.price IS 'of all';
COMMENT ON COLUMN heirs_1.price IS 'of the first';
GRANT SELECT (price) ON heirs TO retype_reader;
GRANT UPDATE (price) ON heirs_1 TO retype_reader;
SELECT migrate.define('retype_heirs', 'heirs', add => 'price numeric', up => 'price = old.price', down => 'price = new.price');
SELECT migrate.expand('retype_heirs');
CALL migrate.run('heirs');
SELECT migrate.contract('retype_heirs', skip => '{window,usage}');
SELECT attrelid::regclass, col_description(attrelid, attnum), attacl IS NOT NULL AS has_acl FROM pg_attribute
	WHERE attrelid IN ('heirs'::regclass, 'heirs_1'::regclass) AND attname = 'price' ORDER BY 1::text;
DROP TABLE heir, heirs;
REVOKE ALL ON SCHEMA retype FROM retype_reader;
DROP ROLE retype_reader, retype_other;
RESET client_min_messages;

--
-- a primary key, and what refers to it: exchanged together with the contract
--
CREATE TABLE keyed (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text);
CREATE TABLE refers (keyed integer REFERENCES keyed);
INSERT INTO keyed (a) VALUES ('x'), ('y');
INSERT INTO refers VALUES (1), (2);
SELECT migrate.define('retype_key', 'keyed', add => 'id bigint NOT NULL', up => 'id = old.id', down => 'id = new.id');
SELECT migrate.expand('retype_key');
SELECT migrate.create_index('retype_key', 'id', is_unique => true);
CALL migrate.run('keyed');
SELECT ok, detail FROM migrate.check_contract('retype_key') WHERE check_name = 'objects';
BEGIN;
ALTER TABLE refers DROP CONSTRAINT refers_keyed_fkey;
ALTER TABLE keyed DROP CONSTRAINT keyed_pkey;
SELECT migrate.contract('retype_key', skip => '{window,usage}');
SET LOCAL client_min_messages = warning;
ALTER TABLE keyed ADD CONSTRAINT keyed_pkey PRIMARY KEY USING INDEX keyed_id_key;
ALTER TABLE refers ADD CONSTRAINT refers_keyed_fkey FOREIGN KEY (keyed) REFERENCES keyed NOT VALID;
COMMIT;
ALTER TABLE refers VALIDATE CONSTRAINT refers_keyed_fkey;
INSERT INTO keyed (a) VALUES ('z') RETURNING id, pg_typeof(id), a;
INSERT INTO refers VALUES (3), (4);
SELECT conrelid::regclass, pg_get_constraintdef(oid), convalidated FROM pg_constraint
	WHERE conname IN ('keyed_pkey', 'refers_keyed_fkey') ORDER BY conname;

--
-- partitions
--
CREATE TABLE parted (part integer, a integer) PARTITION BY LIST (part);
CREATE TABLE parted_1 (a integer, part integer);
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES IN (1);
INSERT INTO parted VALUES (1, 1);
SELECT migrate.define('retype_parted', 'parted', add => 'a text', up => 'a = old.a', down => 'a = new.a::integer');
SELECT migrate.expand('retype_parted');
INSERT INTO parted (part, a_new) VALUES (1, '7');
CALL migrate.run('parted');
SELECT migrate.contract('retype_parted', skip => '{window,usage}');
SELECT tableoid::regclass, part, a FROM parted ORDER BY a;
SELECT migrate.define('retype_part', 'parted', add => 'part bigint', up => 'part = old.part', down => 'part = new.part');
\echo :LAST_ERROR_SQLSTATE

SET client_min_messages = error;
SELECT count(migrate.rollback(name, discard => true)) FROM (SELECT name FROM migrate.migration
	WHERE name LIKE 'retype%' AND state IN ('expanded', 'complete') ORDER BY seq DESC) m;
DROP SCHEMA retype CASCADE;
