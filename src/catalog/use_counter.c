/*
 * catalog/use_counter.c
 *		How often deprecated columns were used, in shared memory.
 *
 * Purpose: whoever uses a deprecated column counts it here, at the price of two
 * stores into memory that it has found before. From here a worker carries the
 * counts to the table migrate.column_use (lifecycle/use_flush.c).
 *
 * A counter has a place in an array, and a state: the number of those that have
 * had the place before, and how often it was used since the last flush. Both are in
 * one word, so that to count is to exchange that word, and fails where the place
 * has gone to another: no use is lost, and none is counted for somebody else. (The
 * time of the last use is stored before, so that whoever takes the count sees it; at
 * worst it is somebody else's by a moment.)
 *
 * A place is given to another key only when everything it counted was carried
 * away, and only where no place is free. The last eighth of the places is for
 * uses of which only the column and the kind are told. If even those are all
 * taken, it is noted when a use went uncounted, and nothing is contracted on such
 * evidence (guard/usage_check.c).
 *
 * Locks: of its own, taken last, for a search through the array; not to count.
 * What was not carried away is lost in a crash of the server; after a shutdown it
 * is read from a file.
 */
#include "postgres.h"

#include <unistd.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "catalog/use_counter.h"
#include "migrate.h"

#define TRANCHE_NAME	MIGRATE_EXTENSION "_uses"
#define PLACES			1024
#define NAMED_PLACES	(PLACES - PLACES / 8)

/* Where counts are while the server is down, and what the file begins with. */
#define FILE_NAME	PGSTAT_STAT_PERMANENT_DIRECTORY "/" MIGRATE_EXTENSION "_uses"
#define FILE_HEADER	((uint32) (0x75736573 ^ sizeof(UseCount)))

/* In a state: the generation above, the count below. */
#define COUNT_BITS		40
#define MAKE_STATE(generation, count)	((uint64) (generation) << COUNT_BITS | (count))
#define STATE_GENERATION(state)		((uint32) ((state) >> COUNT_BITS))
#define STATE_COUNT(state)			((state) & ((UINT64CONST(1) << COUNT_BITS) - 1))
#define MAX_GENERATION				((1 << (64 - COUNT_BITS)) - 1)

typedef struct UseCounter
{
	/* Guard: lock. */
	uint32		hash;
	UseKey		key;			/* without a database: the place is free */
	TimestampTz first_used;

	/* Atomic, no lock. */
	pg_atomic_uint64 state;
	pg_atomic_uint64 last_used;
} UseCounter;

typedef struct SharedUses
{
	LWLock	   *lock;			/* set once at the server's start */
	int			nused;			/* places that have a key; guard: lock */
	pg_atomic_uint64 lost_at;	/* when a use was last not counted; atomic, no lock */
	UseCounter	counters[PLACES];
} SharedUses;

static SharedUses *shared = NULL;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* ---- the memory ---- */

static void
request_shared(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(SharedUses)));
	RequestNamedLWLockTranche(TRANCHE_NAME, 1);
}

static void
initialize(void)
{
	memset(shared, 0, sizeof(SharedUses));
	shared->lock = &GetNamedLWLockTranche(TRANCHE_NAME)->lock;
	pg_atomic_init_u64(&shared->lost_at, 0);
	for (int i = 0; i < PLACES; i++)
	{
		pg_atomic_init_u64(&shared->counters[i].state, 0);
		pg_atomic_init_u64(&shared->counters[i].last_used, 0);
	}
}

static uint32
hash_key(const UseKey *key)
{
	return hash_bytes((const unsigned char *) key, sizeof(UseKey));
}

static void
copy_counter(UseCount *copy, int place, uint64 state)
{
	const UseCounter *counter = &shared->counters[place];

	copy->key = counter->key;
	copy->ref.place = place;
	copy->ref.generation = STATE_GENERATION(state);
	copy->count = STATE_COUNT(state);
	copy->first_used = counter->first_used;
	copy->last_used = (TimestampTz) pg_atomic_read_u64(&shared->counters[place].last_used);
}

/* ---- from one start of the server to the next ---- */

/*
 * Written when the server is shut down, read and removed when it is started: after
 * a crash there is none. A file that is not as expected is passed over.
 */
