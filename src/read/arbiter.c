/*
 * read/arbiter.c
 *		Which index tells ON CONFLICT of a conflict while rows are stale.
 *
 * ON CONFLICT (column) has the planner look for a unique index on that column.
 * While rows are stale there is none; but there may be one on what the column
 * reads as, declared while_stale, which the planner finds by the expression.
 * Where there is such an index the clause is to name that, else the columns: the
 * plain index, which is built before the migration is complete, or an error.
 *
 * The plan is made anew when indexes come or go, or the migration is complete:
 * each invalidates the relation. While both indexes are there, two sessions that
 * insert the same new key at once may get a unique violation from the other one,
 * as under REINDEX CONCURRENTLY.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "read/arbiter.h"

/* The expressions as an index stores them; columns are not among them. */
static List *
expressions_of(List *elements)
{
	List	   *expressions = NIL;
	ListCell   *lc;

	foreach(lc, elements)
	{
		Node	   *expr = copyObject(lfirst_node(InferenceElem, lc)->expr);
		List	   *vars = pull_var_clause(expr, 0);

		if (IsA(expr, Var) || vars == NIL)
			continue;
		ChangeVarNodes(expr, linitial_node(Var, vars)->varno, 1, 0);
		expressions = lappend(expressions, eval_const_expressions(NULL, expr));
	}
	return expressions;
}

static bool
is_on(Oid index, List *expressions)
{
	Relation	rel = index_open(index, AccessShareLock);
	bool		is_on = rel->rd_index->indisunique && rel->rd_index->indisvalid &&
		list_difference(expressions, RelationGetIndexExpressions(rel)) == NIL;

	index_close(rel, NoLock);
	return is_on;
}

bool
migrate_arbiter_exists(Oid relid, List *elements)
{
	List	   *expressions = expressions_of(elements);
	Relation	rel = table_open(relid, NoLock);
	bool		found = false;
	ListCell   *lc;

	foreach(lc, expressions ? RelationGetIndexList(rel) : NIL)
		found = found || is_on(lfirst_oid(lc), expressions);
	table_close(rel, NoLock);
	return found;
}
