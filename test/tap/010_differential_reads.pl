# Every query on half-converted tables has the result that it has on tables
# which were converted by hand and are not managed at all.
#
# A part of the queries is asked by a role that row-level security concerns, by
# policies over both forms.
#
# Environment: MIGRATE_FUZZ_QUERIES, how many (4000); MIGRATE_FUZZ_SEED, to
# repeat a run. On a failure the queries that differ are shown.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use QueryGenerator;

my $queries = $ENV{MIGRATE_FUZZ_QUERIES} // 4000;
my $seed = $ENV{MIGRATE_FUZZ_SEED} // int(rand(1_000_000_000));
note("seed $seed, $queries queries");
print "# seed $seed\n";

my $node = PostgreSQL::Test::Cluster->new('reads');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
fsync = off
jit = off
CONF
$node->start;

sub run_file
{
	my ($name, $sql) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$name.sql";

	append_to_file($file, $sql);
	my ($stdout, $stderr) = ('', '');
	my $ok = IPC::Run::run(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file ],
		'>', \$stdout, '2>', \$stderr);
	die "$name: $stderr" unless $ok;
	return $stdout;
}

# Three managed tables, each with rows of every version that it can have:
# "people" with one migration, of whose assignments one makes something of NULL
# (which an outer join must not show); "chain" with two, the second reading what
# the first adds; "parts", partitioned, its columns in another order in a partition
# and in one of another's, with a default; "guarded", of which not everybody sees every
# row. "other" is an ordinary table.
my $base = <<'SQL';
CREATE TABLE people (id integer PRIMARY KEY, gone text, full_name text, age integer);
ALTER TABLE people DROP COLUMN gone;
INSERT INTO people SELECT i, nullif((ARRAY['Ann Lee', 'bob', '', 'x y z', 'Cyd Poe'])[i % 7 + 1], ''),
	CASE WHEN i % 5 <> 0 THEN i * 7 % 50 END FROM generate_series(1, 36) i;
CREATE TABLE chain (id integer PRIMARY KEY, a integer, b text);
INSERT INTO chain SELECT i, CASE WHEN i % 4 <> 0 THEN i * 3 % 11 END,
	(ARRAY['Ann', 'bob', 'none', 'x'])[i % 6 + 1] FROM generate_series(1, 30) i;
CREATE TABLE parts (id integer PRIMARY KEY, label text, weight integer) PARTITION BY RANGE (id);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (15);
CREATE TABLE parts_high (dropped integer, weight integer, id integer NOT NULL, other integer, label text);
ALTER TABLE parts_high DROP COLUMN dropped, DROP COLUMN other;
ALTER TABLE parts ATTACH PARTITION parts_high FOR VALUES FROM (15) TO (20);
CREATE TABLE parts_deep (weight integer, id integer NOT NULL, label text) PARTITION BY RANGE (id);
CREATE TABLE parts_deep_1 PARTITION OF parts_deep FOR VALUES FROM (20) TO (25);
CREATE TABLE parts_deep_2 (label text, dropped integer, id integer NOT NULL, weight integer);
ALTER TABLE parts_deep_2 DROP COLUMN dropped;
ALTER TABLE parts_deep ATTACH PARTITION parts_deep_2 DEFAULT;
ALTER TABLE parts ATTACH PARTITION parts_deep FOR VALUES FROM (20) TO (28);
CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
INSERT INTO parts SELECT i, (ARRAY['Ann', 'bob', '-?'])[i % 5 + 1], nullif(i * 5 % 13, 3)
	FROM generate_series(1, 30) i;
CREATE TABLE guarded (id integer PRIMARY KEY, owner text, level integer, body text);
INSERT INTO guarded SELECT i, (ARRAY['Ann', 'bob', NULL])[i % 4 + 1], i % 9, (ARRAY['x', 'none'])[i % 3 + 1]
	FROM generate_series(1, 30) i;
CREATE TABLE other (id integer PRIMARY KEY, name text, n integer, flag boolean);
INSERT INTO other SELECT i, (ARRAY['ANN', 'Ann', 'bob', 'none', '-?'])[i % 7 + 1], i * 3 % 20,
	CASE i % 3 WHEN 0 THEN true WHEN 1 THEN false END FROM generate_series(1, 25) i;
SQL

