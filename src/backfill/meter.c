/*
 * backfill/meter.c
 *		What the server is at, and what our batches do to it, as throttle.c wants it.
 *
 * Everything is looked at before each batch, and again within a batch that goes
 * on for longer: what speaks against it ends it within a few rows. So it is a
 * moment from there to the last row, however long batches may take.
 *
 * Standbys.  Those connected now that replay WAL, physical ones. What feeds on
 * logical decoding confirms when it sees fit, so that it would be behind at any
 * time; the operator's query can look at it. A walsender's own figure is what
 * the last answer of its standby said, so we keep marks of our own as well.
 *
 * Who waits for us.  Row locks, and the claim on the heap, are waited for through
 * our transaction's lock, of which we can ask whether anybody is queued; rows
 * are converted in a subtransaction, which has another. Locks on the table we
 * hold by the fast path, of which this cannot be asked; the lock table is read
 * for them where any session waits for a lock at all.
 *
 * It takes no lock but the server's own for a moment, and keeps nothing that
 * outlives the process.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "executor/instrument.h"
#include "miscadmin.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#include "backfill/meter.h"
#include "backfill/pause.h"
#include "backfill/throttle_query.h"
#include "compat.h"
#include "convert/conversion.h"
#include "guc.h"

/* How often the load is looked at, the query asked, a batch checked: in milliseconds. */
#define LOAD_INTERVAL	100
#define QUERY_INTERVAL	1000
#define CHECK_INTERVAL	20

#define ARCHIVE_STATUS_DIR	XLOGDIR "/archive_status"
#define READY_SUFFIX		".ready"

static void
read_limits(ThrottleLimits *limits, int sharers)
{
	limits->sharers = sharers;
	limits->max_rows_per_second = migrate_guc_max_rows_per_second;
	limits->max_wal_rate = migrate_guc_max_wal_rate;
	limits->max_replication_lag = migrate_guc_max_replication_lag;
	limits->max_archive_backlog = migrate_guc_max_archive_backlog;
	limits->target_batch_time = migrate_guc_target_batch_time;
}

static bool
is_due(TimestampTz *last, TimestampTz now, int interval)
{
	if (*last != 0 && !TimestampDifferenceExceeds(*last, now, interval))
		return false;
	*last = now;
	return true;
}

/* ---- standbys ---- */

/* One that has a database decodes. */
static bool
is_standby(const WalSnd *sender)
{
	PGPROC	   *proc = BackendPidGetProc(sender->pid);

	return (sender->state == WALSNDSTATE_CATCHUP || sender->state == WALSNDSTATE_STREAMING) &&
		sender->apply != InvalidXLogRecPtr &&
		proc != NULL && !OidIsValid(proc->databaseId);
}

static int64
lag_of_standby(const WalMarks *marks, int64 now, const WalSnd *sender, XLogRecPtr end)
{
	if (sender->apply >= end)
		return 0;
	return Max(sender->applyLag / 1000, migrate_throttle_lag(marks, now, sender->apply));
}

static int64
worst_lag(WalMarks *marks, int64 now, int max_lag)
{
	XLogRecPtr	end = GetFlushRecPtr(NULL);
	int64		worst = 0;

	migrate_throttle_mark_wal(marks, now, end, max_lag);
	for (int i = 0; i < max_wal_senders; i++)
	{
		WalSnd	   *shared = &WalSndCtl->walsnds[i];
		WalSnd		sender;

		SpinLockAcquire(&shared->mutex);
		sender = *shared;
		SpinLockRelease(&shared->mutex);
		if (sender.pid != 0 && is_standby(&sender))
			worst = Max(worst, lag_of_standby(marks, now, &sender, end));
	}
	return worst;
}

/* ---- the archiver ---- */

/* How many files wait to be archived, counted as far as is of interest. */
static int
count_ready(int enough)
{
	DIR		   *directory = AllocateDir(ARCHIVE_STATUS_DIR);
	struct dirent *entry;
	int			count = 0;

	while (count < enough &&
		   (entry = ReadDirExtended(directory, ARCHIVE_STATUS_DIR, LOG)) != NULL)
	{
		size_t		length = strlen(entry->d_name);

		if (length > strlen(READY_SUFFIX) &&
			strcmp(entry->d_name + length - strlen(READY_SUFFIX), READY_SUFFIX) == 0)
			count++;
	}
	if (directory != NULL)
		FreeDir(directory);
	return count;
}

static void
look_at_server(Meter *meter, TimestampTz now)
{
	const ThrottleLimits *limits = &meter->limits;

	meter->load.replication_lag = limits->max_replication_lag > 0
		? worst_lag(&meter->marks, now / 1000, limits->max_replication_lag) : 0;
	meter->load.archive_backlog = limits->max_archive_backlog > 0 && XLogArchivingActive()
		? count_ready(limits->max_archive_backlog + 1) : 0;
}

ThrottleReason
migrate_meter_hold(Meter *meter, Oid root, long *wait)
{
	TimestampTz now = GetCurrentTimestamp();

	read_limits(&meter->limits, meter->sharers);
	if (is_due(&meter->looked_at, now, LOAD_INTERVAL))
		look_at_server(meter, now);
	if (!migrate_throttle_query_is_set())
		meter->load.query_holds = meter->load.query_failed = false;
	else if (is_due(&meter->asked_at, now, QUERY_INTERVAL))
		migrate_throttle_query_ask(root, &meter->load.query_holds, &meter->load.query_failed);
	*wait = LOAD_INTERVAL;
	return migrate_throttle_hold(&meter->limits, &meter->load);
}

