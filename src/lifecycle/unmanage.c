/*
 * lifecycle/unmanage.c
 *		A table is given back: the row version is taken off.
 *
 * When nothing of a table is live, all of its rows are in one form, and the row
 * version says nothing more. It can be dropped, in one change of the catalog under
 * AccessExclusiveLock, got as expand gets it. Refused is that while anything still
 * needs it: live migrations, views and other objects on the column, published views
 * of the table, which could neither be made anew nor taken away without it.
 *
 * Definitions and history stay, and with them what comes after what. The newest
 * version is remembered: should the table be managed again, its numbers go on from there. A row
 * that says its version, from an old dump or a replica, is then refused and not taken
 * for what it is not.
 *
 * An error or a crash before the commit leaves the table managed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/migration.h"
#include "catalog/store.h"
#include "convert/conversion.h"
#include "guard/dependent_objects.h"
#include "lifecycle/lock.h"
#include "lifecycle/unmanage.h"

static void
refuse(Oid relid, int code, char *detail, char *hint)
{
	ereport(ERROR,
			(errcode(code),
			 errmsg("table \"%s\" cannot be unmanaged", get_rel_name(relid)),
			 errdetail_internal("%s", detail),
			 errhint("%s", hint)));
}

static void
check_not_live(Oid relid)
{
	char	   *names = migrate_store_fetch("SELECT string_agg(format('\"%s\" (%s)', name, state),"
											" ', ' ORDER BY version) FROM migrate.migration"
											" WHERE relation = $1 AND state IN ('expanded', 'complete')",
											STORE_ARGS(store_relation(relid)));

	if (names != NULL)
		refuse(relid, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			   psprintf("Live migrations of the table: %s.", names),
			   "Contract them, or roll them back.");
}

static void
check_not_published(Oid relid)
{
	char	   *schema = migrate_store_fetch("SELECT p.schema_name FROM migrate.publication p"
											 " JOIN pg_namespace s ON s.nspname = p.schema_name"
											 " JOIN pg_class v ON v.relnamespace = s.oid AND v.relkind = 'v'"
											 " JOIN pg_class t ON t.relname = v.relname"
											 " WHERE t.oid = $1 ORDER BY 1 LIMIT 1",
											 STORE_ARGS(store_relation(relid)));

	if (schema != NULL)
		refuse(relid, ERRCODE_OBJECT_IN_USE,
			   psprintf("Schema \"%s\" publishes a view of it.", schema),
			   psprintf("SELECT migrate.unpublish(%s) takes it away.", quote_literal_cstr(schema)));
}

static void
check_not_used(Oid relid, const char *version_column)
{
	StringInfoData names;
	StringInfoData remedies;
	ListCell   *lc;

	initStringInfo(&names);
	initStringInfo(&remedies);
	foreach(lc, migrate_objects_using(relid, list_make1((char *) version_column), false, NULL))
	{
		const DependentObject *object = lfirst(lc);

		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", object->words);
		appendStringInfo(&remedies, "%s%s", remedies.len > 0 ? "; " : "", object->remedy);
	}
	if (names.len > 0)
		refuse(relid, ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
			   psprintf("Its column \"%s\" is in use by: %s.", version_column, names.data),
			   psprintf("Have them do without the column, or drop them: %s", remedies.data));
}

static void
check_all(Oid relid, const char *version_column)
{
	check_not_live(relid);
	check_not_published(relid);
	check_not_used(relid, version_column);
}

/* False where there is nothing to do. */
static bool
is_managed(Oid relid, const char *version_column)
{
	if (version_column == NULL)
		ereport(NOTICE,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" is not managed, skipping", get_rel_name(relid))));
	return version_column != NULL;
}

void
migrate_lifecycle_unmanage(Oid relid)
{
	char	   *version_column;

	LockRelationOid(relid, AccessShareLock);
	migrate_migration_check_exists(relid);
	migrate_migration_check_owner(relid);
	version_column = migrate_migration_version_column(relid);
	if (!is_managed(relid, version_column))
		return;
	check_all(relid, version_column);

	migrate_lock_table(relid, "drop the row version");
	version_column = migrate_migration_version_column(relid);
	if (!is_managed(relid, version_column))
		return;
	check_all(relid, version_column);
	/* The rest follows from it (guard/ddl_follow.c), as where somebody drops it by hand. */
	migrate_store_ddl(relid, psprintf("ALTER TABLE %s DROP COLUMN %s",
									  migrate_store_relation_sql(relid),
									  quote_identifier(version_column)));
	migrate_conversion_invalidate(relid);
}
