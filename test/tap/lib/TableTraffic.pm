# Random statements on the table of a MigrationModel, in whatever forms it has.
#
# A statement is a hash: sql, and code, which does the same to the model and
# returns the rows that the statement should return, as lines (undef: not
# looked at). Which columns a statement names is drawn at random: of one form,
# of several, or of none.
#
# partitions: numbers of the partitions that may be named; column "part" tells
# which one a row is in. ids: [from, to), so that several may work at once; shared:
# somebody else may have locked a row.
#
# While somebody else changes the table's state it is not known whether a
# statement comes before or after. It must mean the same either way: what is going
# is hidden, and what stays has to be named by each INSERT. See restrict().
package TableTraffic;

use strict;
use warnings;

use MigrationModel;

sub new
{
	my ($class, %args) = @_;
	return bless { prepared => {}, partitions => [], %args }, $class;
}

sub chance { return rand() < $_[0]; }
sub pick { return $_[ int(rand(@_)) ]; }
sub some { my ($p, @list) = @_; return grep { chance($p) } @list; }

# Until told otherwise, name none of some columns, and in INSERTs all of others.
sub restrict
{
	my ($self, $hidden, $named) = @_;

	$self->{restricted} = 1;
	$self->{hidden} = { map { $_ => 1 } @$hidden };
	$self->{named} = $named;
	return;
}

sub unrestrict { my ($self) = @_; delete @{$self}{qw(restricted hidden named)}; return; }

# The columns that may be named.
sub names
{
	my ($self) = @_;
	return grep { !$self->{hidden}{$_} } $self->{model}->names;
}

# Is the table's version known, and what it means?
sub knows_version { my ($self) = @_; return @{ $self->{model}{live} } && !$self->{restricted}; }

# ---- values ----

