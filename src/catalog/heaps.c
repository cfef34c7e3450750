/*
 * catalog/heaps.c
 *		The tables that store a managed table's rows.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "utils/lsyscache.h"

#include "catalog/heaps.h"

List *
migrate_heaps_of(Oid root)
{
	List	   *heaps = NIL;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(root, NoLock, NULL))
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION)
			heaps = lappend_oid(heaps, lfirst_oid(lc));
	return heaps;
}
