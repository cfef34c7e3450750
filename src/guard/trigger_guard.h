/*
 * guard/trigger_guard.h
 *		Triggers of a table's own that do not go well with a live migration.
 */
#ifndef MIGRATE_GUARD_TRIGGER_GUARD_H
#define MIGRATE_GUARD_TRIGGER_GUARD_H

/* By the command that is under way a trigger was made, or altered. */
extern void migrate_trigger_guard_check_created(Oid trigger);
extern void migrate_trigger_guard_check_altered(Oid trigger);

/* The newest live migration of a table was expanded just now. */
extern void migrate_trigger_guard_check_expanded(Oid root);

/* A table was attached just now, to one with live migrations. */
extern void migrate_trigger_guard_check_attached(Oid relid);

#endif							/* MIGRATE_GUARD_TRIGGER_GUARD_H */
