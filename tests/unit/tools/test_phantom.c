/* The phantom library: same seed, same case; reports read back exactly; held-out seeds stay held out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/phantom/phantom.h"

enum { N_ROUND_TRIPS = 2000, N_FUZZ = 5000 };

#define GOLDEN_TEXTS 0x536bb1a9265cf7baULL

/* FNV-1a, to compare many bytes with one number. */
static uint64_t hash(uint64_t start, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < size; ++i)
        start = (start ^ at[i]) * 0x100000001b3ULL;
    return start;
}

static void facts_and_texts_of_a_seed_never_change(void **state)
{
    (void)state;
    uint64_t sum = 0xcbf29ce484222325ULL;
    for (uint64_t index = 0; index < 100; ++index) {
        phantom_case facts;
        char report[PHANTOM_REPORT_BYTES];
        phantom_case_init(&facts, phantom_seed(PHANTOM_HELD_OUT, index));
        phantom_case_report(&facts, report);
        uint32_t labels = phantom_case_labels(&facts);
        sum = hash(sum, report, strlen(report));
        sum = hash(sum, &labels, sizeof labels);
        for (phantom_question_kind kind = PHANTOM_OPEN; kind <= PHANTOM_CHOICE; ++kind) {
            phantom_question question;
            phantom_case_question(&facts, kind, 3, &question);
            sum = hash(sum, question.text, strlen(question.text));
            sum = hash(sum, question.answer, strlen(question.answer));
        }
    }
    /* A checkpoint is trained on these texts and scored on these seeds: a change here asks for a new training. */
    assert_int_equal(sum, GOLDEN_TEXTS);
}

static void drawing_repeats_and_uses_its_range(void **state)
{
    (void)state;
    for (uint64_t index = 0; index < 8; ++index) {
        phantom_case facts;
        phantom_case_init(&facts, phantom_seed(PHANTOM_HELD_OUT, index));
        phantom_image first, second;
        assert_int_equal(phantom_case_draw(&facts, &first), BASE_OK);
        assert_int_equal(phantom_case_draw(&facts, &second), BASE_OK);
        size_t n = (size_t)first.width * first.height;
        assert_int_equal(first.width, second.width);
        assert_memory_equal(first.pixels, second.pixels, n * sizeof *first.pixels);
        uint32_t low = first.max_value, high = 0;
        for (size_t i = 0; i < n; ++i) {
            low = first.pixels[i] < low ? first.pixels[i] : low;
            high = first.pixels[i] > high ? first.pixels[i] : high;
        }
        assert_true(high <= first.max_value && high > first.max_value * 3 / 4);
        assert_true(low < first.max_value / 8);
        phantom_image_release(&first);
        phantom_image_release(&second);
    }
}

static void every_finding_leaves_a_mark(void **state)
{
    (void)state;
    for (uint64_t index = 0; index < 60; ++index) {
        phantom_case facts;
        phantom_case_init(&facts, phantom_seed(PHANTOM_HELD_OUT, index));
        phantom_image image;
        assert_int_equal(phantom_case_draw(&facts, &image), BASE_OK);
        uint32_t patches[16 * 16], seen = 0;
        phantom_image_patch_labels(&image, 16, patches);
        for (size_t i = 0; i < sizeof patches / sizeof patches[0]; ++i)
            seen |= patches[i];
        assert_int_equal(seen, phantom_case_labels(&facts));
        phantom_image_release(&image);
    }
}

static void grey_buffers_are_scaled(void **state)
{
    (void)state;
    uint16_t pixels[] = {0, 1, 2048, 4094, 4095};
    phantom_image image = {.pixels = pixels, .width = 5, .height = 1, .max_value = 4095};
    uint8_t u8[5];
    uint16_t u16[5];
    phantom_image_to_u8(&image, u8);
    phantom_image_to_u16(&image, u16);
    assert_memory_equal(u8, ((uint8_t[]){0, 0, 128, 255, 255}), sizeof u8);
    assert_memory_equal(u16, ((uint16_t[]){0, 16, 32776, 65519, 65535}), sizeof u16);
}

static void reports_read_back_exactly(void **state)
{
    (void)state;
    uint32_t met = 0;
    for (uint64_t index = 0; index < N_ROUND_TRIPS; ++index) {
        phantom_case facts;
        char report[PHANTOM_REPORT_BYTES];
        phantom_case_init(&facts, phantom_seed(PHANTOM_TRAIN, index));
        phantom_case_report(&facts, report);
        assert_true(strlen(report) < PHANTOM_REPORT_BYTES - 1); /* nothing was cut */
        assert_int_equal(phantom_report_findings(report), phantom_case_labels(&facts));
        met |= phantom_case_labels(&facts);
    }
    assert_int_equal(met, (1u << PHANTOM_N_LABELS) - 1u); /* every label was tried */
}

