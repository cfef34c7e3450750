/*
 * api/usage.c
 *		migrate.deprecate(), migrate.column_uses().
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "api/arguments.h"
#include "compat.h"
#include "guard/uses.h"
#include "lifecycle/deprecate.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_deprecate);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_column_uses);

Datum
migrate_deprecate(PG_FUNCTION_ARGS)
{
	char	   *name = migrate_arg_required_text(fcinfo, 0, "name");
	char	   *action = migrate_arg_required_text(fcinfo, 2, "action");

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"quiet_period\" must not be NULL")));
	migrate_lifecycle_deprecate(name, PG_GETARG_INTERVAL_P(1), action);
	PG_RETURN_VOID();
}

/* The programs of others are told to whom pg_stat_activity would tell them, and to the owner. */
static bool
may_see(Oid relation)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
		compat_is_relation_owner(relation, GetUserId());
}

Datum
migrate_column_uses(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, migrate_uses_load(InvalidOid))
	{
		ColumnUse  *use = lfirst(lc);
		NameData	column;
		NameData	role;
		Datum		values[8];
		bool		nulls[lengthof(values)] = {false};

		if (get_rel_name(use->relation) == NULL || !may_see(use->relation))
			continue;
		namestrcpy(&column, use->column);
		namestrcpy(&role, use->role);
		values[0] = ObjectIdGetDatum(use->relation);
		values[1] = NameGetDatum(&column);
		values[2] = CStringGetTextDatum(use->writes ? "write" : "read");
		values[3] = NameGetDatum(&role);
		values[4] = CStringGetTextDatum(use->application_name);
		nulls[3] = nulls[4] = use->role[0] == '\0';
		values[5] = TimestampTzGetDatum(use->first_used);
		values[6] = TimestampTzGetDatum(use->last_used);
		values[7] = Int64GetDatum(use->count);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
