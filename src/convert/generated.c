/*
 * convert/generated.c
 *		Generated columns in what is computed from a row.
 *
 * The server fills in a generated column after BEFORE triggers, from the row as
 * it is stored. So an expression that is evaluated before that (by our trigger)
 * must not read it. And in a stale row it was generated from what the row held
 * before the conversion: where a migration assigns a column that another is
 * generated from (one that it rewrites in place; or one that it adds, and which
 * somebody has built on meanwhile), that one is converted as well.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"

#include "convert/conversion.h"
#include "convert/expression.h"
#include "convert/generated.h"

static bool
is_generated(Relation rel, AttrNumber attno)
{
	return attno > 0 && attno <= RelationGetNumberOfAttributes(rel) &&
		TupleDescAttr(RelationGetDescr(rel), attno - 1)->attgenerated;
}

static Node *
compute_column(Var *column, void *rel)
{
	if (is_generated(rel, column->varattno))
		return build_column_default(rel, column->varattno);
	column = copyObject(column);
	column->varlevelsup = 0;
	return (Node *) column;
}

Expr *
migrate_generated_compute(Expr *expr, Relation rel)
{
	return migrate_expression_replace_columns(expr, compute_column, rel);
}

Bitmapset *
migrate_generated_inputs(Relation rel, AttrNumber attno)
{
	return is_generated(rel, attno)
		? migrate_expression_inputs((Expr *) build_column_default(rel, attno)) : NULL;
}

/* ---- columns generated from what is assigned ---- */

static Node *
rewrite_inputs(Node *node, List *ups)
{
	ListCell   *lc;

	if (node == NULL)
		return NULL;
	if (!IsA(node, Var))
		return expression_tree_mutator(node, rewrite_inputs, ups);
	foreach(lc, ups)
	{
		Assignment *up = lfirst(lc);

		if (up->target == ((Var *) node)->varattno)
			return copyObject((Node *) up->expr);
	}
	return copyObject(node);
}

/* A row that is not stored yet has no system columns: what reads one is left alone. */
static bool
reads_any(Node *expr, List *ups)
{
	Bitmapset  *inputs = NULL;
	bool		found = false;
	ListCell   *lc;

	pull_varattnos(expr, 1, &inputs);
	foreach(lc, ups)
		if (bms_is_member(((Assignment *) lfirst(lc))->target - FirstLowInvalidHeapAttributeNumber,
						  inputs))
			found = true;
	return found && bms_next_member(inputs, -1) > -FirstLowInvalidHeapAttributeNumber;
}

List *
migrate_generated_follow(Relation rel, List *ups)
{
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *columns = NIL;

	for (AttrNumber attno = 1; attno <= desc->natts; attno++)
	{
		GeneratedColumn *column;
		Node	   *expr;

		if (TupleDescAttr(desc, attno - 1)->attisdropped || !is_generated(rel, attno))
			continue;
		expr = build_column_default(rel, attno);
		if (!reads_any(expr, ups))
			continue;
		column = palloc(sizeof(GeneratedColumn));
		column->attno = attno;
		column->expr = (Expr *) rewrite_inputs(expr, ups);
		columns = lappend(columns, column);
	}
	return columns;
}
