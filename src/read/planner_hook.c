/*
 * read/planner_hook.c
 *		Every query passes here on its way to the planner.
 *
 * Purpose: a query that touches a table with a live migration is rewritten so
 * that it sees converted rows (rewrite.c) and so that its INSERTs say which
 * form they speak (insert_marker.c); where it is wanted, its plan also notes
 * where it met stale rows (read_repair.c). All others go on untouched, at the price
 * of one test where no migration is live in the database, and of a look at the
 * range tables where one is.
 *
 * Why here: views, rules and row-level security are already expanded, and
 * plans that are cached are made again through this hook when a migration
 * changes its state, because that invalidates the relation. What the planner
 * adds to the tree later on (partitions, row marks) is derived from what we
 * leave; the one thing that is not, the body of an SQL set-returning function,
 * is dealt with in inline_guard.c.
 *
 * States: none of its own. Locks: the parser, the rewriter or the plan cache
 * has locked every relation of the query before the planner is called.
 */
#include "postgres.h"

#include "optimizer/planner.h"

#include "read/planner_hook.h"
#include "read/read_repair.h"
#include "read/rewrite.h"

static planner_hook_type previous_planner = NULL;

/*
 * The tree is changed before the next planner sees it, so that extensions which
 * look at what is planned see what is planned.
 */
static PlannedStmt *
plan_query(Query *query, const char *query_string, int cursor_options,
		   ParamListInfo bound_params)
{
	List	   *computed = NIL;
	PlannedStmt *plan;

	if (migrate_rewrite_concerns(query))
		query = migrate_rewrite_query(query, &computed);

	if (previous_planner)
		plan = previous_planner(query, query_string, cursor_options, bound_params);
	else
		plan = standard_planner(query, query_string, cursor_options, bound_params);

	if (computed != NIL && migrate_read_repair_is_wanted())
		migrate_read_repair_add(plan, computed);
	return plan;
}

void
migrate_planner_hook_init(void)
{
	previous_planner = planner_hook;
	planner_hook = plan_query;
}
