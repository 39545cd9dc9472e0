/* bpe.c - the encoder: merges by rank over a linked list of symbols.
 *
 *     "lower"   l  o  w  e  r     one symbol per byte or character
 *     heap      (e r, rank 2 at 3) (l o, rank 5 at 0) ...      every adjacent pair that some merge joins
 *     pop       l  o  w  er       the lowest rank, leftmost first; the joined symbol pairs with its neighbours
 *     ...       lower             until no pair is left; the ids of the symbols are the result
 *
 * A pair whose symbols have changed since it was pushed is skipped when it is popped, so the heap never needs a search:
 * a word of n symbols takes O(n log n).  A join removes one pair and adds at most two, hence room for 2 n pairs.
 * Words come from the pre-tokenizer (bytes) or are the whole text (characters, where spaces are U+2581). */
#include "coordinator/text/bpe_int.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "coordinator/text/bpe_tables_int.h"
#include "coordinator/text/byte_level_int.h"
#include "coordinator/text/pretokenize_int.h"
#include "proto/base/grow.h"

#define NONE UINT32_MAX

typedef struct bpe {
    const text_tokenizer *t; /* whose backend this is */
    pretokenizer *words;
    piece_index index;
    merge_table merges;
    int32_t byte_ids[256]; /* -1: no piece */
    bool is_byte_level, ignore_merges, nfc, fuse_unknown, has_all_bytes;
    vocab_prefix prefix;
    int32_t unknown_id;
} bpe;

static void close_bpe(void *backend)
{
    bpe *b = backend;
    pretokenizer_close(&b->words);
    piece_index_release(&b->index);
    merge_table_release(&b->merges);
    free(b);
}

/* ---- open ---- */

static base_status no_memory(const vocab *v, base_error *error)
{
    return base_fail(error, BASE_ENOMEM, "no memory for the vocabulary of '%s'", v->name);
}

/* Append the bytes of text that a token encodes. */
static void put_token(text_tokenizer *t, const vocab *v, const vocab_token *token, text_piece *p)
{
    int value = text_byte_value(token->text.text, token->text.size);
    if (token->kind == VOCAB_BYTE && value >= 0) {
        p->is_raw = true;
        base_buf_put_u8(&t->bytes, (uint8_t)value);
    } else if (v->model == VOCAB_CHARACTER_BPE) {
        p->has_leading_space = text_begins_with_space(token->text.text, token->text.size);
        text_put_spaces(&t->bytes, token->text.text, token->text.size);
    } else {
        bool is_written = token->kind == VOCAB_NORMAL && byte_level_read(token->text.text, token->text.size, &t->bytes);
        if (!is_written)
            base_buf_put(&t->bytes, token->text.text, token->text.size);
        p->is_raw = true;
    }
}

static base_status add_token(text_tokenizer *t, const vocab *v, uint32_t id, base_error *error)
{
    const vocab_token *token = &v->tokens[id];
    text_piece *p = text_piece_begin(t, id);
    base_status status = BASE_OK;
    if (token->kind == VOCAB_CONTROL)
        status = specials_add(&t->controls, token->text.text, token->text.size, (int32_t)id, v->name, error);
    else if (token->kind == VOCAB_USER_DEFINED)
        status = specials_add(&t->user_defined, token->text.text, token->text.size, (int32_t)id, v->name, error);
    if (token->kind != VOCAB_CONTROL && token->kind != VOCAB_UNUSED)
        put_token(t, v, token, p);
    text_piece_end(t, id);
    return status;
}

static base_status add_tokens(text_tokenizer *t, bpe *b, const vocab *v, base_error *error)
{
    base_status status = text_pieces_reserve(t, v->n, v->name, error);
    for (uint32_t id = 0; id < v->n && status == BASE_OK; id++)
        status = add_token(t, v, id, error);
    if (status != BASE_OK)
        return status;
    if (t->bytes.failed || !piece_index_init(&b->index, v->n))
        return no_memory(v, error);
    specials_sort(&t->controls);
    specials_sort(&t->user_defined);
    for (size_t i = 0; i < t->controls.n; i++)
        t->longest = t->controls.rows[i].size > t->longest ? t->controls.rows[i].size : t->longest;
    for (uint32_t id = 0; id < v->n; id++)
        if (v->tokens[id].kind == VOCAB_NORMAL && t->pieces[id].size > 0)
            piece_index_add(&b->index, t, id);
    return BASE_OK;
}

