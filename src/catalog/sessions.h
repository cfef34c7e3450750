/*
 * catalog/sessions.h
 *		What is said of other sessions, and to whom.
 *
 * We look at them with the rights of the extension's owner, and tell the caller.
 * So the server's own rule (HAS_PGSTAT_PERMISSIONS, pg_stat_activity) is kept here:
 * everybody may know a session's process, role and program, and how old its
 * snapshot is; what it is doing, and since when, only its role's members and
 * those of pg_read_all_stats. Locks, prepared transactions and slots are open to all.
 */
#ifndef MIGRATE_CATALOG_SESSIONS_H
#define MIGRATE_CATALOG_SESSIONS_H

/* SQL, true where "asker" (an oid; 0 is everybody) may know all of session "a". */
#define SESSION_IS_OPEN_TO(asker) \
	"(pg_has_role(" asker ", 'pg_read_all_stats', 'USAGE')" \
	" OR coalesce(pg_has_role(" asker ", a.usesysid, 'USAGE'), false))"

/* SQL for a session in words; "a" is its row in pg_stat_activity, "pid" also known without. */
#define SESSION_IN_WORDS(pid, asker) \
	"format('process %s (%s, %s%s)', " pid "," \
	" coalesce(a.usename, CASE WHEN " SESSION_IS_OPEN_TO(asker) " THEN a.backend_type END," \
	"  'no role')," \
	" coalesce(nullif(a.application_name, ''), 'unnamed program')," \
	" CASE WHEN " SESSION_IS_OPEN_TO(asker) " THEN" \
	"  coalesce(', ' || nullif(a.state, ''), '') ||" \
	"  coalesce(', in its transaction for ' ||" \
	"   extract(epoch FROM clock_timestamp() - a.xact_start)::bigint || ' s', '') END)"

#endif							/* MIGRATE_CATALOG_SESSIONS_H */
