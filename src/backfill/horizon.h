/*
 * backfill/horizon.h
 *		Whether what a transaction has made dead can still be seen, and by whom.
 */
#ifndef MIGRATE_BACKFILL_HORIZON_H
#define MIGRATE_BACKFILL_HORIZON_H

#include "utils/rel.h"

/* Can nobody see any more what that transaction, which has ended, has updated? */
extern bool migrate_horizon_has_passed(Relation heap, TransactionId xid);

/*
 * Who holds it back: the session, prepared transaction or replication slot, in
 * the caller's memory. NULL: nobody any more, or nobody but sessions that wait for us.
 */
extern char *migrate_horizon_holder(TransactionId xid);

#endif							/* MIGRATE_BACKFILL_HORIZON_H */
