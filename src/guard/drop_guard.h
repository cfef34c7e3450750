/*
 * guard/drop_guard.h
 *		Refusing what would take away what a live migration needs.
 */
#ifndef MIGRATE_GUARD_DROP_GUARD_H
#define MIGRATE_GUARD_DROP_GUARD_H

#include "nodes/nodes.h"

/* An object is about to be dropped, or was altered by the current command: may it be? */
extern void migrate_drop_guard_check_drop(Oid class, Oid oid, int subid);
extern void migrate_drop_guard_check_alter(Oid class, Oid oid, int subid);

/*
 * Say by which statement whole tables are being dropped, NULL: none. A part of a
 * table that it names is then refused in the table's name. Returns what was said before.
 */
extern Node *migrate_drop_guard_expect_tables(Node *statement);

/* Likewise whether it enables or disables all triggers of a table: ours let that pass. */
extern bool migrate_drop_guard_expect_switched_triggers(bool expect);

#endif							/* MIGRATE_GUARD_DROP_GUARD_H */
