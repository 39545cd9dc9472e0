/* gguf.c - the header of a GGUF file, checked from front to back before anything in it is used.
 *
 * The order is the file's: counts, then pairs, then tensor infos, then (alignment known, data found) the tensors'
 * places.  Memory follows the bytes that are there, never a number that is only claimed: a count is compared with what
 * is left of the file over the least size of one item before a list of that length is made.  An array of strings is
 * walked once and the place of each string kept, eight bytes for a string that takes at least eight in the file, so
 * that entry i of a vocabulary is found at once. */
#include "sharding/formats/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/size.h"
#include "sharding/formats/gguf_file.h"

#define DEFAULT_ALIGNMENT 32u
#define MAX_ALIGNMENT     (1u << 30)
#define MAX_ITEMS         (1u << 20) /* tensors, and keys */
#define MAX_KEY           65535u     /* the format's bound */
#define MAX_NAME          255u       /* as for safetensors; ggml itself stops at 63 */
#define MIN_PAIR_BYTES    14u        /* length, one character, kind, one byte */
#define MIN_INFO_BYTES    33u        /* length, one character, n_dims, one dimension, type, offset */

/* The formats' numbers of the tensor types; `bytes` of those that are skipped over but not computed with. */
static const struct type_row {
    const char *name;
    shard_type type;
    uint8_t bytes;
} types[] = {
    [0] = {"F32", SHARD_F32, 0},       [1] = {"F16", SHARD_F16, 0},        [2] = {"Q4_0", SHARD_Q4_0, 0},
    [3] = {"Q4_1", SHARD_Q4_1, 0},     [6] = {"Q5_0", SHARD_Q5_0, 0},      [7] = {"Q5_1", SHARD_Q5_1, 0},
    [8] = {"Q8_0", SHARD_Q8_0, 0},     [9] = {"Q8_1", SHARD_OTHER, 0},     [10] = {"Q2_K", SHARD_Q2_K, 0},
    [11] = {"Q3_K", SHARD_Q3_K, 0},    [12] = {"Q4_K", SHARD_Q4_K, 0},     [13] = {"Q5_K", SHARD_Q5_K, 0},
    [14] = {"Q6_K", SHARD_Q6_K, 0},    [15] = {"Q8_K", SHARD_OTHER, 0},    [16] = {"IQ2_XXS", SHARD_OTHER, 0},
    [17] = {"IQ2_XS", SHARD_OTHER, 0}, [18] = {"IQ3_XXS", SHARD_OTHER, 0}, [19] = {"IQ1_S", SHARD_OTHER, 0},
    [20] = {"IQ4_NL", SHARD_OTHER, 0}, [21] = {"IQ3_S", SHARD_OTHER, 0},   [22] = {"IQ2_S", SHARD_OTHER, 0},
    [23] = {"IQ4_XS", SHARD_OTHER, 0}, [24] = {"I8", SHARD_OTHER, 1},      [25] = {"I16", SHARD_OTHER, 2},
    [26] = {"I32", SHARD_OTHER, 4},    [27] = {"I64", SHARD_OTHER, 8},     [28] = {"F64", SHARD_F64, 0},
    [29] = {"IQ1_M", SHARD_OTHER, 0},  [30] = {"BF16", SHARD_BF16, 0},     [34] = {"TQ1_0", SHARD_OTHER, 0},
    [35] = {"TQ2_0", SHARD_OTHER, 0},  [39] = {"MXFP4", SHARD_OTHER, 0},   [40] = {"NVFP4", SHARD_OTHER, 0},
    [41] = {"Q1_0", SHARD_OTHER, 0},
};

/* A file being read. */
typedef struct parse {
    const char *name;
    gguf_file *file;
    base_reader reader;
    base_error *error;
} parse;

/* For "%.*s": a key may be longer than an error. */
static int shown(gguf_string text)
{
    return text.size < 160 ? (int)text.size : 160;
}

static bool take_string(base_reader *reader, gguf_string *out)
{
    uint64_t size = base_reader_u64(reader);
    const char *bytes = base_reader_take(reader, (size_t)size);
    if (reader->failed) /* not "bytes == NULL": taking none succeeds even then */
        return false;
    *out = (gguf_string){.bytes = bytes, .size = (size_t)size};
    return true;
}

/* What an error may quote: 1 to `max` printable ASCII characters without blanks. */
static bool is_plain(gguf_string text, size_t max)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.bytes[i] <= ' ' || text.bytes[i] > '~')
            return false;
    return text.size >= 1 && text.size <= max;
}

