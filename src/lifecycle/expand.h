/*
 * lifecycle/expand.h
 *		From one form to two.
 */
#ifndef MIGRATE_LIFECYCLE_EXPAND_H
#define MIGRATE_LIFECYCLE_EXPAND_H

extern void migrate_lifecycle_expand(const char *name);
extern void migrate_lifecycle_manage(Oid relid, const char *version_column);

#endif							/* MIGRATE_LIFECYCLE_EXPAND_H */
