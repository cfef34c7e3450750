/*
 * catalog/try.h
 *		Doing something that may fail, and going on all the same.
 */
#ifndef MIGRATE_CATALOG_TRY_H
#define MIGRATE_CATALOG_TRY_H

typedef void (*MigrateAction) (void *context);

/*
 * Do something in a subtransaction. Returns NULL if it was done; else it is
 * undone, and its error is returned, in the caller's memory. Memory that the
 * action allocates in its current context goes with it.
 */
extern ErrorData *migrate_try(MigrateAction action, void *context);

/* Is an error neither the fault of what was tried nor of another session at work? */
extern bool migrate_try_is_about_server(const ErrorData *error);

/* Were other sessions in the way? */
extern bool migrate_try_is_about_others(const ErrorData *error);

/* Is it neither of these, nor a sign that something is wrong with the server? */
extern bool migrate_try_is_about_data(const ErrorData *error);

#endif							/* MIGRATE_CATALOG_TRY_H */
