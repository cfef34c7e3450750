# Eight live migrations on one table, one of each kind, and rows stored in each of
# the nine versions: whatever column of whatever form a client writes in whichever
# row, all forms of the row are as the model says; and so are they when read.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Utils;
use Test::More;

use MigrationMaker;
use ModelTest;
use PsqlPipe;

my ($node) = start_server(0);

# ---- the chain ----

sub on { my ($code) = @_; return sub { return (grep { !defined } @_) ? undef : $code->(@_); }; }
sub assign_ { return MigrationMaker::assignment(@_); }
sub integer { return MigrationMaker::integer(substr($_[0], 1)); }
sub part_of { my ($text, $by, $n) = @_; return MigrationMaker::split_part($text, $by, $n); }

my $retype_up = assign_('i1_new', q{'c' || %s}, on(sub { "c$_[0]" }), 'i1');
my $retype_down = assign_('i1', 'substr(%s, 2)::integer', on(\&integer), 'i1_new');
$retype_up->{sql} = q{i1 = 'c' || old.i1};
$retype_down->{sql} = 'i1 = substr(new.i1, 2)::integer';

my @chain = (
	{ name => 'times', add => [ [ 'i1', 'i' ] ], remove => ['i0'],
		up => [ assign_('i1', '%s * 10', on(sub { $_[0] * 10 }), 'i0') ],
		down => [ assign_('i0', '%s / 10', on(sub { int($_[0] / 10) }), 'i1') ] },
	{ name => 'split', add => [ [ 's1', 't' ], [ 's2', 't' ] ], remove => ['s0'],
		up => [ assign_('s1', q{split_part(%s, ' ', 1)}, on(sub { part_of($_[0], ' ', 1) }), 's0'),
			assign_('s2', q{split_part(%s, ' ', 2)}, on(sub { part_of($_[0], ' ', 2) }), 's0') ],
		down => [ assign_('s0', q{%s || ' ' || %s}, on(sub { "$_[0] $_[1]" }), 's1', 's2') ] },
	{ name => 'retype', add => [ [ 'i1_new', 'x' ] ], remove => ['i1'], rename => { i1_new => 'i1' },
		up => [$retype_up], down => [$retype_down] },
	{ name => 'mend', add => [], remove => [], down => [],
		up => [ assign_('note', 'lower(%s)', on(sub { lc $_[0] }), 'note') ] },
	{ name => 'needed', add => [ [ 's3', 't' ] ], remove => [ 's1', 's2' ],
		needed => { sql => q{s1 <> ''}, reads => ['s1'], code => sub { defined $_[0]{s1} && $_[0]{s1} ne '' } },
		up => [ assign_('s3', q{%s || ', ' || %s}, on(sub { "$_[0], $_[1]" }), 's2', 's1') ],
		down => [ assign_('s2', q{split_part(%s, ', ', 1)}, on(sub { part_of($_[0], ', ', 1) }), 's3'),
			assign_('s1', q{split_part(%s, ', ', 2)}, on(sub { part_of($_[0], ', ', 2) }), 's3') ] },
	{ name => 'derive and mend', add => [ [ 'd1', 't' ] ], remove => [], down => [],
		up => [ assign_('d1', q{coalesce(%s, '-') || '/' || coalesce(%s, '-')},
				sub { ($_[0] // '-') . '/' . ($_[1] // '-') }, 'note', 'i1_new'),
			assign_('s3', q{coalesce(%s, %s)}, sub { $_[0] // $_[1] }, 's3', 'note') ] },
	{ name => 'constrained', add => [ [ 'i2', 'i' ] ], remove => ['i1_new'], defaults => { i2 => 8 },
		sql_of => { i2 => ' NOT NULL DEFAULT 8 CHECK (i2 > -1000)' },
		checks => [ { column => 'i2', code => sub { defined $_[0] } },
			{ column => 'i2', code => sub { !defined $_[0] || $_[0] > -1000 } } ],
		up => [ assign_('i2', 'coalesce(substr(%s, 2)::integer, 0) + 1',
			sub { (defined $_[0] ? integer($_[0]) : 0) + 1 }, 'i1_new') ],
		down => [ assign_('i1_new', q{'c' || (%s - 1)}, on(sub { 'c' . ($_[0] - 1) }), 'i2') ] },
	{ name => 'mend the oldest', add => [], remove => [], down => [],
		needed => { sql => 'i2 <> 0', reads => ['i2'], code => sub { defined $_[0]{i2} && $_[0]{i2} != 0 } },
		up => [ assign_('i0', 'abs(%s)', on(sub { abs $_[0] }), 'i0') ] });

# ---- rows ----

my ($psql, $model, $traffic, $name);

# Ordinary ones, what is empty and what is missing, what needs mending.
my @kinds = (
	{ i0 => 4, s0 => 'Ann Lee', note => 'New' },
	{ i0 => -3, s0 => ' Bob', note => 'x' },
	{ s0 => undef, i0 => undef, note => undef },
	{ i0 => 0, s0 => 'Zed', note => 'OLD' });

sub add_rows
{
	my ($version) = @_;

	foreach my $n (0 .. $#kinds)
	{
		my $row = { id => $version * 10 + $n, part => $n, %{ $kinds[$n] } };
		my @columns = sort keys %$row;
		execute($psql, $model, { sql => "INSERT INTO $name (" . join(', ', @columns) . ') VALUES '
			  . $traffic->values_list(\@columns, $row), code => sub { $model->insert($row); return () } });
	}
	return;
}

sub prepare
{
	must($psql, table_of($name)->{sql});
	add_rows(1);
	foreach my $n (0 .. $#chain)
	{
		my $migration = { %{ $chain[$n] }, name => "$name $chain[$n]{name}" };
		must($psql, MigrationMaker->new(table => $name)->definition($migration));
		must($psql, "SELECT migrate.expand('$migration->{name}')");
		$model->expand($migration);
		add_rows($n + 2);
	}
	is(join(' ', must($psql, "SELECT row_version, count(*) FROM $name GROUP BY 1 ORDER BY 1")),
		join(' ', map { "$_|" . @kinds } 1 .. 9), "$name: rows in each of nine versions");
	return;
}

# ---- the matrix ----

# A statement that is taken back, so that the row stays in its version.
sub try
{
	my ($sql, $code) = @_;
	my $saved = $model->snapshot;

	execute($psql, $model, { sql => "BEGIN; $sql; ROLLBACK", code => $code });
	$model->restore($saved);
	return;
}

sub try_update
{
	my ($row, $set) = @_;
	my @columns = $traffic->all_columns;

	try("UPDATE $name SET " . join(', ', map { "$_ = " . $traffic->typed($_, $set->{$_}) } sort keys %$set)
		  . " WHERE id = $row->{id} RETURNING " . join(', ', @columns),
		sub { return TableTraffic::lines_of(\@columns, $model->update($model->{rows}{ $row->{id} }, $set)) });
	return;
}

my %samples = (i => [ 7, -25, 0, undef ], x => [ 'c5', 'cbad', undef ], t => [ 'Max Moe', 'b, a', '', undef ]);

sub samples_of { my ($column) = @_; return @{ $samples{ $model->type($column) } }; }

sub write_each_form
{
	foreach my $row ($model->rows)
	{
		foreach my $column ($model->names)
		{
			try_update($row, { $column => $_ }) foreach samples_of($column), $row->{$column};
		}
		try_update($row, { map { $_ => $row->{$_} } $model->names });
	}
	return;
}

# Two forms at once, one written back, in a sample of the rows.
sub write_two_forms
{
	my @names = $model->names;

	foreach my $row (grep { chance(0.15) } $model->rows)
	{
		foreach my $one (@names)
		{
			my $other = pick(grep { $_ ne $one } @names);
			try_update($row, { $one => pick(samples_of($one)), $other => pick(samples_of($other), $row->{$other}) });
			try_update($row, { %$row{@names}, $one => pick(samples_of($one)) });
		}
	}
	return;
}

sub insert_each_form
{
	my @columns = $traffic->all_columns;
	my @sets = map { my $column = $_; map { +{ $column => $_ } } samples_of($column) } $model->names;

	foreach my $set ({}, @sets)
	{
		my $row = { id => 5, part => 2, %$set };
		my @named = sort keys %$row;
		try("INSERT INTO $name (" . join(', ', @named) . ') VALUES ' . $traffic->values_list(\@named, $row)
			  . ' RETURNING ' . join(', ', @columns),
			sub { return TableTraffic::lines_of(\@columns, $model->insert($row)) });
	}
	return;
}

# Rows move between partitions in whatever version they are.
sub move_rows
{
	my @columns = $traffic->all_columns;

	foreach my $row ($model->rows)
	{
		my $part = ($row->{part} + 1) % 4;
		try("UPDATE $name SET part = $part WHERE id = $row->{id} RETURNING " . join(', ', @columns),
			sub { return TableTraffic::lines_of(\@columns, $model->update($model->{rows}{ $row->{id} }, { part => $part })) });
	}
	return;
}

sub read_each_form
{
	execute($psql, $model, $traffic->read_all);
	foreach my $column ($traffic->all_columns)
	{
		execute($psql, $model, { sql => "SELECT id, $column FROM $name",
			code => sub { return TableTraffic::lines_of([ 'id', $column ], $model->rows) } });
		execute($psql, $model, { sql => "SELECT count(*) FROM $name WHERE $column IS NULL",
			code => sub { return scalar grep { !defined $_->{$column} } $model->rows } });
	}
	return;
}

foreach (qw(generated parted))
{
	$name = $_;
	$psql = PsqlPipe->new($node->connstr('postgres'));
	$model = new_model($name);
	$traffic = new_traffic($name, $model, 0, 100);
	prepare();
	read_each_form();
	write_each_form() if $name eq 'generated' || $ENV{MIGRATE_MODEL_MINUTES};
	write_two_forms();
	insert_each_form();
	move_rows() if $name eq 'parted';
	read_each_form();
	must($psql, "SET client_min_messages = warning; CALL migrate.run('$name')");
	read_each_form();
	$psql->close;
	pass("$name: each form, read and written in each version, is as the model says");
}

note(count_done());
$node->stop;
done_testing();
