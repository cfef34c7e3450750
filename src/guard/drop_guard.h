/*
 * guard/drop_guard.h
 *		Refusing what would take away what a live migration needs.
 */
#ifndef MIGRATE_GUARD_DROP_GUARD_H
#define MIGRATE_GUARD_DROP_GUARD_H

/* An object is about to be dropped, or was altered by the current command: may it be? */
extern void migrate_drop_guard_check_drop(Oid class, Oid oid, int subid);
extern void migrate_drop_guard_check_alter(Oid class, Oid oid, int subid);

/*
 * Say whether the command at work drops whole tables: a part of one is then
 * refused in the table's name. Returns what was said before.
 */
extern bool migrate_drop_guard_expect_tables(bool expect);

/* Likewise whether it enables or disables all triggers of a table: ours let that pass. */
extern bool migrate_drop_guard_expect_switched_triggers(bool expect);

#endif							/* MIGRATE_GUARD_DROP_GUARD_H */
