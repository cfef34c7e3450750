/*
 * read/relation_query.c
 *		A relation of a query, made a sub-query of its own.
 *
 * Purpose: in a query with grouping sets, the planner takes any part of an
 * expression that looks like a grouped column for the grouped column, which is
 * NULL in the sets that it is not in. That would reach the inputs of "up" in
 *
 *		SELECT id, new FROM t GROUP BY GROUPING SETS ((id), (id, old))
 *
 * where "new" depends on the key alone and is not NULL in either set. A column of
 * a sub-query is safe: the planner, when it pulls the sub-query up, wraps what
 * the column stands for in a PlaceHolderVar, which we cannot make ourselves. So
 * there the relation becomes (SELECT everything FROM relation), and the rewriting
 * takes place inside of that.
 *
 * The sub-query has the relation's columns at their places, then its system
 * columns (a transition table has none), then the whole row.
 *
 * States, locks: none; the entry moved is as locked as it was.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/heap.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "compat.h"
#include "read/relation_query.h"

#define SYSTEM_COLUMNS	(-(FirstLowInvalidHeapAttributeNumber + 1))

AttrNumber
migrate_relation_query_column(const Conversion *conversion, AttrNumber attno)
{
	AttrNumber	natts = conversion->tupdesc->natts;

	if (attno > 0)
		return attno;
	return attno < 0 ? natts - attno : natts + SYSTEM_COLUMNS + 1;
}

/* Add a column to the sub-query, and its name to those that the outer query sees. */
static void
add_column(Query *inner, Alias *names, Expr *expr, const char *name)
{
	AttrNumber	resno = list_length(inner->targetList) + 1;

	inner->targetList = lappend(inner->targetList,
								makeTargetEntry(expr, resno, pstrdup(name), false));
	names->colnames = lappend(names->colnames, makeString(pstrdup(name)));
}

static Expr *
stored_column(const FormData_pg_attribute *att)
{
	if (att->attisdropped)
		return (Expr *) makeNullConst(INT4OID, -1, InvalidOid);
	return (Expr *) makeVar(1, att->attnum, att->atttypid, att->atttypmod,
							att->attcollation, 0);
}

static Expr *
system_column(const RangeTblEntry *rte, AttrNumber attno)
{
	const FormData_pg_attribute *att = SystemAttributeDefinition(attno);

	if (rte->rtekind != RTE_RELATION)
		return (Expr *) makeNullConst(att->atttypid, -1, InvalidOid);
	return stored_column(att);
}

static void
add_columns(Query *inner, Alias *names, const Conversion *conversion)
{
	const RangeTblEntry *rte = linitial_node(RangeTblEntry, inner->rtable);
	TupleDesc	tupdesc = conversion->tupdesc;
	Oid			row_type = rte->rtekind == RTE_RELATION ? conversion->reltype : RECORDOID;

	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		add_column(inner, names, stored_column(att),
				   att->attisdropped ? "" : NameStr(att->attname));
	}
	for (AttrNumber attno = -1; attno >= -SYSTEM_COLUMNS; attno--)
		add_column(inner, names, system_column(rte, attno),
				   NameStr(SystemAttributeDefinition(attno)->attname));
	add_column(inner, names,
			   (Expr *) makeVar(1, InvalidAttrNumber, row_type, -1, InvalidOid, 0),
			   names->aliasname);
}

/*
 * Row-level security's quals and the sampling's arguments go in with the
 * relation: what they say of it is said at the inner level from now on, and what
 * they say of queries around it one level further out.
 */
static RangeTblEntry *
move_inside(RangeTblEntry *rte, int rtindex)
{
	RangeTblEntry *inside = copyObject(rte);

	IncrementVarSublevelsUp((Node *) inside->securityQuals, 1, 1);
	ChangeVarNodes((Node *) inside->securityQuals, rtindex, 1, 0);
	IncrementVarSublevelsUp((Node *) inside->tablesample, 1, 0);
	inside->lateral = false;
	return inside;
}

RangeTblEntry *
migrate_relation_query_make(const Query *query, int rtindex, const Conversion *conversion)
{
	RangeTblEntry *rte = rt_fetch(rtindex, query->rtable);
	RangeTblEntry *inside = move_inside(rte, rtindex);
	RangeTblEntry *outside = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Query	   *inner = makeNode(Query);

	ref->rtindex = 1;
	inner->commandType = CMD_SELECT;
	inner->canSetTag = true;
	inner->hasSubLinks = query->hasSubLinks;
	inner->hasRowSecurity = query->hasRowSecurity;
	inner->rtable = list_make1(inside);
	inner->jointree = makeFromExpr(list_make1(ref), NULL);
	compat_move_permissions(inner, inside, query);

	outside->rtekind = RTE_SUBQUERY;
	outside->subquery = inner;
	outside->alias = copyObject(rte->alias);
	outside->eref = makeAlias(rte->eref->aliasname, NIL);
	outside->lateral = rte->lateral;
	outside->inFromCl = rte->inFromCl;
	add_columns(inner, outside->eref, conversion);
	return outside;
}
