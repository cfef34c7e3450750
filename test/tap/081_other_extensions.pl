# Other extensions in the same server, loaded before this one and after it: what each
# of them does with a table whose rows are converted is what it does with any table.
#
# Those that come with PostgreSQL are always tried, and of pg_cron, pg_hint_plan,
# pg_partman, pg_repack, pg_squeeze, pgaudit and hypopg those that are installed.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

chomp(my $libraries = `pg_config --pkglibdir`);
my %has = map { $_ => -e "$libraries/$_.so" }
	qw(amcheck auto_explain hypopg pageinspect pg_cron pg_hint_plan pg_partman_bgw pg_repack pg_squeeze pg_stat_statements pgaudit);
note('installed: ' . join ' ', sort grep { $has{$_} } keys %has);

my $node;

sub sql { return $node->safe_psql('postgres', join '; ', @_); }

# What a statement leaves in the log.
sub logged_by
{
	my (@statements) = @_;
	my $before = -s $node->logfile;

	sql(@statements);
	return substr slurp_file($node->logfile), $before;
}

sub start_with
{
	my ($name, @preloaded) = @_;

	$node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '" . join(', ', @preloaded) . "'\n" . <<'CONF');
migrate.autostart = off
migrate.read_repair = 0
wal_level = logical
max_worker_processes = 16
fsync = off
compute_query_id = on
pg_stat_statements.track = all
auto_explain.log_nested_statements = on
cron.database_name = postgres
cron.use_background_workers = on
pg_hint_plan.enable_hint = on
CONF
	$node->start;
	return;
}

sub make_table
{
	my ($table, $rows) = @_;
	sql("CREATE TABLE $table (id integer PRIMARY KEY, a integer)",
		"INSERT INTO $table SELECT i, i FROM generate_series(1, $rows) i",
		"SELECT migrate.define('$table', '$table', add => 'b integer', up => 'b = a * 10', down => 'a = b / 10', remove => '{a}')");
	return;
}

# Both forms of each row, whatever is stored.
sub is_whole
{
	my ($table, $rows, $name) = @_;
	is(sql("SELECT count(*), sum(a) = sum(id), bool_and(b = 10 * a), bool_and(b IS NOT NULL) FROM $table"), "$rows|t|t|t", $name);
	return;
}

# Half of the rows are converted.
sub make_half
{
	my ($table, $rows) = @_;
	make_table($table, $rows);
	sql("SELECT migrate.expand('$table')");
	sql("CALL migrate.run('$table', max_rows => " . int($rows / 2) . ')');
	cmp_ok(sql("SELECT count(*) FROM $table WHERE row_version = 1"), '>', 0, "$table has rows to convert");
	return;
}

# Midway it is as it was, and the conversion goes on to the end.
sub goes_on
{
	my ($table, $rows, $name) = @_;
	is_whole($table, $rows, "$name midway: all rows are right");
	sql("UPDATE $table SET a = a WHERE id = $rows; UPDATE $table SET b = b WHERE id = $rows - 1");
	sql("CALL migrate.run('$table')");
	is(sql("SELECT state FROM migrate.status WHERE name = '$table'"), 'complete', "$name: the conversion gets to its end");
	is_whole($table, $rows, "$name: all rows are right when it is complete");
	sql("SELECT migrate.contract('$table', '10 s', '{window,usage}')");
	is(sql("SELECT count(*), bool_and(b = 10 * id) FROM $table"), "$rows|t", "$name: and when it is contracted");
	return;
}

# ---- one by one ----

