/* sequence.c - sequences from creation to release.
 *
 * Whatever a sequence holds (sequence slot, KV blocks in both caches, image slots) it gives back in one place,
 * sched_seq_release_resources, and only when no plan in flight uses it: a plan names blocks and slots by number, so
 * handing them to another sequence earlier would let the two overwrite each other. */
#include "coordinator/sched/sequence.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/sched/sched_int.h"

/* ---- lists ---- */

base_status seq_list_init(seq_list *list, uint32_t capacity, base_error *error)
{
    list->items = calloc(capacity, sizeof(sched_seq *));
    if (list->items == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a list of %u requests", capacity);
    list->capacity = capacity;
    return BASE_OK;
}

void seq_list_add(seq_list *list, sched_seq *seq)
{
    assert(list->n < list->capacity);
    list->items[list->n++] = seq;
}

void seq_list_remove(seq_list *list, const sched_seq *seq)
{
    uint32_t i = 0;
    while (i < list->n && list->items[i] != seq)
        i++;
    assert(i < list->n);
    list->items[i] = list->items[--list->n];
}

sched_seq *seq_list_pick(const seq_list *list, const sched_policy *policy, bool want_last,
                         bool (*is_eligible)(const sched_seq *))
{
    sched_seq *best = NULL;
    for (uint32_t i = 0; i < list->n; i++) {
        sched_seq *seq = list->items[i];
        if (!is_eligible(seq))
            continue;
        if (best == NULL || policy->before(&seq->rank, &best->rank) != want_last)
            best = seq;
    }
    return best;
}

/* ---- create and destroy ---- */

void sched_seq_destroy(sched_seq *seq)
{
    block_table_release(&seq->table);
    draft_text_release(&seq->text);
    free(seq->images);
    free(seq->image_digests);
    free(seq->vectors);
    free(seq->tokens);
    free(seq);
}

static base_status alloc_seq(const sched_request *r, sched_seq **out, base_error *error)
{
    uint32_t positions = r->n_tokens - r->n_resumed + r->max_tokens;
    sched_seq *seq = calloc(1, sizeof *seq);
    if (seq == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a sequence");
    seq->tokens = calloc(positions, sizeof *seq->tokens);
    seq->images = calloc(r->n_images + 1u, sizeof *seq->images);
    seq->vectors = calloc(r->n_vectors + 1u, sizeof *seq->vectors);
    if (r->image_digests != NULL)
        seq->image_digests = calloc(r->n_images + 1u, sizeof *seq->image_digests);
    if (seq->tokens == NULL || seq->images == NULL || seq->vectors == NULL ||
        (r->image_digests != NULL && seq->image_digests == NULL) ||
        block_table_init(&seq->table, positions, NULL) != BASE_OK) {
        sched_seq_destroy(seq);
        return base_fail(error, BASE_ENOMEM, "no memory for a sequence of %u tokens", positions);
    }
    *out = seq;
    return BASE_OK;
}

static void fill_images(sched_seq *seq, const sched_request *r, uint32_t rows_per_image)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < r->n_tokens; i++)
        if (link_position_in_request(r->tokens[i]).kind == LINK_POSITION_IMAGE_ROW)
            seq->images[rows++ / rows_per_image].end = i + 1;
    for (uint32_t i = 0; i < r->n_images; i++) {
        seq->images[i].pixels = r->images[i];
        seq->images[i].slot = SEQ_NO_SLOT;
    }
    seq->n_images = r->n_images;
    if (r->n_vectors > 0)
        memcpy(seq->vectors, r->vectors, r->n_vectors * sizeof *seq->vectors);
    seq->has_image_keys = r->image_keys != NULL;
    for (uint32_t i = 0; i < r->n_images && seq->has_image_keys; i++)
        memcpy(seq->images[i].key, r->image_keys[i], sizeof seq->images[i].key);
    if (r->image_digests != NULL && r->n_images > 0)
        memcpy(seq->image_digests, r->image_digests, r->n_images * sizeof *seq->image_digests);
}

base_status sched_seq_create(const sched_request *r, uint32_t rows_per_image, bool with_draft_text, sched_seq **out,
                             base_error *error)
{
    sched_seq *seq = NULL;
    base_status status = alloc_seq(r, &seq, error);
    if (status == BASE_OK && with_draft_text) {
        status = draft_text_init(&seq->text, r->tokens, r->n_tokens, r->max_tokens - r->n_resumed, error);
        if (status != BASE_OK)
            sched_seq_destroy(seq);
    }
    if (status != BASE_OK)
        return status;
    memcpy(seq->tokens, r->tokens, (r->n_tokens + (r->score ? r->max_tokens : 0)) * sizeof *r->tokens);
    seq->scores = r->score;
    seq->state = SEQ_WAITING;
    seq->user = r->user;
    seq->n_known = r->n_tokens;
    seq->n_prompt = r->n_tokens - r->n_resumed;
    seq->max_tokens = r->max_tokens;
    seq->slot = SEQ_NO_SLOT;
    seq->stop_ids = r->stop_ids;
    seq->n_stop_ids = r->n_stop_ids;
    seq->sampling = r->sampling;
    seq->digest = r->digest;
    seq->rank = (sched_rank){.priority = r->priority, .deadline_us = r->deadline_us, .n_tokens = r->n_tokens};
    fill_images(seq, r, rows_per_image);
    *out = seq;
    return BASE_OK;
}

/* ---- release ---- */

void sched_seq_release_resources(sched *s, sched_seq *seq)
{
    if (seq->slot != SEQ_NO_SLOT) {
        id_pool_free(&s->slots, 1, &seq->slot);
        seq->slot = SEQ_NO_SLOT;
    }
    block_table_clear(&seq->table, &s->blocks);
    draft_text_clear(&seq->text, &s->draft_blocks);
    seq->overflowed = false;
    for (uint32_t i = 0; i < seq->n_images; i++) {
        if (seq->images[i].slot != SEQ_NO_SLOT)
            encoder_cache_free(&s->images, seq->images[i].slot);
        seq->images[i].slot = SEQ_NO_SLOT;
        seq->images[i].is_planned = false;
    }
}

void sched_seq_release_images(sched *s, sched_seq *seq)
{
    for (uint32_t i = 0; i < seq->n_images; i++) {
        seq_image *image = &seq->images[i];
        if (image->slot != SEQ_NO_SLOT && image->end <= seq->n_done) {
            encoder_cache_free(&s->images, image->slot);
            image->slot = SEQ_NO_SLOT;
        }
    }
}

void sched_seq_requeue(sched *s, sched_seq *seq)
{
    assert(seq->n_plans == 0);
    sched_seq_release_resources(s, seq);
    seq_list_remove(&s->running, seq);
    seq->state = SEQ_WAITING;
    seq->n_planned = seq->n_done = seq->n_draft = 0;
    seq_list_add(&s->waiting, seq);
}

void sched_seq_end(sched *s, sched_seq *seq)
{
    if (seq->n_plans > 0) {
        seq->state = SEQ_DRAINING;
        return;
    }
    if (!seq->scores)
        ngram_history_add(&s->history, seq->tokens + seq->n_prompt, seq->n_known - seq->n_prompt);
    seq_list_remove(seq->state == SEQ_WAITING ? &s->waiting : &s->running, seq);
    sched_seq_release_resources(s, seq);
    seq->state = SEQ_ENDED;
    if (seq->n_events == 0)
        sched_seq_destroy(seq);
}
