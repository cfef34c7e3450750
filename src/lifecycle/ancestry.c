/*
 * lifecycle/ancestry.c
 *		Where a migration stands in the graph, and whether it may.
 *
 * Two rules keep every database on the same course, whichever way it came:
 *
 * - migrations of a table of which neither depends on the other commute, so
 *   that they may be expanded in either order;
 * - the order in which they were expanded here agrees with what depends on what, but
 *   for migrations that commute.
 *
 * The second is what "depends_on" says where all is expanded in its order, and
 * what needs a look where a migration comes again with other dependencies: a fix
 * that was backported, and comes again with the main line.
 *
 * What is rolled back is not reckoned with. It is looked at again should it be
 * expanded once more.
 *
 * Concurrency. Sessions that define on one table take turns (define.c), so each
 * sees what the others have recorded. A new migration cannot close a cycle, for
 * nothing depends on it yet; those that are moved could, from several tables at
 * once, and so take turns in the whole database.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/graph_load.h"
#include "catalog/names.h"
#include "catalog/store.h"
#include "convert/generated.h"
#include "lifecycle/ancestry.h"
#include "migrate.h"

/* Keeps our lock on the graph apart from other object locks on pg_extension. */
#define GRAPH_LOCK_SUBID	0x6d69

/* ---- what it depends on ---- */

static void
refuse_ambiguous(const Definition *definition)
{
	ereport(ERROR,
			(errcode(ERRCODE_AMBIGUOUS_ALIAS),
			 errmsg("it is not clear what migration \"%s\" depends on", definition->name),
			 errdetail("Table \"%s\" has several leaves: %s.",
					   get_rel_name(definition->relid),
					   migrate_names_quote(definition->depends_on)),
			 errhint("Name the one that it follows in depends_on, or all of them to merge them.")));
}

void
migrate_ancestry_resolve(Definition *definition)
{
	ListCell   *lc;

	if (!definition->has_depends_on)
	{
		definition->depends_on = migrate_migration_leaves(definition->relid);
		if (list_length(definition->depends_on) > 1)
			refuse_ambiguous(definition);
	}
	foreach(lc, definition->depends_on)
	{
		if (strcmp(lfirst(lc), definition->name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("migration \"%s\" depends on itself", definition->name)));
		(void) migrate_migration_load(lfirst(lc), false, false);
	}
}

/* ---- its footprint ---- */

/* Who reads a generated column reads what it is generated from. */
static void
record_read(const char *name, GraphUse use, Relation rel, const char *column)
{
	Bitmapset  *inputs = migrate_generated_inputs(rel, get_attnum(RelationGetRelid(rel), column));
	int			attno = -1;

	migrate_graph_record_use(name, use, column);
	while ((attno = bms_next_member(inputs, attno)) >= 0)
		migrate_graph_record_use(name, use,
								 NameStr(TupleDescAttr(RelationGetDescr(rel), attno - 1)->attname));
}

static void
record_reads(const char *name, GraphUse use, List *assignments, const Scope *scope)
{
	Relation	rel = table_open(scope->relid, NoLock);
	Bitmapset  *inputs = NULL;
	ListCell   *lc;

	foreach(lc, assignments)
		inputs = bms_join(inputs,
						  migrate_expression_inputs(((ParsedAssignment *) lfirst(lc))->expr));
	foreach(lc, scope->inputs)
		if (bms_is_member(foreach_current_index(lc) + 1, inputs))
			record_read(name, use, rel, lfirst(lc));
	table_close(rel, NoLock);
}

static void
record_targets(const char *name, GraphUse use, List *assignments)
{
	ListCell   *lc;

	foreach(lc, assignments)
	{
		const ScopeColumn *target = ((ParsedAssignment *) lfirst(lc))->target;

		if (!target->added)
			migrate_graph_record_use(name, use, target->name);
	}
}

void
migrate_ancestry_record_footprint(const char *name, const ParsedDefinition *parsed,
								  List *removed)
{
	ListCell   *lc;

	foreach(lc, parsed->added)
		migrate_graph_record_use(name, GRAPH_ADDS, ((ScopeColumn *) lfirst(lc))->name);
	foreach(lc, removed)
		migrate_graph_record_use(name, GRAPH_REMOVES, lfirst(lc));
	record_targets(name, GRAPH_REWRITES, parsed->ups);
	record_targets(name, GRAPH_RESTORES, parsed->downs);
	record_reads(name, GRAPH_READS_UP, parsed->ups, &parsed->scope);
	record_reads(name, GRAPH_READS_UP, parsed->needed, &parsed->scope);
	record_reads(name, GRAPH_READS_DOWN, parsed->downs, &parsed->scope);
}

/* ---- beside others ---- */

static bool
is_beside(const RecordedGraph *recorded, int a, int b)
{
	return a != b && !migrate_graph_is_before(recorded->graph, a, b) &&
		!migrate_graph_is_before(recorded->graph, b, a);
}

