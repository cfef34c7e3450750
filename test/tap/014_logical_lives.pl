# A migration's life on a publisher and on its subscriber, in each order that is worth
# naming, with both forms written on the publisher at each point of it: on either side
# each form that is there reads as it should.
#
# What should be there is kept by a model, which knows but of a first and a last name. At
# the end both forms are written by several clients at once, with both sides converting
# their rows (MIGRATE_LOGICAL_TRANSACTIONS: how many each client runs), and are compared.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use IPC::Run;
use PostgreSQL::Test::Utils;
use PublisherAndSubscriber
  qw($publisher $subscriber start_both publish subscribe subscription catch_up
  let_slots_advance server_version);
use Test::More;

start_both();

my $forms = q{add => 'first_name text, last_name text',
	up => $$first_name = split_part(full_name, ' ', 1), last_name = split_part(full_name, ' ', 2)$$,
	down => $$full_name = first_name || ' ' || last_name$$, remove => '{full_name}'};
my $columns = '(id integer PRIMARY KEY, full_name text, note text)';
my $parts = '(id integer PRIMARY KEY, full_name text, note text) PARTITION BY RANGE (id)';

# -- The orders: on which side what is done, a step for each column. "p" is the publisher,
# "s" the subscriber; "list" has the publication name the columns of the old form alone,
# "all" the others as well. There are 40 rows, so that "some" is in the midst of them.
my $in_step = ['s expand', 'p expand', 's some', 'p some', 'p run', 's run', 'p contract', 's contract'];
my %order = (
	subscriber_first => ['s expand', 's some', 's run', 'p expand', 'p some', 'p run', 'p contract', 's contract'],
	publisher_first => ['p list', 'p expand', 'p some', 's expand', 'p all', 's some', 'p run', 's run', 'p contract', 's contract'],
	in_turn => $in_step,
	both_roll_back => ['s expand', 'p expand', 'p some', 's some', 'p rollback', 's rollback'],
	complete_and_back => ['s expand', 'p expand', 'p run', 's run', 'p rollback', 's rollback'],
	subscriber_alone => ['s expand', 's some', '', 's run', 's rollback'],
	subscriber_contracts_alone => ['s expand', 's run', 'p expand', 'p all_new', 's contract', 'p run', 'p contract'],
	publisher_alone => ['p list', 'p expand', 'p some', 'p run', 'p rollback'],
	twice => ['s expand', 'p expand', 'p rollback', 's rollback', 's expand', 'p expand', 'p run', 's run', 'p contract', 's contract'],
	identity_full => $in_step,
	identity_old => ['s expand', 'p expand', 's some', 'p some', 'p run', 's run'],
	identity_note => $in_step,
	parts_by_root => $in_step,
	parts_by_parts => $in_step,
	parts_here => $in_step,
	parts_there => $in_step,
);
my @tables = sort keys %order;

# The columns of a partition may be others than its table's. Servers 16 and 17 look a partition's
# key up by the columns of the table where they assert that they found an index for it.
my $key_first = int(server_version()) =~ /^1[67]$/ && publish('SHOW debug_assertions') eq 'on';
my $of_part_2 = $key_first ? 'id integer NOT NULL, note text' : 'note text, id integer NOT NULL';

sub create
{
	my ($table, $is_partitioned) = @_;
	return "CREATE TABLE $table $columns;\n" unless $is_partitioned;
	return "CREATE TABLE $table $parts;\n"
	  . "CREATE TABLE ${table}_1 PARTITION OF $table FOR VALUES FROM (0) TO (20);\n"
	  . "CREATE TABLE ${table}_2 ($of_part_2, gone text, full_name text);\n"
	  . "ALTER TABLE ${table}_2 DROP COLUMN gone;\n"
	  . "ALTER TABLE $table ATTACH PARTITION ${table}_2 FOR VALUES FROM (20) TO (100000);\n";
}

for my $side ('p', 's')
{
	my $sql = '';
	for my $table (@tables)
	{
		my $has_parts = $table =~ /^parts_by/ || $table eq ($side eq 'p' ? 'parts_there' : 'parts_here');
		$sql .= create($table, $has_parts);
		$sql .= "SELECT migrate.define('$table', '$table', $forms);\n";
	}
	$sql .= "ALTER TABLE identity_full REPLICA IDENTITY FULL;\n";
	for my $column (qw(old note))
	{
		my $name = $column eq 'old' ? 'full_name' : 'note';
		$sql .= "ALTER TABLE identity_$column ALTER $name SET NOT NULL;
			CREATE UNIQUE INDEX ON identity_$column (id, $name);
			ALTER TABLE identity_$column REPLICA IDENTITY USING INDEX identity_${column}_id_${name}_idx;\n";
	}
	$side eq 'p' ? publish($sql) : subscribe($sql);
}

