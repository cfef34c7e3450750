# A migration that is rolled back halfway, with the old release at work, takes no
# write along: neither the old release's nor those that the new one made before.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use Test::More;

use TwoReleases;

my $bank = TwoReleases->new('back', <<'CONF');
migrate.max_rows_per_second = 3000
CONF

my $old = $bank->old_release;
my $done = 0;
foreach my $time ('first', 'second')
{
	$bank->sql("SELECT migrate.expand('cents')");
	my $new = $bank->new_release;
	$bank->wait_for_work(500);
	$bank->forms_agree("halfway, the $time time");
	$done += $bank->finish($new, "the new release, the $time time,");

	$bank->sql("SELECT migrate.rollback('cents')");
	$bank->wait_for_work(200);
	is($bank->sql(<<'SQL'), '', 'the new column is gone');
SELECT string_agg(attname, ' ') FROM pg_attribute
 WHERE attrelid = 'pgbench_accounts'::regclass AND attname = 'balance'
SQL
}
$done += $bank->finish($old, 'the old release');
$bank->books_agree('abalance', 'after two rollbacks');
is($bank->sql('SELECT count(*) FROM pgbench_history'), $done, 'no transaction that was reported is missing');

done_testing();
