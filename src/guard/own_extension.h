/*
 * guard/own_extension.h
 *		What is done to our extension itself.
 */
#ifndef MIGRATE_GUARD_OWN_EXTENSION_H
#define MIGRATE_GUARD_OWN_EXTENSION_H

#include "nodes/nodes.h"

/* Before DROP EXTENSION: what it left on tables at rest does not hold it back. */
extern void migrate_own_extension_expect(Node *statement);

extern bool migrate_own_extension_is_altered(Node *statement);

/* After ALTER EXTENSION: an error if the running library does not serve what came of it. */
extern void migrate_own_extension_check(void);

#endif							/* MIGRATE_GUARD_OWN_EXTENSION_H */
