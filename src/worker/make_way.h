/*
 * worker/make_way.h
 *		Leaving a database that somebody wants for himself.
 */
#ifndef MIGRATE_WORKER_MAKE_WAY_H
#define MIGRATE_WORKER_MAKE_WAY_H

extern void migrate_make_way_init(void);

#endif							/* MIGRATE_WORKER_MAKE_WAY_H */
