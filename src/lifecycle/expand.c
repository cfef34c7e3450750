/*
 * lifecycle/expand.c
 *		From one form to two.
 *
 * Everything happens in one transaction under AccessExclusiveLock on the table
 * (and its partitions), got without a queue behind it (lifecycle/lock.c). It
 * changes the catalog only, whatever the table's size:
 *
 * - the row version, when the table is first managed: NOT NULL with a constant
 *   default, which the server keeps in the catalog for rows that are there;
 * - the new columns, nullable and without default;
 * - the write triggers, first and last among BEFORE triggers, ENABLE ALWAYS so that
 *   logical replication and session_replication_role = replica do not pass them by;
 * - CHECK (row_version >= v) NOT VALID (or more, see proof.c): enforced on every
 *   write from now on, so a write that got past the trigger fails instead of
 *   leaving a stale row, and once validated it is the proof that none is left.
 *   Where writes may be deferred it comes later, and two more triggers record
 *   those that are (deferral.c).
 *
 * The lock is what makes the switch safe for others: no statement is running on
 * the table when the transaction commits, and the next one takes its lock, and
 * with it the invalidation messages, before it is planned or its cached plan is
 * used. Transactions that were open before CREATE TRIGGER committed have ended
 * or have not touched the table, so every row version written from then on has
 * passed the trigger. A crash or an error before commit leaves nothing.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "catalog/migration.h"
#include "catalog/store.h"
#include "convert/conversion.h"
#include "convert/expression.h"
#include "convert/subquery.h"
#include "guard/expression_dependencies.h"
#include "guard/foreign_key_guard.h"
#include "guard/partition_attach.h"
#include "guard/replication.h"
#include "guard/trigger_guard.h"
#include "lifecycle/ancestry.h"
#include "lifecycle/constraint.h"
#include "lifecycle/deferral.h"
#include "lifecycle/define.h"
#include "lifecycle/drop_form.h"
#include "lifecycle/expand.h"
#include "lifecycle/lock.h"
#include "lifecycle/proof.h"
#include "lifecycle/reference.h"
#include "lifecycle/relation_check.h"
#include "lifecycle/release.h"
#include "lifecycle/statistics.h"
#include "migrate.h"
#include "shmem.h"

/* ---- may it be expanded? ---- */

static void
check_dependencies(Migration *migration)
{
	StringInfoData missing;
	ListCell   *lc;

	initStringInfo(&missing);
	foreach(lc, migration->depends_on)
	{
		Migration  *before = migrate_migration_load(lfirst(lc), false, false);

		/* Those of the same table the table's lock keeps as they are. */
		if (before->relid != migration->relid)
			before = migrate_migration_load(lfirst(lc), true, false);
		if (!migrate_migration_is_live(before) && before->state != MIGRATION_CONTRACTED)
			appendStringInfo(&missing, "%s\"%s\" (%s)", missing.len ? ", " : "",
							 before->name, migrate_migration_state_name(before->state));
	}
	if (missing.len > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("migration \"%s\" depends on migrations that are not expanded",
						migration->name),
				 errdetail("Not expanded: %s.", missing.data),
				 errhint("Expand them first.")));
}

/*
 * Was what the expressions use dropped or changed since they were defined? What
 * their sub-queries read is locked before the table itself is, so that nobody
 * waits for that lock while we wait for these.
 */
static void
check_expressions(Migration *migration)
{
	char	   *tree;

	for (int n = 0;; n++)
	{
		Node	   *expr;

		tree = migrate_store_fetch("SELECT tree FROM migrate.assignment_tree WHERE migration = $1"
								   " ORDER BY direction, target OFFSET $2 LIMIT 1",
								   STORE_ARGS(store_text(migration->name), store_bigint(n)));
		if (tree == NULL)
			return;
		expr = stringToNode(tree);
		if (migrate_expression_is_whole(expr))
			subquery_lock((Expr *) expr);
		if (!migrate_expression_is_whole(expr))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("migration \"%s\" uses a table, function or type that was dropped or changed",
							migration->name),
					 errhint("Define it again: migrate.forget(%s), then migrate.define().",
							 quote_literal_cstr(migration->name))));
	}
}

