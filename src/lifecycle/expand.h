/*
 * lifecycle/expand.h
 *		From one form to two.
 */
#ifndef MIGRATE_LIFECYCLE_EXPAND_H
#define MIGRATE_LIFECYCLE_EXPAND_H

extern void migrate_lifecycle_expand(const char *name);
extern void migrate_lifecycle_manage(Oid relid, const char *version_column);

/*
 * Make the write trigger depend on just what the live migrations' expressions
 * use. Called by whatever changes which migrations of a table are live, under
 * AccessExclusiveLock.
 */
extern void migrate_lifecycle_record_dependencies(Oid relid);

#endif							/* MIGRATE_LIFECYCLE_EXPAND_H */
