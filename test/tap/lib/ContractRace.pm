# A race: a table with a migration, and some who do things to it at the same time,
# each in a session of its own; then a look at whether what came of it is right.
#
# Whatever the order, either the migration is contracted, all of the old form is gone
# and every row is there and converted; or it is not, and everything works as before.
# No write that was reported is lost, no snapshot reads what was never there, nobody sees an
# error other than those that his statement may raise, and no object is dropped
# that somebody has made and not dropped himself.
#
# The table has rows 1 to 8. Actor k writes row k and rows from 100 * k on, so the last
# value of each is known; rows 7 and 8 nobody writes. The logical value of a row is
# that of column a; column b is 1000 more.
package ContractRace;

use strict;
use warnings;

use IO::Select;
use IPC::Open2;

my $untouched = 70 + 80;

sub pick { return $_[ int rand @_ ]; }
sub chance { return rand() < $_[0]; }
sub sleep_some { return sprintf 'SELECT FROM pg_sleep(%.4f);', rand() * rand() * $_[0] / 1000; }

# ---- a session ----

sub open_session
{
	my ($connection) = @_;
	my ($out, $in);
	my $pid = open2($out, $in, 'sh', '-c', 'exec psql -XAt -d "$0" 2>&1', $connection);

	$in->autoflush(1);
	print {$in} <<'PSQL';
\set VERBOSITY sqlstate
SET client_min_messages = warning;
SET migrate.lock_timeout = '15ms';
SET migrate.lock_attempts = 6;
SET statement_timeout = '60s';
PSQL
	return { pid => $pid, in => $in, out => $out, number => 0, text => '' };
}

sub send_to
{
	my ($session, @lines) = @_;
	my $marker = 'done ' . ++$session->{number};

	$session->{text} = '';
	print { $session->{in} } map("$_\n", @lines), "\\echo $marker\n";
	return;
}

sub is_done { return $_[0]{text} =~ /^done $_[0]{number}\n/m; }

# Wait for all of them; false where one does not come back.
sub hear_all
{
	my (@sessions) = @_;
	my %waiting = map { fileno($_->{out}) => $_ } @sessions;
	my $select = IO::Select->new(map { $_->{out} } @sessions);

	while (%waiting)
	{
		my @ready = $select->can_read(120) or return 0;
		foreach my $handle (@ready)
		{
			my $session = $waiting{ fileno $handle };
			sysread($handle, $session->{text}, 65536, length $session->{text}) or return 0;
			next unless is_done($session);
			$select->remove($handle);
			delete $waiting{ fileno $handle };
		}
	}
	return 1;
}

sub ask
{
	my ($session, @lines) = @_;
	send_to($session, @lines);
	hear_all($session) or die "no answer to: @lines\n";
	return $session->{text} =~ s/^done $session->{number}\n//mr;
}

# ---- who takes part ----

sub value { my ($race, $n) = @_; return $race->{kind} eq 'integer' ? $n : "'$n'"; }

sub an_old_write
{
	my ($race, $k, $mark) = @_;
	my $n = 1 + int rand 900;
	my $a = value($race, $n);
	my $id = chance(0.4) ? 100 * $k + $race->{inserted}{$k}++ : undef;

	return "INSERT INTO $race->{table} (id, a) VALUES ($id, $a) RETURNING '$mark', id, $n;" if defined $id;
	return "UPDATE $race->{table} SET a = $a WHERE id = $k RETURNING '$mark', id, $n;";
}

sub a_new_write
{
	my ($race, $k, $mark) = @_;
	my $n = 1 + int rand 900;
	my $b = $n + 1000;
	my $id = chance(0.4) ? 100 * $k + $race->{inserted}{$k}++ : undef;

	return "INSERT INTO $race->{table} (id, b) VALUES ($id, $b) RETURNING '$mark', id, $n;" if defined $id;
	return "UPDATE $race->{table} SET b = $b WHERE id = $k RETURNING '$mark', id, $n;";
}

sub a_bad_write
{
	my ($race, $k, $mark) = @_;
	return an_old_write($race, $k, $mark) if $race->{kind} eq 'integer';
	return "UPDATE $race->{table} SET a = 'bad' WHERE id = $k RETURNING '$mark', id, 'bad';";
}

