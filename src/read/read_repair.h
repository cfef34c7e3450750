/*
 * read/read_repair.h
 *		Plans that note where they met stale rows.
 */
#ifndef MIGRATE_READ_READ_REPAIR_H
#define MIGRATE_READ_READ_REPAIR_H

#include "nodes/plannodes.h"

/* Are plans that are made now to do so? */
extern bool migrate_read_repair_is_wanted(void);

/* Have the plan note it for these tables (OIDs), and for partitions of them. */
extern void migrate_read_repair_add(PlannedStmt *plan, List *tables);

#endif							/* MIGRATE_READ_READ_REPAIR_H */
