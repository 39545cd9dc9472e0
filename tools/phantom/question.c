/* question.c - questions about a case, in the manner of the VQA and classification tasks of Med-PaLM M.
 *
 * Two steps: collect what can sensibly be asked of the case, then draw one of it.  Nothing is asked about the side or
 * size of an absent finding. */
#include "tools/phantom/wording.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { STREAM_QUESTIONS = 16, N_FINDINGS = 9 };

typedef struct finding {
    const char *name;
    const char *article;
    phantom_label label; /* of the right side when sided */
    bool sided;
} finding;

static const finding findings[N_FINDINGS] = {
    {"endotracheal tube", "an ", PHANTOM_TUBE, false},
    {"central line", "a ", PHANTOM_LINE_RIGHT, true},
    {"pacemaker", "a ", PHANTOM_PACEMAKER_RIGHT, true},
    {"consolidation", "", PHANTOM_CONSOLIDATION_RIGHT, true},
    {"nodule", "a ", PHANTOM_NODULE_RIGHT, true},
    {"pleural effusion", "a ", PHANTOM_EFFUSION_RIGHT, true},
    {"pneumothorax", "a ", PHANTOM_PNEUMOTHORAX_RIGHT, true},
    {"cardiomegaly", "", PHANTOM_CARDIOMEGALY, false},
    {"rib fracture", "a ", PHANTOM_FRACTURE_RIGHT, true},
};

static bool on_right(uint32_t labels, const finding *f)
{
    return (labels >> f->label & 1u) != 0;
}

static bool on_left(uint32_t labels, const finding *f)
{
    return f->sided && (labels >> (f->label + 1) & 1u) != 0;
}

static bool is_present(uint32_t labels, const finding *f)
{
    return on_right(labels, f) || on_left(labels, f);
}

/* One of the findings that are (or are not) present; NULL when there is none. */
static const finding *pick_finding(uint32_t labels, bool present, bool sided_only, phantom_rng *rng)
{
    const finding *fitting[N_FINDINGS];
    uint32_t n = 0;
    for (size_t i = 0; i < N_FINDINGS; ++i)
        if (is_present(labels, &findings[i]) == present && (findings[i].sided || !sided_only))
            fitting[n++] = &findings[i];
    return n > 0 ? fitting[phantom_rng_below(rng, n)] : NULL;
}

static void set(char out[PHANTOM_TEXT_BYTES], const char *text)
{
    snprintf(out, PHANTOM_TEXT_BYTES, "%s", text);
}

/* ------------------------------------------------------------------------------------ yes or no */

/* Draws the answer first, so that "yes" and "no" are balanced; a normal case has only "no" to offer. */
static const finding *pick_presence(uint32_t labels, phantom_rng *rng, bool *yes)
{
    *yes = phantom_rng_below(rng, 2) == 0;
    const finding *f = pick_finding(labels, *yes, false, rng);
    if (f == NULL) {
        *yes = !*yes;
        f = pick_finding(labels, *yes, false, rng);
    }
    return f;
}

static void ask_classify(uint32_t labels, phantom_rng *rng, phantom_question *out)
{
    bool yes;
    const finding *f = pick_presence(labels, rng, &yes);
    set(out->text, f->name);
    set(out->answer, yes ? "Yes." : "No.");
}

static void ask_closed(uint32_t labels, phantom_rng *rng, phantom_question *out)
{
    bool yes;
    const finding *f = pick_presence(labels, rng, &yes);
    bool with_side = f->sided && phantom_rng_below(rng, 3) == 0;
    bool ask_right = phantom_rng_below(rng, 2) == 0;
    if (with_side) {
        yes = ask_right ? on_right(labels, f) : on_left(labels, f);
        snprintf(out->text, sizeof out->text, "Is there %s%s on the %s?", f->article, f->name,
                 ask_right ? "right" : "left");
    } else {
        snprintf(out->text, sizeof out->text, "Is there %s%s?", f->article, f->name);
    }
    set(out->answer, yes ? "yes" : "no");
}

/* ------------------------------------------------------------------------------------- open and choice */

/* Something to ask, with the options a choice would offer; options[right] is true. */
typedef struct item {
    char text[PHANTOM_TEXT_BYTES];
    const char *options[PHANTOM_MAX_OPTIONS];
    uint32_t n_options, right;
} item;

static void ask_view(const phantom_case *facts, item *out)
{
    *out = (item){.options = {"PA", "AP"}, .n_options = 2, .right = facts->view};
    set(out->text, "Which view is shown?");
}

static void ask_heart(const phantom_case *facts, item *out)
{
    *out = (item){.options = {"normal", "mildly enlarged", "markedly enlarged"}, .n_options = 3};
    out->right = facts->heart == PHANTOM_NONE ? 0 : facts->heart == PHANTOM_SMALL ? 1 : 2;
    set(out->text, "What is the size of the heart?");
}

static bool ask_side(uint32_t labels, phantom_rng *rng, item *out)
{
    const finding *f = pick_finding(labels, true, true, rng);
    if (f == NULL)
        return false;
    *out = (item){.options = {"right", "left", "both sides"}, .n_options = f->label == PHANTOM_EFFUSION_RIGHT ? 3 : 2};
    out->right = on_right(labels, f) && on_left(labels, f) ? 2 : on_right(labels, f) ? 0 : 1;
    snprintf(out->text, sizeof out->text, "On which side is the %s?", f->name);
    return true;
}

