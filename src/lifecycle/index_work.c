/*
 * lifecycle/index_work.c
 *		What is to be done about declared indexes.
 *
 * CREATE INDEX CONCURRENTLY commits as it goes: no step of the backfill and no
 * procedure can run it. So a process of its own does (worker/index_builder.c),
 * for background workers and for CALL migrate.run() alike; those only look
 * again. What is to be done follows from the catalogs alone:
 *
 *	missing		it is built
 *	invalid		a builder ended before its time: dropped, then built
 *	valid		nothing; but an index on a reading that has changed since (another
 *				migration was expanded), or whose migration is complete, is dropped
 *
 * At most one process at a time works on a table's indexes, by a session lock;
 * so to itself "invalid" always means left over. Another that comes meanwhile leaves at
 * once, and nothing is lost by that: who lets go of the lock looks again after it.
 *
 * The server cannot build a partitioned table's index concurrently. So each leaf
 * gets one, under an interim name, and when all have theirs one is made of them
 * for the table (migrate_index_attach()): a change of the catalog, under a lock
 * that writers wait for. Partitions may come and go before that. On what stale
 * rows read as there are indexes on the leaves alone: they are enough for
 * queries, and uniqueness includes the partition key.
 *
 * An index that cannot be built (its rows are not unique) is recorded in
 * migrate.failures, and in its declaration, so that it is not tried again before
 * migrate.retry().
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "backfill/progress.h"
#include "catalog/heaps.h"
#include "catalog/store.h"
#include "catalog/try.h"
#include "convert/expression.h"
#include "lifecycle/breach.h"
#include "lifecycle/index.h"
#include "lifecycle/index_definition.h"
#include "lifecycle/lock.h"
#include "migrate.h"

/* Keeps the lock of a table's builder apart from users' advisory locks, which have 1 or 2 there. */
#define BUILDERS_LOCK	0x6d

/* ---- what is there ---- */

typedef enum Condition
{
	IS_MISSING,
	IS_LEFT_OVER,				/* not valid: a builder ended before its time */
	IS_ANOTHER,					/* the name is that of something else */
	IS_THERE
} Condition;

static Oid
find_index(Oid relid, const char *name)
{
	return get_relname_relid(name, get_rel_namespace(relid));
}

/* The index of a relation; NULL where it is none. */
static Form_pg_index
index_of(Oid relid, Oid index, HeapTuple *tuple)
{
	Form_pg_index form;

	*tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	if (!HeapTupleIsValid(*tuple))
		return NULL;
	form = (Form_pg_index) GETSTRUCT(*tuple);
	if (form->indrelid == relid)
		return form;
	ReleaseSysCache(*tuple);
	return NULL;
}

static Condition
condition_of(Oid relid, const char *name, const IndexStmt *statement)
{
	Oid			index = find_index(relid, name);
	HeapTuple	tuple;
	Form_pg_index form;
	bool		valid;

	if (!OidIsValid(index))
		return IS_MISSING;
	form = index_of(relid, index, &tuple);
	if (form == NULL)
		return IS_ANOTHER;
	valid = form->indisvalid;
	ReleaseSysCache(tuple);
	if (!valid)
		return IS_LEFT_OVER;
	return migrate_declared_is_made(index, relid, statement) ? IS_THERE : IS_ANOTHER;
}

/* ---- the statements ---- */

static Node *
drop_statement(Oid relid, const char *name)
{
	DropStmt   *statement = makeNode(DropStmt);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));

	statement->removeType = OBJECT_INDEX;
	statement->objects = list_make1(list_make2(makeString(schema), makeString(pstrdup(name))));
	statement->missing_ok = true;
	statement->concurrent = true;
	return (Node *) statement;
}

/* What failed for its name being taken has left nothing: that is not ours to drop. */
Node *
migrate_index_drop_leftover(const IndexTask *task)
{
	HeapTuple	tuple;
	Form_pg_index form;
	bool		valid;

	if (task->drop == NULL || !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(task->relation)))
		return NULL;
	form = index_of(task->relation, find_index(task->relation, task->drop), &tuple);
	if (form == NULL)
		return NULL;
	valid = form->indisvalid;
	ReleaseSysCache(tuple);
	return valid ? NULL : drop_statement(task->relation, task->drop);
}

/* ---- what is to be done ---- */

static IndexTask *
make_task(Oid relation, const char *name, Node *statement)
{
	IndexTask  *task = palloc0(sizeof(IndexTask));

	task->relation = relation;
	task->name = pstrdup(name);
	task->statement = statement;
	return task;
}

