/*
 * write/minimum.h
 *		What a release in support cannot represent is not written.
 */
#ifndef MIGRATE_WRITE_MINIMUM_H
#define MIGRATE_WRITE_MINIMUM_H

#include "write/row_write.h"

/* Refuse a write, of which the forms were brought in step, that its old form has lost. */
extern void migrate_minimum_check(const RowWrite *write);

#endif							/* MIGRATE_WRITE_MINIMUM_H */
