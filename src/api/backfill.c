/*
 * api/backfill.c
 *		migrate.run(), migrate.pause(), migrate.resume(), migrate.retry(),
 *		migrate.wait(), migrate.active_workers(), migrate.fading().
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/arguments.h"
#include "lifecycle/run.h"
#include "shmem.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_run);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_pause);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_resume);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_retry);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_wait);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_active_workers);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_fading);

static void
check_may_commit(FunctionCallInfo fcinfo)
{
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("migrate.run() cannot run inside a transaction block"),
				 errdetail("It commits after every batch.")));
}

static int64
optional_row_limit(FunctionCallInfo fcinfo, int n)
{
	int64		limit = PG_ARGISNULL(n) ? 0 : PG_GETARG_INT64(n);

	if (!PG_ARGISNULL(n) && limit <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"max_rows\" must be greater than zero")));
	return limit;
}

Datum
migrate_run(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	int64		converted;
	int64		remaining;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	check_may_commit(fcinfo);
	migrate_run_tables(PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0),
					   optional_row_limit(fcinfo, 1), &converted, &remaining);

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum(converted);
	values[1] = Int64GetDatum(remaining);
	nulls[1] = remaining < 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
migrate_pause(PG_FUNCTION_ARGS)
{
	migrate_run_set_paused(migrate_arg_required_relation(fcinfo, 0, "relation"), true);
	PG_RETURN_VOID();
}

Datum
migrate_resume(PG_FUNCTION_ARGS)
{
	migrate_run_set_paused(migrate_arg_required_relation(fcinfo, 0, "relation"), false);
	PG_RETURN_VOID();
}

Datum
migrate_retry(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(migrate_run_retry(migrate_arg_required_relation(fcinfo, 0, "relation")));
}

/* NULL: for as long as it takes, which is -1. */
static int64
optional_milliseconds(FunctionCallInfo fcinfo, int n)
{
	Interval   *interval;

	if (PG_ARGISNULL(n))
		return -1;
	interval = PG_GETARG_INTERVAL_P(n);
	return Max(((int64) interval->month * DAYS_PER_MONTH + interval->day) * SECS_PER_DAY * 1000 +
			   interval->time / 1000, 0);
}

Datum
migrate_wait(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(migrate_wait_complete(migrate_arg_required_text(fcinfo, 0, "name"),
										 optional_milliseconds(fcinfo, 1),
										 fcinfo->flinfo->fn_oid));
}

Datum
migrate_active_workers(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(migrate_shmem_count_workers(PG_GETARG_OID(0)));
}

/* The time in which what was done fades by the factor e, in seconds, and is nothing. */
#define FADING_SECONDS		20
#define FADED_SECONDS		300

/* Long enough ago it is nothing, and so little is as well: exp() is kept from underflow. */
Datum
migrate_fading(PG_FUNCTION_ARGS)
{
	double		amount = PG_ARGISNULL(0) ? 0 : PG_GETARG_FLOAT8(0);
	Interval   *age = PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1);
	double		seconds;

	if (age == NULL || amount <= 0.001)
		PG_RETURN_FLOAT8(0);
	seconds = age->time / (double) USECS_PER_SEC +
		(age->day + age->month * (double) DAYS_PER_MONTH) * SECS_PER_DAY;
	if (seconds >= FADED_SECONDS)
		PG_RETURN_FLOAT8(0);
	PG_RETURN_FLOAT8(amount * exp(-Max(seconds, 0) / FADING_SECONDS));
}
