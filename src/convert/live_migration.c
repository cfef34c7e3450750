/*
 * convert/live_migration.c
 *		Compiling one live migration from the catalog, for one relation.
 *
 * Its columns are found by their names, and its expressions are bound to the
 * relation's attributes: from the stored trees where this server can read these, else
 * from their texts. What does not fit any more, since the table was changed while the
 * guard was off or a definition was waiting, is an error here.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/catversion.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteManip.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "convert/expression.h"
#include "convert/generated.h"
#include "convert/live_migration.h"
#include "convert/subquery.h"

/* ---- columns by name ---- */

AttrNumber
live_migration_column(const Shape *shape, const char *name)
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
		attnos[i] = live_migration_column(shape, NameStr(*DatumGetName(elements[i])));
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

/* ---- its state ---- */

bool
live_migration_is_complete(const char *state)
{
	return strcmp(state, "complete") == 0;
}

bool
migrate_conversion_is_live_state(const char *state)
{
	return strcmp(state, "expanded") == 0 || live_migration_is_complete(state);
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

/* ---- its columns ---- */

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
										  live_migration_column(shape, rows_get_name(&rows, "name")));
		(void) rows_get(&rows, "rename_to", &has_own_name);
		if (!has_own_name)
			migration->replaced = bms_add_member(migration->replaced,
												 live_migration_column(shape, rows_get_name(&rows, "rename_to")));
	}
	rows_end(&rows);
}

/* ---- its expressions ---- */

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
		AttrNumber	target = InvalidAttrNumber;
		Expr	   *expr = load_tree(migration->name, direction, name);
		Assignment *assignment;

		if (direction != 'n')
			target = live_migration_column(shape, name);
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

/* ---- the whole ---- */

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

void
live_migration_load(const Shape *shape, Rows *rows, LiveMigration *migration)
{
	AttrNumber *attnos;
	int			nattnos;
	bool		isnull;

	migration->name = rows_get_text(rows, "name");
	migration->version = rows_get_int(rows, "version");
	migration->complete = live_migration_is_complete(rows_get_text(rows, "state"));
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
