# pg_upgrade carries a database that is in the middle of everything to a server of
# another major version, which goes on with the work.
#
# MIGRATE_UPGRADE_FROM names the programs' folder of the server to come from (of a
# lower version than the one tested, with the library installed for it, and built
# with the same options as far as pg_upgrade minds).
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use Midway qw(make_midway reads_of stored_in catalog_of is_unchanged go_on_to_the_end);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old_programs = $ENV{MIGRATE_UPGRADE_FROM};
plan skip_all => 'MIGRATE_UPGRADE_FROM names no server to come from' unless $old_programs;

my $configuration = <<'CONF';
shared_preload_libraries = 'migrate'
migrate.autostart = off
autovacuum = off
fsync = off
CONF

# A cluster of each server. (The old one's may be of any version, and so is made by hand.)
my $folder = PostgreSQL::Test::Utils::tempdir_short();
my $old_data = PostgreSQL::Test::Utils::tempdir() . '/old';
my $new = PostgreSQL::Test::Cluster->new('new');
my @initdb = ('-A', 'trust', '-N', '--locale=C', '--encoding=UTF8');
my $has_checksums = `initdb --help` =~ /--no-data-checksums/;
$new->init(extra => [ '--locale=C', '--encoding=UTF8', $has_checksums ? '--no-data-checksums' : () ]);
$new->append_conf('postgresql.conf', $configuration);

system_or_bail("$old_programs/initdb", '-D', $old_data, @initdb);
append_to_file("$old_data/postgresql.conf", $configuration
	. "unix_socket_directories = '$folder'\nlisten_addresses = ''\nport = " . $new->port . "\n");

# The old server, reached as the new one's node is: by its host and port.
{
	package OldServer;
	sub new { my ($class, %self) = @_; return bless {%self}, $class; }
	sub control
	{
		my ($self, $action, @more) = @_;
		PostgreSQL::Test::Utils::system_or_bail("$self->{programs}/pg_ctl", '-w', '-D', $self->{data},
			'-l', "$self->{data}.log", @more, $action);
		return;
	}
	sub connstr { my ($self, $db) = @_; return "host=$self->{host} port=$self->{port} dbname='$db'"; }
	sub safe_psql
	{
		my ($self, $db, $sql) = @_;
		my ($out, $err);
		IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $self->connstr($db) ],
			'<', \$sql, '>', \$out, '2>', \$err) or die "$err, in $sql";
		chomp $out;
		return $out;
	}
}
my $from = OldServer->new(programs => $old_programs, data => $old_data, host => $folder, port => $new->port);

$from->control('start');
$from->safe_psql('postgres', 'CREATE DATABASE midway');
make_midway($from, 'midway');
my ($reads, $stored, $catalog) = map { $_->($from, 'midway') } \&reads_of, \&stored_in, \&catalog_of;
$from->control('stop', '-m', 'fast');

my $to_programs = $new->config_data('--bindir');
my $scratch = PostgreSQL::Test::Utils::tempdir();
chdir $scratch or die $!;
command_ok([ "$to_programs/pg_upgrade", '--no-sync', '-b', $old_programs, '-B', $to_programs,
		'-d', $old_data, '-D', $new->data_dir, '-s', $folder, '-p', $new->port, '-P', $new->port ], 'pg_upgrade');
if (!Test::More->builder->is_passing)
{
	foreach my $log (glob($new->data_dir . '/pg_upgrade_output.d/*/log/*.log'), glob("$scratch/*.log"))
	{
		diag "$log\n", slurp_file($log) =~ /(.{0,3000})\z/s;
	}
}

$new->start;
is_unchanged(stored_in($new, 'midway'), $stored, 'rows are stored as they were');
is_unchanged(reads_of($new, 'midway'), $reads, 'and read as they did');
is_unchanged(catalog_of($new, 'midway'), $catalog, 'and all that is known of them is there');
$new->safe_psql('midway', 'ANALYZE');
go_on_to_the_end($new, 'midway', 'after it');
$new->stop;
done_testing();
