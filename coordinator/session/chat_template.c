/* chat_template.c - a conversation as the text that the model was trained on.
 *
 *     messages    system "Be brief."   user "Hi"                         assistant ...
 *     chatml      <|im_start|>system\nBe brief.<|im_end|>\n  <|im_start|>user\nHi<|im_end|>\n  <|im_start|>assistant\n
 *     gemma       <start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n  <start_of_turn>model\n
 *     mistral     [INST] Be brief.\n\nHi [/INST]
 *
 * A row of `formats` holds, for each role, the text before and after a turn, and the text before the answer.  Families
 * without a system role put the system text at the start of the first user turn.  A template is recognised by `marks`;
 * the first row that fits wins, so rows with more specific marks come first. */
#include "coordinator/session/chat_template.h"

#include <stdlib.h>
#include <string.h>

#define NAMES "chatml, llama3, gemma, mistral, mistral-v3, llama2, none"

typedef struct turn_markup {
    const char *prefix, *suffix;
} turn_markup;

struct chat_format {
    const char *name;
    const char *marks[2]; /* a template with all of them is of this format; the first row that fits wins */
    turn_markup system, user, assistant;
    const char *reply;     /* the text before the answer that is asked for */
    const char *end_token; /* of the assistant's turn */
    bool system_in_user;   /* the system text is put at the start of the first user turn */
    bool trims;            /* white space around a turn's text is removed */
};

/* Sources: the chat_template of the models' tokenizer_config.json.  Llama 3.1's adds lines with dates to the
 * system turn, which would make an answer depend on the clock; they are left out.  BOS is added by text_start_id. */
