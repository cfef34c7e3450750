# Session.pm: a psql that stays, for transactions that stay open and for clients that
# decide by each answer what they ask next.

package Session;

use strict;
use warnings;

use IPC::Open2;

my $END = 'end of answer';

sub new
{
	my ($class, @command) = @_;
	my $pid = open2(my $from, my $to, @command);
	$to->autoflush(1);
	return bless { pid => $pid, to => $to, from => $from }, $class;
}

# Run statements, one after another, and return what they print.
sub sql
{
	my ($self, $script) = @_;
	my $answer = '';
	print { $self->{to} } "$script\n;\n\\echo $END\n";
	while (defined(my $line = readline $self->{from}))
	{
		chomp $line;
		if ($line eq $END)
		{
			chomp $answer;
			return $answer;
		}
		$answer .= "$line\n";
	}
	die "a session ended at: $script\n";
}

sub close
{
	my ($self) = @_;
	close $self->{to};
	waitpid $self->{pid}, 0;
	return;
}

1;