# Several writes, each by itself or all in a transaction: 'w' counts at once, 't' with the COMMIT.
sub writer
{
	my ($race, $k, $write) = @_;
	my @writes = map { ($write->($race, $k, 'w'), sleep_some(3)) } 1 .. 1 + int rand 4;

	return @writes if chance(0.5);
	s/RETURNING 'w'/RETURNING 't'/ foreach @writes;
	my $level = pick('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');
	return ("BEGIN ISOLATION LEVEL $level;", @writes, pick('COMMIT;', 'COMMIT;', 'ROLLBACK;'));
}

# Statements that were planned before.
sub preparer
{
	my ($race, $k) = @_;
	my ($a, $table) = ($race->{kind}, $race->{table});
	return (
		"PREPARE p_old ($a, integer) AS UPDATE $table SET a = \$1 WHERE id = $k RETURNING 'w', id, \$2;",
		"PREPARE p_new (integer) AS UPDATE $table SET b = \$1 + 1000 WHERE id = $k RETURNING 'w', id, \$1;",
		"PREPARE p_read AS SELECT 'r', count(*), count(b), sum(b) FILTER (WHERE id IN (7, 8)) FROM $table;",
		(map {
			my $n = 1 + int rand 900;
			my $quoted = value($race, $n);
			(pick("EXECUTE p_old ($quoted, $n);", "EXECUTE p_new ($n);", 'EXECUTE p_read;'), sleep_some(2))
		} 1 .. 6),
		'DEALLOCATE ALL;');
}

sub two_phases
{
	my ($race, $k) = @_;
	my $gid = "$race->{table}_$k";
	return ('BEGIN;', an_old_write($race, $k, 'p'), "PREPARE TRANSACTION '$gid';",
		sleep_some(15), pick('COMMIT', 'ROLLBACK') . " PREPARED '$gid';");
}

# Reads twice in one snapshot, which may be from before anything happened to the table.
sub reader
{
	my ($race) = @_;
	my $table = $race->{table};
	my $columns = pick("count(b), sum(b) FILTER (WHERE id IN (7, 8))",
		"count(b), sum(b) FILTER (WHERE id IN (7, 8))",
		"count(a), sum(a::integer + 1000) FILTER (WHERE id IN (7, 8))",
		"count(*) FILTER (WHERE a::integer + 1000 = b), sum(b) FILTER (WHERE id IN (7, 8))");
	my $read = "SELECT 'r', count(*), $columns FROM $table;";

	return (pick('BEGIN ISOLATION LEVEL REPEATABLE READ;', 'BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;'),
		'SELECT count(*) < 0 FROM bystander;', sleep_some(15), $read, 'SAVEPOINT s;', sleep_some(10), $read, 'COMMIT;', '\echo end');
}

# Waits, and reads in a snapshot from before it waited.
sub waiter
{
	my ($race) = @_;
	return map { ("SELECT migrate.wait('$race->{table}', '300 ms') IS NOT NULL, pg_sleep(" . rand(0.02) . ") IS NULL, E'\\nr', read_all('$race->{table}');", sleep_some(2)) } 1 .. 2;
}

# First how to drop what it makes.
sub object_maker
{
	my ($race, $k) = @_;
	my $table = $race->{table};
	my $name = "${table}_o$k";
	my ($make, $drop) = @{ pick(
			[ "CREATE VIEW $name AS SELECT id, a FROM $table;", "DROP VIEW $name;" ],
			[ "CREATE INDEX $name ON $table (a);", "DROP INDEX $name;" ],
			[ "CREATE STATISTICS $name ON id, a FROM $table;", "DROP STATISTICS $name;" ],
			[ "CREATE FUNCTION $name() RETURNS $race->{kind} BEGIN ATOMIC SELECT max(a) FROM $table; END;", "DROP FUNCTION $name();" ],
			[ "ALTER TABLE $table ADD CONSTRAINT $name CHECK (a IS NOT NULL) NOT VALID;", "ALTER TABLE $table DROP CONSTRAINT $name;" ],
			[ "CREATE POLICY $name ON $table USING (a IS NOT NULL);", "DROP POLICY $name ON $table;" ]) };
	my @made = chance(0.5) ? ($make, '\echo :ERROR made') : ('BEGIN;', $make, '\set failed :ERROR', sleep_some(8), 'COMMIT;', '\echo :failed made');

	return ($drop, @made, sleep_some(10), chance(0.4) ? () : ($drop, '\echo :ERROR dropped'));
}

