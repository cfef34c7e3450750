# Contender.pm: the ways to convert the table t, so that name_norm is upper(name) in
# each row: by this extension, by what one would do without it, and by a rewrite.
#
# Each has a title; "before", what is done before the clock runs; "work", which is
# measured: SQL, or a function of server and database; "settings" of the server
# meanwhile; and "stale", the condition of rows that it would have left behind.

package Contender;

use strict;
use warnings;

use Time::HiRes qw(time);

use Table;

my $ROW_VERSION = 'ALTER TABLE t ADD row_version integer NOT NULL DEFAULT 1, ADD name_norm text;';
my $DEFINE = q(SELECT migrate.define('m', 't', add => 'name_norm text', up => 'name_norm = upper(name)',
	down => 'name = lower(name_norm)'););

# It divides by zero where the shape "bad" has its bad rows.
my $DEFINE_FAILING = q(SELECT migrate.define('m', 't', add => 'name_norm text',
	up => $up$name_norm = upper(name) || substr('', 1, 0 * (1 / (val % 100)))$up$););

# The same without any.
(my $define_sound = $DEFINE_FAILING) =~ s/val % 100/val % 100 + 1/;

chomp(my $cores = `getconf _NPROCESSORS_ONLN`);
my $WORKERS = $ENV{WORKERS} || $cores;

sub workers { return $WORKERS }

# The triggers of pgroll: one for each direction, both for each row that is written.
my $UP = <<'SQL';
	IF path <> 'new' AND stale THEN
		NEW.name_norm := upper(name);
		NEW.stale := false;
	END IF;
SQL
my $DOWN = <<'SQL';
	IF path = 'new' THEN
		NEW.name := lower(name_norm);
	END IF;
SQL
my $TWO_TRIGGERS = 'ALTER TABLE t ADD name_norm text; ALTER TABLE t ADD stale boolean NOT NULL DEFAULT true;'
  . _trigger('up', $UP) . _trigger('down', $DOWN);

sub _trigger
{
	my ($name, $body) = @_;
	return <<"SQL";
CREATE FUNCTION $name() RETURNS trigger LANGUAGE plpgsql AS \$\$
DECLARE
	id t.id%TYPE := NEW.id;
	name t.name%TYPE := NEW.name;
	val t.val%TYPE := NEW.val;
	created t.created%TYPE := NEW.created;
	payload t.payload%TYPE := NEW.payload;
	name_norm t.name_norm%TYPE := NEW.name_norm;
	stale t.stale%TYPE := NEW.stale;
	path text;
BEGIN
	SELECT current_setting('search_path') INTO path;
$body	RETURN NEW;
END \$\$;
CREATE TRIGGER $name BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION $name();
SQL
}

# A batch of 1000 that begins after a key.
sub _keyset_batch
{
	my ($after) = @_;
	return <<"SQL";
WITH batch AS (
	SELECT id FROM t WHERE stale $after ORDER BY id LIMIT 1000 FOR NO KEY UPDATE
), done AS (
	UPDATE t SET stale = true FROM batch WHERE t.id = batch.id RETURNING t.id
) SELECT max(id)
SQL
}

# As pgroll does it: a client that sends the last key along as a literal.
sub _keyset_by_client
{
	my ($server, $database) = @_;
	my $session = $server->session($database);
	my $began = time;
	my $after = '';
	while (1)
	{
		my $last = $session->sql("BEGIN;\n" . _keyset_batch($after) . "FROM done;\nCOMMIT");
		last if $last eq '';
		$after = "AND (id) > ('$last')";
	}
	my $seconds = time - $began;
	$session->close;
	return $seconds;
}

my $KEYSET_PROCEDURE = <<'SQL' . _keyset_batch('AND id > last') . <<'SQL';
CREATE PROCEDURE work() LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	last bigint := 0;
BEGIN
	LOOP
SQL
		INTO last FROM done;
		COMMIT;
		EXIT WHEN last IS NULL;
	END LOOP;
END $$;
SQL

# As GitLab does it, without its pauses: one trigger, and ranges of the key by hundreds.
my $RANGES = <<'SQL';
ALTER TABLE t ADD name_norm text;
CREATE FUNCTION sync() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.name_norm := upper(NEW.name);
	RETURN NEW;
END $$;
CREATE TRIGGER sync BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION sync();
CREATE PROCEDURE work() LANGUAGE plpgsql AS $$
DECLARE
	first bigint := 1;
	stop bigint;
BEGIN
	LOOP
		SELECT id INTO stop FROM t WHERE id >= first ORDER BY id OFFSET 100 LIMIT 1;
		UPDATE t SET name_norm = upper(name) WHERE id >= first AND (stop IS NULL OR id < stop);
		COMMIT;
		EXIT WHEN stop IS NULL;
		first := stop;
	END LOOP;
END $$;
SQL

my $BY_WORKER = q(SELECT migrate.expand('m'); SELECT migrate.wait('m'););
my $BY_REWRITE = q(ALTER TABLE t ADD row_version integer NOT NULL DEFAULT 2,
	ADD name_norm text GENERATED ALWAYS AS (upper(name)) STORED;);

