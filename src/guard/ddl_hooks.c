/*
 * guard/ddl_hooks.c
 *		Where the server tells us of DDL.
 *
 * Of each object that a command drops, by cascade too, we hear at OAT_DROP
 * before it is gone; of each row of the catalog that it changes at
 * OAT_POST_ALTER, before the command counter moves. First it is asked whether
 * that may be (guard/drop_guard.c), then our catalog follows (guard/ddl_follow.c).
 *
 * After a rename of anything the qualified texts of live migrations'
 * expressions are written anew from their trees, in the same transaction, so
 * that a dump restores.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "miscadmin.h"
#include "tcop/utility.h"

#include "convert/conversion.h"
#include "convert/expression.h"
#include "guard/ddl_follow.h"
#include "guard/ddl_hooks.h"
#include "guard/drop_guard.h"
#include "guard/expression_dependencies.h"
#include "guard/foreign_key_guard.h"
#include "guard/function_guard.h"
#include "guard/index_guard.h"
#include "guard/inherit_guard.h"
#include "guard/own_extension.h"
#include "guard/partitions.h"
#include "guard/statement.h"
#include "guard/table_copy.h"
#include "guard/trigger_guard.h"
#include "guc.h"
#include "migrate.h"

static object_access_hook_type next_object_access_hook = NULL;
static ProcessUtility_hook_type next_process_utility_hook = NULL;

/* As of the heap that VACUUM FULL and the like leave behind. */
static bool
is_internal_drop(void *arg)
{
	return (((ObjectAccessDrop *) arg)->dropflags & PERFORM_DELETION_INTERNAL) != 0;
}

static void
check_altered(Oid class, Oid oid, int subid, void *arg)
{
	if (class == InheritsRelationId)
		migrate_inherit_guard_check(oid, ((ObjectAccessPostAlter *) arg)->auxiliary_id);
	else
		migrate_drop_guard_check_alter(class, oid, subid);
	if (class == TriggerRelationId)
		migrate_trigger_guard_check_altered(oid);
}

static void
follow_altered(Oid class, Oid oid, int subid)
{
	if (class == RelationRelationId && subid != 0)
		migrate_ddl_follow_alter_column(oid, subid);
	else if (class == RelationRelationId)
		migrate_ddl_follow_alter_relation(oid);
	else if (class == ConstraintRelationId)
		migrate_ddl_follow_alter_constraint(oid);
	else if (class == TriggerRelationId)
		migrate_ddl_follow_alter_trigger(oid);
	else if (class == NamespaceRelationId)
		migrate_ddl_follow_alter_schema(oid);
	else if (class == ProcedureRelationId)
		migrate_function_guard_check(oid);
}

static void
on_object_access(ObjectAccessType access, Oid class, Oid oid, int subid, void *arg)
{
	if (next_object_access_hook)
		next_object_access_hook(access, class, oid, subid, arg);
	if (IsBinaryUpgrade || !OidIsValid(MyDatabaseId))
		return;

	if (access == OAT_DROP)
	{
		if (migrate_guc_guard)
			migrate_drop_guard_check_drop(class, oid, subid);
		if (class == RelationRelationId && subid != 0)
			migrate_ddl_follow_drop_column(oid, subid);
		else if (class == RelationRelationId && !is_internal_drop(arg))
			migrate_ddl_follow_drop_table(oid);
	}
	else if (access == OAT_POST_ALTER)
	{
		if (migrate_guc_guard)
			check_altered(class, oid, subid, arg);
		follow_altered(class, oid, subid);	/* the command counter may have moved then */
	}
	else if (access == OAT_POST_CREATE && migrate_guc_guard)
	{
		if (class == TriggerRelationId)
			migrate_drop_guard_check_alter(class, oid, subid);	/* CREATE OR REPLACE TRIGGER */
		else if (class == RelationRelationId && subid == 0 && migrate_conversion_any())
			migrate_index_guard_check_create(oid);
		else if (class == ConstraintRelationId && migrate_conversion_any())
			migrate_foreign_key_guard_check_create(oid);
		else if (class == RelationRelationId && subid != 0)
			migrate_inherit_guard_check_column(oid, subid);
	}
	if (class == ProcedureRelationId && access == OAT_POST_CREATE)
		migrate_function_guard_check(oid);	/* or CREATE OR REPLACE */
	else if (class == TriggerRelationId && access == OAT_POST_CREATE)
		migrate_trigger_guard_check_created(oid);
}