# The text of a statement is the same statement in every state of its table, and
# what is done behind it is none of its own.
sub try_pg_stat_statements
{
	my @statements = ('SELECT a FROM counted WHERE id = 1', 'UPDATE counted SET a = a + 1 WHERE id = 1',
		'SELECT b FROM counted WHERE id = 1', 'UPDATE counted SET b = b + 10 WHERE id = 1',
		'INSERT INTO counted (id, b) VALUES (0, 0)', 'DELETE FROM counted WHERE id = 0');

	make_table('counted', 100);
	sql('SELECT FROM pg_stat_statements_reset()');
	sql(@statements[ 0, 1 ]);
	sql("SELECT migrate.expand('counted')");
	sql(@statements);
	sql("CALL migrate.run('counted')");
	sql(@statements);
	is(sql("SELECT query, count(*), sum(calls), sum(rows) FROM pg_stat_statements WHERE query ~ ' counted ' AND toplevel GROUP BY 1 ORDER BY 1"),
		join("\n", 'DELETE FROM counted WHERE id = $1|1|2|2', 'INSERT INTO counted (id, b) VALUES ($1, $2)|1|2|2',
			'SELECT a FROM counted WHERE id = $1|1|3|3', 'SELECT b FROM counted WHERE id = $1|1|2|2',
			'UPDATE counted SET a = a + $1 WHERE id = $2|1|3|3', 'UPDATE counted SET b = b + $1 WHERE id = $2|1|2|2'),
		'pg_stat_statements: a statement keeps its identity from before expand to completion');
	is(sql("SELECT count(DISTINCT queryid) FROM pg_stat_statements WHERE query = 'SELECT b FROM counted WHERE id = \$1'"), 1,
		'pg_stat_statements: stale or complete, the query id is one');
	return;
}

sub try_auto_explain
{
	make_half('explained', 100);
	my $log = logged_by('SET auto_explain.log_min_duration = 0', 'SET auto_explain.log_analyze = on', 'SET auto_explain.log_verbose = on',
		'SELECT b FROM explained WHERE id = 100', 'UPDATE explained SET b = b + 10 WHERE id = 100',
		"CALL migrate.run('explained', max_rows => 10)");
	like($log, qr/Query Text: SELECT b FROM explained WHERE id = 100.*?CASE WHEN .*?row_version/s, 'auto_explain: the plan with the conversion is logged');
	like($log, qr/Query Text: UPDATE explained SET b = b \+ 10.*?Update on public\.explained/s, 'auto_explain: and that of a write');
	return;
}

sub try_amcheck_and_pageinspect
{
	make_half('checked', 1000);
	sql("SELECT migrate.create_index('checked', 'b', while_stale => true)");
	sql("CALL migrate.run('checked', max_rows => 100)");
	foreach my $when ('midway', 'complete')
	{
		is(sql('SELECT count(*) FROM (SELECT bt_index_check(indexrelid, true) FROM pg_index WHERE indrelid = \'checked\'::regclass AND indisvalid OFFSET 0) s')
			> 0, 1, "amcheck: indexes are right, $when");
		is(sql("SELECT count(*) FROM verify_heapam('checked')"), 0, "amcheck: and so is the table, $when");
		is(sql("SELECT count(*) > 0 FROM heap_page_items(get_raw_page('checked', 0))"), 't', "pageinspect: shows its pages, $when");
		sql("CALL migrate.run('checked')") if $when eq 'midway';
	}
	return;
}

