# A subscriber that has expanded keeps both forms of what a publisher sends it,
# whether the publisher knows the migration or not.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub start_node
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
autovacuum = off
fsync = off
CONF
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION migrate');
	return $node;
}

my $publisher = start_node('publisher');
my $subscriber = start_node('subscriber');

sub publish { return $publisher->safe_psql('postgres', $_[0]); }
sub subscribe { return $subscriber->safe_psql('postgres', $_[0]); }

# What the subscriber holds once all that was published has arrived.
sub arrived
{
	$publisher->wait_for_catchup('sub');
	return subscribe($_[0]);
}

# "plain" is expanded on the subscriber alone, where it is partitioned too;
# "known" on both, "defaulted" has a new column with a default of its own.
my $split = q{
	add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$,
	remove => '{full_name}'};

for my $table (qw(plain known))
{
	publish("CREATE TABLE $table (id integer PRIMARY KEY, full_name text, note text)");
	publish("INSERT INTO $table VALUES (1, 'Ada Lovelace'), (2, 'Alan Mathison Turing')");
}
publish('CREATE TABLE defaulted (id integer PRIMARY KEY, colour text)');
publish(q{INSERT INTO defaulted VALUES (1, 'red')});

subscribe(q{CREATE TABLE plain (full_name text, id integer PRIMARY KEY, note text) PARTITION BY RANGE (id)});
subscribe(q{CREATE TABLE plain_low (note text, id integer NOT NULL, full_name text)});
subscribe(q{ALTER TABLE plain ATTACH PARTITION plain_low FOR VALUES FROM (0) TO (100)});
subscribe(q{CREATE TABLE plain_high PARTITION OF plain FOR VALUES FROM (100) TO (200)});
subscribe('CREATE TABLE known (id integer PRIMARY KEY, full_name text, note text)');
subscribe('CREATE TABLE defaulted (id integer PRIMARY KEY, colour text)');
subscribe(q{CREATE DOMAIN paint AS text DEFAULT 'white'});
subscribe("SELECT migrate.define('plain', 'plain', $split)");
subscribe(q{SELECT migrate.define('defaulted', 'defaulted', add => 'paint paint',
	up => 'paint = upper(colour)', down => 'colour = lower(paint)', remove => '{colour}')});
subscribe("SELECT migrate.expand('$_')") for qw(plain defaulted);
for my $side (\&publish, \&subscribe)
{
	$side->("SELECT migrate.define('known', 'known', $split)");
	$side->(q{SELECT migrate.expand('known')});
}

# -- The initial copy, which is no COPY statement
publish('CREATE PUBLICATION pub FOR TABLE plain, known, defaulted');
subscribe(sprintf(q{CREATE SUBSCRIPTION sub CONNECTION '%s dbname=postgres' PUBLICATION pub},
		$publisher->connstr));
$subscriber->wait_for_subscription_sync;
my $all = 'SELECT id, full_name, first_name, last_name, row_version FROM %s ORDER BY id';
is(subscribe(sprintf($all, 'plain')),
	"1|Ada Lovelace|Ada|Lovelace|2\n2|Alan Mathison Turing|Alan|Mathison|2",
	'rows copied from a publisher that does not know the migration are converted');
is(subscribe(sprintf($all, 'known')),
	"1|Ada Lovelace|Ada|Lovelace|2\n2|Alan Mathison Turing|Alan|Mathison|2",
	'stale rows copied from a publisher that knows it are converted');
is(subscribe('SELECT id, colour, paint, row_version FROM defaulted'), '1|red|RED|2',
	q{a new column's default does not pass for something sent});

# -- Changes, from a publisher that does not know it
publish(q{INSERT INTO plain VALUES (3, 'Grace Hopper'), (103, 'Kurt Goedel')});
publish(q{UPDATE plain SET full_name = 'Ada Byron' WHERE id = 1});
publish(q{UPDATE plain SET note = 'touched' WHERE id = 2});
publish(q{UPDATE plain SET id = 104 WHERE id = 3});
publish(q{INSERT INTO defaulted VALUES (2, 'blue')});
publish(q{UPDATE defaulted SET colour = 'green' WHERE id = 1});
is(arrived(sprintf($all, 'plain')),
	"1|Ada Byron|Ada|Byron|2\n2|Alan Mathison Turing|Alan|Mathison|2\n"
	  . "103|Kurt Goedel|Kurt|Goedel|2\n104|Grace Hopper|Grace|Hopper|2",
	'changes from a publisher that does not know the migration are converted');
is(subscribe('SELECT id, colour, paint FROM defaulted ORDER BY id'),
	"1|green|GREEN\n2|blue|BLUE", 'so with a default');

# -- A subscriber's own write, then the publisher's to another column of that row
subscribe(q{UPDATE plain SET first_name = 'Augusta' WHERE id = 1});
is(subscribe(sprintf($all, 'plain') . ' LIMIT 1'), '1|Augusta Byron|Augusta|Byron|2',
	'the subscriber writes the new form');

# -- Changes from a publisher that knows it: rows as stored there, in both forms.
# An old-form value that down could not give back must not be computed again.
publish(q{INSERT INTO known (id, full_name) VALUES (3, 'Maria Gaetana Agnesi')});
publish(q{INSERT INTO known (id, first_name, last_name) VALUES (4, 'Grace', 'Hopper')});
publish(q{UPDATE known SET full_name = 'Augusta Ada King' WHERE id = 1});
publish(q{UPDATE known SET last_name = 'Turing' WHERE id = 2});
publish(q{UPDATE known SET note = 'touched' WHERE id = 3});
is(arrived(sprintf($all, 'known')), publish(sprintf($all, 'known')),
	'changes from a publisher that knows the migration arrive as stored');
is(publish(sprintf($all, 'known')),
	"1|Augusta Ada King|Augusta|Ada|2\n2|Alan Turing|Alan|Turing|2\n"
	  . "3|Maria Gaetana Agnesi|Maria|Gaetana|2\n4|Grace Hopper|Grace|Hopper|2",
	'which is what they should be');

$subscriber->stop;
$publisher->stop;
done_testing();
