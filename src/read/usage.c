/*
 * read/usage.c
 *		Who uses columns that deprecated migrations remove.
 *
 * Purpose: from migrate.deprecate() on, each statement that uses a column of the old
 * form is counted, by column, kind, role and application_name, and is warned or
 * refused where that was asked for.
 *
 * What a use is: the server knows of each plan which columns it asks privileges
 * for, as the parser noted them. These are the columns that the statement names, in
 * any clause, "*" and whole rows included, and of views those that the view uses.
 * What our own rewriting reads is not among them, nor what policies, constraints
 * and the like add: those are objects, which hold up the contract by themselves.
 *
 * Where: when a plan begins to run, which cached plans do too; so that nothing has to
 * be remembered with a plan. The rights are checked by then: what is refused for
 * lack of them is no use. COPY of a table has no plan, and asks for its rights
 * elsewhere (ExecutorCheckPerms_hook). Of a parallel plan the leader counts.
 *
 * Not uses: EXPLAIN without ANALYZE; the queries of foreign keys and our own;
 * whatever our workers do; the programs in migrate.usage_ignore.
 *
 * From when on: deprecate() invalidates the table when it commits, and a plan that
 * begins looks for invalidations first. So what begins after that commit is
 * counted or refused by what it says, in every session, cached plans and open
 * transactions included. What began before goes on; it holds a lock on the table,
 * and a contract waits for that. Since a use is counted while that lock is held,
 * and not by a transaction, a contract that has its own lock sees them all.
 *
 * Cost: a test where nothing is live; a look at each table of the plan where
 * something is deprecated; two stores in shared memory for a use.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "catalog/names.h"
#include "catalog/own_statement.h"
#include "catalog/use_counter.h"
#include "compat.h"
#include "convert/conversion.h"
#include "guc.h"
#include "migrate.h"
#include "read/usage.h"

#define COLUMN_MEMBER(attno)	((attno) - FirstLowInvalidHeapAttributeNumber)

/* A use that this backend has counted before, and its counter. */
typedef struct KnownUse
{
	Oid			relid;			/* InvalidOid: the place is free */
	Oid			root;
	AttrNumber	attno;
	char		kind;
	bool		ignored;		/* the program's do not count */
	uint32		ignore_changes; /* as of which setting */
	Oid			role;
	char		application_name[NAMEDATALEN];
	UseCounterRef counter;
} KnownUse;

#define KNOWN_USES	64

static KnownUse known_uses[KNOWN_USES];

/*
 * Which columns of a relation are deprecated, kept here at hand. Forgotten when
 * the relation is invalidated.
 */
typedef struct Watched
{
	Oid			relid;
	bool		valid;
	Oid			root;
	bool		only_counted;	/* nobody is warned or refused */
	Bitmapset  *columns;		/* as Conversion.deprecated; in TopMemoryContext */
} Watched;

#define WATCHED_RELATIONS	64

static Watched watched_relations[WATCHED_RELATIONS];
static uint32 times_forgotten = 0;

/* What a statement is to be told of: the sternest that some column of it asks for. */
typedef struct Verdict
{
	Deprecation deprecation;
	const Conversion *conversion;
	const LiveMigration *migration;
	AttrNumber	attno;
	char		kind;
} Verdict;

static ExecutorStart_hook_type next_ExecutorStart = NULL;
static ExecutorCheckPerms_hook_type next_ExecutorCheckPerms = NULL;
static ProcessUtility_hook_type next_ProcessUtility = NULL;

/* The range table of the plan that is being started: its rights are looked at afterwards. */
static const List *starting_range_table = NULL;

/* ---- counting ---- */

static bool
is_ignored_program(const char *program)
{
	List	   *programs;
	char	   *setting = pstrdup(migrate_guc_usage_ignore);

	return SplitGUCList(setting, ',', &programs) && migrate_names_contain(programs, program);
}

/* The number that a relation's column has in the managed table. */
static AttrNumber
root_column(const Conversion *conversion, AttrNumber attno)
{
	if (conversion->relid == conversion->root)
		return attno;
	return get_attnum(conversion->root,
					  NameStr(TupleDescAttr(conversion->tupdesc, attno - 1)->attname));
}

