/*
 * lifecycle/reference.c
 *		REFERENCES of new columns: defining, expanding, taking back.
 *
 * Why not a foreign key from the start, NOT VALID? It would hold for clients of
 * the old form too, whose writes it could refuse; it would refuse or cascade
 * deletes of referenced rows on behalf of rows that a client of the old form knows
 * nothing of; and of stale rows, which store nothing yet, it would know nothing.
 * So until all rows are converted a trigger of ours holds writes of the new
 * form to it (write/reference_trigger.c). It has the name that the foreign key
 * will have; what becomes of it is in lifecycle/reference_finish.c.
 *
 * What is referred to is looked up by define and by expand, with the definer's
 * search_path and the rights of whoever calls, as the server would for a foreign
 * key. The trigger depends on the key's index, so that DROP names it, as it
 * would name a foreign key.
 *
 * Locks: AccessShareLock on the referenced table, taken before the strong lock
 * on the table itself: to wait for it would hold up everybody.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_trigger.h"
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "catalog/store.h"
#include "guard/foreign_key_guard.h"
#include "lifecycle/lock.h"
#include "lifecycle/reference.h"
#include "migrate.h"
#include "write/reference.h"

/* ---- what is referred to ---- */

static Oid
lock_referenced(const Constraint *constraint)
{
	return RangeVarGetRelid(constraint->pktable, AccessShareLock, false);
}

static void
check_referenced(Oid relid, Oid referenced)
{
	char		persistence = get_rel_persistence(relid);
	char		other = get_rel_persistence(referenced);

	if (get_rel_relkind(referenced) != RELKIND_RELATION &&
		get_rel_relkind(referenced) != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("referenced relation \"%s\" is not a table", get_rel_name(referenced))));
	if (IsCatalogRelationOid(referenced))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("referenced table \"%s\" is a system catalog", get_rel_name(referenced))));
	if (other == RELPERSISTENCE_TEMP ||
		(persistence == RELPERSISTENCE_PERMANENT && other != RELPERSISTENCE_PERMANENT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("referenced table \"%s\" does not last as long as table \"%s\"",
						get_rel_name(referenced), get_rel_name(relid)),
				 errdetail("A temporary table cannot be referenced, an unlogged one only by another.")));
}

static void
check_privilege(Oid relid, AttrNumber attno)
{
	if (pg_class_aclcheck(relid, GetUserId(), ACL_REFERENCES) != ACLCHECK_OK &&
		pg_attribute_aclcheck(relid, attno, GetUserId(), ACL_REFERENCES) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(relid));
}

/* The server would find it out at the end, when the foreign key is made. */
static void
check_actions(const Constraint *constraint, const ScopeColumn *column)
{
	ListCell   *lc;

	foreach(lc, constraint->fk_del_set_cols)
		if (strcmp(strVal(lfirst(lc)), column->name) != 0 &&
			(column->rename_to == NULL || strcmp(strVal(lfirst(lc)), column->rename_to) != 0))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
					 errmsg("column \"%s\" referenced in ON DELETE SET action must be part of foreign key",
							strVal(lfirst(lc)))));
}

static Reference
resolve(Oid relid, const ScopeColumn *column)
{
	const Constraint *constraint = column->references;
	const char *key = constraint->pk_attrs ? strVal(linitial(constraint->pk_attrs)) : NULL;
	Oid			referenced = lock_referenced(constraint);
	Reference	reference;

	check_referenced(relid, referenced);
	if (list_length(constraint->pk_attrs) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FOREIGN_KEY),
				 errmsg("number of referencing and referenced columns for foreign key disagree")));
	reference = migrate_reference_resolve(referenced, key, column->type);
	check_privilege(referenced, reference.attno);
	migrate_foreign_key_guard_check_key(referenced, reference.attno);
	check_actions(constraint, column);
	return reference;
}

void
migrate_reference_check(Oid relid, const ScopeColumn *column)
{
	if (column->references != NULL)
		(void) resolve(relid, column);
}

