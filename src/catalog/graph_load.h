/*
 * catalog/graph_load.h
 *		The graph of a database's migrations, as recorded.
 */
#ifndef MIGRATE_CATALOG_GRAPH_LOAD_H
#define MIGRATE_CATALOG_GRAPH_LOAD_H

#include "nodes/pg_list.h"

#include "catalog/graph.h"

/* What is known of a node besides the graph. */
typedef struct RecordedNode
{
	int64		seq;			/* by which nodes are in order */
	char	   *name;
	Oid			relid;
	char	   *state;
	int32		version;		/* 0: not expanded */
	List	   *depends_on;		/* of int: nodes */
} RecordedNode;

typedef struct RecordedGraph
{
	Graph	   *graph;
	int			count;
	RecordedNode *nodes;		/* in the order in which they were defined */
	List	   *columns;		/* of char *: the names of the graph's columns */
} RecordedGraph;

/*
 * All migrations of the database, closed. Those that depend on themselves raise
 * invalid_object_definition.
 */
extern RecordedGraph *migrate_graph_load(void);

/* The node of that name; -1 where there is none. */
extern int	migrate_graph_find(const RecordedGraph *recorded, const char *name);

/* Did rows pass it: is it expanded, complete or contracted? */
extern bool migrate_graph_is_applied(const RecordedNode *node);

/* Is it to be reckoned with: not rolled back? */
extern bool migrate_graph_is_wanted(const RecordedNode *node);

/* Record what a migration has to do with a column; and forget all of it. */
extern void migrate_graph_record_use(const char *migration, GraphUse use, const char *column);
extern void migrate_graph_forget_uses(const char *migration);

/*
 * Why nodes a and b do not commute, as a sentence that begins with a:
 * "a" reads column "x", which "b" removes
 */
extern char *migrate_graph_explain(const RecordedGraph *recorded, int a, int b,
								   const GraphConflict *conflict);

#endif							/* MIGRATE_CATALOG_GRAPH_LOAD_H */
