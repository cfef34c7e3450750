/*
 * read/insert_marker.c
 *		Telling the write trigger which form an INSERT speaks.
 *
 * Purpose: a BEFORE INSERT trigger sees a row and not which of its columns the
 * statement named. The planner's tree knows. So the row version that such an
 * INSERT would store, its default "unsaid", is replaced by a marker, in which
 * bit i says that a column of the i-th live migration's new form was named.
 * The trigger reads it and puts the true version in its place.
 *
 * A version that the statement gives itself is left alone: that is a row which
 * comes from elsewhere, already in some version's form. A version that is
 * spelled out as the default, in a single row, is "unsaid" all the same.
 *
 * States: the marker must never reach the table. It is put only where the
 * trigger is there and fires always; should a partition's own trigger be gone,
 * the CHECK on its row version refuses the row. A plan with a marker is bound
 * to what was live when it was made: a change of that, of the trigger, or of
 * the columns invalidates the relation and so the plan.
 *
 * Locks: the target is locked since the parser opened it.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "migrate.h"
#include "read/insert_marker.h"

static bool
is_insert_action(const MergeAction *action)
{
	return action->commandType == CMD_INSERT;
}

bool
migrate_insert_marker_wanted(const Query *query, int rtindex)
{
	ListCell   *lc;

	if (query->resultRelation != rtindex)
		return false;
	if (query->commandType == CMD_INSERT)
		return true;
	if (query->commandType == CMD_MERGE)
	{
		foreach(lc, query->mergeActionList)
		{
			if (is_insert_action(lfirst_node(MergeAction, lc)))
				return true;
		}
	}
	return false;
}

/* Is there somebody to take the marker out again? */
static bool
trigger_stands(Relation rel)
{
	const TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (strcmp(trigger->tgname, MIGRATE_TRIGGER_NAME) == 0)
			return trigger->tgenabled == TRIGGER_FIRES_ALWAYS &&
				TRIGGER_FOR_BEFORE(trigger->tgtype) &&
				TRIGGER_FOR_INSERT(trigger->tgtype);
	}
	return false;
}

static TargetEntry *
target_of(List *targets, AttrNumber attno)
{
	ListCell   *lc;

	foreach(lc, targets)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle->resno == attno && !tle->resjunk)
			return tle;
	}
	return NULL;
}

/*
 * Is it what the rewriter puts where a statement says DEFAULT, or where an
 * action of a MERGE says nothing? What the user wrote has a place in the text.
 */
static bool
is_filled_in(const Expr *expr, Relation rel, AttrNumber attno)
{
	Node	   *default_value = build_column_default(rel, attno);

	if (exprLocation((const Node *) expr) != -1)
		return false;
	if (default_value != NULL)
		return equal(expr, default_value);
	if (IsA(expr, CoerceToDomain))
		expr = ((const CoerceToDomain *) expr)->arg;
	return IsA(expr, Const) && ((const Const *) expr)->constisnull;
}

/* The same of a column of VALUES with several rows: in all of them? */
static bool
is_filled_in_throughout(const RangeTblEntry *values, AttrNumber column,
						Relation rel, AttrNumber attno)
{
	ListCell   *lc;

	foreach(lc, values->values_lists)
		if (!is_filled_in(list_nth(lfirst(lc), column - 1), rel, attno))
			return false;
	return true;
}

/*
 * Does a list of targets give a column a value of its own? A client that knows a
 * column and says DEFAULT of it, as object mappers do, has not set it.
 */
static bool
is_given(const Query *query, List *targets, Relation rel, AttrNumber attno)
{
	const TargetEntry *tle = target_of(targets, attno);
	const Var  *var;
	RangeTblEntry *source;

	if (tle == NULL)
		return false;			/* DEFAULT, of a column that has none */
	var = (const Var *) tle->expr;
	if (!IsA(var, Var) || var->varlevelsup > 0)
		return !is_filled_in(tle->expr, rel, attno);
	source = rt_fetch(var->varno, query->rtable);
	return source->rtekind != RTE_VALUES ||
		!is_filled_in_throughout(source, var->varattno, rel, attno);
}

/*
 * Bit i: a list of targets sets a column that live migration i adds. "named" are
 * the columns that the statement names, a MERGE in any of its actions.
 */
