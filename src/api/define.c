/*
 * api/define.c
 *		migrate.define(), migrate.forget(), migrate.manage(), migrate.unmanage(),
 *		migrate.expand().
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "api/arguments.h"
#include "lifecycle/define.h"
#include "lifecycle/expand.h"
#include "lifecycle/unmanage.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_define);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_forget);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_manage);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_unmanage);
PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_expand);

Datum
migrate_define(PG_FUNCTION_ARGS)
{
	Definition	definition = {
		.name = migrate_arg_required_text(fcinfo, 0, "name"),
		.relid = migrate_arg_required_relation(fcinfo, 1, "relation"),
		.add = migrate_arg_text(fcinfo, 2),
		.up = migrate_arg_text(fcinfo, 3),
		.down = migrate_arg_text(fcinfo, 4),
		.remove = migrate_arg_strings(fcinfo, 5, "remove"),
		.needed = migrate_arg_text(fcinfo, 6),
		.depends_on = migrate_arg_strings(fcinfo, 7, "depends_on"),
		.has_depends_on = !PG_ARGISNULL(7),
		.on_error = migrate_arg_required_text(fcinfo, 8, "on_error"),
		.comment = migrate_arg_text(fcinfo, 9),
	};

	migrate_lifecycle_define(&definition);
	PG_RETURN_TEXT_P(cstring_to_text(definition.name));
}

Datum
migrate_forget(PG_FUNCTION_ARGS)
{
	migrate_lifecycle_forget(migrate_arg_required_text(fcinfo, 0, "name"));
	PG_RETURN_VOID();
}

Datum
migrate_manage(PG_FUNCTION_ARGS)
{
	Oid			relid = migrate_arg_required_relation(fcinfo, 0, "relation");

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"version_column\" must not be NULL")));
	migrate_lifecycle_manage(relid, NameStr(*PG_GETARG_NAME(1)));
	PG_RETURN_VOID();
}

Datum
migrate_unmanage(PG_FUNCTION_ARGS)
{
	migrate_lifecycle_unmanage(migrate_arg_required_relation(fcinfo, 0, "relation"));
	PG_RETURN_VOID();
}

Datum
migrate_expand(PG_FUNCTION_ARGS)
{
	migrate_lifecycle_expand(migrate_arg_required_text(fcinfo, 0, "name"));
	PG_RETURN_VOID();
}
