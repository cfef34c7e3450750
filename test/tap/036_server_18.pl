# What a managed table can have from server 18 on: virtual generated columns, NOT NULL
# constraints with names of their own or not valid, temporal keys, and constraints that are
# not enforced. (What is new in statements is in sql/write_states.sql.)

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
plan skip_all => 'the server is older' if $node->pg_version < 18;
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
fsync = off
CONF
$node->start;

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', "SET client_min_messages = warning;\n$sql"); }
sub fails { my ($sql) = @_; return ($node->psql('postgres', $sql))[2]; }
sub contract { my ($name) = @_; return sql("SELECT migrate.contract('$name', skip => '{window,usage}')"); }

# Names, kinds and definitions of a table's constraints on columns, but for those on the row version.
sub constraints
{
	my ($table) = @_;
	return sql(qq{SELECT conname || ': ' || pg_get_constraintdef(oid) FROM pg_constraint
		WHERE conrelid = '$table'::regclass AND conname NOT LIKE '%row\\_version%' ORDER BY conname});
}

sql('CREATE EXTENSION migrate');

#
# virtual generated columns, as inputs, and of new columns, made midway
#
sql(<<'SQL');
CREATE TABLE things (id integer PRIMARY KEY, a integer, v integer GENERATED ALWAYS AS (a * 2) VIRTUAL, gone integer);
ALTER TABLE things DROP gone;
INSERT INTO things SELECT i, i FROM generate_series(1, 6) i;
SELECT migrate.define('things', 'things', add => 'x bigint', up => 'x = v + 1', down => 'a = (x - 1) / 2', remove => '{a,v}');
SELECT migrate.expand('things');
ALTER TABLE things ADD w bigint GENERATED ALWAYS AS (x + 100) VIRTUAL;
SQL
my $consistent = q{SELECT count(*) || ' ' || bool_and(v = a * 2 AND x = v + 1 AND w = x + 100) FROM things};
is(sql($consistent), '6 true', 'stale rows read as computed from a virtual column, and so do those computed from them');
is(sql(q{UPDATE things SET a = 10 WHERE id = 1 RETURNING old.v, new.v, old.x, new.x, old.w, new.w}), '2|20|3|21|103|121',
	'a write of the old form');
is(sql(q{UPDATE things SET x = 31 WHERE w = 105 RETURNING old.a, new.a, old.v, new.v, new.w}), '2|15|4|30|131', 'one of the new form');
is(sql(q{INSERT INTO things (id, x) VALUES (7, 15) RETURNING a, v, w}), '7|14|115', 'an INSERT');
is(sql(q{SELECT rows_checked, rows_failed FROM migrate.dry_run('things')}), '7|0', 'a dry run');
sql(q{CALL migrate.run('things', max_rows => 3)});
is(sql($consistent), '7 true', 'half of the rows are converted');
is(sql(q{SELECT w % 2, v > 10, count(*), grouping(v > 10) FROM things GROUP BY ROLLUP (w % 2, v > 10) ORDER BY 1, 2}),
	"1|f|3|0\n1|t|4|0\n1||7|1\n||7|1", 'grouped by them');
sql(q{CALL migrate.run('things')});
is(sql($consistent), '7 true', 'all are');
like(fails(q{ALTER TABLE things ALTER v SET EXPRESSION AS (a * 3)}), qr/ERROR/, 'what rows were computed by stays');
contract('things');
is(sql(q{SELECT attname, attgenerated FROM pg_attribute WHERE attrelid = 'things'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY 1}),
	"id|\nrow_version|\nw|v\nx|", 'contract drops the one of the old form');
is(sql('SELECT count(*), bool_and(w = x + 100) FROM things'), '7|t', 'and leaves that of the new one');

like(fails(q{SELECT migrate.define('g', 'things', add => 'y bigint, z bigint GENERATED ALWAYS AS (y) VIRTUAL', up => 'y = x')}),
	qr/column "z" of "add" has a constraint that is not supported/, '"add" makes none');
like(fails(q{SELECT migrate.define('g', 'things', up => 'w = 1')}), qr/"w", which is generated/, 'nor does "up" assign one');

