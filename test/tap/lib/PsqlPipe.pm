# A psql that stays open, fast enough for thousands of statements.
package PsqlPipe;

use strict;
use warnings;

use IPC::Open2;

sub new
{
	my ($class, $connection) = @_;
	my ($out, $in);
	my $pid = open2($out, $in, 'sh', '-c', 'exec psql -XAtq -P null="\\N" -d "$0" 2>&1', $connection);
	my $self = bless { pid => $pid, in => $in, out => $out, number => 0 }, $class;

	$in->autoflush(1);
	$self->query('\\set SHOW_CONTEXT never');
	return $self;
}

# Send a statement; receive its result later.
sub send
{
	my ($self, $sql) = @_;
	my $marker = 'done ' . ++$self->{number};
	$sql .= ';' unless $sql =~ /\\\.$|^\\|\\gexec$/;
	print { $self->{in} } "\\set VERBOSITY verbose\n$sql\n\\echo $marker\n";
	return;
}

# Becomes readable when the result begins to come.
sub handle { return $_[0]{out}; }

# The rows as lines, and the error: code and text, or undef.
sub receive
{
	my ($self) = @_;
	my $marker = "done $self->{number}";
	my (@lines, @error);

	while (defined(my $line = readline $self->{out}))
	{
		chomp $line;
		return (\@lines, @error ? join("\n", @error) : undef) if $line eq $marker;
		if ($line =~ /^(?:psql:.*: )?(ERROR|FATAL|PANIC|WARNING):  |^server closed/) { push @error, $line; }
		elsif (@error) { push @error, $line; }
		elsif ($line !~ /^NOTICE:|^LOCATION:|^DETAIL:|^HINT:/) { push @lines, $line; }
	}
	return (\@lines, join("\n", @error, 'psql has ended'));
}

sub query { my ($self, $sql) = @_; $self->send($sql); return $self->receive; }

sub close
{
	my ($self) = @_;
	close $self->{in};
	waitpid $self->{pid}, 0;
	return;
}

1;