# The columns of a statement are those that it names, not what a conversion reads.
sub try_pgaudit
{
	make_half('audited', 100);
	sql('CREATE ROLE auditor', 'GRANT SELECT (a, row_version), UPDATE (a) ON audited TO auditor');
	my @audit = ("SET pgaudit.role = 'auditor'", "SET pgaudit.log = 'none'");
	unlike(logged_by(@audit, 'SELECT b FROM audited', 'UPDATE audited SET b = b WHERE id = 100'), qr/AUDIT: OBJECT/, 'pgaudit: who reads and writes b does not read a');
	like(logged_by(@audit, 'SELECT a FROM audited'), qr/AUDIT: OBJECT,\d+,\d+,READ,SELECT,TABLE,public\.audited,SELECT a FROM audited/, 'pgaudit: who reads a does');
	sql('REVOKE ALL ON audited FROM auditor', 'GRANT SELECT (b) ON audited TO auditor');
	like(logged_by(@audit, 'SELECT b FROM audited'), qr/AUDIT: OBJECT,\d+,\d+,READ,SELECT,TABLE,public\.audited,SELECT b FROM audited/, 'pgaudit: who reads b of stale rows does');
	my $log = logged_by("SET pgaudit.log = 'read, write, ddl'", 'SET pgaudit.log_relation = on', 'SELECT b FROM audited WHERE id = 1', "SELECT migrate.rollback('audited')");
	my @reads = $log =~ /AUDIT: SESSION,\d+,\d+,READ,SELECT,TABLE,public\.audited,SELECT b FROM audited/g;
	is(@reads, 1, 'pgaudit: a statement on stale rows is one statement');
	like($log, qr/AUDIT: SESSION,\d+,\d+,DDL,ALTER TABLE,/, 'pgaudit: what a rollback does is logged as DDL');
	sql('DROP OWNED BY auditor', 'DROP ROLE auditor');
	return;
}

sub try_hypopg
{
	make_half('guessed', 10000);
	my @ask = ("SELECT FROM hypopg_create_index('CREATE INDEX ON guessed (b)')", 'EXPLAIN (COSTS off) SELECT id FROM guessed WHERE b = 70');
	unlike(sql(@ask), qr/<\d+>btree_guessed_b/, 'hypopg: an index on stored values is of no use while rows are stale');
	sql("CALL migrate.run('guessed')");
	like(sql(@ask), qr/<\d+>btree_guessed_b/, 'hypopg: and is when it is complete');
	return;
}

sub try_pg_hint_plan
{
	make_half('hinted', 10000);
	my $query = 'SELECT b FROM hinted h WHERE id = 9999';
	like(sql("EXPLAIN (COSTS off) $query"), qr/Index Scan/, 'pg_hint_plan: without a hint an index is used');
	like(sql("EXPLAIN (COSTS off) /*+ SeqScan(h) */ $query"), qr/Seq Scan/, 'pg_hint_plan: a hint is heeded on stale rows');
	is(sql("/*+ SeqScan(h) */ $query"), 99990, 'pg_hint_plan: with the same result');
	like(sql('EXPLAIN (COSTS off) /*+ MergeJoin(h i) */ SELECT h.b FROM hinted h JOIN hinted i ON h.b = i.b WHERE h.id < 10'), qr/Merge Join/, 'pg_hint_plan: and in a join on converted values');
	return;
}

sub try_pg_repack
{
	make_half('repacked', 1000);
	my ($out, $err) = ('', '');
	my $done = IPC::Run::run([ 'pg_repack', '-h', $node->host, '-p', $node->port, '-d', 'postgres', '-t', 'public.repacked' ], '>', \$out, '2>', \$err);
	note($err);
	if ($done && $err !~ /ERROR|WARNING/) { pass('pg_repack: rewrites the table') }
	else { like($err, qr/ERROR: .*migrat/, 'pg_repack: is refused with a message that says why') }
	is(sql("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'repacked'::regclass AND tgname = 'repack_trigger'"), 0, 'pg_repack: leaves no trigger');
	goes_on('repacked', 1000, 'pg_repack');
	return;
}

sub try_pg_squeeze
{
	sql('CREATE TABLE not_managed (id integer PRIMARY KEY)');
	if ($node->psql('postgres', "SELECT squeeze.squeeze_table('public', 'not_managed')") != 0)
	{
		note('pg_squeeze does not work on this server');
		pass('pg_squeeze: loads');
		return;
	}
	make_half('squeezed', 1000);
	my ($status, undef, $err) = $node->psql('postgres', "SELECT squeeze.squeeze_table('public', 'squeezed')");
	note($err);
	if ($status == 0) { pass('pg_squeeze: rewrites the table') }
	else { like($err, qr/ERROR: .*migrat/, 'pg_squeeze: is refused with a message that says why') }
	goes_on('squeezed', 1000, 'pg_squeeze');
	return;
}

