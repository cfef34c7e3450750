/*
 * catalog/graph_load.c
 *		The graph of a database's migrations, as recorded.
 *
 * What a migration has to do with columns is recorded by name when it is
 * defined (migrate.footprint), and stays as it was: two migrations are compared by
 * what they were when neither was carried out.
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

/* Nodes are numbered in the order in which they were defined, from zero. */
#define NUMBERED \
	"WITH node AS (SELECT name, row_number() OVER (ORDER BY seq) - 1 AS number" \
	" FROM migrate.migration) "

static void
load_nodes(RecordedGraph *recorded)
{
	List	   *rows = migrate_store_fetch_rows("SELECT name, relation::oid, state,"
												" coalesce(version, 0)"
												" FROM migrate.migration ORDER BY seq",
												STORE_NO_ARGS, 4);
	ListCell   *lc;

	recorded->count = list_length(rows);
	recorded->nodes = palloc0((recorded->count + 1) * sizeof(RecordedNode));
	foreach(lc, rows)
	{
		char	  **row = lfirst(lc);
		RecordedNode *node = &recorded->nodes[foreach_current_index(lc)];

		node->name = row[0];
		node->relid = atooid(row[1]);
		node->state = row[2];
		node->version = pg_strtoint32(row[3]);
	}
}

static void
load_dependencies(RecordedGraph *recorded)
{
	List	   *rows = migrate_store_fetch_rows(NUMBERED
												"SELECT a.number, b.number FROM migrate.migration m"
												" JOIN node a USING (name)"
												" CROSS JOIN unnest(m.depends_on) d (before)"
												" JOIN node b ON b.name = d.before"
												" ORDER BY 1, 2",
												STORE_NO_ARGS, 2);
	ListCell   *lc;

	foreach(lc, rows)
	{
		char	  **row = lfirst(lc);
		RecordedNode *node = &recorded->nodes[pg_strtoint32(row[0])];
		int			before = pg_strtoint32(row[1]);

		node->depends_on = lappend_int(node->depends_on, before);
		migrate_graph_add_dependency(recorded->graph, pg_strtoint32(row[0]), before);
	}
}

static List *
load_uses(void)
{
	return migrate_store_fetch_rows(NUMBERED
									"SELECT n.number, f.use,"
									" dense_rank() OVER (ORDER BY f.column_name) - 1,"
									" f.column_name FROM migrate.footprint f"
									" JOIN node n ON n.name = f.migration"
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

		migrate_graph_add_use(recorded->graph, pg_strtoint32(row[0]), use_from_name(row[1]),
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
