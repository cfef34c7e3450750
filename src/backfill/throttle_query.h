/*
 * backfill/throttle_query.h
 *		Asking migrate.throttle_query whether to go on.
 */
#ifndef MIGRATE_BACKFILL_THROTTLE_QUERY_H
#define MIGRATE_BACKFILL_THROTTLE_QUERY_H

#include <signal.h>

extern bool migrate_throttle_query_is_set(void);

/* Ask it as the owner of a table. One that fails is taken to hold the work up. */
extern void migrate_throttle_query_ask(Oid root, bool *holds, bool *failed);

/* Set while it runs, which takes as long as it takes: a signal may interrupt it. */
extern volatile sig_atomic_t migrate_throttle_query_is_running;

#endif							/* MIGRATE_BACKFILL_THROTTLE_QUERY_H */
