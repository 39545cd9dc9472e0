/* report.c - the reference findings text, and reading such a text back.
 *
 * Every finding has a sentence of its own in which its side and size stand, so that reading back needs no grammar:
 * a sentence with a "no" in it adds nothing, any other adds the findings it names, with the sides it names. */
#include "tools/phantom/wording.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { STREAM_WORDING = 4, MAX_SENTENCE = 256 };

void phantom_text_start(phantom_text *text, char *data, size_t capacity)
{
    *text = (phantom_text){.data = data, .capacity = capacity};
    data[0] = '\0';
}

void phantom_text_add(phantom_text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t room = text->capacity - text->length;
    int n = vsnprintf(text->data + text->length, room, format, args);
    va_end(args);
    if (n > 0)
        text->length += (size_t)n < room ? (size_t)n : room - 1;
}

const char *phantom_side_word(uint8_t side)
{
    return side == PHANTOM_RIGHT ? "right" : "left";
}

const char *phantom_zone_word(uint8_t zone)
{
    static const char *const words[] = {"upper", "middle", "lower"};
    return words[zone];
}

const char *phantom_size_word(uint8_t size)
{
    static const char *const words[] = {"no", "small", "moderate", "large"};
    return words[size];
}

const char *phantom_case_view(const phantom_case *facts)
{
    return facts->view == PHANTOM_AP ? "AP" : "PA";
}

const char *phantom_case_indication(const phantom_case *facts)
{
    static const char *const reasons[] = {"cough",     "shortness of breath", "chest pain",     "fever",
                                          "follow-up", "after a fall",        "line placement", "routine check"};
    return reasons[facts->indication % (sizeof reasons / sizeof reasons[0])];
}

/* ---------------------------------------------------------------------------------------------- writing */

/* Each report is worded in one of two manners throughout, as by one of two readers. */
static void write_devices(phantom_text *out, const phantom_case *facts, bool terse)
{
    if (!facts->tube && !facts->line && !facts->pacemaker)
        phantom_text_add(out, terse ? "No support devices. " : "No lines, tubes or other devices are present. ");
    if (facts->tube)
        phantom_text_add(out, terse ? "Endotracheal tube above the carina. "
                                    : "An endotracheal tube ends above the carina. ");
    if (facts->line)
        phantom_text_add(out,
                         terse ? "Central line from the %s, tip in the superior vena cava. "
                               : "A %s central line ends in the superior vena cava. ",
                         phantom_side_word(facts->line));
    if (facts->pacemaker)
        phantom_text_add(out, terse ? "Pacemaker over the %s chest. " : "A %s pacemaker is in place. ",
                         phantom_side_word(facts->pacemaker));
}

static void write_lungs(phantom_text *out, const phantom_case *facts, bool terse)
{
    if (!facts->consolidation && !facts->nodule)
        phantom_text_add(out, terse ? "Clear lungs. " : "The lungs are clear. ");
    if (facts->consolidation)
        phantom_text_add(out,
                         terse ? "Consolidation of the %s %s zone. " : "There is consolidation in the %s %s zone. ",
                         phantom_side_word(facts->consolidation), phantom_zone_word(facts->consolidation_zone));
    if (facts->nodule)
        phantom_text_add(out, terse ? "Nodule, %s, in the %s %s zone. " : "There is a %s nodule in the %s %s zone. ",
                         phantom_size_word(facts->nodule_size), phantom_side_word(facts->nodule),
                         phantom_zone_word(facts->nodule_zone));
}

static void write_effusion(phantom_text *out, const phantom_case *facts, bool terse)
{
    uint8_t right = facts->effusion_right, left = facts->effusion_left;
    if (right && left)
        phantom_text_add(out,
                         terse ? "Pleural effusions, %s right and %s left. "
                               : "There is a %s right and a %s left pleural effusion. ",
                         phantom_size_word(right), phantom_size_word(left));
    else
        phantom_text_add(out, terse ? "Pleural effusion, %s %s. " : "There is a %s %s pleural effusion. ",
                         phantom_size_word(right ? right : left), right ? "right" : "left");
}

static void write_pleura(phantom_text *out, const phantom_case *facts, bool terse)
{
    bool effusion = facts->effusion_right || facts->effusion_left;
    if (!effusion && !facts->pneumothorax) {
        phantom_text_add(out,
                         terse ? "No effusion or pneumothorax. " : "There is no pleural effusion or pneumothorax. ");
        return;
    }
    if (effusion)
        write_effusion(out, facts, terse);
    else
        phantom_text_add(out, terse ? "No effusion. " : "There is no pleural effusion. ");
    if (facts->pneumothorax)
        phantom_text_add(out, terse ? "Pneumothorax, %s %s. " : "There is a %s %s pneumothorax. ",
                         phantom_size_word(facts->pneumothorax_size), phantom_side_word(facts->pneumothorax));
    else
        phantom_text_add(out, terse ? "No pneumothorax. " : "There is no pneumothorax. ");
}

