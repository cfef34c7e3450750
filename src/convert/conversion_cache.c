/*
 * convert/conversion_cache.c
 *		The conversions that this backend knows, and which relations have none.
 *
 * The relcache callback only marks: an entry is compiled anew when it is next
 * asked for, at a point where the catalog may be read. A conversion that was
 * replaced may still be in use further up the stack (by a trigger whose
 * expression ran a query on the same table), so it is put aside and freed when
 * the transaction ends.
 *
 * What brings other backends to look again: expand, contract, rollback and
 * completion invalidate the relation and its partitions, and migrate.managed,
 * whose entry stands for "is anything live in this database?". All but
 * completion hold AccessExclusiveLock on the table until they commit, so no
 * statement runs on it with what it knew before. Completion needs no lock: a
 * plan from before it computes, for rows that are all converted, what a plan
 * from after it reads. Neither do pause and resume, of which reads learn only
 * whether it is worth while to note where they met stale rows.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "catalog/installation.h"
#include "catalog/store.h"
#include "convert/conversion.h"
#include "convert/conversion_private.h"
#include "migrate.h"

typedef struct CacheEntry
{
	Oid			relid;			/* hash key */
	bool		valid;
	Conversion *conversion;		/* NULL: the relation has no live migration */
} CacheEntry;

typedef enum Knowledge
{
	UNKNOWN,
	NO,
	UNSERVED,					/* in a version that this library does not serve */
	YES
} Knowledge;

static HTAB *cache = NULL;
static List *retired = NIL;		/* of Conversion *, until the transaction ends */
static Knowledge installed = UNKNOWN;	/* has this database our extension? */
static bool summary_valid = false;
static LiveSummary summary;		/* of what is live in it; in TopMemoryContext */
static Oid	managed_relid = InvalidOid; /* migrate.managed, once seen */

/* ---- invalidation: only marks ---- */

static void
mark_all_invalid(void)
{
	HASH_SEQ_STATUS status;
	CacheEntry *entry;

	hash_seq_init(&status, cache);
	while ((entry = hash_seq_search(&status)) != NULL)
		entry->valid = false;
}

static void
relcache_callback(Datum arg, Oid relid)
{
	CacheEntry *entry;

	/* CREATE EXTENSION makes tables: "not installed" does not outlive any. */
	if (installed == NO)
		installed = UNKNOWN;
	if (!OidIsValid(relid) || relid == managed_relid)
	{
		summary_valid = false;
		installed = UNKNOWN;
	}
	if (!OidIsValid(relid))
		mark_all_invalid();
	else if ((entry = hash_search(cache, &relid, HASH_FIND, NULL)) != NULL)
		entry->valid = false;
}

/*
 * A function was replaced, or a domain has got other constraints: it may be one
 * that an expression was compiled with, for the body of an SQL function is
 * inlined, and a domain's constraints are looked up once. Built-in ones stay
 * what they are.
 */
static void
users_code_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	HASH_SEQ_STATUS status;
	CacheEntry *entry;

	hash_seq_init(&status, cache);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (entry->conversion != NULL && !entry->conversion->all_inlinable)
			entry->valid = false;
}

static void
free_retired(XactEvent event, void *arg)
{
	ListCell   *lc;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE && event != XACT_EVENT_PARALLEL_COMMIT &&
		event != XACT_EVENT_PARALLEL_ABORT)
		return;
	foreach(lc, retired)
		MemoryContextDelete(((Conversion *) lfirst(lc))->context);
	list_free(retired);
	retired = NIL;
}

void
migrate_conversion_init(void)
{
	HASHCTL		control = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(CacheEntry),
	};

	cache = hash_create("migrate conversions", 64, &control, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, users_code_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, users_code_callback, (Datum) 0);
	RegisterXactCallback(free_retired, NULL);
}

/* ---- asking ---- */

/* That the extension was updated is not announced: what is not served is looked at again. */
static bool
is_installed(void)
{
	Installation installation;

	if (installed != UNKNOWN && installed != UNSERVED)
		return installed == YES;
	if (!migrate_installation_read(&installation))
		installed = NO;
	else if (!OidIsValid(managed_relid = migrate_store_table("managed")))
		installed = NO;
	else
		installed = installation.is_served ? YES : UNSERVED;
	return installed != NO;
}

/*
 * What a table's rows read as, and what has to be stored of a write, cannot be told where the
 * catalog is in a version that we do not know. Which table that concerns, its trigger tells.
 */
static void
refuse_unserved(Oid relid)
{
	Installation installation;

	if (OidIsValid(get_trigger_oid(relid, MIGRATE_TRIGGER_NAME, true)) &&
		migrate_installation_read(&installation))
		migrate_installation_check(&installation);
}

/*
 * An invalidation that arrives while we read must not be forgotten, so the
 * summary counts as valid first. An error while we read leaves one that says
 * that everything may be stale, and is read again.
 */
