/* pileup_site.c - a candidate site, and its text form "chr20:1000:A:G". */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/genomics/site_int.h"

void pileup_site_release(pileup_site *site)
{
    for (size_t i = 0; i < site->n_alts; i++)
        free(site->alts[i]);
    free(site->alts);
    free(site->contig);
    free(site->ref);
    *site = (pileup_site){0};
}

char *site_upper_copy(const char *text, size_t size)
{
    char *copy = strndup(text, size);
    for (char *c = copy; c != NULL && *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
    return copy;
}

bool site_is_sequence(const char *allele)
{
    return *allele != '\0' && strspn(allele, "ACGTN") == strlen(allele);
}

bool site_push_alt(pileup_site *site, char *allele)
{
    char **alts = allele == NULL ? NULL : realloc(site->alts, (site->n_alts + 1) * sizeof *alts);
    if (alts == NULL) {
        free(allele);
        return false;
    }
    site->alts = alts;
    alts[site->n_alts++] = allele;
    return true;
}

/* Cut "contig:position:ref:alts" at its last three colons; false when there are fewer. */
static bool find_colons(const char *text, const char *colons[3])
{
    const char *end = text + strlen(text);
    for (int i = 2; i >= 0; i--) {
        while (end > text && end[-1] != ':')
            end--;
        if (end == text)
            return false;
        colons[i] = --end;
    }
    return colons[0] > text;
}

static bool parse_position(const char *from, const char *to, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = isdigit((unsigned char)*from) ? strtoll(from, &end, 10) : 0;
    if (value < 1 || errno != 0 || end != to)
        return false;
    *out = value - 1;
    return true;
}

static base_status parse_alts(const char *text, pileup_site *site, base_error *error)
{
    for (;;) {
        size_t size = strcspn(text, ",");
        if (!site_push_alt(site, site_upper_copy(text, size)))
            return base_fail(error, BASE_ENOMEM, "no memory for an allele of %zu bases", size);
        const char *alt = site->alts[site->n_alts - 1];
        if (!site_is_sequence(alt) || strcmp(alt, site->ref) == 0)
            return base_fail(error, BASE_EINVAL,
                             "'%.40s' is no alternative allele of '%.40s': bases of A, C, G, T, N that differ from it",
                             alt, site->ref);
        if (text[size] == '\0')
            return BASE_OK;
        text += size + 1;
    }
}

static base_status fill_site(const char *text, pileup_site *site, base_error *error)
{
    const char *colons[3];
    if (!find_colons(text, colons) || !parse_position(colons[0] + 1, colons[1], &site->position))
        return base_fail(error, BASE_EINVAL, "'%.80s' is no site; write chr20:1000:A:G", text);
    if (strlen(colons[1]) > 2 * PILEUP_ALLELE_MAX)
        return base_fail(error, BASE_ETOOBIG, "the alleles of a site may have %d bases", PILEUP_ALLELE_MAX);
    site->contig = strndup(text, (size_t)(colons[0] - text));
    site->ref = site_upper_copy(colons[1] + 1, (size_t)(colons[2] - colons[1] - 1));
    if (site->contig == NULL || site->ref == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a site");
    if (!site_is_sequence(site->ref))
        return base_fail(error, BASE_EINVAL, "'%.40s' is no reference allele: bases of A, C, G, T, N", site->ref);
    return parse_alts(colons[2] + 1, site, error);
}

base_status pileup_site_parse(const char *text, pileup_site *out, base_error *error)
{
    pileup_site site = {0};
    base_status status = fill_site(text, &site, error);
    if (status == BASE_OK)
        *out = site;
    else
        pileup_site_release(&site);
    return status;
}
