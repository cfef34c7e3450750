/*
 * lifecycle/use_flush.c
 *		Carrying the counts of uses from shared memory to the table.
 *
 * What was written is taken off the counters when its transaction commits, neither
 * before nor without that: an error or a crash leaves the counters as they were, or
 * empty. The commit is a synchronous one, for what it vouches for is then nowhere else.
 *
 * Clients call themselves what they like. So of each table only so many uses are kept
 * apart; of the others, those that were used longest ago, it is no longer told whose they
 * were. That takes nothing from a contract, which asks when a column was last used.
 *
 * Locks: ShareRowExclusiveLock on migrate.column_use, so that nobody else carries the
 * same, and nobody reads one without the other (guard/uses.c). The counters are
 * corrected in the commit's callback, which runs before locks are released.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog/store.h"
#include "catalog/use_counter.h"
#include "lifecycle/use_flush.h"

static List *written = NIL;		/* of UseCount *, in TopTransactionContext */

static void
xact_callback(XactEvent event, void *arg)
{
	ListCell   *lc;

	if (event == XACT_EVENT_COMMIT)
	{
		foreach(lc, written)
		{
			UseCount   *count = lfirst(lc);

			migrate_use_counter_subtract(count->ref, count->count);
		}
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		written = NIL;
}

void
migrate_use_flush_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
}

static StoreArg
store_time(TimestampTz time)
{
	return store_datum(TIMESTAMPTZOID, TimestampTzGetDatum(time), false);
}

#define SUM_UP \
	" DO UPDATE SET count = u.count + excluded.count," \
	"  first_used = least(u.first_used, excluded.first_used)," \
	"  last_used = greatest(u.last_used, excluded.last_used)"

/* Unless nobody wants to know any more. */
#define WRITE_COUNT \
	"INSERT INTO migrate.column_use AS u" \
	" SELECT $1, $2, $3, $4, $5, $6, $7, $8 WHERE EXISTS (" \
	"  SELECT FROM migrate.migration m WHERE m.relation = $1" \
	"  AND $2 = ANY (m.remove) AND m.deprecated_at <= $7" \
	"  AND m.state IN ('expanded', 'complete'))" \
	" ON CONFLICT (relation, column_name, kind, role, application_name)" SUM_UP

static void
write_count(const UseCount *count)
{
	const UseKey *key = &count->key;
	char	   *column = get_attname(key->relation, key->attno, true);

	if (column == NULL)
		return;
	migrate_store_execute(WRITE_COUNT,
								 STORE_ARGS(store_relation(key->relation), store_name(column),
											store_text(key->kind == USE_WRITE ? "write" : "read"),
											store_name(migrate_use_role_name(key)),
											store_text(key->application_name),
											store_time(count->first_used),
											store_time(count->last_used),
											store_bigint((int64) count->count)));
}

/* How many uses of a table's columns are kept apart. */
#define MAX_NAMED	"1000"

#define LUMP_TOGETHER \
	"WITH ranked AS (" \
	"  SELECT *, row_number() OVER (PARTITION BY relation ORDER BY last_used DESC) AS place" \
	"  FROM migrate.column_use WHERE role <> '')," \
	" gone AS (DELETE FROM migrate.column_use u USING ranked r" \
	"  WHERE r.place > " MAX_NAMED " AND u.relation = r.relation" \
	"  AND u.column_name = r.column_name AND u.kind = r.kind AND u.role = r.role" \
	"  AND u.application_name = r.application_name" \
	"  RETURNING u.*)" \
	" INSERT INTO migrate.column_use AS u" \
	" SELECT relation, column_name, kind, '', '', min(first_used), max(last_used), sum(count)" \
	" FROM gone GROUP BY relation, column_name, kind" \
	" ON CONFLICT (relation, column_name, kind, role, application_name)" SUM_UP

void
migrate_use_flush(void)
{
	MemoryContext old;
	ListCell   *lc;

	/* What a subtransaction writes could be rolled back without the commit failing. */
	Assert(GetCurrentTransactionNestLevel() == 1);
	if (migrate_use_counter_list() == NIL)
		return;
	LockRelationOid(migrate_store_table("column_use"), ShareRowExclusiveLock);
	old = MemoryContextSwitchTo(TopTransactionContext);
	written = migrate_use_counter_list();
	MemoryContextSwitchTo(old);
	foreach(lc, written)
		write_count(lfirst(lc));
	migrate_store_execute(LUMP_TOGETHER, STORE_NO_ARGS);
	ForceSyncCommit();
}
