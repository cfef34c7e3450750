# What a subscriber makes of the rows that are sent to it, where these do not hold all
# that it would want, or cannot be converted; and what it does not make its own.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PublisherAndSubscriber
  qw($publisher $subscriber start_both publish subscribe on_both subscription catch_up
  let_slots_advance server_version);
use Test::More;

start_both();
my $version = server_version();

my $split = q{add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}'};
my $read = 'SELECT id, full_name, first_name, last_name FROM %s ORDER BY id';

# What the subscriber holds once all has arrived, and not before.
sub arrived
{
	my ($query, $subscription) = @_;
	catch_up($subscription // 'sub');
	return subscribe($query);
}

sub log_from
{
	my ($offset) = @_;
	return PostgreSQL::Test::Utils::slurp_file($subscriber->logfile, $offset);
}

# -- Values out of line that an UPDATE did not change are not sent
my $wide = q{add => 'upper_text text', up => 'upper_text = upper(body)', down => 'body = lower(upper_text)'};
on_both(qq{
	CREATE TABLE wide (id integer PRIMARY KEY, body text, note text);
	ALTER TABLE wide ALTER body SET STORAGE EXTERNAL;
	CREATE TABLE published_late (id integer PRIMARY KEY, body text, note text);
	ALTER TABLE published_late ALTER body SET STORAGE EXTERNAL;
	SELECT migrate.define('wide', 'wide', $wide);
	SELECT migrate.define('published_late', 'published_late', $wide);
});
publish(q{INSERT INTO wide SELECT i, repeat(chr(96 + i), 5000), 'n' FROM generate_series(1, 6) i;
	INSERT INTO published_late SELECT * FROM wide;
	CREATE PUBLICATION pub_wide FOR TABLE wide, published_late (id, body, note)});
subscription('sub', 'pub_wide');
on_both(q{SELECT migrate.expand('wide'); ALTER TABLE wide ALTER upper_text SET STORAGE EXTERNAL});
publish(q{SELECT migrate.expand('published_late'); ALTER TABLE published_late ALTER upper_text SET STORAGE EXTERNAL;
	CALL migrate.run('published_late')});
catch_up('sub');
subscribe(q{SELECT migrate.expand('published_late')});
publish(q{ALTER PUBLICATION pub_wide SET TABLE wide, published_late});
subscribe(q{ALTER SUBSCRIPTION sub REFRESH PUBLICATION});
is(subscribe('SELECT count(*) FROM published_late WHERE row_version < 2'), '6',
	'rows are stale here that are converted there');
publish(qq{UPDATE $_ SET note = 'touched' WHERE id <= 2;
	UPDATE $_ SET body = repeat('x', 5000) WHERE id = 3;
	UPDATE $_ SET upper_text = repeat('Y', 5000) WHERE id = 4;
	UPDATE $_ SET note = note WHERE id = 5}) for qw(wide published_late);
for my $table (qw(wide published_late))
{
	my $short = "SELECT id, note, left(body, 1), length(body), left(upper_text, 1), length(upper_text) FROM $table ORDER BY id";
	is(arrived($short),
		"1|touched|a|5000|A|5000\n2|touched|b|5000|B|5000\n3|n|x|5000|X|5000\n"
		  . "4|n|y|5000|Y|5000\n5|n|e|5000|E|5000\n6|n|f|5000|F|5000",
		"$table: what was not sent is what it was here, converted");
	subscribe("CALL migrate.run('$table')");
	is(subscribe($short), publish($short), "$table: and stays so");
}

# -- A publication of all tables, and of a schema
on_both(q{CREATE DATABASE everything});
for my $node ($publisher, $subscriber)
{
	$node->safe_psql('everything', qq{CREATE EXTENSION migrate; CREATE SCHEMA s;
		CREATE TABLE s.t (id integer PRIMARY KEY, full_name text);
		CREATE TABLE s.u (id integer PRIMARY KEY, full_name text)});
}
$publisher->safe_psql('everything', qq{
	INSERT INTO s.t VALUES (1, 'Ada Lovelace'), (2, 'Alan Turing');
	INSERT INTO s.u SELECT * FROM s.t;
	SELECT migrate.define('t', 's.t', $split);
	SELECT migrate.define('only there', 's.u', $split);
	CREATE PUBLICATION everything FOR ALL TABLES;
	CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA s});
$subscriber->safe_psql('everything', qq{
	SELECT migrate.define('only here', 's.u', add => 'n integer', up => 'n = length(full_name)');
	SELECT migrate.define('t', 's.t', $split);
	SELECT migrate.expand('t')});
my $own = q{SELECT (SELECT string_agg(name || ' ' || state, ',' ORDER BY name) FROM migrate.migration),
	(SELECT count(*) FROM migrate.managed), (SELECT count(*) FROM migrate.backfill), (SELECT count(*) FROM migrate.event)};
my $kept = $subscriber->safe_psql('everything', $own);
$subscriber->safe_psql('everything', sprintf(q{CREATE SUBSCRIPTION everything CONNECTION '%s' PUBLICATION everything},
		$publisher->connstr . ' dbname=everything'));
$subscriber->wait_for_subscription_sync($publisher, 'everything', 'everything');
is($subscriber->safe_psql('everything', $own), $kept,
	q{the initial copy of all tables leaves the subscriber's migrations alone});
$publisher->safe_psql('everything', q{SELECT migrate.expand('t'); CALL migrate.run('s.t');
	SELECT migrate.deprecate('t'); INSERT INTO s.t (id, first_name, last_name) VALUES (3, 'Grace', 'Hopper')});
catch_up('everything');
is($subscriber->safe_psql('everything', $own), $kept, q{so do the changes of the publisher's});
is($subscriber->safe_psql('everything', sprintf($read, 's.t')),
	"1|Ada Lovelace|Ada|Lovelace\n2|Alan Turing|Alan|Turing\n3|Grace Hopper|Grace|Hopper",
	'while the rows of its tables arrive');
$publisher->safe_psql('everything', q{SELECT migrate.rollback('t'); INSERT INTO s.t VALUES (4, 'Kurt Goedel')});
catch_up('everything');
is($subscriber->safe_psql('everything', sprintf($read, 's.t') . ' OFFSET 3'), '4|Kurt Goedel|Kurt|Goedel',
	'after a rollback there the new form is computed here');
$subscriber->safe_psql('everything', q{SELECT migrate.rollback('t');
	ALTER SUBSCRIPTION everything SET PUBLICATION of_schema});
$publisher->safe_psql('everything', q{INSERT INTO s.t VALUES (5, 'Emmy Noether')});
catch_up('everything');
is($subscriber->safe_psql('everything', q{SELECT full_name FROM s.t WHERE id = 5}), 'Emmy Noether',
	'a publication of a schema takes the place of that of all tables');
$subscriber->safe_psql('everything', q{DROP SUBSCRIPTION everything});

# -- A new type under the same name: what a contracted publisher sends by that name
my $exact = q{add => 'price bigint', up => 'price = old.price * 1000', down => 'price = new.price / 1000'};
on_both(qq{CREATE TABLE items (id integer PRIMARY KEY, price integer);
	SELECT migrate.define('exact', 'items', $exact)});
publish(q{INSERT INTO items VALUES (1, 1250), (2, 99); CREATE PUBLICATION pub_items FOR TABLE items});
subscribe(q{SELECT migrate.expand('exact')});
subscription('items', 'pub_items');
publish(q{SELECT migrate.expand('exact'); CALL migrate.run('items'); UPDATE items SET price = 1300 WHERE id = 1;
	INSERT INTO items (id, price_new) VALUES (3, 7000)});
my $both_prices = 'SELECT id, price, price_new FROM items ORDER BY id';
is(arrived($both_prices, 'items'), "1|1300|1300000\n2|99|99000\n3|7|7000", 'both types arrive');
subscribe(q{CALL migrate.run('items')});
my $contract = q{SELECT migrate.contract('%s', wait => '60 s', skip => '{window,usage}')};
for my $change (q{UPDATE items SET price = 20000 WHERE id = 2}, q{INSERT INTO items (id, price) VALUES (4, 5000)})
{
	my $offset = -s $subscriber->logfile;
	let_slots_advance('items') if $change =~ /UPDATE/;
	publish(sprintf($contract, 'exact') . ";\n$change");
	$subscriber->wait_for_log(qr/column "price" of a replicated row of relation "items" may be of either type/, $offset);
	is(subscribe($both_prices), "1|1300|1300000\n2|99|99000\n3|7|7000", 'a value is not stored as one of another type');
	last if $change =~ /INSERT/;
	subscribe(q{ALTER SUBSCRIPTION items DISABLE});
	subscribe(sprintf(q{ALTER SUBSCRIPTION items SKIP (lsn = '%s')},
			(log_from($offset) =~ /transaction \d+, finished at ([0-9A-F\/]+)/)[0]));
	subscribe(q{ALTER SUBSCRIPTION items ENABLE});
}
subscribe(sprintf($contract, 'exact'));
is(arrived('SELECT id, price FROM items ORDER BY id', 'items'), "1|1300000\n2|99000\n3|7000\n4|5000",
	'and is stored when the subscriber has followed');
subscribe('DROP SUBSCRIPTION items');

# -- Rows that cannot be converted
my $number = q{add => 'number integer CHECK (number < 1000)', up => 'number = value::integer', down => 'value = number::text'};
for my $table (qw(strict lenient checked))
{
	on_both("CREATE TABLE $table (id integer PRIMARY KEY, value text)");
	my $on_error = $table eq 'lenient' ? ", on_error => 'defer'" : '';
	subscribe("SELECT migrate.define('$table', '$table', $number$on_error)");
	subscribe("SELECT migrate.expand('$table')");
	publish("CREATE PUBLICATION pub_$table FOR TABLE $table");
	subscription($table, "pub_$table", 'disable_on_error = ' . ($table eq 'checked' ? 'true' : 'false'));
}
my $offset = -s $subscriber->logfile;
publish(q{INSERT INTO strict VALUES (1, '1')});
publish(q{INSERT INTO strict VALUES (2, 'two')});
publish(q{INSERT INTO strict VALUES (3, '3');
	INSERT INTO lenient VALUES (1, '1'); INSERT INTO lenient VALUES (2, 'two'); INSERT INTO lenient VALUES (3, '3')});
is(arrived('SELECT id, value, row_version FROM lenient ORDER BY id', 'lenient'), "1|1|2\n2|two|1\n3|3|2",
	'a row that fails is deferred where that was said');
is(subscribe(q{SELECT row_key, message FROM migrate.failures WHERE relation = 'lenient'::regclass}),
	'{"id": 2}|invalid input syntax for type integer: "two"', 'and recorded');
publish(q{UPDATE lenient SET value = '2' WHERE id = 2});
is(arrived('SELECT id, value, number FROM lenient ORDER BY id', 'lenient')
	. subscribe(q{SELECT count(*) FROM migrate.failures WHERE relation = 'lenient'::regclass}),
	"1|1|1\n2|2|2\n3|3|30", 'until the publisher mends it');

$subscriber->wait_for_log(qr/finished at/, $offset);
my $message = log_from($offset);
like($message, qr/ERROR:  invalid input syntax for type integer: "two"/, 'where not, the error is that of up');
like($message, qr/CONTEXT:  "?up"? of migration "strict"/, 'it names the migration');
like($message, qr/conversion of row \{"id": ?2\} of relation "strict"/, 'and the row');
like($message, qr/HINT:  Roll migration "strict" back here and define it anew, .* or pass the transaction over/, 'and what to do');
like($message, qr/message type "INSERT" for replication target relation "public.strict"/, 'beside what the server says');
subscribe('ALTER SUBSCRIPTION strict DISABLE');
subscribe(sprintf(q{ALTER SUBSCRIPTION strict SKIP (lsn = '%s')},
		($message =~ /public.strict" in transaction \d+, finished at ([0-9A-F\/]+)/)[0]));
subscribe('ALTER SUBSCRIPTION strict ENABLE');
is(arrived('SELECT id, value, number FROM strict ORDER BY id', 'strict'), "1|1|1\n3|3|3",
	'SKIP passes the transaction over, and no other');

publish(q{INSERT INTO checked VALUES (1, '1'), (2, '2000')});
is(arrived('SELECT id, number FROM checked ORDER BY id', 'checked'), "1|1\n2|2000",
	'a constraint of the new form excuses what is sent in the old one');
publish(q{INSERT INTO checked VALUES (3, 'three')});
ok($subscriber->poll_query_until('postgres',
		q{SELECT NOT subenabled FROM pg_subscription WHERE subname = 'checked'}),
	'disable_on_error disables the subscription');
subscribe(q{SELECT migrate.rollback('checked'); ALTER SUBSCRIPTION checked ENABLE});
is(arrived('SELECT id, value FROM checked ORDER BY id', 'checked'), "1|1\n2|2000\n3|three",
	'a rollback lets the rows in');

subscribe("DROP SUBSCRIPTION $_") for qw(strict lenient checked);

# -- What each side can say before a contract
on_both(qq{CREATE TABLE noted (id integer PRIMARY KEY, full_name text);
	SELECT migrate.define('noted', 'noted', $split); SELECT migrate.expand('noted'); CALL migrate.run('noted')});
publish('CREATE PUBLICATION pub_noted FOR TABLE noted');
subscription('noted', 'pub_noted');
my $gate = q{SELECT ok, detail, hint FROM migrate.check_contract('noted') WHERE check_name = 'objects'};
is(publish($gate), 't|Rows are sent to the subscribers of publication "pub_noted".|Contract here before it is done there: a subscriber that has dropped what is sent stops.',
	'check_contract knows of publications');
is(subscribe($gate), 't|Rows come by subscription "noted".|Contract on the publisher first, and let the subscription catch up with that.',
	'and of subscriptions');
publish('ALTER PUBLICATION pub_noted SET TABLE noted (id, full_name)');
like(publish($gate), qr/^f\|What would be dropped is in use by: publication of table noted in publication pub_noted\./,
	'a column list that has the old form is in the way');
publish('ALTER PUBLICATION pub_noted SET TABLE noted');
$offset = -s $subscriber->logfile;
subscribe(sprintf($contract, 'noted'));
publish(q{INSERT INTO noted (id, full_name) VALUES (1, 'Ada Lovelace')});
$subscriber->wait_for_log(qr/is missing replicated column: "full_name"/, $offset);
pass('a subscriber that contracts first stops');
subscribe('ALTER TABLE noted ADD full_name text');
publish('CHECKPOINT');
publish(sprintf($contract, 'noted') . q{; INSERT INTO noted (id, first_name, last_name) VALUES (2, 'Alan', 'Turing')});
is(arrived('SELECT id, first_name, last_name FROM noted ORDER BY id', 'noted'), "1|Ada|Lovelace\n2|Alan|Turing",
	'and goes on once it has the column again');

subscribe('DROP SUBSCRIPTION noted');

# -- Warnings of what would go wrong unseen
on_both(q{CREATE TABLE keyless (id integer, full_name text)});
publish('ALTER TABLE keyless REPLICA IDENTITY FULL; CREATE PUBLICATION pub_keyless FOR TABLE keyless');
subscription('keyless', 'pub_keyless');
my $stderr;
on_both("SELECT migrate.define('keyless', 'keyless', $split)");
$subscriber->psql('postgres', q{SELECT migrate.expand('keyless')}, stderr => \$stderr);
like($stderr, qr/WARNING:  table "keyless" has neither a primary key nor a replica identity by which subscription "keyless" could find its rows/,
	'expand warns where changes would not find their rows');
publish(q{INSERT INTO keyless VALUES (1, 'Ada Lovelace'); UPDATE keyless SET full_name = 'Ada Byron'});
is(arrived(sprintf($read, 'keyless'), 'keyless'), '1|Ada Lovelace|Ada|Lovelace', 'as they do not');
subscribe('ALTER TABLE keyless ADD PRIMARY KEY (id)');
publish(q{UPDATE keyless SET full_name = 'Augusta Byron'});
is(arrived(sprintf($read, 'keyless'), 'keyless'), '1|Augusta Byron|Augusta|Byron', 'but do with a key on the subscriber alone');
publish(q{SELECT migrate.expand('keyless'); ALTER PUBLICATION pub_keyless SET TABLE keyless (id, full_name, first_name, last_name, row_version)});
$publisher->psql('postgres', q{SELECT migrate.define('more', 'keyless', add => 'n integer', up => 'n = length(full_name)');
	SELECT migrate.expand('more')}, stderr => \$stderr);
like($stderr, qr/WARNING:  publication "pub_keyless" sends column "row_version" of table "keyless", but not all that was added with its versions/,
	'and where a column list vouches for what it does not send');
subscribe('DROP SUBSCRIPTION keyless');

# -- Where a subscriber could not tell which rows are converted, they are not, as no UPDATE would be
on_both(q{CREATE TABLE nameless (id integer, full_name text)});
publish(q{INSERT INTO nameless VALUES (1, 'Ada Lovelace'); CREATE PUBLICATION pub_nameless FOR TABLE nameless});
subscription('nameless', 'pub_nameless');
on_both("SELECT migrate.define('nameless', 'nameless', $split); SELECT migrate.expand('nameless')");
$publisher->psql('postgres', q{CALL migrate.run('nameless')}, stderr => \$stderr);
like($stderr, qr/ERROR:  cannot update table "nameless" because it does not have a replica identity and publishes updates/,
	'the backfill says what is missing');
publish(q{INSERT INTO nameless VALUES (2, 'Alan Turing')});
is(arrived(sprintf($read, 'nameless'), 'nameless'), "1|Ada Lovelace|Ada|Lovelace\n2|Alan Turing|Alan|Turing",
	'and what is inserted is replicated still');
publish(q{ALTER TABLE nameless REPLICA IDENTITY FULL; CALL migrate.run('nameless')});
is(publish(q{SELECT state FROM migrate.status WHERE name = 'nameless'}), 'complete', 'with an identity it goes on');
subscribe('DROP SUBSCRIPTION nameless');

# -- The initial copy, and a refresh, in the midst of a backfill on either side
for my $table (qw(midway refreshed))
{
	on_both(qq{CREATE TABLE $table (id integer PRIMARY KEY, full_name text);
		SELECT migrate.define('$table', '$table', $split)});
	publish(qq{INSERT INTO $table SELECT i, 'First' || i || ' Last' || i FROM generate_series(1, 60) i;
		SELECT migrate.expand('$table'); CALL migrate.run('$table', 20)});
	subscribe(qq{INSERT INTO $table SELECT -i, 'Here' || i || ' Own' || i FROM generate_series(1, 60) i;
		SELECT migrate.expand('$table'); CALL migrate.run('$table', 20)});
}
isnt(subscribe('SELECT count(*) FROM midway WHERE row_version < 2'), '0', 'rows are stale on the subscriber');
isnt(publish('SELECT count(*) FROM midway WHERE row_version < 2'), '0', 'and on the publisher');
publish('CREATE PUBLICATION pub_midway FOR TABLE midway');
subscription('midway', 'pub_midway');
publish(q{ALTER PUBLICATION pub_midway ADD TABLE refreshed; UPDATE midway SET full_name = 'Old Form' WHERE id > 50;
	UPDATE refreshed SET first_name = 'New' WHERE id > 50});
subscribe('ALTER SUBSCRIPTION midway REFRESH PUBLICATION');
$subscriber->wait_for_subscription_sync($publisher, 'midway');
for my $table (qw(midway refreshed))
{
	publish(qq{CALL migrate.run('$table'); UPDATE $table SET last_name = 'Then' WHERE id = 1});
	is(arrived(sprintf($read, "$table WHERE id > 0"), 'midway'), publish(sprintf($read, $table)),
		"$table: copied in the midst of two backfills, both forms are those of the publisher");
	subscribe("CALL migrate.run('$table')");
	is(subscribe(sprintf($read, "$table WHERE id > 0")), publish(sprintf($read, $table)), "$table: so they are when all is done");
	is(subscribe(qq{SELECT count(*) FROM $table WHERE id < 0 AND (full_name, first_name, last_name)
			= ('Here' || -id || ' Own' || -id, 'Here' || -id, 'Own' || -id)}), '60', "$table: the subscriber's own rows are converted");
}
publish('TRUNCATE midway');
is(arrived('SELECT count(*) FROM midway', 'midway'), '0', 'a TRUNCATE arrives');

subscribe('DROP SUBSCRIPTION midway');

# -- Large transactions while they run, prepared ones, several apply workers
my %mode = (on => 'streaming = on', two_phase => 'streaming = on, two_phase = true');
$mode{parallel} = 'streaming = parallel' if $version >= 16;
for my $mode (sort keys %mode)
{
	my $table = "in_mode_$mode";
	on_both(qq{CREATE TABLE $table (id integer PRIMARY KEY, full_name text);
		SELECT migrate.define('$table', '$table', $split)});
	publish("CREATE PUBLICATION pub_$table FOR TABLE $table;
		INSERT INTO $table SELECT i, 'First' || i || ' Last' || i FROM generate_series(1, 500) i");
	subscribe("SELECT migrate.expand('$table')");
	subscription($table, "pub_$table", $mode{$mode});
	my $end = $mode eq 'two_phase' ? "PREPARE TRANSACTION 't$mode'" : 'COMMIT';
	for my $round (1, 2)
	{
		my $new = $round == 1 ? '' : "UPDATE $table SET first_name = 'New' || id WHERE id % 3 = 0;";
		publish(qq{BEGIN; INSERT INTO $table (id, full_name) SELECT $round * 10000 + i, 'Old' || i || ' Form' || i FROM generate_series(1, 2000) i;
			UPDATE $table SET full_name = 'Changed' || id || ' Old' || id WHERE id % 2 = 0; $new
			SAVEPOINT a; DELETE FROM $table; ROLLBACK TO a; $end});
		publish("COMMIT PREPARED 't$mode'") if $mode eq 'two_phase';
		catch_up($table);
		my $of_old = qq{SELECT id, full_name, split_part(full_name, ' ', 1), split_part(full_name, ' ', 2) FROM $table ORDER BY id};
		is(subscribe(sprintf($read, $table)), publish($of_old), "$mode{$mode}: both forms, round $round");
		publish("SELECT migrate.expand('$table'); CALL migrate.run('$table')") if $round == 1;
	}
	subscribe("DROP SUBSCRIPTION $table");
}

# -- The publisher's own conversions can be left out
if ($version >= 16)
{
	on_both(q{CREATE TABLE left_out (id integer PRIMARY KEY, body text, note text);
		ALTER TABLE left_out ALTER body SET STORAGE EXTERNAL});
	on_both("SELECT migrate.define('left_out', 'left_out', $wide)");
	publish(q{INSERT INTO left_out SELECT i, repeat(chr(96 + i), 5000), 'n' FROM generate_series(1, 6) i;
		CREATE PUBLICATION pub_left_out FOR TABLE left_out});
	subscription('left_out', 'pub_left_out', 'origin = none');
	on_both(q{SELECT migrate.expand('left_out')});
	publish(q{ALTER TABLE left_out ALTER upper_text SET STORAGE EXTERNAL; CALL migrate.run('left_out')});
	is(arrived('SELECT count(*) FROM left_out WHERE row_version < 2', 'left_out'), '6', 'with origin = none conversions are not sent');
	publish(q{UPDATE left_out SET note = 'touched' WHERE id <= 2});
	my $short = q{SELECT id, note, left(body, 1), left(upper_text, 1), length(upper_text) FROM left_out ORDER BY id};
	is(arrived($short, 'left_out'), publish($short), 'what was converted there and not sent is converted here');
	is(subscribe('SELECT count(*) FROM left_out WHERE row_version < 2'), '4', 'in the rows that came');
	subscribe(q{CALL migrate.run('left_out')});
	is(subscribe($short), publish($short), 'then in the others');
}

# -- What a consumer of changes sees
publish(qq{CREATE TABLE decoded (id integer PRIMARY KEY, full_name text);
	INSERT INTO decoded VALUES (1, 'Ada Lovelace'), (2, 'Alan Turing');
	SELECT migrate.define('decoded', 'decoded', $split);
	SELECT pg_create_logical_replication_slot('cdc', 'test_decoding');
	SELECT migrate.expand('decoded');
	UPDATE decoded SET full_name = 'Ada Byron' WHERE id = 1;
	CALL migrate.run('decoded')});
is(publish(q{SELECT data FROM pg_logical_slot_get_changes('cdc', NULL, NULL, 'include-xids', '0')
	WHERE data LIKE 'table public.decoded%'}),
	q{table public.decoded: UPDATE: id[integer]:1 full_name[text]:'Ada Byron' row_version[integer]:2 first_name[text]:'Ada' last_name[text]:'Byron'} . "\n"
	. q{table public.decoded: UPDATE: id[integer]:2 full_name[text]:'Alan Turing' row_version[integer]:2 first_name[text]:'Alan' last_name[text]:'Turing'},
	'a consumer sees rows as they are stored, and conversions as updates');
publish(q{UPDATE decoded SET first_name = 'Augusta' WHERE id = 1});
publish(qq{SELECT migrate.rollback('decoded'); INSERT INTO decoded SELECT 3, 'Kurt Goedel';
	SELECT migrate.expand('decoded'); CALL migrate.run('decoded')});
my $decoded = q{SELECT count(*) FROM pg_logical_slot_get_changes('cdc', NULL, NULL, 'only-local', '1')
	WHERE data LIKE 'table public.decoded%'};
is(publish($decoded), '2', 'and can leave conversions out by their origin');

$subscriber->stop;
$publisher->stop;
done_testing();