/* The byte pieces: those of one byte, or those spelled "<0xE2>". */
static void find_bytes(const text_tokenizer *t, bpe *b, const vocab *v)
{
    b->has_all_bytes = true;
    for (int byte = 0; byte < 256; byte++)
        b->byte_ids[byte] = -1;
    for (uint32_t id = 0; id < v->n; id++) {
        bool is_byte = b->is_byte_level ? v->tokens[id].kind == VOCAB_NORMAL && t->pieces[id].size == 1
                                        : v->tokens[id].kind == VOCAB_BYTE;
        if (is_byte && t->pieces[id].size == 1 && b->byte_ids[t->bytes.data[t->pieces[id].offset]] < 0)
            b->byte_ids[t->bytes.data[t->pieces[id].offset]] = (int32_t)id;
    }
    for (int byte = 0; byte < 256; byte++)
        b->has_all_bytes &= b->byte_ids[byte] >= 0;
}

/* Append the bytes of text that half of a merge encodes. */
static void put_half(const vocab *v, vocab_string half, base_buf *out)
{
    if (v->model == VOCAB_CHARACTER_BPE)
        text_put_spaces(out, half.text, half.size);
    else if (!byte_level_read(half.text, half.size, out))
        base_buf_put(out, half.text, half.size);
}

static base_status add_merge(const text_tokenizer *t, bpe *b, const vocab *v, uint32_t rank, base_buf *text,
                             base_error *error)
{
    base_buf_clear(text);
    put_half(v, v->merges[rank].left, text);
    size_t left_bytes = text->size;
    put_half(v, v->merges[rank].right, text);
    if (text->failed)
        return no_memory(v, error);
    merge_rule rule = {.rank = rank,
                       .left = piece_index_find(&b->index, t, text->data, left_bytes),
                       .right = piece_index_find(&b->index, t, text->data + left_bytes, text->size - left_bytes),
                       .merged = piece_index_find(&b->index, t, text->data, text->size)};
    if (rule.left < 0 || rule.right < 0 || rule.merged < 0)
        return base_fail(error, BASE_EFORMAT, "'%s': merge %u is of, or makes, a token that is not in the vocabulary",
                         v->name, rank);
    merge_table_add(&b->merges, rule);
    return BASE_OK;
}

static base_status add_merges(const text_tokenizer *t, bpe *b, const vocab *v, base_error *error)
{
    if (!merge_table_init(&b->merges, v->n_merges))
        return no_memory(v, error);
    base_buf text = {0};
    base_status status = base_buf_reserve(&text, 1) ? BASE_OK : no_memory(v, error);
    for (uint32_t rank = 0; rank < v->n_merges && status == BASE_OK; rank++)
        status = add_merge(t, b, v, rank, &text, error);
    base_buf_release(&text);
    return status;
}

static base_status encode(const void *backend, const char *text, size_t size, text_ids *ids, base_error *error);

base_status bpe_open(text_tokenizer *tokenizer, const vocab *v, base_error *error)
{
    bpe *b = calloc(1, sizeof *b);
    if (b == NULL)
        return no_memory(v, error);
    *b = (bpe){.t = tokenizer,
               .is_byte_level = v->model == VOCAB_BYTE_BPE,
               .ignore_merges = v->ignore_merges,
               .nfc = v->nfc,
               .fuse_unknown = v->fuse_unknown,
               .prefix = v->prefix,
               .unknown_id = v->unknown_id};
    tokenizer->backend = b;
    tokenizer->encode = encode;
    tokenizer->close_backend = close_bpe;
    tokenizer->is_byte_level = b->is_byte_level;
    tokenizer->leading = v->prefix != VOCAB_PREFIX_NONE ? TEXT_LEADING_ONE : TEXT_LEADING_KEEP;
    tokenizer->bos_id = v->bos_id;
    tokenizer->eos_id = v->eos_id;
    tokenizer->start_id = v->start_id;
    base_status status = add_tokens(tokenizer, b, v, error);
    if (status == BASE_OK) {
        find_bytes(tokenizer, b, v);
        status = add_merges(tokenizer, b, v, error);
    }
    if (b->nfc ||
        !b->is_byte_level) /* composing makes at most three bytes one (nine of U+1100 U+1161 U+11A8 become three), */
        tokenizer->longest *= 3; /* and so does U+2581 that becomes a blank */
    return status == BASE_OK ? pretokenizer_open(v, &b->words, error) : status;
}

