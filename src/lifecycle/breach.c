/*
 * lifecycle/breach.c
 *		Naming the rows that break a constraint of the new form.
 *
 * The server says of one row that it does, by a value. Who is to mend them wants
 * to know which they are, and all of them: so they are looked for, and recorded
 * among the failures by their keys, so many at most. They leave that list when
 * the table is gone through again (migrate.retry()).
 *
 * Locks: AccessShareLock. It reads the whole table, in one snapshot.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog/failure.h"
#include "catalog/own_statement.h"
#include "catalog/store.h"
#include "convert/row_key.h"
#include "lifecycle/breach.h"

#define MAX_ROWS	"100"

static char *
key_of(Oid heap_oid, ItemPointer tid)
{
	Relation	heap = table_open(heap_oid, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	char	   *key = NULL;

	if (table_tuple_fetch_row_version(heap, tid, GetActiveSnapshot(), slot))
		key = migrate_row_key_json(heap, slot);
	ExecDropSingleTupleTableSlot(slot);
	table_close(heap, NoLock);
	return key;
}

static void
record_broken(Oid heap, const Breach *breach, const char *key)
{
	migrate_failure_record(heap, breach->migration, key, NULL, breach->sqlerrcode,
						   breach->message);
	migrate_store_execute("UPDATE migrate.backfill SET last_error = $2 WHERE relation = $1",
						  STORE_ARGS(store_relation(heap), store_text(breach->message)));
}

typedef struct BrokenRow
{
	Oid			heap;
	char	   *key;
} BrokenRow;

/* Also those that a policy would hide from the table's owner, by FORCE. */
static void
see_all_rows(void)
{
	Oid			role;
	int			sec_context;

	GetUserIdAndSecContext(&role, &sec_context);
	SetUserIdAndSecContext(role, sec_context | SECURITY_NOFORCE_RLS);
	(void) set_config_option("row_security", "on", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

static List *
find_broken(Oid root, const Breach *breach)
{
	MemoryContext caller = CurrentMemoryContext;
	char	   *sql = psprintf("SELECT r.tableoid, r.ctid FROM %s r WHERE %s LIMIT " MAX_ROWS,
							   migrate_store_relation_sql(root), breach->condition);
	List	   *broken = NIL;
	StoreIdentity self;

	migrate_store_become_restricted(&self, breach->searcher);
	see_all_rows();
	SPI_connect();
	migrate_own_query(sql, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Oid			heap = DatumGetObjectId(SPI_getbinval(tuple, desc, 1, &isnull));
		ItemPointer tid = (ItemPointer) DatumGetPointer(SPI_getbinval(tuple, desc, 2, &isnull));
		char	   *key = key_of(heap, tid);
		MemoryContext spi = MemoryContextSwitchTo(caller);
		BrokenRow  *row = palloc(sizeof(BrokenRow));

		row->heap = heap;
		row->key = key ? pstrdup(key) : NULL;
		broken = lappend(broken, row);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	migrate_store_become_self(&self);
	return broken;
}

bool
migrate_breach_record(Oid root, const Breach *breach)
{
	List	   *broken = find_broken(root, breach);
	ListCell   *lc;

	foreach(lc, broken)
	{
		BrokenRow  *row = lfirst(lc);

		if (row->key != NULL)
			record_broken(row->heap, breach, row->key);
	}
	return broken != NIL;
}
