# What is left behind: after contract a table's schema is that of one created plainly
# in that form, and after rollback, from any state, it is what it was before expand,
# as pg_dump sees it. Only the row version stays.

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

sub sql { my ($db, $sql) = @_; return $node->safe_psql($db, "SET client_min_messages = warning;\n$sql"); }

# The schema as statements, but for comments, what differs between dumps of one, and
# the row version's default.
sub schema_of
{
	my ($db, @schemas) = @_;
	my $dump = $node->basedir . "/$db.sql";
	command_ok([ 'pg_dump', '-s', '-f', $dump, (map { ('-n', $_) } @schemas), $node->connstr($db) ],
		"pg_dump of $db");
	# What holds rows to versions that are supported, once no trigger does, is beside the point.
	(my $text = slurp_file($dump)) =~ s/^ALTER TABLE [^;]*? ADD CONSTRAINT \S+_supported"? CHECK [^;]* NOT VALID;$//gm;
	my @lines = grep { !/^(--|$|\\(un)?restrict|SET |SELECT pg_catalog\.set_config)/ } split /\n/, $text;
	s/(row_version integer DEFAULT )\d+/$1n/ for @lines;
	return join "\n", @lines;
}

$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(migrated plain back);
sql('postgres', 'CREATE ROLE app_owner; CREATE ROLE reader; CREATE ROLE clerk');

#
# contract: many kinds of columns, with all that "add" can say and all that people give to columns
#
my $types = <<'SQL';
CREATE SCHEMA app AUTHORIZATION app_owner;
SET ROLE app_owner;
SET search_path = app;
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE mood AS ENUM ('low', 'high');
CREATE TYPE pair AS (a integer, b text);
CREATE SEQUENCE numbers AS bigint;
CREATE TABLE land (code integer PRIMARY KEY);
INSERT INTO land VALUES (1), (2);
SQL

# What people do to the new columns, by hand; the same in both databases.
my $given = <<'SQL';
COMMENT ON COLUMN things."Name" IS 'what it is called';
COMMENT ON COLUMN things.price IS 'in euros';
ALTER TABLE things ALTER "Name" SET STATISTICS 500, ALTER data SET STORAGE EXTERNAL,
	ALTER note SET COMPRESSION pglz, ALTER tags SET (n_distinct = -0.5);
GRANT SELECT ("Name", price), UPDATE (price) ON things TO clerk WITH GRANT OPTION;
SET ROLE clerk;
GRANT SELECT (price) ON app.things TO reader;
SET ROLE app_owner;
GRANT INSERT (note) ON things TO reader;
CREATE STATISTICS related ON "Name", tags FROM things;
ALTER TABLE things ADD CONSTRAINT by_hand CHECK (length("Name") < 100);
CREATE INDEX by_hand_idx ON things (lower("Name"));
CREATE POLICY few ON things USING (price > 0);
SQL

sql('migrated', "CREATE EXTENSION migrate; $types" . <<'SQL');
GRANT USAGE ON SCHEMA app TO clerk, reader;
CREATE TABLE things (id integer PRIMARY KEY, old_name text, loud text GENERATED ALWAYS AS (upper(old_name)) STORED, num serial, price integer NOT NULL, kept text DEFAULT 'k');
COMMENT ON COLUMN things.price IS 'in cents';
CREATE UNIQUE INDEX things_price_key ON things (price);
INSERT INTO things (id, old_name, price) SELECT i, 'n' || i, i FROM generate_series(1, 100) i;
SELECT migrate.define('things', 'things', remove => '{old_name,loud,num}',
	add => $$"Name" text COLLATE "C" NOT NULL DEFAULT 'none' CONSTRAINT named CHECK ("Name" <> ''),
		code varchar(20) UNIQUE CHECK (code <> 'x') CHECK (code <> 'y'),
		price numeric(12,2) CONSTRAINT given NOT NULL DEFAULT 1.5 CHECK (price > 0) UNIQUE, size positive, feeling mood DEFAULT 'low', two pair,
		tags text[] DEFAULT '{}', num bigint NOT NULL DEFAULT nextval('things_num_seq'),
		other bigint DEFAULT nextval('numbers'), at timestamptz DEFAULT now(), data bytea, note jsonb,
		bits bit varying(8), span interval second(3),
		land integer REFERENCES land ON DELETE CASCADE ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED$$,
	up => $$"Name" = old_name, price = old.price / 100.0, code = 'c' || id, num = old.num, size = id, two = row(id, old_name), data = '\x00'$$,
	down => $$old_name = "Name", price = new.price * 100, num = new.num$$);
