/*
 * test/unit/postgres.h
 *		What a pure module needs of the server, for a program without one.
 */
#ifndef MIGRATE_TEST_POSTGRES_H
#define MIGRATE_TEST_POSTGRES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t uint64;
typedef int64_t int64;

#define Min(a, b)				((a) < (b) ? (a) : (b))
#define Max(a, b)				((a) > (b) ? (a) : (b))

#define palloc(size)			malloc(size)
#define palloc0(size)			calloc(1, size)
#define repalloc(old, size)		realloc(old, size)

#endif							/* MIGRATE_TEST_POSTGRES_H */