static void write_heart_and_bones(phantom_text *out, const phantom_case *facts, bool terse)
{
    if (facts->heart == PHANTOM_NONE)
        phantom_text_add(out, terse ? "Normal heart size. " : "The heart is normal in size. ");
    else
        phantom_text_add(out, terse ? "Heart %s enlarged. " : "The heart is %s enlarged. ",
                         facts->heart == PHANTOM_LARGE ? "markedly" : "mildly");
    if (facts->fracture)
        phantom_text_add(out, terse ? "Displaced fracture of a %s rib." : "A %s rib is fractured and displaced.",
                         phantom_side_word(facts->fracture));
    else
        phantom_text_add(out, terse ? "Intact bones." : "The bones are intact.");
}

void phantom_case_report(const phantom_case *facts, char out[PHANTOM_REPORT_BYTES])
{
    phantom_rng rng = phantom_rng_open(facts->seed, STREAM_WORDING);
    bool terse = phantom_rng_below(&rng, 4) == 0;
    phantom_text text;
    phantom_text_start(&text, out, PHANTOM_REPORT_BYTES);
    write_devices(&text, facts, terse);
    write_lungs(&text, facts, terse);
    write_pleura(&text, facts, terse);
    write_heart_and_bones(&text, facts, terse);
}

/* ---------------------------------------------------------------------------------------------- reading */

/* A sentence that contains `words` (all of them) names a finding; `sided` findings take the sides of the sentence. */
typedef struct finding_rule {
    const char *words[2];
    phantom_label label; /* of the right side when sided */
    bool sided;
} finding_rule;

static const finding_rule rules[] = {
    {{"endotracheal", "tube"}, PHANTOM_TUBE, false},      {{"central", "line"}, PHANTOM_LINE_RIGHT, true},
    {{"pacemaker", NULL}, PHANTOM_PACEMAKER_RIGHT, true}, {{"consolidation", NULL}, PHANTOM_CONSOLIDATION_RIGHT, true},
    {{"nodule", NULL}, PHANTOM_NODULE_RIGHT, true},       {{"effusion", NULL}, PHANTOM_EFFUSION_RIGHT, true},
    {{"effusions", NULL}, PHANTOM_EFFUSION_RIGHT, true},  {{"pneumothorax", NULL}, PHANTOM_PNEUMOTHORAX_RIGHT, true},
    {{"heart", "enlarged"}, PHANTOM_CARDIOMEGALY, false}, {{"fracture", "rib"}, PHANTOM_FRACTURE_RIGHT, true},
    {{"fractured", "rib"}, PHANTOM_FRACTURE_RIGHT, true},
};

/* Whether `sentence` (lower-case words between single blanks, a blank at both ends) holds the word. */
static bool has_word(const char *sentence, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = strstr(sentence, word); at != NULL; at = strstr(at + 1, word))
        if (at[-1] == ' ' && at[n] == ' ')
            return true;
    return false;
}

static uint32_t findings_of_sentence(const char *sentence)
{
    uint32_t set = 0;
    if (has_word(sentence, "no") || has_word(sentence, "without"))
        return 0;
    bool both = has_word(sentence, "bilateral");
    bool right = both || has_word(sentence, "right"), left = both || has_word(sentence, "left");
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; ++i) {
        const finding_rule *rule = &rules[i];
        if (!has_word(sentence, rule->words[0]) || (rule->words[1] != NULL && !has_word(sentence, rule->words[1])))
            continue;
        if (!rule->sided || right)
            set |= 1u << rule->label;
        if (rule->sided && left)
            set |= 1u << (rule->label + 1);
    }
    return set;
}

uint32_t phantom_report_findings(const char *report)
{
    uint32_t set = 0;
    while (*report != '\0') {
        char sentence[MAX_SENTENCE] = " ";
        size_t n = 1;
        for (; *report != '\0' && *report != '.' && *report != '\n'; ++report) {
            char c = isalpha((unsigned char)*report) ? (char)tolower((unsigned char)*report) : ' ';
            if (n < MAX_SENTENCE - 2 && !(c == ' ' && sentence[n - 1] == ' '))
                sentence[n++] = c;
        }
        if (sentence[n - 1] != ' ')
            sentence[n++] = ' ';
        sentence[n] = '\0';
        set |= findings_of_sentence(sentence);
        report += *report != '\0';
    }
    return set;
}
