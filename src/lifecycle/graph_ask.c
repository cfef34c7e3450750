/*
 * lifecycle/graph_ask.c
 *		What the graph of migrations tells those who deploy.
 */
#include "postgres.h"

#include "catalog/graph_load.h"
#include "catalog/store.h"
#include "lifecycle/graph_ask.h"

/* ---- the way to a target ---- */

static const char *
next_action(const RecordedNode *node)
{
	if (!migrate_graph_is_applied(node))
		return "expand";
	if (strcmp(node->state, "expanded") == 0)
		return "backfill";
	if (strcmp(node->state, "complete") == 0)
		return "contract";
	return NULL;
}

static bool
is_release(const char *name)
{
	return migrate_store_fetch("SELECT 1 FROM migrate.release WHERE name = $1",
							   STORE_ARGS(store_text(name))) != NULL;
}

/* The nodes of a release's migrations. */
static List *
release_goals(const RecordedGraph *recorded, const char *release)
{
	List	   *goals = NIL;
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT migration FROM migrate.release_migration"
										 " WHERE release = $1", STORE_ARGS(store_text(release))))
	{
		int			node = migrate_graph_find(recorded, lfirst(lc));

		if (node >= 0)
			goals = lappend_int(goals, node);
	}
	return goals;
}

/* A migration or all those of a release. Of one name the migration counts. */
static List *
find_goals(const RecordedGraph *recorded, const char *target)
{
	int			node = migrate_graph_find(recorded, target);
	bool		names_release = is_release(target);

	if (node >= 0 && names_release)
		ereport(NOTICE,
				(errmsg("\"%s\" is the name of a migration and of a release", target),
				 errdetail("The plan is that of the migration.")));
	if (node >= 0)
		return list_make1_int(node);
	if (!names_release)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("neither a migration nor a release \"%s\" exists", target),
				 errhint("See migrate.status and migrate.releases for those that do.")));
	return release_goals(recorded, target);
}

static bool
leads_to_any(const RecordedGraph *recorded, int node, List *goals)
{
	ListCell   *lc;

	foreach(lc, goals)
		if (node == lfirst_int(lc) ||
			migrate_graph_is_before(recorded->graph, node, lfirst_int(lc)))
			return true;
	return false;
}

/* What was rolled back is not on the way to anything, unless it is asked for. */
static bool *
find_way(const RecordedGraph *recorded, const char *target)
{
	List	   *goals = target ? find_goals(recorded, target) : NIL;
	bool	   *way = palloc((recorded->count + 1) * sizeof(bool));

	for (int node = 0; node < recorded->count; node++)
		way[node] = target ? leads_to_any(recorded, node, goals)
			: migrate_graph_is_wanted(&recorded->nodes[node]);
	return way;
}

List *
migrate_graph_plan(const char *target)
{
	RecordedGraph *recorded = migrate_graph_load();
	bool	   *way = find_way(recorded, target);
	List	   *steps = NIL;

	for (int place = 0; place < recorded->count; place++)
	{
		int			node = migrate_graph_at(recorded->graph, place);
		const char *action = next_action(&recorded->nodes[node]);
		PlanStep   *step;

		if (action == NULL || !way[node])
			continue;
		step = palloc(sizeof(PlanStep));
		step->migration = recorded->nodes[node].name;
		step->action = action;
		step->state = recorded->nodes[node].state;
		steps = lappend(steps, step);
	}
	return steps;
}

/* ---- where it could have come in ---- */

static int
find_target(const RecordedGraph *recorded, const char *name)
{
	int			node = migrate_graph_find(recorded, name);

	if (node < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("migration \"%s\" does not exist", name),
				 errhint("See migrate.status for those that do.")));
	return node;
}

static char *
explain_limit(const RecordedGraph *recorded, int node, int blocker,
			  const GraphConflict *conflict)
{
	if (conflict->column >= 0)
		return migrate_graph_explain(recorded, node, blocker, conflict);
	return psprintf("\"%s\" depends on \"%s\", a migration of another table",
					recorded->nodes[node].name, recorded->nodes[blocker].name);
}

static BasePoint *
make_point(const RecordedGraph *recorded, int node, int after)
{
	BasePoint  *point = palloc0(sizeof(BasePoint));
	GraphConflict conflict;
	int			blocker;

	point->migration = after >= 0 ? recorded->nodes[after].name : NULL;
	point->possible = migrate_graph_could_follow(recorded->graph, node, after,
												 &blocker, &conflict);
	if (!point->possible)
		point->reason = explain_limit(recorded, node, blocker, &conflict);
	else if (after >= 0 && !migrate_graph_commute(recorded->graph, node, after, &conflict))
		point->reason = migrate_graph_explain(recorded, node, after, &conflict);
	return point;
}

List *
migrate_graph_backport_base(const char *name)
{
	RecordedGraph *recorded = migrate_graph_load();
	int			node = find_target(recorded, name);
	List	   *points = list_make1(make_point(recorded, node, -1));

	for (int place = 0; place < recorded->count; place++)
	{
		int			after = migrate_graph_at(recorded->graph, place);

		if (migrate_graph_is_before(recorded->graph, after, node))
			points = lappend(points, make_point(recorded, node, after));
	}
	return points;
}
