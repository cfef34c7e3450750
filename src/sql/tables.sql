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

COMMENT ON FUNCTION migrate.fading(double precision, interval)
	IS 'what counts of an amount of work after a while; asked by migrate.progress';

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
