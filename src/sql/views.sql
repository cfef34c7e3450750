/*
 * A row per migration that is being brought to completion. Migrations of one
 * table share one backfill; the partitions of a table are summed up. Blocks are
 * those of the first round; later ones go after what it had to leave.
 */
CREATE VIEW migrate.progress AS
WITH live AS (
	SELECT m.name, m.relation, m.seq, g.paused,
		max(m.version) OVER (PARTITION BY m.relation) AS newest
	FROM migrate.migration m JOIN migrate.managed g USING (relation)
	WHERE m.state = 'expanded'
), heaps AS (
	SELECT b.root, b.target,
		sum(b.blocks_total) AS blocks_total,
		sum(CASE WHEN b.phase = 'converting' AND b.round <= 1
				 THEN greatest(least(b.next_block - b.first_block + b.blocks_ahead, b.blocks_total), 0) * b.round
				 ELSE b.blocks_total END) AS blocks_done,
		sum(b.rows_converted) AS rows_converted,
		sum(b.rows_repaired) AS rows_repaired,
		sum(b.rows_pruned) AS rows_pruned,
		sum(b.rows_referenced) AS rows_referenced,
		-- What was done lately, and over which time.
		sum(migrate.fading(b.rows_recent, clock_timestamp() - b.recent_at)) AS rows_recent,
		sum(migrate.fading(b.blocks_recent, clock_timestamp() - b.recent_at)) AS blocks_recent,
		20 - migrate.fading(20, clock_timestamp() - (min(b.recent_from) FILTER (
			WHERE migrate.fading(b.blocks_recent + b.rows_recent, clock_timestamp() - b.recent_at) > 0))) AS recent_seconds,
		bool_or(b.phase = 'converting') AS is_converting,
		CASE WHEN bool_or(b.phase = 'converting') THEN 'converting'
			 WHEN bool_or(b.phase = 'waiting') THEN 'waiting'
			 WHEN bool_or(b.phase = 'failed') THEN 'failed'
			 WHEN bool_or(b.phase = 'scanned' AND EXISTS (
				SELECT FROM migrate.declared_index d WHERE d.relation = b.root
					AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
						WHERE i.indrelid = b.root AND i.indisvalid AND c.relname = d.name)))
				THEN 'indexing'
			 WHEN bool_or(b.phase = 'scanned') THEN 'proving'
			 ELSE 'settling' END AS phase,
		(array_agg(b.held_by ORDER BY b.updated_at DESC)
			FILTER (WHERE b.held_by IS NOT NULL))[1] AS held_by,
		(array_agg(b.last_error ORDER BY b.updated_at DESC)
			FILTER (WHERE b.last_error IS NOT NULL))[1] AS last_error
	FROM migrate.backfill b
	GROUP BY b.root, b.target
), measured AS (
	SELECT l.*, h.*,
		floor(1000.0 * h.blocks_done / nullif(h.blocks_total, 0)) / 10 AS share
	FROM live l LEFT JOIN heaps h ON h.root = l.relation AND h.target = l.newest
)
SELECT name AS migration,
	relation,
	CASE WHEN paused THEN 'paused' ELSE coalesce(phase, 'pending') END AS phase,
	coalesce(blocks_done, 0)::bigint AS blocks_done,
	coalesce(blocks_total, 0)::bigint AS blocks_total,
	coalesce(rows_converted, 0)::bigint AS rows_converted,
	coalesce(rows_repaired, 0)::bigint AS rows_repaired,
	coalesce(share, CASE WHEN is_converting IS FALSE THEN 100 ELSE 0 END)::numeric(5,1) AS percent,
	'[' || rpad(repeat('#', (coalesce(share, 0) / 5)::integer), 20, '.') || ']' AS bar,
	CASE WHEN is_converting AND NOT paused AND recent_seconds > 0
		 THEN round((rows_recent / recent_seconds)::numeric) END AS rows_per_second,
	-- (Beyond a century it is not worth a number.)
	CASE WHEN is_converting AND NOT paused AND recent_seconds > 0
			  AND (blocks_total - blocks_done) * recent_seconds < blocks_recent * 3e9
		 THEN date_trunc('second', make_interval(
			secs => ((blocks_total - blocks_done) * recent_seconds / blocks_recent)::double precision))
	END AS eta,
	CASE WHEN paused THEN 'migrate.pause()' ELSE held_by END AS throttled_by,
	migrate.active_workers(relation) AS workers,
	-- It may quote what is stored in the table.
	CASE WHEN has_table_privilege(relation::oid, 'SELECT')
			  AND NOT row_security_active(relation::oid)
		 THEN last_error END AS last_error,
	coalesce(rows_pruned, 0)::bigint AS rows_pruned,
	coalesce(rows_referenced, 0)::bigint AS rows_referenced
