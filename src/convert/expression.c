/*
 * convert/expression.c
 *		Stored expressions: bound to a relation, judged, put into words.
 *
 * See expression.h for the stored form. The bound form is what the planner and
 * the executor use: Vars with varno 1 and the relation's own attribute numbers.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "catalog/migration.h"
#include "catalog/store.h"
#include "compat.h"
#include "convert/conversion.h"
#include "convert/expression.h"

/* ---- judging ---- */

/*
 * A function is trusted if it came with the server and is immutable. Stable
 * built-in ones are not: table_to_xml() reads a table or view that its caller
 * names, and with it runs whatever that view's owner wrote.
 */
static bool
is_untrusted_function(Oid funcid, void *context)
{
	return funcid >= FirstUnpinnedObjectId || func_volatile(funcid) != PROVOLATILE_IMMUTABLE;
}

/* The type of a node that names one; what has others' types is asked through those. */
static Oid
type_named(Node *node)
{
	switch (nodeTag(node))
	{
		case T_Var:
		case T_Const:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_ArrayCoerceExpr:
		case T_ConvertRowtypeExpr:
		case T_CoerceToDomain:
		case T_FuncExpr:
		case T_OpExpr:
		case T_CaseExpr:
		case T_ArrayExpr:
		case T_RowExpr:
		case T_CoalesceExpr:
		case T_FieldSelect:
		case T_FieldStore:
			return exprType(node);
		default:
			return InvalidOid;
	}
}

/* A domain of a user's has CHECK constraints, which may call anything. */
static bool
is_untrusted_domain(Oid type)
{
	return type >= FirstUnpinnedObjectId && get_typtype(type) == TYPTYPE_DOMAIN;
}

/*
 * The kinds of nodes of which we know what they run: the functions that they name, and
 * what their arguments do. The SQL/JSON constructors and functions are not among
 * them: they call casts to json that anybody may have made for a type of his own,
 * and the input of the type that is to be returned, which they do not name.
 */
static bool
is_known_kind(Node *node)
{
	switch (nodeTag(node))
	{
		case T_Var:
		case T_Const:
		case T_FuncExpr:
		case T_NamedArgExpr:
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
		case T_ScalarArrayOpExpr:
		case T_BoolExpr:
		case T_SubscriptingRef:
		case T_FieldSelect:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_ArrayCoerceExpr:
		case T_ConvertRowtypeExpr:
		case T_CollateExpr:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CaseTestExpr:
		case T_ArrayExpr:
		case T_RowExpr:
		case T_RowCompareExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_XmlExpr:
		case T_NullTest:
		case T_BooleanTest:
			return true;
		default:
			return compat_is_json_predicate(node);
	}
}

/*
 * Does any node need a function that we do not trust? Types and operators of
 * users' own are no danger in themselves: the functions behind operators are
 * judged as functions, and only superusers make base types and operator classes.
 * A conversion through text runs type input, which for a domain checks it, also
 * where the domain hides in an array, a range or a row: those are not trusted.
 */
static bool
is_untrusted(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, List))
		return expression_tree_walker(node, is_untrusted, context);
	if (!is_known_kind(node) || check_functions_in_node(node, is_untrusted_function, context))
		return true;
	if (IsA(node, CoerceViaIO) && exprType(node) >= FirstUnpinnedObjectId)
		return true;
	if (is_untrusted_domain(type_named(node)) && !IsA(node, Var) && !IsA(node, Const) &&
		!IsA(node, RelabelType))
		return true;
	return expression_tree_walker(node, is_untrusted, context);
}

bool
migrate_expression_is_inlinable(Node *expr)
{
	return !is_untrusted(expr, NULL);
}

static bool
is_missing_function(Oid funcid, void *context)
{
	return !SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(funcid));
}

static bool
is_missing_column(const Var *var, Oid relid)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid),
										Int16GetDatum(var->varattno));
	Form_pg_attribute attr;
	bool		is_same;

	if (!HeapTupleIsValid(tuple))
		return true;
	attr = (Form_pg_attribute) GETSTRUCT(tuple);
	is_same = !attr->attisdropped && attr->atttypid == var->vartype &&
		attr->atttypmod == var->vartypmod && attr->attcollation == var->varcollid;
	ReleaseSysCache(tuple);
	return !is_same;
}