void
migrate_reference_lock_others(const Migration *migration)
{
	int			nestlevel;
	ListCell   *lc;

	if (migration->add_source == NULL)
		return;
	nestlevel = NewGUCNestLevel();
	(void) set_config_option("search_path", migration->search_path, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	foreach(lc, migrate_expression_parse_columns(migration->add_source))
	{
		const ScopeColumn *column = lfirst(lc);

		if (column->references != NULL)
			(void) lock_referenced(column->references);
	}
	AtEOXact_GUC(false, nestlevel);
}

/* ---- what follows the referenced column ---- */

static const char *
action_text(char action)
{
	switch (action)
	{
		case FKCONSTR_ACTION_RESTRICT:
			return "RESTRICT";
		case FKCONSTR_ACTION_CASCADE:
			return "CASCADE";
		case FKCONSTR_ACTION_SETNULL:
			return "SET NULL";
		case FKCONSTR_ACTION_SETDEFAULT:
			return "SET DEFAULT";
		default:
			return "NO ACTION";
	}
}

static char *
options_text(const Constraint *constraint)
{
	return psprintf("MATCH %s ON UPDATE %s ON DELETE %s%s",
					constraint->fk_matchtype == FKCONSTR_MATCH_FULL ? "FULL" : "SIMPLE",
					action_text(constraint->fk_upd_action),
					action_text(constraint->fk_del_action),
					constraint->initdeferred ? " DEFERRABLE INITIALLY DEFERRED"
					: constraint->deferrable ? " DEFERRABLE" : "");
}

/* ---- expand ---- */

static void
create_trigger(const Migration *migration, const ScopeColumn *column, const char *name)
{
	const Constraint *constraint = column->references;
	char	   *sql = psprintf("CREATE CONSTRAINT TRIGGER %s AFTER INSERT OR UPDATE ON %s%s"
							   " FOR EACH ROW WHEN (NOT %s.excused(%s))"
							   " EXECUTE FUNCTION %s.reference_trigger()",
							   quote_identifier(name),
							   migrate_store_relation_sql(migration->relid),
							   constraint->initdeferred ? " DEFERRABLE INITIALLY DEFERRED"
							   : constraint->deferrable ? " DEFERRABLE" : "",
							   MIGRATE_SCHEMA, quote_literal_cstr(migration->name),
							   MIGRATE_SCHEMA);

	migrate_store_ddl(migration->relid, sql);
}

/* To drop the key, or its table, is refused without CASCADE. */
static void
depend_on_key(Oid relid, const char *name, Oid index)
{
	Oid			constraint = get_index_constraint(index);
	ObjectAddress trigger;
	ObjectAddress key;

	ObjectAddressSet(trigger, TriggerRelationId, get_trigger_oid(relid, name, false));
	if (OidIsValid(constraint))
		ObjectAddressSet(key, ConstraintRelationId, constraint);
	else
		ObjectAddressSet(key, RelationRelationId, index);
	recordDependencyOn(&trigger, &key, DEPENDENCY_NORMAL);
}

static char *
choose_name(Oid relid, const ScopeColumn *column, const char *column_label)
{
	if (column->references->conname != NULL)
		return column->references->conname;
	return ChooseConstraintName(get_rel_name(relid), column_label, "fkey",
								get_rel_namespace(relid), NIL);
}

void
migrate_reference_add(const Migration *migration, const ScopeColumn *column,
					  const char *column_label)
{
	Oid			relid = migration->relid;
	Reference	reference = resolve(relid, column);
	char	   *name = choose_name(relid, column, column_label);
	char	   *key = get_attname(reference.relid, reference.attno, false);

	create_trigger(migration, column, name);
	depend_on_key(relid, name, reference.index);
	migrate_store_execute("INSERT INTO migrate.added_reference"
						  " (migration, name, column_name, referenced, referenced_column, options)"
						  " VALUES ($1, $2, $3, $4, $5, $6)",
						  STORE_ARGS(store_text(migration->name), store_name(name),
									 store_name(column->name),
									 store_relation(reference.relid),
									 store_name(key),
									 store_text(options_text(column->references))));
	CommandCounterIncrement();
}

/* ---- taking back ---- */

List *
migrate_reference_locks(const Migration *migration, List *locks)
{
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT DISTINCT c.oid FROM migrate.added_reference a"
										 " JOIN pg_class c ON c.oid = a.referenced"
										 " WHERE a.migration = $1 AND a.phase <> 'checked'"
										 "  AND c.oid <> $2 ORDER BY c.oid",
										 STORE_ARGS(store_text(migration->name),
													store_oid(migration->relid))))
		locks = migrate_lock_add(locks, atooid(lfirst(lc)), AccessExclusiveLock);
	return locks;
}

void
migrate_reference_forget(const Migration *migration)
{
	ListCell   *lc;

	foreach(lc, migrate_store_fetch_list("SELECT name FROM migrate.added_reference"
										 " WHERE migration = $1 AND phase = 'checked'",
										 STORE_ARGS(store_text(migration->name))))
		migrate_store_ddl(migration->relid,
						  psprintf("DROP TRIGGER IF EXISTS %s ON %s",
								   quote_identifier(lfirst(lc)),
								   migrate_store_relation_sql(migration->relid)));
	migrate_store_execute("DELETE FROM migrate.added_reference WHERE migration = $1",
						  STORE_ARGS(store_text(migration->name)));
}
