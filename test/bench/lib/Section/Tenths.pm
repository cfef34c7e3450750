# Tenths.pm: whether a conversion slows down towards its end, in a small and in a large
# table: how long the first tenth of the rows takes, and the last.
#
# The time at which each row was converted is that of the commit of its xmin, which the
# server keeps (track_commit_timestamp). Batches are short so that there are many of
# them; within one, rows are taken to be evenly spread.

package Section::Tenths;

use strict;
use warnings;

use Contender;
use Table;

my $SHAPE = 'ff100';
my $BUFFER = 400;		# bytes for a row, with its share of the indexes

sub measure
{
	my ($bench) = @_;
	my ($small, $large) = (0.1, 2.5);
	my $buffers = int($bench->rows($large) * $BUFFER / 1024) + 128 * 1024;
	my $server = Server->start(track_commit_timestamp => 'on', shared_buffers => "${buffers}kB");
	foreach my $part ($small, $large)
	{
		my $rows = $bench->rows($part);
		Table::build($server, $SHAPE, $rows);
		$bench->begin('tenths', $rows, $server, rows => $rows);
		$bench->rounds(sub { $bench->add('tenths', $rows, 'run', $_[0], _tenths($server, $rows)) });
		Table::drop($server, $SHAPE, $rows);
	}
	$server->stop;
	return;
}

sub _tenths
{
	my ($server, $rows) = @_;
	my $database = Contender::prepare($server, $SHAPE, $rows, 'run');
	Table::warm_up($server, $database);
	my ($began) = split /\n/, $server->sql($database, <<'SQL');
SET migrate.target_batch_time = '10ms';
SELECT extract(epoch FROM clock_timestamp());
CALL migrate.run('t');
SQL
	my @commits = map { [ split /\|/ ] } split /\n/, $server->sql($database, <<'SQL');
SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin)), count(*) FROM t GROUP BY xmin ORDER BY 1
SQL
	Contender::finish($server, $SHAPE, $rows, 'run');
	my ($first, $ninth, $last) = map { _when($_ * $rows, $began, @commits) } 0.1, 0.9, 1;
	return (rows => $rows, commits => scalar @commits, first => $rows / 10 / ($first - $began),
		last => $rows / 10 / ($last - $ninth));
}

# When so many rows were converted.
sub _when
{
	my ($count, $began, @commits) = @_;
	my $before = $began;
	foreach my $commit (@commits)
	{
		my ($at, $rows) = @$commit;
		return $before + ($at - $before) * $count / $rows if $count <= $rows;
		$count -= $rows;
		$before = $at;
	}
	return $before;
}

1;
