/*
 * lifecycle/index.h
 *		Indexes that were declared on new columns.
 */
#ifndef MIGRATE_LIFECYCLE_INDEX_H
#define MIGRATE_LIFECYCLE_INDEX_H

#include "nodes/parsenodes.h"
#include "postmaster/bgworker.h"

#include "catalog/migration.h"

/* ---- lifecycle/index.c: what is declared ---- */

/* Record an index; returns the name that it will have. */
extern char *migrate_index_declare(const char *migration, const char *columns,
								   bool is_unique, bool while_stale);

/*
 * Record the index of a UNIQUE in "add". Where its name is NULL, it gets one as the
 * column's, which may go by another name by now.
 */
extern void migrate_index_declare_constraint(const Migration *migration, const char *column,
											 const char *column_label, const char *name);

/*
 * Those that stand, make constraints of them. Takes AccessExclusiveLock on the
 * table if there are any; false where there are none.
 */
extern bool migrate_index_make_constraints(Oid root);

/* Take it back, with what was built of it. */
extern void migrate_index_withdraw(const char *migration, const char *name);

/* The migration ends: its declarations do as well. */
extern void migrate_index_forget(Oid root, const char *migration);

/* ---- lifecycle/index_work.c: what is to be done about it ---- */

/* The name of the index that stands in for one while rows are stale. */
extern char *migrate_stale_index_name(const char *name);

typedef enum IndexState
{
	INDEX_READY,				/* nothing is to be done */
	INDEX_PENDING,				/* something is to be built or dropped */
	INDEX_FAILED				/* only what could not be built is left */
} IndexState;

/*
 * How it stands with a table's declared indexes: those on what stale rows read
 * as, or with "is_final", when all rows are converted, the plain ones.
 */
extern IndexState migrate_index_state(Oid root, bool is_final, char **name);

/* A thing to do, in an allocation that outlives transactions. */
typedef struct IndexTask
{
	Oid			relation;		/* the table, or a partition */
	char	   *name;			/* as declared */
	Node	   *statement;		/* CREATE or DROP INDEX CONCURRENTLY; or */
	bool		attaches;		/* migrate_index_attach() */
	char	   *drop;			/* what is left of this one if it fails is dropped; NULL: of none */
} IndexTask;

/* The next thing to do for a table; NULL where there is none. */
extern IndexTask *migrate_index_next_task(Oid root, bool is_final);

/* Make a partitioned table's index of those of its partitions. */
extern void migrate_index_attach(Oid root, const char *name);

/* A statement that takes away what is left of a task that failed; NULL where nothing is. */
extern Node *migrate_index_drop_leftover(const IndexTask *task);

/* The index cannot be built as long as things are as they are. */
extern void migrate_index_record_failure(Oid root, const IndexTask *task,
										 const ErrorData *error);

/* The rows that made an index fail are not failing any more for that. */
extern void migrate_index_forget_failure(const char *migration, const char *name);

/* Try again what failed. */
extern void migrate_index_retry(Oid root);

/* What the builder is told. */
typedef struct IndexBuilderArgument
{
	Oid			relation;
	bool		is_final;
} IndexBuilderArgument;

/*
 * Have a process of its own do what there is to do for a table, unless the one
 * of the handle still does; false where the server has none to spare.
 */
extern bool migrate_index_start_builder(Oid root, bool is_final,
										BackgroundWorkerHandle **handle);

/*
 * End that process, and keep others away until this transaction ends: it would
 * wait for our snapshot, and we for its lock on the table.
 */
extern void migrate_index_stop_builder(Oid root);

/* In that process: is it alone at this table? It then is until it lets go, or exits. */
extern bool migrate_index_claim(Oid root);
extern void migrate_index_let_go(Oid root);

/*
 * Is such a process at this table, which will look at what is committed by now? False, too,
 * where it is between two transactions.
 */
extern bool migrate_index_is_claimed(Oid root);

#endif							/* MIGRATE_LIFECYCLE_INDEX_H */
