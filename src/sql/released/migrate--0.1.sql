\echo Use "CREATE EXTENSION migrate" to load this file. \quit
/*
 * What migrate knows. Everything here is written by the extension's own code
 * alone, under the extension owner's rights; others may look (privileges.sql).
 *
 * Relations are held as regclass, so that a dump carries their names and a
 * pg_upgrade keeps them. Cooked expressions are stored twice: as a node tree,
 * which no later rename, search_path or overloaded function can change in
 * meaning, and as qualified text, from which the tree is made again where it
 * cannot be read (after a restore, or by another major version).
 */

DO $$
BEGIN
	IF (SELECT nspowner <> (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)
		FROM pg_catalog.pg_namespace WHERE nspname = 'migrate') THEN
		RAISE EXCEPTION 'schema "migrate" belongs to another role'
			USING ERRCODE = 'insufficient_privilege',
				  DETAIL = 'Its owner could replace what the extension keeps there.',
				  HINT = 'Drop or rename that schema first.';
	END IF;
END
$$;

-- A table under our care, from its first expand on.
CREATE TABLE migrate.managed (
	relation		regclass PRIMARY KEY,
	version_column	name NOT NULL DEFAULT 'row_version',
	version			integer NOT NULL DEFAULT 1,	-- the newest given out; never goes back
	floor			integer NOT NULL DEFAULT 1,	-- the oldest that can still be upgraded
	paused			boolean NOT NULL DEFAULT false
);

-- One that was given back: if it is managed again, its versions go on from there.
CREATE TABLE migrate.formerly_managed (
	relation		regclass PRIMARY KEY,
	version			integer NOT NULL			-- the newest given out
);

CREATE TABLE migrate.migration (
	name			text PRIMARY KEY,
	relation		regclass NOT NULL,
	state			text NOT NULL DEFAULT 'defined'
		CHECK (state IN ('defined', 'expanded', 'complete', 'contracted', 'rolled back')),
	version			integer,					-- the row version that expand gave it
	needed_from		integer NOT NULL DEFAULT 0,	-- rows below are converted whether "needed" or not
	proof			text,						-- its constraint's text, where that is not the usual
	proof_due		text,						-- what the constraint will be when deferring ends
	depends_on		text[] NOT NULL,
	add_source		text,						-- the definition, as it was given
	up_source		text,
	down_source		text,
	remove			name[] NOT NULL,
	needed_source	text,
	on_error		text NOT NULL,
	comment			text,
	search_path		text NOT NULL,				-- the definer's, for the texts above
	inputs			name[] NOT NULL,			-- Var k of its trees stands for column inputs[k]
	seq				bigint GENERATED ALWAYS AS IDENTITY,
	defined_at		timestamptz NOT NULL DEFAULT now(),
	expanded_at		timestamptz,
	completed_at	timestamptz,
	completed_xid	xid8,						-- a snapshot that sees it sees every conversion
	contracted_at	timestamptz,
	deprecated_at	timestamptz,				-- while set, uses of what it removes are counted
	quiet_period	interval,					-- for so long there must be none
	deprecation		text						-- what is done about them besides
		CHECK (deprecation IN ('log', 'warning', 'error'))
);
CREATE INDEX migration_relation ON migrate.migration (relation);

-- The columns that a migration adds, in the order given.
CREATE TABLE migrate.added_column (
	migration		text NOT NULL,
	"position"		integer NOT NULL,
	name			name NOT NULL,
	type			text NOT NULL,				-- qualified, with typmod and collation
	rename_to		name,						-- the name that contract gives it, if another
	PRIMARY KEY (migration, "position")
);

-- A constraint of "add" on a new column, from expand on, by how far it has come.
CREATE TABLE migrate.added_constraint (
	migration		text NOT NULL,
	name			name NOT NULL,				-- of the table's constraint
	column_name		name NOT NULL,
	not_null		boolean NOT NULL,
	phase			text NOT NULL DEFAULT 'excused'
		CHECK (phase IN ('excused', 'plain', 'proven', 'valid')),
	PRIMARY KEY (migration, name)
);

-- A REFERENCES of "add", from expand on, by how far it has come.
CREATE TABLE migrate.added_reference (
	migration		text NOT NULL,
	name			name NOT NULL,				-- of the trigger, and the constraint in the end
	column_name		name NOT NULL,
	referenced		regclass NOT NULL,
	referenced_column name NOT NULL,
	options			text NOT NULL,				-- what follows these in a foreign key
	phase			text NOT NULL DEFAULT 'checked'
		CHECK (phase IN ('checked', 'plain', 'valid')),
	PRIMARY KEY (migration, name)
);

-- One assignment of up ('u') or down ('d'); or, with an empty target, the predicate "needed" ('n').
CREATE TABLE migrate.assignment (
	migration		text NOT NULL,
	direction		"char" NOT NULL CHECK (direction IN ('u', 'd', 'n')),
	target			name NOT NULL,
	expression		text,						-- qualified text, from expand on
	PRIMARY KEY (migration, direction, target)
);

