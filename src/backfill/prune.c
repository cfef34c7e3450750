/*
 * backfill/prune.c
 *		Removing rows that are not worth converting.
 *
 * migrate.set_prune() names a condition; a stale row that meets it is deleted, or
 * moved to an archive, where it would be converted. The condition is kept as that of a
 * disabled trigger (lifecycle/prune.c), so it is there with the relation, in the
 * attribute numbers of each partition.
 *
 * Columns are what they read as: in the condition, and in what the archive gets. So a row
 * is pruned that SELECT ... WHERE would show, and the archive gets what it would show.
 *
 * What is removed.  A stale row is looked at as it is found in its page. To be removed
 * it is locked first, in the mode that DELETE takes and without waiting: who holds it,
 * be it FOR KEY SHARE because he has inserted a row that refers to it, is not waited
 * for, and the row comes round again. The lock is of the version that was looked at;
 * had anybody updated that, the answer would be that he did, and the row is converted
 * by his write. So what the condition is asked about once more, under the lock and a
 * snapshot taken then (for functions in it that look at other tables), is the row as it
 * is, and stays until it is gone. The archive gets the row before it is deleted, in the
 * same subtransaction: both are done, or neither.
 *
 * Below the executor: no user trigger of the pruned table fires, and no policy hides
 * rows. The triggers that keep foreign keys do fire, each row by itself, where they carry on
 * (CASCADE, SET NULL) as statements on the tables that refer, with their triggers. What
 * would refuse (NO ACTION, RESTRICT) is asked of many rows at once, after they were removed
 * (referrers.c). A row that others refer to is converted instead: at once where that is
 * foreseen, else when it is found (attempt.c). INSERT into the archive is an ordinary
 * statement of the owner's, with triggers, policies and routing to partitions.
 *
 * Nothing is left to be checked at the commit, where it would take the whole batch with it:
 * all constraints are immediate, those of tables that are reached by CASCADE too.
 *
 * The condition and the INSERT are the managed table's owner's, and run as him, restricted;
 * the heap may be a partition that has another owner.
 *
 * Evaluators are made anew in each subtransaction: an error may have left them in any
 * state.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "backfill/archive.h"
#include "backfill/prune.h"
#include "backfill/referrers.h"
#include "catalog/store.h"
#include "convert/expression.h"
#include "migrate.h"

struct Pruner
{
	Relation	heap;
	Conversion *conversion;
	TupleDesc	desc;
	Expr	   *condition;
	List	   *columns;		/* of ArchiveColumn *; NIL: rows are deleted */
	List	   *values;			/* of Expr *, parallel to columns */
	char	   *insert;
	SPIPlanPtr	plan;			/* of that; NULL: not made yet */
	bool		has_references; /* there are triggers to fire */
	List	   *referrers;		/* those that may refuse, and are asked many rows at once */
	bool		is_one_owner;	/* of the heap and of the managed table */
	bool		is_deleting;	/* for who catches an error */
	MemoryContext context;

	/* Good in "subxact", and not in one within it. */
	SubTransactionId subxact;
	MemoryContext scratch;
	ExprContext *econtext;
	ExprState  *matches;
	List	   *value_states;
	TupleTableSlot *row;
	TupleTableSlot *locked;
	List	   *removed;		/* rows (HeapTuple) of which it is to be confirmed */
	EState	   *estate;			/* for triggers; NULL: not made yet */
	ResultRelInfo *relinfo;
};

/* ---- what is asked for ---- */

static const Trigger *
find_trigger(Relation rel, Oid function)
{
	const TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (strcmp(trigger->tgname, MIGRATE_PRUNE_TRIGGER_NAME) == 0 && trigger->tgqual != NULL &&
			(!OidIsValid(function) || trigger->tgfoid == function))
			return trigger;
	}
	return NULL;
}

/*
 * Known by name and function: anybody may call a trigger of his own that. To look
 * the function up reads the catalog, by which the relation's triggers may be loaded
 * anew; so they are looked at again after it.
 */
Node *
migrate_prune_condition(Relation rel)
{
	const Trigger *trigger;

	if (find_trigger(rel, InvalidOid) == NULL)
		return NULL;
	trigger = find_trigger(rel, migrate_store_function("prune_trigger", 0, NULL));
	return trigger ? stringToNode(trigger->tgqual) : NULL;
}

