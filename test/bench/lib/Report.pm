# Report.pm: what is told of each section, in Markdown, and the plot.

package Report;

use strict;
use warnings;

use Contender;
use Figures qw(values_of median_of ratio_of ratio_of_values with_range decimals thousands in_k table);
use Plot;
use Table;

my ($whole, $tenth, $hundredth) = map { decimals($_) } 0 .. 2;

my %section = (
	backfill => \&_backfill, cache => \&_cache, snapshot => \&_snapshot,
	tenths => \&_tenths, foreground => \&_foreground, paths => \&_paths);

sub names { return qw(backfill cache snapshot tenths foreground paths) }

sub section
{
	my ($all, $name) = @_;
	my $of = $all->{$name} || {};
	return "Not measured yet.\n" unless _measured($of, keys %$of);
	return $section{$name}->($of);
}

# Which of these cases there are.
sub _measured
{
	my ($of, @cases) = @_;
	return grep { $of->{$_} && @{ $of->{$_}{contenders} } } @cases;
}

sub _circumstances
{
	my ($facts) = @_;
	my $folder = $facts->{filesystem} eq 'tmpfs' ? 'memory (tmpfs)' : "disk ($facts->{filesystem})";
	return "$facts->{at}, PostgreSQL $facts->{server}, $facts->{machine}; $folder, "
	  . "`shared_buffers` $facts->{buffers}; rounds: $facts->{rounds}.";
}

sub _growth
{
	my ($what) = @_;
	return sub { $_[0]{"${what}_after"} / $_[0]{"${what}_before"} };
}

sub _per_row
{
	my ($what) = @_;
	return sub { $_[0]{$what} / $_[0]{rows} };
}

# In their usual order, whoever began.
sub _contenders
{
	my ($case) = @_;
	return grep { $case->{rounds}{$_} } Contender::names();
}

# ---- backfill --------------------------------------------------------------------

sub _backfill
{
	my ($of) = @_;
	my $text = '';
	foreach my $shape (_measured($of, Table::names()))
	{
		my $case = $of->{$shape};
		$text .= "**`$shape`**: " . thousands($case->{facts}{rows}) . ' ' . Table::what($shape) . ".\n\n";
		$text .= Table::bad_step($shape) ? _bad_rows($case) : _speed($case) . "\n" . _space($case, $shape);
		$text .= "\n" . _circumstances($case->{facts}) . _and_moreover($case) . "\n\n";
	}
	return $text;
}

sub _speed
{
	my ($case) = @_;
	my @rows;
	foreach my $name (_contenders($case))
	{
		my @ratios = map { ratio_of($case, $name, $_, 'rate') } qw(rewrite rewrite_single giant keyset);
		push @rows, [ Contender::title($name), with_range(\&in_k, values_of($case, $name, 'rate')),
			map { $hundredth->($_) } @ratios ];
	}
	return table([ '', 'rows/s', '/ rewrite', '/ that in one process', '/ UPDATE', '/ keyset' ], @rows);
}

sub _space
{
	my ($case, $shape) = @_;
	my @toast = $shape eq 'toast' ? ('toast') : ();
	my @rows;
	foreach my $name (_contenders($case))
	{
		my ($heap, @others) = map { median_of($case, $name, _growth($_)) } qw(heap pk name), @toast;
		my $limit = ratio_of($case, $name, 'rewrite', _per_row('heap_after'));
		push @rows, [ Contender::title($name), (map { $hundredth->($_) } $heap, $limit, @others),
			thousands(median_of($case, $name, _per_row('wal'))),
			$hundredth->(ratio_of($case, $name, 'giant', _per_row('wal'))) ];
	}
	return table([ '', 'heap', '/ that of a rewrite', 'primary key', 'text index', (map { 'TOAST' } @toast),
		'WAL, bytes/row', '/ UPDATE' ], @rows);
}

sub _bad_rows
{
	my ($case) = @_;
	my @rows;
	foreach my $name (grep { $case->{rounds}{$_} } Contender::names_for_bad_rows())
	{
		push @rows, [ Contender::title($name), with_range(\&in_k, values_of($case, $name, 'rate')),
			$hundredth->(ratio_of($case, $name, 'sound', 'rate')),
			map { $hundredth->(median_of($case, $name, _growth($_))) } qw(heap pk name) ];
	}
	return table([ '', 'rows/s', 'ratio', 'heap', 'primary key', 'text index' ], @rows);
}

