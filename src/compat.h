/*
 * compat.h
 *		The only file that asks for the server's version. What differs between
 *		servers is written here in the newest one's terms.
 */
#ifndef MIGRATE_COMPAT_H
#define MIGRATE_COMPAT_H

#include "access/tableam.h"
#include "catalog/pg_class_d.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_database_d.h"
#include "executor/executor.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "utils/acl.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "migrate needs PostgreSQL 15, 16, 17 or 18"
#endif

#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#endif

/*
 * Copy to a Var what says where in the query it stands: the outer joins that
 * may have nulled it, and whether it is of the old or the new row.
 */
static inline void
compat_copy_var_context(Var *to, const Var *from)
{
	to->varlevelsup = from->varlevelsup;
#if PG_VERSION_NUM >= 160000
	to->varnullingrels = from->varnullingrels;
#endif
#if PG_VERSION_NUM >= 180000
	to->varreturningtype = from->varreturningtype;
#endif
}

/* The columns that a range table entry's INSERT names, offset as in Bitmapsets of columns. */
static inline Bitmapset *
compat_inserted_columns(List *permission_infos, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex == 0)
		return NULL;
	return getRTEPermissionInfo(permission_infos, rte)->insertedCols;
#else
	return rte->insertedCols;
#endif
}

/* Those that its UPDATE names. */
static inline Bitmapset *
compat_updated_columns(List *permission_infos, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex == 0)
		return NULL;
	return getRTEPermissionInfo(permission_infos, rte)->updatedCols;
#else
	return rte->updatedCols;
#endif
}

#if PG_VERSION_NUM >= 160000
#define compat_query_perminfos(query) ((query)->rteperminfos)
#else
#define compat_query_perminfos(query) NIL
#endif

/* IS JSON, where the server has it. */
#if PG_VERSION_NUM >= 160000
#define compat_is_json_predicate(node)	IsA(node, JsonIsPredicate)
#else
#define compat_is_json_predicate(node)	false
#endif

/* The STORAGE clause of a column definition. */
#if PG_VERSION_NUM >= 160000
#define compat_column_storage(def) ((def)->storage_name)
#else
#define compat_column_storage(def) ((const char *) NULL)
#endif

/* Give a query with one relation the permissions that the relation's entry had in another. */
static inline void
compat_move_permissions(Query *to, RangeTblEntry *rte, const Query *from)
{
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex == 0)
		return;
	to->rteperminfos = list_make1(copyObject(getRTEPermissionInfo(from->rteperminfos, rte)));
	rte->perminfoindex = 1;
#endif
}

/* Is it a foreign key with PERIOD? */
static inline bool
compat_constraint_has_period(HeapTuple constraint)
{
#if PG_VERSION_NUM >= 180000
	return ((Form_pg_constraint) GETSTRUCT(constraint))->conperiod;
#else
	return false;
#endif
}

/* The RETURNING clause of a raw statement. */
#if PG_VERSION_NUM >= 180000
#define compat_returning(statement) ((void *) (statement)->returningClause)
#else
#define compat_returning(statement) ((void *) (statement)->returningList)
#endif

/* The column that a NOT NULL constraint is on, where that is an object of the catalog. */
static inline AttrNumber
compat_not_null_column(HeapTuple constraint)
{
#if PG_VERSION_NUM >= 180000
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(constraint);

	if (form->contype == CONSTRAINT_NOTNULL && OidIsValid(form->conrelid))
		return extractNotNullColumn(constraint);
#endif
	return InvalidAttrNumber;
}

/* In a query, of the constraint of that alias: does the server hold anything to it? */
#if PG_VERSION_NUM >= 180000
#define COMPAT_IS_ENFORCED(alias)	alias ".conenforced"
#else
#define COMPAT_IS_ENFORCED(alias)	"true"
#endif

static inline bool
compat_is_relation_owner(Oid relid, Oid roleid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(RelationRelationId, relid, roleid);
#else
	return pg_class_ownercheck(relid, roleid);
#endif
}

static inline bool
compat_is_database_owner(Oid database, Oid roleid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, roleid);
#else
	return pg_database_ownercheck(database, roleid);
#endif
}

/* The rights that a range table entry asks for. */
static inline AclMode
compat_required_permissions(List *permission_infos, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex == 0)
		return ACL_NO_RIGHTS;
	return getRTEPermissionInfo(permission_infos, rte)->requiredPerms;
#else
	return rte->requiredPerms;
#endif
}

