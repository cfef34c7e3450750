/*
 * test/unit/graph.c
 *		Random graphs of migrations against models that know nothing of sets.
 *
 * Usage: graph [CASES [SEED]]. Prints TAP; its exit status is 0 only if all held.
 *
 * Order: who comes before whom is asked of a walk along the edges, one question
 * at a time. Commutation: two random migrations are carried out in either order
 * on a row whose values are terms, with writes of either form and contracts in
 * between; where the graph says that they commute, no outcome may differ.
 */
#include "postgres.h"

#include "catalog/graph.h"

#define MAX_NODES	9
#define COLUMNS		5

static unsigned long long state;

static unsigned int
draw(unsigned int below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % below;
}

static int	failures = 0;

static void
fail(const char *what, unsigned long long seed)
{
	if (failures++ < 10)
		printf("# %s, seed %llu\n", what, seed);
}

/* ---- order ---- */

typedef bool Edges[MAX_NODES][MAX_NODES];

static bool
walk_reaches(Edges edges, int nodes, int from, int to, int steps)
{
	for (int next = 0; next < nodes && steps > 0; next++)
		if (edges[from][next] &&
			(next == to || walk_reaches(edges, nodes, next, to, steps - 1)))
			return true;
	return false;
}

static void
check_order(Edges edges, int nodes, const Graph *graph, unsigned long long seed)
{
	int			place_of[MAX_NODES];

	for (int place = 0; place < nodes; place++)
		place_of[migrate_graph_at(graph, place)] = place;
	for (int a = 0; a < nodes; a++)
		for (int b = 0; b < nodes; b++)
		{
			bool		before = walk_reaches(edges, nodes, a, b, nodes);

			if (before != migrate_graph_is_before(graph, b, a))
				fail("is_before differs", seed);
			if (before && place_of[b] > place_of[a])
				fail("the order is wrong", seed);
		}
}

static bool
try_order(unsigned long long seed, bool acyclic)
{
	int			nodes = 1 + draw(MAX_NODES);
	Edges		edges = {{false}};
	Graph	   *graph = migrate_graph_make(nodes, COLUMNS);
	bool		is_cyclic = false;
	int			found;

	for (int a = 0; a < nodes; a++)
		for (int b = 0; b < (acyclic ? a : nodes); b++)
			if (draw(nodes) < 2)
			{
				edges[a][b] = true;
				migrate_graph_add_dependency(graph, a, b);
			}
	for (int a = 0; a < nodes; a++)
		is_cyclic = is_cyclic || walk_reaches(edges, nodes, a, a, nodes);
	found = migrate_graph_close(graph);
	if (is_cyclic != (found >= 0))
		fail("a circle was missed or made up", seed);
	else if (found >= 0 && !walk_reaches(edges, nodes, found, found, nodes))
		fail("the circle is elsewhere", seed);
	else if (found < 0)
		check_order(edges, nodes, graph, seed);
	return is_cyclic;
}

/* ---- commutation ---- */

/*
 * A migration: columns are 0 to COLUMNS - 1, of which those that the other adds
 * may be there or not. A term is a number that stands for how it was computed.
 */
typedef struct Migration
{
	bool		uses[GRAPH_USES][COLUMNS];
} Migration;

typedef struct Row
{
	bool		exists[COLUMNS];
	uint64		value[COLUMNS];
	int			rewriter[COLUMNS];	/* who has rewritten the value in place; 0: nobody */
	uint64		raw[COLUMNS];	/* what it was before */
	bool		failed;			/* what was asked for was not there */
} Row;

static uint64
term(uint64 a, uint64 b)
{
	a ^= b + 0x9e3779b97f4a7c15ULL + (a << 6) + (a >> 2);
	a *= 0xff51afd7ed558ccdULL;
	return a ^ (a >> 33);
}

/* "up" of what it has rewritten comes to the same as of what was there before. */
static uint64
value_for(int id, GraphUse reads, int column, const Row *row)
{
	return reads == GRAPH_READS_UP && row->rewriter[column] == id
		? row->raw[column] : row->value[column];
}