sub in_a_transaction
{
	my (@lines) = @_;
	return @lines if chance(0.6);
	my $level = pick('READ COMMITTED', 'REPEATABLE READ');
	return ("BEGIN ISOLATION LEVEL $level;", chance(0.5) ? 'SELECT count(*) < 0 FROM bystander;' : (),
		@lines, sleep_some(5), pick('COMMIT;', 'COMMIT;', 'ROLLBACK;'));
}

sub contractor
{
	my ($race) = @_;
	my $wait = pick(0, 0, 5, 40);
	return (sleep_some(12), in_a_transaction("SELECT migrate.contract('$race->{table}', '$wait ms', '" . pick('{window,usage}', '{window,usage}', '{usage}') . "');"));
}

sub undoer
{
	my ($race) = @_;
	return (sleep_some(20), in_a_transaction("SELECT migrate.rollback('$race->{table}', true);"),
		chance(0.5) ? (sleep_some(5), "SELECT migrate.expand('$race->{table}');") : ());
}

# For a while the old form fails, as it will after the contract.
sub deprecator
{
	my ($race) = @_;
	my $call = "SELECT migrate.deprecate('$race->{table}', '0 s',";
	return (sleep_some(5), "$call 'log');", sleep_some(5), "$call 'error');", sleep_some(5), "$call 'warning');", sleep_some(2), "$call 'log');");
}

sub converter
{
	my ($race) = @_;
	return (sleep_some(8), "CALL migrate.run('$race->{table}');",
		chance(0.5) ? "SELECT migrate.contract('$race->{table}', skip => '{window,usage}');" : ());
}

# A second migration, which reads what the first would drop.
sub successor
{
	my ($race) = @_;
	my $table = $race->{table};
	return (
		"SELECT migrate.define('${table}_2', '$table', add => 'c integer', up => 'c = a::integer + 1', depends_on => '{$table}');",
		sleep_some(3), "SELECT migrate.expand('${table}_2');", chance(0.5) ? "CALL migrate.run('$table');" : (),
		sleep_some(10), pick("SELECT migrate.rollback('${table}_2', true);", "SELECT migrate.contract('${table}_2', skip => '{window,usage}');"));
}

# The release "old" lacks all migrations.
sub pinner
{
	my ($race, $k) = @_;
	return ("SET migrate.release = 'old';", sleep_some(5), an_old_write($race, $k, 'w'), sleep_some(5), 'RESET migrate.release;');
}

sub retirer { return (sleep_some(15), "SELECT migrate.retire_release('old');"); }

# ---- what may be raised ----

my $column_is_gone = '42703';
my $value_is_bad = '22P02|23514';	# by up, or by what stands in for the proof
my $two_dropped = '40P01';	# DROP POLICY, twice at once: each wants more than it has, with any table
my %may_raise = (
	writer => "$column_is_gone|40001|25P02|$value_is_bad",
	preparer => "$column_is_gone|26000|$value_is_bad",
	two_phases => "$column_is_gone|25P02|42704|40001|$value_is_bad",
	reader => "$column_is_gone|25P02|3B001|$value_is_bad",
	waiter => "$column_is_gone|55000|40P01|$value_is_bad",
	object_maker => "$column_is_gone|$two_dropped|42P01|42704|42883|25P02|55P03|55000|2BP01|0A000",
	contractor => '55000|55P03|40001|25P02',
	undoer => '55000|55P03|40001|25P02|2BP01',
	deprecator => '55000|55P03|40001',
	converter => '55000|55P03',
	successor => "$column_is_gone|55000|55P03|42P17|42704|2BP01|$value_is_bad",
	pinner => "$column_is_gone|42704|55000|40001|$value_is_bad",
	retirer => '55006|42704',
);

my %actors = (
	writer => sub { writer(@_, pick(\&an_old_write, \&an_old_write, \&a_new_write, \&a_bad_write)) },
	preparer => \&preparer, two_phases => \&two_phases, reader => \&reader, waiter => \&waiter,
	object_maker => \&object_maker, contractor => \&contractor, undoer => \&undoer,
	deprecator => \&deprecator, converter => \&converter, successor => \&successor, pinner => \&pinner, retirer => \&retirer,
);

