# Every write to a half-converted table returns what it does on a twin on which all
# rows are converted, fails with the same code, and leaves the same behind.
#
# Tables are of all kinds, their migrations and the statements random (lib/TwinTables.pm,
# lib/StatementGenerator.pm). Half of the twins' migrations are complete, the others'
# rows are converted and no more. A life of tables serves for some hundred
# statements, a few of them in a transaction each, which are mostly taken back.
#
# Environment: MIGRATE_FUZZ_STATEMENTS, how many (800); MIGRATE_FUZZ_SEED, to repeat a
# run. What differs is shown as a script, shortened as far as a few attempts allow;
# MIGRATE_FUZZ_DIFFERENCES, how many differences to find before giving up (1).
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use PsqlPipe;
use StatementGenerator;
use TwinTables;

my $statements = $ENV{MIGRATE_FUZZ_STATEMENTS} // 800;
my $seed = $ENV{MIGRATE_FUZZ_SEED} // int(rand(1_000_000_000));
my $wanted = $ENV{MIGRATE_FUZZ_DIFFERENCES} // 1;
my $in_a_life = 200;
print "# seed $seed, $statements statements\n";

my $node = PostgreSQL::Test::Cluster->new('writes');
$node->init(extra => [ '--no-locale', '-E', 'UTF8' ]);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
fsync = off
autovacuum = off
restart_after_crash = on
jit = off
CONF
$node->start;
my ($version) = $node->safe_psql('postgres', 'SHOW server_version_num') =~ /^(\d+)\d{4}/;
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE fuzz_owner;
CREATE ROLE fuzz_user;
CREATE DATABASE fuzz;
SQL
$node->safe_psql('fuzz', <<'SQL');
CREATE EXTENSION migrate;
CREATE FUNCTION contents(VARIADIC tables text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY tables LOOP
		RETURN QUERY EXECUTE format('SELECT (to_jsonb(t) - ''row_version'')::text FROM %I t ORDER BY id, part', name);
	END LOOP;
END $$;
SQL

my %count = map { $_ => 0 } qw(statements failed rows differ);

# ---- a life: two sessions, one in each schema ----

my @homes = qw(stale twin);
my $databases = 0;

sub in_home
{
	my ($home, $sql) = @_;
	return $sql =~ s/\bHOME\b/$home/gr;
}

# Make the tables of a setup; complaints are the caller's business.
sub begin_life
{
	my ($setup) = @_;
	my $database = 'fuzz' . ++$databases;
	$node->poll_query_until('postgres', 'SELECT true') or die 'the server is gone';
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE fuzz");
	my %life = (database => $database, complaints => []);

	foreach my $home (@homes)
	{
		$life{$home} = PsqlPipe->new($node->connstr($database));
		$life{$home}->query('SET client_min_messages = warning; '
			  . "CREATE SCHEMA $home AUTHORIZATION fuzz_owner; GRANT USAGE ON SCHEMA $home TO fuzz_user; "
			  . "SET search_path = $home, public; SET ROLE fuzz_owner");
	}
	foreach my $item (@$setup)
	{
		my ($where, $sql) = @$item;
		my @here = $where eq 'both' ? @homes : ($where);
		$life{$_}->send(in_home($_, $sql)) foreach @here;
		my @errors = map { scalar(($_->receive)[1]) // '' } @life{@here};
		my %codes = map { (/ERROR:  (\w+):/)[0] // 'none' => 1 } @errors;

		# A row that violates something does so in both.
		push @{ $life{complaints} }, "$sql\n@errors" if "@errors" =~ /\S/ && join(' ', keys %codes) !~ /^2[23]\w+$/;
	}
	foreach my $home (@homes) { $life{$home}->query($_) foreach 'RESET ROLE', '\set ON_ERROR_ROLLBACK on'; }
	return \%life;
}

sub end_life
{
	my ($life) = @_;
	$life->{$_}->close foreach @homes;
	$node->safe_psql('postgres', "DROP DATABASE $life->{database}");
	return;
}

# Of several rows that are refused, each for its own reason, the first to be met says why.
sub same_failure
{
	my (@codes) = @_;
	return 0 if grep { $_ eq 'lost' } @codes;
	return $codes[0] eq $codes[1] || 2 == grep { /^(2[23]|44|42501|0A000)/ } @codes;
}

# Run SQL in both, or what the second one has instead; what is not the same as text,
# or undef, and one answer.
sub run_both
{
	my ($life, $sql, $twins) = @_;
	my %answer;

	$life->{stale}->send($sql);
	$life->{twin}->send($twins // $sql);
	foreach my $home (@homes)
	{
		my ($lines, $error) = $life->{$home}->receive;
		my ($code) = ($error // '') =~ /(?:ERROR|FATAL|PANIC):  (\w+):/;
		# How much of a result came before the error is a matter of the rows' order.
		$answer{$home} = { lines => [ defined $error ? () : sort @$lines ], error => $error, code => defined $error ? $code // 'lost' : '' };
	}
	my $same = same_failure($answer{stale}{code}, $answer{twin}{code})
	  && join("\n", @{ $answer{stale}{lines} }) eq join("\n", @{ $answer{twin}{lines} });
	return ($same ? undef : difference(\%answer), $answer{twin});
}

sub difference
{
	my ($answer) = @_;
	my $text = '';

	foreach my $home (@homes)
	{
		my %others = map { $_ => 1 } map { @{ $answer->{$_}{lines} } } grep { $_ ne $home } @homes;
		my @own = grep { !$others{$_} } @{ $answer->{$home}{lines} };
		$text .= "only $home:\n" . join('', map { "\t$_\n" } @own, $answer->{$home}{error} // ()) if @own || defined $answer->{$home}{error};
	}
	return $text || "rows in other numbers\n";
}

sub commands_of
{
	my ($statement, $home) = @_;
	my $commands = $home eq 'twin' && $statement->{twins} || $statement->{commands};
	my @role = $statement->{role} ? ("SET LOCAL ROLE $statement->{role}", 'RESET ROLE') : ();
	return join('', map { /\\\.$/ ? "$_\n" : "$_;\n" } $role[0] // (), @$commands, $role[1] // ());
}

# Run a transaction: the statements in their order, and after each what the tables hold. Returns what differs, and
# after how many statements, or nothing.
sub run_transaction
{
	my ($life, $transaction, $counts) = @_;
	my $done = 0;
	my $differs;

	run_both($life, join(";\n", @{ $transaction->{begin} }));
	foreach my $statement (@{ $transaction->{statements} })
	{
		my $answer;
		$done++;
		my $tables = join ', ', map { "'$_'" } @{ $statement->{tables} };
		($differs, $answer) = run_both($life, map { commands_of($statement, $_) } @homes);
		my $kind = $answer->{code} ? 'failed' : @{ $answer->{lines} } ? 'rows' : 'no_rows';
		$counts->{statements}++;
		$counts->{$kind}++;
		$counts->{codes}{ $answer->{code} }++ if $answer->{code};
		last if $differs;
		($differs) = run_both($life, "SELECT contents($tables)");
		$differs = "left behind:\n$differs" if $differs;
		last if $differs;
	}
	run_both($life, "$transaction->{end};\nDEALLOCATE ALL");
	return $differs ? ($differs, $done) : ();
}

# ---- making up transactions ----

sub pick { return $_[ int(rand(@_)) ]; }

my @switches = qw(enable_hashjoin enable_mergejoin enable_nestloop enable_seqscan enable_indexscan enable_bitmapscan enable_sort enable_material);

sub next_transaction
{
	my ($generator) = @_;
	my @begin = ('BEGIN' . pick('', '', ' ISOLATION LEVEL REPEATABLE READ', ' ISOLATION LEVEL SERIALIZABLE'),
		'SET LOCAL plan_cache_mode = ' . pick('auto', 'force_generic_plan', 'force_custom_plan'));
	push @begin, 'SET LOCAL ' . pick(@switches) . ' = off' if rand() < 0.4;
	my @statements = map {
		my $statement = $generator->next_statement;
		$statement->{role} = pick(undef, 'fuzz_owner', 'fuzz_user', 'fuzz_user') unless $statement->{twins};
		$statement
	} 1 .. pick(1, 1, 1, 2, 3, 5);
	return { begin => \@begin, statements => \@statements, end => rand() < 0.9 ? 'ROLLBACK' : 'COMMIT' };
}

# ---- showing what differs ----

sub still_differs
{
	my ($setup, @transactions) = @_;
	my $life = begin_life($setup);
	my $differs;

	foreach my $transaction (@transactions)
	{
		($differs) = run_transaction($life, $transaction, {});
		last if $differs;
	}
	eval { end_life($life) };
	return $differs;
}

# Leave out what can be left out of a list, by parts that become smaller.
sub shorten
{
	my ($list, $attempts, $holds) = @_;
	my @list = @$list;
	my $size = int((@list + 1) / 2);

	while ($size >= 1 && @list)
	{
		for (my $i = 0; $i < @list && $$attempts > 0;)
		{
			my @shorter = @list;
			splice @shorter, $i, $size;
			$$attempts--;
			if ($holds->(\@shorter)) { @list = @shorter; }
			else { $i += $size; }
		}
		last if $size == 1;
		$size = int(($size + 1) / 2);
	}
	return \@list;
}

sub script
{
	my ($setup, @transactions) = @_;
	my $text = "CREATE EXTENSION migrate;\n";

	$text .= "CREATE SCHEMA $_;\n" foreach @homes;
	foreach my $item (@$setup)
	{
		my @here = $item->[0] eq 'both' ? @homes : ($item->[0]);
		$text .= "SET search_path = $_;\n" . in_home($_, $item->[1]) . ";\n" foreach @here;
	}
	foreach my $home (@homes)
	{
		$text .= "-- $home\nSET search_path = $home;\n";
		foreach my $transaction (@transactions)
		{
			$text .= join('', (map { "$_;\n" } @{ $transaction->{begin} }),
				(map { commands_of($_, $home) } @{ $transaction->{statements} }), "$transaction->{end};\n");
		}
	}
	return $text;
}

sub show_difference
{
	my ($life_seed, $setup, $differs, $done, @transactions) = @_;
	my $attempts = $ENV{MIGRATE_FUZZ_ATTEMPTS} // 80;
	my $last = pop @transactions;

	$last = { %$last, statements => [ @{ $last->{statements} }[ 0 .. $done - 1 ] ] };
	if (still_differs($setup, $last)) { @transactions = (); }
	else { @transactions = @{ shorten(\@transactions, \$attempts, sub { still_differs($setup, @{ $_[0] }, $last) }) }; }
	my ($failing) = splice @{ $last->{statements} }, -1;
	$last->{statements} = [ @{ shorten($last->{statements}, \$attempts,
		sub { still_differs($setup, @transactions, { %$last, statements => [ @{ $_[0] }, $failing ] }) }) }, $failing ];
	$setup = shorten($setup, \$attempts, sub { still_differs($_[0], @transactions, $last) });
	my $now = still_differs($setup, @transactions, $last) // "(not any more)\n$differs";
	diag("A difference; MIGRATE_FUZZ_SEED=$life_seed begins with these tables.\n\n"
		  . script($setup, @transactions, $last) . "\n$now");
	return;
}

# ---- the run ----

# What a backfill makes of what was left must be what the twin has.
sub compare_converted
{
	my ($life) = @_;
	run_both($life, "CALL migrate.run('$_')") foreach qw(plain parted guarded);
	my ($differs) = run_both($life, "SELECT contents('plain', 'parted', 'guarded')");
	return $differs;
}

sub one_life
{
	my ($life_seed, $statements) = @_;
	my $generator = StatementGenerator->new(seed => $life_seed, version => $version);
	my $tables = TwinTables::make_life($generator);
	my $life = begin_life($tables->{setup});
	my $end = $count{statements} + $statements;
	my @committed;

	if (@{ $life->{complaints} })
	{
		diag("MIGRATE_FUZZ_SEED=$life_seed: the tables could not be made\n$life->{complaints}[0]");
		$count{differ}++;
	}
	my ($differs) = run_both($life, "SELECT contents('plain', 'parted', 'guarded')");
	if ($differs)
	{
		diag("MIGRATE_FUZZ_SEED=$life_seed: the tables differ from the beginning\n$differs");
		$count{differ}++;
	}
	while ($count{statements} < $end && !$differs)
	{
		my $transaction = next_transaction($generator);
		($differs, my $done) = run_transaction($life, $transaction, \%count);
		if ($differs)
		{
			$count{differ}++;
			if ($count{differ} < $wanted && $transaction->{end} eq 'ROLLBACK')
			{
				diag("MIGRATE_FUZZ_SEED=$life_seed:\n" . commands_of($transaction->{statements}[ $done - 1 ], 'stale') . $differs);
				undef $differs;
				next;
			}
			eval { end_life($life) };
			show_difference($life_seed, $tables->{setup}, $differs, $done, @committed, $transaction);
			return;
		}
		push @committed, $transaction if $transaction->{end} eq 'COMMIT';
	}
	$differs //= compare_converted($life);
	if ($differs)
	{
		$count{differ}++;
		diag("MIGRATE_FUZZ_SEED=$life_seed: converted in the end\n$differs");
	}
	end_life($life);
	return;
}

my $lives = 0;
while ($count{statements} < $statements && $count{differ} < $wanted)
{
	my $left = $statements - $count{statements};
	one_life($seed + $lives++, $left < $in_a_life ? $left : $in_a_life);
}
print "# $lives sets of tables, $count{statements} statements, $count{rows} with rows, $count{failed} failed, $count{differ} differ\n";
note(join ', ', map { "$count{codes}{$_} $_" } sort keys %{ $count{codes} });
is($count{differ}, 0, 'no write differs');
cmp_ok($count{rows}, '>=', $count{statements} / 4, 'many statements return rows');
cmp_ok($count{failed}, '<=', $count{statements} / 2, 'not too many are refused');
$node->stop;
done_testing();
