# Tables made twice, of random migrations: one of which rows of every version are
# left, and a twin on which everything is converted.
#
# A life is a hash: "setup", a list of statements as [where, SQL], where being
# "both" or "twin"; and "relations", what can be written to: name => {
#	table		the managed table behind it (it may be a view, or a partition)
#	key			columns of its primary key
#	columns		[name, type] of all that can be read, the key's first
#	writable	names of those that can be written, without the key's
#	is_view, is_parted, is_leaf; part, that of a leaf's rows
# }. Types are those of QueryGenerator, t, i and b, and n (numeric), a (text[]), c
# (a composite), besides x: text which some "down" takes to be a "c" and a number.
# In SQL, HOME stands for the schema, "stale" or "twin".
package TwinTables;

use strict;
use warnings;

use StatementGenerator;

sub chance { return rand() < $_[0]; }
sub pick { return $_[ int(rand(@_)) ]; }
sub upto { return 1 + int(rand($_[0])); }

my %sql_types = (t => 'text', x => 'text', i => 'integer', b => 'boolean', n => 'numeric(12,2)', a => 'text[]',
	c => 'HOME.pair');

my @types = (<<'SQL', <<'SQL', <<'SQL', <<'SQL', <<'SQL');
CREATE TYPE pair AS (word text, number integer)
SQL
CREATE DOMAIN small AS integer CHECK (VALUE < 5000)
SQL
CREATE FUNCTION fuzz_up(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS
	'BEGIN RETURN coalesce($1, -1) + 2; END'
SQL
CREATE FUNCTION fuzz_down(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE STRICT AS 'BEGIN RETURN $1 - 2; END'
SQL
CREATE TABLE other (id integer PRIMARY KEY, name text, n integer, flag boolean);
INSERT INTO other SELECT i, (ARRAY['ANN', 'Ann', 'bob', 'none', '-?'])[i % 7 + 1], i * 3 % 20,
	CASE i % 3 WHEN 0 THEN true WHEN 1 THEN false END FROM generate_series(1, 25) i
SQL

my @columns = ([ 'n', 'i' ], [ 's', 't' ], [ 'note', 't' ], [ 'price', 'i' ]);
my $generated = q{gen text GENERATED ALWAYS AS (upper(note) || '/') STORED};

# What a table is made of; in the partitions columns stand at other places.
my %tables = (
	plain => { key => ['id'], sql => <<"SQL" },
CREATE TABLE plain (id integer PRIMARY KEY, gone text, n integer DEFAULT 5, part integer, s text,
	note text DEFAULT 'New', $generated, price integer);
ALTER TABLE plain DROP COLUMN gone
SQL
	guarded => { key => ['id'], sql => <<"SQL" },
CREATE TABLE guarded (price integer, id integer PRIMARY KEY, part integer, n integer DEFAULT 5, s text,
	note text DEFAULT 'New', $generated)
SQL
	parted => { key => [ 'id', 'part' ], leaves => {
			parted_p0 => 0, parted_p1 => 1, parted_p2 => 2, parted_p2_low => 2, parted_p2_high => 2, parted_rest => 3 },
		sql => <<"SQL" });
CREATE TABLE parted (id integer, part integer, n integer DEFAULT 5, s text, note text DEFAULT 'New', price integer,
	$generated, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE parted_p0 PARTITION OF parted FOR VALUES IN (0);
CREATE TABLE parted_p1 (gone integer, note text DEFAULT 'New', s text, price integer, n integer DEFAULT 5,
	part integer NOT NULL, id integer NOT NULL, gone2 text, $generated);
ALTER TABLE parted_p1 DROP COLUMN gone, DROP COLUMN gone2;
ALTER TABLE parted ATTACH PARTITION parted_p1 FOR VALUES IN (1);
CREATE TABLE parted_p2 (s text, id integer NOT NULL, price integer, n integer DEFAULT 7, note text DEFAULT 'New',
	$generated, part integer NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE parted_p2_low PARTITION OF parted_p2 FOR VALUES FROM (MINVALUE) TO (20);
CREATE TABLE parted_p2_high (note text DEFAULT 'New', gone integer, s text, id integer NOT NULL, $generated,
	n integer DEFAULT 5, part integer NOT NULL, price integer);
ALTER TABLE parted_p2_high DROP COLUMN gone;
ALTER TABLE parted_p2 ATTACH PARTITION parted_p2_high FOR VALUES FROM (20) TO (MAXVALUE);
ALTER TABLE parted ATTACH PARTITION parted_p2 FOR VALUES IN (2);
CREATE TABLE parted_rest PARTITION OF parted DEFAULT
SQL

my $rows = <<'SQL';
INSERT INTO %1$s (id, part, n, s, note, price) SELECT i, i %% 4, CASE WHEN i %% 5 > 0 THEN i * 7 %% 50 END,
	(ARRAY['Ann Lee', 'bob', '', 'x y z', NULL, 'Cyd Poe'])[i %% 6 + 1],
	(ARRAY['Note', ' pad ', 'low', NULL, 'fax X'])[i * %2$d %% 5 + 1], nullif(i * 13 %% 400, 0)
	FROM generate_series(1, 30) i
SQL

# ---- migrations ----

# Each returns a hash: add (name => [type, what follows]), up, down, remove, needed;
# or nothing, where it does not suit what was before.
sub change_number
{
	my ($table) = @_;
	my $old = $table->{number};
	my $new = new_column($table);
	my ($type, $up, $down) = $table->{types}{$old} eq 'x'
	  ? @{ pick([ 'i', "substr($old, 2)::integer", "'c' || $new" ], [ 'x', "replace($old, '0', '1')", $new ]) }
	  : @{ pick([ 'i', "$old * 10", "$new / 10" ], [ 'i', "$old / 10", "$new * 10" ], [ 'x', "'c' || $old", "substr($new, 2)::integer" ],
		  [ 'i', "coalesce($old, 0) + 1", "$new - 1" ], [ 'i', "HOME.fuzz_up($old)", "HOME.fuzz_down($new)" ]) };

	$table->{number} = $new;
	return { add => { $new => [$type] }, up => { $new => $up }, down => chance(0.9) ? { $old => $down } : {}, remove => [$old] };
}

sub change_name
{
	my ($table) = @_;
	my @old = @{ $table->{name} };
	my @new = map { new_column($table) } 1 .. 3 - @old;

	$table->{name} = \@new;
	return { add => { map { $_ => ['t'] } @new }, remove => \@old,
		up => { map { $new[ $_ - 1 ] => "split_part($old[0], ' ', $_)" } 1 .. 2 },
		down => { $old[0] => "$new[0] || ' ' || $new[1]" } } if @old == 1;
	return { add => { $new[0] => ['t'] }, remove => \@old, up => { $new[0] => "$old[1] || ', ' || $old[0]" },
		down => { $old[0] => "split_part($new[0], ', ', 2)", $old[1] => "split_part($new[0], ', ', 1)" } };
}

sub derive
{
	my ($table) = @_;
	my $name = $table->{name}[-1];
	my $number = $table->{number};
	my ($text, $bool, $small) = map { new_column($table) } 1 .. 3;
	my %up = ($text => "coalesce($name, '-') || '/' || coalesce($number\::text, '-')", $bool => "length($name) > 3",
		$small => "length(note) * 2");
	delete $up{ pick(keys %up) } if chance(0.5);
	my %types = ($text => ['t'], $bool => ['b'], $small => [ 'i', 'HOME.small' ]);

	return { add => { map { $_ => $types{$_} } keys %up }, up => \%up, down => {}, remove => [] };
}

sub mend
{
	my ($table) = @_;
	my @left = grep { !$table->{mended}{$_} } ([ 'lower(note)' ], [ 'btrim(note)' ], [ q{replace(note, 'x', 'y')}, q{note LIKE '%x%'} ])
	  or return;
	my $mend = pick(@left);
	return if $table->{mended}{ $mend->[0] }++;
	return { add => {}, up => { note => $mend->[0] }, down => {}, remove => [], needed => $mend->[1] };
}

sub need
{
	my ($table) = @_;
	my ($new, $also) = map { new_column($table) } 1 .. 2;
	my $number = $table->{number};
	my $needed = $table->{types}{$number} eq 'i' ? "$number > 20" : "$number > 'c2'";

	return { add => { $new => ['t'], $also => ['i'] }, up => { $new => 'upper(note)', $also => "length(note) + length($table->{name}[0])" },
		down => chance(0.4) ? { note => "lower($new)" } : {}, remove => [], needed => pick($needed, 'note IS NOT NULL', 'price > 100') };
}

sub retype
{
	my ($table) = @_;
	return if $table->{types}{price_new};
	return { add => { price => ['n'] }, becomes => 'price_new', up => { price => 'old.price / 100.0' }, down => { price => '(new.price * 100)::integer' },
		remove => [] };
}

sub structure
{
	my ($table) = @_;
	my $new = new_column($table);
	my $name = $table->{name}[0];
	my $number = $table->{number};

	return { add => { $new => ['a'] }, up => { $new => "string_to_array($name, ' ')" },
		down => { $name => "array_to_string($new, ' ')" }, remove => [] } if chance(0.5) || $table->{types}{$number} ne 'i';
	return { add => { $new => ['c'] }, up => { $new => "ROW($name, $number)::HOME.pair" },
		down => { $name => "($new).word", $number => "($new).number" }, remove => [] };
}

# Constraints of the new form hold for all only when the migration is complete.
sub with_default
{
	my ($table, $complete) = @_;
	my $new = new_column($table);
	my $constraint = $complete ? '' : pick('', ' NOT NULL', " CHECK ($new < 100)");
	return { add => { $new => [ 'i', "integer DEFAULT 7$constraint" ] }, up => chance(0.5) ? { $new => 'coalesce(price, 3)' } : {},
		down => {}, remove => [] };
}

my @kinds = (\&change_number, \&change_number, \&change_name, \&change_name, \&derive, \&mend, \&mend, \&need, \&retype,
	\&structure, \&with_default);

sub new_column { my ($table) = @_; return 'c' . ++$table->{count}; }

sub assignments
{
	my ($assigned) = @_;
	return 'NULL' unless %$assigned;
	return '$m$' . join(', ', map { "$_ = $assigned->{$_}" } sort keys %$assigned) . '$m$';
}

sub definition
{
	my ($table, $name, $m) = @_;
	my %add = %{ $m->{add} };
	my @add = map { "$_ " . ($add{$_}[1] // $sql_types{ $add{$_}[0] }) } sort keys %add;

	return "SELECT migrate.define('HOME $name', 'HOME.$table->{name_of}', add => " . (@add ? '$m$' . join(', ', @add) . '$m$' : 'NULL')
	  . ', up => ' . assignments($m->{up}) . ', down => ' . assignments($m->{down})
	  . ", remove => '{" . join(',', @{ $m->{remove} }) . "}'"
	  . ($m->{needed} ? ", needed => \$m\$$m->{needed}\$m\$" : '') . ')';
}

sub relation
{
	my ($table) = @_;
	my @data = map { [ $_, $table->{types}{$_} ] } @{ $table->{order} };

	return { table => $table->{name_of}, key => $tables{ $table->{name_of} }{key}, is_parted => $tables{ $table->{name_of} }{leaves} ? 1 : 0,
		columns => [ [ 'id', 'i' ], [ 'part', 'i' ], @data, [ 'gen', 't' ] ], writable => [ map { $_->[0] } @data ] };
}

# Rows written on the way, in whatever form there is by then.
sub touch
{
	my ($life, $table) = @_;
	my $by = 3 + int(rand(4));
	my $where = "WHERE id % $by = " . int(rand($by));
	my $draw = rand();

	return "UPDATE $table->{name_of} SET part = part $where" if $draw < 0.5;
	my $generator = $life->{generator};
	return $generator->simple_update($table->{name_of}, relation($table), $where) if $draw < 0.8;
	return $generator->simple_insert($table->{name_of}, relation($table), 31 + int(rand(10)));
}

sub add_migration
{
	my ($life, $table) = @_;
	my $m;
	do { $m = pick(@kinds)->($table, $life->{complete}) } until $m;
	my $name = "$table->{name_of} " . ++$table->{migrations};

	foreach my $column (sort keys %{ $m->{add} })
	{
		my $called = $m->{becomes} // $column;
		$table->{types}{$called} = $m->{add}{$column}[0];
		push @{ $table->{order} }, $called;
	}
	both($life, definition($table, $name, $m));
	both($life, "SELECT migrate.expand('HOME $name')");
	push @{ $life->{setup} }, [ 'twin', "UPDATE twin.$table->{name_of} SET part = part" ];
	both($life, touch($life, $table)) foreach 1 .. upto(3);
	return;
}

sub both { my ($life, $sql) = @_; push @{ $life->{setup} }, [ 'both', $sql ]; return; }

# ---- what is built upon the tables ----

sub add_view
{
	my ($life, $name, $on) = @_;
	my $relation = $life->{relations}{$on};
	my %chosen = map { $_ => 1 } grep { chance(0.6) } @{ $relation->{writable} };
	my @columns = grep { $_->[0] =~ /^(id|part)$/ || $chosen{ $_->[0] } } @{ $relation->{columns} };
	my $where = chance(0.7) ? ' WHERE ' . $life->{generator}->condition($on, $relation) : '';
	my $check = $where ? pick('', ' WITH LOCAL CHECK OPTION', ' WITH CASCADED CHECK OPTION') : '';
	my $with = pick('', ' WITH (security_barrier)', ' WITH (security_invoker)');

	both($life, "CREATE VIEW $name$with AS SELECT " . join(', ', map { $_->[0] } @columns) . " FROM $on$where$check");
	$life->{relations}{$name} = { %$relation, columns => \@columns, writable => [ sort keys %chosen ], is_view => 1 };
	return;
}

sub add_policies
{
	my ($life) = @_;
	my $condition = sub { return $life->{generator}->condition('guarded', $life->{relations}{guarded}); };

	both($life, 'ALTER TABLE guarded ENABLE ROW LEVEL SECURITY' . (chance(0.5) ? ', FORCE ROW LEVEL SECURITY' : ''));
	both($life, 'CREATE POLICY most ON guarded USING (id % 5 <> 2)' . (chance(0.5) ? ' WITH CHECK (true)' : ''));
	foreach my $number (1 .. upto(3))
	{
		my $for = pick('ALL', 'SELECT', 'UPDATE', 'DELETE', 'INSERT');
		my $using = $for eq 'INSERT' ? '' : ' USING (' . $condition->() . ')';
		my $check = $for =~ /^(ALL|UPDATE|INSERT)$/ && ($for eq 'INSERT' || chance(0.6)) ? ' WITH CHECK (' . $condition->() . ')' : '';
		my $as = chance(0.3) ? ' AS RESTRICTIVE' : '';
		both($life, "CREATE POLICY p$number ON guarded$as FOR $for$using$check");
	}
	return;
}

# The table's own trigger, which sees what was written in one form and writes the other.
sub add_trigger
{
	my ($life, $table) = @_;
	my ($column) = grep { $table->{types}{$_} eq 't' } reverse @{ $table->{order} };

	both($life, "CREATE FUNCTION own_trigger() RETURNS trigger LANGUAGE plpgsql AS "
		  . "'BEGIN NEW.$column := NEW.$column || ''+''; RETURN NEW; END'");
	both($life, "CREATE TRIGGER own_trigger BEFORE INSERT OR UPDATE ON $table->{name_of} FOR EACH ROW"
		  . " WHEN (NEW.id % 4 = 1) EXECUTE FUNCTION own_trigger()");
	return;
}

# ---- a life ----

sub make_life
{
	my ($generator) = @_;
	my $life = { setup => [], relations => {}, generator => $generator, complete => chance(0.5) };
	my %state;

	both($life, $_) foreach @types;
	foreach my $name (sort keys %tables)
	{
		my $table = $state{$name} = { name_of => $name, types => { map { @$_ } @columns }, order => [ map { $_->[0] } @columns ],
			number => 'n', name => ['s'], count => 0 };
		both($life, $tables{$name}{sql});
		both($life, sprintf($rows, $name, upto(4)));
		add_migration($life, $table) foreach 1 .. 1 + upto(3);
		$life->{relations}{$name} = relation($table);
		my $leaves = $tables{$name}{leaves} // {};
		$life->{relations}{$_} = { %{ relation($table) }, is_leaf => 1, part => $leaves->{$_} } foreach sort keys %$leaves;
	}
	$generator->set_tables({ %{ $life->{relations} },
		other => { columns => [ [qw(id i)], [qw(name t)], [qw(n i)], [qw(flag b)] ] } });
	add_view($life, "${_}_view", $_) foreach sort keys %tables;
	add_view($life, 'leaf_view', 'parted_p2') if chance(0.3);
	add_policies($life);
	add_trigger($life, $state{ pick(sort keys %tables) }) if chance(0.3);
	both($life, 'GRANT ALL ON ALL TABLES IN SCHEMA HOME TO fuzz_user');
	if ($life->{complete})
	{
		push @{ $life->{setup} }, [ 'twin', "CALL migrate.run('twin.$_')" ] foreach sort keys %tables;
	}
	return $life;
}

1;