static bool ask_zone(const phantom_case *facts, phantom_rng *rng, item *out)
{
    bool nodule = facts->nodule && (!facts->consolidation || phantom_rng_below(rng, 2) == 0);
    if (!nodule && !facts->consolidation)
        return false;
    *out = (item){.options = {"upper", "middle", "lower"}, .n_options = 3};
    out->right = nodule ? facts->nodule_zone : facts->consolidation_zone;
    snprintf(out->text, sizeof out->text, "In which zone is the %s?", nodule ? "nodule" : "consolidation");
    return true;
}

static bool ask_size(const phantom_case *facts, phantom_rng *rng, item *out)
{
    struct {
        const char *name;
        uint8_t size;
        bool three;
    } all[4] = {{"nodule", facts->nodule_size, false},
                {"pneumothorax", facts->pneumothorax_size, false},
                {"right pleural effusion", facts->effusion_right, true},
                {"left pleural effusion", facts->effusion_left, true}};
    uint32_t fitting[4], n = 0;
    for (uint32_t i = 0; i < 4; ++i)
        if (all[i].size != PHANTOM_NONE)
            fitting[n++] = i;
    if (n == 0)
        return false;
    uint32_t pick = fitting[phantom_rng_below(rng, n)];
    if (all[pick].three)
        *out = (item){.options = {"small", "moderate", "large"}, .n_options = 3, .right = all[pick].size - 1u};
    else
        *out = (item){.options = {"small", "large"}, .n_options = 2, .right = all[pick].size == PHANTOM_LARGE};
    snprintf(out->text, sizeof out->text, "How large is the %s?", all[pick].name);
    return true;
}

/* One finding that is there among three that are not. */
static bool ask_which(uint32_t labels, phantom_rng *rng, item *out)
{
    const finding *right = pick_finding(labels, true, false, rng);
    if (right == NULL)
        return false;
    *out = (item){.options = {right->name}, .n_options = 1};
    uint32_t hidden = labels | (1u << right->label);
    while (out->n_options < PHANTOM_MAX_OPTIONS) {
        const finding *wrong = pick_finding(hidden, false, false, rng);
        if (wrong == NULL)
            break;
        out->options[out->n_options++] = wrong->name;
        hidden |= 1u << wrong->label;
    }
    set(out->text, "Which finding is present?");
    return out->n_options >= 2;
}

/* Draw a kind of question until one fits the case; the view can always be asked. */
static void draw_item(const phantom_case *facts, uint32_t labels, bool choice, phantom_rng *rng, item *out)
{
    for (;;) {
        switch (phantom_rng_below(rng, choice ? 6 : 5)) {
        case 0:
            ask_view(facts, out);
            return;
        case 1:
            ask_heart(facts, out);
            return;
        case 2:
            if (ask_side(labels, rng, out))
                return;
            break;
        case 3:
            if (ask_zone(facts, rng, out))
                return;
            break;
        case 4:
            if (ask_size(facts, rng, out))
                return;
            break;
        default:
            if (ask_which(labels, rng, out))
                return;
            break;
        }
    }
}

static void ask_open(const phantom_case *facts, uint32_t labels, phantom_rng *rng, phantom_question *out)
{
    item it;
    draw_item(facts, labels, false, rng, &it);
    memcpy(out->text, it.text, sizeof out->text);
    set(out->answer, it.options[it.right]);
}

static void ask_choice(const phantom_case *facts, uint32_t labels, phantom_rng *rng, phantom_question *out)
{
    item it;
    draw_item(facts, labels, true, rng, &it);
    memcpy(out->text, it.text, sizeof out->text);
    const char *right = it.options[it.right];
    for (uint32_t i = it.n_options - 1; i > 0; --i) { /* Fisher and Yates */
        uint32_t j = phantom_rng_below(rng, i + 1);
        const char *swapped = it.options[i];
        it.options[i] = it.options[j];
        it.options[j] = swapped;
    }
    for (uint32_t i = 0; i < it.n_options; ++i) {
        set(out->options[i], it.options[i]);
        out->options[i][0] = (char)toupper((unsigned char)out->options[i][0]);
    }
    out->n_options = it.n_options;
    snprintf(out->answer, sizeof out->answer, "%s.", right);
    out->answer[0] = (char)toupper((unsigned char)out->answer[0]);
}

void phantom_case_question(const phantom_case *facts, phantom_question_kind kind, uint64_t index, phantom_question *out)
{
    phantom_rng rng = phantom_rng_open(facts->seed, STREAM_QUESTIONS + 4 * index + (uint64_t)kind);
    uint32_t labels = phantom_case_labels(facts);
    memset(out, 0, sizeof *out);
    switch (kind) {
    case PHANTOM_CLOSED:
        ask_closed(labels, &rng, out);
        break;
    case PHANTOM_CLASSIFY:
        ask_classify(labels, &rng, out);
        break;
    case PHANTOM_CHOICE:
        ask_choice(facts, labels, &rng, out);
        break;
    case PHANTOM_OPEN:
        ask_open(facts, labels, &rng, out);
        break;
    }
}
