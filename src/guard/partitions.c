/*
 * guard/partitions.c
 *		Partitions that come to a managed table, or leave it.
 *
 * They come and go with their rows as these are stored. A partition that is
 * detached is a table of its own, of which we know nothing: a row that is not
 * converted yet reads as it is stored from then on, and whoever detaches one
 * before the migration is complete is warned. It keeps the row version, so that
 * the rows are converted if it is attached again.
 *
 * By its default the row version says nothing where the trigger stands, and the
 * newest version where it does not. A partition has a default of its own, which
 * counts for who writes to it directly, and which the server leaves as it is.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "catalog/store.h"
#include "compat.h"
#include "convert/conversion.h"
#include "guard/partitions.h"
#include "migrate.h"

/* A partition that is to come or to go. */
typedef struct Partition
{
	Oid			relid;
	bool		comes;
	char	   *version_column; /* of one that goes */
	int32		version;
} Partition;

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

static void
warn(const Conversion *conversion)
{
	const LiveMigration *live = newest_incomplete(conversion);

	if (live == NULL)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("partition \"%s\" leaves table \"%s\" before migration \"%s\" is complete",
					get_rel_name(conversion->relid), get_rel_name(conversion->root), live->name),
			 errdetail("Its rows that are not converted yet read as they are stored from now on."),
			 errhint("Attach it again to have them converted.")));
}

static Partition *
make_partition(Oid relid, bool comes)
{
	Partition  *partition = palloc0(sizeof(Partition));

	partition->relid = relid;
	partition->comes = comes;
	return partition;
}

static void
note_version(Partition *partition, const Conversion *conversion)
{
	Form_pg_attribute attr = TupleDescAttr(conversion->tupdesc, conversion->version_attno - 1);

	partition->version = conversion->version;
	partition->version_column = pstrdup(NameStr(attr->attname));
}

/* What is not the caller's to detach the command itself will refuse. */
static Partition *
expect_detached(Oid relid)
{
	Conversion *conversion = get_rel_relispartition(relid) ? migrate_conversion_get(relid) : NULL;
	Partition  *partition;

	if (conversion == NULL || !compat_is_relation_owner(conversion->root, GetUserId()))
		return NULL;
	warn(conversion);
	partition = make_partition(relid, false);
	note_version(partition, conversion);
	return partition;
}

/* ---- before and after the command ---- */

static Partition *
expect(const AlterTableCmd *command)
{
	Partition  *partition;
	Oid			relid = RangeVarGetRelid(((PartitionCmd *) command->def)->name,
										 AccessShareLock, true);

	if (!OidIsValid(relid))
		return NULL;
	partition = command->subtype == AT_AttachPartition ? make_partition(relid, true)
		: expect_detached(relid);
	UnlockRelationOid(relid, AccessShareLock);
	return partition;
}

List *
migrate_partitions_expect(Node *statement)
{
	List	   *result = NIL;
	ListCell   *lc;

	if (!IsA(statement, AlterTableStmt) || ((AlterTableStmt *) statement)->objtype != OBJECT_TABLE)
		return NIL;
	foreach(lc, ((AlterTableStmt *) statement)->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, lc);
		Partition  *partition = NULL;

		if ((command->subtype == AT_AttachPartition ||
			 command->subtype == AT_DetachPartition ||
			 command->subtype == AT_DetachPartitionFinalize) && migrate_conversion_any())
			partition = expect(command);
		if (partition != NULL)
			result = lappend(result, partition);
	}
	return result;
}

/* The guard holds over that default in a managed table, and is in our own way here. */
static void
set_default(const Partition *partition)
{
	int			nest_level = NewGUCNestLevel();

	(void) set_config_option("migrate.guard", "off", PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	migrate_store_ddl(partition->relid,
					  psprintf("ALTER TABLE %s ALTER COLUMN %s SET DEFAULT %d",
							   migrate_store_relation_sql(partition->relid),
							   quote_identifier(partition->version_column),
							   partition->version));
	AtEOXact_GUC(true, nest_level);
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

		if (partition->comes)
		{
			Conversion *conversion = migrate_conversion_get(partition->relid);

			if (conversion == NULL)
				continue;		/* the table that it came to is not managed */
			note_version(partition, conversion);
			partition->version = MIGRATE_VERSION_UNSAID;
		}
		set_default(partition);
	}
}
