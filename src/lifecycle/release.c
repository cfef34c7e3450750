/*
 * lifecycle/release.c
 *		Releases: named sets of migrations that clients speak.
 *
 * A release that is not retired holds up the contract of the migrations that it
 * lacks (guard/contract_gate.c), and is what a session can be pinned to
 * (convert/pin.c). A set is closed: with a migration it has all that this one
 * depends on.
 *
 * From when a release has been created until it is retired, writes are held to what it
 * can represent (convert/minimum.c).
 *
 * Retiring looks for pinned sessions after it has locked the release's row, and
 * commits the change after that. Who pins meanwhile is not seen, but finds the
 * release retired with its next statement that needs it; the contract that
 * this makes way for waits for older snapshots.
 */
#include "postgres.h"

#include "catalog/pg_database.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "catalog/graph_load.h"
#include "catalog/names.h"
#include "catalog/store.h"
#include "compat.h"
#include "convert/conversion.h"
#include "convert/minimum.h"
#include "convert/pin.h"
#include "lifecycle/lock.h"
#include "lifecycle/release.h"
#include "shmem.h"

/* ---- who may ---- */

bool
migrate_release_may_change(Oid role)
{
	List	   *tables;
	ListCell   *lc;

	if (compat_is_database_owner(MyDatabaseId, role))
		return true;
	tables = migrate_store_fetch_list("SELECT relation::oid FROM migrate.managed", STORE_NO_ARGS);
	foreach(lc, tables)
		if (!compat_is_relation_owner(atooid(lfirst(lc)), role))
			return false;
	return tables != NIL;
}

void
migrate_release_check_rights(void)
{
	if (!migrate_release_may_change(GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for releases"),
				 errdetail("They concern all tables: only the owner of the database or of every managed table may change them.")));
}

/* ---- creating ---- */

static void
check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" cannot be the name of a release", name),
				 errdetail("A name has 1 to %d bytes.", NAMEDATALEN - 1)));
}

static List *
expanded_now(void)
{
	return migrate_store_fetch_list("SELECT name FROM migrate.migration"
									" WHERE state IN ('expanded', 'complete', 'contracted')"
									" ORDER BY seq", STORE_NO_ARGS);
}

static void
check_closed(const char *release, List *migrations)
{
	RecordedGraph *recorded = migrate_graph_load();
	ListCell   *lc;

	foreach(lc, migrations)
	{
		int			node = migrate_graph_find(recorded, lfirst(lc));

		if (node < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("migration \"%s\" does not exist", (char *) lfirst(lc)),
					 errhint("See migrate.status for those that do.")));
		for (int before = 0; before < recorded->count; before++)
			if (migrate_graph_is_before(recorded->graph, before, node) &&
				!migrate_names_contain(migrations, recorded->nodes[before].name))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("release \"%s\" lacks migration \"%s\"",
								release, recorded->nodes[before].name),
						 errdetail("Migration \"%s\", which it has, depends on that one.",
								   (char *) lfirst(lc)),
						 errhint("Name it too.")));
	}
}

static List *
migrations_of(const char *release)
{
	return migrate_store_fetch_list("SELECT migration FROM migrate.release_migration"
									" WHERE release = $1",
									STORE_ARGS(store_text(release)));
}

/* The same again is no news. A retired one does not come back: what it needs may be gone. */
static void
create_again(const char *name, List *migrations, bool are_given)
{
	if (are_given && !migrate_names_are_same(migrations_of(name), migrations))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("release \"%s\" already exists with other migrations", name),
				 errhint("Choose another name.")));
	ereport(NOTICE,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("release \"%s\" already exists, skipping", name)));
}

/*
 * Hold writes to a release from the moment when it is there: none that began before
 * must go on after it (convert/minimum.c). Most releases know all that is live and
 * take no lock.
 */
static void
lock_writers_out(const char *name, List *tables)
{
	List	   *locks = NIL;
	ListCell   *lc;

	if (tables == NIL)
		return;
	foreach(lc, tables)
		locks = migrate_lock_add(locks, lfirst_oid(lc), ShareLock);
	migrate_lock_tables(locks, psprintf("create release \"%s\"", name));
}

