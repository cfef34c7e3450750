# The graph's order and commutation agree with models that know nothing of it.
#
# CASES and SEED as for test/unit/graph.c, which this builds and runs.
use strict;
use warnings;

use File::Basename;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = dirname(__FILE__) . '/../..';
my $program = PostgreSQL::Test::Utils::tempdir . '/graph';
my $compiler = $ENV{CC} || 'cc';

command_ok(
	[
		$compiler, '-O1', "-I$top/test/unit", "-I$top/src", '-o', $program,
		"$top/test/unit/graph.c", "$top/src/catalog/graph.c"
	],
	'the graph is built without a server');

my ($stdout, $stderr) = run_command(
	[ $program, $ENV{CASES} || 20000, $ENV{SEED} || int(rand(1e9)) ]);
note $stdout;
like($stdout, qr/^ok 1 /m, 'order and circles are those of a walk along the edges');
like($stdout, qr/^ok 2 /m, 'two that commute come to the same in either order');

done_testing();
