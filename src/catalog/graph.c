/*
 * catalog/graph.c
 *		The graph of migrations: order, leaves, commutation. Pure.
 *
 * It knows of numbers only and needs neither catalog nor server: test/unit
 * builds it into a program of its own.
 *
 * Commutation. Rows pass migrations in the order in which these were
 * expanded, and databases may differ in it. Two migrations of a table commute if
 * the schema and every row end up the same in either order. That is judged
 * from the columns that they have to do with:
 *
 * - reading is harmless to reading: both start from the same value;
 * - what one adds or removes, the other must not touch at all: in one of the
 *   orders the column would not be there;
 * - what one rewrites in place, the other must not read: it would get the value
 *   from before or from after that;
 * - what both rewrite, or both assign in "down", is decided by who comes last;
 * - what "down" of one assigns, "down" of the other must not read: in a write
 *   of both new forms the newer migration's down comes first. "up" of the other may
 *   read or rewrite it: every up comes after every down, whatever the order
 *   (convert/converter.c).
 *
 * It is a judgement by names, so it can be too strict: two data fixes of one
 * column that happen to commute are refused. It is not too loose as long as an
 * expression's columns are all it depends on: of a generated column those that it
 * is generated from count as read (lifecycle/ancestry.c); what is read of other
 * tables by a sub-select is not looked at.
 */
#include "postgres.h"

#include "catalog/graph.h"

typedef uint64 Word;

#define WORD_BITS		64
#define WORDS_FOR(n)	(((n) + WORD_BITS - 1) / WORD_BITS)

typedef struct Node
{
	int			table;
	int			ndependencies;
	int		   *dependencies;
	Word	   *before;			/* nodes that must come before it, once closed */
	Word	   *uses[GRAPH_USES];	/* columns; NULL: none */
} Node;

struct Graph
{
	int			nnodes;
	int			ncolumns;
	Node	   *nodes;
	int		   *order;			/* once closed */
};

/* Which uses of one column by two migrations do not go together, in either direction. */
static const bool excludes[GRAPH_USES][GRAPH_USES] = {
	[GRAPH_ADDS] = {
		[GRAPH_ADDS] = true, [GRAPH_REMOVES] = true, [GRAPH_REWRITES] = true,
		[GRAPH_RESTORES] = true, [GRAPH_READS_UP] = true, [GRAPH_READS_DOWN] = true,
	},
	[GRAPH_REMOVES] = {
		[GRAPH_ADDS] = true, [GRAPH_REMOVES] = true, [GRAPH_REWRITES] = true,
		[GRAPH_RESTORES] = true, [GRAPH_READS_UP] = true, [GRAPH_READS_DOWN] = true,
	},
	[GRAPH_REWRITES] = {
		[GRAPH_ADDS] = true, [GRAPH_REMOVES] = true, [GRAPH_REWRITES] = true,
		[GRAPH_READS_UP] = true, [GRAPH_READS_DOWN] = true,
	},
	[GRAPH_RESTORES] = {
		[GRAPH_ADDS] = true, [GRAPH_REMOVES] = true,
		[GRAPH_RESTORES] = true, [GRAPH_READS_DOWN] = true,
	},
	[GRAPH_READS_UP] = {
		[GRAPH_ADDS] = true, [GRAPH_REMOVES] = true, [GRAPH_REWRITES] = true,
	},
	[GRAPH_READS_DOWN] = {
		[GRAPH_ADDS] = true, [GRAPH_REMOVES] = true, [GRAPH_REWRITES] = true,
		[GRAPH_RESTORES] = true,
	},
};

/* ---- sets ---- */

static bool
is_member(const Word *set, int member)
{
	return set != NULL && (set[member / WORD_BITS] >> (member % WORD_BITS) & 1) != 0;
}

static void
add_member(Word *set, int member)
{
	set[member / WORD_BITS] |= (Word) 1 << (member % WORD_BITS);
}

static void
add_members(Word *set, const Word *others, int nwords)
{
	for (int i = 0; i < nwords; i++)
		set[i] |= others[i];
}

/* The smallest number in both, or -1. */
static int
first_common(const Word *a, const Word *b, int nwords)
{
	if (a == NULL || b == NULL)
		return -1;
	for (int i = 0; i < nwords; i++)
		if ((a[i] & b[i]) != 0)
			for (int bit = 0; bit < WORD_BITS; bit++)
				if ((a[i] & b[i]) >> bit & 1)
					return i * WORD_BITS + bit;
	return -1;
}

/* ---- making it ---- */

Graph *
migrate_graph_make(int nodes, int columns)
{
	Graph	   *graph = palloc0(sizeof(Graph));

	graph->nnodes = nodes;
	graph->ncolumns = columns;
	graph->nodes = palloc0((nodes + 1) * sizeof(Node));
	graph->order = palloc0((nodes + 1) * sizeof(int));
	return graph;
}

