/*
 * lifecycle/dry_run.h
 *		What a migration would make of the rows that there are.
 */
#ifndef MIGRATE_LIFECYCLE_DRY_RUN_H
#define MIGRATE_LIFECYCLE_DRY_RUN_H

#include "catalog/migration.h"

typedef struct DryRun
{
	int64		rows_checked;
	int64		rows_failed;	/* of those: up or down raised an error */
	char	   *first_error;
	char	   *first_failed_row;	/* as JSON text, as it is stored */
	int64		round_trip_failures;	/* not what it was after up and down; or not up after up */
	double		estimated_seconds;	/* to compute, not to store, all rows */
} DryRun;

/* Try it on that percentage of the table's blocks. */
extern void migrate_lifecycle_dry_run(const char *name, double sample, DryRun *result);

#endif							/* MIGRATE_LIFECYCLE_DRY_RUN_H */
