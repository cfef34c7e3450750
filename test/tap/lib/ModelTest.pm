# What the tests against a model share: tables, a server, judging a result.
#
# Environment: MIGRATE_MODEL_STEPS, how many statements for each table;
# MIGRATE_MODEL_MINUTES, for how long to go on with one table after another;
# MIGRATE_MODEL_SEED, to repeat a run. On a failure the last statements are shown
# as a script.
package ModelTest;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use Test::More;

use MigrationMaker;
use MigrationModel;
use PsqlPipe;
use TableTraffic;

our @EXPORT = qw(start_server new_database chance pick quoted table_of new_model new_traffic functions
  record give_up apply problem_of judge execute must count_done statements seed next_seed goes_on);

my $node;
my $seed = $ENV{MIGRATE_MODEL_SEED} // int(rand(1_000_000_000));

sub chance { return rand() < $_[0]; }
sub pick { return $_[ int(rand(@_)) ]; }
sub seed { return $seed; }
sub next_seed { return ++$seed; }

# Is there to be an n-th table, counted from 0? Without a time, as many as by default.
my $ends_at = time + 60 * ($ENV{MIGRATE_MODEL_MINUTES} // 0);
sub goes_on { my ($n, $default) = @_; return $ENV{MIGRATE_MODEL_MINUTES} ? time < $ends_at : $n < $default; }

sub quoted { return "'" . ($_[0] =~ s/'/''/gr) . "'"; }

# Returns the server and how many statements to try.
sub start_server
{
	my ($default_steps) = @_;
	my $steps = $ENV{MIGRATE_MODEL_STEPS} // $default_steps;

	note("seed $seed, $steps statements for each table");
	srand($seed);
	$node = PostgreSQL::Test::Cluster->new('model');
	$node->init(extra => [ '--no-locale', '-E', 'UTF8' ]);
	$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
migrate.lock_timeout = '500 ms'
autovacuum = off
fsync = off
CONF
	$node->start;
	$node->safe_psql('postgres', $_) foreach 'CREATE EXTENSION migrate', MigrationMaker::functions(),
		'CREATE DATABASE blank TEMPLATE template0';
	$node->safe_psql('blank', $_) foreach 'CREATE EXTENSION migrate', MigrationMaker::functions();
	return ($node, $steps);
}

# A database of its own, with nothing in it yet.
sub new_database
{
	my ($name) = @_;
	$node->safe_psql('postgres', "DROP DATABASE IF EXISTS $name WITH (FORCE)");
	$node->safe_psql('postgres', "CREATE DATABASE $name TEMPLATE blank");
	return $node->connstr($name);
}

# ---- tables: their columns are id, part, i0, s0 and note, in whatever order ----

my %tables = (
	plain => {
		sql => <<'SQL', conflict => ['id'], partitions => [] },
CREATE TABLE plain (id integer PRIMARY KEY, part integer, gone integer, i0 integer DEFAULT 5, s0 text,
	note text DEFAULT 'New');
ALTER TABLE plain DROP COLUMN gone;
SQL

	# Columns at other places in every partition; one is partitioned itself.
	parted => {
		sql => <<'SQL', conflict => [ 'id', 'part' ], partitions => [ 0, 1, 2 ] });
CREATE TABLE parted (id integer, part integer, i0 integer DEFAULT 5, s0 text, note text DEFAULT 'New',
	PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE parted_p0 PARTITION OF parted FOR VALUES IN (0);
CREATE TABLE parted_p1 (gone integer, note text DEFAULT 'New', s0 text, i0 integer DEFAULT 5, part integer NOT NULL,
	id integer NOT NULL, gone2 text);
ALTER TABLE parted_p1 DROP COLUMN gone, DROP COLUMN gone2;
ALTER TABLE parted ATTACH PARTITION parted_p1 FOR VALUES IN (1);
CREATE TABLE parted_p2 (s0 text, id integer NOT NULL, i0 integer DEFAULT 5, note text DEFAULT 'New', part integer NOT NULL)
	PARTITION BY RANGE (id);
CREATE TABLE parted_p2_low PARTITION OF parted_p2 FOR VALUES FROM (MINVALUE) TO (30);
CREATE TABLE parted_p2_high (note text DEFAULT 'New', gone integer, s0 text, id integer NOT NULL,
	i0 integer DEFAULT 5, part integer NOT NULL);
ALTER TABLE parted_p2_high DROP COLUMN gone;
ALTER TABLE parted_p2 ATTACH PARTITION parted_p2_high FOR VALUES FROM (30) TO (MAXVALUE);
ALTER TABLE parted ATTACH PARTITION parted_p2 FOR VALUES IN (2);
CREATE TABLE parted_rest PARTITION OF parted DEFAULT;
SQL

# With a trigger that sets a column, of whatever form it is told.
$tables{triggered} = {
	sql => <<'SQL', conflict => ['id'], partitions => [], has_trigger => 1 };
CREATE TABLE triggered (id integer PRIMARY KEY, part integer, i0 integer DEFAULT 5, s0 text, note text DEFAULT 'New');
CREATE FUNCTION set_column() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF current_setting('model.target') <> '' AND NEW.id % 3 = 0 THEN
			NEW := jsonb_populate_record(NEW, jsonb_build_object(current_setting('model.target'),
				nullif(current_setting('model.value'), '\N')));
		END IF;
		RETURN NEW;
	END $$;
CREATE TRIGGER set_column BEFORE INSERT OR UPDATE ON triggered FOR EACH ROW EXECUTE FUNCTION set_column();
SQL

# With a generated column, and small values out of line.
$tables{generated} = {
	sql => <<'SQL', conflict => ['id'], partitions => [], generates => 1 };
CREATE TABLE generated (g text GENERATED ALWAYS AS ('<' || note || '>') STORED, part integer, i0 integer DEFAULT 5,
	gone text, note text DEFAULT 'New', s0 text, id integer PRIMARY KEY) WITH (toast_tuple_target = 128);
ALTER TABLE generated DROP COLUMN gone;
ALTER TABLE generated ALTER s0 SET STORAGE EXTERNAL, ALTER note SET STORAGE EXTERNAL;
SQL

sub table_of { my ($name) = @_; return $tables{$name}; }

sub new_model
{
	my ($name) = @_;
	my $generates = $tables{$name}{generates};

	return MigrationModel->new(keys => [ 'id', 'part' ],
		columns => [ [ 'i0', 'i' ], [ 's0', 't' ], [ 'note', 't' ] ],
		defaults => { i0 => 5, note => 'New' },
		generated => $generates ? { g => sub { defined $_[0]{note} ? "<$_[0]{note}>" : undef } } : {});
}

# Traffic on a table with a model of its own, with ids in [from, to).
sub new_traffic
{
	my ($name, $model, $from, $to) = @_;
	return TableTraffic->new(table => $name, model => $model, ids => [ $from, $to ],
		conflict => $tables{$name}{conflict}, partitions => $tables{$name}{partitions});
}

# ---- running statements and comparing ----

my @log;
my %done;

sub record
{
	push @log, $_[0];
	shift @log if @log > 60;
	return;
}

# Unless the reason is a script itself, the last statements go with it.
sub give_up
{
	my ($why) = @_;
	diag("$why\n\nseed $seed, after " . count_done());
	diag("the last statements:\n", map { "$_;\n" } @log) unless $why =~ /^CREATE EXTENSION/m;
	fail('the table is as the model');
	done_testing();
	exit 1;
}

sub compare
{
	my ($sql, $expected, $got) = @_;
	my @expected = sort @$expected;
	my @got = sort @$got;
	return if "@expected" eq "@got" && @expected == @got;
	my %got = map { $_ => 1 } @got;
	my %expected = map { $_ => 1 } @expected;
	return { kind => 'mismatch', text => "$sql\nexpected and not got:\n"
		  . join('', map { "\t$_\n" } grep { !$got{$_} } @expected)
		  . "got and not expected:\n" . join('', map { "\t$_\n" } grep { !$expected{$_} } @got) };
}

# Do to the model what the statement says: the rows expected, or a code.
sub apply
{
	my ($model, $statement) = @_;
	my $before = $model->snapshot;
	my @lines = eval { $statement->{code}->() };

	return { lines => (@lines == 1 && !defined $lines[0] ? undef : \@lines) } unless $@;
	die $@ unless ref $@;
	$model->restore($before);
	return { code => $@->{state} };
}

# What is not as expected: { kind, text }, or undef. Which of several errors comes
# first is nobody's business.
sub problem_of
{
	my ($sql, $expected, $lines, $error) = @_;
	my ($code) = ($error // '') =~ /(?:ERROR|FATAL|PANIC):  (\w+):/;

	$done{statements}++;
	$done{failing}++ if $expected->{code};
	if ($expected->{code} || defined $error)
	{
		return if $expected->{code} && ($code // '') =~ /^(22P02|22003|23502|23505|23514)$/;
		my ($message, $why) = ($error // '') =~ /\w: +([^\n]*)(?:\nDETAIL:  (\w+))?/;
		return { kind => 'error ' . (defined $error ? ($message // '') =~ s/"[^"]*"//gr . ($why // '') : 'missing'),
			text => "$sql\nfails: " . ($error // '(not)') . "\nexpected: " . ($expected->{code} // '(not)') };
	}
	return $expected->{lines} ? compare($sql, $expected->{lines}, $lines) : undef;
}

sub judge
{
	my $problem = problem_of(@_);
	give_up($problem->{text}) if $problem;
	return;
}

sub execute
{
	my ($psql, $model, $statement) = @_;
	record($statement->{sql});
	my $expected = apply($model, $statement);
	judge($statement->{sql}, $expected, $psql->query($statement->{sql}));
	return defined $expected->{code} ? 0 : 1;
}

sub must
{
	my ($psql, $sql) = @_;
	record($sql);
	my ($lines, $error) = $psql->query($sql);
	give_up("$sql\n$error") if defined $error;
	return @$lines;
}

# How much of what was done; with an argument, one more of that.
sub count_done
{
	my ($what) = @_;
	$done{$what}++ if defined $what;
	return join ', ', map { "$done{$_} $_" } sort keys %done;
}

sub statements { return $done{statements} // 0; }

1;
