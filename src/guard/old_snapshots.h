/*
 * guard/old_snapshots.h
 *		Who may still look at a table as it was before a migration was complete.
 */
#ifndef MIGRATE_GUARD_OLD_SNAPSHOTS_H
#define MIGRATE_GUARD_OLD_SNAPSHOTS_H

#include "catalog/migration.h"

/*
 * Describes them, and what to type about each; NULL where there is nobody.
 * The asking session itself does not count.
 */
extern char *migrate_snapshots_older(const Migration *migration, char **hint);

/* Standbys that do not say what their queries see; NULL where there are none. */
extern char *migrate_snapshots_unknown(void);

#endif							/* MIGRATE_GUARD_OLD_SNAPSHOTS_H */
