# A dump taken midway restores to a database that goes on where the first one was:
# rows keep their versions, live migrations convert on, defined ones can be expanded. One
# of all databases brings releases, pins and published views to another server.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
fsync = off
CONF
$node->start;

sub sql { my ($db, $sql) = @_; return $node->safe_psql($db, $sql); }

$node->safe_psql('postgres', 'CREATE DATABASE first');
$node->safe_psql('postgres', 'CREATE DATABASE second');
sql('first', <<'SQL');
CREATE EXTENSION migrate;
CREATE SCHEMA app;
SET search_path = app;
CREATE FUNCTION first_word(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT split_part($1, ' ', 1) $$;
CREATE TABLE users (id integer PRIMARY KEY, gone integer, full_name text NOT NULL);
ALTER TABLE users DROP COLUMN gone;
INSERT INTO users SELECT i, 'First' || i || ' Last' || i FROM generate_series(1, 1000) i;
SELECT migrate.define('split', 'users', add => 'first_name text, last_name text',
	up => $$first_name = first_word(full_name), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}');
SELECT migrate.expand('split');
CREATE TABLE lasts (last text, length integer);
INSERT INTO lasts SELECT last_name, length(last_name) FROM users WHERE id % 2 = 0;
SET client_min_messages = warning;
SELECT migrate.define('length', 'users', add => 'length integer, known boolean',
	up => $$length = (SELECT length FROM lasts WHERE last = last_name), known = EXISTS (SELECT FROM lasts l WHERE l.last = users.last_name)$$);
SELECT migrate.expand('length');
SELECT migrate.define('initial', 'users', add => 'initial text',
	up => $$initial = left(first_word(first_name), 1)$$);
CREATE TABLE other (a integer);
SELECT migrate.define('other', 'other', add => 'b integer', up => 'b = a + 1');
UPDATE users SET first_name = 'Written' WHERE id <= 10;
CREATE TABLE plain (a integer, b integer);
INSERT INTO plain VALUES (1, 2);
SELECT migrate.define('bare', 'plain', add => 'c integer', remove => '{a}');
SELECT migrate.expand('bare');
SELECT migrate.define('bare2', 'plain', remove => '{b}');
CREATE TABLE keys (id integer PRIMARY KEY);
INSERT INTO keys SELECT generate_series(1, 100);
CREATE TABLE refs (id integer, k integer) PARTITION BY RANGE (id);
CREATE TABLE refs1 PARTITION OF refs FOR VALUES FROM (0) TO (50);
CREATE TABLE refs2 PARTITION OF refs FOR VALUES FROM (50) TO (100);
INSERT INTO refs SELECT i, i FROM generate_series(1, 99) i;
SELECT migrate.define('refs', 'refs', up => 'key_id = k', down => 'k = key_id',
	add => 'key_id integer REFERENCES keys CHECK (key_id > 0 OR key_id < -9)');
SELECT migrate.expand('refs');
SELECT migrate.create_index('refs', 'id, (key_id + 1) DESC');
CREATE FUNCTION is_old(integer) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT $1 BETWEEN 20 AND 22 $$;
CREATE TABLE refs_archive (LIKE refs);
SELECT migrate.set_prune('refs', 'is_old(id)', 'refs_archive');
SQL
sql('first', q{CALL migrate.run('app.users', max_rows => 300)});

my $rows = 'SELECT id, full_name, first_name, last_name, length, known, row_version FROM app.users ORDER BY id';
my $stored = 'COPY (SELECT row_version, count(*) FROM app.users GROUP BY 1 ORDER BY 1) TO STDOUT';
isnt(sql('first', $stored), '', 'some rows are stale, some are not: ' . sql('first', $stored) =~ tr/\n\t/; /r);

my $dump = $node->basedir . '/dump.sql';
command_ok([ 'pg_dump', '-f', $dump, $node->connstr('first') ], 'pg_dump midway');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('second') ],
	'restores without an error');

is(sql('second', $stored), sql('first', $stored), 'rows are stored in the versions that they had');
is(sql('second', $rows), sql('first', $rows), 'and read as they did');

my (undef, undef, $kept) = $node->psql('second', 'DROP FUNCTION app.first_word(text)');
like($kept, qr/trigger !migrate on table app\.users depends on function/, 'what expressions use is kept from the start');
$node->psql('second', 'DROP TABLE app.lasts CASCADE', stderr => \$kept);
like($kept, qr/cannot drop trigger "!migrate"/, 'also what their sub-queries read');

