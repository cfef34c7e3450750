# Databases that came to a release by different ways, with fixes that were backported
# to some of them, end with the same schema, the same rows and the same graph; and so
# does one whose deployment is run again, or by two deployers at once.
use strict;
use warnings;

use IPC::Run ();

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# ---- what the releases of an application deploy ----

my %migration = (
	names => q{add => 'first_name text, last_name text',
		up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
		down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}'},
	mails => q{up => 'email = lower(email)'},
	domains => q{add => 'domain text', up => $$domain = split_part(email, '@', 2)$$},
	cents => q{add => 'cents bigint NOT NULL DEFAULT 0', up => 'cents = price * 100',
		down => 'price = cents / 100', remove => '{price}'},
	both => q{comment => 'a merge'},
	phones => q{up => $$phone = regexp_replace(phone, '[^0-9]', '', 'g')$$},
	prefixes => q{add => 'prefix text', up => 'prefix = left(phone, 3)'},
	numbers => q{add => 'phone bigint', up => 'phone = old.phone::bigint',
		down => 'phone = new.phone::text'},
);

# Each says what it depends on in that release. "phones" came to the main line last,
# and was backported to 3.14 and to 3.15; "prefixes" to 3.14 alone.
my %release = (
	'3.14.5' => [ [ names => '{}' ] ],
	'3.14.6' => [ [ names => '{}' ], [ phones => '{names}' ] ],
	'3.14.7' => [ [ names => '{}' ], [ phones => '{names}' ], [ prefixes => '{phones}' ] ],
	'3.15.2' => [ [ names => '{}' ], [ mails => '{names}' ], [ domains => '{mails}' ] ],
	'3.15.3' => [
		[ names => '{}' ], [ mails => '{names}' ], [ domains => '{mails}' ],
		[ phones => '{domains}' ]
	],
	'3.16' => [
		[ names => '{}' ], [ mails => '{names}' ], [ domains => '{mails}' ],
		[ cents => '{mails}' ], [ both => '{domains,cents}' ], [ phones => '{both}' ],
		[ prefixes => '{phones}' ], [ numbers => '{prefixes}' ]
	],
);

sub deployment
{
	my ($name) = @_;
	my @define = map {
		my ($migration, $before) = @$_;
		"SELECT migrate.define('$migration', 'people', depends_on => '$before', $migration{$migration});"
	} @{ $release{$name} };
	my @expand = map { "SELECT migrate.expand('$_->[0]');" } @{ $release{$name} };

	return join "\n", @define, @expand;
}

# ---- databases ----

my $node = PostgreSQL::Test::Cluster->new('paths');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
fsync = off
CONF
$node->start;

sub create
{
	my ($database) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, <<'SQL');
CREATE EXTENSION migrate;
CREATE TABLE people (id int PRIMARY KEY, full_name text, email text, phone text, price int);
INSERT INTO people SELECT g, 'A' || g || ' B' || g, 'User' || g || '@Example.org',
	'+49 (' || g || ') 12-' || g, g FROM generate_series(1, 300) g;
SQL
	return;
}

# What is deployed on the way is left at any stage of its backfill.
sub deploy
{
	my ($database, $name, $share) = @_;

	$node->safe_psql($database, deployment($name));
	$node->safe_psql($database, "CALL migrate.run('people', max_rows => $share)") if $share;
	return;
}

sub finish
{
	my ($database) = @_;

	$node->safe_psql($database, "CALL migrate.run('people')");
	while ((my $next = $node->safe_psql($database,
		"SELECT migration FROM migrate.plan() WHERE action = 'contract' LIMIT 1")) ne '')
	{
		$node->safe_psql($database, "SELECT migrate.contract('$next', skip => '{window,usage}')");
	}
	return;
}

# Columns may have come in any order, and so may lines of a dump.
sub outcome
{
	my ($database) = @_;
	my ($schema) = run_command([
		'pg_dump', '--schema-only', '-d', $node->connstr($database), '-t', 'people' ]);

	return join "\n", (sort grep { !/^--|restrict/ } map { s/,$//r } split /\n/, $schema),
		$node->safe_psql($database, 'SELECT to_jsonb(p) FROM people p ORDER BY id'),
		$node->safe_psql($database,
			'SELECT name, state, depends_on, add, remove FROM migrate.status ORDER BY name');
}

# ---- every way to 3.16 ----

my @ways = (
	['3.16'],
	[ '3.14.5', '3.16' ],
	[ '3.15.2', '3.15.3', '3.16' ],
	[ '3.15.2', '3.16' ],
	[ '3.14.5', '3.14.6', '3.15.3', '3.16' ],
	[ '3.14.7', '3.16' ],
	[ '3.14.6', '3.14.7', '3.15.3', '3.15.3', '3.16', '3.16' ],
);
my $expected;

for my $number (0 .. $#ways)
{
	my @way = @{ $ways[$number] };
	my $database = "way$number";

	create($database);
	deploy($database, $_, 100 * ($number % 4)) foreach @way;
	finish($database);
	if (defined $expected)
	{
		is(outcome($database), $expected, join(' -> ', @way) . ' ends as a fresh database does');
		next;
	}
	$expected = outcome($database);
	is($node->safe_psql($database, <<'SQL'), '300|0', 'each row is as all migrations make it');
SELECT count(*), count(*) FILTER (WHERE (first_name, last_name, email, domain, cents, phone, prefix)
	IS DISTINCT FROM ('A' || id, 'B' || id, 'user' || id || '@example.org', 'example.org', id * 100,
		('49' || id || '12' || id)::bigint, left('49' || id || '12', 3))) FROM people
SQL
}

# ---- back, and twice at once ----

create('back');
deploy('back', $_, 100) foreach '3.16', '3.14.7', '3.15.3', '3.16';
finish('back');
is(outcome('back'), $expected, 'older deployments that are run again change nothing');

create('thrice');
deploy('thrice', '3.14.6', 50);
my @deployers = map {
	my $script = $_ ? 'BEGIN;' . deployment('3.16') . 'COMMIT;' : deployment('3.16');
	my %run = (out => '', err => '');
	$run{handle} = IPC::Run::start(
		[ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('thrice') ],
		'<', \$script, '>', \$run{out}, '2>', \$run{err});
	\%run;
} 0, 1, 0;

foreach my $run (@deployers)
{
	ok($run->{handle}->finish, 'one of three deployers at once succeeds')
	  or diag $run->{err};
}
finish('thrice');
is(outcome('thrice'), $expected, 'three deployers at once end as one does');

done_testing();
