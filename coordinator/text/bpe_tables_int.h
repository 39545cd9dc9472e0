/* bpe_tables_int.h - the two hash tables of a BPE: open addressing, filled once, then read only.
 *
 * piece_index: bytes of a piece -> id.  merge_table: a pair of ids -> which merge joins them, and into what. */
#ifndef PALMGROVE_TEXT_BPE_TABLES_H
#define PALMGROVE_TEXT_BPE_TABLES_H

#include "coordinator/text/tokenizer_int.h"

typedef struct piece_index {
    uint32_t *slots; /* [mask + 1] id + 1; 0: free */
    uint32_t mask;
} piece_index;

typedef struct merge_rule {
    int32_t left, right; /* left -1: free */
    uint32_t rank;       /* lower ones are merged first */
    int32_t merged;
} merge_rule;

typedef struct merge_table {
    merge_rule *slots; /* [mask + 1] */
    uint32_t mask;
} merge_table;

/* Tables for n entries.  False when memory is out. */
bool piece_index_init(piece_index *index, uint32_t n);
bool merge_table_init(merge_table *table, uint32_t n);
void piece_index_release(piece_index *index);
void merge_table_release(merge_table *table);

/* Add piece `id` of `t` under its bytes; an earlier piece with the same bytes stays. */
void piece_index_add(piece_index *index, const text_tokenizer *t, uint32_t id);
/* -1 when there is no such piece. */
int32_t piece_index_find(const piece_index *index, const text_tokenizer *t, const void *bytes, size_t size);

/* The first rule for a pair stays. */
void merge_table_add(merge_table *table, merge_rule rule);
/* NULL when the two are never joined. */
const merge_rule *merge_table_find(const merge_table *table, int32_t left, int32_t right);

#endif