static void
load_summary(void)
{
	static const LiveSummary worst = {
		.any = true, .any_expanded = true, .any_deprecated = true
	};
	LiveSummary loaded;
	MemoryContext old;
	ListCell   *lc;

	list_free_deep(summary.completed);
	summary = worst;
	summary_valid = true;
	PG_TRY();
	{
		migrate_conversion_load_summary(&loaded);
	}
	PG_CATCH();
	{
		summary_valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();

	old = MemoryContextSwitchTo(TopMemoryContext);
	summary.any = loaded.any;
	summary.any_expanded = loaded.any_expanded;
	summary.any_deprecated = loaded.any_deprecated;
	foreach(lc, loaded.completed)
	{
		FullTransactionId *xid = palloc(sizeof(FullTransactionId));

		*xid = *(FullTransactionId *) lfirst(lc);
		summary.completed = lappend(summary.completed, xid);
	}
	MemoryContextSwitchTo(old);
}

bool
migrate_conversion_any(void)
{
	/* Without preloading there is no callback that would keep us right. */
	if (cache == NULL || !OidIsValid(MyDatabaseId) || !is_installed())
		return false;
	if (installed == UNSERVED)
		return true;			/* in which tables, only these tell */
	if (!summary_valid)
		load_summary();
	return summary.any;
}

bool
migrate_conversion_any_deprecated(void)
{
	return migrate_conversion_any() && installed == YES && summary.any_deprecated;
}

static void
retire(Conversion *conversion)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	retired = lappend(retired, conversion);
	MemoryContextSwitchTo(old);
}

/*
 * Reading the catalog may bring in an invalidation of this very relation. What
 * was read is right all the same, for the caller's lock keeps expand, contract
 * and rollback away; but the entry stays marked, to be read again next time.
 */
static void
compile(CacheEntry *entry)
{
	Conversion *conversion;

	entry->valid = true;
	conversion = migrate_conversion_load(entry->relid);
	if (entry->conversion != NULL)
		retire(entry->conversion);
	entry->conversion = conversion;
}

Conversion *
migrate_conversion_get(Oid relid)
{
	CacheEntry *entry;
	bool		found;

	if (!migrate_conversion_any())
		return NULL;
	if (installed == UNSERVED)
	{
		refuse_unserved(relid);
		return NULL;
	}
	entry = hash_search(cache, &relid, HASH_ENTER, &found);
	if (!found)
	{
		entry->valid = false;
		entry->conversion = NULL;
	}
	if (!entry->valid)
	{
		PG_TRY();
		{
			compile(entry);
		}
		PG_CATCH();
		{
			entry->valid = false;
			PG_RE_THROW();
		}
		PG_END_TRY();
	}
	return entry->conversion;
}

/* ---- settled or stale ---- */

/*
 * Does the active snapshot see everything that the given transaction saw
 * committed? Then it sees every conversion that its completion vouched for.
 * Completion has waited for the snapshots that were older (lifecycle/complete.c),
 * but for those of sessions that sit in migrate.wait(): this is for them.
 *
 * A number that has yet to be given out is of another server, from where the rows came
 * in a dump: converted, as all that sees them here.
 */
static bool
is_seen(FullTransactionId completed)
{
	FullTransactionId next = ReadNextFullTransactionId();
	Snapshot	snapshot;

	if (!FullTransactionIdIsValid(completed))
		return false;
	if (FullTransactionIdFollowsOrEquals(completed, next))
		return true;
	if (U64FromFullTransactionId(next) - U64FromFullTransactionId(completed) > (1 << 30))
		return true;
	if (!ActiveSnapshotSet())
		return false;
	snapshot = GetActiveSnapshot();
	return snapshot->snapshot_type == SNAPSHOT_MVCC &&
		!XidInMVCCSnapshot(XidFromFullTransactionId(completed), snapshot);
}

/*
 * On a standby nobody waited for its snapshots, so there every live migration
 * may have stale rows.
 */
static bool
is_settled(const LiveMigration *migration)
{
	return migration->complete && !RecoveryInProgress() &&
		is_seen(migration->completed_xid);
}

bool
migrate_conversion_any_stale(void)
{
	ListCell   *lc;

	if (!migrate_conversion_any())
		return false;
	if (installed == UNSERVED || summary.any_expanded || RecoveryInProgress())
		return true;
	foreach(lc, summary.completed)
	{
		if (!is_seen(*(FullTransactionId *) lfirst(lc)))
			return true;
	}
	return false;
}

int
migrate_conversion_first_stale(const Conversion *conversion)
{
	int			i = 0;

	while (i < conversion->nlive && is_settled(&conversion->live[i]))
		i++;
	return i;
}

/* ---- telling ---- */

void
migrate_conversion_invalidate(Oid root)
{
	ListCell   *lc;
	Oid			managed = migrate_store_table("managed");

	foreach(lc, find_all_inheritors(root, NoLock, NULL))
		CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
	CacheInvalidateRelcacheByRelid(managed);
}
