/*
 * backfill/attempt.c
 *		Moving the stale rows of a range although some of them fail.
 *
 * A range is tried as a whole, in one subtransaction. Where a row raises an
 * error the subtransaction is rolled back, what comes before the row's block
 * is tried again as a whole, and the block itself, in the next step, row by
 * row: each in a subtransaction of its own, those that fail being recorded in
 * migrate.failure. So tables without failing rows pay for one subtransaction
 * per batch, and no transaction has more of them than a block has rows.
 *
 * Errors that say nothing about a row (a cancel, a full disk, no memory) are
 * raised. A deadlock, a lock_timeout (a unique index or a foreign key made the
 * row wait) and a serialization failure say that others were in the way: such a
 * row is left behind like a locked one.
 *
 * An error leaves nothing of its subtransaction: identity, settings, snapshot,
 * locks and buffers go with it, and so does the converter that it interrupted
 * (convert/converter.c). What is recorded commits with the batch.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "backfill/attempt.h"
#include "catalog/store.h"
#include "catalog/try.h"
#include "convert/row_key.h"

/* ---- a try ---- */

typedef struct Look
{
	MigrateAction action;
	void	   *context;
} Look;

static void
look(void *context)
{
	Look	   *with_snapshot = context;

	PushActiveSnapshot(GetTransactionSnapshot());
	with_snapshot->action(with_snapshot->context);
	PopActiveSnapshot();
}

/* Do something under a snapshot of its own; the error that stopped it, or NULL. */
static ErrorData *
try(MigrateAction action, void *context)
{
	Look		with_snapshot = {action, context};

	return migrate_try(look, &with_snapshot);
}

/* Were others in the way? */
static bool
is_about_others(const ErrorData *error)
{
	return ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK ||
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/* ---- a row ---- */

typedef struct RowAttempt
{
	const Range *range;
	ItemPointer tid;
	RangeResult *result;
	char	   *key;			/* out: of the row, allocated in context */
	MemoryContext context;
} RowAttempt;

static void
convert_row(void *context)
{
	RowAttempt *row = context;

	migrate_range_convert_row(row->range, row->tid, row->result);
}

/* Types may bring their own output functions and casts to JSON: the owner's to run. */
static void
read_key(void *context)
{
	RowAttempt *row = context;
	Relation	heap = row->range->heap;
	TupleTableSlot *slot = table_slot_create(heap, NULL);
	StoreIdentity self;

	if (table_tuple_fetch_row_version(heap, row->tid, GetActiveSnapshot(), slot))
	{
		migrate_store_become_restricted(&self, heap->rd_rel->relowner);
		row->key = MemoryContextStrdup(row->context, migrate_row_key_json(heap, slot));
		migrate_store_become_self(&self);
	}
	ExecDropSingleTupleTableSlot(slot);
}

static char *
row_key(RowAttempt *row)
{
	ErrorData  *error;

	row->key = NULL;
	error = try(read_key, row);
	if (error != NULL && migrate_try_is_about_server(error))
		ReThrowError(error);
	if (row->key == NULL)
		row->key = psprintf("{\"ctid\": \"(%u,%u)\"}",
							ItemPointerGetBlockNumber(row->tid),
							ItemPointerGetOffsetNumber(row->tid));
	return row->key;
}

/* Where no expression was at fault, it is the newest form that does not fit. */
static const char *
failed_migration(const RowAttempt *row)
{
	Conversion *conversion = row->range->conversion;

	if (row->result->culprit != NULL)
		return row->result->culprit;
	return conversion->live[conversion->nlive - 1].name;
}

static void
record_failure(RowAttempt *row, const ErrorData *error)
{
	StoreArg	heap = store_relation(RelationGetRelid(row->range->heap));

	migrate_store_execute("INSERT INTO migrate.failure AS f"
						  " (relation, migration, row_key, sqlstate, message)"
						  " VALUES ($1, $2, $3::jsonb, $4, $5)"
						  " ON CONFLICT (relation, migration, row_key) DO UPDATE"
						  " SET sqlstate = $4, message = $5, attempts = f.attempts + 1,"
						  "  last_seen = clock_timestamp()",
						  STORE_ARGS(heap, store_text(failed_migration(row)),
									 store_text(row_key(row)),
									 store_text(unpack_sql_state(error->sqlerrcode)),
									 store_text(error->message)));
	migrate_store_execute("UPDATE migrate.backfill SET last_error = $2 WHERE relation = $1",
						  STORE_ARGS(heap, store_text(error->message)));
}

static void
attempt_row(const Range *range, ItemPointer tid, RangeResult *result)
{
	RangeResult before = *result;
	RowAttempt	row = {range, tid, result, NULL, CurrentMemoryContext};
	ErrorData  *error = try(convert_row, &row);
	const char *culprit = result->culprit;

	if (error == NULL)
		return;
	if (migrate_try_is_about_server(error))
		ReThrowError(error);
	*result = before;
	migrate_range_leave(result, ItemPointerGetBlockNumber(tid));
	if (is_about_others(error))
		result->skipped++;
	else
	{
		result->failed++;
		result->culprit = culprit;
		record_failure(&row, error);
		result->culprit = NULL;
	}
	FreeErrorData(error);
}

/* ---- a block ---- */

typedef struct RangeAttempt
{
	const Range *range;
	RangeResult *result;
	List	   *tids;			/* out: allocated in context */
	MemoryContext context;
} RangeAttempt;

static void
find_rows(void *context)
{
	RangeAttempt *attempt = context;
	MemoryContext old = MemoryContextSwitchTo(attempt->context);

	attempt->tids = migrate_range_find(attempt->range);
	MemoryContextSwitchTo(old);
}

static void
attempt_block_by_row(const Range *range, RangeResult *result)
{
	Range		block = *range;
	RangeAttempt attempt = {&block, result, NIL, CurrentMemoryContext};
	ErrorData  *error;
	ListCell   *lc;

	block.to = range->from + 1;
	migrate_range_start(&block, result);
	if ((error = try(find_rows, &attempt)) != NULL)
		ReThrowError(error);
	foreach(lc, attempt.tids)
	{
		if (range->max_rows > 0 && result->converted >= range->max_rows)
			return;
		attempt_row(&block, lfirst(lc), result);
	}
	result->next = block.to;
}

/* ---- a range ---- */

static void
convert_range(void *context)
{
	RangeAttempt *attempt = context;

	migrate_range_start(attempt->range, attempt->result);
	migrate_range_convert(attempt->range, attempt->result);
}

bool
migrate_attempt_whole(const Range *range, RangeResult *result)
{
	RangeAttempt attempt = {range, result, NIL, CurrentMemoryContext};
	ErrorData  *error = try(convert_range, &attempt);

	if (error == NULL)
		return true;
	if (migrate_try_is_about_server(error))
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

void
migrate_attempt_range(const Range *range, RangeResult *result)
{
	Range		part = *range;
	RangeAttempt attempt = {&part, result, NIL, CurrentMemoryContext};
	ErrorData  *error;

	while ((error = try(convert_range, &attempt)) != NULL)
	{
		if (migrate_try_is_about_server(error))
			ReThrowError(error);
		FreeErrorData(error);
		if (result->at == part.from)
		{
			attempt_block_by_row(&part, result);
			return;
		}
		part.to = result->at;
	}
}