/* A column of a table that a sub-query reads; the row's own are not asked about. */
static bool
is_missing_var(const Var *var, List *range_tables)
{
	RangeTblEntry *rte;

	if (var->varlevelsup >= list_length(range_tables) || var->varattno <= 0)
		return false;
	rte = rt_fetch(var->varno, (List *) list_nth(range_tables, var->varlevelsup));
	return rte->rtekind == RTE_RELATION && is_missing_column(var, rte->relid);
}

/* "range_tables" are those of the queries around the node, the innermost first. */
static bool
is_missing(Node *node, List *range_tables)
{
	Oid			type;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, is_missing,
								 lcons(((Query *) node)->rtable, list_copy(range_tables)),
								 QTW_EXAMINE_RTES_BEFORE);
	if (IsA(node, RangeTblEntry))
		return ((RangeTblEntry *) node)->rtekind == RTE_RELATION &&
			!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(((RangeTblEntry *) node)->relid));
	if (IsA(node, Var) && is_missing_var((Var *) node, range_tables))
		return true;
	type = type_named(node);
	return check_functions_in_node(node, is_missing_function, NULL) ||
		(OidIsValid(type) && !SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(type))) ||
		expression_tree_walker(node, is_missing, range_tables);
}

bool
migrate_expression_is_whole(Node *expr)
{
	return !is_missing(expr, NIL);
}

/* ---- the row's columns ---- */

typedef struct ColumnContext
{
	Index		depth;			/* of sub-queries */
	List	   *found;
	ColumnReplacer replace;
	void	   *context;
} ColumnContext;

static bool
find_columns(Node *node, ColumnContext *context)
{
	bool		result;

	if (node == NULL)
		return false;
	if (IsA(node, Var) && ((Var *) node)->varlevelsup == context->depth)
		context->found = lappend(context->found, node);
	if (!IsA(node, Query))
		return expression_tree_walker(node, find_columns, context);
	context->depth++;
	result = query_tree_walker((Query *) node, find_columns, context, 0);
	context->depth--;
	return result;
}

List *
migrate_expression_columns(const Expr *expr)
{
	ColumnContext context = {0};

	(void) find_columns((Node *) expr, &context);
	return context.found;
}

Bitmapset *
migrate_expression_inputs(const Expr *expr)
{
	Bitmapset  *inputs = NULL;
	ListCell   *lc;

	foreach(lc, migrate_expression_columns(expr))
		inputs = bms_add_member(inputs, lfirst_node(Var, lc)->varattno);
	return inputs;
}

static Node *
replace_columns(Node *node, ColumnContext *context)
{
	Node	   *result;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *) node)->varlevelsup == context->depth)
	{
		result = context->replace((Var *) node, context->context);
		IncrementVarSublevelsUp(result, context->depth, 0);
		return result;
	}
	if (!IsA(node, Query))
		return expression_tree_mutator(node, replace_columns, context);
	context->depth++;
	result = (Node *) query_tree_mutator((Query *) node, replace_columns, context, 0);
	context->depth--;
	return result;
}

Expr *
migrate_expression_replace_columns(const Expr *expr, ColumnReplacer replace, void *context)
{
	ColumnContext column_context = {.replace = replace, .context = context};

	return (Expr *) replace_columns((Node *) expr, &column_context);
}

/* ---- binding ---- */

typedef struct BindContext
{
	const AttrNumber *attnos;
	int			nattnos;
} BindContext;

static Node *
bind_column(Var *column, void *context)
{
	const BindContext *bind = context;
	Var		   *var = copyObject(column);

	if (var->varattno < 1 || var->varattno > bind->nattnos)
		elog(ERROR, "stored expression names input %d of %d",
			 var->varattno, bind->nattnos);
	var->varattno = bind->attnos[var->varattno - 1];
	var->varattnosyn = var->varattno;
	var->varnosyn = var->varno;
	var->varlevelsup = 0;
	var->location = -1;
	return (Node *) var;
}

Expr *
migrate_expression_bind(Expr *stored, const AttrNumber *attnos, int nattnos)
{
	BindContext context = {attnos, nattnos};

	return migrate_expression_replace_columns(stored, bind_column, &context);
}

/* ---- words ---- */

