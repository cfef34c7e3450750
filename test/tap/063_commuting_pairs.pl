# Two migrations of which define says that they commute come to the same in either
# order: random pairs are carried out on a server both ways, with writes of every form
# in between, and the tables are compared.
#
# Each pair lives several lives. In each a table gets the same rows and the same
# writes; lives differ in the order of the two, and in how far rows are converted when
# they are written to. What the table reads as, and which writes fail with what, must
# be the same in all of them: after the writes, when all is converted, and when both
# are contracted. Then the same once more where one is over before the other begins.
# Some tables have a BEFORE trigger that writes, too.
#
# Environment: MIGRATE_PAIRS, how many pairs that commute; MIGRATE_MODEL_SEED, to
# repeat a run. A failure shows the pair, and what differs.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use PsqlPipe;

my $pairs = $ENV{MIGRATE_PAIRS} // 8;
my $seed = $ENV{MIGRATE_MODEL_SEED} // int(rand(1_000_000_000));
my @old = map { "c$_" } 0 .. 4;
my $generated = 'g';

sub chance { return rand() < $_[0]; }
sub pick { return $_[ int(rand(@_)) ]; }

# ---- random migrations ----

# A value of several columns, which every row has: one for which "up" fails makes it matter
# when it is converted.
sub expression
{
	my ($a, $b) = map { pick(@_) } 1, 2;

	return pick("$a * 2 + 1", "coalesce($a, $b)", "$a - $b", "greatest($a, $b)", "coalesce($a, 0) + $b", '7', $a);
}

# Of its own result it makes the same. (So the others of the migration must not read it.)
sub rewriting
{
	my ($column, @columns) = @_;
	my $other = pick(grep { $_ ne $column } @columns);

	return "$column = " . pick("abs($column)", "$column % 10", "least($column, 50)", "coalesce($column, $other)",
		"greatest($column, $other)", "least($column, $other)", "coalesce($column, 3)");
}

sub add_column
{
	my ($migration, $name) = @_;
	my $constraint = pick('', '', '', '', 'DEFAULT 5', 'NOT NULL DEFAULT 3', "CHECK ($name > -1000)");

	if (chance(0.15))
	{
		$constraint = pick("CHECK ($name < 60)", 'REFERENCES keys', 'UNIQUE');
		$migration->{may_break} = 1;
	}

	push @{ $migration->{new} }, $name;
	push @{ $migration->{add} }, "$name int $constraint";
	if (chance(0.8))
	{
		my $value = expression(@old, $generated);
		$value = "coalesce($value, 1)" if $constraint =~ /NOT NULL/;
		push @{ $migration->{up} }, "$name = $value";
	}
	if (chance(0.4))
	{
		my $column = pick(@old);
		return if $migration->{restored}{$column}++;
		push @{ $migration->{down} }, "$column = " . pick($name, "$name / 2", "$name + " . pick(@old), "coalesce($name, " . pick(@old) . ')');
	}
	return;
}

# Another type under the same name.
sub add_twin
{
	my ($migration) = @_;
	my $column = pick(@old);

	push @{ $migration->{new} }, "${column}_new";
	push @{ $migration->{add} }, "$column bigint";
	push @{ $migration->{up} }, "$column = old.$column * 10";
	push @{ $migration->{down} }, "$column = new.$column / 10";
	$migration->{restored}{$column} = 1;
	$migration->{removed}{$column} = 1;
	return;
}

