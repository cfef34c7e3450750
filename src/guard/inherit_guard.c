/*
 * guard/inherit_guard.c
 *		Tables that would inherit from managed ones, or the other way round.
 *
 * That is about plain inheritance; partitions are another matter (partitions.c).
 * define refuses a table from which others inherit, and a migration that removes or
 * rewrites inherited columns. What it would have refused is refused while the
 * migration is live:
 *
 * - A child's rows are in every query on its parent, but nobody converts them: our
 *   triggers are not inherited.
 * - In queries on a managed table's parent its rows are as they are stored. That
 *   is as good where the parent has no column that a migration computes. One that
 *   a migration removes could not be dropped.
 *
 * We are called when the server has recorded the inheritance, under its locks on
 * both tables.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "utils/lsyscache.h"

#include "convert/conversion.h"
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

static void
check_child_column(const Conversion *child, const LiveMigration *live, AttrNumber attno, Oid parent)
{
	const char *name = NameStr(TupleDescAttr(child->tupdesc, attno - 1)->attname);
	char	   *object;

	if (get_attnum(parent, name) == InvalidAttrNumber)
		return;
	object = psprintf("table \"%s\" inherit column \"%s\" from table \"%s\"",
					  get_rel_name(child->relid), name, get_rel_name(parent));
	migrate_drop_guard_refuse("let", object, live, bms_is_member(attno, live->removed)
							  ? "The contract could not drop it."
							  : "Queries on the parent would read it as it is stored.");
}

static void
check_child(const Conversion *child, const LiveMigration *live, Oid parent)
{
	Bitmapset  *columns = bms_union(bms_union(live->added, live->rewritten), live->removed);
	int			attno = -1;

	while ((attno = bms_next_member(columns, attno)) >= 0)
		check_child_column(child, live, attno, parent);
}

void
migrate_inherit_guard_check(Oid child, Oid parent)
{
	Conversion *conversion;

	if (!migrate_conversion_any() || get_rel_relkind(parent) != RELKIND_RELATION)
		return;
	conversion = migrate_conversion_get(parent);
	if (conversion != NULL)
		check_parent(conversion, child);
	conversion = migrate_conversion_get(child);
	for (int i = 0; conversion != NULL && i < conversion->nlive; i++)
		check_child(conversion, &conversion->live[i], parent);
}
