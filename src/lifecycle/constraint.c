/*
 * lifecycle/constraint.c
 *		Giving new columns their defaults and constraints.
 *
 * The definition's text is parsed again, with the definer's search_path, and its
 * parts are put into ALTER TABLE as the grammar made them. A condition becomes
 *
 *		CHECK (condition OR migrate.excused(migration)) NOT VALID
 *
 * (convert/excuse.c says why), NOT NULL the condition IS NOT NULL. (REFERENCES and
 * UNIQUE are another matter: lifecycle/reference.c and lifecycle/index.c.) Nothing reads
 * the table, and no client of the old form sees an error for it. What becomes of
 * it when all rows are converted is in lifecycle/constraint_finish.c.
 *
 * A default is set after the column was added, so that the table is not
 * rewritten, be it volatile; it is for rows that come. What rows that are there
 * read is up's business, to which define adds a default that is immutable.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "catalog/pg_constraint.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parser.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "access/htup_details.h"
#include "access/xact.h"

#include "catalog/store.h"
#include "convert/expression.h"
#include "lifecycle/constraint.h"
#include "lifecycle/index.h"
#include "lifecycle/reference.h"
#include "migrate.h"

/* ---- statements, as the grammar would make them ---- */

static AlterTableStmt *
parse_alter(Oid relid, const char *action)
{
	char	   *sql = psprintf("ALTER TABLE %s %s", migrate_store_relation_sql(relid), action);

	return (AlterTableStmt *) linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT))->stmt;
}

static void
run(AlterTableStmt *statement)
{
	PlannedStmt *wrapper = makeNode(PlannedStmt);

	wrapper->commandType = CMD_UTILITY;
	wrapper->utilityStmt = (Node *) statement;
	wrapper->stmt_location = -1;
	ProcessUtility(wrapper, "ALTER TABLE", false, PROCESS_UTILITY_SUBCOMMAND,
				   NULL, NULL, None_Receiver, NULL);
	CommandCounterIncrement();
}

static void
set_default(Oid relid, const ScopeColumn *column)
{
	AlterTableStmt *statement;
	char	   *action = psprintf("ALTER COLUMN %s SET DEFAULT NULL",
								  quote_identifier(column->name));

	statement = parse_alter(relid, action);
	linitial_node(AlterTableCmd, statement->cmds)->def = copyObject(column->raw_default);
	run(statement);
}

static void
add_check(const Migration *migration, const char *name, Node *condition)
{
	AlterTableStmt *statement;
	char	   *action = psprintf("ADD CONSTRAINT %s CHECK (true OR %s.excused(%s)) NOT VALID",
								  quote_identifier(name), MIGRATE_SCHEMA,
								  quote_literal_cstr(migration->name));
	Constraint *constraint;
	BoolExpr   *either;

	statement = parse_alter(migration->relid, action);
	constraint = (Constraint *) linitial_node(AlterTableCmd, statement->cmds)->def;
	either = castNode(BoolExpr, constraint->raw_expr);
	linitial(either->args) = copyObject(condition);
	run(statement);
}

/* ---- columns that go by an interim name ---- */

/* In a condition such a column is called by the name that it will have, or new and that. */
static bool
use_interim_name(Node *node, void *context)
{
	const AddedColumn *column = context;
	ColumnRef  *reference = (ColumnRef *) node;

	if (node == NULL)
		return false;
	if (!IsA(node, ColumnRef))
		return raw_expression_tree_walker(node, use_interim_name, context);
	if (IsA(llast(reference->fields), String) &&
		strcmp(strVal(llast(reference->fields)), column->rename_to) == 0)
		reference->fields = list_make1(makeString(pstrdup(column->name)));
	return false;
}

static void
use_interim_name_in(List *checks, AddedColumn *column)
{
	ListCell   *lc;

	foreach(lc, checks)
		(void) use_interim_name(lfirst_node(Constraint, lc)->raw_expr, column);
}

/* The columns of "add" under the names that they have in the table. */
static List *
added_columns(const Migration *migration)
{
	List	   *columns = migrate_expression_parse_columns(migration->add_source);
	ListCell   *lc;

	foreach(lc, migration->added)
	{
		AddedColumn *added = lfirst(lc);
		ScopeColumn *column;
		ListCell   *each;

		if (added->rename_to == NULL)
			continue;
		column = list_nth(columns, foreach_current_index(lc));
		column->name = added->name;
		column->rename_to = added->rename_to;
		foreach(each, columns)
			use_interim_name_in(((ScopeColumn *) lfirst(each))->checks, added);
	}
	return columns;
}

static const char *
final_name(const ScopeColumn *column)
{
	return column->rename_to ? column->rename_to : column->name;
}

/* ---- the parts of a column ---- */

static Node *
is_not_null(const char *column)
{
	ColumnRef  *reference = makeNode(ColumnRef);
	NullTest   *test = makeNode(NullTest);

	reference->fields = list_make1(makeString(pstrdup(column)));
	reference->location = -1;
	test->arg = (Expr *) reference;
	test->nulltesttype = IS_NOT_NULL;
	test->location = -1;
	return (Node *) test;
}

static void
add_constraint(const Migration *migration, const ScopeColumn *column,
			   const char *name, const char *label, Node *condition, bool not_null)
{
	Oid			relid = migration->relid;

	if (name == NULL)
		name = ChooseConstraintName(get_rel_name(relid), final_name(column), label,
									get_rel_namespace(relid), NIL);
	add_check(migration, name, condition);
	migrate_store_execute("INSERT INTO migrate.added_constraint"
						  " (migration, name, column_name, not_null) VALUES ($1, $2, $3, $4)",
						  STORE_ARGS(store_text(migration->name), store_name(name),
									 store_name(column->name), store_bool(not_null)));
}

static void
constrain(const Migration *migration, const ScopeColumn *column)
{
	ListCell   *lc;

	if (column->raw_default != NULL)
		set_default(migration->relid, column);
	if (column->unique != NULL)
		migrate_index_declare_constraint(migration, column->name, final_name(column),
										 column->unique->conname);
	if (column->not_null)
		add_constraint(migration, column, column->not_null_name, "not_null",
					   is_not_null(column->name), true);
	if (column->references != NULL)
		migrate_reference_add(migration, column, final_name(column));
	foreach(lc, column->checks)
	{
		Constraint *check = lfirst_node(Constraint, lc);

		add_constraint(migration, column, check->conname, "check", check->raw_expr, false);
	}
}

static Oid
owner_of(Oid relid)
{
	char	   *owner = migrate_store_fetch("SELECT relowner FROM pg_class WHERE oid = $1",
											STORE_ARGS(store_oid(relid)));

	return atooid(owner);
}

void
migrate_constraint_add(const Migration *migration)
{
	StoreIdentity self;
	ListCell   *lc;

	if (migration->add_source == NULL)
		return;
	migrate_store_become_restricted(&self, owner_of(migration->relid));
	(void) set_config_option("search_path", migration->search_path, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	foreach(lc, added_columns(migration))
		constrain(migration, lfirst(lc));
	migrate_store_become_self(&self);
}

void
migrate_constraint_forget(const char *migration)
{
	migrate_store_execute("DELETE FROM migrate.added_constraint WHERE migration = $1",
						  STORE_ARGS(store_text(migration)));
}
