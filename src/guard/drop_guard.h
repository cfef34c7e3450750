/*
 * guard/drop_guard.h
 *		Refusing what would take away what a live migration needs.
 */
#ifndef MIGRATE_GUARD_DROP_GUARD_H
#define MIGRATE_GUARD_DROP_GUARD_H

#include "convert/conversion.h"

/* An object is about to be dropped, or was altered by the current command: may it be? */
extern void migrate_drop_guard_check_drop(Oid class, Oid oid, int subid);
extern void migrate_drop_guard_check_alter(Oid class, Oid oid, int subid);

/* Refuse to do something while a migration is live, in the words of the guard. */
extern void migrate_drop_guard_refuse(const char *verb, const char *object,
									  const LiveMigration *live, const char *why);

#endif							/* MIGRATE_GUARD_DROP_GUARD_H */
