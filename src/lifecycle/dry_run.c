/*
 * lifecycle/dry_run.c
 *		What a migration would make of the rows that there are.
 *
 * Rows are read straight from the heaps, carried over in memory, and carried
 * back; nothing is written. A migration that is not expanded has no columns in
 * the table yet: it is evaluated by the conversion that the table would have if
 * it were (convert/conversion_load.c), along with those that it depends on and
 * that are not expanded either.
 *
 * Expressions run as the table's owner in a restricted context, as they will,
 * and besides in a transaction that is read-only meanwhile.
 *
 * Errors.  The rows of a heap are gone through in a subtransaction. A row that
 * raises an error ends it; the row is counted, and the next subtransaction
 * begins at the row behind it. So there is one for each row that fails, and
 * none below another. An error that says nothing about a row (a cancel, no
 * memory) is raised.
 *
 * Locks: AccessShareLock on the table and its partitions, to the end of the
 * transaction, as by a SELECT.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog/store.h"
#include "catalog/try.h"
#include "convert/converter.h"
#include "lifecycle/define.h"
#include "lifecycle/dry_run.h"
#include "migrate.h"

/* A heap that is being gone through. */
typedef struct Trial
{
	Relation	heap;
	Conversion *conversion;
	int			migration;		/* index among the conversion's: the one that is tried */
	double		sample;
	BlockNumber blocks;			/* of the heap */
	BlockNumber blocks_read;
	ItemPointerData at;			/* the row that is being tried */
	BlockNumber to;				/* end of the run of blocks that is being read */
	DryRun	   *result;
	MemoryContext context;		/* of the result */
} Trial;

/* ---- a row ---- */

/* Does a table that is not managed yet have its rows in the first version. */
static int32
stored_version(const Trial *trial, TupleTableSlot *row)
{
	AttrNumber	attno = trial->conversion->version_attno;
	bool		isnull;

	if (attno > RelationGetNumberOfAttributes(trial->heap))
		return MIGRATE_FIRST_VERSION;
	return DatumGetInt32(slot_getattr(row, attno, &isnull));
}

static void
load_row(Trial *trial, Converter *converter, TupleTableSlot *row)
{
	TupleTableSlot *slot = migrate_converter_start(converter);

	slot_getallattrs(row);
	memcpy(slot->tts_values, row->tts_values, row->tts_nvalid * sizeof(Datum));
	memcpy(slot->tts_isnull, row->tts_isnull, row->tts_nvalid * sizeof(bool));
	slot->tts_tableOid = row->tts_tableOid;
	slot->tts_tid = row->tts_tid;
}

/* Bring the row to the form that the migration starts from. */
static void
bring_up_to_it(Trial *trial, Converter *converter, int32 version)
{
	for (int i = 0; i < trial->migration; i++)
		if (trial->conversion->live[i].version > version)
			migrate_converter_apply(converter, i, true);
}

/* Are the columns that down assigns as they were? */
static bool
is_as_before(const LiveMigration *migration, TupleTableSlot *slot,
			 const Datum *values, const bool *nulls)
{
	ListCell   *lc;

	foreach(lc, migration->downs)
	{
		int			i = ((Assignment *) lfirst(lc))->target - 1;
		Form_pg_attribute attr = TupleDescAttr(slot->tts_tupleDescriptor, i);

		if (nulls[i] != slot->tts_isnull[i] ||
			(!nulls[i] && !datum_image_eq(values[i], slot->tts_values[i],
										  attr->attbyval, attr->attlen)))
			return false;
	}
	return true;
}

static void
try_row(Trial *trial, Converter *converter, TupleTableSlot *row)
{
	const LiveMigration *migration = &trial->conversion->live[trial->migration];
	TupleTableSlot *slot = converter->slot;
	Size		natts = slot->tts_tupleDescriptor->natts;
	Datum	   *values;
	bool	   *nulls;
	bool		returns;

	load_row(trial, converter, row);
	bring_up_to_it(trial, converter, stored_version(trial, row));
	if (!migrate_converter_needs(converter, trial->migration))
		return;
	values = palloc(natts * sizeof(Datum));
	nulls = palloc(natts * sizeof(bool));
	memcpy(values, slot->tts_values, natts * sizeof(Datum));
	memcpy(nulls, slot->tts_isnull, natts * sizeof(bool));

	migrate_converter_apply(converter, trial->migration, true);
	returns = migration->rewritten == NULL ||
		migrate_converter_find_unstable(converter, trial->migration) == InvalidAttrNumber;
	migrate_converter_apply(converter, trial->migration, false);
	if (!returns || !is_as_before(migration, slot, values, nulls))
		trial->result->round_trip_failures++;
	pfree(values);
	pfree(nulls);
}

