/*
 * convert/conversion_load.c
 *		Compiling a Conversion from the catalog.
 *
 * This runs inside the planner and inside triggers, so the catalog is scanned
 * directly (rows.c). If a change of it commits just after, its relcache
 * invalidation marks the entry and it is compiled again.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/catversion.h"
#include "catalog/partition.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteManip.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/migration.h"
#include "catalog/store.h"
#include "convert/conversion_private.h"
#include "convert/expression.h"
#include "convert/generated.h"
#include "convert/minimum.h"
#include "convert/rows.h"
#include "convert/subquery.h"
#include "migrate.h"

/*
 * What expressions are bound to: the columns of a relation, or those that it
 * would have.
 */
typedef struct Shape
{
	Relation	rel;
	TupleDesc	desc;			/* begins with the relation's own columns */
	Oid			root;			/* the managed table */
	Oid			owner;			/* its owner */
} Shape;

/* ---- columns by name ---- */

static AttrNumber
column_number(const Shape *shape, const char *name)
{
	int			attno = SPI_fnumber(shape->desc, name);

	if (attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\", which a live migration uses, does not exist",
						name, RelationGetRelationName(shape->rel)),
				 errhint("The table was changed while migrate.guard was off.")));
	return attno;
}

/* A name[] column as attribute numbers; as an array in its order, or as a set. */
static AttrNumber *
column_numbers(const Shape *shape, Datum names, int *count)
{
	Datum	   *elements;
	AttrNumber *attnos;

	deconstruct_array(DatumGetArrayTypeP(names), NAMEOID, NAMEDATALEN, false,
					  TYPALIGN_CHAR, &elements, NULL, count);
	attnos = palloc((*count + 1) * sizeof(AttrNumber));
	for (int i = 0; i < *count; i++)
		attnos[i] = column_number(shape, NameStr(*DatumGetName(elements[i])));
	return attnos;
}

static Bitmapset *
column_set(const Shape *shape, Datum names)
{
	int			count;
	AttrNumber *attnos = column_numbers(shape, names, &count);
	Bitmapset  *set = NULL;

	for (int i = 0; i < count; i++)
		set = bms_add_member(set, attnos[i]);
	return set;
}

/* ---- a migration ---- */

/* The columns of the new form, and those of the old one whose names they will take. */
static void
load_added(const Shape *shape, LiveMigration *migration)
{
	ScanKeyData key;
	Rows		rows;

	rows_key_text(&key, 1, migration->name);
	if (!rows_begin(&rows, "added_column", "added_column_pkey", 1, &key))
		return;
	while (rows_next(&rows))
	{
		bool		has_own_name;

		migration->added = bms_add_member(migration->added,
										  column_number(shape, rows_get_name(&rows, "name")));
		(void) rows_get(&rows, "rename_to", &has_own_name);
		if (!has_own_name)
			migration->replaced = bms_add_member(migration->replaced,
												 column_number(shape, rows_get_name(&rows, "rename_to")));
	}
	rows_end(&rows);
}

/* The stored tree of an assignment, if this server can read it. */
static Expr *
load_tree(const char *migration, char direction, const char *target)
{
	ScanKeyData keys[3];
	NameData	name;
	Rows		rows;
	Expr	   *tree = NULL;

	namestrcpy(&name, target);
	rows_key_text(&keys[0], 1, migration);
	rows_key(&keys[1], 2, F_CHAREQ, CharGetDatum(direction));
	rows_key(&keys[2], 3, F_NAMEEQ, NameGetDatum(&name));
	keys[2].sk_collation = C_COLLATION_OID;
	if (!rows_begin(&rows, "assignment_tree", "assignment_tree_pkey", 3, keys))
		return NULL;
	if (rows_next(&rows) && rows_get_int(&rows, "catalog_version") == CATALOG_VERSION_NO)
		tree = stringToNode(rows_get_text(&rows, "tree"));
	rows_end(&rows);
	return tree;
}

