/*
 * guard/replication.h
 *		What publications and subscriptions of a table its migrations concern.
 */
#ifndef MIGRATE_GUARD_REPLICATION_H
#define MIGRATE_GUARD_REPLICATION_H

/* By name, separated by commas, those that have the table or a partition; NULL where none has. */
extern char *migrate_replication_publications(Oid relid);
extern char *migrate_replication_subscriptions(Oid relid);

/* After an expand: warn of rows that would arrive incomplete, or not be found. */
extern void migrate_replication_warn(Oid relid, const char *version_column);

#endif							/* MIGRATE_GUARD_REPLICATION_H */
