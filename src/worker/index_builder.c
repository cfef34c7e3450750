/*
 * worker/index_builder.c
 *		The process that builds and drops a table's declared indexes.
 *
 * It runs CREATE and DROP INDEX CONCURRENTLY as a session would from its top
 * level, outside of any transaction block: these commit as they go. Whoever is
 * bringing the table to completion starts it and looks again (lifecycle/
 * index_work.c says what is to be done). It ends when nothing is left that it
 * could do.
 *
 * One that finds another at the table leaves it to that one, which may just have
 * found that nothing is left. So who has had a table looks once more after he has let
 * go of it: what was committed before anybody was turned away, he sees then.
 *
 * Rights: it is a superuser's process, as every worker. What an index evaluates
 * the server itself runs as the table's owner in a security-restricted
 * operation, and the index is that owner's. Here it is the columns, or
 * expressions of trusted functions.
 *
 * An error, SIGTERM or a crash leaves an invalid index; after an error it is
 * dropped here, else by the next builder.
 *
 * The commands wait for transactions that are older, without a limit; they hold
 * ShareUpdateExclusiveLock on the table meanwhile. Sessions in migrate.wait() are
 * not waited for (shmem.c). Where one of those transactions wants the table in turn, it is
 * the command that fails, and is tried again later.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "lifecycle/index.h"
#include "migrate.h"
#include "worker/session.h"

PGDLLEXPORT void migrate_worker_index_main(Datum argument);

/* ---- giving way ---- */

/* So many looks in the time after which others look, once. */
#define LOOKS_FOR_DEADLOCK	4

/*
 * A command waits for transactions, and one of these may come to wait for the table. The
 * server looks for a deadlock once in each wait, when that has lasted for a while. By then
 * our wait has long been looked at: he would find the circle, and be its victim. So we
 * look again and again, and before him. (A flag is set, to which only a wait for
 * a lock pays attention.)
 */
static void
look_for_deadlocks(void)
{
	TimeoutId	timeout = RegisterTimeout(USER_TIMEOUT, CheckDeadLockAlert);
	int			pause = Max(DeadlockTimeout / LOOKS_FOR_DEADLOCK, 1);

	/* It would log each look. */
	SetConfigOption("log_lock_waits", "off", PGC_SUSET, PGC_S_OVERRIDE);
	enable_timeout_every(timeout, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause), pause);
}

/* ---- a command at top level ---- */

static void
run_statement(Node *statement)
{
	PlannedStmt *wrapper = makeNode(PlannedStmt);
	const char *tag = IsA(statement, DropStmt)
		? "DROP INDEX CONCURRENTLY" : "CREATE INDEX CONCURRENTLY";

	wrapper->commandType = CMD_UTILITY;
	wrapper->utilityStmt = statement;
	wrapper->stmt_location = -1;
	pgstat_report_activity(STATE_RUNNING, tag);
	ProcessUtility(wrapper, tag, true, PROCESS_UTILITY_TOPLEVEL, NULL, NULL,
				   None_Receiver, NULL);
}

/* It ends in another transaction than it began in, with or without a snapshot. */
static void
run_at_top_level(Node *statement, MemoryContext context)
{
	migrate_session_begin_transaction();
	MemoryContextSwitchTo(context);
	run_statement(statement);
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	pgstat_report_stat(false);
}

static void
attach(Oid relation, const char *name, MemoryContext context)
{
	pgstat_report_activity(STATE_RUNNING, "ATTACH");
	migrate_session_begin_transaction();
	migrate_index_attach(relation, name);
	migrate_session_end_transaction();
	MemoryContextSwitchTo(context);
}

/* Do something that may fail; the error, or NULL. */
static ErrorData *
try_task(const IndexTask *task, Node *statement, MemoryContext context)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		if (statement != NULL)
			run_at_top_level(statement, context);
		else
			attach(task->relation, task->name, context);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		HOLD_INTERRUPTS();
		error = CopyErrorData();
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		MemoryContextSwitchTo(context);
	}
	PG_END_TRY();
	return error;
}

/* ---- tasks ---- */

/* Does it say nothing about the index, so that another try may do better? */
static bool
is_passing(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_SYSTEM_ERROR:
			return true;
		default:
			return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	}
}

/* What was built of it is in the way of writes that are not unique: it goes first. */
static void
fail_task(Oid relation, const IndexTask *task, const ErrorData *error, MemoryContext context)
{
	Node	   *drop;

	migrate_session_begin_transaction();
	MemoryContextSwitchTo(context);
	drop = migrate_index_drop_leftover(task);
	migrate_session_end_transaction();
	MemoryContextSwitchTo(context);
	if (drop != NULL)
		(void) try_task(task, drop, context);
	if (is_passing(error))
		return;
	migrate_session_begin_transaction();
	migrate_index_record_failure(relation, task, error);
	migrate_session_end_transaction();
}

/* In memory that lasts until the next look. */
static IndexTask *
look(const IndexBuilderArgument *argument, MemoryContext context)
{
	IndexTask  *task;

	MemoryContextReset(context);
	migrate_session_begin_transaction();
	MemoryContextSwitchTo(context);
	task = migrate_index_next_task(argument->relation, argument->is_final);
	migrate_session_end_transaction();
	MemoryContextSwitchTo(context);
	return task;
}

/* False where it is not to be gone on with. */
static bool
do_task(const IndexBuilderArgument *argument, const IndexTask *task, MemoryContext context)
{
	ErrorData  *error;

	error = try_task(task, task->statement, context);
	if (error == NULL)
		return true;
	if (task->drop == NULL && !task->attaches)
		return false;
	fail_task(argument->relation, task, error, context);
	return !is_passing(error);
}

/* All that there are; false where one is left to another time. */
static bool
do_tasks(const IndexBuilderArgument *argument, MemoryContext context)
{
	IndexTask  *task;

	while ((task = look(argument, context)) != NULL)
	{
		if (!do_task(argument, task, context))
			return false;
		migrate_session_refresh();
	}
	return true;
}

static bool
claim(Oid relation)
{
	bool		alone;

	migrate_session_begin_transaction();
	alone = OidIsValid(get_extension_oid(MIGRATE_EXTENSION, true)) &&
		migrate_index_claim(relation);
	migrate_session_end_transaction();
	return alone;
}

void
migrate_worker_index_main(Datum database)
{
	IndexBuilderArgument argument;
	MemoryContext context;

	memcpy(&argument, MyBgworkerEntry->bgw_extra, sizeof(argument));
	migrate_session_begin(DatumGetObjectId(database), "migrate index builder", die);
	/* What the guard keeps for us, it need not keep from us. */
	SetConfigOption("migrate.guard", "off", PGC_SUSET, PGC_S_OVERRIDE);
	look_for_deadlocks();
	context = AllocSetContextCreate(TopMemoryContext, "migrate index builder",
									ALLOCSET_DEFAULT_SIZES);
	while (claim(argument.relation) && do_tasks(&argument, context))
	{
		migrate_index_let_go(argument.relation);
		if (look(&argument, context) == NULL)
			break;
	}
	proc_exit(0);
}
