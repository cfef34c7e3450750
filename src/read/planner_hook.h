/*
 * read/planner_hook.h
 *		Every query passes here on its way to the planner.
 */
#ifndef MIGRATE_READ_PLANNER_HOOK_H
#define MIGRATE_READ_PLANNER_HOOK_H

extern void migrate_planner_hook_init(void);

#endif							/* MIGRATE_READ_PLANNER_HOOK_H */