SELECT migrate.expand('things');
SELECT migrate.create_index('things', '"Name" DESC NULLS LAST, lower(code) COLLATE "C" text_pattern_ops');
SELECT migrate.create_index('things', '"Name", id', is_unique => true);
SELECT migrate.create_index('things', 'price', while_stale => true);
CREATE TABLE parts (id integer NOT NULL, a text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 (a text, id integer NOT NULL);
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (10) TO (20);
INSERT INTO parts SELECT i, i FROM generate_series(1, 19) i;
SELECT migrate.define('parts', 'parts', remove => '{a}', up => 'b = a::integer, l = 1', down => 'a = b::text',
	add => 'b integer NOT NULL DEFAULT 7 CHECK (b > 0), l integer REFERENCES land');
SELECT migrate.expand('parts');
SELECT migrate.create_index('parts', 'b, id', is_unique => true);
SQL
sql('migrated', 'CALL migrate.run()');
is(sql('migrated', q{SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM migrate.status}),
	'parts complete, things complete', 'all is complete');
(my $given_midway = $given) =~ s/\bprice\b/price_new/g;
sql('migrated', "SET ROLE app_owner; SET search_path = app; $given_midway");
sql('migrated', q{DROP INDEX app.things_price_key; SELECT migrate.contract('things', skip => '{window,usage}'); SELECT migrate.contract('parts', skip => '{window,usage}')});

sql('plain', $types . <<'SQL');
GRANT USAGE ON SCHEMA app TO clerk, reader;
CREATE TABLE things (id integer PRIMARY KEY, num serial, kept text DEFAULT 'k');
ALTER TABLE things ADD row_version integer NOT NULL DEFAULT 1;
ALTER TABLE things ADD "Name" text COLLATE "C" NOT NULL DEFAULT 'none' CONSTRAINT named CHECK ("Name" <> ''),
	ADD code varchar(20) UNIQUE CHECK (code <> 'x') CHECK (code <> 'y'),
	ADD price numeric(12,2) CONSTRAINT given NOT NULL DEFAULT 1.5 CHECK (price > 0) UNIQUE, ADD size positive, ADD feeling mood DEFAULT 'low', ADD two pair,
	ADD tags text[] DEFAULT '{}', ADD num_new bigint NOT NULL DEFAULT nextval('things_num_seq'),
	ADD other bigint DEFAULT nextval('numbers'), ADD at timestamptz DEFAULT now(), ADD data bytea, ADD note jsonb,
	ADD bits bit varying(8), ADD span interval second(3),
	ADD land integer REFERENCES land ON DELETE CASCADE ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED;
ALTER SEQUENCE things_num_seq OWNED BY things.num_new;
ALTER TABLE things DROP num;
ALTER TABLE things RENAME num_new TO num;
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_constraint WHERE conname = 'things_num_new_not_null') THEN	-- from server 18 on
		ALTER TABLE things RENAME CONSTRAINT things_num_new_not_null TO things_num_not_null;
	END IF;
