/*
 * convert/row_key.h
 *		Naming a row to a person.
 */
#ifndef MIGRATE_CONVERT_ROW_KEY_H
#define MIGRATE_CONVERT_ROW_KEY_H

#include "executor/tuptable.h"
#include "utils/rel.h"

/*
 * The primary key's columns as a JSON object, else {"ctid": "(block,offset)"};
 * as text. NULL for a row that has no primary key and is not stored yet.
 */
extern char *migrate_row_key_json(Relation rel, TupleTableSlot *row);

/*
 * The same of a row that is stored, for a record of it, computed as the table's
 * owner: the address where a primary key cannot be shown, or is longer than an
 * index entry may be.
 */
extern char *migrate_row_key_to_record(Relation rel, TupleTableSlot *row);

#endif							/* MIGRATE_CONVERT_ROW_KEY_H */
