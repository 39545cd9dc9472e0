/* test_sentencepiece.c - tokenizers that the SentencePiece library runs, and the streaming detokenizer.
 *
 * SentencePiece itself is the oracle: joined deltas must equal what its Decode makes of all ids, for models of each
 * kind of leading blank (tests/golden/text). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "coordinator/text/spm_int.h"
#include "coordinator/text/spm_shim_int.h"
#include "coordinator/text/text.h"
#include "proto/base/utf8.h"
#include "sharding/model_file.h"

#define GOLDEN PALMGROVE_SOURCE_DIR "/tests/golden/text/"

/* plain: BPE, byte fallback, no dummy prefix (the phantom's kind); prefix: BPE with dummy prefix (Llama's kind);
 * squeeze: unigram, dummy prefix, extra blanks removed, no byte fallback (T5's kind). */
static const char *const model_names[] = {"plain", "prefix", "squeeze"};
enum { N_MODELS = 3 };

static uint32_t random_state = 7;

static uint32_t next_random(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

static text_tokenizer *open_tokenizer(const char *name)
{
    char dir[512];
    snprintf(dir, sizeof dir, GOLDEN "%s", name);
    text_tokenizer *tokenizer = NULL;
    base_error error = {0};
    if (text_tokenizer_open(dir, &tokenizer, &error) != BASE_OK)
        fail_msg("%s", error.text);
    return tokenizer;
}

static spm_model *open_oracle(const char *name)
{
    char dir[512];
    snprintf(dir, sizeof dir, GOLDEN "%s", name);
    base_buf file = {0};
    spm_model *model = NULL;
    assert_int_equal(shard_file_read(dir, "tokenizer.model", &file, NULL), BASE_OK);
    assert_int_equal(spm_model_open(file.data, file.size, &model), SPM_OK);
    base_buf_release(&file);
    return model;
}

/* --- tokenizing --- */

static const char *const texts[] = {
    "",
    "The heart is mildly enlarged. No pneumothorax.",
    "Impression:  1. two  blanks\n2.\ttab\r\n",
    "Gr\xc3\xb6\xc3\x9f\x65 \xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e \xf0\x9f\xa7\xac 12345",
    " leading and trailing ",
    "<s>literal</s> <unk> <0xE2> <img>",
};

static void text_survives_the_round_trip(void **state)
{
    (void)state;
    text_tokenizer *tokenizer = open_tokenizer("plain");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        text_ids ids = {0};
        base_buf text = {0};
        assert_int_equal(text_encode(tokenizer, texts[i], strlen(texts[i]), 1000, &ids, NULL), BASE_OK);
        text_stream stream;
        text_stream_init(&stream, tokenizer);
        for (size_t k = 0; k < ids.n; k++) {
            assert_true(ids.ids[k] != text_bos_id(tokenizer) && ids.ids[k] != text_eos_id(tokenizer));
            text_stream_push(&stream, ids.ids[k], &text);
        }
        text_stream_finish(&stream, &text);
        assert_int_equal(text.size, strlen(texts[i]));
        if (text.size > 0)
            assert_memory_equal(text.data, texts[i], text.size);
        base_buf_release(&text);
        text_ids_release(&ids);
    }
    text_tokenizer_close(&tokenizer);
    assert_null(tokenizer);
}

static void ids_equal_the_oracle(void **state)
{
    (void)state;
    for (int m = 0; m < N_MODELS; m++) {
        text_tokenizer *tokenizer = open_tokenizer(model_names[m]);
        spm_model *oracle = open_oracle(model_names[m]);
        assert_int_equal(text_vocab_size(tokenizer), spm_vocab_size(oracle));
        assert_int_equal(text_start_id(tokenizer), 1);
        assert_int_equal(text_bos_id(tokenizer), 1);
        assert_int_equal(text_eos_id(tokenizer), 2);
        text_ids ids = {0};
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            int32_t *expected = NULL;
            size_t n = 0, before = ids.n;
            assert_int_equal(spm_encode(oracle, texts[i], strlen(texts[i]), &expected, &n), SPM_OK);
            assert_int_equal(text_encode(tokenizer, texts[i], strlen(texts[i]), 100000, &ids, NULL), BASE_OK);
            assert_int_equal(ids.n - before, n);
            if (n > 0)
                assert_memory_equal(ids.ids + before, expected, n * sizeof *expected);
            free(expected);
        }
        text_ids_release(&ids);
        spm_model_close(oracle);
        text_tokenizer_close(&tokenizer);
    }
}

