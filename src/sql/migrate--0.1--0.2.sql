\echo Use "ALTER EXTENSION migrate UPDATE TO '0.2'" to load this file. \quit
/*
 * What version 0.2 has that 0.1 had not. A database that was updated is the same as a
 * fresh one, and so is one that was restored from a dump of the older version: a dump
 * has rows alone, so what they lack has to be given by defaults (test/tap/053_update.pl).
 */

COMMENT ON FUNCTION migrate.fading(double precision, interval)
	IS 'what counts of an amount of work after a while; asked by migrate.progress';
COMMENT ON FUNCTION migrate.write_trigger()
	IS 'trigger of managed tables: keep both forms of a row in step';
COMMENT ON FUNCTION migrate.settle_trigger()
	IS 'trigger of managed tables: bring both forms in step again after the table''s own triggers';
COMMENT ON FUNCTION migrate.defer_trigger()
	IS 'trigger of managed tables: record rows whose conversion was deferred';
COMMENT ON FUNCTION migrate.mend_trigger()
	IS 'trigger of managed tables: forget deferred rows that were mended';
COMMENT ON FUNCTION migrate.reference_trigger()
	IS 'trigger of managed tables: hold writes of a new form to its REFERENCES';
COMMENT ON FUNCTION migrate.prune_trigger()
	IS 'disabled trigger of managed tables, whose condition says which rows are pruned';
COMMENT ON FUNCTION migrate.own_rows_trigger()
	IS 'trigger of the extension''s tables: keep out what logical replication sends';
COMMENT ON VIEW migrate.column_usage
	IS 'who has used the old form of migrations since they were deprecated';
COMMENT ON VIEW migrate.releases
	IS 'releases, the migrations that they know, and how many sessions are pinned to them';
COMMENT ON VIEW migrate.progress
	IS 'how far the backfill of each expanded migration is, and what holds it';
COMMENT ON VIEW migrate.failures
	IS 'rows that could not be converted, and declared indexes that could not be built';
COMMENT ON VIEW migrate.status
	IS 'every migration, its definition and its state';
COMMENT ON VIEW migrate.history
	IS 'what happened to every migration';
