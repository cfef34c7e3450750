/*
 * api/arguments.c
 *		From SQL arguments to C values.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "api/arguments.h"

static void
require(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be NULL", name)));
}

char *
migrate_arg_required_text(FunctionCallInfo fcinfo, int n, const char *name)
{
	require(fcinfo, n, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

Oid
migrate_arg_required_relation(FunctionCallInfo fcinfo, int n, const char *name)
{
	require(fcinfo, n, name);
	return PG_GETARG_OID(n);
}

char *
migrate_arg_text(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

List *
migrate_arg_strings(FunctionCallInfo fcinfo, int n, const char *name)
{
	ArrayType  *array;
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	List	   *strings = NIL;

	if (PG_ARGISNULL(n))
		return NIL;
	array = PG_GETARG_ARRAYTYPE_P(n);
	if (ARR_ELEMTYPE(array) == NAMEOID)
		deconstruct_array(array, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
						  &elements, &nulls, &count);
	else
		deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
						  &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain NULL", name)));
		strings = lappend(strings, ARR_ELEMTYPE(array) == NAMEOID
						  ? pstrdup(NameStr(*DatumGetName(elements[i])))
						  : TextDatumGetCString(elements[i]));
	}
	return strings;
}
