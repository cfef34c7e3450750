/*
 * guard/partitions.c
 *		Partitions that come to a managed table, or leave it.
 *
 * One that leaves is a table of its own, of which we know nothing: nobody
 * upgrades its rows any more. So it is let go only when none of them is stale,
 * of which the server is asked for proof: the partition's copy of the proof
 * constraint is validated, which blocks neither readers nor writers of it. What
 * it found stays so: the trigger and the constraint hold new rows to the newest
 * version, and our lock keeps an expand away. A partition that is dropped, and
 * not detached, needs none of this.
 *
 * One that leaves keeps its constraints that are in force, and plain indexes. One that
 * comes is made ready first (partition_attach.c). With the guard off none is held up,
 * or made ready.
 *
 * By its default the row version says nothing where the trigger stands, and the
 * newest version where it does not. A partition has a default of its own, which
 * counts for who writes to it directly, and which the server leaves as it is.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "catalog/migration.h"
#include "catalog/store.h"
#include "catalog/try.h"
#include "compat.h"
#include "convert/conversion.h"
#include "guard/own_statistics.h"
#include "guard/partition_attach.h"
#include "guard/partitions.h"
#include "guard/table_copy.h"
#include "guard/trigger_guard.h"
#include "guc.h"
#include "migrate.h"

/* A partition that is to come or to go. */
typedef struct Partition
{
	Oid			relid;			/* not known of one that is yet to be created */
	RangeVar   *created;
	bool		comes;
	char	   *version_column; /* of one that goes */
	int32		version;
} Partition;

static Partition *
make_partition(Oid relid, bool comes)
{
	Partition  *partition = palloc0(sizeof(Partition));

	partition->relid = relid;
	partition->comes = comes;
	return partition;
}

static char *
version_column(const Conversion *conversion)
{
	return pstrdup(NameStr(TupleDescAttr(conversion->tupdesc,
										 conversion->version_attno - 1)->attname));
}

/* ---- to go ---- */

/* The newest live migration of which rows may be stale; NULL if there is none. */
static const LiveMigration *
newest_incomplete(const Conversion *conversion)
{
	for (int i = conversion->nlive - 1; i >= 0; i--)
		if (!conversion->live[i].complete)
			return &conversion->live[i];
	return NULL;
}

static char *
validate_sql(const Conversion *conversion)
{
	StringInfoData sql;
	const char *separator = "";

	initStringInfo(&sql);
	appendStringInfo(&sql, "ALTER TABLE %s", migrate_store_relation_sql(conversion->relid));
	for (int i = 0; i < conversion->nlive; i++)
	{
		char	   *name = migrate_migration_proof_name(version_column(conversion),
														conversion->live[i].version);

		if (conversion->live[i].complete)
			continue;
		appendStringInfo(&sql, "%s VALIDATE CONSTRAINT %s", separator, quote_identifier(name));
		separator = ",";
	}
	return sql.data;
}

static void
validate(void *context)
{
	const Conversion *conversion = context;

	migrate_store_ddl(conversion->relid, validate_sql(conversion));
}

/* Where writes may be deferred there is nothing yet that would keep stale rows out. */
static void
check_not_deferring(const Conversion *conversion, const LiveMigration *live)
{
	if (conversion->defers)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot detach partition \"%s\" before migration \"%s\" is complete",
						get_rel_name(conversion->relid), live->name),
				 errdetail("Until then writes may be deferred, and such rows would read as they are stored."),
				 errhint("To drop the partition takes no DETACH.")));
}

static void
check_converted(Conversion *conversion)
{
	const LiveMigration *live = newest_incomplete(conversion);
	ErrorData  *error;

	if (live == NULL)
		return;
	check_not_deferring(conversion, live);
	error = migrate_try(validate, conversion);
	if (error == NULL)
		return;
	if (error->sqlerrcode != ERRCODE_CHECK_VIOLATION)
		ReThrowError(error);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot detach partition \"%s\" before its rows are converted for migration \"%s\"",
					get_rel_name(conversion->relid), live->name),
			 errdetail("Those that are not would read as they are stored from then on."),
			 errhint("CALL migrate.run(%s) converts them, as the background worker does. To drop the partition takes no DETACH.",
					 quote_literal_cstr(migrate_store_relation_sql(conversion->root)))));
}

/* What is not the caller's to detach the command itself will refuse. */
static Partition *
expect_detached(Oid relid, bool is_finalized)
{
	Conversion *conversion = get_rel_relispartition(relid) ? migrate_conversion_get(relid) : NULL;
	Partition  *partition;

	if (conversion == NULL || !compat_is_relation_owner(conversion->root, GetUserId()))
		return NULL;
	if (!is_finalized && migrate_guc_guard)
		check_converted(conversion);
	partition = make_partition(relid, false);
	partition->version = conversion->version;
	partition->version_column = version_column(conversion);
	return partition;
}

/* ---- before the command ---- */