static IndexTask *
build_task(Oid relation, const Declared *declared, const char *name, Node *statement)
{
	IndexTask  *task = make_task(relation, declared->name, statement);

	task->drop = pstrdup(name);
	return task;
}

/* A name that begins as ours do is ours, whatever the index is on by now. */
static bool
is_ours(const char *name)
{
	return strncmp(name, MIGRATE_INDEX_PREFIX "_", strlen(MIGRATE_INDEX_PREFIX "_")) == 0;
}

static IndexTask *
task_for_heap(Oid root, Oid heap, const Declared *declared, bool is_stale)
{
	char	   *name = migrate_declared_index_name(root, heap, declared, is_stale);
	IndexStmt  *statement = migrate_declared_statement(heap, declared, name, is_stale);

	switch (condition_of(heap, name, statement))
	{
		case IS_THERE:
			return NULL;
		case IS_ANOTHER:
			if (!is_ours(name))
				break;			/* it will fail, and say so */
			/* FALLTHROUGH */
		case IS_LEFT_OVER:
			return make_task(heap, declared->name, drop_statement(heap, name));
		case IS_MISSING:
			break;
	}
	return build_task(heap, declared, name, (Node *) statement);
}

static IndexTask *
task_for_heaps(Oid root, const Declared *declared, bool is_stale)
{
	ListCell   *lc;

	foreach(lc, migrate_heaps_of(root))
	{
		IndexTask  *task = task_for_heap(root, lfirst_oid(lc), declared, is_stale);

		if (task != NULL)
			return task;
	}
	return NULL;
}

static IndexTask *
attach_task(Oid root, const Declared *declared)
{
	IndexTask  *task = make_task(root, declared->name, NULL);

	task->attaches = true;
	return task;
}

static IndexTask *
task_for_plain(Oid root, const Declared *declared)
{
	IndexStmt  *statement;
	IndexTask  *task;

	if (get_rel_relkind(root) != RELKIND_PARTITIONED_TABLE)
		return task_for_heaps(root, declared, false);
	statement = migrate_declared_statement(root, declared, declared->name, false);
	if (condition_of(root, declared->name, statement) == IS_THERE)
		return NULL;
	task = task_for_heaps(root, declared, false);
	return task ? task : attach_task(root, declared);
}

static bool
is_wanted(Oid root, Oid heap, const char *name, List *all)
{
	ListCell   *lc;

	foreach(lc, all)
	{
		Declared   *declared = lfirst(lc);

		if (declared->while_stale &&
			strcmp(migrate_declared_index_name(root, heap, declared, true), name) == 0)
			return true;
		if (strcmp(migrate_declared_index_name(root, heap, declared, false), name) == 0)
			return true;
	}
	return false;
}

/* An index of ours that has served its time. */
static IndexTask *
task_for_orphan(Oid root, List *all)
{
	ListCell   *heap;
	ListCell   *lc;

	foreach(heap, migrate_heaps_of(root))
		foreach(lc, migrate_store_fetch_list("SELECT c.relname FROM pg_index i"
											 " JOIN pg_class c ON c.oid = i.indexrelid"
											 " WHERE i.indrelid = $1 AND NOT c.relispartition"
											 "  AND starts_with(c.relname, $2)",
											 STORE_ARGS(store_oid(lfirst_oid(heap)),
														store_text(MIGRATE_INDEX_PREFIX "_"))))
			if (!is_wanted(root, lfirst_oid(heap), lfirst(lc), all))
				return make_task(lfirst_oid(heap), lfirst(lc),
								 drop_statement(lfirst_oid(heap), lfirst(lc)));
	return NULL;
}

static IndexTask *
next_task(Oid root, bool is_final, List *all)
{
	ListCell   *lc;

	foreach(lc, all)
	{
		Declared   *declared = lfirst(lc);
		IndexTask  *task = NULL;

		if (declared->failed)
			continue;
		if (is_final)
			task = task_for_plain(root, declared);
		else if (declared->while_stale)
			task = task_for_heaps(root, declared, true);
		if (task != NULL)
			return task;
	}
	return task_for_orphan(root, all);
}

IndexTask *
migrate_index_next_task(Oid root, bool is_final)
{
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(root)))
		return NULL;
	return next_task(root, is_final, migrate_declared_load_all(root));
}

