# The server, or a part of it, is killed at any moment of a migration's life, with
# writers in both forms at work: expand, backfill, the building of an index,
# completion, contract, rollback; of plain tables and partitioned ones, with one worker
# or several, with rows that are pruned and rows that fail at first. Whatever ended:
#
#	no write that was acknowledged is lost, and none is half there (lib/Ledger.pm)
#	no row is converted twice: the conversion puts a new number on each row that it
#		converts, in a column of its own, and another one in place
#	a change of state has happened as a whole or not at all
#	a row that is pruned is in the table or in its archive, once
#	the work goes on by itself, and leaves no invalid index and nothing else half made
#
# A disk is full, too, that of the tables or that of the WAL, where this process may
# mount one (Linux, user namespaces). (pg_terminate_backend() and pg_cancel_backend() are
# the signals TERM and INT; of the postmaster INT is a fast shutdown, QUIT an immediate one.)
#
# What was ended in which phase is noted at the end.
#
# KILLS=1000 for so many (default 18), SEED=n for the same choices.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

# In a name space of its own it may mount something. (Before the library of tests has
# the output redirected.)
BEGIN
{
	my @as_mounter = qw(unshare --user --mount --map-current-user --keep-caps);
	if (!defined $ENV{MIGRATE_MOUNTER})
	{
		$ENV{MIGRATE_MOUNTER} = system("@as_mounter true 2>/dev/null") == 0 ? 1 : 0;
		exec @as_mounter, $^X, $0 if $ENV{MIGRATE_MOUNTER};
	}
}

use List::Util qw(sum);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Ledger;

my $kills = $ENV{KILLS} // 18;
my $seed = $ENV{SEED} // int time;
my $cold_rows = 3000;
srand($seed);
note("SEED=$seed KILLS=$kills");

# ---- the server ----

my $folder = PostgreSQL::Test::Utils::tempdir;
my $node = PostgreSQL::Test::Cluster->new('main');
my %disk = (tables => [ $node->basedir, '200m' ], WAL => [ "$folder/wal", '64m' ]);

sub mount_disk
{
	my ($place, $size) = @_;
	mkdir $place;
	return system('mount', '-t', 'tmpfs', '-o', "size=$size,mode=0700", 'none', $place) == 0;
}

my $has_disks = $ENV{MIGRATE_MOUNTER} && !grep { !mount_disk(@$_) } values %disk;

$node->init(extra => [ '--wal-segsize=1', '--no-sync', $has_disks ? "--waldir=$disk{WAL}[0]" : () ]);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.naptime = 1s
restart_after_crash = on
max_worker_processes = 16
migrate.max_workers = 4
max_wal_size = 16MB
min_wal_size = 2MB
wal_recycle = off
fsync = off
autovacuum_naptime = 1s
log_statement = none
CONF
$node->start;

sub postmaster { return (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0]; }

# Its children: [ pid, what it is ]
sub processes
{
	my $parent = postmaster();
	return map { /^\s*(\d+)\s+$parent\s+postgres: (?:main: )?(.*)$/ ? [ $1, $2 ] : () } `ps -A -o pid= -o ppid= -o args=`;
}

sub answers { return system("psql -XAtq -d '" . $node->connstr('postgres') . "' -c 'SELECT' > /dev/null 2>&1") == 0; }

sub wait_for
{
	my ($code, $what) = @_;
	my $until = time + 60;
	until ($code->()) { time < $until or give_up("no $what"); usleep(20_000) }
	return;
}

sub start_again
{
	my @start = ('pg_ctl', '-w', '-s', '-D', $node->data_dir, '-l', $node->logfile, 'start');
	wait_for(sub { system("@start > /dev/null 2>&1") == 0 }, 'start after the end of the postmaster');
	$node->{_pid} = postmaster();
	return;
}

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

sub set
{
	my (%settings) = @_;
	sql("ALTER SYSTEM SET migrate.$_ = $settings{$_}") foreach sort keys %settings;
	sql('SELECT pg_reload_conf()');
	return;
}

