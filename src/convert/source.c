/*
 * convert/source.c
 *		The text of one argument of a definition, under the parser's eye.
 */
#include "postgres.h"

#include "parser/parser.h"

#include "convert/source.h"

/* Turn a position in the statement into one in the user's text. */
static void
source_error_callback(void *arg)
{
	Source	   *source = arg;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(Max(position - source->prefix_length, 1));
		internalerrquery(source->text);
	}
	errcontext("argument \"%s\"", source->part);
}

void
source_begin(Source *source, ErrorContextCallback *callback, const char *part,
			 const char *prefix, const char *text, const char *suffix)
{
	source->part = part;
	source->text = text;
	source->statement = psprintf("%s%s%s", prefix, text, suffix);
	source->prefix_length = strlen(prefix);

	callback->callback = source_error_callback;
	callback->arg = source;
	callback->previous = error_context_stack;
	error_context_stack = callback;
}

void
source_end(ErrorContextCallback *callback)
{
	error_context_stack = callback->previous;
}

Node *
source_statement(Source *source)
{
	List	   *statements = raw_parser(source->statement, RAW_PARSE_DEFAULT);

	if (list_length(statements) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("argument \"%s\" holds more than one statement", source->part)));
	return linitial_node(RawStmt, statements)->stmt;
}

ParseState *
source_parse_state(const Source *source)
{
	ParseState *pstate = make_parsestate(NULL);

	pstate->p_sourcetext = source->statement;
	return pstate;
}
