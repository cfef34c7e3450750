# Each way of pg_dump and pg_restore, and a base backup, carries a database that is in
# the middle of everything: rows stay in their versions, read the same, and the work
# is gone on with.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Midway qw(make_midway reads_of stored_in catalog_of is_unchanged go_on_to_the_end);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
autovacuum = off
fsync = off
CONF
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE first');
make_midway($node, 'first');
my ($reads, $stored, $catalog) = map { $_->($node, 'first') } \&reads_of, \&stored_in, \&catalog_of;

my $files = $node->basedir;
my $from = $node->connstr('first');

sub dump_to
{
	my ($file, @options) = @_;
	command_ok([ 'pg_dump', '-f', "$files/$file", @options, $from ], "pg_dump @options");
	return;
}

sub psql_from
{
	my ($db, $file) = @_;
	command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$files/$file", $node->connstr($db) ], "psql -f $file");
	return;
}

sub restore_from
{
	my ($db, $file, @options) = @_;
	command_ok([ 'pg_restore', '--exit-on-error', @options, '-d', $node->connstr($db), "$files/$file" ], "pg_restore @options");
	return;
}

sub is_the_same
{
	my ($other, $db, $what) = @_;
	is_unchanged(stored_in($other, $db), $stored, "$what: rows are stored as they were");
	is_unchanged(reads_of($other, $db), $reads, 'and read as they did');
	is_unchanged(catalog_of($other, $db), $catalog, 'and all that is known of them is there');
	return;
}

sub restored
{
	my ($what, $restore) = @_;
	(my $db = $what) =~ s/\W+/_/g;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$restore->($db);
	is_the_same($node, $db, $what);
	return $db;
}

dump_to('plain');
dump_to('custom', '-Fc');
dump_to('folder', '-Fd', '-j2');
dump_to('table', '-Fc', '-t', 'app.users');

restored('sections', sub {
	restore_from($_[0], 'custom', "--section=$_") foreach qw(pre-data data post-data);
});
$node->safe_psql('postgres', 'CREATE ROLE another SUPERUSER');
my $owned = restored('another owner', sub { restore_from($_[0], 'custom', '--no-owner', '--no-acl', '--role=another') });
is($node->safe_psql($owned, q{SELECT DISTINCT relowner::regrole FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
	WHERE nspname IN ('app', 'migrate', 'second')}), 'another', 'all is his');
$node->safe_psql($owned, q{SET ROLE another; CALL migrate.run('app.users', max_rows => 100)});
$node->safe_psql('postgres', "DROP DATABASE $owned");		# work there would take workers from the others
my $parallel = restored('parallel', sub { restore_from($_[0], 'folder', '-j2') });
go_on_to_the_end($node, $parallel, 'parallel');

# ---- by a server whose transactions have lower numbers

my $plain = restored('plain', sub { psql_from($_[0], 'plain') });
$node->safe_psql('plain', q{UPDATE migrate.migration SET completed_xid = '8000000000' WHERE completed_xid IS NOT NULL});
unlike($node->safe_psql('plain', 'EXPLAIN (VERBOSE) SELECT b FROM app.done'), qr/CASE/,
	'what was complete is read as such where transactions have lower numbers');
$node->safe_psql('plain', q{SELECT pg_create_logical_replication_slot('reader', 'pgoutput')});
is($node->safe_psql('plain', q{SELECT ok FROM migrate.check_contract('done') WHERE check_name = 'snapshots'}),
	't', 'and nobody is older than it');
$node->safe_psql('plain', q{SELECT pg_drop_replication_slot('reader')});

# ---- the schema before the data: then triggers stand, and what is known comes first

$node->safe_psql('postgres', 'CREATE DATABASE schema_first');
restore_from('schema_first', 'custom', '--schema-only');
command_fails_like([ 'pg_restore', '--exit-on-error', '--data-only', '-n', 'app', '-d', $node->connstr('schema_first'), "$files/custom" ],
	qr/has no live migration.*restore the data of schema "migrate" first/s, 'data without what is known of them are refused');
restore_from('schema_first', 'custom', '--data-only', '-n', 'migrate');
restore_from('schema_first', 'custom', '--data-only', '-N', 'migrate');
is_unchanged(reads_of($node, 'schema_first'), $reads, 'schema first: rows read as they did');
is_unchanged(catalog_of($node, 'schema_first'), $catalog, 'and all that is known of them is there');
go_on_to_the_end($node, 'schema_first', 'schema first');

# ---- a single table: its rows are those that are stored, and nobody writes stale ones

$node->safe_psql('postgres', 'CREATE DATABASE alone');
$node->safe_psql('alone', 'CREATE EXTENSION migrate; CREATE SCHEMA app');
restore_from('alone', 'table');
is($node->safe_psql('alone', 'SELECT count(*), count(first_name) FROM app.users'),
	$node->safe_psql('first', q{SELECT count(*), count(*) FILTER (WHERE row_version > 1) FROM app.users}),
	'a table that is restored alone has the rows as stored');
my ($status, undef, $err) = $node->psql('alone', q{UPDATE app.users SET full_name = 'A B'});
like($err, qr/relation "users" has no live migration/, 'and is not written');

# ---- a base backup

$node->backup('base');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'base');
$copy->start;
is_the_same($copy, 'first', 'base backup');
$copy->append_conf('postgresql.conf', 'migrate.autostart = on');
$copy->reload;
ok($copy->poll_query_until('first', q{SELECT bool_and(state = 'complete' OR name = 'exact') FROM migrate.migration
	WHERE state IN ('expanded', 'complete')}), 'the work is gone on with by itself');
is($copy->safe_psql('first', 'SELECT count(*) FROM migrate.failures'), '2', 'and rows that fail are found again');

done_testing();