sub set_rate { my ($rate) = @_; set(max_rows_per_second => $rate); return; }

sub give_up
{
	my ($text) = @_;
	fail("SEED=$seed");
	diag($text);
	sleep($ENV{LINGER}) if $ENV{LINGER};
	$node->stop('immediate', fail_ok => 1);
	done_testing();
	exit 1;
}

# ---- how to end something; each returns what it did, or nothing ----

sub signal_one
{
	my ($signal, $pattern) = @_;
	my @found = grep { $_->[1] =~ $pattern } processes();
	my $victim = $found[ rand @found ] or return;
	my $what = $victim->[1] =~ /^migrate ([a-z ]*(?:worker|builder|launcher))/ ? $1 : 'backend';

	return "$signal $what" if kill $signal, $victim->[0];
	return;
}

my $client = qr/\[local\]/;
my $worker = qr/^migrate (?!launcher)/;
my $builder = qr/^migrate index builder/;

sub end_postmaster
{
	my ($signal) = @_;
	my $pid = postmaster();
	kill $signal, $pid;
	wait_for(sub { !kill 0, $pid }, "end of the postmaster by $signal") if $signal ne 'KILL';
	start_again();
	return "$signal postmaster";
}

# Hardly any room for new WAL, or for a table that grows, from before the traffic
# begins until a while later. The server may give up itself then.
my $starved;

sub fill_disk
{
	my ($disk) = @_;
	$starved = postmaster();
	open my $out, '>', "$disk{$disk}[0]/ballast" or die "ballast: $!";
	my $chunk = "\0" x 65536;
	while (syswrite $out, $chunk) { }
	truncate $out, (-s $out) - 65536 * int rand 16;
	close $out;
	return;
}

sub free_disk
{
	my ($disk) = @_;
	usleep(rand 300_000);
	unlink "$disk{$disk}[0]/ballast";
	wait_for(sub { answers() || !kill 0, $starved }, 'answer when there is room again');
	start_again() unless kill 0, $starved;
	return "full disk of the $disk";
}

