/*
 * api/index.c
 *		migrate.create_index(), migrate.drop_index().
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "api/arguments.h"
#include "lifecycle/index.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_create_index);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_drop_index);

static bool
required_bool(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be NULL", name)));
	return PG_GETARG_BOOL(n);
}

Datum
migrate_create_index(PG_FUNCTION_ARGS)
{
	char	   *name;

	name = migrate_index_declare(migrate_arg_required_text(fcinfo, 0, "migration"),
								 migrate_arg_required_text(fcinfo, 1, "columns"),
								 required_bool(fcinfo, 2, "is_unique"),
								 required_bool(fcinfo, 3, "while_stale"));
	PG_RETURN_TEXT_P(cstring_to_text(name));
}

Datum
migrate_drop_index(PG_FUNCTION_ARGS)
{
	migrate_index_withdraw(migrate_arg_required_text(fcinfo, 0, "migration"),
						   migrate_arg_required_text(fcinfo, 1, "name"));
	PG_RETURN_VOID();
}
