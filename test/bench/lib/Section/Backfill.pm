# Backfill.pm: the conversion of a table that is cached, by all contenders, in each of
# SHAPES.

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
		my @contenders = Contender::chosen(Contender::names());
		@contenders = grep { Contender::can_skip_bad_rows($_) } @contenders if Table::bad_step($shape);
		next unless @contenders;
		$bench->begin('backfill', $shape, $server, rows => $rows, workers => Contender::workers());
		Table::build($server, $shape, $rows);
		$bench->rounds(
			sub {
				my ($round) = @_;
				foreach my $name ($bench->turn($round, @contenders))
				{
					$bench->add('backfill', $shape, $name, $round,
						Contender::convert($server, $shape, $rows, $name));
				}
			});
		Table::drop($server, $shape);
	}
	$server->stop;
	return;
}

1;
