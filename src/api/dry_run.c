/*
 * api/dry_run.c
 *		migrate.dry_run().
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "api/arguments.h"
#include "lifecycle/dry_run.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_dry_run);

Datum
migrate_dry_run(PG_FUNCTION_ARGS)
{
	char	   *name = migrate_arg_required_text(fcinfo, 0, "name");
	double		sample = PG_ARGISNULL(1) ? 100 : PG_GETARG_FLOAT8(1);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DryRun		run;
	Datum		values[6] = {0};
	bool		nulls[6] = {false};

	InitMaterializedSRF(fcinfo, 0);
	migrate_lifecycle_dry_run(name, sample, &run);

	values[0] = Int64GetDatum(run.rows_checked);
	values[1] = Int64GetDatum(run.rows_failed);
	nulls[2] = run.first_error == NULL;
	if (!nulls[2])
		values[2] = CStringGetTextDatum(run.first_error);
	nulls[3] = run.first_failed_row == NULL;
	if (!nulls[3])
		values[3] = DirectFunctionCall1(jsonb_in, CStringGetDatum(run.first_failed_row));
	values[4] = Int64GetDatum(run.round_trip_failures);
	values[5] = Float8GetDatum(run.estimated_seconds);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}