my @words = ('Ann', 'Bob Lee', '', ' ', ' x', 'a b c', 'Lee, Ann', q{O'Brien}, 'J\\x', 'Z', "\xc3\x9cn\xc3\xaf c");

sub long_text { return join ' ', map { sprintf '%x', int(rand(2**31)) } 1 .. pick(20, 40, 400); }

sub value
{
	my ($self, $column) = @_;
	my $type = $column eq 'note' ? 't' : $self->{model}->type($column);
	my $can_refuse = grep { $_->{name} =~ /number text/ } @{ $self->{model}{live} };

	return undef if chance(0.12);
	return int(rand(101)) - 50 if $type eq 'i';
	return $can_refuse && !$self->{restricted} && chance(0.04) ? 'cbad' : 'c' . (int(rand(101)) - 50) if $type eq 'x';
	return chance(0.03) ? long_text() : pick(@words);
}

sub literal
{
	my ($value) = @_;
	return 'NULL' unless defined $value;
	return "'" . ($value =~ s/'/''/gr) . "'";
}

sub typed
{
	my ($self, $column, $value) = @_;
	my $type = $column =~ /^(id|part)$/ ? 'i' : $self->{model}->type($column);
	return literal($value) . ($type eq 'i' ? '::integer' : '::text');
}

sub line { return join '|', map { $_ // '\N' } @_; }

sub lines_of
{
	my ($columns, @rows) = @_;
	return map { line(@{$_}{@$columns}) } @rows;
}

sub copy_line
{
	return join("\t", map { defined $_ ? s/\\/\\\\/gr : '\N' } @_) . "\n";
}

# ---- parts of statements ----

sub generated { my ($self) = @_; return sort keys %{ $self->{model}{generated} }; }

sub all_columns { my ($self) = @_; return ('id', 'part', $self->names, $self->generated); }

# Columns to set: of one form or another, of several, of all, of none.
sub columns_to_set
{
	my ($self) = @_;
	my @columns = $self->names;
	my $draw = rand();

	return $draw < 0.1 ? () : $draw < 0.5 ? (pick(@columns)) : $draw < 0.9 ? some(0.35, @columns) : @columns;
}

sub returning { my ($self) = @_; return [ "id", some(0.5, $self->names, "part", $self->generated) ]; }

# A predicate: SQL and a function of the row that yields 1, 0 or undef.
sub predicate
{
	my ($self, $alias) = @_;
	my $draw = rand();
	my $a = $alias ? "$alias." : '';

	if ($draw < 0.45)
	{
		my $row = $self->any_row;
		my $id = $row ? $row->{id} : $self->{ids}[0];
		return [ "${a}id = $id", sub { $_[0]{id} == $id } ];
	}
	if ($draw < 0.55)
	{
		my ($by, $rest) = (2 + int(rand(5)), int(rand(2)));
		return [ "${a}id % $by = $rest", sub { $_[0]{id} % $by == $rest } ];
	}
	if ($draw < 0.65)
	{
		my ($one, $two) = map { $self->predicate($alias) } 1 .. 2;
		return [ "($one->[0] OR $two->[0])", sub { $one->[1]->(@_) || $two->[1]->(@_) } ] if chance(0.5);
		return [ "($one->[0] AND $two->[0])", sub { $one->[1]->(@_) && $two->[1]->(@_) } ];
	}
	my $column = pick($self->names);
	return [ "$a$column IS NULL", sub { !defined $_[0]{$column} } ] if chance(0.3);
	my $row = $self->any_row;
	my $value = $row && chance(0.7) ? $row->{$column} : $self->value($column);
	return [ "$a$column IS NOT NULL", sub { defined $_[0]{$column} } ] unless defined $value;
	return [ "$a$column = " . literal($value),
		sub { defined $_[0]{$column} && $_[0]{$column} eq $value } ] if chance(0.6);
	my $number = $self->{model}->type($column) eq 'i';
	return [ "$a$column > " . literal($value),
		sub { defined $_[0]{$column} && ($number ? $_[0]{$column} > $value : $_[0]{$column} gt $value) } ];
}

sub own_rows
{
	my ($self) = @_;
	return $self->{model}->rows;
}

sub any_row { my ($self) = @_; return scalar pick($self->own_rows); }

# Where a statement works: on the table or a partition, on what is ours there.
sub target
{
	my ($self) = @_;
	my $own = "id >= $self->{ids}[0] AND id < $self->{ids}[1]";

	if (@{ $self->{partitions} } && chance(0.2))
	{
		my $part = pick(@{ $self->{partitions} });
		return { name => "$self->{table}_p$part", own => $own, part => $part,
			holds => sub { $_[0]{part} == $part } };
	}
	return { name => $self->{table}, own => $own, holds => sub { 1 } };
}

sub matching
{
	my ($self, $target, $predicate) = @_;
	return grep { $target->{holds}->($_) && $predicate->[1]->($_) } $self->own_rows;
}

# A new value for a column: SQL and a function of the row and another one.
sub assigned
{
	my ($self, $column, $a, $other) = @_;
	my $type = $self->{model}->type($column);
	my $draw = rand();

	if ($draw < 0.6)
	{
		my $value = $self->value($column);
		return [ $self->typed($column, $value), sub { $value } ];
	}
	return [ 'DEFAULT', sub { $self->{model}{defaults}{$column} } ] if $draw < 0.63;
	my $from = pick(grep { $self->{model}->type($_) eq $type } $self->names);
	if ($other && $draw < 0.8)
	{
		return [ "$other.$from", sub { $_[1]{$from} } ];
	}
	return [ "$a$column + 1", sub { defined $_[0]{$column} ? $_[0]{$column} + 1 : undef } ]
	  if $type eq 'i' && $draw < 0.9;
	return [ "$a$column || '!'", sub { defined $_[0]{$column} ? "$_[0]{$column}!" : undef } ]
	  if $type eq 't' && $draw < 0.9;
	return [ "$a$from", sub { $_[0]{$from} } ];
}

sub assignments
{
	my ($self, $a, $other) = @_;
	my %set = map { $_ => $self->assigned($_, $a, $other) } $self->columns_to_set;

	%set = (note => [ q{'nothing'}, sub { 'nothing' } ]) unless %set;
	return \%set;
}

sub set_clause
{
	my ($set) = @_;
	return join ', ', map { "$_ = $set->{$_}[0]" } sort keys %$set;
}

sub values_set
{
	my ($set, @rows) = @_;
	return { map { $_ => $set->{$_}[1]->(@rows) } keys %$set };
}

sub new_ids
{
	my ($self, $count) = @_;
	my ($from, $to) = @{ $self->{ids} };
	my %taken;

	return map {
		my $id;
		do { $id = $from + int(rand($to - $from)) } while $taken{$id}++;
		$id
	} 1 .. $count;
}

# Rows to insert: a list of column names and hashes of values.
sub proposed
{
	my ($self, $target, $count) = @_;
	my %columns = map { $_ => 1 } $self->columns_to_set, @{ $self->{named} // [] };
	my @columns = sort keys %columns;
	my @ids = grep {
		my $old = $self->{model}{rows}{$_};
		!$old || !defined $target->{part} || $old->{part} == $target->{part}
	} $self->new_ids($count);
	my @rows = map {
		my $old = $self->{model}{rows}{$_};
		+{ id => $_, part => $old ? $old->{part} : $target->{part} // $self->new_part,
			map { $_ => $self->value($_) } @columns }
	} @ids;
	return $self->proposed($target, $count) if $count && !@rows;

	return ([ 'id', 'part', @columns ], @rows);
}

sub new_part { my ($self) = @_; return @{ $self->{partitions} } ? pick(0 .. 3) : 0; }

sub is_needed { my ($self, $column) = @_; return grep { $_ eq $column } @{ $self->{named} // [] }; }

sub values_list
{
	my ($self, $columns, @rows) = @_;
	return join ', ', map {
		my $row = $_;
		'(' . join(', ', map { $self->typed($_, $row->{$_}) } @$columns) . ')'
	} @rows;
}

# ---- statements ----

sub insert
{
	my ($self) = @_;
	my $target = $self->target;
	my ($columns, @rows) = $self->proposed($target, pick(1, 1, 1, 3));
	my $returning = $self->returning;
	my @version = $self->knows_version ? ('row_version') : ();
	my $what = join ', ', @$columns;
	my $values = $self->values_list($columns, @rows);
	my $source = chance(0.25) ? "SELECT * FROM (VALUES $values) v ($what)" : "VALUES $values";

	return { sql => "INSERT INTO $target->{name} ($what) $source RETURNING "
		  . join(', ', @$returning, @version),
		code => sub {
			return map { line($_, (($self->{model}{version}) x @version)) }
			  lines_of($returning, map { $self->{model}->insert($_) } @rows) } };
}

# From what other rows read as.
sub insert_select
{
	my ($self) = @_;
	my $row = $self->any_row or return $self->insert;
	my ($id) = $self->new_ids(1);
	my $set = $self->assignments('o.');
	$set->{$_} //= $self->assigned($_, 'o.') foreach @{ $self->{named} // [] };
	my @columns = sort keys %$set;
	my $returning = $self->returning;
	my $sources = join ', ', map { $set->{$_}[0] eq 'DEFAULT' ? 'NULL' : $set->{$_}[0] } @columns;
	my $taken = $self->{model}{rows}{$id};
	my $part = ($taken // $row)->{part};

	return { sql => "INSERT INTO $self->{table} (id, part, " . join(', ', @columns)
		  . ") SELECT $id, $part, $sources FROM $self->{table} o WHERE o.id = $row->{id}"
		  . ' RETURNING ' . join(', ', @$returning),
		code => sub {
			my $from = $self->{model}{rows}{ $row->{id} } or return ();
			my $values = values_set($set, $from);
			$values->{$_} = undef foreach grep { $set->{$_}[0] eq 'DEFAULT' } @columns;
			return lines_of($returning,
				$self->{model}->insert({ %$values, id => $id, part => $part })) } };
}

sub update
{
	my ($self) = @_;
	my $target = $self->target;
	my $where = $self->predicate;
	my $set = $self->assignments('');
	my $returning = $self->returning;
	my $version = $self->knows_version ? ', row_version' : '';

	if (!defined $target->{part} && @{ $self->{partitions} } && chance(0.15))
	{
		my $part = $self->new_part;
		$set->{part} = [ $part, sub { $part } ];
	}
	return { sql => "UPDATE $target->{name} SET " . set_clause($set)
		  . " WHERE $target->{own} AND $where->[0] RETURNING " . join(', ', @$returning) . $version,
		code => sub {
			my @new = map { $self->{model}->update($_, values_set($set, $_)) }
			  $self->matching($target, $where);
			return map { $version ? line($_, $self->{model}{version}) : $_ }
			  lines_of($returning, @new) } };
}

# All columns written back as they were read, a few of them changed.
sub write_back
{
	my ($self) = @_;
	my $row = $self->any_row or return $self->insert;
	my @columns = $self->names;
	my %new = %$row;
	my @changed = map { pick(@columns) } 1 .. int(rand(3));
	$new{$_} = $self->value($_) foreach @changed;
	my $set = join ', ', map { "$_ = " . $self->typed($_, $new{$_}) } 'id', 'part', @columns;
	my $returning = $self->returning;

	$set .= ', row_version = row_version' if chance(0.3) && $self->knows_version;
	return { sql => "UPDATE $self->{table} SET $set WHERE id = $row->{id} RETURNING "
		  . join(', ', @$returning),
		code => sub {
			my $now = $self->{model}{rows}{ $row->{id} } or return ();
			return lines_of($returning, $self->{model}->update($now, \%new)) } };
}

sub upsert
{
	my ($self) = @_;
	my $target = $self->target;
	my ($columns, @rows) = $self->proposed($target, pick(1, 2, 4));
	my $set = $self->assignments('t.', 'excluded');
	my $where = chance(0.3) ? $self->predicate('t') : [ 'true', sub { 1 } ];
	my $returning = $self->returning;
	my $what = join ', ', @$columns;
	my $conflict = join ', ', @{ $self->{conflict} };

	return { sql => "INSERT INTO $target->{name} AS t ($what) VALUES " . $self->values_list($columns, @rows)
		  . " ON CONFLICT ($conflict) DO UPDATE SET " . set_clause($set)
		  . " WHERE $where->[0] RETURNING " . join(', ', map { "t.$_" } @$returning),
		code => sub {
			my @result;
			foreach my $values (@rows)
			{
				my $new = $self->{model}->new_row($values);
				my $old = $self->{model}{rows}{ $values->{id} };
				if (!$old) { push @result, $self->{model}->put($new); next; }
				next unless $where->[1]->($old);
				push @result, $self->{model}->update($old, values_set($set, $old, $new));
			}
			return lines_of($returning, @result) } };
}

sub merge
{
	my ($self) = @_;
	my ($columns, @rows) = $self->proposed({}, pick(2, 4));
	my ($given_columns) = $self->proposed({}, 0);
	my @named = grep { !/^(id|part)$/ } @$columns;
	my @other = map { $_->[0] } grep { $_->[1] || chance(0.5) } map { [ $_, $self->is_needed($_) ] } @named;
	my $set = $self->assignments('t.', undef);
	my $when = $self->predicate('t');
	my $insert = sub {
		my @names = ('id', 'part', @_);
		return 'INSERT (' . join(', ', @names) . ') VALUES (' . join(', ', map { "s.$_" } @names) . ')';
	};

	return { sql => "MERGE INTO $self->{table} t USING (VALUES " . $self->values_list($columns, @rows)
		  . ') s (' . join(', ', @$columns) . ') ON t.id = s.id'
		  . " WHEN MATCHED AND $when->[0] THEN UPDATE SET " . set_clause($set)
		  . ' WHEN MATCHED AND t.id % 3 = 0 THEN DELETE'
		  . ' WHEN NOT MATCHED AND s.id % 2 = 0 THEN ' . $insert->(@named)
		  . ' WHEN NOT MATCHED THEN ' . $insert->(@other),
		code => sub {
			foreach my $values (@rows)
			{
				my $old = $self->{model}{rows}{ $values->{id} };
				if ($old && $when->[1]->($old)) { $self->{model}->update($old, values_set($set, $old)); }
				elsif ($old) { $self->{model}->delete($old) if $old->{id} % 3 == 0; }
				else
				{
					my @names = $values->{id} % 2 == 0 ? @named : @other;
					$self->{model}->insert({ map { $_ => $values->{$_} } 'id', 'part', @names });
				}
			}
			return undef } };
}

sub update_from
{
	my ($self) = @_;
	my ($row, $other) = map { $self->any_row } 1 .. 2;
	return $self->insert unless $row;
	my $set = $self->assignments('t.', 'o');
	my @returning = some(0.5, $self->all_columns);
	my $column = pick($self->names);

	return { sql => "UPDATE $self->{table} t SET " . set_clause($set)
		  . " FROM $self->{table} o WHERE t.id = $row->{id} AND o.id = $other->{id} RETURNING "
		  . join(', ', 't.id', (map { "t.$_" } @returning), "o.$column"),
		code => sub {
			my ($to, $from) = map { $self->{model}{rows}{ $_->{id} } } $row, $other;
			return () unless $to && $from;
			my $new = $self->{model}->update($to, values_set($set, $to, $from));
			return (line(@{$new}{ 'id', @returning }, $from->{$column})) } };
}

sub multi_assign
{
	my ($self) = @_;
	my $row = $self->any_row or return $self->insert;
	my ($first, $second) = map { pick($self->names) } 1 .. 2;
	return $self->update if $first eq $second || $self->{model}->type($first) ne $self->{model}->type($second);
	my $returning = $self->returning;

	return { sql => "UPDATE $self->{table} t SET ($first, $second) = (SELECT o.$second, t.$first"
		  . " FROM $self->{table} o WHERE o.id = t.id) WHERE id = $row->{id} RETURNING "
		  . join(', ', @$returning),
		code => sub {
			my $now = $self->{model}{rows}{ $row->{id} } or return ();
			return lines_of($returning, $self->{model}->update($now,
				{ $first => $now->{$second}, $second => $now->{$first} })) } };
}

sub delete
{
	my ($self) = @_;
	my $target = $self->target;
	my $where = $self->predicate;
	my $returning = $self->returning;

	return $self->insert if $self->matching($target, $where) > 4;
	return { sql => "DELETE FROM $target->{name} WHERE $target->{own} AND $where->[0] RETURNING "
		  . join(', ', @$returning),
		code => sub {
			return lines_of($returning,
				map { $self->{model}->delete($_) } $self->matching($target, $where)) } };
}

# An INSERT and an UPDATE in one statement, each seeing the table as it was before.
sub modifying_cte
{
	my ($self) = @_;
	my ($columns, $new) = $self->proposed({}, 1);
	my $set = $self->assignments('');
	my $row = $self->any_row;
	return $self->insert if !$row || $row->{id} == $new->{id};
	my $returning = join ', ', my @returning = @{ $self->returning };

	return { sql => "WITH i AS (INSERT INTO $self->{table} (" . join(', ', @$columns) . ') VALUES '
		  . $self->values_list($columns, $new) . " RETURNING $returning), u AS (UPDATE $self->{table} SET "
		  . set_clause($set) . " WHERE id = $row->{id} RETURNING $returning)"
		  . " SELECT * FROM i UNION ALL SELECT * FROM u UNION ALL SELECT $returning FROM $self->{table}"
		  . " WHERE id = $row->{id}",
		code => sub {
			my $old = $self->{model}{rows}{ $row->{id} };
			my $inserted = $self->{model}->insert($new);
			return lines_of(\@returning, $inserted,
				$old ? ($self->{model}->update($old, values_set($set, $old)), $old) : ()) } };
}

sub copy
{
	my ($self) = @_;
	my $target = $self->target;
	my ($columns, @rows) = $self->proposed($target, pick(1, 3));

	return { sql => "COPY $target->{name} (" . join(', ', @$columns) . ") FROM STDIN;\n"
		  . join('', map { copy_line(@{$_}{@$columns}) } @rows) . '\\.',
		code => sub { $self->{model}->insert($_) foreach @rows; return (); } };
}

# Rows that say in which version they are stored: what is not in that form is not read.
sub copy_stored
{
	my ($self) = @_;
	my $floor = $self->{model}{floor};
	my @versions = ($floor, grep { $_ > $floor } map { $_->{version} } @{ $self->{model}{live} });
	my $version = pick(@versions);
	my %not_yet = map { $_->[0] => 1 } map { @{ $_->{add} } }
	  grep { $_->{version} > $version } @{ $self->{model}{live} };
	my @columns = ('id', 'part', $self->names);
	my ($id) = $self->new_ids(1);
	my $taken = $self->{model}{rows}{$id};
	my $row = { id => $id, part => $taken ? $taken->{part} : $self->new_part };

	return $self->copy unless $self->knows_version;

	# What a row of that version looks like, as a write of its oldest form would make it.
	local $self->{model}{trigger} = undef;
	local $self->{model}{live} = [ grep { $_->{version} <= $version } @{ $self->{model}{live} } ];
	my %added = map { $_->[0] => 1 } map { @{ $_->{add} } } @{ $self->{model}{live} };
	my @oldest = grep { !$added{$_} && !$not_yet{$_} } $self->names;
	my $stored = eval { $self->{model}->new_row({ %$row, map { $_ => $self->value($_) } @oldest }) }
	  or return $self->insert;
	delete @{$stored}{ keys %not_yet };

	return { sql => "COPY $self->{table} (" . join(', ', @columns, 'row_version') . ") FROM STDIN;\n"
		  . copy_line((map { $not_yet{$_} ? undef : $stored->{$_} } @columns), $version) . '\\.',
		code => sub { $self->{model}->put($self->{model}->stored_row($stored, $version)); return (); } };
}

sub cursor
{
	my ($self) = @_;
	my $row = $self->any_row or return $self->insert;
	my $set = $self->assignments('');
	my $returning = $self->returning;
	my $column = pick($self->names);
	my $lock = pick('', ' FOR UPDATE', ' FOR NO KEY UPDATE');

	return { sql => "BEGIN; DECLARE c CURSOR FOR SELECT id, $column FROM $self->{table} WHERE id + 0 = $row->{id}$lock;"
		  . " FETCH c; UPDATE $self->{table} SET " . set_clause($set)
		  . ' WHERE CURRENT OF c RETURNING ' . join(', ', @$returning) . '; COMMIT',
		in_block => 1,
		code => sub {
			my $now = $self->{model}{rows}{ $row->{id} } or return undef;
			return (line($now->{id}, $now->{$column}),
				lines_of($returning, $self->{model}->update($now, values_set($set, $now)))) } };
}

# Planned once, as long as the columns that it names are there.
sub prepared
{
	my ($self) = @_;
	my $row = $self->any_row or return $self->insert;
	my $column = pick($self->names);
	my $value = $self->value($column);
	my $known = $self->{prepared}{$column};
	my $sql = '';

	if (!$known)
	{
		my $type = $self->{model}->type($column) eq 'i' ? 'integer' : 'text';
		$known = $self->{prepared}{$column} = { columns => $self->returning };
		$sql = "PREPARE by_$column (integer, $type) AS UPDATE $self->{table} SET $column = \$2"
		  . ' WHERE id = $1 RETURNING ' . join(', ', @{ $known->{columns} }) . ";\n";
	}
	return { sql => "${sql}EXECUTE by_$column ($row->{id}, " . $self->typed($column, $value) . ')',
		code => sub {
			my $now = $self->{model}{rows}{ $row->{id} } or return ();
			return lines_of($known->{columns}, $self->{model}->update($now, { $column => $value })) } };
}

# Statements that forget what names columns which are going.
sub forget_columns
{
	my ($self, @gone) = @_;
	my %gone = map { $_ => 1 } @gone;
	my @stale = grep {
		my $name = $_;
		$gone{$name} || grep { $gone{$_} } @{ $self->{prepared}{$name}{columns} }
	} sort keys %{ $self->{prepared} };

	delete @{ $self->{prepared} }{@stale};
	return map { "DEALLOCATE by_$_" } @stale;
}

sub select
{
	my ($self) = @_;
	my $target = $self->target;
	my $where = $self->predicate('t');
	my @columns = some(0.5, $self->all_columns);
	my $draw = rand();

	if ($draw < 0.2)
	{
		my $column = pick($self->names);
		return { sql => "SELECT $column, count(*), max(id) FROM $target->{name} t"
			  . " WHERE $target->{own} AND $where->[0] GROUP BY $column",
			code => sub {
				my %groups;
				push @{ $groups{ $_->{$column} // '\N' } }, $_->{id} foreach $self->matching($target, $where);
				return map { line($_, scalar @{ $groups{$_} }, (sort { $b <=> $a } @{ $groups{$_} })[0]) }
				  keys %groups } };
	}
	my $what = join ', ', 'id', @columns;
	my @locks = (' FOR UPDATE', ' FOR SHARE', ($self->{shared} ? () : ' FOR UPDATE SKIP LOCKED'));
	my $lock = $draw < 0.4 ? pick(@locks) : '';
	my $sql = "SELECT $what FROM $target->{name} t WHERE $target->{own} AND $where->[0]$lock";
	$sql = "COPY ($sql) TO STDOUT DELIMITER '|'" if $draw > 0.9 && !grep { /\\/ } map { values %$_ } $self->own_rows;
	return { sql => $sql,
		code => sub { return lines_of([ 'id', @columns ], $self->matching($target, $where)) } };
}

# Everything, in every form.
sub read_all
{
	my ($self) = @_;
	my @columns = $self->all_columns;
	my $own = "id >= $self->{ids}[0] AND id < $self->{ids}[1]";

	return { sql => 'SELECT ' . join(', ', @columns) . " FROM $self->{table} WHERE $own",
		code => sub { return lines_of(\@columns, $self->own_rows) } };
}

# What the table's own trigger is to do from now on: SQL, and for the model.
sub next_trigger
{
	my ($self) = @_;
	my $column = chance(0.5) ? pick($self->names) : undef;
	my $value = defined $column ? $self->value($column) : undef;

	return (sprintf('SET model.target = %s; SET model.value = %s', literal($column // ''), literal($value // '\N')),
		defined $column ? { applies => sub { $_[0]{id} % 3 == 0 }, column => $column, value => $value } : undef);
}

my @kinds = (
	[ 14, \&insert ], [ 4, \&insert_select ], [ 18, \&update ], [ 8, \&write_back ], [ 10, \&upsert ],
	[ 5, \&merge ], [ 6, \&update_from ], [ 3, \&multi_assign ], [ 7, \&delete ], [ 4, \&modifying_cte ],
	[ 6, \&copy ], [ 3, \&copy_stored ], [ 4, \&cursor ], [ 6, \&prepared ], [ 12, \&select ]);

sub next_statement
{
	my ($self) = @_;
	my $total = 0;
	$total += $_->[0] foreach @kinds;
	my $draw = rand($total);

	foreach my $kind (@kinds)
	{
		$draw -= $kind->[0];
		return $kind->[1]->($self) if $draw < 0;
	}
	return $self->select;
}

1;
