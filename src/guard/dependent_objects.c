/*
 * guard/dependent_objects.c
 *		What else in the database uses some columns of a table.
 *
 * The server records in pg_depend what uses a column; some of it DROP COLUMN
 * refuses to break, some of it (indexes, CHECK constraints, statistics,
 * publications' column lists) it would drop without a word. Here all of it is
 * named, for a person to decide.
 *
 * What it does not record cannot be found: uses in the bodies of functions in
 * PL/pgSQL or quoted SQL, and in the applications' queries. Which functions have
 * both names somewhere in their text can be said, and a person can look at them
 * (migrate_objects_naming()); that proves nothing, either way.
 *
 * No lock is taken: the answer is as of now, and DROP COLUMN ... RESTRICT has
 * the last word under its own lock.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_trigger.h"
#include "nodes/bitmapset.h"
#include "rewrite/rewriteSupport.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/migration.h"
#include "catalog/store.h"
#include "compat.h"
#include "guard/catalog_row.h"
#include "guard/dependent_objects.h"
#include "guard/drop_statement.h"
#include "guard/own_statistics.h"
#include "migrate.h"

typedef struct Search
{
	Oid			heap;			/* the table, or the partition at hand */
	bool		is_partition;
	Bitmapset  *attnums;		/* the columns asked for, in that heap */
	bool		own_constraints;
	const char *proof;			/* the constraint of this name goes with the columns */
	ObjectAddresses *seen;
	List	   *found;			/* of DependentObject * */
} Search;

/* ---- which dependents count, and as what ---- */

/* One that a partition has from its parent is named there. */
static bool
is_inherited(const ObjectAddress *column)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(column->objectId),
										Int16GetDatum(column->objectSubId));
	bool		inherited;

	if (!HeapTupleIsValid(tuple))
		return false;
	inherited = ((Form_pg_attribute) GETSTRUCT(tuple))->attinhcount > 0;
	ReleaseSysCache(tuple);
	return inherited;
}

/* A column's default is its own; a generated column is another that uses it. */
static bool
resolve_default(const Search *search, ObjectAddress *object)
{
	*object = GetAttrDefaultColumnAddress(object->objectId);
	return OidIsValid(object->objectId) && !is_inherited(object) &&
		!(object->objectId == search->heap &&
		  bms_is_member(object->objectSubId, search->attnums));
}

/* The rule of a view stands for the view. */
static bool
resolve_rule(ObjectAddress *object)
{
	HeapTuple	tuple = migrate_catalog_row(RewriteRelationId, RewriteOidIndexId,
											Anum_pg_rewrite_oid, object->objectId, NULL);
	Form_pg_rewrite rule;

	if (!HeapTupleIsValid(tuple))
		return false;
	rule = (Form_pg_rewrite) GETSTRUCT(tuple);
	if (strcmp(NameStr(rule->rulename), ViewSelectRuleName) == 0)
		ObjectAddressSet(*object, RelationRelationId, rule->ev_class);
	return true;
}

/* Does a constraint of the heap itself name no columns but those asked for, and the system's? */
static bool
is_own_constraint(const Search *search, HeapTuple tuple)
{
	Form_pg_constraint constraint = (Form_pg_constraint) GETSTRUCT(tuple);
	bool		isnull;
	Datum		conkey = SysCacheGetAttr(CONSTROID, tuple, Anum_pg_constraint_conkey, &isnull);
	ArrayType  *array;

	if (constraint->conrelid != search->heap || isnull)
		return false;
	array = DatumGetArrayTypeP(conkey);
	for (int i = 0; i < ARR_DIMS(array)[0]; i++)
	{
		AttrNumber	attno = ((int16 *) ARR_DATA_PTR(array))[i];

		if (attno > 0 && !bms_is_member(attno, search->attnums))
			return false;
	}
	return true;
}

static bool
is_proof(const Search *search, Form_pg_constraint constraint)
{
	return search->proof != NULL && constraint->conrelid == search->heap &&
		strcmp(NameStr(constraint->conname), search->proof) == 0;
}

