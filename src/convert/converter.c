/*
 * convert/converter.c
 *		Evaluating a conversion on one row at a time.
 *
 * An expression that runs SQL may fire the same trigger and so come here
 * again, and a compiled expression is not re-entrant: each user acquires an
 * evaluator of its own, and gives it back for the next row's. One that an error
 * interrupted is in no state to be used again; it is thrown away when its
 * subtransaction ends.
 *
 * Where an expression is not inlinable all of them run, and were compiled, as
 * the table's owner in a security-restricted operation: in the trigger, in the
 * backfill and in migrate.up() alike, no code of a table's owner ever has the
 * rights of whoever touches the table.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "optimizer/optimizer.h"
#include "utils/expandeddatum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "convert/converter.h"
#include "convert/converter_private.h"
#include "convert/subquery.h"

static Converter *in_use = NULL;	/* acquired and not yet released, newest first */

/* ---- acquire and release ---- */

static ExprState *
compile(const Assignment *assignment)
{
	if (assignment->subquery != NULL)
		return NULL;			/* planned by itself, when it is first run */
	return ExecInitExpr(expression_planner(copyObject(assignment->expr)), NULL);
}

static List *
compile_list(List *assignments)
{
	List	   *states = NIL;
	ListCell   *lc;

	foreach(lc, assignments)
		states = lappend(states, compile(lfirst(lc)));
	return states;
}

void
converter_restrict(const Conversion *conversion, StoreIdentity *self)
{
	if (!conversion->all_inlinable)
		migrate_store_become_restricted(self, conversion->owner);
}

void
converter_unrestrict(const Conversion *conversion, const StoreIdentity *self)
{
	if (!conversion->all_inlinable)
		migrate_store_become_self(self);
}

static Converter *
make_converter(Conversion *conversion)
{
	MemoryContext context = AllocSetContextCreate(conversion->context, "migrate converter",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Converter  *converter = palloc0(sizeof(Converter));
	StoreIdentity self;

	converter->conversion = conversion;
	converter->context = context;
	converter->slot = MakeSingleTupleTableSlot(conversion->tupdesc, &TTSOpsVirtual);
	converter->econtext = CreateStandaloneExprContext();
	converter->econtext->ecxt_scantuple = converter->slot;
	converter_restrict(conversion, &self);
	for (int i = 0; i < conversion->nlive; i++)
	{
		converter->ups = lappend(converter->ups, compile_list(conversion->live[i].ups));
		converter->downs = lappend(converter->downs, compile_list(conversion->live[i].downs));
		converter->needed = lappend(converter->needed, conversion->live[i].needed == NULL
									? NULL : compile(conversion->live[i].needed));
	}
	converter_unrestrict(conversion, &self);
	MemoryContextSwitchTo(old);
	return converter;
}

Converter *
migrate_converter_acquire(Conversion *conversion)
{
	Converter  *converter = conversion->idle;

	if (converter != NULL)
		conversion->idle = converter->next;
	else
		converter = make_converter(conversion);
	converter->reach = conversion->nlive;
	converter->spoken = 0;
	converter->subxact = GetCurrentSubTransactionId();
	converter->next = in_use;
	in_use = converter;
	return converter;
}

void
migrate_converter_release(Converter *converter)
{
	/* The newest is released first: users nest. */
	Assert(in_use == converter);
	in_use = converter->next;
	converter->next = converter->conversion->idle;
	converter->conversion->idle = converter;
}

/* Throw away what was acquired in a subtransaction that failed, and in those below it. */
static void
discard_interrupted(SubTransactionId subxact)
{
	while (in_use != NULL && in_use->subxact >= subxact)
	{
		Converter  *interrupted = in_use;

		in_use = interrupted->next;
		MemoryContextDelete(interrupted->context);
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId subxact, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		discard_interrupted(subxact);
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT)
		discard_interrupted(TopSubTransactionId);
}

/*
 * Called after migrate_conversion_init(): callbacks run last registered first,
 * so evaluators go before the conversions whose memory holds them.
 */
void
migrate_converter_init(void)
{
	RegisterSubXactCallback(subxact_callback, NULL);
	RegisterXactCallback(xact_callback, NULL);
}

/* ---- one assignment ---- */

typedef struct EvaluationContext
{
	const LiveMigration *migration;
	const Assignment *assignment;
	const Conversion *conversion;
	const char *part;
} EvaluationContext;

static void
evaluation_error_callback(void *arg)
{
	EvaluationContext *context = arg;
	AttrNumber	target = context->assignment->target;

	if (target == InvalidAttrNumber)
		errcontext("\"%s\" of migration \"%s\"", context->part, context->migration->name);
	else
		errcontext("\"%s\" of migration \"%s\" for column \"%s\"",
				   context->part, context->migration->name,
				   NameStr(TupleDescAttr(context->conversion->tupdesc, target - 1)->attname));
}

static Datum
evaluate_subquery(Converter *converter, const Assignment *assignment, bool *isnull)
{
	MemoryContext old = MemoryContextSwitchTo(converter->econtext->ecxt_per_tuple_memory);
	Datum		value = subquery_evaluate(assignment->subquery,
										  converter->econtext->ecxt_scantuple, isnull);

	MemoryContextSwitchTo(old);
	return value;
}

static Datum
evaluate_raw(Converter *converter, const LiveMigration *migration,
			 const Assignment *assignment, ExprState *state, const char *part, bool *isnull)
{
	EvaluationContext context = {migration, assignment, converter->conversion, part};
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = evaluation_error_callback,
		.arg = &context,
	};
	Datum		value;

	error_context_stack = &callback;
	converter->evaluating = migration;
	converter->evaluating_down = strcmp(part, "down") == 0;
	if (assignment->subquery != NULL)
		value = evaluate_subquery(converter, assignment, isnull);
	else
		value = ExecEvalExprSwitchContext(state, converter->econtext, isnull);
	converter->evaluating = NULL;
	error_context_stack = callback.previous;
	return value;
}

