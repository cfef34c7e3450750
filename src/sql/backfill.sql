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