static void
save_counts(int code, Datum arg)
{
	FILE	   *file;
	uint32		header = FILE_HEADER;
	bool		ok;

	if (code != 0 || shared == NULL)
		return;
	file = AllocateFile(FILE_NAME ".tmp", PG_BINARY_W);
	if (file == NULL)
		goto failed;
	ok = fwrite(&header, sizeof(header), 1, file) == 1;
	for (int i = 0; i < PLACES && ok; i++)
	{
		UseCount	count;

		copy_counter(&count, i, pg_atomic_read_u64(&shared->counters[i].state));
		ok = count.count == 0 || fwrite(&count, sizeof(count), 1, file) == 1;
	}
	if (FreeFile(file) == 0 && ok && durable_rename(FILE_NAME ".tmp", FILE_NAME, LOG) == 0)
		return;
failed:
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not write file \"%s\": %m", FILE_NAME)));
	unlink(FILE_NAME ".tmp");
}

static void
restore_counts(void)
{
	FILE	   *file = AllocateFile(FILE_NAME, PG_BINARY_R);
	uint32		header;
	UseCount	count;
	int			place = 0;

	if (file == NULL)
		return;
	if (fread(&header, sizeof(header), 1, file) == 1 && header == FILE_HEADER)
		while (place < PLACES && fread(&count, sizeof(count), 1, file) == 1)
		{
			UseCounter *counter = &shared->counters[place++];

			counter->key = count.key;
			counter->hash = hash_key(&count.key);
			counter->first_used = count.first_used;
			pg_atomic_write_u64(&counter->state, MAKE_STATE(0, count.count));
			pg_atomic_write_u64(&counter->last_used, (uint64) count.last_used);
		}
	shared->nused = place;
	FreeFile(file);
	unlink(FILE_NAME);
}

static void
attach_shared(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct(TRANCHE_NAME, sizeof(SharedUses), &found);
	if (!found)
		initialize();
	LWLockRelease(AddinShmemInitLock);
	if (!found && !IsUnderPostmaster)
	{
		restore_counts();
		on_shmem_exit(save_counts, (Datum) 0);
	}
}

void
migrate_use_counter_init(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = attach_shared;
}

/* ---- finding a place ---- */

void
migrate_use_key(UseKey *key, Oid relation, AttrNumber attno, char kind,
				Oid role, const char *application_name)
{
	memset(key, 0, sizeof(UseKey));
	key->database = MyDatabaseId;
	key->relation = relation;
	key->role = role;
	key->attno = attno;
	key->kind = kind;
	strlcpy(key->application_name, application_name, NAMEDATALEN);
}

char *
migrate_use_role_name(const UseKey *key)
{
	char	   *name = OidIsValid(key->role) ? GetUserNameFromId(key->role, true) : "";

	return name != NULL ? name : psprintf("%u", key->role);
}

static UseCounterRef
make_ref(int place)
{
	UseCounterRef ref;

	ref.place = place;
	ref.generation = STATE_GENERATION(pg_atomic_read_u64(&shared->counters[place].state));
	return ref;
}

/* Under the lock, in any mode. */
static int
search(const UseKey *key, uint32 hash)
{
	for (int i = 0; i < PLACES; i++)
	{
		UseCounter *counter = &shared->counters[i];

		if (counter->hash == hash && memcmp(&counter->key, key, sizeof(UseKey)) == 0)
			return i;
	}
	return -1;
}

/* A place that nobody has yet. */
static int
take_free(void)
{
	for (int i = 0; i < PLACES; i++)
		if (!OidIsValid(shared->counters[i].key.database))
		{
			shared->nused++;
			return i;
		}
	return -1;
}

/* One that counts nothing at the moment; from then on it is nobody's. */
static int
take_idle(void)
{
	for (int i = 0; i < PLACES; i++)
	{
		UseCounter *counter = &shared->counters[i];
		uint64		state = pg_atomic_read_u64(&counter->state);
		uint64		next = MAKE_STATE((STATE_GENERATION(state) + 1) & MAX_GENERATION, 0);

		if (OidIsValid(counter->key.database) && STATE_COUNT(state) == 0 &&
			pg_atomic_compare_exchange_u64(&counter->state, &state, next))
			return i;
	}
	return -1;
}

