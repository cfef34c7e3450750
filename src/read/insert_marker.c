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
 * spelled out as the default is "unsaid" all the same. VALUES with several rows
 * may say DEFAULT of a column in some of them: each row has a mark of its own.
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

/* The VALUES with several rows that a target comes from; NULL: from elsewhere. */
static RangeTblEntry *
values_of(const Query *query, const TargetEntry *tle)
{
	const Var  *var = (const Var *) tle->expr;
	RangeTblEntry *source;

	if (!IsA(var, Var) || var->varlevelsup > 0)
		return NULL;
	source = rt_fetch(var->varno, query->rtable);
	return source->rtekind == RTE_VALUES ? source : NULL;
}

/*
 * Does a list of targets give a column a value of its own, in that row of VALUES if
 * it has several? A client that knows a column and says DEFAULT of it, as object
 * mappers do, has not set it.
 */
static bool
is_given(const Query *query, List *targets, List *row, Relation rel, AttrNumber attno)
{
	const TargetEntry *tle = target_of(targets, attno);

	if (tle == NULL)
		return false;			/* DEFAULT, of a column that has none */
	if (row != NIL && values_of(query, tle) != NULL)
		return !is_filled_in(list_nth(row, ((const Var *) tle->expr)->varattno - 1), rel, attno);
	return IsA(tle->expr, Var) || !is_filled_in(tle->expr, rel, attno);
}

/*
 * Bit i: a list of targets sets a column that live migration i adds. "named" are
 * the columns that the statement names, a MERGE in any of its actions.
 */
static uint32
forms_set(const Query *query, List *targets, List *row, const Conversion *conversion,
		  const Bitmapset *named, Relation rel)
{
	uint32		forms = 0;

	for (int i = 0; i < conversion->nlive; i++)
	{
		int			attno = -1;

		while ((attno = bms_next_member(conversion->live[i].added, attno)) >= 0)
		{
			if (bms_is_member(attno - FirstLowInvalidHeapAttributeNumber, named) &&
				is_given(query, targets, row, rel, attno))
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
is_unsaid(const Expr *version, AttrNumber attno, const Bitmapset *named)
{
	const Const *value = (const Const *) version;

	if (!bms_is_member(attno - FirstLowInvalidHeapAttributeNumber, named))
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

static Expr *
make_mark(uint32 forms)
{
	return (Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
							  Int32GetDatum(MIGRATE_FORM_MARK(forms)), false, true);
}

/* The VALUES with several rows of which a new form's columns, or the version, come. */
static int
find_values(const Query *query, List *targets, const Conversion *conversion)
{
	ListCell   *lc;

	foreach(lc, targets)
	{
		const TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if ((bms_is_member(tle->resno, conversion->touched) ||
			 tle->resno == conversion->version_attno) &&
			values_of(query, tle) != NULL)
			return ((const Var *) tle->expr)->varno;
	}
	return 0;
}

/* Give VALUES one more column, of marks; returns a reference to it. The lists are ours. */
static Var *
add_mark_column(const Query *query, int varno, List *forms)
{
	RangeTblEntry *values = rt_fetch(varno, query->rtable);
	ListCell   *row;
	ListCell   *mark;

	forboth(row, values->values_lists, mark, forms)
		lfirst(row) = lappend(lfirst(row), make_mark(lfirst_int(mark)));
	values->coltypes = lappend_oid(list_copy(values->coltypes), INT4OID);
	values->coltypmods = lappend_int(list_copy(values->coltypmods), -1);
	values->colcollations = lappend_oid(list_copy(values->colcollations), InvalidOid);
	values->eref = copyObject(values->eref);
	values->eref->colnames = lappend(values->eref->colnames, makeString(pstrdup("mark")));
	return makeVar(varno, list_length(values->coltypes), INT4OID, -1, InvalidOid, 0);
}

/* The same where the VALUES have the version: it is left open where they say DEFAULT. */
static void
mark_open_versions(RangeTblEntry *values, AttrNumber column, const Conversion *conversion,
				   const Bitmapset *named, List *forms)
{
	ListCell   *row;
	ListCell   *mark;

	forboth(row, values->values_lists, mark, forms)
	{
		ListCell   *version = list_nth_cell(lfirst(row), column - 1);

		if (is_unsaid(lfirst(version), conversion->version_attno, named))
			lfirst(version) = make_mark(lfirst_int(mark));
	}
}

/*
 * Mark each row of VALUES with several for itself. Returns what any of them sets.
 */
static uint32
mark_rows(const Query *query, int varno, List *targets, const Conversion *conversion,
		  const Bitmapset *named, Relation rel)
{
	RangeTblEntry *values = rt_fetch(varno, query->rtable);
	TargetEntry *version = target_of(targets, conversion->version_attno);
	List	   *forms = NIL;
	uint32		any = 0;
	ListCell   *lc;

	foreach(lc, values->values_lists)
	{
		uint32		set = forms_set(query, targets, lfirst(lc), conversion, named, rel);

		forms = lappend_int(forms, set);
		any |= set;
	}
	if (values_of(query, version) != NULL)
		mark_open_versions(values, ((Var *) version->expr)->varattno, conversion, named, forms);
	else if (is_unsaid(version->expr, version->resno, named))
		version->expr = (Expr *) add_mark_column(query, varno, forms);
	return any;
}

/* Mark one list of targets; returns it, with what was added. */
static List *
mark_targets(const Query *query, List *targets, const Conversion *conversion,
			 const Bitmapset *named, Relation rel)
{
	TargetEntry *tle = target_of(targets, conversion->version_attno);
	int			varno;
	uint32		forms;

	if (tle == NULL)
		return targets;
	varno = find_values(query, targets, conversion);
	if (varno > 0)
		return spare_domains(targets, conversion,
							 mark_rows(query, varno, targets, conversion, named, rel));
	if (!is_unsaid(tle->expr, tle->resno, named))
		return targets;
	forms = forms_set(query, targets, NIL, conversion, named, rel);
	tle->expr = make_mark(forms);
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
