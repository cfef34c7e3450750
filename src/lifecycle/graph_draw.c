/*
 * lifecycle/graph_draw.c
 *		The graph of migrations as a drawing.
 *
 * The text is for a terminal: a line for each migration, the oldest on top, with
 * lanes to the left of it that lead from each to those that depend on it:
 *
 *		* split    people  complete (2)
 *		|-\
 *		* | mails  people  expanded (3)
 *		| * phones people  defined
 *		|-/
 *		* merged   people  defined
 *
 * A lane belongs to one edge, and is free again when it has arrived. The other
 * two formats leave the drawing to others.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/lsyscache.h"

#include "lifecycle/graph_draw.h"

/* ---- what is said of a migration ---- */

static char *
describe_state(const RecordedNode *node)
{
	return node->version > 0 && migrate_graph_is_applied(node)
		? psprintf("%s (%d)", node->state, node->version) : node->state;
}

/* A name may hold anything; in a drawing it must not begin a line or move the cursor. */
static char *
printable(const char *name)
{
	StringInfoData out;

	initStringInfo(&out);
	for (const char *c = name; *c != '\0'; c++)
	{
		if (*c == '\n')
			appendStringInfoString(&out, "\\n");
		else if (*c == '\t')
			appendStringInfoString(&out, "\\t");
		else if ((unsigned char) *c < ' ' || *c == '\x7f')
			appendStringInfo(&out, "\\x%02x", *c);
		else
			appendStringInfoChar(&out, *c);
	}
	return out.data;
}

static char *
describe_name(const RecordedNode *node)
{
	return printable(node->name);
}

/* A table that was dropped takes its migrations along: all have one. */
static char *
describe_table(const RecordedNode *node)
{
	char	   *name = get_rel_name(node->relid);

	return name ? printable(name) : psprintf("%u", node->relid);
}

/* ---- text ---- */

#define FREE_LANE	(-1)

typedef struct Drawing
{
	const RecordedGraph *recorded;
	StringInfoData *prefixes;	/* of the lines that show a node */
	StringInfoData *connectors; /* lines above it, each with a newline */
	int		   *lanes;			/* the node to which each leads */
	int			nlanes;
} Drawing;

static int
claim_lane(Drawing *drawing, int node)
{
	int			lane = 0;

	while (lane < drawing->nlanes && drawing->lanes[lane] != FREE_LANE)
		lane++;
	if (lane == drawing->nlanes)
		drawing->lanes = repalloc(drawing->lanes, ++drawing->nlanes * sizeof(int));
	drawing->lanes[lane] = node;
	return lane;
}

static void
trim_lanes(Drawing *drawing)
{
	while (drawing->nlanes > 1 && drawing->lanes[drawing->nlanes - 1] == FREE_LANE)
		drawing->nlanes--;
}

static char
turn_sign(const Drawing *drawing, int lane, int home, const bool *turning, char sign)
{
	if (lane == home)
		return '|';
	if (turning[lane])
		return lane > home ? sign : sign == '/' ? '\\' : '/';
	return drawing->lanes[lane] == FREE_LANE ? ' ' : '|';
}

/*
 * A line on which lanes leave another or join it. Those that do are drawn with
 * "sign", mirrored to the left of "home"; a rule connects them with it.
 */
static void
draw_turn(const Drawing *drawing, StringInfo line, int home, const bool *turning, char sign)
{
	int			first = home;
	int			last = home;

	for (int i = 0; i < drawing->nlanes; i++)
	{
		if (turning[i])
		{
			first = Min(first, i);
			last = Max(last, i);
		}
	}
	for (int i = 0; i < drawing->nlanes; i++)
	{
		char		lane = turn_sign(drawing, i, home, turning, sign);

		appendStringInfoChar(line, lane == ' ' && i > first && i < last ? '-' : lane);
		appendStringInfoChar(line, i >= first && i < last ? '-' : ' ');
	}
	while (line->len > 0 && line->data[line->len - 1] == ' ')
		line->data[--line->len] = '\0';
	appendStringInfoChar(line, '\n');
}

