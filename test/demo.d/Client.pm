# Client.pm: a pgbench at work, and what it says of itself.
#
# It runs until finish() sends it the signal that the end of its time would:
# then it ends its transactions, and prints its summary. What happened in a
# stretch of time is read from its log of every transaction.

package Client;

use strict;
use warnings;

use POSIX ();
use Time::HiRes qw(sleep time);

my $LONGER_THAN_ANY = 3600;		# seconds

# Options: name, rate (transactions per second; none: as many as it can), args.
sub start
{
	my ($class, $server, %option) = @_;
	my $base = $server->folder . "/$option{name}";
	my $self = bless { base => $base, samples => [], offset => 0, name => $option{name} }, $class;

	$self->{pid} = $server->spawn("$base.out", "$base.err", $server->program('pgbench'),
		'--client=2', '--jobs=1', "--time=$LONGER_THAN_ANY", '--progress=1',
		'--log', "--log-prefix=$base.log", $option{rate} ? "--rate=$option{rate}" : (),
		@{ $option{args} }, '--username=bank', 'bank');
	return $self;
}

# Read what is new. Each sample is [tps, average latency in ms].
sub poll
{
	my ($self) = @_;
	open my $file, '<', "$self->{base}.err" or return;
	seek $file, $self->{offset}, 0;
	while (my $line = <$file>)
	{
		last unless $line =~ /\n$/;
		$self->{offset} += length $line;
		push @{ $self->{samples} }, [ $1, $2 ]
		  if $line =~ /^progress: [\d.]+ s, ([\d.]+) tps, lat ([\d.]+) ms/;
	}
}

sub samples { return @{ $_[0]{samples} } }

sub is_running
{
	my ($self) = @_;
	return 0 unless $self->{pid};
	return 1 if waitpid($self->{pid}, POSIX::WNOHANG()) == 0;
	$self->{status} = $?;
	delete $self->{pid};
	return 0;
}

# Let it end its transactions and go. Returns whether none failed, and a phrase.
sub finish
{
	my ($self) = @_;
	my $early = !$self->is_running;

	if ($self->{pid})
	{
		kill 'ALRM', $self->{pid};
		waitpid $self->{pid}, 0;
		$self->{status} = $?;
		delete $self->{pid};
	}
	my $out = Server::_read("$self->{base}.out");
	my $err = Server::_read("$self->{base}.err");
	my ($done) = $out =~ /^number of transactions actually processed: (\d+)/m;
	my ($failed) = $out =~ /^number of failed transactions: (\d+)/m;
	my @complaints = grep { !/^(progress: |starting vacuum|pgbench \()/ } split /\n/, $err;

	$self->{done} = $done || 0;
	$self->{complaint} = join "\n", @complaints;
	$self->{well} = !$early && $self->{status} == 0 && $self->{done} > 0
	  && defined $failed && $failed == 0 && !@complaints;
}

sub is_finished { return exists $_[0]{well} }
sub is_well { return $_[0]{well} }
sub done { return $_[0]{done} }
sub complaint { return $_[0]{complaint} }

sub abandon
{
	my ($self) = @_;
	return unless $self->{pid};
	kill 'TERM', $self->{pid};
	waitpid $self->{pid}, 0;
	delete $self->{pid};
}

# Transactions that ended in [from, to): their number per second, and of their
# latencies in ms the median, the 99th percentile and the greatest.
sub figures
{
	my ($self, $from, $to) = @_;
	my @latencies;

	foreach my $path (glob "$self->{base}.log.*")
	{
		open my $file, '<', $path or next;
		while (<$file>)
		{
			my (undef, undef, $us, undef, $seconds, $fraction) = split ' ';
			my $at = $seconds + $fraction / 1e6;
			push @latencies, $us / 1000 if $at >= $from && $at < $to;
		}
	}
	return unless @latencies;
	@latencies = sort { $a <=> $b } @latencies;
	return (@latencies / ($to - $from), $latencies[ $#latencies / 2 ],
		$latencies[ $#latencies * 0.99 ], $latencies[-1]);
}

1;
