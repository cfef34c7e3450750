/*
 * guard/own_statistics.c
 *		Which statistics objects are ours.
 *
 * They belong to the table's owner, are restored from a dump like any other, and go
 * without a word when they have served their time (lifecycle/statistics.c). A name alone
 * does not make an object ours: anybody may have chosen it. They are on what a column
 * reads as and nothing else, and that asks for the row version in a way in which
 * nobody writes it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_statistic_ext.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "guard/own_statistics.h"
#include "migrate.h"

/* WHEN row_version (operator) n */
static bool
asks_for_version(const CaseWhen *arm, Oid opno)
{
	const OpExpr *condition = (const OpExpr *) arm->expr;

	return IsA(condition, OpExpr) && condition->opno == opno &&
		IsA(linitial(condition->args), Var) && IsA(lsecond(condition->args), Const);
}

/* As convert/conversion.c makes it. */
static bool
is_reading(const Expr *expr)
{
	const CaseExpr *choice = (const CaseExpr *) expr;

	return IsA(expr, CaseExpr) && choice->arg == NULL && list_length(choice->args) == 2 &&
		asks_for_version(linitial(choice->args), get_negator(Int4LessOperator)) &&
		asks_for_version(lsecond(choice->args), Int4LessOperator);
}

static bool
has_our_name(Form_pg_statistic_ext form)
{
	return strncmp(NameStr(form->stxname), MIGRATE_STATISTICS_PREFIX,
				   strlen(MIGRATE_STATISTICS_PREFIX)) == 0;
}

Expr *
migrate_own_statistics_reading(Oid statistics)
{
	HeapTuple	tuple = SearchSysCache1(STATEXTOID, ObjectIdGetDatum(statistics));
	List	   *expressions = NIL;
	bool		isnull;
	Datum		trees;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	trees = SysCacheGetAttr(STATEXTOID, tuple, Anum_pg_statistic_ext_stxexprs, &isnull);
	if (!isnull && has_our_name((Form_pg_statistic_ext) GETSTRUCT(tuple)) &&
		((Form_pg_statistic_ext) GETSTRUCT(tuple))->stxkeys.dim1 == 0)
		expressions = stringToNode(TextDatumGetCString(trees));
	ReleaseSysCache(tuple);
	return list_length(expressions) == 1 && is_reading(linitial(expressions))
		? linitial(expressions) : NULL;
}