sub try_pg_cron
{
	make_half('timed', 1000);
	my $version = sql("SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'");
	my ($major, $minor) = split /\./, $version;
	my $in_seconds = "$major.$minor" >= 1.5;
	sql(q{SELECT cron.schedule('convert', '} . ($in_seconds ? '1 second' : '* * * * *') . q{', 'CALL migrate.run()')});
	if ($in_seconds)
	{
		ok($node->poll_query_until('postgres', "SELECT state = 'complete' FROM migrate.status WHERE name = 'timed'"), 'pg_cron: converts from a job');
	}
	sql("SELECT cron.unschedule('convert')");
	goes_on('timed', 1000, 'pg_cron');
	return;
}

# A partition that is made midway is one of the managed table.
sub try_pg_partman
{
	my $version = sql("SELECT extversion FROM pg_extension WHERE extname = 'pg_partman'");
	sql('CREATE TABLE parted (id integer NOT NULL, a integer) PARTITION BY RANGE (id)');
	sql($version =~ /^4/ ? "SELECT partman.create_parent('public.parted', 'id', 'native', '1000', p_start_partition => '0', p_premake => 1)"
		: "SELECT partman.create_parent('public.parted', 'id', '1000', p_start_partition => '0', p_premake => 1)");
	sql('INSERT INTO parted SELECT i, i FROM generate_series(1, 500) i',
		"SELECT migrate.define('parted', 'parted', add => 'b integer', up => 'b = a * 10', down => 'a = b / 10', remove => '{a}')",
		"SELECT migrate.expand('parted')");
	my $count = sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'parted'::regclass");
	sql("UPDATE partman.part_config SET premake = 4 WHERE parent_table = 'public.parted'", "SELECT partman.run_maintenance('public.parted')");
	cmp_ok(sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'parted'::regclass"), '>', $count, 'pg_partman: makes partitions midway');
	sql('INSERT INTO parted (id, b) SELECT i, i * 10 FROM generate_series(501, 2500) i');
	goes_on('parted', 2500, 'pg_partman');
	return;
}

my @preloaded = grep { $has{$_} } qw(pg_stat_statements auto_explain pg_cron pg_hint_plan pg_partman_bgw pg_squeeze pgaudit);
my %extension_of = (pg_partman_bgw => 'pg_partman');
my @tests = ([ pg_stat_statements => \&try_pg_stat_statements ], [ auto_explain => \&try_auto_explain ], [ pgaudit => \&try_pgaudit ],
	[ hypopg => \&try_hypopg ], [ pg_hint_plan => \&try_pg_hint_plan ], [ pg_repack => \&try_pg_repack ],
	[ pg_squeeze => \&try_pg_squeeze ], [ pg_cron => \&try_pg_cron ], [ pg_partman_bgw => \&try_pg_partman ]);

foreach my $order ('first', 'last')
{
	start_with("ours_$order", $order eq 'first' ? ('migrate', @preloaded) : (@preloaded, 'migrate'));
	sql('CREATE SCHEMA partman') if $has{pg_partman_bgw};
	sql('CREATE EXTENSION migrate');
	foreach my $name (grep { $has{$_} && $_ ne 'auto_explain' } sort keys %has)
	{
		my $extension = $extension_of{$name} // $name;
		sql("CREATE EXTENSION $extension" . ($extension eq 'pg_partman' ? ' SCHEMA partman' : ''));
	}
	foreach my $test (@tests)
	{
		my ($name, $code) = @$test;
		if ($has{$name}) { subtest("$name, ours loaded $order" => sub { $code->(); }) }
		else { note("$name is not installed") }
	}
	subtest("amcheck and pageinspect, ours loaded $order" => \&try_amcheck_and_pageinspect) if $has{amcheck} && $has{pageinspect};
	unlike(slurp_file($node->logfile), qr/TRAP:|was terminated by signal|XX000/, "no internal error, ours loaded $order");
	$node->stop;
}
done_testing();