Oid
migrate_prune_archive(Oid root)
{
	char	   *archive = migrate_store_fetch("SELECT archive::oid FROM migrate.prune"
											  " WHERE relation = $1",
											  STORE_ARGS(store_relation(root)));

	return archive ? atooid(archive) : InvalidOid;
}

/* ---- open ---- */

static Node *
as_it_reads(Var *column, void *context)
{
	const Expr *reading = migrate_conversion_reading(context, 0, column->varattno);

	return copyObject(reading ? (Node *) reading : (Node *) column);
}

static Expr *
archived_value(Conversion *conversion, AttrNumber attno)
{
	Form_pg_attribute attr = TupleDescAttr(conversion->tupdesc, attno - 1);
	Var		   *column = makeVar(1, attno, attr->atttypid, attr->atttypmod, attr->attcollation, 0);

	if (attno == conversion->version_attno)
		return (Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
								  Int32GetDatum(conversion->version), false, true);
	return (Expr *) as_it_reads(column, conversion);
}

static char *
insert_statement(Oid archive, List *columns)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s (", migrate_store_relation_sql(archive));
	foreach(lc, columns)
		appendStringInfo(&sql, "%s%s", foreach_current_index(lc) > 0 ? ", " : "",
						 quote_identifier(((ArchiveColumn *) lfirst(lc))->name));
	appendStringInfoString(&sql, ") OVERRIDING SYSTEM VALUE VALUES (");
	foreach(lc, columns)
		appendStringInfo(&sql, "%s$%d", foreach_current_index(lc) > 0 ? ", " : "",
						 foreach_current_index(lc) + 1);
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

static void
free_plan(void *pruner)
{
	if (((Pruner *) pruner)->plan != NULL)
		SPI_freeplan(((Pruner *) pruner)->plan);
}

/* False where others have locked it. */
static bool
open_archive(Pruner *pruner)
{
	Conversion *conversion = pruner->conversion;
	Oid			archive = migrate_prune_archive(conversion->root);
	MemoryContextCallback *callback;
	ListCell   *lc;

	if (!OidIsValid(archive))
		return true;
	if (!ConditionalLockRelationOid(archive, RowExclusiveLock))
		return false;
	pruner->columns = migrate_archive_columns(pruner->heap, conversion->root, conversion,
											  conversion->version_attno, archive);
	foreach(lc, pruner->columns)
		pruner->values = lappend(pruner->values,
								 archived_value(conversion,
												((ArchiveColumn *) lfirst(lc))->source));
	pruner->insert = insert_statement(archive, pruner->columns);
	callback = palloc0(sizeof(MemoryContextCallback));
	callback->func = free_plan;
	callback->arg = pruner;
	MemoryContextRegisterResetCallback(pruner->context, callback);
	return true;
}

static bool
is_internal_after_delete(const Trigger *trigger)
{
	return trigger->tgisinternal &&
		TRIGGER_TYPE_MATCHES(trigger->tgtype, TRIGGER_TYPE_ROW,
							 TRIGGER_TYPE_AFTER, TRIGGER_TYPE_DELETE);
}

static bool
is_to_fire(const Trigger *trigger, List *referrers)
{
	return is_internal_after_delete(trigger) && !migrate_referrers_stand_for(referrers, trigger);
}

static bool
has_references(const TriggerDesc *triggers, List *referrers)
{
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		if (is_to_fire(&triggers->triggers[i], referrers))
			return true;
	return false;
}

/* To the end of the transaction, which is all ours. */
static void
check_constraints_at_once(void)
{
	ConstraintsSetStmt *all_immediate = makeNode(ConstraintsSetStmt);

	AfterTriggerSetState(all_immediate);
}

bool
migrate_pruner_open(Pruner **result, Relation heap, Conversion *conversion)
{
	Node	   *condition = migrate_prune_condition(heap);
	Pruner	   *pruner;

	*result = NULL;
	if (condition == NULL)
		return true;
	/* A publication may want to know which rows are deleted, and have no key for that. */
	CheckCmdReplicaIdentity(heap, CMD_DELETE);
	*result = pruner = palloc0(sizeof(Pruner));
	pruner->heap = heap;
	pruner->conversion = conversion;
	pruner->desc = CreateTupleDescCopyConstr(RelationGetDescr(heap));
	pruner->condition = migrate_expression_replace_columns((Expr *) condition, as_it_reads,
														   conversion);
	pruner->referrers = migrate_referrers_find(heap);
	pruner->has_references = has_references(heap->trigdesc, pruner->referrers);
	pruner->is_one_owner = heap->rd_rel->relowner == conversion->owner;
	pruner->context = CurrentMemoryContext;
	check_constraints_at_once();
	return open_archive(pruner);
}

/* ---- evaluating ---- */

static void
make_evaluators(Pruner *pruner)
{
	MemoryContext old = CurrentMemoryContext;
	ListCell   *lc;

	if (pruner->scratch != NULL)
		MemoryContextDelete(pruner->scratch);
	pruner->scratch = AllocSetContextCreate(pruner->context, "migrate pruner",
											ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(pruner->scratch);
	pruner->econtext = CreateStandaloneExprContext();
	pruner->row = MakeSingleTupleTableSlot(pruner->desc, &TTSOpsHeapTuple);
	pruner->locked = MakeSingleTupleTableSlot(pruner->desc, table_slot_callbacks(pruner->heap));
	pruner->matches = ExecInitExpr(expression_planner(copyObject(pruner->condition)), NULL);
	pruner->value_states = NIL;
	foreach(lc, pruner->values)
		pruner->value_states = lappend(pruner->value_states,
									   ExecInitExpr(expression_planner(copyObject(lfirst(lc))),
													NULL));
	pruner->removed = NIL;
	pruner->estate = NULL;
	pruner->subxact = GetCurrentSubTransactionId();
	MemoryContextSwitchTo(old);
}

/* The owner's code is about to run on a row. The mover has become the heap's owner. */
static void
begin_row(Pruner *pruner, StoreIdentity *self)
{
	if (!pruner->is_one_owner)
		migrate_store_become_restricted(self, pruner->conversion->owner);
	if (pruner->subxact != GetCurrentSubTransactionId())
		make_evaluators(pruner);
	ResetExprContext(pruner->econtext);
}

static void
end_row(const Pruner *pruner, const StoreIdentity *self)
{
	if (!pruner->is_one_owner)
		migrate_store_become_self(self);
}

static bool
evaluate_condition(Pruner *pruner, TupleTableSlot *row)
{
	bool		isnull;
	Datum		value;

	pruner->econtext->ecxt_scantuple = row;
	value = ExecEvalExprSwitchContext(pruner->matches, pruner->econtext, &isnull);
	return !isnull && DatumGetBool(value);
}

bool
migrate_pruner_judge(Pruner *pruner, HeapTuple row)
{
	StoreIdentity self;
	bool		result;

	if (pruner == NULL)
		return false;
	begin_row(pruner, &self);
	ExecStoreHeapTuple(row, pruner->row, false);
	result = evaluate_condition(pruner, pruner->row);
	ExecClearTuple(pruner->row);
	end_row(pruner, &self);
	return result;
}

/* ---- who is referred to ---- */

bool
migrate_pruner_spare(Pruner *pruner, StaleRow *rows, int nrows)
{
	HeapTuple  *asked;
	bool	   *held;
	int			n = 0;
	bool		result = false;

	if (pruner == NULL || pruner->referrers == NIL)
		return false;
	asked = palloc(nrows * sizeof(HeapTuple));
	for (int i = 0; i < nrows; i++)
		if (rows[i].prune)
			asked[n++] = &rows[i].tuple;
	held = migrate_referrers_hold(pruner->referrers, pruner->desc, asked, n);
	for (int i = 0, place = 0; i < nrows; i++)
	{
		if (!rows[i].prune || !held[place++])
			continue;
		rows[i].prune = false;
		rows[i].referenced = result = true;
	}
	pfree(held);
	pfree(asked);
	return result;
}

/* ---- to the archive ---- */

static void
make_plan(Pruner *pruner)
{
	Oid		   *types = palloc(list_length(pruner->columns) * sizeof(Oid));
	SPIPlanPtr	plan;
	ListCell   *lc;

	foreach(lc, pruner->columns)
		types[foreach_current_index(lc)] = ((ArchiveColumn *) lfirst(lc))->type;
	plan = SPI_prepare(pruner->insert, list_length(pruner->columns), types);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", pruner->insert,
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	pruner->plan = plan;
}

static void
insert_values(Pruner *pruner, Datum *values, char *nulls)
{
	int			rc;

	SPI_connect();
	if (pruner->plan == NULL)
		make_plan(pruner);
	rc = SPI_execute_plan(pruner->plan, values, nulls, false, 0);
	if (rc < 0)
		elog(ERROR, "could not run \"%s\": %s", pruner->insert, SPI_result_code_string(rc));
	if (rc != SPI_OK_INSERT || SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("the archive of table \"%s\" has not taken a row",
						get_rel_name(pruner->conversion->root)),
				 errdetail("A trigger or a rule of the archive prevented it."),
				 errhint("The row was left where it is.")));
	SPI_finish();
}

static void
archive_row(Pruner *pruner)
{
	int			n = list_length(pruner->columns);
	Datum	   *values;
	char	   *nulls;
	ListCell   *lc;

	if (n == 0)
		return;
	values = MemoryContextAlloc(pruner->econtext->ecxt_per_tuple_memory, n * sizeof(Datum));
	nulls = MemoryContextAlloc(pruner->econtext->ecxt_per_tuple_memory, n);
	foreach(lc, pruner->value_states)
	{
		int			i = foreach_current_index(lc);
		bool		isnull;

		values[i] = ExecEvalExprSwitchContext(lfirst(lc), pruner->econtext, &isnull);
		nulls[i] = isnull ? 'n' : ' ';
	}
	insert_values(pruner, values, nulls);
}

/* ---- deleting ---- */

static void
keep_triggers_to_fire(ResultRelInfo *relinfo, List *referrers)
{
	TriggerDesc *triggers = relinfo->ri_TrigDesc;
	int			kept = 0;

	for (int i = 0; i < triggers->numtriggers; i++)
		if (is_to_fire(&triggers->triggers[i], referrers))
			triggers->triggers[kept++] = triggers->triggers[i];
	triggers->numtriggers = kept;
	triggers->trig_delete_after_row = true;
	triggers->trig_delete_old_table = false;
}

static void
open_executor(Pruner *pruner)
{
	MemoryContext old = MemoryContextSwitchTo(pruner->scratch);

	pruner->estate = CreateExecutorState();
	MemoryContextSwitchTo(pruner->estate->es_query_cxt);
	pruner->relinfo = makeNode(ResultRelInfo);
	InitResultRelInfo(pruner->relinfo, pruner->heap, 1, NULL, 0);
	keep_triggers_to_fire(pruner->relinfo, pruner->referrers);
	pruner->estate->es_opened_result_relations = list_make1(pruner->relinfo);
	MemoryContextSwitchTo(old);
}

static void
close_executor(Pruner *pruner)
{
	if (pruner->estate == NULL)
		return;
	ExecResetTupleTable(pruner->estate->es_tupleTable, false);
	ExecCloseResultRelations(pruner->estate);
	FreeExecutorState(pruner->estate);
	pruner->estate = NULL;
}

/* Have foreign keys carry on, at once, and those that are left to their triggers refuse. */
static void
fire_references(Pruner *pruner, ItemPointer tid)
{
	if (!pruner->has_references)
		return;
	if (pruner->estate == NULL)
		open_executor(pruner);
	ResetPerTupleExprContext(pruner->estate);
	AfterTriggerBeginQuery();
	ExecARDeleteTriggers(pruner->estate, pruner->relinfo, tid, NULL, NULL, false);
	AfterTriggerEndQuery(pruner->estate);
}

static void
delete_row(Pruner *pruner, ItemPointer tid)
{
	TM_FailureData failure;
	TM_Result	result;

	pruner->is_deleting = true;
	result = table_tuple_delete(pruner->heap, tid, GetCurrentCommandId(true), GetActiveSnapshot(),
								InvalidSnapshot, true, &failure, false);
	if (result != TM_Ok)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("row of table \"%s\" was changed while it was moved to the archive",
						RelationGetRelationName(pruner->heap))));
	fire_references(pruner, tid);
	pruner->is_deleting = false;
}