#
# NOT NULL constraints
#
sql(<<'SQL');
CREATE TABLE names (id integer PRIMARY KEY, a integer CONSTRAINT said NOT NULL, p integer NOT NULL, q integer NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE names_1 PARTITION OF names FOR VALUES FROM (0) TO (100);
CREATE TABLE names_2 (q integer NOT NULL, p integer NOT NULL, a integer NOT NULL, id integer PRIMARY KEY);
INSERT INTO names SELECT i, i, i, i FROM generate_series(1, 4) i;
SELECT migrate.define('names', 'names', remove => '{a}', up => 'b = a, c = a, p = old.p, q = old.q', down => 'a = b, p = new.p, q = new.q',
	add => 'b integer CONSTRAINT new_said NOT NULL, c integer NOT NULL, p bigint CONSTRAINT large NOT NULL, q bigint NOT NULL');
SQL
my $before = constraints('names');
sql(q{SELECT migrate.expand('names'); CALL migrate.run()});
is(constraints('names'), <<'END' =~ s/\n\z//r, 'the NOT NULL of new columns have the names that "add" gives them');
large: NOT NULL p_new
names_c_not_null: NOT NULL c
names_id_not_null: NOT NULL id
names_p_not_null: NOT NULL p
names_pkey: PRIMARY KEY (id)
names_q_not_null: NOT NULL q
names_q_not_null1: NOT NULL q_new
new_said: NOT NULL b
said: NOT NULL a
END
sql(q{ALTER TABLE names ATTACH PARTITION names_2 FOR VALUES FROM (100) TO (200); CREATE TABLE copied (LIKE names INCLUDING ALL)});
is(sql(q{SELECT string_agg(attname, ' ' ORDER BY attname) FROM pg_attribute WHERE attrelid = 'copied'::regclass AND attnum > 0 AND attnotnull}),
	'a b c id p p_new q q_new row_version', 'a copy of the table has them');
like(fails('INSERT INTO names (id, b, p_new, q_new) VALUES (100, 1, 1, 1)'), qr/null value in column "c" of relation "names_2"/,
	'so has a partition that came later');
sql(q{ALTER TABLE names DETACH PARTITION names_2; SELECT migrate.rollback('names')});
is(constraints('names'), $before, 'rollback leaves those of the old form');
sql(q{SELECT migrate.expand('names'); CALL migrate.run()});
contract('names');
is(constraints($_) =~ s/^\S+_pkey: .*\n//mr, <<'END' =~ s/\n\z//r, "after contract they are as made plainly: $_") for 'names', 'names_1';
large: NOT NULL p
names_c_not_null: NOT NULL c
names_id_not_null: NOT NULL id
names_q_not_null: NOT NULL q
new_said: NOT NULL b
END

like(fails(q{SELECT migrate.define('g', 'names', add => 'd integer NOT NULL NO INHERIT', up => 'd = c')}),
	qr/constraint that is not supported.*Leave out NO INHERIT/s, 'NO INHERIT is refused');

#
# constraints that are not valid, or not enforced
#
sql(<<'SQL');
CREATE TABLE lax (id integer PRIMARY KEY, a integer, r integer CONSTRAINT lax_fk REFERENCES things NOT ENFORCED);
INSERT INTO lax SELECT i, NULLIF(i, 2), 99 FROM generate_series(1, 4) i;
SELECT migrate.define('lax', 'lax', add => 'b integer', up => 'b = a', down => 'a = b', remove => '{a}');
SELECT migrate.expand('lax');
ALTER TABLE lax ADD CONSTRAINT lax_nn NOT NULL b NOT VALID;
ALTER TABLE lax ADD CONSTRAINT lax_ck CHECK (b > 100) NOT ENFORCED;
SQL
like(fails('INSERT INTO lax (id, a) VALUES (5, NULL)'), qr/null value in column "b"/, 'what is not valid holds for new rows, of either form');
sql('INSERT INTO lax (id, a, r) VALUES (5, 5, 77)');
sql(q{CALL migrate.run('lax')});
is(sql('SELECT row_key, sqlstate FROM migrate.failures'), '{"id": 2}|23502', 'and a row that breaks it is not converted');
sql(q{UPDATE lax SET a = 2 WHERE id = 2; SELECT migrate.retry('lax'); CALL migrate.run('lax')});
is(sql(q{SELECT detail, hint FROM migrate.check_contract('lax') WHERE check_name = 'constraints'}),
	'Constraints on the new columns are not validated: lax_nn of table public.lax.|ALTER TABLE public.lax VALIDATE CONSTRAINT lax_nn',
	'it has to be validated before contract; what is not enforced has not');
sql('ALTER TABLE lax VALIDATE CONSTRAINT lax_nn');
contract('lax');
is(constraints('lax'), "lax_ck: CHECK ((b > 100)) NOT ENFORCED\nlax_fk: FOREIGN KEY (r) REFERENCES things(id) NOT ENFORCED\n"
	. "lax_id_not_null: NOT NULL id\nlax_nn: NOT NULL b\nlax_pkey: PRIMARY KEY (id)", 'both are there after contract');

#
# temporal keys
#
SKIP:
{
	skip 'btree_gist is not installed', 8 if $node->psql('postgres', 'CREATE EXTENSION btree_gist') != 0;
	sql(<<'SQL');
CREATE TABLE terms (id integer, during daterange, a text, PRIMARY KEY (id, during WITHOUT OVERLAPS));
CREATE TABLE uses (id integer, term integer, at daterange, b integer, FOREIGN KEY (term, PERIOD at) REFERENCES terms (id, PERIOD during));
INSERT INTO terms SELECT i, '[2020-01-01,2021-01-01)', 'A' || i FROM generate_series(1, 4) i;
INSERT INTO uses SELECT i, i, '[2020-02-01,2020-03-01)', i FROM generate_series(1, 4) i;
SELECT migrate.define('terms', 'terms', add => 'x text, valid daterange', up => 'x = lower(a), valid = during', down => 'a = upper(x), during = valid', remove => '{a}');
SELECT migrate.define('uses', 'uses', add => 'c bigint', up => 'c = b', down => 'b = c', remove => '{b}');
SELECT migrate.expand('terms'), migrate.expand('uses');
SQL
	is(sql(q{UPDATE terms SET valid = '[2020-01-01,2022-01-01)' WHERE id = 2 RETURNING during, a, x}), '[2020-01-01,2022-01-01)|A2|a2',
		'a key written in the new form');
	like(fails(q{INSERT INTO terms (id, x, valid) VALUES (3, 'z', '[2020-05-01,2022-01-01)')}),
		qr/conflicting key value violates exclusion constraint "terms_pkey"/, 'is held to having no overlaps');
	sql(q{INSERT INTO terms (id, x, valid) VALUES (3, 'z', '[2021-05-01,2022-01-01)')});
	like(fails(q{INSERT INTO uses (id, term, at, c) VALUES (9, 9, '[2020-02-01,2020-03-01)', 1)}), qr/violates foreign key constraint/,
		'and a reference to its period');
	like(fails(q{UPDATE terms SET valid = '[2020-06-01,2021-01-01)' WHERE id = 1}), qr/violates foreign key constraint/,
		'from both sides');
	like(fails(q{ALTER TABLE terms ADD CONSTRAINT terms_x UNIQUE (x, valid WITHOUT OVERLAPS)}), qr/while rows of migration "terms" are stale/,
		'one on new columns waits');
	sql(q{CALL migrate.run()});
	sql(q{ALTER TABLE terms ADD CONSTRAINT terms_x UNIQUE (x, valid WITHOUT OVERLAPS)});
	is(sql(q{SELECT string_agg(id || x || lower(valid), ' ' ORDER BY id, valid) FROM terms}),
		'1a12020-01-01 2a22020-01-01 3a32020-01-01 3z2021-05-01 4a42020-01-01', 'the rows are converted');
	contract($_) for 'terms', 'uses';
	like(constraints('terms'), qr/^terms_pkey: PRIMARY KEY \(id, during WITHOUT OVERLAPS\)\nterms_x: UNIQUE \(x, valid WITHOUT OVERLAPS\)$/m,
		'the keys are there after contract');
	like(fails(q{DELETE FROM terms WHERE id = 4}), qr/violates foreign key constraint/, 'and the reference');
}

$node->stop;
done_testing();
