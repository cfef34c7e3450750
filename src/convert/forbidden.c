/*
 * convert/forbidden.c
 *		What the expressions of a definition must not hold.
 *
 * Aggregates, window and set-returning functions at the top are refused by the
 * server's parser, as in UPDATE ... SET; so are, in a sub-query, statements that
 * write.
 *
 * A sub-query must not read the table that is migrated. A write keeps the forms of
 * the row in step that it writes, and no other row's; so with each write what
 * other rows were converted to would come apart from what they would be
 * converted to now, also within one statement, which does not see its own changes.
 * And of a column that is rewritten in place there would be no end: to read it in
 * one row is to compute it, which is to read it in others. What hides such a
 * reading in a function, or in a view that is changed later, is stopped when it
 * comes back to where it began (subquery.c).
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"

#include "convert/forbidden.h"
#include "convert/subquery.h"

typedef struct Inspection
{
	ParseState *pstate;
	const Scope *scope;
	bool		stable;			/* met a function that is not immutable */
	bool		reads_tables;
	int			location;		/* of the sub-query that is looked at */
} Inspection;

static bool
note_volatility(Oid funcid, void *context)
{
	char		volatility = func_volatile(funcid);

	if (volatility == PROVOLATILE_STABLE)
		((Inspection *) context)->stable = true;
	return volatility == PROVOLATILE_VOLATILE;
}

/* ---- sub-queries ---- */

static bool
is_part_of(Oid relid, Oid table)
{
	return relid == table ||
		(get_rel_relispartition(relid) && list_member_oid(get_partition_ancestors(relid), table));
}

static void
refuse_own_table(const Inspection *inspection, bool directly)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("argument \"%s\" holds a subquery that reads table \"%s\" itself",
					inspection->scope->part, inspection->scope->relation_name),
			 errdetail("%sA write of one row would leave others as they were converted, though they depend on it.",
					   directly ? "" : "It does so by way of a view or a policy. "),
			 errhint("Read other tables, and of this one the columns of the row."),
			 parser_errposition(inspection->pstate, inspection->location)));
}

static void
refuse_table(const Inspection *inspection, const RangeTblEntry *rte)
{
	if (is_part_of(rte->relid, inspection->scope->relid))
		refuse_own_table(inspection, true);
	if (get_rel_persistence(rte->relid) == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("argument \"%s\" reads temporary table \"%s\"",
						inspection->scope->part, get_rel_name(rte->relid)),
				 errdetail("Other sessions could not convert a row."),
				 parser_errposition(inspection->pstate, inspection->location)));
	if (rte->tablesample != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("argument \"%s\" reads a sample of table \"%s\"",
						inspection->scope->part, get_rel_name(rte->relid)),
				 errdetail("A row that is read twice would be converted to two different values."),
				 parser_errposition(inspection->pstate, inspection->location)));
}

static void
refuse_query(const Inspection *inspection, const Query *query)
{
	if (query->rowMarks != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("argument \"%s\" holds a subquery that locks rows", inspection->scope->part),
				 errdetail("It runs whenever the table is read."),
				 errhint("Leave out FOR UPDATE and FOR SHARE."),
				 parser_errposition(inspection->pstate, inspection->location)));
}

/* ---- the tree as it was written ---- */

static bool refuse_node(Node *node, Inspection *inspection);

static bool
refuse_sublink(SubLink *sublink, Inspection *inspection)
{
	int			outer = inspection->location;
	bool		result;

	inspection->location = sublink->location;
	result = expression_tree_walker((Node *) sublink, refuse_node, inspection);
	inspection->location = outer;
	return result;
}

static bool
refuse_node(Node *node, Inspection *inspection)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, note_volatility, inspection))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("argument \"%s\" calls a volatile function", inspection->scope->part),
				 errdetail("A row that is read twice would be converted to two different values."),
				 errhint("Use immutable functions of the row's own columns."),
				 parser_errposition(inspection->pstate, exprLocation(node))));
	if (IsA(node, SQLValueFunction))
		inspection->stable = true;
	if (IsA(node, SubLink))
		return refuse_sublink((SubLink *) node, inspection);
	if (IsA(node, RangeTblEntry))
	{
		if (((RangeTblEntry *) node)->rtekind == RTE_RELATION)
		{
			inspection->reads_tables = true;
			refuse_table(inspection, (RangeTblEntry *) node);
		}
		return false;			/* what is in it comes next */
	}
	if (IsA(node, Query))
	{
		refuse_query(inspection, (Query *) node);
		return query_tree_walker((Query *) node, refuse_node, inspection,
								 QTW_EXAMINE_RTES_BEFORE);
	}
	return expression_tree_walker(node, refuse_node, inspection);
}

/* ---- the tree with its views ---- */

static bool
reads_own_table(Node *node, const Inspection *inspection)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
		return ((RangeTblEntry *) node)->rtekind == RTE_RELATION &&
			is_part_of(((RangeTblEntry *) node)->relid, inspection->scope->relid);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reads_own_table, (void *) inspection,
								 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, reads_own_table, (void *) inspection);
}

static void
refuse_views(const Inspection *inspection, Node *expr)
{
	List	   *queries = QueryRewrite(subquery_make_query((Expr *) expr));

	if (reads_own_table(linitial(queries), inspection))
		refuse_own_table(inspection, false);
}

Steadiness
forbidden_check(ParseState *pstate, const Scope *scope, Node *expr)
{
	Inspection	inspection = {pstate, scope, false, false, exprLocation(expr)};

	(void) refuse_node(expr, &inspection);
	if (inspection.reads_tables)
		refuse_views(&inspection, expr);
	return inspection.reads_tables ? READS_TABLES
		: inspection.stable ? STABLE_ONLY : STEADY;
}