/* Likewise; and a foreign key to partitions is one to their parent. */
static bool
resolve_constraint(const Search *search, const ObjectAddress *object)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(object->objectId));
	Form_pg_constraint constraint;
	bool		counts;

	if (!HeapTupleIsValid(tuple))
		return false;
	constraint = (Form_pg_constraint) GETSTRUCT(tuple);
	counts = !OidIsValid(constraint->conparentid) &&
		!(search->is_partition && constraint->conrelid == search->heap &&
		  constraint->coninhcount > 0) &&
		(search->own_constraints || !is_own_constraint(search, tuple)) &&
		!is_proof(search, constraint) &&
		compat_not_null_column(tuple) == InvalidAttrNumber; /* goes with its column */
	ReleaseSysCache(tuple);
	return counts;
}

/* Ours on the table go with the columns; one on another table reads them in a sub-query. */
static bool
resolve_trigger(const Search *search, const ObjectAddress *object)
{
	HeapTuple	tuple = migrate_catalog_row(TriggerRelationId, TriggerOidIndexId,
											Anum_pg_trigger_oid, object->objectId, NULL);
	Form_pg_trigger trigger;

	if (!HeapTupleIsValid(tuple))
		return false;
	trigger = (Form_pg_trigger) GETSTRUCT(tuple);
	return !trigger->tgisinternal && !OidIsValid(trigger->tgparentid) &&
		!(trigger->tgrelid == search->heap &&
		  migrate_migration_is_trigger_name(NameStr(trigger->tgname)));
}

static bool
is_index(Oid oid)
{
	char		relkind = get_rel_relkind(oid);

	return relkind == RELKIND_INDEX || relkind == RELKIND_PARTITIONED_INDEX;
}

/* An index that migrate.create_index() declared, or one that stands in for it. */
static bool
is_declared_index(Oid oid)
{
	char	   *name = get_rel_name(oid);

	if (!is_index(oid) || name == NULL)
		return false;
	return strncmp(name, MIGRATE_INDEX_PREFIX "_", strlen(MIGRATE_INDEX_PREFIX "_")) == 0 ||
		migrate_store_fetch("SELECT 1 FROM migrate.declared_index d"
							" JOIN pg_index i ON i.indrelid = d.relation"
							" WHERE i.indexrelid = $1 AND d.name = $2",
							STORE_ARGS(store_oid(oid), store_name(name))) != NULL;
}

/* A column's own sequence goes with it; an index of a partition may be part of its parent's. */
static bool
resolve_relation(const ObjectAddress *object)
{
	if (object->objectSubId != 0)
		return true;
	return get_rel_relkind(object->objectId) != RELKIND_SEQUENCE &&
		!is_declared_index(object->objectId) &&
		!(is_index(object->objectId) && get_rel_relispartition(object->objectId));
}

/* Does a dependent count? Replaces it by what a person would call it. */
static bool
resolve(const Search *search, ObjectAddress *object)
{
	switch (object->classId)
	{
		case AttrDefaultRelationId:
			return resolve_default(search, object);
		case RewriteRelationId:
			return resolve_rule(object);
		case ConstraintRelationId:
			return resolve_constraint(search, object);
		case TriggerRelationId:
			return resolve_trigger(search, object);
		case RelationRelationId:
			return resolve_relation(object);
		case StatisticExtRelationId:	/* ours go without a word */
			return migrate_own_statistics_reading(object->objectId) == NULL;
		default:
			return true;
	}
}

/* ---- searching ---- */

/* The table of a write trigger, which stands for what the migrations there read; or InvalidOid. */
static Oid
table_of_write_trigger(const ObjectAddress *object)
{
	HeapTuple	tuple = object->classId != TriggerRelationId ? NULL
		: migrate_catalog_row(TriggerRelationId, TriggerOidIndexId,
							  Anum_pg_trigger_oid, object->objectId, NULL);
	Form_pg_trigger trigger;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	trigger = (Form_pg_trigger) GETSTRUCT(tuple);
	return migrate_migration_is_trigger_name(NameStr(trigger->tgname))
		? trigger->tgrelid : InvalidOid;
}