static void other_wordings_are_read(void **state)
{
    (void)state;
    uint32_t both = 1u << PHANTOM_EFFUSION_RIGHT | 1u << PHANTOM_EFFUSION_LEFT;
    assert_int_equal(phantom_report_findings("Bilateral pleural effusions"), both);
    assert_int_equal(phantom_report_findings("NODULE in the LEFT lung."), 1u << PHANTOM_NODULE_LEFT);
    assert_int_equal(phantom_report_findings("Lungs without consolidation on the left."), 0);
    assert_int_equal(phantom_report_findings("A nodule."), 0); /* no side, no label */
    assert_int_equal(phantom_report_findings("Right rib fracture, no left nodule."), 0);
}

/* Words of reports and rubbish, in any order and length: the reader must stay inside its buffers and its label range.
 */
static void reader_survives_hostile_text(void **state)
{
    (void)state;
    static const char *const pieces[] = {"pneumothorax",
                                         "right ",
                                         "left",
                                         ".",
                                         "..",
                                         " ",
                                         "\n",
                                         "no",
                                         "\xff\xfe",
                                         "nodule ",
                                         "heart enlarged",
                                         "\t",
                                         "fracture",
                                         "rib",
                                         "effusioneffusion",
                                         "-",
                                         "A"};
    phantom_rng rng = phantom_rng_open(1, 1);
    assert_int_equal(phantom_report_findings(""), 0);
    for (int i = 0; i < N_FUZZ; ++i) {
        char text[1200] = "";
        size_t n = 0;
        for (uint32_t left = phantom_rng_below(&rng, 60); left > 0; --left) {
            const char *piece = pieces[phantom_rng_below(&rng, sizeof pieces / sizeof pieces[0])];
            memcpy(text + n, piece, strlen(piece) + 1);
            n += strlen(piece);
        }
        assert_int_equal(phantom_report_findings(text) >> PHANTOM_N_LABELS, 0);
    }
    char *endless = malloc(100001);
    assert_non_null(endless);
    memset(endless, 'x', 100000);
    endless[100000] = '\0';
    assert_int_equal(phantom_report_findings(endless), 0);
    free(endless);
}

static void namespaces_do_not_meet(void **state)
{
    (void)state;
    for (uint64_t index = 1; index != 0; index <<= 1) {
        uint64_t train = phantom_seed(PHANTOM_TRAIN, index), held_out = phantom_seed(PHANTOM_HELD_OUT, index);
        assert_int_equal(train >> 56, PHANTOM_TRAIN);
        assert_int_equal(phantom_seed(PHANTOM_VALIDATION, index) >> 56, PHANTOM_VALIDATION);
        assert_int_equal(held_out >> 56, PHANTOM_HELD_OUT);
    }
}

static bool is_option(const phantom_question *question)
{
    size_t n = strlen(question->answer) - 1; /* without the period */
    for (uint32_t i = 0; i < question->n_options; ++i)
        if (strlen(question->options[i]) == n && strncmp(question->options[i], question->answer, n) == 0)
            return true;
    return false;
}

static void questions_fit_their_case(void **state)
{
    (void)state;
    unsigned n_yes = 0, n_asked = 0;
    for (uint64_t index = 0; index < 400; ++index) {
        phantom_case facts;
        phantom_question question;
        phantom_case_init(&facts, phantom_seed(PHANTOM_HELD_OUT, index));
        phantom_case_question(&facts, PHANTOM_CHOICE, index, &question);
        assert_true(question.n_options >= 2 && question.n_options <= PHANTOM_MAX_OPTIONS);
        assert_true(is_option(&question));
        phantom_case_question(&facts, PHANTOM_OPEN, index, &question);
        assert_true(question.answer[0] != '\0' && question.n_options == 0);
        phantom_case_question(&facts, PHANTOM_CLASSIFY, index, &question);
        bool yes = strcmp(question.answer, "Yes.") == 0;
        assert_true(yes || strcmp(question.answer, "No.") == 0);
        n_yes += yes;
        ++n_asked;
    }
    assert_true(n_yes * 10 > n_asked * 4 && n_yes * 10 < n_asked * 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_and_texts_of_a_seed_never_change),
        cmocka_unit_test(drawing_repeats_and_uses_its_range),
        cmocka_unit_test(every_finding_leaves_a_mark),
        cmocka_unit_test(grey_buffers_are_scaled),
        cmocka_unit_test(reports_read_back_exactly),
        cmocka_unit_test(other_wordings_are_read),
        cmocka_unit_test(reader_survives_hostile_text),
        cmocka_unit_test(namespaces_do_not_meet),
        cmocka_unit_test(questions_fit_their_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