/* ---- rows that fail ---- */

typedef struct FailedRow
{
	Trial	   *trial;
	char	   *json;
} FailedRow;

/* Types may bring their own output functions and casts to JSON: the owner's to run. */
static void
show_row(void *context)
{
	FailedRow  *failed = context;
	Trial	   *trial = failed->trial;
	TupleTableSlot *slot = table_slot_create(trial->heap, NULL);

	PushActiveSnapshot(GetTransactionSnapshot());
	if (table_tuple_fetch_row_version(trial->heap, &trial->at, GetActiveSnapshot(), slot))
	{
		Datum		row = ExecFetchSlotHeapTupleDatum(slot);

		failed->json = MemoryContextStrdup(trial->context,
										   TextDatumGetCString(DirectFunctionCall1(row_to_json,
																				   row)));
	}
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(slot);
}

static void
count_failure(Trial *trial, const ErrorData *error)
{
	FailedRow	failed = {trial, NULL};
	ErrorData  *second;

	if (trial->result->rows_failed++ > 0)
		return;
	second = migrate_try(show_row, &failed);
	if (second != NULL && migrate_try_is_about_server(second))
		ReThrowError(second);
	if (failed.json == NULL)
		failed.json = psprintf("{\"ctid\": \"(%u,%u)\"}",
							   ItemPointerGetBlockNumber(&trial->at),
							   ItemPointerGetOffsetNumber(&trial->at));
	trial->result->first_error = pstrdup(error->message);
	trial->result->first_failed_row = failed.json;
}

/* ---- a heap ---- */

/* From the row at "at" to the end of the run. */
static void
try_rows(void *context)
{
	Trial	   *trial = context;
	Converter  *converter = migrate_converter_acquire(trial->conversion);
	TupleTableSlot *row = table_slot_create(trial->heap, NULL);
	ItemPointerData last;
	TableScanDesc scan;

	ItemPointerSet(&last, trial->to - 1, MaxOffsetNumber);
	PushActiveSnapshot(GetTransactionSnapshot());
	scan = table_beginscan_tidrange(trial->heap, GetActiveSnapshot(), &trial->at, &last);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, row))
	{
		CHECK_FOR_INTERRUPTS();
		trial->at = row->tts_tid;
		trial->result->rows_checked++;
		try_row(trial, converter, row);
	}
	table_endscan(scan);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(row);
	migrate_converter_release(converter);
}

static void
try_run(Trial *trial, BlockNumber from, BlockNumber to)
{
	ErrorData  *error;

	ItemPointerSet(&trial->at, from, FirstOffsetNumber);
	trial->to = to;
	trial->blocks_read += to - from;
	while ((error = migrate_try(try_rows, trial)) != NULL)
	{
		if (migrate_try_is_about_server(error))
			ReThrowError(error);
		count_failure(trial, error);
		FreeErrorData(error);
		ItemPointerSetOffsetNumber(&trial->at, ItemPointerGetOffsetNumber(&trial->at) + 1);
	}
}

/* Blocks are picked at even distances, the first one always. */
static bool
is_picked(const Trial *trial, BlockNumber block)
{
	return ceil((block + 1.0) * trial->sample / 100) > ceil(block * trial->sample / 100);
}

static void
try_heap(Trial *trial)
{
	BlockNumber block = 0;

	trial->blocks = RelationGetNumberOfBlocks(trial->heap);
	while (block < trial->blocks)
	{
		BlockNumber from = block;

		while (block < trial->blocks && is_picked(trial, block))
			block++;
		if (block > from)
			try_run(trial, from, block);
		else
			block++;
	}
}

