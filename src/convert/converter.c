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
#include "utils/datum.h"
#include "utils/expandeddatum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "catalog/store.h"
#include "convert/converter.h"
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

static void
restrict_if_needed(const Conversion *conversion, StoreIdentity *self)
{
	if (!conversion->all_inlinable)
		migrate_store_become_restricted(self, conversion->owner);
}

static void
unrestrict_if_needed(const Conversion *conversion, const StoreIdentity *self)
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
	restrict_if_needed(conversion, &self);
	for (int i = 0; i < conversion->nlive; i++)
	{
		converter->ups = lappend(converter->ups, compile_list(conversion->live[i].ups));
		converter->downs = lappend(converter->downs, compile_list(conversion->live[i].downs));
		converter->needed = lappend(converter->needed, conversion->live[i].needed == NULL
									? NULL : compile(conversion->live[i].needed));
	}
	unrestrict_if_needed(conversion, &self);
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

static Datum
evaluate(Converter *converter, const LiveMigration *migration,
		 const Assignment *assignment, ExprState *state, bool up, bool *isnull)
{
	Form_pg_attribute attr = TupleDescAttr(converter->conversion->tupdesc,
										   assignment->target - 1);
	Datum		value = evaluate_raw(converter, migration, assignment, state,
									 up ? "up" : "down", isnull);

	/* Others will read the value: nobody may change it in place. */
	return MakeExpandedObjectReadOnly(value, *isnull, attr->attlen);
}

/* Is the row, as it is below migration i, one that needs it? */
static bool
needs(Converter *converter, int i)
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

	restrict_if_needed(conversion, &self);
	value = evaluate(converter, migration, assignment, list_nth(states, nth), up, isnull);
	unrestrict_if_needed(conversion, &self);
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

/* Which assignments of a migration are to be computed. */
typedef struct Extent
{
	bool		up;				/* those of up, else of down */
	bool		whole;			/* the row is new, or was never in this form: all */
	bool		in_place_only;	/* the new form was written: up has only these to mend */
	bool		fill;			/* the row did not need it before: also what is empty */
	bool		spoken;			/* by a client of the new form: nothing is rewritten */
} Extent;

/*
 * Where the row is not new: what reads a column that was set. What is set and
 * assigned too is computed by down, for the new form wins, and by an up in
 * place, for whoever set the column gave it as it was before; any other up
 * leaves it.
 */
static bool
is_called_for(const Converter *converter, const Assignment *assignment,
			  const Extent *extent, const Bitmapset *set)
{
	if (assignment->generated || (extent->in_place_only && !assignment->in_place) ||
		(extent->spoken && assignment->in_place))
		return false;
	if (extent->fill &&
		(assignment->in_place || converter->slot->tts_isnull[assignment->target - 1]))
		return true;
	return extent->whole || bms_overlap(assignment->inputs, set) ||
		((!extent->up || assignment->in_place) && bms_is_member(assignment->target, set));
}

/*
 * Compute one form of a migration from the other. As in UPDATE ... SET, all
 * values are computed before any is assigned. Returns "set" grown by what was
 * assigned.
 */