static void
check_room(Migration *migration)
{
	if (list_length(migrate_migration_load_live(migration->relid)) >= MIGRATE_MAX_LIVE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("table \"%s\" already has %d live migrations",
						get_rel_name(migration->relid), MIGRATE_MAX_LIVE),
				 errhint("Contract some of them first.")));
}

/* False where there is nothing to do. */
static bool
check_state(Migration *migration)
{
	if (migration->state == MIGRATION_DEFINED || migration->state == MIGRATION_ROLLED_BACK)
		return true;
	ereport(NOTICE,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("migration \"%s\" is already %s, skipping", migration->name,
					migrate_migration_state_name(migration->state))));
	return false;
}

/* Before the lock, lest it be taken in vain; and under it, for others had it meanwhile. */
static void
check_all(Migration *migration)
{
	check_dependencies(migration);
	if (migration->state == MIGRATION_ROLLED_BACK)
		migrate_ancestry_check_branches(migration->name);	/* others may have come meanwhile */
	migrate_lifecycle_cook_again(migration);
	check_expressions(migration);
	check_room(migration);
}

/* ---- the table's care ---- */

typedef struct Managed
{
	char	   *version_column;
	int32		version;
} Managed;

static Managed *
load_managed(Oid relid)
{
	char	   *column = migrate_store_fetch("SELECT version_column FROM migrate.managed"
											 " WHERE relation = $1",
											 STORE_ARGS(store_relation(relid)));
	Managed    *managed;

	if (column == NULL)
		return NULL;
	managed = palloc(sizeof(Managed));
	managed->version_column = column;
	managed->version = pg_strtoint32(migrate_store_fetch("SELECT version FROM migrate.managed"
														 " WHERE relation = $1",
														 STORE_ARGS(store_relation(relid))));
	return managed;
}

/* What the numbers begin with: they never go back, also where the table was given back. */
static char *
first_version(Oid relid)
{
	char	   *version = migrate_store_fetch("DELETE FROM migrate.formerly_managed"
											  " WHERE relation = $1 RETURNING version",
											  STORE_ARGS(store_relation(relid)));

	return version ? version : psprintf("%d", MIGRATE_FIRST_VERSION);
}

/* Add the row version. The caller has the lock. */
static Managed *
begin_to_manage(Oid relid, const char *version_column)
{
	char	   *version;

	if (version_column[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the row version of table \"%s\" needs a name", get_rel_name(relid))));
	if (get_attnum(relid, version_column) != InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("table \"%s\" has a column \"%s\" of its own",
						get_rel_name(relid), version_column),
				 errdetail("The row version would have that name."),
				 errhint("Call migrate.manage(%s, version_column => ...) with another name first, or drop the column if it is left from a time when the extension was installed.",
						 quote_literal_cstr(migrate_store_relation_sql(relid)))));
	version = first_version(relid);
	migrate_store_ddl(relid, psprintf("ALTER TABLE %s ADD COLUMN %s integer NOT NULL DEFAULT %s",
									  migrate_store_relation_sql(relid),
									  quote_identifier(version_column), version));
	migrate_store_execute("INSERT INTO migrate.managed (relation, version_column, version, floor)"
						  " VALUES ($1, $2, $3, $3)",
						  STORE_ARGS(store_relation(relid), store_name(version_column),
									 store_int(pg_strtoint32(version))));
	return load_managed(relid);
}

/* While nothing is live nobody keeps the column from being altered. */
static void
check_version_column(Oid relid, const Managed *managed)
{
	HeapTuple	tuple = SearchSysCacheAttName(relid, managed->version_column);
	bool		is_whole = HeapTupleIsValid(tuple) &&
		((Form_pg_attribute) GETSTRUCT(tuple))->atttypid == INT4OID &&
		((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!is_whole)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" is no row version any more",
						managed->version_column, get_rel_name(relid)),
				 errdetail("It has to be of type integer, and NOT NULL."),
				 errhint("Change it back; or drop it, and it is made anew.")));
}