# -- The model
my %rows = map { $_ => {} } @tables;
my $next = 41;

sub initial_rows
{
	my ($table) = @_;
	$rows{$table}{$_} = ["First$_", "Last$_", "note $_"] for (1 .. 40);
	return "INSERT INTO $table (id, full_name, note)
		SELECT i, 'First' || i || ' Last' || i, 'note ' || i FROM generate_series(1, 40) i;\n";
}

sub lines
{
	my ($table, $line) = @_;
	return join("\n", map { join('|', $_, $line->(@{ $rows{$table}{$_} })) }
		  sort { $a <=> $b } keys %{ $rows{$table} });
}

my %has;
sub note_columns
{
	for my $side ('p', 's')
	{
		my $sql = q{SELECT relname || '.' || attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
			WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped};
		$has{$side} = { map { $_ => 1 } split(/\n/, $side eq 'p' ? publish($sql) : subscribe($sql)) };
	}
	return;
}

# Rows that are stale, and others, are written in each form that the publisher has.
sub traffic
{
	my ($table, $step) = @_;
	my $rows = $rows{$table};
	my $sql = '';
	my @ids = sort { $a <=> $b } keys %$rows;
	my $word = "S$step";
	my ($touched, $changed, $moved, $deleted, $new_changed) = @ids[1, 5, 9, 13, 17];

	$rows->{$touched}[2] = "touched $word";
	$sql .= "UPDATE $table SET note = 'touched $word' WHERE id = $touched;\n";
	if ($has{p}{"$table.full_name"})
	{
		my $id = $next++;
		$rows->{$id} = ["Old$word", "Form$id", 'n'];
		$sql .= "INSERT INTO $table (id, full_name, note) VALUES ($id, 'Old$word Form$id', 'n');\n";
		@{ $rows->{$changed} }[0, 1] = ("Changed$word", 'Old');
		$sql .= "UPDATE $table SET full_name = 'Changed$word Old' WHERE id = $changed;\n";
	}
	if ($has{p}{"$table.first_name"})
	{
		my $id = $next++;
		$rows->{$id} = ["New$word", "Form$id", 'n'];
		$sql .= "INSERT INTO $table (id, first_name, last_name, note) VALUES ($id, 'New$word', 'Form$id', 'n');\n";
		$rows->{$new_changed}[0] = "Changed$word";
		$sql .= "UPDATE $table SET first_name = 'Changed$word' WHERE id = $new_changed;\n";
	}
	my $id = $next++;
	$rows->{$id} = delete $rows->{$moved};
	$sql .= "UPDATE $table SET id = $id WHERE id = $moved;\n";
	delete $rows->{$deleted};
	$sql .= "DELETE FROM $table WHERE id = $deleted;\n";
	return $sql;
}

# What each table reads as on one side, in each of its forms: asked all at once.
my %read = (
	'full_name' => [sub { ("$_[0] $_[1]", $_[2]) }, 'full_name, note'],
	'first_name' => [sub { @_ }, 'first_name, last_name, note'],
);

sub are_as_they_should
{
	my ($side, $what) = @_;
	my $where = $side eq 'p' ? 'publisher' : 'subscriber';
	my @cases = grep { $has{$side}{ join('.', @$_) } }
	  map { my $table = $_; map { [$table, $_] } sort keys %read } sort keys %$what;
	my $sql = join('', map { "\\echo == $_->[0].$_->[1]\nSELECT id, $read{$_->[1]}[1] FROM $_->[0] ORDER BY id;\n" } @cases);
	my $answer = $side eq 'p' ? publish($sql) : subscribe($sql);
	my %got = map { split(/\n/, $_, 2) } grep { $_ ne '' } split(/^== /m, $answer);

	for my $case (@cases)
	{
		my ($table, $form) = @$case;
		my $got = $got{"$table.$form"} // '';
		chomp $got;
		is($got, lines($table, $read{$form}[0]), "$table, after $what->{$table}: $form on the $where");
	}
	return;
}

# -- What a step does
sub statement
{
	my ($table, $action) = @_;
	return "CALL migrate.run('$table', 15);\n" if $action eq 'some';
	return "CALL migrate.run('$table');\n" if $action eq 'run';
	return "SELECT migrate.contract('$table', wait => '60 s', skip => '{window,usage}');\n" if $action eq 'contract';
	return "ALTER PUBLICATION pub_$table SET TABLE $table (id, full_name, note);\n" if $action eq 'list';
	return "ALTER PUBLICATION pub_$table SET TABLE $table (id, first_name, last_name, note);\n" if $action eq 'all_new';
	return "ALTER PUBLICATION pub_$table SET TABLE $table;\n" if $action eq 'all';
	return "SELECT migrate.$action('$table');\n";
}

