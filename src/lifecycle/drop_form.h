/*
 * lifecycle/drop_form.h
 *		Taking one of a migration's two forms away.
 */
#ifndef MIGRATE_LIFECYCLE_DROP_FORM_H
#define MIGRATE_LIFECYCLE_DROP_FORM_H

#include "catalog/migration.h"

/*
 * Drop a form's columns (of char *), the migration's proof, and what the table
 * needs no more if no live migration is left. The caller has AccessExclusiveLock
 * on the table and its partitions, and has moved the migration to a state that
 * is not live.
 */
extern void migrate_lifecycle_drop_form(const Migration *migration, List *columns);

/*
 * While nothing is live on a table, a CHECK keeps out rows of versions that it does not
 * take: put it on, and off.
 */
extern void migrate_drop_form_hold_to_versions(Oid relid, const char *version_column);
extern void migrate_drop_form_stop_holding(Oid relid);

#endif							/* MIGRATE_LIFECYCLE_DROP_FORM_H */