/* The write trigger, made by a restore: expand is not done when it makes it. */
static RangeVar *
table_of_write_trigger(Node *statement)
{
	if (!IsA(statement, CreateTrigStmt) ||
		strcmp(((CreateTrigStmt *) statement)->trigname, MIGRATE_TRIGGER_NAME) != 0)
		return NULL;
	return copyObject(((CreateTrigStmt *) statement)->relation);
}

/* Can the text of an expression read differently after it? */
static bool
renames(Node *statement)
{
	return IsA(statement, RenameStmt) || IsA(statement, AlterObjectSchemaStmt) ||
		(IsA(statement, AlterEnumStmt) && ((AlterEnumStmt *) statement)->oldVal != NULL);
}

static void
run_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			ProcessUtilityContext context, ParamListInfo params,
			QueryEnvironment *environment, DestReceiver *dest,
			QueryCompletion *completion)
{
	Node	   *outer = migrate_statement_begin(pstmt->utilityStmt);

	PG_TRY();
	{
		if (next_process_utility_hook)
			next_process_utility_hook(pstmt, query, read_only_tree, context, params,
									  environment, dest, completion);
		else
			standard_ProcessUtility(pstmt, query, read_only_tree, context, params,
									environment, dest, completion);
	}
	PG_FINALLY();
	{
		migrate_statement_end(outer);
	}
	PG_END_TRY();
}

/* The statement may be gone when the command returns: it is looked at before. */
static void
on_process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				   ProcessUtilityContext context, ParamListInfo params,
				   QueryEnvironment *environment, DestReceiver *dest,
				   QueryCompletion *completion)
{
	RangeVar   *restored = IsBinaryUpgrade ? NULL : table_of_write_trigger(pstmt->utilityStmt);
	RangeVar   *switched = NULL;
	bool		with_references = false;
	bool		updated = !IsBinaryUpgrade && migrate_own_extension_is_altered(pstmt->utilityStmt);
	List	   *partitions = NIL;
	List	   *conversions = NIL;
	List	   *copies = NIL;

	if (!IsBinaryUpgrade)
	{
		migrate_own_extension_expect(pstmt->utilityStmt);
		partitions = migrate_partitions_expect(pstmt->utilityStmt);
	}
	if (migrate_guc_guard && !IsBinaryUpgrade)
		copies = migrate_table_copies_expect(pstmt->utilityStmt);
	if (renames(pstmt->utilityStmt) && migrate_conversion_any())
		conversions = migrate_expression_before_rename();
	if (migrate_guc_guard && migrate_statement_switches_triggers(pstmt->utilityStmt))
	{
		switched = copyObject(((AlterTableStmt *) pstmt->utilityStmt)->relation);
		with_references = !superuser() ||
			!migrate_statement_disables_all_triggers(pstmt->utilityStmt);
	}
	run_utility(pstmt, query, read_only_tree, context, params, environment, dest, completion);
	if (restored != NULL)
		migrate_record_dependencies_restored(restored);
	migrate_partitions_follow(partitions);
	migrate_table_copies_follow(copies);
	if (switched != NULL)
		migrate_ddl_follow_switch_triggers(switched, with_references);
	if (updated)
		migrate_own_extension_check();
	if (conversions == NIL)
		return;
	CommandCounterIncrement();
	migrate_expression_after_rename(conversions);
}

void
migrate_ddl_hooks_init(void)
{
	next_object_access_hook = object_access_hook;
	object_access_hook = on_object_access;
	next_process_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = on_process_utility;
}
