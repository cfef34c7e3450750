# Plot.pm: bars of medians, with a dot for each round and a line from the smallest to the
# greatest, as an SVG that can be read on a light and on a dark page.

package Plot;

use strict;
use warnings;

use Results;

my ($LABELS, $BAR, $ROW, $WIDTH) = (430, 310, 22, 810);

# Panels of [title, [label, class, @values]...], one below another; each with its own scale.
# The class is "ours", "others" or "limit". Returns the text of the SVG.
sub svg
{
	my ($format, @panels) = @_;
	my $y = 0;
	my $body = '';
	foreach my $panel (@panels)
	{
		my ($title, @bars) = @$panel;
		my ($most) = sort { $b <=> $a } map { @$_[ 2 .. $#$_ ] } @bars;
		$y += 34;
		$body .= sprintf qq(<text class="title" x="10" y="%d">%s</text>\n), $y, _quote($title);
		$y += 10;
		foreach my $bar (@bars)
		{
			$body .= _bar($y, $most, $format, @$bar);
			$y += $ROW;
		}
	}
	return _frame($y + 14, $body);
}

sub _bar
{
	my ($y, $most, $format, $label, $class, @values) = @_;
	my $median = Results::median(@values);
	my $text = $y + 15;
	my $middle = $y + $ROW / 2;
	my $at = sub { return $LABELS + $BAR * $_[0] / $most };
	my $svg = sprintf qq(<text x="%d" y="%d" text-anchor="end">%s</text>\n), $LABELS - 8, $text, _quote($label);
	$svg .= sprintf qq(<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>\n),
	  $class, $LABELS, $y + 3, $at->($median) - $LABELS, $ROW - 6;
	my ($least, $greatest) = (sort { $a <=> $b } @values)[ 0, -1 ];
	$svg .= sprintf qq(<path d="M%.1f %dH%.1f"/>\n), $at->($least), $middle, $at->($greatest);
	$svg .= sprintf qq(<circle cx="%.1f" cy="%d" r="2"/>\n), $at->($_), $middle foreach @values;
	return $svg . sprintf qq(<text x="%d" y="%d">%s</text>\n), $at->($most) + 10, $text, $format->($median);
}

sub _frame
{
	my ($height, $body) = @_;
	return <<"SVG";
<svg xmlns="http://www.w3.org/2000/svg" width="$WIDTH" height="$height" viewBox="0 0 $WIDTH $height" role="img">
<style>
text { font: 13px sans-serif; fill: #1f2328 }
.title { font-weight: bold }
.ours { fill: #2f7ed8 }
.others { fill: #9aa4af }
.limit { fill: #d9a441 }
circle { fill: #1f2328; fill-opacity: 0.55 }
path { stroke: #1f2328; stroke-opacity: 0.55 }
\@media (prefers-color-scheme: dark) {
	text { fill: #e6edf3 }
	.others { fill: #6e7781 }
	circle { fill: #ffffff; fill-opacity: 0.7 }
	path { stroke: #ffffff; stroke-opacity: 0.7 }
}
</style>
$body</svg>
SVG
}

sub _quote
{
	my ($text) = @_;
	$text =~ s/&/&amp;/g;
	$text =~ s/</&lt;/g;
	$text =~ s/`//g;
	return $text;
}

1;
