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
