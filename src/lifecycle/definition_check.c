/*
 * lifecycle/definition_check.c
 *		What a definition must be like.
 *
 * Whatever could fail at expand, at a write or at contract is refused here,
 * while nothing has happened yet.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "catalog/names.h"
#include "catalog/store.h"
#include "guard/foreign_key_guard.h"
#include "lifecycle/definition_check.h"
#include "lifecycle/definition_scope.h"
#include "lifecycle/reference.h"

/* ---- a new type under the same name ---- */

static bool
is_assigned(List *assignments, const char *name)
{
	ListCell   *lc;

	foreach(lc, assignments)
		if (strcmp(((ParsedAssignment *) lfirst(lc))->target->name, name) == 0)
			return true;
	return false;
}

/* One column's place cannot be taken twice at a time: neither could be contracted. */
static void
check_only_twin(Definition *definition, const char *name)
{
	char	   *other = migrate_store_fetch("SELECT m.name FROM migrate.migration m"
											" JOIN migrate.added_column c ON c.migration = m.name"
											" WHERE m.relation = $1 AND m.name <> $2 AND c.rename_to = $3"
											" AND m.state IN ('defined', 'expanded', 'complete')",
											STORE_ARGS(store_relation(definition->relid),
													   store_text(definition->name),
													   store_name(name)));

	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("migration \"%s\" already gives column \"%s\" a new type", other, name),
				 errhint("Contract that one first, or take it back.")));
}

/* It is to become an identity column in the old one's place (lifecycle/take_place.c). */
static void
check_identity(Relation rel, const ScopeColumn *column)
{
	AttrNumber	attno = get_attnum(RelationGetRelid(rel), column->rename_to);

	if (attno == InvalidAttrNumber || column->not_null || column->raw_default != NULL ||
		!TupleDescAttr(RelationGetDescr(rel), attno - 1)->attidentity ||
		(column->type != INT2OID && column->type != INT4OID && column->type != INT8OID))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("column \"%s\" of relation \"%s\" is an identity column",
					column->rename_to, RelationGetRelationName(rel)),
			 errdetail("The new column will be one in its place, and has to be NOT NULL for that."),
			 errhint("Add NOT NULL to it.")));
}

/* The old column is removed whether that was said or not, so its values must be carried over. */
static void
check_twins(Relation rel, Definition *definition, ParsedDefinition *parsed)
{
	ListCell   *lc;

	foreach(lc, parsed->added)
	{
		ScopeColumn *column = lfirst(lc);

		if (column->rename_to == NULL)
			continue;
		check_only_twin(definition, column->rename_to);
		if (!is_assigned(parsed->ups, column->name))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" already exists",
							column->rename_to, RelationGetRelationName(rel)),
					 errdetail("\"add\" names a column that the table has, or that a migration before this one adds, and \"up\" does not compute it from that one."),
					 errhint("Choose another name, or assign it in \"up\" to have it take the old one's place.")));
		check_identity(rel, column);
		if (!migrate_names_contain(definition->remove, column->rename_to))
			definition->remove = lappend(definition->remove, column->rename_to);
	}
}

/* ---- what is removed ---- */

static void
refuse_remove(Relation rel, const char *name, int code, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(code),
			 errmsg("column \"%s\" of relation \"%s\" cannot be removed",
					name, RelationGetRelationName(rel)),
			 errdetail_internal("%s", detail),
			 hint ? errhint("%s", hint) : 0));
}

/* Is a column in the partition key, or in that of a partition? */
static bool
is_in_partition_key(Relation rel, const char *name)
{
	bool		found = false;
	ListCell   *lc;

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return false;
	foreach(lc, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		Relation	partition = table_open(lfirst_oid(lc), NoLock);
		int			bit = get_attnum(lfirst_oid(lc), name) - FirstLowInvalidHeapAttributeNumber;

		found = found || has_partition_attrs(partition, bms_make_singleton(bit), NULL);
		table_close(partition, NoLock);
	}
	return found;
}

static void
check_removed_column(Relation rel, const char *name, List *downs)
{
	AttrNumber	attno = get_attnum(RelationGetRelid(rel), name);
	Form_pg_attribute attr;

	/* A migration before this one may add it. */
	if (attno == InvalidAttrNumber)
		return;
	attr = TupleDescAttr(RelationGetDescr(rel), attno - 1);
	if (is_in_partition_key(rel, name))
		refuse_remove(rel, name, ERRCODE_INVALID_OBJECT_DEFINITION,
					  "It is part of the partition key.", NULL);
	if (attr->attinhcount > 0)
		refuse_remove(rel, name, ERRCODE_INVALID_OBJECT_DEFINITION,
					  "It is inherited.", NULL);
	if (attr->attnotnull && !attr->atthasdef && !attr->attidentity && !is_assigned(downs, name))
		refuse_remove(rel, name, ERRCODE_INVALID_OBJECT_DEFINITION,
					  "It is NOT NULL without a default, and \"down\" does not assign it: "
					  "an INSERT of the new form would fail.",
					  "Assign it in \"down\", give it a default, or drop its NOT NULL.");
}

