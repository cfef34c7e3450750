/*
 * read/rewrite.c
 *		Making a query see every row as if it were already converted.
 *
 * Purpose: in a query on a table with a live migration, each Var of a column
 * of the new form is replaced by
 *
 *		CASE WHEN row_version >= n THEN stored WHEN row_version < n THEN up END
 *
 * which convert/ makes. It has two arms and no ELSE for a reason: on the
 * nullable side of an outer join row_version is NULL, in such rows alone, and
 * there the column has to be NULL also where "up" of nothing is something. So
 * no PlaceHolderVar is needed, and the expression can stand wherever the Var
 * did, but under grouping sets (relation_query.c). Partitions need no help
 * either: the planner translates the Vars in it for each of them, as it does for
 * any expression over the parent.
 *
 * What is left alone:
 *	- the targets of UPDATE and INSERT (they are numbers, not Vars);
 *	- EXCLUDED, which the trigger has already carried over (its range table
 *	  entry says relkind 'c', so it is not taken for a table), unless that may
 *	  be deferred;
 *	- the inference clause of ON CONFLICT, which names an index's columns and not
 *	  values; unless there is a unique index on what these read as
 *	  (read/arbiter.c);
 *	- privileges: which columns the user named stays as the parser noted it.
 *
 * States: whether a relation has stale rows for this plan is asked once per
 * relation and planning, so that all references to it agree. A plan is bound to
 * that answer by the plan cache: a change of state invalidates the relation.
 *
 * Locks: the relations of a query are locked before it is planned, so what is
 * live cannot change while we are at it, save for completion, after which
 * either plan reads the same.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"

#include "compat.h"
#include "convert/conversion.h"
#include "read/arbiter.h"
#include "read/insert_marker.h"
#include "read/relation_query.h"
#include "read/rewrite.h"

/* How the rows of one relation are read in the plan that is being made. */
typedef struct Reading
{
	Conversion *conversion;
	int			first_stale;
	bool		computes;		/* a column of the new form is read */
} Reading;

/* What a range table index stands for. */
typedef struct LevelRel
{
	Reading    *reading;		/* NULL: nothing to do for it */
	bool		is_query;		/* it was made a sub-query, whose columns are right */
} LevelRel;

typedef struct QueryLevel
{
	struct QueryLevel *outer;
	int			nrels;
	LevelRel   *rels;			/* by index - 1 */
} QueryLevel;

typedef struct RewriteContext
{
	QueryLevel *level;
	List	   *readings;		/* of Reading *: a relation has one, wherever it appears */
} RewriteContext;

static bool concerns_walker(Node *node, void *context);
static Node *rewrite_mutator(Node *node, RewriteContext *context);

/*
 * The conversion of what a range table entry stands for, if that is a managed
 * table, or a transition table of one, which the executor fills with rows as
 * they are stored. No row in it can be from before a completion that the query
 * sees: who writes to a stale row holds completion back until he has ended.
 */
static Conversion *
conversion_of(const RangeTblEntry *rte)
{
	if (rte->rtekind == RTE_NAMEDTUPLESTORE)
		return OidIsValid(rte->relid) ? migrate_conversion_get(rte->relid) : NULL;
	if (rte->rtekind != RTE_RELATION)
		return NULL;
	if (rte->relkind != RELKIND_RELATION && rte->relkind != RELKIND_PARTITIONED_TABLE)
		return NULL;
	return migrate_conversion_get(rte->relid);
}

static bool
has_stale_rows(const Conversion *conversion)
{
	return migrate_conversion_first_stale(conversion) < conversion->nlive;
}

/*
 * Does the range table name a relation for which we have something to do? Once
 * all its rows are converted that is a target of INSERT only.
 */
static bool
range_table_concerns(Query *query)
{
	ListCell   *lc;
	int			rtindex = 0;

	foreach(lc, query->rtable)
	{
		Conversion *conversion = conversion_of(lfirst_node(RangeTblEntry, lc));

		rtindex++;
		if (conversion != NULL &&
			(migrate_insert_marker_wanted(query, rtindex) || has_stale_rows(conversion)))
			return true;
	}
	return false;
}

/*
 * A query hides others in its range table and its CTEs, and, only where it says
 * so, in sub-links anywhere; the whole tree is walked in that case alone.
 */
