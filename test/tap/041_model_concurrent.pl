# Several clients at once, each on rows of its own, while rows are converted in the
# background and migrations come and go under them: what each of them wrote and
# read is as a plain model says.
#
# A change of state runs while the clients go on, so a statement may come before
# or after it; the clients then keep to statements that mean the same both ways.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use IO::Select;
use PostgreSQL::Test::Utils;
use Test::More;

use MigrationMaker;
use ModelTest;
use PsqlPipe;

my ($node, $steps) = start_server(1000);

# ---- clients ----

sub new_client
{
	my ($name, $number) = @_;
	my $model = new_model($name);
	my $traffic = new_traffic($name, $model, 100 * $number, 100 * $number + 50);

	$traffic->{shared} = 1;
	return { model => $model, traffic => $traffic, psql => PsqlPipe->new($node->connstr('postgres')) };
}

sub start_statement
{
	my ($client) = @_;
	my $statement = $client->{count}++ % 6 == 5 ? $client->{traffic}->read_all
	  : $client->{traffic}->next_statement;

	record($statement->{sql});
	$client->{sql} = $statement->{sql};
	$client->{expected} = apply($client->{model}, $statement);
	$client->{psql}->send($statement->{sql});
	return;
}

sub end_statement
{
	my ($client) = @_;
	my $sql = delete $client->{sql} or return;
	judge($sql, $client->{expected}, $client->{psql}->receive);
	return;
}

# ---- a table and all who use it ----

sub begin
{
	my ($name) = @_;
	$node->safe_psql('postgres', table_of($name)->{sql});
	return { name => $name, maker => MigrationMaker->new(table => $name, plain => 1), waiting => [], live => [],
		clients => [ map { new_client($name, $_) } 0 .. 2 ],
		admin => PsqlPipe->new($node->connstr('postgres')),
		backfill => PsqlPipe->new($node->connstr('postgres')) };
}

sub models { my ($life) = @_; return map { $_->{model} } @{ $life->{clients} }; }
sub traffics { my ($life) = @_; return map { $_->{traffic} } @{ $life->{clients} }; }

# Wait until nobody is at work.
sub drain
{
	my ($life) = @_;
	end_statement($_) foreach @{ $life->{clients} };
	end_backfill($life) if $life->{converting};
	return;
}

sub start_backfill
{
	my ($life) = @_;
	$life->{converting} = "CALL migrate.run('$life->{name}', max_rows => " . (1 + int(rand(15))) . ')';
	$life->{backfill}->send($life->{converting});
	return;
}

# It may find the table locked, and then has done nothing.
sub end_backfill
{
	my ($life) = @_;
	my (undef, $error) = $life->{backfill}->receive;

	give_up("$life->{converting}\n$error") if defined $error && $error !~ /55P03/;
	delete $life->{converting};
	return;
}

# Run statements of the administrator while everybody goes on.
sub meanwhile
{
	my ($life, @sql) = @_;
	my $admin = $life->{admin};
	my %owner = map { $_->{psql}->handle => $_ } @{ $life->{clients} };
	my $done = 0;
	my $select = IO::Select->new(map { $_->handle } $admin, $life->{backfill},
		map { $_->{psql} } @{ $life->{clients} });

	record($sql[0]);
	$admin->send($sql[0]);
	while (!$done)
	{
		foreach my $client (@{ $life->{clients} }) { start_statement($client) unless $client->{sql}; }
		start_backfill($life) if @{ $life->{live} } && !$life->{converting};
		foreach my $handle ($select->can_read(60))
		{
			if ($handle == $life->{backfill}->handle) { end_backfill($life); }
			elsif ($handle != $admin->handle) { end_statement($owner{$handle}); }
			else
			{
				my (undef, $error) = $admin->receive;
				give_up("$sql[0]\n$error") if defined $error;
				shift @sql;
				$done = !@sql;
				$admin->send($sql[0]) unless $done;
			}
		}
	}
	return;
}

# Change the state, and tell the models when it is done.
sub change
{
	my ($life, $hidden, $named, $sql, $tell) = @_;

	drain($life);
	foreach my $client (@{ $life->{clients} })
	{
		must($client->{psql}, $_) foreach $client->{traffic}->forget_columns(@$hidden);
		$client->{traffic}->restrict($hidden, $named);
	}
	meanwhile($life, ("SELECT pg_sleep(0.02)", $sql));
	$tell->($_) foreach models($life);
	$_->unrestrict foreach traffics($life);
	return;
}

