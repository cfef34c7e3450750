# A database in the middle of everything, to be carried elsewhere: rows of all
# versions, every kind of migration, each at another point of its life. What
# carries it says whether all of it is there afterwards, and the work is gone on
# with to its end.
package Midway;

use strict;
use warnings;

use Exporter 'import';
use Test::More;

our @EXPORT_OK = qw(make_midway reads_of stored_in catalog_of is_unchanged go_on_to_the_end);

# Run in a database that has nothing but the extension.
my $script = <<'SQL';
SET client_min_messages = warning;
CREATE SCHEMA app;
SET search_path = app;
-- Functions of users', sub-queries, a chain, rows in three versions, a dropped column.
CREATE FUNCTION first_word(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT split_part($1, ' ', 1) $$;
CREATE TABLE users (id integer PRIMARY KEY, gone integer, full_name text NOT NULL) WITH (fillfactor = 80);
ALTER TABLE users DROP COLUMN gone;
INSERT INTO users SELECT i, 'First' || i || ' Last' || i FROM generate_series(1, 600) i;
CREATE TABLE lasts (last text, length integer);
INSERT INTO lasts SELECT 'Last' || i, length('Last' || i) FROM generate_series(2, 600, 2) i;
SELECT migrate.define('split', 'users', add => 'first_name text, last_name text',
	up => $$first_name = first_word(full_name), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}');
SELECT migrate.expand('split');
UPDATE users SET full_name = full_name WHERE id % 10 = 0;
SELECT migrate.define('length', 'users', add => 'length integer',
	up => $$length = (SELECT length FROM lasts WHERE last = last_name)$$);
SELECT migrate.expand('length');
UPDATE users SET first_name = 'Written' WHERE id % 10 = 1;
SELECT migrate.define('initial', 'users', add => 'initial text', up => $$initial = left(first_word(first_name), 1)$$);
-- Partitions, of other attribute numbers; constraints, references, indexes.
CREATE TABLE keys (id integer PRIMARY KEY);
INSERT INTO keys SELECT generate_series(1, 100);
CREATE TABLE refs (id integer, k integer) PARTITION BY RANGE (id);
CREATE TABLE refs1 PARTITION OF refs FOR VALUES FROM (0) TO (50);
CREATE TABLE refs2 (k integer, gone text, id integer);
ALTER TABLE refs2 DROP COLUMN gone;
ALTER TABLE refs ATTACH PARTITION refs2 FOR VALUES FROM (50) TO (100);
INSERT INTO refs SELECT i, i FROM generate_series(1, 99) i;
SELECT migrate.define('refs', 'refs', up => 'key_id = k', down => 'k = key_id',
	add => 'key_id integer REFERENCES keys CHECK (key_id <> 0)');
SELECT migrate.expand('refs');
SELECT migrate.create_index('refs', 'id, (key_id + 1) DESC');
-- A unique index over stale rows, NOT NULL, a default.
CREATE TABLE "Odd ""Name""" (id integer PRIMARY KEY, "E mail" text NOT NULL);
INSERT INTO "Odd ""Name""" SELECT i, 'User' || i || '@EXAMPLE.org' FROM generate_series(1, 50) i;
SELECT migrate.define('odd', '"Odd ""Name"""', add => $$"Lower" text NOT NULL DEFAULT 'none'$$,
	up => $$"Lower" = lower("E mail")$$, down => $$"E mail" = "Lower"$$);
SELECT migrate.expand('odd');
SELECT migrate.create_index('odd', '"Lower"', is_unique => true, while_stale => true);
-- Writes deferred, with rows that fail.
CREATE TABLE prices (id integer PRIMARY KEY, price text);
INSERT INTO prices SELECT i, i || '.50' FROM generate_series(1, 40) i;
SELECT migrate.define('exact', 'prices', add => 'exact numeric(12,2)', up => 'exact = price::numeric',
	down => 'price = exact::text', remove => '{price}', on_error => 'defer');
SELECT migrate.expand('exact');
INSERT INTO prices VALUES (101, 'much'), (102, 'little');
-- A new type under the same name; rewritten in place; a needed; nothing to convert.
CREATE TABLE items (id integer PRIMARY KEY, price integer, email text, a integer, b integer);
INSERT INTO items SELECT i, i * 100, 'A' || i, i, i FROM generate_series(1, 60) i;
SELECT migrate.define('retype', 'items', add => 'price numeric(12,2)', up => 'price = old.price / 100.0',
	down => 'price = new.price * 100');
SELECT migrate.expand('retype');
SELECT migrate.define('lower', 'items', up => 'email = lower(email)');
SELECT migrate.expand('lower');
SELECT migrate.define('few', 'items', add => 'big text', up => $$big = 'yes'$$, needed => 'a > 50');
SELECT migrate.expand('few');
SELECT migrate.define('bare', 'items', add => 'c integer', remove => '{b}');
SELECT migrate.expand('bare');
UPDATE items SET price_new = 7.77 WHERE id = 3;
-- Complete and deprecated; contracted; rolled back; releases.
CREATE TABLE done (id integer PRIMARY KEY, a integer);
INSERT INTO done SELECT i, i FROM generate_series(1, 30) i;
SELECT migrate.create_release('first');
SELECT migrate.define('done', 'done', add => 'b integer', up => 'b = a + 1', down => 'a = b - 1', remove => '{a}');
SELECT migrate.expand('done');
CREATE TABLE ended (id integer PRIMARY KEY, a integer);
INSERT INTO ended SELECT i, i FROM generate_series(1, 30) i;
SELECT migrate.define('ended', 'ended', add => 'b integer', up => 'b = a + 1', down => 'a = b - 1', remove => '{a}');
SELECT migrate.expand('ended');
SELECT migrate.define('back', 'ended', up => 'b = abs(b)', depends_on => '{ended}');
SQL

my $script_after = <<'SQL';
SET client_min_messages = warning;
SET search_path = app;
SELECT migrate.retire_release('first');
SELECT migrate.contract('ended', skip => '{window,usage}');
SELECT migrate.expand('back'), migrate.rollback('back');
SELECT migrate.deprecate('done', quiet_period => '0');
SELECT migrate.create_release('second');
SELECT migrate.publish('second', 'second');
SQL

my @tables = ('users', 'lasts', 'keys', 'refs', '"Odd ""Name"""', 'items', 'done', 'ended');

sub make_midway
{
	my ($node, $db, $version) = @_;
	$node->safe_psql($db, 'CREATE EXTENSION migrate' . ($version ? " VERSION '$version'" : ''));
	$node->safe_psql($db, $script);
	$node->safe_psql($db, "CALL migrate.run('app.$_')") foreach qw(done ended);
	$node->safe_psql($db, q{CALL migrate.run('app.users', max_rows => 100)});
	$node->safe_psql($db, q{CALL migrate.run('app.prices')});
	$node->safe_psql($db, q{CALL migrate.run('app."Odd ""Name"""', max_rows => 10)});
	$node->safe_psql($db, $script_after);
	return;
}

# What clients read of each table, but the row version; rows that fail, by their old columns.
sub reads_of
{
	my ($node, $db) = @_;
	my $sql = join '', map { "SELECT '$_', to_jsonb(t) - 'row_version' FROM $_ t ORDER BY 2;" }
	  (map { "app.$_" } @tables), 'second.users';
	return $node->safe_psql($db, "$sql SELECT id, price FROM app.prices ORDER BY 1");
}

# The same rows as they are stored.
sub stored_in
{
	my ($node, $db) = @_;
	return join "\n", map {
		join "\n", sort split /\n/, $node->safe_psql($db, "COPY app.$_ TO STDOUT")
	} grep { $_ ne 'refs' } @tables, 'refs1', 'refs2', 'prices';
}

# What the extension knows, and what stands on the tables.
sub catalog_of
{
	my ($node, $db) = @_;
	my @ours = split /\n/, $node->safe_psql($db, <<'SQL');
SELECT c.oid::regclass FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'migrate')
AND d.classid = 'pg_class'::regclass AND c.relkind = 'r'
AND c.relname NOT IN ('assignment_tree', 'backfill', 'failure', 'recorded') ORDER BY 1
SQL
	my $sql = join '', map { "SELECT '$_', t FROM $_ t ORDER BY t::text;" } @ours;
	return $node->safe_psql($db, $sql . <<'SQL');
SELECT conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint
WHERE connamespace = 'app'::regnamespace AND contype IN ('c', 'f', 'p') ORDER BY 1::text, 2, 3;
SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1;
SELECT attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = 'app'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped ORDER BY 1::text, 2;
SELECT indexdef FROM pg_indexes WHERE schemaname = 'app' ORDER BY 1;
SELECT viewname FROM pg_views WHERE schemaname = 'second' ORDER BY 1;
SQL
}

