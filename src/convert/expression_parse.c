/*
 * convert/expression_parse.c
 *		The assignments and predicates of a definition, from text to stored form.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"

#include "compat.h"
#include "convert/expression.h"
#include "convert/forbidden.h"
#include "convert/scope.h"
#include "convert/source.h"

/* ---- values ---- */

/* What the parser left of a sub-query of several columns, for one of them. */
static SubLink *
multiassign_source(ParseState *pstate, const Param *param)
{
	TargetEntry *source = list_nth_node(TargetEntry, pstate->p_multiassign_exprs,
										(param->paramid >> 16) - 1);

	return castNode(SubLink, source->expr);
}

/*
 * One column of a sub-query of several, which every assignment runs by itself:
 * (SELECT column FROM (the sub-query)).
 */
static Node *
take_column(ParseState *pstate, const Param *param)
{
	SubLink    *sublink = copyObject(multiassign_source(pstate, param));
	ParseState *inner = make_parsestate(NULL);
	Query	   *query = makeNode(Query);
	AttrNumber	column = param->paramid & 0xFFFF;
	ParseNamespaceItem *item;
	RangeTblRef *ref = makeNode(RangeTblRef);
	Var		   *var;

	IncrementVarSublevelsUp(sublink->subselect, 1, 1);
	item = addRangeTableEntryForSubquery(inner, (Query *) sublink->subselect,
										 makeAlias("source", NIL), false, true);
	var = makeVarFromTargetEntry(1, get_tle_by_resno(item->p_rte->subquery->targetList, column));
	ref->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = inner->p_rtable;
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	query->targetList = list_make1(makeTargetEntry((Expr *) var, 1, "source", false));
	free_parsestate(inner);

	sublink->subLinkType = EXPR_SUBLINK;
	sublink->subLinkId = 0;
	sublink->subselect = (Node *) query;
	return (Node *) sublink;
}

static void
refuse_default(ParseState *pstate, const char *part, const ScopeColumn *target, int location)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("\"%s\" assigns DEFAULT to column \"%s\"", part, target->name),
			 errdetail("A default may change, and what a row is converted to may not."),
			 target->added ?
			 errhint("Write the value. A column that is not assigned has its immutable default, if it has one.") :
			 errhint("Write the value."),
			 parser_errposition(pstate, location)));
}

/* As the parser makes it, in a target list of UPDATE. */
static Node *
transform_value(ParseState *pstate, const char *part, const ScopeColumn *target,
				ResTarget *assignment)
{
	Node	   *expr;

	if (IsA(assignment->val, SetToDefault))
		refuse_default(pstate, part, target, ((SetToDefault *) assignment->val)->location);
	expr = transformExpr(pstate, assignment->val, EXPR_KIND_UPDATE_SOURCE);
	if (IsA(expr, SetToDefault))
		refuse_default(pstate, part, target, ((SetToDefault *) expr)->location);
	if (IsA(expr, Param) && ((Param *) expr)->paramkind == PARAM_MULTIEXPR)
		expr = take_column(pstate, (Param *) expr);
	return expr;
}

static int
value_location(const ResTarget *assignment)
{
	Node	   *value = assignment->val;

	return exprLocation(IsA(value, MultiAssignRef) ? ((MultiAssignRef *) value)->source : value);
}

static void
warn_unsteady(const char *part, const ScopeColumn *target, Steadiness steadiness)
{
	if (steadiness == STABLE_ONLY)
		ereport(NOTICE,
				(errmsg("argument \"%s\" calls a function that is not immutable", part),
				 errdetail("Column \"%s\" of a row that is not converted yet may read "
						   "differently from one statement to the next.", target->name)));
	if (steadiness == READS_TABLES)
		ereport(NOTICE,
				(errmsg("argument \"%s\" holds a subquery that reads tables", part),
				 errdetail("Column \"%s\" of a row is computed from what they hold when the row is "
						   "read, written or converted, and does not follow them from then on.",
						   target->name)));
}

