/*
 * lifecycle/complete.c
 *		From converted rows to a proof that there are no others.
 *
 * The backfill says that it has left nothing behind; it is not believed. The
 * constraint CHECK (row_version >= v), or what else lifecycle/proof.c made of
 * it, which expand or the end of deferring (lifecycle/deferral.c) added NOT
 * VALID, is validated: the server itself reads every row. That takes
 * ShareUpdateExclusiveLock, which blocks no reader and no writer, and since
 * the constraint is enforced on every write, what was found stays so.
 *
 * The proof speaks of rows that a new snapshot sees. One that was taken before
 * the last conversion committed may see a stale row, though no longer for
 * long. So before the migration counts as complete, snapshots older than the
 * proof must have ended ("settled"), as CREATE INDEX CONCURRENTLY waits for
 * them: a snapshot of our own, taken once the proof is committed, has an xmin
 * at or above that of every older one; those transactions that hold one at or
 * below it are noted once, and each is struck off when it has ended or holds a
 * younger one. Whoever comes later has seen the proof commit. We poll, outside
 * of any snapshot, so that two tables that settle at once do not wait for each
 * other, and nobody for us.
 *
 * Not waited for are:
 *
 * - autovacuum and VACUUM, which see no rows with their snapshots;
 * - sessions in migrate.wait(): they wait for us. Each is a READ COMMITTED
 *   transaction in which the statement that calls migrate.wait() has the only
 *   snapshot (lifecycle/wait.c sees to it). It may see stale rows until it ends,
 *   and reads them right: plans leave out the conversion only under a
 *   snapshot that sees completed_xid (migrate_conversion_first_stale()), and
 *   that one does not. The statement after it takes a new one.
 *
 * Prepared transactions hold no snapshot, but may hold rows. A stale row that
 * one of them has changed, deleted or locked was left behind by the backfill,
 * which therefore has not come to its end; and were it overlooked, it is
 * visible, for its change has not committed, and breaks the proof. A row that
 * one of them inserted is converted: it began after expand, whose lock waits
 * for prepared transactions too.
 *
 * Standbys may have older snapshots; they go on converting what they read.
 *
 * A crash between proof and completion loses nothing: the constraint stays
 * validated, and settling begins anew. Two sessions may come here at once:
 * validating takes turns by its lock, completing by the migration's row.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "backfill/progress.h"
#include "catalog/migration.h"
#include "catalog/store.h"
#include "catalog/try.h"
#include "compat.h"
#include "convert/conversion.h"
#include "guc.h"
#include "lifecycle/complete.h"
#include "lifecycle/expand.h"
#include "lifecycle/lock.h"
#include "lifecycle/statistics.h"
#include "shmem.h"

/* ---- the proof ---- */

static char *
version_column(Oid root)
{
	return migrate_store_fetch("SELECT version_column FROM migrate.managed WHERE relation = $1",
							   STORE_ARGS(store_relation(root)));
}

/*
 * Is a version's constraint validated? That it is the one that expand made is
 * looked at too: with the guard off its owner may have put another in its place.
 */
static bool
is_proven(const Migration *migration, const char *column)
{
	Oid			root = migration->relid;
	char	   *name = migrate_migration_proof_name(column, migration->version);
	char	   *expected = migrate_migration_proof_text(migration, column);
	char	   *found[2];

	if (!migrate_store_fetch_row("SELECT convalidated, pg_get_expr(conbin, conrelid)"
								 " FROM pg_constraint"
								 " WHERE conrelid = $1 AND conname = $2 AND contype = 'c'",
								 STORE_ARGS(store_relation(root), store_name(name)),
								 lengthof(found), found) ||
		strcmp(found[1], expected) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" lacks the constraint \"%s\" that migrate gave it",
						get_rel_name(root), name),
				 errdetail("It proves that no row is left to convert to version %d.",
						   migration->version),
				 errhint("Add it again: CHECK %s NOT VALID.", expected)));
	return strcmp(found[0], "t") == 0;
}

/* The command that validates what is not; NULL where all is. */
static char *
validate_sql(Oid root)
{
	char	   *column = version_column(root);
	StringInfoData sql;
	bool		any = false;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql, "ALTER TABLE %s",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(root)),
												get_rel_name(root)));
	foreach(lc, migrate_migration_load_live(root))
	{
		Migration  *migration = lfirst(lc);

		if (migration->state == MIGRATION_COMPLETE ||
			is_proven(migration, column))
			continue;
		appendStringInfo(&sql, "%s VALIDATE CONSTRAINT %s", any ? "," : "",
						 quote_identifier(migrate_migration_proof_name(column,
																	   migration->version)));
		any = true;
	}
	return any ? sql.data : NULL;
}

typedef struct Validation
{
	Oid			root;
	char	   *sql;
} Validation;

/*
 * The constraint is the owner's to evaluate, and nothing else: restricted. For
 * the table's lock we do not stand in line, we come again; for those of its
 * partitions only as long as lock_timeout says.
 */
static void
validate(void *context)
{
	Validation *validation = context;
	StoreIdentity self;

	migrate_store_become_restricted(&self, migrate_store_relation_owner(validation->root));
	migrate_lock_limit_wait(migrate_guc_lock_timeout);
	if (!ConditionalLockRelationOid(validation->root, ShareUpdateExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg_internal("relation %u is locked", validation->root)));
	migrate_store_ddl(validation->root, validation->sql);
	migrate_store_become_self(&self);
}