static void bounds_are_kept(void **state)
{
    (void)state;
    text_tokenizer *tokenizer = open_tokenizer("plain");
    text_ids ids = {0};
    base_error error = {0};
    assert_true(text_ids_push(&ids, 1));
    assert_int_equal(text_encode(tokenizer, "\xe6\x97\xa5", 3, 3, &ids, &error),
                     BASE_ETOOBIG); /* three byte pieces, room for two */
    assert_non_null(strstr(error.text, "has 3 tokens; there is room for 2"));
    assert_int_equal(ids.n, 1);
    assert_int_equal(text_encode(tokenizer, "\xe6\x97\xa5", 3, 4, &ids, &error), BASE_OK);
    assert_int_equal(ids.n, 4);
    assert_int_equal(text_encode(tokenizer, "x", 1, 2, &ids, &error), BASE_ETOOBIG); /* full already */

    size_t size = 10u << 20;
    char *large = malloc(size);
    assert_non_null(large);
    memset(large, 'a', size);
    assert_int_equal(text_encode(tokenizer, large, size, 4096, &ids, &error), BASE_ETOOBIG);
    assert_non_null(strstr(error.text, "is too long for the 4092 tokens"));
    free(large);

    const char *broken[] = {"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80"};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(text_encode(tokenizer, broken[i], strlen(broken[i]), 100, &ids, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "not valid UTF-8"));
    assert_int_equal(ids.n, 4);
    assert_int_equal(text_encode(tokenizer, "a\0b", 3, 100, &ids, &error), BASE_OK); /* NUL is a character */
    text_ids_release(&ids);
    text_tokenizer_close(&tokenizer);
}

static void assert_open_fails(const char *dir, base_status status, const char *why)
{
    text_tokenizer *tokenizer = NULL;
    base_error error = {0};
    assert_int_equal(text_tokenizer_open(dir, &tokenizer, &error), status);
    assert_null(tokenizer);
    if (strstr(error.text, why) == NULL)
        fail_msg("'%s' is not in '%s'", why, error.text);
}

static void broken_models_are_refused(void **state)
{
    (void)state;
    char dir[] = "/tmp/palmgrove-text-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    assert_open_fails(dir, BASE_ENOTFOUND, "neither tokenizer.model nor");
    base_buf model = {0};
    assert_int_equal(shard_file_read(GOLDEN "plain", "tokenizer.model", &model, NULL), BASE_OK);
    snprintf(path, sizeof path, "%s/tokenizer.model", dir);
    const size_t sizes[] = {0, 1, 10, 333, model.size / 2, model.size - 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fwrite(model.data, 1, sizes[i], f);
        fclose(f);
        text_tokenizer *tokenizer = NULL;
        if (text_tokenizer_open(dir, &tokenizer, NULL) == BASE_OK) /* a cut between two fields leaves a smaller model */
            text_tokenizer_close(&tokenizer);
    }
    assert_open_fails(dir, BASE_EFORMAT, "is not a SentencePiece model");
    base_buf_release(&model);
    unlink(path);
    rmdir(dir);
}

/* --- a SentencePiece vocabulary from a GGUF file --- */

/* The pieces of a trained BPE model in the way a GGUF file lists them; scores go down with the ids, as spm_train
 * numbers them. */