END$$;
CREATE INDEX ON things ("Name" DESC NULLS LAST, lower(code) COLLATE "C" text_pattern_ops);
CREATE UNIQUE INDEX "things_Name_id_key" ON things ("Name", id);
CREATE INDEX ON things (price);
CREATE TABLE parts (id integer NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 (id integer NOT NULL);
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (10) TO (20);
ALTER TABLE parts ADD row_version integer NOT NULL DEFAULT 1;
ALTER TABLE parts ADD b integer NOT NULL DEFAULT 7 CHECK (b > 0), ADD l integer REFERENCES land;
CREATE UNIQUE INDEX parts_1_b_id_key ON parts_1 (b, id);
CREATE UNIQUE INDEX parts_2_b_id_key ON parts_2 (b, id);
CREATE UNIQUE INDEX parts_b_id_key ON parts (b, id);
SQL
sql('plain', "SET ROLE app_owner; SET search_path = app; $given");
is(schema_of('migrated', 'app'), schema_of('plain', 'app'), 'after contract the schema is as if created plainly');
is(sql('migrated', q{SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
		WHERE NOT tgisinternal AND c.relnamespace <> 'migrate'::regnamespace}) . ' '
	. sql('migrated', q{SELECT count(*) FROM pg_statistic_ext WHERE stxname LIKE '!%'}) . ' '
	. sql('migrated', q{SELECT count(*) FROM pg_class WHERE relname LIKE '!%'}),
	'0 0 0', 'no trigger, statistics or index of the extension is left');

#
# rollback, from every state before contract
#
my %states = (
	expanded => q{SELECT 1},
	half => q{CALL migrate.run('half.t_half', max_rows => 3)},
	complete => q{CALL migrate.run('complete.t_complete')},
	paused => q{SELECT migrate.pause('paused.t_paused')},
	written => q{UPDATE written.t_written SET b = 'X'; UPDATE written.t_written SET a = 'y' WHERE id < 3},
	failed => q{UPDATE failed.t_failed SET a = 'bad' WHERE id = 1; CALL migrate.run('failed.t_failed')},
	indexed => q{SELECT migrate.create_index('indexed', 'b, id', is_unique => true);
		SELECT migrate.create_index('indexed', 'b', while_stale => true)},
	index_built => q{SELECT migrate.create_index('index_built', 'b, id', is_unique => true)},
	published => q{SELECT migrate.create_release('r', '{published}'); SELECT migrate.publish('r', 'published_r')},
);
sql('back', 'CREATE EXTENSION migrate; CREATE TABLE public.land (code integer PRIMARY KEY); INSERT INTO public.land VALUES (1)');
my @names = (sort(keys %states), 'deferred', 'in_place', 'retyped', 'parted', 'several');
sql('back', "CREATE SCHEMA $_") for @names;
my $check = q{CHECK (b <> $$BAD$$)};
for my $name (sort keys %states)
{
	sql('back', "CREATE TABLE $name.t_$name (id integer PRIMARY KEY, a text NOT NULL DEFAULT 'd', c text UNIQUE);
		CREATE INDEX ON $name.t_$name (a); INSERT INTO $name.t_$name SELECT i, 'a' || i, i FROM generate_series(1, 9) i;
		SELECT migrate.manage('$name.t_$name');
		SELECT migrate.define('$name', '$name.t_$name', add => 'b text NOT NULL DEFAULT \$\$D\$\$ $check, l integer REFERENCES public.land UNIQUE',
			up => 'b = upper(a)', down => 'a = lower(b)', remove => '{a}')");
}
sql('back', <<'SQL');
CREATE TABLE deferred.t_deferred (id integer PRIMARY KEY, a text);
SELECT migrate.define('deferred', 'deferred.t_deferred', add => 'b integer', up => 'b = a::integer', down => 'a = b::text', remove => '{a}', on_error => 'defer');
CREATE TABLE in_place.t_in_place (id integer PRIMARY KEY, a text);
SELECT migrate.define('in_place', 'in_place.t_in_place', up => 'a = lower(a)');
CREATE TABLE retyped.t_retyped (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, price integer NOT NULL UNIQUE CHECK (price > 0));
COMMENT ON COLUMN retyped.t_retyped.price IS 'cents';
SELECT migrate.define('retyped', 'retyped.t_retyped', add => 'id bigint NOT NULL, price numeric UNIQUE CHECK (price > 0)',
	up => 'id = old.id, price = old.price / 100.0', down => 'id = new.id, price = new.price * 100');
CREATE TABLE parted.t_parted (id integer, a text) PARTITION BY RANGE (id);
CREATE TABLE parted.t1 PARTITION OF parted.t_parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted.t2 (a text, id integer);
ALTER TABLE parted.t_parted ATTACH PARTITION parted.t2 FOR VALUES FROM (10) TO (20);
SELECT migrate.define('parted', 'parted.t_parted', add => 'b text CHECK (b <> $$X$$), l integer REFERENCES public.land', up => 'b = upper(a)', down => 'a = lower(b)', remove => '{a}');
CREATE TABLE several.t_several (id integer, a text);
SELECT migrate.define('several_1', 'several.t_several', add => 'b text', up => 'b = upper(a)', down => 'a = lower(b)', remove => '{a}');
SELECT migrate.define('several_2', 'several.t_several', add => 'c text', up => 'c = b || b', depends_on => '{several_1}');
SELECT migrate.define('several_3', 'several.t_several', add => 'd integer', up => 'd = id', depends_on => '{}');
SELECT migrate.manage(s || '.t_' || s) FROM unnest('{deferred,in_place,retyped,parted,several}'::text[]) s;
INSERT INTO deferred.t_deferred SELECT i, i FROM generate_series(1, 9) i;
INSERT INTO in_place.t_in_place SELECT i, 'A' || i FROM generate_series(1, 9) i;
INSERT INTO retyped.t_retyped (price) SELECT i FROM generate_series(1, 9) i;
INSERT INTO parted.t_parted SELECT i, 'a' || i FROM generate_series(1, 19) i;
INSERT INTO several.t_several SELECT i, 'a' || i FROM generate_series(1, 9) i;
SQL
my $rows_of = join ' UNION ALL ', map { "SELECT '$_', array_agg(t::text ORDER BY id)::text FROM (SELECT * FROM $_.t_$_) t" } @names;
sub rows_before { (my $rows = sql('back', $rows_of)) =~ s/,\d+\)/)/g; return $rows; }

