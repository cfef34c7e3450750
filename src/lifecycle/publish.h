/*
 * lifecycle/publish.h
 *		Views that show the managed tables as a release knows them.
 */
#ifndef MIGRATE_LIFECYCLE_PUBLISH_H
#define MIGRATE_LIFECYCLE_PUBLISH_H

/*
 * Make a view of each managed table in a schema, which is created if it is not
 * there. Again for the same release: bring them up to date.
 */
extern void migrate_publish(const char *release, const char *schema);

/* Drop them again, and the schema if that leaves it empty. */
extern void migrate_unpublish(const char *schema);

#endif							/* MIGRATE_LIFECYCLE_PUBLISH_H */
