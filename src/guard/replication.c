/*
 * guard/replication.c
 *		What publications and subscriptions of a table its migrations concern.
 *
 * Nothing is refused: what the other side does with what is sent, and what it sends, is not
 * known here. No lock is taken; the answer is as of now.
 */
#include "postgres.h"

#include "utils/lsyscache.h"

#include "catalog/store.h"
#include "guard/replication.h"

#define OF_TABLE(relid) \
	"(" relid " = $1 OR " relid " IN (SELECT relid FROM pg_partition_tree($1)))"

char *
migrate_replication_publications(Oid relid)
{
	return migrate_store_fetch("SELECT string_agg(format('\"%s\"', p.pubname), ', ' ORDER BY p.pubname)"
							   " FROM pg_publication p WHERE p.puballtables OR EXISTS ("
							   "  SELECT FROM pg_publication_rel r"
							   "  WHERE r.prpubid = p.oid AND " OF_TABLE("r.prrelid") ") OR EXISTS ("
							   "  SELECT FROM pg_publication_namespace n JOIN pg_class c"
							   "   ON c.relnamespace = n.pnnspid"
							   "  WHERE n.pnpubid = p.oid AND " OF_TABLE("c.oid") ")",
							   STORE_ARGS(store_relation(relid)));
}

char *
migrate_replication_subscriptions(Oid relid)
{
	return migrate_store_fetch("SELECT string_agg(format('\"%s\"', s.subname), ', ' ORDER BY s.subname)"
							   " FROM pg_subscription s WHERE EXISTS ("
							   "  SELECT FROM pg_subscription_rel r"
							   "  WHERE r.srsubid = s.oid AND " OF_TABLE("r.srrelid") ")",
							   STORE_ARGS(store_relation(relid)));
}

/*
 * A column list that has the row version and not all that it vouches for: a subscriber
 * that knows the migration takes what is missing for empty.
 */
static void
warn_of_column_lists(Oid relid, const char *version_column)
{
	char	   *publications;

	publications = migrate_store_fetch("SELECT string_agg(DISTINCT format('\"%s\"', p.pubname), ', ')"
									   " FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid"
									   " WHERE " OF_TABLE("r.prrelid") " AND r.prattrs IS NOT NULL AND EXISTS ("
									   "  SELECT FROM pg_attribute a WHERE a.attrelid = r.prrelid"
									   "   AND a.attname = $2 AND a.attnum = ANY (r.prattrs)) AND EXISTS ("
									   "  SELECT FROM migrate.added_column n JOIN migrate.migration m"
									   "    ON m.name = n.migration JOIN pg_attribute a"
									   "    ON a.attrelid = r.prrelid AND a.attname = n.name"
									   "   WHERE m.relation = $1 AND m.state IN ('expanded', 'complete')"
									   "   AND NOT a.attnum = ANY (r.prattrs))",
									   STORE_ARGS(store_relation(relid),
												  store_name(version_column)));
	if (publications != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("publication %s sends column \"%s\" of table \"%s\", but not all that was added with its versions",
						publications, version_column, get_rel_name(relid)),
				 errdetail("A subscriber that knows the migrations would take what is missing for empty."),
				 errhint("Let its column list have the new columns as well, or not \"%s\".",
						 version_column)));
}

/* Changes find their rows by comparing all columns then, also those that are not sent. */
static void
warn_of_identity(Oid relid)
{
	char	   *subscriptions = migrate_replication_subscriptions(relid);

	if (subscriptions == NULL ||
		migrate_store_fetch("SELECT 1 FROM pg_index i WHERE " OF_TABLE("i.indrelid")
							" AND (i.indisprimary OR i.indisreplident) LIMIT 1",
							STORE_ARGS(store_relation(relid))) != NULL)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("table \"%s\" has neither a primary key nor a replica identity by which subscription %s could find its rows",
					get_rel_name(relid), subscriptions),
			 errdetail("Updates and deletes are applied to rows of which all columns are as on the publisher, and those of the migration and the row version need not be."),
			 errhint("Unless rows are only inserted, give the table a primary key, or a REPLICA IDENTITY USING INDEX, which the publisher's REPLICA IDENTITY FULL covers.")));
}

void
migrate_replication_warn(Oid relid, const char *version_column)
{
	warn_of_column_lists(relid, version_column);
	warn_of_identity(relid);
}
