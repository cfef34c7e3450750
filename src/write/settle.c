/*
 * write/settle.c
 *		Bringing the forms in step again after the table's own triggers.
 *
 * Our first trigger comes before those of the table's users, so that they see
 * converted rows. They may change columns of either form. So migrate.settle_trigger()
 * stands on the table too, fired last: it compares the row with what the first
 * trigger handed on. What differs was set by a trigger in between, and counts
 * as if a statement had set it: a column of the new form speaks for that, else the
 * old form does.
 *
 * What was handed on is kept beside the slot that carries the row from trigger
 * to trigger: all BEFORE triggers of a row are called with the same one, and a
 * statement that runs inside of one of them has another. It lives as long as the
 * slot and is overwritten or taken away by the next row, so nothing is left behind by a
 * trigger that takes its row out, or by an error. (MERGE has one slot for the rows
 * that it inserts and those that it updates.) Should the executor free a
 * slot alone and make another in its place, for another table or after a
 * change of this one, the relation and the shape tell.
 *
 * Cost: a table without BEFORE row triggers of its own pays for one more call
 * per row, which returns at once; with some, for a copy of the row, and where they
 * leave it as it is, for a comparison of bytes (test/bench/write.sql).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_trigger.h"
#include "fmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "catalog/migration.h"
#include "convert/excuse.h"
#include "migrate.h"
#include "write/row_write.h"
#include "write/settle.h"
#include "write/update.h"
#include "write/written.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_settle_trigger);

/* A row on its way through the triggers. */
typedef struct HandedOn
{
	TupleTableSlot *carrier;	/* of the executor */
	TupleTableSlot *row;		/* ours; empty when nobody is to look */
	uint32		forms;			/* that the statement spoke (convert/excuse.c) */
	struct HandedOn *next;
	MemoryContextCallback callback;
} HandedOn;

static HandedOn *all_handed_on = NULL;	/* the last one used first */

/* ---- beside the slot ---- */

static void
forget(void *arg)
{
	HandedOn  **link = &all_handed_on;

	while (*link != NULL && *link != arg)
		link = &(*link)->next;
	if (*link != NULL)
		*link = (*link)->next;
}

static HandedOn *
find(const TupleTableSlot *carrier)
{
	HandedOn  **link = &all_handed_on;
	HandedOn   *found;

	while (*link != NULL && (*link)->carrier != carrier)
		link = &(*link)->next;
	found = *link;
	if (found == NULL || found == all_handed_on)
		return found;
	*link = found->next;
	found->next = all_handed_on;
	all_handed_on = found;
	return found;
}

static HandedOn *
make(TupleTableSlot *carrier, TupleDesc tupdesc)
{
	MemoryContext old = MemoryContextSwitchTo(carrier->tts_mcxt);
	HandedOn   *made = palloc0(sizeof(HandedOn));

	made->carrier = carrier;
	made->row = MakeSingleTupleTableSlot(tupdesc, &TTSOpsHeapTuple);
	made->callback.func = forget;
	made->callback.arg = made;
	MemoryContextRegisterResetCallback(carrier->tts_mcxt, &made->callback);
	made->next = all_handed_on;
	all_handed_on = made;
	MemoryContextSwitchTo(old);
	return made;
}

/* ---- remembering ---- */

/* Has the table BEFORE row triggers of its own for the event? */
static bool
has_own_triggers(Relation rel, bool is_update)
{
	const TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (TRIGGER_TYPE_MATCHES(trigger->tgtype, TRIGGER_TYPE_ROW, TRIGGER_TYPE_BEFORE,
								 is_update ? TRIGGER_TYPE_UPDATE : TRIGGER_TYPE_INSERT) &&
			!migrate_migration_is_trigger_name(trigger->tgname))
			return true;
	}
	return false;
}

static TupleTableSlot *
carrier_of(const TriggerData *trigger)
{
	return TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newslot
		: trigger->tg_trigslot;
}

void
migrate_settle_remember(const TriggerData *trigger, const Conversion *conversion, HeapTuple row)
{
	TupleTableSlot *carrier = carrier_of(trigger);
	HandedOn   *handed_on = find(carrier);
	MemoryContext old;

	if (!has_own_triggers(trigger->tg_relation, TRIGGER_FIRED_BY_UPDATE(trigger->tg_event)))
	{
		if (handed_on != NULL)
			ExecClearTuple(handed_on->row);
		return;
	}
	if (handed_on == NULL)
		handed_on = make(carrier, conversion->tupdesc);
	old = MemoryContextSwitchTo(carrier->tts_mcxt);
	if (handed_on->row->tts_tupleDescriptor != conversion->tupdesc)
		handed_on->row = MakeSingleTupleTableSlot(conversion->tupdesc, &TTSOpsHeapTuple);
	ExecForceStoreHeapTuple(heap_copytuple(row), handed_on->row, true);
	handed_on->row->tts_tableOid = conversion->relid;
	handed_on->forms = migrate_excuse_noted();
	MemoryContextSwitchTo(old);
}

/* ---- settling ---- */

static HeapTuple
tuple_to_store(const TriggerData *trigger)
{
	return TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple
		: trigger->tg_trigtuple;
}

/* Is it the same row to the byte? Most triggers leave most rows alone. */
static bool
is_same_tuple(HeapTuple a, HeapTuple b)
{
	return a->t_len == b->t_len && a->t_data->t_hoff == b->t_data->t_hoff &&
		HeapTupleHeaderGetNatts(a->t_data) == HeapTupleHeaderGetNatts(b->t_data) &&
		HeapTupleHasNulls(a) == HeapTupleHasNulls(b) &&
		memcmp(a->t_data->t_bits, b->t_data->t_bits,
			   a->t_len - offsetof(HeapTupleHeaderData, t_bits)) == 0;
}

/* What our first trigger handed on of this row; NULL where nobody is to look. */
static HandedOn *
find_row(const TriggerData *trigger)
{
	HandedOn   *found = find(carrier_of(trigger));

	if (found == NULL || TTS_EMPTY(found->row) ||
		found->row->tts_tableOid != RelationGetRelid(trigger->tg_relation))
		return NULL;
	return found;
}

static int32
version_of(TupleTableSlot *row, const Conversion *conversion)
{
	bool		isnull;
	int32		version = DatumGetInt32(slot_getattr(row, conversion->version_attno, &isnull));

	return isnull ? MIGRATE_VERSION_UNSAID : version;
}

/* As an UPDATE of the row that was handed on, which names no columns. */
static HeapTuple
settle(RowWrite *write, TupleTableSlot *handed_on)
{
	int32		version = version_of(write->row, write->conversion);

	write->stored = handed_on;
	write->stored_version = version_of(handed_on, write->conversion);
	if (version == write->stored_version &&
		migrate_written_by_update(write->conversion, NULL, handed_on, handed_on,
								  write->row) == NULL)
		return write->tuple;
	return migrate_update_store(write, version);
}

Datum
migrate_settle_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HandedOn   *handed_on;
	RowWrite	write;
	HeapTuple	result;

	migrate_row_write_check_protocol(fcinfo, "settle_trigger");
	result = tuple_to_store(trigger);
	handed_on = find_row(trigger);
	if (handed_on == NULL)
		return PointerGetDatum(result);
	migrate_row_write_init(&write, trigger);
	migrate_excuse_note_again(write.conversion, handed_on->forms);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		migrate_excuse_note_update(write.conversion);
	if (!is_same_tuple(ExecFetchSlotHeapTuple(handed_on->row, false, NULL), result))
		result = settle(&write, handed_on->row);
	ExecClearTuple(handed_on->row);
	return PointerGetDatum(result);
}
