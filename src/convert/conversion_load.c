/*
 * convert/conversion_load.c
 *		Compiling a Conversion from the catalog.
 *
 * This runs inside the planner and inside triggers, so the catalog is scanned
 * directly: no SPI, no rights asked, no snapshot of the query's. A scan with a
 * NULL snapshot sees what is committed now; if a change commits just after, its
 * relcache invalidation marks the entry and it is compiled again.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/catversion.h"
#include "catalog/partition.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/xid8.h"

#include "catalog/store.h"
#include "convert/conversion_private.h"
#include "convert/expression.h"
#include "convert/generated.h"
#include "migrate.h"

/* ---- reading our tables ---- */

typedef struct Rows
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
} Rows;

/* Begin to read the rows of one of our tables; keys are on the index's first columns. */
static bool
rows_begin(Rows *rows, const char *table, const char *index, int nkeys, ScanKey keys)
{
	Oid			relid = migrate_store_table(table);
	Oid			indexid = migrate_store_index(index);

	if (!OidIsValid(relid) || !OidIsValid(indexid))
		return false;
	rows->rel = table_open(relid, AccessShareLock);
	rows->scan = systable_beginscan(rows->rel, indexid, true, NULL, nkeys, keys);
	return true;
}

static bool
rows_next(Rows *rows)
{
	rows->tuple = systable_getnext(rows->scan);
	return HeapTupleIsValid(rows->tuple);
}

static void
rows_end(Rows *rows)
{
	systable_endscan(rows->scan);
	table_close(rows->rel, AccessShareLock);
}

static Datum
rows_get(Rows *rows, const char *column, bool *isnull)
{
	TupleDesc	desc = RelationGetDescr(rows->rel);

	return heap_getattr(rows->tuple, SPI_fnumber(desc, column), desc, isnull);
}

static char *
rows_get_text(Rows *rows, const char *column)
{
	bool		isnull;
	Datum		value = rows_get(rows, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static int32
rows_get_int(Rows *rows, const char *column)
{
	bool		isnull;
	Datum		value = rows_get(rows, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static FullTransactionId
rows_get_xid(Rows *rows, const char *column)
{
	bool		isnull;
	Datum		value = rows_get(rows, column, &isnull);

	return isnull ? InvalidFullTransactionId : DatumGetFullTransactionId(value);
}

static char *
rows_get_name(Rows *rows, const char *column)
{
	bool		isnull;

	return pstrdup(NameStr(*DatumGetName(rows_get(rows, column, &isnull))));
}

static void
key_equals(ScanKey key, AttrNumber attno, RegProcedure procedure, Datum value)
{
	ScanKeyInit(key, attno, BTEqualStrategyNumber, procedure, value);
}

static void
key_equals_text(ScanKey key, AttrNumber attno, const char *value)
{
	key_equals(key, attno, F_TEXTEQ, CStringGetTextDatum(value));
	key->sk_collation = DEFAULT_COLLATION_OID;
}

/* ---- columns by name ---- */

static AttrNumber
column_number(Oid relid, const char *name)
{
	AttrNumber	attno = get_attnum(relid, name);

	if (attno == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\", which a live migration uses, does not exist",
						name, get_rel_name(relid)),
				 errhint("The table was changed while migrate.guard was off.")));
	return attno;
}

/* A name[] column as attribute numbers; as an array in its order, or as a set. */
static AttrNumber *
column_numbers(Oid relid, Datum names, int *count)
{
	Datum	   *elements;
	AttrNumber *attnos;

	deconstruct_array(DatumGetArrayTypeP(names), NAMEOID, NAMEDATALEN, false,
					  TYPALIGN_CHAR, &elements, NULL, count);
	attnos = palloc((*count + 1) * sizeof(AttrNumber));
	for (int i = 0; i < *count; i++)
		attnos[i] = column_number(relid, NameStr(*DatumGetName(elements[i])));
	return attnos;
}

static Bitmapset *
column_set(Oid relid, Datum names)
{
	int			count;
	AttrNumber *attnos = column_numbers(relid, names, &count);
	Bitmapset  *set = NULL;

	for (int i = 0; i < count; i++)
		set = bms_add_member(set, attnos[i]);
	return set;
}

/* ---- a migration ---- */

static Bitmapset *
load_added(Oid relid, const char *migration)
{
	ScanKeyData key;
	Rows		rows;
	Bitmapset  *added = NULL;

	key_equals_text(&key, 1, migration);
	if (!rows_begin(&rows, "added_column", "added_column_pkey", 1, &key))
		return NULL;
	while (rows_next(&rows))
		added = bms_add_member(added, column_number(relid, rows_get_name(&rows, "name")));
	rows_end(&rows);
	return added;
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
	key_equals_text(&keys[0], 1, migration);
	key_equals(&keys[1], 2, F_CHAREQ, CharGetDatum(direction));
	key_equals(&keys[2], 3, F_NAMEEQ, NameGetDatum(&name));
	keys[2].sk_collation = C_COLLATION_OID;
	if (!rows_begin(&rows, "assignment_tree", "assignment_tree_pkey", 3, keys))
		return NULL;
	if (rows_next(&rows) && rows_get_int(&rows, "catalog_version") == CATALOG_VERSION_NO)
		tree = stringToNode(rows_get_text(&rows, "tree"));
	rows_end(&rows);
	return tree;
}

static Bitmapset *
expression_inputs(Expr *expr)
{
	Bitmapset  *offset = NULL;
	Bitmapset  *inputs = NULL;
	int			bit = -1;

	pull_varattnos((Node *) expr, 1, &offset);
	while ((bit = bms_next_member(offset, bit)) >= 0)
		inputs = bms_add_member(inputs, bit + FirstLowInvalidHeapAttributeNumber);
	return inputs;
}

static void
refuse_type(Relation rel, const LiveMigration *migration, AttrNumber attno, Oid defined_type)
{
	Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(rel), attno - 1);

	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of relation \"%s\" is not of the type for which migration \"%s\" was defined",
					NameStr(attr->attname), RelationGetRelationName(rel), migration->name),
			 errdetail("It is %s and was %s.",
					   format_type_with_typemod(attr->atttypid, attr->atttypmod),
					   format_type_be(defined_type)),
			 errhint("Change the column back, or define the migration again.")));
}

