/*
 * convert/conversion_load.c
 *		Compiling a relation's Conversion from the catalog: which managed table it
 *		belongs to, what is live there, and what follows from all of that together.
 *
 * This runs inside the planner and inside triggers, so the catalog is scanned
 * directly (rows.c). If a change of it commits just after, its relcache
 * invalidation marks the entry and it is compiled again.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "catalog/migration.h"
#include "catalog/store.h"
#include "convert/conversion_private.h"
#include "convert/expression.h"
#include "convert/live_migration.h"
#include "convert/minimum.h"
#include "convert/rows.h"
#include "migrate.h"

/* ---- what is live on a relation ---- */

static int
compare_versions(const void *a, const void *b)
{
	int32		left = ((const LiveMigration *) a)->version;
	int32		right = ((const LiveMigration *) b)->version;

	return (left > right) - (left < right);
}

static void
load_live(const Shape *shape, Conversion *conversion)
{
	ScanKeyData key;
	Rows		rows;

	rows_key(&key, 2, F_OIDEQ, ObjectIdGetDatum(conversion->root));
	if (!rows_begin(&rows, "migration", "migration_relation", 1, &key))
		return;
	while (rows_next(&rows))
	{
		if (!migrate_conversion_is_live_state(rows_get_text(&rows, "state")))
			continue;
		if (conversion->nlive == MIGRATE_MAX_LIVE)
			elog(ERROR, "more than %d live migrations on one table", MIGRATE_MAX_LIVE);
		live_migration_load(shape, &rows, &conversion->live[conversion->nlive++]);
	}
	rows_end(&rows);
	qsort(conversion->live, conversion->nlive, sizeof(LiveMigration), compare_versions);
}

/* ---- a relation ---- */

static bool
all_inlinable(const Conversion *conversion)
{
	for (int i = 0; i < conversion->nlive; i++)
	{
		ListCell   *lc;

		foreach(lc, list_concat_copy(conversion->live[i].ups, conversion->live[i].downs))
			if (!((Assignment *) lfirst(lc))->inlinable)
				return false;
	}
	return true;
}

static Bitmapset *
all_deprecated(const Conversion *conversion)
{
	Bitmapset  *deprecated = NULL;

	for (int i = 0; i < conversion->nlive; i++)
	{
		const LiveMigration *migration = &conversion->live[i];
		int			attno = -1;

		if (migration->deprecation == DEPRECATION_NONE)
			continue;
		while ((attno = bms_next_member(migration->removed, attno)) >= 0)
			deprecated = bms_add_member(deprecated, attno - FirstLowInvalidHeapAttributeNumber);
	}
	if (deprecated != NULL)
		deprecated = bms_add_member(deprecated,
									InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber);
	return deprecated;
}

static bool
any_may_defer(const Conversion *conversion)
{
	for (int i = 0; i < conversion->nlive; i++)
		if (migrate_conversion_may_defer(&conversion->live[i]))
			return true;
	return false;
}

static Bitmapset *
all_touched(const Conversion *conversion)
{
	Bitmapset  *touched = NULL;

	for (int i = 0; i < conversion->nlive; i++)
		touched = bms_add_members(touched, conversion->live[i].touched);
	return touched;
}

/* Fill in what migrate.managed says of a relation; false where it does not know it. */
static bool
load_managed(Oid relid, Conversion *conversion, char **version_column)
{
	ScanKeyData key;
	Rows		rows;
	bool		found;
	bool		isnull;

	rows_key(&key, 1, F_OIDEQ, ObjectIdGetDatum(relid));
	if (!rows_begin(&rows, "managed", "managed_pkey", 1, &key))
		return false;
	found = rows_next(&rows);
	if (found)
	{
		conversion->root = relid;
		conversion->version = rows_get_int(&rows, "version");
		conversion->floor = rows_get_int(&rows, "floor");
		conversion->paused = DatumGetBool(rows_get(&rows, "paused", &isnull));
		*version_column = rows_get_name(&rows, "version_column");
	}
	rows_end(&rows);
	return found;
}

/*
 * The managed table that a relation is or is a partition of. One that is being
 * detached concurrently is still among those of transactions that began before,
 * and has its trigger until that is finished. In the middle of a command that
 * attaches or detaches one, it may count as a partition and have no parent.
 */
static bool
load_root(Oid relid, Conversion *conversion, char **version_column)
{
	while (!load_managed(relid, conversion, version_column))
	{
		if (!get_rel_relispartition(relid) || !has_superclass(relid))
			return false;
		relid = get_partition_parent(relid, true);
	}
	return true;
}

static void
load_shape(const Shape *shape, Conversion *conversion)
{
	conversion->tupdesc = CreateTupleDescCopyConstr(shape->desc);
	conversion->reltype = shape->rel->rd_rel->reltype;
	conversion->reading = palloc0(Max(conversion->nlive, 1) * sizeof(Expr **));
	conversion->all_inlinable = all_inlinable(conversion);
	conversion->touched = all_touched(conversion);
	conversion->deprecated = all_deprecated(conversion);
	conversion->defers = any_may_defer(conversion);
	migrate_minimum_note(conversion);
}

