/*
 * guard/statement.h
 *		What the utility statement at work is up to.
 */
#ifndef MIGRATE_GUARD_STATEMENT_H
#define MIGRATE_GUARD_STATEMENT_H

#include "nodes/nodes.h"

/* A statement begins; the one around it, if any, is returned for the end. */
extern Node *migrate_statement_begin(Node *statement);
extern void migrate_statement_end(Node *outer);

/* Does the statement enable or disable all triggers of a table, or all but the server's own? */
extern bool migrate_statement_switches_triggers(const Node *statement);
extern bool migrate_statement_disables_all_triggers(const Node *statement);

/* Those ask about the one at work. */
extern bool migrate_statement_is_switching_triggers(void);

/* Does it name this table to be dropped, rather than hit it by CASCADE? */
extern bool migrate_statement_is_dropping(Oid relid);
extern bool migrate_statement_is_dropping_tables(void);

/* Does it compute a column of the table at hand anew? */
extern bool migrate_statement_is_recomputing(const char *column);

#endif							/* MIGRATE_GUARD_STATEMENT_H */
