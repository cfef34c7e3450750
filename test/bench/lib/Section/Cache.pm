# Cache.pm: a table three times as large as the shared buffers, on DISK_DIR, beside the
# same table in buffers that hold it, on DIR.

package Section::Cache;

use strict;
use warnings;

use Contender;
use Table;

my $SHAPE = 'ff100';

sub measure
{
	my ($bench) = @_;
	my $rows = $bench->rows(0.5);
	my %server = (cached => Server->start, disk => Server->start(folder => $ENV{DISK_DIR} || '/var/tmp'));
	Table::build($_, $SHAPE, $rows) foreach values %server;
	my %size = Table::sizes($server{disk}, Table::template($SHAPE, $rows));
	my $buffers = int($size{heap} / 3 / 8192);
	$server{disk}->restart_with('shared_buffers', $buffers < 128 ? 128 : $buffers);

	my @names = Contender::chosen(qw(run rewrite));
	foreach my $case (sort keys %server)
	{
		$bench->begin('cache', $case, $server{$case}, rows => $rows);
	}
	$bench->rounds(
		sub {
			my ($round) = @_;
			foreach my $case ($bench->turn($round, sort keys %server))
			{
				foreach my $name (@names)
				{
					$bench->add('cache', $case, $name, $round,
						Contender::convert($server{$case}, $SHAPE, $rows, $name));
				}
			}
		});
	$_->stop foreach values %server;
	return;
}

1;