# [ how often, what it does, what is to be so before ]
my @ways = (
	[ 4, sub { signal_one('KILL', $worker) // signal_one('KILL', $client) } ],
	[ 2, sub { signal_one('KILL', $builder) // signal_one('KILL', $worker) }, { is_for => 'completion' } ],
	[ 1, sub { signal_one('KILL', qr/^migrate launcher/) } ],
	[ 3, sub { signal_one('KILL', $client) } ],
	[ 2, sub { end_postmaster('KILL') } ],
	[ 2, sub { end_postmaster('QUIT') } ],
	[ 2, sub { end_postmaster('INT') } ],
	[ 3, sub { signal_one('TERM', $worker) // signal_one('TERM', $client) } ],
	[ 1, sub { signal_one('TERM', $builder) // signal_one('TERM', $worker) }, { is_for => 'completion' } ],
	[ 2, sub { signal_one('TERM', $client) } ],
	[ 3, sub { signal_one('INT', $worker) // signal_one('INT', $client) } ],
	[ 1, sub { signal_one('INT', $builder) // signal_one('INT', $worker) }, { is_for => 'completion' } ],
	[ 3, sub { signal_one('INT', $client) } ],
	[ 3, sub { 'statement_timeout' }, { limit => 'statement_timeout' } ],
	[ 3, sub { 'lock_timeout' }, { limit => 'lock_timeout', is_locked => 1 } ],
	[ $has_disks ? 2 : 0, sub { free_disk('tables') }, { disk => 'tables' } ],
	[ $has_disks ? 2 : 0, sub { free_disk('WAL') }, { disk => 'WAL' } ],
);

# Those that are for this phase come up more often.
sub pick_way
{
	my ($phase) = @_;
	my @weights = map { $_->[0] * (($_->[2]{is_for} // '') eq $phase ? 6 : 1) } @ways;
	my $draw = rand sum(@weights);

	foreach my $number (0 .. $#ways) { ($draw -= $weights[$number]) < 0 and return $ways[$number]; }
	return;
}

# ---- a table, its migrations and its writers ----

my @gone = (50_001, 50_200);
my @failing = (60_001, 60_005);

# Half of them are to be rolled back before they come to their contract; the others
# have a second migration, that rewrites column c. Rows may be pruned; some may fail until
# they are mended (mend()), where there is no index that they would fail in.
sub new_life
{
	my ($table) = @_;
	my @writers = map { Ledger->new(table => $table, number => $_, folder => $folder) } 1 .. 3;
	my $life = { table => $table, writers => \@writers, rollbacks => 0, states => {}, stamps => {},
		map { $_ => rand() < 0.5 } qw(twice in_parts pruned fails) };
	my ($partitioned, $partitions) = $life->{in_parts} ? ('PARTITION BY RANGE (id)', <<"SQL") : ('WITH (fillfactor = 70)', '');
CREATE TABLE ${table}_1 PARTITION OF $table FOR VALUES FROM (MINVALUE) TO (1000) WITH (fillfactor = 70);
CREATE TABLE ${table}_2 PARTITION OF $table FOR VALUES FROM (1000) TO (200000) WITH (fillfactor = 70);
CREATE TABLE ${table}_3 PARTITION OF $table FOR VALUES FROM (200000) TO (MAXVALUE) WITH (fillfactor = 70);
SQL
	my $on_error = $life->{fails} ? ", on_error => 'defer'" : '';

	sql(<<"SQL");
CREATE TABLE $table (id integer PRIMARY KEY, a integer, c integer) $partitioned;
$partitions
INSERT INTO $table SELECT i, i, -i FROM generate_series(1, $cold_rows) i;
INSERT INTO $table SELECT i, i, -i FROM generate_series($gone[0], $gone[1]) i;
INSERT INTO $table SELECT i, i, -i FROM generate_series($failing[0], $failing[1]) i;
@{[ map { $_->first_rows . ";\n" } @writers ]}
CREATE TABLE ${table}_gone (id integer, a integer, b bigint, stamp bigint, c integer, archived_at timestamptz DEFAULT now());
SELECT migrate.define('$table', '$table', add => 'b bigint NOT NULL CHECK (b > 0), stamp bigint', remove => '{a}',
	up => 'b = a::bigint * 10 / CASE a WHEN -1 THEN 0 ELSE 1 END, stamp = next_stamp(a)', down => 'a = b / 10'$on_error);
SQL
	sql("SELECT migrate.set_prune('$table', 'id BETWEEN $gone[0] AND $gone[1]', '${table}_gone')") if $life->{pruned};
	$life->{rate} = 500 + int rand 4000;
	set(max_rows_per_second => $life->{rate}, workers_per_table => rand() < 0.5 ? 1 : 3);
	sql("SELECT migrate.define('${table}_2', '$table', up => 'c = next_stamp_once(c)')") if $life->{twice};
	return $life;
}

sub mend
{
	my ($life) = @_;
	sql("UPDATE $life->{table} SET a = id WHERE id BETWEEN $failing[0] AND $failing[1] AND a = -1")
		if $life->{fails} && $life->{states}{ $life->{table} } eq 'expanded';
	return;
}

# What comes next of what it takes to get the table through its life, or nothing.
sub next_operation
{
	my ($life) = @_;
	my $table = $life->{table};
	my ($first, $second) = map { $life->{states}{$_} // 'none' } $table, "${table}_2";

	if ($first =~ /defined|rolled back/)
	{
		my $while_stale = $life->{fails} ? 'false' : 'true';
		sql("UPDATE $table SET a = -1 WHERE id BETWEEN $failing[0] AND $failing[1]") if $life->{fails};
		return ('expand', "BEGIN; SELECT migrate.expand('$table'); SELECT migrate.create_index('$table', 'b', while_stale => $while_stale); COMMIT");
	}
	return ('expand', "SELECT migrate.expand('${table}_2')") if $second eq 'defined';
	return ('contract', "SELECT migrate.contract('${table}_2', '5s', '{window,usage}')") if $first eq 'contracted' && $second eq 'complete';
	return ('contract', "SELECT migrate.contract('$table', '5s', '{window,usage}')")
		if $first eq 'complete' && $second ne 'expanded' && $life->{to_contract};
	return ('rollback', "SELECT migrate.rollback('$table', discard => true)")
		if !$life->{twice} && $first =~ /expanded|complete/ && ($first eq 'complete' || rand() < 0.3) && !$life->{to_contract};
	return ('run', "CALL migrate.run('$table')") if $first eq 'expanded' && rand() < 0.3;
	return ('completion', undef) if grep({ $_ eq 'expanded' } $first, $second) && rand() < 0.6;
	return ('backfill', undef);
}

# Until the rows are converted; false where it does not get so far.
sub reach_completion
{
	my ($life) = @_;
	my ($rc, $out) = $node->psql('postgres', "CALL await_completion('$life->{table}')");
	return ($out // '') =~ /t/;
}

# A session that has a lock on the table for a while.
sub start_locker
{
	my ($life) = @_;
	my @modes = ('ROW EXCLUSIVE', 'SHARE UPDATE EXCLUSIVE', 'SHARE', 'SHARE ROW EXCLUSIVE', 'ACCESS EXCLUSIVE');
	return start_operation("SET lock_timeout = '300ms'; BEGIN; LOCK $life->{table} IN $modes[rand @modes] MODE",
		'SELECT pg_sleep(' . rand(0.3) . '); COMMIT', 'locker');
}

# One that has an old snapshot for a while, for which a builder of indexes waits.
sub start_onlooker
{
	return start_operation('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class', 'SELECT pg_sleep(0.4); COMMIT', 'onlooker');
}

sub start_operation
{
	my ($settings, $statement, $name) = @_;
	my $pid = fork // die "fork: $!";
	return $pid if $pid;
	open STDOUT, '>', "$folder/$name.out";
	open STDERR, '>&', \*STDOUT;
	exec 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'), '-c', $settings, '-c', $statement or die "psql: $!";
}

# ---- what has to hold ----

my %form_of = (defined => 'a', 'rolled back' => 'a', expanded => 'ab', complete => 'ab', contracted => 'b');

# The state as the catalogs have it, and whether all of the table agrees with it.
sub look
{
	my ($life) = @_;
	my $table = $life->{table};
	my %has;
	my @lines = split /\n/, sql(<<"SQL");
SELECT 'state', name, state, version FROM migrate.status WHERE relation = '$table'::regclass;
SELECT 'column', attname FROM pg_attribute WHERE attrelid = '$table'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'row_version';
SELECT 'trigger', tgname FROM pg_trigger WHERE tgrelid = '$table'::regclass AND NOT tgisinternal AND tgname <> 'migrate_prune';
SELECT 'proof', conname FROM pg_constraint WHERE conrelid = '$table'::regclass AND conname ~ '^row_version_[0-9]';
SQL
	foreach my $line (@lines)
	{
		my ($what, $name, @rest) = split /\|/, $line;
		$has{$what}{$name} = \@rest;
	}
	my %states = map { $_ => $has{state}{$_}[0] } keys %{ $has{state} };
	my $live = grep { /expanded|complete/ } values %states;
	my %columns = (a => 'a c id', ab => 'a b c id stamp', b => 'b c id stamp');

	give_up("$table is $states{$table} and has columns " . join ' ', sort keys %{ $has{column} })
		if join(' ', sort keys %{ $has{column} }) ne $columns{ $form_of{ $states{$table} } };
	give_up("$table has $live live migrations, proofs " . join(' ', keys %{ $has{proof} }) . ', triggers ' . join ' ', keys %{ $has{trigger} })
		if keys %{ $has{proof} } != $live || ($live > 0) != (keys %{ $has{trigger} } > 0);
	$life->{states} = \%states;
	$life->{versions} = { map { $_ => $has{state}{$_}[1] } keys %states };
	return;
}

# In each form that there is: what the writers wrote, and what nobody writes.
sub check_rows
{
	my ($life) = @_;
	my $table = $life->{table};
	my $has = $form_of{ $life->{states}{$table} };
	my @columns = split //, $has;
	my $second = $life->{states}{"${table}_2"} // 'none';
	my $c = $second =~ /none|defined/ ? 'bool_and(c = -id)' : 'bool_and(c > 0)';
	my $right = join ' AND ', $c, map { "bool_and($_ = " . ($_ eq 'a' ? 'id' : '10 * id') . ')' } @columns;
	my $n = $has =~ /a/ ? 'a' : 'b / 10';
	my $agree = $has eq 'ab' ? 'b = 10 * a' : 'true';
	my $stamps = join ' ', map { "SELECT 'stamp', $_->[1], $_->[2] FROM $table WHERE id <= $cold_rows AND row_version >= $life->{versions}{ $_->[0] };" }
		$has =~ /b/ ? [ $table, 'id', 'stamp' ] : (), $second =~ /none|defined/ ? () : [ "${table}_2", '-id', 'c' ];
	my (%found, %stamp);

	foreach my $line (split /\n/, sql(<<"SQL"))
SET enable_indexscan = off; SET enable_bitmapscan = off;
SELECT 'cold', count(*) = $cold_rows AND $right FROM $table WHERE id <= $cold_rows;
SELECT 'hot', id, $n, $agree FROM $table WHERE id >= 100000;
SELECT 'gone', count(*) = 1 + $gone[1] - $gone[0] AND count(*) = count(DISTINCT id)
	FROM (SELECT id FROM $table WHERE id BETWEEN $gone[0] AND $gone[1] UNION ALL SELECT id FROM ${table}_gone) g;
$stamps
SQL
	{
		my ($what, $id, @rest) = split /\|/, $line;
		if ($what eq 'cold') { give_up("rows of $table that nobody writes have changed") if $id ne 't' }
		elsif ($what eq 'gone') { give_up("rows of $table that are pruned are not once in it or its archive") if $id ne 't' }
		elsif ($what eq 'stamp') { $stamp{$id} = $rest[0] }
		else
		{
			give_up("row $id of $table is another in each form") if $rest[1] ne 't';
			$found{ int($id / 100_000) }{$id} = $rest[0];
		}
	}
	foreach my $writer (@{ $life->{writers} })
	{
		my $problem = $writer->problem($found{ $writer->{number} } // {});
		give_up("$table: $problem") if $problem;
	}
	# (Who converts commits asynchronously, so a crash may take that back, though we have seen it: not from now on.)
	sql("SELECT pg_logical_emit_message(true, 'kills', '')");
	my @again = grep { !defined $stamp{$_} || $stamp{$_} != $life->{stamps}{$_} } keys %{ $life->{stamps} };
	give_up("rows @again of $table were converted twice") if @again && $has =~ /b/;
	$life->{stamps} = $has =~ /b/ ? \%stamp : {};
	return;
}

# What may be said to one whose statement meets an end, or meets a change of the table.
my $told_writer = qr/^(?:42703|25P02|55P03|57014|57P0\d|53100)$/;
my $told_operator = qr/^(?:57014|57P0\d|53100|55P03|55000)$/;

my (%count, %told);

# Traffic, an operation, and an end to some of it.
sub round
{
	my ($life) = @_;
	my ($name, $statement) = next_operation($life);
	my (undef, $do, $before) = @{ pick_way($name) };
	my @forms = $form_of{ $life->{states}{ $life->{table} } } eq 'b' ? ('b') : $form_of{ $life->{states}{ $life->{table} } } eq 'a' ? ('a', 'a', 'b') : ('a', 'b');
	my $connection = $node->connstr('postgres');
	my $limit = $before->{limit} ? "SET $before->{limit} = " . (1 + int rand 60) : '';

	if ($name eq 'completion') { mend($life); set_rate(0) }
	fill_disk($before->{disk}) if $before->{disk};
	$_->start($connection, $limit, @forms) foreach @{ $life->{writers} };
	my @others = ($before->{is_locked} ? start_locker($life) : (), $name eq 'completion' && rand() < 0.5 ? start_onlooker() : ());
	my $operation = $statement && start_operation($limit, $statement, 'operation');
	$name = 'backfill' if $name eq 'completion' && !reach_completion($life);
	usleep(rand($name eq 'completion' ? 60_000 : 200_000));
	my $what = $do->() // signal_one('KILL', $client) // end_postmaster('QUIT');
	waitpid $_, 0 foreach @others;
	foreach my $code (map { $_->finish } @{ $life->{writers} })
	{
		give_up("a writer was told $code after $what while $name") unless $code =~ $told_writer;
		$told{"$code, writer"}++;
	}
	waitpid $operation, 0 if $operation;
	if ($operation && $? && (my ($code, $text) = slurp_file("$folder/operation.out") =~ /^(?:ERROR|FATAL|PANIC):  (\w{5}): (.*)/m))
	{
		give_up("$name was told $code: $text after $what") unless $code =~ $told_operator;
		$told{"$code, $name"}++;
	}
	wait_for(\&answers, "answer after $what");
	set_rate($life->{rate}) if $name eq 'completion';
	$count{$what}{$name}++;
	look($life);
	check_rows($life);
	return;
}

# It gets to completion without help, and then has what was declared, and that alone.
sub finish_conversion
{
	my ($life) = @_;

	set_rate(0);
	mend($life);
	foreach my $name (grep { $life->{states}{$_} eq 'expanded' } sort keys %{ $life->{states} })
	{
		wait_for(sub { sql("SELECT state FROM migrate.status WHERE name = '$name'") ne 'expanded' }, "completion of $name by itself");
	}
	set_rate($life->{rate});
	look($life);
	return;
}

# Where nothing is under way there is nothing half made.
sub check_objects
{
	my ($life) = @_;
	my $table = $life->{table};
	my $has_index = $life->{states}{$table} =~ /contracted|complete/;
	my $heaps = "SELECT '$table'::regclass UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = '$table'::regclass";
	my $expected = join "\n", ($has_index ? 't 2' : 't 1') x ($life->{in_parts} ? 4 : 1);
	my $query = "SELECT concat_ws(' ', bool_and(indisvalid AND NOT starts_with(c.relname, '!')), count(*))
		FROM pg_index i JOIN pg_class c ON c.oid = indexrelid WHERE indrelid IN ($heaps) GROUP BY indrelid";

	wait_for(sub { sql($query) eq $expected }, "indexes but the right ones of $table: " . sql($query));
	my $half = sql("SELECT string_agg(conname, ' ') FROM pg_constraint WHERE conrelid IN ($heaps) AND NOT convalidated AND conname !~ '^row_version_'");
	give_up("constraints of $table are not valid: $half") if $half ne '';
	my @at_rest = $has_index ? qw(failure) : qw(failure backfill declared_index);
	foreach my $catalog (@at_rest)
	{
		my $left = sql("SELECT count(*) FROM migrate.$catalog WHERE relation IN ($heaps)");
		give_up("migrate.$catalog has $left rows of $table, which is $life->{states}{$table}") if $left;
	}
	give_up("rows of $table are not pruned")
		if $has_index && $life->{pruned} && sql("SELECT count(*) FROM $table WHERE id BETWEEN $gone[0] AND $gone[1]");
	sql("SELECT bt_index_check(indexrelid, true) FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid IN ($heaps) AND c.relkind = 'i'")
		if $life->{amcheck};
	return;
}

sub check_heaps
{
	my ($life) = @_;
	my $table = $life->{table};
	my $broken = sql("SELECT string_agg(c.relname || ': ' || v.msg, '; ') FROM pg_class c, verify_heapam(c.oid) v
		WHERE c.relkind = 'r' AND c.relname ~ '^$table(_[123])?\$'");
	give_up("$table is not sound: $broken") if $broken ne '';
	return;
}

# Rows of our catalogs that are of tables that are gone.
sub check_catalogs
{
	foreach my $catalog (qw(managed formerly_managed migration recorded backfill prune declared_index failure column_use))
	{
		my $left = sql("SELECT string_agg(DISTINCT relation::oid::text, ' ') FROM migrate.$catalog WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = relation)");
		give_up("migrate.$catalog has rows of tables that are gone: $left") if $left ne '';
	}
	return;
}

# ---- lives, until there were enough kills ----

sql(<<'SQL');
CREATE EXTENSION migrate;
CREATE SEQUENCE stamps;
CREATE FUNCTION next_stamp(integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT nextval('public.stamps') $$;
CREATE FUNCTION next_stamp_once(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN $1 < 0 THEN nextval('public.stamps')::integer ELSE $1 END $$;
CREATE PROCEDURE await_completion(whose regclass, INOUT reached boolean DEFAULT false) LANGUAGE plpgsql AS $$
DECLARE
	until timestamptz := clock_timestamp() + '2 s';
BEGIN
	WHILE NOT reached AND clock_timestamp() < until LOOP
		COMMIT;
		SELECT coalesce(bool_and(phase IN ('indexing', 'proving', 'settling')), true) INTO reached
		FROM migrate.progress WHERE relation = whose;
	END LOOP;
END $$;
SQL
my $amcheck = $node->psql('postgres', 'CREATE EXTENSION amcheck') == 0;
my $done = 0;
my $lives = 0;
my $writes = 0;

while ($done < $kills)
{
	my $life = new_life('life' . ++$lives);
	my $kills_here = 0;

	$life->{amcheck} = $amcheck;
	look($life);
	while (grep { $_ ne 'contracted' } values %{ $life->{states} })
	{
		my $before = join ' ', map { "$_ $life->{states}{$_}" } sort keys %{ $life->{states} };
		round($life);
		$done++;
		my $after = join ' ', map { "$_ $life->{states}{$_}" } sort keys %{ $life->{states} };
		$kills_here = $before eq $after ? $kills_here + 1 : 0;
		$life->{rollbacks}++ if $before ne $after && $after =~ /rolled back/;
		$life->{to_contract} = $life->{twice} || $life->{rollbacks} > 1;
		finish_conversion($life) if $kills_here >= 3;
		check_objects($life) if $after !~ /defined|expanded/;
	}
	check_rows($life);
	$writes += $_->{writes} foreach @{ $life->{writers} };
	check_heaps($life) if $amcheck;
	sql("DROP TABLE $life->{table}, $life->{table}_gone");
	check_catalogs();
}
is(sql(q{SELECT count(*) FROM pg_index WHERE NOT indisvalid}), 0, 'no invalid index is left');
cmp_ok($writes, '>', $done, "$writes writes were acknowledged, and none was lost");
note("$done kills in $lives lives");
my @phases = qw(expand backfill run completion contract rollback);
note(sprintf '%-28s' . ' %10s' x @phases, 'ended', @phases);
foreach my $what (sort keys %count) { note(sprintf '%-28s' . ' %10d' x @phases, $what, map { $_ // 0 } @{ $count{$what} }{@phases}) }
note("told $_: $told{$_} times") foreach sort keys %told;

my $log = slurp_file($node->logfile);
unlike($log, qr/TRAP:|was terminated by signal (?!9)(?!6)|XX000|could not (?:open|read) /, 'the server has met no internal error');
$node->stop;
if ($has_disks) { system('umount', '-l', $_->[0]) foreach values %disk }
done_testing();
