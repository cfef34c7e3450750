# The throttle keeps what it is asked for, on simulated tables, servers and standbys.
#
# CASES and SEED as for test/unit/throttle.c, which this builds and runs.
use strict;
use warnings;

use File::Basename;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = dirname(__FILE__) . '/../..';
my $program = PostgreSQL::Test::Utils::tempdir . '/throttle';
my $compiler = $ENV{CC} || 'cc';

command_ok(
	[
		$compiler, '-O1', "-I$top/test/unit", "-I$top/src", '-o', $program,
		"$top/test/unit/throttle.c", "$top/src/backfill/throttle.c", '-lm'
	],
	'the throttle is built without a server');

my ($stdout, $stderr) = run_command(
	[ $program, $ENV{CASES} || 200, $ENV{SEED} || int(rand(1e9)) ]);
note $stdout;
like($stdout, qr/^ok $_ /m, "claim $_") for 1 .. 7;
unlike($stdout, qr/^not ok/m, 'and nothing else');

done_testing();
