/*
 * backfill/archive.c
 *		Where rows go that are pruned: which of its columns takes which.
 *
 * Columns are matched by name. What the archive has beyond the table's columns
 * (when the row came, say) has its default. The other way round nothing may be
 * lost: it must have every column of the table, but for generated ones, the row
 * version, and what a live migration can compute from what the archive has; so an
 * archive that was made like the table goes on serving when that is expanded.
 *
 * It is looked at when it is named, and by each batch: either table may have been
 * altered since.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/partition.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "backfill/archive.h"
#include "catalog/migration.h"
#include "catalog/store.h"

/* ---- the table as such ---- */

static void
refuse(Relation archive, Oid root, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("relation \"%s\" cannot be the archive of table \"%s\"",
					RelationGetRelationName(archive), get_rel_name(root)),
			 errdetail_internal("%s", detail)));
}

static bool
is_part_of(Oid relid, Oid table)
{
	return relid == table ||
		(get_rel_relispartition(relid) && list_member_oid(get_partition_ancestors(relid), table));
}

/* A row must be there for good from the commit on which it is gone from the table. */
static void
check_lasts(Relation archive, Oid root, Oid part)
{
	const char *which = part == RelationGetRelid(archive) ? "It"
		: psprintf("Its partition \"%s\"", get_rel_name(part));

	if (get_rel_relkind(part) == RELKIND_FOREIGN_TABLE)
		refuse(archive, root, psprintf("%s is a foreign table: what is written there is committed by itself.",
									   which));
	if (get_rel_persistence(part) == RELPERSISTENCE_UNLOGGED &&
		get_rel_persistence(root) == RELPERSISTENCE_PERMANENT)
		refuse(archive, root, psprintf("%s is unlogged: a crash would empty it.", which));
}

/* Partitions that come or go need no lock of ours: the next batch looks at them. */
static List *
parts_of(Relation archive)
{
	Oid			relid = RelationGetRelid(archive);

	return archive->rd_rel->relkind == RELKIND_PARTITIONED_TABLE
		? find_all_inheritors(relid, NoLock, NULL) : list_make1_oid(relid);
}

static void
check_kind(Relation archive, Oid root)
{
	ListCell   *lc;
	Oid			relid = RelationGetRelid(archive);

	if (archive->rd_rel->relkind != RELKIND_RELATION &&
		archive->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		refuse(archive, root, "Only tables and partitioned tables can be.");
	if (is_part_of(relid, root))
		refuse(archive, root, "It is that table itself, or a part of it.");
	if (archive->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		refuse(archive, root, "It is a temporary table.");
	foreach(lc, parts_of(archive))
		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(lfirst_oid(lc))))
			check_lasts(archive, root, lfirst_oid(lc));
}

/* Rows are moved as the table's owner. */
static void
check_rights(Relation archive, Oid root)
{
	Oid			owner = migrate_store_relation_owner(root);

	if (pg_class_aclcheck(RelationGetRelid(archive), owner, ACL_INSERT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", RelationGetRelationName(archive)),
				 errdetail("Role \"%s\", which owns table \"%s\", lacks the privilege INSERT on its archive.",
						   GetUserNameFromId(owner, false), get_rel_name(root))));
}

/* ---- what must be there ---- */

static AttrNumber
find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped &&
			strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return i + 1;
	return InvalidAttrNumber;
}

static const char *
column_name(TupleDesc desc, AttrNumber attno)
{
	return NameStr(TupleDescAttr(desc, attno - 1)->attname);
}

static bool
has_all(TupleDesc archive, TupleDesc heap, const Bitmapset *columns)
{
	int			attno = -1;

	while ((attno = bms_next_member(columns, attno)) >= 0)
		if (find_column(archive, column_name(heap, attno)) == InvalidAttrNumber)
			return false;
	return true;
}

/*
 * A live migration's new form can be computed from the old one, which is kept. What it
 * removes is made up for by the new form.
 */
