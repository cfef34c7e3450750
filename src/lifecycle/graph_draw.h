/*
 * lifecycle/graph_draw.h
 *		The graph of migrations as a drawing.
 */
#ifndef MIGRATE_LIFECYCLE_GRAPH_DRAW_H
#define MIGRATE_LIFECYCLE_GRAPH_DRAW_H

#include "catalog/graph_load.h"

/* "text", "mermaid" or "dot"; any other format raises invalid_parameter_value. */
extern char *migrate_graph_draw(const RecordedGraph *recorded, const char *format);

#endif							/* MIGRATE_LIFECYCLE_GRAPH_DRAW_H */