static bool
query_concerns(Query *query)
{
	ListCell   *lc;

	if (range_table_concerns(query))
		return true;
	if (query->hasSubLinks)
		return query_tree_walker(query, concerns_walker, NULL, 0);

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_SUBQUERY && concerns_walker((Node *) rte->subquery, NULL))
			return true;
	}
	foreach(lc, query->cteList)
	{
		if (concerns_walker(lfirst_node(CommonTableExpr, lc)->ctequery, NULL))
			return true;
	}
	return false;
}

static bool
concerns_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		check_stack_depth();
		return query_concerns((Query *) node);
	}
	return expression_tree_walker(node, concerns_walker, context);
}

bool
migrate_rewrite_concerns(Query *query)
{
	return query->commandType != CMD_UTILITY && migrate_conversion_any() &&
		query_concerns(query);
}

static Reading *
reading_of(Conversion *conversion, RewriteContext *context)
{
	Reading    *reading;
	ListCell   *lc;

	foreach(lc, context->readings)
	{
		reading = lfirst(lc);
		if (reading->conversion->relid == conversion->relid)
			return reading;
	}

	reading = palloc0(sizeof(Reading));
	reading->conversion = conversion;
	reading->first_stale = migrate_conversion_first_stale(conversion);
	context->readings = lappend(context->readings, reading);
	return reading;
}

static bool
is_stale(const Reading *reading)
{
	return reading != NULL && reading->first_stale < reading->conversion->nlive;
}

/* Where writes may be deferred the row proposed for insertion may be a stale one. */
static void
enter_excluded(QueryLevel *level, const Query *query)
{
	const OnConflictExpr *clause = query->onConflict;
	Reading    *target;

	if (clause == NULL || clause->action != ONCONFLICT_UPDATE)
		return;
	target = level->rels[query->resultRelation - 1].reading;
	if (target != NULL && target->conversion->defers)
		level->rels[clause->exclRelIndex - 1].reading = target;
}

static void
enter_level(QueryLevel *level, Query *query, RewriteContext *context)
{
	ListCell   *lc;

	level->outer = context->level;
	level->nrels = list_length(query->rtable);
	level->rels = palloc0(Max(level->nrels, 1) * sizeof(LevelRel));

	foreach(lc, query->rtable)
	{
		Conversion *conversion = conversion_of(lfirst_node(RangeTblEntry, lc));

		if (conversion != NULL)
			level->rels[foreach_current_index(lc)].reading = reading_of(conversion, context);
	}
	enter_excluded(level, query);
	context->level = level;
}

/*
 * Where there are grouping sets, what is in the place of a column has to be one
 * (see relation_query.c).
 */
static Query *
keep_from_grouping(Query *query, QueryLevel *level)
{
	Query	   *result = makeNode(Query);

	*result = *query;
	result->rtable = list_copy(query->rtable);
	for (int i = 0; i < level->nrels; i++)
	{
		LevelRel   *rel = &level->rels[i];

		if (!is_stale(rel->reading))
			continue;
		lfirst(list_nth_cell(result->rtable, i)) =
			migrate_relation_query_make(query, i + 1, rel->reading->conversion);
		rel->is_query = true;
	}
	return result;
}

static void
leave_level(QueryLevel *level, RewriteContext *context)
{
	context->level = level->outer;
	pfree(level->rels);
}

static const LevelRel *
relation_of(const Var *var, const RewriteContext *context)
{
	const QueryLevel *level = context->level;

	for (Index up = 0; up < var->varlevelsup; up++)
		level = level->outer;
	if (var->varno < 1 || var->varno > level->nrels)
		elog(ERROR, "column reference to range table entry %d of %d",
			 (int) var->varno, level->nrels);
	return &level->rels[var->varno - 1];
}

/* Put an expression over the relation's own columns where a Var of it stands. */
static Node *
transplant_mutator(Node *node, const Var *place)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = copyObject((Var *) node);

		Assert(var->varno == 1 && var->varlevelsup == 0);
		var->varno = place->varno;
		var->varnosyn = place->varno;
		var->varattnosyn = var->varattno;
		compat_copy_var_context(var, place);
		return (Node *) var;
	}
	return expression_tree_mutator(node, transplant_mutator, (void *) place);
}

static Var *
column_at(const Var *place, const Conversion *conversion, AttrNumber attno)
{
	Form_pg_attribute att = TupleDescAttr(conversion->tupdesc, attno - 1);
	Var		   *var = makeVar(place->varno, attno, att->atttypid, att->atttypmod,
							  att->attcollation, 0);

	compat_copy_var_context(var, place);
	return var;
}

