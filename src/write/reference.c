/*
 * write/reference.c
 *		What a REFERENCES in "add" refers to.
 *
 * The server finds this out when it makes a foreign key. We have to know before
 * there is one: to refuse a definition, to check a write, to look for rows that
 * break it. The rules are the server's: a unique index, valid, not deferrable,
 * on that column and nothing else; the equality of the index's operator family,
 * across types where that has one, else after an implicit cast.
 *
 * A query that compares runs with other rights than the writer's. It calls that
 * operator, which belongs to an operator class and so came from a superuser,
 * and a cast, which must be built in.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "lib/stringinfo.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/store.h"
#include "write/reference.h"

/* ---- the key ---- */

/*
 * May an index be a foreign key's on one column? On which one, or 0. (To ask the
 * relcache for expressions would fold them, and so run functions of the owner's.)
 */
static AttrNumber
key_of_index(Relation index)
{
	const FormData_pg_index *form = index->rd_index;

	if (!form->indisunique || !form->indisvalid || !form->indimmediate ||
		form->indnkeyatts != 1 ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL))
		return InvalidAttrNumber;
	return form->indkey.values[0];
}

/* Fill in the index on a column, or of the primary key where the column is 0. */
static Relation
open_key(Relation rel, AttrNumber attno)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		AttrNumber	key = key_of_index(index);

		if (key != InvalidAttrNumber &&
			(attno == InvalidAttrNumber ? index->rd_index->indisprimary : key == attno))
			return index;
		index_close(index, AccessShareLock);
	}
	ereport(ERROR,
			(errcode(attno == InvalidAttrNumber ? ERRCODE_UNDEFINED_OBJECT
					 : ERRCODE_INVALID_FOREIGN_KEY),
			 attno == InvalidAttrNumber
			 ? errmsg("there is no primary key of one column for referenced table \"%s\"",
					  RelationGetRelationName(rel))
			 : errmsg("there is no unique constraint on column \"%s\" alone for referenced table \"%s\"",
					  get_attname(RelationGetRelid(rel), attno, false),
					  RelationGetRelationName(rel))));
}

static AttrNumber
find_column(Relation rel, const char *column)
{
	AttrNumber	attno = get_attnum(RelationGetRelid(rel), column);

	if (attno == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" referenced in foreign key constraint does not exist",
						column)));
	return attno;
}

/* ---- the comparison ---- */

static bool
cast_is_built_in(Oid from, Oid to)
{
	Oid			function = InvalidOid;

	return find_coercion_pathway(to, from, COERCION_IMPLICIT, &function) != COERCION_PATH_FUNC ||
		function < FirstNormalObjectId;
}

static void
find_equality(Reference *reference, Relation index, Oid type)
{
	Oid			family = index->rd_opfamily[0];
	Oid			key = index->rd_opcintype[0];

	type = getBaseType(type);
	reference->operand = InvalidOid;
	reference->equality = get_opfamily_member(family, key, type, BTEqualStrategyNumber);
	if (OidIsValid(reference->equality))
		return;
	if (can_coerce_type(1, &type, &key, COERCION_IMPLICIT) && cast_is_built_in(type, key))
	{
		reference->equality = get_opfamily_member(family, key, key, BTEqualStrategyNumber);
		if (!IsPolymorphicType(key))
			reference->operand = key;
	}
	if (!OidIsValid(reference->equality))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a value of type %s cannot refer to column \"%s\" of table \"%s\"",
						format_type_be(type),
						get_attname(reference->relid, reference->attno, false),
						get_rel_name(reference->relid)),
				 errdetail("The column is of type %s.",
						   format_type_be(get_atttype(reference->relid, reference->attno)))));
}

Reference
migrate_reference_resolve(Oid relid, const char *column, Oid type)
{
	Relation	rel = table_open(relid, NoLock);
	AttrNumber	attno = column ? find_column(rel, column) : InvalidAttrNumber;
	Relation	index = open_key(rel, attno);
	Reference	reference = {
		.relid = relid,
		.attno = index->rd_index->indkey.values[0],
		.index = RelationGetRelid(index),
	};

	find_equality(&reference, index, type);
	index_close(index, AccessShareLock);
	table_close(rel, NoLock);
	return reference;
}

/* ---- in words ---- */

static char *
operator_text(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *text;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	text = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return text;
}

static char *
collation_text(Oid collation)
{
	HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	Form_pg_collation form;
	char	   *text;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	text = quote_qualified_identifier(get_namespace_name(form->collnamespace),
									  NameStr(form->collname));
	ReleaseSysCache(tuple);
	return text;
}

char *
migrate_reference_query(const Reference *reference, const char *value)
{
	StringInfoData sql;
	Oid			type;
	int32		typmod;
	Oid			collation;

	get_atttypetypmodcoll(reference->relid, reference->attno, &type, &typmod, &collation);
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT 1 FROM %s%s p WHERE p.%s %s (%s)",
					 get_rel_relkind(reference->relid) == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ",
					 migrate_store_relation_sql(reference->relid),
					 quote_identifier(get_attname(reference->relid, reference->attno, false)),
					 operator_text(reference->equality), value);
	if (OidIsValid(reference->operand))
		appendStringInfo(&sql, "::%s", format_type_extended(reference->operand, -1,
															FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(collation))
		appendStringInfo(&sql, " COLLATE %s", collation_text(collation));
	return sql.data;
}
