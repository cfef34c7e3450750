/*
 * write/replicated.h
 *		What is missing of a row that another database has sent with its version.
 */
#ifndef MIGRATE_WRITE_REPLICATED_H
#define MIGRATE_WRITE_REPLICATED_H

#include "write/row_write.h"

/*
 * Does a row that is inserted in this version say nothing in one form of a migration that it
 * has behind it? Then the INSERT, of a row of write->stored_version, is carried out by the
 * step below.
 */
extern bool migrate_replicated_lacks_form(const RowWrite *write, int32 version);
extern void migrate_replicated_insert(RowWrite *write);

/*
 * Was a column not sent, of those that a row of this version has values in? Then the
 * UPDATE is carried out by the step below, from the row as it was.
 */
extern bool migrate_replicated_is_partial(const RowWrite *write, int32 version);
extern void migrate_replicated_update(RowWrite *write);

#endif							/* MIGRATE_WRITE_REPLICATED_H */