static void
check_commutes(const RecordedGraph *recorded, int node, int other)
{
	GraphConflict conflict;

	if (migrate_graph_commute(recorded->graph, node, other, &conflict))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("migrations \"%s\" and \"%s\" do not commute, and neither depends on the other",
					recorded->nodes[node].name, recorded->nodes[other].name),
			 errdetail("%s.", migrate_graph_explain(recorded, node, other, &conflict)),
			 errhint("Have \"%s\" follow the other: depends_on => ARRAY[%s].",
					 recorded->nodes[node].name,
					 quote_literal_cstr(recorded->nodes[other].name))));
}

static void
check_branches(const RecordedGraph *recorded, int node)
{
	for (int other = 0; other < recorded->count; other++)
		if (is_beside(recorded, node, other) &&
			migrate_graph_is_wanted(&recorded->nodes[other]))
			check_commutes(recorded, node, other);
}

void
migrate_ancestry_check_branches(const char *name)
{
	RecordedGraph *recorded = migrate_graph_load();

	check_branches(recorded, migrate_graph_find(recorded, name));
}

/* ---- moved ---- */

/*
 * "node" came before "other" so far, here or by what it says, and is asked to
 * come after it. (Numbers of nodes do not change by what they depend on.)
 */
static void
refuse_history(const RecordedGraph *recorded, int node, int other)
{
	const char *moved = recorded->nodes[node].name;
	const char *before = recorded->nodes[other].name;
	GraphConflict conflict;
	char	   *reason;

	if (migrate_graph_commute(recorded->graph, node, other, &conflict))
		reason = psprintf("\"%s\" depends on \"%s\"", before, moved);
	else
		reason = migrate_graph_explain(recorded, node, other, &conflict);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("inconsistent history: migration \"%s\" has to come before \"%s\"",
					moved, before),
			 errdetail("The order recorded here is \"%s\", \"%s\"; what is asked for would make it \"%s\", \"%s\". They cannot change places: %s.",
					   moved, before, before, moved, reason),
			 errhint("Keep to the order recorded, or define what is asked for under another name.")));
}

/* Has "node" been expanded here, and "before" only after it or not yet? */
static bool
was_expanded_first(const RecordedNode *node, const RecordedNode *before)
{
	return migrate_graph_is_applied(node) &&
		(!migrate_graph_is_applied(before) || before->version > node->version);
}

/* What is asked to come before a node, though the node was expanded before it. */
static void
check_order(const RecordedGraph *recorded, int before, int node)
{
	GraphConflict conflict;

	if (was_expanded_first(&recorded->nodes[node], &recorded->nodes[before]) &&
		!migrate_graph_commute(recorded->graph, node, before, &conflict))
		refuse_history(recorded, node, before);
}

/* What came before a node that it does not commute with must go on to do so. */
static void
check_kept(const RecordedGraph *old, const RecordedGraph *new, int node)
{
	GraphConflict conflict;

	for (int other = 0; other < new->count; other++)
		if (migrate_graph_is_before(old->graph, other, node) &&
			!migrate_graph_is_before(new->graph, other, node) &&
			!migrate_graph_commute(new->graph, other, node, &conflict))
			refuse_history(new, other, node);
}

static void
check_place(const RecordedGraph *old, const RecordedGraph *new, int node)
{
	check_kept(old, new, node);
	for (int other = 0; other < new->count; other++)
		if (migrate_graph_is_before(new->graph, other, node) &&
			migrate_graph_is_wanted(&new->nodes[other]))
			check_order(new, other, node);
	check_branches(new, node);
}

/* A circle: what is named as coming before comes after it. */
static void
check_acyclic(const RecordedGraph *recorded, const Definition *definition, int moved)
{
	ListCell   *lc;

	foreach(lc, definition->depends_on)
	{
		int			before = migrate_graph_find(recorded, lfirst(lc));

		if (migrate_graph_is_before(recorded->graph, moved, before))
			refuse_history(recorded, moved, before);
	}
}

/* "a" and "b", for the history. */
static char *
describe_dependencies(List *names)
{
	return names == NIL ? "depends on nothing now"
		: psprintf("depends on %s now", migrate_names_quote(names));
}

bool
migrate_ancestry_move(const Definition *definition, const Migration *known)
{
	RecordedGraph *old;
	RecordedGraph *new;
	int			moved;

	if (migrate_names_are_same(definition->depends_on, known->depends_on))
		return false;
	LockDatabaseObject(ExtensionRelationId, get_extension_oid(MIGRATE_EXTENSION, false),
					   GRAPH_LOCK_SUBID, ExclusiveLock);
	old = migrate_graph_load();
	moved = migrate_graph_find(old, known->name);
	check_acyclic(old, definition, moved);
	migrate_store_execute("UPDATE migrate.migration SET depends_on = $2 WHERE name = $1",
						  STORE_ARGS(store_text(known->name),
									 store_text_array(definition->depends_on)));
	new = migrate_graph_load();
	for (int node = 0; node < new->count; node++)
		if (node == moved || migrate_graph_is_before(new->graph, moved, node))
			check_place(old, new, node);
	migrate_migration_record(known->name, "moved",
							 describe_dependencies(definition->depends_on));
	ereport(NOTICE,
			(errmsg("migration \"%s\" already exists and %s", known->name,
					describe_dependencies(definition->depends_on))));
	return true;
}
