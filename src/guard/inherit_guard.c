/*
 * guard/inherit_guard.c
 *		Tables that would inherit from managed ones, or the other way round.
 *
 * define refuses a table from which others inherit, one that is a partition, and a
 * migration that removes or rewrites inherited columns. What it would have refused is
 * refused while the migration is live:
 *
 * - A child's rows are in every query on its parent, but nobody converts them: our
 *   triggers are not inherited.
 * - In queries on a managed table's parent its rows are as they are stored. That
 *   is as good where the parent has no column that a migration computes. One that
 *   a migration removes could not be dropped. The parent may get such a column later,
 *   which is merged with the child's.
 * - So are a managed table's rows in queries on a table that it becomes a partition of.
 *   (What comes to a managed table as a partition is another matter: partitions.c.)
 *
 * We are called when the server has recorded the inheritance, or the parent's new column
 * but not yet the child's, under its locks on both tables.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "convert/conversion.h"
#include "guard/catalog_row.h"
#include "guard/drop_guard.h"
#include "guard/inherit_guard.h"

static void
check_parent(const Conversion *parent, Oid child)
{
	char	   *object = psprintf("table \"%s\" inherit from table \"%s\"",
								  get_rel_name(child), get_rel_name(parent->relid));

	migrate_drop_guard_refuse("let", object, &parent->live[0],
							  "Its rows would be read with the others, and not be converted.");
}

/* One that is created as a partition is already known as one. */
static void
check_partition(Oid child, Oid parent)
{
	Conversion *conversion = get_rel_relispartition(child) ? NULL : migrate_conversion_get(child);

	if (conversion != NULL)
		migrate_drop_guard_refuse("attach", psprintf("table \"%s\" to table \"%s\"",
													 get_rel_name(child), get_rel_name(parent)),
								  &conversion->live[0],
								  "Queries on the partitioned table would read its rows as they are stored.");
}

static void
refuse_child_column(const Conversion *child, const LiveMigration *live, AttrNumber attno,
					Oid parent)
{
	char	   *object = psprintf("table \"%s\" inherit column \"%s\" from table \"%s\"",
								  get_rel_name(child->relid),
								  NameStr(TupleDescAttr(child->tupdesc, attno - 1)->attname),
								  get_rel_name(parent));

	migrate_drop_guard_refuse("let", object, live, bms_is_member(attno, live->removed)
							  ? "The contract could not drop it."
							  : "Queries on the parent would read it as it is stored.");
}

/* Of a child's columns those that the parent has, or the one that it gets. */
static void
check_child(const Conversion *child, const LiveMigration *live, Oid parent, const char *gets)
{
	Bitmapset  *columns = bms_union(bms_union(live->added, live->rewritten), live->removed);
	int			attno = -1;

	while ((attno = bms_next_member(columns, attno)) >= 0)
	{
		const char *name = NameStr(TupleDescAttr(child->tupdesc, attno - 1)->attname);

		if (gets ? strcmp(name, gets) == 0 : get_attnum(parent, name) != InvalidAttrNumber)
			refuse_child_column(child, live, attno, parent);
	}
}

static void
check_columns(Oid child, Oid parent, const char *gets)
{
	Conversion *conversion = migrate_conversion_get(child);

	for (int i = 0; conversion != NULL && i < conversion->nlive; i++)
		check_child(conversion, &conversion->live[i], parent, gets);
}

void
migrate_inherit_guard_check(Oid child, Oid parent)
{
	Conversion *conversion;

	if (!migrate_conversion_any())
		return;
	if (get_rel_relkind(parent) == RELKIND_PARTITIONED_TABLE)
	{
		check_partition(child, parent);
		return;
	}
	conversion = migrate_conversion_get(parent);
	if (conversion != NULL)
		check_parent(conversion, child);
	check_columns(child, parent, NULL);
}

void
migrate_inherit_guard_check_column(Oid parent, AttrNumber attno)
{
	HeapTuple	tuple;
	ListCell   *lc;

	if (!migrate_conversion_any() || get_rel_relkind(parent) == RELKIND_PARTITIONED_TABLE ||
		!has_subclass(parent))
		return;
	tuple = migrate_catalog_column(parent, attno, SnapshotSelf);
	foreach(lc, find_inheritance_children(parent, NoLock))
		check_columns(lfirst_oid(lc), parent,
					  NameStr(((Form_pg_attribute) GETSTRUCT(tuple))->attname));
}
