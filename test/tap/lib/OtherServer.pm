# A server of any version, by its programs, with the functions that a
# PostgreSQL::Test::Cluster has for asking it. (That one is of the tested version.)
package OtherServer;

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;

# programs: the folder; data: a folder to make; host: of the socket; port.
sub new
{
	my ($class, %self) = @_;
	return bless {%self}, $class;
}

sub init
{
	my ($self, $configuration) = @_;
	my $knows_checksums = `"$self->{programs}/initdb" --help` =~ /--no-data-checksums/;
	PostgreSQL::Test::Utils::system_or_bail("$self->{programs}/initdb", '-D', $self->{data},
		'-A', 'trust', '-N', '--locale=C', '--encoding=UTF8', $knows_checksums ? '--no-data-checksums' : ());
	PostgreSQL::Test::Utils::append_to_file("$self->{data}/postgresql.conf", $configuration
		  . "unix_socket_directories = '$self->{host}'\nlisten_addresses = ''\nport = $self->{port}\n");
	return;
}

sub control
{
	my ($self, $action, @more) = @_;
	PostgreSQL::Test::Utils::system_or_bail("$self->{programs}/pg_ctl", '-w', '-D', $self->{data},
		'-l', "$self->{data}.log", @more, $action);
	return;
}

sub version
{
	my ($self) = @_;
	return `"$self->{programs}/postgres" --version` =~ /(\d+)/ ? $1 : die "no server in $self->{programs}";
}

sub connstr
{
	my ($self, $db) = @_;
	return "host=$self->{host} port=$self->{port} dbname='$db'";
}

# Only the error can be asked for.
sub psql
{
	my ($self, $db, $sql, %params) = @_;
	my ($out, $err) = ('', '');
	my $done = IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $self->connstr($db) ],
		'<', \$sql, '>', \$out, '2>', \$err);
	${ $params{stderr} } = $err if $params{stderr};
	chomp $out;
	return wantarray ? ($done ? 0 : 1, $out, $err) : $done ? 0 : 1;
}

sub safe_psql
{
	my ($self, $db, $sql) = @_;
	my ($status, $out, $err) = $self->psql($db, $sql);
	die "$err, in $sql" if $status;
	return $out;
}

sub poll_query_until
{
	my ($self, $db, $query) = @_;
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if $self->safe_psql($db, $query) eq 't';
		select undef, undef, undef, 0.1;
	}
	return 0;
}

1;