-- The cooked form of an assignment; not dumped, since a tree holds OIDs. Not a
-- pg_node_tree, which a subscriber could not even read to pass it over (replication.sql).
CREATE TABLE migrate.assignment_tree (
	migration		text NOT NULL,
	direction		"char" NOT NULL,
	target			name NOT NULL,
	catalog_version	integer NOT NULL,			-- of the server that wrote it
	tree			text NOT NULL,
	PRIMARY KEY (migration, direction, target)
);

-- Where the dependencies of a table's write trigger were recorded; not dumped, as they are not.
CREATE TABLE migrate.recorded (
	relation		regclass PRIMARY KEY,
	cluster			bigint NOT NULL				-- its system identifier
);

-- What a migration has to do with columns of its table, as of when it was defined.
CREATE TABLE migrate.footprint (
	migration		text NOT NULL,
	use				text NOT NULL CHECK (use IN ('adds', 'removes', 'rewrites', 'restores',
		'reads in up', 'reads in down')),
	column_name		name NOT NULL,
	PRIMARY KEY (migration, use, column_name)
);

-- A release of the application, and the migrations that its clients know.
CREATE TABLE migrate.release (
	name			text PRIMARY KEY,
	created_at		timestamptz NOT NULL DEFAULT now(),
	retired_at		timestamptz,
	seq				bigint GENERATED ALWAYS AS IDENTITY
);

CREATE TABLE migrate.release_migration (
	release			text NOT NULL,
	migration		text NOT NULL,
	PRIMARY KEY (release, migration)
);

-- A schema of views that show the tables as a release knows them.
CREATE TABLE migrate.publication (
	schema_name		name PRIMARY KEY,
	release			text NOT NULL
);

-- The views there: ours, whatever the table is called by now.
CREATE TABLE migrate.published_view (
	view			regclass PRIMARY KEY,
	relation		regclass NOT NULL,			-- the managed table
	schema_name		name NOT NULL
);

-- The backfill of one heap: a managed table, or a leaf of a managed partitioned one.
CREATE TABLE migrate.backfill (
	relation		regclass NOT NULL,			-- the heap
	first_block		bigint NOT NULL DEFAULT 0,	-- of the part of it
	root			regclass NOT NULL,			-- the managed table
	target			integer NOT NULL,			-- rows below this version are converted
	phase			text NOT NULL DEFAULT 'converting'
		CHECK (phase IN ('converting', 'waiting', 'failed', 'scanned', 'settling')),
	filenode		oid NOT NULL DEFAULT 0,		-- a rewritten heap starts over
	round			integer NOT NULL DEFAULT 0,	-- 0: not begun
	blocks_total	bigint NOT NULL DEFAULT 0,	-- of the part, when its first round began
	next_block		bigint NOT NULL DEFAULT 0,	-- of this round: those before it are done
	blocks_ahead	bigint NOT NULL DEFAULT 0,	-- and so many of those from it on
	end_block		bigint NOT NULL DEFAULT 0,	-- of this round, exclusive
	left_from		bigint,						-- blocks that hold the rows which
	left_to			bigint,						--   this round left, exclusive
	skipped			bigint NOT NULL DEFAULT 0,	-- rows locked by others, in this round
	failed			bigint NOT NULL DEFAULT 0,	-- rows that failed, in this round
	rows_converted	bigint NOT NULL DEFAULT 0,
	rows_repaired	bigint NOT NULL DEFAULT 0,	-- in blocks that reads had noted
	rows_pruned		bigint NOT NULL DEFAULT 0,	-- removed where they would be converted
	rows_referenced	bigint NOT NULL DEFAULT 0,	-- not removed, since others refer to them
	rows_recent		double precision NOT NULL DEFAULT 0,	-- done of late, as of recent_at: see
	blocks_recent	double precision NOT NULL DEFAULT 0,	--   migrate.fading()
	recent_from		timestamptz NOT NULL DEFAULT clock_timestamp(),	-- when that began
	recent_at		timestamptz NOT NULL DEFAULT clock_timestamp(),
	held_by			text,						-- what it waits for
	last_error		text,
	started_at		timestamptz NOT NULL DEFAULT clock_timestamp(),
	round_started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	updated_at		timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (relation, first_block)
);
CREATE INDEX backfill_root ON migrate.backfill (root);

-- Where the rows of a table go that are pruned; without an entry they are deleted. Which
-- rows that are is the condition of the table's trigger "migrate_prune".
CREATE TABLE migrate.prune (
	relation		regclass PRIMARY KEY,		-- the managed table
	archive			regclass NOT NULL
);

/*
 * What is left of an amount of work after a while, where "of late" means twenty
 * seconds or so: everything fades by the factor e in that time, and to nothing in
 * the end. NULL is nothing.
 */
CREATE FUNCTION migrate.fading(amount double precision, age interval)
RETURNS double precision
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'migrate_fading';

