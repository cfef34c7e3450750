/*
 * Was the row that is being checked written by a statement that set no column of
 * the migration's new form? Constraints in "add" ask it while the migration is
 * not complete; of no use to others.
 */
CREATE FUNCTION migrate.excused(migration text)
RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_excused';

COMMENT ON FUNCTION migrate.excused(text)
	IS 'is the row at hand excused from a new form''s constraints; asked by those';

/*
 * The row trigger that holds writes of a new form to a REFERENCES in "add" while
 * the migration is not complete. Only expand() puts it on tables.
 */
CREATE FUNCTION migrate.reference_trigger()
RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'migrate_reference_trigger';

COMMENT ON FUNCTION migrate.reference_trigger()
	IS 'trigger of managed tables: hold writes of a new form to its REFERENCES';
