/*
 * lifecycle/rollback.h
 *		From two forms back to the old one.
 */
#ifndef MIGRATE_LIFECYCLE_ROLLBACK_H
#define MIGRATE_LIFECYCLE_ROLLBACK_H

#include "catalog/migration.h"

/* discard: give up values of the new form that the old form does not hold. */
extern void migrate_lifecycle_rollback(const char *name, bool discard);

/* ---- lifecycle/rollback_loss.c ---- */

/*
 * How many rows hold, in columns of the new form that no down reads, what was
 * written there and cannot be computed again; those columns (of char *).
 */
extern int64 migrate_rollback_rows_lost(const Migration *migration, List **columns);

#endif							/* MIGRATE_LIFECYCLE_ROLLBACK_H */
