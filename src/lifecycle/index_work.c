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
 * so to itself "invalid" always means left over.
 *
 * An index that cannot be built (its rows are not unique) is recorded in
 * migrate.failures, and in its declaration, so that it is not tried again before
 * migrate.retry().
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parser.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "backfill/progress.h"
#include "catalog/store.h"
#include "convert/conversion.h"
#include "lifecycle/index.h"
#include "migrate.h"

/* Keeps the lock of a table's builder apart from users' advisory locks, which have 1 or 2 there. */
#define BUILDERS_LOCK	0x6d

/* A row of migrate.declared_index whose migration is expanded. */
typedef struct Declared
{
	char	   *name;
	char	   *migration;
	char	   *columns;
	bool		is_unique;
	bool		while_stale;
	bool		failed;
} Declared;

char *
migrate_stale_index_name(const char *name)
{
	return makeObjectName(MIGRATE_INDEX_PREFIX, name, NULL);
}

/* ---- what is declared ---- */

static bool
is_true(const char *text)
{
	return strcmp(text, "t") == 0;
}

static Declared *
load_declared(Oid root, const char *name)
{
	char	   *columns[6];
	Declared   *declared = palloc(sizeof(Declared));

	if (!migrate_store_fetch_row("SELECT name, migration, columns, is_unique, while_stale,"
								 "  error IS NOT NULL"
								 " FROM migrate.declared_index WHERE relation = $1 AND name = $2",
								 STORE_ARGS(store_relation(root), store_name(name)),
								 lengthof(columns), columns))
		return NULL;
	declared->name = columns[0];
	declared->migration = columns[1];
	declared->columns = columns[2];
	declared->is_unique = is_true(columns[3]);
	declared->while_stale = is_true(columns[4]);
	declared->failed = is_true(columns[5]);
	return declared;
}

static List *
load_all_declared(Oid root)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT d.name FROM migrate.declared_index d"
										 " JOIN migrate.migration m ON m.name = d.migration"
										 " WHERE d.relation = $1 AND m.state = 'expanded'"
										 " ORDER BY d.name",
										 STORE_ARGS(store_relation(root))))
	{
		Declared   *declared = load_declared(root, lfirst(lc));

		if (declared != NULL)
			result = lappend(result, declared);
	}
	return result;
}

/* ---- what is there ---- */

typedef enum Condition
{
	IS_MISSING,
	IS_INVALID,
	IS_VALID
} Condition;

static Condition
condition_of(Oid root, Oid index)
{
	HeapTuple	tuple;
	Form_pg_index form;
	Condition	condition;

	if (!OidIsValid(index))
		return IS_MISSING;
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	if (!HeapTupleIsValid(tuple))
		return IS_MISSING;
	form = (Form_pg_index) GETSTRUCT(tuple);
	if (form->indrelid != root)
		condition = IS_MISSING;
	else
		condition = form->indisvalid ? IS_VALID : IS_INVALID;
	ReleaseSysCache(tuple);
	return condition;
}

static Oid
find_index(Oid root, const char *name)
{
	return get_relname_relid(name, get_rel_namespace(root));
}

/* ---- the statements ---- */

static char *
relation_sql(Oid root)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(root)),
									  get_rel_name(root));
}

static IndexStmt *
parse_create(Oid root, const Declared *declared, const char *name)
{
	char	   *sql = psprintf("CREATE %sINDEX CONCURRENTLY %s ON %s (%s)",
							   declared->is_unique ? "UNIQUE " : "", quote_identifier(name),
							   relation_sql(root), declared->columns);

	return (IndexStmt *) linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT))->stmt;
}

static const Expr *
reading_of(const char *column, Oid root)
{
	Conversion *conversion = migrate_conversion_get(root);

	return conversion == NULL ? NULL
		: migrate_conversion_reading(conversion,
									 migrate_conversion_first_incomplete(conversion),
									 get_attnum(root, column));
}

/* The columns replaced by what they read as: the tree that queries get, not its text. */
static IndexStmt *
make_stale_create(Oid root, const Declared *declared)
{
	IndexStmt  *statement = parse_create(root, declared, migrate_stale_index_name(declared->name));
	ListCell   *lc;

	foreach(lc, statement->indexParams)
	{
		IndexElem  *element = lfirst_node(IndexElem, lc);
		const Expr *reading = reading_of(element->name, root);

		if (reading == NULL)
			continue;
		element->indexcolname = element->name;
		element->name = NULL;
		element->expr = copyObject((Node *) reading);
	}
	statement->transformed = true;
	return statement;
}