static Partition *
expect_altered(const RangeVar *parent, const AlterTableCmd *command)
{
	const RangeVar *name = ((PartitionCmd *) command->def)->name;
	Oid			relid;
	Partition  *partition;

	if (command->subtype == AT_AttachPartition)
	{
		if (!migrate_guc_guard)
			return NULL;
		relid = migrate_partition_prepare(parent, name);
		return OidIsValid(relid) ? make_partition(relid, true) : NULL;
	}
	relid = RangeVarGetRelid(name, AccessShareLock, true);
	if (!OidIsValid(relid))
		return NULL;
	partition = expect_detached(relid, command->subtype == AT_DetachPartitionFinalize);
	UnlockRelationOid(relid, AccessShareLock);
	return partition;
}

static List *
expect_alter(const AlterTableStmt *statement)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, statement->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, lc);
		Partition  *partition = NULL;

		if (command->subtype == AT_AttachPartition ||
			command->subtype == AT_DetachPartition ||
			command->subtype == AT_DetachPartitionFinalize)
			partition = expect_altered(statement->relation, command);
		if (partition != NULL)
			result = lappend(result, partition);
	}
	return result;
}

static List *
expect_created(const CreateStmt *statement)
{
	Partition  *partition;

	if (statement->partbound == NULL || !migrate_guc_guard)
		return NIL;
	partition = make_partition(InvalidOid, true);
	partition->created = copyObject(statement->relation);
	return list_make1(partition);
}

List *
migrate_partitions_expect(Node *statement)
{
	if (IsA(statement, AlterTableStmt) && ((AlterTableStmt *) statement)->objtype == OBJECT_TABLE)
		return expect_alter((AlterTableStmt *) statement);
	if (IsA(statement, CreateStmt))
		return expect_created((CreateStmt *) statement);
	if (IsA(statement, CreateForeignTableStmt))
		return expect_created(&((CreateForeignTableStmt *) statement)->base);
	return NIL;
}

/* ---- after the command ---- */

/* The guard holds over that default in a managed table, and is in our own way here. */
static void
set_default(Oid relid, const char *version_column, int32 version)
{
	int			nest_level = NewGUCNestLevel();

	(void) set_config_option("migrate.guard", "off", PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	migrate_store_ddl(relid,
					  psprintf("ALTER TABLE %s ALTER COLUMN %s SET DEFAULT %d",
							   migrate_store_relation_sql(relid),
							   quote_identifier(version_column), version));
	AtEOXact_GUC(true, nest_level);
}

static void
follow_attached(Oid relid)
{
	Conversion *conversion = migrate_conversion_get(relid);

	if (conversion == NULL)
		return;					/* the table that it came to has no live migration */
	migrate_partition_check(conversion);
	migrate_trigger_guard_check_attached(relid);
	set_default(relid, version_column(conversion), MIGRATE_VERSION_UNSAID);
}

static void
drop_own_statistics(Oid relid)
{
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_rows("SELECT oid, format('DROP STATISTICS %I.%I',"
										 "  stxnamespace::regnamespace, stxname)"
										 " FROM pg_statistic_ext WHERE stxrelid = $1",
										 STORE_ARGS(store_relation(relid)), 2))
	{
		char	  **columns = lfirst(lc);

		if (migrate_own_statistics_reading(atooid(columns[0])) != NULL)
			migrate_store_ddl(relid, columns[1]);
	}
}

/*
 * What was made on it for as long as rows are stale, or until the partitioned table has its own,
 * is of no use any more: indexes, statistics, constraints that ask the extension.
 */
static void
drop_makeshifts(Oid relid)
{
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT format('DROP INDEX %I.%I', relnamespace::regnamespace, relname)"
										 " FROM pg_index JOIN pg_class ON oid = indexrelid"
										 " WHERE indrelid = $1 AND starts_with(relname::text, $2)",
										 STORE_ARGS(store_relation(relid),
													store_text(MIGRATE_INDEX_PREFIX "_"))))
		migrate_store_ddl(relid, lfirst(lc));
	drop_own_statistics(relid);
	foreach(lc, migrate_partition_checks(relid))
		migrate_store_ddl(relid, psprintf("ALTER TABLE %s %s", migrate_store_relation_sql(relid),
										  (char *) lfirst(lc)));
}

static void
follow_detached(const Partition *partition)
{
	set_default(partition->relid, partition->version_column, partition->version);
	drop_makeshifts(partition->relid);
}

/* A partition that is created has the parent's default. */
static void
follow_created(const RangeVar *created)
{
	Oid			relid = migrate_table_created(created);
	Conversion *conversion = OidIsValid(relid) ? migrate_conversion_get(relid) : NULL;

	if (conversion != NULL)
		migrate_partition_check(conversion);
}

void
migrate_partitions_follow(List *partitions)
{
	ListCell   *lc;

	if (partitions == NIL)
		return;
	CommandCounterIncrement();
	foreach(lc, partitions)
	{
		Partition  *partition = lfirst(lc);

		if (partition->created != NULL)
			follow_created(partition->created);
		else if (partition->comes)
			follow_attached(partition->relid);
		else
			follow_detached(partition);
	}
}
