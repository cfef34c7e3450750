# Two releases at once, one for each form, lose no write while their table is
# expanded, converted, completed and contracted.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use Test::More;

use TwoReleases;

# So many rows a second that conversion takes a while, whatever the machine.
my $bank = TwoReleases->new('forms', <<'CONF');
migrate.max_rows_per_second = 15000
CONF

my $old = $bank->old_release;
$bank->wait_for_work(200);
$bank->sql("SELECT migrate.expand('cents')");
$bank->forms_agree('at the moment of expand');

my $new = $bank->new_release('--protocol=prepared');
foreach my $time (1 .. 4)
{
	$bank->wait_for_work(200);
	$bank->forms_agree("while rows are converted, look $time");
}
is($bank->sql("SELECT migrate.wait('cents', '3 min')"), 't', 'the conversion comes to its end');
$bank->forms_agree('once complete');
$bank->wait_for_work(200);
$bank->forms_agree('after more work');
is($bank->sql('SELECT count(*) FROM pgbench_accounts WHERE row_version <> 2'), 0,
	'every row is stored in the new form');

my $done = $bank->finish($old, 'the old release');
$bank->sql("SELECT migrate.contract('cents', wait => '1 min', skip => '{window,usage}')");
$bank->wait_for_work(200);
$done += $bank->finish($new, 'the new release');

$bank->books_agree('balance * 100', 'after the contract');
is($bank->sql('SELECT count(*) FROM pgbench_history'), $done, 'no transaction that was reported is missing');
is($bank->sql(<<'SQL'), 'aid bid filler row_version balance', 'the old column is gone');
SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute
 WHERE attrelid = 'pgbench_accounts'::regclass AND attnum > 0 AND NOT attisdropped
SQL
is($bank->sql('SELECT count(*) FROM pgbench_accounts WHERE balance IS NULL'), 0, 'no row is without its balance');

done_testing();
