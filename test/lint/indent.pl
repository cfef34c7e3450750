#!/usr/bin/perl
#
# indent.pl [--apply] FILE...
#		PostgreSQL's layout of C: names the lines that break it, or (--apply)
#		puts them right.
#
# pgindent, which defines that layout, is in no package. clang-format comes near
# it with the .clang-format of this tree, so it lays out statements and braces
# here; but three things it does otherwise, and they are kept from it:
#
#   macros			are a person's own affair
#   continuation	lines: how far they are indented, and whether a blank stands
#					between two parentheses
#   columns			in a line: names in declarations and comments after code are
#					aligned below, as pgindent does it (-di12 -cp33)
#
# So a line on which clang-format agrees but for those is left as it is.
use strict;
use warnings;

use File::Temp qw(tempdir);

my $clang_format = $ENV{CLANG_FORMAT} || 'clang-format';
my $apply = @ARGV && $ARGV[0] eq '--apply' ? shift : '';
my $scratch = tempdir(CLEANUP => 1);
my $bad = 0;

# A declaration's type: qualifiers and one name, but no statement's first word.
my $qualifier =
  qr/(?:const|volatile|static|extern|inline|struct|enum|union|unsigned|signed|long|short)\b/;
my $type_re =
  qr/(?:$qualifier[ \t]+)*(?!(?:return|goto|else|typedef|case|break)\b)[A-Za-z_]\w*(?:[ \t]+const\b)?/;

foreach my $file (@ARGV)
{
	my @lines = slurp($file);
	my @wanted = map { align($_) } merge($file, @lines);

	next if "@lines" eq "@wanted";
	$bad = 1;
	$apply ? spew($file, @wanted) : report($file, \@lines, \@wanted);
}
exit($bad && !$apply);

sub slurp
{
	my ($file) = @_;
	open(my $in, '<', $file) or die "$file: $!\n";
	my @lines = <$in>;
	close($in);
	return @lines;
}

sub spew
{
	my ($file, @lines) = @_;
	open(my $out, '>', $file) or die "$file: $!\n";
	print $out @lines;
	close($out) or die "$file: $!\n";
	return;
}

# The differing regions of two lists of lines, as [a1, a2, b1, b2), 0-based.
sub differences
{
	my ($old, $new) = @_;
	my @regions;

	spew("$scratch/a", @$old);
	spew("$scratch/b", @$new);
	foreach (`diff -a '$scratch/a' '$scratch/b'`)
	{
		my ($a1, $a2, $what, $b1, $b2) = /^(\d+)(?:,(\d+))?([acd])(\d+)(?:,(\d+))?$/
		  or next;
		$a2 //= $a1;
		$b2 //= $b1;
		push @regions,
		  [ $what eq 'a' ? $a1 : $a1 - 1, $a2, $what eq 'd' ? $b1 : $b1 - 1, $b2 ];
	}
	return @regions;
}

sub report
{
	my ($file, $old, $new) = @_;

	foreach (differences($old, $new))
	{
		my ($a1, $a2, $b1, $b2) = @$_;
		printf "%s:%d:\n", $file, $a1 + 1;
		print "\t-$_" foreach @$old[ $a1 .. $a2 - 1 ];
		print "\t+$_" foreach @$new[ $b1 .. $b2 - 1 ];
	}
	return;
}

# The file's lines with clang-format's in their place where it disagrees.
sub merge
{
	my ($file, @lines) = @_;
	my (@shown, @macros, @formatted, @merged);

	# A macro is shown to clang-format as one short line.
	for (my $i = 0; $i < @lines; $i++)
	{
		if ($lines[$i] =~ /^\s*#\s*define\b/)
		{
			my $macro = $lines[$i];
			$macro .= $lines[ ++$i ] while $macro =~ /\\\n\z/ && $i < $#lines;
			push @macros, $macro;
			push @shown, "#define KEPT_$#macros\n";
		}
		else
		{
			push @shown, $lines[$i];
		}
	}
	spew("$scratch/in", @shown);
	@formatted = `'$clang_format' --style=file --assume-filename='$file' < '$scratch/in'`;
	die "$clang_format failed on $file\n" if $? != 0;

	# It hugs the brace that ends an initialiser, where no comma comes before it.
	s/^(\t*)\t([^{}]*(?:\{[^{}]*\})?[^{}\s,]|\{[^{}]*\})\};\n/$1\t$2\n$1};\n/ foreach @formatted;
	@formatted = map { /[^\n]*\n/g } @formatted;

	my $at = 0;
	my @ours = essence(@shown);
	my @theirs = essence(@formatted);
	foreach (differences(\@ours, \@theirs))
	{
		my ($a1, $a2, $b1, $b2) = @$_;

		# Definitions start in the first column, and are not expressions.
		next if !(grep { /^\S/ } @shown[ $a1 .. $a2 - 1 ])
		  && same_but_broken([ @ours[ $a1 .. $a2 - 1 ] ], [ @theirs[ $b1 .. $b2 - 1 ] ]);
		push @merged, @shown[ $at .. $a1 - 1 ], @formatted[ $b1 .. $b2 - 1 ];
		$at = $a2;
	}
	push @merged, @shown[ $at .. $#shown ];
	s/^#define KEPT_(\d+)\n/$macros[$1]/ foreach @merged;
	return map { /[^\n]*\n|[^\n]+\z/g } @merged;
}

