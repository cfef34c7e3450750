/*
 * write/update.h
 *		What an UPDATE makes of a stored row, whatever version that is in.
 */
#ifndef MIGRATE_WRITE_UPDATE_H
#define MIGRATE_WRITE_UPDATE_H

#include "write/row_write.h"

/*
 * The tuple to store for a write of which "stored", "stored_version" and
 * "updated_columns" are filled in. "given_version" is what the new row has for
 * a version. Says in write->set what was set.
 */
extern HeapTuple migrate_update_store(RowWrite *write, int32 given_version);

#endif							/* MIGRATE_WRITE_UPDATE_H */
