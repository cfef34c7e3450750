/*
 * write/carry_out.h
 *		Computing the row that a write stores, though up may fail for it.
 */
#ifndef MIGRATE_WRITE_CARRY_OUT_H
#define MIGRATE_WRITE_CARRY_OUT_H

#include "write/row_write.h"

/*
 * Leaves in the write's Converter the row that is to be stored, with the forms
 * of the migrations within reach, and in write->set what was set. It may be
 * called again with a shorter reach.
 */
typedef void (*RowWriteStep) (RowWrite *write);

/* The tuple to store. */
extern HeapTuple migrate_carry_out(RowWrite *write, RowWriteStep step);

#endif							/* MIGRATE_WRITE_CARRY_OUT_H */
