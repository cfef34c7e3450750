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