/* NULL where it is gone by now. */
static DependentObject *
describe(const ObjectAddress *object)
{
	DependentObject *result = palloc0(sizeof(DependentObject));
	Oid			migrated = table_of_write_trigger(object);

	if (OidIsValid(migrated))
	{
		result->words = psprintf("a subquery in a migration of table %s", get_rel_name(migrated));
		result->remedy = psprintf("contract or roll back the migrations of table %s first",
								  migrate_store_relation_sql(migrated));
		return result;
	}
	result->words = getObjectDescription(object, true);
	result->remedy = migrate_drop_statement(object);
	return result->words != NULL && result->remedy != NULL ? result : NULL;
}

static void
note(Search *search, ObjectAddress object)
{
	DependentObject *described;

	if (!resolve(search, &object) || object_address_present(&object, search->seen))
		return;
	add_exact_object_address(&object, search->seen);
	described = describe(&object);
	if (described != NULL)
		search->found = lappend(search->found, described);
}

static void
search_column(Search *search, AttrNumber attnum)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(search->heap));
	ScanKeyInit(&keys[2], Anum_pg_depend_refobjsubid, BTEqualStrategyNumber,
				F_INT4EQ, Int32GetDatum(attnum));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 3, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend row = (Form_pg_depend) GETSTRUCT(tuple);
		ObjectAddress object;

		ObjectAddressSubSet(object, row->classid, row->objid, row->objsubid);
		note(search, object);
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
}

static void
search_heap(Search *search, List *columns)
{
	ListCell   *lc;
	int			attnum = -1;

	search->attnums = NULL;
	foreach(lc, columns)
	{
		AttrNumber	number = get_attnum(search->heap, lfirst(lc));

		if (number > 0)
			search->attnums = bms_add_member(search->attnums, number);
	}
	while ((attnum = bms_next_member(search->attnums, attnum)) >= 0)
		search_column(search, attnum);
}

static int
compare_words(const ListCell *a, const ListCell *b)
{
	return strcmp(((DependentObject *) lfirst(a))->words,
				  ((DependentObject *) lfirst(b))->words);
}

List *
migrate_objects_using(Oid relid, List *columns, bool own_constraints, const char *proof)
{
	Search		search = {
		.own_constraints = own_constraints,
		.proof = proof,
		.seen = new_object_addresses(),
	};
	ListCell   *lc;

	if (columns == NIL)
		return NIL;
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		search.heap = lfirst_oid(lc);
		search.is_partition = search.heap != relid;
		search_heap(&search, columns);
	}
	free_object_addresses(search.seen);
	list_sort(search.found, compare_words);
	return search.found;
}

/* ---- what is not recorded ---- */

/* Is a name a word of its own in the text, however it is written? */
#define NAMES(text, name) \
	text " ~* ('(^|\\W)' || regexp_replace(" name ", '(\\W)', '\\\\\\1', 'g') || '(\\W|$)')"

char *
migrate_objects_naming(Oid relid, List *columns)
{
	return migrate_store_fetch("SELECT string_agg(p.oid::regprocedure::text, ', '"
							   "  ORDER BY p.oid::regprocedure::text)"
							   " FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang"
							   " JOIN pg_class c ON c.oid = $1"
							   " WHERE l.lanname NOT IN ('internal', 'c') AND p.prosqlbody IS NULL"
							   " AND p.pronamespace NOT IN"
							   "  ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"
							   " AND " NAMES("p.prosrc", "c.relname")
							   " AND EXISTS (SELECT FROM unnest($2) n (name)"
							   "  WHERE " NAMES("p.prosrc", "n.name") ")",
							   STORE_ARGS(store_oid(relid), store_name_array(columns)));
}
