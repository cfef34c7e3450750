# A server that is started without the library while a migration is live changes
# nothing for the worse: writes and every step are refused, none crashes, and with
# the library all goes on.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('bare');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
fsync = off
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION migrate;
CREATE TABLE t (id integer PRIMARY KEY, a text);
INSERT INTO t VALUES (1, '1'), (2, '2');
SELECT migrate.define('t', 't', add => 'b integer', up => 'b = a::integer', down => 'a = b::text', remove => '{a}');
SELECT migrate.expand('t');
INSERT INTO t (id, b) VALUES (3, 3);
SQL

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
foreach my $statement (
	q{INSERT INTO t (id, a) VALUES (4, '4')},
	q{UPDATE t SET a = '10' WHERE id = 1},
	q{COPY t (id, a) FROM PROGRAM 'echo 5,5' WITH (FORMAT csv)},
	q{SELECT migrate.expand('t')},
	q{CALL migrate.run('t')},
	q{SELECT migrate.contract('t', skip => '{window,usage}')},
	q{SELECT migrate.rollback('t')})
{
	my ($status, $out, $err) = $node->psql('postgres', $statement, on_error_stop => 1);
	isnt($status, 0, "refused: $statement");
	like($err, qr/migrate is not preloaded.*shared_preload_libraries/s, 'with the reason and a hint');
}
foreach my $statement (
	q{SELECT migrate.pause('t')},
	q{SELECT migrate.resume('t')},
	q{SELECT migrate.retry('t')},
	q{SELECT migrate.wait('t', '0')},
	q{SELECT * FROM migrate.check_contract('t')},
	q{SELECT * FROM migrate.status},
	q{SELECT * FROM migrate.progress},
	q{SELECT migrate.define('u', 't', add => 'c integer', up => 'c = 1')},
	q{SELECT migrate.forget('u')})
{
	is($node->psql('postgres', $statement), 0, "does no harm: $statement");
}

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'migrate'");
$node->restart;
is($node->safe_psql('postgres', 'SELECT * FROM t ORDER BY id'),
	"1|1|1|1\n2|2|1|2\n3|3|2|3", 'with the library, rows read as before');
is($node->safe_psql('postgres', q{CALL migrate.run('t')}), '2|0', 'and are converted');
is($node->safe_psql('postgres', q{SELECT state FROM migrate.status}), 'complete', 'to the end');

done_testing();
