# Report.pm: the tables and plots that are made of the results, in Markdown and SVG.
#
# Everything is a median over the rounds; a ratio, the median of the rounds' ratios.

package Report;

use strict;
use warnings;

use Contender;
use Plot;
use Results;
use Table;

my %section = (
	backfill => \&_backfill, cache => \&_cache, snapshot => \&_snapshot,
	tenths => \&_tenths, foreground => \&_foreground, paths => \&_paths);

sub names { return qw(backfill cache snapshot tenths foreground paths) }

sub section
{
	my ($all, $name) = @_;
	return "Not measured yet.\n" unless $all->{$name} && grep { @{ $_->{contenders} } } values %{ $all->{$name} };
	return $section{$name}->($all->{$name});
}

# ---- of figures ------------------------------------------------------------------

# All rounds of a contender, as numbers: of one figure, or of a function of all.
sub _values
{
	my ($case, $contender, $what) = @_;
	return map { ref $what ? $what->($_) : $_->{$what} } @{ $case->{rounds}{$contender} || [] };
}

sub _median
{
	my @values = _values(@_);
	return @values ? Results::median(@values) : undef;
}

# Of what a contender did in a round to what another one did in the same.
sub _ratio
{
	my ($case, $contender, $other, $what) = @_;
	my @mine = _values($case, $contender, $what);
	my @theirs = _values($case, $other, $what);
	my $pairs = @mine < @theirs ? @mine : @theirs;
	return $pairs ? Results::median(map { $mine[$_] / $theirs[$_] } 0 .. $pairs - 1) : undef;
}

sub _range
{
	my ($format, @values) = @_;
	return '' unless @values;
	@values = sort { $a <=> $b } @values;
	return $format->(Results::median(@values)) . ' (' . $format->($values[0]) . '–' . $format->($values[-1]) . ')';
}

sub _number
{
	my ($digits, $value) = @_;
	return defined $value ? sprintf "%.${digits}f", $value : '';
}

sub _thousands
{
	my ($value) = @_;
	return '' unless defined $value;
	my $text = sprintf '%.0f', $value;
	1 while $text =~ s/^(\d+)(\d{3})/$1,$2/;
	return $text;
}

sub _k { return sprintf $_[0] < 99500 ? '%.1fk' : '%.0fk', $_[0] / 1000 }

# ---- of Markdown -----------------------------------------------------------------

sub _table
{
	my ($heads, @rows) = @_;
	my $align = join '|', ' --- ', map { ' ---: ' } 2 .. @$heads;
	return join '', map { "$_\n" } "| @{[ join ' | ', @$heads ]} |", "|$align|", map { "| @{[ join ' | ', @$_ ]} |" } @rows;
}

sub _circumstances
{
	my ($facts) = @_;
	my $workers = $facts->{workers} ? " Several workers are $facts->{workers}." : '';
	my $filesystem = $facts->{filesystem} eq 'tmpfs' ? 'memory (tmpfs)' : "disk ($facts->{filesystem})";
	return "$facts->{at}, PostgreSQL $facts->{server}, $facts->{machine}; $filesystem, "
	  . "`shared_buffers` $facts->{buffers}; $facts->{rounds} rounds.$workers";
}

sub _cases
{
	my ($of, @order) = @_;
	return grep { $of->{$_} && @{ $of->{$_}{contenders} } } @order;
}

# In their usual order, whoever began.
sub _contenders
{
	my ($case) = @_;
	return grep { $case->{rounds}{$_} } Contender::names();
}

# ---- the sections ----------------------------------------------------------------

sub _growth { my ($what) = @_; return sub { $_[0]{"${what}_after"} / $_[0]{"${what}_before"} } }

sub _backfill
{
	my ($of) = @_;
	my $text = '';
	foreach my $shape (_cases($of, Table::names()))
	{
		my $case = $of->{$shape};
		$text .= "**`$shape`**: " . _thousands($case->{facts}{rows}) . ' ' . Table::what($shape) . ".\n\n";
		$text .= Table::bad_step($shape) ? _bad_rows($of, $case) : _contest($case, $shape eq 'toast');
		$text .= "\n" . _circumstances($case->{facts}) . "\n\n";
	}
	return $text;
}