publish(join('', map { initial_rows($_) . "CREATE PUBLICATION pub_$_ FOR TABLE $_"
				. ($_ eq 'parts_by_parts' || $_ eq 'parts_here' ? ";\n" : " WITH (publish_via_partition_root);\n") } @tables));
subscription('sub', join(', ', map { "pub_$_" } @tables));
note_columns();

my $longest = (sort { $b <=> $a } map { scalar @$_ } values %order)[0];
for my $step (0 .. $longest - 1)
{
	my %sql = (p => '', s => '');
	my %what;
	for my $table (@tables)
	{
		my ($side, $action) = split(/ /, $order{$table}[$step] // '');
		$what{$table} = "$step: $order{$table}[$step]" if defined $order{$table}[$step];
		$sql{$side} .= statement($table, $action) if defined $action;
	}
	let_slots_advance('sub') if $sql{p} =~ /contract/;
	publish($sql{p}) if $sql{p};
	subscribe($sql{s}) if $sql{s};
	note_columns();
	publish(join('', map { traffic($_, $step) } sort keys %what));
	catch_up('sub');
	are_as_they_should($_, \%what) for ('p', 's');
}

# -- Traffic of both forms, of the old one alone where only the subscriber knows the migration
my $transactions = $ENV{MIGRATE_LOGICAL_TRANSACTIONS} // 150;
# (Of two that delete a row at once, the second deletes nothing and meets the row that the first inserts.)
my $where = 'WHERE id = :id';
my %script = (
	busy => [
		"UPDATE busy SET full_name = 'Old' || :n || ' Form' || :id $where;",
		"UPDATE busy SET first_name = 'New' || :n $where;",
		"UPDATE busy SET last_name = 'Last' || :n, note = 'both' $where;",
		"UPDATE busy SET note = 'n' || :n $where;",
		"BEGIN; DELETE FROM busy $where; INSERT INTO busy (id, first_name, last_name) VALUES (:id, 'Again' || :n, 'New') ON CONFLICT DO NOTHING; END;",
		"BEGIN; DELETE FROM busy $where; INSERT INTO busy (id, full_name) VALUES (:id, 'Again' || :n || ' Old Form') ON CONFLICT DO NOTHING; END;",
	],
	busy_here => [
		"UPDATE busy_here SET full_name = 'Old' || :n || ' Form' || :id $where;",
		"UPDATE busy_here SET note = 'n' || :n $where;",
		"BEGIN; DELETE FROM busy_here $where; INSERT INTO busy_here VALUES (:id, 'Again' || :n || ' Old') ON CONFLICT DO NOTHING; END;",
	]);
my @scripts;
for my $table (sort keys %script)
{
	my $create = "CREATE TABLE $table $columns; SELECT migrate.define('$table', '$table', $forms);";
	subscribe($create);
	publish($create . "INSERT INTO $table SELECT i, 'First' || i || ' Last' || i FROM generate_series(1, 2000) i;
		CREATE PUBLICATION pub_$table FOR TABLE $table");
	my $n = 0;
	for my $statement (@{ $script{$table} })
	{
		my $file = $publisher->basedir . "/$table" . $n++ . '.sql';
		PostgreSQL::Test::Utils::append_to_file($file,
			"\\set id random(1, 2000)\n\\set n random(1, 1000000)\n$statement\n");
		push @scripts, '-f', $file;
	}
}
subscription('busy', 'pub_busy, pub_busy_here');
subscribe("SELECT migrate.expand('busy'); SELECT migrate.expand('busy_here')");
publish("SELECT migrate.expand('busy')");
my ($out, $err) = ('', '');
my $bench = IPC::Run::start(['pgbench', '-n', '-c', 4, '-t', $transactions, '-h', $publisher->host,
		'-p', $publisher->port, @scripts, 'postgres'], '>', \$out, '2>', \$err);
publish("CALL migrate.run('busy', 700)");
subscribe("CALL migrate.run('busy', 900); CALL migrate.run('busy_here', 700)");
publish("CALL migrate.run('busy')");
ok($bench->finish, 'clients of both forms see no error') or diag($err);
catch_up('busy');
subscribe("CALL migrate.run('busy'); CALL migrate.run('busy_here')");
my $both = 'SELECT id, full_name, first_name, last_name, note FROM busy ORDER BY id';
is(subscribe($both), publish($both), 'both forms are the same on both sides after their traffic');
is(publish(q{SELECT count(*) FROM busy WHERE first_name || ' ' || last_name <> full_name AND split_part(full_name, ' ', 3) = ''}),
	'0', 'and agree');
is(subscribe('SELECT id, full_name, first_name, last_name, note FROM busy_here ORDER BY id'),
	publish(q{SELECT id, full_name, split_part(full_name, ' ', 1), split_part(full_name, ' ', 2), note FROM busy_here ORDER BY id}),
	'the new form is that of the old one where the publisher has no other');

$subscriber->stop;
$publisher->stop;
done_testing();
