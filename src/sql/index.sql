/*
 * Declare an index on columns of a migration's new form; returns its name.
 * "columns" is what stands in the parentheses of CREATE INDEX: columns or
 * expressions, with collation, operator class and order. Background work builds
 * it concurrently, once the rows are converted, and the migration is not complete
 * before; with "while_stale" also at once, over what the columns of stale rows
 * read as. The migration is expanded. Takes AccessShareLock on the table. Only
 * the table's owner may, with CREATE on its schema.
 */
CREATE FUNCTION migrate.create_index(
	migration	text,
	columns		text,
	is_unique	boolean DEFAULT false,
	while_stale	boolean DEFAULT false)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_create_index';

COMMENT ON FUNCTION migrate.create_index(text, text, boolean, boolean)
	IS 'declare an index on new columns';

/*
 * Take a declaration back, with what was built of it. Locks as expand does where
 * something was built. Only the table's owner may.
 */
CREATE FUNCTION migrate.drop_index(migration text, name text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_drop_index';

COMMENT ON FUNCTION migrate.drop_index(text, text)
	IS 'take back the declaration of an index';
