/*
 * convert/expression.h
 *		The expressions of a migration: parsed, stored, and read again.
 *
 * In its stored form an expression's Vars have varno 1 and, as attribute
 * number, the position of a name in the migration's list of inputs; that
 * holds before the new columns exist, in every partition, and after a restore.
 * In a sub-query, which is stored as the parser made it, they are Vars of a query
 * outside of the outermost one.
 */
#ifndef MIGRATE_CONVERT_EXPRESSION_H
#define MIGRATE_CONVERT_EXPRESSION_H

#include "nodes/bitmapset.h"
#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"
#include "nodes/primnodes.h"
#include "utils/rel.h"

/* A column that a definition may name, or one that it adds. */
typedef struct ScopeColumn
{
	char	   *name;
	const char *type_text;		/* of one that is expected: its type, until it is looked for */
	Oid			type;
	int32		typmod;
	Oid			collation;
	bool		added;			/* by the migration that is being defined */
	char	   *rename_to;		/* of one that is added in the place of another: its name */
	bool		not_null;		/* of those added, what follows the type, as the grammar made it */
	char	   *not_null_name;	/* if it has one of its own */
	Node	   *raw_default;
	List	   *checks;			/* of Constraint * */
	Constraint *unique;
	Constraint *references;		/* what follows it (DEFERRABLE ...) is in it */
	bool		generated;
} ScopeColumn;

typedef struct Scope
{
	Oid			relid;
	const char *relation_name;
	List	   *columns;		/* of ScopeColumn * */
	List	   *inputs;			/* of char *: grows as expressions name columns */
	const char *part;			/* the argument that is being parsed */
	bool		reads_added;	/* may an expression read columns that are added? */
} Scope;

typedef struct ParsedAssignment
{
	const ScopeColumn *target;
	Expr	   *expr;			/* in stored form */
} ParsedAssignment;

/* The column of that name, NULL where there is none. */
extern ScopeColumn *migrate_scope_find(const Scope *scope, const char *name);

/* The column that is added in the place of one of that name; NULL where there is none. */
extern ScopeColumn *migrate_scope_find_new(const Scope *scope, const char *name);

/* "a text, b numeric(12,2)" to a list of ScopeColumn *. */
extern List *migrate_expression_parse_columns(const char *source);

/*
 * Check the defaults and constraints of the columns that "add" was parsed to.
 * Returns "ups" with an assignment more for each column that has an immutable
 * default and none yet: what rows that are there read.
 */
extern List *migrate_expression_parse_constraints(Scope *scope, const char *source,
												  List *columns, List *ups);

/* "a = x, b = f(y)" to a list of ParsedAssignment *; part is "up" or "down". */
extern List *migrate_expression_parse_assignments(Scope *scope, const char *part,
												  const char *source);

/*
 * A predicate over the columns that there are, as the one assignment to a
 * column without a name; part is "needed". Built-in immutable functions only.
 */
extern List *migrate_expression_parse_predicate(Scope *scope, const char *part,
												const char *source);

/*
 * A condition over a relation's own columns, bound; part names the argument. Anything but
 * volatile functions and sub-queries.
 */
extern Expr *migrate_expression_parse_condition(Relation rel, const char *part,
												const char *source);

/* A type as SQL that means the same under every search_path. */
extern char *migrate_expression_type_text(Oid type, int32 typmod, Oid collation);

/* A column type from such text. */
extern void migrate_expression_parse_type(const char *text, Oid *type,
										  int32 *typmod, Oid *collation);

/* Made of nothing but immutable built-in functions: safe to run as anybody. */
extern bool migrate_expression_is_inlinable(Node *expr);

/* The attribute numbers of the row's columns in it; where it is in stored form, their positions. */
extern Bitmapset *migrate_expression_inputs(const Expr *expr);

/* Is every function, type, table and column that it names still there, and of the same type? */
extern bool migrate_expression_is_whole(Node *expr);

/*
 * The row's columns in an expression, also those in its sub-queries, where they are
 * columns of a query further out: as a list of Var *, and replaced, in a copy, by
 * what a function gives for each, written as at the top.
 */
typedef Node *(*ColumnReplacer) (Var *column, void *context);

extern List *migrate_expression_columns(const Expr *expr);
extern Expr *migrate_expression_replace_columns(const Expr *expr, ColumnReplacer replace,
												void *context);

/* From the stored form to a relation's attributes, whose numbers attnos gives by position. */
extern Expr *migrate_expression_bind(Expr *stored, const AttrNumber *attnos, int nattnos);

/*
 * The bound form from its qualified text, read as "owner": where the stored tree cannot be.
 * The text knows a row by the name of the managed table, be it a partition's.
 */
extern Expr *migrate_expression_from_text(Relation rel, const char *name, Oid owner, Oid type,
										  int32 typmod, const char *text);

/* The qualified text of a bound expression. */
extern char *migrate_expression_to_text(Oid relid, Expr *expr);

/* Likewise, with each column as one of "old". */
extern char *migrate_expression_to_text_of_old(Oid relid, Expr *expr);

/* Write anew the texts of a relation's live migrations. */
extern void migrate_expression_refresh_text(Oid relid);

/*
 * Likewise of all relations', around a rename in this transaction. They are read
 * before it, since where there is but a text that would name what has gone.
 */
extern List *migrate_expression_before_rename(void);
extern void migrate_expression_after_rename(List *conversions);

#endif							/* MIGRATE_CONVERT_EXPRESSION_H */
