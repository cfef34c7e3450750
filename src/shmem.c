/*
 * shmem.c
 *		What the server's processes tell each other: that there is work, where it
 *		is wanted first, who is at work, and who merely waits for it.
 *
 * Nothing here needs to survive: a crash of any process empties all of it,
 * and the launcher, when it starts again, looks at every database. What is to
 * be done stands in the tables.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "compat.h"
#include "migrate.h"
#include "shmem.h"

#define TRANCHE_NAME	MIGRATE_EXTENSION

MigrateShared *migrate_shared = NULL;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static bool work_requested = false; /* by the transaction that is running */

/* ---- the memory ---- */

static Size
waiters_size(void)
{
	return MAXALIGN(add_size(offsetof(MigrateShared, waiters),
							 mul_size(COMPAT_BACKEND_COUNT, sizeof(pg_atomic_uint32))));
}

static Size
pins_size(void)
{
	return MAXALIGN(mul_size(COMPAT_BACKEND_COUNT, sizeof(PinSlot)));
}

static Size
converters_size(void)
{
	return mul_size(COMPAT_BACKEND_COUNT, sizeof(ConverterSlot));
}

static Size
shared_size(void)
{
	return add_size(waiters_size(), add_size(pins_size(), converters_size()));
}

static void
request_shared(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(TRANCHE_NAME, 1);
}

static void
initialize(void)
{
	memset(migrate_shared, 0, offsetof(MigrateShared, waiters));
	migrate_shared->lock = &GetNamedLWLockTranche(TRANCHE_NAME)->lock;
	migrate_shared->look_everywhere = true;
	for (int i = 0; i < MIGRATE_NOTED_BLOCKS; i++)
		pg_atomic_init_u64(&migrate_shared->noted_blocks[i], 0);
	migrate_shared->nbackends = COMPAT_BACKEND_COUNT;
	migrate_shared->pins = (PinSlot *) ((char *) migrate_shared + waiters_size());
	migrate_shared->converters =
		(ConverterSlot *) ((char *) migrate_shared->pins + pins_size());
	memset(migrate_shared->pins, 0, pins_size() + converters_size());
	for (int i = 0; i < migrate_shared->nbackends; i++)
		pg_atomic_init_u32(&migrate_shared->waiters[i], InvalidLocalTransactionId);
}

static void
attach_shared(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	migrate_shared = ShmemInitStruct(MIGRATE_EXTENSION, shared_size(), &found);
	if (!found)
		initialize();
	LWLockRelease(AddinShmemInitLock);
}

/* ---- asking for work ---- */

static void
add_request(Oid database)
{
	for (int i = 0; i < migrate_shared->nrequests; i++)
		if (migrate_shared->requests[i] == database)
			return;
	if (migrate_shared->nrequests < MIGRATE_MAX_REQUESTS)
		migrate_shared->requests[migrate_shared->nrequests++] = database;
	else
		migrate_shared->look_everywhere = true;
}

void
migrate_shmem_request_visit(Oid database)
{
	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	add_request(database);
	if (migrate_shared->launcher != NULL)
		SetLatch(migrate_shared->launcher);
	LWLockRelease(migrate_shared->lock);
}

/*
 * Only a commit makes work: before it nobody else could see what is to be
 * done. A prepared transaction commits elsewhere; what it asked for is found
 * when the launcher next looks at every database.
 */
static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && work_requested)
		migrate_shmem_request_visit(MyDatabaseId);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		work_requested = false;
}

void
migrate_shmem_request_work(void)
{
	work_requested = migrate_shared != NULL;
}

/* ---- who is at work ---- */

int
migrate_shmem_count_workers(Oid relation)
{
	int			count = 0;

	if (migrate_shared == NULL)
		return 0;
	LWLockAcquire(migrate_shared->lock, LW_SHARED);
	for (int i = 0; i < MIGRATE_MAX_SLOTS; i++)
	{
		WorkerSlot *slot = &migrate_shared->slots[i];

		if (slot->state == SLOT_RUNNING && slot->database == MyDatabaseId &&
			slot->relation == relation)
			count++;
	}
	LWLockRelease(migrate_shared->lock);
	return count;
}