IndexState
migrate_index_state(Oid root, bool is_final, char **name)
{
	List	   *all = migrate_declared_load_all(root);
	IndexTask  *task = next_task(root, is_final, all);
	ListCell   *lc;

	*name = task ? task->name : NULL;
	if (task != NULL)
		return INDEX_PENDING;
	foreach(lc, all)
		if (((Declared *) lfirst(lc))->failed)
			return INDEX_FAILED;
	return INDEX_READY;
}

/* ---- of partitions, one ---- */

/* They get names as the server would have given them. */
static void
rename_attached(Oid root, const Declared *declared, const char *columns)
{
	ListCell   *lc;

	foreach(lc, migrate_heaps_of(root))
	{
		Oid			heap = lfirst_oid(lc);
		char	   *name = migrate_declared_index_name(root, heap, declared, false);
		char	   *final = ChooseRelationName(get_rel_name(heap), columns,
											   declared->is_unique ? "key" : "idx",
											   get_rel_namespace(heap), false);

		RenameRelationInternal(find_index(heap, name), final, true, true);
		CommandCounterIncrement();
	}
}

/*
 * CREATE INDEX on a partitioned table takes over the indexes that its partitions
 * have, at all levels, and builds those that are missing, under ShareLock. Nothing
 * is missing: that is looked at under the lock.
 */
void
migrate_index_attach(Oid root, const char *name)
{
	Declared   *declared = migrate_declared_load(root, name);
	IndexStmt  *statement;
	PlannedStmt *wrapper = makeNode(PlannedStmt);
	char	   *columns;

	if (declared == NULL)
		return;
	migrate_lock_tables(migrate_lock_add(NIL, root, ShareLock),
						psprintf("make index \"%s\" of those of its partitions", name));
	if (task_for_heaps(root, declared, false) != NULL)
		return;
	statement = migrate_declared_statement(root, declared, name, false);
	statement->concurrent = false;
	columns = migrate_declared_joined_columns(statement);
	wrapper->commandType = CMD_UTILITY;
	wrapper->utilityStmt = (Node *) statement;
	wrapper->stmt_location = -1;
	ProcessUtility(wrapper, "CREATE INDEX", false, PROCESS_UTILITY_QUERY,
				   NULL, NULL, None_Receiver, NULL);
	CommandCounterIncrement();
	rename_attached(root, declared, columns);
}

/* ---- failures ---- */

/* The rows whose values occur more than once, as a condition on "r". */
static char *
duplicates_condition(Oid root, const Declared *declared)
{
	IndexStmt  *statement = migrate_declared_statement(root, declared, declared->name, false);
	StringInfoData values;
	StringInfoData known;
	ListCell   *lc;

	initStringInfo(&values);
	initStringInfo(&known);
	foreach(lc, statement->indexParams)
	{
		const IndexElem *element = lfirst_node(IndexElem, lc);
		const char *value = element->name ? pstrdup(quote_identifier(element->name))
			: migrate_expression_to_text(root, (Expr *) element->expr);

		appendStringInfo(&values, "%s(%s)", values.len > 0 ? ", " : "", value);
		appendStringInfo(&known, "%s(%s) IS NOT NULL", known.len > 0 ? " AND " : "", value);
	}
	return psprintf("(r.tableoid, r.ctid) IN (SELECT d.tableoid, d.ctid FROM"
					" (SELECT tableoid, ctid, count(*) OVER (PARTITION BY %s) AS n"
					"  FROM %s WHERE %s) d WHERE d.n > 1)",
					values.data, migrate_store_relation_sql(root), known.data);
}

static char *
duplicate_message(const char *index)
{
	return psprintf("value is not unique for index \"%s\"", index);
}

typedef struct Duplicates
{
	Oid			root;
	const Declared *declared;
} Duplicates;

static void
record_duplicates(void *context)
{
	const Duplicates *duplicates = context;
	const Declared *declared = duplicates->declared;
	Breach		breach = {
		.migration = declared->migration,
		.condition = duplicates_condition(duplicates->root, declared),
		.searcher = migrate_store_relation_owner(duplicates->root),
		.sqlerrcode = ERRCODE_UNIQUE_VIOLATION,
		.message = duplicate_message(declared->name),
	};

	(void) migrate_breach_record(duplicates->root, &breach);
}

