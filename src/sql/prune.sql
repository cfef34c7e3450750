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

COMMENT ON FUNCTION migrate.prune_trigger()
	IS 'disabled trigger of managed tables, whose condition says which rows are pruned';
