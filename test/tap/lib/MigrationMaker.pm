# Migrations made up as the table goes along.
#
# A table has a number (columns i0, i1, ... one after another) and a name (s0, then
# s1 and s2, then s3 again ...). A migration carries one of these a link further,
# by an up and a down of which some lose what they cannot say; or it derives a
# column from both, or mends one in place. SQL and its twin in Perl stand side
# by side.
package MigrationMaker;

use strict;
use warnings;

sub new
{
	my ($class, %args) = @_;
	return bless { count => 0, number => 'i0', name => ['s0'], %args }, $class;
}

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

sub assignment
{
	my ($target, $sql, $code, @reads) = @_;
	return { target => $target, reads => \@reads, sql => sprintf($sql, @reads),
		code => sub { return in_range($code->(@{ $_[0] }{@reads})); } };
}

sub both { my ($code) = @_; return sub { return defined $_[0] && defined $_[1] ? $code->(@_) : undef; }; }

sub column { my ($self, $prefix) = @_; return $prefix . ++$self->{count}; }

# ---- kinds of migrations ----

sub link_number
{
	my ($self, @models) = @_;
	my $model = $models[0];
	my $old = $self->{number};
	my $kinds = $model->type($old) eq 'x' ? \%untext : \%number;
	my $kind = pick(sort keys %$kinds);
	my ($largest) = sort { $b <=> $a } map { abs($_->{$old} // 0) }
	  $model->type($old) eq 'i' ? map { $_->rows } @models : ();

	$kind = 'over' if $kind eq 'times' && ($largest // 0) > 10000;
	my ($type, $up, $up_code, $down, $down_code) = @{ $kinds->{$kind} };
	my $new = $self->column('i');

	return { name => "number $kind $new", add => [ [ $new, $type ] ], remove => [$old],
		up => [ assignment($new, $up, $up_code, $old) ],
		down => [ assignment($old, $down, $down_code, $new) ],
		done => sub { $self->{number} = $new } , undone => sub { $self->{number} = $old } };
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

sub mend
{
	my ($self) = @_;
	return { name => 'mend ' . $self->column('m'), add => [], remove => [], in_place => 1,
		up => [ assignment('note', q{lower(%s)}, on(sub { lc $_[0] }), 'note') ],
		down => [], done => sub { }, undone => sub { } };
}

# A migration that may follow, the table being as all the models together say.
sub next_migration
{
	my ($self, @models) = @_;
	my $draw = rand();
	my $migration = $draw < 0.5 ? $self->link_number(@models)
	  : $draw < 0.8 ? (@{ $self->{name} } == 1 ? $self->split_name : $self->join_name)
	  : $draw < 0.92 ? $self->derive
	  : $self->mend;

	$migration->{name} = "$self->{table} $migration->{name}";
	return $migration;
}

my %types = (i => 'integer', t => 'text', x => 'text');

sub definition
{
	my ($self, $migration) = @_;
	my $quote = sub { return @_ ? q{$m$} . join(', ', @_) . q{$m$} : 'NULL'; };
	my $assignments = sub { return $quote->(map { "$_->{target} = $_->{sql}" } @{ $_[0] }); };

	return sprintf('SELECT migrate.define(%s, %s, add => %s, up => %s, down => %s, remove => %s)',
		$quote->($migration->{name}), "'$self->{table}'",
		$quote->(map { "$_->[0] $types{ $_->[1] }" } @{ $migration->{add} }),
		$assignments->($migration->{up}), $assignments->($migration->{down}),
		"'{" . join(',', @{ $migration->{remove} }) . "}'");
}

1;
