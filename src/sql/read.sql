/*
 * What a stale row's column reads as, where "up" must not run with the
 * reader's rights. Queries call it in the place of such a column; nobody else
 * can, as its result has no type that the parser could give it.
 *
 * IMMUTABLE, as an "up" is, so that the planner treats a column as something
 * that depends on the row alone; PARALLEL UNSAFE, because nobody has promised
 * otherwise for what it runs.
 */
CREATE FUNCTION migrate.up(relation regclass, migration text, target name, VARIADIC inputs "any")
	RETURNS "any"
	LANGUAGE c IMMUTABLE PARALLEL UNSAFE COST 100
	AS 'MODULE_PATHNAME', 'migrate_up';
COMMENT ON FUNCTION migrate.up(regclass, text, name, "any") IS
	'a column of a stale row, computed with the rights of the table''s owner; called by rewritten queries';
GRANT EXECUTE ON FUNCTION migrate.up(regclass, text, name, "any") TO PUBLIC;

/*
 * Notes that a read met a stale row, and is true. Plans that are made while
 * migrate.read_repair is on ask it last of all in a scan; nobody else can, as SQL
 * has no value of type internal.
 */
CREATE FUNCTION migrate.note_read("row" tid, relation regclass, internal)
	RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'migrate_note_read';
COMMENT ON FUNCTION migrate.note_read(tid, regclass, internal) IS
	'notes that a read met a stale row; called by plans';
