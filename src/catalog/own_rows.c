/*
 * catalog/own_rows.c
 *		Keeping another database's catalog out of ours.
 *
 * The extension's tables speak of this database: of its tables by their OIDs, of how far
 * they are converted. The server does not leave them out of a publication FOR ALL TABLES;
 * taken over by a subscriber, they would have it believe in conversions that were not
 * made. So what logical replication would change in them, the initial copy included, is
 * passed over, by a trigger that fires for replication alone.
 *
 * A replicated row of a managed table can have us write there too (write/deferred.c),
 * in the same process. What we write we write as the extension's owner, by a local change
 * of the user (catalog/store.c); what is applied is not.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_own_rows_trigger);

Datum
migrate_own_rows_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired before a change of each row",
						"own_rows_trigger")));
	if (IsLogicalWorker() && !InLocalUserIdChange())
		return PointerGetDatum(NULL);
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple
						   : trigger->tg_trigtuple);
}
