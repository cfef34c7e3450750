# From each version that was released, ALTER EXTENSION UPDATE leads to the same objects as
# a fresh CREATE EXTENSION, and so does restoring a dump of it; what was in the middle
# of everything goes on. The library serves no version that it does not know, and says so.
#
# Where this fails, src/sql was changed without its counterpart in the update script
# (src/sql/migrate--OLD--NEW.sql), or a C function that a released version names is gone.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ExtensionObjects qw(objects_of);
use Midway qw(make_midway reads_of stored_in catalog_of is_unchanged go_on_to_the_end);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
autovacuum = off
fsync = off
CONF
$node->start;

my ($present) = slurp_file("$FindBin::RealBin/../../migrate.control") =~ /^default_version = '(.*)'$/m;
my @released = sort map { /--(.*)\.sql$/ } glob "$FindBin::RealBin/../../src/sql/released/*.sql";
cmp_ok(scalar @released, '>', 0, "before $present were " . join ', ', @released);

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION migrate');
my $fresh = objects_of($node, 'fresh');
like($fresh, qr/function migrate\.define\(/, 'a fresh database has the objects');

sub version_of
{
	my ($db) = @_;
	return $node->safe_psql($db, q{SELECT extversion FROM pg_extension WHERE extname = 'migrate'});
}

# ---- each version that was released, updated and restored

foreach my $version (@released)
{
	(my $db = "from_$version") =~ s/\W/_/g;
	$node->safe_psql('postgres', "CREATE DATABASE $db; CREATE DATABASE ${db}_restored; CREATE DATABASE ${db}_empty");
	$node->safe_psql("${db}_empty", "CREATE EXTENSION migrate VERSION '$version'");
	my $is_served = $node->psql("${db}_empty", 'CALL migrate.run()') == 0;
	$node->safe_psql("${db}_empty", 'ALTER EXTENSION migrate UPDATE');
	is_unchanged(objects_of($node, "${db}_empty"), $fresh, "$version, empty, has the objects of a fresh database after an update");
	next unless $is_served;

	make_midway($node, $db, $version);
	$node->safe_psql($db, 'ANALYZE');
	is(version_of($db), $version, "version $version");
	my ($reads, $stored, $catalog) = map { $_->($node, $db) } \&reads_of, \&stored_in, \&catalog_of;
	my $dump = $node->basedir . "/$db.dump";
	command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr($db) ], 'is dumped');

	# A session that has conversions and plans from before.
	my $session = $node->background_psql($db, on_error_stop => 1);
	$session->query_safe('PREPARE p AS SELECT max(initial_form) FROM (SELECT first_name AS initial_form FROM app.users) u; EXECUTE p');
	$node->safe_psql($db, 'ALTER EXTENSION migrate UPDATE');
	is(version_of($db), $present, 'is updated');
	is($session->query_safe('EXECUTE p'), $node->safe_psql($db, 'SELECT max(first_name) FROM app.users'), 'while others go on');
	$session->quit;

	command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr("${db}_restored"), $dump ], 'and is restored');
	is(version_of("${db}_restored"), $present, 'in the present version');

	foreach my $to ($db, "${db}_restored")
	{
		is_unchanged(objects_of($node, $to), $fresh, "$to has the objects of a fresh database");
		is_unchanged(stored_in($node, $to), $stored, 'rows are stored as they were');
		is_unchanged(reads_of($node, $to), $reads, 'and read as they did');
		is_unchanged(catalog_of($node, $to), $catalog, 'and all that is known of them is there');
	}
	go_on_to_the_end($node, $db, "$version updated") if $version eq $released[-1];
}

# ---- versions that the library does not serve

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION migrate;
CREATE TABLE t (id integer PRIMARY KEY, a text);
CREATE TABLE unmanaged (id integer);
INSERT INTO t VALUES (1, '1');
SELECT migrate.define('t', 't', add => 'b integer', up => 'b = a::integer', down => 'a = b::text', remove => '{a}');
SELECT migrate.expand('t');
SQL

foreach my $case ([ '0.0.9', qr/HINT:  Run ALTER EXTENSION migrate UPDATE/ ], [ '99.1', qr/HINT:  Install the library of that version/ ])
{
	my ($version, $hint) = @$case;
	$node->safe_psql('postgres', "UPDATE pg_extension SET extversion = '$version' WHERE extname = 'migrate'");
	foreach my $statement (
		'SELECT b FROM t',
		q{INSERT INTO t (id, a) VALUES (2, '2')},
		q{UPDATE t SET b = 3},
		'DROP TABLE t',
		'DROP EXTENSION migrate CASCADE',
		q{SELECT migrate.rollback('t')},
		q{CALL migrate.run('t')})
	{
		my ($status, $out, $err) = $node->psql('postgres', $statement, on_error_stop => 1);
		like($err, qr/extension "migrate" is version \Q$version\E, but the library is version \Q$present\E.*$hint/s,
			"$version is not served: $statement");
	}
	$node->safe_psql('postgres', 'INSERT INTO unmanaged VALUES (1); CREATE TEMP TABLE mine AS SELECT * FROM unmanaged');
	command_ok([ 'pg_dump', '-f', $node->basedir . '/unserved', $node->connstr('postgres') ], 'all else goes on, also a dump');
	$node->safe_psql('postgres', "UPDATE pg_extension SET extversion = '$present' WHERE extname = 'migrate'");
}
is($node->safe_psql('postgres', 'SELECT * FROM t'), '1|1|1|1', 'and nothing was lost');

# ---- an update that the running library would not serve

SKIP:
{
	my $scripts = $node->config_data('--sharedir') . '/extension';
	skip 'nobody may add an update script here', 2 unless -w $scripts;
	my $ahead = "$scripts/migrate--$present--99.1.sql";
	append_to_file($ahead, "SELECT 1;\n");
	my ($status, $out, $err) = $node->psql('postgres', q{ALTER EXTENSION migrate UPDATE TO '99.1'}, on_error_stop => 1);
	unlink $ahead;
	like($err, qr/version 99\.1.*restart the server/s, 'an update is refused before the library is there');
	is($node->safe_psql('postgres', 'SELECT b FROM t'), '1', 'and all is as before');
}

$node->stop;
done_testing();
