/*
 * write/row_write.c
 *		A write of one row, as our triggers carry it out.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "catalog/migration.h"
#include "convert/pin.h"
#include "convert/row_key.h"
#include "migrate.h"
#include "write/row_write.h"

/* ---- being called ---- */

void
migrate_row_write_check_protocol(FunctionCallInfo fcinfo, const char *function)
{
	TriggerEvent event;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager",
						function)));
	event = ((TriggerData *) fcinfo->context)->tg_event;
	if (!TRIGGER_FIRED_BEFORE(event) || !TRIGGER_FIRED_FOR_ROW(event) ||
		!(TRIGGER_FIRED_BY_INSERT(event) || TRIGGER_FIRED_BY_UPDATE(event)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired before insert or update for each row",
						function)));
}

static Conversion *
get_conversion(Relation rel)
{
	Conversion *conversion;

	migrate_migration_check_preloaded();
	conversion = migrate_conversion_get(RelationGetRelid(rel));
	if (conversion == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" has no live migration",
						RelationGetRelationName(rel)),
				 errdetail("The triggers that keep the forms of live migrations in step are made by migrate.expand() alone."),
				 errhint("Where a schema was restored without its data, restore the data of schema \"%s\" first.",
						 MIGRATE_SCHEMA)));
	return conversion;
}

void
migrate_row_write_init(RowWrite *write, const TriggerData *trigger)
{
	memset(write, 0, sizeof(RowWrite));
	write->rel = trigger->tg_relation;
	write->conversion = get_conversion(write->rel);
	write->reach = write->conversion->nlive;
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		write->row = trigger->tg_newslot;
		write->tuple = trigger->tg_newtuple;
	}
	else
	{
		write->row = trigger->tg_trigslot;
		write->tuple = trigger->tg_trigtuple;
	}
	write->named = write->row;
}

bool
migrate_row_write_is_replicated(void)
{
	return IsLogicalWorker() || SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;
}

/* ---- where an expression fails ---- */

/*
 * May the writer see the key? As for the server's own messages about a row:
 * not where policies hide rows, nor without the right to read them.
 */
static bool
may_see_key(const RowWrite *write)
{
	Oid			relid = RelationGetRelid(write->rel);

	return check_enable_rls(relid, write->writer, true) != RLS_ENABLED &&
		pg_class_aclcheck(relid, write->writer, ACL_SELECT) == ACLCHECK_OK;
}

/*
 * Name the row. Finding its key reads the catalogs, which must not be tried
 * where an error was raised with a lock on a buffer in hand, or while a
 * transaction aborts. An error of its own must not come back here.
 */
static void
name_row(void *arg)
{
	RowWrite   *write = arg;
	const char *relation = RelationGetRelationName(write->rel);
	char	   *key = NULL;

	if (InterruptHoldoffCount == 0 && CritSectionCount == 0 && IsTransactionState())
	{
		ErrorContextCallback *saved = error_context_stack;

		error_context_stack = write->callback.previous;
		if (may_see_key(write))
			key = migrate_row_key_json(write->rel, write->named);
		error_context_stack = saved;
	}
	if (key != NULL)
		errcontext("conversion of row %s of relation \"%s\"", key, relation);
	else
		errcontext("conversion of a row of relation \"%s\"", relation);
}

/*
 * Is it an up whose failure would have been put up with before? Say so: else a client
 * of the old form would wonder why what was accepted is refused.
 */
static void
name_end_of_deferring(const RowWrite *write)
{
	const LiveMigration *migration = write->converter ? write->converter->evaluating : NULL;

	if (migration != NULL && migration->defers && !migration->proof_due &&
		!write->converter->evaluating_down)
		errcontext("migration \"%s\", which defers no more writes since all rows are converted",
				   migration->name);
}

/* Who applies what a publisher has written cannot write something else: what can be done? */
static void
hint_to_subscriber(const RowWrite *write)
{
	const LiveMigration *migration = write->converter ? write->converter->evaluating : NULL;

	if (migration != NULL && IsLogicalWorker())
		errhint("Roll migration \"%s\" back here and define it anew, with expressions that take the row or with on_error => 'defer'; or pass the transaction over with ALTER SUBSCRIPTION ... SKIP.",
				migration->name);
}

static void
describe_failure(void *arg)
{
	hint_to_subscriber(arg);
	name_end_of_deferring(arg);
	name_row(arg);
}

void
migrate_row_write_begin(RowWrite *write)
{
	write->writer = GetUserId();
	write->converter = NULL;
	write->callback.callback = describe_failure;
	write->callback.arg = write;
	write->callback.previous = error_context_stack;
	error_context_stack = &write->callback;
	write->converter = migrate_converter_acquire(write->conversion);
	migrate_converter_note_spoken(write->converter, migrate_pin_speaks(write->conversion));
	write->converter->reach = write->reach;
}

void
migrate_row_write_end(RowWrite *write)
{
	migrate_converter_release(write->converter);
	error_context_stack = write->callback.previous;
}

/* ---- the row that comes of it ---- */

/* Just below the first migration that the row is without; which no other has. */
static int32
version_within_reach(const RowWrite *write)
{
	return write->reach == write->conversion->nlive ? write->conversion->version
		: write->conversion->live[write->reach].version - 1;
}

/* What a row's upgrade computes is not there before it. */
static void
empty_beyond_reach(const RowWrite *write)
{
	TupleTableSlot *slot = write->converter->slot;

	for (int i = write->reach; i < write->conversion->nlive; i++)
	{
		ListCell   *lc;

		foreach(lc, write->conversion->live[i].ups)
		{
			const Assignment *up = lfirst(lc);

			if (!up->in_place && !up->generated)
				slot->tts_isnull[up->target - 1] = true;
		}
	}
}

HeapTuple
migrate_row_write_take(RowWrite *write)
{
	TupleTableSlot *slot = write->converter->slot;
	AttrNumber	version_attno = write->conversion->version_attno;
	HeapTuple	tuple;

	empty_beyond_reach(write);
	slot->tts_values[version_attno - 1] = Int32GetDatum(version_within_reach(write));
	slot->tts_isnull[version_attno - 1] = false;
	tuple = heap_form_tuple(RelationGetDescr(write->rel), slot->tts_values, slot->tts_isnull);
	tuple->t_data->t_ctid = write->tuple->t_data->t_ctid;
	tuple->t_self = write->tuple->t_self;
	tuple->t_tableOid = write->tuple->t_tableOid;
	return tuple;
}
