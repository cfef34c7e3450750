/*
 * lifecycle/define.c
 *		Recording a migration.
 *
 * define only records. Of the table it takes AccessShareLock, held to the end
 * of the transaction, so that what was checked stays so until it is written.
 * Everything that could fail later is refused here: see definition_check.c.
 *
 * Two sessions that define on one table take turns by a lock on an object that
 * stands for the table's definitions (so that the second sees the first's leaf);
 * two that define one name on two tables meet in the primary key.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/catversion.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/graph_load.h"
#include "catalog/names.h"
#include "catalog/store.h"
#include "convert/expression.h"
#include "lifecycle/ancestry.h"
#include "lifecycle/define.h"
#include "lifecycle/definition_check.h"
#include "lifecycle/relation_check.h"

/* Keeps our lock on a table's definitions apart from other object locks on pg_class. */
#define DEFINITIONS_LOCK_SUBID	0x6d69

/* ---- reading the texts ---- */

char *
migrate_lifecycle_search_path(void)
{
	StringInfoData path;
	ListCell   *lc;

	initStringInfo(&path);
	foreach(lc, fetch_search_path(false))
	{
		char	   *schema = get_namespace_name(lfirst_oid(lc));

		if (schema != NULL && !isAnyTempNamespace(lfirst_oid(lc)))
			appendStringInfo(&path, "%s%s", path.len > 0 ? ", " : "", quote_identifier(schema));
	}
	return path.data;
}

/*
 * The texts are the owner's, whoever hands them in or has them read again: to read a
 * constant runs its type's input, which for a domain within an array runs the
 * domain's CHECK.
 */
static ParsedDefinition *
parse_as_owner(Definition *definition, Migration *known, const char *search_path)
{
	StoreIdentity self;
	ParsedDefinition *parsed;

	migrate_store_become_restricted(&self, migrate_store_relation_owner(definition->relid));
	(void) set_config_option("search_path", search_path, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	parsed = migrate_definition_parse(definition, known);
	migrate_store_become_self(&self);
	return parsed;
}

/* ---- the same again? ---- */

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool
same_columns(Migration *known, List *columns)
{
	ListCell   *a;
	ListCell   *b;

	if (list_length(known->added) != list_length(columns))
		return false;
	forboth(a, known->added, b, columns)
	{
		AddedColumn *old = lfirst(a);
		ScopeColumn *new = lfirst(b);

		if (strcmp(old->name, new->name) != 0 || !same_text(old->rename_to, new->rename_to) ||
			strcmp(old->type, migrate_expression_type_text(new->type, new->typmod,
														   new->collation)) != 0)
			return false;
	}
	return true;
}

/* Are these the known migration's assignments? Spelling and spaces do not count. */
static bool
same_assignments(Migration *known, char direction, List *assignments)
{
	ListCell   *lc;
	char	   *count;

	count = migrate_store_fetch("SELECT count(*) FROM migrate.assignment"
								" WHERE migration = $1 AND direction = $2",
								STORE_ARGS(store_text(known->name), store_char(direction)));
	if (pg_strtoint32(count) != list_length(assignments))
		return false;
	foreach(lc, assignments)
	{
		ParsedAssignment *assignment = lfirst(lc);
		char	   *tree;

		tree = migrate_store_fetch("SELECT tree FROM migrate.assignment_tree"
								   " WHERE migration = $1 AND direction = $2 AND target = $3",
								   STORE_ARGS(store_text(known->name), store_char(direction),
											  store_name(assignment->target->name)));
		if (tree == NULL || !equal(stringToNode(tree), assignment->expr))
			return false;
	}
	return true;
}

static bool
same_order(List *a, List *b)
{
	ListCell   *la;
	ListCell   *lb;

	if (list_length(a) != list_length(b))
		return false;
	forboth(la, a, lb, b)
		if (strcmp(lfirst(la), lfirst(lb)) != 0)
			return false;
	return true;
}

/* What is removed, also unsaid: the old columns whose place new ones take. */
static List *
with_implied(List *removed, const Migration *known)
{
	ListCell   *lc;

	removed = list_copy(removed);
	foreach(lc, known->added)
	{
		char	   *name = ((AddedColumn *) lfirst(lc))->rename_to;
		ListCell   *other;
		bool		said = name == NULL;

		foreach(other, removed)
			said = said || strcmp(lfirst(other), name) == 0;
		if (!said)
			removed = lappend(removed, name);
	}
	return removed;
}

/* Whether two of those mean the same is not asked: their texts count. */
static bool
has_constraints(List *columns)
{
	ListCell   *lc;

	foreach(lc, columns)
	{
		ScopeColumn *column = lfirst(lc);

		if (column->not_null || column->raw_default != NULL || column->checks != NIL ||
			column->unique != NULL || column->references != NULL)
			return true;
	}
	return false;
}

/* The first part in which a definition differs from the known one; NULL if none does. */
static const char *
find_difference(Definition *definition, Migration *known)
{
	ParsedDefinition *parsed = NULL;

	if (definition->relid != known->relid)
		return "relation";
	if (!migrate_names_are_same(with_implied(definition->remove, known), known->remove))
		return "remove";
	if (!same_text(definition->on_error, known->on_error))
		return "on_error";
	if (!same_text(definition->comment, known->comment))
		return "comment";

	/* Texts that differ may still mean the same, as long as that can be asked. */
	if (same_text(definition->add, known->add_source) &&
		same_text(definition->up, known->up_source) &&
		same_text(definition->down, known->down_source) &&
		same_text(definition->needed, known->needed_source))
		return NULL;
	if (known->state != MIGRATION_CONTRACTED)
	{
		Definition	here = *definition;

		here.depends_on = known->depends_on;
		parsed = parse_as_owner(&here, known, migrate_lifecycle_search_path());
	}
	if (!same_text(definition->add, known->add_source) &&
		(parsed == NULL || has_constraints(parsed->added) || known->add_source == NULL ||
		 has_constraints(migrate_expression_parse_columns(known->add_source)) ||
		 !same_columns(known, parsed->added)))
		return "add";
	if (!same_text(definition->up, known->up_source) &&
		(parsed == NULL || !same_order(parsed->scope.inputs, known->inputs) ||
		 !same_assignments(known, 'u', parsed->ups)))
		return "up";
	if (!same_text(definition->down, known->down_source) &&
		(parsed == NULL || !same_order(parsed->scope.inputs, known->inputs) ||
		 !same_assignments(known, 'd', parsed->downs)))
		return "down";
	if (!same_text(definition->needed, known->needed_source) &&
		(parsed == NULL || !same_order(parsed->scope.inputs, known->inputs) ||
		 !same_assignments(known, 'n', parsed->needed)))
		return "needed";
	return NULL;
}

/* A name that is known already: nothing to do, or an error. */
static void
define_again(Definition *definition, Migration *known)
{
	const char *part = find_difference(definition, known);

	if (part != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("migration \"%s\" already exists with another definition", definition->name),
				 errdetail("It differs in \"%s\".", part),
				 known->state == MIGRATION_DEFINED || known->state == MIGRATION_ROLLED_BACK ?
				 errhint("Choose another name, or take the old definition away with migrate.forget(%s).",
						 quote_literal_cstr(definition->name)) :
				 errhint("Choose another name.")));
	if (definition->has_depends_on)
	{
		migrate_ancestry_resolve(definition);
		if (migrate_ancestry_move(definition, known))
			return;
	}
	ereport(NOTICE,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("migration \"%s\" already exists, skipping", definition->name)));
}

