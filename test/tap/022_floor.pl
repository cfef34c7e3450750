# Rows from before the oldest version that a table can upgrade, or of one that it does
# not know yet, are refused by whichever way they come: a dump in either format, COPY,
# replication; while a migration is live, and with none. The error says which versions
# are supported, and which release such rows have to go through.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('floor');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
wal_retrieve_retry_interval = 100ms
fsync = off
CONF
$node->start;

sub sql { my ($db, $sql) = @_; return $node->safe_psql($db, $sql); }

# Three migrations, of which each release knows one more.
sub expand
{
	my ($db, $n) = @_;
	my $up = (undef, 'note = lower(note)', 'note = rtrim(note)', 'note = ltrim(note)')[$n];
	sql($db, "SELECT migrate.define('m$n', 't', up => \$\$$up\$\$)");
	sql($db, "SELECT migrate.expand('m$n')");
	sql($db, "SELECT migrate.create_release('release $n')");
}

my $table = 'CREATE TABLE t (id integer PRIMARY KEY, note text)';
foreach my $db (qw(first later))
{
	sql('postgres', "CREATE DATABASE $db");
	sql($db, "CREATE EXTENSION migrate; $table");
}
sql('first', q{INSERT INTO t VALUES (1, 'STALE')});
expand('first', 1);
sql('first', q{INSERT INTO t VALUES (2, 'WRITTEN')});

my %dump = (COPY => [], INSERT => ['--column-inserts']);
foreach my $kind (sort keys %dump)
{
	my $file = $node->basedir . "/$kind.sql";
	command_ok([ 'pg_dump', '-a', '-t', 't', '-f', $file, @{ $dump{$kind} }, $node->connstr('first') ], "a dump by $kind");
	$dump{$kind} = $file;
}

# What psql says when it restores a dump.
sub restore
{
	my ($file) = @_;
	my ($out, $err);
	IPC::Run::run([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-f', $file, $node->connstr('later') ], '>', \$out, '2>', \$err);
	return $err;
}

# The publisher sends what row of which version; what the apply worker says to it.
sub replicated
{
	my ($statement, $message) = @_;
	my $from = -s $node->logfile;
	sql('first', $statement);
	$node->wait_for_log($message, $from);
	# Let it pass: what cannot be applied is skipped.
	sql('later', 'ALTER SUBSCRIPTION s DISABLE');
	$node->poll_query_until('later', q{SELECT count(*) = 0 FROM pg_stat_subscription WHERE subname = 's' AND pid IS NOT NULL});
	my ($lsn) = slurp_file($node->logfile, $from) =~ /finished at ([0-9A-F]+\/[0-9A-F]+)/;
	sql('later', "ALTER SUBSCRIPTION s SKIP (lsn = '$lsn')");
	sql('later', 'ALTER SUBSCRIPTION s ENABLE');
	$node->wait_for_catchup('s');
	return 1;
}

# ---- while all that the rows need is live

expand('later', 1);
foreach my $kind (sort keys %dump)
{
	is(restore($dump{$kind}), '', "a dump by $kind is restored");
	is(sql('later', 'SELECT id, note, row_version FROM t ORDER BY id'), "1|stale|2\n2|written|2", 'and its rows are converted');
	sql('later', 'TRUNCATE t');
}
sql('later', q{CALL migrate.run('t')});
sql('later', q{SELECT migrate.contract('m1', skip => '{window,usage}')});

# The publisher's "t" says its versions as "first" has them, or what it is told to.
sql('first', q{SELECT migrate.rollback('m1', discard => true)});
sql('first', 'ALTER TABLE t DROP CONSTRAINT row_version_supported; ALTER TABLE t ALTER row_version DROP NOT NULL');
sql('first', 'CREATE PUBLICATION p FOR TABLE t');
sql('first', q{SELECT pg_create_logical_replication_slot('s', 'pgoutput')});

# ---- with a live migration, and without

# Rows of what is refused, and what is not: floor and newest version, release and occasion.
my $id = 10;

sub holds_the_floor
{
	my ($floor, $newest, $release, $when) = @_;
	my $range = "Versions $floor to $newest are supported";
	my $refused = qr/row version 1 is not supported by relation "t".*$range.*through release "$release" first/s;

	like(restore($dump{$_}), $refused, "$when, a dump by $_ is refused") foreach sort keys %dump;
	my (undef, undef, $err) = $node->psql('later', qq{COPY t FROM PROGRAM 'echo "1,x,9"' WITH (FORMAT csv)});
	like($err, qr/row version 9 is not supported by relation "t".*$range.*Expand the migrations.*COPY t, line 1/s, 'so is what is newer');
	is(sql('later', 'SELECT count(*) FROM t WHERE id < 10'), '0', 'nothing of it is there');

	sql('first', 'TRUNCATE t');
	sql('later', sprintf(q{CREATE SUBSCRIPTION s CONNECTION '%s' PUBLICATION p WITH (create_slot = false, slot_name = 's', copy_data = false)},
			$node->connstr('first') =~ s/'/''/gr));
	$id++;
	ok(replicated("INSERT INTO t VALUES ($id, 'x', 1)", $refused), "$when, a replicated row is refused");
	sql('later', "INSERT INTO t VALUES ($id, 'here')");
	ok(replicated("UPDATE t SET note = 'y', row_version = 1 WHERE id = $id", $refused), 'and an update');
	ok(replicated("UPDATE t SET row_version = 9 WHERE id = $id", qr/row version 9 is not supported by relation "t".*$range/s), 'and what is newer');
	sql('first', "INSERT INTO t VALUES ($id + 100, 'sent', $newest); UPDATE t SET note = 'sent', row_version = $newest");
	$node->wait_for_catchup('s');
	is(sql('later', "SELECT note, row_version FROM t WHERE id IN ($id, $id + 100) ORDER BY id"),
		"sent|$newest\nsent|$newest", 'what is supported is applied');
	sql('later', 'ALTER SUBSCRIPTION s DISABLE');
	sql('later', 'ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s');
	$node->poll_query_until('first', q{SELECT NOT active FROM pg_replication_slots WHERE slot_name = 's'});
	sql('first', 'TRUNCATE t');
	sql('first', q{SELECT pg_replication_slot_advance('s', pg_current_wal_lsn())});
}

expand('later', 2);
holds_the_floor(2, 3, 'release 1', 'with m2 live');
foreach my $n (2, 3)
{
	expand('later', $n) if $n > 2;
	sql('later', q{CALL migrate.run('t')});
	sql('later', sprintf(q{SELECT migrate.retire_release('release %d')}, $n - 1));
	sql('later', "SELECT migrate.contract('m$n', skip => '{window,usage}')");
}
holds_the_floor(4, 4, 'release 3', 'after the last contract');

# ---- what is in range, on a table without a live migration

sql('later', q{SELECT migrate.define('m4', 't', up => 'note = upper(note)')});
sql('later', q{SELECT migrate.expand('m4'), migrate.rollback('m4', discard => true)});
sql('later', q{INSERT INTO t VALUES (900, 'said', 4), (901, 'said', 5)});
sql('later', q{INSERT INTO t (id, note) VALUES (902, 'unsaid')});
sql('later', q{SELECT migrate.expand('m4')});
is(sql('later', 'SELECT id, note FROM t WHERE id >= 900 ORDER BY id'), "900|SAID\n901|SAID\n902|UNSAID",
	'rows of versions in between are converted by what comes next');

$node->stop;
done_testing();
