# Generated SELECTs over a known set of tables.
#
# Every query has one result as a multiset: nothing in it depends on the order
# in which rows come. Names are not qualified by a schema, so that one text runs
# on two sets of tables.
#
# A relation in a scope is a hash: alias, and columns as a list of [name, type],
# type being one of t (text), i (integer), b (boolean). A scope is a list of
# such, with a reference to the scope around it.
package QueryGenerator;

use strict;
use warnings;

# tables: name => { columns => [[name, type], ...] }; the first column is the key.
# sources: relations that are not tables, as [SQL, columns] (views, functions).
sub new
{
	my ($class, %args) = @_;
	srand($args{seed});
	return bless { tables => $args{tables}, names => [ sort keys %{ $args{tables} } ],
		sources => $args{sources} // [] }, $class;
}

# The next query: its text, and the values of its parameters as SQL.
sub next_query
{
	my ($self) = @_;
	$self->{aliases} = 0;
	$self->{params} = chance(0.15) ? [] : undef;
	my $sql = $self->statement;

	# Number the parameters that the text has; others went with what was not used.
	my %number;
	my @used;
	$sql =~ s/\$<(\d+)>/'$' . ($number{$1} \/\/= push(@used, $self->{params}[$1]))/ge;
	return ($sql, \@used);
}

sub chance { return rand() < $_[0]; }
sub pick { return $_[ int(rand(@_)) ]; }
sub upto { return 1 + int(rand($_[0])); }

sub alias
{
	my ($self, $prefix) = @_;
	return $prefix . ++$self->{aliases};
}

# ---- statements ----

sub statement
{
	my ($self) = @_;
	my @types = map { pick(qw(t i b)) } 1 .. upto(4);
	my ($with, $ctes) = chance(0.25) ? $self->with : ('', []);
	my $scope = { relations => [], outer => undef, ctes => $ctes, depth => 0 };

	my $sql = chance(0.2) ? $self->set_operation($scope, \@types) : $self->select($scope, \@types);
	if ($self->{width} && chance(0.2))
	{
		my @order = map { $_ . pick('', ' DESC', ' NULLS FIRST') } 1 .. $self->{width};
		$sql .= ' ORDER BY ' . join(', ', @order);
		$sql .= ' LIMIT ' . upto(20) if chance(0.6);
		$sql .= ' OFFSET ' . upto(3) if chance(0.3);
	}
	return $with . $sql;
}

sub with
{
	my ($self) = @_;
	my $name = $self->alias('w');
	my @types = map { pick(qw(t i b)) } 1 .. 2;
	my @columns = map { [ "c$_", $types[ $_ - 1 ] ] } 1 .. 2;
	my $scope = { relations => [], outer => undef, ctes => [], depth => 1 };

	if (chance(0.3))
	{
		my $table = pick(@{ $self->{names} });
		my $key = $self->{tables}{$table}{columns}[0][0];
		my ($column) = $self->column_of($table, 't');
		my ($number) = $self->column_of($table, 'i');
		return ("WITH RECURSIVE $name(c1, c2) AS (SELECT $key, $column FROM $table WHERE $number < "
			  . upto(30) . " UNION SELECT w.c1 + 1, x.$column FROM $name w JOIN $table x"
			  . " ON x.$key = w.c1 + 1 WHERE w.c1 < 15) ",
			[ { name => $name, columns => [ [ 'c1', 'i' ], [ 'c2', 't' ] ] } ]);
	}
	my $body = chance(0.2) ? $self->set_operation($scope, \@types) : $self->select($scope, \@types);
	my $how = pick('', '', 'MATERIALIZED', 'NOT MATERIALIZED');
	return ("WITH $name(c1, c2) AS $how ($body) ", [ { name => $name, columns => \@columns } ]);
}

sub column_of
{
	my ($self, $table, $type) = @_;
	return pick(map { $_->[0] } grep { $_->[1] eq $type } @{ $self->{tables}{$table}{columns} });
}

sub set_operation
{
	my ($self, $around, $types) = @_;
	my $operation = pick('UNION', 'UNION ALL', 'INTERSECT', 'INTERSECT ALL', 'EXCEPT', 'EXCEPT ALL');
	my @arms = map {
		my $scope = { %$around, relations => [], depth => $around->{depth} + 1 };
		'(' . $self->plain_select($scope, $types) . ')'
	} 1 .. 2;
	$self->{width} = @$types;
	return join(" $operation ", @arms);
}

sub select
{
	my ($self, $scope, $types) = @_;
	my $kind = rand();
	my $sql = $kind < 0.25 ? $self->grouped_select($scope, $types)
		: $kind < 0.37 ? $self->window_select($scope, $types)
		: $kind < 0.45 ? $self->whole_row_select($scope, $types)
		: $kind < 0.50 ? $self->dependent_select($scope, $types)
		: $self->plain_select($scope, $types);
	return $sql;
}

sub plain_select
{
	my ($self, $scope, $types) = @_;
	my $from = $self->from($scope);
	my @list = map { $self->expression($scope, $_, 2) } @$types;
	my $distinct = chance(0.2) ? 'DISTINCT ' : '';
	my $where = $self->where($scope);
	$self->{width} = @list;
	return "SELECT $distinct" . join(', ', @list) . " FROM $from$where";
}

# Only at the top: the result's columns are whatever the relations have.
sub whole_row_select
{
	my ($self, $scope, $types) = @_;
	return $self->plain_select($scope, $types) if $scope->{depth} > 0;
	my $from = $self->from($scope);
	my $where = $self->where($scope);
	my $relation = pick(@{ $scope->{relations} });
	my @list = (pick("$relation->{alias}.*", $relation->{alias}, "$relation->{alias}::text",
		"row_to_json($relation->{alias})::text", "$relation->{alias} IS NULL"));
	push @list, $self->expression($scope, 't', 1);
	$self->{width} = 0;
	return 'SELECT ' . join(', ', @list) . " FROM $from$where";
}

# Columns that are not grouped, but depend on the key that is.
sub dependent_select
{
	my ($self, $scope, $types) = @_;
	return $self->plain_select($scope, $types) if $scope->{depth} > 0;
	my $table = pick(grep { !$self->{tables}{$_}{no_key} } @{ $self->{names} });
	my @columns = @{ $self->{tables}{$table}{columns} };
	my $key = $columns[0][0];
	my $other = pick(@columns)->[0];
	my $group = pick($key, "$key, $other", "GROUPING SETS (($key), ($key, $other))",
		"$key, ROLLUP ($other)");
	my @list = ("x.$key", map { "x.$_" } map { pick(@columns)->[0] } 1 .. 2);
	push @list, pick('x', 'x::text', 'x.ctid IS NULL', 'count(x)', "count(y.$key)") if chance(0.5);
	$group =~ s/\b($key|$other)\b/x.$1/g;
	$self->{width} = @list + 1;
	return 'SELECT ' . join(', ', @list, 'count(*)')
	  . " FROM $table x LEFT JOIN $table y ON x.$other = y.$other GROUP BY $group";
}

sub grouped_select
{
	my ($self, $scope, $types) = @_;
	my $from = $self->from($scope);
	my @groups = map { my $type = pick(qw(t i b)); [ $self->grouping_expression($scope, $type), $type ] } 1 .. upto(3);
	my $list = join(', ', map { $_->[0] } @groups);
	my $clause = pick($list, $list, "ROLLUP ($list)", "CUBE ($list)", $self->grouping_sets(@groups));
	my @items;

	foreach my $type (@$types)
	{
		my ($group) = grep { $_->[1] eq $type } @groups;
		push @items, $group && chance(0.5) ? $self->around($group->[0], $type)
			: $self->aggregate($scope, $type);
	}
	push @items, 'GROUPING(' . pick(@groups)->[0] . ')' if $scope->{depth} == 0 && chance(0.2);
	my $where = $self->where($scope);
	my $having = '';
	if (chance(0.4))
	{
		my ($group) = grep { $_->[1] eq 'b' } @groups;
		$having = ' HAVING ' . ($group && chance(0.5) ? $group->[0] : $self->aggregate($scope, 'b'));
	}
	$self->{width} = @items;
	return 'SELECT ' . join(', ', @items) . " FROM $from$where GROUP BY $clause$having";
}

sub grouping_expression
{
	my ($self, $scope, $type) = @_;
	my $column = $self->column($scope, $type, 1) // return $self->column_as($scope, $type);
	return chance(0.8) ? $column : $self->around($column, $type);
}

# Some column turned into a value of the type wanted.
sub column_as
{
	my ($self, $scope, $type) = @_;
	my $column = $self->any_column($scope);
	return $type eq 't' ? "($column)::text" : $type eq 'i' ? "length(($column)::text)"
		: "(($column)::text > 'g')";
}

sub grouping_sets
{
	my ($self, @groups) = @_;
	my @sets = map {
		my @set = grep { chance(0.5) } @groups;
		'(' . join(', ', map { $_->[0] } @set) . ')'
	} 1 .. upto(3);
	my $all = '(' . join(', ', map { $_->[0] } @groups) . ')';
	return 'GROUPING SETS (' . join(', ', $all, @sets) . ')';
}

# An expression over a given one, of the same type. No NOT: over a grouped NOT the
# planner would simplify both away, and miss the grouped column.
sub around
{
	my ($self, $inner, $type) = @_;
	return $inner if chance(0.5);
	return $type eq 't' ? pick("upper($inner)", "$inner || '!'", "coalesce($inner, '?')")
		: $type eq 'i' ? pick("$inner + 1", "-($inner)", "coalesce($inner, -7)")
		: pick("(($inner) IS TRUE)", "coalesce($inner, false)");
}

sub aggregate
{
	my ($self, $scope, $type) = @_;
	my $text = $self->inner($scope, 't');
	my $int = $self->inner($scope, 'i');
	my $bool = $self->inner($scope, 'b');
	my $filter = chance(0.2) ? " FILTER (WHERE $bool)" : '';
	my $whole = pick(@{ $scope->{relations} })->{alias};

	return pick("min($text)$filter", "max($text)$filter", "string_agg(DISTINCT $text, ',' ORDER BY $text)$filter") if $type eq 't';
	return pick("count($text)$filter", "sum($int)$filter", "count(DISTINCT $int)$filter",
		"count(*)$filter", "count($whole)$filter", "max($int)$filter") if $type eq 'i';
	return pick("bool_and($bool)$filter", "bool_or($bool)$filter", "count(*) > 2", "max($text) > 'c'");
}

# Inside an aggregate: no sub-queries, so that one query level stays one.
sub inner
{
	my ($self, $scope, $type) = @_;
	local $self->{no_sublinks} = 1;
	return $self->expression({ %$scope, outer => undef }, $type, 1);
}

# Frames that end with peers, so that ties cannot show.
sub window_select
{
	my ($self, $scope, $types) = @_;
	my $from = $self->from($scope);
	my @items = map { $self->expression($scope, $_, 1) } @$types;
	my $partition = chance(0.6) ? 'PARTITION BY ' . $self->inner($scope, pick(qw(t b))) . ' ' : '';
	my $order = chance(0.7) ? 'ORDER BY ' . $self->inner($scope, pick(qw(t i))) : '';
	my $value = $self->inner($scope, 'i');

	push @items, pick('rank()', 'dense_rank()', 'count(*)', "sum($value)", "max($value)", 'cume_dist()')
		. ' OVER w';
	my $where = $self->where($scope);
	$self->{width} = @items;
	return 'SELECT ' . join(', ', @items) . " FROM $from$where WINDOW w AS ($partition$order)";
}

# ---- FROM ----

sub from
{
	my ($self, $scope) = @_;
	my $count = $scope->{depth} > 1 ? 1 : pick(1, 1, 2, 2, 2, 3);
	my $sql = $self->relation($scope);

	$sql = $self->join_to($scope, $sql) for 2 .. $count;
	return $sql;
}

sub where
{
	my ($self, $scope) = @_;
	return chance(0.6) ? ' WHERE ' . $self->expression($scope, 'b', 2) : '';
}

# Add a relation to the scope; its SQL, alias included.
sub relation
{
	my ($self, $scope, $lateral) = @_;
	my $alias = $self->alias('r');
	my $kind = rand();

	if ($kind < 0.15 && @{ $scope->{ctes} })
	{
		my $cte = pick(@{ $scope->{ctes} });
		push @{ $scope->{relations} }, { alias => $alias, columns => $cte->{columns} };
		return "$cte->{name} $alias";
	}
	if ($kind < 0.27 && @{ $self->{sources} })
	{
		my $source = pick(@{ $self->{sources} });
		push @{ $scope->{relations} }, { alias => $alias, columns => $source->[1] };
		return "$source->[0] $alias";
	}
	if ($kind < 0.40 && $scope->{depth} < 2)
	{
		my @types = ('t', map { pick(qw(t i b)) } 1 .. 2);
		my $inner = { relations => [], ctes => $scope->{ctes}, depth => $scope->{depth} + 1,
			outer => $lateral ? $scope : $scope->{outer} };
		my $sql = chance(0.25) && !$lateral ? $self->set_operation($inner, \@types)
			: $self->select($inner, \@types);
		push @{ $scope->{relations} },
			{ alias => $alias, columns => [ map { [ "c$_", $types[ $_ - 1 ] ] } 1 .. @types ] };
		return ($lateral ? 'LATERAL ' : '') . "($sql) $alias(c1, c2, c3)";
	}

	my $table = pick(@{ $self->{names} });
	push @{ $scope->{relations} },
		{ alias => $alias, columns => $self->{tables}{$table}{columns} };
	return "$table $alias";
}

sub join_to
{
	my ($self, $scope, $left) = @_;
	my @before = @{ $scope->{relations} };
	my $type = pick('JOIN', 'LEFT JOIN', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN', 'FULL JOIN');
	my $lateral = $type =~ /^(JOIN|LEFT)/ && chance(0.3);
	my $right = $self->relation($scope, $lateral);
	my $relation = $scope->{relations}[-1];
	my @shared = $self->shared_columns($relation, @before);

	# Columns of one name become one column, which can then be named alone.
	if (@shared && chance(0.4))
	{
		my $name = pick(@shared);
		my $natural = @before == 1 && chance(0.3) && $self->is_natural($relation, @before);
		my @merged = $natural ? @shared : ($name);
		$scope->{merged} = [ map { [ $_, $self->type_of($relation, $_) ] } @merged ];
		return $natural ? "$left NATURAL $type $right" : "$left $type $right USING ($name)";
	}

	delete $scope->{merged};
	my $on = $self->equality([ $relation ], \@before);
	$on .= ' AND ' . $self->expression({ %$scope, relations => [ $relation ] }, 'b', 1)
		if $type !~ /FULL/ && chance(0.4);
	return "$left $type $right ON $on";
}

# Names that the new relation shares with one before, and that only one of those has.
sub shared_columns
{
	my ($self, $relation, @before) = @_;
	my %count;
	my %type;

	foreach my $other (@before)
	{
		foreach my $column (@{ $other->{columns} })
		{
			$count{ $column->[0] }++;
			$type{ $column->[0] } = $column->[1];
		}
	}
	return map { $_->[0] } grep { ($count{ $_->[0] } // 0) == 1 && $type{ $_->[0] } eq $_->[1] }
		@{ $relation->{columns} };
}

# Would the columns of the same name be of the same type?
sub is_natural
{
	my ($self, $relation, $other) = @_;
	my %type = map { $_->[0] => $_->[1] } @{ $other->{columns} };
	return !grep { ($type{ $_->[0] } // $_->[1]) ne $_->[1] } @{ $relation->{columns} };
}

sub type_of
{
	my ($self, $relation, $name) = @_;
	my ($column) = grep { $_->[0] eq $name } @{ $relation->{columns} };
	return $column->[1];
}

sub equality
{
	my ($self, $left, $right) = @_;
	foreach (1 .. 10)
	{
		my $type = pick(qw(t t i i b));
		my $one = $self->column({ relations => $left }, $type, 1);
		my $two = $self->column({ relations => $right }, $type, 1);
		return "$one = $two" if defined $one && defined $two;
	}
	return $self->column_as({ relations => $left }, 't') . ' = '
	  . $self->column_as({ relations => $right }, 't');
}

# ---- expressions ----

# A column of the type, from this scope or, unless "own", one around it; undef if there is none.
sub column
{
	my ($self, $scope, $type, $own) = @_;
	my @candidates;
	my $from = $scope;

	$from = $scope->{outer} if !$own && $scope->{outer} && chance(0.3);
	foreach my $relation (@{ $from->{relations} })
	{
		push @candidates, map { "$relation->{alias}.$_->[0]" }
			grep { $_->[1] eq $type } @{ $relation->{columns} };
	}
	my @merged = map { $_->[0] } grep { $_->[1] eq $type } @{ $from->{merged} // [] };
	return pick(@merged) if @merged && $from == $scope && chance(0.4);
	return @candidates ? pick(@candidates) : undef;
}

sub any_column
{
	my ($self, $scope) = @_;
	my $relation = pick(@{ $scope->{relations} });
	return "$relation->{alias}." . pick(@{ $relation->{columns} })->[0];
}

sub literal
{
	my ($self, $type) = @_;
	my $value = $type eq 't' ? pick("'Ann'", "'-?'", "'bob'", "'none'", "'x'", "''", 'NULL')
		: $type eq 'i' ? pick(0, upto(50), upto(50), -7, 'NULL')
		: pick('true', 'false', 'NULL');
	my $name = { t => 'text', i => 'integer', b => 'boolean' }->{$type};

	if ($self->{params} && chance(0.5))
	{
		push @{ $self->{params} }, $value;
		return '$<' . $#{ $self->{params} } . ">::$name";
	}
	return "$value\::$name";
}

sub expression
{
	my ($self, $scope, $type, $depth) = @_;
	if ($depth <= 0 || chance(0.3))
	{
		my $column = $self->column($scope, $type);
		return chance(0.85) && defined $column ? $column : $self->literal($type);
	}
	return $self->text($scope, $depth - 1) if $type eq 't';
	return $self->integer($scope, $depth - 1) if $type eq 'i';
	return $self->boolean($scope, $depth - 1);
}

sub text
{
	my ($self, $scope, $depth) = @_;
	my ($one, $two) = map { $self->expression($scope, 't', $depth) } 1 .. 2;
	my $bool = $self->expression($scope, 'b', $depth);
	my $int = $self->expression($scope, 'i', $depth);
	my $choice = int(rand(9));

	return "($one || $two)" if $choice == 0;
	return "coalesce($one, $two)" if $choice == 1;
	return pick('upper', 'lower', 'reverse') . "($one)" if $choice == 2;
	return "CASE WHEN $bool THEN $one ELSE $two END" if $choice == 3;
	return "substr($one, 1, 2)" if $choice == 4;
	return "($int)::text" if $choice == 5;
	return "nullif($one, $two)" if $choice == 6;
	return $self->scalar_query($scope, 't') if $choice == 7;
	return $self->whole_row_text($scope);
}

sub whole_row_text
{
	my ($self, $scope) = @_;
	my $alias = pick(@{ $scope->{relations} })->{alias};
	return pick("($alias)::text", "(CASE WHEN $alias IS NOT NULL THEN 'some' WHEN $alias IS NULL THEN 'none' END)",
		"row_to_json($alias)::text");
}

sub integer
{
	my ($self, $scope, $depth) = @_;
	my ($one, $two) = map { $self->expression($scope, 'i', $depth) } 1 .. 2;
	my $bool = $self->expression($scope, 'b', $depth);
	my $text = $self->expression($scope, 't', $depth);
	my $choice = int(rand(6));

	return "($one + $two)" if $choice == 0;
	return "coalesce($one, $two)" if $choice == 1;
	return "length($text)" if $choice == 2;
	return "CASE WHEN $bool THEN $one ELSE $two END" if $choice == 3;
	return "greatest($one, $two)" if $choice == 4;
	return $self->scalar_query($scope, 'i');
}

sub boolean
{
	my ($self, $scope, $depth) = @_;
	my $type = pick(qw(t i b));
	my ($one, $two) = map { $self->expression($scope, $type, $depth) } 1 .. 2;
	my ($left, $right) = map { $self->expression($scope, 'b', $depth) } 1 .. 2;
	my $choice = int(rand(13));

	return "($left " . pick('AND', 'OR') . " $right)" if $choice < 2;
	return "(NOT $left)" if $choice == 2;
	return "($left IS " . pick('TRUE', 'NOT TRUE', 'FALSE', 'NOT FALSE', 'UNKNOWN') . ')' if $choice == 3;
	return "($one IS " . pick('', 'NOT ') . 'NULL)' if $choice == 4;
	return "($one IS " . pick('', 'NOT ') . "DISTINCT FROM $two)" if $choice == 5;
	return "($one " . pick('', 'NOT ') . 'IN (' . join(', ', $two, map { $self->literal($type) } 1 .. 2) . '))'
		if $choice == 6;
	return $self->sub_link($scope, $type, $one) if $choice == 7 || $choice == 8;
	return "($one BETWEEN $two AND " . $self->literal($type) . ')' if $choice == 9;
	return "($one " . pick('=', '<>', '<', '>=', '>') . " $two)";
}

# ---- sub-queries in expressions ----

sub sub_scope
{
	my ($self, $scope) = @_;
	return { relations => [], outer => $scope, ctes => $scope->{ctes}, depth => $scope->{depth} + 2 };
}

sub scalar_query
{
	my ($self, $scope, $type) = @_;
	return $self->literal($type) if $self->{no_sublinks} || $scope->{depth} > 2;
	my $inner = $self->sub_scope($scope);
	my $from = $self->from($inner);
	my $what = $self->column($inner, $type, 1) // $self->column_as($inner, $type);
	return '(SELECT ' . pick('min', 'max') . "($what) FROM $from WHERE "
	  . $self->expression($inner, 'b', 1) . ')';
}

sub sub_link
{
	my ($self, $scope, $type, $operand) = @_;
	return "($operand IS NULL)" if $self->{no_sublinks} || $scope->{depth} > 2;
	my $inner = $self->sub_scope($scope);
	my $from = $self->from($inner);
	my $what = $self->expression($inner, $type, 1);
	my $where = $self->expression($inner, 'b', 1);
	$where = $self->equality($inner->{relations}, $scope->{relations}) . pick('', " AND $where")
		if chance(0.5);

	return '(' . pick('', 'NOT ') . "EXISTS (SELECT 1 FROM $from WHERE $where))" if chance(0.4);
	return "($operand " . pick('IN', 'NOT IN') . " (SELECT $what FROM $from WHERE $where))" if chance(0.5);
	return "($operand " . pick('=', '<>', '>', '<=') . pick(' ALL', ' ANY')
	  . " (SELECT $what FROM $from WHERE $where))";
}

1;
