/*
 * read/inline_guard.c
 *		Keeping the planner from taking in queries behind our back.
 *
 * Purpose: the planner puts the body of a simple SQL-language set-returning
 * function in the place of its call, after the planner hook has seen the query:
 * tables in that body would be read as stored. A function that a function-manager
 * hook asks for is not taken in; it is run, and its body then comes through the
 * planner hook as a query of its own. We ask for such functions while a
 * relation of the database may have stale rows. Scalar functions need nothing:
 * one that reads a table is never taken in.
 *
 * States: a plan made before the first migration is expanded may have a body
 * in it; such a plan depends on the tables of the body, and expand invalidates
 * them. A plan made while there were stale rows goes on calling the function,
 * which is slower and not wrong.
 *
 * Locks: none. This is asked for every function that is not built in, when a
 * plan is made or started, so the first question is whether anything is live in
 * this database at all. Logical decoding asks, too, with a snapshot under which
 * our tables cannot be read, and makes no plans.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "convert/conversion.h"
#include "read/inline_guard.h"

static needs_fmgr_hook_type previous_needs = NULL;

static bool
may_be_inlined(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	result = form->proretset && form->prolang == SQLlanguageId;
	ReleaseSysCache(tuple);
	return result;
}

static bool
needs_call(Oid function)
{
	if (previous_needs && previous_needs(function))
		return true;
	if (HistoricSnapshotActive())
		return false;
	return migrate_conversion_any() && may_be_inlined(function) &&
		migrate_conversion_any_stale();
}

/*
 * There is nothing to do at the call itself, so fmgr_hook stays as it is: one
 * that is there is written for functions that another module asked for, too.
 */
void
migrate_inline_guard_init(void)
{
	previous_needs = needs_fmgr_hook;
	needs_fmgr_hook = needs_call;
}