void
migrate_lifecycle_manage(Oid relid, const char *version_column)
{
	Managed    *managed;

	LockRelationOid(relid, AccessShareLock);
	migrate_relation_check(relid);
	managed = load_managed(relid);
	if (managed != NULL && strcmp(managed->version_column, version_column) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is already managed", get_rel_name(relid)),
				 errdetail("Its version column is \"%s\".", managed->version_column)));
	if (managed != NULL)
	{
		ereport(NOTICE,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is already managed, skipping", get_rel_name(relid))));
		return;
	}
	migrate_lock_table(relid, "add the row version");
	begin_to_manage(relid, version_column);
	migrate_drop_form_hold_to_versions(relid, version_column);
	migrate_conversion_invalidate(relid);
}

/* ---- new columns ---- */

/* A domain with constraints, which ADD COLUMN would check against every row. */
static bool
is_domain(Oid type)
{
	return get_typtype(type) == TYPTYPE_DOMAIN && DomainHasConstraints(type);
}

static char *
base_type_text(Oid type, int32 typmod, Oid collation)
{
	Oid			base = getBaseTypeAndTypmod(type, &typmod);

	return migrate_expression_type_text(base, typmod, collation);
}

static char *
add_columns_sql(Migration *migration)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	foreach(lc, migration->added)
	{
		AddedColumn *column = lfirst(lc);
		Oid			type;
		Oid			collation;
		int32		typmod;

		migrate_expression_parse_type(column->type, &type, &typmod, &collation);
		appendStringInfo(&sql, ", ADD COLUMN %s %s", quote_identifier(column->name),
						 is_domain(type)
						 ? base_type_text(type, typmod, collation) : column->type);
	}
	return sql.data;
}

/*
 * Make a column of a domain out of one of its base type. ADD COLUMN of a
 * domain with constraints rewrites the table, to check the constraints on NULL
 * in every row; but every row reads as its conversion, which is checked where
 * it is computed. A domain is stored as its base type, and the column has no
 * stored value yet, so the type's name is all that differs.
 */
static void
retype_column(Oid relid, const char *name, Oid type, int32 typmod)
{
	Relation	attributes = table_open(AttributeRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopyAttName(relid, name);
	Form_pg_attribute attr;
	ObjectAddress column;
	ObjectAddress domain;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for column \"%s\" of relation %u", name, relid);
	attr = (Form_pg_attribute) GETSTRUCT(tuple);
	attr->atttypid = type;
	attr->atttypmod = typmod;
	CatalogTupleUpdate(attributes, &tuple->t_self, tuple);

	ObjectAddressSubSet(column, RelationRelationId, relid, attr->attnum);
	ObjectAddressSet(domain, TypeRelationId, type);
	recordDependencyOn(&column, &domain, DEPENDENCY_NORMAL);
	table_close(attributes, RowExclusiveLock);
}

static void
retype_domains(Migration *migration)
{
	ListCell   *lc;

	foreach(lc, migration->added)
	{
		AddedColumn *column = lfirst(lc);
		Oid			type;
		Oid			collation;
		int32		typmod;
		ListCell   *child;

		migrate_expression_parse_type(column->type, &type, &typmod, &collation);
		if (!is_domain(type))
			continue;
		foreach(child, find_all_inheritors(migration->relid, NoLock, NULL))
			retype_column(lfirst_oid(child), column->name, type, typmod);
		CommandCounterIncrement();
	}
}

/* ---- expand ---- */

