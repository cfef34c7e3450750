# Table.pm: the tables that are converted. A table of each shape and size is built once, in
# a database of its own, of which each measurement gets a copy.

package Table;

use strict;
use warnings;

# About 200 bytes in a row, with a primary key and an index on text; and what of that is
# otherwise: "part" is of the rows that are asked for, "step" one of how many rows is bad.
my %shape = (
	ff100 => { what => 'rows of 200 bytes, fillfactor 100' },
	ff90 => { what => 'rows of 200 bytes, fillfactor 90', fillfactor => 90 },
	narrow => { what => 'rows of 90 bytes', payload => 'NULL' },
	bad => { what => 'rows of 200 bytes, of which 1 % fail', part => 0.25, step => 100 },
	toast => {
		what => 'rows with 2.9 kB out of line', part => 0.05,
		payload => q((SELECT string_agg(md5((i * 100 + g)::text), '') FROM generate_series(1, 90) g))
	});

sub names { return qw(ff100 ff90 toast narrow bad) }
sub what { my ($shape) = @_; return _shape($shape)->{what} }
sub bad_step { my ($shape) = @_; return _shape($shape)->{step} }
sub part { my ($shape) = @_; return _shape($shape)->{part} || 1 }
sub _shape { my ($name) = @_; return $shape{$name} || die "there is no shape \"$name\"\n" }

sub template { my ($shape, $rows) = @_; return "${shape}_$rows" }

sub build
{
	my ($server, $shape, $rows) = @_;
	my $fillfactor = _shape($shape)->{fillfactor} || 100;
	my $payload = _shape($shape)->{payload} || 'repeat(md5(i::text), 4)';
	my $database = template($shape, $rows);
	$server->sql('postgres', "CREATE DATABASE $database");
	$server->sql($database, <<"SQL");
CREATE EXTENSION migrate;
CREATE TABLE t (id bigint, name text, val integer, created timestamptz, payload text)
	WITH (fillfactor = $fillfactor);
ALTER TABLE t ALTER payload SET STORAGE EXTERNAL;
INSERT INTO t SELECT i, md5(i::text), i, now(), $payload FROM generate_series(1, $rows) i;
ALTER TABLE t ADD PRIMARY KEY (id);
CREATE INDEX t_name ON t (name);
VACUUM (FREEZE, ANALYZE) t;
SQL
	return;
}

sub drop
{
	my ($server, $shape, $rows) = @_;
	$server->sql('postgres', 'DROP DATABASE ' . template($shape, $rows));
	return;
}

# Copy it to the database "bench", where an earlier copy makes room.
sub copy
{
	my ($server, $shape, $rows) = @_;
	my $template = template($shape, $rows);
	remove_copy($server);
	$server->sql('postgres', "CREATE DATABASE bench TEMPLATE $template STRATEGY file_copy");
	return 'bench';
}

sub remove_copy
{
	my ($server) = @_;
	$server->sql('postgres', 'SET client_min_messages = warning; DROP DATABASE IF EXISTS bench WITH (FORCE)');
	return;
}

# Have the shared buffers hold as much as they can of table and indexes (a sequential
# scan of a big table goes by them), and the next change of each page log all of it.
sub warm_up
{
	my ($server, $database) = @_;
	$server->sql($database, <<'SQL');
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT count(id) FROM t WHERE id > 0;
SELECT count(name) FROM t WHERE name > '';
SET enable_indexonlyscan = off;
SELECT count(val) FROM t WHERE id > 0;
CHECKPOINT;
SQL
	return;
}

# In bytes.
sub sizes
{
	my ($server, $database) = @_;
	my %size;
	@size{qw(heap pk name toast)} = split /\|/, $server->sql($database, <<'SQL');
SELECT pg_relation_size('t'), pg_relation_size('t_pkey'), pg_relation_size('t_name'),
	pg_total_relation_size(reltoastrelid) FROM pg_class WHERE oid = 't'::regclass
SQL
	return %size;
}

1;
