#include "coordinator/sched/speculate/draft_text.h"

#include <assert.h>
#include <stdlib.h>

base_status draft_text_init(draft_text *text, const int32_t *tokens, uint32_t n, uint32_t n_more, base_error *error)
{
    draft_text made = {.capacity = n + n_more};
    base_status status = block_table_init(&made.table, made.capacity, error);
    if (status != BASE_OK)
        return status;
    made.tokens = calloc(made.capacity > 0 ? made.capacity : 1, sizeof *made.tokens);
    if (made.tokens == NULL) {
        block_table_release(&made.table);
        return base_fail(error, BASE_ENOMEM, "no memory for a text of %u tokens", made.capacity);
    }
    for (uint32_t i = 0; i < n; i++)
        if (tokens[i] >= 0)
            made.tokens[made.n++] = tokens[i];
    *text = made;
    return BASE_OK;
}

void draft_text_release(draft_text *text)
{
    if (text->tokens != NULL)
        block_table_release(&text->table);
    free(text->tokens);
    *text = (draft_text){0};
}

void draft_text_append(draft_text *text, int32_t token)
{
    if (text->tokens == NULL)
        return;
    assert(text->n < text->capacity && token >= 0);
    text->tokens[text->n++] = token;
}

static prefix_content content_of(const draft_text *text)
{
    return (prefix_content){.tokens = text->tokens + (size_t)text->table.n_cached * LINK_KV_BLOCK_TOKENS};
}

void draft_text_reuse_prefix(draft_text *text, prefix_cache *blocks)
{
    if (text->tokens == NULL || blocks->nodes == NULL || text->n_read != text->table.n_cached * LINK_KV_BLOCK_TOKENS)
        return;
    while ((text->table.n_cached + 1) * LINK_KV_BLOCK_TOKENS < text->n) {
        prefix_content content = content_of(text);
        if (!block_table_reuse(&text->table, blocks, &content))
            break;
    }
    text->n_read = text->table.n_cached * LINK_KV_BLOCK_TOKENS;
}

void draft_text_publish(draft_text *text, prefix_cache *blocks)
{
    uint32_t n_final =
        text->n_read < text->n ? text->n_read : text->n; /* draft tokens past an answer's end are not text */
    if (text->tokens == NULL || blocks->nodes == NULL)
        return;
    while ((text->table.n_cached + 1) * LINK_KV_BLOCK_TOKENS <= n_final) {
        prefix_content content = content_of(text);
        block_table_publish(&text->table, blocks, &content);
    }
}

void draft_text_clear(draft_text *text, prefix_cache *blocks)
{
    if (text->tokens != NULL)
        block_table_clear(&text->table, blocks);
    text->n_read = 0;
}
