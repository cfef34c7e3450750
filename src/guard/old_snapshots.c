/*
 * guard/old_snapshots.c
 *		Who may still look at a table as it was before a migration was complete.
 *
 * DROP COLUMN is not undone for old snapshots, and after the contract nobody
 * upgrades rows any more: a snapshot that does not see every row converted
 * would read what was never there. Completion waited for those of its own
 * server and database (but for sessions in migrate.wait()); asked about here
 * are all that are older than the completion itself:
 *
 * - transactions of this database whose oldest snapshot is. The horizon that a
 *   session shows may be old only because another transaction's is, so those
 *   that began after the completion are left out: their snapshots are younger.
 *   So are VACUUMs, which see no rows with theirs;
 * - standbys that say what their queries see, by walsender or by slot;
 * - replication slots, whose consumers have yet to read rows in the old form;
 *   not those that the server has given up (wal_status "lost"): nobody will;
 * - prepared transactions older than it, and whatever their age those that hold
 *   a lock on the table, for which a DROP COLUMN would wait for ever.
 *
 * What a standby says is older than what its queries see, never younger, so it
 * can be believed. One without hot_standby_feedback, or that has just connected,
 * says nothing. If a transaction there, REPEATABLE READ, from before the
 * completion, first reads the table when the contract has been replayed, it is
 * not protected; one that has read it before holds its lock, for which the
 * replay waits, or which it cancels. So such standbys are mentioned.
 *
 * A transaction that holds no snapshot and no lock is no concern of ours,
 * however old: its next snapshot sees the completion. Those who hold just a
 * lock are waited for by lifecycle/lock.c, and named there.
 *
 * Once nobody older is left, nobody older comes. A snapshot can be handed on (SET
 * TRANSACTION SNAPSHOT) while the transaction that has it is open: who gets one
 * from before the completion has it from a transaction that had ended when
 * completed_at was read, so he began before that and is found. (Not found is who gets
 * one after the completion from another who got it.)
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"

#include "catalog/sessions.h"
#include "catalog/store.h"
#include "guard/old_snapshots.h"

/*
 * The completion: NULL in both where there was none. Its transaction number
 * is dropped too when it is so old that a 32-bit number cannot be compared, and
 * when it is of the server from which a dump was restored here. What this one has
 * not given out yet is; but our own may be beyond the snapshot, too.
 */
#define COMPLETION \
	"WITH completion AS (SELECT completed_at AS at," \
	" CASE WHEN pg_snapshot_xmax(pg_current_snapshot())::text::numeric" \
	"   - completed_xid::text::numeric < 2000000000" \
	"  AND (completed_xid < pg_snapshot_xmax(pg_current_snapshot())" \
	"   OR completed_xid = pg_current_xact_id_if_assigned())" \
	"  THEN completed_xid::xid END AS xid" \
	" FROM migrate.migration WHERE name = $1)"

/* Not after the completion; both ages are counted from the same number. */
#define IS_OLDER(xid)	"age(" xid ") >= age(completion.xid)"

/* In each: who it is, in words, and what to type about it. $2 is the table, $3 who asks. */

#define AGE_OF_SNAPSHOT	"format('snapshot %s transactions old', age(a.backend_xmin))"

/* Where track_activities is off, it is not known when a transaction began. */
#define SESSIONS \
	" SELECT " SESSION_IN_WORDS("a.pid", "$3") " || ', ' || " AGE_OF_SNAPSHOT "," \
	"  format('SELECT pg_terminate_backend(%s)', a.pid)" \
	" FROM completion, pg_stat_activity a" \
	" WHERE a.pid <> pg_backend_pid() AND a.datname = current_database()" \
	" AND a.backend_type <> 'autovacuum worker'" \
	" AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum v WHERE v.pid = a.pid)" \
	" AND " IS_OLDER("a.backend_xmin") \
	" AND coalesce(a.xact_start <= completion.at, true)" \
	" ORDER BY age(a.backend_xmin) DESC, a.pid"

/* A walsender that is in no database serves a standby. */
#define WALSENDERS \
	" pg_stat_activity a WHERE a.backend_type = 'walsender' AND a.datname IS NULL"

#define STANDBY_IN_WORDS(asker) \
	"format('standby %I (by process %s%s)', a.application_name, a.pid," \
	" CASE WHEN " SESSION_IS_OPEN_TO(asker) " THEN ', at ' || host(a.client_addr) END)"

