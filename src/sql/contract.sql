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
