/*
 * read/read_repair.c
 *		Plans that note where they met stale rows.
 *
 * Purpose: with migrate.read_repair on, blocks in which a read of new columns
 * met stale rows are noted in shared memory, and who converts the table takes
 * them first (backfill/step.c). To that end the finished plan's scans of the
 * table get a last condition, which is always true:
 *
 *		row_version >= n OR migrate.note_read(ctid, relation, NULL)
 *
 * Why in the finished plan: nothing that the planner does can be hindered or
 * changed by it. And a scan has the row's place at hand, below any outer join
 * and without another column for the joins to carry. Being the last, the
 * condition is asked for rows alone that row-level security, security barriers and
 * the query's own conditions on the table let through. In parallel plans it goes to
 * the workers with the scan.
 *
 * Not noted: rows that the statement updates or deletes itself, which ends their
 * being stale; rows from index-only scans, where there is no row at hand; and on
 * standbys, nothing.
 *
 * States: a plan is made with the condition or without it. Cached ones are made
 * again when the setting changes (guc.c) and when the table's backfill begins,
 * pauses, resumes or ends, for those invalidate the relation.
 *
 * Locks: none, neither here nor when a note is made; shmem.h says why.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/xlog.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parsetree.h"
#include "storage/itemptr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/store.h"
#include "convert/conversion.h"
#include "guc.h"
#include "read/read_repair.h"
#include "shmem.h"

typedef struct RepairContext
{
	PlannedStmt *plan;
	List	   *tables;			/* whose new columns it reads */
	Oid			function;		/* note_read */
} RepairContext;

PGDLLEXPORT PG_FUNCTION_INFO_V1(migrate_note_read);

static void add_to_plan(Plan *plan, RepairContext *context);

bool
migrate_read_repair_is_wanted(void)
{
	return migrate_guc_read_repair && migrate_shared != NULL && !RecoveryInProgress();
}

/* ---- the condition ---- */

static Expr *
is_converted(const Conversion *conversion, Index scanrelid)
{
	OpExpr	   *test = (OpExpr *)
		make_opclause(get_negator(Int4LessOperator), BOOLOID, false,
					  (Expr *) makeVar(scanrelid, conversion->version_attno, INT4OID, -1,
									   InvalidOid, 0),
					  (Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
										 Int32GetDatum(conversion->version), false, true),
					  InvalidOid, InvalidOid);

	test->opfuncid = F_INT4GE;
	return (Expr *) test;
}

static Expr *
note(const Conversion *conversion, Index scanrelid, Oid function)
{
	List	   *args = list_make3(makeVar(scanrelid, SelfItemPointerAttributeNumber,
										  TIDOID, -1, InvalidOid, 0),
								  makeConst(REGCLASSOID, -1, InvalidOid, sizeof(Oid),
											ObjectIdGetDatum(conversion->relid), false, true),
								  makeNullConst(INTERNALOID, -1, InvalidOid));

	return (Expr *) makeFuncExpr(function, BOOLOID, args, InvalidOid, InvalidOid,
								 COERCE_EXPLICIT_CALL);
}

/* ---- the plan's scans ---- */

static bool
is_to_be_noted(const Conversion *conversion, const RepairContext *context)
{
	return conversion != NULL && !conversion->paused &&
		migrate_conversion_first_incomplete(conversion) < conversion->nlive &&
		(list_member_oid(context->tables, conversion->relid) ||
		 list_member_oid(context->tables, conversion->root));
}

static void
add_to_scan(Scan *scan, RepairContext *context)
{
	RangeTblEntry *rte = rt_fetch(scan->scanrelid, context->plan->rtable);
	Conversion *conversion;
	Expr	   *condition;

	if (rte->rtekind != RTE_RELATION ||
		list_member_int(context->plan->resultRelations, scan->scanrelid))
		return;
	conversion = migrate_conversion_get(rte->relid);
	if (!is_to_be_noted(conversion, context))
		return;
	condition = makeBoolExpr(OR_EXPR,
							 list_make2(is_converted(conversion, scan->scanrelid),
										note(conversion, scan->scanrelid, context->function)),
							 -1);
	scan->plan.qual = lappend(scan->plan.qual, condition);
}

static void
add_to_plans(List *plans, RepairContext *context)
{
	ListCell   *lc;

	foreach(lc, plans)
		add_to_plan(lfirst(lc), context);
}

static void
add_to_plan(Plan *plan, RepairContext *context)
{
	if (plan == NULL)
		return;
	check_stack_depth();
	switch (nodeTag(plan))
	{
		case T_SeqScan:
		case T_SampleScan:
		case T_IndexScan:
		case T_BitmapHeapScan:
		case T_TidScan:
		case T_TidRangeScan:
			add_to_scan((Scan *) plan, context);
			break;
		case T_SubqueryScan:
			add_to_plan(((SubqueryScan *) plan)->subplan, context);
			break;
		case T_Append:
			add_to_plans(((Append *) plan)->appendplans, context);
			break;
		case T_MergeAppend:
			add_to_plans(((MergeAppend *) plan)->mergeplans, context);
			break;
		case T_CustomScan:
			add_to_plans(((CustomScan *) plan)->custom_plans, context);
			break;
		default:
			break;
	}
	add_to_plan(plan->lefttree, context);
	add_to_plan(plan->righttree, context);
}

/* Were the function made anew, the plan would have to be, too. */
static void
note_dependency(PlannedStmt *plan, Oid function)
{
	PlanInvalItem *item = makeNode(PlanInvalItem);

	item->cacheId = PROCOID;
	item->hashValue = GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(function));
	plan->invalItems = lappend(plan->invalItems, item);
}

void
migrate_read_repair_add(PlannedStmt *plan, List *tables)
{
	static const Oid argtypes[] = {TIDOID, REGCLASSOID, INTERNALOID};
	RepairContext context = {plan, tables, InvalidOid};

	context.function = migrate_store_function("note_read", lengthof(argtypes), argtypes);
	note_dependency(plan, context.function);
	add_to_plan(plan->planTree, &context);
	add_to_plans(plan->subplans, &context);
}

/* ---- while it runs ---- */

Datum
migrate_note_read(PG_FUNCTION_ARGS)
{
	ItemPointer row = (ItemPointer) PG_GETARG_POINTER(0);
	Oid			relation = PG_GETARG_OID(1);

	if (migrate_shared != NULL && !PG_ARGISNULL(0) && ItemPointerIsValid(row))
		migrate_shmem_note_block(relation, ItemPointerGetBlockNumber(row));
	PG_RETURN_BOOL(true);
}
