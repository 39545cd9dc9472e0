/* pileup_draw.c - reads to pixels, as DeepVariant 1.3's pileup encoder (docs/GENOMICS.md cites it).
 *
 * Every pixel of a read carries its base and base quality, and the read's mapping quality, strand and support.  An
 * insertion or deletion of any length is one pixel over its anchor, the base before it: base 0, "differs", and the
 * quality of the first inserted base or of the base before the deletion.  Deleted columns stay black, clipped bases are
 * not drawn.  A read whose pixel at the site is of too poor quality is left out whole. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/genomics/pileup_int.h"

enum {
    ROW_BYTES = PILEUP_WIDTH * PILEUP_CHANNELS,
    N_READ_ROWS = PILEUP_HEIGHT - PILEUP_REFERENCE_ROWS,
    BASE_QUALITY_CAP = 40,
    MAPPING_QUALITY_CAP = 60,
    REFERENCE_QUALITY = 60,
    FORWARD = 70,
    REVERSE = 240,
    /* 254 times an opacity, cut to whole numbers */
    SUPPORTS = 254,     /* 1.0 */
    SUPPORTS_NOT = 152, /* 0.6 */
    DIFFERS = 254,      /* 1.0 */
    DIFFERS_NOT = 50,   /* 0.2 */
};

static uint8_t base_colour(char base)
{
    switch (base) {
    case 'A':
        return 40 + 3 * 70;
    case 'G':
        return 40 + 2 * 70;
    case 'T':
        return 30 + 70;
    case 'C':
        return 30;
    default: /* N, and '*' for an insertion or deletion */
        return 0;
    }
}

static uint8_t quality_colour(uint32_t quality, uint32_t cap)
{
    return (uint8_t)(254.0f * ((float)(quality < cap ? quality : cap) / (float)cap));
}

static void put_pixel(uint8_t *pixel, char base, uint8_t quality, uint8_t mapping, uint8_t strand, uint8_t support,
                      bool differs)
{
    pixel[0] = base_colour(base);
    pixel[1] = quality;
    pixel[2] = mapping;
    pixel[3] = strand;
    pixel[4] = support;
    pixel[5] = differs ? DIFFERS : DIFFERS_NOT;
}

static void draw_reference(const char *bases, uint8_t *row)
{
    for (int column = 0; column < PILEUP_WIDTH; column++)
        put_pixel(row + column * PILEUP_CHANNELS, bases[column], quality_colour(REFERENCE_QUALITY, BASE_QUALITY_CAP),
                  quality_colour(REFERENCE_QUALITY, MAPPING_QUALITY_CAP), FORWARD, SUPPORTS_NOT, false);
}

/* What all pixels of a read have in common. */
typedef struct read_style {
    const pileup_view *view;
    const bam1_t *read;
    uint8_t mapping, strand, support;
    uint8_t *row;
} read_style;

/* False if the read's quality at the site is too low to draw it. */
static bool draw_pixel(const read_style *style, int64_t position, int64_t read_i, char base)
{
    int64_t column = position - style->view->start;
    if (column < 0 || column >= PILEUP_WIDTH)
        return true;
    uint8_t quality = bam_get_qual(style->read)[read_i];
    if (position == style->view->site->position && quality < style->view->rules->min_base_quality)
        return false;
    put_pixel(style->row + column * PILEUP_CHANNELS, base, quality_colour(quality, BASE_QUALITY_CAP), style->mapping,
              style->strand, style->support, base != style->view->bases[column]);
    return true;
}

static bool draw_operation(const read_style *style, int op, int64_t n, int64_t position, int64_t read_i)
{
    bool good = true;
    if (op == BAM_CINS && n > 0)
        return draw_pixel(style, position - 1, read_i, '*');
    if (op == BAM_CDEL && read_i > 0)
        return draw_pixel(style, position - 1, read_i - 1, '*');
    for (int64_t i = 0; bam_cigar_type(op) == 3 && good && i < n; i++)
        good =
            draw_pixel(style, position + i, read_i + i, seq_nt16_str[bam_seqi(bam_get_seq(style->read), read_i + i)]);
    return good;
}

/* False when the read is left out; then `row` holds a part of it. */
static bool draw_read(const pileup_view *view, const bam1_t *read, uint8_t *row)
{
    memset(row, 0, ROW_BYTES);
    read_style style = {.view = view,
                        .read = read,
                        .row = row,
                        .mapping = quality_colour(read->core.qual, MAPPING_QUALITY_CAP),
                        .strand = bam_is_rev(read) ? REVERSE : FORWARD,
                        .support = pileup_supports(read, view) ? SUPPORTS : SUPPORTS_NOT};
    int64_t position = read->core.pos, read_i = 0;
    const uint32_t *cigar = bam_get_cigar(read);
    for (uint32_t k = 0; k < read->core.n_cigar; k++) {
        int op = (int)bam_cigar_op(cigar[k]), moves = bam_cigar_type(op);
        int64_t n = bam_cigar_oplen(cigar[k]);
        if (!draw_operation(&style, op, n, position, read_i))
            return false;
        read_i += (moves & 1) != 0 ? n : 0;
        position += (moves & 2) != 0 ? n : 0;
    }
    return true;
}

/* ---- the order of rows ---- */

typedef struct row_key {
    int64_t haplotype, position;
    size_t order; /* keeps the sort stable */
    const bam1_t *read;
} row_key;

static int64_t haplotype_of(const bam1_t *read, const pileup_rules *rules)
{
    const uint8_t *tag = rules->by_haplotype ? bam_aux_get(read, "HP") : NULL;
    int64_t value = tag != NULL && strchr("cCsSiI", *tag) != NULL ? bam_aux2i(tag) : 0;
    return value > 0 ? value : 0;
}

static int compare_numbers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int compare_keys(const void *left, const void *right)
{
    const row_key *a = left, *b = right;
    int by_haplotype = compare_numbers(a->haplotype, b->haplotype),
        by_position = compare_numbers(a->position, b->position);
    return by_haplotype != 0  ? by_haplotype
           : by_position != 0 ? by_position
                              : (a->order > b->order) - (a->order < b->order);
}

void pileup_draw_rows(const pileup_view *view, bam1_t **reads, size_t n, uint8_t *out)
{
    row_key keys[N_READ_ROWS];
    uint8_t trial[ROW_BYTES];
    size_t n_rows = 0;
    if (n > N_READ_ROWS)
        pileup_shuffle(reads, n, view->rules->seed);
    for (size_t i = 0; i < n && n_rows < N_READ_ROWS; i++)
        if (draw_read(view, reads[i], trial)) {
            keys[n_rows] = (row_key){haplotype_of(reads[i], view->rules), reads[i]->core.pos, n_rows, reads[i]};
            n_rows++;
        }
    qsort(keys, n_rows, sizeof keys[0], compare_keys);
    memset(out, 0, PILEUP_BYTES);
    for (int i = 0; i < PILEUP_REFERENCE_ROWS; i++)
        draw_reference(view->bases, out + (size_t)i * ROW_BYTES);
    for (size_t i = 0; i < n_rows; i++)
        draw_read(view, keys[i].read, out + (PILEUP_REFERENCE_ROWS + i) * ROW_BYTES);
}