/* The value of one assignment, as the column's type, in stored form. */
static Expr *
parse_value(ParseState *pstate, const Scope *scope, const ScopeColumn *target,
			ResTarget *assignment)
{
	Node	   *expr = transform_value(pstate, scope->part, target, assignment);
	Oid			type = exprType(expr);

	expr = coerce_to_target_type(pstate, expr, type, target->type, target->typmod,
								 COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (expr == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s but the expression in \"%s\" is of type %s",
						target->name, format_type_be(target->type), scope->part,
						format_type_be(type)),
				 errhint("Rewrite or cast the expression."),
				 parser_errposition(pstate, value_location(assignment))));
	assign_expr_collations(pstate, expr);
	warn_unsteady(scope->part, target, forbidden_check(pstate, scope, expr));
	return (Expr *) expr;
}

/* ---- assignments ---- */

/*
 * May this part assign that column? The old form is down's; the new form, and
 * what is rewritten in place, is up's.
 */
static void
check_target(ParseState *pstate, const char *part, const ScopeColumn *column,
			 ResTarget *assignment)
{
	if (column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" does not exist", assignment->name),
				 errdetail("\"%s\" assigns a column that the table does not have and \"add\" does not name.", part),
				 parser_errposition(pstate, assignment->location)));
	if (assignment->indirection != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" assigns a part of column \"%s\"", part, assignment->name),
				 errhint("Assign the whole column."),
				 parser_errposition(pstate, assignment->location)));
	if (column->generated)
		ereport(ERROR,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("\"%s\" assigns column \"%s\", which is generated", part, column->name),
				 errhint("Assign the columns that it is generated from."),
				 parser_errposition(pstate, assignment->location)));
	if (strcmp(part, "down") == 0 && column->added)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("\"down\" assigns column \"%s\", which the migration adds", column->name),
				 errdetail("\"down\" computes the old form: columns that the table has already."),
				 errhint("Assign it in \"up\"."),
				 parser_errposition(pstate, assignment->location)));
}

List *
migrate_expression_parse_assignments(Scope *scope, const char *part, const char *text)
{
	Source		source;
	ErrorContextCallback callback;
	UpdateStmt *update;
	ParseState *pstate;
	List	   *result = NIL;
	List	   *targets = NIL;
	ListCell   *lc;

	source_begin(&source, &callback, part, "UPDATE x SET ", text, "");
	update = (UpdateStmt *) source_statement(&source);
	if (!IsA(update, UpdateStmt) || update->whereClause || update->fromClause ||
		compat_returning(update) != NULL || update->withClause)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("argument \"%s\" is not a list of assignments", part),
				 errdetail("FROM, WHERE and RETURNING have no meaning here."),
				 errhint("Write it as after UPDATE ... SET: \"a = b, c = d\".")));
	pstate = source_parse_state(&source);
	scope_attach(pstate, scope);
	scope->part = part;
	scope->reads_added = strcmp(part, "down") == 0;

	foreach(lc, update->targetList)
	{
		ResTarget  *assignment = lfirst_node(ResTarget, lc);
		ParsedAssignment *parsed = palloc(sizeof(ParsedAssignment));
		ScopeColumn *target = scope->reads_added ? NULL
			: migrate_scope_find_new(scope, assignment->name);

		if (target == NULL)
			target = migrate_scope_find(scope, assignment->name);
		check_target(pstate, part, target, assignment);
		if (scope_find_in(targets, target->name) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("\"%s\" assigns column \"%s\" twice", part, target->name),
					 parser_errposition(pstate, assignment->location)));
		targets = lappend(targets, target);
		parsed->target = target;
		parsed->expr = parse_value(pstate, scope, target, assignment);
		result = lappend(result, parsed);
	}
	free_parsestate(pstate);
	source_end(&callback);
	return result;
}
/* ---- predicates ---- */

/*
 * What is in a predicate becomes part of a constraint, which anybody's write
 * may check, and tells readers what a row reads as.
 */