static uint64
compute(const Migration *migration, int id, GraphUse reads, int target, Row *row)
{
	uint64		value = term(id * 2 + (reads == GRAPH_READS_DOWN), target);

	for (int c = 0; c < COLUMNS; c++)
		if (migration->uses[reads][c])
		{
			row->failed = row->failed || !row->exists[c];
			value = term(value, value_for(id, reads, c, row));
		}
	return value;
}

static bool
reads_any(const Migration *migration, GraphUse reads, const bool *set)
{
	for (int c = 0; c < COLUMNS; c++)
		if (migration->uses[reads][c] && set[c])
			return true;
	return false;
}

static void
assign(Row *row, int c, uint64 value, bool *set)
{
	row->failed = row->failed || !row->exists[c];
	row->value[c] = value;
	row->rewriter[c] = 0;
	set[c] = true;
}

static void
rewrite(const Migration *migration, int id, int c, const Row *was, Row *row)
{
	Row			copy = *was;
	uint64		raw = value_for(id, GRAPH_READS_UP, c, was);

	row->value[c] = compute(migration, id, GRAPH_READS_UP, c, &copy);
	row->failed = row->failed || copy.failed || !row->exists[c];
	row->raw[c] = raw;
	row->rewriter[c] = id;
}

static void
expand(const Migration *migration, int id, Row *row)
{
	Row			was = *row;

	for (int c = 0; c < COLUMNS; c++)
	{
		if (migration->uses[GRAPH_REMOVES][c])
			row->failed = row->failed || !row->exists[c];
		if (migration->uses[GRAPH_ADDS][c])
		{
			row->failed = row->failed || row->exists[c];
			row->exists[c] = true;
		}
		if (migration->uses[GRAPH_ADDS][c])
			row->value[c] = compute(migration, id, GRAPH_READS_UP, c, &was);
		if (migration->uses[GRAPH_REWRITES][c])
			rewrite(migration, id, c, &was, row);
	}
	row->failed = row->failed || was.failed;
}

/*
 * Bring the forms of the first "done" migrations in step after a write: the downs
 * of those whose new form was set, the newest first; then what ups are called
 * for, the oldest first.
 */
static void
reconcile(const Migration *const *order, const int *ids, int done, Row *row,
		  const bool *written)
{
	bool		set[COLUMNS];
	bool		speaks_new[2];

	memcpy(set, written, sizeof(set));
	for (int i = done - 1; i >= 0; i--)
	{
		Row			was = *row;
		bool		assigned[COLUMNS];

		speaks_new[i] = reads_any(order[i], GRAPH_ADDS, set);
		if (!speaks_new[i])
			continue;
		memcpy(assigned, set, sizeof(set));
		for (int c = 0; c < COLUMNS; c++)
			if (order[i]->uses[GRAPH_RESTORES][c] &&
				(reads_any(order[i], GRAPH_READS_DOWN, set) || set[c]))
				assign(row, c, compute(order[i], ids[i], GRAPH_READS_DOWN, c, &was), assigned);
		memcpy(set, assigned, sizeof(set));
		row->failed = row->failed || was.failed;
	}
	for (int i = 0; i < done; i++)
	{
		Row			was = *row;
		bool		assigned[COLUMNS];

		memcpy(assigned, set, sizeof(set));
		for (int c = 0; c < COLUMNS; c++)
		{
			bool		is_read = reads_any(order[i], GRAPH_READS_UP, set);

			if (order[i]->uses[GRAPH_REWRITES][c] && (is_read || set[c]))
			{
				rewrite(order[i], ids[i], c, &was, row);
				assigned[c] = true;
			}
			else if (order[i]->uses[GRAPH_ADDS][c] && !speaks_new[i] && is_read)
				assign(row, c, compute(order[i], ids[i], GRAPH_READS_UP, c, &was), assigned);
		}
		memcpy(set, assigned, sizeof(set));
		row->failed = row->failed || was.failed;
	}
}

