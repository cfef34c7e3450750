# Backfill.pm: the conversion of a table that is cached, by all contenders, in each of
# SHAPES. Slow ones may get a smaller table (SLOW_PART).

package Section::Backfill;

use strict;
use warnings;

use Contender;
use Table;

sub measure
{
	my ($bench) = @_;
	my $server = Server->start;
	foreach my $shape (split ' ', $ENV{SHAPES} || join ' ', Table::names())
	{
		my $rows = $bench->rows(Table::part($shape));
		my @names = Table::bad_step($shape) ? Contender::names_for_bad_rows() : Contender::names();
		my @contenders = Contender::chosen(@names);
		next unless @contenders;
		$bench->begin('backfill', $shape, $server, rows => $rows, workers => Contender::workers());
		my %rows = map { $_ => Contender::is_slow($_) ? int($rows * ($ENV{SLOW_PART} || 1)) : $rows } @contenders;
		my %sizes = map { $_ => 1 } values %rows;
		Table::build($server, $shape, $_) foreach keys %sizes;
		$bench->rounds(
			sub {
				my ($round) = @_;
				foreach my $name ($bench->turn($round, @contenders))
				{
					$bench->add('backfill', $shape, $name, $round,
						Contender::convert($server, $shape, $rows{$name}, $name));
				}
			});
		Table::drop($server, $shape, $_) foreach keys %sizes;
	}
	$server->stop;
	return;
}

1;
