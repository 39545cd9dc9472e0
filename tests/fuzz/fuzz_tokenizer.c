/* fuzz_tokenizer.c - any bytes as a tokenizer's file: an error, or a tokenizer that keeps its promises.
 *
 * The first byte says which kind of file the rest is: '0' tokenizer.model, '1' tokenizer.json, else GGUF. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/text/tokenizer_int.h"
#include "proto/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Ids stay inside the vocabulary, within their bound, and stream as whole characters. */
static void check_ids(const text_tokenizer *t, const text_ids *ids, size_t max_ids)
{
    text_stream stream;
    base_buf delta = {0};
    text_stream_init(&stream, t);
    if (ids->n > max_ids)
        abort();
    for (size_t i = 0; i < ids->n; i++) {
        if (ids->ids[i] < 0 || (uint32_t)ids->ids[i] >= text_vocab_size(t))
            abort();
        base_buf_clear(&delta);
        text_stream_push(&stream, ids->ids[i], &delta);
        if (!base_utf8_is_valid(delta.data, delta.size))
            abort();
    }
    base_buf_release(&delta);
}

static void use(const text_tokenizer *t, const uint8_t *bytes, size_t size)
{
    static const char text[] = "<s>A lung,  12 mm\n\tis \xe6\x97\xa5\xf0\x9f\x98\x80 A\xcc\x8a\xe2\x96\x81 it's</s>";
    base_buf repaired = {0};
    text_repair(bytes, size < 64 ? size : 64, &repaired);
    const text_part parts[] = {{text, sizeof text - 1, true}, {(const char *)repaired.data, repaired.size, false}};
    for (size_t first = 0; first < 2; first++) {
        text_ids ids = {0};
        if (text_encode_parts(t, parts + first, 2 - first, 50, &ids, NULL) == BASE_OK)
            check_ids(t, &ids, 50);
        else if (ids.n != 0)
            abort();
        text_ids_release(&ids);
    }
    base_buf_release(&repaired);
    int32_t all[] = {text_bos_id(t), text_eos_id(t), text_start_id(t)};
    for (size_t i = 0; i < 3; i++)
        if (all[i] < -1 || (all[i] >= 0 && (uint32_t)all[i] >= text_vocab_size(t)))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return 0;
    text_file kind = bytes[0] == '0' ? TEXT_FILE_MODEL : bytes[0] == '1' ? TEXT_FILE_JSON : TEXT_FILE_GGUF;
    text_tokenizer *tokenizer = NULL;
    base_error error = {0};
    if (text_open_bytes(kind, "fuzz", bytes + 1, size - 1, &tokenizer, &error) != BASE_OK)
        return 0;
    use(tokenizer, bytes + 1, size - 1);
    text_tokenizer_close(&tokenizer);
    return 0;
}
