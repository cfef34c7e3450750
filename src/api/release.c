/*
 * api/release.c
 *		migrate.create_release(), migrate.retire_release(), migrate.pinned_sessions(),
 *		migrate.publish(), migrate.unpublish().
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "api/arguments.h"
#include "lifecycle/publish.h"
#include "lifecycle/release.h"
#include "shmem.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_create_release);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_retire_release);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_pinned_sessions);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_publish_release);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_unpublish_release);

Datum
migrate_create_release(PG_FUNCTION_ARGS)
{
	migrate_release_create(migrate_arg_required_text(fcinfo, 0, "name"),
						   migrate_arg_strings(fcinfo, 1, "migrations"), !PG_ARGISNULL(1));
	PG_RETURN_VOID();
}

Datum
migrate_retire_release(PG_FUNCTION_ARGS)
{
	migrate_release_retire(migrate_arg_required_text(fcinfo, 0, "name"));
	PG_RETURN_VOID();
}

Datum
migrate_pinned_sessions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, migrate_shmem_pins())
	{
		PinSlot    *pin = lfirst(lc);
		Datum		values[] = {Int32GetDatum(pin->pid), CStringGetTextDatum(pin->release)};
		bool		nulls[lengthof(values)] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static char *
schema_argument(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"schema\" must not be NULL")));
	return NameStr(*PG_GETARG_NAME(n));
}

Datum
migrate_publish_release(PG_FUNCTION_ARGS)
{
	migrate_publish(migrate_arg_required_text(fcinfo, 0, "release"), schema_argument(fcinfo, 1));
	PG_RETURN_VOID();
}

Datum
migrate_unpublish_release(PG_FUNCTION_ARGS)
{
	migrate_unpublish(schema_argument(fcinfo, 0));
	PG_RETURN_VOID();
}