static void
write_converter(Oid relation)
{
	VirtualTransactionId self;
	ConverterSlot *converter;

	GET_VXID_FROM_PGPROC(self, *MyProc);
	converter = &migrate_shared->converters[COMPAT_VXID_INDEX(self)];
	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	converter->database = MyDatabaseId;
	converter->relation = relation;
	LWLockRelease(migrate_shared->lock);
}

/* Whose session ends in the midst of it is none before the slot is another's. */
static void
convert_nothing_at_exit(int code, Datum arg)
{
	write_converter(InvalidOid);
}

void
migrate_shmem_convert(Oid relation)
{
	static bool will_end = false;

	if (migrate_shared == NULL)
		return;
	if (!will_end)
		on_shmem_exit(convert_nothing_at_exit, (Datum) 0);
	will_end = true;
	write_converter(relation);
}

int
migrate_shmem_count_converters(Oid relation)
{
	int			count = 0;

	if (migrate_shared == NULL)
		return 0;
	LWLockAcquire(migrate_shared->lock, LW_SHARED);
	for (int i = 0; i < migrate_shared->nbackends; i++)
	{
		ConverterSlot *converter = &migrate_shared->converters[i];

		if (converter->relation == relation && converter->database == MyDatabaseId)
			count++;
	}
	LWLockRelease(migrate_shared->lock);
	return count;
}

/* ---- waiting ---- */

/*
 * CREATE INDEX CONCURRENTLY waits for all older snapshots, and what builds the
 * indexes that are to stand before a migration is complete would wait for us
 * who wait for it: a circle that no deadlock detector sees. So we look to it
 * like another of its kind, which it passes by. What it protects are reads by
 * an older snapshot through the new index, be it ours or another session's on another
 * table. So that is for a statement alone that reads nothing more.
 */
static void
set_passed_by(bool passed_by)
{
	LWLockAcquire(ProcArrayLock, LW_EXCLUSIVE);
	if (passed_by)
		MyProc->statusFlags |= PROC_IN_SAFE_IC;
	else
		MyProc->statusFlags &= ~PROC_IN_SAFE_IC;
	ProcGlobal->statusFlags[MyProc->pgxactoff] = MyProc->statusFlags;
	LWLockRelease(ProcArrayLock);
}

void
migrate_shmem_begin_wait(bool reads_nothing_more)
{
	VirtualTransactionId self;

	if (reads_nothing_more)
		set_passed_by(true);
	GET_VXID_FROM_PGPROC(self, *MyProc);
	if (migrate_shared != NULL)
		pg_atomic_write_u32(&migrate_shared->waiters[COMPAT_VXID_INDEX(self)],
							self.localTransactionId);
}

void
migrate_shmem_end_wait(void)
{
	VirtualTransactionId self;

	set_passed_by(false);
	GET_VXID_FROM_PGPROC(self, *MyProc);
	if (migrate_shared != NULL)
		pg_atomic_write_u32(&migrate_shared->waiters[COMPAT_VXID_INDEX(self)],
							InvalidLocalTransactionId);
}

bool
migrate_shmem_is_waiting(VirtualTransactionId vxid)
{
	int			index = COMPAT_VXID_INDEX(vxid);

	return migrate_shared != NULL &&
		index >= 0 && index < migrate_shared->nbackends &&
		pg_atomic_read_u32(&migrate_shared->waiters[index]) == vxid.localTransactionId;
}

/* ---- blocks that reads have noted ---- */

/* Never zero, so that a note never looks like none. */
static uint32
heap_tag(Oid heap)
{
	return hash_combine(murmurhash32(MyDatabaseId), murmurhash32(heap)) | 1;
}