-- An index to be built on columns of a migration's new form.
CREATE TABLE migrate.declared_index (
	relation		regclass NOT NULL,
	name			name NOT NULL,
	migration		text NOT NULL,
	columns			text NOT NULL,				-- as in CREATE INDEX, qualified
	is_unique		boolean NOT NULL,
	while_stale		boolean NOT NULL,
	is_constraint	boolean NOT NULL DEFAULT false,	-- UNIQUE in "add"
	error			text,						-- why it could not be built; retry() clears it
	error_code		text,
	first_error_at	timestamptz,
	attempts		integer NOT NULL DEFAULT 0,	-- that failed
	PRIMARY KEY (relation, name)
);

-- Rows that could not be converted. Neither this nor migrate.backfill is dumped: they tell of
-- rows where they are, and the backfill goes through a restored table from its beginning.
CREATE TABLE migrate.failure (
	relation		regclass NOT NULL,			-- the heap
	migration		text NOT NULL,
	row_key			jsonb NOT NULL,
	sqlstate		text NOT NULL,
	message			text NOT NULL,
	first_seen		timestamptz NOT NULL DEFAULT clock_timestamp(),
	attempts		integer NOT NULL DEFAULT 1,
	row_tid			tid,						-- where the row is; NULL: no longer known, or no row
	recorded_by		xid8 NOT NULL DEFAULT pg_current_xact_id(),	-- the last transaction that did
	PRIMARY KEY (relation, migration, row_key)
);
CREATE INDEX failure_row ON migrate.failure (relation, row_tid);

-- Who used columns that deprecated migrations remove, as far as a worker has come for it.
CREATE TABLE migrate.column_use (
	relation		regclass NOT NULL,			-- the managed table
	column_name		name NOT NULL,
	kind			text NOT NULL CHECK (kind IN ('read', 'write')),
	role			name NOT NULL,				-- empty: there is no room to tell
	application_name text NOT NULL,
	first_used		timestamptz NOT NULL,
	last_used		timestamptz NOT NULL,
	count			bigint NOT NULL,
	PRIMARY KEY (relation, column_name, kind, role, application_name)
);

CREATE TABLE migrate.event (
	at				timestamptz NOT NULL DEFAULT clock_timestamp(),
	migration		text NOT NULL,
	event			text NOT NULL,
	role			name NOT NULL,
	detail			text,
	seq				bigint GENERATED ALWAYS AS IDENTITY
);

