/*
 * lifecycle/prune.c
 *		Which rows are to be removed where they would be converted.
 *
 * The condition lives where the server keeps conditions on rows that somebody deletes: as
 * the WHEN of a row trigger BEFORE DELETE, which is disabled and never fires. So it is
 * the server that follows renames, refuses to drop or retype a column or to drop a
 * function that it uses, dumps it, and copies it to partitions, also those attached
 * later, in their attribute numbers. What is ours is a row in migrate.prune that names the
 * archive, if there is one. backfill/prune.c reads both.
 *
 * Both change in the caller's transaction, under a lock on the table that batches of the
 * backfill conflict with, got as expand gets its own: set_prune() takes
 * ShareRowExclusiveLock, unset_prune() AccessExclusiveLock, as the server does for that
 * DDL. So no row is pruned after unset_prune() has returned, nor by a condition that
 * was replaced. An error or a crash before the commit leaves it as it was.
 */
#include "postgres.h"

#include "access/table.h"
#include "nodes/nodes.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "backfill/archive.h"
#include "backfill/prune.h"
#include "catalog/migration.h"
#include "catalog/store.h"
#include "convert/conversion.h"
#include "convert/expression.h"
#include "lifecycle/define.h"
#include "lifecycle/lock.h"
#include "lifecycle/prune.h"
#include "lifecycle/relation_check.h"
#include "migrate.h"

/* ---- what is asked for ---- */

/* As the text of a trigger's condition. It is the owner's, whoever hands it in. */
static char *
parse_as_owner(Relation rel, const char *predicate)
{
	const char *search_path = migrate_lifecycle_search_path();
	StoreIdentity self;
	Expr	   *condition;

	migrate_store_become_restricted(&self, rel->rd_rel->relowner);
	(void) set_config_option("search_path", search_path, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	condition = migrate_expression_parse_condition(rel, "predicate", predicate);
	migrate_store_become_self(&self);
	return migrate_expression_to_text_of_old(RelationGetRelid(rel), condition);
}

static void
check_archive(Relation rel, Oid archive)
{
	Oid			relid = RelationGetRelid(rel);
	char	   *version_column = migrate_migration_version_column(relid);

	if (!OidIsValid(archive))
		return;
	LockRelationOid(archive, AccessShareLock);
	(void) migrate_archive_columns(rel, relid, migrate_conversion_get(relid),
								   version_column ? get_attnum(relid, version_column) : 0,
								   archive);
}

/* The text of the condition that there is; NULL: none. */
static char *
current_condition(Relation rel)
{
	Node	   *condition = migrate_prune_condition(rel);

	return condition == NULL ? NULL
		: migrate_expression_to_text_of_old(RelationGetRelid(rel), (Expr *) condition);
}

/* ---- set ---- */

static void
put_condition(Oid relid, const char *condition, bool replace)
{
	const char *table = migrate_store_relation_sql(relid);

	migrate_store_ddl(relid,
					  psprintf("CREATE %s TRIGGER " MIGRATE_PRUNE_TRIGGER_NAME
							   " BEFORE DELETE ON %s FOR EACH ROW WHEN (%s)"
							   " EXECUTE FUNCTION " MIGRATE_SCHEMA ".prune_trigger()",
							   replace ? "OR REPLACE" : "", table, condition));
	migrate_store_ddl(relid, psprintf("ALTER TABLE %s DISABLE TRIGGER "
									  MIGRATE_PRUNE_TRIGGER_NAME, table));
}

static void
put_archive(Oid relid, Oid archive)
{
	migrate_store_execute("DELETE FROM migrate.prune WHERE relation = $1",
						  STORE_ARGS(store_relation(relid)));
	if (OidIsValid(archive))
		migrate_store_execute("INSERT INTO migrate.prune VALUES ($1, $2)",
							  STORE_ARGS(store_relation(relid), store_relation(archive)));
}

static bool
is_set_so(Relation rel, const char *condition, Oid archive)
{
	const char *current = current_condition(rel);

	return current != NULL && strcmp(current, condition) == 0 &&
		migrate_prune_archive(RelationGetRelid(rel)) == archive;
}

void
migrate_lifecycle_set_prune(Oid relid, const char *predicate, Oid archive)
{
	Relation	rel;
	char	   *condition;
	bool		replace;

	LockRelationOid(relid, AccessShareLock);
	migrate_relation_check(relid);
	if (predicate == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"predicate\" must not be NULL")));
	rel = table_open(relid, NoLock);
	condition = parse_as_owner(rel, predicate);
	check_archive(rel, archive);
	if (is_set_so(rel, condition, archive))
	{
		ereport(NOTICE,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("rows of table \"%s\" are pruned so already, skipping",
						RelationGetRelationName(rel))));
		table_close(rel, NoLock);
		return;
	}
	migrate_lock_tables(migrate_lock_add(NIL, relid, ShareRowExclusiveLock),
						"set what is pruned");
	replace = migrate_prune_condition(rel) != NULL;
	table_close(rel, NoLock);
	put_condition(relid, condition, replace);
	put_archive(relid, archive);
}

/* ---- unset ---- */

void
migrate_lifecycle_unset_prune(Oid relid)
{
	Relation	rel;
	bool		is_set;

	LockRelationOid(relid, AccessShareLock);
	migrate_relation_check(relid);
	rel = table_open(relid, NoLock);
	is_set = migrate_prune_condition(rel) != NULL;
	table_close(rel, NoLock);
	if (!is_set)
	{
		ereport(NOTICE,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no rows of table \"%s\" are pruned, skipping", get_rel_name(relid))));
		return;
	}
	migrate_lock_table(relid, "unset what is pruned");
	migrate_store_ddl(relid, psprintf("DROP TRIGGER IF EXISTS " MIGRATE_PRUNE_TRIGGER_NAME " ON %s",
									  migrate_store_relation_sql(relid)));
	put_archive(relid, InvalidOid);
}