static uint32
forms_set(const Query *query, List *targets, const Conversion *conversion,
		  const Bitmapset *named, Relation rel)
{
	uint32		forms = 0;

	for (int i = 0; i < conversion->nlive; i++)
	{
		int			attno = -1;

		while ((attno = bms_next_member(conversion->live[i].added, attno)) >= 0)
		{
			if (bms_is_member(attno - FirstLowInvalidHeapAttributeNumber, named) &&
				is_given(query, targets, rel, attno))
				forms |= (uint32) 1 << i;
		}
	}
	return forms;
}

/*
 * Does the statement leave the version open? What it does not name is open
 * whatever the default: a partition may have one of its own.
 */
static bool
is_unsaid(const TargetEntry *tle, const Bitmapset *named)
{
	const Const *value = (const Const *) tle->expr;

	if (!bms_is_member(tle->resno - FirstLowInvalidHeapAttributeNumber, named))
		return true;
	return IsA(value, Const) && value->consttype == INT4OID && !value->constisnull &&
		DatumGetInt32(value->constvalue) == MIGRATE_VERSION_UNSAID;
}

/* Put a NULL for a column where the targets, which stand by column number, want it. */
static List *
insert_null(List *targets, Form_pg_attribute attr)
{
	Const	   *null = makeNullConst(attr->atttypid, attr->atttypmod, attr->attcollation);
	int			position = 0;

	while (position < list_length(targets) &&
		   list_nth_node(TargetEntry, targets, position)->resno < attr->attnum)
		position++;
	return list_insert_nth(targets, position,
						   makeTargetEntry((Expr *) null, attr->attnum,
										   pstrdup(NameStr(attr->attname)), false));
}

/*
 * The planner fills a column that an INSERT leaves out with NULL, and has that
 * checked against the column's domain, before the trigger runs. An INSERT of
 * the old form leaves out what "up" computes, and checks, in the trigger: it
 * must not fail for a NULL that is never stored. So give such a column a NULL
 * that nobody checks.
 */
static List *
spare_domains(List *targets, const Conversion *conversion, uint32 forms)
{
	for (int i = 0; i < conversion->nlive; i++)
	{
		ListCell   *lc;

		if (forms & ((uint32) 1 << i))
			continue;
		foreach(lc, conversion->live[i].ups)
		{
			AttrNumber	attno = ((Assignment *) lfirst(lc))->target;
			Form_pg_attribute attr = TupleDescAttr(conversion->tupdesc, attno - 1);

			if (get_typtype(attr->atttypid) == TYPTYPE_DOMAIN &&
				target_of(targets, attno) == NULL)
				targets = insert_null(targets, attr);
		}
	}
	return targets;
}

/* Mark one list of targets; returns it, with what was added. */
static List *
mark_targets(const Query *query, List *targets, const Conversion *conversion,
			 const Bitmapset *named, Relation rel)
{
	TargetEntry *tle = target_of(targets, conversion->version_attno);
	uint32		forms;

	if (tle == NULL || !is_unsaid(tle, named))
		return targets;
	forms = forms_set(query, targets, conversion, named, rel);
	tle->expr = (Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
								   Int32GetDatum(MIGRATE_FORM_MARK(forms)), false, true);
	return spare_domains(targets, conversion, forms);
}

void
migrate_insert_marker_put(Query *query, const Conversion *conversion)
{
	RangeTblEntry *rte = list_nth_node(RangeTblEntry, query->rtable,
									   query->resultRelation - 1);
	Bitmapset  *named = compat_inserted_columns(compat_query_perminfos(query), rte);
	Relation	rel = table_open(rte->relid, NoLock);
	ListCell   *lc;

	if (!trigger_stands(rel))
	{
		table_close(rel, NoLock);
		return;
	}

	if (query->commandType == CMD_INSERT)
		query->targetList = mark_targets(query, query->targetList, conversion, named, rel);
	foreach(lc, query->mergeActionList)
	{
		MergeAction *action = lfirst_node(MergeAction, lc);

		if (is_insert_action(action))
			action->targetList = mark_targets(query, action->targetList, conversion,
											  named, rel);
	}
	table_close(rel, NoLock);
}
