# A writer with rows of its own, and a book of what the server has told him of each of
# his writes. The book is kept outside of the server, so it shows what a crash loses.
#
# A row is a number n, the same in each form: the old one has it in column a, the new
# one as 10 * n in column b. The writer sends a list of units, each of which happens as
# a whole or not at all. If the connection breaks, then nobody knows of one unit, the one
# that was under way: the table may be as before it or as after it.
package Ledger;

use strict;
use warnings;

sub pick { return $_[ int rand @_ ]; }

# table, number, folder (for the files of psql)
sub new
{
	my ($class, %args) = @_;
	my $first = 100_000 * $args{number};
	return bless { %args, next => $first + 10, rows => { map { ($first + $_ => 1) } 1 .. 9 } }, $class;
}

# What makes these rows.
sub first_rows
{
	my ($self) = @_;
	return "INSERT INTO $self->{table} (id, a) VALUES " . join ', ', map { "($_, 1)" } sort keys %{ $self->{rows} };
}

# ---- units: statements, and what they do to the rows ----

my %step = (a => 1, b => 10);

sub add_one
{
	my ($self, $form, $id) = @_;
	return ([ "UPDATE $self->{table} SET $form = $form + $step{$form} WHERE id = $id" ],
		sub { $_[0]{$id}++ if exists $_[0]{$id} });
}

sub add_to_two
{
	my ($self, $form, $id, $other, $other_form) = @_;
	my ($first) = $self->add_one($form, $id);
	my ($second) = $self->add_one($other_form, $other);
	return ([ 'BEGIN', @$first, @$second, 'COMMIT' ],
		sub { my ($rows) = @_; exists $rows->{$_} and $rows->{$_}++ foreach $id, $other });
}

sub insert
{
	my ($self, $form) = @_;
	my $id = $self->{next}++;
	return ([ "INSERT INTO $self->{table} (id, $form) VALUES ($id, $step{$form})" ], sub { $_[0]{$id} = 1 });
}

sub upsert
{
	my ($self, $form, $id) = @_;
	return ([ "INSERT INTO $self->{table} AS t (id, $form) VALUES ($id, $step{$form}) ON CONFLICT (id) DO UPDATE SET $form = t.$form + $step{$form}" ],
		sub { $_[0]{$id}++ });
}

sub delete
{
	my ($self, $id) = @_;
	return ([ "DELETE FROM $self->{table} WHERE id = $id" ], sub { delete $_[0]{$id} });
}

sub next_unit
{
	my ($self, @forms) = @_;
	my ($id, $other) = map { pick(sort keys %{ $self->{rows} }) // 100_000 * $self->{number} } 1 .. 2;
	my $form = pick(@forms);
	my $draw = rand;
	my ($statements, $effect) = $draw < 0.5 ? $self->add_one($form, $id)
		: $draw < 0.7 ? $self->add_to_two($form, $id, $other, pick(@forms))
		: $draw < 0.8 ? $self->upsert($form, $id)
		: $draw < 0.9 ? $self->insert($form) : $self->delete($id);
	return { statements => $statements, effect => $effect };
}

# ---- a burst of them ----

# Each statement is followed by the number of its unit and by its SQLSTATE.
sub start
{
	my ($self, $connection, $settings, @forms) = @_;
	my $file = "$self->{folder}/writer_$self->{number}";
	my $script = "$settings;\n";

	$self->{units} = [ map { $self->next_unit(@forms) } 1 .. 80 ];
	foreach my $number (0 .. $#{ $self->{units} })
	{
		$script .= "$_;\n\\echo $number :SQLSTATE\n" foreach @{ $self->{units}[$number]{statements} };
	}
	open my $out, '>', "$file.sql" or die "$file.sql: $!";
	print {$out} $script;
	close $out;
	$self->{output} = "$file.out";
	$self->{pid} = fork // die "fork: $!";
	return if $self->{pid};
	open STDOUT, '>', "$file.out";
	open STDERR, '>', "$file.err";
	exec 'psql', '-XAtq', '-d', $connection, '-f', "$file.sql" or die "psql: $!";
}

# Wait until he ends; write down what he was told. Returns the SQLSTATEs of errors.
sub finish
{
	my ($self) = @_;
	my (@told, @errors);

	waitpid $self->{pid}, 0;
	open my $in, '<', $self->{output} or die "$self->{output}: $!";
	while (my $line = readline $in) { push @{ $told[$1] }, $2 if $line =~ /^(\d+) (\w{5})$/; }
	close $in;
	$self->{in_doubt} = undef;
	foreach my $number (0 .. $#{ $self->{units} })
	{
		my $unit = $self->{units}[$number];
		my @codes = @{ $told[$number] // [] };
		my @failed = grep { $_ ne '00000' } @codes;

		push @errors, @failed;
		if (@codes < @{ $unit->{statements} })
		{
			$self->{in_doubt} = $unit->{effect};
			last;
		}
		$unit->{effect}->($self->{rows}) unless @failed;
		$self->{writes} += !@failed;
	}
	return @errors;
}

sub as_text { my ($rows) = @_; return join ' ', map { "$_=$rows->{$_}" } sort { $a <=> $b } keys %$rows; }

# Are these the rows? The unit in doubt is in the book from now on if it is in the table.
sub problem
{
	my ($self, $found) = @_;
	my $before = as_text($self->{rows});
	my $doubt = delete $self->{in_doubt};

	return if as_text($found) eq $before;
	$doubt->($self->{rows}) if $doubt;
	return if as_text($found) eq as_text($self->{rows});
	return "writer $self->{number} has\n" . as_text($found) . "\nand was told\n$before" . ($doubt ? "\nor\n" . as_text($self->{rows}) : '');
}

1;