static ProofResult
result_of_error(ErrorData *error)
{
	switch (error->sqlerrcode)
	{
		case ERRCODE_CHECK_VIOLATION:
			return PROOF_BROKEN;
		case ERRCODE_LOCK_NOT_AVAILABLE:
		case ERRCODE_T_R_DEADLOCK_DETECTED:
			return PROOF_BLOCKED;
		default:
			ReThrowError(error);
	}
}

ProofResult
migrate_complete_prove(Oid root)
{
	Validation	validation = {root, validate_sql(root)};
	ErrorData  *error;
	ProofResult result;

	if (validation.sql == NULL)
		return PROOF_STOOD;
	error = migrate_try(validate, &validation);
	if (error == NULL)
		return PROOF_FOUND;
	result = result_of_error(error);
	FreeErrorData(error);
	return result;
}

/* ---- settling ---- */

static VirtualTransactionId *
older_transactions(const Settling *settling, int *count)
{
	return GetCurrentVirtualXIDs(settling->limit, true, false,
								 PROC_IS_AUTOVACUUM | PROC_IN_VACUUM, count);
}

void
migrate_complete_begin_settling(Settling *settling, Oid root, MemoryContext parent)
{
	MemoryContext old;
	List	   *live = migrate_migration_load_live(root);

	memset(settling, 0, sizeof(Settling));
	if (live == NIL)
		return;
	settling->version = ((Migration *) llast(live))->version;
	settling->limit = GetLatestSnapshot()->xmin;
	settling->context = AllocSetContextCreate(parent, "migrate settling", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(settling->context);
	settling->older = older_transactions(settling, &settling->count);
	MemoryContextSwitchTo(old);
	settling->begun = true;
}

static bool
is_among(VirtualTransactionId vxid, const VirtualTransactionId *vxids, int count)
{
	for (int i = 0; i < count; i++)
		if (VirtualTransactionIdEquals(vxid, vxids[i]))
			return true;
	return false;
}

static void
describe(VirtualTransactionId vxid, char *who, Size size)
{
	PGPROC	   *proc = compat_vxid_proc(vxid);

	snprintf(who, size, "a snapshot of process %d", proc ? proc->pid : 0);
}

bool
migrate_complete_is_settled(Settling *settling, char *who, Size size)
{
	int			count;
	int			left = 0;
	VirtualTransactionId *now = older_transactions(settling, &count);

	for (int i = 0; i < settling->count; i++)
		if (is_among(settling->older[i], now, count))
			settling->older[left++] = settling->older[i];
	settling->count = left;
	pfree(now);

	for (int i = 0; i < left; i++)
		if (!migrate_shmem_is_waiting(settling->older[i]))
		{
			describe(settling->older[i], who, size);
			return false;
		}
	return true;
}

void
migrate_complete_end_settling(Settling *settling)
{
	if (settling->begun)
		MemoryContextDelete(settling->context);
	memset(settling, 0, sizeof(Settling));
}

/* ---- completion ---- */

static char *
rows_converted(Oid root)
{
	return migrate_store_fetch("SELECT format('%s rows converted in the background',"
							   "  coalesce(sum(rows_converted), 0))"
							   " || CASE WHEN sum(rows_pruned) > 0"
							   "  THEN format(', %s pruned', sum(rows_pruned)) ELSE '' END"
							   " || CASE WHEN sum(rows_referenced) > 0 THEN"
							   "  format(', %s not pruned for the rows that refer to them',"
							   "   sum(rows_referenced)) ELSE '' END"
							   " FROM migrate.backfill WHERE root = $1",
							   STORE_ARGS(store_relation(root)));
}

/*
 * Lock the rows of the migrations that are to be completed. Before the table,
 * as everybody does who moves a migration: a rollback that has the row waits
 * for the table. Those that are complete are left alone: a contract may have
 * theirs.
 */
static List *
lock_expanded(Oid root, int32 version)
{
	List	   *expanded = NIL;
	ListCell   *lc;

	foreach(lc, migrate_migration_load_live(root))
	{
		Migration  *migration = lfirst(lc);

		/* What was expanded since is not proven. */
		if (migration->state != MIGRATION_EXPANDED || migration->version > version)
			continue;
		migration = migrate_migration_load(migration->name, true, true);
		if (migration != NULL)
			expanded = lappend(expanded, migration);
	}
	return expanded;
}

bool
migrate_complete_finish(Oid root, int32 version)
{
	List	   *expanded = lock_expanded(root, version);
	char	   *column;
	ListCell   *lc;

	if (!ConditionalLockRelationOid(root, AccessShareLock))
		return false;
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(root)))
		return true;
	column = version_column(root);
	foreach(lc, expanded)
	{
		Migration  *migration = lfirst(lc);

		/* It may have moved on before its row was locked. */
		if (migration->state == MIGRATION_EXPANDED && migration->version <= version &&
			is_proven(migration, column))
			migrate_migration_move(migration, MIGRATION_COMPLETE, "complete",
								   rows_converted(root));
	}
	migrate_progress_forget(root, version);
	migrate_conversion_invalidate(root);
	CommandCounterIncrement();
	migrate_lifecycle_sync_statistics(root);

	/* A waiting session is about to be told. */
	ForceSyncCommit();
	return true;
}