static void
create_trigger(const char *table, const char *name, const char *function, Oid relid)
{
	migrate_store_ddl(relid,
					  psprintf("CREATE TRIGGER %s BEFORE INSERT OR UPDATE ON %s"
							   " FOR EACH ROW EXECUTE FUNCTION %s.%s()",
							   quote_identifier(name), table, MIGRATE_SCHEMA, function));
	migrate_store_ddl(relid,
					  psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s",
							   table, quote_identifier(name)));
}

static void
create_triggers(Oid relid, const char *version_column)
{
	char	   *table = migrate_store_relation_sql(relid);

	migrate_store_ddl(relid,
					  psprintf("ALTER TABLE %s ALTER COLUMN %s SET DEFAULT %d",
							   table, quote_identifier(version_column),
							   MIGRATE_VERSION_UNSAID));
	migrate_drop_form_stop_holding(relid);
	create_trigger(table, MIGRATE_TRIGGER_NAME, "write_trigger", relid);
	create_trigger(table, MIGRATE_LAST_TRIGGER_NAME, "settle_trigger", relid);
}

static void
alter_table(Migration *migration, const Managed *managed, int32 version)
{
	char	   *proof = migrate_migration_proof_name(managed->version_column, version);
	int32		needed_from;
	char	   *condition = migrate_proof_condition(migration, managed->version_column,
													version, &needed_from);
	char	   *due = NULL;

	if (migrate_deferral_concerns(migration))
	{
		due = condition;
		condition = migrate_proof_weak_condition(migration->relid, managed->version_column);
	}

	migrate_store_ddl(migration->relid,
					  psprintf("ALTER TABLE %s ADD CONSTRAINT %s CHECK (%s) NOT VALID%s",
							   migrate_store_relation_sql(migration->relid),
							   quote_identifier(proof), condition,
							   add_columns_sql(migration)));
	migrate_proof_record(migration, managed->version_column, version, needed_from, due);
	retype_domains(migration);
	migrate_constraint_add(migration);
	if (!OidIsValid(get_trigger_oid(migration->relid, MIGRATE_TRIGGER_NAME, true)))
		create_triggers(migration->relid, managed->version_column);
	migrate_deferral_begin(migration, managed->version_column, version);
}

static void
record_expanded(Migration *migration, int32 version)
{
	migrate_store_execute("UPDATE migrate.managed SET version = $2 WHERE relation = $1",
						  STORE_ARGS(store_relation(migration->relid), store_int(version)));
	migrate_store_execute("UPDATE migrate.migration SET version = $2, completed_at = NULL,"
						  " completed_xid = NULL WHERE name = $1",
						  STORE_ARGS(store_text(migration->name), store_int(version)));
	migrate_migration_move(migration, MIGRATION_EXPANDED, "expanded",
						   psprintf("row version %d", version));
	migrate_conversion_invalidate(migration->relid);
	CommandCounterIncrement();
}

void
migrate_lifecycle_expand(const char *name)
{
	Migration  *migration = migrate_migration_load(name, true, false);
	Managed    *managed;
	int32		version;

	migrate_migration_check_owner(migration->relid);
	migrate_migration_check_preloaded();
	if (!check_state(migration))
		return;
	check_all(migration);

	migrate_release_hold();
	migrate_reference_lock_others(migration);
	migrate_lock_table(migration->relid, psprintf("expand migration \"%s\"", name));
	check_all(migration);
	migrate_relation_check(migration->relid);
	managed = load_managed(migration->relid);
	if (managed == NULL)
		managed = begin_to_manage(migration->relid, "row_version");
	check_version_column(migration->relid, managed);
	version = managed->version + 1;
	alter_table(migration, managed, version);
	record_expanded(migration, version);
	migrate_foreign_key_guard_check_expanded(migration->relid);
	migrate_partition_check(migrate_conversion_get(migration->relid));
	migrate_record_dependencies(migration->relid);
	migrate_trigger_guard_check_expanded(migration->relid);
	migrate_replication_warn(migration->relid, managed->version_column);
	migrate_expression_refresh_text(migration->relid);
	migrate_lifecycle_sync_statistics(migration->relid);
	migrate_shmem_request_work();
}