# Is this one expression or list, broken into lines in two ways?
sub same_but_broken
{
	my ($old, $new) = @_;
	my @text = map { join(' ', @$_) } ($old, $new);

	return 0 if grep { ends_statement($_) } @$old[ 0 .. $#$old - 1 ], @$new[ 0 .. $#$new - 1 ];
	s/\s*\n\s*/ /g, s/(?<=[(\[{]) | (?=[)\]}]|->)//g foreach @text;
	return $text[0] eq $text[1];
}

# Does the text end a statement, or what comes before one?
sub ends_statement
{
	my ($text) = @_;

	$text =~ s/\s*(\/\*.*\*\/)?\s*$//;
	return 1 if $text =~ /[;{}]$|^$|\*\/$|^\s*#|^\s*(else|do)$|^\s*(case\b.*|\w+):$/;
	return $text =~ /^\s*(if|else if|for|while|switch|for\w+) ?\(.*\)$/s
	  && ($text =~ tr/(//) == ($text =~ tr/)//);
}

# The lines without what is not clang-format's affair.
sub essence
{
	my @lines = @_;
	my $statement = '';

	foreach (@lines)
	{
		my $line = $_;

		s/(?<=\S)[ \t]+/ /g;
		s/ $//;
		s/\) (?=[({])/)/g;
		s/ (?=,)//g;
		s/^[ \t]+// if $statement ne '';
		$statement .= $line if $line =~ /\S/;
		$statement = '' if ends_statement($statement);
	}
	return @lines;
}

sub width
{
	my ($text) = @_;
	my $columns = 0;
	foreach my $char (split //, $text)
	{
		$columns += $char eq "\t" ? 4 - $columns % 4 : 1;
	}
	return $columns;
}

# White space up to a column: tabs, but a blank for a lone tab of one column.
sub pad
{
	my ($text, $column) = @_;
	my $gap = '';

	$gap .= "\t" while width("$text$gap\t") <= $column;
	$gap =~ s/^\t$/ / if width($text) % 4 == 3;
	$gap .= ' ' while width($text . $gap) < $column;
	return $text . $gap;
}

sub align
{
	my ($line) = @_;
	my $word = qr/(?:const|volatile|static|extern|inline|struct|enum|union|unsigned|signed|long|short|register)/;

	# A declaration: type, stars, name, and what cannot be the rest of a statement.
	my ($indent, $type, $stars, $rest) =
	  $line =~ /^(\t*)($type_re)[ \t]+(\**(?:const )?)(\w+(?:\[[^\]]*\])*(?:;| = |\().*)$/s;
	if (defined $rest
		&& ($indent eq '' ? $type =~ /^(static|extern)\b/ : $rest !~ /^\w+\(/))
	{
		my $start = width($indent) + 12 - length($stars);
		$type =~ s/[ \t]+/ /g;
		$line = width($indent . $type) < $start
		  ? pad($indent . $type, $start)
		  : "$indent$type ";
		$line .= $stars . $rest;
	}

	# A comment after code: in column 33, or at the next tab.
	my ($code, $comment) =
	  $line =~ /^(\s*[^\s\/"](?:[^"]*?\S)?)[ \t]+(\/\*(?:(?!\*\/).)*\*\/)$/;
	if (defined $comment && $code =~ /[;,]$|^#endif|^\s*\w+( = [-\w <]+)?$/)
	{
		$line = pad($code, width($code) < 32 ? 32 : width("$code\t")) . "$comment\n";
	}
	return $line;
}