sub _contest
{
	my ($case, $toasted) = @_;
	my (@speed, @space);
	foreach my $name (_contenders($case))
	{
		push @speed, [ Contender::title($name), _range(\&_k, _values($case, $name, 'rate')),
			map { _number(2, _ratio($case, $name, $_, 'rate')) } qw(rewrite rewrite_single giant keyset) ];
		push @space, [ Contender::title($name), _number(2, _median($case, $name, _growth('heap'))),
			_number(2, _ratio($case, $name, 'rewrite', 'heap_after')),
			(map { _number(2, _median($case, $name, _growth($_))) } qw(pk name), $toasted ? 'toast' : ()),
			_thousands(_median($case, $name, sub { $_[0]{wal} / $_[0]{rows} })),
			_number(2, _ratio($case, $name, 'giant', 'wal')) ];
	}
	return _table([ '', 'rows/s', '/ rewrite', '/ that in one process', '/ UPDATE', '/ keyset' ], @speed)
	  . "\n" . _table([ '', 'heap', '/ that of a rewrite', 'primary key', 'text index', ($toasted ? 'TOAST' : ()),
		'WAL, bytes/row', '/ UPDATE' ], @space);
}

# Beside the same rows without any bad ones, which were measured at another moment.
sub _bad_rows
{
	my ($of, $case) = @_;
	my $rate = _median($case, 'run', 'rate');
	my $clean = $of->{ff100} ? _median($of->{ff100}, 'run', 'rate') : undef;
	return _table([ '', 'rows/s', '/ `ff100`', 'heap', 'pk', 'index' ],
		[ Contender::title('run'), _range(\&_k, _values($case, 'run', 'rate')),
			_number(2, $clean ? $rate / $clean : undef),
			map { _number(2, _median($case, 'run', _growth($_))) } qw(heap pk name) ]);
}

