/*
 * guard/drop_statement.c
 *		What to type to be rid of an object.
 *
 * For hints: a person decides whether to drop a view or to define it anew. What
 * the server calls the object's identity is, but for a few kinds, what follows
 * DROP and the kind.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_publication_rel.h"
#include "catalog/pg_statistic_ext.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/store.h"
#include "guard/drop_statement.h"

static char *
drop_column(const ObjectAddress *object)
{
	char	   *name = get_attname(object->objectId, object->objectSubId, true);

	if (name == NULL)
		return NULL;
	return psprintf("ALTER TABLE %s DROP COLUMN %s",
					migrate_store_relation_sql(object->objectId), quote_identifier(name));
}

static char *
drop_constraint(Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(oid));
	Form_pg_constraint constraint;
	char	   *statement;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	constraint = (Form_pg_constraint) GETSTRUCT(tuple);
	statement = psprintf("ALTER TABLE %s DROP CONSTRAINT %s",
						 migrate_store_relation_sql(constraint->conrelid),
						 quote_identifier(NameStr(constraint->conname)));
	ReleaseSysCache(tuple);
	return statement;
}

static char *
drop_published_table(Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(PUBLICATIONREL, ObjectIdGetDatum(oid));
	Form_pg_publication_rel published;
	char	   *statement;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	published = (Form_pg_publication_rel) GETSTRUCT(tuple);
	statement = psprintf("ALTER PUBLICATION %s DROP TABLE %s",
						 quote_identifier(get_publication_name(published->prpubid, false)),
						 migrate_store_relation_sql(published->prrelid));
	ReleaseSysCache(tuple);
	return statement;
}

/* A view that shows a table as a release knows it goes with the others of its schema. */
static char *
unpublish(Oid view)
{
	return migrate_store_fetch("SELECT format('SELECT migrate.unpublish(%L)', p.schema_name)"
							   " FROM migrate.publication p JOIN pg_namespace s ON s.nspname = p.schema_name"
							   " JOIN pg_class c ON c.relnamespace = s.oid WHERE c.oid = $1",
							   STORE_ARGS(store_oid(view)));
}

static char *
drop_by_identity(const ObjectAddress *object, const char *kind)
{
	char	   *identity = getObjectIdentity(object, true);
	char	   *upper;

	if (identity == NULL)
		return NULL;
	upper = asc_toupper(kind, strlen(kind));
	return psprintf("DROP %s %s", upper, identity);
}

char *
migrate_drop_statement(const ObjectAddress *object)
{
	char	   *statement = NULL;

	switch (object->classId)
	{
		case RelationRelationId:
			if (object->objectSubId != 0)
				return drop_column(object);
			if (get_rel_relkind(object->objectId) == RELKIND_VIEW)
				statement = unpublish(object->objectId);
			break;
		case ConstraintRelationId:
			return drop_constraint(object->objectId);
		case PublicationRelRelationId:
			return drop_published_table(object->objectId);
		case StatisticExtRelationId:
			return drop_by_identity(object, "statistics");
		default:
			break;
	}
	return statement ? statement
		: drop_by_identity(object, getObjectTypeDescription(object, true));
}
