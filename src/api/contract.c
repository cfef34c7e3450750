/*
 * api/contract.c
 *		migrate.check_contract(), migrate.contract(), migrate.rollback().
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "api/arguments.h"
#include "guard/contract_gate.h"
#include "lifecycle/contract.h"
#include "lifecycle/rollback.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_check_contract);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_contract);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_rollback);

static Datum
optional_text(const char *string, bool *isnull)
{
	*isnull = string == NULL;
	return string ? CStringGetTextDatum(string) : (Datum) 0;
}

Datum
migrate_check_contract(PG_FUNCTION_ARGS)
{
	char	   *name = migrate_arg_required_text(fcinfo, 0, "name");
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Migration  *migration;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	migration = migrate_migration_load(name, false, false);
	migrate_migration_check_owner(migration->relid);
	foreach(lc, migrate_gate_run(migration, NIL, true))
	{
		GateFinding *finding = lfirst(lc);
		Datum		values[4];
		bool		nulls[4] = {false};

		values[0] = CStringGetTextDatum(finding->check);
		values[1] = BoolGetDatum(finding->ok);
		values[2] = optional_text(finding->detail, &nulls[2]);
		values[3] = optional_text(finding->hint, &nulls[3]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* More than anybody waits, and far from overflow when added to a time. */
#define LONGEST_WAIT	(INT64CONST(10000) * DAYS_PER_MONTH * USECS_PER_DAY)

/* Months count as 30 days, as in justify_days(). */
static TimeOffset
interval_microseconds(const Interval *interval)
{
	double		microseconds = (double) interval->time +
		((double) interval->day + (double) interval->month * DAYS_PER_MONTH) * USECS_PER_DAY;

	return (TimeOffset) Min(microseconds, (double) LONGEST_WAIT);
}

static TimeOffset
get_wait(FunctionCallInfo fcinfo, int n)
{
	TimeOffset	wait = PG_ARGISNULL(n) ? 0 : interval_microseconds(PG_GETARG_INTERVAL_P(n));

	if (wait < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"wait\" must not be negative")));
	return wait;
}

Datum
migrate_contract(PG_FUNCTION_ARGS)
{
	char	   *name = migrate_arg_required_text(fcinfo, 0, "name");

	migrate_lifecycle_contract(name, get_wait(fcinfo, 1),
							   migrate_arg_strings(fcinfo, 2, "skip"));
	PG_RETURN_VOID();
}

Datum
migrate_rollback(PG_FUNCTION_ARGS)
{
	char	   *name = migrate_arg_required_text(fcinfo, 0, "name");

	migrate_lifecycle_rollback(name, !PG_ARGISNULL(1) && PG_GETARG_BOOL(1));
	PG_RETURN_VOID();
}
