/*
 * catalog/names.c
 *		Lists of names, which are char *.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "catalog/names.h"

bool
migrate_names_contain(List *names, const char *name)
{
	ListCell   *lc;

	foreach(lc, names)
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	return false;
}

bool
migrate_names_are_same(List *a, List *b)
{
	ListCell   *lc;

	foreach(lc, a)
		if (!migrate_names_contain(b, lfirst(lc)))
			return false;
	foreach(lc, b)
		if (!migrate_names_contain(a, lfirst(lc)))
			return false;
	return true;
}

char *
migrate_names_quote(List *names)
{
	StringInfoData quoted;
	ListCell   *lc;

	initStringInfo(&quoted);
	foreach(lc, names)
		appendStringInfo(&quoted, "%s\"%s\"", quoted.len > 0 ? ", " : "", (char *) lfirst(lc));
	return quoted.data;
}