/* False where there is no room even for uses of which nobody is named. */
static bool
find_counter(KnownUse *use, const Conversion *conversion, TimestampTz now)
{
	AttrNumber	attno = root_column(conversion, use->attno);
	UseKey		key;

	migrate_use_key(&key, use->root, attno, use->kind, use->role, use->application_name);
	if (migrate_use_counter_find(&key, now, &use->counter))
		return true;
	migrate_use_key(&key, use->root, attno, use->kind, InvalidOid, "");
	return migrate_use_counter_find(&key, now, &use->counter);
}

static bool
is_same_use(const KnownUse *use, const Watched *watched, AttrNumber attno, char kind)
{
	return use->relid == watched->relid && use->attno == attno && use->kind == kind &&
		use->root == watched->root && use->role == GetOuterUserId() &&
		use->ignore_changes == migrate_guc_usage_ignore_changes &&
		strcmp(use->application_name, application_name) == 0;
}

/* Who is at work here; false where there is no room to count it. */
static bool
learn_use(KnownUse *use, const Conversion *conversion, AttrNumber attno, char kind,
		  TimestampTz now)
{
	use->relid = InvalidOid;
	use->root = conversion->root;
	use->attno = attno;
	use->kind = kind;
	use->role = GetOuterUserId();
	strlcpy(use->application_name, application_name, NAMEDATALEN);
	use->ignore_changes = migrate_guc_usage_ignore_changes;
	use->ignored = is_ignored_program(use->application_name);
	if (!use->ignored && !find_counter(use, conversion, now))
		return false;
	use->relid = conversion->relid;
	return true;
}

static KnownUse *
place_of_use(Oid relid, AttrNumber attno, char kind)
{
	return &known_uses[(relid * 31 + attno * 2 + kind) % KNOWN_USES];
}

/* Count a use as before; false where it was not counted before. */
static bool
count_again(const Watched *watched, AttrNumber attno, char kind)
{
	KnownUse   *use = place_of_use(watched->relid, attno, kind);

	return is_same_use(use, watched, attno, kind) &&
		(use->ignored || migrate_use_counter_add(use->counter, GetCurrentTimestamp()));
}

/* Count a use; false where it does not count. */
static bool
count_use(const Conversion *conversion, AttrNumber attno, char kind)
{
	KnownUse   *use = place_of_use(conversion->relid, attno, kind);
	TimestampTz now = GetCurrentTimestamp();

	do
	{
		if (!learn_use(use, conversion, attno, kind, now))
		{
			migrate_use_counter_lose(now);
			return true;
		}
	} while (!use->ignored && !migrate_use_counter_add(use->counter, now));
	return !use->ignored;
}

/* ---- what is deprecated ---- */

/* May be called at any time, so it frees nothing. */
static void
forget_watched(Datum arg, Oid relid)
{
	times_forgotten++;
	for (int i = 0; i < WATCHED_RELATIONS; i++)
		if (!OidIsValid(relid) || watched_relations[i].relid == relid)
			watched_relations[i].valid = false;
}

static bool
is_only_counted(const Conversion *conversion)
{
	for (int i = 0; i < conversion->nlive; i++)
		if (conversion->live[i].deprecation > DEPRECATION_LOG)
			return false;
	return true;
}

/*
 * The caller has the relation locked. What an invalidation came for while it
 * was learnt is learnt again the next time. To learn may be to run statements that
 * come here, so nothing is written before the end.
 */
static void
learn_watched(Watched *watched, Oid relid)
{
	uint32		before = times_forgotten;
	Conversion *conversion = migrate_conversion_get(relid);
	Bitmapset  *columns = NULL;

	if (conversion != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		columns = bms_copy(conversion->deprecated);
		MemoryContextSwitchTo(old);
	}
	bms_free(watched->columns);
	watched->columns = columns;
	watched->relid = relid;
	watched->root = conversion == NULL ? relid : conversion->root;
	watched->only_counted = conversion == NULL || is_only_counted(conversion);
	watched->valid = times_forgotten == before;
}