#define STANDBYS \
	" SELECT " STANDBY_IN_WORDS("$3") " || ', ' || " AGE_OF_SNAPSHOT "," \
	"  format('on %I, end its oldest transactions: SELECT pid, query FROM pg_stat_activity" \
	" ORDER BY age(backend_xmin) DESC NULLS LAST', a.application_name)" \
	" FROM completion," WALSENDERS " AND " IS_OLDER("a.backend_xmin") \
	" ORDER BY a.pid"

#define PREPARED \
	" SELECT format('prepared transaction %L (%s, since %s)'," \
	"   x.gid, x.owner, date_trunc('second', x.prepared))," \
	"  format('COMMIT PREPARED %L or ROLLBACK PREPARED %L', x.gid, x.gid)" \
	" FROM completion, pg_prepared_xacts x" \
	" WHERE x.database = current_database() AND (" IS_OLDER("x.transaction") \
	" OR EXISTS (SELECT 1 FROM pg_locks l, pg_locks t, pg_database d" \
	"  WHERE l.locktype = 'relation' AND l.pid IS NULL" \
	"  AND t.locktype = 'transactionid' AND t.transactionid = x.transaction" \
	"  AND t.virtualtransaction = l.virtualtransaction" \
	"  AND d.datname = current_database() AND l.database = d.oid" \
	"  AND (l.relation = $2 OR l.relation IN (SELECT relid FROM pg_partition_tree($2)))))" \
	" ORDER BY x.prepared"

#define SLOTS \
	" SELECT format('%s replication slot %I (%s, %s %s transactions old)', s.slot_type, s.slot_name," \
	"   coalesce('in use by process ' || s.active_pid, 'not in use')," \
	"   CASE WHEN age(s.xmin) >= age(s.catalog_xmin) OR s.catalog_xmin IS NULL" \
	"    THEN 'xmin' ELSE 'catalog_xmin' END, greatest(age(s.xmin), age(s.catalog_xmin)))," \
	"  CASE WHEN s.active THEN format('have the consumer of %I catch up', s.slot_name)" \
	"   ELSE format('SELECT pg_drop_replication_slot(%L) if its consumer is gone', s.slot_name) END" \
	" FROM completion, pg_replication_slots s" \
	" WHERE (s.database IS NULL OR s.database = current_database())" \
	" AND s.wal_status IS DISTINCT FROM 'lost'" \
	" AND (" IS_OLDER("s.xmin") " OR " IS_OLDER("s.catalog_xmin") ")" \
	" ORDER BY s.slot_name"

static const char *const kinds[] = {SESSIONS, STANDBYS, PREPARED, SLOTS};

static List *
fetch(const Migration *migration, const char *kind)
{
	return migrate_store_fetch_rows(psprintf(COMPLETION "%s", kind),
									STORE_ARGS(store_text(migration->name),
											   store_relation(migration->relid),
											   store_oid(GetUserId())), 2);
}

static void
append(StringInfo to, const char *text)
{
	appendStringInfo(to, "%s%s", to->len > 0 ? "; " : "", text);
}

char *
migrate_snapshots_older(const Migration *migration, char **hint)
{
	StringInfoData who;
	StringInfoData what;

	initStringInfo(&who);
	initStringInfo(&what);

	/* The server keeps what it showed of other sessions to the end of the transaction. */
	pgstat_clear_snapshot();
	for (int i = 0; i < lengthof(kinds); i++)
	{
		ListCell   *lc;

		foreach(lc, fetch(migration, kinds[i]))
		{
			char	  **row = lfirst(lc);

			append(&who, row[0]);
			append(&what, row[1]);
		}
	}
	*hint = what.data;
	return who.len > 0 ? who.data : NULL;
}

char *
migrate_snapshots_unknown(void)
{
	return migrate_store_fetch("SELECT string_agg(" STANDBY_IN_WORDS("$1") ", '; ' ORDER BY a.pid)"
							   " FROM pg_stat_replication r," WALSENDERS
							   " AND r.pid = a.pid AND r.state IN ('streaming', 'catchup')"
							   " AND a.backend_xmin IS NULL"
							   " AND NOT EXISTS (SELECT FROM pg_replication_slots s"
							   "  WHERE s.active_pid = a.pid AND s.xmin IS NOT NULL)",
							   STORE_ARGS(store_oid(GetUserId())));
}
