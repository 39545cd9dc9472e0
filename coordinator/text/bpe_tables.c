/* bpe_tables.c - linear probing in a power of two of slots, at most half full; nothing is ever removed. */
#include "coordinator/text/bpe_tables_int.h"

#include <stdlib.h>
#include <string.h>

/* The least power of two that keeps a table of n entries at most half full; n is at most TEXT_VOCAB_MAX or the merges'
 * bound. */
static uint32_t table_size(uint32_t n)
{
    uint32_t size = 16;
    while (size / 2 < n)
        size *= 2;
    return size;
}

/* Stafford's mix 13 of splitmix64. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* FNV-1a, mixed. */
static uint32_t hash_bytes(const uint8_t *bytes, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return (uint32_t)mix(hash);
}

static uint32_t hash_pair(int32_t left, int32_t right)
{
    return (uint32_t)mix((uint64_t)(uint32_t)left << 32 | (uint32_t)right);
}

bool piece_index_init(piece_index *index, uint32_t n)
{
    uint32_t size = table_size(n);
    *index = (piece_index){.slots = calloc(size, sizeof *index->slots), .mask = size - 1};
    return index->slots != NULL;
}

void piece_index_release(piece_index *index)
{
    free(index->slots);
    *index = (piece_index){0};
}

static bool is_piece(const text_tokenizer *t, uint32_t id, const void *bytes, size_t size)
{
    const text_piece *p = &t->pieces[id];
    return p->size == size && memcmp(t->bytes.data + p->offset, bytes, size) == 0;
}

/* The slot with these bytes, or the free one to add them in. */
static uint32_t *piece_slot(const piece_index *index, const text_tokenizer *t, const void *bytes, size_t size)
{
    uint32_t at = hash_bytes(bytes, size) & index->mask;
    while (index->slots[at] != 0 && !is_piece(t, index->slots[at] - 1, bytes, size))
        at = (at + 1) & index->mask;
    return &index->slots[at];
}

void piece_index_add(piece_index *index, const text_tokenizer *t, uint32_t id)
{
    uint32_t *slot = piece_slot(index, t, t->bytes.data + t->pieces[id].offset, t->pieces[id].size);
    if (*slot == 0)
        *slot = id + 1;
}

int32_t piece_index_find(const piece_index *index, const text_tokenizer *t, const void *bytes, size_t size)
{
    return size > 0 ? (int32_t)*piece_slot(index, t, bytes, size) - 1 : -1;
}

bool merge_table_init(merge_table *table, uint32_t n)
{
    uint32_t size = table_size(n);
    *table = (merge_table){.slots = malloc(size * sizeof *table->slots), .mask = size - 1};
    for (uint32_t i = 0; table->slots != NULL && i < size; i++)
        table->slots[i].left = -1;
    return table->slots != NULL;
}

void merge_table_release(merge_table *table)
{
    free(table->slots);
    *table = (merge_table){0};
}

static merge_rule *merge_slot(const merge_table *table, int32_t left, int32_t right)
{
    uint32_t at = hash_pair(left, right) & table->mask;
    while (table->slots[at].left >= 0 && (table->slots[at].left != left || table->slots[at].right != right))
        at = (at + 1) & table->mask;
    return &table->slots[at];
}

void merge_table_add(merge_table *table, merge_rule rule)
{
    merge_rule *slot = merge_slot(table, rule.left, rule.right);
    if (slot->left < 0)
        *slot = rule;
}

const merge_rule *merge_table_find(const merge_table *table, int32_t left, int32_t right)
{
    if (left < 0 || right < 0)
        return NULL;
    const merge_rule *slot = merge_slot(table, left, right);
    return slot->left < 0 ? NULL : slot;
}