static uint64
make_note(uint32 tag, BlockNumber block)
{
	return (uint64) tag << 32 | block;
}

/* Neighbours are kept in neighbouring places. */
static pg_atomic_uint64 *
place_of(uint32 tag, BlockNumber block)
{
	return &migrate_shared->noted_blocks[(tag + block) % MIGRATE_NOTED_BLOCKS];
}

/* For each stale row that is read: most find that it is noted, and write nothing. */
void
migrate_shmem_note_block(Oid heap, BlockNumber block)
{
	uint32		tag = heap_tag(heap);
	uint64		note = make_note(tag, block);
	pg_atomic_uint64 *place = place_of(tag, block);

	if (pg_atomic_read_u64(place) != note)
		pg_atomic_write_u64(place, note);
}

/* Others are for who converts another part of the heap, and cost nothing. */
bool
migrate_shmem_take_noted_block(Oid heap, BlockNumber first, BlockNumber from, BlockNumber to,
							   int *place, BlockNumber *block)
{
	uint32		tag = heap_tag(heap);

	while (migrate_shared != NULL && *place < MIGRATE_NOTED_BLOCKS)
	{
		pg_atomic_uint64 *noted = &migrate_shared->noted_blocks[(*place)++];
		uint64		note = pg_atomic_read_u64(noted);

		*block = (BlockNumber) note;
		if (note >> 32 != tag || *block < first || *block >= to ||
			!pg_atomic_compare_exchange_u64(noted, &note, 0))
			continue;
		if (*block >= from)
			return true;
	}
	return false;
}

bool
migrate_shmem_has_noted_block(Oid heap)
{
	uint32		tag = heap_tag(heap);

	for (int i = 0; migrate_shared != NULL && i < MIGRATE_NOTED_BLOCKS; i++)
		if (pg_atomic_read_u64(&migrate_shared->noted_blocks[i]) >> 32 == tag)
			return true;
	return false;
}

/* ---- pins ---- */

static void
write_pin(const char *release)
{
	VirtualTransactionId self;
	PinSlot    *pin;

	GET_VXID_FROM_PGPROC(self, *MyProc);
	pin = &migrate_shared->pins[COMPAT_VXID_INDEX(self)];
	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	pin->pid = release[0] != '\0' ? MyProcPid : 0;
	pin->database = MyDatabaseId;
	strlcpy(pin->release, release, NAMEDATALEN);
	LWLockRelease(migrate_shared->lock);
}

static void
unpin_at_exit(int code, Datum arg)
{
	write_pin("");
}

/*
 * At exit, the abort of a transaction that is under way may still assign the
 * setting: what empties the slot comes after that, and before the slot is another's.
 */
void
migrate_shmem_pin(const char *release)
{
	static bool will_unpin = false;

	if (migrate_shared == NULL || MyProc == NULL)
		return;
	if (!will_unpin && (release == NULL || release[0] == '\0'))
		return;
	if (!will_unpin)
		on_shmem_exit(unpin_at_exit, (Datum) 0);
	will_unpin = true;
	write_pin(release ? release : "");
}

List *
migrate_shmem_pins(void)
{
	List	   *pins = NIL;
	PinSlot    *copies;

	if (migrate_shared == NULL)
		return NIL;
	copies = palloc(migrate_shared->nbackends * sizeof(PinSlot));
	LWLockAcquire(migrate_shared->lock, LW_SHARED);
	memcpy(copies, migrate_shared->pins, migrate_shared->nbackends * sizeof(PinSlot));
	LWLockRelease(migrate_shared->lock);
	for (int i = 0; i < migrate_shared->nbackends; i++)
		if (copies[i].pid != 0 && copies[i].database == MyDatabaseId)
			pins = lappend(pins, &copies[i]);
	return pins;
}

void
migrate_shmem_init(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = attach_shared;
	RegisterXactCallback(xact_callback, NULL);
}
