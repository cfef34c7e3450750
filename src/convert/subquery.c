/*
 * convert/subquery.c
 *		Expressions that hold sub-queries: run as a query of their own.
 *
 * An expression that holds a sub-query is no matter for ExecInitExpr(). It becomes
 * "SELECT expression", without FROM, in which the row's columns are parameters.
 * That is planned once and for all rows (a generic plan), and run for each.
 *
 * The plan is the server's to keep (SPI, plancache.c): it is made again when a
 * table, view, policy or function in it changes, with the planner hook, so that a
 * managed table in it reads as converted. To be analyzed again a plan wants its
 * statement as the grammar made it; ours is the reference to a column, for which a
 * parser hook gives the tree that was stored. So names are not looked up again, and
 * the tree stays what it was when the migration was defined.
 *
 * Whose rights: the caller has put on the table owner's identity and path
 * (converter.c), for planning as well as for running.
 *
 * Snapshot: the active one. A read sees other tables as the query around it does, a
 * write as its statement does, and the backfill as its batch does.
 *
 * Locks: AccessShareLock on what it reads, as by any query, to the end of the
 * transaction.
 *
 * Recursion: what a sub-query reads may be converted by sub-queries in its turn. One
 * that comes back to itself is stopped; it need not end.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "nodes/makefuncs.h"
#include "nodes/params.h"
#include "parser/parse_node.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog/own_statement.h"
#include "convert/expression.h"
#include "convert/subquery.h"

struct Subquery
{
	const Expr *expr;
	const char *column;
	SPIPlanPtr	plan;			/* NULL until it is first run */
	bool		running;
	AttrNumber	nparams;		/* the highest that it reads */
	Oid		   *types;			/* by attribute number - 1; invalid: not read */
	MemoryContextCallback at_end;
};

/* ---- as a query ---- */

static Node *
make_param(Var *var, void *context)
{
	Param	   *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = var->varattno;
	param->paramtype = var->vartype;
	param->paramtypmod = var->vartypmod;
	param->paramcollid = var->varcollid;
	param->location = -1;
	return (Node *) param;
}

Query *
subquery_make_query(const Expr *expr)
{
	Query	   *query = makeNode(Query);

	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->hasSubLinks = true;
	query->jointree = makeFromExpr(NIL, NULL);
	expr = migrate_expression_replace_columns(expr, make_param, NULL);
	query->targetList = list_make1(makeTargetEntry((Expr *) expr, 1, NULL, false));
	AcquireRewriteLocks(query, true, false);
	return query;
}

void
subquery_lock(const Expr *expr)
{
	if (checkExprHasSubLink((Node *) expr))
		(void) subquery_make_query(expr);
}

/* ---- the plan ---- */

/* Parser hook: the one name in the statement stands for the expression. */
static Node *
provide_expression(ParseState *pstate, ColumnRef *cref)
{
	Subquery   *subquery = pstate->p_ref_hook_state;
	Query	   *query = subquery_make_query(subquery->expr);

	pstate->p_hasSubLinks = true;
	return (Node *) linitial_node(TargetEntry, query->targetList)->expr;
}

static void
setup_parser(ParseState *pstate, void *subquery)
{
	pstate->p_pre_columnref_hook = provide_expression;
	pstate->p_ref_hook_state = subquery;
}

static void
free_plan(void *arg)
{
	Subquery   *subquery = arg;

	if (subquery->plan != NULL)
		SPI_freeplan(subquery->plan);
}

static void
make_plan(Subquery *subquery)
{
	SPIPlanPtr	plan = SPI_prepare_params(psprintf("SELECT %s", subquery->column),
										  setup_parser, subquery, CURSOR_OPT_GENERIC_PLAN);

	if (plan == NULL)
		elog(ERROR, "could not prepare the query for column %s: %s",
			 subquery->column, SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "could not keep the plan for column %s", subquery->column);
	subquery->plan = plan;
}

Subquery *
subquery_make(const Expr *expr, const char *column)
{
	Subquery   *subquery = palloc0(sizeof(Subquery));
	List	   *columns = migrate_expression_columns(expr);
	ListCell   *lc;

	subquery->expr = expr;
	subquery->column = column;
	foreach(lc, columns)
		subquery->nparams = Max(subquery->nparams, lfirst_node(Var, lc)->varattno);
	subquery->types = palloc0((subquery->nparams + 1) * sizeof(Oid));
	foreach(lc, columns)
	{
		Var		   *var = lfirst(lc);

		subquery->types[var->varattno - 1] = var->vartype;
	}
	subquery->at_end.func = free_plan;
	subquery->at_end.arg = subquery;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &subquery->at_end);
	return subquery;
}

/* ---- running it ---- */

static ParamListInfo
make_params(const Subquery *subquery, TupleTableSlot *row)
{
	ParamListInfo params = migrate_own_params(subquery->nparams);

	for (int i = 0; i < subquery->nparams; i++)
	{
		ParamExternData *param = &params->params[i];

		param->ptype = subquery->types[i];
		param->pflags = PARAM_FLAG_CONST;
		param->isnull = true;
		if (OidIsValid(param->ptype))
			param->value = slot_getattr(row, i + 1, &param->isnull);
	}
	return params;
}

static Datum
run(Subquery *subquery, TupleTableSlot *row, bool *isnull)
{
	ParamListInfo params = make_params(subquery, row);
	Form_pg_attribute attr;
	Datum		value;
	int			rc;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (subquery->plan == NULL)
		make_plan(subquery);
	rc = SPI_execute_plan_with_paramlist(subquery->plan, params, true, 0);
	if (rc != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not run the query for column %s: %s",
			 subquery->column, SPI_result_code_string(rc));
	attr = TupleDescAttr(SPI_tuptable->tupdesc, 0);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, isnull);
	if (!*isnull)
		value = SPI_datumTransfer(value, attr->attbyval, attr->attlen);
	SPI_finish();
	return value;
}

Datum
subquery_evaluate(Subquery *subquery, TupleTableSlot *row, bool *isnull)
{
	Datum		value;

	Assert(ActiveSnapshotSet());
	if (subquery->running)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_RECURSION),
				 errmsg("the subquery for column %s needs that column of another row", subquery->column),
				 errdetail("It reads the column again, by way of a function, a view or another table's conversion."),
				 errhint("Roll the migration back, and define it so that it does not.")));
	subquery->running = true;
	PG_TRY();
	{
		value = run(subquery, row, isnull);
	}
	PG_FINALLY();
	{
		subquery->running = false;
	}
	PG_END_TRY();
	return value;
}