/* ---- recording ---- */

/* False where another session has recorded the name meanwhile. */
static bool
record_migration(Definition *definition, ParsedDefinition *parsed)
{
	return migrate_store_execute("INSERT INTO migrate.migration (name, relation, depends_on,"
								 " add_source, up_source, down_source, remove, needed_source,"
								 " on_error, comment, inputs, search_path)"
								 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
								 " ON CONFLICT (name) DO NOTHING",
								 STORE_ARGS(store_text(definition->name),
											store_relation(definition->relid),
											store_text_array(definition->depends_on),
											store_text(definition->add), store_text(definition->up),
											store_text(definition->down),
											store_name_array(definition->remove),
											store_text(definition->needed),
											store_text(definition->on_error),
											store_text(definition->comment),
											store_name_array(parsed->scope.inputs),
											store_text(migrate_lifecycle_search_path()))) == 1;
}

static void
record_columns(const char *name, List *columns)
{
	int			position = 0;
	ListCell   *lc;

	foreach(lc, columns)
	{
		ScopeColumn *column = lfirst(lc);
		char	   *type = migrate_expression_type_text(column->type, column->typmod,
														column->collation);

		migrate_store_execute("INSERT INTO migrate.added_column VALUES ($1, $2, $3, $4, $5::name)",
							  STORE_ARGS(store_text(name), store_int(++position),
										 store_name(column->name), store_text(type),
										 store_text(column->rename_to)));
	}
}

static void
record_tree(const char *name, char direction, const ParsedAssignment *assignment)
{
	migrate_store_execute("INSERT INTO migrate.assignment_tree VALUES ($1, $2, $3, $4, $5)",
						  STORE_ARGS(store_text(name), store_char(direction),
									 store_name(assignment->target->name),
									 store_int(CATALOG_VERSION_NO),
									 store_text(nodeToString(assignment->expr))));
}

static void
record_assignments(const char *name, char direction, List *assignments)
{
	ListCell   *lc;

	foreach(lc, assignments)
	{
		ParsedAssignment *assignment = lfirst(lc);

		migrate_store_execute("INSERT INTO migrate.assignment VALUES ($1, $2, $3)",
							  STORE_ARGS(store_text(name), store_char(direction),
										 store_name(assignment->target->name)));
		record_tree(name, direction, assignment);
	}
}

