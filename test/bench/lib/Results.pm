# Results.pm: the file of measurements, one on a line, as "name=value" between tabs.
#
# A line with begin=1 says under which circumstances those of its section and case were
# made that come after it. Those before count no more: only what was measured side
# by side is compared.

package Results;

use strict;
use warnings;

use IO::Handle;

sub to_append
{
	my ($class, $path) = @_;
	open my $file, '>>', $path or die "$path: $!\n";
	$file->autoflush(1);
	return bless { file => $file }, $class;
}

# Said of all that is begun from now on.
sub facts
{
	my ($self, @facts) = @_;
	$self->{facts} = \@facts;
	return;
}

sub begin
{
	my ($self, $section, $case, @facts) = @_;
	$self->_line(begin => 1, section => $section, case => $case, @facts, @{ $self->{facts} || [] });
	return;
}

sub add
{
	my ($self, $section, $case, $contender, $round, %figure) = @_;
	$self->_line(section => $section, case => $case, contender => $contender, round => $round,
		map { $_ => $figure{$_} } sort keys %figure);
	return;
}

sub _line
{
	my ($self, @pairs) = @_;
	my @fields;
	while (my ($name, $value) = splice @pairs, 0, 2)
	{
		$value = sprintf '%.7g', $value if $value =~ /^-?\d+\.\d+$/;
		$value =~ s/[\t\n]/ /g;
		push @fields, "$name=$value";
	}
	print { $self->{file} } join("\t", @fields), "\n" or die "cannot write results: $!\n";
	return;
}

# All that counts, as {section}{case}: "facts", the "contenders" in their order, and
# their "rounds", a list of the figures of each.
sub read_all
{
	my ($path) = @_;
	my %all;
	open my $file, '<', $path or die "$path: $!\n";
	while (my $line = <$file>)
	{
		chomp $line;
		my %field = map { split /=/, $_, 2 } split /\t/, $line;
		my ($section, $case) = delete @field{qw(section case)};
		if (delete $field{begin})
		{
			$all{$section}{$case} = { facts => \%field, contenders => [], rounds => {} };
			next;
		}
		my $of = $all{$section}{$case} or die "$path: line $. comes without a beginning\n";
		my $contender = $field{contender};
		push @{ $of->{contenders} }, $contender unless $of->{rounds}{$contender};
		push @{ $of->{rounds}{$contender} }, \%field;
	}
	return \%all;
}

sub median
{
	my @values = sort { $a <=> $b } @_;
	my $half = int(@values / 2);
	return @values % 2 ? $values[$half] : ($values[ $half - 1 ] + $values[$half]) / 2;
}

1;
