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