void
migrate_lifecycle_define(Definition *definition)
{
	Migration  *known;
	ParsedDefinition *parsed;

	PreventCommandDuringRecovery("migrate.define()");
	LockRelationOid(definition->relid, AccessShareLock);
	migrate_relation_check(definition->relid);
	LockDatabaseObject(RelationRelationId, definition->relid, DEFINITIONS_LOCK_SUBID,
					   ExclusiveLock);

	known = migrate_migration_load(definition->name, false, true);
	if (known != NULL)
	{
		define_again(definition, known);
		return;
	}
	migrate_ancestry_resolve(definition);
	parsed = parse_as_owner(definition, NULL, migrate_lifecycle_search_path());
	if (!record_migration(definition, parsed))
	{
		define_again(definition, migrate_migration_load(definition->name, false, false));
		return;
	}
	record_columns(definition->name, parsed->added);
	record_assignments(definition->name, 'u', parsed->ups);
	record_assignments(definition->name, 'd', parsed->downs);
	record_assignments(definition->name, 'n', parsed->needed);
	migrate_ancestry_record_footprint(definition->name, parsed, definition->remove);
	migrate_ancestry_check_branches(definition->name);
	migrate_migration_record(definition->name, "defined", definition->comment);
}

/* Are all trees there, and such that this server can read them? */
static bool
has_trees(const char *name)
{
	return migrate_store_fetch("SELECT 1 FROM migrate.assignment a WHERE migration = $1"
							   " AND NOT EXISTS (SELECT FROM migrate.assignment_tree t"
							   "  WHERE t.migration = a.migration AND t.direction = a.direction"
							   "  AND t.target = a.target AND t.catalog_version = $2)",
							   STORE_ARGS(store_text(name), store_int(CATALOG_VERSION_NO))) == NULL;
}

static void
replace_trees(Migration *migration, ParsedDefinition *parsed)
{
	ListCell   *lc;

	migrate_store_execute("DELETE FROM migrate.assignment_tree WHERE migration = $1",
						  STORE_ARGS(store_text(migration->name)));
	foreach(lc, parsed->ups)
		record_tree(migration->name, 'u', lfirst(lc));
	foreach(lc, parsed->downs)
		record_tree(migration->name, 'd', lfirst(lc));
	foreach(lc, parsed->needed)
		record_tree(migration->name, 'n', lfirst(lc));
	migrate_store_execute("UPDATE migrate.migration SET inputs = $2 WHERE name = $1",
						  STORE_ARGS(store_text(migration->name),
									 store_name_array(parsed->scope.inputs)));
}

/*
 * Trees are not dumped. A migration that was restored before it was expanded
 * has nothing but its source, which is parsed again as it was when it was defined.
 */
void
migrate_lifecycle_cook_again(Migration *migration)
{
	Definition	definition = {
		.name = migration->name,
		.relid = migration->relid,
		.add = migration->add_source,
		.up = migration->up_source,
		.down = migration->down_source,
		.remove = migration->remove,
		.needed = migration->needed_source,
		.depends_on = migration->depends_on,
		.has_depends_on = true,
		.on_error = migration->on_error,
		.comment = migration->comment,
	};
	ParsedDefinition *parsed;

	if (has_trees(migration->name))
		return;
	LockRelationOid(migration->relid, AccessShareLock);
	parsed = parse_as_owner(&definition, migration, migration->search_path);
	replace_trees(migration, parsed);
}

/*
 * Take away a definition that was never expanded, or was rolled back. Its
 * history stays.
 */
void
migrate_lifecycle_forget(const char *name)
{
	Migration  *migration = migrate_migration_load(name, true, false);
	List	   *dependents;

	migrate_migration_check_owner(migration->relid);
	if (migration->state != MIGRATION_DEFINED && migration->state != MIGRATION_ROLLED_BACK)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("migration \"%s\" cannot be forgotten", name),
				 errdetail("It is %s.", migrate_migration_state_name(migration->state)),
				 migrate_migration_is_live(migration) ?
				 errhint("Roll it back first: SELECT migrate.rollback(%s);", quote_literal_cstr(name)) : 0));
	dependents = migrate_migration_dependents(name, "'defined', 'expanded', 'complete',"
											  " 'contracted', 'rolled back'");
	if (dependents != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("migration \"%s\" cannot be forgotten", name),
				 errdetail("These depend on it: %s.", migrate_names_quote(dependents)),
				 errhint("Forget them first.")));
	migrate_store_execute("DELETE FROM migrate.assignment_tree WHERE migration = $1",
						  STORE_ARGS(store_text(name)));
	migrate_store_execute("DELETE FROM migrate.assignment WHERE migration = $1",
						  STORE_ARGS(store_text(name)));
	migrate_store_execute("DELETE FROM migrate.added_column WHERE migration = $1",
						  STORE_ARGS(store_text(name)));
	migrate_graph_forget_uses(name);
	migrate_store_execute("DELETE FROM migrate.migration WHERE name = $1",
						  STORE_ARGS(store_text(name)));
	migrate_migration_record(name, "forgotten", NULL);
}
