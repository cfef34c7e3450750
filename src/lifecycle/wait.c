/*
 * lifecycle/wait.c
 *		Waiting, in a session, until a migration is complete.
 *
 * The statement that calls migrate.wait() has a snapshot, and completion waits
 * for older snapshots: each would wait for the other. So this transaction is
 * entered in shared memory as one that waits, and completion passes over it.
 * complete.c says why that is safe; here it is made sure that what it says
 * holds. The transaction
 *
 * - is READ COMMITTED, so that the next statement has another snapshot;
 * - has no snapshot but that of this one statement: a query that calls a
 *   function that calls migrate.wait() in a query of its own has two, and the
 *   outer would go on with an old one while plans are made under the inner;
 * - has written nothing: a row that it holds would never be converted.
 *
 * Nor may the snapshot keep the rows that are converted meanwhile from being pruned:
 * the backfill would find no room (backfill/pump.c). Where what the client runs is nothing
 * but the call, as it mostly is, nothing is read with its snapshot when we
 * return. Then we do not ask others, while we sleep, to keep what it sees, and builders
 * of indexes need not wait for us (shmem.c). Where it may be more, the rest of it may
 * read anything with that snapshot. So the backfill passes over us, and the table grows
 * (backfill/horizon.c); and the building of an index and we would wait for each other,
 * of which we are told.
 *
 * The state is polled with new snapshots. An error, a cancel or the process's
 * end leaves an entry that names a transaction that has ended, and means nothing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/migration.h"
#include "catalog/store.h"
#include "lifecycle/run.h"
#include "shmem.h"

#define POLL_INTERVAL	50		/* milliseconds */
#define POLLS_PER_CIRCLE_CHECK	20

static void
check_transaction(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("migrate.wait() needs a READ COMMITTED transaction"),
				 errdetail("The migration cannot be complete while this transaction's snapshot lasts.")));
	InvalidateCatalogSnapshot();	/* taken anew at need, and not to be counted */
	if (!ThereAreNoPriorRegisteredSnapshots())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("migrate.wait() must be called by a statement of its own"),
				 errdetail("The migration cannot be complete while the outer query's snapshot or an open cursor's lasts.")));
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("migrate.wait() cannot be called in a transaction that has written"),
				 errdetail("The migration cannot be complete while this transaction may hold rows.")));
}

/* ---- the snapshot ---- */

static bool
is_given(const Node *argument)
{
	return IsA(argument, Const) || IsA(argument, Param);
}

static bool
is_plain_call(Expr *expr, Oid function)
{
	ListCell   *lc;

	if (!IsA(expr, FuncExpr) || castNode(FuncExpr, expr)->funcid != function)
		return false;
	foreach(lc, castNode(FuncExpr, expr)->args)
		if (!is_given(lfirst(lc)))
			return false;
	return true;
}

/*
 * Is what the client runs SELECT migrate.wait(...), and nothing else? Only portals of
 * the client's are without a name; in others functions run queries, too, and a STABLE one
 * does that with the snapshot of the query that it is called by.
 */
static bool
is_whole_statement(Oid function)
{
	PlannedStmt *statement;
	Plan	   *plan;

	if (ActivePortal == NULL || ActivePortal->name[0] != '\0' ||
		list_length(ActivePortal->stmts) != 1)
		return false;
	statement = linitial_node(PlannedStmt, ActivePortal->stmts);
	plan = statement->planTree;
	return statement->commandType == CMD_SELECT && !statement->hasModifyingCTE &&
		statement->subplans == NIL && IsA(plan, Result) && plan->lefttree == NULL &&
		castNode(Result, plan)->resconstantqual == NULL &&
		list_length(plan->targetlist) == 1 &&
		is_plain_call(linitial_node(TargetEntry, plan->targetlist)->expr, function);
}

/*
 * What MyProc->xmin promises to others is that we may read what a snapshot as old
 * as that sees. We shall not, and the next look at the catalog takes a new one, which sets
 * it again. So the server itself does when the last snapshot goes.
 */
static void
let_go_of_snapshot(void)
{
	InvalidateCatalogSnapshot();
	MyProc->xmin = InvalidTransactionId;
}

/* ---- waiting ---- */

static bool
is_complete(const char *name)
{
	Migration  *migration = migrate_migration_load(name, false, false);

	switch (migration->state)
	{
		case MIGRATION_COMPLETE:
		case MIGRATION_CONTRACTED:
			return true;
		case MIGRATION_EXPANDED:
			return false;
		case MIGRATION_DEFINED:
		case MIGRATION_ROLLED_BACK:
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("migration \"%s\" is not expanded", name),
			 errdetail("It is %s.", migrate_migration_state_name(migration->state)),
			 errhint("Expand it first: SELECT migrate.expand(%s)", quote_literal_cstr(name))));
}

/*
 * An index's builder passes us by from the moment we are entered as waiting, if we may
 * be. One that looked for older snapshots just before, while this statement already had
 * its own, waits for us as we wait for it, and no deadlock detector sees it.
 */
static void
check_circle(bool is_alone)
{
	if (migrate_store_fetch("SELECT 1 FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
							"  AND a.backend_type = 'migrate index builder'"
							" WHERE l.locktype = 'virtualxid' AND NOT l.granted AND l.virtualxid ="
							"  (SELECT virtualxid FROM pg_locks"
							"   WHERE pid = pg_backend_pid() AND locktype = 'virtualxid' LIMIT 1)",
							STORE_NO_ARGS) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
				 errmsg("migrate.wait() and the building of an index wait for each other"),
				 is_alone
				 ? errdetail("The building began in the moment in which this statement did.")
				 : errdetail("The building waits for all snapshots by which more than that may be read."),
				 is_alone ? errhint("Call migrate.wait() again.")
				 : errhint("Have the client send SELECT migrate.wait(...), and nothing else.")));
}

static bool
poll_until_complete(const char *name, int64 timeout, bool is_alone)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "migrate wait",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	TimestampTz begin = GetCurrentTimestamp();
	bool		complete;

	for (int polls = 1;; polls++)
	{
		long		left;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(scratch);
		if (polls % POLLS_PER_CIRCLE_CHECK == 0)
			check_circle(is_alone);
		complete = is_complete(name);
		left = timeout < 0 ? POLL_INTERVAL
			: timeout - TimestampDifferenceMilliseconds(begin, GetCurrentTimestamp());
		if (complete || left <= 0)
			break;
		if (is_alone)
			let_go_of_snapshot();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(left, POLL_INTERVAL), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return complete;
}

bool
migrate_wait_complete(const char *name, int64 timeout, Oid function)
{
	Migration  *migration = migrate_migration_load(name, false, false);
	bool		is_alone = is_whole_statement(function);
	volatile bool complete = false;

	migrate_migration_check_owner(migration->relid);
	check_transaction();
	migrate_shmem_begin_wait(is_alone);
	PG_TRY();
	{
		complete = poll_until_complete(name, timeout, is_alone);
	}
	PG_FINALLY();
	{
		migrate_shmem_end_wait();
	}
	PG_END_TRY();
	return complete;
}
