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
 * A row that failed is locked until the record of it is committed, so that what
 * is recorded is true then (catalog/failure.c).
 *
 * An error leaves nothing of its subtransaction: identity, settings, snapshot,
 * locks and buffers go with it, and so does the converter that it interrupted
 * (convert/converter.c). What is recorded commits with the batch.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "backfill/attempt.h"
#include "catalog/failure.h"
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

/* ---- a row ---- */

typedef struct RowAttempt
{
	const Range *range;
	ItemPointer tid;
	RangeResult *result;
} RowAttempt;

static void
convert_row(void *context)
{
	RowAttempt *row = context;

	migrate_range_convert_row(row->range, row->tid, row->result);
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
record_failure(RowAttempt *row, TupleTableSlot *failed, const ErrorData *error)
{
	Relation	heap = row->range->heap;

	migrate_failure_record(RelationGetRelid(heap), failed_migration(row),
						   migrate_row_key_to_record(heap, failed), row->tid,
						   error->sqlerrcode, error->message);
	migrate_store_execute("UPDATE migrate.backfill SET last_error = $2 WHERE relation = $1",
						  STORE_ARGS(store_relation(RelationGetRelid(heap)),
									 store_text(error->message)));
}

/*
 * Hold the row while the record of it is not committed: no writer mends it, or
 * records it himself, before. One that somebody holds is left for later, and
 * what somebody has changed since it was read is his to speak of.
 */
static TM_Result
lock_failed(const RowAttempt *row, TupleTableSlot *failed)
{
	TM_FailureData failure;
	TM_Result	result;

	PushActiveSnapshot(GetTransactionSnapshot());
	result = table_tuple_lock(row->range->heap, row->tid, GetActiveSnapshot(), failed,
							  GetCurrentCommandId(true), LockTupleNoKeyExclusive,
							  LockWaitSkip, 0, &failure);
	PopActiveSnapshot();
	return result;
}

static void
note_failure(RowAttempt *row, const ErrorData *error)
{
	RangeResult *result = row->result;
	TupleTableSlot *failed = table_slot_create(row->range->heap, NULL);

	switch (lock_failed(row, failed))
	{
		case TM_Ok:
			record_failure(row, failed, error);
			result->failed++;
			migrate_range_leave(result, ItemPointerGetBlockNumber(row->tid));
			break;
		case TM_Updated:
		case TM_Deleted:
			break;
		default:
			result->skipped++;
			migrate_range_leave(result, ItemPointerGetBlockNumber(row->tid));
	}
	ExecDropSingleTupleTableSlot(failed);
}

static void
attempt_row(const Range *range, ItemPointer tid, RangeResult *result)
{
	RangeResult before = *result;
	RowAttempt	row = {range, tid, result};
	ErrorData  *error = try(convert_row, &row);
	const char *culprit = result->culprit;

	if (error == NULL)
		return;
	if (migrate_try_is_about_server(error))
		ReThrowError(error);
	*result = before;
	if (migrate_try_is_about_others(error))
	{
		result->skipped++;
		migrate_range_leave(result, ItemPointerGetBlockNumber(tid));
	}
	else
	{
		result->culprit = culprit;
		note_failure(&row, error);
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
