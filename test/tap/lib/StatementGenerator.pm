# Generated INSERTs, UPDATEs, DELETEs and MERGEs, on relations as TwinTables has them.
#
# Each has one result, whatever the order in which rows are met: a row is written
# once, by one source row. A statement is a list of SQL commands, of which only the
# last ones write. The version column is not what this is about, so that whole rows
# are shown without it.
package StatementGenerator;

use strict;
use warnings;

use parent 'QueryGenerator';

sub chance { return rand() < $_[0]; }
sub pick { return $_[ int(rand(@_)) ]; }
sub upto { return 1 + int(rand($_[0])); }
sub some { my ($p, @list) = @_; return grep { chance($p) } @list; }

# version: the server's, by its major number.
sub new
{
	my ($class, %args) = @_;
	my $self = $class->SUPER::new(seed => $args{seed}, tables => {});
	$self->{version} = $args{version};
	return $self;
}

sub set_tables
{
	my ($self, $tables) = @_;
	$self->{tables} = $tables;
	$self->{names} = [ sort keys %$tables ];
	$self->{targets} = [ grep { $tables->{$_}{key} } @{ $self->{names} } ];
	return;
}

sub whole_row { my ($alias) = @_; return "(to_jsonb($alias) - 'row_version')"; }

sub whole_row_text
{
	my ($self, $scope) = @_;
	my $alias = pick(@{ $scope->{relations} })->{alias};
	return whole_row($alias) . '::text';
}

# ---- values ----