# What expressions use can be renamed, also where nobody has read them yet.
sql('second', q{ALTER TABLE app.lasts RENAME TO surnames});
sql('second', q{ALTER FUNCTION app.first_word(text) RENAME TO word_one});
is(sql('second', $rows), sql('first', $rows), 'and go on, when what they use is renamed');
sql('second', q{ALTER TABLE app.surnames RENAME TO lasts});
sql('second', q{ALTER FUNCTION app.word_one(text) RENAME TO first_word});

# A function that would be found first under another search_path changes nothing.
sql('second', q{CREATE FUNCTION public.first_word(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'wrong' $$});
sql('second', q{SELECT migrate.expand('initial')});
is(sql('second', q{SELECT count(*) FROM app.users WHERE initial IS DISTINCT FROM left(first_name, 1)}),
	'0', 'a migration that was only defined expands');
sql('second', q{SELECT migrate.expand('other'), migrate.expand('bare2')});
sql('second', q{INSERT INTO app.users (id, full_name) VALUES (2001, 'Old Client')});
sql('second', q{INSERT INTO app.users (id, first_name, last_name) VALUES (2002, 'New', 'Client')});
is(sql('second', q{SELECT first_name, full_name, initial FROM app.users WHERE id > 2000 ORDER BY id}),
	"Old|Old Client|O\nNew|New Client|N", 'both forms are written');

my (undef, undef, $refused) = $node->psql('second', 'INSERT INTO app.refs (id, key_id) VALUES (0, 77777)');
like($refused, qr/violates foreign key constraint "refs_key_id_fkey"/, 'a new form is held to what it refers to');
sql('second', 'INSERT INTO app.refs (id, k) VALUES (0, 100)');

sql('second', q{CALL migrate.run()});
is(sql('second', q{SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM migrate.migration}),
	'bare complete, bare2 complete, initial complete, length complete, other complete, refs complete, split complete',
	'the backfill goes on to the end');
is(sql('second', q{SELECT * FROM app.plain}), '1|2|1|', 'and leaves alone what no migration assigns');
my (undef, undef, $err) = $node->psql('second', 'DROP FUNCTION app.first_word(text)');
like($err, qr/other objects depend on it/, 'what a live migration uses is still kept from being dropped');
$node->psql('second', 'DROP TABLE app.lasts', stderr => \$err);
like($err, qr/other objects depend on it/, 'and what its sub-queries read, too');
sql('second', q{SELECT migrate.contract('split', skip => '{window,usage}')});
is(sql('second', q{SELECT sum(length(first_name || last_name || initial)) FROM app.users}),
	sql('first', q{SELECT sum(length(first_name || last_name || left(first_name, 1))) FROM app.users})
	  + length('OldClientO') + length('NewClientN'), 'and the contract too');

is(sql('second', q{SELECT string_agg(pg_get_constraintdef(oid), ', ' ORDER BY contype, conname) FROM pg_constraint
		WHERE conrelid = 'app.refs'::regclass AND convalidated AND contype IN ('c', 'f') AND conname NOT LIKE 'row%'}),
	'CHECK (((key_id > 0) OR (key_id < \'-9\'::integer))), FOREIGN KEY (key_id) REFERENCES app.keys(id)',
	'constraints of the new form come into force as they were written');
is(sql('second', q{SELECT string_agg(indexname, ', ' ORDER BY indexname COLLATE "C") FROM pg_indexes WHERE tablename LIKE 'refs%'}),
	'refs1_id_expr_idx, refs2_id_expr_idx, refs_id_expr_idx', 'and declared indexes of partitions are built');
is(sql('second', q{SELECT (SELECT count(*) FROM app.refs WHERE id BETWEEN 20 AND 22), string_agg(id::text, ' ' ORDER BY id) FROM app.refs_archive}),
	'0|20 21 22', 'rows are pruned, into the archive');

# ---- all of it, to a server that has given out fewer transaction numbers

sql('postgres', 'DROP DATABASE first');
sql('postgres', 'DROP DATABASE second');
sql('postgres', 'CREATE DATABASE released');
sql('released', <<'SQL');
CREATE EXTENSION migrate;
CREATE TABLE people (id integer PRIMARY KEY, full_name text, twice integer GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE done (id integer PRIMARY KEY, a integer);
INSERT INTO people VALUES (1, 'Ann Lee');
INSERT INTO done VALUES (1, 1);
SELECT migrate.define('done', 'done', add => 'b integer', up => 'b = a', down => 'a = b', remove => '{a}');
SELECT migrate.expand('done');
CALL migrate.run();
SELECT migrate.contract('done', skip => '{window,usage}');
SELECT migrate.create_release('old'), migrate.create_release('gone', '{}');
SELECT migrate.define('name', 'people', add => 'first_name text', remove => '{full_name}',
	up => $$first_name = split_part(full_name, ' ', 1)$$, down => $$full_name = first_name || ' Lee'$$);
SELECT migrate.expand('name');
SELECT migrate.create_release('new'), migrate.retire_release('gone');
SELECT migrate.publish('old', 'r_old'), migrate.publish('new', 'r_new');
DO $$ BEGIN FOR i IN 1 .. 5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$;
CALL migrate.run();
INSERT INTO people (id, first_name) VALUES (2, 'Bea');
CREATE ROLE client LOGIN;
GRANT SELECT ON people TO client;
ALTER ROLE client SET migrate.release = 'old';
ALTER DATABASE released SET migrate.release = 'new';
SQL

my $all = $node->basedir . '/all.sql';
command_ok([ 'pg_dumpall', '-f', $all, '-d', $node->connstr('postgres') ], 'pg_dumpall of a database that is pinned');
my %by_inserts = map { $_ => $node->basedir . "/by$_.sql" } '--inserts', '--column-inserts';
command_ok([ 'pg_dump', $_, '-f', $by_inserts{$_}, $node->connstr('released') ], "and pg_dump $_") foreach sort keys %by_inserts;

my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
max_prepared_transactions = 2
fsync = off
CONF
$other->start;
# It has the role that runs this already.
my $script = join "\n", grep { !/^CREATE ROLE (?!client)/ } split /\n/, slurp_file($all);
my ($status, undef, $said) = $other->psql('postgres', $script, on_error_stop => 1);
is("$status$said", '0', 'restores without an error');

# What is made again is not dumped: trees from texts, the backfill's place, dependencies.
my $tables = q{SELECT c.relname FROM pg_class c JOIN pg_extension e ON c.relnamespace = e.extnamespace
	WHERE e.extname = 'migrate' AND c.relkind = 'r' AND c.relname NOT IN ('assignment_tree', 'backfill', 'recorded') ORDER BY 1};
my @tables = split /\n/, sql('released', $tables);
sub everything { my ($server) = @_; return join "\n", map { $server->safe_psql('released', "SELECT '$_', t FROM migrate.$_ t ORDER BY t::text") } @tables; }
is(everything($other), everything($node), 'all that is known has come along');
like(everything($other), qr/^published_view\|\(r_old\.people,people,r_old\)$/m, 'the published views too');

is($other->safe_psql('released', 'EXPLAIN (VERBOSE, COSTS OFF) SELECT first_name FROM people') =~ /CASE/ ? 'CASE' : '', '',
	'what was complete there is complete here');
$other->psql('released', 'SELECT full_name FROM people', stderr => \$said);
like($said, qr/is not known to release "new"/, 'the database is pinned');
is($other->safe_psql('released', 'SELECT full_name FROM people WHERE id = 2', extra_params => [ '-U', 'client' ]),
	'Bea Lee', 'and a role');
is($other->safe_psql('released', 'SELECT (p).full_name, first_name FROM r_old.people p JOIN r_new.people q USING (id) ORDER BY id'),
	"Ann Lee|Ann\nBea Lee|Bea", 'views show their releases');
$other->psql('released', q{INSERT INTO done (id, b, row_version) VALUES (2, 2, 1)}, stderr => \$said);
like($said, qr/row version 1 is not supported.*through release "old" first/s, 'the floor is there');
$other->safe_psql('released', q{SELECT migrate.unpublish('r_old'), migrate.publish('new', 'r_new'), migrate.retire_release('old')});
$other->safe_psql('released', q{BEGIN; CREATE TABLE x (); PREPARE TRANSACTION 'later'});
is($other->safe_psql('released', q{SELECT string_agg(check_name || ': ' || detail, ', ') FROM migrate.check_contract('name')
	WHERE NOT ok AND check_name NOT IN ('window', 'usage')}), '', 'nobody here is from before the completion there');
$other->safe_psql('released', q{ROLLBACK PREPARED 'later'});

foreach my $kind (sort keys %by_inserts)
{
	$other->safe_psql('postgres', 'DROP DATABASE IF EXISTS again');
	$other->safe_psql('postgres', 'CREATE DATABASE again');
	command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $by_inserts{$kind}, $other->connstr('again') ], "$kind restores");
	is($other->safe_psql('again', 'SELECT id, full_name, twice, first_name FROM people ORDER BY id'),
		"1|Ann Lee|2|Ann\n2|Bea Lee|4|Bea", 'as it was');
}

$other->stop;
$node->stop;
done_testing();
