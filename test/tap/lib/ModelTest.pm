# What the tests against a model share: tables, a server, judging a result.
#
# Environment: MIGRATE_MODEL_STEPS, how many statements for each table;
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

our @EXPORT = qw(start_server chance pick quoted table_of new_model new_traffic
  record give_up apply judge execute must count_done statements);

my $node;
my $seed = $ENV{MIGRATE_MODEL_SEED} // int(rand(1_000_000_000));

sub chance { return rand() < $_[0]; }
sub pick { return $_[ int(rand(@_)) ]; }
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
fsync = off
CONF
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION migrate; ' . MigrationMaker::functions());
	return ($node, $steps);
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

# Make one of the tables.
sub table_of
{
	my ($name) = @_;
	my $table = $tables{$name};

	$node->safe_psql('postgres', $table->{sql});
	record($table->{sql});
	return $table;
}

sub new_model
{
	return MigrationModel->new(keys => [ 'id', 'part' ],
		columns => [ [ 'i0', 'i' ], [ 's0', 't' ], [ 'note', 't' ] ],
		defaults => { i0 => 5, note => 'New' });
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

sub show_script
{
	my ($why) = @_;
	diag("$why\n\nseed $seed; the last statements:\n");
	diag("$_;") foreach @log;
	return;
}

sub record
{
	push @log, $_[0];
	shift @log if @log > 60;
	return;
}

sub give_up
{
	show_script($_[0]);
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
	give_up("$sql\nexpected and not got:\n"
		  . join('', map { "\t$_\n" } grep { !$got{$_} } @expected)
		  . "got and not expected:\n" . join('', map { "\t$_\n" } grep { !$expected{$_} } @got));
	return;
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

sub judge
{
	my ($sql, $expected, $lines, $error) = @_;
	my ($code) = ($error // '') =~ /ERROR:  (\w+):/;

	$done{statements}++;
	$done{failing}++ if $expected->{code};
	if ($expected->{code} || defined $error)
	{
		give_up("$sql\nfails: " . ($error // '(not)') . "\nexpected: " . ($expected->{code} // '(not)'))
		  unless $expected->{code} && defined $code && $code =~ /^(22P02|22003|23505)$/;
		return;
	}
	compare($sql, $expected->{lines}, $lines) if $expected->{lines};
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