/* ---- the migration ---- */

static bool
is_expanded(const Migration *migration)
{
	return migrate_migration_is_live(migration) || migration->state == MIGRATION_CONTRACTED;
}

/* What would have to be expanded on the table before and with it, in that order. */
static List *
append_unexpanded(List *migrations, Migration *migration)
{
	ListCell   *lc;

	foreach(lc, migrations)
		if (strcmp(((Migration *) lfirst(lc))->name, migration->name) == 0)
			return migrations;
	foreach(lc, migration->depends_on)
	{
		Migration  *before = migrate_migration_load(lfirst(lc), false, false);

		if (!is_expanded(before) && before->relid == migration->relid)
			migrations = append_unexpanded(migrations, before);
	}
	migrate_lifecycle_cook_again(migration);
	return lappend(migrations, migration);
}

static int
find_migration(const Conversion *conversion, const char *name)
{
	for (int i = 0; i < conversion->nlive; i++)
		if (strcmp(conversion->live[i].name, name) == 0)
			return i;
	elog(ERROR, "migration \"%s\" is missing in a trial conversion", name);
}

/* The table, or the leaves of a partitioned one, locked. */
static List *
lock_heaps(Oid relid)
{
	List	   *heaps = NIL;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION)
			heaps = lappend_oid(heaps, lfirst_oid(lc));
	return heaps;
}

/*
 * What runs meanwhile shall not write, whatever it claims to be. (The variable
 * and not the setting, which from server 17 on is not to be changed for a
 * while; an error's subtransaction or transaction puts it back as it was.)
 */
static void
become_reader(StoreIdentity *self, bool *was_read_only, Oid relid)
{
	migrate_store_become_restricted(self, migrate_store_relation_owner(relid));
	*was_read_only = XactReadOnly;
	XactReadOnly = true;
}

static void
become_writer(const StoreIdentity *self, bool was_read_only)
{
	XactReadOnly = was_read_only;
	migrate_store_become_self(self);
}

/* As if the blocks that were not read took as long as those that were. */
static double
estimate(instr_time begin, double blocks, double blocks_read)
{
	instr_time	end;

	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, begin);
	return blocks_read > 0 ? INSTR_TIME_GET_DOUBLE(end) * blocks / blocks_read : 0;
}

static void
try_heaps(Migration *migration, List *unexpanded, double sample, DryRun *result)
{
	double		blocks = 0;
	double		blocks_read = 0;
	instr_time	begin;
	StoreIdentity self;
	bool		was_read_only;
	ListCell   *lc;

	INSTR_TIME_SET_CURRENT(begin);
	become_reader(&self, &was_read_only, migration->relid);
	foreach(lc, lock_heaps(migration->relid))
	{
		Trial		trial = {
			.heap = table_open(lfirst_oid(lc), NoLock),
			.conversion = migrate_conversion_expect(lfirst_oid(lc), migration->relid, unexpanded),
			.sample = sample,
			.result = result,
			.context = CurrentMemoryContext,
		};

		trial.migration = find_migration(trial.conversion, migration->name);
		try_heap(&trial);
		blocks += trial.blocks;
		blocks_read += trial.blocks_read;
		table_close(trial.heap, NoLock);
	}
	become_writer(&self, was_read_only);
	result->estimated_seconds = estimate(begin, blocks, blocks_read);
}

void
migrate_lifecycle_dry_run(const char *name, double sample, DryRun *result)
{
	Migration  *migration = migrate_migration_load(name, false, false);
	List	   *unexpanded = NIL;

	memset(result, 0, sizeof(DryRun));
	migrate_migration_check_owner(migration->relid);
	if (!(sample > 0 && sample <= 100))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"sample\" must be greater than 0 and at most 100"),
				 errdetail("It is the percentage of the table to try.")));
	if (migration->state == MIGRATION_CONTRACTED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("migration \"%s\" cannot be tried", name),
				 errdetail("It is contracted: its old form is gone.")));

	LockRelationOid(migration->relid, AccessShareLock);
	if (!migrate_migration_is_live(migration))
		unexpanded = append_unexpanded(NIL, migration);
	try_heaps(migration, unexpanded, sample, result);
}
