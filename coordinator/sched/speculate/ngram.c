/* ngram.c - n-gram lookup over the sequence itself and a history of finished answers.
 *
 *     tokens    ... a b c d e ........... b c      the last two tokens occurred before: a match of length 2 (with more
 *                       ^ ^                        tokens before them equal, longer), which predicts d, then e
 *
 * A search walks backwards over at most HISTORY_TOKENS (sched.c) and the sequence, STRETCH tokens at a time: most
 * stretches do not contain the last token and are skipped by one vector comparison. */
#include "coordinator/sched/speculate/ngram.h"

#include <stdlib.h>
#include <string.h>

enum { STRETCH = 32 }; /* tokens compared together */

/* ---- history ---- */

base_status ngram_history_init(ngram_history *history, uint32_t capacity, base_error *error)
{
    *history = (ngram_history){.capacity = capacity};
    if (capacity == 0)
        return BASE_OK;
    history->tokens = calloc(capacity, sizeof *history->tokens);
    if (history->tokens == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a history of %u tokens", capacity);
    return BASE_OK;
}

void ngram_history_release(ngram_history *history)
{
    free(history->tokens);
    *history = (ngram_history){0};
}

/* Drop half of it at once, so that tokens rarely move. */
static void make_room(ngram_history *history, uint32_t n)
{
    if (history->n + n <= history->capacity)
        return;
    uint32_t half = history->capacity / 2;
    uint32_t kept = history->n < half ? history->n : half;
    memmove(history->tokens, history->tokens + (history->n - kept), kept * sizeof *history->tokens);
    history->n_dropped += history->n - kept;
    history->n = kept;
}

void ngram_history_add(ngram_history *history, const int32_t *tokens, uint32_t n)
{
    uint32_t most = history->capacity / 2;
    if (most < 2 || n == 0)
        return;
    if (n > most - 1) {
        tokens += n - (most - 1);
        n = most - 1;
    }
    make_room(history, n + 1);
    memcpy(history->tokens + history->n, tokens, n * sizeof *tokens);
    history->tokens[history->n + n] = NGRAM_NONE;
    history->n += n + 1;
}

/* ---- looking up ---- */

/* How many tokens before text[at] agree with the end of tokens [n], at most NGRAM_MAX; rows of images never agree. */
static uint32_t count_matches(const int32_t *text, uint32_t at, const int32_t *tokens, uint32_t n)
{
    uint32_t i = 0;
    while (i < at && i < n && i < NGRAM_MAX && text[at - 1 - i] == tokens[n - 1 - i] && tokens[n - 1 - i] >= 0)
        i++;
    return i;
}

/* No branch inside, so that it becomes a vector comparison: most stretches of a text do not have the token. */
static bool has_token(const int32_t text[STRETCH], int32_t token)
{
    int32_t n = 0;
    for (uint32_t i = 0; i < STRETCH; i++)
        n += text[i] == token;
    return n > 0;
}

/* The latest place in text [n_text] after the longest match that is longer than *n_matched; 0 when there is none. */
static uint32_t find_in(const int32_t *text, uint32_t n_text, const int32_t *tokens, uint32_t n, uint32_t *n_matched)
{
    uint32_t best = 0;
    for (uint32_t at = n_text; at-- > NGRAM_MIN && *n_matched < NGRAM_MAX;) {
        while (at >= STRETCH + NGRAM_MIN && !has_token(text + at - STRETCH, tokens[n - 1]))
            at -= STRETCH;
        if (text[at - 1] != tokens[n - 1] || text[at] < 0)
            continue;
        uint32_t matched = count_matches(text, at, tokens, n);
        if (matched > *n_matched) {
            *n_matched = matched;
            best = at;
        }
    }
    return best;
}

ngram_match ngram_find(const ngram_history *history, const int32_t *tokens, uint32_t n)
{
    ngram_match match = {.source = DRAFT_NONE};
    if (n <= NGRAM_MIN)
        return match;
    uint32_t n_matched = NGRAM_MIN - 1;
    uint32_t own = find_in(tokens, n, tokens, n, &n_matched);
    if (own > 0)
        match = (ngram_match){.source = DRAFT_OWN, .at = own, .n_matched = n_matched};
    uint32_t other = find_in(history->tokens, history->n, tokens, n, &n_matched);
    if (other > 0)
        match = (ngram_match){.source = DRAFT_HISTORY, .at = history->n_dropped + other, .n_matched = n_matched};
    return match;
}

int32_t ngram_predict(const ngram_history *history, const ngram_match *match, const int32_t *tokens, uint32_t n,
                      uint32_t ahead)
{
    uint64_t at = match->at + ahead;
    if (match->source == DRAFT_OWN) {
        /* Beyond the sequence's end it continues with what it predicted: the period found repeats. */
        uint64_t period = n - match->at;
        int32_t token = tokens[at < n ? at : match->at + ahead % period];
        return token >= 0 ? token : NGRAM_NONE;
    }
    if (match->source == DRAFT_NONE || at < history->n_dropped || at - history->n_dropped >= history->n)
        return NGRAM_NONE;
    return history->tokens[at - history->n_dropped];
}

void ngram_advance(const ngram_history *history, ngram_match *match, const int32_t *tokens, uint32_t n)
{
    if (ngram_predict(history, match, tokens, n - 1, 0) != tokens[n - 1]) {
        *match = ngram_find(history, tokens, n);
        return;
    }
    match->at++;
    match->n_matched++;
}
