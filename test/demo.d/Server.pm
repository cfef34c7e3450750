# Server.pm: a throw-away server, with the library preloaded.
#
# It lives in a folder of its own and is reached through a socket in there, so
# that it meets no other server. Whatever ends the demo, stop() ends the server
# and takes the folder away.

package Server;

use strict;
use warnings;

use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use POSIX ();
use Time::HiRes qw(sleep);

# A server that has been up for a while has WAL segments to use again. A new one
# makes each of them as it comes to need it, and everybody waits for that: without
# filling them, that is short.
my $CONFIGURATION = <<'END';
listen_addresses = ''
shared_preload_libraries = 'migrate'
shared_buffers = '256MB'
max_wal_size = '4GB'
fsync = off
wal_init_zero = off
log_min_messages = warning
END

sub new
{
	my ($class, $pg_config) = @_;
	chomp(my $bindir = `'$pg_config' --bindir`);
	chomp(my $version = `'$pg_config' --version`);
	-x "$bindir/postgres" or die "there is no server in \"$bindir\"\n";

	return bless { bindir => $bindir, version => $version }, $class;
}

sub folder { return $_[0]{folder} }
sub version { return $_[0]{version} }
sub program { my ($self, $name) = @_; return "$self->{bindir}/$name" }

sub start
{
	my ($self) = @_;

	# The path of a socket has to be short.
	my $base = length($ENV{TMPDIR} || '') > 60 ? '/tmp' : $ENV{TMPDIR} || '/tmp';
	$self->{folder} = tempdir("migrate-demo.XXXXXX", DIR => $base);
	$self->{data} = "$self->{folder}/data";

	$self->_run($self->program('initdb'), '--no-sync', '--auth=trust', '--username=postgres',
		'--encoding=UTF8', '--locale=C', $self->{data});
	open my $conf, '>>', "$self->{data}/postgresql.conf" or die "postgresql.conf: $!\n";
	print $conf $CONFIGURATION, "unix_socket_directories = '$self->{folder}'\n";
	close $conf or die "postgresql.conf: $!\n";

	$self->{started} = 1;
	$self->_run($self->program('pg_ctl'), '--wait', "--pgdata=$self->{data}",
		"--log=$self->{folder}/server.log", 'start');

	delete @ENV{ grep { /^PG/ && $_ ne 'PG_CONFIG' } keys %ENV };
	@ENV{qw(PGHOST PGPORT PGUSER PGDATABASE)} = ($self->{folder}, 5432, 'postgres', 'postgres');
}

sub stop
{
	my ($self) = @_;
	return unless $self->{folder};

	if ($self->{started})
	{
		system "'" . $self->program('pg_ctl') . "' --mode=immediate --pgdata='$self->{data}'"
		  . " stop > /dev/null 2>&1";
	}
	remove_tree($self->{folder});
	delete $self->{folder};
}

sub server_log
{
	my ($self) = @_;
	return $self->{folder} ? _read("$self->{folder}/server.log") : '';
}

# Run a program that comes with the server.
sub run_program
{
	my ($self, $name, @arguments) = @_;
	$self->_run($self->program($name), @arguments);
}

sub _run
{
	my ($self, @command) = @_;
	my $pid = $self->spawn("$self->{folder}/command.out", "$self->{folder}/command.out", @command);
	waitpid $pid, 0;
	die "$command[0] failed\n" . _read("$self->{folder}/command.out") . $self->server_log if $? != 0;
}

# Start a program with its output in files. Returns its process id.
sub spawn
{
	my ($self, $out, $err, @command) = @_;
	defined(my $pid = fork) or die "fork: $!\n";
	return $pid if $pid;

	$SIG{$_} = 'DEFAULT' foreach qw(INT TERM HUP);
	open STDIN, '<', '/dev/null' or POSIX::_exit(127);
	open STDOUT, '>', $out or POSIX::_exit(127);
	if ($err eq $out) { open STDERR, '>&', \*STDOUT or POSIX::_exit(127) }
	else { open STDERR, '>', $err or POSIX::_exit(127) }
	{ no warnings 'exec'; exec @command }
	POSIX::_exit(127);
}

# Run one statement; while it runs, $tick is called again and again. Returns a
# hash: ok, rows (of strings), error (as psql shows it), ms (measured by psql).
sub try
{
	my ($self, $sql, %option) = @_;
	my ($out, $err) = map { "$self->{folder}/psql.$_" } qw(out err);
	my $pid = $self->spawn($out, $err, $self->program('psql'), '-XAtq', '-F', "\t",
		'-v', 'ON_ERROR_STOP=1', '-v', 'SHOW_CONTEXT=never',
		'-U', $option{user} || 'bank', '-d', $option{database} || 'bank',
		'-c', '\timing on', '-c', $sql);

	while (waitpid($pid, POSIX::WNOHANG()) == 0)
	{
		sleep 0.005;
		$option{tick}->() if $option{tick};
	}
	my $ok = $? == 0;
	my @lines = split /\n/, _read($out);
	my ($ms) = @lines && pop(@lines) =~ /^Time: ([\d.]+) ms/;
	return {
		ok    => $ok,
		rows  => [ map { [ split /\t/, $_, -1 ] } @lines ],
		error => _read($err),
		ms    => $ms
	};
}

# The same for what must not fail.
sub sql
{
	my ($self, $sql, %option) = @_;
	my $result = $self->try($sql, %option);
	die "$sql\n$result->{error}" unless $result->{ok};
	return $result;
}

# The only row; or its only column.
sub row
{
	my ($self, $sql, %option) = @_;
	my @row = @{ $self->sql($sql, %option)->{rows}[0] || [] };
	return wantarray ? @row : $row[0];
}

sub _read
{
	my ($path) = @_;
	open my $file, '<:encoding(UTF-8)', $path or return '';
	local $/;
	return scalar <$file> // '';
}

1;
