/*
 * backfill/pause.c
 *		Between who converts a table and who tells him not to.
 *
 * That migrate.pause() has returned means that nothing is converted any more.
 * For that each transaction that converts holds a lock of the table's, in Share
 * mode, from before it reads whether the table is paused to its commit; and who
 * pauses takes it in Exclusive mode, to his commit. So a batch either ends
 * before pause() returns, or begins when it can read that it must not. A batch
 * looks now and then whether it is waited for, and ends; the other side never
 * waits here, so there is no circle.
 *
 * A row lock would not do: in a REPEATABLE READ transaction, waiting for one
 * that a batch then updates is an error.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"

#include "backfill/pause.h"

/* Advisory locks of users have one or two keys, which are told apart by 1 and 2. */
#define PAUSE_LOCK	0x6d70

static LOCKTAG
pause_tag(Oid root)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, root, 0, PAUSE_LOCK);
	return tag;
}

bool
migrate_pause_enter(Oid root)
{
	LOCKTAG		tag = pause_tag(root);

	return LockAcquire(&tag, ShareLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

void
migrate_pause_leave(Oid root)
{
	LOCKTAG		tag = pause_tag(root);

	(void) LockRelease(&tag, ShareLock, false);
}

bool
migrate_pause_is_wanted(Oid root)
{
	LOCKTAG		tag = pause_tag(root);

	return LockHasWaiters(&tag, ShareLock, false);
}

void
migrate_pause_wait(Oid root)
{
	LOCKTAG		tag = pause_tag(root);

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}