static void
check_removed(Relation rel, Scope *scope, Definition *definition, List *downs)
{
	List	   *seen = NIL;
	ListCell   *lc;

	foreach(lc, definition->remove)
	{
		char	   *name = lfirst(lc);
		ScopeColumn *column = migrate_scope_find(scope, name);

		if (migrate_names_contain(seen, name))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" is removed twice", name)));
		if (column == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" does not exist",
							name, RelationGetRelationName(rel)),
					 errdetail("\"remove\" names columns that the table has already.")));
		if (column->added)
			refuse_remove(rel, name, ERRCODE_INVALID_OBJECT_DEFINITION,
						  "The same migration adds it.", NULL);
		check_removed_column(rel, name, downs);
		seen = lappend(seen, name);
	}
}

/* ---- what is rewritten in place ---- */

static void
refuse_rewrite(Relation rel, const char *name, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("column \"%s\" of relation \"%s\" cannot be rewritten in place",
					name, RelationGetRelationName(rel)),
			 errdetail_internal("%s", detail),
			 hint ? errhint("%s", hint) : 0));
}

static void
check_rewritten(Relation rel, Definition *definition, List *ups)
{
	ListCell   *lc;

	foreach(lc, ups)
	{
		const ScopeColumn *column = ((ParsedAssignment *) lfirst(lc))->target;
		AttrNumber	attno = get_attnum(RelationGetRelid(rel), column->name);

		if (column->added)
			continue;
		if (migrate_names_contain(definition->remove, column->name))
			refuse_rewrite(rel, column->name, "The same migration removes it.",
						   "Compute the new form from it as it is.");
		if (attno != InvalidAttrNumber &&
			TupleDescAttr(RelationGetDescr(rel), attno - 1)->attinhcount > 0)
			refuse_rewrite(rel, column->name,
						   "It is inherited: queries on the parent would read it as it is stored.",
						   NULL);
		if (is_in_partition_key(rel, column->name))
			refuse_rewrite(rel, column->name,
						   "It is part of the partition key: a row would have to move to another partition.",
						   NULL);
	}
}

/* Once it is expanded nobody refers to them, or all rows are converted. */
static void
check_referred_to(Relation rel, List *ups, const Migration *known)
{
	ListCell   *lc;

	if (known != NULL && migrate_migration_is_live(known))
		return;
	foreach(lc, ups)
	{
		const ScopeColumn *column = ((ParsedAssignment *) lfirst(lc))->target;

		if (!column->added)
			migrate_foreign_key_guard_check_rewrite(RelationGetRelid(rel), column->name);
	}
}

/* A row must stay where it is: a BEFORE trigger cannot send it to another partition. */
static void
check_partition_key(Relation rel, List *downs)
{
	ListCell   *lc;

	foreach(lc, downs)
	{
		const char *name = ((ParsedAssignment *) lfirst(lc))->target->name;

		if (is_in_partition_key(rel, name))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("\"down\" assigns column \"%s\", which is part of the partition key of \"%s\"",
							name, RelationGetRelationName(rel)),
					 errdetail("A write of the new form would have to move the row to another partition.")));
	}
}

/* ---- which rows need it ---- */

static void
refuse_needed(const char *name, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("migration \"%s\" cannot have a \"needed\" like that", name),
			 errdetail_internal("%s", detail),
			 errhint("%s", hint)));
}

/* Does a predicate in stored form read a column? */
static bool
reads_column(const Scope *scope, Expr *predicate, const char *name)
{
	Bitmapset  *positions = NULL;
	ListCell   *lc;

	pull_varattnos((Node *) predicate, 1, &positions);
	foreach(lc, scope->inputs)
		if (strcmp(lfirst(lc), name) == 0)
			return bms_is_member(foreach_current_index(lc) + 1 - FirstLowInvalidHeapAttributeNumber,
								 positions);
	return false;
}

/*
 * Of a row that is converted nobody can tell any more whether it was in need, if
 * the conversion rewrote what tells it. That is no harm where nothing else is
 * computed; new columns could not be kept in step.
 */
static void
check_needed_columns(Definition *definition, ParsedDefinition *parsed)
{
	Expr	   *predicate = ((ParsedAssignment *) linitial(parsed->needed))->expr;
	ListCell   *lc;

	foreach(lc, parsed->ups)
	{
		const ScopeColumn *column = ((ParsedAssignment *) lfirst(lc))->target;

		if (!column->added && parsed->added != NIL &&
			reads_column(&parsed->scope, predicate, column->name))
			refuse_needed(definition->name,
						  psprintf("It reads column \"%s\", which \"up\" rewrites in place, while other columns are added.",
								   column->name),
						  "Make two migrations of it.");
	}
	foreach(lc, parsed->added)
	{
		const ScopeColumn *column = lfirst(lc);

		if (get_typtype(column->type) == TYPTYPE_DOMAIN && DomainHasConstraints(column->type))
			refuse_needed(definition->name,
						  psprintf("Column \"%s\" is NULL in rows that need no conversion, and its type is a domain with constraints.",
								   column->name),
						  "Add the column with the domain's base type.");
	}
}