/* Have every backend ask again whom these tables' migrations are lacked by. */
static void
tell(List *tables)
{
	ListCell   *lc;

	foreach(lc, tables)
	{
		LockRelationOid(lfirst_oid(lc), AccessShareLock);
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(lfirst_oid(lc))))
			continue;			/* dropped, with the guard off */
		(void) find_all_inheritors(lfirst_oid(lc), AccessShareLock, NULL);
		migrate_conversion_invalidate(lfirst_oid(lc));
	}
	migrate_pin_invalidate();
}

void
migrate_release_create(const char *name, List *migrations, bool are_given)
{
	List	   *tables;

	migrate_release_check_rights();
	check_name(name);
	LockRelationOid(migrate_store_table("release"), RowExclusiveLock);
	if (are_given)
		check_closed(name, migrations);
	else
		migrations = expanded_now();
	if (migrate_store_execute("INSERT INTO migrate.release (name) VALUES ($1)"
							  " ON CONFLICT DO NOTHING", STORE_ARGS(store_text(name))) == 0)
	{
		create_again(name, migrations, are_given);
		return;
	}
	migrate_store_execute("INSERT INTO migrate.release_migration"
						  " SELECT DISTINCT $1, m FROM unnest($2) m",
						  STORE_ARGS(store_text(name), store_text_array(migrations)));
	tables = migrate_minimum_tables(migrations);
	lock_writers_out(name, tables);
	tell(tables);
}

void
migrate_release_hold(void)
{
	LockRelationOid(migrate_store_table("release"), ShareLock);
}

/* ---- retiring ---- */

void
migrate_release_check_active(const char *name)
{
	char	   *state = migrate_store_fetch("SELECT CASE WHEN retired_at IS NULL THEN 'active' ELSE 'retired' END"
											" FROM migrate.release WHERE name = $1 FOR SHARE",
											STORE_ARGS(store_text(name)));

	if (state == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("release \"%s\" does not exist", name),
				 errhint("See migrate.releases for those that there are.")));
	if (strcmp(state, "retired") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("release \"%s\" is retired", name)));
}

/* Who is pinned to it, as others see sessions: pid, role and program. */
static char *
pinned_to(const char *name)
{
	StringInfoData sessions;
	ListCell   *lc;

	initStringInfo(&sessions);
	foreach(lc, migrate_shmem_pins())
	{
		PinSlot    *pin = lfirst(lc);
		char	   *words;

		if (strcmp(pin->release, name) != 0)
			continue;
		words = migrate_store_fetch("SELECT format('%s (role %s%s)', pid, usename,"
									" ', ' || nullif(application_name, ''))"
									" FROM pg_stat_activity WHERE pid = $1",
									STORE_ARGS(store_int(pin->pid)));
		appendStringInfo(&sessions, "%s%s", sessions.len > 0 ? ", " : "",
						 words ? words : psprintf("%d", pin->pid));
	}
	return sessions.len > 0 ? sessions.data : NULL;
}

void
migrate_release_retire(const char *name)
{
	char	   *sessions;

	migrate_release_check_rights();
	if (migrate_store_execute("SELECT FROM migrate.release WHERE name = $1 FOR UPDATE",
							  STORE_ARGS(store_text(name))) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("release \"%s\" does not exist", name),
				 errhint("See migrate.releases for those that there are.")));
	sessions = pinned_to(name);
	if (sessions != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("release \"%s\" cannot be retired: sessions are pinned to it", name),
				 errdetail("Pinned: %s.", sessions),
				 errhint("End them, or have them SET migrate.release to another one.")));
	if (migrate_store_execute("UPDATE migrate.release SET retired_at = now()"
							  " WHERE name = $1 AND retired_at IS NULL",
							  STORE_ARGS(store_text(name))) == 0)
		ereport(NOTICE, (errmsg("release \"%s\" is already retired, skipping", name)));
	tell(migrate_minimum_tables(migrations_of(name)));
}
