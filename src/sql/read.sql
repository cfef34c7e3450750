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
