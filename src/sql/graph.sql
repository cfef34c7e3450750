/*
 * The graph of the database's migrations as a drawing: "text" for a terminal, or
 * in the languages of mermaid or of graphviz ("dot").
 */
CREATE FUNCTION migrate.graph(format text DEFAULT 'text')
RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'migrate_graph';

COMMENT ON FUNCTION migrate.graph(text)
	IS 'draw the graph of migrations';

/*
 * What is left to be done, in an order that is right, for a migration, or those of a
 * release, and all that they depend on; for all migrations without a target. The action is the
 * next one: expand, then backfill, then contract. What is contracted needs none.
 */
CREATE FUNCTION migrate.plan(target text DEFAULT NULL)
RETURNS TABLE (step int, migration text, action text, state text)
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'migrate_plan';

COMMENT ON FUNCTION migrate.plan(text)
	IS 'list what is left to be done for a migration or a release';

/*
 * The points at which a migration could have been introduced: right after each of
 * those that it comes after, the oldest first; NULL is before all of them. The
 * reason says what limits it: where it is not possible, what would be missing;
 * where it is, what it has to come after.
 */
CREATE FUNCTION migrate.backport_base(name text)
RETURNS TABLE (migration text, possible boolean, reason text)
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'migrate_backport_base';

COMMENT ON FUNCTION migrate.backport_base(text)
	IS 'list the points to which a migration could be backported';
