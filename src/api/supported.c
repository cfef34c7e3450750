/*
 * api/supported.c
 *		migrate.is_supported(), which tables without a live migration ask.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "write/supported.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_is_supported);

Datum
migrate_is_supported(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	SupportedVersions supported;

	if (!OidIsValid(relid) && !PG_ARGISNULL(2))
		relid = migrate_supported_relation_of(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	if (!PG_ARGISNULL(1) && migrate_supported_load(relid, &supported))
		migrate_supported_check(&supported, relid, PG_GETARG_INT32(1));
	PG_RETURN_BOOL(true);
}
