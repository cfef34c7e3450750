/*
 * lifecycle/complete.h
 *		From converted rows to a proof that there are no others.
 */
#ifndef MIGRATE_LIFECYCLE_COMPLETE_H
#define MIGRATE_LIFECYCLE_COMPLETE_H

#include "access/transam.h"
#include "storage/lock.h"

typedef enum ProofResult
{
	PROOF_STOOD,				/* was validated before: it has been committed */
	PROOF_FOUND,				/* is validated by this transaction */
	PROOF_BROKEN,				/* a stale row is left */
	PROOF_BLOCKED				/* others hold a lock that it needs */
} ProofResult;

/* Waiting for the snapshots that are older than a proof. */
typedef struct Settling
{
	bool		begun;
	int32		version;		/* what was proven when it began */
	TransactionId limit;		/* older snapshots have an xmin up to this */
	VirtualTransactionId *older;	/* who may still hold one */
	int			count;
	MemoryContext context;		/* of the list */
} Settling;

extern ProofResult migrate_complete_prove(Oid root);

/* The proof stood when this transaction began: note who is older. */
extern void migrate_complete_begin_settling(Settling *settling, Oid root,
											MemoryContext parent);

/*
 * Has everybody gone? Needs no snapshot and takes none. Else, who is one of
 * them, described in "who".
 */
extern bool migrate_complete_is_settled(Settling *settling, char *who, Size size);
extern void migrate_complete_end_settling(Settling *settling);

/*
 * All that was proven when settling began becomes complete; false where others
 * hold the table in a strong lock.
 */
extern bool migrate_complete_finish(Oid root, int32 version);

#endif							/* MIGRATE_LIFECYCLE_COMPLETE_H */
