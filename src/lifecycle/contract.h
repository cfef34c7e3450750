/*
 * lifecycle/contract.h
 *		From two forms to the new one.
 */
#ifndef MIGRATE_LIFECYCLE_CONTRACT_H
#define MIGRATE_LIFECYCLE_CONTRACT_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* skip: the names (of char *) of checks that the operator takes upon himself. */
extern void migrate_lifecycle_contract(const char *name, TimeOffset wait, List *skip);

#endif							/* MIGRATE_LIFECYCLE_CONTRACT_H */
