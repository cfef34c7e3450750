/*
 * write/supported.c
 *		Rows of a version from before, or beyond, those that a table takes.
 *
 * A row that says its version (of a dump, or replicated) is upgraded from there.
 * Below the floor that takes what a contract has dropped; above the newest
 * version nobody here knows what the row holds, and later it would be taken for one that
 * a migration has converted. Both are refused, and the error says what to do.
 *
 * While a migration is live the write trigger looks at each row. With the last one
 * the triggers go, and a CHECK that asks migrate.is_supported() of rows of other
 * versions takes their place (lifecycle/drop_form.c). What is supported is read when it
 * is asked: a constraint that was left on a detached partition or a copy does no harm.
 * Of what logical replication applies, the server does not know the tableoid there. So
 * the constraint names a migration of the table, too, which unlike an OID is the same
 * in a restored dump.
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/store.h"
#include "write/supported.h"

/* ---- what is supported ---- */

bool
migrate_supported_load(Oid relid, SupportedVersions *supported)
{
	char	   *columns[3];

	if (!OidIsValid(relid))
		return false;
	while (!migrate_store_fetch_row("SELECT version_column, floor, version FROM migrate.managed"
									" WHERE relation = $1", STORE_ARGS(store_relation(relid)),
									lengthof(columns), columns))
	{
		if (!get_rel_relispartition(relid))
			return false;
		relid = get_partition_parent(relid, true);
	}
	supported->root = relid;
	supported->column = columns[0];
	supported->floor = pg_strtoint32(columns[1]);
	supported->newest = pg_strtoint32(columns[2]);
	return true;
}

/* The table that a migration is of; InvalidOid where there is none of that name. */
Oid
migrate_supported_relation_of(const char *migration)
{
	char	   *relid = migrate_store_fetch("SELECT relation::oid FROM migrate.migration WHERE name = $1",
											STORE_ARGS(store_text(migration)));

	return relid ? atooid(relid) : InvalidOid;
}

/* ---- what is not ---- */

/* The oldest release that knows all migrations up to a version; or NULL. */
static const char *
release_that_knows(Oid root, int32 version)
{
	return migrate_store_fetch("SELECT r.name FROM migrate.release r WHERE NOT EXISTS ("
							   " SELECT FROM migrate.migration m WHERE m.relation = $1"
							   "  AND m.version <= $2 AND NOT EXISTS ("
							   "   SELECT FROM migrate.release_migration k"
							   "   WHERE k.release = r.name AND k.migration = m.name))"
							   " ORDER BY r.seq LIMIT 1",
							   STORE_ARGS(store_relation(root), store_int(version)));
}

static char *
what_to_do(const SupportedVersions *supported, int32 version)
{
	const char *release;

	if (version > supported->newest)
		return psprintf("Expand the migrations that the row comes from first, or leave out column \"%s\".",
						supported->column);
	release = release_that_knows(supported->root, supported->floor);
	if (release != NULL)
		return psprintf("Take such rows through release \"%s\" first, or write them in their present form, without column \"%s\".",
						release, supported->column);
	return psprintf("Write the row in its present form, without column \"%s\".",
					supported->column);
}

/*
 * Not a constraint's violation: nothing is wrong with the row, but the table
 * is not, or no longer, in the state to take it.
 */
void
migrate_supported_check(const SupportedVersions *supported, Oid relid, int32 version)
{
	if (version >= supported->floor && version <= supported->newest)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("row version %d is not supported by relation \"%s\"",
					version, get_rel_name(relid)),
			 errdetail("Versions %d to %d are supported.",
					   supported->floor, supported->newest),
			 errhint("%s", what_to_do(supported, version))));
}
