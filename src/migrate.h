/*
 * migrate.h
 *		Names that every part of the extension agrees on.
 */
#ifndef MIGRATE_H
#define MIGRATE_H

#define MIGRATE_EXTENSION	"migrate"
#define MIGRATE_SCHEMA		"migrate"
#define MIGRATE_LIBRARY		"migrate"

/*
 * The versions of the SQL objects whose tables this library knows how to read and
 * write: its own (MIGRATE_VERSION, from the control file), and older ones as long as
 * what came since is not needed.
 */
#define MIGRATE_SERVED_VERSIONS	"0.1", MIGRATE_VERSION

/* The version that a table's rows have when they are first managed. */
#define MIGRATE_FIRST_VERSION	1

/*
 * What the row version column's default is while the write trigger stands:
 * "the statement did not say". The trigger replaces it; were the trigger
 * bypassed, the CHECK on the column would refuse the row.
 */
#define MIGRATE_VERSION_UNSAID	0

/*
 * The planner tells the trigger which live migrations' new form an INSERT
 * named by a negative version: -1 - (bit i set for the i-th live migration).
 * Hence the limit on how many may be live on one table.
 */
#define MIGRATE_MAX_LIVE	30
#define MIGRATE_FORM_MARK(forms)	(-1 - (int32) (forms))
#define MIGRATE_MARKED_FORMS(version)	((uint32) (-1 - (version)))

/*
 * Triggers of one event fire in the order of their names' bytes: ours come
 * before and after any others (guard/trigger_guard.c).
 */
#define MIGRATE_TRIGGER_NAME	"!migrate"
#define MIGRATE_LAST_TRIGGER_NAME	"~migrate"

/* Those of a table on which writes may be deferred: AFTER triggers. */
#define MIGRATE_DEFER_TRIGGER_NAME	"!migrate_defer"
#define MIGRATE_MEND_TRIGGER_NAME	"!migrate_mend"

/* Disabled, it holds the condition of rows to be pruned (lifecycle/prune.c). */
#define MIGRATE_PRUNE_TRIGGER_NAME	"migrate_prune"

/* How the names of indexes on what stale rows read as begin. */
#define MIGRATE_INDEX_PREFIX	"!migrate"

/* How the names of statistics objects on columns of stale rows begin. */
#define MIGRATE_STATISTICS_PREFIX	"!migrate_"

/* Was the library loaded by shared_preload_libraries? */
extern bool migrate_is_preloaded;

#endif							/* MIGRATE_H */
