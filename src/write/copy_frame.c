/*
 * write/copy_frame.c
 *		Which columns the COPY FROM under way names.
 *
 * COPY is not planned, so nobody marks its rows for the write trigger; what
 * it names is only in the statement. ProcessUtility_hook keeps the statement
 * in a frame while it runs. Which relation its name means is learnt from
 * DoCopy itself, which asks for the right to insert once it has resolved and
 * locked it: resolving the name here, too, could find another one.
 *
 * Frames nest, as when a trigger of the table runs a function that has a COPY
 * of its own. They live on the C stack of the hook and are popped on the way
 * out, by an error too, so that no frame outlives its statement.
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "executor/executor.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "write/copy_frame.h"

typedef struct CopyFrame
{
	const CopyStmt *statement;
	Oid			target;			/* whom it copies to; invalid until DoCopy has said */
	MemoryContext context;		/* lives as long as the frame */
	Oid			relid;			/* target or a partition of it: whose the columns are */
	Bitmapset  *columns;
	struct CopyFrame *outer;
} CopyFrame;

static CopyFrame *innermost = NULL;

static ProcessUtility_hook_type next_ProcessUtility = NULL;
static ExecutorCheckPerms_hook_type next_ExecutorCheckPerms = NULL;

static void
process_utility(PlannedStmt *pstmt, const char *query_string,
				bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *query_env,
				DestReceiver *dest, QueryCompletion *completion)
{
	if (next_ProcessUtility)
		next_ProcessUtility(pstmt, query_string, read_only_tree, context,
							params, query_env, dest, completion);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context,
								params, query_env, dest, completion);
}

static void
copy_frame_ProcessUtility(PlannedStmt *pstmt, const char *query_string,
						  bool read_only_tree, ProcessUtilityContext context,
						  ParamListInfo params, QueryEnvironment *query_env,
						  DestReceiver *dest, QueryCompletion *completion)
{
	const CopyStmt *copy = (const CopyStmt *) pstmt->utilityStmt;
	CopyFrame	frame = {0};

	if (!IsA(copy, CopyStmt) || !copy->is_from)
	{
		process_utility(pstmt, query_string, read_only_tree, context,
						params, query_env, dest, completion);
		return;
	}

	frame.statement = copy;
	frame.context = AllocSetContextCreate(CurrentMemoryContext, "migrate copy frame",
										  ALLOCSET_SMALL_SIZES);
	frame.outer = innermost;
	innermost = &frame;
	PG_TRY();
	{
		process_utility(pstmt, query_string, read_only_tree, context,
						params, query_env, dest, completion);
	}
	PG_FINALLY();
	{
		innermost = frame.outer;
	}
	PG_END_TRY();
	MemoryContextDelete(frame.context);
}

/*
 * Is this DoCopy, asking for the innermost frame? Other queries can come
 * first, out of functions that COPY's WHERE clause calls as it is simplified;
 * but none asks for the right to insert alone, into a relation of that name.
 */
static bool
is_from_copy(List *range_table, List *permission_infos)
{
	RangeTblEntry *rte;
	char	   *name;

	if (innermost == NULL || OidIsValid(innermost->target) || list_length(range_table) != 1)
		return false;
	rte = linitial_node(RangeTblEntry, range_table);
	if (rte->rtekind != RTE_RELATION ||
		compat_required_permissions(permission_infos, rte) != ACL_INSERT)
		return false;
	name = get_rel_name(rte->relid);
	return name != NULL && strcmp(name, innermost->statement->relation->relname) == 0;
}

static bool
copy_frame_ExecutorCheckPerms(COMPAT_CHECK_PERMS_PARAMETERS)
{
	if (is_from_copy(range_table, COMPAT_CHECK_PERMS_INFOS))
		innermost->target = linitial_node(RangeTblEntry, range_table)->relid;
	if (next_ExecutorCheckPerms)
		return next_ExecutorCheckPerms(COMPAT_CHECK_PERMS_ARGUMENTS);
	return true;
}

static bool
is_named(const CopyStmt *statement, Form_pg_attribute attr)
{
	ListCell   *lc;

	if (attr->attisdropped || attr->attgenerated)
		return false;
	if (statement->attlist == NIL)
		return true;
	foreach(lc, statement->attlist)
		if (strcmp(strVal(lfirst(lc)), NameStr(attr->attname)) == 0)
			return true;
	return false;
}

/* A partition has the columns of its ancestors by name, under its own numbers. */
static Bitmapset *
named_columns(const CopyStmt *statement, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Bitmapset  *columns = NULL;

	for (int i = 0; i < desc->natts; i++)
		if (is_named(statement, TupleDescAttr(desc, i)))
			columns = bms_add_member(columns, i + 1);
	return columns;
}

static bool
is_target_or_partition(const CopyFrame *frame, Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	bool		found;
	List	   *ancestors;

	if (relid == frame->target)
		return true;
	if (!OidIsValid(frame->target) || !rel->rd_rel->relispartition)
		return false;
	ancestors = get_partition_ancestors(relid);
	found = list_member_oid(ancestors, frame->target);
	list_free(ancestors);
	return found;
}

/*
 * The rows of one COPY mostly go to one relation, so the last answer is kept.
 * Within the statement it cannot change: a change of the table's columns
 * needs a lock that conflicts with COPY's.
 */
bool
migrate_copy_frame_find(Relation rel, const Bitmapset **columns)
{
	CopyFrame  *frame = innermost;

	if (frame == NULL)
		return false;
	if (frame->relid != RelationGetRelid(rel))
	{
		MemoryContext caller;

		if (!is_target_or_partition(frame, rel))
			return false;
		caller = MemoryContextSwitchTo(frame->context);
		bms_free(frame->columns);
		frame->columns = named_columns(frame->statement, rel);
		frame->relid = RelationGetRelid(rel);
		MemoryContextSwitchTo(caller);
	}
	*columns = frame->columns;
	return true;
}

void
migrate_copy_frame_init(void)
{
	next_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = copy_frame_ProcessUtility;
	next_ExecutorCheckPerms = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = copy_frame_ExecutorCheckPerms;
}