/* To name them is a service: should that fail, the index has failed all the same. */
static void
try_to_record_duplicates(Oid root, const char *name)
{
	Duplicates	duplicates = {root, migrate_declared_load(root, name)};
	ErrorData  *error = duplicates.declared ? migrate_try(record_duplicates, &duplicates) : NULL;

	if (error != NULL && migrate_try_is_about_server(error))
		ReThrowError(error);
}

void
migrate_index_record_failure(Oid root, const IndexTask *task, const ErrorData *error)
{
	char	   *message = error->detail
		? psprintf("%s: %s", error->message, error->detail) : error->message;

	if (error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION)
		try_to_record_duplicates(root, task->name);
	migrate_store_execute("UPDATE migrate.declared_index SET error = $3, error_code = $4,"
						  "  first_error_at = coalesce(first_error_at, clock_timestamp()),"
						  "  attempts = attempts + 1"
						  " WHERE relation = $1 AND name = $2",
						  STORE_ARGS(store_relation(root), store_name(task->name),
									 store_text(message),
									 store_text(unpack_sql_state(error->sqlerrcode))));
	migrate_progress_lock(root);
	migrate_store_execute("UPDATE migrate.backfill SET last_error = $2 WHERE root = $1",
						  STORE_ARGS(store_relation(root), store_text(message)));
}

/* They are looked for again when the index cannot be built again. */
void
migrate_index_forget_failure(const char *migration, const char *name)
{
	migrate_store_execute("DELETE FROM migrate.failure WHERE migration = $1"
						  " AND sqlstate = '23505' AND message = $2",
						  STORE_ARGS(store_text(migration), store_text(duplicate_message(name))));
}

void
migrate_index_retry(Oid root)
{
	ListCell   *lc;

	foreach(lc, migrate_declared_load_all(root))
	{
		const Declared *declared = lfirst(lc);

		if (declared->failed)
			migrate_index_forget_failure(declared->migration, declared->name);
	}
	migrate_store_execute("UPDATE migrate.declared_index SET error = NULL"
						  " WHERE relation = $1 AND error IS NOT NULL",
						  STORE_ARGS(store_relation(root)));
}

/* ---- the process ---- */

static void
describe_builder(BackgroundWorker *worker, Oid root, bool is_final)
{
	IndexBuilderArgument argument = {root, is_final};

	memset(worker, 0, sizeof(BackgroundWorker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	worker->bgw_notify_pid = MyProcPid;
	worker->bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
	memcpy(worker->bgw_extra, &argument, sizeof(argument));
	strlcpy(worker->bgw_library_name, MIGRATE_LIBRARY, sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, "migrate_worker_index_main",
			sizeof(worker->bgw_function_name));
	strlcpy(worker->bgw_type, "migrate index builder", BGW_MAXLEN);
	snprintf(worker->bgw_name, BGW_MAXLEN, "migrate index builder for relation %u of database %u",
			 root, MyDatabaseId);
}

bool
migrate_index_start_builder(Oid root, bool is_final, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;
	pid_t		pid;

	if (*handle != NULL && GetBackgroundWorkerPid(*handle, &pid) != BGWH_STOPPED)
		return true;
	if (*handle != NULL)
		pfree(*handle);
	*handle = NULL;
	describe_builder(&worker, root, is_final);
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

static LOCKTAG
builders_lock(Oid root)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, root, 0, BUILDERS_LOCK);
	return tag;
}

bool
migrate_index_claim(Oid root)
{
	LOCKTAG		tag = builders_lock(root);

	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

void
migrate_index_let_go(Oid root)
{
	LOCKTAG		tag = builders_lock(root);

	(void) LockRelease(&tag, ExclusiveLock, true);
}

bool
migrate_index_is_claimed(Oid root)
{
	LOCKTAG		tag = builders_lock(root);
	int			count;

	(void) GetLockConflicts(&tag, ExclusiveLock, &count);
	return count > 0;
}

void
migrate_index_stop_builder(Oid root)
{
	LOCKTAG		tag = builders_lock(root);

	(void) migrate_store_fetch("SELECT pg_terminate_backend(l.pid) FROM pg_locks l"
							   " JOIN pg_database d ON d.oid = l.database"
							   " JOIN pg_stat_activity a ON a.pid = l.pid"
							   "  AND a.backend_type = 'migrate index builder'"
							   " WHERE l.locktype = 'advisory' AND d.datname = current_database()"
							   " AND l.classid = $1 AND l.objid = 0 AND l.objsubid = $2",
							   STORE_ARGS(store_oid(root), store_int(BUILDERS_LOCK)));
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}