static bool
can_do_without(const Conversion *conversion, TupleDesc archive, TupleDesc heap, AttrNumber attno)
{
	for (int i = 0; conversion != NULL && i < conversion->nlive; i++)
	{
		const LiveMigration *live = &conversion->live[i];

		if (bms_is_member(attno, live->added) ||
			(bms_is_member(attno, live->removed) && has_all(archive, heap, live->added)))
			return true;
	}
	return false;
}

static void
check_nothing_is_lost(Relation heap, Oid root, const Conversion *conversion,
					  AttrNumber version_attno, Relation archive)
{
	TupleDesc	desc = RelationGetDescr(heap);

	for (AttrNumber attno = 1; attno <= desc->natts; attno++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, attno - 1);

		if (attr->attisdropped || attr->attgenerated || attno == version_attno ||
			find_column(RelationGetDescr(archive), NameStr(attr->attname)) != InvalidAttrNumber ||
			can_do_without(conversion, RelationGetDescr(archive), desc, attno))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("archive \"%s\" has no column \"%s\"",
						RelationGetRelationName(archive), NameStr(attr->attname)),
				 errdetail("What table \"%s\" holds there would be lost.", get_rel_name(root)),
				 errhint("Add the column to the archive.")));
	}
}

/* ---- what goes where ---- */

/* A value must not be cut or rounded on its way. */
static void
check_type(Relation heap, Relation archive, Form_pg_attribute from, Form_pg_attribute to)
{
	if (from->atttypid == to->atttypid &&
		(to->atttypmod == -1 || from->atttypmod == to->atttypmod))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of archive \"%s\" is of type %s",
					NameStr(to->attname), RelationGetRelationName(archive),
					format_type_with_typemod(to->atttypid, to->atttypmod)),
			 errdetail("In table \"%s\" it is of type %s.", RelationGetRelationName(heap),
					   format_type_with_typemod(from->atttypid, from->atttypmod))));
}

/*
 * Of the row version an archive that is not managed gets what goes with the values;
 * one that is keeps its own.
 */
static bool
is_taken(Relation heap, Relation archive, AttrNumber source, AttrNumber version_attno)
{
	char		generated;

	if (source == InvalidAttrNumber)
		return false;
	if (source == version_attno)
		return migrate_migration_version_column(RelationGetRelid(archive)) == NULL;
	generated = TupleDescAttr(RelationGetDescr(heap), source - 1)->attgenerated;
	return generated == '\0' || generated == ATTRIBUTE_GENERATED_STORED;
}

static List *
match_columns(Relation heap, AttrNumber version_attno, Relation archive)
{
	TupleDesc	desc = RelationGetDescr(archive);
	List	   *columns = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);
		AttrNumber	source;
		ArchiveColumn *column;

		if (attr->attisdropped || attr->attgenerated)
			continue;
		source = find_column(RelationGetDescr(heap), NameStr(attr->attname));
		if (!is_taken(heap, archive, source, version_attno))
			continue;
		check_type(heap, archive, TupleDescAttr(RelationGetDescr(heap), source - 1), attr);
		column = palloc(sizeof(ArchiveColumn));
		column->name = pstrdup(NameStr(attr->attname));
		column->source = source;
		column->type = attr->atttypid;
		columns = lappend(columns, column);
	}
	return columns;
}

List *
migrate_archive_columns(Relation heap, Oid root, const Conversion *conversion,
						AttrNumber version_attno, Oid relid)
{
	Relation	archive = try_relation_open(relid, NoLock);
	List	   *columns;

	if (archive == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the archive of table \"%s\" does not exist", get_rel_name(root)),
				 errdetail("Rows to be pruned have nowhere to go."),
				 errhint("Name another by migrate.set_prune(), or call migrate.unset_prune().")));
	check_kind(archive, root);
	check_rights(archive, root);
	check_nothing_is_lost(heap, root, conversion, version_attno, archive);
	columns = match_columns(heap, version_attno, archive);
	relation_close(archive, NoLock);
	if (columns == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("archive \"%s\" has no column of table \"%s\"",
						get_rel_name(relid), get_rel_name(root))));
	return columns;
}
