# Screen.pm: what the demo shows, and how.
#
# On a terminal: colours, and a region at the bottom that is drawn again in
# place. Elsewhere (a file, a log of CI): plain text, and of what moves a line
# every few seconds. The text is the same.

package Screen;

use strict;
use warnings;
use utf8;

use POSIX ();
use Time::HiRes qw(time);

my $LINE_EVERY = 4;		# seconds between lines of what moves, on no terminal

sub new
{
	my ($class) = @_;
	my $charset = $ENV{LC_ALL} || $ENV{LC_CTYPE} || $ENV{LANG} || '';
	my $self = bless {
		tty     => -t STDOUT && ($ENV{TERM} || 'dumb') ne 'dumb',
		utf8    => scalar($charset =~ /utf-?8/i),
		started => time,
		drawn   => 0,
		line_at => 0,
		step    => 0,
	}, $class;

	$self->{colour} = $self->{tty} && !$ENV{NO_COLOR};
	binmode STDOUT, $self->{utf8} ? ':encoding(UTF-8)' : ':encoding(ascii)';
	STDOUT->autoflush(1);
	return $self;
}

my %COLOURS = (
	bold => 1, dim => 2, red => 31, green => 32, yellow => 33, blue => 34,
	magenta => 35, cyan => 36);

sub paint
{
	my ($self, $colours, $text) = @_;
	return $text unless $self->{colour};
	return sprintf "\e[%sm%s\e[0m", join(';', map { $COLOURS{$_} } split / /, $colours), $text;
}

# A sign, or what stands for it where there is no such letter.
sub sign
{
	my ($self, $sign, $plain) = @_;
	return $self->{utf8} ? $sign : $plain;
}

# How wide the terminal is, as of when the moving lines were begun.
sub columns
{
	my ($self) = @_;

	if (!$self->{drawn} || !$self->{columns})
	{
		open my $saved, '<&', \*STDIN;
		open STDIN, '<&', \*STDOUT;
		my ($columns) = (`stty size 2> /dev/null` || '') =~ /^\d+ (\d+)/;
		open STDIN, '<&', $saved if $saved;
		$self->{columns} = $columns || $ENV{COLUMNS} || 80;
	}
	return $self->{columns};
}

# ---- what stays ---------------------------------------------------------------

sub put
{
	my ($self, @lines) = @_;
	$self->erase;
	print "$_\n" foreach @lines;
}

sub title
{
	my ($self, $title, @lines) = @_;
	$self->put('', '  ' . $self->paint('bold', $title), map { "  $_" } @lines);
}

# A new part of the story.
sub step
{
	my ($self, $title) = @_;
	my $at = sprintf '%d s', time - $self->{started};
	my $head = ++$self->{step} . '  ' . $title;
	my $rule = $self->sign("\x{2500}", '-') x (72 - length($head) - length($at));

	$self->put('', join ' ', $self->paint('bold blue', $head), $self->paint('dim', "$rule $at"));
}

# What is going on, for a person.
sub say
{
	my ($self, @lines) = @_;
	$self->put(map { $_ eq '' ? '' : "   $_" } @lines);
}

# A command as psql would show it; the lines after the first keep their indent.
sub command
{
	my ($self, $sql) = @_;
	my ($first, @rest) = split /\n/, $sql;

	$self->put('');
	$self->say($self->paint('dim', 'bank=> ') . $self->paint('cyan', $first),
		map { '       ' . $self->paint('cyan', $_) } @rest);
}

sub took
{
	my ($self, $ms) = @_;
	$self->say(' ' x 7 . $self->paint('bold green', _milliseconds($ms)));
}

sub _milliseconds
{
	my ($ms) = @_;
	return sprintf '%.1f ms', $ms if $ms < 1000;
	return sprintf '%.1f s', $ms / 1000;
}

