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
	TupleTableSlot *stored;		/* of an UPDATE: the row as it was; else NULL */
	int32		stored_version; /* whose form the row has, until it is carried on */
	bool		is_stored;		/* an INSERT that says its version */
	int32		sent_version;	/* of a replicated UPDATE: that of the row which came */
	const Bitmapset *updated_columns;	/* that an UPDATE named */
	const Bitmapset *set;		/* the columns that were set */
	int			reach;			/* so many of the live migrations' forms is it to have */
	Oid			writer;
	ErrorContextCallback callback;
} RowWrite;

/* Refuse to be called but by BEFORE INSERT OR UPDATE row triggers. */
extern void migrate_row_write_check_protocol(FunctionCallInfo fcinfo, const char *function);

extern void migrate_row_write_init(RowWrite *write, const TriggerData *trigger);

/* Does what is written come from another database, as it is stored there? */
extern bool migrate_row_write_is_replicated(void);

/*
 * Between these the write has a Converter. Where an expression fails, the error
 * names the row "named".
 */
extern void migrate_row_write_begin(RowWrite *write);
extern void migrate_row_write_end(RowWrite *write);

/*
 * The row in the Converter, stamped with the newest version within reach, as the
 * tuple to store. What is beyond is emptied.
 */
extern HeapTuple migrate_row_write_take(RowWrite *write);

#endif							/* MIGRATE_WRITE_ROW_WRITE_H */
