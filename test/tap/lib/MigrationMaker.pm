# Migrations made up as the table goes along.
#
# A table has a number (columns i0, i1, ... one after another) and a name (s0, then
# s1 and s2, then s3 again ...). A migration carries one of these a link further,
# by an up and a down of which some lose what they cannot say, sometimes under the
# same name; or it derives a column from both, or mends some in place. Any of them
# may be needed by some rows only, and have its columns constrained. SQL and its
# twin in Perl stand side by side.
#
# plain => 1: only such as mean the same for a statement that comes before expand
# or after it.
package MigrationMaker;

use strict;
use warnings;

sub new
{
	my ($class, %args) = @_;
	return bless { count => 0, number => 'i0', name => ['s0'], %args }, $class;
}

sub chance { return rand() < $_[0]; }
sub pick { return $_[ int(rand(@_)) ]; }
sub on { my ($code) = @_; return sub { return defined $_[0] ? $code->(@_) : undef; }; }

sub integer
{
	my ($text) = @_;
	die { state => '22P02' } if defined $text && $text !~ /^\s*-?\d+\s*$/;
	return defined $text ? int($text) : undef;
}

# kind => [type after, up in SQL, in Perl, down in SQL, in Perl]; %s is the column read.
my %number = (
	times => [ 'i', '%s * 10', on(sub { $_[0] * 10 }), '%s / 10', on(sub { int($_[0] / 10) }) ],
	over => [ 'i', '%s / 10', on(sub { int($_[0] / 10) }), '%s * 10', on(sub { $_[0] * 10 }) ],
	text => [ 'x', q{'c' || %s}, on(sub { 'c' . $_[0] }),
		'substr(%s, 2)::integer', on(sub { integer(substr($_[0], 1)) }) ],
	coalesce => [ 'i', 'coalesce(%s, 0) + 1', sub { ($_[0] // 0) + 1 }, '%s - 1', on(sub { $_[0] - 1 }) ],
	function => [ 'i', 'model_up(%s)', sub { ($_[0] // -1) + 2 }, 'model_down(%s)', on(sub { $_[0] - 2 }) ],
);
my %untext = (
	untext => [ 'i', 'substr(%s, 2)::integer', on(sub { integer(substr($_[0], 1)) }),
		q{'c' || %s}, on(sub { 'c' . $_[0] }) ],
	restext => [ 'x', 'replace(%s, $$0$$, $$1$$)', on(sub { $_[0] =~ s/0/1/gr }), '%s', on(sub { $_[0] }) ],
);

# The functions that the expressions above use.
sub functions
{
	return <<'SQL';
CREATE FUNCTION model_up(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS
	'BEGIN RETURN coalesce($1, -1) + 2; END';
CREATE FUNCTION model_down(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE STRICT AS
	'BEGIN RETURN $1 - 2; END';
SQL
}

sub split_part
{
	my ($text, $by, $n) = @_;
	my @parts = split /\Q$by\E/, $text, -1;
	return $parts[ $n - 1 ] // '';
}

# What the server's integers hold.
sub in_range
{
	my ($value) = @_;
	die { state => '22003' } if defined $value && $value =~ /^-?\d+$/ && abs($value) > 2147483647;
	return $value;
}

# Columns in the places of %s, one after another.
sub filled { my ($sql, @columns) = @_; return $sql =~ s/%s/shift @columns/ger; }

sub assignment
{
	my ($target, $sql, $code, @reads) = @_;
	return { target => $target, reads => \@reads, sql => "$target = " . filled($sql, @reads),
		code => sub { return in_range($code->(@{ $_[0] }{@reads})); } };
}

sub both { my ($code) = @_; return sub { return defined $_[0] && defined $_[1] ? $code->(@_) : undef; }; }

sub column { my ($self, $prefix) = @_; return $prefix . ++$self->{count}; }

# ---- kinds of migrations ----

sub largest
{
	my ($column, @models) = @_;
	my ($largest) = sort { $b <=> $a } map { abs($_->{$column} // 0) } map { $_->rows } @models;
	return $largest // 0;
}

# The way from one form of the number to the next, as in the tables above.
sub next_kind
{
	my ($self, @models) = @_;
	my $old = $self->{number};
	my $is_text = $models[0]->type($old) eq 'x';
	my $kinds = $is_text ? \%untext : \%number;
	my $kind = pick(sort keys %$kinds);

	$kind = 'over' if $kind eq 'times' && largest($old, @models) > 10000;
	return ($kind, @{ $kinds->{$kind} });
}

sub link_number
{
	my ($self, @models) = @_;
	my $old = $self->{number};
	my ($kind, $type, $up, $up_code, $down, $down_code) = $self->next_kind(@models);
	my $new = $self->column('i');

	return { name => "number $kind $new", add => [ [ $new, $type ] ], remove => [$old],
		up => [ assignment($new, $up, $up_code, $old) ],
		down => [ assignment($old, $down, $down_code, $new) ],
		done => sub { $self->{number} = $new } , undone => sub { $self->{number} = $old } };
}

# The name that a new column has beside an old one that has its name.
sub interim_name
{
	my ($column, $model) = @_;
	my %taken = map { $_ => 1 } $model->names;
	my ($name) = grep { !$taken{$_} } "${column}_new", map { "${column}_new$_" } 1 .. 9;
	return $name;
}

# The same, under the name that is there already.
sub retype_number
{
	my ($self, @models) = @_;
	my $old = $self->{number};
	my ($kind, $type, $up, $up_code, $down, $down_code) = $self->next_kind(@models);
	my $new = interim_name($old, $models[0]);
	my $forth = assignment($new, $up, $up_code, $old);
	my $back = assignment($old, $down, $down_code, $new);

	$forth->{sql} = "$old = " . filled($up, "old.$old");
	$back->{sql} = "$old = " . filled($down, "new.$old");
	return { name => "retype $old $kind " . $self->column(''), add => [ [ $new, $type ] ], remove => [$old],
		rename => { $new => $old }, up => [$forth], down => [$back],
		done => sub { $self->{number} = $new }, undone => sub { $self->{number} = $old } };
}

sub split_name
{
	my ($self) = @_;
	my ($old) = @{ $self->{name} };
	my ($first, $last) = map { $self->column('s') } 1 .. 2;

	return { name => "split $old", add => [ map { [ $_, 't' ] } $first, $last ], remove => [$old],
		up => [ assignment($first, q{split_part(%s, ' ', 1)}, on(sub { split_part($_[0], ' ', 1) }), $old),
			assignment($last, q{split_part(%s, ' ', 2)}, on(sub { split_part($_[0], ' ', 2) }), $old) ],
		down => [ assignment($old, q{%s || ' ' || %s}, both(sub { "$_[0] $_[1]" }), $first, $last) ],
		done => sub { $self->{name} = [ $first, $last ] }, undone => sub { $self->{name} = [$old] } };
}

sub join_name
{
	my ($self) = @_;
	my ($first, $last) = @{ $self->{name} };
	my $new = $self->column('s');

	return { name => "join $new", add => [ [ $new, 't' ] ], remove => [ $first, $last ],
		up => [ assignment($new, q{%s || ', ' || %s}, both(sub { "$_[0], $_[1]" }), $last, $first) ],
		down => [ assignment($last, q{split_part(%s, ', ', 1)}, on(sub { split_part($_[0], ', ', 1) }), $new),
			assignment($first, q{split_part(%s, ', ', 2)}, on(sub { split_part($_[0], ', ', 2) }), $new) ],
		done => sub { $self->{name} = [$new] }, undone => sub { $self->{name} = [ $first, $last ] } };
}

# Nothing leads back from it, and the old form stays.
sub derive
{
	my ($self) = @_;
	my $new = $self->column('d');
	my @reads = ($self->{name}[-1], $self->{number});

	return { name => "derive $new", add => [ [ $new, 't' ] ], remove => [],
		up => [ assignment($new, q{coalesce(%s, '-') || '/' || coalesce(%s::text, '-')},
			sub { ($_[0] // '-') . '/' . ($_[1] // '-') }, @reads) ],
		down => [], done => sub { }, undone => sub { } };
}

# In place: what it makes it leaves alone.
sub mend_note { return assignment('note', 'lower(%s)', on(sub { lc $_[0] }), 'note'); }

sub mend_number
{
	my ($self, $model) = @_;
	my $column = $self->{number};

	return mend_note() if $model->type($column) ne 'i';
	return assignment($column, 'abs(%s)', on(sub { abs $_[0] }), $column) if chance(0.5);
	return assignment($column, 'greatest(%s, -5)', sub { !defined $_[0] || $_[0] < -5 ? -5 : $_[0] }, $column);
}

# What it reads besides what it makes may be written, too.
sub mend_name
{
	my ($self) = @_;
	my ($column) = @{ $self->{name} };

	return assignment($column, 'btrim(%s)', on(sub { $_[0] =~ s/^ +| +$//gr }), $column) if chance(0.5);
	return assignment($column, 'coalesce(%s, note)', sub { $_[0] // $_[1] }, $column, 'note');
}

sub mend
{
	my ($self, $model) = @_;
	my $draw = $self->{plain} ? 0 : rand();
	my $up = $draw < 0.4 ? mend_note() : $draw < 0.7 ? $self->mend_number($model) : $self->mend_name;

	return { name => 'mend ' . $self->column('m'), add => [], remove => [], up => [$up],
		down => [], done => sub { }, undone => sub { } };
}

# One that derives a column and mends another.
sub derive_and_mend
{
	my ($self) = @_;
	my $migration = $self->derive;

	push @{ $migration->{up} }, mend_note();
	$migration->{name} =~ s/derive/derive and mend/;
	return $migration;
}

# ---- what may go with each kind ----

sub predicate
{
	my ($sql, $code, @reads) = @_;
	return { sql => filled($sql, @reads), reads => \@reads, code => sub { $code->(@{ $_[0] }{@reads}) } };
}

sub some_rows_only
{
	my ($self, $model) = @_;
	my $number = $self->{number};
	my ($name) = @{ $self->{name} };

	return predicate('id % 3 <> 0', sub { $_[0] % 3 != 0 }, 'id') if chance(0.1);
	return predicate(q{note ~ '^[A-Z]'}, on(sub { $_[0] =~ /^[A-Z]/ }), 'note') if chance(0.2);
	return predicate(q{%s <> ''}, on(sub { $_[0] ne '' }), $name) if chance(0.3);
	return predicate('%s IS NULL', sub { !defined $_[0] }, $name) if chance(0.15);
	return predicate(q{%s LIKE 'c-%'}, on(sub { $_[0] =~ /^c-/ }), $number) if $model->type($number) eq 'x';
	return predicate('%s > 0', on(sub { $_[0] > 0 }), $number) if chance(0.5);
	return predicate('%s IS NOT NULL', sub { defined $_[0] }, $number);
}

# A predicate must not read what is mended along with columns that are added.
sub need
{
	my ($self, $migration, $model) = @_;
	my $needed = $self->some_rows_only($model);
	my %added = map { $_->[0] => 1 } @{ $migration->{add} };
	my %mended = map { $_->{target} => 1 } grep { !$added{ $_->{target} } } @{ $migration->{up} };

	return if %added && grep { $mended{$_} } @{ $needed->{reads} };
	$migration->{needed} = $needed;
	$migration->{name} .= ' needed';
	return;
}

# A constraint on the first column that it adds.
sub constrain
{
	my ($self, $migration) = @_;
	my ($column, $type) = @{ $migration->{add}[0] };
	my $is_number = $type eq 'i';
	my @checks;
	my $sql = '';

	if (chance(0.6))
	{
		$sql .= $is_number ? " CHECK ($column > -40)" : " CHECK ($column <> 'c7' AND $column <> 'Ann')";
		push @checks, { column => $column, good => $is_number ? 1 : 'c1',
			code => $is_number ? sub { !defined $_[0] || $_[0] > -40 } : sub { !defined $_[0] || $_[0] !~ /^(c7|Ann)$/ } };
	}
	if (chance(0.5) && !$migration->{needed})
	{
		$sql .= ' NOT NULL';
		push @checks, { column => $column, good => $is_number ? 1 : 'c1', code => sub { defined $_[0] } };
	}
	if (chance(0.4) && !$migration->{needed})
	{
		$migration->{defaults} = { $column => $is_number ? 8 : 'c8' };
		$sql .= $is_number ? ' DEFAULT 8' : q{ DEFAULT 'c8'};
	}
	$migration->{sql_of}{$column} = $sql;
	$migration->{checks} = \@checks;
	$migration->{name} .= ' constrained';
	return;
}

# A migration that may follow, the table being as all the models together say.
sub next_migration
{
	my ($self, @models) = @_;
	my $draw = rand();
	$draw = 0.3 * $draw / 0.45 if $self->{plain} && $draw < 0.45;
	my $migration = $draw < 0.3 ? $self->link_number(@models)
	  : $draw < 0.45 ? $self->retype_number(@models)
	  : $draw < 0.7 ? (@{ $self->{name} } == 1 ? $self->split_name : $self->join_name)
	  : $draw < 0.8 ? $self->derive
	  : $draw < 0.86 ? $self->derive_and_mend
	  : $self->mend($models[0]);

	$self->need($migration, $models[0]) if !$self->{plain} && chance(0.3);
	$self->constrain($migration) if !$self->{plain} && @{ $migration->{add} } && !$migration->{rename} && chance(0.3);
	my %added = map { $_->[0] => 1 } @{ $migration->{add} };
	$migration->{mended} = [ map { $_->{target} } grep { !$added{ $_->{target} } } @{ $migration->{up} } ];
	$migration->{name} = "$self->{table} $migration->{name}";
	return $migration;
}

# A contract has given a column another name.
sub renamed
{
	my ($self, $from, $to) = @_;

	$self->{number} = $to if $self->{number} eq $from;
	$self->{name} = [ map { $_ eq $from ? $to : $_ } @{ $self->{name} } ];
	return;
}

my %types = (i => 'integer', t => 'text', x => 'text');

sub definition
{
	my ($self, $migration) = @_;
	my $quote = sub { return @_ ? q{$m$} . join(', ', @_) . q{$m$} : 'NULL'; };
	my $rename = $migration->{rename} // {};
	my @columns = map { ($rename->{ $_->[0] } // $_->[0]) . " $types{ $_->[1] }" . ($migration->{sql_of}{ $_->[0] } // '') }
	  @{ $migration->{add} };

	return sprintf('SELECT migrate.define(%s, %s, add => %s, up => %s, down => %s, remove => %s, needed => %s)',
		$quote->($migration->{name}), "'$self->{table}'", $quote->(@columns),
		$quote->(map { $_->{sql} } @{ $migration->{up} }), $quote->(map { $_->{sql} } @{ $migration->{down} }),
		"'{" . join(',', @{ $migration->{remove} }) . "}'",
		$quote->($migration->{needed} ? $migration->{needed}{sql} : ()));
}

1;