/*
 * "needed" is judged in every query on the table, with the reader's rights, on
 * generated columns computed anew: then what they are computed by must be as
 * harmless as itself.
 */
static void
check_needed_generated(Relation rel, Definition *definition, ParsedDefinition *parsed)
{
	Expr	   *predicate = ((ParsedAssignment *) linitial(parsed->needed))->expr;
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (attr->attgenerated && !attr->attisdropped &&
			reads_column(&parsed->scope, predicate, NameStr(attr->attname)) &&
			!migrate_expression_is_inlinable(build_column_default(rel, i + 1)))
			refuse_needed(definition->name,
						  psprintf("It reads the generated column \"%s\", which is computed by more than built-in immutable functions.",
								   NameStr(attr->attname)),
						  "Read other columns.");
	}
}

static void
check_needed(Relation rel, Definition *definition, ParsedDefinition *parsed)
{
	if (parsed->needed == NIL)
		return;
	if (parsed->ups == NIL)
		refuse_needed(definition->name, "It has no \"up\", so there is nothing that rows could need.",
					  "Leave out \"needed\", or give \"up\".");
	check_needed_columns(definition, parsed);
	check_needed_generated(rel, definition, parsed);
}

/*
 * Without an assignment a row is stored as it reads in either form: none needs to be
 * converted. New columns have NULL there, and whether their CHECKs let that pass is
 * looked at before these come into force (constraint_finish.c).
 */
static void
imply_needed(ParsedDefinition *parsed)
{
	if (parsed->ups == NIL)
		parsed->needed = migrate_expression_parse_predicate(&parsed->scope, "needed", "false");
}

/* ---- the whole ---- */

/* What a later version of the definition language takes, and this one does not. */
static void
check_options(Definition *definition)
{
	if (strcmp(definition->on_error, "fail") != 0 && strcmp(definition->on_error, "defer") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("on_error \"%s\" is unknown", definition->on_error),
				 errhint("Use \"fail\" or \"defer\".")));
	if (definition->name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("a migration needs a name")));
	if (definition->add == NULL && definition->up == NULL && definition->down == NULL &&
		definition->remove == NIL && list_length(definition->depends_on) < 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("migration \"%s\" does nothing", definition->name),
				 errdetail("It neither adds nor removes a column, and merges no branches."),
				 errhint("Give \"add\" and \"up\", or \"up\" alone, or \"remove\", or two or more in depends_on.")));
}

/* A row that needs no conversion stores nothing in new columns. */
static void
check_unneeded_columns(const Definition *definition, List *added)
{
	ListCell   *lc;

	foreach(lc, added)
	{
		ScopeColumn *column = lfirst(lc);

		if (definition->needed != NULL && (column->not_null || column->raw_default != NULL))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("column \"%s\" of \"add\" has NOT NULL or DEFAULT beside a \"needed\"",
							column->name),
					 errdetail("Rows that need no conversion are not touched, and have NULL there."),
					 errhint("Leave out \"needed\", or make two migrations of it.")));
	}
}

/* A unique index of a partitioned table has to have the partition key in it. */
static void
check_unique(Relation rel, List *added)
{
	ListCell   *lc;

	foreach(lc, added)
		if (((ScopeColumn *) lfirst(lc))->unique != NULL &&
			rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("UNIQUE in \"add\" is not supported for partitioned tables"),
					 errdetail("It would have to include the columns of the partition key."),
					 errhint("Declare a unique index on them and the new column with migrate.create_index().")));
}

static void
check_references(const Definition *definition, List *added)
{
	ListCell   *lc;

	foreach(lc, added)
		migrate_reference_check(definition->relid, lfirst(lc));
}

ParsedDefinition *
migrate_definition_parse(Definition *definition, Migration *known)
{
	Relation	rel = table_open(definition->relid, NoLock);
	ParsedDefinition *parsed = palloc0(sizeof(ParsedDefinition));
	Scope	   *scope = &parsed->scope;

	check_options(definition);
	if (definition->add != NULL)
		parsed->added = migrate_expression_parse_columns(definition->add);

	migrate_definition_fill_scope(scope, rel, definition, parsed->added, known);

	if (definition->up != NULL)
		parsed->ups = migrate_expression_parse_assignments(scope, "up", definition->up);
	check_twins(rel, definition, parsed);
	if (definition->add != NULL)
		parsed->ups = migrate_expression_parse_constraints(scope, definition->add,
														   parsed->added, parsed->ups);
	if (definition->down != NULL)
		parsed->downs = migrate_expression_parse_assignments(scope, "down", definition->down);
	if (definition->needed != NULL)
		parsed->needed = migrate_expression_parse_predicate(scope, "needed", definition->needed);
	check_partition_key(rel, parsed->downs);
	check_removed(rel, scope, definition, parsed->downs);
	check_rewritten(rel, definition, parsed->ups);
	check_referred_to(rel, parsed->ups, known);
	check_needed(rel, definition, parsed);
	imply_needed(parsed);
	check_unneeded_columns(definition, parsed->added);
	check_unique(rel, parsed->added);
	check_references(definition, parsed->added);
	table_close(rel, NoLock);
	return parsed;
}