my $half_stale = <<'SQL';
SELECT migrate.define('split', 'stale.people', add => 'first_name text, score integer, ok boolean',
	up => $$first_name = coalesce(split_part(full_name, ' ', 1), '-?'), score = age * 2, ok = age > 25$$);
SELECT migrate.define('chain1', 'stale.chain', add => 'c integer, d text',
	up => $$c = a + 1, d = coalesce(b, 'none')$$);
SELECT migrate.define('parts1', 'stale.parts', add => 'tag text, heavy boolean, grams integer',
	up => $$tag = coalesce(label, '-?') || coalesce(weight, 0), heavy = weight > 5, grams = weight * 10$$);
SELECT migrate.define('guarded1', 'stale.guarded', add => 'reader text, secret boolean, rank integer',
	up => $$reader = coalesce(owner, 'none'), secret = level > 5, rank = coalesce(length(body), 9) * level$$);
SELECT migrate.expand('guarded1');
SELECT migrate.expand('split');
SELECT migrate.expand('chain1');
SELECT migrate.expand('parts1');
UPDATE stale.people SET age = age WHERE id % 2 = 0;
UPDATE stale.people SET first_name = 'Ann' WHERE id % 6 = 1;
UPDATE stale.people SET first_name = NULL, score = 7, ok = NULL WHERE id % 6 = 2;
UPDATE stale.chain SET a = a WHERE id % 3 = 0;
UPDATE stale.chain SET c = 4, d = NULL WHERE id % 5 = 1;
SELECT migrate.define('chain2', 'stale.chain', add => 'e boolean, f integer',
	up => $$e = c > 6, f = coalesce(c, -1) * 10$$, depends_on => '{chain1}');
SELECT migrate.expand('chain2');
UPDATE stale.chain SET a = a WHERE id % 3 = 1;
UPDATE stale.chain SET e = NULL, f = 40 WHERE id % 7 = 3;
UPDATE stale.parts SET label = label WHERE id % 2 = 1;
UPDATE stale.parts SET tag = 'x' WHERE id % 8 = 1;
UPDATE stale.guarded SET level = level WHERE id % 3 = 1;
UPDATE stale.guarded SET reader = 'Ann', secret = NULL WHERE id % 6 = 2;
SQL

# What is stored, carried over here by hand; COPY shows rows as they are stored.
my $convert = <<'SQL';
UPDATE twin.people SET first_name = coalesce(split_part(full_name, ' ', 1), '-?'),
	score = age * 2, ok = age > 25 WHERE row_version < 2;
UPDATE twin.chain SET c = a + 1, d = coalesce(b, 'none') WHERE row_version < 2;
UPDATE twin.chain SET e = c > 6, f = coalesce(c, -1) * 10 WHERE row_version < 3;
UPDATE twin.parts SET tag = coalesce(label, '-?') || coalesce(weight, 0), heavy = weight > 5,
	grams = weight * 10 WHERE row_version < 2;
UPDATE twin.guarded SET reader = coalesce(owner, 'none'), secret = level > 5,
	rank = coalesce(length(body), 9) * level WHERE row_version < 2;
SQL

my $sources = <<'SQL';
CREATE VIEW people_view AS SELECT p.id AS c1, p.first_name AS c2, p.ok AS c3, o.name AS c4
	FROM people p LEFT JOIN other o ON o.name = p.first_name;
CREATE FUNCTION people_called(text) RETURNS TABLE (c1 integer, c2 text, c3 boolean)
	LANGUAGE sql STABLE SET search_path FROM CURRENT
	AS 'SELECT id, first_name, ok FROM people WHERE first_name = $1';
CREATE FUNCTION chain_of(integer) RETURNS TABLE (c1 integer, c2 text, c3 boolean)
	LANGUAGE sql STABLE AS 'SELECT f, d, e FROM HOME.chain WHERE c >= $1';
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON guarded USING (reader = 'Ann' OR level < 7);
CREATE POLICY secrets ON guarded AS RESTRICTIVE USING (secret IS NOT TRUE OR id IN (SELECT o.n FROM other o));
CREATE VIEW guarded_view WITH (security_barrier) AS SELECT id AS c1, reader AS c2, secret AS c3, rank AS c4 FROM guarded
	WHERE rank IS DISTINCT FROM 5;
