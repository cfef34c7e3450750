# Server.pm: a throw-away server of the benchmark, and psql to talk to it.
#
# It lives in a folder of its own below the one given, and is reached through a socket
# in a folder with a short path. stop() ends it and removes both.

package Server;

use strict;
use warnings;

use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use POSIX ();

use Session;

# Checkpoints come only where a measurement asks for one, so that each page is logged
# whole once; and segments of the WAL are used again, as on a server that has been up
# for a while.
my %setting = (
	listen_addresses => "''",
	shared_preload_libraries => 'migrate',
	shared_buffers => $ENV{SHARED_BUFFERS} || '768MB',
	min_wal_size => '4GB',
	max_wal_size => '20GB',
	checkpoint_timeout => '1h',
	autovacuum => $ENV{AUTOVACUUM} || 'off',
	maintenance_work_mem => '256MB',
	max_worker_processes => 24,
	max_parallel_workers => 8,
	log_checkpoints => 'off');

my @running;

# Settings are given by name, and "folder", below which the data are to lie. Those that
# are not known everywhere have "migrate." in front, and are left out with the library.
sub start
{
	my ($class, %option) = @_;
	my $base = delete $option{folder} || $ENV{DIR} || '/tmp';
	my $self = bless {
		bin => program_folder(),
		folder => tempdir('migrate_bench_XXXXXX', DIR => $base),
		socket => tempdir('migrate_bench_XXXXXX', DIR => '/tmp')
	}, $class;
	push @running, $self;

	$self->run_program('initdb', '-A', 'trust', '-U', 'bench', '-E', 'UTF8', '--locale=C',
		'--no-sync', '-D', "$self->{folder}/data");
	my %all = (%setting, unix_socket_directories => "'$self->{socket}'", %option);
	$all{'migrate.autostart'} = 'off' if $all{shared_preload_libraries} eq 'migrate';
	open my $conf, '>>', "$self->{folder}/data/postgresql.conf" or die "postgresql.conf: $!\n";
	print $conf "$_ = $all{$_}\n" foreach sort keys %all;
	print $conf "$_\n" foreach split /;/, $ENV{CONF} || '';
	close $conf or die "postgresql.conf: $!\n";
	$self->_control('start');
	return $self;
}

sub program_folder
{
	my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
	chomp(my $folder = `'$pg_config' --bindir`);
	-x "$folder/postgres" or die "there is no server where PG_CONFIG ($pg_config) points to\n";
	return $folder;
}

sub program { my ($self, $name) = @_; return "$self->{bin}/$name" }
sub folder { return $_[0]{folder} }

sub _control
{
	my ($self, @action) = @_;
	my $log = "$self->{folder}/server.log";
	$self->run_program('pg_ctl', '-w', '-D', "$self->{folder}/data", '-l', $log, @action);
	return;
}

# With another setting, which takes a restart.
sub restart_with
{
	my ($self, $name, $value) = @_;
	$self->sql('postgres', "ALTER SYSTEM SET $name = $value");
	$self->_control('-m', 'fast', 'restart');
	return;
}

sub set
{
	my ($self, %value) = @_;
	$self->sql('postgres', join(';', map { "ALTER SYSTEM SET $_ = $value{$_}" } sort keys %value)
		  . '; SELECT pg_reload_conf();');
	return;
}

sub reset_settings
{
	my ($self, @names) = @_;
	$self->sql('postgres', join(';', map { "ALTER SYSTEM RESET $_" } @names) . '; SELECT pg_reload_conf();');
	return;
}

sub stop
{
	my ($self) = @_;
	return unless $self->{folder};
	system "'" . $self->program('pg_ctl') . "' -m immediate -D '$self->{folder}/data' stop >/dev/null 2>&1"
	  if -e "$self->{folder}/data/postmaster.pid";
	remove_tree($self->{folder}, $self->{socket});
	delete $self->{folder};
	return;
}

sub stop_all
{
	$_->stop foreach @running;
	@running = ();
	return;
}

# The arguments with which client programs find a database here.
sub address
{
	my ($self, $database) = @_;
	return ('-h', $self->{socket}, '-U', 'bench', '-d', $database);
}

# Start a program that comes with the server, with its output in files, and tell its
# process id.
sub spawn
{
	my ($self, $out, $err, $name, @arguments) = @_;
	defined(my $pid = fork) or die "fork: $!\n";
	return $pid if $pid;
	open STDIN, '<', '/dev/null' or POSIX::_exit(127);
	open STDOUT, '>', $out or POSIX::_exit(127);
	open STDERR, '>', $err or POSIX::_exit(127);
	{ no warnings 'exec'; exec $self->program($name), @arguments }
	POSIX::_exit(127);
}

# Run one, and return what it prints.
sub run_program
{
	my ($self, $name, @arguments) = @_;
	my ($out, $err) = map { "$self->{socket}/$name.$_" } qw(out err);
	waitpid $self->spawn($out, $err, $name, @arguments), 0;
	my $status = $?;
	$self->{messages} = slurp($err);
	die "$name failed: @arguments\n$self->{messages}" . $self->_end_of_log if $status;
	return slurp($out);
}

sub _end_of_log
{
	my ($self) = @_;
	my @lines = split /^/, slurp("$self->{folder}/server.log");
	return join '', @lines > 20 ? @lines[ -20 .. -1 ] : @lines;
}

sub slurp
{
	my ($path) = @_;
	open my $file, '<', $path or return '';
	local $/;
	return <$file> // '';
}

sub _script
{
	my ($self, $database, $script) = @_;
	my $path = "$self->{socket}/script.sql";
	open my $file, '>', $path or die "$path: $!\n";
	print $file $script;
	close $file or die "$path: $!\n";
	return $self->run_program('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', $self->address($database), '-f', $path);
}

# Run statements, each a transaction of its own, and return what comes of them.
sub sql
{
	my ($self, $database, $script) = @_;
	my $result = $self->_script($database, $script);
	chomp $result;
	return $result;
}

# What the server told the last program that was run, beside its results.
sub messages { return $_[0]{messages} }

# How many seconds statements take, as their client sees it.
sub seconds
{
	my ($self, $database, $script) = @_;
	my $output = $self->_script($database, "\\timing on\n$script");
	my $sum = 0;
	$sum += $1 / 1000 while $output =~ /^Time: ([\d.]+) ms/mg;
	return $sum;
}

sub session
{
	my ($self, $database) = @_;
	return Session->new($self->program('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', $self->address($database));
}

sub version
{
	my ($self) = @_;
	return $self->sql('postgres', 'SHOW server_version');
}

1;
