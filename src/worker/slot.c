/*
 * worker/slot.c
 *		Who is at work where: the workers' places in shared memory.
 *
 * A place is kept (SLOT_STARTING) by who asks for the process, taken
 * (SLOT_RUNNING) by the process when it comes up, and given up when it exits,
 * however it does. The generation tells a process that comes up late, after
 * its place was given up for it, that it is not expected any more. A process
 * that is killed takes the server's shared memory with it: all begins anew.
 *
 * A table's workers have numbers; number 0 carries it to completion, the others help
 * with its rows. There is never more than one worker per database, and per table and
 * number: the search and the keeping of the place are one critical section. Where all
 * of migrate.max_workers are busy, a helper makes room for a table that has none.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "migrate.h"
#include "worker/slot.h"

/* A place and its generation, as a worker's argument. */
#define ARGUMENT(slot, generation)	Int64GetDatum(((int64) (generation) << 32) | (slot))
#define ARGUMENT_SLOT(argument)		((int) (DatumGetInt64(argument) & 0xffffffff))
#define ARGUMENT_GENERATION(argument) ((uint32) (DatumGetInt64(argument) >> 32))

/* How often to complain, in milliseconds. */
#define WARNING_INTERVAL	600000

static WorkerSlot *my_slot = NULL;

/* ---- the table of places; all under the lock ---- */

static WorkerSlot *
find_slot(Oid database, Oid relation, int number)
{
	for (int i = 0; i < MIGRATE_MAX_SLOTS; i++)
	{
		WorkerSlot *slot = &migrate_shared->slots[i];

		if (slot->state != SLOT_FREE && slot->database == database &&
			slot->relation == relation && slot->number == number)
			return slot;
	}
	return NULL;
}

static int
count_tables(Oid database)
{
	int			count = 0;

	for (int i = 0; i < MIGRATE_MAX_SLOTS; i++)
	{
		WorkerSlot *slot = &migrate_shared->slots[i];

		if (slot->state != SLOT_FREE && OidIsValid(slot->relation) &&
			(!OidIsValid(database) || slot->database == database))
			count++;
	}
	return count;
}

/* The database workers may have waited for a place, the launcher for an answer. */
static void
wake_waiters(void)
{
	if (migrate_shared->launcher != NULL)
		SetLatch(migrate_shared->launcher);
	for (int i = 0; i < MIGRATE_MAX_SLOTS; i++)
	{
		WorkerSlot *slot = &migrate_shared->slots[i];

		if (slot->state == SLOT_RUNNING && !OidIsValid(slot->relation))
			SetLatch(slot->latch);
	}
}

static void
free_slot(WorkerSlot *slot)
{
	slot->state = SLOT_FREE;
	slot->latch = NULL;
	slot->pid = 0;
	wake_waiters();
}

static bool
is_barred(Oid database)
{
	for (int i = 0; i < MIGRATE_MAX_BARRED; i++)
		if (migrate_shared->barred[i] == database)
			return true;
	return false;
}

static WorkerSlot *
keep_slot(Oid database, Oid relation, int number)
{
	for (int i = 0; i < MIGRATE_MAX_SLOTS; i++)
	{
		WorkerSlot *slot = &migrate_shared->slots[i];

		if (slot->state != SLOT_FREE)
			continue;
		slot->state = SLOT_STARTING;
		slot->generation++;
		slot->database = database;
		slot->relation = relation;
		slot->number = number;
		slot->settled = false;
		slot->poked = false;
		slot->unwanted = false;
		return slot;
	}
	return NULL;
}

/* One at a time: when it has left, everybody looks again. */
static void
send_helper_away(void)
{
	WorkerSlot *helper = NULL;

	for (int i = 0; i < MIGRATE_MAX_SLOTS; i++)
	{
		WorkerSlot *slot = &migrate_shared->slots[i];

		if (slot->state != SLOT_RUNNING || slot->number == 0)
			continue;
		if (slot->unwanted)
			return;
		if (helper == NULL || slot->number > helper->number)
			helper = slot;
	}
	if (helper == NULL)
		return;
	helper->unwanted = true;
	SetLatch(helper->latch);
}

void
migrate_slot_keep_to_limit(void)
{
	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	if (count_tables(InvalidOid) > migrate_guc_max_workers)
		send_helper_away();
	LWLockRelease(migrate_shared->lock);
}

/* ---- starting a process ---- */

typedef enum Reservation
{
	KEPT,
	NOT_NEEDED,
	NO_ROOM
} Reservation;

static Reservation
reserve(Oid database, Oid relation, int number, WorkerSlot **slot, uint32 *generation)
{
	Reservation result = KEPT;

	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	if (find_slot(database, relation, number) != NULL || is_barred(database))
		result = NOT_NEEDED;
	else if (OidIsValid(relation) && count_tables(InvalidOid) >= migrate_guc_max_workers)
	{
		if (number == 0)
			send_helper_away();
		result = NOT_NEEDED;
	}
	else if ((*slot = keep_slot(database, relation, number)) == NULL)
		result = NO_ROOM;
	else
		*generation = (*slot)->generation;
	LWLockRelease(migrate_shared->lock);
	return result;
}

/* The process did not come up, or has come and gone. */
static void
unreserve(WorkerSlot *slot, uint32 generation)
{
	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	if (slot->state == SLOT_STARTING && slot->generation == generation)
		free_slot(slot);
	LWLockRelease(migrate_shared->lock);
}

