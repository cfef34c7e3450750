/*
 * guard/uses.c
 *		What is known of the use of deprecated columns: what was carried to the
 *		table migrate.column_use, and what was counted in shared memory since.
 *
 * Locks: ShareLock on migrate.column_use, for as long as it takes to read both.
 * Who carries counts from one to the other holds a lock that conflicts with it
 * until it has committed and has taken them off the one (lifecycle/use_flush.c), so
 * no use is missed or seen twice. On a standby nobody does, and no such lock can be had.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "catalog/store.h"
#include "catalog/use_counter.h"
#include "convert/rows.h"
#include "guard/uses.h"

/* ---- in shared memory ---- */

/* NULL where the column has gone. */
static ColumnUse *
from_counter(const UseCount *count)
{
	char	   *column = get_attname(count->key.relation, count->key.attno, true);
	ColumnUse  *use;

	if (column == NULL)
		return NULL;
	use = palloc(sizeof(ColumnUse));
	use->relation = count->key.relation;
	use->column = column;
	use->writes = count->key.kind == USE_WRITE;
	use->role = migrate_use_role_name(&count->key);
	use->application_name = pstrdup(count->key.application_name);
	use->first_used = count->first_used;
	use->last_used = count->last_used;
	use->count = (int64) count->count;
	return use;
}

static List *
load_counted(Oid relation)
{
	List	   *uses = NIL;
	ListCell   *lc;

	foreach(lc, migrate_use_counter_list())
	{
		UseCount   *count = lfirst(lc);
		ColumnUse  *use;

		if (OidIsValid(relation) && count->key.relation != relation)
			continue;
		use = from_counter(count);
		if (use != NULL)
			uses = lappend(uses, use);
	}
	return uses;
}

/* ---- in the table ---- */

static ColumnUse *
from_row(Rows *rows)
{
	ColumnUse  *use = palloc(sizeof(ColumnUse));
	bool		isnull;

	use->relation = DatumGetObjectId(rows_get(rows, "relation", &isnull));
	use->column = rows_get_name(rows, "column_name");
	use->writes = strcmp(rows_get_text(rows, "kind"), "write") == 0;
	use->role = rows_get_name(rows, "role");
	use->application_name = rows_get_text(rows, "application_name");
	use->first_used = DatumGetTimestampTz(rows_get(rows, "first_used", &isnull));
	use->last_used = DatumGetTimestampTz(rows_get(rows, "last_used", &isnull));
	use->count = DatumGetInt64(rows_get(rows, "count", &isnull));
	return use;
}

static bool
is_of_the_same(const ColumnUse *a, const ColumnUse *b)
{
	return a->relation == b->relation && a->writes == b->writes &&
		strcmp(a->column, b->column) == 0 && strcmp(a->role, b->role) == 0 &&
		strcmp(a->application_name, b->application_name) == 0;
}

static List *
add_use(List *uses, ColumnUse *use)
{
	ListCell   *lc;

	foreach(lc, uses)
	{
		ColumnUse  *other = lfirst(lc);

		if (!is_of_the_same(other, use))
			continue;
		other->first_used = Min(other->first_used, use->first_used);
		other->last_used = Max(other->last_used, use->last_used);
		other->count += use->count;
		return uses;
	}
	return lappend(uses, use);
}

static List *
add_recorded(List *uses, Oid relation)
{
	ScanKeyData key;
	Rows		rows;

	rows_key(&key, 1, F_OIDEQ, ObjectIdGetDatum(relation));
	if (!rows_begin(&rows, "column_use", "column_use_pkey", OidIsValid(relation) ? 1 : 0, &key))
		return uses;
	while (rows_next(&rows))
		uses = add_use(uses, from_row(&rows));
	rows_end(&rows);
	return uses;
}

List *
migrate_uses_load(Oid relation)
{
	Oid			table = migrate_store_table("column_use");
	bool		may_move = OidIsValid(table) && !RecoveryInProgress();
	List	   *uses;

	if (may_move)
		LockRelationOid(table, ShareLock);
	uses = add_recorded(load_counted(relation), relation);
	if (may_move)
		UnlockRelationOid(table, ShareLock);
	return uses;
}