/* The lanes that lead to a node meet in the first of them, which is returned. */
static int
join_lanes(Drawing *drawing, int node, int place)
{
	bool	   *joining = palloc0((drawing->nlanes + 1) * sizeof(bool));
	int			home = FREE_LANE;
	bool		any = false;

	for (int i = 0; i < drawing->nlanes; i++)
	{
		if (drawing->lanes[i] != node)
			continue;
		if (home == FREE_LANE)
			home = i;
		else
			joining[i] = any = true;
	}
	if (home == FREE_LANE)
		return claim_lane(drawing, node);
	if (any)
		draw_turn(drawing, &drawing->connectors[place], home, joining, '/');
	for (int i = 0; i < drawing->nlanes; i++)
		if (joining[i])
			drawing->lanes[i] = FREE_LANE;
	return home;
}

static void
draw_node(Drawing *drawing, int home, int place)
{
	for (int i = 0; i < drawing->nlanes; i++)
	{
		char		lane = i == home ? '*' : drawing->lanes[i] == FREE_LANE ? ' ' : '|';

		appendStringInfoChar(&drawing->prefixes[place], lane);
		appendStringInfoChar(&drawing->prefixes[place], ' ');
	}
}

static List *
nodes_that_follow(const RecordedGraph *recorded, int node)
{
	List	   *following = NIL;

	for (int place = 0; place < recorded->count; place++)
	{
		int			other = migrate_graph_at(recorded->graph, place);

		if (list_member_int(recorded->nodes[other].depends_on, node))
			following = lappend_int(following, other);
	}
	return following;
}

/* From a node's lane one goes on to each that follows it; the first keeps the lane. */
static void
fork_lanes(Drawing *drawing, int node, int home, int place)
{
	List	   *following = nodes_that_follow(drawing->recorded, node);
	bool	   *forking = palloc0((drawing->nlanes + list_length(following) + 1) * sizeof(bool));
	ListCell   *lc;

	drawing->lanes[home] = following == NIL ? FREE_LANE : linitial_int(following);
	foreach(lc, following)
		if (foreach_current_index(lc) > 0)
			forking[claim_lane(drawing, lfirst_int(lc))] = true;
	if (list_length(following) > 1 && place + 1 < drawing->recorded->count)
		draw_turn(drawing, &drawing->connectors[place + 1], home, forking, '\\');
	trim_lanes(drawing);
}

static void
draw_lanes(Drawing *drawing)
{
	const RecordedGraph *recorded = drawing->recorded;

	for (int place = 0; place < recorded->count; place++)
	{
		initStringInfo(&drawing->prefixes[place]);
		initStringInfo(&drawing->connectors[place]);
	}
	for (int place = 0; place < recorded->count; place++)
	{
		int			node = migrate_graph_at(recorded->graph, place);
		int			home = join_lanes(drawing, node, place);

		draw_node(drawing, home, place);
		fork_lanes(drawing, node, home, place);
	}
}

/* The width of a column on the terminal, to be padded by hand: names need not be ASCII. */
static int
display_width(const char *text)
{
	return pg_mbstrlen(text);
}

static void
append_padded(StringInfo out, const char *text, int width)
{
	appendStringInfoString(out, text);
	appendStringInfoSpaces(out, Max(width - display_width(text), 0) + 2);
}