static const Watched *
get_watched(Oid relid)
{
	Watched    *watched = &watched_relations[relid % WATCHED_RELATIONS];

	if (watched->relid != relid || !watched->valid)
		learn_watched(watched, relid);
	return watched;
}

/* ---- what a statement uses ---- */

static void
judge(Verdict *verdict, const Conversion *conversion, AttrNumber attno, char kind)
{
	for (int i = 0; i < conversion->nlive; i++)
	{
		const LiveMigration *migration = &conversion->live[i];

		if (migration->deprecation <= verdict->deprecation ||
			!bms_is_member(attno, migration->removed))
			continue;
		verdict->deprecation = migration->deprecation;
		verdict->conversion = conversion;
		verdict->migration = migration;
		verdict->attno = attno;
		verdict->kind = kind;
	}
}

static void
note_column(Verdict *verdict, Oid relid, AttrNumber attno, char kind)
{
	const Watched *watched = get_watched(relid);
	Conversion *conversion;

	if (watched->only_counted && count_again(watched, attno, kind))
		return;
	conversion = migrate_conversion_get(relid);
	if (conversion != NULL && count_use(conversion, attno, kind))
		judge(verdict, conversion, attno, kind);
}

/* Of the sets of columns, a whole row is column zero, and can only be read. */
static void
note_relation(Verdict *verdict, const CompatPermissions *rights)
{
	bool		whole_row = bms_is_member(COLUMN_MEMBER(InvalidAttrNumber), rights->selectedCols);
	int			member = COLUMN_MEMBER(InvalidAttrNumber);

	while ((member = bms_next_member(get_watched(rights->relid)->columns, member)) >= 0)
	{
		AttrNumber	attno = member + FirstLowInvalidHeapAttributeNumber;

		if (whole_row || bms_is_member(member, rights->selectedCols))
			note_column(verdict, rights->relid, attno, USE_READ);
		if (bms_is_member(member, rights->insertedCols) ||
			bms_is_member(member, rights->updatedCols))
			note_column(verdict, rights->relid, attno, USE_WRITE);
	}
}

static bool
is_touched(const Watched *watched, const CompatPermissions *rights)
{
	return watched->columns != NULL &&
		(bms_overlap(watched->columns, rights->selectedCols) ||
		 bms_overlap(watched->columns, rights->insertedCols) ||
		 bms_overlap(watched->columns, rights->updatedCols));
}

/* ---- telling ---- */

static char *
new_columns(const Verdict *verdict)
{
	StringInfoData buf;
	int			attno = -1;

	initStringInfo(&buf);
	while ((attno = bms_next_member(verdict->migration->added, attno)) >= 0)
		appendStringInfo(&buf, "%s\"%s\"", buf.len > 0 ? ", " : "",
						 NameStr(TupleDescAttr(verdict->conversion->tupdesc, attno - 1)->attname));
	return buf.data;
}

static int
hint(const Verdict *verdict)
{
	if (bms_is_empty(verdict->migration->added) ||
		bms_is_member(verdict->attno, verdict->migration->replaced))
		return 0;
	return errhint("Use the new columns: %s.", new_columns(verdict));
}

/* With the words of the server's for a column that is not there. */
static void
refuse(const Verdict *verdict, const char *column, const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 verdict->kind == USE_WRITE ?
			 errmsg("column \"%s\" of relation \"%s\" does not exist", column, table) :
			 errmsg("column \"%s\" does not exist", column),
			 bms_is_member(verdict->attno, verdict->migration->replaced) ?
			 errdetail("Migration \"%s\" gives its name to a column of another type, and its use was switched off.",
					   verdict->migration->name) :
			 errdetail("Migration \"%s\" will drop it from table \"%s\", and its use was switched off.",
					   verdict->migration->name, table),
			 hint(verdict)));
}

static void
warn(const Verdict *verdict, const char *column, const char *table)
{
	ereport(WARNING,
			(errcode(ERRCODE_WARNING_DEPRECATED_FEATURE),
			 errmsg("column \"%s\" of relation \"%s\" is deprecated", column, table),
			 bms_is_member(verdict->attno, verdict->migration->replaced) ?
			 errdetail("Migration \"%s\" gives its name to a column of another type.",
					   verdict->migration->name) :
			 errdetail("Migration \"%s\" will drop it.", verdict->migration->name),
			 hint(verdict)));
}

