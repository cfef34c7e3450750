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
#	needed			undef, or { reads, sql, code } in the same way
#	defaults		of columns of add, by name
#	checks			constraints of add: { column, code }, code yields false where it is
#					broken
#	rename			column of add => the name that the contract gives it
# Whatever cannot be converted dies with { state => SQLSTATE }.
package MigrationModel;

use strict;
use warnings;

# columns: [name, type] pairs of data columns; keys: names of columns that no
# migration touches and that the driver sets with each row, the first unique;
# generated: name => function of the row, of columns that nobody sets.
#
# holds: names of migrations whose constraints hold for every write, also of the
# old form; complete: names of migrations that are. The driver tells both. frozen:
# rows that older snapshots see; they take part in changes of state alone.
sub new
{
	my ($class, %args) = @_;
	return bless { columns => [ @{ $args{columns} } ], keys => $args{keys},
		defaults => { %{ $args{defaults} // {} } }, generated => $args{generated} // {},
		rows => {}, live => [], holds => {}, own_checks => [], frozen => {}, complete => {}, trigger => undef,
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

# ---- transactions: nothing in it is changed in place, so flat copies will do ----

sub snapshot
{
	my ($self) = @_;
	my %copy = %$self;

	$copy{$_} = { %{ $copy{$_} } } foreach qw(rows holds complete defaults frozen);
	return \%copy;
}

# (What the table's trigger does is a setting of the driver's, and stays.)
sub restore
{
	my ($self, $snapshot) = @_;
	my $trigger = $self->{trigger};

	%$self = (%$snapshot, trigger => $trigger);
	$self->{$_} = { %{ $self->{$_} } } foreach qw(rows holds complete defaults frozen);
	return;
}

# Somebody keeps a snapshot of the rows, and lets go of it.
sub freeze { my ($self, $name) = @_; $self->{frozen}{$name} = { %{ $self->{rows} } }; return; }
sub release { my ($self, $name) = @_; delete $self->{frozen}{$name}; return; }
sub frozen { my ($self, $name) = @_; return values %{ $self->{frozen}{$name} // {} }; }

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

sub is_needed { my ($migration, $row) = @_; return !$migration->{needed} || $migration->{needed}{code}->($row); }

# Which live migrations does a row need, by name?
sub needs
{
	my ($self, $row) = @_;
	return { map { $_->{name} => 1 } grep { is_needed($_, $row) } @{ $self->{live} } };
}

# A row that was never in a migration's form.
sub upgraded
{
	my ($row, $migration) = @_;
	return is_needed($migration, $row) ? assign($row, $migration->{up}) : $row;
}

sub added { return map { $_->[0] } @{ $_[0]{add} }; }

sub is_in_place
{
	my ($migration, $assignment) = @_;
	return !grep { $_ eq $assignment->{target} } added($migration);
}

# The newest migration of which a new-form column is set decides, down from
# there; the others follow the old form up. A row that is there already keeps
# what does not depend on a change; what it needed before is in "was".
sub reconcile
{
	my ($self, $row, $set, $was) = @_;
	my %set = %$set;
	my %speaks_new;
	my $compute = sub {
		my @due = @_;
		$row = assign($row, \@due);
		$set{ $_->{target} } = 1 foreach @due;
	};

	foreach my $migration (reverse @{ $self->{live} })
	{
		next unless overlaps(\%set, added($migration));
		$speaks_new{ $migration->{name} } = 1;
		$compute->(grep { !$was || overlaps(\%set, $_->{target}, @{ $_->{reads} }) } @{ $migration->{down} });
	}
	foreach my $migration (@{ $self->{live} })
	{
		my $name = $migration->{name};
		my $was_needed = !$was || $was->{$name};
		my @may = grep { !$speaks_new{$name} || is_in_place($migration, $_) } @{ $migration->{up} };
		my $is_due = sub {
			my ($up) = @_;
			my $in_place = is_in_place($migration, $up);
			return !$was || overlaps(\%set, @{ $up->{reads} }) || $in_place && $set{ $up->{target} }
			  || !$was_needed && ($in_place || !defined $row->{ $up->{target} });
		};
		if (is_needed($migration, $row)) { $compute->(grep { $is_due->($_) } @may); }
		elsif ($was && $was_needed)
		{
			my @gone = map { $_->{target} } grep { !is_in_place($migration, $_) && $is_due->($_) } @may;
			$row = { %$row, map { $_ => undef } @gone };
			$set{$_} = 1 foreach @gone;
		}
	}
	return $row;
}

# What nobody sets.
sub generate
{
	my ($self, $row) = @_;
	my $generated = $self->{generated};
	return { %$row, map { $_ => $generated->{$_}->($row) } keys %$generated };
}

# A new form's constraints hold for who sets a column of it, and for all when
# the migration is complete.
sub checked
{
	my ($self, $row, $set) = @_;

	foreach my $migration (@{ $self->{live} })
	{
		next unless $self->{holds}{ $migration->{name} } || overlaps($set, added($migration));
		fail('23514') if breaks($migration->{checks}, $row);
	}
	fail('23514') if breaks($self->{own_checks}, $row);
	return $self->generate($row);
}

sub breaks
{
	my ($checks, $row) = @_;
	return grep { !$_->{code}->($row->{ $_->{column} }) } @{ $checks // [] };
}

# Rows that break a live migration's constraints: pairs of a row and a check.
sub broken
{
	my ($self) = @_;
	my @broken;

	foreach my $row ($self->rows)
	{
		push @broken, map { [ $row, $_ ] } breaks($_->{checks}, $row) foreach @{ $self->{live} };
	}
	return @broken;
}

# The table's own BEFORE trigger, if it has one: { applies => function of the
# row, column, value }. What it changes counts as if a statement had set it.
sub triggered
{
	my ($self, $row) = @_;
	my $trigger = $self->{trigger};

	return $row unless $trigger && exists $row->{ $trigger->{column} } && $trigger->{applies}->($row);
	my ($column, $value) = @{$trigger}{qw(column value)};
	return $row if same($row->{$column}, $value);
	return $self->reconcile({ %$row, $column => $value }, { $column => 1 }, $self->needs($row));
}

# The row that an INSERT naming these values makes, not yet put in.
sub new_row
{
	my ($self, $named) = @_;
	my %row = map { $_ => $self->{defaults}{$_} } $self->names;
	my %set = map { $_ => 1 } keys %$named;

	return $self->checked($self->triggered($self->reconcile({ %row, %$named }, \%set)), \%set);
}

# The same for a row that comes stored in an older version's form.
sub stored_row
{
	my ($self, $values, $version) = @_;
	my $row = { (map { $_ => undef } $self->names), %$values };

	foreach my $migration (@{ $self->{live} })
	{
		$row = upgraded($row, $migration) if $migration->{version} > $version;
	}
	return $self->checked($self->triggered($row), {});
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

	return $self->checked($self->triggered($self->reconcile({ %$row, %$named }, \%set, $self->needs($row))), \%set);
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

sub changed_rows
{
	my ($self, $rows, $change) = @_;
	return { map { $_ => $self->generate($change->($rows->{$_})) } keys %$rows };
}

# Change all rows, also those that older snapshots see.
sub change_rows
{
	my ($self, $change) = @_;
	my $frozen = $self->{frozen};

	$self->{rows} = $self->changed_rows($self->{rows}, $change);
	$frozen->{$_} = $self->changed_rows($frozen->{$_}, $change) foreach keys %$frozen;
	return;
}

sub expand
{
	my ($self, $definition) = @_;
	my $migration = { %$definition, version => $self->{version} + 1 };
	my %nothing = map { $_ => undef } added($migration);

	$self->{version}++;
	$self->{live} = [ @{ $self->{live} }, $migration ];
	$self->{columns} = [ @{ $self->{columns} }, @{ $migration->{add} } ];
	$self->{defaults} = { %{ $self->{defaults} }, %{ $migration->{defaults} // {} } };
	$self->change_rows(sub { upgraded({ %{ $_[0] }, %nothing }, $migration) });
	return;
}

sub drop_columns
{
	my ($self, @names) = @_;
	my %gone = map { $_ => 1 } @names;

	$self->{columns} = [ grep { !$gone{ $_->[0] } } @{ $self->{columns} } ];
	$self->{own_checks} = [ grep { !$gone{ $_->{column} } } @{ $self->{own_checks} } ];
	delete @{ $self->{defaults} }{@names};
	$self->change_rows(sub { my %row = %{ $_[0] }; delete @row{@names}; return \%row; });
	return;
}

sub rename_column
{
	my ($self, $from, $to) = @_;

	$self->{columns} = [ map { [ $_->[0] eq $from ? $to : $_->[0], $_->[1] ] } @{ $self->{columns} } ];
	$self->{defaults}{$to} = delete $self->{defaults}{$from} if exists $self->{defaults}{$from};
	$self->change_rows(sub { my %row = %{ $_[0] }; $row{$to} = delete $row{$from}; return \%row; });
	return;
}

sub is_live { my ($self, $migration) = @_; return grep { $_->{name} eq $migration->{name} } @{ $self->{live} }; }

sub end_migration
{
	my ($self, $migration, @gone) = @_;
	$self->{live} = [ grep { $_->{name} ne $migration->{name} } @{ $self->{live} } ];
	$self->drop_columns(@gone);
	return;
}

# Rows that did not need it keep their version for good. Its constraints stay,
# as the table's own.
sub contract
{
	my ($self, $migration) = @_;
	my ($live) = $self->is_live($migration);
	my $rename = $migration->{rename} // {};

	$self->{floor} = $live->{version} if $live->{version} > $self->{floor} && !$live->{needed};
	$self->end_migration($migration, @{ $migration->{remove} });
	$self->rename_column($_, $rename->{$_}) foreach keys %$rename;
	$self->{own_checks} = [ @{ $self->{own_checks} },
		map { +{ %$_, column => $rename->{ $_->{column} } // $_->{column} } } @{ $migration->{checks} // [] } ];
	delete $self->{$_}{ $migration->{name} } foreach qw(holds complete);
	return;
}

sub rollback
{
	my ($self, $migration) = @_;
	$self->end_migration($migration, added($migration));
	delete $self->{$_}{ $migration->{name} } foreach qw(holds complete);
	return;
}

# Who among the live ones reads or assigns columns, besides one migration?
sub users_of
{
	my ($self, $migration, @names) = @_;
	my %names = map { $_ => 1 } @names;
	return grep {
		my $other = $_;
		my @assignments = (@{ $other->{up} }, @{ $other->{down} });
		$other->{name} ne $migration->{name} && overlaps(\%names, @{ $other->{remove} }, added($other),
			(map { ($_->{target}, @{ $_->{reads} }) } @assignments), $other->{needed} ? @{ $other->{needed}{reads} } : ())
	} @{ $self->{live} };
}

1;