/* Words mean the same whatever a session's settings. Goes with the identity that is put on. */
static void
pin_constants_style(void)
{
	static const char *const settings[][2] = {
		{"DateStyle", "ISO, YMD"},
		{"IntervalStyle", "postgres"},
		{"extra_float_digits", "3"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

static char *
to_text(Oid relid, Expr *expr, const char *name, bool prefixed)
{
	List	   *context = deparse_context_for(name, relid);
	StoreIdentity self;
	char	   *text;

	/* With nothing but pg_catalog in the path, every other name is qualified. */
	migrate_store_become_owner(&self);
	pin_constants_style();
	text = deparse_expression((Node *) expr, context, prefixed, false);
	migrate_store_become_self(&self);
	return text;
}

char *
migrate_expression_to_text(Oid relid, Expr *expr)
{
	return to_text(relid, expr, get_rel_name(relid), false);
}

char *
migrate_expression_to_text_of_old(Oid relid, Expr *expr)
{
	return to_text(relid, expr, "old", true);
}

/*
 * To read a constant runs its type's input, which for a domain within an array
 * or a row runs the domain's CHECK: the owner's to run.
 */
Expr *
migrate_expression_from_text(Relation rel, const char *name, Oid owner, Oid type, int32 typmod,
							 const char *text)
{
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item;
	StoreIdentity self;
	List	   *raw;
	Node	   *expr;

	migrate_store_become_restricted(&self, owner);
	pin_constants_style();
	raw = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	pstate->p_sourcetext = text;
	item = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, makeAlias(name, NIL),
										 false, false);
	addNSItemToQuery(pstate, item, false, true, true);
	expr = linitial_node(ResTarget,
						 ((SelectStmt *) linitial_node(RawStmt, raw)->stmt)->targetList)->val;
	expr = transformExpr(pstate, expr, EXPR_KIND_UPDATE_SOURCE);
	expr = coerce_to_target_type(pstate, expr, exprType(expr), type, typmod,
								 COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	assign_expr_collations(pstate, expr);
	free_parsestate(pstate);
	migrate_store_become_self(&self);
	return (Expr *) expr;
}

/*
 * A rename of what an expression uses leaves its tree as good as before, but
 * not its text; write that anew from the tree, so that a dump restores.
 */
static void
refresh_assignments(Oid relid, LiveMigration *migration, char direction, List *assignments)
{
	ListCell   *lc;

	foreach(lc, assignments)
	{
		Assignment *assignment = lfirst(lc);
		char	   *text = migrate_expression_to_text(relid, assignment->expr);
		char	   *target = assignment->target == InvalidAttrNumber ? ""
			: get_attname(relid, assignment->target, false);

		migrate_store_execute("UPDATE migrate.assignment SET expression = $4"
							  " WHERE migration = $1 AND direction = $2 AND target = $3"
							  " AND expression IS DISTINCT FROM $4",
							  STORE_ARGS(store_text(migration->name), store_char(direction),
										 store_name(target), store_text(text)));
	}
}

static void
refresh_conversion(const Conversion *conversion)
{
	LockRelationOid(conversion->relid, AccessShareLock);
	for (int i = 0; i < conversion->nlive; i++)
	{
		LiveMigration *migration = &conversion->live[i];

		refresh_assignments(conversion->relid, migration, 'u', migration->ups);
		refresh_assignments(conversion->relid, migration, 'd', migration->downs);
		if (migration->needed != NULL)
			refresh_assignments(conversion->relid, migration, 'n', list_make1(migration->needed));
	}

	/* Not to the end of the transaction: it may be a stranger's, who renames his own. */
	UnlockRelationOid(conversion->relid, AccessShareLock);
}

void
migrate_expression_refresh_text(Oid relid)
{
	Conversion *conversion = migrate_conversion_get(relid);

	if (conversion != NULL)
		refresh_conversion(conversion);
}

/*
 * The lock is let go: what is to be renamed may be that very table, and two who
 * had it would wait for each other.
 */
List *
migrate_expression_before_rename(void)
{
	List	   *conversions = NIL;
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT relation::oid FROM migrate.managed", STORE_NO_ARGS))
	{
		Oid			relid = atooid(lfirst(lc));
		Conversion *conversion;

		LockRelationOid(relid, AccessShareLock);
		conversion = migrate_conversion_get(relid);
		if (conversion != NULL)
			conversions = lappend(conversions, conversion);
		UnlockRelationOid(relid, AccessShareLock);
	}
	return conversions;
}

void
migrate_expression_after_rename(List *conversions)
{
	ListCell   *lc;

	foreach(lc, conversions)
		refresh_conversion(lfirst(lc));
}
