/*
 * backfill/part.c
 *		The parts that the heaps of a table are converted in, and whose they are.
 *
 * A part is a range of a heap's blocks with a row of its own in migrate.backfill,
 * which says how far it has come (progress.c). A heap begins as one part. Who
 * converts a part while more sessions are at the table than there are parts
 * divides it: what lies beyond the windows that he has open is halved, and the
 * upper half becomes another part, in the transaction that has the part's row. So
 * parts never overlap, whatever commits or does not, and they get smaller the
 * nearer the end is.
 *
 * Two things keep sessions apart, for different reasons. The lock on the part's
 * row, for a transaction, is what the record of the progress rests on. But between
 * two transactions a session has windows open, whose rows it means to go on
 * with; another that went on there would open them anew, and the table would
 * grow. So a session keeps its parts to itself by a lock that it holds across
 * transactions. That one is a courtesy: nothing is wrong where it is lost or
 * passed over, as migrate.run() does where there is nothing else to do. It is
 * never waited for, and goes with the session, however that ends: no record of
 * a claim outlives who made it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lock.h"

#include "backfill/part.h"

/* Advisory locks of users have one or two keys, which are told apart by 1 and 2. */
#define PART_LOCK	0x6d71

/* About a window (pump.c): with less there is nothing to be gained. */
#define SHARE_OF_PART		4
#define MIN_PART_BLOCKS		256
#define MAX_MIN_PART_BLOCKS	1024

BlockNumber
migrate_part_min_blocks(void)
{
	return Max(Min(NBuffers / SHARE_OF_PART, MAX_MIN_PART_BLOCKS), MIN_PART_BLOCKS);
}

static Part *
find_part(const Part *part, const List *parts)
{
	ListCell   *lc;

	foreach(lc, parts)
	{
		Part	   *other = lfirst(lc);

		if (other->heap == part->heap && other->first == part->first)
			return other;
	}
	return NULL;
}

bool
migrate_part_is_among(const Part *part, const List *parts)
{
	return find_part(part, parts) != NULL;
}

static LOCKTAG
part_tag(const Part *part)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, part->heap, part->first, PART_LOCK);
	return tag;
}

bool
migrate_part_keep(List **kept, const Part *part, MemoryContext context)
{
	LOCKTAG		tag = part_tag(part);
	MemoryContext old;
	Part	   *copy;

	if (migrate_part_is_among(part, *kept))
		return true;
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	old = MemoryContextSwitchTo(context);
	copy = palloc(sizeof(Part));
	*copy = *part;
	*kept = lappend(*kept, copy);
	MemoryContextSwitchTo(old);
	return true;
}

void
migrate_part_leave(List **kept, const Part *part)
{
	Part	   *mine = find_part(part, *kept);
	LOCKTAG		tag = part_tag(part);

	if (mine == NULL)
		return;
	(void) LockRelease(&tag, ExclusiveLock, true);
	*kept = list_delete_ptr(*kept, mine);
	pfree(mine);
}