# Says of two of these in which lines they differ.
sub is_unchanged
{
	my ($got, $expected, $what) = @_;
	my %count;
	$count{$_}++ foreach split /\n/, $got;
	$count{$_}-- foreach split /\n/, $expected;
	is(join("\n", map { ($count{$_} > 0 ? '+' : '-') . $_ } sort grep { $count{$_} } keys %count), '', $what);
	return;
}

# Both forms are written, what was only defined is expanded, everything completes and is
# contracted. One way of converting is as good as another.
sub go_on_to_the_end
{
	my ($node, $db, $what) = @_;
	my $sql = sub { return $node->safe_psql($db, "SET client_min_messages = warning; SET search_path = app; $_[0]"); };
	my $fails = sub { my $err; $node->psql($db, "SET search_path = app; $_[0]", stderr => \$err); return $err; };

	# Not every way carries dependencies: who goes on with a table records them.
	$sql->(q{CALL migrate.run('users', max_rows => 1)});
	like($fails->('DROP FUNCTION first_word(text)'), qr/other objects depend on it/, "$what: what is live keeps what it uses");
	like($fails->('DROP TABLE lasts'), qr/other objects depend on it/, 'what its sub-queries read, too');
	like($fails->('DROP EXTENSION migrate CASCADE'), qr/migration "\w+" needs|is needed|live/, 'the extension stays');
	$sql->(q{SELECT migrate.expand('initial')});
	$sql->(q{INSERT INTO users (id, full_name) VALUES (2001, 'Old Client');
		INSERT INTO users (id, first_name, last_name) VALUES (2002, 'New', 'Client')});
	is($sql->(q{SELECT full_name, first_name, initial FROM users WHERE id > 2000 ORDER BY id}),
		"Old Client|Old|O\nNew Client|New|N", 'both forms are written');
	like($fails->('INSERT INTO refs (id, key_id) VALUES (0, 77777)'),
		qr/violates foreign key constraint "refs_key_id_fkey"/, 'a new form is held to what it refers to');
	like($fails->(q{INSERT INTO "Odd ""Name""" (id, "E mail") VALUES (99, 'USER50@example.org')}),
		qr/duplicate key/, 'uniqueness holds over stale rows');
	$sql->(q{UPDATE prices SET price = '1000' WHERE id = 101; DELETE FROM prices WHERE id = 102});
	is($sql->('SELECT count(*) FROM migrate.failures'), '0', 'a row that is mended is no failure any more');
	$sql->('CALL migrate.run()');
	is($sql->(q{SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM migrate.migration}),
		'back rolled back, bare complete, done complete, ended contracted, exact complete, few complete, '
		  . 'initial complete, length complete, lower complete, odd complete, refs complete, retype complete, '
		  . 'split complete', 'all is converted');
	is($sql->(q{SELECT sum(length(first_name || last_name || initial)), sum(length) FROM users WHERE id <= 600}),
		$sql->(q{SELECT sum(length(x) + length('Last' || i) + 1), sum(length('Last' || i)) FILTER (WHERE i % 2 = 0)
			FROM generate_series(1, 600) i, LATERAL (SELECT CASE WHEN i % 10 = 1 THEN 'Written' ELSE 'First' || i END) l(x)}),
		'to what it should be');
	is($sql->(q{SELECT price_new, email, big FROM items WHERE id IN (1, 3, 60) ORDER BY id}),
		"1.00|a1|\n7.77|a3|\n60.00|a60|yes", 'each kind of it');
	is($sql->('SELECT exact FROM prices WHERE id IN (1, 101) ORDER BY id'), "1.50\n1000.00", 'and what was deferred');
	unlike($sql->('EXPLAIN (VERBOSE) SELECT b FROM done'), qr/CASE/, 'nothing is computed any more when it is read');
	$sql->(qq{SELECT migrate.contract('$_', skip => '{window,usage}')})
	  foreach grep { $_ ne '|' } split /\n/, $sql->(<<'SQL');
SELECT migrate.retire_release('second'), migrate.unpublish('second');
SELECT name FROM migrate.migration WHERE state = 'complete' ORDER BY version DESC, name
SQL
	is($sql->(q{SELECT count(*) FROM migrate.migration WHERE state IN ('expanded', 'complete')}), '0', 'all is contracted');
	is($sql->(q{SELECT count(*) FROM pg_trigger WHERE tgname ~ 'migrate'}), '0', 'and no trigger is left');
	$sql->(q{DROP EXTENSION migrate CASCADE});
	is($sql->(q{SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'migrate'::regnamespace}),
		'0', 'the extension can be dropped, and leaves nothing in its schema');
	is($sql->(q{SELECT count(*) FROM items WHERE price > 0}), '60', 'and the tables are there');
	return;
}

1;
