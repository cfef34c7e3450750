/*
 * backfill/mover.c
 *		Moving one stored row to the newest version.
 *
 * A row is updated below the executor, as logical replication applies one:
 * no query is planned, so that row-level security does not apply, and no user
 * trigger fires. What UPDATE does for the table's own sake is done here:
 * stored generated columns are computed, NOT NULL, CHECK and partition
 * constraints hold for the new form, indexes get their entries, and the
 * internal constraint triggers (foreign keys, deferrable uniqueness) fire, for
 * an in-place migration may change a key. They fire after each row, so that
 * an error is the row's that caused it.
 *
 * Locks.  The heap is held in RowExclusiveLock to the end of the transaction,
 * as by any UPDATE. A row that somebody holds is not waited for:
 *
 * - Its header is looked at just before the update. (heap_update() must not be
 *   asked not to wait: it does not expect to find the row held, then.) Where
 *   anyone holds it, be it FOR KEY SHARE as a foreign key check does, which
 *   would let us pass, the row is locked, skipping where that would wait, in
 *   the mode that the update needs: Exclusive where it may change a key, else
 *   NoKeyExclusive. Having that lock, no conflicting one can be held, and the
 *   update finds nothing to wait for.
 * - Between the look and the update somebody may come first; and a unique index
 *   or a foreign key may make us look at rows of others. Such a wait ends after
 *   a moment with lock_not_available, by lock_timeout (which costs nothing where
 *   nothing waits), and the row counts as locked (attempt.c).
 * - TM_Updated and TM_Deleted mean that a writer came first; TM_SelfModified and
 *   TM_Invisible, that it was the action of a foreign key that another row of this batch set
 *   off. Every writer passes the trigger, which is ENABLE ALWAYS, and the CHECK on the row
 *   version refuses what would bypass it: that row is converted, or gone, or its
 *   conversion was deferred again and he has recorded it.
 *
 * Nothing is kept beyond the transaction. A crash leaves dead row versions.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "backfill/mover.h"
#include "catalog/store.h"
#include "compat.h"
#include "convert/converter.h"
#include "convert/excuse.h"

/*
 * Long enough for two sessions that extend the heap, each of which waits for the other by the
 * lock manager, on a processor that others want as well.
 */
#define LONGEST_LOCK_WAIT	"20ms"

struct Mover
{
	Relation	heap;
	Conversion *conversion;
	Converter  *converter;		/* while rows are being formed */
	EState	   *estate;
	ResultRelInfo *relinfo;
	bool		is_checking;	/* in the executor's hands */
	TupleTableSlot *row;		/* as it is stored */
	TupleTableSlot *formed;		/* as it is to be; its values live in the converter */
	TupleTableSlot *stored;		/* the same, as a tuple */
	TupleTableSlot *locked;		/* what table_tuple_lock fetches */
	LockTupleMode lock_mode;
	bool		can_be_hot;
	bool		delete_versions;	/* what an index is to do for room */
	StoreIdentity self;
};

/* ---- may it be done? ---- */

/* Where all that is live assigns nothing no row is stored anew. */
static bool
may_update(const Conversion *conversion)
{
	for (int i = 0; i < conversion->nlive; i++)
		if (conversion->live[i].needed == NULL || conversion->live[i].ups != NIL)
			return true;
	return false;
}

/*
 * As for any UPDATE: a subscriber that cannot find the row would apply nothing any more.
 * What the server asks of row filters is not asked: they are looked at in the new row,
 * where no key is changed.
 */
void
migrate_mover_check(Relation heap, const Conversion *conversion)
{
	if (heap->rd_rel->relreplident != REPLICA_IDENTITY_FULL &&
		!OidIsValid(RelationGetReplicaIndex(heap)) && may_update(conversion))
		CheckCmdReplicaIdentity(heap, CMD_UPDATE);
}

/* ---- open and close ---- */

/* The columns that a conversion assigns, offset as in Bitmapsets of columns. */
static Bitmapset *
assigned_columns(const Conversion *conversion)
{
	int			offset = -FirstLowInvalidHeapAttributeNumber;
	Bitmapset  *assigned = bms_make_singleton(conversion->version_attno + offset);

	for (int i = 0; i < conversion->nlive; i++)
	{
		ListCell   *lc;

		foreach(lc, conversion->live[i].ups)
			assigned = bms_add_member(assigned, ((Assignment *) lfirst(lc))->target + offset);
	}
	return assigned;
}