static base_status check_count(const parse *p, const char *what, uint64_t n, size_t min_bytes)
{
    size_t left = base_reader_left(&p->reader);
    if (n > left / min_bytes)
        return base_fail(p->error, BASE_EFORMAT,
                         "'%s' claims %" PRIu64 " %s, which its %zu bytes cannot hold; is the download complete?",
                         p->name, n, what, p->file->size);
    if (n > MAX_ITEMS)
        return base_fail(p->error, BASE_ETOOBIG, "'%s' has %" PRIu64 " %s; at most %u are allowed", p->name, n, what,
                         MAX_ITEMS);
    return BASE_OK;
}

static base_status read_start(parse *p)
{
    const char *magic = base_reader_take(&p->reader, 4);
    uint32_t version = base_reader_u32(&p->reader);
    uint64_t n_tensors = base_reader_u64(&p->reader), n_pairs = base_reader_u64(&p->reader);
    if (magic != NULL && memcmp(magic, "GGUF", 4) != 0)
        return base_fail(p->error, BASE_EFORMAT, "'%s' is not a GGUF file: it does not begin with 'GGUF'", p->name);
    if (p->reader.failed)
        return base_fail(p->error, BASE_EFORMAT,
                         "'%s' has %zu bytes, too few for a GGUF file; is the download complete?", p->name,
                         p->file->size);
    if (version == 0x02000000u || version == 0x03000000u)
        return base_fail(p->error, BASE_EUNSUPPORTED,
                         "'%s' is a big-endian GGUF file; convert it (gguf_convert_endian.py)", p->name);
    if (version != 2 && version != 3)
        return base_fail(p->error, BASE_EUNSUPPORTED, "'%s' has GGUF version %u; 2 and 3 are read", p->name, version);
    base_status status = check_count(p, "tensors", n_tensors, MIN_INFO_BYTES);
    if (status == BASE_OK)
        status = check_count(p, "metadata keys", n_pairs, MIN_PAIR_BYTES);
    p->file->n_tensors = (size_t)n_tensors;
    p->file->n_pairs = (size_t)n_pairs;
    return status;
}

/* --- metadata --- */

static base_status fail_value(const parse *p, gguf_string key, const char *problem)
{
    return base_fail(p->error, BASE_EFORMAT, "'%s': metadata key '%.*s' %s", p->name, shown(key), key.bytes, problem);
}

static base_status read_numbers(parse *p, gguf_string key, gguf_value *value)
{
    size_t bytes;
    if (!base_size_mul((size_t)value->n, gguf_kind_bytes(value->kind), &bytes) ||
        base_reader_take(&p->reader, bytes) == NULL)
        return fail_value(p, key, "runs past the end of the file; is the download complete?");
    for (size_t i = 0; value->kind == GGUF_BOOL && i < bytes; i++)
        if (value->at[i] > 1)
            return fail_value(p, key, "has a boolean that is neither 0 nor 1");
    return BASE_OK;
}

static base_status read_strings(parse *p, gguf_string key, gguf_value *value)
{
    gguf_string string;
    if (value->n > base_reader_left(&p->reader) / sizeof(uint64_t))
        return fail_value(p, key, "has more strings than the file has room for; is the download complete?");
    if (value->is_array && value->n > 0) {
        value->starts = calloc((size_t)value->n, sizeof *value->starts);
        if (value->starts == NULL)
            return base_fail(p->error, BASE_ENOMEM, "no memory for the %" PRIu64 " strings of '%.*s' in '%s'", value->n,
                             shown(key), key.bytes, p->name);
    }
    for (uint64_t i = 0; i < value->n; i++) {
        if (value->starts != NULL)
            value->starts[i] = (uint64_t)(p->reader.at - value->at);
        if (!take_string(&p->reader, &string))
            return fail_value(p, key, "has a string that runs past the end of the file; is the download complete?");
    }
    return BASE_OK;
}

static base_status read_value(parse *p, gguf_string key, gguf_value *value)
{
    uint32_t kind = base_reader_u32(&p->reader);
    bool is_array = kind == GGUF_ARRAY;
    uint64_t n = 1;
    if (is_array) {
        kind = base_reader_u32(&p->reader);
        n = base_reader_u64(&p->reader);
    }
    if (p->reader.failed)
        return fail_value(p, key, "has no value: the file is cut short");
    if (is_array && kind == GGUF_ARRAY)
        return fail_value(p, key, "is an array of arrays; none is known to need that");
    if (kind >= GGUF_N_KINDS)
        return base_fail(p->error, BASE_EFORMAT, "'%s': metadata key '%.*s' has the unknown value type %u", p->name,
                         shown(key), key.bytes, kind);
    *value = (gguf_value){.kind = (gguf_kind)kind, .is_array = is_array, .n = n, .at = p->reader.at};
    return kind == GGUF_STRING ? read_strings(p, key, value) : read_numbers(p, key, value);
}