my %contender = (
	run => {
		title => 'migrate: `CALL migrate.run()`',
		before => "$DEFINE SELECT migrate.expand('m');", work => q(CALL migrate.run('t');),
		stale => 'row_version <> 2', ours => 1
	},
	sound => {
		title => 'the same expression, of which no row fails',
		before => "$define_sound SELECT migrate.expand('m');", work => q(CALL migrate.run('t');),
		stale => 'row_version <> 2', ours => 1, is_sound => 1
	},
	worker => {
		title => 'migrate: background worker',
		before => $DEFINE, work => $BY_WORKER, settings => { 'migrate.autostart' => 'on' },
		stale => 'row_version <> 2', ours => 1
	},
	workers => {
		title => 'migrate: several workers on the table',
		before => $DEFINE, work => $BY_WORKER,
		settings => {
			'migrate.autostart' => 'on', 'migrate.max_workers' => $WORKERS,
			'migrate.workers_per_table' => $WORKERS
		},
		stale => 'row_version <> 2', ours => 1
	},
	giant => {
		title => 'one UPDATE, no trigger',
		before => $ROW_VERSION, work => 'UPDATE t SET name_norm = upper(name), row_version = 2;',
		stale => 'row_version <> 2'
	},
	keyset => {
		title => 'keyset batches by a client, two PL/pgSQL triggers',
		before => $TWO_TRIGGERS, work => \&_keyset_by_client, stale => 'stale'
	},
	keyset_procedure => {
		title => 'keyset batches in a procedure, two PL/pgSQL triggers',
		before => $TWO_TRIGGERS . $KEYSET_PROCEDURE, work => 'CALL work();', stale => 'stale'
	},
	range => {
		title => 'ranges of 100 keys in a procedure, one PL/pgSQL trigger',
		before => $RANGES, work => 'CALL work();', stale => 'false'
	},
	rewrite => {
		title => 'ALTER TABLE with a rewrite',
		before => '', work => $BY_REWRITE, stale => 'row_version <> 2'
	},
	rewrite_single => {
		title => 'the same, in one process',
		before => '', work => "SET max_parallel_maintenance_workers = 0; $BY_REWRITE", stale => 'row_version <> 2'
	});

sub names { return qw(run worker workers giant keyset keyset_procedure range rewrite rewrite_single) }
sub title { my ($name) = @_; return _contender($name)->{title} }
sub _contender { my ($name) = @_; return $contender{$name} || die "there is no contender \"$name\"\n" }

# Those of a list that the caller's CONTENDERS lets in.
sub chosen
{
	my (@names) = @_;
	return @names unless $ENV{CONTENDERS};
	my %wanted = map { $_ => 1 } split ' ', $ENV{CONTENDERS};
	_contender($_) foreach keys %wanted;
	return grep { $wanted{$_} } @names;
}

# That write every row through a PL/pgSQL trigger.
sub is_slow { return $_[0] =~ /^(keyset|range)/ }

# Of rows that fail the others know nothing.
sub names_for_bad_rows { return qw(run sound) }

# A fresh copy of the table, with all done that comes before the work.
sub prepare
{
	my ($server, $shape, $rows, $name) = @_;
	my $contender = _contender($name);
	my $database = Table::copy($server, $shape, $rows);
	my $before = $contender->{before};
	$before =~ s/\Q$DEFINE\E/$DEFINE_FAILING/ if Table::bad_step($shape);
	$server->sql($database, $before) if $before;
	$server->set(%{ $contender->{settings} }) if $contender->{settings};
	return $database;
}

# When it is done: dies unless each row is as it should be.
sub finish
{
	my ($server, $shape, $rows, $name) = @_;
	my $settings = _contender($name)->{settings};
	$server->reset_settings(keys %$settings) if $settings;
	_verify($server, 'bench', $shape, $rows, $name);
	Table::remove_copy($server);
	return;
}

# Convert the table of a fresh copy, and return how it went: seconds, bytes of WAL,
# sizes before and after.
sub convert
{
	my ($server, $shape, $rows, $name) = @_;
	my $database = prepare($server, $shape, $rows, $name);
	Table::warm_up($server, $database);

	my %before = Table::sizes($server, $database);
	my $lsn = $server->sql($database, 'SELECT pg_current_wal_insert_lsn()');
	my $work = _contender($name)->{work};
	my $seconds = ref $work ? $work->($server, $database) : $server->seconds($database, $work);
	my $wal = $server->sql($database, "SELECT pg_current_wal_insert_lsn() - '$lsn'::pg_lsn");
	my %after = Table::sizes($server, $database);

	finish($server, $shape, $rows, $name);
	return (rows => $rows, seconds => $seconds, rate => $rows / $seconds, wal => $wal,
		map { ("${_}_before" => $before{$_}, "${_}_after" => $after{$_}) } keys %after);
}

sub _verify
{
	my ($server, $database, $shape, $rows, $name) = @_;
	my $step = !$contender{$name}{is_sound} && Table::bad_step($shape) || 0;
	my $bad = $step ? "val % $step = 0" : 'false';
	my $failing = $step ? int($rows / $step) : 0;
	my ($all, $wrong) = split /\|/, $server->sql($database, <<"SQL");
SELECT count(*), count(*) FILTER (WHERE NOT ($bad)
	AND ($contender{$name}{stale} OR CASE WHEN NOT ($bad) THEN name_norm IS DISTINCT FROM upper(name) END)) FROM t
SQL
	die "$name left $wrong of $all rows wrong, where there should be none of $rows\n" if $wrong || $all != $rows;
	return unless $contender{$name}{ours};
	my ($state, $failures) =
	  split /\|/, $server->sql($database, q(SELECT state, failures FROM migrate.status WHERE name = 'm'));
	die "$name ended with the migration $state, and $failures failures\n"
	  if $failures != $failing || $state ne ($failing ? 'expanded' : 'complete');
	return;
}

1;
