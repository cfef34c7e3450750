/*
 * worker/session.h
 *		What every background worker does first, and between its steps.
 */
#ifndef MIGRATE_WORKER_SESSION_H
#define MIGRATE_WORKER_SESSION_H

#include "utils/guc.h"

/* Connect to a database; InvalidOid: to the shared catalogs alone. */
extern void migrate_session_begin(Oid database, const char *application_name,
								  pqsigfunc on_sigterm);

/* A transaction with a snapshot, as queries on our tables need one. */
extern void migrate_session_begin_transaction(void);
extern void migrate_session_end_transaction(void);

/* Sleep until woken, or for some milliseconds (< 0: until woken); read settings anew. */
extern void migrate_session_sleep(long milliseconds);

/* Read settings anew if asked to. */
extern void migrate_session_refresh(void);

/* Should a worker go on: nobody asked it to end, and the setting is on? */
extern bool migrate_session_goes_on(void);

#endif							/* MIGRATE_WORKER_SESSION_H */