/* Does a write set what only the upgrade gives a value to? */
static bool
concerns_newer_forms(const Migration *const *order, int done, const bool *written)
{
	for (int i = done; i < 2; i++)
		if (reads_any(order[i], GRAPH_ADDS, written) || reads_any(order[i], GRAPH_REWRITES, written))
			return true;
	return false;
}

static void
set_values(Row *row, const bool *written, uint64 salt)
{
	for (int c = 0; c < COLUMNS; c++)
		if (written[c] && row->exists[c])
		{
			row->value[c] = term(salt, c);
			row->rewriter[c] = 0;
		}
}

/* A write of a row that has the first "done" migrations behind it, and all after it. */
static void
write_row(const Migration *const *order, const int *ids, int done, Row *row,
		  const bool *written, uint64 salt)
{
	if (concerns_newer_forms(order, done, written))
		for (; done < 2; done++)
			expand(order[done], ids[done], row);
	set_values(row, written, salt);
	reconcile(order, ids, done, row, written);
	for (; done < 2; done++)
		expand(order[done], ids[done], row);
}

static void
contract(const Migration *migration, Row *row)
{
	for (int c = 0; c < COLUMNS; c++)
		if (migration->uses[GRAPH_REMOVES][c])
		{
			row->failed = row->failed || !row->exists[c];
			row->exists[c] = false;
			row->value[c] = 0;
		}
}

/*
 * A row's life: written when it has "done" of them behind it, and again later. Or,
 * where one migration is over and done with before the other begins, never.
 */
static Row
live(const Migration *migrations, int first, int done, const Row *start,
	 const bool written[2][COLUMNS])
{
	int			ids[2] = {first + 1, (1 - first) + 1};
	const Migration *order[2] = {&migrations[first], &migrations[1 - first]};
	Row			row = *start;

	for (int i = 0; i < done; i++)
		expand(order[i], ids[i], &row);
	write_row(order, ids, done, &row, written[0], 1000);
	write_row(order, ids, 2, &row, written[1], 2000);
	contract(order[0], &row);
	contract(order[1], &row);
	return row;
}

/* Does a write of the whole new form find what it needs? */
static bool
new_form_fails(const Migration *migration, const Row *start)
{
	const Migration *order[1] = {migration};
	int			ids[1] = {1};
	Row			row = *start;

	set_values(&row, migration->uses[GRAPH_ADDS], 3000);
	reconcile(order, ids, 1, &row, migration->uses[GRAPH_ADDS]);
	return row.failed;
}

static Row
live_apart(const Migration *migrations, int first, const Row *start)
{
	Row			row = *start;

	expand(&migrations[first], first + 1, &row);
	contract(&migrations[first], &row);
	expand(&migrations[1 - first], 1 - first + 1, &row);
	row.failed = row.failed || new_form_fails(&migrations[1 - first], &row);
	contract(&migrations[1 - first], &row);
	return row;
}

static bool
same_outcome(const Row *a, const Row *b)
{
	return !a->failed && !b->failed &&
		memcmp(a->exists, b->exists, sizeof(a->exists)) == 0 &&
		memcmp(a->value, b->value, sizeof(a->value)) == 0;
}

/* What a migration does not add it may use, also where the other one has to add it first. */
static void
make_migration(Migration *migration, const Row *start)
{
	for (int c = 0; c < COLUMNS; c++)
	{
		bool		adds = !start->exists[c] && draw(2) == 0;
		bool		may_use = start->exists[c] || (!adds && draw(4) == 0);

		migration->uses[GRAPH_ADDS][c] = adds;
		migration->uses[GRAPH_REMOVES][c] = may_use && draw(6) == 0;
		migration->uses[GRAPH_REWRITES][c] = may_use && !migration->uses[GRAPH_REMOVES][c] &&
			draw(6) == 0;
		migration->uses[GRAPH_RESTORES][c] = may_use && draw(4) == 0;
		migration->uses[GRAPH_READS_UP][c] = may_use && draw(4) == 0;
		migration->uses[GRAPH_READS_DOWN][c] = (may_use || adds) && draw(4) == 0;
	}
}