static void
refuse_type(const Shape *shape, const LiveMigration *migration, AttrNumber attno, Oid defined_type)
{
	Form_pg_attribute attr = TupleDescAttr(shape->desc, attno - 1);

	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of relation \"%s\" is not of the type for which migration \"%s\" was defined",
					NameStr(attr->attname), RelationGetRelationName(shape->rel), migration->name),
			 errdetail("It is %s and was %s.",
					   format_type_with_typemod(attr->atttypid, attr->atttypmod),
					   format_type_be(defined_type)),
			 errhint("Change the column back, or define the migration again.")));
}

static void
check_input_type(const Shape *shape, const LiveMigration *migration, const Var *var)
{
	Form_pg_attribute attr = TupleDescAttr(shape->desc, var->varattno - 1);

	if (var->vartype != attr->atttypid || var->vartypmod != attr->atttypmod ||
		var->varcollid != attr->attcollation)
		refuse_type(shape, migration, var->varattno, var->vartype);
}

/*
 * A stored tree holds the types of its inputs and of its result. A definition
 * does not hold a column to its type until it is expanded.
 */
static void
check_types(const Shape *shape, const LiveMigration *migration, AttrNumber target, Expr *expr)
{
	ListCell   *lc;

	foreach(lc, migrate_expression_columns(expr))
		check_input_type(shape, migration, lfirst(lc));
	if (target != InvalidAttrNumber &&
		exprType((Node *) expr) != TupleDescAttr(shape->desc, target - 1)->atttypid)
		refuse_type(shape, migration, target, exprType((Node *) expr));
}

static char *
column_sql(const Shape *shape, AttrNumber attno)
{
	return quote_qualified_identifier(RelationGetRelationName(shape->rel),
									  NameStr(TupleDescAttr(shape->desc, attno - 1)->attname));
}

static Assignment *
make_assignment(const Shape *shape, AttrNumber target, Expr *expr)
{
	Assignment *assignment = palloc0(sizeof(Assignment));

	assignment->target = target;
	assignment->expr = expr;
	assignment->inputs = migrate_expression_inputs(expr);
	assignment->inlinable = migrate_expression_is_inlinable((Node *) expr);
	if (checkExprHasSubLink((Node *) expr))
		assignment->subquery = subquery_make(expr, column_sql(shape, target));
	return assignment;
}

static Expr *
parse_text(const Shape *shape, AttrNumber target, const char *text)
{
	const char *name = get_rel_name(shape->root);
	Form_pg_attribute attr;

	if (target == InvalidAttrNumber)
		return migrate_expression_from_text(shape->rel, name, shape->owner, BOOLOID, -1, text);
	attr = TupleDescAttr(shape->desc, target - 1);
	return migrate_expression_from_text(shape->rel, name, shape->owner, attr->atttypid,
										attr->atttypmod, text);
}

/* A generated column that "needed" reads may have got another expression. */
static Assignment *
check_inlinable(const Shape *shape, const LiveMigration *migration, Assignment *needed)
{
	if (!needed->inlinable)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"needed\" of migration \"%s\" cannot be judged by who reads table \"%s\"",
						migration->name, RelationGetRelationName(shape->rel)),
				 errdetail("It calls more than built-in immutable functions, by way of a generated column.")));
	return needed;
}

static void
load_assignments(const Shape *shape, LiveMigration *migration,
				 const AttrNumber *attnos, int nattnos)
{
	ScanKeyData key;
	Rows		rows;

	rows_key_text(&key, 1, migration->name);
	if (!rows_begin(&rows, "assignment", "assignment_pkey", 1, &key))
		return;
	while (rows_next(&rows))
	{
		bool		isnull;
		char		direction = DatumGetChar(rows_get(&rows, "direction", &isnull));
		char	   *name = rows_get_name(&rows, "target");
		AttrNumber	target = direction == 'n' ? InvalidAttrNumber : column_number(shape, name);
		Expr	   *expr = load_tree(migration->name, direction, name);
		Assignment *assignment;

		if (expr != NULL)
			expr = migrate_expression_bind(expr, attnos, nattnos);
		else
			expr = parse_text(shape, target, rows_get_text(&rows, "expression"));
		check_types(shape, migration, target, expr);
		assignment = make_assignment(shape, target, migrate_generated_compute(expr, shape->rel));
		if (direction == 'u')
			migration->ups = lappend(migration->ups, assignment);
		else if (direction == 'n')
			migration->needed = check_inlinable(shape, migration, assignment);
		else
			migration->downs = lappend(migration->downs, assignment);
	}
	rows_end(&rows);
}

