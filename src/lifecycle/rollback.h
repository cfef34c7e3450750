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

/* What a rollback would lose. */
typedef struct RollbackLoss
{
	int64		rows;			/* rows that would lose something */
	List	   *unread;			/* of char *: new columns that no down reads */
	List	   *rewritten;		/* of char *: columns that up has rewritten in place */
} RollbackLoss;

extern RollbackLoss migrate_rollback_loss(const Migration *migration);

#endif							/* MIGRATE_LIFECYCLE_ROLLBACK_H */