static void
describe_worker(BackgroundWorker *worker, Oid database, Oid relation)
{
	bool		is_table = OidIsValid(relation);

	memset(worker, 0, sizeof(BackgroundWorker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	worker->bgw_notify_pid = MyProcPid;
	strlcpy(worker->bgw_library_name, MIGRATE_LIBRARY, sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name,
			is_table ? "migrate_worker_table_main" : "migrate_worker_database_main",
			sizeof(worker->bgw_function_name));
	strlcpy(worker->bgw_type, is_table ? "migrate worker" : "migrate database worker",
			BGW_MAXLEN);
	if (is_table)
		snprintf(worker->bgw_name, BGW_MAXLEN, "migrate worker for relation %u of database %u",
				 relation, database);
	else
		snprintf(worker->bgw_name, BGW_MAXLEN, "migrate worker for database %u", database);
}

/* It is tried again and again; not each time is worth a line in the log. */
static void
warn_of_shortage(void)
{
	static TimestampTz warned_at = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (warned_at != 0 && !TimestampDifferenceExceeds(warned_at, now, WARNING_INTERVAL))
		return;
	warned_at = now;
	ereport(WARNING,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("migrate could not start a background worker"),
			 errdetail("Conversion waits until one is free."),
			 errhint("You might need to increase max_worker_processes.")));
}

bool
migrate_slot_start(Oid database, Oid relation, int number)
{
	WorkerSlot *slot;
	uint32		generation;
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	pid_t		pid;

	switch (reserve(database, relation, number, &slot, &generation))
	{
		case NOT_NEEDED:
			return true;
		case NO_ROOM:
			return false;
		case KEPT:
			break;
	}
	describe_worker(&worker, database, relation);
	worker.bgw_main_arg = ARGUMENT(slot - migrate_shared->slots, generation);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		unreserve(slot, generation);
		warn_of_shortage();
		return false;
	}
	if (WaitForBackgroundWorkerStartup(handle, &pid) != BGWH_STARTED)
		unreserve(slot, generation);
	/* What woke us there may have been another's request: have our caller look again. */
	SetLatch(MyLatch);
	pfree(handle);
	return true;
}

/* ---- in the process ---- */

static void
give_up_slot(int code, Datum arg)
{
	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	if (my_slot != NULL)
		free_slot(my_slot);
	my_slot = NULL;
	LWLockRelease(migrate_shared->lock);
}

WorkerSlot *
migrate_slot_attach(Datum argument)
{
	WorkerSlot *slot = &migrate_shared->slots[ARGUMENT_SLOT(argument)];

	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	if (slot->state != SLOT_STARTING || slot->generation != ARGUMENT_GENERATION(argument))
		/* not expected any more */;
	else if (is_barred(slot->database))
		free_slot(slot);
	else
	{
		slot->state = SLOT_RUNNING;
		slot->pid = MyProcPid;
		slot->latch = MyLatch;
		my_slot = slot;
	}
	LWLockRelease(migrate_shared->lock);
	if (my_slot == NULL)
		proc_exit(0);
	before_shmem_exit(give_up_slot, (Datum) 0);
	return slot;
}

bool
migrate_slot_leave(WorkerSlot *slot)
{
	bool		leave;

	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	leave = !slot->poked;
	slot->poked = false;
	if (leave)
	{
		free_slot(slot);
		my_slot = NULL;
	}
	LWLockRelease(migrate_shared->lock);
	return leave;
}

void
migrate_slot_settle(WorkerSlot *slot)
{
	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	if (!slot->settled)
	{
		slot->settled = true;
		wake_waiters();
	}
	LWLockRelease(migrate_shared->lock);
}

/* ---- from elsewhere ---- */

bool
migrate_slot_poke(Oid database)
{
	WorkerSlot *slot;

	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	slot = find_slot(database, InvalidOid, 0);
	if (slot != NULL)
	{
		slot->poked = true;
		if (slot->latch != NULL)
			SetLatch(slot->latch);
	}
	LWLockRelease(migrate_shared->lock);
	return slot != NULL;
}

bool
migrate_slot_is_unwanted(const WorkerSlot *slot)
{
	bool		result;

	LWLockAcquire(migrate_shared->lock, LW_SHARED);
	result = slot->unwanted;
	LWLockRelease(migrate_shared->lock);
	return result;
}

bool
migrate_slot_is_unsettled(Oid database)
{
	WorkerSlot *slot;
	bool		result;

	LWLockAcquire(migrate_shared->lock, LW_SHARED);
	slot = find_slot(database, InvalidOid, 0);
	result = slot != NULL && !slot->settled;
	LWLockRelease(migrate_shared->lock);
	return result;
}

bool
migrate_slot_bar(Oid database)
{
	bool		barred = false;

	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MIGRATE_MAX_BARRED && !barred; i++)
		if (!OidIsValid(migrate_shared->barred[i]))
		{
			migrate_shared->barred[i] = database;
			barred = true;
		}
	LWLockRelease(migrate_shared->lock);
	return barred;
}

void
migrate_slot_unbar(Oid database)
{
	LWLockAcquire(migrate_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MIGRATE_MAX_BARRED; i++)
		if (migrate_shared->barred[i] == database)
		{
			migrate_shared->barred[i] = InvalidOid;
			break;
		}
	LWLockRelease(migrate_shared->lock);
	migrate_shmem_request_visit(database);
}

bool
migrate_slot_any(Oid database)
{
	bool		found = false;

	LWLockAcquire(migrate_shared->lock, LW_SHARED);
	for (int i = 0; i < MIGRATE_MAX_SLOTS && !found; i++)
		found = migrate_shared->slots[i].state != SLOT_FREE &&
			migrate_shared->slots[i].database == database;
	LWLockRelease(migrate_shared->lock);
	return found;
}

int
migrate_slot_count_tables(Oid database)
{
	int			count;

	LWLockAcquire(migrate_shared->lock, LW_SHARED);
	count = count_tables(database);
	LWLockRelease(migrate_shared->lock);
	return count;
}
