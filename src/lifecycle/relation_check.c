/*
 * lifecycle/relation_check.c
 *		Which relations can be managed, and by whom.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/migration.h"
#include "lifecycle/relation_check.h"
#include "migrate.h"

static void
refuse_relation(Relation rel, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("relation \"%s\" cannot be migrated", RelationGetRelationName(rel)),
			 errdetail_internal("%s", detail),
			 hint ? errhint("%s", hint) : 0));
}

/* The rows of each partition have to be ours to convert. */
static void
check_partitions(Relation rel)
{
	ListCell   *lc;

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return;
	foreach(lc, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		Relation	partition = table_open(lfirst_oid(lc), NoLock);

		if (partition->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
			refuse_relation(rel, psprintf("Its partition \"%s\" is a foreign table.",
										  RelationGetRelationName(partition)),
							"Migrate the table there first, or detach the partition.");
		if (partition->rd_rel->relkind == RELKIND_RELATION &&
			partition->rd_rel->relam != HEAP_TABLE_AM_OID)
			refuse_relation(rel, psprintf("Its partition \"%s\" does not use the heap access method.",
										  RelationGetRelationName(partition)), NULL);
		table_close(partition, NoLock);
	}
}

void
migrate_relation_check(Oid relid)
{
	Relation	rel;
	char		relkind;

	migrate_migration_check_exists(relid);
	rel = relation_open(relid, NoLock);
	relkind = rel->rd_rel->relkind;
	/* Those of information_schema, too, are made by initdb and not carried along by a dump. */
	if (relid < FirstNormalObjectId || IsToastRelation(rel) ||
		RelationGetNamespace(rel) == PG_CATALOG_NAMESPACE ||
		RelationGetNamespace(rel) == get_namespace_oid(MIGRATE_SCHEMA, true))
		refuse_relation(rel, "It is a system table.", NULL);
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		refuse_relation(rel, "Only tables and partitioned tables can be.",
						relkind == RELKIND_VIEW || relkind == RELKIND_MATVIEW ?
						"Name the table that it reads." : NULL);
	migrate_migration_check_owner(relid);
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		refuse_relation(rel, "It is a temporary table.", NULL);
	if (rel->rd_rel->relispartition)
		refuse_relation(rel, "It is a partition.",
						psprintf("Name the partitioned table \"%s\".",
								 get_rel_name(llast_oid(get_partition_ancestors(relid)))));
	if (relkind == RELKIND_RELATION && has_subclass(relid) &&
		find_inheritance_children(relid, NoLock) != NIL)
		refuse_relation(rel, "Other tables inherit from it.",
						"Migrate the tables that inherit, or make it a partitioned table.");
	if (relkind == RELKIND_RELATION && rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		refuse_relation(rel, "It does not use the heap access method.", NULL);
	check_partitions(rel);
	if (OidIsValid(rel->rd_rel->reloftype))
		refuse_relation(rel, "It is a typed table: no columns can be added.", NULL);
	if (getExtensionOfObject(RelationRelationId, relid) != InvalidOid)
		refuse_relation(rel, "It belongs to an extension.", NULL);
	relation_close(rel, NoLock);
}
