/*
 * catalog/graph_load.c
 *		The graph of a database's migrations, as recorded.
 *
 * What a migration has to do with columns is recorded by name when it is
 * defined (migrate.footprint), and stays as it was: two migrations are compared by
 * what they were when neither was carried out.
 *
 * It is read by several queries, and another session may define or forget a
 * migration between them. So nodes are told by what does not change; what is
 * said of one that was not there when the nodes were read is left out. Of the
 * table that a session defines on it sees everything in each of them, by the lock
 * that it holds there.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "catalog/graph_load.h"
#include "catalog/store.h"

static const char *const use_names[] = {
	[GRAPH_ADDS] = "adds",
	[GRAPH_REMOVES] = "removes",
	[GRAPH_REWRITES] = "rewrites",
	[GRAPH_RESTORES] = "restores",
	[GRAPH_READS_UP] = "reads in up",
	[GRAPH_READS_DOWN] = "reads in down",
};

static const char *const use_words[] = {
	[GRAPH_ADDS] = "adds",
	[GRAPH_REMOVES] = "removes",
	[GRAPH_REWRITES] = "rewrites in place",
	[GRAPH_RESTORES] = "assigns in \"down\"",
	[GRAPH_READS_UP] = "reads",
	[GRAPH_READS_DOWN] = "reads in \"down\"",
};

static GraphUse
use_from_name(const char *name)
{
	for (int i = 0; i < GRAPH_USES; i++)
		if (strcmp(use_names[i], name) == 0)
			return i;
	elog(ERROR, "unknown use of a column: \"%s\"", name);
}

/* ---- loading ---- */

static void
load_nodes(RecordedGraph *recorded)
{
	List	   *rows = migrate_store_fetch_rows("SELECT seq, name, relation::oid, state,"
												" coalesce(version, 0)"
												" FROM migrate.migration ORDER BY seq",
												STORE_NO_ARGS, 5);
	ListCell   *lc;

	recorded->count = list_length(rows);
	recorded->nodes = palloc0((recorded->count + 1) * sizeof(RecordedNode));
	foreach(lc, rows)
	{
		char	  **row = lfirst(lc);
		RecordedNode *node = &recorded->nodes[foreach_current_index(lc)];

		node->seq = pg_strtoint64(row[0]);
		node->name = row[1];
		node->relid = atooid(row[2]);
		node->state = row[3];
		node->version = pg_strtoint32(row[4]);
	}
}

static int
compare_seq(const void *key, const void *node)
{
	int64		a = *(const int64 *) key;
	int64		b = ((const RecordedNode *) node)->seq;

	return a < b ? -1 : a > b ? 1 : 0;
}

/* The node of that number among the rows; -1 where there was none. */
static int
find_by_seq(const RecordedGraph *recorded, const char *seq)
{
	int64		key = pg_strtoint64(seq);
	const RecordedNode *found = bsearch(&key, recorded->nodes, recorded->count,
										sizeof(RecordedNode), compare_seq);

	return found == NULL ? -1 : (int) (found - recorded->nodes);
}

static void
load_dependencies(RecordedGraph *recorded)
{
	List	   *rows = migrate_store_fetch_rows("SELECT a.seq, b.seq FROM migrate.migration a"
												" CROSS JOIN unnest(a.depends_on) d (before)"
												" JOIN migrate.migration b ON b.name = d.before"
												" ORDER BY 1, 2",
												STORE_NO_ARGS, 2);
	ListCell   *lc;

	foreach(lc, rows)
	{
		char	  **row = lfirst(lc);
		int			node = find_by_seq(recorded, row[0]);
		int			before = find_by_seq(recorded, row[1]);

		if (node < 0 || before < 0)
			continue;
		recorded->nodes[node].depends_on = lappend_int(recorded->nodes[node].depends_on, before);
		migrate_graph_add_dependency(recorded->graph, node, before);
	}
}

static List *
load_uses(void)
{
	return migrate_store_fetch_rows("SELECT m.seq, f.use,"
									" dense_rank() OVER (ORDER BY f.column_name) - 1,"
									" f.column_name FROM migrate.footprint f"
									" JOIN migrate.migration m ON m.name = f.migration"
									" ORDER BY f.column_name",
									STORE_NO_ARGS, 4);
}

/* By column name, so that numbers come in order. */
static void
number_columns(RecordedGraph *recorded, List *uses)
{
	ListCell   *lc;

	foreach(lc, uses)
	{
		char	  **row = lfirst(lc);

		if (pg_strtoint32(row[2]) == list_length(recorded->columns))
			recorded->columns = lappend(recorded->columns, row[3]);
	}
}

static void
close_graph(RecordedGraph *recorded)
{
	int			cyclic = migrate_graph_close(recorded->graph);

	if (cyclic >= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("migration \"%s\" depends on itself", recorded->nodes[cyclic].name),
				 errdetail("What it depends on depends on it.")));
}

RecordedGraph *
migrate_graph_load(void)
{
	RecordedGraph *recorded = palloc0(sizeof(RecordedGraph));
	List	   *uses = load_uses();
	ListCell   *lc;

	load_nodes(recorded);
	number_columns(recorded, uses);
	recorded->graph = migrate_graph_make(recorded->count, list_length(recorded->columns));
	for (int i = 0; i < recorded->count; i++)
		migrate_graph_set_table(recorded->graph, i, recorded->nodes[i].relid);
	load_dependencies(recorded);
	foreach(lc, uses)
	{
		char	  **row = lfirst(lc);
		int			node = find_by_seq(recorded, row[0]);

		if (node >= 0)
			migrate_graph_add_use(recorded->graph, node, use_from_name(row[1]),
								  pg_strtoint32(row[2]));
	}
	close_graph(recorded);
	return recorded;
}

/* ---- asking ---- */

int
migrate_graph_find(const RecordedGraph *recorded, const char *name)
{
	for (int i = 0; i < recorded->count; i++)
		if (strcmp(recorded->nodes[i].name, name) == 0)
			return i;
	return -1;
}

bool
migrate_graph_is_applied(const RecordedNode *node)
{
	return strcmp(node->state, "defined") != 0 && strcmp(node->state, "rolled back") != 0;
}

bool
migrate_graph_is_wanted(const RecordedNode *node)
{
	return strcmp(node->state, "rolled back") != 0;
}

char *
migrate_graph_explain(const RecordedGraph *recorded, int a, int b,
					  const GraphConflict *conflict)
{
	return psprintf("\"%s\" %s column \"%s\", which \"%s\" %s",
					recorded->nodes[a].name, use_words[conflict->first],
					(char *) list_nth(recorded->columns, conflict->column),
					recorded->nodes[b].name, use_words[conflict->second]);
}

/* ---- recording ---- */

void
migrate_graph_record_use(const char *migration, GraphUse use, const char *column)
{
	migrate_store_execute("INSERT INTO migrate.footprint VALUES ($1, $2, $3)"
						  " ON CONFLICT DO NOTHING",
						  STORE_ARGS(store_text(migration), store_text(use_names[use]),
									 store_name(column)));
}

void
migrate_graph_forget_uses(const char *migration)
{
	migrate_store_execute("DELETE FROM migrate.footprint WHERE migration = $1",
						  STORE_ARGS(store_text(migration)));
}
