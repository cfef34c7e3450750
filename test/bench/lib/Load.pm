# Load.pm: pgbench at work on the table t: of ten statements six read a row, three change
# one, and one adds one, all in the old form. Each transaction is logged, with its latency
# since it was due.

package Load;

use strict;
use warnings;

use Time::HiRes qw(sleep time);

my $CLIENTS = 4;
my $LONGER_THAN_ANY = 3600;

my %statement = (
	'select@6' => 'SELECT name, val FROM t WHERE id = :id',
	'update@3' => 'UPDATE t SET name = md5(:r::text), val = val + 1 WHERE id = :id',
	'insert@1' => q(INSERT INTO t (id, name, val, created, payload)
		VALUES (nextval('t_ids'), md5(:r::text), 1, now(), repeat('x', 128))));

# At so many transactions per second; 0: as many as it can.
sub start
{
	my ($class, $server, $database, $rows, $rate) = @_;
	my $base = $server->folder . '/load';
	mkdir $base;
	unlink glob "$base/*";
	my @files;
	foreach my $name (sort keys %statement)
	{
		my $path = "$base/$name";
		$path =~ s/@.*//;
		open my $file, '>', $path or die "$path: $!\n";
		(my $sql = $statement{$name}) =~ s/\n\s*/ /g;
		print $file "\\set id random(1, $rows)\n\\set r random(1, 1000000000)\n$sql;\n";
		close $file or die "$path: $!\n";
		push @files, '-f', $name =~ s/.*(?=@)/$path/r;
	}
	my @address = $server->address($database);
	my @rate = $rate ? ('--rate', $rate) : ();
	$database = pop @address;
	pop @address;
	my $pid = $server->spawn("$base/out", "$base/err", 'pgbench', '-n', '-M', 'prepared', '-c', $CLIENTS,
		'-j', 1, '-T', $LONGER_THAN_ANY, '--log', "--log-prefix=$base/log", @rate, @files, @address, $database);
	my $self = bless { base => $base, pid => $pid }, $class;
	$self->_wait_for_commits;
	return $self;
}

sub _wait_for_commits
{
	my ($self) = @_;
	my $until = time + 60;
	until (grep { -s } glob "$self->{base}/log.*")
	{
		die "pgbench does nothing\n" . Server::slurp("$self->{base}/err") if time > $until;
		sleep 0.05;
	}
	return;
}

# As the end of its time would have it, so that no transaction is cut off.
sub finish
{
	my ($self) = @_;
	kill 'ALRM', $self->{pid};
	waitpid $self->{pid}, 0;
	my $out = Server::slurp("$self->{base}/out");
	die "pgbench failed\n$out" . Server::slurp("$self->{base}/err")
	  if $? || $out !~ /^number of failed transactions: 0 /m;
	my @commits;
	foreach my $path (glob "$self->{base}/log.*")
	{
		open my $file, '<', $path or die "$path: $!\n";
		while (<$file>)
		{
			my (undef, undef, $us, undef, $seconds, $fraction) = split ' ';
			push @commits, [ $seconds + $fraction / 1e6, $us / 1000 ];
		}
	}
	$self->{commits} = [ sort { $a->[0] <=> $b->[0] } @commits ];
	return;
}

# Of the transactions that ended between two times: how many in a second, their median
# and 99th percentile of latency, and the longest time without any end; all but the first
# in ms.
sub figures
{
	my ($self, $from, $to) = @_;
	my ($gap, $last, @latencies) = (0, $from);
	foreach my $commit (@{ $self->{commits} })
	{
		my ($at, $ms) = @$commit;
		next if $at < $from;
		last if $at > $to;
		$gap = $at - $last if $at - $last > $gap;
		$last = $at;
		push @latencies, $ms;
	}
	die "no transaction ended in that time\n" unless @latencies;
	$gap = $to - $last if $to - $last > $gap;
	@latencies = sort { $a <=> $b } @latencies;
	return (tps => @latencies / ($to - $from), p50 => $latencies[ $#latencies / 2 ],
		p99 => $latencies[ $#latencies * 0.99 ], gap => $gap * 1000);
}

1;
