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
 *   that began after the completion are left out: their snapshots are younger;
 * - standbys that say what their queries see, by walsender or by slot;
 * - replication slots, whose consumers have yet to read rows in the old form;
 * - prepared transactions older than it, and whatever their age those that hold
 *   a lock on the table, for which a DROP COLUMN would wait for ever.
 *
 * A standby without hot_standby_feedback says nothing of its queries. One of
 * them that is in a REPEATABLE READ transaction from before the completion, and
 * first reads the table when the contract has been replayed, is not protected.
 *
 * A transaction that holds no snapshot and no lock is no concern of ours,
 * however old: its next snapshot sees the completion. Those who hold just a
 * lock are waited for by lifecycle/lock.c, and named there.
 *
 * Once nobody older is left, nobody older comes: a snapshot can be handed on
 * (SET TRANSACTION SNAPSHOT) only while the transaction that took it is open.
 */
#include "postgres.h"

#include "pgstat.h"
#include "utils/builtins.h"

#include "catalog/store.h"
#include "guard/old_snapshots.h"

/*
 * The completion: NULL in both where there was none. Its transaction number
 * is dropped too when it is so old that a 32-bit number cannot be compared.
 */
#define COMPLETION \
	"WITH completion AS (SELECT completed_at AS at," \
	" CASE WHEN pg_snapshot_xmax(pg_current_snapshot())::text::numeric" \
	"   - completed_xid::text::numeric < 2000000000 THEN completed_xid::xid END AS xid" \
	" FROM migrate.migration WHERE name = $1)"

/* Not after the completion; both ages are counted from the same number. */
#define IS_OLDER(xid)	"age(" xid ") >= age(completion.xid)"

#define SESSIONS \
	" FROM completion, pg_stat_activity a" \
	" WHERE a.pid <> pg_backend_pid() AND " IS_OLDER("a.backend_xmin") \
	" AND CASE WHEN a.backend_type = 'walsender' THEN true" \
	"  ELSE a.datname = current_database() AND a.backend_type <> 'autovacuum worker'" \
	"  AND a.xact_start <= completion.at END"

#define PREPARED \
	" FROM completion, pg_prepared_xacts x" \
	" WHERE x.database = current_database() AND (" IS_OLDER("x.transaction") \
	" OR EXISTS (SELECT 1 FROM pg_locks l, pg_locks t, pg_database d" \
	"  WHERE l.locktype = 'relation' AND l.pid IS NULL" \
	"  AND t.locktype = 'transactionid' AND t.transactionid = x.transaction" \
	"  AND t.virtualtransaction = l.virtualtransaction" \
	"  AND d.datname = current_database() AND l.database = d.oid" \
	"  AND (l.relation = $2 OR l.relation IN (SELECT relid FROM pg_partition_tree($2)))))"

#define SLOTS \
	" FROM completion, pg_replication_slots s" \
	" WHERE (s.database IS NULL OR s.database = current_database())" \
	" AND (" IS_OLDER("s.xmin") " OR " IS_OLDER("s.catalog_xmin") ")"

static char *
fetch(const Migration *migration, const char *columns, const char *source)
{
	char	   *sql = psprintf(COMPLETION " SELECT %s%s", columns, source);

	return migrate_store_fetch(sql, STORE_ARGS(store_text(migration->name),
											   store_relation(migration->relid)));
}

static void
append(StringInfo to, const char *text)
{
	if (text != NULL)
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

	append(&who, fetch(migration,
					   "string_agg(format('process %s (%s, %s%s, snapshot %s transactions old)',"
					   " a.pid, coalesce(a.usename, a.backend_type),"
					   " coalesce(nullif(a.application_name, ''), 'unnamed program'),"
					   " coalesce(', ' || nullif(a.state, ''), ''), age(a.backend_xmin)),"
					   " '; ' ORDER BY age(a.backend_xmin) DESC, a.pid)", SESSIONS));
	append(&who, fetch(migration,
					   "string_agg(format('prepared transaction %L (%s, since %s)',"
					   " x.gid, x.owner, date_trunc('second', x.prepared)), '; ' ORDER BY x.prepared)",
					   PREPARED));
	append(&who, fetch(migration,
					   "string_agg(format('%s replication slot %I (%s)', s.slot_type, s.slot_name,"
					   " CASE WHEN s.active THEN 'behind' ELSE 'not in use' END), '; ' ORDER BY s.slot_name)",
					   SLOTS));

	append(&what, fetch(migration,
						"string_agg(format('SELECT pg_terminate_backend(%s)', a.pid), '; ' ORDER BY a.pid)",
						SESSIONS));
	append(&what, fetch(migration,
						"string_agg(format('COMMIT PREPARED %L or ROLLBACK PREPARED %L', x.gid, x.gid),"
						" '; ' ORDER BY x.prepared)", PREPARED));
	append(&what, fetch(migration,
						"string_agg(format('SELECT pg_drop_replication_slot(%L) if its consumer is gone', s.slot_name),"
						" '; ' ORDER BY s.slot_name)", SLOTS));

	*hint = what.data;
	return who.len > 0 ? who.data : NULL;
}
