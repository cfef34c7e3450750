/*
 * catalog/graph.h
 *		The graph of migrations: order, leaves, commutation. Pure.
 *
 * Nodes and columns are numbers here, given by whoever loads the graph
 * (catalog/graph_load.c), so that it can be tested without a server. A graph is made,
 * filled and then closed once; the questions come after that.
 */
#ifndef MIGRATE_CATALOG_GRAPH_H
#define MIGRATE_CATALOG_GRAPH_H

/* What a migration has to do with a column of its table. */
typedef enum GraphUse
{
	GRAPH_ADDS,
	GRAPH_REMOVES,
	GRAPH_REWRITES,				/* up assigns it in place */
	GRAPH_RESTORES,				/* down assigns it */
	GRAPH_READS_UP,				/* up, needed or a constraint reads it */
	GRAPH_READS_DOWN,			/* down reads it */
	GRAPH_USES					/* how many there are */
} GraphUse;

typedef struct Graph Graph;

/* Why two migrations do not commute: the first has that use of a column, the second this. */
typedef struct GraphConflict
{
	int			column;
	GraphUse	first;
	GraphUse	second;
} GraphConflict;

extern Graph *migrate_graph_make(int nodes, int columns);
extern void migrate_graph_set_table(Graph *graph, int node, int table);
extern void migrate_graph_add_dependency(Graph *graph, int node, int before);
extern void migrate_graph_add_use(Graph *graph, int node, GraphUse use, int column);

/*
 * Find the order and who comes before whom. Returns a node that comes before
 * itself, or -1 where there is none and the graph may be asked.
 */
extern int	migrate_graph_close(Graph *graph);

/* The node at a place of an order in which each comes after all that it depends on,
 * and otherwise in the order of the numbers. */
extern int	migrate_graph_at(const Graph *graph, int place);

/* Must "before" come before "node"? Not of itself. */
extern bool migrate_graph_is_before(const Graph *graph, int before, int node);

/*
 * Is the outcome the same whichever of the two comes first? Those of two tables
 * always commute. "conflict" says why not, for the first column in which.
 */
extern bool migrate_graph_commute(const Graph *graph, int a, int b, GraphConflict *conflict);

/*
 * Could the node have come right after "after" (-1: at the very beginning) and
 * those before that one, without the others that it depends on? Where not,
 * "blocker" is one of them that it has to follow, and "conflict" says why; with
 * no column where it was only said so, of a migration of another table.
 */
extern bool migrate_graph_could_follow(const Graph *graph, int node, int after,
									   int *blocker, GraphConflict *conflict);

#endif							/* MIGRATE_CATALOG_GRAPH_H */
