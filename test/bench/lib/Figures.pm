# Figures.pm: what is computed of the rounds of a case, and how it is written.
#
# Everything is a median over the rounds; a ratio, the median of the rounds' ratios. A
# figure is named, or a function of all those of a round.

package Figures;

use strict;
use warnings;

use Exporter 'import';

use Results;

our @EXPORT_OK = qw(values_of median_of ratio_of ratio_of_values with_range decimals thousands in_k table);

sub values_of
{
	my ($case, $contender, $what) = @_;
	return map { ref $what ? $what->($_) : $_->{$what} } @{ $case->{rounds}{$contender} || [] };
}

sub median_of
{
	my @values = values_of(@_);
	return @values ? Results::median(@values) : undef;
}

# Of what a contender did in a round to what another one did in the same.
sub ratio_of
{
	my ($case, $contender, $other, $what) = @_;
	return ratio_of_values([ values_of($case, $contender, $what) ], [ values_of($case, $other, $what) ]);
}

sub ratio_of_values
{
	my ($mine, $theirs) = @_;
	my $last = @$mine < @$theirs ? $#$mine : $#$theirs;
	return $last < 0 ? undef : Results::median(map { $mine->[$_] / $theirs->[$_] } 0 .. $last);
}

# The median, and between which values it lies.
sub with_range
{
	my ($format, @values) = @_;
	return '' unless @values;
	my ($least, $greatest) = map { $format->($_) } (sort { $a <=> $b } @values)[ 0, -1 ];
	return $format->(Results::median(@values)) . " ($least–$greatest)";
}

# A function that writes a number with so many of them.
sub decimals
{
	my ($count) = @_;
	return sub { return defined $_[0] ? sprintf "%.${count}f", $_[0] : '' };
}

sub thousands
{
	my ($value) = @_;
	return '' unless defined $value;
	my $text = sprintf '%.0f', $value;
	1 while $text =~ s/^(\d+)(\d{3})/$1,$2/;
	return $text;
}

sub in_k
{
	my ($value) = @_;
	return sprintf $value < 99500 ? '%.1fk' : '%.0fk', $value / 1000;
}

# In Markdown; the first column is of words, the others of numbers.
sub table
{
	my ($heads, @rows) = @_;
	my @align = ('---', ('---:') x $#$heads);
	return join '', map { '| ' . join(' | ', @$_) . " |\n" } $heads, \@align, @rows;
}

1;
