/*
 * catalog/migration.h
 *		A migration as the catalog holds it, and its moves from state to state.
 */
#ifndef MIGRATE_CATALOG_MIGRATION_H
#define MIGRATE_CATALOG_MIGRATION_H

#include "nodes/pg_list.h"

typedef enum MigrationState
{
	MIGRATION_DEFINED,
	MIGRATION_EXPANDED,
	MIGRATION_COMPLETE,
	MIGRATION_CONTRACTED,
	MIGRATION_ROLLED_BACK
} MigrationState;

/* A column that a migration adds; the type is qualified SQL, typmod and collation included. */
typedef struct AddedColumn
{
	char	   *name;
	char	   *type;
	char	   *rename_to;		/* the name of the column whose place it takes; NULL: none's */
} AddedColumn;

typedef struct Migration
{
	char	   *name;
	Oid			relid;
	MigrationState state;
	int32		version;		/* 0 until expanded */
	List	   *depends_on;		/* of char * */
	char	   *add_source;		/* the definition as given; NULL where left out */
	char	   *up_source;
	char	   *down_source;
	List	   *remove;			/* of char * */
	char	   *needed_source;
	bool		has_needed;		/* which rows need it is told: by it, or none does */
	char	   *on_error;
	bool		defers;			/* on_error is "defer" */
	char	   *comment;
	char	   *search_path;	/* under which the sources were parsed */
	List	   *inputs;			/* of char *: what Var k of its trees stands for */
	List	   *added;			/* of AddedColumn * */
	char	   *proof;			/* see migrate_migration_proof_text(); NULL: the usual */
	char	   *proof_due;		/* the proof's condition, while rows may be deferred; else NULL */
} Migration;

extern const char *migrate_migration_state_name(MigrationState state);

/* NULL where there is none and missing_ok, else an error (undefined_object). Locks the
 * migration's catalog row until the end of the transaction if asked, so that two
 * transitions of one migration cannot run at once. */
extern Migration *migrate_migration_load(const char *name, bool lock, bool missing_ok);

/* Those of a relation in a state that counts as live, by version; of Migration *. */
extern List *migrate_migration_load_live(Oid relid);

extern bool migrate_migration_is_live(const Migration *migration);

/* The name of a managed table's row version column. */
extern char *migrate_migration_version_column(Oid relid);

/* Is it the name of one of the triggers that we put on tables? */
extern bool migrate_migration_is_trigger_name(const char *name);

/* The name of the constraint that proves a version, e.g. row_version_2. */
extern char *migrate_migration_proof_name(const char *version_column, int32 version);

/* The name of what a table has instead while nothing is live, e.g. row_version_supported. */
extern char *migrate_migration_supported_name(const char *version_column);

/* The names (char *) of the CHECK constraints that we have put on a managed table. */
extern List *migrate_migration_constraints(Oid relid);

/* The text of a proof, as pg_get_expr() gives it. */
extern char *migrate_migration_proof_text(const Migration *migration,
										  const char *version_column);

/* Write the new state and its time, and a line of history. */
extern void migrate_migration_move(Migration *migration, MigrationState state,
								   const char *event, const char *detail);
extern void migrate_migration_record(const char *name, const char *event, const char *detail);

/* Those (of char *) that depend on it directly and are in one of the given SQL states. */
extern List *migrate_migration_dependents(const char *name, const char *state_list);

/* The names of a relation's migrations that no other of its migrations depends on. */
extern List *migrate_migration_leaves(Oid relid);

extern void migrate_migration_check_exists(Oid relid);
extern void migrate_migration_check_owner(Oid relid);

/* An error where the library is not in every backend: rows would be taken as stored. */
extern void migrate_migration_check_preloaded(void);

#endif							/* MIGRATE_CATALOG_MIGRATION_H */