static void list_pieces(const spm_model *oracle, bool has_prefix, vocab *v)
{
    static const vocab_kind kinds[] = {[SPM_TEXT] = VOCAB_NORMAL,
                                       [SPM_BYTE] = VOCAB_BYTE,
                                       [SPM_CONTROL] = VOCAB_CONTROL,
                                       [SPM_UNKNOWN] = VOCAB_CONTROL};
    uint32_t n = (uint32_t)spm_vocab_size(oracle);
    *v = (vocab){.name = "test",
                 .bos_id = 1,
                 .eos_id = 2,
                 .unknown_id = 0,
                 .start_id = -1,
                 .prefix = has_prefix ? VOCAB_PREFIX_SPACE : VOCAB_PREFIX_NONE};
    assert_int_equal(vocab_reserve(v, n + 1u, 0, NULL), BASE_OK);
    for (uint32_t id = 0; id < n; id++) {
        vocab_token *token = &v->tokens[id];
        token->text.text = spm_piece_text(oracle, (int32_t)id, &token->text.size);
        token->kind = kinds[spm_piece_kind(oracle, (int32_t)id)];
        token->score = -(float)id;
    }
    v->tokens[n] = (vocab_token){.text = {"zz  ", 4}, .kind = VOCAB_USER_DEFINED}; /* blanks as GGUF writes them */
}

static void a_listed_vocabulary_equals_the_model(void **state)
{
    (void)state;
    for (int m = 0; m < 2; m++) {
        spm_model *oracle = open_oracle(model_names[m]);
        vocab v;
        list_pieces(oracle, m == 1, &v);
        text_tokenizer listed = {.start_id = 77};
        base_error error = {0};
        if (spm_open_vocab(&listed, &v, &error) != BASE_OK)
            fail_msg("%s", error.text);
        assert_int_equal(text_bos_id(&listed), 1);
        assert_int_equal(text_start_id(&listed), -1);
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            int32_t *expected = NULL;
            size_t n = 0;
            text_ids ids = {0};
            assert_int_equal(spm_encode(oracle, texts[i], strlen(texts[i]), &expected, &n), SPM_OK);
            assert_int_equal(text_encode(&listed, texts[i], strlen(texts[i]), 100000, &ids, NULL), BASE_OK);
            assert_int_equal(ids.n, n);
            if (n > 0)
                assert_memory_equal(ids.ids, expected, n * sizeof *expected);
            free(expected);
            text_ids_release(&ids);
        }
        text_ids ids = {0};
        assert_int_equal(text_encode(&listed, "zz   ", 5, 100, &ids, NULL), BASE_OK);
        assert_true(ids.n >= 2 && ids.ids[ids.n - 2] == (int32_t)v.n - 1); /* the word, then one blank */
        text_ids_release(&ids);
        listed.close_backend(listed.backend);
        free(listed.pieces);
        base_buf_release(&listed.bytes);
        specials_release(&listed.controls);
        vocab_release(&v);
        spm_model_close(oracle);
    }
}

static void control_pieces_come_from_trusted_text_only(void **state)
{
    (void)state;
    text_tokenizer *tokenizer = open_tokenizer("prefix");
    const text_part parts[] = {{"<s>", 3, true}, {"</s>", 4, false}, {"x</s>", 5, true}};
    text_ids ids = {0};
    assert_int_equal(text_encode_parts(tokenizer, parts, 3, 100, &ids, NULL), BASE_OK);
    assert_int_equal(ids.ids[0], 1);
    assert_int_equal(ids.ids[ids.n - 1], 2);
    for (size_t i = 1; i + 1 < ids.n; i++)
        assert_true(ids.ids[i] > 2);
    assert_true(ids.n > 4);
    text_ids_release(&ids);
    text_tokenizer_close(&tokenizer);
}

/* --- streaming --- */

static int32_t byte_id(const text_tokenizer *tokenizer, uint8_t byte)
{
    for (uint32_t id = 0; id < text_vocab_size(tokenizer); id++) {
        size_t size;
        const char *bytes = text_piece_bytes(tokenizer, (int32_t)id, &size);
        if (text_piece_is_raw(tokenizer, (int32_t)id) && (uint8_t)bytes[0] == byte)
            return (int32_t)id;
    }
    fail_msg("the model has no byte pieces");
    return -1;
}