/* Those that the server must take for changed. */
static Bitmapset *
updated_columns(const Conversion *conversion)
{
	int			offset = -FirstLowInvalidHeapAttributeNumber;
	Bitmapset  *updated = assigned_columns(conversion);

	for (int i = 0; i < conversion->tupdesc->natts; i++)
		if (TupleDescAttr(conversion->tupdesc, i)->attgenerated)
			updated = bms_add_member(updated, i + 1 + offset);
	return updated;
}

static bool
is_internal_after_update(const Trigger *trigger)
{
	return trigger->tgisinternal &&
		TRIGGER_TYPE_MATCHES(trigger->tgtype, TRIGGER_TYPE_ROW,
							 TRIGGER_TYPE_AFTER, TRIGGER_TYPE_UPDATE);
}

/* Of the table's triggers, leave those that keep its constraints. */
static void
keep_internal_triggers(ResultRelInfo *relinfo)
{
	TriggerDesc *triggers = relinfo->ri_TrigDesc;
	int			kept = 0;

	if (triggers == NULL)
		return;
	for (int i = 0; i < triggers->numtriggers; i++)
		if (is_internal_after_update(&triggers->triggers[i]))
			triggers->triggers[kept++] = triggers->triggers[i];
	triggers->numtriggers = kept;
	triggers->trig_update_before_row = false;
	triggers->trig_update_after_row = kept > 0;
	triggers->trig_update_old_table = false;
	triggers->trig_update_new_table = false;
	if (kept == 0)
		relinfo->ri_TrigDesc = NULL;
}

/* A constraint that waited for the commit would take the whole batch with it. */
static void
check_constraints_at_once(const TriggerDesc *triggers)
{
	ConstraintsSetStmt *all_immediate = makeNode(ConstraintsSetStmt);

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		if (triggers->triggers[i].tgdeferrable)
		{
			AfterTriggerSetState(all_immediate);
			return;
		}
}

/* Can it do without looking for dead versions of its rows? */
static bool
makes_room_by_itself(Relation index)
{
	bool		heapkeyspace;
	bool		allequalimage;

	if (index->rd_rel->relam != BTREE_AM_OID || index->rd_index->indisunique)
		return true;
	_bt_metaversion(index, &heapkeyspace, &allequalimage);
	return allequalimage && BTGetDeduplicateItems(index);
}

/*
 * When a leaf page of a B-tree is full, it can look in the heap which of its
 * entries are of dead versions ("bottom-up deletion"), if the executor says that an
 * entry differs from the one before in nothing but its place. For keys that
 * are strewn over the table that is a visit to a block that is in no cache for each entry
 * that goes, and was a sixth of all the time. Where the entries of a key can share it
 * ("deduplication"), those of a row's two versions take hardly more room than one of them,
 * and the hint is better not given. A unique index does not need to be told.
 */
static bool
must_delete_versions(const ResultRelInfo *relinfo)
{
	/* One that is being built may have no pages yet. */
	for (int i = 0; i < relinfo->ri_NumIndices; i++)
		if (relinfo->ri_IndexRelationInfo[i]->ii_ReadyForInserts &&
			!makes_room_by_itself(relinfo->ri_IndexRelationDescs[i]))
			return true;
	return false;
}

static void
open_executor(Mover *mover)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	Relation	heap = mover->heap;
	MemoryContext old;

	mover->estate = CreateExecutorState();
	old = MemoryContextSwitchTo(mover->estate->es_query_cxt);
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(heap);
	rte->relkind = heap->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	compat_init_update_range_table(mover->estate, rte, updated_columns(mover->conversion));

	mover->relinfo = makeNode(ResultRelInfo);
	InitResultRelInfo(mover->relinfo, heap, 1, NULL, 0);
	keep_internal_triggers(mover->relinfo);
	check_constraints_at_once(mover->relinfo->ri_TrigDesc);
	ExecOpenIndices(mover->relinfo, false);
	mover->delete_versions = must_delete_versions(mover->relinfo);
	mover->estate->es_opened_result_relations = list_make1(mover->relinfo);
	mover->estate->es_output_cid = GetCurrentCommandId(true);
	MemoryContextSwitchTo(old);
}