static base_status read_pair(parse *p, size_t i)
{
    gguf_pair *pair = &p->file->pairs[i];
    if (!take_string(&p->reader, &pair->key))
        return base_fail(p->error, BASE_EFORMAT, "'%s' is cut short: metadata key %zu runs past its end", p->name, i);
    if (!is_plain(pair->key, MAX_KEY))
        return base_fail(p->error, BASE_EFORMAT, "'%s': metadata key %zu is empty, too long or not plain ASCII",
                         p->name, i);
    return read_value(p, pair->key, &pair->value);
}

static int compare_keys(const void *left, const void *right)
{
    const gguf_pair *const *a = left, *const *b = right;
    return gguf_string_compare((*a)->key, (*b)->key);
}

static base_status sort_pairs(parse *p)
{
    gguf_file *file = p->file;
    for (size_t i = 0; i < file->n_pairs; i++)
        file->sorted[i] = &file->pairs[i];
    qsort(file->sorted, file->n_pairs, sizeof *file->sorted, compare_keys);
    for (size_t i = 1; i < file->n_pairs; i++)
        if (compare_keys(&file->sorted[i - 1], &file->sorted[i]) == 0)
            return fail_value(p, file->sorted[i]->key, "is there twice");
    return BASE_OK;
}

static base_status read_pairs(parse *p)
{
    gguf_file *file = p->file;
    file->pairs = calloc(file->n_pairs + 1, sizeof *file->pairs);
    file->sorted = calloc(file->n_pairs + 1, sizeof *file->sorted);
    if (file->pairs == NULL || file->sorted == NULL)
        return base_fail(p->error, BASE_ENOMEM, "no memory for the %zu metadata keys of '%s'", file->n_pairs, p->name);
    for (size_t i = 0; i < file->n_pairs; i++) {
        base_status status = read_pair(p, i);
        if (status != BASE_OK)
            return status;
    }
    file->metadata_bytes = (size_t)(p->reader.at - file->bytes);
    return sort_pairs(p);
}

/* --- tensors --- */

static base_status fail_tensor(const parse *p, gguf_string name, const char *problem)
{
    return base_fail(p->error, BASE_EFORMAT, "'%s': tensor '%.*s' %s", p->name, (int)name.size, name.bytes, problem);
}

/* ne[], fastest first, into shape, fastest last. */
static base_status read_shape(parse *p, gguf_entry *entry)
{
    shard_tensor *tensor = &entry->tensor;
    uint32_t n_dims = base_reader_u32(&p->reader);
    if (!p->reader.failed && (n_dims < 1 || n_dims > GGUF_MAX_DIMS))
        return base_fail(p->error, BASE_EFORMAT, "'%s': tensor '%.*s' has %u dimensions; 1 to %d are allowed", p->name,
                         (int)entry->name.size, entry->name.bytes, n_dims, GGUF_MAX_DIMS);
    tensor->n_dims = (int)n_dims;
    for (uint32_t i = 0; i < n_dims && !p->reader.failed; i++)
        tensor->shape[n_dims - 1 - i] = base_reader_u64(&p->reader);
    return BASE_OK;
}

/* The row of a type's number. */
static base_status find_type(const parse *p, gguf_string name, uint32_t number, const struct type_row **out)
{
    const struct type_row *row = number < sizeof types / sizeof types[0] ? &types[number] : NULL;
    if (row == NULL || row->name == NULL)
        return base_fail(p->error, BASE_EUNSUPPORTED, "'%s': tensor '%.*s' has the unknown type number %u", p->name,
                         (int)name.size, name.bytes, number);
    if (row->type == SHARD_OTHER && row->bytes == 0)
        return base_fail(p->error, BASE_EUNSUPPORTED,
                         "'%s': tensor '%.*s' has type %s, which is not computed with; take another quantisation of "
                         "this model (Q2_K to Q6_K, Q4_0 to Q8_0, F16, BF16)",
                         p->name, (int)name.size, name.bytes, row->name);
    *out = row;
    return BASE_OK;
}

static base_status count_elements(const parse *p, const gguf_entry *entry, size_t *out)
{
    size_t n = 1;
    for (int i = 0; i < entry->tensor.n_dims; i++) {
        if (entry->tensor.shape[i] == 0)
            return fail_tensor(p, entry->name, "has a dimension of 0");
        if (!base_size_mul(n, (size_t)entry->tensor.shape[i], &n))
            return fail_tensor(p, entry->name, "has a shape whose size exceeds 64 bits");
    }
    *out = n;
    return BASE_OK;
}