sub _and_moreover
{
	my ($case) = @_;
	my $facts = $case->{facts};
	my ($fewer) = grep { $_ != $facts->{rows} } map { $case->{rounds}{$_}[0]{rows} } _contenders($case);
	return ($case->{rounds}{workers} ? " Several workers are $facts->{workers}." : '')
	  . ($fewer ? ' Keyset batches and ranges had ' . thousands($fewer) . ' rows to convert.' : '');
}

# ---- cache, snapshot, tenths -----------------------------------------------------

sub _cache
{
	my ($of) = @_;
	my ($cached, $disk) = @$of{qw(cached disk)};
	my @rows;
	foreach my $name (_contenders($disk))
	{
		my @cached = values_of($cached, $name, 'rate');
		my @disk = values_of($disk, $name, 'rate');
		push @rows, [ Contender::title($name), with_range(\&in_k, @cached), with_range(\&in_k, @disk),
			$hundredth->(ratio_of_values(\@disk, \@cached)),
			map { $hundredth->(median_of($disk, $name, _growth($_))) } qw(heap name) ];
	}
	return thousands($disk->{facts}{rows}) . " rows.\n\n"
	  . table([ '', 'rows/s, cached', 'rows/s, a third cached', 'ratio', 'heap', 'text index' ], @rows)
	  . "\nCached: " . _circumstances($cached->{facts})
	  . "\n\nA third cached: " . _circumstances($disk->{facts}) . "\n";
}

my %held_up = (
	run => '`CALL migrate.run()`, twice', worker => 'background worker',
	growing => 'the same, `migrate.wait_for_horizon` off');

sub _snapshot
{
	my ($of) = @_;
	my ($case) = values %$of;
	my $left = sub { 100 * $_[0]{left} / $case->{facts}{rows} };
	my (@rows, @said);
	foreach my $name (qw(run worker growing))
	{
		my %said = map { $_ => 1 } values_of($case, $name, 'said');
		push @rows, [ $held_up{$name}, $tenth->(median_of($case, $name, $left)) . ' %',
			$hundredth->(median_of($case, $name, 'heap_held')), $tenth->(median_of($case, $name, 'seconds_after')),
			map { $hundredth->(median_of($case, $name, $_)) } qw(heap pk name) ];
		push @said, "- $held_up{$name}: " . join(', ', map { "`$_`" } sort keys %said) . "\n";
	}
	return thousands($case->{facts}{rows}) . " rows.\n\n"
	  . table([ '', 'stale rows left while held', 'heap while held', 's from its end to completion',
		'heap', 'primary key', 'text index' ], @rows)
	  . "\nWhat it says meanwhile:\n\n" . join('', @said) . "\n" . _circumstances($case->{facts}) . "\n";
}

sub _tenths
{
	my ($of) = @_;
	my @sizes = sort { $a <=> $b } _measured($of, keys %$of);
	my @rows;
	foreach my $size (@sizes)
	{
		my @tenths = map { [ values_of($of->{$size}, 'run', $_) ] } qw(first last);
		my @ratios = values_of($of->{$size}, 'run', sub { $_[0]{last} / $_[0]{first} });
		push @rows, [ thousands($size) . ' rows', (map { with_range(\&in_k, @$_) } @tenths),
			with_range($hundredth, @ratios) ];
	}
	return table([ '', 'rows/s, first tenth', 'rows/s, last tenth', 'last / first' ], @rows)
	  . "\n" . _circumstances($of->{ $sizes[0] }{facts}) . "\n";
}

# ---- foreground ------------------------------------------------------------------

sub _foreground
{
	my ($of) = @_;
	my ($case) = values %$of;
	my $facts = $case->{facts};
	my %title = (alone => 'left alone', throttled => 'throttled to ' . thousands($facts->{throttle}) . ' rows/s',
		gentle => 'throttled to ' . thousands($facts->{gentle}) . ' rows/s');
	my @rows;
	foreach my $name (qw(alone throttled gentle))
	{
		push @rows, [ "$title{$name}: $_", _phase($case, $name, $_) ] foreach qw(before during after);
	}
	return thousands($facts->{rows}) . ' rows; at most the clients do ' . thousands($facts->{saturation})
	  . ' transactions/s, and here are sent ' . thousands($facts->{rate}) . ".\n\n"
	  . table([ 'worker', 'its rows/s', 'transactions/s', 'p50 ms', 'p99 ms', '/ before', 'longest gap, ms' ], @rows)
	  . "\n" . _circumstances($facts) . "\n";
}