# ---- a race ----

# On a new table, or on that of the race before, as that left it.
sub new
{
	my ($class, $table, $before) = @_;
	my $kind = pick('integer', 'integer', 'text');
	my $self = bless {
		$before ? %$before : (
			table => $table, kind => $kind, defer => $kind eq 'text' && chance(0.6),
			partitioned => chance(0.25), rows => { map { $_ => 10 * $_ } 1 .. 8 }),
		before => $before, begins => pick('complete', 'complete', 'expanded'),
		with_release => chance(0.15), actors => [], problems => [], outcome => undef,
	}, $class;
	my @names = ('contractor', pick('contractor', 'writer', 'undoer'), map { pick(qw(writer writer reader reader
		preparer two_phases waiter object_maker object_maker undoer successor deprecator)) } 1 .. 1 + int rand 3);

	unshift @names, 'converter', chance(0.6) ? 'waiter' : () if $self->{begins} eq 'expanded';
	push @names, pick('pinner', 'retirer'), 'retirer' if $self->{with_release};
	splice @names, 6;
	foreach my $k (1 .. @names)
	{
		my $name = $names[ $k - 1 ];
		my @lines = $actors{$name}->($self, $k);
		my $drop = $name eq 'object_maker' ? shift @lines : undef;
		push @{ $self->{actors} }, { name => $name, k => $k, lines => \@lines, drop => $drop };
	}
	return $self;
}

# Does the table go on to another race?
sub leaves_table { my ($self) = @_; return $self->{outcome} ne 'contracted' && chance(0.8); }

# What the race before left behind is put in order.
sub take_over
{
	my ($self) = @_;
	my ($t, $before) = ($self->{table}, $self->{before});
	my @bad = grep { $self->{rows}{$_} eq 'bad' } keys %{ $self->{rows} };

	$self->{rows}{$_} = 1 foreach @bad;
	return (
		(map { $_->{made} ? $_->{drop} : () } @{ $before->{actors} }),
		"SELECT migrate.rollback(name, true) FROM migrate.status WHERE name = '${t}_2' AND state IN ('expanded', 'complete');",
		"SELECT migrate.forget(name) FROM migrate.status WHERE name = '${t}_2' AND state <> 'contracted';",
		$before->{outcome} eq 'rolled back' ? "SELECT migrate.expand('$t');" : (),
		@bad ? ("UPDATE $t SET a = 1 WHERE id IN (" . join(', ', @bad) . ');', "SELECT migrate.retry('$t');") : (),
		q{DELETE FROM migrate.release_migration; DELETE FROM migrate.release;});
}

sub set_up
{
	my ($self) = @_;
	my $t = $self->{table};
	my ($up, $down) = $self->{kind} eq 'integer' ? ('b = a + 1000', 'a = b - 1000') : ('b = a::integer + 1000', 'a = (b - 1000)::text');
	my $error = $self->{defer} ? 'defer' : 'fail';
	my @partitions = $self->{partitioned}
		? ("CREATE TABLE ${t}_1 PARTITION OF $t FOR VALUES FROM (0) TO (5);", "CREATE TABLE ${t}_2 (a $self->{kind}, id integer NOT NULL);",
		"ALTER TABLE $t ATTACH PARTITION ${t}_2 DEFAULT;") : ();
	my @create = (
		"CREATE TABLE $t (id integer PRIMARY KEY, a $self->{kind})" . ($self->{partitioned} ? ' PARTITION BY RANGE (id);' : ';'), @partitions,
		"INSERT INTO $t SELECT i, 10 * i FROM generate_series(1, 8) i;",
		"SELECT migrate.define('$t', '$t', add => 'b integer', up => '$up', down => '$down', remove => '{a}', on_error => '$error');",
		"SELECT migrate.expand('$t');");

	return ($self->{before} ? $self->take_over : @create,
		$self->{begins} eq 'complete' ? "CALL migrate.run('$t');" : (),
		$self->{with_release} ? q{SELECT migrate.create_release('old', '{}');} : ());
}