/* One column as it reads where "place" stands. */
static Expr *
read_column(const Var *place, const Reading *reading, AttrNumber attno)
{
	const Expr *expr;

	expr = migrate_conversion_reading(reading->conversion, reading->first_stale, attno);
	if (expr == NULL)
		return (Expr *) column_at(place, reading->conversion, attno);
	return (Expr *) transplant_mutator((Node *) expr, place);
}

/*
 * The columns of a whole row, as a row constructor wants them. One of a
 * transition table is an anonymous record, whose names have to be told.
 */
static Expr *
read_columns(const Var *place, const Reading *reading)
{
	TupleDesc	tupdesc = reading->conversion->tupdesc;
	bool		is_record = place->vartype == RECORDOID;
	RowExpr    *row = makeNode(RowExpr);

	for (AttrNumber attno = 1; attno <= tupdesc->natts; attno++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, attno - 1);

		if (!att->attisdropped)
			row->args = lappend(row->args, read_column(place, reading, attno));
		else if (!is_record)
			row->args = lappend(row->args, makeNullConst(INT4OID, -1, InvalidOid));
		if (is_record && !att->attisdropped)
			row->colnames = lappend(row->colnames, makeString(pstrdup(NameStr(att->attname))));
	}
	row->row_typeid = place->vartype;
	row->row_format = COERCE_IMPLICIT_CAST;
	row->location = place->location;
	return (Expr *) row;
}

/*
 * A whole row: CASE WHEN row_version IS NOT NULL THEN ROW(...) END. Of a row
 * that an outer join made up there is no row_version, and a bare ROW() would
 * turn the NULL that it is into a row of NULLs.
 */
static Node *
read_whole_row(const Var *place, const Reading *reading)
{
	CaseExpr   *whole = makeNode(CaseExpr);
	CaseWhen   *exists = makeNode(CaseWhen);
	NullTest   *test = makeNode(NullTest);

	test->arg = (Expr *) column_at(place, reading->conversion,
								   reading->conversion->version_attno);
	test->nulltesttype = IS_NOT_NULL;
	test->argisrow = false;
	test->location = -1;

	exists->expr = (Expr *) test;
	exists->result = read_columns(place, reading);
	exists->location = -1;

	whole->casetype = place->vartype;
	whole->casecollid = InvalidOid;
	whole->arg = NULL;
	whole->args = list_make1(exists);
	whole->defresult = (Expr *) makeNullConst(place->vartype, -1, InvalidOid);
	whole->location = place->location;
	return (Node *) whole;
}

/* A column of the sub-query that the relation was made. */
static Node *
read_from_query(Var *var, const Conversion *conversion)
{
	Var		   *result = copyObject(var);

	result->varattno = migrate_relation_query_column(conversion, var->varattno);
	result->varattnosyn = result->varattno;
	return (Node *) result;
}

static Node *
rewrite_var(Var *var, RewriteContext *context)
{
	const LevelRel *rel = relation_of(var, context);
	Reading    *reading = rel->reading;

	if (rel->is_query)
		return read_from_query(var, reading->conversion);
	if (!is_stale(reading) || var->varattno < 0)
		return (Node *) copyObject(var);
	if (var->varattno != InvalidAttrNumber &&
		migrate_conversion_reading(reading->conversion, reading->first_stale,
								   var->varattno) == NULL)
		return (Node *) copyObject(var);
	reading->computes = true;
	if (var->varattno == InvalidAttrNumber)
		return read_whole_row(var, reading);
	return (Node *) read_column(var, reading, var->varattno);
}

/*
 * Which columns are to be unique: as they read, where there is an index on that.
 * (They are of the statement's target, and so of one relation.)
 */
static List *
rewrite_arbiters(List *elements, RewriteContext *context)
{
	List	   *as_read = (List *) rewrite_mutator((Node *) elements, context);
	List	   *columns = pull_var_clause((Node *) elements, 0);
	const LevelRel *rel = columns == NIL ? NULL : relation_of(linitial(columns), context);

	if (rel == NULL || !is_stale(rel->reading) ||
		!migrate_arbiter_exists(rel->reading->conversion->relid, as_read))
		return elements;
	return as_read;
}

