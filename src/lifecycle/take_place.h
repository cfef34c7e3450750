/*
 * lifecycle/take_place.h
 *		A new column takes the place of the one whose name it will have.
 */
#ifndef MIGRATE_LIFECYCLE_TAKE_PLACE_H
#define MIGRATE_LIFECYCLE_TAKE_PLACE_H

#include "catalog/migration.h"

/* What is yet to be done when the old columns have gone. */
typedef struct Heritage Heritage;

/*
 * Have new columns take over from those that are about to be dropped (of char *).
 * Both for contract, which has the table locked.
 */
extern Heritage *migrate_take_place_begin(const Migration *migration, List *dropped);
extern void migrate_take_place_end(const Migration *migration, Heritage *heritage);

#endif							/* MIGRATE_LIFECYCLE_TAKE_PLACE_H */
