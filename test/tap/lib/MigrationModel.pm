# What a migrated table should hold, said in the plainest way there is.
#
# A row is a hash of all its columns, in all forms, as they should read; there
# are no stale rows here, since nobody should be able to tell. What a write does
# to it is computed from the rules in the documentation (concepts, "Writing"),
# without a look at how the extension does it.
#
# Values are strings as COPY shows them, NULL is undef. A migration is a hash:
#	name, add		its name, and [column, type] pairs; type is i, t or x
#	remove			names of columns
#	up, down		assignments: { target, reads => [columns], sql, code }, code being
#					a function of the row
#	in_place		its up assigns columns that it does not add
# Whatever cannot be converted dies with { state => SQLSTATE }.
package MigrationModel;

use strict;
use warnings;

# columns: [name, type] pairs of data columns; keys: names of columns that no
# migration touches and that the driver sets with each row, the first unique.
sub new
{
	my ($class, %args) = @_;
	return bless { columns => [ @{ $args{columns} } ], keys => $args{keys},
		defaults => $args{defaults} // {}, rows => {}, live => [],
		version => 1, floor => 1 }, $class;
}

sub fail { die { state => $_[0] }; }

sub names { return map { $_->[0] } @{ $_[0]{columns} }; }

sub type
{
	my ($self, $name) = @_;
	my ($found) = grep { $_->[0] eq $name } @{ $self->{columns} };
	return $found->[1];
}

sub rows
{
	my ($self) = @_;
	return map { $self->{rows}{$_} } sort { $a <=> $b } keys %{ $self->{rows} };
}

# ---- transactions: rows are never changed in place, so a copy of the hash will do ----

sub snapshot { return { %{ $_[0]{rows} } }; }
sub restore { $_[0]{rows} = $_[1]; return; }

# ---- the forms of a row ----

sub assign
{
	my ($row, $assignments) = @_;
	my %new = map { $_->{target} => $_->{code}->($row) } @$assignments;
	return { %$row, %new };
}

sub overlaps
{
	my ($set, @names) = @_;
	return grep { $set->{$_} } @names;
}

# The newest migration of which a new-form column is set decides, down from
# there; the others follow the old form up. A row that is there already keeps
# what does not depend on a change.
sub reconcile
{
	my ($self, $row, $set, $is_new) = @_;
	my %set = %$set;
	my %speaks_new;
	my $compute = sub {
		my ($assignments, $also_targets) = @_;
		my @due = grep { $is_new || overlaps(\%set, @{ $_->{reads} }) ||
			$also_targets && $set{ $_->{target} } } @$assignments;
		$row = assign($row, \@due);
		$set{ $_->{target} } = 1 foreach @due;
	};

	foreach my $migration (reverse @{ $self->{live} })
	{
		next unless overlaps(\%set, map { $_->[0] } @{ $migration->{add} });
		$speaks_new{ $migration->{name} } = 1;
		$compute->($migration->{down}, 1);
	}
	foreach my $migration (@{ $self->{live} })
	{
		$compute->($migration->{up}, 0) unless $speaks_new{ $migration->{name} };
	}
	return $row;
}

# The table's own BEFORE trigger, if it has one: { applies => function of the
# row, column, value }. What it changes counts as if a statement had set it.
sub triggered
{
	my ($self, $row) = @_;
	my $trigger = $self->{trigger};

	return $row unless $trigger && $trigger->{applies}->($row);
	my ($column, $value) = @{$trigger}{qw(column value)};
	return $row if same($row->{$column}, $value);
	return $self->reconcile({ %$row, $column => $value }, { $column => 1 }, 0);
}

# The row that an INSERT naming these values makes, not yet put in.
sub new_row
{
	my ($self, $named) = @_;
	my %row = map { $_ => $self->{defaults}{$_} } $self->names;
	my %set = map { $_ => 1 } keys %$named;

	return $self->triggered($self->reconcile({ %row, %$named }, \%set, 1));
}

# The same for a row that comes stored in an older version's form.
sub stored_row
{
	my ($self, $values, $version) = @_;
	my $row = { (map { $_ => undef } $self->names), %$values };

	foreach my $migration (@{ $self->{live} })
	{
		$row = assign($row, $migration->{up}) if $migration->{version} > $version;
	}
	return $self->triggered($row);
}

sub same
{
	my ($a, $b) = @_;
	return defined $a ? defined $b && $a eq $b : !defined $b;
}

# The row that an UPDATE naming these values makes of another: what is written
# back as it was has not been set.
sub changed_row
{
	my ($self, $row, $named) = @_;
	my %set = map { $_ => 1 } grep { !same($row->{$_}, $named->{$_}) } keys %$named;

	return $self->triggered($self->reconcile({ %$row, %$named }, \%set, 0));
}

# ---- writes ----

sub put
{
	my ($self, $row) = @_;
	my $key = $row->{ $self->{keys}[0] };
	fail('23505') if $self->{rows}{$key};
	$self->{rows}{$key} = $row;
	return $row;
}

sub insert { my ($self, $named) = @_; return $self->put($self->new_row($named)); }

sub update
{
	my ($self, $row, $named) = @_;
	my $key = $row->{ $self->{keys}[0] };
	return $self->{rows}{$key} = $self->changed_row($row, $named);
}

sub delete { my ($self, $row) = @_; return delete $self->{rows}{ $row->{ $self->{keys}[0] } }; }

# ---- states ----

sub expand
{
	my ($self, $migration) = @_;
	my $rows = $self->{rows};

	$migration->{version} = ++$self->{version};
	push @{ $self->{live} }, $migration;
	push @{ $self->{columns} }, @{ $migration->{add} };
	$rows->{$_} = assign($rows->{$_}, $migration->{up}) foreach keys %$rows;
	return;
}

sub drop_columns
{
	my ($self, @names) = @_;
	my %gone = map { $_ => 1 } @names;

	$self->{columns} = [ grep { !$gone{ $_->[0] } } @{ $self->{columns} } ];
	foreach my $key (keys %{ $self->{rows} })
	{
		my %row = %{ $self->{rows}{$key} };
		delete @row{@names};
		$self->{rows}{$key} = \%row;
	}
	return;
}

sub end_migration
{
	my ($self, $migration, @gone) = @_;
	$self->{live} = [ grep { $_ != $migration } @{ $self->{live} } ];
	return $self->drop_columns(@gone);
}

sub contract
{
	my ($self, $migration) = @_;

	$self->{floor} = $migration->{version} if $migration->{version} > $self->{floor};
	return $self->end_migration($migration, @{ $migration->{remove} });
}

sub rollback
{
	my ($self, $migration) = @_;
	return $self->end_migration($migration, map { $_->[0] } @{ $migration->{add} });
}

# Who among the live ones reads or assigns columns, besides one migration?
sub users_of
{
	my ($self, $migration, @names) = @_;
	my %names = map { $_ => 1 } @names;
	return grep {
		$_ != $migration && overlaps(\%names, @{ $_->{remove} }, map { $_->[0] } @{ $_->{add} }) ||
		$_ != $migration && grep { overlaps(\%names, $_->{target}, @{ $_->{reads} }) }
			@{ $_->{up} }, @{ $_->{down} }
	} @{ $self->{live} };
}

1;