sub clean_up
{
	my ($self) = @_;
	return ('SET migrate.guard = off;', "DROP TABLE $self->{table} CASCADE;",
		q{DELETE FROM migrate.release_migration; DELETE FROM migrate.release; DELETE FROM migrate.event;});
}

sub problem { my ($self, @text) = @_; push @{ $self->{problems} }, join '', @text; return; }

# What a session said: which writes count, and what was read.
sub hear
{
	my ($self, $actor, $text) = @_;
	my (@pending, @prepared, $read);

	foreach my $line (split /\n/, $text)
	{
		if ($line =~ /^w\|(\d+)\|(\w+)$/) { $self->{rows}{$1} = $2 }
		elsif ($line =~ /^[tp]\|(\d+)\|(\w+)$/) { push @pending, [ $1, $2 ] }
		elsif ($line eq 'COMMIT' || $line eq 'COMMIT PREPARED')
		{
			$self->{rows}{ $_->[0] } = $_->[1] foreach $line eq 'COMMIT' ? splice @pending : splice @prepared;
		}
		elsif ($line eq 'ROLLBACK') { @pending = () }
		elsif ($line eq 'PREPARE TRANSACTION') { @prepared = splice @pending }
		elsif ($line =~ /^r\|(.*)$/) { $self->check_read($actor, $1, \$read) }
		elsif ($line =~ /^end|^$/) { $read = undef if $line }
		elsif ($line =~ /^(true|false) made$/) { $actor->{made} = $1 eq 'false' }
		elsif ($line =~ /^(true|false) dropped$/) { $actor->{made} = 0 if $1 eq 'false' }
		elsif ($line eq 'WARNING:  01P01') { }
		elsif ($line =~ /^(?:ERROR|WARNING|FATAL|PANIC):  (\w+)/)
		{
			$self->problem("$actor->{name} $actor->{k} raised $1") unless $1 =~ /^(?:$may_raise{$actor->{name}})$/;
		}
		elsif ($line =~ /server closed|connection|invalid command/) { $self->problem("$actor->{name} $actor->{k}: $line") }
	}
	return;
}

# What is read has a value in every row, and is the same to the end of the snapshot.
sub check_read
{
	my ($self, $actor, $found, $before) = @_;
	my ($count, $values, $sum) = split /\|/, $found;

	$self->problem("$actor->{name} $actor->{k} read $found") if $count != $values || $sum != $untouched + 2000;
	$self->problem("$actor->{name} $actor->{k} read $$before, and then $found")
		if $actor->{name} eq 'reader' && defined $$before && $$before ne $found;
	$$before = $found;
	return;
}

sub look
{
	my ($self, $boss) = @_;
	my $t = $self->{table};
	my ($state, $columns, $triggers, $proofs, $live, $contracted) = split /\n/, ask($boss,
		"SELECT state FROM migrate.status WHERE name = '$t';",
		"SELECT string_agg(attname, ' ' ORDER BY attname) FROM pg_attribute WHERE attrelid = '$t'::regclass AND attnum > 0 AND NOT attisdropped;",
		"SELECT count(*) FROM pg_trigger WHERE tgrelid = '$t'::regclass AND tgname ~ 'migrate';",
		"SELECT count(*) FROM pg_constraint WHERE conrelid = '$t'::regclass AND contype = 'c' AND conname ~ '^row_version_[0-9]';",
		"SELECT count(*) FROM migrate.status WHERE relation = '$t'::regclass AND state IN ('expanded', 'complete');",
		"SELECT count(*) FROM migrate.history WHERE migration = '$t' AND event = 'contracted';");
	return { state => $state, triggers => $triggers, proofs => $proofs, live => $live, contracted => $contracted, map { ("has_$_" => 1) } split / /, $columns };
}

# A row without a value is one that was deleted: there are none.
sub check_rows
{
	my ($self, $boss, $now) = @_;
	my @columns = grep { $now->{"has_$_"} } 'a', 'b';
	my %rows = %{ $self->{rows} };
	my @bad = grep { $rows{$_} eq 'bad' } sort keys %rows;
	my %expected = map { my $n = $rows{$_}; ($_ => join '|', $_, map { $_ eq 'a' ? $n : $n + 1000 } @columns) } grep { $rows{$_} ne 'bad' } keys %rows;
	my $not_bad = join ' AND ', map { "id <> $_" } 0, @bad;
	my $found = ask($boss, 'SELECT ' . join(', ', 'id', @columns) . " FROM $self->{table} WHERE $not_bad ORDER BY id;");
	my $expected = join '', map { "$expected{$_}\n" } sort { $a <=> $b } keys %expected;

	$self->problem("rows are\n$found", "and should be\n$expected") if $found ne $expected;
	$self->problem('a row that cannot be converted was contracted') if @bad && $now->{state} eq 'contracted';
	return;
}