# Rows below each other; the first holds the names. What looks like a number
# stands to the right.
sub table
{
	my ($self, @rows) = @_;
	my @width;
	my @number = (1) x @{ $rows[0] };

	foreach my $i (0 .. $#rows)
	{
		foreach my $k (0 .. $#{ $rows[$i] })
		{
			my $cell = $rows[$i][$k];
			$width[$k] = length $cell if length $cell > ($width[$k] || 0);
			$number[$k] = 0 if $i > 0 && $cell !~ /^[-+]?[\d,.]*( (tps|ms|s|%))?$/;
		}
	}
	foreach my $i (0 .. $#rows)
	{
		my $line = join '  ', map {
			sprintf $number[$_] ? '%*s' : '%-*2$s',
			  $number[$_] ? ($width[$_], $rows[$i][$_]) : ($rows[$i][$_], $width[$_])
		} 0 .. $#width;
		$line =~ s/\s+$//;
		$self->say(' ' x 7 . ($i == 0 ? $self->paint('dim', $line) : $line));
	}
}

# An error message of the server's, as it came, but for the width of the lines.
sub refused
{
	my ($self, $message) = @_;
	my $width = $self->columns - 19;

	foreach my $line (split /\n/, $message)
	{
		my ($label, $text) = $line =~ /^(ERROR|DETAIL|HINT|CONTEXT):\s+(.*)/;
		my ($first, @rest) = _wrap(defined $label ? $text : $line, $width > 100 ? 100 : $width);
		my $head = !defined $label ? ' ' x 8
		  : $self->paint($label eq 'ERROR' ? 'bold red' : 'yellow', sprintf '%-8s', "$label:");

		$self->say(' ' x 7 . "$head $first", map { ' ' x 18 . $_ } @rest);
	}
}

sub _wrap
{
	my ($text, $width) = @_;
	my @lines = ('');

	foreach my $word (split / /, $text)
	{
		push @lines, '' if length($lines[-1]) > 0 && length("$lines[-1] $word") > $width;
		$lines[-1] .= ($lines[-1] eq '' ? '' : ' ') . $word;
	}
	return @lines;
}

sub check
{
	my ($self, $ok, $claim, $found) = @_;
	my $mark = $ok ? $self->paint('green', 'ok    ') : $self->paint('bold red', 'not ok');
	$self->say("$mark  $claim" . (defined $found && $found ne '' ? $self->paint('dim', "  $found") : ''));
}

# ---- what moves ---------------------------------------------------------------

# Lines that replace those of the last call. $plain is what a log gets of it.
sub live
{
	my ($self, $plain, @lines) = @_;

	if (!$self->{tty})
	{
		return if $plain eq '' || time - $self->{line_at} < $LINE_EVERY;
		$self->{line_at} = time;
		$self->say($plain);
		return;
	}
	my $width = $self->columns - 1;
	my $text = join '', map { _cut("   $_", $width) . "\e[K\n" } @lines;
	print $self->{drawn} ? "\e[$self->{drawn}A" : '', $text, "\e[J";
	$self->{drawn} = @lines;
}

# Leave the moving lines on the screen as they are.
sub settle
{
	my ($self) = @_;
	$self->{drawn} = 0;
	$self->{line_at} = 0;
}

# Leave the line in which a terminal shows ^C.
sub interrupted
{
	my ($self) = @_;
	$self->settle;
	print "\n" if $self->{tty};
}

sub erase
{
	my ($self) = @_;
	print "\e[$self->{drawn}A\e[J" if $self->{drawn};
	$self->{drawn} = 0;
}

# Cut to a width, not counting colours.
sub _cut
{
	my ($line, $width) = @_;
	my $result = '';

	while ($line =~ /\G(\e\[[\d;]*m|.)/g)
	{
		my $piece = $1;
		next if $piece !~ /^\e/ && --$width < 0;
		$result .= $piece;
	}
	return $result;
}

sub bar
{
	my ($self, $percent, $width) = @_;
	my $filled = POSIX::floor($percent / 100 * $width * 8 + 0.5);

	return '[' . '#' x ($filled / 8) . '.' x ($width - int($filled / 8)) . ']' unless $self->{utf8};
	my $bar = "\x{2588}" x ($filled / 8);
	$bar .= chr(0x2590 - $filled % 8) if $filled % 8;
	my $rest = $width - length $bar;
	return $self->paint('green', $bar) . $self->paint('dim', "\x{2591}" x $rest);
}

# The last values as a line of small columns.
sub sparkline
{
	my ($self, $width, $top, @values) = @_;
	return '' unless $self->{utf8} && $top > 0;
	@values = @values[-$width .. -1] if @values > $width;
	my $line = join '', map {
		my $height = POSIX::floor($_ / $top * 8 + 0.5);
		chr(0x2580 + ($height < 1 ? 1 : $height > 8 ? 8 : $height));
	} @values;
	return ' ' x ($width - @values) . $line;
}

# 1234567 as 1,234,567
sub thousands
{
	my ($number) = @_;
	my $text = sprintf '%.0f', $number;
	1 while $text =~ s/^(-?\d+)(\d{3})/$1,$2/;
	return $text;
}

1;
