/*
 * lifecycle/proof.c
 *		The constraint that proves that no row is left to convert.
 *
 * For most migrations it is CHECK (row_version >= v): every row that is
 * written is stamped with v or more, and once validated the constraint says
 * that all are. With a "needed", rows where that is not true stay as they are,
 * in whatever version they are stored, and the constraint lets them:
 *
 *		row_version >= v OR (needed) IS NOT TRUE
 *
 * "needed" is judged on the row's form one level below the migration. The
 * constraint sees the row as stored, and that is the same as long as no older
 * live migration computes, for this row, a column that "needed" reads. Where
 * one of version u does, the second half holds for rows at or above u only:
 *
 *		row_version >= v OR (row_version >= u AND (needed) IS NOT TRUE)
 *
 * and rows below u are moved whether they need it or not (needed_from); all
 * that are stale for that migration are anyway, unless it has a "needed" too.
 *
 * A migration that assigns nothing (a merge, a removal, new columns without a value)
 * is needed by no row: define gives it the predicate "false". Then there is
 * nothing to prove, and what is left of the constraint is
 *
 *		row_version >= the oldest version that is supported
 *
 * which holds of all rows, and refuses what is no version at all: a planner's marker,
 * or "unsaid", should a trigger be missing. Rows that a copied table brings along,
 * which do not say their version, are stamped for it (needed_from).
 *
 * What this means for later: such a table keeps rows of old versions for good.
 * To a later migration they are stale like any, and upgraded by it from the
 * version that they carry; the migration that they did not need would not have
 * changed them. So contracting it does not raise managed.floor, below which
 * rows that say their version are refused. A migration that all rows need does:
 * once it is proven, no row is below it.
 *
 * The constraint is checked with the rights of whoever writes, so define lets
 * only built-in immutable functions into a "needed" (expression_parse.c).
 *
 * While writes may be deferred the constraint has another condition, and this one
 * waits (lifecycle/deferral.c).
 *
 * The server's text of an expression need not be the text that it was made
 * from. What it says of the constraint at expand is recorded, and compared
 * before the constraint is believed.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/store.h"
#include "convert/conversion.h"
#include "convert/expression.h"
#include "lifecycle/proof.h"

/* A migration's predicate over the table's columns; NULL where it has none. */
static Expr *
bound_predicate(const Migration *migration)
{
	char	   *tree;
	AttrNumber *attnos;
	ListCell   *lc;

	if (!migration->has_needed)
		return NULL;
	tree = migrate_store_fetch("SELECT tree FROM migrate.assignment_tree"
							   " WHERE migration = $1 AND direction = 'n'",
							   STORE_ARGS(store_text(migration->name)));
	/* Columns that do not exist yet have no number, and are not read by it. */
	attnos = palloc((list_length(migration->inputs) + 1) * sizeof(AttrNumber));
	foreach(lc, migration->inputs)
		attnos[foreach_current_index(lc)] = get_attnum(migration->relid, lfirst(lc));
	return migrate_expression_bind(stringToNode(tree), attnos, list_length(migration->inputs));
}

/* The newest version of a live migration that computes what an expression reads; or 0. */
static int32
computed_from(Oid relid, Expr *expr)
{
	Conversion *conversion = migrate_conversion_get(relid);
	Bitmapset  *inputs = NULL;
	int32		version = 0;

	pull_varattnos((Node *) expr, 1, &inputs);
	for (int i = 0; conversion != NULL && i < conversion->nlive; i++)
	{
		ListCell   *lc;

		foreach(lc, conversion->live[i].ups)
		{
			AttrNumber	target = ((Assignment *) lfirst(lc))->target;

			if (bms_is_member(target - FirstLowInvalidHeapAttributeNumber, inputs))
				version = conversion->live[i].version;
		}
	}
	return version;
}

static bool
is_never_true(const Expr *predicate)
{
	const Const *constant = (const Const *) predicate;

	return IsA(predicate, Const) &&
		(constant->constisnull || !DatumGetBool(constant->constvalue));
}

static int32
oldest_supported(Oid relid)
{
	return pg_strtoint32(migrate_store_fetch("SELECT floor FROM migrate.managed WHERE relation = $1",
											 STORE_ARGS(store_relation(relid))));
}

char *
migrate_proof_weak_condition(Oid relid, const char *version_column)
{
	return psprintf("%s >= %d", quote_identifier(version_column), oldest_supported(relid));
}

char *
migrate_proof_condition(const Migration *migration, const char *version_column,
						int32 version, int32 *needed_from)
{
	const char *column = quote_identifier(version_column);
	Expr	   *predicate = bound_predicate(migration);
	char	   *needed;

	*needed_from = 0;
	if (predicate == NULL)
		return psprintf("%s >= %d", column, version);
	if (is_never_true(predicate))
	{
		*needed_from = oldest_supported(migration->relid);
		return migrate_proof_weak_condition(migration->relid, version_column);
	}
	needed = migrate_expression_to_text(migration->relid, predicate);
	*needed_from = computed_from(migration->relid, predicate);
	if (*needed_from == 0)
		return psprintf("%s >= %d OR (%s) IS NOT TRUE", column, version, needed);
	return psprintf("%s >= %d OR (%s >= %d AND (%s) IS NOT TRUE)",
					column, version, column, *needed_from, needed);
}

void
migrate_proof_record(const Migration *migration, const char *version_column,
					 int32 version, int32 needed_from, const char *due)
{
	if (!migration->has_needed && due == NULL)
		return;
	migrate_store_execute("UPDATE migrate.migration m SET needed_from = $2, proof_due = $4,"
						  " proof = pg_get_expr(c.conbin, c.conrelid) FROM pg_constraint c"
						  " WHERE m.name = $1 AND c.conrelid = m.relation AND c.conname = $3"
						  " AND c.contype = 'c'",
						  STORE_ARGS(store_text(migration->name), store_int(needed_from),
									 store_name(migrate_migration_proof_name(version_column,
																			 version)),
									 store_text(due)));
}
