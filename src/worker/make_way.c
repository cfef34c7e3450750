/*
 * worker/make_way.c
 *		Leaving a database that somebody wants for himself.
 *
 * DROP DATABASE, ALTER DATABASE … RENAME TO and … SET TABLESPACE, and CREATE
 * DATABASE with it as the template, fail where anybody is connected. A session
 * that is in the way its user can end; our workers would come back. So they are
 * told to leave before such a command runs, and none begins there before it is
 * over. It is not for those who have no right to the command to send them away.
 *
 * Workers leave with the batch that they are at. What takes longer, as the reading of
 * a table for the proof or the building of an index, is broken off, and begun
 * again if the command fails.
 *
 * That a database is barred stands in shared memory while the command runs, and is
 * taken back however it ends; a crash of the session empties shared memory.
 */
#include "postgres.h"

#include <signal.h>

#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "worker/make_way.h"
#include "worker/slot.h"

/* What the types of all our workers begin with. */
#define WORKER_TYPE		"migrate "

/* In milliseconds: how long to wait for them, and from when on to insist. */
#define LONGEST_WAIT	10000
#define PATIENCE		3000
#define POLL_WAIT		10

static ProcessUtility_hook_type next_process_utility_hook = NULL;

/* ---- which database ---- */

static char *
option_value(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

static const char *
name_of_database(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) statement)->dbname;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				return ((RenameStmt *) statement)->subname;
			return NULL;
		case T_AlterDatabaseStmt:
			if (option_value(((AlterDatabaseStmt *) statement)->options, "tablespace") != NULL)
				return ((AlterDatabaseStmt *) statement)->dbname;
			return NULL;
		case T_CreatedbStmt:
			return option_value(((CreatedbStmt *) statement)->options, "template");
		default:
			return NULL;
	}
}

/* InvalidOid: nobody has to leave for it. */
static Oid
wanted_database(Node *statement)
{
	const char *name = name_of_database(statement);
	Oid			database = name ? get_database_oid(name, true) : InvalidOid;

	if (!OidIsValid(database) || database == MyDatabaseId ||
		!compat_is_database_owner(database, GetUserId()))
		return InvalidOid;
	return database;
}

/* ---- sending workers away ---- */

static bool
is_worker(int pid)
{
	const char *type = GetBackgroundWorkerTypeByPid(pid);

	return type != NULL && strncmp(type, WORKER_TYPE, strlen(WORKER_TYPE)) == 0;
}

/* Those that are connected, builders of indexes too. Who comes and goes meanwhile may be missed. */
static List *
connected_workers(Oid database)
{
	List	   *pids = NIL;

	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		volatile PGPROC *proc = &ProcGlobal->allProcs[i];
		int			pid = proc->pid;

		if (pid != 0 && proc->databaseId == database && is_worker(pid))
			pids = lappend_int(pids, pid);
	}
	return pids;
}

/* A second signal has them break off whatever it is. */
static List *
tell(List *pids, List *told)
{
	ListCell   *lc;

	foreach(lc, pids)
	{
		if (list_member_int(told, lfirst_int(lc)))
			continue;
		(void) kill(lfirst_int(lc), SIGTERM);
		told = lappend_int(told, lfirst_int(lc));
	}
	return told;
}

static void
wait_a_moment(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_WAIT,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Where they do not leave, the command will say that they are connected. */
static void
send_away(Oid database)
{
	TimestampTz begin = GetCurrentTimestamp();
	List	   *told = NIL;
	bool		insisted = false;

	while (!TimestampDifferenceExceeds(begin, GetCurrentTimestamp(), LONGEST_WAIT))
	{
		List	   *pids = connected_workers(database);

		if (pids == NIL && !migrate_slot_any(database))
			break;
		if (!insisted && TimestampDifferenceExceeds(begin, GetCurrentTimestamp(), PATIENCE))
		{
			insisted = true;
			told = NIL;
		}
		told = tell(pids, told);
		wait_a_moment();
	}
}

/* ---- the hook ---- */

static void
let_in(int code, Datum database)
{
	migrate_slot_unbar(DatumGetObjectId(database));
}

static void
run_next(PlannedStmt *pstmt, const char *query, bool read_only_tree,
		 ProcessUtilityContext context, ParamListInfo params,
		 QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	if (next_process_utility_hook)
		next_process_utility_hook(pstmt, query, read_only_tree, context, params,
								  environment, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params,
								environment, dest, completion);
}

static void
on_process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				   ProcessUtilityContext context, ParamListInfo params,
				   QueryEnvironment *environment, DestReceiver *dest,
				   QueryCompletion *completion)
{
	Oid			database = wanted_database(pstmt->utilityStmt);

	if (!OidIsValid(database) || !migrate_slot_bar(database))
	{
		run_next(pstmt, query, read_only_tree, context, params, environment, dest, completion);
		return;
	}
	PG_ENSURE_ERROR_CLEANUP(let_in, ObjectIdGetDatum(database));
	{
		send_away(database);
		run_next(pstmt, query, read_only_tree, context, params, environment, dest, completion);
	}
	PG_END_ENSURE_ERROR_CLEANUP(let_in, ObjectIdGetDatum(database));
	let_in(0, ObjectIdGetDatum(database));
}

void
migrate_make_way_init(void)
{
	next_process_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = on_process_utility;
}
