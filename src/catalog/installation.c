/*
 * catalog/installation.c
 *		Our extension in this database, and whether this library serves it.
 *
 * The library comes with the server's start, the SQL objects of each database with
 * ALTER EXTENSION UPDATE there, so for a while one is newer than the other. The library
 * says of which versions it knows the tables (MIGRATE_SERVED_VERSIONS), and serves
 * those. With any other nothing of ours is read or written, and no table with a live
 * migration either (convert/conversion_cache.c): what its rows read as could not
 * be told. All else in the database goes on.
 *
 * While an update's script runs, the row in pg_extension says the new version already.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "catalog/installation.h"
#include "migrate.h"

static const char *const served[] = {MIGRATE_SERVED_VERSIONS};

static bool
is_served(const char *version)
{
	for (int i = 0; i < lengthof(served); i++)
		if (strcmp(served[i], version) == 0)
			return true;
	return false;
}

bool
migrate_installation_read(Installation *installation)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum(MIGRATE_EXTENSION));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		bool		isnull;
		Datum		version = heap_getattr(tuple, Anum_pg_extension_extversion,
										   RelationGetDescr(rel), &isnull);

		installation->owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
		installation->version = TextDatumGetCString(version);
		installation->is_served = is_served(installation->version);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Versions are numbers with dots between them. */
static bool
is_older(const char *version, const char *than)
{
	while (*version != '\0' && *than != '\0')
	{
		char	   *rest_version;
		char	   *rest_than;
		long		a = strtol(version, &rest_version, 10);
		long		b = strtol(than, &rest_than, 10);

		if (a != b)
			return a < b;
		version = rest_version + strcspn(rest_version, "0123456789");
		than = rest_than + strcspn(rest_than, "0123456789");
	}
	return *version == '\0' && *than != '\0';
}

void
migrate_installation_check(const Installation *installation)
{
	if (installation->is_served)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("extension \"%s\" is version %s, but the library is version %s",
					MIGRATE_EXTENSION, installation->version, MIGRATE_VERSION),
			 errdetail("What the one keeps, the other does not know how to read."),
			 is_older(installation->version, MIGRATE_VERSION)
			 ? errhint("Run ALTER EXTENSION %s UPDATE in this database.", MIGRATE_EXTENSION)
			 : errhint("Install the library of that version and restart the server.")));
}