Node *
migrate_index_drop_statement(Oid root, const char *name)
{
	DropStmt   *statement = makeNode(DropStmt);
	char	   *schema = get_namespace_name(get_rel_namespace(root));

	statement->removeType = OBJECT_INDEX;
	statement->objects = list_make1(list_make2(makeString(schema), makeString(pstrdup(name))));
	statement->missing_ok = true;
	statement->concurrent = true;
	return (Node *) statement;
}

/* Is an index on readings still on what they are by now? */
static bool
is_current(Oid root, const Declared *declared, Oid index)
{
	Relation	rel = index_open(index, AccessShareLock);
	List	   *found = copyObject(RelationGetIndexExpressions(rel));
	List	   *wanted = NIL;
	ListCell   *lc;

	index_close(rel, AccessShareLock);
	foreach(lc, make_stale_create(root, declared)->indexParams)
	{
		IndexElem  *element = lfirst_node(IndexElem, lc);

		if (element->expr != NULL)
			wanted = lappend(wanted, eval_const_expressions(NULL, element->expr));
	}
	return equal(found, wanted);
}

/* ---- what is to be done ---- */

static IndexTask *
make_task(const Declared *declared, const char *name, Node *statement, const char *drop)
{
	IndexTask  *task = palloc0(sizeof(IndexTask));

	task->migration = declared ? declared->migration : NULL;
	task->name = pstrdup(name);
	task->statement = statement;
	task->drop = drop ? pstrdup(drop) : NULL;
	return task;
}

static IndexTask *
task_for_plain(Oid root, const Declared *declared)
{
	switch (condition_of(root, find_index(root, declared->name)))
	{
		case IS_MISSING:
			return make_task(declared, declared->name,
							 (Node *) parse_create(root, declared, declared->name),
							 declared->name);
		case IS_INVALID:
			return make_task(declared, declared->name,
							 migrate_index_drop_statement(root, declared->name), NULL);
		case IS_VALID:
			break;
	}
	return NULL;
}

static IndexTask *
task_for_stale(Oid root, const Declared *declared)
{
	char	   *name = migrate_stale_index_name(declared->name);
	Oid			index = find_index(root, name);
	Condition	condition = condition_of(root, index);

	if (condition == IS_MISSING)
		return make_task(declared, declared->name,
						 (Node *) make_stale_create(root, declared), name);
	if (condition == IS_INVALID || !is_current(root, declared, index))
		return make_task(declared, declared->name,
						 migrate_index_drop_statement(root, name), NULL);
	return NULL;
}

/* An index on readings that has served its time. */
static IndexTask *
task_for_orphan(Oid root, List *all)
{
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT c.relname FROM pg_index i"
										 " JOIN pg_class c ON c.oid = i.indexrelid"
										 " WHERE i.indrelid = $1 AND starts_with(c.relname, $2)",
										 STORE_ARGS(store_oid(root),
													store_text(MIGRATE_INDEX_PREFIX "_"))))
	{
		bool		is_needed = false;
		ListCell   *cell;

		foreach(cell, all)
		{
			Declared   *declared = lfirst(cell);

			is_needed |= declared->while_stale &&
				strcmp(migrate_stale_index_name(declared->name), lfirst(lc)) == 0;
		}
		if (!is_needed)
			return make_task(NULL, lfirst(lc), migrate_index_drop_statement(root, lfirst(lc)),
							 NULL);
	}
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
			task = task_for_stale(root, declared);
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
	return next_task(root, is_final, load_all_declared(root));
}

IndexState
migrate_index_state(Oid root, bool is_final, char **name)
{
	List	   *all = load_all_declared(root);
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

/* ---- failures ---- */

void
migrate_index_record_failure(Oid root, const IndexTask *task, const ErrorData *error)
{
	char	   *message = error->detail
		? psprintf("%s: %s", error->message, error->detail) : error->message;

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

void
migrate_index_retry(Oid root)
{
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

bool
migrate_index_claim(Oid root)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, root, 0, BUILDERS_LOCK);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

void
migrate_index_stop_builder(Oid root)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, root, 0, BUILDERS_LOCK);
	(void) migrate_store_fetch("SELECT pg_terminate_backend(l.pid) FROM pg_locks l"
							   " JOIN pg_database d ON d.oid = l.database"
							   " JOIN pg_stat_activity a ON a.pid = l.pid"
							   "  AND a.backend_type = 'migrate index builder'"
							   " WHERE l.locktype = 'advisory' AND d.datname = current_database()"
							   " AND l.classid = $1 AND l.objid = 0 AND l.objsubid = $2",
							   STORE_ARGS(store_oid(root), store_int(BUILDERS_LOCK)));
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}
