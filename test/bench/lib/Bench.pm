# Bench.pm: what the sections share: how much of everything, whose turn it is, and where
# measurements go.

package Bench;

use strict;
use warnings;

use POSIX ();

use Report;
use Results;
use Server;

sub new
{
	my ($class, $path) = @_;
	my $results = Results->to_append($path);
	my ($at) = POSIX::strftime('%Y-%m-%d', gmtime);
	$results->facts(at => $at, rounds => _rounds(), machine => _machine());
	return bless { results => $results, path => $path, begun => {} }, $class;
}

# A server refuses root. What is open by now stays open.
sub leave_root
{
	my (undef, undef, $uid, $gid) = getpwnam 'nobody' or die "there is no user \"nobody\"\n";
	POSIX::setgid($gid);
	$) = "$gid $gid";
	POSIX::setuid($uid);
	$ENV{HOME} = '/tmp';
	die "could not become user \"nobody\"\n" if $> == 0;
	chdir '/';
	return;
}

sub _rounds { return $ENV{ROUNDS} || 5 }

sub _machine
{
	my ($model) = Server::slurp('/proc/cpuinfo') =~ /^model name\s*:\s*(.*)$/m;
	my ($memory) = Server::slurp('/proc/meminfo') =~ /^MemTotal:\s*(\d+)/m;
	chomp(my $cores = `getconf _NPROCESSORS_ONLN`);
	return sprintf '%s, %d cores, %.0f GB', $model || 'unknown processor', $cores, ($memory || 0) / 1024 / 1024;
}

# So many rows, of the number that the caller asks for.
sub rows
{
	my ($self, $part) = @_;
	return int(($ENV{ROWS} || 2_000_000) * $part);
}

sub rounds
{
	my ($self, $what) = @_;
	$what->($_) foreach 1 .. _rounds();
	return;
}

# In which order contenders come in a round: each time another one begins.
sub turn
{
	my ($self, $round, @names) = @_;
	my $first = ($round - 1) % @names;
	return @names[ $first .. $#names, 0 .. $first - 1 ];
}

sub begin
{
	my ($self, $section, $case, $server, @facts) = @_;
	chomp(my $filesystem = `stat -f -c %T '@{[ $server->folder ]}' 2>/dev/null`);
	$self->{begun}{$section}{$case} = 1;
	$self->{results}->begin($section, $case, @facts, server => $server->version,
		buffers => $server->sql('postgres', 'SHOW shared_buffers'), filesystem => $filesystem || 'unknown');
	return;
}

sub add
{
	my ($self, $section, $case, $contender, $round, %figure) = @_;
	$self->{results}->add($section, $case, $contender, $round, %figure);
	print STDERR join(' ', $section, $case, "round $round", $contender,
		map { sprintf '%s=%.5g', $_, $figure{$_} }
		  grep { !/^(heap|pk|name|toast)_|^rows$/ && $figure{$_} =~ /^[\d.]/ } sort keys %figure), "\n";
	return;
}

# What came of this run.
sub tables
{
	my ($self) = @_;
	my $all = Results::read_all($self->{path});
	foreach my $section (keys %$all)
	{
		delete $all->{$section}{$_} foreach grep { !$self->{begun}{$section}{$_} } keys %{ $all->{$section} };
		delete $all->{$section} unless %{ $all->{$section} };
	}
	return join '', map { "\n## $_\n\n" . Report::section($all, $_) } grep { $all->{$_} } Report::names();
}

1;