/* The type by its number, and the bytes of the whole. */
static base_status size_tensor(const parse *p, gguf_entry *entry, uint32_t number)
{
    shard_tensor *tensor = &entry->tensor;
    const struct type_row *row = NULL;
    size_t n = 0, bytes = 0;
    base_status status = find_type(p, entry->name, number, &row);
    if (status == BASE_OK)
        status = count_elements(p, entry, &n);
    if (status != BASE_OK)
        return status;
    uint32_t n_elements = 1, n_bytes = row->bytes;
    if (row->type != SHARD_OTHER)
        shard_type_block(row->type, &n_elements, &n_bytes);
    uint64_t width = tensor->shape[tensor->n_dims - 1];
    if (width % n_elements != 0)
        return base_fail(p->error, BASE_EFORMAT,
                         "'%s': tensor '%.*s' has rows of %" PRIu64 " elements, not a multiple of %s's %u", p->name,
                         (int)entry->name.size, entry->name.bytes, width, row->name, n_elements);
    if (!base_size_mul(n / n_elements, n_bytes, &bytes))
        return fail_tensor(p, entry->name, "has a shape whose size exceeds 64 bits");
    tensor->type = row->type;
    tensor->bytes = bytes;
    return BASE_OK;
}

static base_status read_info(parse *p, size_t i)
{
    gguf_entry *entry = &p->file->tensors[i];
    if (!take_string(&p->reader, &entry->name))
        return base_fail(p->error, BASE_EFORMAT, "'%s' is cut short: the name of tensor %zu runs past its end", p->name,
                         i);
    if (!is_plain(entry->name, MAX_NAME))
        return base_fail(p->error, BASE_EFORMAT, "'%s': the name of tensor %zu is empty, too long or not plain ASCII",
                         p->name, i);
    base_status status = read_shape(p, entry);
    uint32_t number = base_reader_u32(&p->reader);
    entry->offset = base_reader_u64(&p->reader);
    if (status == BASE_OK && p->reader.failed)
        status = fail_tensor(p, entry->name, "is described past the end of the file; is the download complete?");
    return status != BASE_OK ? status : size_tensor(p, entry, number);
}

static base_status read_infos(parse *p)
{
    gguf_file *file = p->file;
    file->tensors = calloc(file->n_tensors + 1, sizeof *file->tensors);
    if (file->tensors == NULL)
        return base_fail(p->error, BASE_ENOMEM, "no memory for the %zu tensors of '%s'", file->n_tensors, p->name);
    for (size_t i = 0; i < file->n_tensors; i++) {
        base_status status = read_info(p, i);
        if (status != BASE_OK)
            return status;
    }
    return BASE_OK;
}

/* --- places --- */

static base_status find_alignment(const parse *p, uint64_t *out)
{
    *out = DEFAULT_ALIGNMENT;
    if (!gguf_has(p->file, "general.alignment"))
        return BASE_OK;
    if (!gguf_get_u64(p->file, "general.alignment", out) || *out == 0 || *out > MAX_ALIGNMENT ||
        (*out & (*out - 1)) != 0)
        return base_fail(p->error, BASE_EFORMAT, "'%s': general.alignment is not a power of two up to %u", p->name,
                         MAX_ALIGNMENT);
    return BASE_OK;
}

/* Each tensor in the data, which begins where the infos end, rounded up. */
static base_status place_tensors(const parse *p)
{
    gguf_file *file = p->file;
    uint64_t alignment;
    base_status status = find_alignment(p, &alignment);
    if (status != BASE_OK)
        return status;
    size_t start = base_size_round_up((size_t)(p->reader.at - file->bytes), (size_t)alignment);
    size_t left = start < file->size ? file->size - start : 0;
    for (size_t i = 0; i < file->n_tensors; i++) {
        gguf_entry *entry = &file->tensors[i];
        if (entry->offset % alignment != 0)
            return base_fail(p->error, BASE_EFORMAT,
                             "'%s': tensor '%.*s' has offset %" PRIu64 ", not a multiple of %" PRIu64, p->name,
                             (int)entry->name.size, entry->name.bytes, entry->offset, alignment);
        if (entry->offset > left || entry->tensor.bytes > left - entry->offset)
            return base_fail(p->error, BASE_EFORMAT,
                             "'%s' is cut short: tensor '%.*s' takes %" PRIu64 " bytes from byte %" PRIu64
                             " of the data, which has %zu; is the download complete?",
                             p->name, (int)entry->name.size, entry->name.bytes, entry->tensor.bytes, entry->offset,
                             left);
        entry->tensor.data = file->bytes + start + entry->offset;
    }
    return BASE_OK;
}

