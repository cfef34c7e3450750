/*
 * guard/ddl_hooks.h
 *		Where the server tells us of DDL.
 */
#ifndef MIGRATE_GUARD_DDL_HOOKS_H
#define MIGRATE_GUARD_DDL_HOOKS_H

extern void migrate_ddl_hooks_init(void);

#endif							/* MIGRATE_GUARD_DDL_HOOKS_H */