# Both forms, or the one that is left, can be written and agree.
sub check_use
{
	my ($self, $boss, $now) = @_;
	my @columns = grep { $now->{"has_$_"} } 'a', 'b';

	foreach my $column (@columns)
	{
		my $value = $column eq 'a' ? value($self, 5) : 1005;
		my $read = join '|', map { $_ eq 'a' ? 5 : 1005 } @columns;
		my $found = ask($boss, "INSERT INTO $self->{table} (id, $column) VALUES (9999, $value) RETURNING " . join(', ', @columns) . ';',
			"DELETE FROM $self->{table} WHERE id = 9999;");
		$self->problem("a write of $column gives $found") unless $found eq "$read\nINSERT 0 1\nDELETE 1\n";
	}
	return;
}

sub check
{
	my ($self, $boss) = @_;
	my %form = (contracted => 'b', 'rolled back' => 'a', expanded => 'ab', complete => 'ab');

	ask($boss, "SELECT migrate.deprecate('$self->{table}', '0 s', 'log');")
		if grep { $_->{name} eq 'deprecator' } @{ $self->{actors} };
	my $now = $self->look($boss);
	my $has = join '', grep { $now->{"has_$_"} } 'a', 'b';

	$self->{outcome} = $now->{state};
	$self->problem("is $now->{state} and has columns $has") if $has ne ($form{ $now->{state} } // 'none');
	$self->problem("has $now->{live} live migrations, $now->{proofs} proofs and $now->{triggers} triggers")
		if $now->{live} != $now->{proofs} || ($now->{live} > 0) != ($now->{triggers} > 0);
	$self->problem("was contracted $now->{contracted} times")
		if $now->{contracted} != ($now->{state} eq 'contracted');
	$self->check_rows($boss, $now);
	$self->check_use($boss, $now);
	foreach my $actor (grep { $_->{made} } @{ $self->{actors} })
	{
		$self->problem("what object_maker $actor->{k} made was dropped") if $now->{state} eq 'contracted';
	}
	if ($self->{with_release} && $now->{state} eq 'contracted')
	{
		$self->problem('contracted, although a release that lacks it is not retired')
			if ask($boss, q{SELECT count(*) FROM migrate.release WHERE retired_at IS NULL;}) > 0;
	}
	return;
}

# Run it; false where the server does not answer.
sub run
{
	my ($self, $boss, @sessions) = @_;
	my @taking_part = @sessions[ 0 .. $#{ $self->{actors} } ];
	my @set_up = $self->set_up;
	my $said = ask($boss, @set_up);

	$self->{set_up} = \@set_up;
	delete $self->{before};
	$self->problem("could not be set up: $said") if $said =~ /ERROR:/;
	foreach my $k (0 .. $#taking_part) { send_to($taking_part[$k], @{ $self->{actors}[$k]{lines} }); }
	if (!hear_all(@taking_part))
	{
		$self->problem('somebody does not come back');
		return 0;
	}
	foreach my $k (0 .. $#taking_part) { $self->hear($self->{actors}[$k], $taking_part[$k]{text}); }
	$self->check($boss);
	$self->{goes_on} = $self->leaves_table;
	$said = $self->{goes_on} ? '' : ask($boss, $self->clean_up);
	$self->problem("could not be cleaned up: $said") if $said =~ /ERROR/;
	return 1;
}

# As a story: who did what, and what he was told.
sub story
{
	my ($self, @sessions) = @_;
	my @parts = map { "-- $self->{actors}[$_]{name} " . ($_ + 1) . "\n" . join("\n", @{ $self->{actors}[$_]{lines} }) . "\n-- was told\n$sessions[$_]{text}" }
		0 .. $#{ $self->{actors} };
	return join "\n", '-- set up', @{ $self->{set_up} }, @parts;
}

1;
