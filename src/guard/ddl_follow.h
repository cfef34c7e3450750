/*
 * guard/ddl_follow.h
 *		Keeping our catalog in step with DDL on users' tables.
 */
#ifndef MIGRATE_GUARD_DDL_FOLLOW_H
#define MIGRATE_GUARD_DDL_FOLLOW_H

/* An object is about to be dropped. */
extern void migrate_ddl_follow_drop_table(Oid relid);
extern void migrate_ddl_follow_drop_column(Oid relid, AttrNumber attnum);

/* An object was altered by the current command, and may have another name or owner. */
extern void migrate_ddl_follow_alter_relation(Oid relid);
extern void migrate_ddl_follow_alter_column(Oid relid, AttrNumber attnum);
extern void migrate_ddl_follow_alter_constraint(Oid oid);
extern void migrate_ddl_follow_alter_trigger(Oid oid);
extern void migrate_ddl_follow_alter_schema(Oid oid);

/*
 * All triggers of a table were enabled or disabled: ours always fire, those that
 * check REFERENCES where asked for.
 */
extern void migrate_ddl_follow_switch_triggers(const RangeVar *table, bool with_references);

#endif							/* MIGRATE_GUARD_DDL_FOLLOW_H */
