/*
 * write/row_write.h
 *		A write of one row, as our triggers carry it out.
 */
#ifndef MIGRATE_WRITE_ROW_WRITE_H
#define MIGRATE_WRITE_ROW_WRITE_H

#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"

#include "convert/conversion.h"
#include "convert/converter.h"

/* A write that is being carried out. */
typedef struct RowWrite
{
	Conversion *conversion;
	Relation	rel;
	TupleTableSlot *row;		/* as it is to be stored */
	HeapTuple	tuple;			/* the same */
	Converter  *converter;
	TupleTableSlot *named;		/* the row to name where an expression fails */
	Oid			writer;
	ErrorContextCallback callback;
} RowWrite;

/* Refuse to be called but by BEFORE INSERT OR UPDATE row triggers. */
extern void migrate_row_write_check_protocol(FunctionCallInfo fcinfo, const char *function);

extern void migrate_row_write_init(RowWrite *write, const TriggerData *trigger);

/*
 * Between these the write has a Converter. Where an expression fails, "named"
 * is the row that the error names.
 */
extern void migrate_row_write_begin(RowWrite *write, TupleTableSlot *named);
extern void migrate_row_write_end(RowWrite *write);

/* The row in the Converter, stamped with the newest version, as the tuple to store. */
extern HeapTuple migrate_row_write_take(RowWrite *write);

#endif							/* MIGRATE_WRITE_ROW_WRITE_H */