static int
take_place(const UseKey *key)
{
	int			place = -1;

	if (shared->nused < (OidIsValid(key->role) ? NAMED_PLACES : PLACES))
		place = take_free();
	return place >= 0 ? place : take_idle();
}

/* Under the lock, exclusively; -1 where there is no room. */
static int
make(const UseKey *key, uint32 hash, TimestampTz now)
{
	int			place = take_place(key);
	UseCounter *counter;

	if (place < 0)
		return -1;
	counter = &shared->counters[place];
	counter->key = *key;
	counter->hash = hash;
	counter->first_used = now;
	pg_atomic_write_u64(&counter->last_used, (uint64) now);
	return place;
}

bool
migrate_use_counter_find(const UseKey *key, TimestampTz now, UseCounterRef *ref)
{
	uint32		hash = hash_key(key);
	int			place;

	LWLockAcquire(shared->lock, LW_SHARED);
	place = search(key, hash);
	if (place >= 0)
		*ref = make_ref(place);
	LWLockRelease(shared->lock);
	if (place >= 0)
		return true;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	place = search(key, hash);
	if (place < 0)
		place = make(key, hash, now);
	if (place >= 0)
		*ref = make_ref(place);
	LWLockRelease(shared->lock);
	return place >= 0;
}

/* ---- counting ---- */

bool
migrate_use_counter_add(UseCounterRef ref, TimestampTz now)
{
	UseCounter *counter = &shared->counters[ref.place];
	uint64		state = pg_atomic_read_u64(&counter->state);

	if (STATE_GENERATION(state) != ref.generation)
		return false;
	pg_atomic_write_u64(&counter->last_used, (uint64) now);
	while (!pg_atomic_compare_exchange_u64(&counter->state, &state, state + 1))
		if (STATE_GENERATION(state) != ref.generation)
			return false;
	return true;
}

void
migrate_use_counter_lose(TimestampTz now)
{
	pg_atomic_write_u64(&shared->lost_at, (uint64) now);
}

TimestampTz
migrate_use_counter_lost(void)
{
	return shared == NULL ? 0 : (TimestampTz) pg_atomic_read_u64(&shared->lost_at);
}

/* ---- carrying away ---- */

List *
migrate_use_counter_list(void)
{
	List	   *counts = NIL;
	UseCount   *copies;
	int			ncopies = 0;

	if (shared == NULL)
		return NIL;
	copies = palloc(PLACES * sizeof(UseCount));
	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < PLACES; i++)
	{
		uint64		state = pg_atomic_read_u64(&shared->counters[i].state);

		if (shared->counters[i].key.database == MyDatabaseId && STATE_COUNT(state) > 0)
			copy_counter(&copies[ncopies++], i, state);
	}
	LWLockRelease(shared->lock);
	for (int i = 0; i < ncopies; i++)
		counts = lappend(counts, &copies[i]);
	return counts;
}

List *
migrate_use_counter_databases(void)
{
	Oid		   *found = palloc(PLACES * sizeof(Oid));
	int			nfound = 0;
	List	   *databases = NIL;

	if (shared == NULL)
		return NIL;
	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < PLACES; i++)
		if (STATE_COUNT(pg_atomic_read_u64(&shared->counters[i].state)) > 0)
			found[nfound++] = shared->counters[i].key.database;
	LWLockRelease(shared->lock);
	for (int i = 0; i < nfound; i++)
		databases = list_append_unique_oid(databases, found[i]);
	pfree(found);
	return databases;
}

/* Nobody counts there any more. */
void
migrate_use_counter_discard(Oid database)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < PLACES; i++)
	{
		pg_atomic_uint64 *state = &shared->counters[i].state;

		if (shared->counters[i].key.database == database)
			pg_atomic_fetch_sub_u64(state, (int64) STATE_COUNT(pg_atomic_read_u64(state)));
	}
	LWLockRelease(shared->lock);
}

/* Nobody else takes from a count, and a place that counts something keeps its key. */
void
migrate_use_counter_subtract(UseCounterRef ref, uint64 count)
{
	pg_atomic_fetch_sub_u64(&shared->counters[ref.place].state, (int64) count);
}
