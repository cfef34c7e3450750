/*
 * write/deferred.c
 *		Recording rows whose conversion was deferred, and forgetting them.
 *
 * On a table with a migration that defers stand two more row triggers, AFTER,
 * for only then does a row have a place:
 *
 * - migrate.defer_trigger(), WHEN the row was stored in an older version: its
 *   upgrade is tried once more, for its error, and the row recorded;
 * - migrate.mend_trigger(), WHEN the row was in an older version before and is
 *   not any more, or is deleted: what was recorded of it is forgotten.
 *
 * The conditions are the server's to test, so that other writes queue no event.
 * All is done in the writer's transaction, under the rights of the extension's
 * owner, so that whoever takes a strong lock on the table after it knows
 * exactly which rows are deferred. Two writers of one row take turns at the row;
 * the backfill, which records what fails too, at the row as well
 * (catalog/failure.c). It holds both for a batch at most.
 *
 * TRUNCATE fires no row trigger: the backfill notices that the heap has
 * another file.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog/failure.h"
#include "catalog/try.h"
#include "convert/conversion.h"
#include "convert/converter.h"
#include "convert/row_key.h"
#include "convert/rows.h"
#include "shmem.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_defer_trigger);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_mend_trigger);

static TriggerData *
check_protocol(FunctionCallInfo fcinfo, const char *function)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired after a change of each row",
						function)));
	return trigger;
}

static bool
is_stale(const Conversion *conversion, TupleTableSlot *row)
{
	bool		isnull;
	int32		version = DatumGetInt32(slot_getattr(row, conversion->version_attno, &isnull));

	return isnull || version < conversion->version;
}

/* ---- why it fails ---- */

typedef struct Upgrade
{
	Conversion *conversion;
	TupleTableSlot *row;
	const LiveMigration *culprit;	/* whose expression it was */
} Upgrade;

static void
upgrade(void *arg)
{
	Upgrade    *upgrade = arg;
	Converter  *converter = migrate_converter_acquire(upgrade->conversion);
	bool		isnull;
	int32		version;

	version = DatumGetInt32(slot_getattr(upgrade->row, upgrade->conversion->version_attno,
										 &isnull));
	PG_TRY();
	{
		migrate_converter_load(converter, upgrade->row);
		migrate_converter_upgrade(converter, version, false);
	}
	PG_CATCH();
	{
		upgrade->culprit = converter->evaluating;
		PG_RE_THROW();
	}
	PG_END_TRY();
	migrate_converter_release(converter);
}

/* The migration that the row lacks first. */
static const LiveMigration *
first_lacking(const Conversion *conversion, TupleTableSlot *row)
{
	bool		isnull;
	int32		version = DatumGetInt32(slot_getattr(row, conversion->version_attno, &isnull));
	int			i = 0;

	while (i < conversion->nlive - 1 && conversion->live[i].version <= version)
		i++;
	return &conversion->live[i];
}

/* ---- the triggers ---- */

static void
record(Relation rel, Conversion *conversion, TupleTableSlot *row)
{
	Upgrade		attempt = {conversion, row, NULL};
	ErrorData  *error = migrate_try(upgrade, &attempt);

	if (error != NULL && !migrate_try_is_about_data(error))
		ReThrowError(error);
	if (attempt.culprit == NULL)
		attempt.culprit = first_lacking(conversion, row);
	migrate_failure_record(RelationGetRelid(rel), attempt.culprit->name,
						   migrate_row_key_to_record(rel, row), &row->tts_tid,
						   error != NULL ? error->sqlerrcode : ERRCODE_DATA_EXCEPTION,
						   error != NULL ? error->message
						   : "it failed when the row was written, and does not fail now");
}

/* The table's worker may have nothing else to wait for. */
static void
forget(Relation rel, TupleTableSlot *row)
{
	ScanKeyData keys[2];
	Rows		rows;
	bool		found;

	rows_key(&keys[0], 1, F_OIDEQ, ObjectIdGetDatum(RelationGetRelid(rel)));
	rows_key(&keys[1], FAILURE_ROW_TID_ATTNO, F_TIDEQ, PointerGetDatum(&row->tts_tid));
	if (!rows_begin(&rows, "failure", "failure_row", lengthof(keys), keys))
		return;
	found = rows_next(&rows);
	rows_end(&rows);
	if (!found)
		return;
	migrate_failure_forget(RelationGetRelid(rel), &row->tts_tid);
	migrate_shmem_request_work();
}

/*
 * A trigger of the same statement may have changed the row again before we come to it.
 * Then the row as we have it is no one's to record; what was before it is gone all the same.
 */
Datum
migrate_defer_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = check_protocol(fcinfo, "defer_trigger");
	bool		is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	TupleTableSlot *row = is_update ? trigger->tg_newslot : trigger->tg_trigslot;
	Conversion *conversion = migrate_conversion_get(RelationGetRelid(trigger->tg_relation));

	if (conversion == NULL || !conversion->defers || !is_stale(conversion, row))
		return PointerGetDatum(NULL);
	if (table_tuple_satisfies_snapshot(trigger->tg_relation, row, SnapshotSelf))
		record(trigger->tg_relation, conversion, row);
	if (is_update)
		forget(trigger->tg_relation, trigger->tg_trigslot);
	return PointerGetDatum(NULL);
}

Datum
migrate_mend_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = check_protocol(fcinfo, "mend_trigger");
	Conversion *conversion = migrate_conversion_get(RelationGetRelid(trigger->tg_relation));
	bool		is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);

	if (conversion == NULL || (is_update && is_stale(conversion, trigger->tg_newslot)))
		return PointerGetDatum(NULL);
	forget(trigger->tg_relation, trigger->tg_trigslot);
	return PointerGetDatum(NULL);
}