static const chat_format formats[] = {
    {.name = "chatml", /* Qwen 2, SmolLM2 */
     .marks = {"<|im_start|>"},
     .system = {"<|im_start|>system\n", "<|im_end|>\n"},
     .user = {"<|im_start|>user\n", "<|im_end|>\n"},
     .assistant = {"<|im_start|>assistant\n", "<|im_end|>\n"},
     .reply = "<|im_start|>assistant\n",
     .end_token = "<|im_end|>"},
    {.name = "llama3",
     .marks = {"<|start_header_id|>"},
     .system = {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
     .user = {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
     .assistant = {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
     .reply = "<|start_header_id|>assistant<|end_header_id|>\n\n",
     .end_token = "<|eot_id|>",
     .trims = true},
    {.name = "gemma",
     .marks = {"<start_of_turn>"},
     .system = {"", "\n\n"},
     .user = {"<start_of_turn>user\n", "<end_of_turn>\n"},
     .assistant = {"<start_of_turn>model\n", "<end_of_turn>\n"},
     .reply = "<start_of_turn>model\n",
     .end_token = "<end_of_turn>",
     .system_in_user = true,
     .trims = true},
    {.name = "llama2",
     .marks = {"[INST]", "<<SYS>>"},
     .system = {"<<SYS>>\n", "\n<</SYS>>\n\n"},
     .user = {"[INST] ", " [/INST]"},
     .assistant = {" ", " </s><s>"},
     .reply = "",
     .end_token = "</s>",
     .system_in_user = true,
     .trims = true},
    {.name = "mistral", /* 7B Instruct v0.1 and v0.2, LLaVA-Med 1.5 */
     .marks = {"[INST]", " [/INST]"},
     .system = {"", "\n\n"},
     .user = {"[INST] ", " [/INST]"},
     .assistant = {" ", "</s>"},
     .reply = "",
     .end_token = "</s>",
     .system_in_user = true},
    {.name = "mistral-v3", /* the tokenizers where [INST] is a control token */
     .marks = {"[INST]", "[/INST]"},
     .system = {"", "\n\n"},
     .user = {"[INST] ", "[/INST]"},
     .assistant = {" ", "</s>"},
     .reply = "",
     .end_token = "</s>",
     .system_in_user = true},
    {.name = "none",
     .system = {"", "\n\n"},
     .user = {"", ""},
     .assistant = {"", ""},
     .reply = "",
     .system_in_user = true},
};

enum { N_FORMATS = sizeof formats / sizeof formats[0] };

/* System texts that templates of the first format insert when a chat has none. */
static const char *const default_systems[] = {
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
    "You are a helpful assistant.",
};

/* ---- recognising a template ---- */

static bool has_mark(const char *template, size_t size, const char *mark)
{
    return mark == NULL || memmem(template, size, mark, strlen(mark)) != NULL;
}

static const chat_format *detect(const char *template, size_t size)
{
    for (size_t i = 0; i < N_FORMATS; i++) {
        const chat_format *f = &formats[i];
        if (f->marks[0] != NULL && has_mark(template, size, f->marks[0]) && has_mark(template, size, f->marks[1]))
            return f;
    }
    return NULL;
}

static const char *default_system_of(const char *template, size_t size)
{
    for (size_t i = 0; i < sizeof default_systems / sizeof default_systems[0]; i++)
        if (has_mark(template, size, default_systems[i]))
            return default_systems[i];
    return NULL;
}

base_status chat_choose(const char *wanted, const text_tokenizer *tokenizer, chat_setup *out, base_error *error)
{
    size_t size;
    const char *template = text_chat_template(tokenizer, &size);
    chat_setup setup = {.format = detect(template, size)};
    setup.is_unknown = setup.format == NULL && size > 0;
    if (setup.format == &formats[0])
        setup.default_system = default_system_of(template, size);
    for (size_t i = 0; i < N_FORMATS && strcmp(wanted, "auto") != 0; i++) {
        if (strcmp(wanted, formats[i].name) == 0) {
            bool is_own = setup.format == &formats[i];
            *out = (chat_setup){.format = &formats[i], .default_system = is_own ? setup.default_system : NULL};
            return BASE_OK;
        }
    }
    if (strcmp(wanted, "auto") != 0)
        return base_fail(error, BASE_EINVAL, "unknown chat template '%.40s'; known are auto, " NAMES, wanted);
    *out = setup;
    return BASE_OK;
}

const char *chat_name(const chat_setup *setup)
{
    return setup->format != NULL ? setup->format->name : "";
}

int32_t chat_end_id(const chat_setup *setup, const text_tokenizer *tokenizer)
{
    const char *end = setup->format != NULL ? setup->format->end_token : NULL;
    int32_t id = end != NULL ? text_find_id(tokenizer, end) : -1;
    return id >= 0 && text_control_spelling(tokenizer, id) != NULL ? id : -1;
}

bool chat_message_of(const char *name, const char *value, chat_message *out)
{
    static const struct {
        const char *name;
        chat_role role;
    } fields[] = {{"system", CHAT_SYSTEM}, {"user", CHAT_USER}, {"image", CHAT_USER}, {"assistant", CHAT_ASSISTANT}};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (strcmp(fields[i].name, name) == 0) {
            *out = (chat_message){.role = fields[i].role, .text = strcmp(name, "image") == 0 ? NULL : value};
            return true;
        }
    return false;
}

/* ---- rendering ---- */

typedef struct writer {
    const chat_setup *setup;
    chat_part *parts; /* room for all: see chat_render */
    size_t n;
} writer;

static void put_markup(writer *w, const char *text)
{
    if (text[0] != '\0')
        w->parts[w->n++] = (chat_part){.text = text, .size = strlen(text), .is_trusted = true};
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The messages of one turn, trimmed at its two ends. */
static void put_messages(writer *w, const chat_message *messages, size_t n)
{
    bool trims = w->setup->format->trims;
    for (size_t i = 0; i < n; i++) {
        const char *text = messages[i].text;
        size_t size = text != NULL ? strlen(text) : 0;
        while (trims && i == 0 && size > 0 && is_blank(text[0])) {
            text++;
            size--;
        }
        while (trims && i == n - 1 && size > 0 && is_blank(text[size - 1]))
            size--;
        if (text == NULL || size > 0)
            w->parts[w->n++] = (chat_part){.text = text, .size = size};
    }
}

static void put_turn(writer *w, const turn_markup *around, const chat_message *messages, size_t n)
{
    put_markup(w, around->prefix);
    put_messages(w, messages, n);
    put_markup(w, around->suffix);
}

/* The number of messages from `at` on that are one turn. */
static size_t turn_length(const chat_message *messages, size_t n, size_t at)
{
    size_t end = at;
    while (end < n && messages[end].role == messages[at].role)
        end++;
    return end - at;
}

static void put_all(writer *w, const chat_message *messages, size_t n)
{
    const chat_format *f = w->setup->format;
    const chat_message standard = {.role = CHAT_SYSTEM, .text = w->setup->default_system};
    size_t n_system = messages[0].role == CHAT_SYSTEM ? turn_length(messages, n, 0) : 0;
    const chat_message *system = n_system > 0 ? messages : &standard;
    size_t n_shown = n_system > 0 ? n_system : standard.text != NULL;
    if (n_shown > 0 && !f->system_in_user)
        put_turn(w, &f->system, system, n_shown);
    for (size_t at = n_system, length; at < n; at += length) {
        length = turn_length(messages, n, at);
        const turn_markup *around = messages[at].role == CHAT_USER ? &f->user : &f->assistant;
        put_markup(w, around->prefix);
        if (at == n_system && n_shown > 0 && f->system_in_user)
            put_turn(w, &f->system, system, n_shown);
        put_messages(w, messages + at, length);
        put_markup(w, around->suffix);
    }
    put_markup(w, f->reply);
}

static base_status check_messages(const chat_message *messages, size_t n, base_error *error)
{
    size_t n_system = n > 0 && messages[0].role == CHAT_SYSTEM ? turn_length(messages, n, 0) : 0;
    for (size_t i = n_system; i < n; i++)
        if (messages[i].role == CHAT_SYSTEM)
            return base_fail(error, BASE_EINVAL, "a chat has a system text after its first turn; it must come first");
    if (n == n_system || messages[n_system].role != CHAT_USER)
        return base_fail(error, BASE_EINVAL, "a chat begins with the user's turn; add the field 'user'");
    if (messages[n - 1].role != CHAT_USER)
        return base_fail(error, BASE_EINVAL,
                         "a chat ends with the user's turn, which the model answers; add the field 'user'");
    return BASE_OK;
}

base_status chat_render(const chat_setup *setup, const chat_message *messages, size_t n, chat_part **parts,
                        size_t *n_parts, base_error *error)
{
    if (setup->format == NULL)
        return base_fail(error, BASE_EUNSUPPORTED,
                         "the model has %s; known are " NAMES
                         "; start the server with --chat NAME, or --chat none for no markup",
                         setup->is_unknown ? "a chat template that is not recognised" : "no chat template");
    base_status status = check_messages(messages, n, error);
    if (status != BASE_OK)
        return status;
    /* at most three parts per message, and once more those of the system text and the reply */
    writer w = {.setup = setup, .parts = calloc(3 * n + 8, sizeof *w.parts)};
    if (w.parts == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a chat of %zu messages", n);
    put_all(&w, messages, n);
    *parts = w.parts;
    *n_parts = w.n;
    return BASE_OK;
}
