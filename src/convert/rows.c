/*
 * convert/rows.c
 *		Reading the extension's own tables inside the planner and inside triggers.
 *
 * The tables are scanned directly: no SPI, no rights asked, no snapshot of the
 * query's. A scan with a NULL snapshot sees what is committed now; if a change
 * commits just after, its relcache invalidation marks what was made of it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/xid8.h"

#include "catalog/store.h"
#include "convert/rows.h"

bool
rows_begin(Rows *rows, const char *table, const char *index, int nkeys, ScanKey keys)
{
	Oid			relid = migrate_store_table(table);
	Oid			indexid = migrate_store_index(index);

	if (!OidIsValid(relid) || !OidIsValid(indexid))
		return false;
	rows->rel = table_open(relid, AccessShareLock);
	rows->scan = systable_beginscan(rows->rel, indexid, true, NULL, nkeys, keys);
	return true;
}

bool
rows_next(Rows *rows)
{
	rows->tuple = systable_getnext(rows->scan);
	return HeapTupleIsValid(rows->tuple);
}

void
rows_end(Rows *rows)
{
	systable_endscan(rows->scan);
	table_close(rows->rel, AccessShareLock);
}

Datum
rows_get(Rows *rows, const char *column, bool *isnull)
{
	TupleDesc	desc = RelationGetDescr(rows->rel);

	return heap_getattr(rows->tuple, SPI_fnumber(desc, column), desc, isnull);
}

char *
rows_get_text(Rows *rows, const char *column)
{
	bool		isnull;
	Datum		value = rows_get(rows, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

int32
rows_get_int(Rows *rows, const char *column)
{
	bool		isnull;
	Datum		value = rows_get(rows, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

FullTransactionId
rows_get_xid(Rows *rows, const char *column)
{
	bool		isnull;
	Datum		value = rows_get(rows, column, &isnull);

	return isnull ? InvalidFullTransactionId : DatumGetFullTransactionId(value);
}

char *
rows_get_name(Rows *rows, const char *column)
{
	bool		isnull;

	return pstrdup(NameStr(*DatumGetName(rows_get(rows, column, &isnull))));
}

void
rows_key(ScanKey key, AttrNumber attno, RegProcedure procedure, Datum value)
{
	ScanKeyInit(key, attno, BTEqualStrategyNumber, procedure, value);
}

void
rows_key_text(ScanKey key, AttrNumber attno, const char *value)
{
	rows_key(key, attno, F_TEXTEQ, CStringGetTextDatum(value));
	key->sk_collation = DEFAULT_COLLATION_OID;
}