GRANT USAGE ON SCHEMA HOME TO fuzz_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA HOME TO fuzz_reader;
SQL

# Runs a query; its rows as sorted text. Plans are varied by what is switched off.
my $comparison = <<'SQL';
CREATE SCHEMA fuzz;
CREATE TABLE fuzz.result (query integer, rows integer, differs boolean, failed boolean, detail text);
CREATE FUNCTION fuzz.rows_of(home text, query text, params text, without text, reader text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	row record;
	result text[] := '{}';
BEGIN
	PERFORM set_config('search_path', home, true);
	PERFORM set_config(without, 'off', true) WHERE without <> '';
	PERFORM set_config('role', reader, true);
	IF params <> '' THEN
		EXECUTE 'PREPARE fuzzed AS ' || query;
		query := 'EXECUTE fuzzed(' || params || ')';
	END IF;
	FOR row IN EXECUTE query LOOP
		result := result || coalesce(row::text, '<null>');
	END LOOP;
	IF params <> '' THEN
		DEALLOCATE fuzzed;
	END IF;
	PERFORM set_config('role', 'none', true);
	PERFORM set_config(without, 'on', true) WHERE without <> '';
	RETURN ARRAY(SELECT r FROM unnest(result) r ORDER BY r COLLATE "C");
EXCEPTION WHEN OTHERS THEN
	IF EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'fuzzed') THEN
		DEALLOCATE fuzzed;
	END IF;
	RETURN ARRAY['ERROR ' || SQLSTATE || ' ' || SQLERRM];