static Bitmapset *
compute_form(Converter *converter, int i, Extent extent, Bitmapset *set)
{
	bool		up = extent.up;
	LiveMigration *migration = &converter->conversion->live[i];
	List	   *assignments = up ? migration->ups : migration->downs;
	List	   *states = list_nth(up ? converter->ups : converter->downs, i);
	int			count = list_length(assignments);
	Datum	   *values = palloc(Max(count, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(count, 1) * sizeof(bool));
	bool	   *computed = palloc0(Max(count, 1) * sizeof(bool));

	for (int n = 0; n < count; n++)
	{
		Assignment *assignment = list_nth(assignments, n);

		if (!is_called_for(converter, assignment, &extent, set))
			continue;
		values[n] = evaluate(converter, migration, assignment,
							 list_nth(states, n), up, &nulls[n]);
		computed[n] = true;
	}
	for (int n = 0; n < count; n++)
	{
		AttrNumber	target = ((Assignment *) list_nth(assignments, n))->target;

		if (!computed[n])
			continue;
		converter->slot->tts_values[target - 1] = values[n];
		converter->slot->tts_isnull[target - 1] = nulls[n];
		set = bms_add_member(set, target);
	}
	pfree(values);
	pfree(nulls);
	pfree(computed);
	return set;
}

/*
 * The old form was written so that the row has come not to need the new one:
 * what would be computed is what such rows have there, nothing. Columns for
 * which up does not read what was written are left alone.
 */
static Bitmapset *
empty_form(Converter *converter, int i, Extent extent, Bitmapset *set)
{
	Bitmapset  *emptied = NULL;
	ListCell   *lc;

	foreach(lc, converter->conversion->live[i].ups)
	{
		Assignment *up = lfirst(lc);

		if (up->in_place || !is_called_for(converter, up, &extent, set))
			continue;
		converter->slot->tts_values[up->target - 1] = (Datum) 0;
		converter->slot->tts_isnull[up->target - 1] = true;
		emptied = bms_add_member(emptied, up->target);
	}
	return bms_join(set, emptied);
}

/*
 * Does assignment n of up, of what the row being evaluated holds, give what a row has in
 * its column? "needed" is whether up is applied at all: it gives NULL where it is not.
 *
 * Values are compared by their bytes, as they are stored, and not by their type's
 * equality: 1.0 and 1.00, '1 day' and '24 hours', or two spellings in a
 * case-insensitive type are equal, yet who wrote the one would not find it in the other.
 */
static bool
gives(Converter *converter, int i, int n, bool needed, const TupleTableSlot *row)
{
	LiveMigration *migration = &converter->conversion->live[i];
	Assignment *up = list_nth(migration->ups, n);
	Form_pg_attribute attr = TupleDescAttr(converter->conversion->tupdesc, up->target - 1);
	Datum		given = (Datum) 0;
	bool		given_isnull = true;

	if (needed)
		given = evaluate(converter, migration, up,
						 list_nth(list_nth(converter->ups, i), n), true, &given_isnull);
	if (given_isnull || row->tts_isnull[up->target - 1])
		return given_isnull && row->tts_isnull[up->target - 1];
	return datum_image_eq(given, row->tts_values[up->target - 1], attr->attbyval, attr->attlen);
}

/* Does up, applied to its own result, change it? */
static AttrNumber
find_unstable(Converter *converter, int i)
{
	LiveMigration *migration = &converter->conversion->live[i];

	for (int n = 0; n < list_length(migration->ups); n++)
	{
		Assignment *up = list_nth(migration->ups, n);

		if (!up->generated && !gives(converter, i, n, true, converter->slot))
			return up->target;
	}
	return InvalidAttrNumber;
}

static void
check_idempotence(Converter *converter, int i)
{
	LiveMigration *migration = &converter->conversion->live[i];
	AttrNumber	unstable = find_unstable(converter, i);

	if (unstable == InvalidAttrNumber)
		return;
	converter->evaluating = migration;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("\"up\" of migration \"%s\" gives column \"%s\" another value each time it is applied",
					migration->name,
					NameStr(TupleDescAttr(converter->conversion->tupdesc, unstable - 1)->attname)),
			 errdetail("It rewrites columns in place, so it is applied to rows that are converted already."),
			 errhint("Have it leave alone what it has made.")));
}

/* How many of the live migrations a row of some version has behind it, within the reach. */
static int
migrations_done(const Converter *converter, int32 version)
{
	int			done = 0;

	while (done < converter->reach && converter->conversion->live[done].version <= version)
		done++;
	return done;
}

static void
upgrade(Converter *converter, int done, bool check)
{
	static const Extent all = {.up = true, .whole = true};
	Conversion *conversion = converter->conversion;

	for (int i = done; i < converter->reach; i++)
	{
		if (!needs(converter, i))
			continue;
		bms_free(compute_form(converter, i, all, NULL));
		if (check && conversion->live[i].rewritten != NULL)
			check_idempotence(converter, i);
	}
}

/* Bring the forms of the first "done" migrations in step. */
static void
reconcile(Converter *converter, int done, const Bitmapset *set_by_statement, bool whole)
{
	Conversion *conversion = converter->conversion;
	Extent		down = {.up = false, .whole = whole};
	Extent		up = {.up = true, .whole = whole};
	Bitmapset  *set = bms_copy(set_by_statement);

	for (int i = done - 1; i >= 0; i--)
	{
		/* What a newer migration's down computed counts: the chain agrees. */
		if (!bms_overlap(conversion->live[i].added, set))
			continue;
		converter->speaks_new |= (uint32) 1 << i;
		set = compute_form(converter, i, down, set);
	}
	for (int i = 0; i < done; i++)
	{
		bool		was_needed = (converter->was_needed & ((uint32) 1 << i)) != 0;

		up.in_place_only = (converter->speaks_new & ((uint32) 1 << i)) != 0;
		up.fill = !was_needed;
		up.spoken = (converter->spoken & ((uint32) 1 << i)) != 0;
		if (needs(converter, i))
			set = compute_form(converter, i, up, set);
		else if (!whole && was_needed)
			set = empty_form(converter, i, up, set);
	}
	converter->changed = set;
}

void
migrate_converter_upgrade(Converter *converter, int32 from_version, bool check)
{
	Conversion *conversion = converter->conversion;
	StoreIdentity self;

	if (from_version >= conversion->version)
		return;
	restrict_if_needed(conversion, &self);
	upgrade(converter, migrations_done(converter, from_version), check);
	unrestrict_if_needed(conversion, &self);
}

void
migrate_converter_reconcile(Converter *converter, const Bitmapset *set, bool whole)
{
	Conversion *conversion = converter->conversion;
	StoreIdentity self;

	restrict_if_needed(conversion, &self);
	reconcile(converter, converter->reach, set, whole);
	unrestrict_if_needed(conversion, &self);
}

