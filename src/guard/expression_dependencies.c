/*
 * guard/expression_dependencies.c
 *		What live migrations' expressions use, as the server's dependencies.
 *
 * Functions, operators, types, collations and tables that up and down use are to
 * be dropped no more than those of a view are. So the write trigger is made to
 * depend on them: DROP names it, and CASCADE comes upon the guard. Columns of the
 * table itself are the guard's alone: a dependency would be in contract's way.
 *
 * Recorded by whatever changes which migrations are live, under its lock. A dump
 * has the trigger but not what it depends on; when a restore creates it, our catalog
 * and all that expressions use are mostly there: not in a parallel one, or one of the
 * schema alone. pg_upgrade does not let us act while it restores. After those the first
 * to carry the table on records them, under a lock that keeps those away who would do
 * so at the same time. What tells is migrate.recorded, which is not dumped.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "storage/lmgr.h"

#include "catalog/store.h"
#include "catalog/try.h"
#include "convert/conversion.h"
#include "convert/expression.h"
#include "guard/expression_dependencies.h"
#include "migrate.h"

static Node *
strip_column(Var *column, void *context)
{
	return (Node *) makeNullConst(column->vartype, column->vartypmod, column->varcollid);
}

static void
record_assignments(const ObjectAddress *trigger, List *assignments)
{
	ListCell   *lc;

	foreach(lc, assignments)
	{
		Assignment *assignment = lfirst(lc);
		Expr	   *expr;

		if (assignment->generated)
			continue;			/* the column itself depends on it */

		/* The row's columns are the guard's to keep: a dependency would be in contract's way. */
		expr = migrate_expression_replace_columns(assignment->expr, strip_column, NULL);
		recordDependencyOnExpr(trigger, (Node *) expr, NIL, DEPENDENCY_NORMAL);
	}
}

static void
forget_dependencies(Oid trigger)
{
	static const Oid classes[] = {ProcedureRelationId, OperatorRelationId,
	TypeRelationId, CollationRelationId, RelationRelationId};

	for (int i = 0; i < lengthof(classes); i++)
		deleteDependencyRecordsForClass(TriggerRelationId, trigger, classes[i],
										DEPENDENCY_NORMAL);
}

/* As what a cluster knows itself: pg_upgrade makes another one. */
static StoreArg
this_cluster(void)
{
	return store_bigint((int64) GetSystemIdentifier());
}

static void
note_recorded(Oid relid)
{
	migrate_store_execute("INSERT INTO migrate.recorded VALUES ($1, $2)"
						  " ON CONFLICT (relation) DO UPDATE SET cluster = $2",
						  STORE_ARGS(store_relation(relid), this_cluster()));
}

void
migrate_record_dependencies(Oid relid)
{
	Conversion *conversion = migrate_conversion_get(relid);
	ObjectAddress trigger;
	ObjectAddress function;
	Oid			oid = get_trigger_oid(relid, MIGRATE_TRIGGER_NAME, true);

	if (!OidIsValid(oid) || conversion == NULL || conversion->root != relid)
		return;
	ObjectAddressSet(trigger, TriggerRelationId, oid);
	ObjectAddressSet(function, ProcedureRelationId,
					 migrate_store_function("write_trigger", 0, NULL));
	forget_dependencies(trigger.objectId);
	recordDependencyOn(&trigger, &function, DEPENDENCY_NORMAL);
	for (int i = 0; i < conversion->nlive; i++)
	{
		record_assignments(&trigger, conversion->live[i].ups);
		record_assignments(&trigger, conversion->live[i].downs);
	}
	note_recorded(relid);
	CommandCounterIncrement();
}

static void
record(void *context)
{
	migrate_record_dependencies(*(Oid *) context);
}

/*
 * The rows of our catalog came by COPY, of which no session that knows of nothing live
 * has been told. What cannot be read now fails when it is needed, and not the restore.
 */
void
migrate_record_dependencies_restored(const RangeVar *table)
{
	Oid			relid;
	ErrorData  *error;

	CommandCounterIncrement();
	relid = RangeVarGetRelid(table, NoLock, true);
	if (!OidIsValid(relid) || !OidIsValid(migrate_store_extension_owner()))
		return;
	migrate_conversion_invalidate(relid);
	CommandCounterIncrement();
	error = migrate_try(record, &relid);
	if (error != NULL)
		FreeErrorData(error);
}

static bool
is_recorded(Oid relid)
{
	return migrate_store_fetch("SELECT 1 FROM migrate.recorded WHERE relation = $1 AND cluster = $2",
							   STORE_ARGS(store_relation(relid), this_cluster())) != NULL;
}

void
migrate_record_dependencies_upgraded(Oid relid)
{
	if (!is_recorded(relid) &&
		ConditionalLockRelationOid(relid, ShareUpdateExclusiveLock))
		migrate_record_dependencies(relid);
}
