/*
 * Open the deprecation window of a live migration: from the commit on each use of a
 * column that it removes is counted. "action": log; warning, each such statement is
 * warned; error, it fails as it would after the contract. Called again it changes
 * period and action. It takes no lock on the table. Only the table's owner may.
 */
CREATE FUNCTION migrate.deprecate(name text, quiet_period interval DEFAULT '7 days',
	action text DEFAULT 'log')
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_deprecate';

COMMENT ON FUNCTION migrate.deprecate(text, interval, text)
	IS 'announce the end of the old form, and count who still uses it';

/*
 * Uses of columns, as of the moment: those in migrate.column_use, and those in
 * shared memory. Of tables of the caller's; of all for members of
 * pg_read_all_stats. Without role and program: of those of which there was no
 * room to tell.
 */
CREATE FUNCTION migrate.column_uses()
RETURNS TABLE (relation regclass, column_name name, kind text, role name,
	application_name text, first_used timestamptz, last_used timestamptz, count bigint)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'migrate_column_uses';

COMMENT ON FUNCTION migrate.column_uses()
	IS 'list the uses of deprecated columns, of whatever migration';

-- Who has used the old form of a live migration since it was deprecated.
CREATE VIEW migrate.column_usage AS
SELECT m.name AS migration,
	u.relation,
	u.column_name,
	u.kind,
	u.role,
	u.application_name,
	greatest(u.first_used, m.deprecated_at) AS first_used,
	u.last_used,
	u.count
FROM migrate.column_uses() u
JOIN migrate.migration m ON m.relation = u.relation AND u.column_name = ANY (m.remove)
WHERE m.state IN ('expanded', 'complete') AND u.last_used >= m.deprecated_at
ORDER BY u.last_used DESC;

GRANT SELECT ON migrate.column_usage TO PUBLIC;

COMMENT ON VIEW migrate.column_usage
	IS 'who has used the old form of migrations since they were deprecated';
