/*
 * lifecycle/release.h
 *		Releases: named sets of migrations that clients speak.
 */
#ifndef MIGRATE_LIFECYCLE_RELEASE_H
#define MIGRATE_LIFECYCLE_RELEASE_H

#include "nodes/pg_list.h"

/* "migrations" (of char *) counts if "are_given"; else all that are expanded now. */
extern void migrate_release_create(const char *name, List *migrations, bool are_given);
extern void migrate_release_retire(const char *name);

/*
 * Only who owns every managed table, or the database, may change what releases
 * there are: they hold up the contracts of all tables.
 */
extern bool migrate_release_may_change(Oid role);
extern void migrate_release_check_rights(void);

/*
 * Have no release come or go until the end of the transaction. Waits for those who are
 * at it; two transactions that each expand and create a release can meet in a deadlock,
 * which ends one of them.
 */
extern void migrate_release_hold(void);

/* Lock a release against being retired until the end of the transaction; it must be there. */
extern void migrate_release_check_active(const char *name);

#endif							/* MIGRATE_LIFECYCLE_RELEASE_H */