# ---- changes of state ----

sub columns_of { return map { $_->[0] } @{ $_[0]{add} }; }

sub expand
{
	my ($life) = @_;
	my $migration = pop @{ $life->{waiting} };

	if (!$migration)
	{
		drain($life);
		$migration = $life->{maker}->next_migration(models($life));
		must($life->{admin}, $life->{maker}->definition($migration));
	}
	change($life, $migration->{mended}, [],
		'SELECT migrate.expand(' . quoted($migration->{name}) . ')',
		sub { $_[0]->expand($migration) });
	$migration->{done}->();
	push @{ $life->{live} }, $migration;
	count_done('expanded');
	return;
}

# What was mended in place cannot be told once it is rolled back.
sub rollback
{
	my ($life) = @_;
	my $migration = $life->{live}[-1];

	return if !$migration || @{ $migration->{mended} };
	change($life, [ columns_of($migration) ], [],
		'SELECT migrate.rollback(' . quoted($migration->{name}) . ', discard => true)',
		sub { $_[0]->rollback($migration) });
	$migration->{undone}->();
	pop @{ $life->{live} };
	push @{ $life->{waiting} }, $migration;
	count_done('rolled back');
	return;
}

sub complete
{
	my ($life) = @_;
	my $left = "SELECT count(*) FROM migrate.status WHERE relation::text = '$life->{name}' AND state = 'expanded'";

	meanwhile($life, "CALL migrate.run('$life->{name}')");
	drain($life);
	must($life->{admin}, "CALL migrate.run('$life->{name}')");
	my ($count) = must($life->{admin}, $left);
	give_up("$count migrations are not complete") if $count;
	count_done('completed');
	return;
}

# The oldest, which nothing else uses; what derives or mends ends while all wait.
sub contract
{
	my ($life) = @_;
	my $migration = $life->{live}[0] or return;

	return if @{ $life->{waiting} } || (models($life))[0]->users_of($migration, @{ $migration->{remove} });
	complete($life);
	my $sql = 'SELECT migrate.contract(' . quoted($migration->{name}) . ", '20 s', '{window,usage}')";
	if (@{ $migration->{remove} })
	{
		change($life, $migration->{remove}, [ columns_of($migration) ], $sql, sub { $_[0]->contract($migration) });
	}
	else
	{
		drain($life);
		must($life->{admin}, $sql);
		$_->contract($migration) foreach models($life);
	}
	shift @{ $life->{live} };
	count_done('contracted');
	return;
}

# Names that were joined again and again would be all that the test is about.
sub delete_giants
{
	my ($life) = @_;

	drain($life);
	foreach my $client (@{ $life->{clients} })
	{
		foreach my $row (grep { grep { defined && length > 6000 } values %$_ } $client->{model}->rows)
		{
			must($client->{psql}, "DELETE FROM $life->{name} WHERE id = $row->{id}");
			$client->{model}->delete($row);
		}
	}
	return;
}

sub several_clients
{
	my ($name) = @_;
	my $life = begin($name);
	my $end = statements() + $steps;

	while (statements() < $end)
	{
		my $draw = rand();

		delete_giants($life);
		meanwhile($life, 'SELECT pg_sleep(0.1)');
		if (!@{ $life->{live} } || $draw < 0.35 && @{ $life->{live} } < 4) { expand($life); }
		elsif ($draw < 0.5) { rollback($life); }
		elsif ($draw < 0.65) { complete($life); }
		elsif ($draw < 0.9) { contract($life); }
		else { meanwhile($life, "VACUUM FULL $name"); }
	}
	drain($life);
	foreach my $client (@{ $life->{clients} })
	{
		execute($client->{psql}, $client->{model}, $client->{traffic}->read_all);
		$client->{psql}->close;
	}
	$life->{$_}->close foreach qw(admin backfill);
	pass("$name: what each client wrote and read is as the model says");
	return;
}

several_clients($_) foreach qw(plain parted);

note(count_done());
$node->stop;
done_testing();
