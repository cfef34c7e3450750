/*
 * Record a release: the migrations that its clients know, with all that these
 * depend on; NULL for all that are expanded now. The same again is a no-op with a
 * NOTICE. Only the owner of the database or of every managed table may.
 */
CREATE FUNCTION migrate.create_release(name text, migrations text[] DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_create_release';

COMMENT ON FUNCTION migrate.create_release(text, text[])
	IS 'record which migrations a release of the application knows';

/*
 * No session can be pinned to it any more, and it holds up no contract. Raises
 * object_in_use, naming them, where sessions are still pinned to it. The rights are
 * those of create_release.
 */
CREATE FUNCTION migrate.retire_release(name text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_retire_release';

COMMENT ON FUNCTION migrate.retire_release(text)
	IS 'end the support of a release of the application';

/*
 * Show every managed table as a release knows it, by an updatable view of its name in
 * a schema, which is created if it is not there. Privileges and comments are carried
 * over. Call it again for tables and columns that came since. Raises
 * duplicate_schema where the schema publishes another release. The rights are those of
 * create_release, and to create schemas and views.
 */
CREATE FUNCTION migrate.publish(release text, schema name)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_publish_release';

COMMENT ON FUNCTION migrate.publish(text, name)
	IS 'make views that show the managed tables as a release knows them';

-- Drop these views, and the schema if that leaves it empty.
CREATE FUNCTION migrate.unpublish(schema name)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_unpublish_release';

COMMENT ON FUNCTION migrate.unpublish(name)
	IS 'drop the views of a published release';

-- The sessions of this database that are pinned to a release.
CREATE FUNCTION migrate.pinned_sessions()
RETURNS TABLE (pid int, release text)
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'migrate_pinned_sessions';

COMMENT ON FUNCTION migrate.pinned_sessions()
	IS 'list the sessions that are pinned to a release';

CREATE VIEW migrate.releases AS
SELECT r.name,
	(SELECT coalesce(array_agg(m.migration ORDER BY g.seq), '{}')
		FROM migrate.release_migration m LEFT JOIN migrate.migration g ON g.name = m.migration
		WHERE m.release = r.name) AS migrations,
	r.retired_at,
	(SELECT count(*) FROM migrate.pinned_sessions() p WHERE p.release = r.name) AS pinned_sessions
FROM migrate.release r
ORDER BY r.seq;

GRANT SELECT ON migrate.releases TO PUBLIC;

COMMENT ON VIEW migrate.releases
	IS 'releases, the migrations that they know, and how many sessions are pinned to them';
