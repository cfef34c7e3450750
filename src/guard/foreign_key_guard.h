/*
 * guard/foreign_key_guard.h
 *		Foreign keys, and columns that do not read as they are stored.
 */
#ifndef MIGRATE_GUARD_FOREIGN_KEY_GUARD_H
#define MIGRATE_GUARD_FOREIGN_KEY_GUARD_H

/* A constraint, which may be a foreign key, was made just now. */
extern void migrate_foreign_key_guard_check_create(Oid constraint);

/* A foreign key is to refer to a column of a locked table: may it? */
extern void migrate_foreign_key_guard_check_key(Oid relid, AttrNumber attno);

/* A column of a table is to be rewritten in place; or the newest migration does so. */
extern void migrate_foreign_key_guard_check_rewrite(Oid root, const char *column);
extern void migrate_foreign_key_guard_check_expanded(Oid root);

/* A migration of a locked table is to be rolled back. */
extern void migrate_foreign_key_guard_check_rollback(Oid root, const char *migration);

#endif							/* MIGRATE_GUARD_FOREIGN_KEY_GUARD_H */
