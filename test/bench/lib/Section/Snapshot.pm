# Snapshot.pm: somebody holds an old snapshot from before the conversion until it has got
# as far as it can get: does it wait and say for whom, and how large is the table then,
# and in the end?

package Section::Snapshot;

use strict;
use warnings;

use Time::HiRes qw(sleep time);

use Contender;
use Table;

my $SHAPE = 'ff100';
my $STANDSTILL = 3;		# seconds
my $TOO_LONG = 600;

# "growing" is the worker that was told not to wait.
my %procedure = (run => \&_run, worker => \&_worker, growing => \&_worker);

sub measure
{
	my ($bench) = @_;
	my $rows = $bench->rows(0.1);
	my $server = Server->start;
	Table::build($server, $SHAPE, $rows);
	$bench->begin('snapshot', $SHAPE, $server, rows => $rows);
	$bench->rounds(
		sub {
			my ($round) = @_;
			foreach my $name (qw(run worker growing))
			{
				$bench->add('snapshot', $SHAPE, $name, $round, _hold_up($server, $rows, $name));
			}
		});
	$server->stop;
	return;
}

sub _hold_up
{
	my ($server, $rows, $name) = @_;
	my $contender = $name eq 'growing' ? 'worker' : $name;
	$server->set('migrate.wait_for_horizon' => 'off') if $name eq 'growing';
	my $database = Contender::prepare($server, $SHAPE, $rows, $contender);
	Table::warm_up($server, $database);
	my %before = Table::sizes($server, $database);

	my $holder = $server->session($database);
	$holder->sql('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');
	my $pid = $holder->sql('SELECT pg_backend_pid()');
	my $said = $procedure{$name}->($server, $database, $pid);
	my %held = Table::sizes($server, $database);
	my $left = $server->sql($database, 'SELECT count(*) FROM t WHERE row_version < 2');
	$holder->close;

	my $began = time;
	$server->sql($database, $name eq 'run' ? q(CALL migrate.run('t')) : q(SELECT migrate.wait('m')));
	my $seconds = time - $began;
	my %after = Table::sizes($server, $database);
	Contender::finish($server, $SHAPE, $rows, $contender);
	$server->reset_settings('migrate.wait_for_horizon') if $name eq 'growing';
	return (said => $said, left => $left, seconds_after => $seconds, heap_held => $held{heap} / $before{heap},
		map { $_ => $after{$_} / $before{$_} } qw(heap pk name));
}

# It gives up in the end, with a notice.
sub _run
{
	my ($server, $database, $pid) = @_;
	$server->sql($database, q(CALL migrate.run('t')));
	my ($said) = $server->messages =~ /NOTICE:\s*(.*\bprocess $pid\b.*)/;
	die "run() did not name process $pid, but said: " . $server->messages unless $said;
	return _of_any_process($said, $pid);
}

# It stands still, and migrate.progress says why.
sub _worker
{
	my ($server, $database, $pid) = @_;
	my $watch = $server->session($database);
	my ($began, $since, $last) = (time, time, '');
	$server->sql($database, q(SELECT migrate.expand('m')));
	while (1)
	{
		my $state = $watch->sql(q(SELECT rows_converted, phase, throttled_by FROM migrate.progress));
		($since, $last) = (time, $state) if $state ne $last;
		if ($last =~ /\bprocess $pid\b/ && time - $since >= $STANDSTILL)
		{
			$watch->close;
			my (undef, $phase, $said) = split /\|/, $last;
			return _of_any_process("$phase: $said", $pid);
		}
		die "the worker does not say that it waits for process $pid, but: $last\n" if time - $began > $TOO_LONG;
		sleep 0.05;
	}
}

sub _of_any_process
{
	my ($said, $pid) = @_;
	$said =~ s/\b$pid\b/N/;
	return $said;
}

1;