static int compare_names(const void *left, const void *right)
{
    const gguf_entry *const *a = left, *const *b = right;
    return gguf_string_compare((*a)->name, (*b)->name);
}

static int compare_places(const void *left, const void *right)
{
    const gguf_entry *const *a = left, *const *b = right;
    return ((*a)->offset > (*b)->offset) - ((*a)->offset < (*b)->offset);
}

static base_status check_neighbours(const parse *p, const gguf_entry **order)
{
    size_t n = p->file->n_tensors;
    qsort(order, n, sizeof *order, compare_names);
    for (size_t i = 1; i < n; i++)
        if (compare_names(&order[i - 1], &order[i]) == 0)
            return fail_tensor(p, order[i]->name, "is there twice");
    qsort(order, n, sizeof *order, compare_places);
    for (size_t i = 1; i < n; i++) {
        const gguf_entry *a = order[i - 1], *b = order[i];
        if (b->offset - a->offset < a->tensor.bytes)
            return base_fail(p->error, BASE_EFORMAT, "'%s': tensors '%.*s' and '%.*s' overlap", p->name, shown(a->name),
                             a->name.bytes, shown(b->name), b->name.bytes);
    }
    return BASE_OK;
}

/* No name twice, no byte in two tensors.  Bytes between tensors belong to none: padding. */
static base_status check_tensors(const parse *p)
{
    const gguf_entry **order = calloc(p->file->n_tensors + 1, sizeof *order);
    if (order == NULL)
        return base_fail(p->error, BASE_ENOMEM, "no memory to sort the %zu tensors of '%s'", p->file->n_tensors,
                         p->name);
    for (size_t i = 0; i < p->file->n_tensors; i++)
        order[i] = &p->file->tensors[i];
    base_status status = check_neighbours(p, order);
    free(order);
    return status;
}

/* --- the file --- */

/* Read the bytes that `file` names; on failure the lists are as far as they came, for gguf_close. */
static base_status read_file(const char *name, gguf_file *file, base_error *error)
{
    parse p = {.name = name, .file = file, .reader = base_reader_over(file->bytes, file->size), .error = error};
    base_status status = read_start(&p);
    if (status == BASE_OK)
        status = read_pairs(&p);
    if (status == BASE_OK)
        status = read_infos(&p);
    if (status == BASE_OK)
        status = place_tensors(&p);
    return status != BASE_OK ? status : check_tensors(&p);
}

/* Open what is mapped, or the borrowed `bytes` when nothing is; `mapped` is owned from here on. */
static base_status open_bytes(const char *name, mapped_file mapped, const void *bytes, size_t size, gguf_file **out,
                              base_error *error)
{
    gguf_file *file = calloc(1, sizeof *file);
    if (file == NULL) {
        mapped_file_close(&mapped);
        return base_fail(error, BASE_ENOMEM, "no memory to open '%s'", name);
    }
    *file = (gguf_file){.mapped = mapped, .bytes = bytes, .size = size};
    base_status status = read_file(name, file, error);
    if (status != BASE_OK) {
        gguf_close(&file);
        return status;
    }
    *out = file;
    return BASE_OK;
}

base_status gguf_open(const char *path, gguf_file **out, base_error *error)
{
    mapped_file mapped;
    base_status status = mapped_file_open(path, &mapped, error);
    return status != BASE_OK ? status : open_bytes(path, mapped, mapped.map, mapped.bytes, out, error);
}

base_status gguf_open_bytes(const char *name, const void *bytes, size_t size, gguf_file **out, base_error *error)
{
    return open_bytes(name, (mapped_file){0}, bytes, size, out, error);
}

void gguf_close(gguf_file **file)
{
    gguf_file *f = *file;
    if (f == NULL)
        return;
    for (size_t i = 0; f->pairs != NULL && i < f->n_pairs; i++)
        free(f->pairs[i].value.starts);
    free(f->pairs);
    free(f->sorted);
    free(f->tensors);
    mapped_file_close(&f->mapped);
    free(f);
    *file = NULL;
}

size_t gguf_n_tensors(const gguf_file *file)
{
    return file->n_tensors;
}

void gguf_tensor(const gguf_file *file, size_t i, gguf_string *name, shard_tensor *out)
{
    *name = file->tensors[i].name;
    *out = file->tensors[i].tensor;
}

void gguf_metadata(const gguf_file *file, const void **bytes, size_t *size)
{
    *bytes = file->bytes;
    *size = file->metadata_bytes;
}