FROM measured
ORDER BY seq;

-- Rows that could not be converted, and declared indexes that could not be built, of
-- tables that the reader may read all of.
CREATE VIEW migrate.failures WITH (security_barrier) AS
SELECT relation, migration, row_key, sqlstate, message, first_seen, attempts
FROM (SELECT relation, migration, row_key, sqlstate, message, first_seen, attempts
	  FROM migrate.failure
	  UNION ALL
	  SELECT relation, migration, jsonb_build_object('index', name), error_code, error,
		first_error_at, attempts
	  FROM migrate.declared_index WHERE error IS NOT NULL) f
WHERE has_table_privilege(relation::oid, 'SELECT')
	AND NOT row_security_active(relation::oid)
ORDER BY first_seen;

GRANT SELECT ON migrate.progress, migrate.failures TO PUBLIC;

COMMENT ON VIEW migrate.progress
	IS 'how far the backfill of each expanded migration is, and what holds it';
COMMENT ON VIEW migrate.failures
	IS 'rows that could not be converted, and declared indexes that could not be built';

/*
 * A row per migration. "contractable" is what can be said at a glance: it is
 * complete, no row failed, and the quiet period is over; migrate.check_contract()
 * looks at all the rest. "last_used" is when a column of the old form was last used since
 * it was deprecated, for those who may see it in migrate.column_usage.
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
		WHEN 'expanded' THEN (SELECT p.percent FROM migrate.progress p WHERE p.migration = m.name)
		WHEN 'complete' THEN 100
		WHEN 'contracted' THEN 100
	END::numeric(5,1) AS percent,
	coalesce(f.failures, 0) + coalesce(i.failures, 0) AS failures,
	m.deprecated_at,
	uses.last_used,
	m.state = 'complete' AND f.failures IS NULL AND (m.remove = '{}' OR coalesce(
		greatest(m.deprecated_at, uses.last_used) + m.quiet_period <= clock_timestamp(), false))
		AS contractable,
	m.comment
FROM migrate.migration m
LEFT JOIN (SELECT migration, count(*) AS failures
		   FROM migrate.failure GROUP BY migration) f ON f.migration = m.name
LEFT JOIN (SELECT migration, count(*) AS failures FROM migrate.declared_index
		   WHERE error IS NOT NULL GROUP BY migration) i ON i.migration = m.name
LEFT JOIN (SELECT migration, max(last_used) AS last_used
		   FROM migrate.column_usage GROUP BY migration) uses ON uses.migration = m.name
ORDER BY m.seq;

-- What happened to every migration, also to those that were forgotten or went with their table.
CREATE VIEW migrate.history AS
SELECT at, migration, event, role, detail
FROM migrate.event
ORDER BY seq;

GRANT SELECT ON migrate.status, migrate.history TO PUBLIC;

COMMENT ON VIEW migrate.status
	IS 'every migration, its definition and its state';
COMMENT ON VIEW migrate.history
	IS 'what happened to every migration';
