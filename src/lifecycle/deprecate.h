/*
 * lifecycle/deprecate.h
 *		Announcing the end of the old form.
 */
#ifndef MIGRATE_LIFECYCLE_DEPRECATE_H
#define MIGRATE_LIFECYCLE_DEPRECATE_H

#include "datatype/timestamp.h"

#include "catalog/migration.h"

extern void migrate_lifecycle_deprecate(const char *name, const Interval *quiet_period,
										const char *action);

/* The migration is not live any more: its window is closed, what was counted forgotten. */
extern void migrate_deprecate_forget(const Migration *migration);

#endif							/* MIGRATE_LIFECYCLE_DEPRECATE_H */
