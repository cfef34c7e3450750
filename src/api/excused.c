/*
 * api/excused.c
 *		migrate.excused(), which constraints of a new form ask.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "convert/excuse.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_excused);

Datum
migrate_excused(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(migrate_excuse_is_due(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}