static void
tell(const Verdict *verdict)
{
	const Conversion *conversion = verdict->conversion;
	const char *column = NULL;
	const char *table = NULL;

	if (verdict->deprecation < DEPRECATION_WARNING)
		return;
	column = NameStr(TupleDescAttr(conversion->tupdesc, verdict->attno - 1)->attname);
	table = get_rel_name(conversion->relid);
	if (verdict->deprecation == DEPRECATION_ERROR)
		refuse(verdict, column, table);
	else
		warn(verdict, column, table);
}

/* ---- statements ---- */

static bool
is_our_worker(void)
{
	return MyBgworkerEntry != NULL &&
		strcmp(MyBgworkerEntry->bgw_library_name, MIGRATE_LIBRARY) == 0;
}

/* May anything that this process does be a use? Brings the answer up to date. */
static bool
is_watched(void)
{
	if (!migrate_conversion_any() || IsParallelWorker())
		return false;
	AcceptInvalidationMessages();
	return migrate_conversion_any_deprecated() && !is_our_worker();
}

/*
 * Foreign keys ask in a security context that nobody else sets, and with an
 * operator's qualified name. The latter tells their queries from those of
 * triggers that fire under them.
 */
static bool
is_of_foreign_key(const char *sql)
{
	return InNoForceRLSOperation() && strstr(sql, " OPERATOR(") != NULL;
}

/* Of a plan that begins, or of COPY (NULL). */
static void
note_uses(List *entries, const QueryDesc *query)
{
	Verdict		verdict = {DEPRECATION_NONE};
	ListCell   *lc;

	foreach(lc, entries)
	{
		const CompatPermissions *rights = lfirst(lc);

		if (!compat_asks_for_rights(rights) ||
			!is_touched(get_watched(rights->relid), rights))
			continue;
		if (query != NULL && (is_of_foreign_key(query->sourceText) ||
							  migrate_own_params_are(query->params)))
			return;
		note_relation(&verdict, rights);
	}
	tell(&verdict);
}

static void
usage_ExecutorStart(QueryDesc *query, int eflags)
{
	starting_range_table = query->plannedstmt->rtable;
	if (next_ExecutorStart)
		next_ExecutorStart(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
	starting_range_table = NULL;

	if ((eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0 && is_watched())
		note_uses(compat_permissions(query->plannedstmt->rtable,
									 compat_plan_perminfos(query->plannedstmt)),
				  query);
}

/* ---- COPY of a table ---- */

/* The rights of a plan are looked at when it has been started. */
static bool
usage_ExecutorCheckPerms(COMPAT_CHECK_PERMS_PARAMETERS)
{
	bool		ok = next_ExecutorCheckPerms == NULL ||
		next_ExecutorCheckPerms(COMPAT_CHECK_PERMS_ARGUMENTS);

	if (ok && ereport_on_violation && range_table != starting_range_table && is_watched())
		note_uses(compat_permissions(range_table, COMPAT_CHECK_PERMS_INFOS), NULL);
	return ok;
}

/* An error may have left the range table of a plan, where COPY might have its own now. */
static void
usage_ProcessUtility(PlannedStmt *pstmt, const char *query_string,
					 bool read_only_tree, ProcessUtilityContext context,
					 ParamListInfo params, QueryEnvironment *query_env,
					 DestReceiver *dest, QueryCompletion *completion)
{
	if (IsA(pstmt->utilityStmt, CopyStmt))
		starting_range_table = NULL;
	if (next_ProcessUtility)
		next_ProcessUtility(pstmt, query_string, read_only_tree, context,
							params, query_env, dest, completion);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context,
								params, query_env, dest, completion);
}

void
migrate_usage_init(void)
{
	next_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = usage_ExecutorStart;
	next_ExecutorCheckPerms = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = usage_ExecutorCheckPerms;
	next_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = usage_ProcessUtility;
	CacheRegisterRelcacheCallback(forget_watched, (Datum) 0);
}
