/*
 * read/release_check.h
 *		A pinned session uses only what its release knows.
 */
#ifndef MIGRATE_READ_RELEASE_CHECK_H
#define MIGRATE_READ_RELEASE_CHECK_H

extern void migrate_release_check_init(void);

#endif							/* MIGRATE_READ_RELEASE_CHECK_H */
