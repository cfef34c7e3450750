/*
 * convert/pin.c
 *		Which release the session is pinned to, and what that knows.
 *
 * A session is pinned by the setting migrate.release, however it got its value:
 * SET, SET LOCAL, a role's or a database's default, the connection string. What
 * a SET names must exist and must not be retired; a default may turn wrong later, so
 * it is looked at when a statement needs it, and fails that.
 *
 * Who is pinned stands in shared memory from the moment the setting is assigned.
 * To retire a release is to look there (lifecycle/release.c). A session that slips
 * in between finds the release retired when it next needs it: each change of
 * releases invalidates migrate.release, and what is kept here with it.
 *
 * The setting changes what statements may say and how writes are taken, so plans that
 * are kept are made again after a change, and a client's prepared statements are
 * looked at again with that.
 *
 * It concerns clients. Where a role or a database has it, it reaches others too: what
 * logical replication applies is in the publisher's form; a walsender copies tables
 * to a subscriber, with all columns; autovacuum and parallel workers say nothing.
 * They are not pinned, and not counted. Our own workers override the setting.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

#include "catalog/names.h"
#include "catalog/store.h"
#include "convert/conversion.h"
#include "convert/pin.h"
#include "convert/rows.h"
#include "guc.h"
#include "shmem.h"

typedef struct KnownRelease
{
	bool		valid;			/* was read, and nothing has changed since */
	bool		exists;
	bool		retired;
	List	   *migrations;		/* of char *, in TopMemoryContext */
} KnownRelease;

static KnownRelease known;
static Oid	release_relid = InvalidOid; /* migrate.release, once seen */

static void
relcache_callback(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == release_relid)
		known.valid = false;
}

static bool
is_client(void)
{
	if (MyBackendType == B_BG_WORKER)	/* an extension's may run what clients ask for */
		return !IsLogicalWorker() && !IsParallelWorker() && !InitializingParallelWorker;
	return MyBackendType == B_BACKEND;
}

/* ---- reading what is recorded ---- */

static void
read_release(const char *name, bool *exists, bool *retired)
{
	ScanKeyData key;
	Rows		rows;

	*exists = *retired = false;
	rows_key_text(&key, 1, name);
	if (!rows_begin(&rows, "release", "release_pkey", 1, &key))
		return;
	if (rows_next(&rows))
	{
		bool		isnull;

		*exists = true;
		(void) rows_get(&rows, "retired_at", &isnull);
		*retired = !isnull;
	}
	rows_end(&rows);
}

static List *
read_migrations(const char *name)
{
	ScanKeyData key;
	Rows		rows;
	List	   *migrations = NIL;

	rows_key_text(&key, 1, name);
	if (!rows_begin(&rows, "release_migration", "release_migration_pkey", 1, &key))
		return NIL;
	while (rows_next(&rows))
		migrations = lappend(migrations, rows_get_text(&rows, "migration"));
	rows_end(&rows);
	return migrations;
}

static void
keep(List *migrations)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	ListCell   *lc;

	list_free_deep(known.migrations);
	known.migrations = NIL;
	foreach(lc, migrations)
		known.migrations = lappend(known.migrations, pstrdup(lfirst(lc)));
	MemoryContextSwitchTo(old);
}

/* Valid first: an invalidation that arrives while we read must not be forgotten. */
static void
look(void)
{
	bool		exists;
	bool		retired;

	if (known.valid)
		return;
	release_relid = migrate_store_table("release");
	known.exists = false;
	known.valid = true;
	read_release(migrate_guc_release, &exists, &retired);
	keep(exists ? read_migrations(migrate_guc_release) : NIL);
	known.exists = exists;
	known.retired = retired;
	migrate_shmem_pin(migrate_guc_release);
}

/* ---- asking ---- */

bool
migrate_pin_is_set(void)
{
	return migrate_guc_release != NULL && migrate_guc_release[0] != '\0' &&
		is_client() && migrate_conversion_any();
}

static void
refuse(int code, const char *message, const char *detail)
{
	ereport(ERROR,
			(errcode(code),
			 errmsg("release \"%s\" %s", migrate_guc_release, message),
			 errdetail("The setting \"migrate.release\" pins this session to it%s", detail),
			 errhint("See migrate.releases for those that there are.")));
}

const char *
migrate_pin_release(void)
{
	look();
	if (!known.exists)
	{
		known.valid = false;
		refuse(ERRCODE_UNDEFINED_OBJECT, "does not exist", ".");
	}
	if (known.retired)
		refuse(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "is retired",
			   ", and what it needs may be gone.");
	return migrate_guc_release;
}

bool
migrate_pin_knows(const char *migration)
{
	(void) migrate_pin_release();
	return migrate_names_contain(known.migrations, migration);
}

uint32
migrate_pin_speaks(const Conversion *conversion)
{
	uint32		speaks = 0;

	if (!migrate_pin_is_set())
		return 0;
	for (int i = 0; i < conversion->nlive; i++)
		if (migrate_pin_knows(conversion->live[i].name))
			speaks |= (uint32) 1 << i;
	return speaks;
}

void
migrate_pin_invalidate(void)
{
	CacheInvalidateRelcacheByRelid(migrate_store_table("release"));
}

/* ---- the setting ---- */

static const char *
what_is_wrong(const char *release, int *code)
{
	bool		exists;
	bool		retired;

	read_release(release, &exists, &retired);
	*code = exists ? ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE : ERRCODE_UNDEFINED_OBJECT;
	return exists ? (retired ? "is retired" : NULL) : "does not exist";
}

/*
 * What is set by hand is looked at; what comes from elsewhere, when it is needed. What
 * is only stored as a default may be meant for another database, or for later.
 */
static bool
check(const char *value, GucSource source)
{
	const char *wrong;
	int			code;

	if (value[0] == '\0' || source < PGC_S_INTERACTIVE || !IsTransactionState() ||
		InitializingParallelWorker || !OidIsValid(migrate_store_table("release")))
		return true;
	wrong = what_is_wrong(value, &code);
	if (wrong == NULL)
		return true;
	if (source == PGC_S_TEST)
	{
		ereport(NOTICE,
				(errcode(code), errmsg("release \"%s\" %s", value, wrong)));
		return true;
	}
	GUC_check_errcode(code);
	GUC_check_errmsg("release \"%s\" %s", value, wrong);
	GUC_check_errhint("See migrate.releases for those that there are.");
	return false;
}

/* Called at the end of a transaction too, also of one that failed: no catalog is read here. */
static void
assign(const char *value)
{
	known.valid = false;
	if (!is_client())
		return;
	migrate_shmem_pin(value);
	if (migrate_guc_release == NULL || strcmp(value, migrate_guc_release) != 0)
		ResetPlanCache();
}

void
migrate_pin_init(void)
{
	migrate_guc_release_check = check;
	migrate_guc_release_assign = assign;
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
}
