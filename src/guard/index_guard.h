/*
 * guard/index_guard.h
 *		Refusing unique indexes that could not know what stale rows read as.
 */
#ifndef MIGRATE_GUARD_INDEX_GUARD_H
#define MIGRATE_GUARD_INDEX_GUARD_H

/* A relation, which may be an index, was made just now. */
extern void migrate_index_guard_check_create(Oid oid);

#endif							/* MIGRATE_GUARD_INDEX_GUARD_H */
