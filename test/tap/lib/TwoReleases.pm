# TwoReleases: a bank's table under two releases of an application at once.
#
# pgbench's tables, of which "abalance", in cents, becomes "balance"; stock
# pgbench as the old release, and beside it one whose script knows only the new
# column. Both book each amount with account, teller, branch and history, so that
# any write that is lost, or converted twice, shows in the sums.
package TwoReleases;

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $NEW_RELEASE = <<'SQL';
\set aid random(1, 100000 * :scale)
\set bid random(1, 1 * :scale)
\set tid random(1, 10 * :scale)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET balance = balance + :delta / 100.0 WHERE aid = :aid;
SELECT balance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
SQL

my $DEFINE = <<'SQL';
SELECT migrate.define('cents', 'pgbench_accounts',
	add => 'balance numeric(14,2)',
	up => 'balance = abalance / 100.0',
	down => 'abalance = (balance * 100)::integer',
	remove => '{abalance}');
SQL

# A server with pgbench's tables, of 100,000 accounts, and the migration defined.
sub new
{
	my ($class, $name, $conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
shared_buffers = '64MB'
fsync = off
CONF
	$node->append_conf('postgresql.conf', $conf) if $conf;
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION migrate');
	$node->command_ok([ 'pgbench', '--initialize', '--quiet', '--scale=1', 'postgres' ],
		'pgbench makes its tables');
	$node->safe_psql('postgres', $DEFINE);

	my $script = "$PostgreSQL::Test::Utils::tmp_check/new_release.sql";
	open my $file, '>', $script or die "$script: $!";
	print $file $NEW_RELEASE;
	close $file or die "$script: $!";
	return bless { node => $node, script => $script }, $class;
}

sub node { return $_[0]{node} }

sub sql
{
	my ($self, $sql) = @_;
	return $self->{node}->safe_psql('postgres', $sql);
}

sub old_release
{
	my ($self, @options) = @_;
	return $self->_start('--builtin=tpcb-like', @options);
}

sub new_release
{
	my ($self, @options) = @_;
	return $self->_start("--file=$self->{script}", '--scale=1', @options);
}

sub _start
{
	my ($self, @options) = @_;
	my ($out, $err) = ('', '');
	my $harness = IPC::Run::start(
		[   'pgbench', '--no-vacuum', '--client=3', '--jobs=1', '--time=3600', '--port=' . $self->{node}->port,
			@options, 'postgres' ],
		'<', \undef, '>', \$out, '2>', \$err);
	return { harness => $harness, out => \$out, err => \$err };
}

# Let one end its transactions: its time is up, says the signal. Returns how many
# it made.
sub finish
{
	my ($self, $release, $name) = @_;

	$release->{harness}->signal('ALRM');
	$release->{harness}->finish;
	is($release->{harness}->result(0), 0, "$name ends well");
	like(${ $release->{out} }, qr/^number of failed transactions: 0 /m, "$name had no failed transaction");
	unlike(${ $release->{err} }, qr/error|aborted|fatal/i, "$name met no error");
	my ($done) = ${ $release->{out} } =~ /^number of transactions actually processed: (\d+)/m;
	cmp_ok($done, '>', 0, "$name was at work");
	return $done;
}

# Wait until the history has grown by this much: the releases are at work.
sub wait_for_work
{
	my ($self, $transactions) = @_;
	my $goal = $transactions + $self->sql('SELECT count(*) FROM pgbench_history');
	$self->{node}->poll_query_until('postgres', "SELECT count(*) >= $goal FROM pgbench_history")
	  or die 'the releases are not at work';
}

# In one snapshot, both forms of each row say the same, and the sums of each form
# are those of the other books.
sub forms_agree
{
	my ($self, $when) = @_;
	my $result = $self->sql(<<'SQL');
SELECT differ, (SELECT count(DISTINCT cents) FROM (VALUES (old), (new),
		((SELECT sum(tbalance) FROM pgbench_tellers)), ((SELECT sum(bbalance) FROM pgbench_branches)),
		((SELECT sum(delta) FROM pgbench_history))) AS books (cents))
  FROM (SELECT sum(abalance) AS old, sum(balance) * 100 AS new,
			count(*) FILTER (WHERE balance * 100 IS DISTINCT FROM abalance) AS differ
		  FROM pgbench_accounts) AS accounts
SQL
	is($result, '0|1', "both forms and the books agree $when");
}

# The same where only one form is there: an expression for its cents.
sub books_agree
{
	my ($self, $cents, $when) = @_;
	my $result = $self->sql(<<"SQL");
SELECT count(DISTINCT books) FROM (
	SELECT sum($cents)::numeric FROM pgbench_accounts
	UNION ALL SELECT sum(tbalance) FROM pgbench_tellers
	UNION ALL SELECT sum(bbalance) FROM pgbench_branches
	UNION ALL SELECT sum(delta) FROM pgbench_history) AS s (books)
SQL
	is($result, 1, "the books agree to the cent $when");
}

1;