static void
mark_rewritten(LiveMigration *migration)
{
	ListCell   *lc;

	foreach(lc, migration->ups)
	{
		Assignment *up = lfirst(lc);

		up->in_place = !bms_is_member(up->target, migration->added);
		if (up->in_place)
			migration->rewritten = bms_add_member(migration->rewritten, up->target);
	}
}

/* What is generated from columns that up assigns reads as generated from what they read as. */
static void
follow_generated(const Shape *shape, LiveMigration *migration)
{
	List	   *following = NIL;
	ListCell   *lc;

	foreach(lc, migrate_generated_follow(shape->rel, migration->ups))
	{
		GeneratedColumn *column = lfirst(lc);
		Assignment *up = make_assignment(shape, column->attno, column->expr);

		up->generated = true;
		following = lappend(following, up);
	}
	migration->ups = list_concat(migration->ups, following);
}

static bool
is_complete_state(const char *state)
{
	return strcmp(state, "complete") == 0;
}

bool
migrate_conversion_is_live_state(const char *state)
{
	return strcmp(state, "expanded") == 0 || is_complete_state(state);
}

static const char *const deprecation_names[] = {
	[DEPRECATION_LOG] = "log",
	[DEPRECATION_WARNING] = "warning",
	[DEPRECATION_ERROR] = "error",
};

Deprecation
migrate_conversion_deprecation(const char *name)
{
	for (int i = DEPRECATION_LOG; name != NULL && i < lengthof(deprecation_names); i++)
		if (strcmp(name, deprecation_names[i]) == 0)
			return (Deprecation) i;
	return DEPRECATION_NONE;
}

static Bitmapset *
touched_by(const LiveMigration *migration)
{
	Bitmapset  *touched = bms_union(migration->added, migration->removed);
	ListCell   *lc;

	foreach(lc, list_concat_copy(migration->ups, migration->downs))
	{
		Assignment *assignment = lfirst(lc);

		touched = bms_add_members(touched, assignment->inputs);
		touched = bms_add_member(touched, assignment->target);
	}
	if (migration->needed != NULL)
		touched = bms_add_members(touched, migration->needed->inputs);
	return touched;
}

static void
load_migration(const Shape *shape, Rows *rows, LiveMigration *migration)
{
	AttrNumber *attnos;
	int			nattnos;
	bool		isnull;

	migration->name = rows_get_text(rows, "name");
	migration->version = rows_get_int(rows, "version");
	migration->complete = is_complete_state(rows_get_text(rows, "state"));
	migration->defers = strcmp(rows_get_text(rows, "on_error"), "defer") == 0;
	migration->proof_due = rows_get_text(rows, "proof_due") != NULL;
	migration->deprecation = migrate_conversion_deprecation(rows_get_text(rows, "deprecation"));
	migration->needed_from = rows_get_int(rows, "needed_from");
	migration->completed_xid = rows_get_xid(rows, "completed_xid");
	migration->removed = column_set(shape, rows_get(rows, "remove", &isnull));
	load_added(shape, migration);
	migration->named = column_set(shape, rows_get(rows, "inputs", &isnull));
	attnos = column_numbers(shape, rows_get(rows, "inputs", &isnull), &nattnos);
	load_assignments(shape, migration, attnos, nattnos);
	mark_rewritten(migration);
	follow_generated(shape, migration);
	migration->touched = touched_by(migration);
}

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
		load_migration(shape, &rows, &conversion->live[conversion->nlive++]);
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
			conversion->version_attno = column_number(&shape, version_column);
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
	load_migration(shape, &rows, &conversion->live[conversion->nlive]);
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
	conversion->version_attno = column_number(&shape, version_column);
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
		if (is_complete_state(state))
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
