/*
 * api/prune.c
 *		migrate.set_prune(), migrate.unset_prune(), migrate.prune_trigger().
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "fmgr.h"

#include "api/arguments.h"
#include "lifecycle/prune.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_set_prune);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_unset_prune);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_prune_trigger);

Datum
migrate_set_prune(PG_FUNCTION_ARGS)
{
	migrate_lifecycle_set_prune(migrate_arg_required_relation(fcinfo, 0, "relation"),
								migrate_arg_text(fcinfo, 1),
								PG_ARGISNULL(2) ? InvalidOid : PG_GETARG_OID(2));
	PG_RETURN_VOID();
}

Datum
migrate_unset_prune(PG_FUNCTION_ARGS)
{
	migrate_lifecycle_unset_prune(migrate_arg_required_relation(fcinfo, 0, "relation"));
	PG_RETURN_VOID();
}

/* The trigger is there for its condition. Should somebody enable it, it changes nothing. */
Datum
migrate_prune_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"prune_trigger\" was not called as a trigger")));
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event)
						   ? trigger->tg_newtuple : trigger->tg_trigtuple);
}