/* The rights that a plan asks for, a relation each; some entries may be of something else. */
#if PG_VERSION_NUM >= 160000
typedef RTEPermissionInfo CompatPermissions;
#define compat_permissions(range_table, permission_infos)	(permission_infos)
#define compat_plan_perminfos(plan)	((plan)->permInfos)
#define compat_asks_for_rights(permissions) true
#else
typedef RangeTblEntry CompatPermissions;
#define compat_permissions(range_table, permission_infos)	(range_table)
#define compat_plan_perminfos(plan)	NIL
#define compat_asks_for_rights(permissions) \
	((permissions)->rtekind == RTE_RELATION && (permissions)->requiredPerms != 0)
#endif

/* What ExecutorCheckPerms_hook takes, and how to hand it on. */
#if PG_VERSION_NUM >= 160000
#define COMPAT_CHECK_PERMS_PARAMETERS \
	List *range_table, List *permission_infos, bool ereport_on_violation
#define COMPAT_CHECK_PERMS_ARGUMENTS \
	range_table, permission_infos, ereport_on_violation
#define COMPAT_CHECK_PERMS_INFOS	permission_infos
#else
#define COMPAT_CHECK_PERMS_PARAMETERS \
	List *range_table, bool ereport_on_violation
#define COMPAT_CHECK_PERMS_ARGUMENTS \
	range_table, ereport_on_violation
#define COMPAT_CHECK_PERMS_INFOS	NIL
#endif

/*
 * How many backends there can be, and which of them runs a virtual transaction,
 * counted from zero.
 */
#define COMPAT_BACKEND_COUNT	MaxBackends
#if PG_VERSION_NUM >= 170000
#define COMPAT_VXID_INDEX(vxid)	((int) (vxid).procNumber)
#define COMPAT_VXID_BACKEND(vxid)	((vxid).procNumber)
#else
#define COMPAT_VXID_INDEX(vxid)	((int) (vxid).backendId - 1)
#define COMPAT_VXID_BACKEND(vxid)	((vxid).backendId)
#endif

/* Which of this backend's transactions is under way; wants storage/proc.h. */
#if PG_VERSION_NUM >= 170000
#define compat_my_lxid() (MyProc->vxid.lxid)
#else
#define compat_my_lxid() (MyProc->lxid)
#endif

/* The process that runs a virtual transaction; NULL where there is none. */
#if PG_VERSION_NUM >= 170000
#define compat_vxid_proc(vxid)	ProcNumberGetProc((vxid).procNumber)
#else
#define compat_vxid_proc(vxid)	BackendIdGetProc((vxid).backendId)
#endif

/* An executor's range table of one relation, of which some columns are updated. */
static inline void
compat_init_update_range_table(EState *estate, RangeTblEntry *rte, Bitmapset *updated)
{
#if PG_VERSION_NUM >= 160000
	List	   *permissions = NIL;

	addRTEPermissionInfo(&permissions, rte)->updatedCols = updated;
#if PG_VERSION_NUM >= 180000
	ExecInitRangeTable(estate, list_make1(rte), permissions, bms_make_singleton(1));
#else
	ExecInitRangeTable(estate, list_make1(rte), permissions);
#endif
#else
	rte->updatedCols = updated;
	ExecInitRangeTable(estate, list_make1(rte));
#endif
}

/* Which indexes want an entry for a new row version. */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes CompatUpdateIndexes;
#else
typedef bool CompatUpdateIndexes;
#endif

/* The columns of which no HOT update may change one; wants utils/relcache.h. */
#if PG_VERSION_NUM >= 160000
#define COMPAT_INDEX_ATTR_BITMAP_HOT	INDEX_ATTR_BITMAP_HOT_BLOCKING
#else
#define COMPAT_INDEX_ATTR_BITMAP_HOT	INDEX_ATTR_BITMAP_ALL
#endif

static inline List *
compat_insert_index_tuples(ResultRelInfo *relinfo, TupleTableSlot *slot,
						   EState *estate, CompatUpdateIndexes which, bool hint)
{
#if PG_VERSION_NUM >= 160000
	if (which == TU_None)
		return NIL;
	return ExecInsertIndexTuples(relinfo, slot, estate, hint, false, NULL, NIL,
								 which == TU_Summarizing);
#else
	if (!which)
		return NIL;
	return ExecInsertIndexTuples(relinfo, slot, estate, hint, false, NULL, NIL);
#endif
}

/* From 18 on the server shows a library's name and version. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_MODULE_MAGIC(its_name, its_version) \
	PG_MODULE_MAGIC_EXT(.name = its_name, .version = its_version)
#else
#define COMPAT_MODULE_MAGIC(its_name, its_version) PG_MODULE_MAGIC
#endif

/* From 17 on a generated column's expression can be changed. */
#if PG_VERSION_NUM >= 170000
#define compat_sets_expression(command)	((command)->subtype == AT_SetExpression)
#else
#define compat_sets_expression(command)	false
#endif

#endif							/* MIGRATE_COMPAT_H */
