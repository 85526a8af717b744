/* Random changes of a shared table, as fusefs makes them: each is one transaction, and follows from the seed, its
 * number and the table alone. So the same ones can be done again on another table. */
#ifndef EBBFS_TESTS_UNIT_TABLE_OPS_H
#define EBBFS_TESTS_UNIT_TABLE_OPS_H

#include "fusefs/fs/table.h"

/* Of open(2): what table_op() opens for writing. */
#define TABLE_OPS_WRITING 3U

extern const struct node_identity table_ops_root;

/* The identity of a file or directory (every fourth number). `again`: of the one that got its number later. */
struct node_identity table_ops_identity(uint64_t ino, bool again);
/* Its number is given a second time now and then. */
bool table_ops_may_be_hidden(const struct node *node);

void table_op(struct table *table, uint64_t seed, uint64_t number);

#endif
