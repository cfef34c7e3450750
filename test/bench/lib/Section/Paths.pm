# Paths.pm: what migrations cost the statements of others: reads of a new column while
# the table is stale, half stale and complete, beside a column that was always there;
# planning of queries that have nothing to do with any; and writes (write.sql).

package Section::Paths;

use strict;
use warnings;

use FindBin;

use Server;
use Table;

my $SHAPE = 'ff100';
my $SLICE = $ENV{SLICE} || 2;			# seconds
my $WRITE = Server::slurp("$FindBin::RealBin/write.sql");

my @states = qw(plain stale half complete);

my %query = (
	key => 'SELECT note FROM other WHERE id = 1',
	join => 'SELECT a.note, count(*) FROM other a JOIN other b USING (id) JOIN other c USING (id) '
	  . 'WHERE b.note > 5 GROUP BY a.note ORDER BY 2 LIMIT 10');
my $PLANNED = 2000;						# times

sub measure
{
	my ($bench) = @_;
	my $rows = $bench->rows(0.1);
	my $server = Server->start;
	my $without = Server->start(shared_preload_libraries => "''", shared_buffers => '64MB');
	_build($server, $rows);
	$_->sql('postgres', _planning()) foreach $server, $without;
	$server->sql('postgres', q(CREATE EXTENSION migrate;
		CREATE TABLE live (a integer);
		SELECT migrate.define('live', 'live', add => 'b integer', up => 'b = a');
		SELECT migrate.expand('live');));
	$server->sql('postgres', 'CREATE DATABASE write');

	$bench->begin('paths', $_, $server, rows => $rows) foreach qw(prepared simple scan planning write);
	$bench->rounds(
		sub {
			my ($round) = @_;
			foreach my $protocol (qw(prepared simple))
			{
				$bench->add('paths', $protocol, $_, $round, _by_key($server, $_, $rows, $protocol))
				  foreach $bench->turn($round, @states);
			}
			$bench->add('paths', 'scan', $_, $round, _scan($server, $_)) foreach $bench->turn($round, @states);
			my %library = (with => $server, without => $without);
			$bench->add('paths', 'planning', $_, $round, _plan($library{$_}))
			  foreach $bench->turn($round, qw(without with));
			_write($bench, $server, $round);
		});
	$_->stop foreach $server, $without;
	return;
}

# The same rows in each state.
sub _build
{
	my ($server, $rows) = @_;
	my $half = int($rows / 2);
	Table::build($server, $SHAPE, $rows);
	Table::copy($server, $SHAPE, $rows);
	$server->sql('bench', 'ALTER TABLE t ADD name_norm text; UPDATE t SET name_norm = upper(name); VACUUM FULL t;');
	$server->sql('bench', 'ALTER TABLE t RENAME TO plain');
	foreach my $state (qw(stale half complete))
	{
		my $run = { half => "CALL migrate.run('half', $half);", complete => q(CALL migrate.run('complete');) };
		$server->sql('bench', <<"SQL");
CREATE TABLE $state AS SELECT id, name, val, created, payload FROM plain;
ALTER TABLE $state ADD PRIMARY KEY (id);
SELECT migrate.define('$state', '$state', add => 'name_norm text', up => 'name_norm = upper(name)');
SELECT migrate.expand('$state');
@{[ $run->{$state} || '' ]}
SQL
	}
	foreach my $state (@states)
	{
		$server->sql('bench', "VACUUM (FREEZE, ANALYZE) $state");
		my $wrong = $server->sql('bench', <<"SQL");
SELECT count(*) FROM plain FULL JOIN $state s USING (id) WHERE plain.name_norm IS DISTINCT FROM s.name_norm
SQL
		die "in the table that is $state $wrong rows read wrong\n" if $wrong;
	}
	my $state = $server->sql('bench', q(SELECT state FROM migrate.status WHERE name = 'complete'));
	die "the migration that should be complete is $state\n" if $state ne 'complete';
	my $stale = $server->sql('bench', q(SELECT count(*) FROM half WHERE row_version < 2));
	die "$stale of $rows rows are stale, which is not half of them\n"
	  if $stale < 0.4 * $rows || $stale > 0.6 * $rows;
	return;
}

sub _by_key
{
	my ($server, $table, $rows, $protocol) = @_;
	my $path = $server->folder . '/select.sql';
	open my $file, '>', $path or die "$path: $!\n";
	print $file "\\set id random(1, $rows)\nSELECT name_norm FROM $table WHERE id = :id;\n";
	close $file or die "$path: $!\n";
	my ($host, $socket, $user, $name, undef, $database) = $server->address('bench');
	my $out = $server->run_program('pgbench', '-n', '-M', $protocol, '-c', 1, '-T', $SLICE, '-f', $path,
		$host, $socket, $user, $name, $database);
	$out =~ /^tps = ([\d.]+)/m or die "pgbench does not say how many transactions\n$out";
	return (tps => $1);
}

sub _scan
{
	my ($server, $table) = @_;
	return (ms => 1000 / 3 * $server->seconds('bench', <<"SQL"));
SET max_parallel_workers_per_gather = 0;
SELECT sum(length(name_norm)), max(name_norm) FROM $table;
SELECT sum(length(name_norm)), max(name_norm) FROM $table;
SELECT sum(length(name_norm)), max(name_norm) FROM $table;
SQL
}

# A table, and a function that tells how many microseconds it takes to plan a query: of
# so many times the mean of the fastest three quarters, for some are interrupted.
sub _planning
{
	return <<'SQL';
CREATE TABLE other (id integer PRIMARY KEY, note integer);
INSERT INTO other SELECT i, i % 10 FROM generate_series(1, 1000) i;
VACUUM ANALYZE other;
CREATE FUNCTION planning(query text, times integer) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
	plan json;
	taken double precision[];
BEGIN
	FOR i IN 1 .. times LOOP
		EXECUTE 'EXPLAIN (SUMMARY, FORMAT JSON) ' || query INTO plan;
		taken[i] := plan -> 0 ->> 'Planning Time';
	END LOOP;
	RETURN (SELECT 1000 * avg(ms) FROM (SELECT ms FROM unnest(taken) ms ORDER BY ms LIMIT times * 3 / 4) fast);
END $$;
SQL
}

sub _plan
{
	my ($server) = @_;
	my %figure;
	foreach my $name (keys %query)
	{
		(my $query = $query{$name}) =~ s/'/''/g;
		my ($warm, $us) = split /\n/, $server->sql('postgres',
			"SELECT planning('$query', 100); SELECT planning('$query', $PLANNED)");
		$figure{$name} = $us;
	}
	return %figure;
}

sub _write
{
	my ($bench, $server, $round) = @_;
	my $out = $server->sql('write', "\\set rows 5000\n\\set rounds 20\n$WRITE");
	foreach my $line (split /\n/, $out)
	{
		my ($table, %figure);
		($table, @figure{qw(insert update_other update_old)}) = split /\|/, $line;
		$bench->add('paths', 'write', $table, $round, %figure);
	}
	return;
}

1;
