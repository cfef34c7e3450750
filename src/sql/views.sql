/*
 * A row per migration. "contractable" is what can be said at a glance: it is
 * complete and no row failed; migrate.check_contract() looks at all the rest.
 * "last_used" is when a column of the old form was last used, where that is
 * recorded.
 */
CREATE VIEW migrate.status AS
SELECT m.name,
	m.relation,
	m.state,
	m.version,
	m.depends_on,
	m.add_source AS add,
	m.remove,
	CASE m.state
		WHEN 'expanded' THEN coalesce(
			(SELECT floor(1000.0 * sum(b.next_block) / nullif(sum(b.blocks_total), 0)) / 10
			 FROM migrate.backfill b WHERE b.root = m.relation), 0)
		WHEN 'complete' THEN 100
		WHEN 'contracted' THEN 100
	END::numeric(5,1) AS percent,
	coalesce(f.failures, 0) AS failures,
	m.deprecated_at,
	NULL::timestamptz AS last_used,
	m.state = 'complete' AND f.failures IS NULL AS contractable,
	m.comment
FROM migrate.migration m
LEFT JOIN (SELECT migration, count(*) AS failures
		   FROM migrate.failure GROUP BY migration) f ON f.migration = m.name
ORDER BY m.seq;

-- What happened to every migration, also to those that were forgotten or went with their table.
CREATE VIEW migrate.history AS
SELECT at, migration, event, role, detail
FROM migrate.event
ORDER BY seq;

GRANT SELECT ON migrate.status, migrate.history TO PUBLIC;
