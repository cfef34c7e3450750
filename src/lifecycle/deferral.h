/*
 * lifecycle/deferral.h
 *		The time in which writes may be deferred, and its end.
 */
#ifndef MIGRATE_LIFECYCLE_DEFERRAL_H
#define MIGRATE_LIFECYCLE_DEFERRAL_H

#include "catalog/migration.h"

/* May rows be stored without this migration once it is expanded? */
extern bool migrate_deferral_concerns(const Migration *migration);

/* It is expanded as a version: have what is deferred recorded. */
extern void migrate_deferral_begin(const Migration *migration, const char *version_column,
								   int32 version);

/* A migration has ended: if it was the last that defers, nothing is recorded any more. */
extern void migrate_deferral_forget(Oid root);

typedef enum DeferralEnd
{
	DEFERRAL_OVER,				/* nothing can be deferred from now on, or could before */
	DEFERRAL_HELD_UP,			/* deferred rows are left: see migrate.failures */
	DEFERRAL_BLOCKED			/* others hold a lock that it takes */
} DeferralEnd;

/* Is any row left that was deferred, as far as is known without a lock? */
extern bool migrate_deferral_is_held_up(Oid root);

/* All rows are converted, it seems: end it. */
extern DeferralEnd migrate_deferral_end(Oid root);

#endif							/* MIGRATE_LIFECYCLE_DEFERRAL_H */