typedef struct TypeCheck
{
	Relation	rel;
	const LiveMigration *migration;
} TypeCheck;

static bool
check_input_types(Node *node, TypeCheck *check)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(check->rel), var->varattno - 1);

		if (var->vartype != attr->atttypid || var->vartypmod != attr->atttypmod ||
			var->varcollid != attr->attcollation)
			refuse_type(check->rel, check->migration, var->varattno, var->vartype);
	}
	return expression_tree_walker(node, check_input_types, check);
}

/*
 * A stored tree holds the types of its inputs and of its result. A definition
 * does not hold a column to its type until it is expanded.
 */
static void
check_types(Relation rel, const LiveMigration *migration, AttrNumber target, Expr *expr)
{
	TypeCheck	check = {rel, migration};
	Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(rel), target - 1);

	(void) check_input_types((Node *) expr, &check);
	if (exprType((Node *) expr) != attr->atttypid)
		refuse_type(rel, migration, target, exprType((Node *) expr));
}

static Assignment *
make_assignment(AttrNumber target, Expr *expr)
{
	Assignment *assignment = palloc0(sizeof(Assignment));

	assignment->target = target;
	assignment->expr = expr;
	assignment->inputs = expression_inputs(expr);
	assignment->inlinable = migrate_expression_is_inlinable((Node *) expr);
	return assignment;
}

static void
load_assignments(Relation rel, Oid owner, LiveMigration *migration,
				 const AttrNumber *attnos, int nattnos)
{
	Oid			relid = RelationGetRelid(rel);
	ScanKeyData key;
	Rows		rows;

	key_equals_text(&key, 1, migration->name);
	if (!rows_begin(&rows, "assignment", "assignment_pkey", 1, &key))
		return;
	while (rows_next(&rows))
	{
		bool		isnull;
		char		direction = DatumGetChar(rows_get(&rows, "direction", &isnull));
		char	   *name = rows_get_name(&rows, "target");
		AttrNumber	target = column_number(relid, name);
		Expr	   *expr = load_tree(migration->name, direction, name);
		Assignment *assignment;

		if (expr != NULL)
			expr = migrate_expression_bind(expr, attnos, nattnos);
		else
			expr = migrate_expression_from_text(rel, owner, target,
												rows_get_text(&rows, "expression"));
		check_types(rel, migration, target, expr);
		assignment = make_assignment(target, migrate_generated_compute(expr, rel));
		if (direction == 'u')
			migration->ups = lappend(migration->ups, assignment);
		else
			migration->downs = lappend(migration->downs, assignment);
	}
	rows_end(&rows);
}

