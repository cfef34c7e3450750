\echo Use "ALTER EXTENSION migrate UPDATE TO '0.2'" to load this file. \quit
/*
 * What version 0.2 has that 0.1 had not. A database that was updated is the same as a
 * fresh one, and so is one that was restored from a dump of the older version: a dump
 * has rows alone, so what they lack has to be given by defaults (test/tap/053_update.pl).
 */