static MoveResult
lock_row(Pruner *pruner, ItemPointer tid)
{
	TM_FailureData failure;

	switch (table_tuple_lock(pruner->heap, tid, GetActiveSnapshot(), pruner->locked,
							 GetCurrentCommandId(true), LockTupleExclusive, LockWaitSkip, 0,
							 &failure))
	{
		case TM_Ok:
			return MOVE_DONE;
		case TM_BeingModified:
		case TM_WouldBlock:
			return MOVE_LOCKED;
		case TM_Updated:
		case TM_Deleted:
			return MOVE_GONE;

			/* By ourselves: CASCADE from another row, or a trigger of the archive. */
		case TM_SelfModified:
		case TM_Invisible:
			return MOVE_GONE;
	}
	elog(ERROR, "unexpected state of a row that was to be pruned");
}

/* Of what is not to be pruned any more we come by again, to convert it. */
static MoveResult
remove_locked(Pruner *pruner, ItemPointer tid)
{
	if (!evaluate_condition(pruner, pruner->locked))
		return MOVE_LOCKED;
	archive_row(pruner);
	delete_row(pruner, tid);
	return MOVE_DONE;
}

static void
note_removed(Pruner *pruner, HeapTuple row)
{
	MemoryContext old = MemoryContextSwitchTo(pruner->scratch);

	if (pruner->referrers != NIL)
		pruner->removed = lappend(pruner->removed, row);
	MemoryContextSwitchTo(old);
}

