/*
 * guard/drop_statement.h
 *		What to type to be rid of an object.
 */
#ifndef MIGRATE_GUARD_DROP_STATEMENT_H
#define MIGRATE_GUARD_DROP_STATEMENT_H

#include "catalog/objectaddress.h"

/* As a hint, and not to be run: names are qualified and quoted. NULL where the object is gone. */
extern char *migrate_drop_statement(const ObjectAddress *object);

#endif							/* MIGRATE_GUARD_DROP_STATEMENT_H */
