# A table's life as a list of steps: it can be lived again, and cut down to the
# steps that matter.
#
# Each life has a database of its own. A step is a hash:
#	sql			what is sent
#	code		does the same to the model, and returns the rows expected as lines;
#				undef: they are not looked at
#	then		what to do with the lines that came: the text of a problem, or undef
#	session		who sends it: 'client' (the default), or 'reader', who keeps an old snapshot
#	do			in place of all these: code that takes the life
#	unit		steps of one unit are left out together
#
# Whatever a step needs to know it asks the model when it is played, for a step
# before it may have been left out.
package TableLife;

use strict;
use warnings;

use ModelTest;
use MigrationMaker;
use PsqlPipe;

# node, name, table (as of ModelTest::table_of), model
sub new
{
	my ($class, %args) = @_;
	my $self = bless { steps => [], unit => 0, born => $args{model}->snapshot, %args }, $class;

	$self->{database} = "life_$args{name}";
	$self->begin;
	return $self;
}

sub begin
{
	my ($self) = @_;

	$self->{model}->restore($self->{born});
	$self->{model}{trigger} = undef;
	$self->{saved} = [];
	$self->{away} = {};
	$self->{connection} = new_database($self->{database});
	must($self->client, $self->{table}{sql});
	return;
}

sub client { my ($self) = @_; return $self->{sessions}{client} //= PsqlPipe->new($self->{connection}); }

sub disconnect
{
	my ($self) = @_;
	$_->close foreach values %{ $self->{sessions} };
	$self->{sessions} = {};
	return;
}

sub end
{
	my ($self) = @_;
	$self->disconnect;
	$self->{node}->safe_psql('postgres', "DROP DATABASE $self->{database} WITH (FORCE)");
	return;
}

# ---- playing ----

sub play
{
	my ($self, $step) = @_;
	my $session = $step->{session} // 'client';

	return $step->{do}->($self) if $step->{do};
	$self->{sessions}{$session} //= PsqlPipe->new($self->{connection});
	my $expected = apply($self->{model}, $step);
	my ($lines, $error) = $self->{sessions}{$session}->query($step->{sql});
	my $problem = problem_of($step->{sql}, $expected, $lines, $error);
	$self->{failed} = defined $expected->{code};
	return $problem if $problem || !$step->{then} || defined $error;
	my $text = $step->{then}->($lines);
	return defined $text ? { kind => 'wrong state', text => "$step->{sql}\n$text" } : undef;
}

# Steps that start while one is held together are of its unit.
sub together
{
	my ($self, $code) = @_;
	$self->{unit}++ unless $self->{holding}++;
	$code->();
	$self->{holding}--;
	return;
}

# Play a step; does the model succeed? If the server disagrees, that was all.
sub step
{
	my ($self, $step) = @_;
	$self->{unit}++ unless $self->{holding};
	$step->{unit} = $self->{unit};
	push @{ $self->{steps} }, $step;
	my $problem = $self->play($step) or return !$self->{failed};
	$self->show($problem);
	return;
}

# ---- cutting down ----

sub lived_again
{
	my ($self, $steps, $kind) = @_;

	$self->disconnect;
	$self->begin;
	foreach my $n (0 .. $#$steps)
	{
		my $problem = eval { $self->play($steps->[$n]) };
		return if $@;
		next unless $problem;
		return $problem->{kind} eq $kind ? $n : undef;
	}
	return;
}

# Leave out runs of units, longer ones first, as long as the problem is still there.
sub cut_down
{
	my ($self, $kind, $ends_at, @units) = @_;

	for (my $size = int(@units / 2) || 1; $size >= 1; $size = int($size / 2))
	{
		for (my $at = 0; $at + $size < @units;)
		{
			my @rest = @units;
			splice @rest, $at, $size;
			my @steps = map { @$_ } @rest;
			return @units if time > $ends_at;
			if (defined(my $last = $self->lived_again(\@steps, $kind)))
			{
				my $count = 0;
				@units = grep { my $begins = $count; $count += @$_; $begins <= $last } @rest;
			}
			else { $at += $size; }
		}
	}
	return @units;
}

sub reduced
{
	my ($self, $kind) = @_;
	my $ends_at = time + ($ENV{MIGRATE_MODEL_REDUCE} // 120);
	my (%units, @order);

	foreach my $step (@{ $self->{steps} })
	{
		push @order, $units{ $step->{unit} } = [] unless $units{ $step->{unit} };
		push @{ $units{ $step->{unit} } }, $step;
	}
	return unless defined $self->lived_again($self->{steps}, $kind);
	my @units = $self->cut_down($kind, $ends_at, @order);
	@units = $self->cut_down($kind, $ends_at, map { [$_] } map { @$_ } @units);
	return map { @$_ } $self->cut_down($kind, $ends_at, @units);
}

sub as_script
{
	my ($self, @steps) = @_;
	my @lines = ('CREATE EXTENSION migrate;', MigrationMaker::functions(), $self->{table}{sql});

	foreach my $step (@steps)
	{
		push @lines, "-- $step->{session}:" if $step->{session};
		push @lines, $step->{sql} =~ /\\(?:\.|gexec)$/ ? $step->{sql} : "$step->{sql};" if $step->{sql};
		push @lines, '-- an immediate shutdown and a start' if $step->{do};
	}
	return join "\n", @lines;
}

sub show
{
	my ($self, $problem) = @_;
	my $count = @{ $self->{steps} };
	my @steps = $self->reduced($problem->{kind});

	give_up("$problem->{text}\n" . (@steps
		? "reduced from $count steps to " . @steps . ":\n\n" . $self->as_script(@steps)
		: "The same $count steps again do not show it. They were:\n\n" . $self->as_script(@{ $self->{steps} })));
	return;
}

1;
