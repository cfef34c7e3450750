/*
 * lifecycle/reference_finish.c
 *		REFERENCES of new columns: from our trigger to a plain foreign key.
 *
 * The phases, taken when all rows are converted (constraint_finish.c steps
 * through them with those of other constraints):
 *
 *	checked		rows that break it are looked for; where there are any, nothing
 *				changes. Else the trigger goes and the foreign key comes, NOT VALID,
 *				in one catalog change; from here it holds for all who write
 *	plain		the server validates it, under locks that block neither reads nor
 *				writes
 *	valid
 *
 * A partitioned table cannot have a foreign key that is NOT VALID before server
 * 18. So its leaves have one each, which are validated one by one, and then the
 * table itself gets one, which takes over those that are valid without reading
 * anything. Partitions that come in between get theirs before that.
 *
 * Locks: to make a foreign key takes ShareRowExclusiveLock on the referenced
 * table as well. Who has written there and is about to write to ours, or the
 * other way round, can deadlock with whoever wants both: both are got as
 * lifecycle/lock.c does it, by trying, and given up together.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/heaps.h"
#include "catalog/store.h"
#include "catalog/try.h"
#include "guc.h"
#include "lifecycle/lock.h"
#include "lifecycle/reference.h"
#include "write/reference.h"

/* ---- what there is ---- */

/* The nth in a phase, or NULL. */
static AddedReference *
load_reference(Oid root, const char *phase, int n)
{
	char	   *columns[6];
	AddedReference *reference;

	if (!migrate_store_fetch_row("SELECT a.migration, a.name, a.column_name, a.referenced::oid,"
								 "  a.referenced_column, a.options"
								 " FROM migrate.added_reference a"
								 " JOIN migrate.migration m ON m.name = a.migration"
								 " WHERE m.relation = $1 AND m.state = 'expanded' AND a.phase = $2"
								 " ORDER BY m.version, a.name OFFSET $3 LIMIT 1",
								 STORE_ARGS(store_relation(root), store_text(phase),
											store_bigint(n)),
								 lengthof(columns), columns))
		return NULL;
	reference = palloc(sizeof(AddedReference));
	reference->migration = columns[0];
	reference->name = columns[1];
	reference->column = columns[2];
	reference->referenced = atooid(columns[3]);
	reference->referenced_column = columns[4];
	reference->options = columns[5];
	return reference;
}

static void
forget(const AddedReference *reference)
{
	migrate_store_execute("DELETE FROM migrate.added_reference WHERE migration = $1 AND name = $2",
						  STORE_ARGS(store_text(reference->migration),
									 store_name(reference->name)));
}

static void
set_phase(const AddedReference *reference, const char *phase)
{
	migrate_store_execute("UPDATE migrate.added_reference SET phase = $3"
						  " WHERE migration = $1 AND name = $2",
						  STORE_ARGS(store_text(reference->migration),
									 store_name(reference->name), store_text(phase)));
}

/*
 * With the trigger somebody has given the constraint up. (What is referred to may
 * be gone without it after a restore, which does not bring their dependency back;
 * then the trigger checks nothing, and goes with the migration.)
 */
static bool
has_trigger(Oid root, const AddedReference *reference)
{
	return migrate_store_fetch("SELECT 1 FROM pg_trigger WHERE tgrelid = $1 AND tgname = $2",
							   STORE_ARGS(store_oid(root), store_name(reference->name))) != NULL;
}

List *
migrate_reference_load_checked(Oid root)
{
	List	   *result = NIL;
	List	   *gone = NIL;
	AddedReference *reference;
	ListCell   *lc;

	for (int n = 0; (reference = load_reference(root, "checked", n)) != NULL; n++)
	{
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(reference->referenced)))
			continue;
		if (has_trigger(root, reference))
			result = lappend(result, reference);
		else
			gone = lappend(gone, reference);
	}
	foreach(lc, gone)
		forget(lfirst(lc));
	return result;
}

/* ---- rows that break it ---- */

char *
migrate_reference_broken_condition(Oid root, const AddedReference *added)
{
	char	   *column = psprintf("r.%s", quote_identifier(added->column));
	Oid			type = get_atttype(root, get_attnum(root, added->column));
	Reference	reference;

	LockRelationOid(added->referenced, AccessShareLock);
	reference = migrate_reference_resolve(added->referenced, added->referenced_column, type);
	return psprintf("%s IS NOT NULL AND NOT EXISTS (%s)",
					column, migrate_reference_query(&reference, column));
}

/* ---- the foreign key ---- */

List *
migrate_reference_lock_referenced(List *references, List *locks)
{
	ListCell   *lc;

	foreach(lc, references)
		locks = migrate_lock_add(locks, ((AddedReference *) lfirst(lc))->referenced,
								 ShareRowExclusiveLock);
	return locks;
}

