/*
 * lifecycle/unmanage.h
 *		A table is given back: the row version is taken off.
 */
#ifndef MIGRATE_LIFECYCLE_UNMANAGE_H
#define MIGRATE_LIFECYCLE_UNMANAGE_H

extern void migrate_lifecycle_unmanage(Oid relid);

#endif							/* MIGRATE_LIFECYCLE_UNMANAGE_H */
