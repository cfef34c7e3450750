/*
 * guard/own_extension.c
 *		What is done to our extension itself.
 *
 * DROP EXTENSION, also with RESTRICT, is to succeed once no migration is live: the
 * triggers that are needed until then hold it back, as drop_guard.c does. A constraint
 * stays for longer, the one that holds tables at rest to the versions that are supported
 * (write/supported.c), and it asks a function of ours. To the server that is a use by
 * others. So just before the drop it is told that such constraints go when the
 * extension does, as for ALTER ... DEPENDS ON EXTENSION. All else is the server's to do
 * and to refuse: who may, what is locked, what else depends. A drop that fails takes
 * back with it what it was told. It is told each time, since no dump carries it. The
 * lock on each constraint is the one that the server takes before it drops one, so that
 * none is named that an expand has dropped meanwhile.
 *
 * ALTER EXTENSION UPDATE before the restart that brings the library along would leave
 * tables that nobody can read until then. It is refused.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "storage/lmgr.h"
#include "utils/syscache.h"

#include "catalog/installation.h"
#include "catalog/store.h"
#include "guard/own_extension.h"
#include "migrate.h"

static bool
drops_ours(Node *statement)
{
	ListCell   *lc;

	if (!IsA(statement, DropStmt) || ((DropStmt *) statement)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(lc, ((DropStmt *) statement)->objects)
		if (strcmp(strVal(lfirst(lc)), MIGRATE_EXTENSION) == 0)
			return true;
	return false;
}

void
migrate_own_extension_expect(Node *statement)
{
	ObjectAddress extension;
	Installation installation;
	ListCell   *lc;

	if (XactReadOnly || !drops_ours(statement) || !migrate_installation_read(&installation) ||
		!installation.is_served)
		return;
	ObjectAddressSet(extension, ExtensionRelationId,
					 get_extension_oid(MIGRATE_EXTENSION, false));
	foreach(lc, migrate_store_fetch_list("SELECT objid FROM pg_depend"
										 " WHERE classid = 'pg_constraint'::regclass"
										 " AND refclassid = 'pg_proc'::regclass AND refobjid ="
										 "  'migrate.is_supported(oid, integer, text)'::regprocedure",
										 STORE_NO_ARGS))
	{
		ObjectAddress constraint;

		ObjectAddressSet(constraint, ConstraintRelationId, atooid(lfirst(lc)));
		LockDatabaseObject(ConstraintRelationId, constraint.objectId, 0, AccessExclusiveLock);
		if (SearchSysCacheExists1(CONSTROID, ObjectIdGetDatum(constraint.objectId)))
			recordDependencyOn(&constraint, &extension, DEPENDENCY_AUTO_EXTENSION);
	}
	CommandCounterIncrement();
}

bool
migrate_own_extension_is_altered(Node *statement)
{
	return IsA(statement, AlterExtensionStmt) &&
		strcmp(((AlterExtensionStmt *) statement)->extname, MIGRATE_EXTENSION) == 0;
}

void
migrate_own_extension_check(void)
{
	Installation installation;

	CommandCounterIncrement();
	if (migrate_installation_read(&installation))
		migrate_installation_check(&installation);
}