sub scope_of
{
	my ($self, @relations) = @_;
	return { relations => \@relations, outer => undef, ctes => $self->{ctes} // [], depth => 1 };
}

# A value for a column of a type; over relations of a scope, or constant.
sub value
{
	my ($self, $type, $scope) = @_;
	my $of = sub {
		my ($plain) = @_;
		return $scope && @{ $scope->{relations} } && chance(0.6) ? $self->expression($scope, $plain, 1) : $self->literal($plain);
	};

	return "('c' || " . $of->('i') . ')' if $type eq 'x' && chance(0.9);
	return $of->('t') if $type =~ /^[tx]$/;
	return $of->($type) if $type =~ /^[ib]$/;
	return 'NULL::' . { n => 'numeric', a => 'text[]', c => 'pair' }->{$type} if chance(0.15);
	return '(' . $of->('i') . ' / 4.0)' if $type eq 'n';
	return 'ARRAY[' . join(', ', map { $of->('t') } 1 .. upto(3)) . ']' if $type eq 'a';
	return 'ROW(' . $of->('t') . ', ' . $of->('i') . ')::pair';
}

# Of one form, of several, of all, of none.
sub columns_to_set
{
	my ($self, $relation) = @_;
	my @columns = @{ $relation->{writable} };
	my $draw = rand();

	return @columns ? $draw < 0.45 ? (pick(@columns)) : $draw < 0.9 ? some(0.35, @columns) : @columns : ();
}

sub type
{
	my ($self, $relation, $name) = @_;
	my ($found) = grep { $_->[0] eq $name } @{ $relation->{columns} };
	return $found->[1];
}

# What an UPDATE sets; "alias" is the target's, the scope what values can be over.
sub set_list
{
	my ($self, $relation, $alias, $scope, %option) = @_;
	my @columns = $self->columns_to_set($relation);
	my @set;

	if (@columns > 1 && chance(0.2))
	{
		my @few = splice @columns, 0, 2;
		my $values = join ', ', map { $self->value($self->type($relation, $_), $scope) } @few;
		push @set, '(' . join(', ', @few) . ') = ' . ($option{no_query} || chance(0.5) ? "ROW($values)" : "(SELECT $values)");
	}
	foreach my $column (@columns)
	{
		my $type = $self->type($relation, $column);
		push @set, $type eq 'c' && chance(0.5) ? "$column." . pick('number = ' . $self->value('i', $scope), 'word = ' . $self->value('t', $scope))
		  : $type eq 'a' && chance(0.5) ? "$column\[" . upto(2) . '] = ' . $self->value('t', $scope)
		  : chance(0.15) ? "$column = $alias.$column"
		  : chance(0.05) ? "$column = DEFAULT"
		  : "$column = " . $self->value($type, $scope);
	}
	push @set, 'part = ' . part_for($relation) if !@set || ($relation->{is_parted} && chance(0.2));
	push @set, 'id = ' . (50 + int(rand(20))) if $option{one_row} && chance(0.1);
	push @set, "row_version = $alias.row_version" if !$relation->{is_view} && chance(0.04);
	return join ', ', @set;
}

# One row, or some.
sub which_rows
{
	my ($self, $relation, $alias, $scope) = @_;
	my $draw = rand();

	return ("$alias.id = " . upto(32), 1) if $draw < 0.45;
	return ("$alias.id % " . (2 + int(rand(6))) . ' = ' . int(rand(2)), 0) if $draw < 0.6;
	return ($self->expression($scope, 'b', 2), 0);
}

# A condition over one relation, for policies and views.
sub condition
{
	my ($self, $name, $relation) = @_;
	local $self->{no_sublinks} = 1;
	my $scope = $self->scope_of({ alias => $name, columns => $relation->{columns} });
	return '(' . $self->boolean($scope, 1) . ') IS ' . pick('NOT FALSE', 'NOT TRUE', 'TRUE') . ' OR id % 3 = 1';
}

# From server 18 on one can say which row is meant; not within sub-queries, for
# there is a case of that in which 18.6 crashes on any table.
sub returning_expression
{
	my ($self, $relation, $type, $alias, @others) = @_;

	if ($self->{version} >= 18 && chance(0.4))
	{
		local $self->{no_sublinks} = 1;
		return $self->expression($self->scope_of(map { +{ alias => $_, columns => $relation->{columns} } } $alias, 'old', 'new'), $type, 2);
	}
	return $self->expression($self->scope_of({ alias => $alias, columns => $relation->{columns} }, @others), $type, 2);
}

sub returning
{
	my ($self, $relation, $alias, @others) = @_;
	my @aliases = ($alias, $self->{version} >= 18 ? ('old', 'new') : ());
	my @items = map { pick(@aliases) . ".$_->[0]" } some(0.4, @{ $relation->{columns} });

	push @items, map { my $other = $_; map { "$other->{alias}.$_->[0]" } some(0.3, @{ $other->{columns} }) } @others;
	push @items, whole_row(pick(@aliases, map { $_->{alias} } @others)) if chance(0.4);
	push @items, $self->returning_expression($relation, pick(qw(t i b)), $alias, @others) for 1 .. upto(2);
	return ' RETURNING ' . join(', ', @items);
}

# With names and types, for a query around it.
sub returning_columns
{
	my ($self, $relation, @aliases) = @_;
	my @columns = map { [ "c$_", pick(qw(t i b)) ] } 1 .. 3;

	return (' RETURNING ' . join(', ', map { $self->returning_expression($relation, $_->[1], @aliases) . " AS $_->[0]" } @columns), \@columns);
}

# ---- sources of which each row has an id of its own ----

sub source
{
	my ($self, $alias) = @_;
	my $name = pick(grep { !$self->{tables}{$_}{is_leaf} && !$self->{tables}{$_}{is_view} } @{ $self->{names} });
	my $relation = $self->{tables}{$name};
	my $sql = !$relation->{is_parted} ? $name
	  : "(SELECT DISTINCT ON (id) * FROM $name ORDER BY id, part)";

	return ("$sql $alias", { alias => $alias, columns => $relation->{columns} });
}

# Something that the target can be joined with, and the condition for it.
sub joined
{
	my ($self, $target) = @_;
	my ($sql, $one) = $self->source('o');
	my @relations = ($one);

	if (chance(0.6))
	{
		my ($more, $two) = $self->source('q');
		my $number = $self->column({ relations => [$one] }, 'i', 1);
		$sql .= " LEFT JOIN $more ON q.id = $number";
		push @relations, $two;
	}
	return ($sql, "$target.id = o.id", @relations);
}

# ---- statements ----

sub target
{
	my ($self) = @_;
	my @names = @{ $self->{targets} };
	@names = grep { !$self->{tables}{$_}{is_leaf} } @names if chance(0.7);
	my $name = pick(@names);
	return ($name, $self->{tables}{$name});
}

# A value of the partition key, which mostly fits.
sub part_for { my ($relation) = @_; return defined $relation->{part} && chance(0.9) ? $relation->{part} : pick(0 .. 4); }

sub values_row
{
	my ($self, $relation, $id, @columns) = @_;
	return "($id, " . join(', ', part_for($relation), map { chance(0.06) ? 'DEFAULT' : $self->value($self->type($relation, $_)) } @columns) . ')';
}

sub ids { my ($count) = @_; my %ids; $ids{ upto(45) } = 1 while keys %ids < $count; return sort { $a <=> $b } keys %ids; }

# What comes after INTO, and the aliases of what RETURNING can name.
sub insert_source
{
	my ($self, $relation) = @_;
	my @columns = $self->columns_to_set($relation);
	my $list = '(' . join(', ', 'id', 'part', @columns) . ')';

	if (chance(0.3))
	{
		my ($sql, $from) = $self->source('o');
		my $scope = $self->scope_of($from);
		my @values = map { $self->value($self->type($relation, $_), $scope) } @columns;
		my ($where) = $self->which_rows($from, 'o', $scope);
		return "$list SELECT " . join(', ', 'o.id + ' . pick(0, 30, 60), pick('o.id % 4', part_for($relation), part_for($relation)), @values) . " FROM $sql WHERE $where";
	}
	return "$list VALUES " . join(', ', map { $self->values_row($relation, $_, @columns) } ids(pick(1, 1, 2, 4)));
}

sub insert
{
	my ($self, $name, $relation, $returning) = @_;
	return "INSERT INTO $name AS t " . $self->insert_source($relation) . $returning->('t');
}

sub upsert
{
	my ($self, $name, $relation, $returning) = @_;
	my $old = { alias => 't', columns => $relation->{columns} };
	my $scope = $self->scope_of($old, { alias => 'excluded', columns => $relation->{columns} });
	my $target = '(' . join(', ', @{ $relation->{key} }) . ')';
	my $action = chance(0.2) ? pick('', $target) . ' DO NOTHING'
	  : "$target DO UPDATE SET " . $self->set_list($relation, 't', $scope) . (chance(0.4) ? ' WHERE ' . $self->expression($scope, 'b', 1) : '');

	return "INSERT INTO $name AS t " . $self->insert_source($relation) . " ON CONFLICT $action" . $returning->('t');
}

sub update
{
	my ($self, $name, $relation, $returning) = @_;
	my $scope = $self->scope_of({ alias => 't', columns => $relation->{columns} });
	my ($where, $one_row) = $self->which_rows($relation, 't', $scope);
	return "UPDATE $name t SET " . $self->set_list($relation, 't', $scope, one_row => $one_row) . " WHERE $where" . $returning->('t');
}

sub update_from
{
	my ($self, $name, $relation, $returning) = @_;
	my ($from, $on, @others) = $self->joined('t');
	my $scope = $self->scope_of({ alias => 't', columns => $relation->{columns} }, @others);
	my ($where) = $self->which_rows($relation, 't', $scope);
	return "UPDATE $name t SET " . $self->set_list($relation, 't', $scope) . " FROM $from WHERE $on AND $where" . $returning->('t', @others);
}

sub delete
{
	my ($self, $name, $relation, $returning) = @_;
	my ($from, $on, @others) = chance(0.4) ? $self->joined('t') : ();
	my $scope = $self->scope_of({ alias => 't', columns => $relation->{columns} }, @others);
	my ($where) = $self->which_rows($relation, 't', $scope);
	return "DELETE FROM $name t" . ($from ? " USING $from WHERE $on AND $where" : " WHERE $where") . $returning->('t', @others);
}

sub merge
{
	my ($self, $name, $relation, $returning) = @_;
	my ($from, $on, $source) = $self->joined('t');
	my $target = { alias => 't', columns => $relation->{columns} };
	my $both = $self->scope_of($target, $source);
	my $new = $self->scope_of($source);
	my @columns = $self->columns_to_set($relation);
	my $insert = sub {
		my @named = some(0.7, @columns);
		return 'INSERT (' . join(', ', 'id', 'part', @named) . ') VALUES (' . join(', ', 'o.id', part_for($relation),
			map { chance(0.1) ? 'DEFAULT' : $self->value($self->type($relation, $_), $new) } @named) . ')';
	};
	my @actions = map { pick(
			'WHEN MATCHED AND ' . $self->expression($both, 'b', 1) . ' THEN UPDATE SET ' . $self->set_list($relation, 't', $both, no_query => 1),
			'WHEN MATCHED AND t.id % 3 = 1 THEN ' . pick('DELETE', 'DO NOTHING'),
			'WHEN NOT MATCHED AND ' . $self->expression($new, 'b', 1) . ' THEN ' . $insert->(),
			'WHEN NOT MATCHED AND o.id % 2 = 0 THEN ' . $insert->()) } 1 .. upto(3);
	push @actions, 'WHEN NOT MATCHED BY SOURCE AND t.id % 7 = 3 THEN ' . pick('DELETE', 'UPDATE SET ' . $self->set_list($relation, 't', $self->scope_of($target), no_query => 1))
	  if $self->{version} >= 17 && chance(0.2);

	return "MERGE INTO $name t USING $from ON $on " . join(' ', @actions) . ($self->{version} >= 17 ? $returning->('t', $source) : '');
}

# One that returns rows, for a query around it.
my @kinds = ([ 4, \&insert ], [ 5, \&upsert ], [ 8, \&update ], [ 4, \&update_from ], [ 4, \&delete ]);
my @more_kinds = (@kinds, [ 4, \&merge ]);

sub draw
{
	my (@choices) = @_;
	my $total = 0;
	$total += $_->[0] foreach @choices;
	my $draw = rand($total);

	foreach my $choice (@choices)
	{
		$draw -= $choice->[0];
		return $choice->[1] if $draw < 0;
	}
	return $choices[0][1];
}

sub can_merge { my ($self, $relation) = @_; return !$relation->{is_view} || $self->{version} >= 17; }

sub one_statement
{
	my ($self, $name, $relation) = @_;
	my $returning = sub { return $self->returning($relation, @_); };
	return draw($self->can_merge($relation) ? @more_kinds : @kinds)->($self, $name, $relation, $returning);
}

# One that writes within one that writes another table, or that reads.
sub modifying_cte
{
	my ($self) = @_;
	my ($name, $relation) = $self->target;
	my $columns;
	my $inner = draw(@kinds)->($self, $name, $relation,
		sub { my $sql; ($sql, $columns) = $self->returning_columns($relation, @_); return $sql; });

	local $self->{ctes} = [ { name => 'm', columns => $columns } ];
	my ($other, $on);
	do { ($other, $on) = $self->target } while $on->{table} eq $relation->{table};
	my $outer = chance(0.3) ? $self->select({ relations => [], outer => undef, ctes => $self->{ctes}, depth => 1 }, [ 't', 'i' ])
	  : $self->one_statement($other, $on);
	return ($relation->{table}, $on->{table}, "WITH m AS ($inner) $outer");
}

sub current_of
{
	my ($self) = @_;
	my ($name, $relation);
	do { ($name, $relation) = $self->target } while $relation->{is_view};
	my $scope = $self->scope_of({ alias => 't', columns => $relation->{columns} });
	my $lock = pick('', ' FOR UPDATE', ' FOR NO KEY UPDATE');
	my $what = join ', ', map { $self->expression($scope, $_, 1) } qw(t i b);
	my $returning = $self->returning($relation, 't');
	my $write = chance(0.8) ? "UPDATE $name t SET " . $self->set_list($relation, 't', $scope, one_row => 1) . " WHERE CURRENT OF c$returning"
	  : "DELETE FROM $name t WHERE CURRENT OF c$returning";

	return ($relation->{table}, "DECLARE c CURSOR FOR SELECT $what FROM $name t WHERE id + 0 = " . upto(32) . $lock, 'FETCH c', $write, 'CLOSE c');
}

# Rows of constants, put in by an INSERT, whose plan says which columns it names, and
# in the twin by COPY, whose list does. Two ways for one thing to be known.
sub insert_or_copy
{
	my ($self) = @_;
	my ($name, $relation);
	do { ($name, $relation) = $self->target } while $relation->{is_view};
	my @columns = $self->columns_to_set($relation);
	my $list = '(' . join(', ', 'id', 'part', @columns) . ')';
	my @rows = map { [ $_, part_for($relation), map { constant($self->type($relation, $_)) } @columns ] } ids(pick(1, 1, 3));
	my $values = join ', ', map { '(' . join(', ', map { defined $_ ? "'$_'" : 'NULL' } @$_) . ')' } @rows;
	my %cast = (i => '::integer', b => '::boolean', n => '::numeric', a => '::text[]', c => '::pair');
	my @typed = map { "v.$_" . ($cast{ $self->type($relation, $_) } // '') } 'id', 'part', @columns;
	my $given = join ', ', map { s/^v\.\w+$/$&::text/r } @typed;
	my $insert = pick("INSERT INTO $name $list VALUES $values",
		"INSERT INTO $name $list SELECT $given FROM (VALUES $values) v $list",
		"WITH v $list AS MATERIALIZED (VALUES $values) INSERT INTO $name $list SELECT $given FROM v",
		$self->can_merge($relation) ? "MERGE INTO $name t USING (VALUES $values) v $list ON false WHEN NOT MATCHED THEN INSERT $list VALUES ($given)" : ());

	return { tables => [ $relation->{table} ], commands => [$insert],
		twins => [ "COPY $name $list FROM STDIN;\n" . join('', map { join("\t", map { $_ // '\N' } @$_) . "\n" } @rows) . '\.' ] };
}

sub constant
{
	my ($type) = @_;
	return undef if chance(0.25);
	return { t => pick('Ann Lee', 'bob', '', 'x y', 'c5'), x => pick('c1', 'c70', 'c-3', 'bad'), i => pick(0, 1, 7, 45, -3), b => pick('t', 'f'),
		n => pick('1.25', '0.07', '30'), a => pick('{a,b}', '{}', '{NULL,x}'), c => pick('(a,1)', '(,)', '(x y,40)') }->{$type};
}

# Numbers the parameters that a text has; their values.
sub parameters
{
	my ($self, $sql) = @_;
	my (%number, @used);
	$sql =~ s/\$<(\d+)>/'$' . ($number{$1} \/\/= push(@used, $self->{params}[$1]))/ge;
	return ($sql, @used);
}

# The next statement: { tables => names, commands => SQL, twins => what the twin is given }.
sub next_statement
{
	my ($self) = @_;
	my $draw = rand();

	$self->{aliases} = 0;
	$self->{params} = undef;
	if ($draw < 0.08)
	{
		my ($table, @commands) = $self->current_of;
		return { tables => [$table], commands => \@commands };
	}
	return $self->insert_or_copy if $draw < 0.2;
	$self->{params} = [] if $draw < 0.4;
	my ($sql, @tables);
	if (chance(0.12)) { ((@tables[ 0, 1 ]), $sql) = $self->modifying_cte; }
	else
	{
		my ($name, $relation) = $self->target;
		$sql = $self->one_statement($name, $relation);
		@tables = ($relation->{table});
	}
	return { tables => \@tables, commands => [ $draw > 0.94 && $sql =~ /^[^M].* RETURNING /s ? "COPY ($sql) TO STDOUT" : $sql ] } unless $self->{params};

	($sql, my @values) = $self->parameters($sql);
	my $values = @values ? '(' . join(', ', @values) . ')' : '';
	return { tables => \@tables, commands => [ "PREPARE fuzzed AS $sql", ("EXECUTE fuzzed$values") x pick(1, 1, 2), 'DEALLOCATE fuzzed' ] };
}

# ---- for making tables ----

sub simple_update
{
	my ($self, $name, $relation, $where) = @_;
	local $self->{no_sublinks} = 1;
	my $column = pick(@{ $relation->{writable} });
	return "UPDATE $name SET $column = " . $self->value($self->type($relation, $column)) . " $where";
}

sub simple_insert
{
	my ($self, $name, $relation, $id) = @_;
	my @columns = $self->columns_to_set($relation);
	return "INSERT INTO $name (" . join(', ', 'id', 'part', @columns) . ') VALUES ' . $self->values_row($relation, $id, @columns) . ' ON CONFLICT DO NOTHING';
}

1;
