# Whatever is written in whichever form, through a table's whole life of migrations,
# reads in every form as a plain model says.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use Test::More;

use MigrationMaker;
use ModelTest;
use PsqlPipe;

my ($node, $steps) = start_server(4000);

# ---- a table's life ----

sub begin_life
{
	my ($name) = @_;
	return { name => $name, table => table_of($name), model => new_model(),
		maker => MigrationMaker->new(table => $name),
		psql => PsqlPipe->new($node->connstr('postgres')), waiting => [] };
}

# Expand one that was rolled back, or a new one.
sub expand
{
	my ($life) = @_;
	my $migration = chance(0.7) ? pop @{ $life->{waiting} } : undef;

	if (!$migration)
	{
		return if @{ $life->{waiting} };
		$migration = $life->{maker}->next_migration($life->{model});
		must($life->{psql}, $life->{maker}->definition($migration));
	}
	must($life->{psql}, 'SELECT migrate.expand(' . quoted($migration->{name}) . ')');
	$life->{model}->expand($migration);
	$migration->{done}->();
	count_done('expanded');
	return;
}

# The newest goes first. What was mended in place stays so where it is stored.
sub rollback
{
	my ($life, $traffic) = @_;
	my $migration = $life->{model}{live}[-1] or return;
	my @columns = map { $_->[0] } @{ $migration->{add} };

	return if $migration->{complete} && chance(0.7);
	must($life->{psql}, $_) foreach $traffic->forget_columns(@columns);
	must($life->{psql}, 'SELECT migrate.rollback(' . quoted($migration->{name}) . ', discard => true)');
	$life->{model}->rollback($migration);
	$migration->{undone}->();
	$migration->{complete} = 0;
	push @{ $life->{waiting} }, $migration;
	take_notes($life) if $migration->{in_place};
	count_done('rolled back');
	return;
}

sub take_notes
{
	my ($life) = @_;
	my $rows = $life->{model}{rows};

	foreach my $line (must($life->{psql}, "SELECT id, note FROM $life->{name}"))
	{
		my ($id, $note) = split /\|/, $line, 2;
		$note = undef if $note eq '\N';
		give_up("note of row $id: $line") unless MigrationModel::same($rows->{$id}{note}, defined $note ? lc $note : undef);
		$rows->{$id} = { %{ $rows->{$id} }, note => $note };
	}
	return;
}

sub complete
{
	my ($life) = @_;
	must($life->{psql}, "CALL migrate.run('$life->{name}')");
	my @left = must($life->{psql}, 'SELECT name FROM migrate.status WHERE relation::text = '
		  . quoted($life->{name}) . " AND state = 'expanded'");
	give_up("not complete: @left") if @left;
	$_->{complete} = 1 foreach @{ $life->{model}{live} };
	count_done('completed');
	return;
}

sub contract
{
	my ($life, $traffic) = @_;
	my $model = $life->{model};
	my $migration = pick(grep { $_->{complete} } @{ $model->{live} }) or return;

	# What another one uses must stay, and one that is waiting may want it.
	if ($model->users_of($migration, @{ $migration->{remove} }))
	{
		my ($lines, $error) = $life->{psql}->query('SELECT migrate.contract(' . quoted($migration->{name}) . ')');
		give_up("contract of $migration->{name} should be refused: " . ($error // 'not'))
		  unless ($error // '') =~ /55000/;
		return;
	}
	return if @{ $life->{waiting} };
	must($life->{psql}, $_) foreach $traffic->forget_columns(@{ $migration->{remove} });
	must($life->{psql}, 'SELECT migrate.contract(' . quoted($migration->{name}) . ", '10 s')");
	$model->contract($migration);
	count_done('contracted');
	return;
}

# Names that were joined again and again would be all that the test is about.
sub delete_giants
{
	my ($life) = @_;
	my @giants = grep { grep { defined && length > 6000 } values %$_ } $life->{model}->rows;

	return unless @giants;
	must($life->{psql}, "DELETE FROM $life->{name} WHERE id IN (" . join(', ', map { $_->{id} } @giants) . ')');
	$life->{model}->delete($_) foreach @giants;
	return;
}

sub change_state
{
	my ($life, $traffic) = @_;
	delete_giants($life);
	my $live = @{ $life->{model}{live} };
	my $draw = rand();

	if ($draw < 0.35 && $live < 5 || !$live) { expand($life); }
	elsif ($draw < 0.65) { must($life->{psql}, "CALL migrate.run('$life->{name}', max_rows => " . (1 + int(rand(20))) . ')'); }
	elsif ($draw < 0.78) { rollback($life, $traffic); }
	elsif ($draw < 0.88) { complete($life); }
	else { contract($life, $traffic); }
	execute($life->{psql}, $life->{model}, $traffic->read_all);
	return;
}

# Several statements of which some or all are taken back.
sub transaction
{
	my ($life, $traffic) = @_;
	my $before = $life->{model}->snapshot;
	my %prepared = %{ $traffic->{prepared} };

	must($life->{psql}, 'BEGIN' . pick('', ' ISOLATION LEVEL REPEATABLE READ', ' ISOLATION LEVEL SERIALIZABLE'));
	foreach (1 .. 1 + int(rand(4)))
	{
		my $saved = $life->{model}->snapshot;
		set_trigger($life, $traffic);
		my $statement = $traffic->next_statement;
		if ($statement->{sql} =~ /^(BEGIN|PREPARE)/)
		{
			$traffic->{prepared} = {%prepared};
			next;
		}
		must($life->{psql}, 'SAVEPOINT s');
		if (!execute($life->{psql}, $life->{model}, $statement) || chance(0.3))
		{
			must($life->{psql}, 'ROLLBACK TO s');
			$life->{model}->restore($saved);
		}
	}
	if (chance(0.5)) { must($life->{psql}, 'COMMIT'); }
	else
	{
		must($life->{psql}, 'ROLLBACK');
		$life->{model}->restore($before);
	}
	return;
}

sub set_trigger
{
	my ($life, $traffic) = @_;
	must($life->{psql}, $traffic->next_trigger) if $life->{table}{has_trigger};
	return;
}

sub one_client
{
	my ($name) = @_;
	my $life = begin_life($name);
	my $traffic = new_traffic($name, $life->{model}, 0, 60);

	foreach my $step (1 .. $steps)
	{
		set_trigger($life, $traffic);
		if (chance(0.04)) { change_state($life, $traffic); }
		elsif (chance(0.05)) { transaction($life, $traffic); }
		else { execute($life->{psql}, $life->{model}, $traffic->next_statement); }
		execute($life->{psql}, $life->{model}, $traffic->read_all) if $step % 5 == 0;
	}
	complete($life) if @{ $life->{model}{live} };
	execute($life->{psql}, $life->{model}, $traffic->read_all);
	$life->{psql}->close;
	pass("$name: reads in every form are as the model says");
	return;
}

one_client($_) foreach qw(plain parted triggered);

note(count_done());
$node->stop;
done_testing();
