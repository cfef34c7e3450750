/*
 * lifecycle/graph_ask.h
 *		What the graph of migrations tells those who deploy.
 */
#ifndef MIGRATE_LIFECYCLE_GRAPH_ASK_H
#define MIGRATE_LIFECYCLE_GRAPH_ASK_H

#include "nodes/pg_list.h"

/* What is left to be done for a migration. */
typedef struct PlanStep
{
	char	   *migration;
	const char *action;			/* "expand", "backfill" or "contract" */
	char	   *state;
} PlanStep;

/* A point at which a migration could have been introduced, or not. */
typedef struct BasePoint
{
	char	   *migration;		/* right after it; NULL: before all others */
	bool		possible;
	char	   *reason;
} BasePoint;

/*
 * The steps to a migration, or to a release, or (NULL) to all there are, in an
 * order that is right; of PlanStep *. Undefined names raise undefined_object.
 */
extern List *migrate_graph_plan(const char *target);

/* From the oldest point to what it depends on now; of BasePoint *. */
extern List *migrate_graph_backport_base(const char *name);

#endif							/* MIGRATE_LIFECYCLE_GRAPH_ASK_H */