static void
add_foreign_key(Oid relid, const AddedReference *reference, const char *validity)
{
	char	   *column = pstrdup(quote_identifier(reference->column));
	char	   *name = pstrdup(quote_identifier(reference->name));

	migrate_store_ddl(relid,
					  psprintf("ALTER TABLE %s ADD CONSTRAINT %s FOREIGN KEY (%s)"
							   " REFERENCES %s (%s) %s%s",
							   migrate_store_relation_sql(relid), name, column,
							   migrate_store_relation_sql(reference->referenced),
							   quote_identifier(reference->referenced_column),
							   reference->options, validity));
}

/* The caller has locked the tables. */
void
migrate_reference_make_plain(Oid root, List *references)
{
	ListCell   *lc;

	foreach(lc, references)
	{
		AddedReference *reference = lfirst(lc);
		ListCell   *heap;

		migrate_store_ddl(root, psprintf("DROP TRIGGER %s ON %s",
										 quote_identifier(reference->name),
										 migrate_store_relation_sql(root)));
		foreach(heap, migrate_heaps_of(root))
			add_foreign_key(lfirst_oid(heap), reference, " NOT VALID");
		set_phase(reference, "plain");
	}
}

/* ---- validation ---- */

typedef enum ForeignKey
{
	IS_MISSING,
	IS_NOT_VALID,
	IS_VALID
} ForeignKey;

static ForeignKey
foreign_key_of(Oid relid, const AddedReference *reference)
{
	char	   *validated = migrate_store_fetch("SELECT convalidated FROM pg_constraint"
												" WHERE conrelid = $1 AND conname = $2"
												" AND contype = 'f' AND confrelid = $3",
												STORE_ARGS(store_oid(relid),
														   store_name(reference->name),
														   store_oid(reference->referenced)));

	if (validated == NULL)
		return IS_MISSING;
	return strcmp(validated, "t") == 0 ? IS_VALID : IS_NOT_VALID;
}

/* The first table whose foreign key is in that state; InvalidOid where there is none. */
static Oid
find_heap(Oid root, const AddedReference *reference, ForeignKey state)
{
	ListCell   *lc;

	foreach(lc, migrate_heaps_of(root))
		if (foreign_key_of(lfirst_oid(lc), reference) == state)
			return lfirst_oid(lc);
	return InvalidOid;
}

static void
lock_both(Oid relid, const AddedReference *reference)
{
	List	   *locks = migrate_lock_add(NIL, relid, ShareRowExclusiveLock);

	locks = migrate_reference_lock_referenced(list_make1((void *) reference), locks);
	migrate_lock_tables(locks, "put constraints of new columns into force");
}

typedef struct Validation
{
	Oid			heap;
	const AddedReference *reference;
} Validation;

/* With the owner's rights, restricted; the locks are waited for no longer than lock_timeout. */
static void
validate(void *context)
{
	Validation *validation = context;
	StoreIdentity self;

	migrate_store_become_restricted(&self, migrate_store_relation_owner(validation->heap));
	migrate_lock_limit_wait(migrate_guc_lock_timeout);
	migrate_store_ddl(validation->heap,
					  psprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s",
							   migrate_store_relation_sql(validation->heap),
							   quote_identifier(validation->reference->name)));
	migrate_store_become_self(&self);
}

static ConstraintStep
try_validate(Oid heap, const AddedReference *reference)
{
	Validation	validation = {heap, reference};
	ErrorData  *error;

	if (!ConditionalLockRelationOid(heap, ShareUpdateExclusiveLock))
		return CONSTRAINTS_BLOCKED;
	error = migrate_try(validate, &validation);
	if (error == NULL)
		return CONSTRAINTS_WORKED;
	if (error->sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION)
		return CONSTRAINTS_BROKEN;
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED)
		return CONSTRAINTS_BLOCKED;
	ReThrowError(error);
}

/* All of the table's rows are known to hold it. */
static ConstraintStep
finish(Oid root, const AddedReference *reference)
{
	if (get_rel_relkind(root) == RELKIND_PARTITIONED_TABLE)
	{
		lock_both(root, reference);
		/* A partition may have come before that. */
		if (OidIsValid(find_heap(root, reference, IS_MISSING)))
			return CONSTRAINTS_WORKED;
		if (foreign_key_of(root, reference) == IS_MISSING)
			add_foreign_key(root, reference, "");
	}
	set_phase(reference, "valid");
	return CONSTRAINTS_WORKED;
}

ConstraintStep
migrate_reference_step(Oid root, AddedReference **broken)
{
	AddedReference *reference = load_reference(root, "plain", 0);
	Oid			heap;
	ConstraintStep step;

	if (reference == NULL)
		return CONSTRAINTS_STAND;
	if (OidIsValid(heap = find_heap(root, reference, IS_NOT_VALID)))
	{
		step = try_validate(heap, reference);
		if (step == CONSTRAINTS_BROKEN)
			*broken = reference;
		return step;
	}
	if (!OidIsValid(heap = find_heap(root, reference, IS_MISSING)))
		return finish(root, reference);
	if (heap == root)
		forget(reference);		/* somebody has dropped it */
	else
	{
		lock_both(heap, reference);
		add_foreign_key(heap, reference, " NOT VALID");
	}
	return CONSTRAINTS_WORKED;
}