static char *
draw_text(const RecordedGraph *recorded)
{
	Drawing		drawing = {.recorded = recorded};
	StringInfoData out;
	int			name_width = 0;
	int			table_width = 0;

	drawing.prefixes = palloc((recorded->count + 1) * sizeof(StringInfoData));
	drawing.connectors = palloc((recorded->count + 1) * sizeof(StringInfoData));
	drawing.lanes = palloc(sizeof(int));
	draw_lanes(&drawing);
	for (int i = 0; i < recorded->count; i++)
	{
		int			node = migrate_graph_at(recorded->graph, i);

		name_width = Max(name_width, drawing.prefixes[i].len +
						 display_width(describe_name(&recorded->nodes[node])));
		table_width = Max(table_width, display_width(describe_table(&recorded->nodes[node])));
	}
	initStringInfo(&out);
	for (int i = 0; i < recorded->count; i++)
	{
		const RecordedNode *node = &recorded->nodes[migrate_graph_at(recorded->graph, i)];

		appendStringInfoString(&out, drawing.connectors[i].data);
		appendStringInfoString(&out, drawing.prefixes[i].data);
		append_padded(&out, describe_name(node), name_width - drawing.prefixes[i].len);
		append_padded(&out, describe_table(node), table_width);
		appendStringInfo(&out, "%s%s", describe_state(node),
						 i + 1 < recorded->count ? "\n" : "");
	}
	return out.data;
}

/* ---- for other programs ---- */

/*
 * Text in double quotes, with dot's escapes or with mermaid's. To mermaid a backquote
 * may begin Markdown, two of % a directive, and a backslash and n are a line's end.
 */
static void
append_quoted(StringInfo out, const char *text, bool is_html)
{
	for (const char *c = text; *c != '\0'; c++)
	{
		if (is_html && strchr("\"<>&#\\`%", *c) != NULL)
			appendStringInfo(out, "#%d;", *c);
		else if (!is_html && (*c == '"' || *c == '\\'))
			appendStringInfo(out, "\\%c", *c);
		else
			appendStringInfoChar(out, *c);
	}
}

static void
append_label(StringInfo out, const RecordedNode *node, bool is_html)
{
	append_quoted(out, describe_name(node), is_html);
	appendStringInfoString(out, is_html ? "<br>" : "\\n");
	append_quoted(out, describe_table(node), is_html);
	appendStringInfo(out, ", %s", describe_state(node));
}

static void
append_edges(StringInfo out, const RecordedGraph *recorded, const char *arrow, const char *end)
{
	for (int i = 0; i < recorded->count; i++)
	{
		int			node = migrate_graph_at(recorded->graph, i);
		ListCell   *lc;

		foreach(lc, recorded->nodes[node].depends_on)
			appendStringInfo(out, "\n    m%d %s m%d%s", lfirst_int(lc) + 1, arrow, node + 1, end);
	}
}

static char *
draw_mermaid(const RecordedGraph *recorded)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "graph TD");
	for (int i = 0; i < recorded->count; i++)
	{
		int			node = migrate_graph_at(recorded->graph, i);

		appendStringInfo(&out, "\n    m%d[\"", node + 1);
		append_label(&out, &recorded->nodes[node], true);
		appendStringInfoString(&out, "\"]");
	}
	append_edges(&out, recorded, "-->", "");
	return out.data;
}

static char *
draw_dot(const RecordedGraph *recorded)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "digraph migrations {\n    node [shape=box];");
	for (int i = 0; i < recorded->count; i++)
	{
		int			node = migrate_graph_at(recorded->graph, i);

		appendStringInfo(&out, "\n    m%d [label=\"", node + 1);
		append_label(&out, &recorded->nodes[node], false);
		appendStringInfoString(&out, "\"];");
	}
	append_edges(&out, recorded, "->", ";");
	appendStringInfoString(&out, "\n}");
	return out.data;
}

char *
migrate_graph_draw(const RecordedGraph *recorded, const char *format)
{
	if (strcmp(format, "text") == 0)
		return draw_text(recorded);
	if (strcmp(format, "mermaid") == 0)
		return draw_mermaid(recorded);
	if (strcmp(format, "dot") == 0)
		return draw_dot(recorded);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("graph format \"%s\" is not known", format),
			 errhint("Use \"text\", \"mermaid\" or \"dot\".")));
}
