/* cmd_inspect.c - what is in this model or shard?  Headers only: a terabyte is inspected as fast as a megabyte. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "coordinator/text/text.h"
#include "sharding/formats/gguf.h"
#include "sharding/planner/inspection.h"
#include "tools/palmgrove/command.h"

typedef struct inspect_values {
    const char *model;
    bool tensors, metadata, json;
} inspect_values;

#define AT(field) offsetof(inspect_values, field)

static const option_row rows[] = {
    {"model", "MODEL", OPTION_TEXT, AT(model), NULL,
     "directory of safetensors or shards, a .gguf file, or synthetic:NAME", OPTION_POSITIONAL | OPTION_REQUIRED},
    {"tensors", NULL, OPTION_FLAG, AT(tensors), NULL, "list every tensor: name, type, shape, bytes",
     OPTION_NO_ENVIRONMENT},
    {"metadata", NULL, OPTION_FLAG, AT(metadata), NULL, "list the metadata of a GGUF file", OPTION_NO_ENVIRONMENT},
    {"json", NULL, OPTION_FLAG, AT(json), NULL, "print one JSON object", OPTION_NO_ENVIRONMENT},
};

static bool is_there(const char *dir, const char *name)
{
    char path[4352];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    return n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0;
}

/* In the order in which text_tokenizer_open looks. */
static const char *kind_of_tokenizer(const shard_checkpoint *c)
{
    gguf_string model;
    if (c->gguf != NULL && gguf_get_string(c->gguf, "tokenizer.ggml.model", &model))
        return model.size == 4 && memcmp(model.bytes, "gpt2", 4) == 0 ? "byte-level BPE (in the GGUF file)"
                                                                      : "SentencePiece BPE (in the GGUF file)";
    if (is_there(c->path, "tokenizer.model"))
        return "SentencePiece (tokenizer.model)";
    return is_there(c->path, "tokenizer.json") ? "BPE (tokenizer.json)" : "vocabulary of a GGUF file";
}

/* `problem` is borrowed by the result. */
static inspection_tokenizer look_at_tokenizer(const shard_checkpoint *c, base_error *problem)
{
    text_tokenizer *tokenizer = NULL;
    if (c->format == CHECKPOINT_SYNTHETIC)
        return (inspection_tokenizer){.problem = "synthetic weights know no words"};
    if (text_tokenizer_open(c->path, &tokenizer, problem) != BASE_OK)
        return (inspection_tokenizer){.problem = problem->text};
    inspection_tokenizer found = {.kind = kind_of_tokenizer(c),
                                  .n_tokens = text_vocab_size(tokenizer),
                                  .start_id = text_start_id(tokenizer),
                                  .eos_id = text_eos_id(tokenizer)};
    text_chat_template(tokenizer, &found.chat_template_bytes);
    text_tokenizer_close(&tokenizer);
    return found;
}

static int fail(const base_error *error)
{
    command_complain(error->text);
    return EXIT_FAILED;
}

static int run(void *opaque)
{
    const inspect_values *values = opaque;
    base_error error = {0}, problem = {0};
    shard_checkpoint *checkpoint = NULL;
    if (shard_checkpoint_open(values->model, &checkpoint, &error) != BASE_OK)
        return fail(&error);
    inspection what = {.checkpoint = checkpoint, .tensors = values->tensors, .metadata = values->metadata};
    what.tokenizer = look_at_tokenizer(checkpoint, &problem);
    base_buf text = {0};
    base_status status = BASE_OK;
    if (!values->json)
        inspection_print(&what, stdout);
    else
        status = inspection_json(&what, &text, &error);
    if (status == BASE_OK && values->json)
        fwrite(text.data, 1, text.size, stdout);
    base_buf_release(&text);
    shard_checkpoint_close(&checkpoint);
    return status == BASE_OK ? EXIT_DONE : fail(&error);
}

const command command_inspect = {
    "inspect",
    "MODEL [options]",
    "what is in a model or a shard directory",
    "Print the format, family, dimensions, number of parameters, types of tensors and the tokenizer of a "
    "model, and of shards their layout and checksums. Reads headers only; palmgrove shard --verify reads "
    "all.",
    {rows, sizeof rows / sizeof rows[0]},
    sizeof(inspect_values),
    run};
