/*
 * backfill/horizon.c
 *		Whether what a transaction has made dead can still be seen, and by whom.
 *
 * The horizon is the server's own, by which it prunes. In a database it is held
 * back by transactions in it that have a number or a snapshot, prepared
 * ones included, by standbys with hot_standby_feedback, and by replication slots.
 *
 * A session in migrate.wait() may hold a snapshot and waits for us: to wait for
 * it would never end, so it is passed over.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "pgstat.h"
#include "utils/snapmgr.h"

#include "backfill/horizon.h"
#include "catalog/store.h"
#include "compat.h"
#include "shmem.h"

bool
migrate_horizon_has_passed(Relation heap, TransactionId xid)
{
	return !TransactionIdIsValid(xid) ||
		GlobalVisTestIsRemovableXid(GlobalVisTestFor(heap), xid);
}

#define IS_IN_THE_WAY(column)	"age(" column ") >= age($1)"

#define SESSIONS \
	"SELECT format('an old snapshot of process %s (%s, %s%s)', a.pid," \
	"  coalesce(a.usename, a.backend_type)," \
	"  coalesce(nullif(a.application_name, ''), 'unnamed program')," \
	"  coalesce(', ' || nullif(a.state, ''), '')) AS who," \
	" greatest(age(a.backend_xmin), age(a.backend_xid)) AS age," \
	" (SELECT l.virtualxid FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'virtualxid'" \
	"  AND l.granted LIMIT 1) AS vxid" \
	" FROM pg_stat_activity a" \
	" WHERE a.pid <> pg_backend_pid()" \
	"  AND (" IS_IN_THE_WAY("a.backend_xmin") " OR " IS_IN_THE_WAY("a.backend_xid") ")" \
	"  AND (a.backend_type = 'walsender' OR a.datname = current_database())" \
	"  AND a.pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)"

#define PREPARED \
	"SELECT format('prepared transaction %L (%s)', x.gid, x.owner), age(x.transaction), NULL" \
	" FROM pg_prepared_xacts x" \
	" WHERE x.database = current_database() AND " IS_IN_THE_WAY("x.transaction")

#define SLOTS \
	"SELECT format('replication slot %I', s.slot_name), age(s.xmin), NULL" \
	" FROM pg_replication_slots s WHERE " IS_IN_THE_WAY("s.xmin")

static bool
is_waiting_for_us(const char *text)
{
	VirtualTransactionId vxid;
	int			backend;
	unsigned int local;

	if (text == NULL || sscanf(text, "%d/%u", &backend, &local) != 2)
		return false;
	memset(&vxid, 0, sizeof(vxid));
	COMPAT_VXID_BACKEND(vxid) = backend;
	vxid.localTransactionId = local;
	return migrate_shmem_is_waiting(vxid);
}

char *
migrate_horizon_holder(TransactionId xid)
{
	StoreArg	limit = store_datum(XIDOID, TransactionIdGetDatum(xid), false);
	List	   *holders;
	ListCell   *lc;

	pgstat_clear_snapshot();	/* else as they were when the transaction first looked */
	holders = migrate_store_fetch_rows("SELECT who, vxid FROM (" SESSIONS " UNION ALL "
									   PREPARED " UNION ALL " SLOTS ") AS holder"
									   " ORDER BY age DESC",
									   STORE_ARGS(limit), 2);
	foreach(lc, holders)
	{
		char	  **holder = lfirst(lc);

		if (!is_waiting_for_us(holder[1]))
			return holder[0];
	}
	return NULL;
}
