/*
 * backfill/failed_page.h
 *		A page of which a row could not be stored.
 */
#ifndef MIGRATE_BACKFILL_FAILED_PAGE_H
#define MIGRATE_BACKFILL_FAILED_PAGE_H

#include "backfill/attempt_private.h"

/*
 * Convert what can be converted of a page that has failed in a pass. Those that fail come
 * last. Where there was no more room for a row, it and those behind it are left to the
 * next pass. Returns whether it took but few subtransactions.
 */
extern bool migrate_failed_page_convert(Pass *pass, BlockNumber block);

#endif							/* MIGRATE_BACKFILL_FAILED_PAGE_H */
