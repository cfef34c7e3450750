# Contract and rollback race with all that may come in between: writers of either
# form, plans and snapshots from before, prepared transactions, rows that fail, the
# work to completion, makers of views and indexes, releases that come and go, other
# migrations. What holds after each race: lib/ContractRace.pm.
#
# SEED=n repeats what the actors do, though not what they meet. For long:
#	RACES=10000 LANES=2
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use ContractRace;

my $seed = $ENV{SEED} // time;
my $races = $ENV{RACES} // 200;
my $lanes = $ENV{LANES} // 2;
note("SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
max_prepared_transactions = 20
fsync = off
autovacuum = off
deadlock_timeout = 100ms
log_statement = none
CONF
$node->start;

# A lane has a database of its own, for old snapshots hold up all contracts of a database.
sub prepare_lane
{
	my ($lane) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE lane_$lane");
	$node->safe_psql("lane_$lane", <<'SQL');
CREATE EXTENSION migrate;
CREATE TABLE bystander (i integer);
CREATE FUNCTION read_all(name text, OUT text) LANGUAGE plpgsql STABLE AS $$
BEGIN
	EXECUTE format('SELECT concat_ws(''|'', count(*), count(b), sum(b) FILTER (WHERE id IN (7, 8))) FROM %I', name) INTO $2;
END $$;
SQL
	return;
}

# In a process of its own; its report goes to a file.
sub run_lane
{
	my ($lane, $count, $report) = @_;
	my $connection = $node->connstr("lane_$lane");
	my $boss = ContractRace::open_session($connection);
	my @sessions = map { ContractRace::open_session($connection) } 1 .. 6;
	my %outcomes;
	my $race;

	srand($seed + $lane);
	foreach my $number (1 .. $count)
	{
		$race = ContractRace->new("t${lane}_$number", $race && $race->{goes_on} ? $race : undef);
		my $goes_on = eval { $race->run($boss, @sessions) };

		$race->problem("broken off: $@") if $@;
		$outcomes{ $race->{outcome} // 'none' }++;
		next if $goes_on && !@{ $race->{problems} };
		append_to_file($report, "problem in race $number of lane $lane:\n" . join("\n", @{ $race->{problems} }) . "\n" . $race->story(@sessions) . "\n");
		last;
	}
	append_to_file($report, join('', map { "outcome $_: $outcomes{$_}\n" } sort keys %outcomes));
	close $_->{in} foreach $boss, @sessions;
	return;
}

my %reports = map { $_ => "$PostgreSQL::Test::Utils::tmp_check/races_$_" } 1 .. $lanes;
my @children;
foreach my $lane (1 .. $lanes)
{
	prepare_lane($lane);
	unlink $reports{$lane};
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		run_lane($lane, int($races / $lanes), $reports{$lane});
		require POSIX;
		POSIX::_exit(0);
	}
	push @children, $pid;
}
waitpid $_, 0 foreach @children;

my %outcomes;
foreach my $lane (1 .. $lanes)
{
	my $report = slurp_file($reports{$lane});
	$outcomes{$1} += $2 while $report =~ s/^outcome (.+): (\d+)\n//m;
	is($report, '', "nothing goes wrong in lane $lane");
}
my $all = 0;
$all += $_ foreach values %outcomes;
note(join ', ', "$all races", map { "$outcomes{$_} $_" } sort keys %outcomes);
is($all, $lanes * int($races / $lanes), 'all races were run');
cmp_ok($outcomes{contracted} // 0, '>', $all / 10, 'in many of them the migration was contracted');
cmp_ok(($outcomes{complete} // 0) + ($outcomes{expanded} // 0), '>', $all / 10, 'in many others the contract was refused');

my $log = slurp_file($node->logfile);
unlike($log, qr/^.*(?:TRAP|PANIC|XX000|was terminated by signal).*$/m, 'the server has met no internal error');
$node->stop;
done_testing();
