/*
 * catalog/names.h
 *		Lists of names, which are char *.
 */
#ifndef MIGRATE_CATALOG_NAMES_H
#define MIGRATE_CATALOG_NAMES_H

#include "nodes/pg_list.h"

extern bool migrate_names_contain(List *names, const char *name);

/* The same names, in whatever order? */
extern bool migrate_names_are_same(List *a, List *b);

/* "a", "b": for messages. */
extern char *migrate_names_quote(List *names);

#endif							/* MIGRATE_CATALOG_NAMES_H */