my $before = schema_of('back', @names);
my $rows_before = rows_before();
sql('back', q{SELECT migrate.expand(name) FROM migrate.migration WHERE state = 'defined' ORDER BY seq});
sql('back', $states{$_}) for sort keys %states;
sql('back', q{CALL migrate.run('index_built.t_index_built')});
sql('back', q{UPDATE deferred.t_deferred SET a = 'no number' WHERE id = 1; CALL migrate.run('parted.t_parted', max_rows => 12);
	SELECT migrate.create_index('parted', 'b', while_stale => true)});
sql('back', q{CALL migrate.run('parted.t_parted', max_rows => 2)});
sql('back', q{CALL migrate.run('several.t_several', max_rows => 5); CALL migrate.run('in_place.t_in_place', max_rows => 5); CALL migrate.run('retyped.t_retyped')});
is(sql('back', q{SELECT string_agg(name, ' ' ORDER BY name) FROM migrate.status WHERE state = 'complete'}),
	'complete index_built retyped', 'some are complete');
is(sql('back', q{SELECT string_agg(DISTINCT migration, ' ' ORDER BY migration) FROM migrate.failures}),
	'deferred failed', 'some have rows that fail');
my (undef, undef, $refused) = $node->psql('back', q{SELECT migrate.rollback('in_place')});
like($refused, qr/would lose data in \d+ rows/, 'what was rewritten in place is not given up by itself');
(undef, undef, $refused) = $node->psql('back', q{SELECT migrate.rollback('published')});
like($refused, qr/in use by: .*view published_r\.t_published/, 'nor what is published');
sql('back', q{SELECT migrate.unpublish('published_r')});
sql('back', q{SELECT migrate.rollback('several_3'); SELECT migrate.rollback('several_2'); SELECT migrate.rollback('several_1')});
sql('back', q{SELECT migrate.rollback(name, discard => name IN ('in_place', 'indexed'))
	FROM migrate.migration WHERE state IN ('expanded', 'complete') ORDER BY seq DESC});
is(schema_of('back', @names), $before, 'after rollback the schema is what it was');
sql('back', q{UPDATE written.t_written SET a = 'a' || id; UPDATE failed.t_failed SET a = 'a1' WHERE id = 1; UPDATE deferred.t_deferred SET a = 1 WHERE id = 1;
	UPDATE in_place.t_in_place SET a = upper(a)});
is(rows_before(), $rows_before, 'and so are the rows, but for what was written');

# and again, to the end
sql('back', q{SELECT migrate.retire_release('r'); SELECT migrate.resume('paused.t_paused');
	SELECT migrate.expand(name) FROM migrate.migration ORDER BY seq});
sql('back', 'CALL migrate.run()');
is(sql('back', q{SELECT string_agg(DISTINCT state, ' ') FROM migrate.status}), 'complete', 'expanded again all are completed');
is(sql('back', 'SELECT string_agg(b, chr(32) ORDER BY id) FROM half.t_half'), 'A1 A2 A3 A4 A5 A6 A7 A8 A9', 'with the rows that they should have');

$node->stop;
done_testing();
