/*
 * write/minimum.c
 *		What a release in support cannot represent is not written.
 *
 * A release that is not retired and lacks a migration speaks its old form. What is
 * written in the new form reaches its clients through down, and what they make of it
 * comes back through up. So a write of the new form is taken only if up gives, of
 * the old form that down has made, what was written: else the next write of such a
 * client would undo part of it, and nobody would be told. Without releases nobody
 * has promised anything to old clients, and nothing is refused.
 *
 * - Each migration that the write speaks in the new form is judged by itself, on
 *   the row as it will be stored, in place rewriting included. That is as good as to
 *   go down the whole chain to a release and up again: where each up gives what is
 *   stored from what is stored one level below, so do all of them in a row.
 *   And so it does not matter how many releases lack which of them.
 * - A row whose old form does not need the migration ("needed" is not true of it) is one
 *   that its author calls complete without the new form: it is taken.
 * - Without a down the old form stays as it is, and the new one has to be what up
 *   gives anyway.
 * - Columns that up does not make of others (it assigns none, or a constant) are never
 *   touched by a write of the old form, and what up rewrites in place has but one form.
 *   Neither is judged.
 * - What the write does not touch is not judged again: it may be older than the release.
 *
 * Not held to it are rows that are stored already and come as they are: those that
 * say their version (a dump, a move to another partition), and those that
 * replication applies. To refuse these here would undo nothing where they were
 * accepted, and stop all that comes after them.
 *
 * It is not a constraint's violation: nothing is wrong with the row, but its time has
 * not come.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/rel.h"

#include "convert/converter.h"
#include "write/minimum.h"

static void
refuse(const RowWrite *write, const LiveMigration *migration, AttrNumber column)
{
	const char *name = NameStr(TupleDescAttr(write->conversion->tupdesc, column - 1)->attname);

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("release \"%s\" cannot represent what is written to column \"%s\" of relation \"%s\"",
					migration->lacked_by, name, RelationGetRelationName(write->rel)),
			 errdetail("Migration \"%s\", which that release lacks, gives another value for it from the old form that the write leaves.",
					   migration->name),
			 errhint("Write what the old form can express; or, if no client speaks that release any more, SELECT migrate.retire_release(%s).",
					 quote_literal_cstr(migration->lacked_by)),
			 errtablecol(write->rel, column)));
}

/* An up that cannot even take what down has made says so by itself; add on whose behalf. */
static void
say_why(void *arg)
{
	const RowWrite *write = arg;
	const LiveMigration *evaluating = write->converter->evaluating;

	if (evaluating != NULL)
		errcontext("check that release \"%s\" can represent the row", evaluating->lacked_by);
}

void
migrate_minimum_check(const RowWrite *write)
{
	Converter  *converter = write->converter;
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = say_why,
		.arg = (void *) write,
	};
	AttrNumber	column;
	int			migration;

	if (!write->conversion->has_minimum || converter->speaks_new == 0 ||
		migrate_row_write_is_replicated())
		return;
	error_context_stack = &callback;
	migration = migrate_converter_find_unrepresented(converter, write->stored == NULL, &column);
	error_context_stack = callback.previous;
	if (migration >= 0)
		refuse(write, &write->conversion->live[migration], column);
}
