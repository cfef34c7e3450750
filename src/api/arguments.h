/*
 * api/arguments.h
 *		From SQL arguments to C values.
 */
#ifndef MIGRATE_API_ARGUMENTS_H
#define MIGRATE_API_ARGUMENTS_H

#include "fmgr.h"
#include "nodes/pg_list.h"

/* Argument n, which must not be NULL: the error names it. */
extern char *migrate_arg_required_text(FunctionCallInfo fcinfo, int n, const char *name);
extern Oid	migrate_arg_required_relation(FunctionCallInfo fcinfo, int n, const char *name);

/* NULL where the argument is. */
extern char *migrate_arg_text(FunctionCallInfo fcinfo, int n);

/* A text[] or name[] as a list of char *; no element may be NULL. */
extern List *migrate_arg_strings(FunctionCallInfo fcinfo, int n, const char *name);

#endif							/* MIGRATE_API_ARGUMENTS_H */
