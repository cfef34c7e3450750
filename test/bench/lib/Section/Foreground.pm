# Foreground.pm: what clients feel of a migration, from before expand to after contract,
# while a worker converts the table under them: one that is left alone, with the server's
# defaults, one that is throttled, and one that is throttled to a third of that. They send
# what they send at 60 % of what they could without it, whether it is answered or not.

package Section::Foreground;

use strict;
use warnings;

use Time::HiRes qw(sleep time);

use Load;
use Table;

my $SHAPE = 'ff100';
my $SHARE = 0.6;
my $WARM_UP = 3;		# seconds
my $PHASE = $ENV{PHASE} || 10;

sub measure
{
	my ($bench) = @_;
	my $rows = $bench->rows(0.4);
	# A server that has been up for a while takes segments of WAL that are there already.
	my $server = Server->start(wal_init_zero => 'off');
	Table::build($server, $SHAPE, $rows);
	$server->sql(Table::template($SHAPE, $rows), 'CREATE SEQUENCE t_ids START ' . ($rows + 1));
	my $most = _saturation($server, $rows);
	my $throttle = $ENV{THROTTLE} || int($rows / 20) || 1;
	my %limit = (alone => 0, throttled => $throttle, gentle => int($throttle / 3) || 1);
	my $rate = int($most * $SHARE) || 1;
	$bench->begin('foreground', $SHAPE, $server, rows => $rows, saturation => int($most), rate => $rate,
		throttle => $limit{throttled}, gentle => $limit{gentle});
	$bench->rounds(
		sub {
			my ($round) = @_;
			foreach my $name ($bench->turn($round, qw(alone throttled gentle)))
			{
				$bench->add('foreground', $SHAPE, $name, $round, _migrate($server, $rows, $rate, $limit{$name}));
			}
		});
	$server->stop;
	return;
}

sub _saturation
{
	my ($server, $rows) = @_;
	my $database = Table::copy($server, $SHAPE, $rows);
	Table::warm_up($server, $database);
	my $load = Load->start($server, $database, $rows, 0);
	sleep $WARM_UP;
	my $from = time;
	sleep $PHASE;
	my $to = time;
	$load->finish;
	my %figure = $load->figures($from, $to);
	return $figure{tps};
}

# Before a migration, while it is under way, and after it. That which comes after tells
# what of it the machine, or the larger table, may have done.
sub _migrate
{
	my ($server, $rows, $rate, $limit) = @_;
	my $database = Table::copy($server, $SHAPE, $rows);
	$server->sql($database, q(SELECT migrate.define('m', 't', add => 'name_norm text',
		up => 'name_norm = upper(name)', down => 'name = lower(name_norm)')));
	$server->set('migrate.autostart' => 'on', 'migrate.max_rows_per_second' => $limit);
	Table::warm_up($server, $database);
	my $load = Load->start($server, $database, $rows, $rate);
	sleep $WARM_UP;

	my @at = (time);
	sleep $PHASE;
	push @at, time;
	$server->sql($database, q(SELECT migrate.expand('m')));
	$server->sql($database, q(SELECT migrate.wait('m')));
	push @at, time;
	my $contract = $server->sql($database,
		q(SELECT pg_current_xact_id()::xid FROM migrate.contract('m', wait => '1 min')));
	push @at, time;
	sleep $PHASE / 2;
	push @at, time;
	$load->finish;

	$server->reset_settings('migrate.autostart', 'migrate.max_rows_per_second');
	_verify($server, $database, $contract);
	Table::remove_copy($server);
	my %before = $load->figures(@at[ 0, 1 ]);
	my %during = $load->figures(@at[ 1, 2 ]);
	my %whole = $load->figures(@at[ 1, 3 ]);
	my %after = $load->figures(@at[ 3, 4 ]);
	return (rows => $rows, seconds => $at[2] - $at[1], gap_whole => $whole{gap},
		map({ ("${_}_before" => $before{$_}) } keys %before),
		map({ ("${_}_during" => $during{$_}) } keys %during),
		map({ ("${_}_after" => $after{$_}) } keys %after));
}

# Rows that were written after the contract have one form only. Others were there, or were
# written, while there were two.
sub _verify
{
	my ($server, $database, $contract) = @_;
	my ($checked, $wrong) = split /\|/, $server->sql($database, <<"SQL");
SELECT count(*), count(*) FILTER (WHERE row_version <> 2 OR name_norm IS DISTINCT FROM upper(name))
FROM t WHERE age(xmin) > age('$contract'::xid)
SQL
	my $state = $server->sql($database, q(SELECT state FROM migrate.status));
	die "of $checked rows $wrong are wrong, and the migration is $state\n"
	  if $wrong || !$checked || $state ne 'contracted';
	return;
}

1;
