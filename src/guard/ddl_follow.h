/*
 * guard/ddl_follow.h
 *		Keeping our catalog in step with DDL on users' tables.
 */
#ifndef MIGRATE_GUARD_DDL_FOLLOW_H
#define MIGRATE_GUARD_DDL_FOLLOW_H

extern void migrate_ddl_follow_drop_table(Oid relid);
extern void migrate_ddl_follow_alter_table(Oid relid);
extern void migrate_ddl_follow_alter_column(Oid relid, AttrNumber attnum);

/* All triggers of a table were enabled or disabled: ours always fire. */
extern void migrate_ddl_follow_switch_triggers(const RangeVar *table);

#endif							/* MIGRATE_GUARD_DDL_FOLLOW_H */