void
migrate_graph_set_table(Graph *graph, int node, int table)
{
	graph->nodes[node].table = table;
}

void
migrate_graph_add_dependency(Graph *graph, int node, int before)
{
	Node	   *to = &graph->nodes[node];

	if (to->dependencies == NULL)
		to->dependencies = palloc(sizeof(int));
	else
		to->dependencies = repalloc(to->dependencies, (to->ndependencies + 1) * sizeof(int));
	to->dependencies[to->ndependencies++] = before;
}

void
migrate_graph_add_use(Graph *graph, int node, GraphUse use, int column)
{
	Word	  **set = &graph->nodes[node].uses[use];

	if (*set == NULL)
		*set = palloc0(WORDS_FOR(graph->ncolumns) * sizeof(Word));
	add_member(*set, column);
}

/* ---- order ---- */

/* What comes before a node: what it depends on, and what comes before those. */
static void
close_node(Graph *graph, int number)
{
	Node	   *node = &graph->nodes[number];
	int			nwords = WORDS_FOR(graph->nnodes);

	node->before = palloc0(nwords * sizeof(Word));
	for (int i = 0; i < node->ndependencies; i++)
	{
		int			dependency = node->dependencies[i];

		add_member(node->before, dependency);
		add_members(node->before, graph->nodes[dependency].before, nwords);
	}
}

static bool
is_ready(const Graph *graph, int number)
{
	const Node *node = &graph->nodes[number];

	for (int i = 0; i < node->ndependencies; i++)
		if (graph->nodes[node->dependencies[i]].before == NULL)
			return false;
	return true;
}

/* The first one that is not placed yet and that all it depends on are; or -1. */
static int
next_ready(const Graph *graph, int *first_open)
{
	while (*first_open < graph->nnodes && graph->nodes[*first_open].before != NULL)
		(*first_open)++;
	for (int i = *first_open; i < graph->nnodes; i++)
		if (graph->nodes[i].before == NULL && is_ready(graph, i))
			return i;
	return -1;
}

/* Those left over wait for each other, or for those who do: go back until one repeats. */
static int
find_in_cycle(const Graph *graph, int number)
{
	for (int steps = 0; steps < graph->nnodes; steps++)
	{
		const Node *node = &graph->nodes[number];
		int			i = 0;

		while (graph->nodes[node->dependencies[i]].before != NULL)
			i++;
		number = node->dependencies[i];
	}
	return number;
}

int
migrate_graph_close(Graph *graph)
{
	int			first_open = 0;

	for (int place = 0; place < graph->nnodes; place++)
	{
		int			number = next_ready(graph, &first_open);

		if (number < 0)
			return find_in_cycle(graph, first_open);
		graph->order[place] = number;
		close_node(graph, number);
	}
	return -1;
}

int
migrate_graph_at(const Graph *graph, int place)
{
	return graph->order[place];
}

bool
migrate_graph_is_before(const Graph *graph, int before, int node)
{
	return is_member(graph->nodes[node].before, before);
}

/* ---- commutation ---- */

bool
migrate_graph_commute(const Graph *graph, int a, int b, GraphConflict *conflict)
{
	const Node *first = &graph->nodes[a];
	const Node *second = &graph->nodes[b];

	if (first->table != second->table)
		return true;
	for (int i = 0; i < GRAPH_USES; i++)
	{
		for (int j = 0; j < GRAPH_USES; j++)
		{
			int			column;

			if (!excludes[i][j])
				continue;
			column = first_common(first->uses[i], second->uses[j],
								  WORDS_FOR(graph->ncolumns));
			if (column < 0)
				continue;
			conflict->column = column;
			conflict->first = i;
			conflict->second = j;
			return false;
		}
	}
	return true;
}

static bool
depends_directly(const Graph *graph, int number, int before)
{
	const Node *node = &graph->nodes[number];

	for (int i = 0; i < node->ndependencies; i++)
		if (node->dependencies[i] == before)
			return true;
	return false;
}

/* Has a node to follow one that it depends on, whatever else comes between? */
static bool
must_follow(const Graph *graph, int node, int before, GraphConflict *conflict)
{
	if (!migrate_graph_commute(graph, node, before, conflict))
		return true;
	conflict->column = -1;
	return graph->nodes[node].table != graph->nodes[before].table &&
		depends_directly(graph, node, before);
}

bool
migrate_graph_could_follow(const Graph *graph, int node, int after,
						   int *blocker, GraphConflict *conflict)
{
	for (int place = graph->nnodes - 1; place >= 0; place--)
	{
		int			other = graph->order[place];

		if (!migrate_graph_is_before(graph, other, node) || other == after ||
			(after >= 0 && migrate_graph_is_before(graph, other, after)))
			continue;
		if (must_follow(graph, node, other, conflict))
		{
			*blocker = other;
			return false;
		}
	}
	return true;
}