sub make_migration
{
	my ($name) = @_;
	my %migration = (name => $name, new => []);

	add_column(\%migration, "${name}_x") if chance(0.6);
	add_column(\%migration, "${name}_y") if chance(0.2);
	add_twin(\%migration) if chance(0.15);
	my @columns = grep { !$migration{removed}{$_} } @old;
	my $up = join ' ', @{ $migration{up} // [] };
	$up .= ' c0 c1' if $up =~ /\b$generated\b/;
	my $rewritten = pick(grep { $up !~ /\b$_\b/ } @columns) or return make_migration($name);
	$migration{rewrites} = chance(@{ $migration{new} } ? 0.2 : 0.9);
	push @{ $migration{up} }, rewriting($rewritten, @old) if $migration{rewrites};
	if (chance(0.25))
	{
		my $column = pick(grep { !defined $migration{up} || $_ ne $rewritten } @columns);
		$migration{removed}{$column} = 1 if defined $column;
	}
	$migration{needed} = pick(@old, $generated) . pick(' > 50', ' IS NULL', ' < 0', ' IS NOT NULL')
	  if $migration{up} && chance(0.2);
	return \%migration;
}

sub definition
{
	my ($migration) = @_;
	my %list = map { $_ => join(', ', @{ $migration->{$_} // [] }) } qw(add up down);
	my $removed = join ',', sort keys %{ $migration->{removed} // {} };
	my @parts = ("'$migration->{name}'", "'t'", "depends_on => '{}'", map { "$_ => \$\$$list{$_}\$\$" } grep { $list{$_} ne '' } sort keys %list);

	push @parts, "remove => '{$removed}'" if $removed ne '';
	push @parts, "needed => '$migration->{needed}'" if $migration->{needed};
	return 'SELECT migrate.define(' . join(', ', @parts) . ')';
}

# ---- random writes ----

sub value { return chance(0.15) ? 'NULL' : chance(0.1) ? 0 : int(rand(140)) - 20; }

sub some_of { my ($share, @columns) = @_; return grep { chance($share) } @columns; }

sub write_to
{
	my ($id, @columns) = @_;
	my @set = some_of(0.2, @columns);
	@set = pick(@columns) unless @set;
	my $values = join ', ', map { value() } @set;
	my $assignments = join ', ', map { "$_ = " . (chance(0.2) ? "t." . pick(@columns) : value()) } @set;

	return "INSERT INTO t (id, " . join(', ', @set) . ") VALUES (" . (100 + $id) . ", $values)" if chance(0.2);
	return "DELETE FROM t WHERE id = $id" if chance(0.03);
	return "INSERT INTO t (id, " . join(', ', @set) . ") VALUES ($id, $values) ON CONFLICT (id) DO UPDATE SET $assignments" if chance(0.05);
	return "UPDATE t SET $assignments WHERE " . (chance(0.9) ? "id = $id" : pick(@columns) . ' > 40');
}

# Does it make a difference whether a row is written before or after it is expanded? What
# was rewritten in place, or once needed, keeps something of what it was.
sub remembers { my ($migration) = @_; return $migration->{needed} || $migration->{rewrites}; }

# A constraint that rows break is in force for all who write when the migration is complete, and
# which of the two is, then depends on their order: such pairs are compared until then.

# Who reads sees which of the two are there.
sub blind_write_to
{
	my ($id) = @_;
	my @set = some_of(0.4, @old);

	return "UPDATE t SET " . join(', ', map { "$_ = " . value() } @set ? @set : pick(@old)) . " WHERE id = $id";
}

sub start_sql
{
	return 'INSERT INTO t (id, z, ' . join(', ', @old) . ') VALUES '
	  . join(', ', map { "($_, 0, " . join(', ', map { value() } @old) . ')' } 1 .. 8);
}

# What a trigger of the table's owner does, before each write of a row. It finds columns by
# their names, and leaves alone those that are not there (yet, or any more).
sub trigger_sql
{
	my (@columns) = @_;
	my ($from, $to) = (pick(@columns), pick(@columns));
	my $value = pick("abs(to_jsonb(new) ->> '$from')", "'9'", "to_jsonb(new) ->> '$from'");

	$value =~ s/abs\((.*)\)$/abs(($1)::int)/;
	return "CREATE OR REPLACE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN "
	  . "IF to_jsonb(new) ? '$from' AND to_jsonb(new) ? '$to' AND (to_jsonb(new) ->> '$from')::int % 3 = 0 THEN "
	  . "new := jsonb_populate_record(new, jsonb_build_object('$to', $value)); END IF; RETURN new; END \$\$; "
	  . 'CREATE TRIGGER own BEFORE ' . pick('INSERT OR UPDATE', 'UPDATE', 'INSERT') . ' ON t FOR EACH ROW EXECUTE FUNCTION own()';
}

# ---- a life ----

my ($psql, @script, @logged);

sub run
{
	my ($sql) = @_;
	my ($lines, $error) = $psql->query($sql);

	push @script, $sql;
	push @logged, "$sql: " . ($error =~ /ERROR:  (23)?(\w+):/ ? $1 // $2 : $error) if defined $error;
	BAIL_OUT("$error, seed $seed:\n" . join(";\n", @script)) if defined $error && $error !~ /ERROR:  (?!XX)\w+:/;
	return $lines;
}

sub try_to { my ($sql) = @_; my $before = @logged; run($sql); return @logged == $before; }

sub rows
{
	my ($lines) = run("SELECT to_jsonb(t) - 'row_version' FROM t ORDER BY id");
	return @$lines;
}

sub look
{
	my ($outcome, $when) = @_;

	push @$outcome, [ $when, rows(), @logged ];
	@logged = ();
	return;
}

sub begin
{
	my (%life) = @_;

	@script = @logged = ();
	run('SET migrate.guard = off; DROP TABLE IF EXISTS t; RESET migrate.guard');
	run('CREATE TABLE t (id int PRIMARY KEY, z int, ' . join(', ', map { "$_ int" } @old)
		. ", $generated int GENERATED ALWAYS AS (coalesce(c0, 0) + c1) STORED)");
	run($life{start});
	return try_to(definition($life{order}[0])) && try_to(definition($life{order}[1]));
}

sub convert { my ($life, $rows) = @_; return run("CALL migrate.run('t', max_rows => $rows)"); }

# Rows that break a CHECK hold up both, or the one that came last: then neither is contracted.
sub contract_all
{
	my (@names) = @_;
	my ($live) = @{ run("SELECT count(*) FROM migrate.status WHERE state = 'complete'") };

	run("SELECT migrate.contract('$_', skip => '{window,usage}')") foreach $live == 2 ? @names : ();
	return;
}

# Both are live, and the table is written to. Returns what was seen, one entry for each look.
sub live_together
{
	my (%life) = @_;
	my @outcome;
	my ($first, $second) = map { $_->{name} } @{ $life{order} };

	begin(%life) or return;
	run("SELECT migrate.expand('$first')");
	run($_) foreach @{ $life{between} };
	convert(\%life, $life{converted}) if $life{converted};
	run("SELECT migrate.expand('$second')");
	convert(\%life, $life{converted}) if $life{converted};
	look(\@outcome, 'expanded');
	run($_) foreach @{ $life{writes} };
	look(\@outcome, 'written');
	run("CALL migrate.run('t')");
	look(\@outcome, 'converted');
	run($_) foreach @{ $life{more} };
	look(\@outcome, 'written again');
	run("CALL migrate.run('t')");
	contract_all(@{ $life{contracts} });
	look(\@outcome, 'contracted, if all rows fit');
	return \@outcome;
}

# One is over and done with before the other begins.
sub live_apart
{
	my (%life) = @_;
	my @outcome;

	begin(%life) or return;
	foreach my $migration (@{ $life{order} })
	{
		run("SELECT migrate.expand('$migration->{name}')");
		run("CALL migrate.run('t')");
		run("SELECT migrate.contract('$migration->{name}', skip => '{window,usage}')");
	}
	@logged = ();
	look(\@outcome, 'contracted');
	return \@outcome;
}

# ---- comparing ----

sub compare
{
	my ($pair, %outcomes) = @_;
	my ($name, @others) = sort keys %outcomes;

	foreach my $other (@others)
	{
		foreach my $i (0 .. $#{ $outcomes{$name} })
		{
			my ($one, $two) = map { join "\n", @{ $outcomes{$_}[$i] } } $name, $other;
			next if $one eq $two;
			diag("seed $seed\n" . join("\n", map { definition($_) } @$pair) . "\n$name:\n$one\n$other:\n$two");
			return 0;
		}
	}
	return 1;
}

sub together
{
	my ($a, $b) = @_;
	my @new = map { @{ $_->{new} } } $a, $b;
	my @columns = (@old, @new, 'z');
	my %life = (start => start_sql(),
		between => [ 'UPDATE t SET z = 1 WHERE id IN (3, 4)', remembers($a) || remembers($b) ? () : map { blind_write_to($_) } 4, 5 ],
		writes => [ chance(0.25) ? trigger_sql(@columns) : (), map { write_to($_, @columns) } 1 .. 8, 11 .. 14 ],
		more => [ map { write_to($_, @columns) } 1 .. 8 ],
		contracts => [ $a->{name}, $b->{name} ]);
	my $may_break = $a->{may_break} || $b->{may_break};
	my @converted = $may_break ? 0 : (0, pick(3, 1000));
	my %outcomes;

	foreach my $order ([ $a, $b ], [ $b, $a ])
	{
		foreach my $converted (@converted)
		{
			my $outcome = live_together(%life, order => $order, converted => $converted) or return 1;
			$#$outcome = 1 if $may_break;
			$outcomes{"$order->[0]{name} first, $converted converted"} = $outcome;
		}
	}
	return compare([ $a, $b ], %outcomes);
}

sub apart
{
	my ($a, $b) = @_;
	return 1 if $a->{may_break} || $b->{may_break};
	my %life = (start => start_sql());
	my %outcomes = map { ("$_->[0]{name} first" => live_apart(%life, order => $_)) } [ $a, $b ], [ $b, $a ];

	return compare([ $a, $b ], %outcomes);
}

# ---- pairs ----

my $node = PostgreSQL::Test::Cluster->new('pairs');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'migrate'
migrate.autostart = off
autovacuum = off
fsync = off
CONF
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION migrate');
$node->safe_psql('postgres', 'CREATE TABLE keys (id int PRIMARY KEY); INSERT INTO keys SELECT generate_series(-10, 50)');
$psql = PsqlPipe->new($node->connstr('postgres'));
$psql->query('SET client_min_messages = warning');

my ($commuting, $refused, $wrong) = (0, 0, 0);
while ($commuting < $pairs && $wrong < 5 && $refused < 100 * $pairs)
{
	srand(++$seed);
	my ($a, $b) = map { make_migration($_) } 'a', 'b';
	if (!begin(order => [ $a, $b ], start => start_sql()))
	{
		$refused++;
		next;
	}
	$commuting++;
	$wrong++ unless together($a, $b) && apart($a, $b);
}
ok($wrong == 0 && $commuting > 0,
	"pairs that commute come to the same in either order ($commuting of them, $refused refused, up to seed $seed)");

$psql->close;
$node->stop;
done_testing();
