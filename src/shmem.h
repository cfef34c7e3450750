/*
 * shmem.h
 *		What the server's processes tell each other.
 *
 * Lock order: the one lock here is taken last, and held for a few loads and
 * stores; nothing that can fail, wait or take another lock runs under it.
 */
#ifndef MIGRATE_SHMEM_H
#define MIGRATE_SHMEM_H

#include "nodes/pg_list.h"
#include "storage/block.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/lwlock.h"

/* Databases in which work was asked for and not yet looked at; more: look at all. */
#define MIGRATE_MAX_REQUESTS	32

/* Workers of databases and of tables, together. */
#define MIGRATE_MAX_SLOTS		128

/* Databases that somebody wants for himself at the same time. */
#define MIGRATE_MAX_BARRED		16

/* Blocks that reads have noted and nobody has converted yet; a power of two. */
#define MIGRATE_NOTED_BLOCKS	1024

typedef enum SlotState
{
	SLOT_FREE,
	SLOT_STARTING,				/* the process was asked for, and has not come up */
	SLOT_RUNNING
} SlotState;

/* A background worker of a database, or of one table in it. Guard: lock. */
typedef struct WorkerSlot
{
	SlotState	state;
	uint32		generation;		/* differs for each use of the slot */
	Oid			database;
	Oid			relation;		/* the managed table; InvalidOid: the database's worker */
	int			number;			/* among the table's workers; 0: who completes it */
	int			pid;			/* once running */
	Latch	   *latch;			/* once running */
	bool		settled;		/* a database's worker has found work, and stays */
	bool		poked;			/* something changed: look again before you leave */
	bool		unwanted;		/* another table has no worker: leave */
} WorkerSlot;

/* What a backend's session is pinned to. Guard: lock. */
typedef struct PinSlot
{
	int			pid;			/* 0: not pinned */
	Oid			database;
	char		release[NAMEDATALEN];
} PinSlot;

/* The managed table that a backend's session converts. Guard: lock. */
typedef struct ConverterSlot
{
	Oid			database;
	Oid			relation;		/* InvalidOid: none */
} ConverterSlot;

typedef struct MigrateShared
{
	LWLock	   *lock;			/* set once at the server's start */

	/* Guard of all these: lock. */
	Latch	   *launcher;		/* NULL while there is none */
	bool		look_everywhere;
	int			nrequests;
	Oid			requests[MIGRATE_MAX_REQUESTS];
	WorkerSlot	slots[MIGRATE_MAX_SLOTS];
	Oid			barred[MIGRATE_MAX_BARRED]; /* no worker may begin there; may be repeated */

	/*
	 * Blocks in which reads met stale rows: in the upper half a hash of the
	 * database and the heap, in the lower the block; zero: nothing. Each has one
	 * place where it can be, and takes it from another. Written by any backend,
	 * emptied by who converts; atomic, no lock: a note that is lost is made again
	 * by the next read, and one that is wrong costs a look at a block.
	 */
	pg_atomic_uint64 noted_blocks[MIGRATE_NOTED_BLOCKS];

	/*
	 * Which transactions sit in migrate.wait(): for each backend the local id
	 * of its transaction, or zero. Each is written by its backend alone and
	 * read by any; atomic, no lock.
	 */
	int			nbackends;		/* set once at the server's start */
	PinSlot    *pins;			/* likewise; one for each backend */
	ConverterSlot *converters;	/* likewise */
	pg_atomic_uint32 waiters[FLEXIBLE_ARRAY_MEMBER];
} MigrateShared;

/* NULL where the library was not preloaded. */
extern MigrateShared *migrate_shared;

extern void migrate_shmem_init(void);

/* If this transaction commits, have background workers look at this database. */
extern void migrate_shmem_request_work(void);

/* Have them look at a database, now. */
extern void migrate_shmem_request_visit(Oid database);

/* How many workers are at a table of this database; none where there is no library. */
extern int	migrate_shmem_count_workers(Oid relation);

/* This session converts a table from now on, step by step; InvalidOid: none any more. */
extern void migrate_shmem_convert(Oid relation);

/* How many sessions convert a table of this database, workers or not, this one included. */
extern int	migrate_shmem_count_converters(Oid relation);

/*
 * This transaction sits in migrate.wait(), and does nothing else meanwhile. Or does its
 * statement not even read anything afterwards?
 */
extern void migrate_shmem_begin_wait(bool reads_nothing_more);
extern void migrate_shmem_end_wait(void);
extern bool migrate_shmem_is_waiting(VirtualTransactionId vxid);

/* A read met a stale row in that block of a heap of this database. */
extern void migrate_shmem_note_block(Oid heap, BlockNumber block);

/*
 * Take a block of the heap, from "from" to before "to", that was noted. Notes of blocks
 * from "first" on that come before are dropped: nothing more can be done there for now.
 * "place" is 0 to begin with, and goes over all notes once: one that is made again by
 * then, since the block has rows that cannot be converted, is for the next time.
 */
extern bool migrate_shmem_take_noted_block(Oid heap, BlockNumber first, BlockNumber from,
										   BlockNumber to, int *place, BlockNumber *block);
extern bool migrate_shmem_has_noted_block(Oid heap);

/* This session is pinned to a release; NULL or empty: no longer. */
extern void migrate_shmem_pin(const char *release);

/* The sessions pinned in this database; of PinSlot *, copies. */
extern List *migrate_shmem_pins(void);

#endif							/* MIGRATE_SHMEM_H */