MoveResult
migrate_pruner_remove(Pruner *pruner, HeapTuple row)
{
	ItemPointerData tid = row->t_self;
	StoreIdentity self;
	MoveResult	result;

	pruner->is_deleting = false;
	begin_row(pruner, &self);
	result = lock_row(pruner, &tid);
	if (result == MOVE_DONE)
	{
		PushActiveSnapshot(GetLatestSnapshot());
		result = remove_locked(pruner, &tid);
		PopActiveSnapshot();
	}
	ExecClearTuple(pruner->locked);
	if (result == MOVE_DONE)
		note_removed(pruner, row);
	end_row(pruner, &self);
	return result;
}

/* ---- were they referred to? ---- */

static void
refuse_removal(const Pruner *pruner)
{
	ereport(ERROR,
			(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			 errmsg("a row of table \"%s\" cannot be pruned",
					RelationGetRelationName(pruner->heap)),
			 errdetail("Rows of another table refer to it.")));
}

static void
confirm(Pruner *pruner, BlockNumber *block)
{
	int			n = list_length(pruner->removed);
	HeapTuple  *rows = palloc(n * sizeof(HeapTuple));
	ListCell   *lc;
	bool	   *held;

	foreach(lc, pruner->removed)
		rows[foreach_current_index(lc)] = lfirst(lc);
	*block = ItemPointerGetBlockNumber(&rows[0]->t_self);
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	pruner->is_deleting = true;
	held = migrate_referrers_hold(pruner->referrers, pruner->desc, rows, n);
	for (int i = 0; i < n; i++)
	{
		*block = ItemPointerGetBlockNumber(&rows[i]->t_self);
		if (held[i])
			refuse_removal(pruner);
	}
	pruner->is_deleting = false;
	PopActiveSnapshot();
	pfree(held);
	pfree(rows);
}

void
migrate_pruner_confirm(Pruner *pruner, BlockNumber *block)
{
	if (pruner == NULL || pruner->subxact != GetCurrentSubTransactionId())
		return;					/* nothing was removed */
	if (pruner->removed != NIL && pruner->referrers != NIL)
		confirm(pruner, block);
	list_free(pruner->removed);
	pruner->removed = NIL;
	close_executor(pruner);
}

bool
migrate_pruner_was_referenced(const Pruner *pruner, const ErrorData *error)
{
	return pruner->is_deleting &&
		(error->sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION ||
		 error->sqlerrcode == ERRCODE_RESTRICT_VIOLATION);
}