/*
 * Of ON CONFLICT only what it assigns and asks of the existing row is read from
 * a row. The rest tells which index to use and what EXCLUDED looks like.
 */
static Node *
rewrite_on_conflict(OnConflictExpr *clause, RewriteContext *context)
{
	OnConflictExpr *result = makeNode(OnConflictExpr);

	*result = *clause;
	result->arbiterElems = rewrite_arbiters(clause->arbiterElems, context);
	result->onConflictSet = (List *)
		rewrite_mutator((Node *) clause->onConflictSet, context);
	result->onConflictWhere = rewrite_mutator(clause->onConflictWhere, context);
	return (Node *) result;
}

static const Reading *
target_of(const Query *query, const QueryLevel *level)
{
	return query->resultRelation > 0 ? level->rels[query->resultRelation - 1].reading : NULL;
}

/* INSERTs are marked last: the marker goes into the copy that the walk has made. */
static void
mark_inserts(Query *query, const QueryLevel *level)
{
	const Reading *target = target_of(query, level);

	if (target != NULL && migrate_insert_marker_wanted(query, query->resultRelation))
		migrate_insert_marker_put(query, target->conversion);
}

static bool
assigns(List *targets, AttrNumber attno)
{
	ListCell   *lc;

	foreach(lc, targets)
	{
		const TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle->resno == attno && !tle->resjunk)
			return true;
	}
	return false;
}

/* What an action leaves out of those columns it writes back, as they read. */
static void
complete_action(MergeAction *action, const Bitmapset *named, const Reading *target, int rtindex)
{
	TupleDesc	tupdesc = target->conversion->tupdesc;

	for (AttrNumber attno = 1; attno <= tupdesc->natts; attno++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, attno - 1);
		Var		   *var;

		if (!bms_is_member(attno - FirstLowInvalidHeapAttributeNumber, named) ||
			att->attgenerated || assigns(action->targetList, attno) ||
			migrate_conversion_reading(target->conversion, target->first_stale, attno) == NULL)
			continue;
		var = makeVar(rtindex, attno, att->atttypid, att->atttypmod, att->attcollation, 0);
		action->targetList = lcons(makeTargetEntry(read_column(var, target, attno), attno,
												   pstrdup(NameStr(att->attname)), false),
								   action->targetList);
	}
}

/*
 * The write trigger is told which columns a statement names, of a MERGE those of
 * all its actions. Of one that names first_name, and another that does not, the
 * latter would be taken to have set it, to what is stored there. So each has to
 * assign what any of them does.
 */
static void
complete_merge_actions(Query *query, const QueryLevel *level)
{
	const Reading *target = target_of(query, level);
	Bitmapset  *named;
	ListCell   *lc;

	if (query->commandType != CMD_MERGE || !is_stale(target))
		return;
	named = compat_updated_columns(compat_query_perminfos(query),
								   rt_fetch(query->resultRelation, query->rtable));
	foreach(lc, query->mergeActionList)
	{
		MergeAction *action = lfirst_node(MergeAction, lc);

		if (action->commandType == CMD_UPDATE)
			complete_action(action, named, target, query->resultRelation);
	}
}

static Query *
rewrite_query(Query *query, RewriteContext *context)
{
	QueryLevel	level;

	enter_level(&level, query, context);
	if (query->groupingSets != NIL)
		query = keep_from_grouping(query, &level);
	query = query_tree_mutator(query, rewrite_mutator, context, 0);
	complete_merge_actions(query, &level);
	mark_inserts(query, &level);
	leave_level(&level, context);
	return query;
}

static Node *
rewrite_mutator(Node *node, RewriteContext *context)
{
	if (node == NULL)
		return NULL;
	switch (nodeTag(node))
	{
		case T_Var:
			return rewrite_var((Var *) node, context);
		case T_OnConflictExpr:
			return rewrite_on_conflict((OnConflictExpr *) node, context);
		case T_Query:
			return (Node *) rewrite_query((Query *) node, context);
		default:
			return expression_tree_mutator(node, rewrite_mutator, (void *) context);
	}
}

Query *
migrate_rewrite_query(Query *query, List **computed)
{
	RewriteContext context = {0};
	ListCell   *lc;

	query = rewrite_query(query, &context);
	foreach(lc, context.readings)
	{
		Reading    *reading = lfirst(lc);

		if (reading->computes)
			*computed = lappend_oid(*computed, reading->conversion->relid);
	}
	return query;
}
