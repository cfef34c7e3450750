# Sessions that convert one table together, be it by migrate.run() or as workers: what limits
# the table limits all of them, each has a part, and what each part had to leave is
# come back for.

use strict;
use warnings;

use File::Basename;
use lib dirname(__FILE__) . '/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PsqlPipe;
use Test::More;

# With so small a cache, a heap of 512 blocks is worth dividing.
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
migrate.naptime = 1h
migrate.max_workers = 8
shared_buffers = '8MB'
max_worker_processes = 16
autovacuum = off
CONF
$node->start;

# Eight in a block.
my $rows = 16000;

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

sub wait_until
{
	my ($query, $what) = @_;
	ok($node->poll_query_until('postgres', $query), $what);
	return;
}

sub make
{
	my ($name, %with) = @_;
	my $up = $with{up} // 'b = a * 10';
	my $more = $with{more} // '';
	my $count = $with{rows} // $rows;
	sql("CREATE TABLE $name (id integer PRIMARY KEY, a integer, pad text);
		INSERT INTO $name SELECT i, i, repeat('x', 900) FROM generate_series(1, $count) i;
		SELECT migrate.define('$name', '$name', add => 'b integer', up => '$up' $more); SELECT migrate.expand('$name')");
	return;
}

# Sessions that are at a table and convert nothing.
my @sitting;

sub sit
{
	my ($name, $count) = @_;
	for (1 .. $count)
	{
		my $session = PsqlPipe->new($node->connstr('postgres'));
		$session->query("SET application_name = 'sits'; SET migrate.lock_timeout = '1h';
			SET migrate.throttle_query = 'SELECT true'");
		$session->send("CALL migrate.run('$name')");
		push @sitting, $session;
	}
	wait_until("SELECT count(*) = " . @sitting . " FROM pg_stat_activity WHERE application_name = 'sits'
		AND query LIKE 'CALL%' AND wait_event = 'Extension'", "$name: so many sit at it: " . @sitting);
	return;
}

sub rise
{
	sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sits'");
	$_->receive, $_->close for @sitting;
	@sitting = ();
	wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'sits'", 'they rise');
	return;
}

sql('CREATE EXTENSION migrate; CREATE EXTENSION amcheck');

# -- A limit of the table, in steps of a tenth of a second: how many rows one transaction
#    converts says which share of it the session has. (A pass over a window converts 32 of these.)
sub most_at_once
{
	my ($name, $limit) = @_;
	my $before = sql('SELECT txid_current()');
	sql("SET migrate.$limit; CALL migrate.run('$name', 40)");
	return sql("SELECT max(n) FROM (SELECT count(*) AS n FROM $name
		WHERE row_version = 2 AND xmin::text::bigint > $before GROUP BY xmin) s");
}

make('limited');
is(most_at_once('limited', 'max_rows_per_second = 100'), 10, 'a session alone has the whole limit');
sit('limited', 1);
is(most_at_once('limited', 'max_rows_per_second = 100'), 5, 'with another, half of it');
sit('limited', 3);
is(most_at_once('limited', 'max_rows_per_second = 100'), 2, 'with four, a fifth');
make('elsewhere');
is(most_at_once('elsewhere', 'max_rows_per_second = 100'), 10, 'a limit is one of a table');
rise();
is(most_at_once('limited', 'max_rows_per_second = 100'), 10, 'who has gone takes no share');

# Calls for a few rows each are no way around it.
my $took = sql("SELECT clock_timestamp() AS began \\gset
	SET migrate.max_rows_per_second = 250;\n" . ("CALL migrate.run('limited', 25);\n" x 5) .
	"SELECT extract(epoch FROM clock_timestamp() - :'began')");
$took =~ s/.*\n//s;
cmp_ok($took, '>=', 0.45, 'calls for a few rows each keep to it, too');

# -- Parts.

# As many sessions as are there have the table be that many parts: [0, 500), [500, 1000), [1000, 2000).
sub divide
{
	my ($name) = @_;
	sit($name, 2);
	sql("CALL migrate.run('$name', 1)") for 1 .. 3;
	rise();
	is(sql("SELECT count(*), bool_and(phase = 'converting') FROM migrate.backfill WHERE root = '$name'::regclass"), '3|t',
		"$name: it is in three parts");
	return;
}

# Several sessions call run() at the same time, with such settings.
sub begin_runs
{
	my ($name, $count, $settings) = @_;
	my @sessions;
	for (1 .. $count)
	{
		my $session = PsqlPipe->new($node->connstr('postgres'));
		$session->query("SET application_name = 'runs'; " . ($settings // ''));
		$session->send("CALL migrate.run('$name')");
		push @sessions, $session;
	}
	return @sessions;
}

# How many rows they have converted together, and their errors.
sub end_runs
{
	my (@sessions) = @_;
	my ($converted, @errors) = (0);
	for my $session (@sessions)
	{
		my ($lines, $error) = $session->receive;
		$converted += $1 if @$lines && $lines->[-1] =~ /^(\d+)/;
		push @errors, $error if defined $error;
		$session->close;
	}
	return ($converted, join("\n", @errors));
}

sub run_together
{
	return end_runs(begin_runs(@_));
}

# What phases the parts are in that have left rows, and how many in each of the three. (A session
# that has done its part divides another's.)
sub left_behind
{
	my ($name) = @_;
	return sql("SELECT (SELECT string_agg(DISTINCT phase, ' ') FROM migrate.backfill
			WHERE root = '$name'::regclass AND skipped + failed > 0),
		string_agg(rows, ' ' ORDER BY part) FROM (SELECT width_bucket(first_block, '{0,500,1000}') AS part,
			format('%s+%s', sum(skipped), sum(failed)) AS rows FROM migrate.backfill WHERE root = '$name'::regclass GROUP BY 1) p");
}

sub is_complete
{
	my ($name, $condition, $count) = @_;
	is(sql("SELECT state FROM migrate.migration WHERE name = '$name'"), 'complete', "$name: complete");
	is(sql("SELECT count(*), count(*) FILTER (WHERE row_version <> 2 OR ($condition) IS NOT TRUE) FROM $name"), ($count // $rows) . '|0',
		"$name: all rows are converted");
	is(sql("SELECT count(*) FROM verify_heapam('$name')"), 0, "$name: its heap is sound");
	sql("SELECT bt_index_check('${name}_pkey', true)");
	return;
}

sub converted_in_all
{
	my ($name) = @_;
	return sql("SELECT substring(detail, '^\\d+') FROM migrate.history WHERE migration = '$name' AND event = 'complete'");
}

# Rows that others hold, in each part.
make('held');
divide('held');
my $holder = PsqlPipe->new($node->connstr('postgres'));
$holder->query('BEGIN; SELECT FROM held WHERE id IN (100, 7000, 9000, 16000) FOR UPDATE');
my (undef, $errors) = run_together('held', 3, "SET migrate.lock_timeout = '200ms'; SET migrate.wait_for_horizon = off");
is($errors, '', 'held: nothing fails');
is(left_behind('held'), 'waiting|1+0 1+0 2+0', 'held: each part has left its own');
is(sql("SET migrate.lock_timeout = '200ms'; CALL migrate.run('held')"), '0|4', 'held: these are left, round after round');
is(sql("SELECT min(round) > 1, min(round) = max(round) FROM migrate.backfill
	WHERE root = 'held'::regclass AND skipped > 0"), 't|t', 'held: which are the same for all parts');
$holder->query('ROLLBACK');
my ($converted) = run_together('held', 3);
is($converted, 4, 'held: they are converted when they are let go');
is_complete('held', 'b = a * 10');
is(converted_in_all('held'), $rows, 'held: each row once');

# Rows that fail, in each part, and are put in line again.
make('failing', up => 'b = 1000 / (a % 4000)');
divide('failing');
(undef, $errors) = run_together('failing', 3);
is($errors, '', 'failing: rows fail, nothing else');
is(left_behind('failing'), 'failed|0+1 0+1 0+2', 'failing: each part has its own');
is(sql("SELECT string_agg(row_key ->> 'id', ' ' ORDER BY (row_key ->> 'id')::integer) FROM migrate.failures"), '4000 8000 12000 16000',
	'failing: they are recorded');
sql('UPDATE failing SET a = 1 WHERE id IN (4000, 12000)');
is(sql("SELECT migrate.retry('failing')"), 4, 'failing: all are put in line');
is((run_together('failing', 3))[1], '', 'failing: three sessions try again');
is(left_behind('failing'), 'failed|0+0 0+1 0+1', 'failing: what is left is where it is');
sql('DELETE FROM failing WHERE id IN (8000, 16000)');
sql("SELECT migrate.retry('failing')");
is((run_together('failing', 3))[1], '', 'failing: and again');
is_complete('failing', 'b = 1000 / (a % 4000)', $rows - 2);

# The same where writes are deferred: nobody has to say that they are mended.
make('deferred', up => 'b = 1000 / (a % 4000)', more => ", on_error => 'defer'");
divide('deferred');
(undef, $errors) = run_together('deferred', 3);
is(left_behind('deferred'), 'failed|0+1 0+1 0+2', 'deferred: rows fail in each part');
sql("INSERT INTO deferred VALUES (0, 0, 'deferred'); UPDATE deferred SET a = 4000 WHERE id IN (1, 9000);
	UPDATE deferred SET a = 1 WHERE a % 4000 = 0 AND id > 1");
is((run_together('deferred', 3))[1], '', 'deferred: nothing else fails');
is(sql("SELECT string_agg(row_key ->> 'id', ' ' ORDER BY row_key) FROM migrate.failures"), '0 1', 'deferred: two were deferred since');
sql('UPDATE deferred SET a = 1 WHERE id < 2');
is((run_together('deferred', 3))[1], '', 'deferred: and are mended');
is_complete('deferred', 'b = 1000 / (a % 4000)', $rows + 1);

# Another file, while three are at three parts, slowly.
my %given = (
	vacuumed => 'VACUUM FULL vacuumed',
	clustered => 'CLUSTER clustered USING clustered_pkey',
	truncated => "TRUNCATE truncated; INSERT INTO truncated (id, a) SELECT i, i FROM generate_series(1, $rows) i");
for my $name (sort keys %given)
{
	make($name);
	divide($name);
	my @slow = begin_runs($name, 3, "SET migrate.max_rows_per_second = 500; SET migrate.lock_timeout = '1min'");
	wait_until("SELECT count(*) >= 3 FROM migrate.backfill WHERE root = '$name'::regclass AND rows_converted > 1",
		"$name: three are at work before");
	sql($given{$name});
	wait_until("SELECT count(*) = count(*) FILTER (WHERE filenode = pg_relation_filenode('$name')) FROM migrate.backfill
		WHERE root = '$name'::regclass", "$name: it is noticed");
	sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'runs'");
	is(join("\n", grep { /^(?!LOCATION)[A-Z]+:/ && !/57014/ } split /\n/, (end_runs(@slow))[1]), '', "$name: nobody fails");
	is((run_together($name, 3))[1], '', "$name: three go on");
	is_complete($name, 'b = a * 10');
	my $converted = converted_in_all($name);
	$name eq 'truncated' ? cmp_ok($converted, '<', $rows / 2, "$name: what was written since was converted then")
	  : is($converted, $rows, "$name: each row once");
}

# The blocks of two parts, given back.
make('shrunk');
divide('shrunk');
sql(q{DELETE FROM shrunk WHERE ctid >= '(400,0)'; VACUUM shrunk});
is(sql("SELECT pg_relation_size('shrunk') / 8192 < (SELECT min(first_block) FROM migrate.backfill
	WHERE root = 'shrunk'::regclass AND first_block > 0)"), 't', 'shrunk: two parts are beyond its end');
is((run_together('shrunk', 3))[1], '', 'shrunk: nobody fails');
is_complete('shrunk', 'b = a * 10', sql('SELECT count(*) FROM shrunk'));

# -- While an old snapshot is in the way, more windows are opened than the eight, of 32 blocks
#    each, that a session has else: as many as there is memory for.
make('waiting', rows => 6000);
my $old = PsqlPipe->new($node->connstr('postgres'));
$old->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');

sub untouched
{
	return sql('SELECT count(*) FROM (SELECT FROM waiting WHERE row_version = 1
		GROUP BY (ctid::text::point)[0] HAVING count(*) = 8) s');
}

sub run_held
{
	my ($memory) = @_;
	sql("SET effective_cache_size = '$memory'; SET migrate.lock_timeout = '1s'; CALL migrate.run('waiting')");
	return;
}

is(untouched(), 750, 'waiting: so many blocks');
run_held('8MB');
is(untouched(), 750 - 8 * 32, 'waiting: eight windows are open');
run_held('1GB');
is(untouched(), 0, 'waiting: all are');
$old->query('COMMIT');
$old->close;
is((run_together('waiting', 1))[1], '', 'waiting: it goes on');
is_complete('waiting', 'b = a * 10', 6000);

$node->stop;
done_testing();