/* ---- a word: symbols in a list, mergeable pairs in a heap ---- */

typedef struct symbol {
    int32_t id; /* -1: joined to the one before it */
    uint32_t previous, next;
} symbol;

typedef struct candidate {
    uint32_t rank, at; /* the symbols `at` and after it */
    int32_t merged;
} candidate;

typedef struct work {
    const bpe *b;
    text_ids *ids;
    symbol *symbols; /* [n_symbols] */
    size_t n_symbols, symbols_capacity;
    candidate *heap; /* [n_heap] least rank first, then leftmost */
    size_t n_heap, heap_capacity;
} work;

static bool is_before(const candidate *a, const candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

/* Room was reserved by encode_word. */
static void heap_push(work *w, candidate c)
{
    size_t at = w->n_heap++;
    for (; at > 0 && is_before(&c, &w->heap[(at - 1) / 2]); at = (at - 1) / 2)
        w->heap[at] = w->heap[(at - 1) / 2];
    w->heap[at] = c;
}

static candidate heap_take(work *w)
{
    candidate top = w->heap[0], last = w->heap[--w->n_heap];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < w->n_heap) {
        if (child + 1 < w->n_heap && is_before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!is_before(&w->heap[child], &last))
            break;
        w->heap[at] = w->heap[child];
        at = child;
    }
    w->heap[at] = last;
    return top;
}

/* Push the pair of the symbol and the next one, if a merge joins it. */
static void consider(work *w, uint32_t at)
{
    if (at == NONE || w->symbols[at].next == NONE)
        return;
    const merge_rule *rule = merge_table_find(&w->b->merges, w->symbols[at].id, w->symbols[w->symbols[at].next].id);
    if (rule != NULL)
        heap_push(w, (candidate){.rank = rule->rank, .at = at, .merged = rule->merged});
}

static void join(work *w, uint32_t at, int32_t merged)
{
    symbol *left = &w->symbols[at], *right = &w->symbols[left->next];
    left->id = merged;
    left->next = right->next;
    right->id = -1;
    if (left->next != NONE)
        w->symbols[left->next].previous = at;
    consider(w, left->previous);
    consider(w, at);
}

static void join_all(work *w)
{
    for (uint32_t at = 0; at < w->n_symbols; at++)
        consider(w, at);
    while (w->n_heap > 0) {
        candidate c = heap_take(w);
        const symbol *left = &w->symbols[c.at];
        if (left->id < 0 || left->next == NONE)
            continue;
        const merge_rule *rule = merge_table_find(&w->b->merges, left->id, w->symbols[left->next].id);
        if (rule != NULL && rule->rank == c.rank) /* else one of the two has changed since it was pushed */
            join(w, c.at, c.merged);
    }
}

static void add_symbol(work *w, int32_t id)
{
    uint32_t at = (uint32_t)w->n_symbols++;
    w->symbols[at] = (symbol){.id = id, .previous = at > 0 ? at - 1 : NONE, .next = NONE};
    if (at > 0)
        w->symbols[at - 1].next = at;
}

static void add_unknown(work *w)
{
    const bpe *b = w->b;
    bool is_fused = b->fuse_unknown && w->n_symbols > 0 && w->symbols[w->n_symbols - 1].id == b->unknown_id;
    if (b->unknown_id >= 0 && !is_fused)
        add_symbol(w, b->unknown_id);
}

static void add_bytes(work *w, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (w->b->byte_ids[(uint8_t)text[i]] >= 0)
            add_symbol(w, w->b->byte_ids[(uint8_t)text[i]]);
        else
            add_unknown(w);
}

