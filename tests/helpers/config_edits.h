/* config_edits.h - configurations of tests/golden/configs as they are, or with a word changed.  Included by one test
 * program each. */
#ifndef PALMGROVE_TEST_CONFIG_EDITS_H
#define PALMGROVE_TEST_CONFIG_EDITS_H

#include <string.h>

#include "proto/base/buf.h"
#include "sharding/arch.h"
#include "sharding/model_file.h"

/* The text of a configuration file and a NUL; of `name` itself when it is one. */
static void load_config(const char *name, base_buf *text)
{
    base_error error = {0};
    if (name[0] == '{')
        base_buf_put(text, name, strlen(name));
    else if (shard_file_read(PALMGROVE_SOURCE_DIR "/tests/golden/configs", name, text, &error) != BASE_OK)
        fail_msg("%s", error.text);
    base_buf_put(text, "", 1);
}

/* The same with the first `from` replaced by `to`. */
static base_status parse_edited(const char *name, const char *from, const char *to, arch *out, base_error *error)
{
    base_buf text = {0}, changed = {0};
    load_config(name, &text);
    const char *all = (const char *)text.data, *at = strstr(all, from);
    if (at == NULL)
        fail_msg("'%s' is not in %s", from, name);
    base_buf_put(&changed, all, (size_t)(at - all));
    base_buf_put(&changed, to, strlen(to));
    base_buf_put(&changed, at + strlen(from), strlen(at + strlen(from)));
    assert_false(changed.failed);
    base_status status = arch_parse("config.json", changed.data, changed.size, out, error);
    base_buf_release(&text);
    base_buf_release(&changed);
    return status;
}

static arch edited(const char *name, const char *from, const char *to)
{
    arch a;
    base_error error = {0};
    if (parse_edited(name, from, to, &a, &error) != BASE_OK)
        fail_msg("%s", error.text);
    return a;
}

static arch parsed(const char *name)
{
    return edited(name, "", "");
}

#endif