sub _phase
{
	my ($case, $name, $phase) = @_;
	my $speed = $phase eq 'during' ? median_of($case, $name, sub { $_[0]{rows} / $_[0]{seconds} }) : undef;
	my $worse = $phase eq 'before' ? undef : median_of($case, $name, sub { $_[0]{"p99_$phase"} / $_[0]{p99_before} });
	my $gap = $phase eq 'during' ? 'gap_whole' : "gap_$phase";
	return (thousands($speed), thousands(median_of($case, $name, "tps_$phase")),
		$hundredth->(median_of($case, $name, "p50_$phase")),
		with_range($hundredth, values_of($case, $name, "p99_$phase")), $hundredth->($worse),
		with_range($whole, values_of($case, $name, $gap)));
}

# ---- paths -----------------------------------------------------------------------

my @states = qw(plain stale half complete);
my %state = (
	plain => 'a column that was always there', stale => 'no row is converted',
	half => 'half of them are', complete => 'the migration is complete');

my @written = ('plain', 'generated', 'both', 'first only', 'PL/pgSQL', 'plain, own trigger', 'both, own trigger');
my %written = (
	'plain' => 'no trigger', 'generated' => 'stored generated columns',
	'both' => 'a migration (C triggers)', 'first only' => 'a migration, its first trigger only',
	'PL/pgSQL' => 'a PL/pgSQL trigger', 'plain, own trigger' => 'an empty PL/pgSQL trigger',
	'both, own trigger' => 'a migration and an empty PL/pgSQL trigger');

my %loaded = (without => 'without the library', with => 'library preloaded, a migration live');

sub _paths
{
	my ($of) = @_;
	my $facts = $of->{prepared}{facts};
	return "Reads of the new column; ratios are of speed.\n\n" . _reads($of)
	  . "\nPlanning of queries to which no migration matters, in µs.\n\n" . _planning($of->{planning})
	  . "\nWrites, in ns of processor time per row.\n\n" . _writes($of->{write})
	  . "\nReads are of " . thousands($facts->{rows}) . ' rows. ' . _circumstances($facts) . "\n";
}

sub _reads
{
	my ($of) = @_;
	my @rows;
	foreach my $name (@states)
	{
		my @by_key = map { (thousands(median_of($of->{$_}, $name, 'tps')),
			$hundredth->(ratio_of($of->{$_}, $name, 'plain', 'tps'))) } qw(prepared simple);
		push @rows, [ $state{$name}, @by_key, $tenth->(median_of($of->{scan}, $name, 'ms')),
			$hundredth->(ratio_of($of->{scan}, 'plain', $name, 'ms')) ];
	}
	return table([ '', 'by key, prepared: /s', 'ratio', 'by key, simple: /s', 'ratio', 'whole table: ms', 'ratio' ],
		@rows);
}

sub _planning
{
	my ($case) = @_;
	my @rows;
	foreach my $name (qw(without with))
	{
		push @rows, [ $loaded{$name}, map { ($tenth->(median_of($case, $name, $_)),
			$hundredth->(ratio_of($case, $name, 'without', $_))) } qw(key join) ];
	}
	return table([ '', 'by key', 'ratio', 'a join of three', 'ratio' ], @rows);
}

sub _writes
{
	my ($case) = @_;
	my @rows;
	foreach my $name (@written)
	{
		push @rows, [ $written{$name}, map { ($whole->(median_of($case, $name, $_)),
			$hundredth->(ratio_of($case, $name, 'plain', $_))) } qw(insert update_old update_other) ];
	}
	return table([ '', 'INSERT', 'ratio', 'UPDATE of the old column', 'ratio', 'UPDATE of another', 'ratio' ], @rows);
}

# ---- the plot --------------------------------------------------------------------

my %class = (
	run => 'ours', worker => 'ours', workers => 'ours', rewrite => 'limit', rewrite_single => 'limit');

# Rows per second in those shapes; undef if none was measured.
sub plot
{
	my ($all, @shapes) = @_;
	my $of = $all->{backfill} || {};
	my @panels;
	foreach my $shape (_measured($of, @shapes))
	{
		my $case = $of->{$shape};
		my $title = thousands($case->{facts}{rows}) . ' ' . Table::what($shape) . ': rows per second';
		my @bars = map { [ Contender::title($_), $class{$_} || 'others', values_of($case, $_, 'rate') ] }
		  _contenders($case);
		push @panels, [ $title, @bars ];
	}
	return @panels ? Plot::svg(\&in_k, @panels) : undef;
}

1;