static size_t character_bytes(const char *text)
{
    uint8_t lead = (uint8_t)text[0];
    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/* A space is U+2581 in the reference: where no piece is a space, it becomes the bytes of U+2581. */
static void add_fallback(work *w, const char *character, size_t size)
{
    if (!w->b->has_all_bytes)
        add_unknown(w);
    else if (character[0] == ' ')
        add_bytes(w, TEXT_METASPACE, sizeof TEXT_METASPACE - 1);
    else
        add_bytes(w, character, size);
}

static void add_characters(work *w, const char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        size_t n = character_bytes(text + i);
        int32_t id = piece_index_find(&w->b->index, w->b->t, text + i, n);
        if (id >= 0)
            add_symbol(w, id);
        else
            add_fallback(w, text + i, n);
        i += n;
    }
}

static base_status encode_word(void *context, const char *word, size_t size, base_error *error)
{
    work *w = context;
    const bpe *b = w->b;
    int32_t whole = b->ignore_merges ? piece_index_find(&b->index, b->t, word, size) : -1;
    size_t most = b->is_byte_level ? size : 3 * size; /* symbols: see add_fallback */
    bool has_room = size < NONE / 8 && base_grow(&w->symbols, &w->symbols_capacity, most, sizeof *w->symbols) &&
                    base_grow(&w->heap, &w->heap_capacity, 2 * most, sizeof *w->heap) && text_ids_reserve(w->ids, most);
    if (!has_room)
        return base_fail(error, BASE_ENOMEM, "no memory to tokenize a word of %zu bytes", size);
    w->n_symbols = 0;
    if (whole >= 0)
        add_symbol(w, whole);
    else if (b->is_byte_level)
        add_bytes(w, word, size);
    else
        add_characters(w, word, size);
    join_all(w);
    for (uint32_t at = w->n_symbols > 0 ? 0 : NONE; at != NONE; at = w->symbols[at].next)
        w->ids->ids[w->ids->n++] = w->symbols[at].id;
    return BASE_OK;
}

/* ---- a text ---- */

/* NFC changes nothing below U+0300, whose characters begin with bytes below 0xCC. */
static bool may_compose(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((uint8_t)text[i] >= 0xCC)
            return true;
    return false;
}

static base_status encode_composed(work *w, const char *text, size_t size, base_error *error)
{
    utf8proc_uint8_t *composed = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &composed,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    base_status status = n < 0
                             ? base_fail(error, n == UTF8PROC_ERROR_NOMEM ? BASE_ENOMEM : BASE_EINVAL,
                                         "cannot compose the text: %s", utf8proc_errmsg(n))
                             : pretokenizer_cut(w->b->words, (const char *)composed, (size_t)n, encode_word, w, error);
    free(composed);
    return status;
}

/* A character vocabulary treats U+2581 and spaces alike, and may add one in front. */
static base_status encode_blanks(work *w, const char *text, size_t size, base_error *error)
{
    base_buf shown = {0};
    bool has_leading_space = text[0] == ' ' || text_begins_with_space(text, size);
    if (w->b->prefix == VOCAB_PREFIX_SPACE || (w->b->prefix == VOCAB_PREFIX_UNLESS_SPACE && !has_leading_space))
        base_buf_put_u8(&shown, ' ');
    text_put_spaces(&shown, text, size);
    base_status status =
        shown.failed ? base_fail(error, BASE_ENOMEM, "no memory to tokenize a text of %zu bytes", size)
                     : pretokenizer_cut(w->b->words, (const char *)shown.data, shown.size, encode_word, w, error);
    base_buf_release(&shown);
    return status;
}

static base_status encode(const void *backend, const char *text, size_t size, text_ids *ids, base_error *error)
{
    const bpe *b = backend;
    work w = {.b = b, .ids = ids};
    base_status status;
    if (!b->is_byte_level)
        status = encode_blanks(&w, text, size, error);
    else if (b->nfc && may_compose(text, size))
        status = encode_composed(&w, text, size, error);
    else
        status = pretokenizer_cut(b->words, text, size, encode_word, &w, error);
    free(w.symbols);
    free(w.heap);
    return status;
}