Datum
converter_evaluate(Converter *converter, const LiveMigration *migration,
		 const Assignment *assignment, ExprState *state, bool up, bool *isnull)
{
	Form_pg_attribute attr = TupleDescAttr(converter->conversion->tupdesc,
										   assignment->target - 1);
	Datum		value = evaluate_raw(converter, migration, assignment, state,
									 up ? "up" : "down", isnull);

	/* Others will read the value: nobody may change it in place. */
	return MakeExpandedObjectReadOnly(value, *isnull, attr->attlen);
}

bool
migrate_converter_needs(Converter *converter, int i)
{
	LiveMigration *migration = &converter->conversion->live[i];
	Datum		value;
	bool		isnull;

	if (migration->needed == NULL)
		return true;
	value = evaluate_raw(converter, migration, migration->needed,
						 list_nth(converter->needed, i), "needed", &isnull);
	return !isnull && DatumGetBool(value);
}

Datum
migrate_converter_evaluate(Converter *converter, int i, bool up, int nth, bool *isnull)
{
	Conversion *conversion = converter->conversion;
	LiveMigration *migration = &conversion->live[i];
	Assignment *assignment = list_nth(up ? migration->ups : migration->downs, nth);
	List	   *states = list_nth(up ? converter->ups : converter->downs, i);
	StoreIdentity self;
	Datum		value;

	converter_restrict(conversion, &self);
	value = converter_evaluate(converter, migration, assignment, list_nth(states, nth), up, isnull);
	converter_unrestrict(conversion, &self);
	return value;
}

/* ---- a row ---- */

static void
forget_row(Converter *converter)
{
	ResetExprContext(converter->econtext);
	converter->was_needed = PG_UINT32_MAX;
	converter->changed = NULL;
	converter->speaks_new = 0;
}

void
migrate_converter_load(Converter *converter, TupleTableSlot *row)
{
	TupleTableSlot *slot = converter->slot;
	int			natts = converter->conversion->tupdesc->natts;

	forget_row(converter);
	slot_getallattrs(row);
	ExecClearTuple(slot);
	memcpy(slot->tts_values, row->tts_values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, row->tts_isnull, natts * sizeof(bool));
	slot->tts_tableOid = row->tts_tableOid;
	slot->tts_tid = row->tts_tid;
	ExecStoreVirtualTuple(slot);
}

TupleTableSlot *
migrate_converter_start(Converter *converter)
{
	TupleTableSlot *slot = converter->slot;
	int			natts = converter->conversion->tupdesc->natts;

	forget_row(converter);
	ExecClearTuple(slot);
	memset(slot->tts_values, 0, natts * sizeof(Datum));
	memset(slot->tts_isnull, true, natts * sizeof(bool));
	return ExecStoreVirtualTuple(slot);
}

void
migrate_converter_note_spoken(Converter *converter, uint32 migrations)
{
	converter->spoken = migrations;
}
