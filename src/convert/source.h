/*
 * convert/source.h
 *		The text of one argument of a definition, under the parser's eye.
 *
 * It is put behind the beginning of a statement of which it is the rest
 * ("UPDATE x SET ..."), so that the server's grammar decides what it means.
 * Between begin and end, errors are reported against the text that the user gave,
 * with a position in it.
 */
#ifndef MIGRATE_CONVERT_SOURCE_H
#define MIGRATE_CONVERT_SOURCE_H

#include "nodes/nodes.h"
#include "parser/parse_node.h"
#include "utils/elog.h"

typedef struct Source
{
	const char *part;			/* which argument it is */
	const char *text;			/* as the user gave it */
	char	   *statement;		/* prefix and text */
	int			prefix_length;	/* in characters: the prefixes are ASCII */
} Source;

extern void source_begin(Source *source, ErrorContextCallback *callback, const char *part,
						 const char *prefix, const char *text, const char *suffix);
extern void source_end(ErrorContextCallback *callback);

/* The one statement that the text makes; more than one is a smuggled semicolon. */
extern Node *source_statement(Source *source);

extern ParseState *source_parse_state(const Source *source);

#endif							/* MIGRATE_CONVERT_SOURCE_H */