static Conversion *
make_conversion(Oid relid)
{
	Conversion *conversion = palloc0(sizeof(Conversion));

	conversion->relid = relid;
	conversion->context = CurrentMemoryContext;
	conversion->live = palloc0(MIGRATE_MAX_LIVE * sizeof(LiveMigration));
	return conversion;
}

Conversion *
migrate_conversion_load(Oid relid)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "migrate conversion",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Conversion *conversion = make_conversion(relid);
	char	   *version_column = NULL;

	if (load_root(relid, conversion, &version_column))
	{
		Relation	rel = relation_open(relid, AccessShareLock);
		Shape		shape = {rel, RelationGetDescr(rel)};

		shape.root = conversion->root;
		conversion->owner = shape.owner = migrate_store_relation_owner(conversion->root);
		load_live(&shape, conversion);
		if (conversion->nlive > 0)
		{
			conversion->version_attno = live_migration_column(&shape, version_column);
			load_shape(&shape, conversion);
		}
		relation_close(rel, AccessShareLock);	/* the caller has one of his own */
	}
	MemoryContextSwitchTo(old);

	if (conversion->nlive == 0)
	{
		MemoryContextDelete(context);
		return NULL;
	}
	MemoryContextSetParent(context, CacheMemoryContext);
	return conversion;
}

/* ---- a conversion that might come ---- */

static void
add_attribute(TupleDesc *desc, const char *name, Oid type, int32 typmod, Oid collation)
{
	TupleDesc	longer = CreateTemplateTupleDesc((*desc)->natts + 1);

	if (SPI_fnumber(*desc, name) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("column \"%s\" exists already", name),
				 errdetail("It was added since the migration was defined.")));
	for (int i = 1; i <= (*desc)->natts; i++)
		TupleDescCopyEntry(longer, i, *desc, i);
	TupleDescInitEntry(longer, longer->natts, name, type, typmod, 0);
	TupleDescInitEntryCollation(longer, longer->natts, collation);
	*desc = longer;
}

static void
add_new_columns(TupleDesc *desc, const Migration *migration)
{
	ListCell   *lc;

	foreach(lc, migration->added)
	{
		AddedColumn *column = lfirst(lc);
		Oid			type;
		int32		typmod;
		Oid			collation;

		migrate_expression_parse_type(column->type, &type, &typmod, &collation);
		add_attribute(desc, column->name, type, typmod, collation);
	}
}

/* As if it had been expanded just now. */
static void
load_expected(const Shape *shape, Conversion *conversion, const Migration *migration)
{
	ScanKeyData key;
	Rows		rows;

	if (conversion->nlive == MIGRATE_MAX_LIVE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("table \"%s\" would have more than %d live migrations",
						RelationGetRelationName(shape->rel), MIGRATE_MAX_LIVE)));
	rows_key_text(&key, 1, migration->name);
	if (!rows_begin(&rows, "migration", "migration_pkey", 1, &key) || !rows_next(&rows))
		elog(ERROR, "migration \"%s\" has gone", migration->name);
	live_migration_load(shape, &rows, &conversion->live[conversion->nlive]);
	conversion->live[conversion->nlive++].version = ++conversion->version;
	rows_end(&rows);
}

Conversion *
migrate_conversion_expect(Oid relid, Oid root, List *migrations)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	Shape		shape = {rel, RelationGetDescr(rel)};
	Conversion *conversion = make_conversion(relid);
	char	   *version_column = NULL;
	ListCell   *lc;

	if (!load_root(relid, conversion, &version_column))
	{
		conversion->root = root;
		conversion->version = conversion->floor = MIGRATE_FIRST_VERSION;
		version_column = "";	/* no other can be called so */
		add_attribute(&shape.desc, version_column, INT4OID, -1, InvalidOid);
	}
	shape.root = conversion->root;
	conversion->owner = shape.owner = migrate_store_relation_owner(conversion->root);
	foreach(lc, migrations)
		add_new_columns(&shape.desc, lfirst(lc));
	load_live(&shape, conversion);
	foreach(lc, migrations)
		load_expected(&shape, conversion, lfirst(lc));
	conversion->version_attno = live_migration_column(&shape, version_column);
	load_shape(&shape, conversion);
	relation_close(rel, NoLock);
	return conversion;
}

void
migrate_conversion_load_summary(LiveSummary *summary)
{
	Rows		rows;

	memset(summary, 0, sizeof(*summary));
	if (!rows_begin(&rows, "migration", "migration_pkey", 0, NULL))
		return;
	while (rows_next(&rows))
	{
		char	   *state = rows_get_text(&rows, "state");

		if (!migrate_conversion_is_live_state(state))
			continue;
		summary->any = true;
		if (rows_get_text(&rows, "deprecation") != NULL)
			summary->any_deprecated = true;
		if (live_migration_is_complete(state))
		{
			FullTransactionId *xid = palloc(sizeof(FullTransactionId));

			*xid = rows_get_xid(&rows, "completed_xid");
			summary->completed = lappend(summary->completed, xid);
		}
		else
			summary->any_expanded = true;
	}
	rows_end(&rows);
}
