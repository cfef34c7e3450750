/*
 * lifecycle/rollback_loss.c
 *		What a rollback would lose.
 *
 * A new column that some down of the migration reads has its value in the old
 * form as well: every write saw to that. One that no down reads may hold what
 * was written there and nowhere else. It does where the stored value is not
 * what up makes of the row's old form, or, without an up, not what ADD COLUMN
 * gave to rows that were there. Stale rows hold nothing yet.
 *
 * A column that up has rewritten in place has overwritten what was there, and no
 * one can tell whether that was something else: each row that is converted counts.
 *
 * Values are compared by their bytes: 1.0 and 1.00 are equal, yet who wrote the
 * one would not find it in the other.
 *
 * The heaps are scanned directly, with a new snapshot: row-level security hides
 * no row from it, and neither does an old REPEATABLE READ snapshot of the caller's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "convert/converter.h"
#include "lifecycle/rollback.h"

/* A column of the new form that no down reads. */
typedef struct LossyColumn
{
	Form_pg_attribute attr;
	int			up;				/* which of the migration's ups assigns it, or -1 */
	Datum		missing;		/* without an up: what older rows were given */
	bool		missing_isnull;
} LossyColumn;

static int
find_live(const Conversion *conversion, const char *name)
{
	for (int i = 0; i < conversion->nlive; i++)
		if (strcmp(conversion->live[i].name, name) == 0)
			return i;
	elog(ERROR, "migration \"%s\" is not live", name);
}

static bool
is_read_by_down(const LiveMigration *live, AttrNumber attno)
{
	ListCell   *lc;

	foreach(lc, live->downs)
		if (bms_is_member(attno, ((Assignment *) lfirst(lc))->inputs))
			return true;
	return false;
}

static int
find_up(const LiveMigration *live, AttrNumber attno)
{
	ListCell   *lc;

	foreach(lc, live->ups)
		if (((Assignment *) lfirst(lc))->target == attno)
			return foreach_current_index(lc);
	return -1;
}

static List *
lossy_columns(Relation rel, const LiveMigration *live)
{
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *columns = NIL;
	int			attno = -1;

	while ((attno = bms_next_member(live->added, attno)) >= 0)
	{
		LossyColumn *column;

		if (is_read_by_down(live, attno))
			continue;
		column = palloc(sizeof(LossyColumn));
		column->attr = TupleDescAttr(desc, attno - 1);
		column->up = find_up(live, attno);
		column->missing = getmissingattr(desc, attno, &column->missing_isnull);
		columns = lappend(columns, column);
	}
	return columns;
}

static List *
rewritten_names(Relation rel, const LiveMigration *live)
{
	List	   *names = NIL;
	int			attno = -1;

	while ((attno = bms_next_member(live->rewritten, attno)) >= 0)
		names = lappend(names, pstrdup(NameStr(TupleDescAttr(RelationGetDescr(rel),
															 attno - 1)->attname)));
	return names;
}

static bool
is_same(const LossyColumn *column, Datum stored, bool stored_isnull, Datum known, bool known_isnull)
{
	if (stored_isnull || known_isnull)
		return stored_isnull && known_isnull;
	return datum_image_eq(stored, known, column->attr->attbyval, column->attr->attlen);
}

/* Does the row in the converter hold a value that is nowhere else? Without need, up gave none. */
static bool
would_lose(Converter *converter, int live, List *columns)
{
	bool		needed = migrate_converter_needs(converter, live);
	ListCell   *lc;

	foreach(lc, columns)
	{
		LossyColumn *column = lfirst(lc);
		int			i = column->attr->attnum - 1;
		Datum		known = column->missing;
		bool		known_isnull = column->missing_isnull;

		if (column->up >= 0 && needed)
			known = migrate_converter_evaluate(converter, live, true, column->up,
											   &known_isnull);
		if (!is_same(column, converter->slot->tts_values[i], converter->slot->tts_isnull[i],
					 known, known_isnull))
			return true;
	}
	return false;
}

static int64
count_in_heap(Relation rel, Conversion *conversion, int live, List *columns)
{
	Converter  *converter = migrate_converter_acquire(conversion);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	int64		count = 0;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		int32		version = DatumGetInt32(slot_getattr(slot, conversion->version_attno, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (isnull || version < conversion->live[live].version)
			continue;
		if (conversion->live[live].rewritten != NULL)
		{
			count++;
			continue;
		}
		migrate_converter_load(converter, slot);
		if (would_lose(converter, live, columns))
			count++;
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	migrate_converter_release(converter);
	return count;
}

static List *
column_names(List *columns)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, columns)
		names = lappend(names, pstrdup(NameStr(((LossyColumn *) lfirst(lc))->attr->attname)));
	return names;
}

static void
add_loss(RollbackLoss *loss, Relation rel, Conversion *conversion, const char *migration)
{
	int			live = find_live(conversion, migration);
	List	   *columns = lossy_columns(rel, &conversion->live[live]);

	loss->unread = column_names(columns);
	loss->rewritten = rewritten_names(rel, &conversion->live[live]);
	if ((loss->unread != NIL || loss->rewritten != NIL) &&
		rel->rd_rel->relkind == RELKIND_RELATION)
		loss->rows += count_in_heap(rel, conversion, live, columns);
}

RollbackLoss
migrate_rollback_loss(const Migration *migration)
{
	RollbackLoss loss = {0, NIL, NIL};
	ListCell   *lc;

	foreach(lc, find_all_inheritors(migration->relid, AccessShareLock, NULL))
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);
		Conversion *conversion = migrate_conversion_get(RelationGetRelid(rel));

		/* A table that inherits from a managed one is not managed with it. */
		if (conversion != NULL)
			add_loss(&loss, rel, conversion, migration->name);
		table_close(rel, NoLock);
	}
	return loss;
}
