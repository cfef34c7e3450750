/*
 * The row trigger that keeps both forms of a row in step. Only expand() puts
 * it on tables; on one without a live migration it refuses every row.
 */
CREATE FUNCTION migrate.write_trigger()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'migrate_write_trigger';

COMMENT ON FUNCTION migrate.write_trigger()
	IS 'trigger of managed tables: keep both forms of a row in step';

/*
 * The row trigger that does so once more after the table's own. Put on tables
 * together with the other one.
 */
CREATE FUNCTION migrate.settle_trigger()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'migrate_settle_trigger';

COMMENT ON FUNCTION migrate.settle_trigger()
	IS 'trigger of managed tables: bring both forms in step again after the table''s own triggers';

/*
 * The row triggers of a table with a migration that defers: one records rows
 * that were stored in an older version, the other forgets those that were.
 */
CREATE FUNCTION migrate.defer_trigger()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'migrate_defer_trigger';

COMMENT ON FUNCTION migrate.defer_trigger()
	IS 'trigger of managed tables: record rows whose conversion was deferred';

CREATE FUNCTION migrate.mend_trigger()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'migrate_mend_trigger';

COMMENT ON FUNCTION migrate.mend_trigger()
	IS 'trigger of managed tables: forget deferred rows that were mended';

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