/* Does it come to the same, whatever the order, and however stale the row was? */
static bool
same_after(const Migration *migrations, const Row *start)
{
	bool		written[2][COLUMNS];
	Row			one = live_apart(migrations, 0, start);
	Row			other = live_apart(migrations, 1, start);

	if (!same_outcome(&one, &other))
		return false;
	for (int c = 0; c < 2 * COLUMNS; c++)
		written[c / COLUMNS][c % COLUMNS] = draw(4) == 0;
	one = live(migrations, 0, 2, start, (const bool (*)[COLUMNS]) written);
	for (int first = 0; first < 2; first++)
		for (int done = 0; done <= 2; done++)
		{
			other = live(migrations, first, done, start, (const bool (*)[COLUMNS]) written);
			if (!same_outcome(&one, &other))
				return false;
		}
	return true;
}

typedef struct Tally
{
	int			commute;
	int			strict;			/* refused, though no difference was seen */
} Tally;

static void
try_commutation(unsigned long long seed, Tally *tally)
{
	Migration	migrations[2] = {{{{false}}}};
	Row			start;
	Graph	   *graph = migrate_graph_make(2, COLUMNS);
	GraphConflict conflict;
	bool		commute;
	bool		same = true;

	memset(&start, 0, sizeof(start));
	for (int c = 0; c < COLUMNS; c++)
		start.exists[c] = draw(3) > 0;
	for (int i = 0; i < 2; i++)
		make_migration(&migrations[i], &start);
	for (int c = 0; c < COLUMNS; c++)
		if (!start.exists[c] && !migrations[0].uses[GRAPH_ADDS][c] &&
			!migrations[1].uses[GRAPH_ADDS][c])
			for (int i = 0; i < 2; i++)
				for (int use = 0; use < GRAPH_USES; use++)
					migrations[i].uses[use][c] = false; /* there never is such a column */
	for (int c = 0; c < COLUMNS; c++)
		start.value[c] = start.exists[c] ? term(c, 7) : 0;
	for (int i = 0; i < 2; i++)
		for (int use = 0; use < GRAPH_USES; use++)
			for (int c = 0; c < COLUMNS; c++)
				if (migrations[i].uses[use][c])
					migrate_graph_add_use(graph, i, use, c);
	migrate_graph_close(graph);
	commute = migrate_graph_commute(graph, 0, 1, &conflict);
	if (commute != migrate_graph_commute(graph, 1, 0, &conflict))
		fail("commutation depends on who is asked first", seed);
	for (int writes = 0; writes < 16 && same; writes++)
		same = same_after(migrations, &start);
	if (commute && !same)
		fail("two that commute do not", seed);
	tally->commute += commute;
	tally->strict += !commute && same;
}

int
main(int argc, char **argv)
{
	int			cases = argc > 1 ? atoi(argv[1]) : 20000;
	unsigned long long first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	Tally		tally = {0};
	int			cyclic = 0;
	int			ordered;

	printf("1..2\n");
	for (int i = 0; i < cases; i++)
	{
		state = term(first, i) | 1;
		cyclic += try_order(first + i, i % 2 == 0);
	}
	ordered = failures;
	printf("%s 1 - order and circles of %d graphs, %d of them with a circle\n",
		   ordered ? "not ok" : "ok", cases, cyclic);
	for (int i = 0; i < cases; i++)
	{
		state = term(first + 1, i) | 1;
		try_commutation(first + i, &tally);
	}
	printf("%s 2 - commutation of %d pairs: %d commute, %d are refused without need\n",
		   failures > ordered ? "not ok" : "ok", cases, tally.commute, tally.strict);
	return failures > 0;
}