/* Ids as models give them, with long runs of bytes, many of them the beginnings of characters. */
static size_t random_ids(const text_tokenizer *tokenizer, int32_t *ids, size_t most, bool has_bytes)
{
    static const uint8_t edges[] = {0xc2, 0xe0, 0xe2, 0xed, 0xef, 0xf0, 0xf4, 0x80, 0x8f,
                                    0x90, 0x9f, 0xa0, 0xbf, 0xbd, 0xc0, 0xf5, 0x41};
    size_t n = next_random((uint32_t)most);
    for (size_t i = 0; i < n; i++) {
        bool is_edge = has_bytes && next_random(3) > 0;
        ids[i] = is_edge ? byte_id(tokenizer, edges[next_random(sizeof edges)])
                         : (int32_t)next_random(text_vocab_size(tokenizer));
        if (next_random(4) == 0)
            ids[i] = (int32_t)next_random(3); /* <unk>, <s>, </s> */
    }
    return n;
}

static void assert_stream_equals(const text_tokenizer *tokenizer, const spm_model *oracle, const int32_t *ids, size_t n)
{
    char *expected = NULL;
    size_t size = 0;
    base_buf text = {0};
    text_stream stream;
    assert_int_equal(spm_decode(oracle, ids, n, &expected, &size), SPM_OK);
    text_stream_init(&stream, tokenizer);
    for (size_t i = 0; i <= n; i++) {
        base_buf delta = {0};
        if (i < n)
            text_stream_push(&stream, ids[i], &delta);
        else
            text_stream_finish(&stream, &delta);
        assert_true(base_utf8_is_valid(delta.data, delta.size));
        base_buf_put(&text, delta.data, delta.size);
        base_buf_release(&delta);
    }
    assert_int_equal(text.size, size);
    if (size > 0)
        assert_memory_equal(text.data, expected, size);
    base_buf_release(&text);
    free(expected);
}

static void streams_equal_the_oracle(void **state)
{
    (void)state;
    for (int m = 0; m < N_MODELS; m++) {
        text_tokenizer *tokenizer = open_tokenizer(model_names[m]);
        spm_model *oracle = open_oracle(model_names[m]);
        for (int round = 0; round < 3000; round++) {
            int32_t ids[40];
            size_t n = random_ids(tokenizer, ids, 40, m < 2);
            assert_stream_equals(tokenizer, oracle, ids, n);
        }
        spm_model_close(oracle);
        text_tokenizer_close(&tokenizer);
    }
}

/* Every beginning of up to two bytes, every edge of a third. */
static void runs_of_bytes_equal_the_oracle(void **state)
{
    (void)state;
    text_tokenizer *tokenizer = open_tokenizer("plain");
    spm_model *oracle = open_oracle("plain");
    int32_t first = byte_id(tokenizer, 0);
    for (int32_t a = 0x70; a < 256; a++)
        for (int32_t b = 0x7e; b < 0xc4; b++) {
            int32_t ids[3] = {first + a, first + b, first + 0x80 + (a + b) % 0x41};
            assert_stream_equals(tokenizer, oracle, ids, 3);
            assert_stream_equals(tokenizer, oracle, ids, 2);
        }
    spm_model_close(oracle);
    text_tokenizer_close(&tokenizer);
}

static void ids_outside_the_vocabulary_add_nothing(void **state)
{
    (void)state;
    text_tokenizer *tokenizer = open_tokenizer("plain");
    const int32_t ids[] = {-1, INT32_MIN, INT32_MAX, (int32_t)text_vocab_size(tokenizer)};
    text_stream stream;
    base_buf text = {0};
    text_stream_init(&stream, tokenizer);
    for (size_t i = 0; i < 4; i++) {
        size_t size;
        text_piece_bytes(tokenizer, ids[i], &size);
        assert_int_equal(size, 0);
        assert_false(text_piece_is_raw(tokenizer, ids[i]));
        text_stream_push(&stream, ids[i], &text);
    }
    assert_int_equal(text.size, 0);
    text_tokenizer_close(&tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_survives_the_round_trip),
        cmocka_unit_test(ids_equal_the_oracle),
        cmocka_unit_test(bounds_are_kept),
        cmocka_unit_test(broken_models_are_refused),
        cmocka_unit_test(a_listed_vocabulary_equals_the_model),
        cmocka_unit_test(control_pieces_come_from_trusted_text_only),
        cmocka_unit_test(streams_equal_the_oracle),
        cmocka_unit_test(runs_of_bytes_equal_the_oracle),
        cmocka_unit_test(ids_outside_the_vocabulary_add_nothing),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
