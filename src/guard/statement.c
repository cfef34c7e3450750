/*
 * guard/statement.c
 *		What the utility statement at work is up to.
 *
 * The hooks inside DDL are told of objects, one by one, and not of the command
 * that is the reason. Where it makes a difference, for the words of an error or
 * for what is let pass, they ask here. Statements can be nested (an event
 * trigger, a statement of our own), so each puts itself in the place of the
 * one around it until it ends, by an error, too.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "nodes/parsenodes.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "guard/statement.h"

static Node *at_work = NULL;

/* Only those of which something is asked: others may end before their code does. */
Node *
migrate_statement_begin(Node *statement)
{
	Node	   *outer = at_work;

	at_work = IsA(statement, AlterTableStmt) || IsA(statement, DropStmt) ||
		IsA(statement, DropOwnedStmt) ? statement : NULL;
	return outer;
}

void
migrate_statement_end(Node *outer)
{
	at_work = outer;
}

/* ---- dropping tables ---- */

static bool
names_table(const DropStmt *statement, Node *object, Oid relid)
{
	if (statement->removeType == OBJECT_SCHEMA)
		return get_namespace_oid(strVal(object), true) == get_rel_namespace(relid);
	object = (Node *) makeRangeVarFromNameList(castNode(List, object));
	return RangeVarGetRelid((RangeVar *) object, NoLock, true) == relid;
}

bool
migrate_statement_is_dropping_tables(void)
{
	if (at_work == NULL)
		return false;
	if (IsA(at_work, DropOwnedStmt))
		return true;
	return IsA(at_work, DropStmt) &&
		(((DropStmt *) at_work)->removeType == OBJECT_TABLE ||
		 ((DropStmt *) at_work)->removeType == OBJECT_SCHEMA);
}

bool
migrate_statement_is_dropping(Oid relid)
{
	ListCell   *lc;

	if (!migrate_statement_is_dropping_tables() || IsA(at_work, DropOwnedStmt))
		return migrate_statement_is_dropping_tables();
	foreach(lc, ((DropStmt *) at_work)->objects)
		if (names_table((DropStmt *) at_work, lfirst(lc), relid))
			return true;
	return false;
}

/* ---- altering tables ---- */

/* Does a statement alter a table in one of some ways? */
static bool
has_command(const Node *statement, int count, const AlterTableType *subtypes)
{
	ListCell   *lc;

	if (statement == NULL || !IsA(statement, AlterTableStmt))
		return false;
	foreach(lc, ((const AlterTableStmt *) statement)->cmds)
		for (int i = 0; i < count; i++)
			if (lfirst_node(AlterTableCmd, lc)->subtype == subtypes[i])
				return true;
	return false;
}

bool
migrate_statement_switches_triggers(const Node *statement)
{
	static const AlterTableType switching[] = {AT_EnableTrigAll, AT_EnableTrigUser,
	AT_DisableTrigAll, AT_DisableTrigUser};

	return has_command(statement, lengthof(switching), switching);
}

/* Those of foreign keys included, for which it takes a superuser. */
bool
migrate_statement_disables_all_triggers(const Node *statement)
{
	static const AlterTableType disabling[] = {AT_DisableTrigAll};

	return has_command(statement, lengthof(disabling), disabling);
}

bool
migrate_statement_is_switching_triggers(void)
{
	return migrate_statement_switches_triggers(at_work);
}

/* ALTER COLUMN TYPE ... USING, be the type the one that the column has; or SET EXPRESSION. */
bool
migrate_statement_is_recomputing(const char *column)
{
	ListCell   *lc;

	if (at_work == NULL || !IsA(at_work, AlterTableStmt))
		return false;
	foreach(lc, ((AlterTableStmt *) at_work)->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, lc);

		if (compat_sets_expression(command) && strcmp(command->name, column) == 0)
			return true;
		if (command->subtype == AT_AlterColumnType && strcmp(command->name, column) == 0 &&
			castNode(ColumnDef, command->def)->raw_default != NULL)
			return true;
	}
	return false;
}