SELECT pg_catalog.pg_extension_config_dump('migrate.managed', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.formerly_managed', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.migration', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.migration_seq_seq', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.added_column', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.added_constraint', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.added_reference', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.assignment', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.footprint', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.release', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.release_seq_seq', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.release_migration', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.publication', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.published_view', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.prune', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.declared_index', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.column_use', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.event', '');
SELECT pg_catalog.pg_extension_config_dump('migrate.event_seq_seq', '');
/*
 * Record a migration; returns its name. Takes AccessShareLock on the relation.
 * The same definition again is a no-op with a NOTICE; another one under a known
 * name raises duplicate_object, saying which part differs. Only the relation's
 * owner may.
 */
CREATE FUNCTION migrate.define(
	name		text,
	relation	regclass,
	add			text DEFAULT NULL,
	up			text DEFAULT NULL,
	down		text DEFAULT NULL,
	remove		name[] DEFAULT '{}',
	needed		text DEFAULT NULL,
	depends_on	text[] DEFAULT NULL,
	on_error	text DEFAULT 'fail',
	comment		text DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_define';

COMMENT ON FUNCTION migrate.define(text, regclass, text, text, text, name[], text, text[], text, text)
	IS 'record a migration of a table';

/*
 * Take away a definition that was never expanded, or was rolled back; raises
 * object_not_in_prerequisite_state otherwise.
 */
CREATE FUNCTION migrate.forget(name text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_forget';

COMMENT ON FUNCTION migrate.forget(text)
	IS 'take away a migration that is not expanded';

/*
 * Try a migration's up, and down after it, on that percentage of the table's
 * blocks, without writing anything; also before it is expanded. A row that raises
 * an error is counted, the first one is shown, and the others go on. Round trips
 * fail where down does not bring back what was there, or where an up that rewrites
 * a column in place changes what it has made. The estimate is of computing all
 * rows, not of storing them. Only the table's owner may.
 */
CREATE FUNCTION migrate.dry_run(name text, sample double precision DEFAULT 100)
RETURNS TABLE (rows_checked bigint, rows_failed bigint, first_error text,
	first_failed_row jsonb, round_trip_failures bigint, estimated_seconds double precision)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_dry_run';

COMMENT ON FUNCTION migrate.dry_run(text, double precision)
	IS 'try a migration on the rows of its table without writing';
/*
 * Begin to keep both forms. Takes AccessExclusiveLock on the table for the time
 * of a catalog change, in migrate.lock_attempts attempts of migrate.lock_timeout;
 * raises lock_not_available, naming the holders, when all fail. Raises
 * object_not_in_prerequisite_state if the library is not preloaded or a
 * dependency is not expanded. Only the table's owner may.
 */
CREATE FUNCTION migrate.expand(name text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_expand';

COMMENT ON FUNCTION migrate.expand(text)
	IS 'add the new form of a migration to its table';

/*
 * Add the row version alone, under a name of one's own. Locks as expand does.
 */
CREATE FUNCTION migrate.manage(relation regclass, version_column name DEFAULT 'row_version')
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_manage';

COMMENT ON FUNCTION migrate.manage(regclass, name)
	IS 'add the row version to a table';

/*
 * Take the row version off again. Refused while a migration of the table is live, or
 * something uses the column. Locks as expand does. Only the table's owner may.
 */
CREATE FUNCTION migrate.unmanage(relation regclass)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_unmanage';

COMMENT ON FUNCTION migrate.unmanage(regclass)
	IS 'take the row version off a table';
/*
 * The row trigger that keeps both forms of a row in step. Only expand() puts
 * it on tables; on one without a live migration it refuses every row.
 */
CREATE FUNCTION migrate.write_trigger()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'migrate_write_trigger';

/*
 * The row trigger that does so once more after the table's own. Put on tables
 * together with the other one.
 */
CREATE FUNCTION migrate.settle_trigger()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'migrate_settle_trigger';

/*
 * The row triggers of a table with a migration that defers: one records rows
 * that were stored in an older version, the other forgets those that were.
 */
CREATE FUNCTION migrate.defer_trigger()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'migrate_defer_trigger';

CREATE FUNCTION migrate.mend_trigger()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'migrate_mend_trigger';

/*
 * Does a table, or where that is 0 the one that a migration is of, take rows of a
 * version? An error that says which it takes, if not. The CHECK of managed tables
 * without a live migration asks it of rows that are not; of no use to others.
 */
CREATE FUNCTION migrate.is_supported(relation oid, version integer, migration text)
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_is_supported';

COMMENT ON FUNCTION migrate.is_supported(oid, integer, text)
	IS 'does a table take rows of a version; asked by its CHECK';
/*
 * What a stale row's column reads as, where "up" must not run with the
 * reader's rights. Queries call it in the place of such a column; nobody else
 * can, as its result has no type that the parser could give it.
 *
 * IMMUTABLE, as an "up" is, so that the planner treats a column as something
 * that depends on the row alone; PARALLEL UNSAFE, because nobody has promised
 * otherwise for what it runs.
 */
CREATE FUNCTION migrate.up(relation regclass, migration text, target name, VARIADIC inputs "any")
	RETURNS "any"
	LANGUAGE c IMMUTABLE PARALLEL UNSAFE COST 100
	AS 'MODULE_PATHNAME', 'migrate_up';
COMMENT ON FUNCTION migrate.up(regclass, text, name, "any") IS
	'a column of a stale row, computed with the rights of the table''s owner; called by rewritten queries';
GRANT EXECUTE ON FUNCTION migrate.up(regclass, text, name, "any") TO PUBLIC;

/*
 * Notes that a read met a stale row, and is true. Plans that are made while
 * migrate.read_repair is on ask it last of all in a scan; nobody else can, as SQL
 * has no value of type internal.
 */
CREATE FUNCTION migrate.note_read("row" tid, relation regclass, internal)
	RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'migrate_note_read';
COMMENT ON FUNCTION migrate.note_read(tid, regclass, internal) IS
	'notes that a read met a stale row; called by plans';
/*
 * Convert stale rows in this session, committing after every batch, and bring
 * migrations to completion; of one table, or of every one of the caller's that is
 * not paused. Returns how many rows it converted, at most max_rows, and how many
 * are still stale (an estimate where many blocks are left, NULL where a lock is in
 * the way). Waits for rows and snapshots that others hold for migrate.lock_timeout,
 * then returns. Raises invalid_transaction_termination in a transaction block. Only
 * the table's owner may.
 */
CREATE PROCEDURE migrate.run(
	relation		regclass DEFAULT NULL,
	max_rows		bigint DEFAULT NULL,
	INOUT converted	bigint DEFAULT NULL,
	INOUT remaining	bigint DEFAULT NULL)
LANGUAGE c
AS 'MODULE_PATHNAME', 'migrate_run';

COMMENT ON PROCEDURE migrate.run(regclass, bigint, bigint, bigint)
	IS 'convert stale rows, committing as it goes';

/* Have nobody convert a table's rows but those who write them, until resumed. */
CREATE FUNCTION migrate.pause(relation regclass)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_pause';

COMMENT ON FUNCTION migrate.pause(regclass) IS 'pause the backfill of a table';

CREATE FUNCTION migrate.resume(relation regclass)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_resume';

COMMENT ON FUNCTION migrate.resume(regclass) IS 'go on with the backfill of a table';

/* Put rows whose conversion failed back in line; returns how many. */
CREATE FUNCTION migrate.retry(relation regclass)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_retry';

COMMENT ON FUNCTION migrate.retry(regclass) IS 'try again the rows that failed';

/*
 * Wait until a migration is complete (true) or the time is up (false). To be
 * called by a statement of its own, in a READ COMMITTED transaction that has
 * written nothing; raises object_not_in_prerequisite_state or
 * active_sql_transaction otherwise.
 */
CREATE FUNCTION migrate.wait(name text, timeout interval DEFAULT NULL)
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_wait';

COMMENT ON FUNCTION migrate.wait(text, interval) IS 'wait until a migration is complete';

/* How many background workers are at a table; for migrate.progress. */
CREATE FUNCTION migrate.active_workers(relation regclass)
RETURNS integer
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'migrate_active_workers';

COMMENT ON FUNCTION migrate.active_workers(regclass)
	IS 'how many background workers convert rows of a table';
/*
 * Was the row that is being checked written by a statement that set no column of
 * the migration's new form? Constraints in "add" ask it while the migration is
 * not complete; of no use to others.
 */
CREATE FUNCTION migrate.excused(migration text)
RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_excused';

COMMENT ON FUNCTION migrate.excused(text)
	IS 'is the row at hand excused from a new form''s constraints; asked by those';

/*
 * The row trigger that holds writes of a new form to a REFERENCES in "add" while
 * the migration is not complete. Only expand() puts it on tables.
 */
CREATE FUNCTION migrate.reference_trigger()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'migrate_reference_trigger';
/*
 * The graph of the database's migrations as a drawing: "text" for a terminal, or
 * in the languages of mermaid or of graphviz ("dot").
 */
CREATE FUNCTION migrate.graph(format text DEFAULT 'text')
RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'migrate_graph';

COMMENT ON FUNCTION migrate.graph(text)
	IS 'draw the graph of migrations';

/*
 * What is left to be done, in an order that is right, for a migration, or those of a
 * release, and all that they depend on; for all migrations without a target. The action is the
 * next one: expand, then backfill, then contract. What is contracted needs none.
 */
CREATE FUNCTION migrate.plan(target text DEFAULT NULL)
RETURNS TABLE (step int, migration text, action text, state text)
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'migrate_plan';

COMMENT ON FUNCTION migrate.plan(text)
	IS 'list what is left to be done for a migration or a release';

/*
 * The points at which a migration could have been introduced: right after each of
 * those that it comes after, the oldest first; NULL is before all of them. The
 * reason says what limits it: where it is not possible, what would be missing;
 * where it is, what it has to come after.
 */
CREATE FUNCTION migrate.backport_base(name text)
RETURNS TABLE (migration text, possible boolean, reason text)
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'migrate_backport_base';

COMMENT ON FUNCTION migrate.backport_base(text)
	IS 'list the points to which a migration could be backported';
/*
 * Declare an index on columns of a migration's new form; returns its name.
 * "columns" is what stands in the parentheses of CREATE INDEX: columns or
 * expressions, with collation, operator class and order. Background work builds
 * it concurrently, once the rows are converted, and the migration is not complete
 * before; with "while_stale" also at once, over what the columns of stale rows
 * read as. The migration is expanded. Takes AccessShareLock on the table. Only
 * the table's owner may, with CREATE on its schema.
 */
CREATE FUNCTION migrate.create_index(
	migration	text,
	columns		text,
	is_unique	boolean DEFAULT false,
	while_stale	boolean DEFAULT false)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_create_index';

COMMENT ON FUNCTION migrate.create_index(text, text, boolean, boolean)
	IS 'declare an index on new columns';

/*
 * Take a declaration back, with what was built of it. Locks as expand does where
 * something was built. Only the table's owner may.
 */
CREATE FUNCTION migrate.drop_index(migration text, name text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_drop_index';

COMMENT ON FUNCTION migrate.drop_index(text, text)
	IS 'take back the declaration of an index';
/*
 * Have stale rows that meet a condition deleted, or moved to "archive", where they would be
 * converted. The condition is written as after WHERE, of immutable and stable functions;
 * columns are what they read as. The archive has the table's columns, by name and of the
 * same types. Replaces what was set before; the same again is a no-op with a NOTICE.
 * Takes ShareRowExclusiveLock on the table, got as expand gets its lock. Only the
 * table's owner may, and needs INSERT on the archive.
 */
CREATE FUNCTION migrate.set_prune(
	relation	regclass,
	predicate	text,
	archive		regclass DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_set_prune';

COMMENT ON FUNCTION migrate.set_prune(regclass, text, regclass)
	IS 'have rows removed instead of converted';

/* From its commit on no row is pruned. Takes AccessExclusiveLock, as expand does. */
CREATE FUNCTION migrate.unset_prune(relation regclass)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_unset_prune';

COMMENT ON FUNCTION migrate.unset_prune(regclass)
	IS 'have every row converted again';

-- That of the disabled trigger whose condition says which rows are pruned.
CREATE FUNCTION migrate.prune_trigger()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'migrate_prune_trigger';
/*
 * Record a release: the migrations that its clients know, with all that these
 * depend on; NULL for all that are expanded now. The same again is a no-op with a
 * NOTICE. Only the owner of the database or of every managed table may.
 */
CREATE FUNCTION migrate.create_release(name text, migrations text[] DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_create_release';

COMMENT ON FUNCTION migrate.create_release(text, text[])
	IS 'record which migrations a release of the application knows';

/*
 * No session can be pinned to it any more, and it holds up no contract. Raises
 * object_in_use, naming them, where sessions are still pinned to it. The rights are
 * those of create_release.
 */
CREATE FUNCTION migrate.retire_release(name text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_retire_release';

COMMENT ON FUNCTION migrate.retire_release(text)
	IS 'end the support of a release of the application';

/*
 * Show every managed table as a release knows it, by an updatable view of its name in
 * a schema, which is created if it is not there. Privileges and comments are carried
 * over. Call it again for tables and columns that came since. Raises
 * duplicate_schema where the schema publishes another release. The rights are those of
 * create_release, and to create schemas and views.
 */
CREATE FUNCTION migrate.publish(release text, schema name)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_publish_release';

COMMENT ON FUNCTION migrate.publish(text, name)
	IS 'make views that show the managed tables as a release knows them';

-- Drop these views, and the schema if that leaves it empty.
CREATE FUNCTION migrate.unpublish(schema name)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_unpublish_release';

COMMENT ON FUNCTION migrate.unpublish(name)
	IS 'drop the views of a published release';

-- The sessions of this database that are pinned to a release.
CREATE FUNCTION migrate.pinned_sessions()
RETURNS TABLE (pid int, release text)
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'migrate_pinned_sessions';

COMMENT ON FUNCTION migrate.pinned_sessions()
	IS 'list the sessions that are pinned to a release';

CREATE VIEW migrate.releases AS
SELECT r.name,
	(SELECT coalesce(array_agg(m.migration ORDER BY g.seq), '{}')
		FROM migrate.release_migration m LEFT JOIN migrate.migration g ON g.name = m.migration
		WHERE m.release = r.name) AS migrations,
	r.retired_at,
	(SELECT count(*) FROM migrate.pinned_sessions() p WHERE p.release = r.name) AS pinned_sessions
FROM migrate.release r
ORDER BY r.seq;

GRANT SELECT ON migrate.releases TO PUBLIC;
/*
 * What the extension knows is about this database. A publication FOR ALL TABLES sends its
 * tables along: a subscriber keeps what it has. The triggers fire for replication
 * alone, and let through what is written by the extension itself meanwhile.
 */
CREATE FUNCTION migrate.own_rows_trigger()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'migrate_own_rows_trigger';

DO $$
DECLARE
	t regclass;
BEGIN
	FOR t IN SELECT oid FROM pg_catalog.pg_class
		WHERE relnamespace = 'migrate'::regnamespace AND relkind = 'r'
	LOOP
		EXECUTE format('CREATE TRIGGER own_rows BEFORE INSERT OR UPDATE OR DELETE ON %s'
					   ' FOR EACH ROW EXECUTE FUNCTION migrate.own_rows_trigger()', t);
		EXECUTE format('ALTER TABLE %s ENABLE REPLICA TRIGGER own_rows', t);
	END LOOP;
END
$$;
/*
 * Open the deprecation window of a live migration: from the commit on each use of a
 * column that it removes is counted. "action": log; warning, each such statement is
 * warned; error, it fails as it would after the contract. Called again it changes
 * period and action. It takes no lock on the table. Only the table's owner may.
 */
CREATE FUNCTION migrate.deprecate(name text, quiet_period interval DEFAULT '7 days',
	action text DEFAULT 'log')
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_deprecate';

COMMENT ON FUNCTION migrate.deprecate(text, interval, text)
	IS 'announce the end of the old form, and count who still uses it';

/*
 * Uses of columns, as of the moment: those in migrate.column_use, and those in
 * shared memory. Of tables of the caller's; of all for members of
 * pg_read_all_stats. Without role and program: of those of which there was no
 * room to tell.
 */
CREATE FUNCTION migrate.column_uses()
RETURNS TABLE (relation regclass, column_name name, kind text, role name,
	application_name text, first_used timestamptz, last_used timestamptz, count bigint)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_column_uses';

COMMENT ON FUNCTION migrate.column_uses()
	IS 'list the uses of deprecated columns, of whatever migration';

-- Who has used the old form of a live migration since it was deprecated.
CREATE VIEW migrate.column_usage AS
SELECT m.name AS migration,
	u.relation,
	u.column_name,
	u.kind,
	u.role,
	u.application_name,
	greatest(u.first_used, m.deprecated_at) AS first_used,
	u.last_used,
	u.count
FROM migrate.column_uses() u
JOIN migrate.migration m ON m.relation = u.relation AND u.column_name = ANY (m.remove)
WHERE m.state IN ('expanded', 'complete') AND u.last_used >= m.deprecated_at
ORDER BY u.last_used DESC;

GRANT SELECT ON migrate.column_usage TO PUBLIC;
/*
 * What stands in the way of a contract, a row for each check; looks only, takes
 * no lock that blocks anyone. Only the table's owner may ask: the answers name
 * other sessions.
 */
CREATE FUNCTION migrate.check_contract(name text)
RETURNS TABLE (check_name text, ok boolean, detail text, hint text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_check_contract';

COMMENT ON FUNCTION migrate.check_contract(text)
	IS 'say what stands in the way of contracting a migration';

/*
 * Drop the old form. Raises object_not_in_prerequisite_state, with a line of
 * DETAIL for each check that fails, and changes nothing then; waits up to "wait"
 * for checks that may pass by themselves, and for locks. "skip" may name only
 * the checks window and usage. Takes AccessExclusiveLock on the table for the
 * time of a catalog change, as expand does. Only the table's owner may.
 */
CREATE FUNCTION migrate.contract(name text, wait interval DEFAULT '0', skip text[] DEFAULT '{}')
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_contract';

COMMENT ON FUNCTION migrate.contract(text, interval, text[])
	IS 'drop the old form of a complete migration';

/*
 * Drop the new form of an expanded or complete migration. Raises
 * object_not_in_prerequisite_state where live migrations depend on it, or where
 * values would be lost that the old form does not hold, unless "discard". Locks
 * as contract does. Only the table's owner may.
 */
CREATE FUNCTION migrate.rollback(name text, discard boolean DEFAULT false)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_rollback';

COMMENT ON FUNCTION migrate.rollback(text, boolean)
	IS 'drop the new form of a migration';
/*
 * A row per migration that is being brought to completion. Migrations of one
 * table share one backfill; the partitions of a table are summed up. Blocks are
 * those of the first round; later ones go after what it had to leave.
 */
CREATE VIEW migrate.progress AS
WITH live AS (
	SELECT m.name, m.relation, m.seq, g.paused,
		max(m.version) OVER (PARTITION BY m.relation) AS newest
	FROM migrate.migration m JOIN migrate.managed g USING (relation)
	WHERE m.state = 'expanded'
), heaps AS (
	SELECT b.root, b.target,
		sum(b.blocks_total) AS blocks_total,
		sum(CASE WHEN b.phase = 'converting' AND b.round <= 1
				 THEN greatest(least(b.next_block - b.first_block + b.blocks_ahead, b.blocks_total), 0) * b.round
				 ELSE b.blocks_total END) AS blocks_done,
		sum(b.rows_converted) AS rows_converted,
		sum(b.rows_repaired) AS rows_repaired,
		sum(b.rows_pruned) AS rows_pruned,
		sum(b.rows_referenced) AS rows_referenced,
		-- What was done lately, and over which time.
		sum(migrate.fading(b.rows_recent, clock_timestamp() - b.recent_at)) AS rows_recent,
		sum(migrate.fading(b.blocks_recent, clock_timestamp() - b.recent_at)) AS blocks_recent,
		20 - migrate.fading(20, clock_timestamp() - (min(b.recent_from) FILTER (
			WHERE migrate.fading(b.blocks_recent + b.rows_recent, clock_timestamp() - b.recent_at) > 0))) AS recent_seconds,
		bool_or(b.phase = 'converting') AS is_converting,
		CASE WHEN bool_or(b.phase = 'converting') THEN 'converting'
			 WHEN bool_or(b.phase = 'waiting') THEN 'waiting'
			 WHEN bool_or(b.phase = 'failed') THEN 'failed'
			 WHEN bool_or(b.phase = 'scanned' AND EXISTS (
				SELECT FROM migrate.declared_index d WHERE d.relation = b.root
					AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
						WHERE i.indrelid = b.root AND i.indisvalid AND c.relname = d.name)))
				THEN 'indexing'
			 WHEN bool_or(b.phase = 'scanned') THEN 'proving'
			 ELSE 'settling' END AS phase,
		(array_agg(b.held_by ORDER BY b.updated_at DESC)
			FILTER (WHERE b.held_by IS NOT NULL))[1] AS held_by,
		(array_agg(b.last_error ORDER BY b.updated_at DESC)
			FILTER (WHERE b.last_error IS NOT NULL))[1] AS last_error
	FROM migrate.backfill b
	GROUP BY b.root, b.target
), measured AS (
	SELECT l.*, h.*,
		floor(1000.0 * h.blocks_done / nullif(h.blocks_total, 0)) / 10 AS share
	FROM live l LEFT JOIN heaps h ON h.root = l.relation AND h.target = l.newest
)
SELECT name AS migration,
	relation,
	CASE WHEN paused THEN 'paused' ELSE coalesce(phase, 'pending') END AS phase,
	coalesce(blocks_done, 0)::bigint AS blocks_done,
	coalesce(blocks_total, 0)::bigint AS blocks_total,
	coalesce(rows_converted, 0)::bigint AS rows_converted,
	coalesce(rows_repaired, 0)::bigint AS rows_repaired,
	coalesce(share, CASE WHEN is_converting IS FALSE THEN 100 ELSE 0 END)::numeric(5,1) AS percent,
	'[' || rpad(repeat('#', (coalesce(share, 0) / 5)::integer), 20, '.') || ']' AS bar,
	CASE WHEN is_converting AND NOT paused AND recent_seconds > 0
		 THEN round((rows_recent / recent_seconds)::numeric) END AS rows_per_second,
	-- (Beyond a century it is not worth a number.)
	CASE WHEN is_converting AND NOT paused AND recent_seconds > 0
			  AND (blocks_total - blocks_done) * recent_seconds < blocks_recent * 3e9
		 THEN date_trunc('second', make_interval(
			secs => ((blocks_total - blocks_done) * recent_seconds / blocks_recent)::double precision))
	END AS eta,
	CASE WHEN paused THEN 'migrate.pause()' ELSE held_by END AS throttled_by,
	migrate.active_workers(relation) AS workers,
	-- It may quote what is stored in the table.
	CASE WHEN has_table_privilege(relation::oid, 'SELECT')
			  AND NOT row_security_active(relation::oid)
		 THEN last_error END AS last_error,
	coalesce(rows_pruned, 0)::bigint AS rows_pruned,
	coalesce(rows_referenced, 0)::bigint AS rows_referenced
FROM measured
ORDER BY seq;

-- Rows that could not be converted, and declared indexes that could not be built, of
-- tables that the reader may read all of.
CREATE VIEW migrate.failures WITH (security_barrier) AS
SELECT relation, migration, row_key, sqlstate, message, first_seen, attempts
FROM (SELECT relation, migration, row_key, sqlstate, message, first_seen, attempts
	  FROM migrate.failure
	  UNION ALL
	  SELECT relation, migration, jsonb_build_object('index', name), error_code, error,
		first_error_at, attempts
	  FROM migrate.declared_index WHERE error IS NOT NULL) f
WHERE has_table_privilege(relation::oid, 'SELECT')
	AND NOT row_security_active(relation::oid)
ORDER BY first_seen;

GRANT SELECT ON migrate.progress, migrate.failures TO PUBLIC;

/*
 * A row per migration. "contractable" is what can be said at a glance: it is
 * complete, no row failed, and the quiet period is over; migrate.check_contract()
 * looks at all the rest. "last_used" is when a column of the old form was last used since
 * it was deprecated, for those who may see it in migrate.column_usage.
 */
CREATE VIEW migrate.status AS
SELECT m.name,
	m.relation,
	m.state,
	m.version,
	m.depends_on,
	m.add_source AS add,
	m.remove,
	CASE m.state
		WHEN 'expanded' THEN (SELECT p.percent FROM migrate.progress p WHERE p.migration = m.name)
		WHEN 'complete' THEN 100
		WHEN 'contracted' THEN 100
	END::numeric(5,1) AS percent,
	coalesce(f.failures, 0) + coalesce(i.failures, 0) AS failures,
	m.deprecated_at,
	uses.last_used,
	m.state = 'complete' AND f.failures IS NULL AND (m.remove = '{}' OR coalesce(
		greatest(m.deprecated_at, uses.last_used) + m.quiet_period <= clock_timestamp(), false))
		AS contractable,
	m.comment
FROM migrate.migration m
LEFT JOIN (SELECT migration, count(*) AS failures
		   FROM migrate.failure GROUP BY migration) f ON f.migration = m.name
LEFT JOIN (SELECT migration, count(*) AS failures FROM migrate.declared_index
		   WHERE error IS NOT NULL GROUP BY migration) i ON i.migration = m.name
LEFT JOIN (SELECT migration, max(last_used) AS last_used
		   FROM migrate.column_usage GROUP BY migration) uses ON uses.migration = m.name
ORDER BY m.seq;

-- What happened to every migration, also to those that were forgotten or went with their table.
CREATE VIEW migrate.history AS
SELECT at, migration, event, role, detail
FROM migrate.event
ORDER BY seq;

GRANT SELECT ON migrate.status, migrate.history TO PUBLIC;
/*
 * Everybody may look at what is going on, nobody may write it. Rows of
 * migrate.failure and migrate.backfill carry key values and error texts of
 * users' tables: those are shown through views that ask for the right to read the table.
 */
GRANT USAGE ON SCHEMA migrate TO PUBLIC;
GRANT SELECT ON migrate.managed, migrate.migration, migrate.added_column,
	migrate.assignment, migrate.footprint, migrate.release, migrate.release_migration,
	migrate.publication, migrate.published_view TO PUBLIC;