/* As heap_update decides which lock on the row it needs, and whether it is HOT. */
static void
foresee_update(Mover *mover)
{
	Bitmapset  *assigned = assigned_columns(mover->conversion);
	Bitmapset  *keys = RelationGetIndexAttrBitmap(mover->heap, INDEX_ATTR_BITMAP_KEY);
	Bitmapset  *indexed = RelationGetIndexAttrBitmap(mover->heap, COMPAT_INDEX_ATTR_BITMAP_HOT);

	mover->lock_mode = bms_overlap(keys, updated_columns(mover->conversion))
		? LockTupleExclusive : LockTupleNoKeyExclusive;
	mover->can_be_hot = !bms_overlap(indexed, assigned);
}

static void
limit_lock_waits(void)
{
	(void) set_config_option("lock_timeout", LONGEST_LOCK_WAIT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * The triggers that keep foreign keys do so whatever the session is: in one that plays a
 * replica (migrate.run) nobody else would see to it.
 */
static void
keep_foreign_keys(void)
{
	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		(void) set_config_option("session_replication_role", "origin", PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

static TupleTableSlot *
make_slot(Relation heap, const TupleTableSlotOps *ops)
{
	return MakeSingleTupleTableSlot(RelationGetDescr(heap), ops);
}

Mover *
migrate_mover_open(Relation heap, Conversion *conversion)
{
	Mover	   *mover = palloc0(sizeof(Mover));

	mover->heap = heap;
	mover->conversion = conversion;
	foresee_update(mover);
	mover->row = make_slot(heap, &TTSOpsHeapTuple);
	mover->formed = make_slot(heap, &TTSOpsVirtual);
	mover->stored = make_slot(heap, &TTSOpsHeapTuple);
	mover->locked = table_slot_create(heap, NULL);
	migrate_store_become_restricted(&mover->self, heap->rd_rel->relowner);
	limit_lock_waits();
	keep_foreign_keys();
	open_executor(mover);
	return mover;
}

static void
close_executor(Mover *mover)
{
	ExecResetTupleTable(mover->estate->es_tupleTable, false);
	ExecCloseResultRelations(mover->estate);
	FreeExecutorState(mover->estate);
}

void
migrate_mover_close(Mover *mover)
{
	close_executor(mover);
	migrate_store_become_self(&mover->self);
	ExecDropSingleTupleTableSlot(mover->locked);
	ExecDropSingleTupleTableSlot(mover->stored);
	ExecDropSingleTupleTableSlot(mover->formed);
	ExecDropSingleTupleTableSlot(mover->row);
	pfree(mover);
}

bool
migrate_mover_can_be_hot(const Mover *mover)
{
	return mover->can_be_hot;
}

const char *
migrate_mover_culprit(const Mover *mover)
{
	const LiveMigration *migration = mover->converter ? mover->converter->evaluating : NULL;

	return migration ? migration->name : NULL;
}

/* ---- the new row ---- */

void
migrate_mover_begin_forming(Mover *mover)
{
	mover->converter = migrate_converter_acquire(mover->conversion);
}

void
migrate_mover_end_forming(Mover *mover)
{
	migrate_converter_release(mover->converter);
	mover->converter = NULL;
}

/* Leave out what a failed subtransaction has pulled down beneath them. */
static void
forget_callbacks(EState *estate)
{
	while (estate->es_exprcontexts != NIL)
		FreeExprContext(linitial(estate->es_exprcontexts), false);
}

void
migrate_mover_recover(Mover *mover)
{
	mover->converter = NULL;
	if (!mover->is_checking)
		return;
	forget_callbacks(mover->estate);
	close_executor(mover);
	open_executor(mover);
	mover->is_checking = false;
}

/* Fill "formed" from the converter, stamped; dropped columns give up their space. */
static void
fill_formed(Mover *mover)
{
	Conversion *conversion = mover->conversion;
	TupleTableSlot *formed = mover->formed;
	TupleTableSlot *source = mover->converter->slot;
	int			natts = conversion->tupdesc->natts;

	ExecClearTuple(formed);
	memcpy(formed->tts_values, source->tts_values, natts * sizeof(Datum));
	memcpy(formed->tts_isnull, source->tts_isnull, natts * sizeof(bool));
	for (int i = 0; i < natts; i++)
		if (TupleDescAttr(conversion->tupdesc, i)->attisdropped)
			formed->tts_isnull[i] = true;
	formed->tts_values[conversion->version_attno - 1] = Int32GetDatum(conversion->version);
	formed->tts_isnull[conversion->version_attno - 1] = false;
	ExecStoreVirtualTuple(formed);
	formed->tts_tableOid = RelationGetRelid(mover->heap);
}

static void
check_formed(Mover *mover)
{
	TupleConstr *constr = RelationGetDescr(mover->heap)->constr;

	mover->is_checking = true;
	if (constr != NULL && constr->has_generated_stored)
		ExecComputeStoredGenerated(mover->relinfo, mover->estate, mover->formed, CMD_UPDATE);
	if (mover->heap->rd_rel->relispartition)
		ExecPartitionCheck(mover->relinfo, mover->formed, mover->estate, true);
	migrate_excuse_note_none(mover->conversion);
	if (constr != NULL)
		ExecConstraints(mover->relinfo, mover->formed, mover->estate);
	mover->is_checking = false;
}

HeapTuple
migrate_mover_form(Mover *mover, HeapTuple row, int32 version)
{
	TupleTableSlot *formed = mover->formed;
	HeapTuple	result;

	ResetPerTupleExprContext(mover->estate);
	ExecStoreHeapTuple(row, mover->row, false);
	migrate_converter_load(mover->converter, mover->row);
	if (!migrate_converter_is_in_need(mover->converter, version))
		return NULL;
	migrate_converter_upgrade(mover->converter, version, true);
	fill_formed(mover);
	check_formed(mover);
	result = heap_form_tuple(RelationGetDescr(mover->heap),
							 formed->tts_values, formed->tts_isnull);
	ExecClearTuple(formed);
	ExecClearTuple(mover->row);
	return result;
}

/* ---- the update ---- */

/* What became of the row since it was read. */
static TM_Result
look_at_row(Mover *mover, HeapTuple row, Buffer buffer)
{
	TM_Result	result;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	result = HeapTupleSatisfiesUpdate(row, mover->estate->es_output_cid, buffer);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return result;
}

static TM_Result
lock_row(Mover *mover, ItemPointer tid)
{
	TM_FailureData failure;
	TM_Result	result;

	result = table_tuple_lock(mover->heap, tid, GetActiveSnapshot(), mover->locked,
							  mover->estate->es_output_cid, mover->lock_mode,
							  LockWaitSkip, 0, &failure);
	ExecClearTuple(mover->locked);
	return result;
}

static TM_Result
update_row(Mover *mover, ItemPointer tid, CompatUpdateIndexes *indexes)
{
	TM_FailureData failure;
	LockTupleMode lock_mode;

	return table_tuple_update(mover->heap, tid, mover->stored,
							  mover->estate->es_output_cid,
							  GetActiveSnapshot(), InvalidSnapshot,
							  true, &failure, &lock_mode, indexes);
}

static TM_Result
update_without_waiting(Mover *mover, HeapTuple row, Buffer buffer, CompatUpdateIndexes *indexes)
{
	TM_Result	result = look_at_row(mover, row, buffer);

	if (result == TM_BeingModified)
		result = lock_row(mover, &row->t_self);
	return result == TM_Ok ? update_row(mover, &row->t_self, indexes) : result;
}

/* Index entries for the new row version, and the constraints that come after. */
static void
follow_up(Mover *mover, ItemPointer old_tid, CompatUpdateIndexes which)
{
	List	   *recheck;

	recheck = compat_insert_index_tuples(mover->relinfo, mover->stored, mover->estate, which,
										 mover->delete_versions);
	if (mover->relinfo->ri_TrigDesc != NULL)
	{
		AfterTriggerBeginQuery();
		ExecARUpdateTriggers(mover->estate, mover->relinfo, NULL, NULL, old_tid, NULL,
							 mover->stored, recheck, NULL, false);
		AfterTriggerEndQuery(mover->estate);
	}
	list_free(recheck);
}

MoveResult
migrate_mover_store(Mover *mover, HeapTuple row, Buffer buffer, HeapTuple formed)
{
	CompatUpdateIndexes indexes;

	ResetPerTupleExprContext(mover->estate);
	ExecStoreHeapTuple(formed, mover->stored, true);
	switch (update_without_waiting(mover, row, buffer, &indexes))
	{
		case TM_Ok:
			follow_up(mover, &row->t_self, indexes);
			return MOVE_DONE;
		case TM_BeingModified:
		case TM_WouldBlock:
			return MOVE_LOCKED;
		case TM_Updated:
		case TM_Deleted:
			return MOVE_GONE;

			/* By ourselves: a foreign key's action on its own table came to it. */
		case TM_SelfModified:
		case TM_Invisible:
			return MOVE_GONE;
	}
	elog(ERROR, "unexpected state of a row that was to be converted");
}
