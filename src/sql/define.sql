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