sub _cache
{
	my ($of) = @_;
	my ($cached, $disk) = @$of{qw(cached disk)};
	my @rows;
	foreach my $name (_contenders($disk))
	{
		my @cached = _values($cached, $name, 'rate');
		my @disk = _values($disk, $name, 'rate');
		push @rows, [ Contender::title($name), _range(\&_k, @cached), _range(\&_k, @disk),
			_number(2, Results::median(map { $disk[$_] / $cached[$_] } 0 .. ($#cached < $#disk ? $#cached : $#disk))),
			_number(2, _median($disk, $name, _growth('heap'))), _number(2, _median($disk, $name, _growth('name'))) ];
	}
	return _thousands($disk->{facts}{rows}) . " rows.\n\n"
	  . _table([ '', 'rows/s, cached', 'rows/s, a third cached', 'ratio', 'heap', 'index' ], @rows)
	  . "\nCached: " . _circumstances($cached->{facts}) . "\nA third cached: " . _circumstances($disk->{facts}) . "\n";
}

my %held_up = (
	run => '`CALL migrate.run()`, twice', worker => 'background worker',
	growing => 'the same, `wait_for_horizon` off');

sub _snapshot
{
	my ($of) = @_;
	my ($case) = values %$of;
	my @rows;
	my $said = '';
	foreach my $name (grep { $case->{rounds}{$_} } qw(run worker growing))
	{
		push @rows, [ $held_up{$name},
			_number(1, _median($case, $name, sub { 100 * $_[0]{left} / $case->{facts}{rows} })) . ' %',
			_number(2, _median($case, $name, 'heap_held')), _number(1, _median($case, $name, 'seconds_after')),
			map { _number(2, _median($case, $name, $_)) } qw(heap pk name) ];
		my %seen;
		$said .= "- $held_up{$name}: " . join(', ', map { "`$_`" } grep { !$seen{$_}++ } _values($case, $name, 'said')) . "\n";
	}
	return _thousands($case->{facts}{rows}) . " rows.\n\n"
	  . _table([ '', 'stale rows left while held', 'heap while held', 's from its end to completion', 'heap', 'pk', 'index' ], @rows)
	  . "\nWhat it says meanwhile:\n\n$said\n" . _circumstances($case->{facts}) . "\n";
}

sub _tenths
{
	my ($of) = @_;
	my @sizes = sort { $a <=> $b } _cases($of, keys %$of);
	my @rows;
	foreach my $size (@sizes)
	{
		my $case = $of->{$size};
		push @rows, [ _thousands($size) . ' rows', (map { _range(\&_k, _values($case, 'run', $_)) } qw(first last)),
			_range(sub { _number(2, @_) }, _values($case, 'run', sub { $_[0]{last} / $_[0]{first} })) ];
	}
	return _table([ '', 'rows/s, first tenth', 'rows/s, last tenth', 'last / first' ], @rows)
	  . "\n" . _circumstances($of->{ $sizes[0] }{facts}) . "\n";
}

sub _foreground
{
	my ($of) = @_;
	my ($case) = values %$of;
	my $facts = $case->{facts};
	my %title = (alone => 'left alone', throttled => 'throttled to ' . _thousands($facts->{throttle}) . ' rows/s');
	my @rows;
	foreach my $name (grep { $case->{rounds}{$_} } qw(alone throttled))
	{
		foreach my $phase (qw(before during after))
		{
			push @rows, [ "$title{$name}: $phase",
				$phase eq 'during' ? _thousands(_median($case, $name, sub { $_[0]{rows} / $_[0]{seconds} })) : '',
				_thousands(_median($case, $name, "tps_$phase")), _number(2, _median($case, $name, "p50_$phase")),
				_range(sub { _number(2, @_) }, _values($case, $name, "p99_$phase")),
				$phase eq 'before' ? '' : _number(2, _median($case, $name, sub { $_[0]{"p99_$phase"} / $_[0]{p99_before} })),
				_range(sub { _number(0, @_) }, _values($case, $name, $phase eq 'during' ? 'gap_whole' : "gap_$phase")) ];
		}
	}
	return _thousands($facts->{rows}) . ' rows; saturated, the clients do ' . _thousands($facts->{saturation})
	  . ' transactions/s, and here are sent ' . _thousands($facts->{rate}) . ".\n\n"
	  . _table([ 'worker', 'its rows/s', 'transactions/s', 'p50 ms', 'p99 ms', '/ before', 'longest gap, ms' ], @rows)
	  . "\n" . _circumstances($facts) . "\n";
}

sub _paths
{
	my ($of) = @_;
	my $text = '';
	my @states = qw(plain stale half complete);
	my %state = (plain => 'a column that was always there', stale => 'no row is converted', half => 'half of them are',
		complete => 'the migration is complete');
	my @of = _cases($of, qw(prepared simple scan));
	$text .= "Reads of the new column; speed relative to a column that was always there.\n\n"
	  . _table([ '', 'by key, prepared: /s', 'ratio', 'by key, simple: /s', 'ratio', 'whole table: ms', 'ratio' ],
		map { my $state = $_;
			[ $state{$state},
				(map { (_thousands(_median($of->{$_}, $state, 'tps')), _number(2, _ratio($of->{$_}, $state, 'plain', 'tps'))) } qw(prepared simple)),
				_number(1, _median($of->{scan}, $state, sub { 1000 / 3 * $_[0]{seconds} })),
				_number(2, _ratio($of->{scan}, $state, 'plain', sub { 1 / $_[0]{seconds} })) ]
		} @states) . "\n" if @of == 3;
	$text .= "Planning of queries to which no migration matters, in µs.\n\n"
	  . _table([ '', 'by key', 'ratio', 'a join of three', 'ratio' ],
		map { my $name = $_;
			[ $name eq 'with' ? 'library preloaded, a migration live' : 'without the library',
				map { (_number(1, _median($of->{planning}, $name, $_)), _number(2, _ratio($of->{planning}, $name, 'without', $_))) } qw(key join) ]
		} qw(without with)) . "\n" if $of->{planning};
	$text .= "Writes, in ns of processor time per row.\n\n" . _write($of->{write}) if $of->{write};
	my ($any) = _cases($of, keys %$of);
	return $text . "\n" . _thousands($of->{$any}{facts}{rows}) . ' rows are read. ' . _circumstances($of->{$any}{facts}) . "\n";
}

my %written = (
	'plain' => 'no trigger', 'both' => 'a migration (C triggers)', 'generated' => 'stored generated columns',
	'PL/pgSQL' => 'a PL/pgSQL trigger', 'first only' => 'a migration, first trigger only',
	'plain, own trigger' => 'an empty PL/pgSQL trigger', 'both, own trigger' => 'a migration and an empty PL/pgSQL trigger');

sub _write
{
	my ($case) = @_;
	return _table([ '', 'INSERT', 'ratio', 'UPDATE of the old column', 'ratio', 'UPDATE of another', 'ratio' ],
		map { my $name = $_;
			[ $written{$name}, map { (_number(0, _median($case, $name, $_)), _number(2, _ratio($case, $name, 'plain', $_))) }
				qw(insert update_old update_other) ]
		} grep { $case->{rounds}{$_} }
		  ('plain', 'generated', 'both', 'first only', 'PL/pgSQL', 'plain, own trigger', 'both, own trigger'));
}

# ---- the plot --------------------------------------------------------------------

my %class = (giant => 'others', keyset => 'others', keyset_procedure => 'others', range => 'others',
	rewrite => 'limit', rewrite_single => 'limit');

# Of the shapes that are given: rows per second.
sub plot
{
	my ($all, @shapes) = @_;
	my $of = $all->{backfill} || {};
	my @panels;
	foreach my $shape (_cases($of, @shapes))
	{
		my $case = $of->{$shape};
		push @panels, [ _thousands($case->{facts}{rows}) . ' ' . Table::what($shape) . ': rows per second',
			map { [ Contender::title($_), $class{$_} || 'ours', _values($case, $_, 'rate') ] } _contenders($case) ];
	}
	return @panels ? Plot::svg(\&_k, @panels) : undef;
}

1;