END $$;
CREATE FUNCTION fuzz.compare(number integer, query text, params text, without text, reader text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	stale text[] := fuzz.rows_of('stale', query, params, without, reader);
	twin text[] := fuzz.rows_of('twin', query, params, without, reader);
	failed boolean := twin[1] LIKE 'ERROR%';
	differs boolean := stale <> twin;
BEGIN
	PERFORM set_config('search_path', 'public', true);
	INSERT INTO fuzz.result VALUES (number, CASE WHEN failed THEN 0 ELSE cardinality(twin) END,
		differs, coalesce(failed, false),
		CASE WHEN differs THEN format(E'%s\nparameters: %s; without %s, as %s\nstale %s\ntwin  %s', query,
			params, without, reader, left(stale::text, 2000), left(twin::text, 2000))
			WHEN failed THEN format(E'%s\n%s', query, twin[1]) END);
END $$;
SET plan_cache_mode = force_generic_plan;
SQL

my @tables = qw(people chain parts guarded other);
my @leaves = qw(parts_low parts_high parts_deep_1 parts_deep_2 parts_rest);
my $file_of = sub { "$PostgreSQL::Test::Utils::tmp_check/$_[0].copy" };

my $setup = "CREATE EXTENSION migrate;\nCREATE ROLE fuzz_reader;\n";
$setup .= "CREATE SCHEMA $_;\nSET search_path = $_;\n$base" for qw(stale);
$setup .= "RESET search_path;\n$half_stale CREATE SCHEMA twin;\n";
foreach my $table (@tables)
{
	my $file = $file_of->($table);
	my $from = $table eq 'parts' ? "(SELECT * FROM stale.$table WHERE false)" : "stale.$table";

	$setup .= "CREATE TABLE twin.$table (LIKE stale.$table INCLUDING INDEXES);\n";
	if ($table eq 'parts')
	{
		$setup .= "\\copy stale.$_ (id, label, weight, row_version, tag, heavy, grams) TO '$file.$_'\n"
		  . "\\copy twin.parts FROM '$file.$_'\n"
		  for @leaves;
	}
	else
	{
		$setup .= "\\copy stale.$table TO '$file'\n\\copy twin.$table FROM '$file'\n";
	}
}
$setup .= $convert;

# The twin of a partition: its rows, and its columns in the partition's order.
$setup .= "SELECT format('CREATE VIEW twin.$_ AS SELECT %s FROM twin.parts WHERE id IN (%s)', "
  . "string_agg(attname, ', ' ORDER BY attnum), (SELECT string_agg(id::text, ', ') FROM stale.$_)) FROM pg_attribute WHERE attrelid = 'stale.$_'::regclass"
  . " AND attnum > 0 AND NOT attisdropped\n\\gexec\n"
  foreach @leaves, 'parts_deep';
$setup .= "SET search_path = $_;\n" . ($sources =~ s/HOME/$_/gr) for qw(stale twin);
$setup .= "RESET search_path;\nANALYZE;\n";
run_file('setup', $setup);

# The test is about tables with stale rows and converted ones side by side.
my $mixed = run_file('mixed', <<'SQL');
SELECT string_agg(DISTINCT row_version::text, ' ' ORDER BY row_version::text) FROM stale.people
UNION ALL SELECT string_agg(DISTINCT row_version::text, ' ' ORDER BY row_version::text) FROM stale.chain
UNION ALL SELECT string_agg(DISTINCT row_version::text, ' ' ORDER BY row_version::text) FROM stale.parts
UNION ALL SELECT string_agg(DISTINCT row_version::text, ' ' ORDER BY row_version::text) FROM stale.guarded;
SQL
is($mixed, "1 2\n1 2 3\n1 2\n1 2\n", 'the tables hold rows of every version');

my @parts = ([qw(id i)], [qw(label t)], [qw(weight i)], [qw(tag t)], [qw(heavy b)], [qw(grams i)]);
my $generator = QueryGenerator->new(
	seed => $seed,
	tables => {
		people => { columns => [ [qw(id i)], [qw(full_name t)], [qw(age i)], [qw(first_name t)],
				[qw(first_name t)], [qw(score i)], [qw(ok b)], [qw(ok b)] ] },
		chain => { columns => [ [qw(id i)], [qw(a i)], [qw(b t)], [qw(c i)], [qw(d t)], [qw(e b)], [qw(f i)] ] },
		parts => { columns => \@parts },
		parts_high => { columns => \@parts, no_key => 1 },
		parts_deep => { columns => \@parts, no_key => 1 },
		parts_deep_2 => { columns => \@parts, no_key => 1 },
		guarded => { columns => [ [qw(id i)], [qw(owner t)], [qw(level i)], [qw(body t)], [qw(reader t)], [qw(reader t)],
				[qw(secret b)], [qw(rank i)] ] },
		other => { columns => [ [qw(id i)], [qw(name t)], [qw(n i)], [qw(flag b)] ] } },
	sources => [ [ 'people_view', [ [qw(c1 i)], [qw(c2 t)], [qw(c3 b)], [qw(c4 t)] ] ],
		[ 'guarded_view', [ [qw(c1 i)], [qw(c2 t)], [qw(c3 b)], [qw(c4 i)] ] ],
		[ "people_called('Ann')", [ [qw(c1 i)], [qw(c2 t)], [qw(c3 b)] ] ],
		[ 'chain_of(5)', [ [qw(c1 i)], [qw(c2 t)], [qw(c3 b)] ] ] ]);

my @switches = ('', '', 'enable_hashjoin', 'enable_mergejoin', 'enable_nestloop', 'enable_hashagg',
	'enable_sort', 'enable_material', 'enable_seqscan');
my $script = $comparison;
foreach my $number (1 .. $queries)
{
	my ($sql, $params) = $generator->next_query;
	my $without = $switches[ int(rand(@switches)) ];
	my $reader = rand() < 0.3 ? 'fuzz_reader' : 'none';
	my $values = join(', ', @$params);

	$script .= "SELECT fuzz.compare($number, \$query\$$sql\$query\$, \$query\$$values\$query\$, '$without', '$reader') \\g /dev/null\n";
}
run_file('queries', $script);

my ($run, $found, $failed, $differ) = split /\|/, run_file('summary', <<'SQL');
SELECT count(*), count(*) FILTER (WHERE rows > 0), count(*) FILTER (WHERE failed), count(*) FILTER (WHERE differs)
FROM fuzz.result;
SQL
chomp $differ;
print "# $run queries, $found with a result, $failed refused, $differ differ\n";
note(run_file('refusals', 'SELECT detail FROM fuzz.result WHERE failed LIMIT 10;')) if $failed;

is($run, $queries, 'every query was run on both');
cmp_ok($found, '>=', $queries / 2, 'at least half of the queries find something');
cmp_ok($failed, '<=', $queries / 50, 'few queries are refused by the server');
is($differ, 0, 'no query differs')
  or diag(run_file('differences', 'SELECT detail FROM fuzz.result WHERE differs ORDER BY length(detail) LIMIT 5;'));

done_testing();