static void
refuse_untrusted(ParseState *pstate, const Scope *scope, Node *expr)
{
	(void) forbidden_check(pstate, scope, expr);
	if (!migrate_expression_is_inlinable(expr))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("argument \"%s\" calls what is not both immutable and built in", scope->part),
				 errdetail("It becomes part of a constraint, and that is checked with the rights of whoever writes."),
				 errhint("Use built-in immutable functions and operators of the row's own columns."),
				 parser_errposition(pstate, exprLocation(expr))));
}

/* What the statement "SELECT WHERE" and the text says; it must say no more than that. */
static Node *
condition_of(Source *source)
{
	SelectStmt *select = (SelectStmt *) source_statement(source);

	if (!IsA(select, SelectStmt) || select->op != SETOP_NONE || select->whereClause == NULL ||
		select->groupClause || select->havingClause || select->windowClause ||
		select->sortClause || select->limitCount || select->limitOffset || select->lockingClause)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("argument \"%s\" is not a condition", source->part),
				 errhint("Write it as after WHERE: \"a IS NOT NULL AND b > 0\".")));
	return select->whereClause;
}

List *
migrate_expression_parse_predicate(Scope *scope, const char *part, const char *text)
{
	Source		source;
	ErrorContextCallback callback;
	Node	   *condition;
	ParseState *pstate;
	ParsedAssignment *predicate = palloc0(sizeof(ParsedAssignment));
	ScopeColumn *target = palloc0(sizeof(ScopeColumn));
	Node	   *expr;

	source_begin(&source, &callback, part, "SELECT WHERE ", text, "");
	condition = condition_of(&source);
	pstate = source_parse_state(&source);
	scope_attach(pstate, scope);
	scope->part = part;
	scope->reads_added = false;

	expr = transformExpr(pstate, condition, EXPR_KIND_CHECK_CONSTRAINT);
	expr = coerce_to_boolean(pstate, expr, part);
	assign_expr_collations(pstate, expr);
	refuse_untrusted(pstate, scope, expr);
	target->name = "";
	target->type = BOOLOID;
	target->typmod = -1;
	predicate->target = target;
	predicate->expr = (Expr *) expr;
	free_parsestate(pstate);
	source_end(&callback);
	return list_make1(predicate);
}

/* ---- conditions on a relation ---- */

static void
refuse_condition(ParseState *pstate, const char *part, Node *node, const char *what,
				 const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("argument \"%s\" %s", part, what),
			 errhint("%s", hint),
			 parser_errposition(pstate, exprLocation(node))));
}

static void
check_condition(ParseState *pstate, const char *part, Node *expr)
{
	ListCell   *lc;

	if (pstate->p_hasSubLinks)
		refuse_condition(pstate, part, expr, "holds a subquery",
						 "Ask other tables by a STABLE function.");
	if (contain_volatile_functions(expr))
		refuse_condition(pstate, part, expr, "calls a volatile function",
						 "Use immutable and stable functions, such as now().");
	foreach(lc, migrate_expression_columns((Expr *) expr))
		if (lfirst_node(Var, lc)->varattno <= 0)
			refuse_condition(pstate, part, lfirst(lc), "names the whole row or a system column",
							 "Name columns of the table.");
}

Expr *
migrate_expression_parse_condition(Relation rel, const char *part, const char *text)
{
	Source		source;
	ErrorContextCallback callback;
	ParseState *pstate;
	ParseNamespaceItem *item;
	Node	   *raw;
	Node	   *expr;

	source_begin(&source, &callback, part, "SELECT WHERE ", text, "");
	raw = condition_of(&source);
	pstate = source_parse_state(&source);
	item = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, NULL, false, false);
	addNSItemToQuery(pstate, item, false, true, true);
	expr = transformExpr(pstate, raw, EXPR_KIND_WHERE);
	expr = coerce_to_boolean(pstate, expr, part);
	assign_expr_collations(pstate, expr);
	check_condition(pstate, part, expr);
	free_parsestate(pstate);
	source_end(&callback);
	return (Expr *) expr;
}