/* ---- who waits for us ---- */

/* Of a subtransaction that was rolled back we have no lock any more. */
static bool
is_transaction_waited_for(TransactionId xid)
{
	LOCKTAG		tag;

	if (!TransactionIdIsValid(xid) || !TransactionIdIsCurrentTransactionId(xid))
		return false;
	SET_LOCKTAG_TRANSACTION(tag, xid);
	return LockHasWaiters(&tag, ExclusiveLock, false);
}

/* A glance without a lock, which decides nothing but whether to look closer. */
static bool
does_anybody_wait(void)
{
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
		if (((volatile PGPROC *) &ProcGlobal->allProcs[i])->waitLock != NULL)
			return true;
	return false;
}

/* The managed table that a heap belongs to. */
static Oid
root_of(Relation heap)
{
	Conversion *conversion = migrate_conversion_get(RelationGetRelid(heap));

	return conversion != NULL ? conversion->root : RelationGetRelid(heap);
}

static bool
is_wait_for(const LockInstanceData *lock, Oid relation, LOCKMODE ours)
{
	return lock->waitLockMode != NoLock &&
		lock->locktag.locktag_type == LOCKTAG_RELATION &&
		lock->locktag.locktag_field1 == MyDatabaseId &&
		lock->locktag.locktag_field2 == relation &&
		DoLockModesConflict(lock->waitLockMode, ours);
}

static bool
is_table_waited_for(Oid root, Oid heap)
{
	LockData   *data;
	bool		found = false;

	if (!does_anybody_wait())
		return false;
	data = GetLockStatusData();
	for (int i = 0; i < data->nelements && !found; i++)
		found = is_wait_for(&data->locks[i], heap, RowExclusiveLock) ||
			is_wait_for(&data->locks[i], root, AccessShareLock);
	pfree(data->locks);
	pfree(data);
	return found;
}

/* VACUUM is who holds ShareUpdateExclusiveLock and says so. */
static bool
is_vacuumed(Relation heap)
{
	LOCKTAG		tag;
	VirtualTransactionId *holders;
	bool		found = false;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, RelationGetRelid(heap));
	holders = GetLockConflicts(&tag, ShareUpdateExclusiveLock, NULL);
	for (; VirtualTransactionIdIsValid(*holders) && !found; holders++)
	{
		PGPROC	   *proc = compat_vxid_proc(*holders);

		found = proc != NULL && (proc->statusFlags & PROC_IN_VACUUM) != 0;
	}
	return found;
}

/* ---- a batch ---- */

void
migrate_meter_begin(Meter *meter, int64 rows_left, int64 *max_rows, long *batch_time)
{
	memset(&meter->batch, 0, sizeof(ThrottleBatch));
	meter->batch_began = meter->checked_at = GetCurrentTimestamp();
	meter->wal_before = pgWalUsage.wal_bytes;
	meter->interrupted = false;
	meter->writer = InvalidTransactionId;
	*max_rows = migrate_throttle_batch_rows(&meter->limits, rows_left);
	*batch_time = migrate_throttle_batch_time(&meter->limits, &meter->pace);
}

/*
 * For a row that we have converted. Rows are formed in a subtransaction of their own,
 * within the one that has written.
 */
static bool
is_row_waited_for(Meter *meter)
{
	TransactionId xid = GetCurrentTransactionIdIfAny();

	if (TransactionIdIsValid(xid))
		meter->writer = xid;
	return is_transaction_waited_for(GetTopTransactionIdIfAny()) ||
		is_transaction_waited_for(meter->writer);
}

/* Has anything come up? */
static bool
look_around(Meter *meter, Relation heap, TimestampTz now)
{
	Oid			root = root_of(heap);

	if (migrate_pause_is_wanted(root))
		return true;
	if (is_table_waited_for(root, RelationGetRelid(heap)))
	{
		meter->batch.waited_for = true;
		return true;
	}
	if (is_due(&meter->looked_at, now, LOAD_INTERVAL))
		look_at_server(meter, now);
	return migrate_throttle_hold(&meter->limits, &meter->load) != THROTTLE_NONE ||
		(migrate_throttle_query_is_set() &&
		 TimestampDifferenceExceeds(meter->asked_at, now, QUERY_INTERVAL));
}

/*
 * Once there is a reason, it is one until the batch has ended. Who waits for a row does so
 * for no longer than a few rows take: that look is cheap.
 */
bool
migrate_meter_interrupts(Meter *meter, Relation heap)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!meter->interrupted && is_row_waited_for(meter))
		meter->interrupted = meter->batch.waited_for = true;
	if (!meter->interrupted && is_due(&meter->checked_at, now, CHECK_INTERVAL))
		meter->interrupted = look_around(meter, heap, now);
	return meter->interrupted;
}

void
migrate_meter_end(Meter *meter, Relation heap, int64 rows)
{
	meter->batch.rows = rows;
	meter->batch.wal_bytes = pgWalUsage.wal_bytes - meter->wal_before;
	meter->batch.elapsed = TimestampDifferenceMilliseconds(meter->batch_began,
														   GetCurrentTimestamp());
	meter->batch.vacuumed = is_vacuumed(heap);
	migrate_throttle_adapt(&meter->limits, &meter->batch, &meter->pace);
}