/* Tell what is rewritten in place, and see to what is generated from that. */
static void
mark_rewritten(Relation rel, LiveMigration *migration)
{
	List	   *in_place = NIL;
	ListCell   *lc;

	foreach(lc, migration->ups)
	{
		Assignment *up = lfirst(lc);

		up->in_place = !bms_is_member(up->target, migration->added);
		if (!up->in_place)
			continue;
		migration->rewritten = bms_add_member(migration->rewritten, up->target);
		in_place = lappend(in_place, up);
	}
	foreach(lc, in_place != NIL ? migrate_generated_follow(rel, in_place) : NIL)
	{
		GeneratedColumn *column = lfirst(lc);
		Assignment *up = make_assignment(column->attno, column->expr);

		up->in_place = true;
		migration->ups = lappend(migration->ups, up);
	}
}

static bool
is_complete_state(const char *state)
{
	return strcmp(state, "complete") == 0;
}

static bool
is_live_state(const char *state)
{
	return strcmp(state, "expanded") == 0 || is_complete_state(state);
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
	return touched;
}

static void
load_migration(Relation rel, Oid owner, Rows *rows, LiveMigration *migration)
{
	Oid			relid = RelationGetRelid(rel);
	AttrNumber *attnos;
	int			nattnos;
	bool		isnull;

	migration->name = rows_get_text(rows, "name");
	migration->version = rows_get_int(rows, "version");
	migration->complete = is_complete_state(rows_get_text(rows, "state"));
	migration->completed_xid = rows_get_xid(rows, "completed_xid");
	migration->removed = column_set(relid, rows_get(rows, "remove", &isnull));
	migration->added = load_added(relid, migration->name);
	migration->named = column_set(relid, rows_get(rows, "inputs", &isnull));
	attnos = column_numbers(relid, rows_get(rows, "inputs", &isnull), &nattnos);
	load_assignments(rel, owner, migration, attnos, nattnos);
	mark_rewritten(rel, migration);
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
load_live(Relation rel, Conversion *conversion)
{
	ScanKeyData key;
	Rows		rows;

	/* A scan's keys carry the table's column numbers, not the index's. */
	key_equals(&key, 2, F_OIDEQ, ObjectIdGetDatum(conversion->root));
	if (!rows_begin(&rows, "migration", "migration_relation", 1, &key))
		return;
	conversion->live = palloc0(MIGRATE_MAX_LIVE * sizeof(LiveMigration));
	while (rows_next(&rows))
	{
		if (!is_live_state(rows_get_text(&rows, "state")))
			continue;
		if (conversion->nlive == MIGRATE_MAX_LIVE)
			elog(ERROR, "more than %d live migrations on one table", MIGRATE_MAX_LIVE);
		load_migration(rel, conversion->owner, &rows,
					   &conversion->live[conversion->nlive++]);
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

	key_equals(&key, 1, F_OIDEQ, ObjectIdGetDatum(relid));
	if (!rows_begin(&rows, "managed", "managed_pkey", 1, &key))
		return false;
	found = rows_next(&rows);
	if (found)
	{
		conversion->root = relid;
		conversion->version = rows_get_int(&rows, "version");
		conversion->floor = rows_get_int(&rows, "floor");
		*version_column = rows_get_name(&rows, "version_column");
	}
	rows_end(&rows);
	return found;
}

/* The managed table that a relation is or is a partition of. */
static bool
load_root(Oid relid, Conversion *conversion, char **version_column)
{
	ListCell   *lc;

	if (load_managed(relid, conversion, version_column))
		return true;
	if (!get_rel_relispartition(relid))
		return false;
	foreach(lc, get_partition_ancestors(relid))
		if (load_managed(lfirst_oid(lc), conversion, version_column))
			return true;
	return false;
}

static void
load_shape(Relation rel, Conversion *conversion)
{
	conversion->tupdesc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	conversion->reltype = rel->rd_rel->reltype;
	conversion->reading = palloc0(Max(conversion->nlive, 1) * sizeof(Expr **));
	conversion->all_inlinable = all_inlinable(conversion);
	conversion->touched = all_touched(conversion);
}

Conversion *
migrate_conversion_load(Oid relid)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "migrate conversion",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Conversion *conversion = palloc0(sizeof(Conversion));
	char	   *version_column = NULL;

	conversion->relid = relid;
	conversion->context = context;
	if (load_root(relid, conversion, &version_column))
	{
		Relation	rel = relation_open(relid, AccessShareLock);

		conversion->owner = migrate_store_relation_owner(conversion->root);
		load_live(rel, conversion);
		if (conversion->nlive > 0)
		{
			conversion->version_attno = column_number(relid, version_column);
			load_shape(rel, conversion);
		}
		relation_close(rel, NoLock);
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

		if (!is_live_state(state))
			continue;
		summary->any = true;
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