/* Does a row that is stored in the form of live migration i have there what is nowhere else? */
static AttrNumber
find_lost(Converter *converter, int i, TupleTableSlot *stored)
{
	LiveMigration *migration = &converter->conversion->live[i];
	bool		needed = needs(converter, i);

	for (int n = 0; n < list_length(migration->ups); n++)
	{
		Assignment *up = list_nth(migration->ups, n);

		if (up->in_place || up->generated)
			continue;
		if (bms_overlap(up->inputs, converter->changed))
			converter->changed = bms_add_member(converter->changed, up->target);
		else if (!gives(converter, i, n, needed, stored))
			return up->target;
	}
	return InvalidAttrNumber;
}

AttrNumber
migrate_converter_find_lost(Converter *converter, TupleTableSlot *stored, int32 version)
{
	Conversion *conversion = converter->conversion;
	AttrNumber	lost = InvalidAttrNumber;
	StoreIdentity self;

	slot_getallattrs(stored);
	converter->econtext->ecxt_scantuple = stored;
	restrict_if_needed(conversion, &self);
	for (int i = converter->reach; i < conversion->nlive && lost == InvalidAttrNumber &&
								   conversion->live[i].version <= version;
		 i++)
		lost = find_lost(converter, i, stored);
	unrestrict_if_needed(conversion, &self);
	converter->econtext->ecxt_scantuple = converter->slot;
	return lost;
}

/*
 * A column that up makes of nothing in the row (a constant, a default) stands beside the
 * old form, as one that up does not assign: no write of the old form touches it.
 */
static AttrNumber
find_unrepresented(Converter *converter, int i, bool whole)
{
	LiveMigration *migration = &converter->conversion->live[i];

	if (!needs(converter, i))
		return InvalidAttrNumber;
	for (int n = 0; n < list_length(migration->ups); n++)
	{
		Assignment *up = list_nth(migration->ups, n);

		if (up->in_place || up->generated || up->inputs == NULL)
			continue;
		if ((whole || bms_is_member(up->target, converter->changed) ||
			 bms_overlap(up->inputs, converter->changed)) &&
			!gives(converter, i, n, true, converter->slot))
			return up->target;
	}
	return InvalidAttrNumber;
}

int
migrate_converter_find_unrepresented(Converter *converter, bool whole, AttrNumber *column)
{
	Conversion *conversion = converter->conversion;
	int			found = -1;
	StoreIdentity self;

	restrict_if_needed(conversion, &self);
	for (int i = 0; i < converter->reach && found < 0; i++)
	{
		if ((converter->speaks_new & ((uint32) 1 << i)) == 0 ||
			conversion->live[i].lacked_by == NULL)
			continue;
		*column = find_unrepresented(converter, i, whole);
		if (*column != InvalidAttrNumber)
			found = i;
	}
	unrestrict_if_needed(conversion, &self);
	return found;
}

void
migrate_converter_reconcile_and_upgrade(Converter *converter, const Bitmapset *set,
										int32 from_version)
{
	Conversion *conversion = converter->conversion;
	int			done = migrations_done(converter, from_version);
	StoreIdentity self;

	restrict_if_needed(conversion, &self);
	reconcile(converter, done, set, false);
	upgrade(converter, done, false);
	unrestrict_if_needed(conversion, &self);
}

void
migrate_converter_apply(Converter *converter, int i, bool up)
{
	Extent		all = {.up = up, .whole = true};
	StoreIdentity self;

	restrict_if_needed(converter->conversion, &self);
	if (!up || needs(converter, i))
		bms_free(compute_form(converter, i, all, NULL));
	unrestrict_if_needed(converter->conversion, &self);
}

AttrNumber
migrate_converter_find_unstable(Converter *converter, int i)
{
	AttrNumber	unstable;
	StoreIdentity self;

	restrict_if_needed(converter->conversion, &self);
	unstable = find_unstable(converter, i);
	unrestrict_if_needed(converter->conversion, &self);
	return unstable;
}

/* ---- who needs what ---- */

bool
migrate_converter_needs(Converter *converter, int i)
{
	return needs(converter, i);
}

void
migrate_converter_note_needed(Converter *converter, TupleTableSlot *row, int32 version)
{
	int			done = migrations_done(converter, version);

	converter->econtext->ecxt_scantuple = row;
	for (int i = 0; i < done; i++)
		if (!needs(converter, i))
			converter->was_needed &= ~((uint32) 1 << i);
	converter->econtext->ecxt_scantuple = converter->slot;
}

void
migrate_converter_note_spoken(Converter *converter, uint32 migrations)
{
	converter->spoken = migrations;
}

/*
 * The first migration that would change the row settles it: up to that one the
 * row has the form that each is asked about.
 */
bool
migrate_converter_is_in_need(Converter *converter, int32 version)
{
	Conversion *conversion = converter->conversion;

	for (int i = migrations_done(converter, version); i < converter->reach; i++)
		if (version < conversion->live[i].needed_from || needs(converter, i))
			return true;
	return false;
}
