/* genotype.c - merge the answers about the images of a site, and write VCF. */
#include "coordinator/genomics/genotype.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Probabilities below this are rounding errors of a softmax; a logarithm of zero has no place in a file. */
#define LEAST_PROBABILITY 1e-99

static double phred(double probability)
{
    double quality = -10.0 * log10(probability > LEAST_PROBABILITY ? probability : LEAST_PROBABILITY);
    return quality > 0.0 ? quality : 0.0; /* not -0 */
}

void genotype_copies(const double scores[3], double copies[3])
{
    for (int i = 0; i < 3; i++) {
        double sum = 0.0;
        for (int k = 0; k < 3; k++)
            sum += exp(scores[k] - scores[i]);
        copies[i] = 1.0 / sum;
    }
}

/* 1 if the image counts allele `a` (0: the reference) as support. */
static size_t supports(const genotype_pileup *image, size_t a)
{
    return a == image->first + 1 || a == image->second + 1;
}

void genotype_merge(size_t n_alts, const genotype_pileup *images, size_t n_images, genotype_call *out)
{
    double sum = 0.0;
    size_t n = 0, best = 0;
    *out = (genotype_call){.n_alts = n_alts};
    for (size_t b = 0; b <= n_alts; b++)
        for (size_t a = 0; a <= b; a++, n++) {
            double least = 1.0;
            for (size_t i = 0; i < n_images; i++)
                least = fmin(least, images[i].copies[supports(&images[i], a) + supports(&images[i], b)]);
            out->probability[n] = least;
            sum += least;
            if (least > out->probability[best] || n == 0) {
                best = n;
                out->a = a;
                out->b = b;
            }
        }
    for (size_t i = 0; i < n; i++)
        out->probability[i] = sum > 0.0 ? out->probability[i] / sum : 1.0 / (double)n;
}

static size_t n_genotypes(const genotype_call *call)
{
    return (call->n_alts + 1) * (call->n_alts + 2) / 2;
}

static size_t called(const genotype_call *call)
{
    return call->b * (call->b + 1) / 2 + call->a;
}

unsigned genotype_quality(const genotype_call *call)
{
    double wrong = 0.0; /* summed up, not 1 - right, which loses what is small */
    for (size_t i = 0; i < n_genotypes(call); i++)
        wrong += i == called(call) ? 0.0 : call->probability[i];
    double quality = round(phred(wrong));
    return quality > GENOTYPE_QUALITY_MAX ? GENOTYPE_QUALITY_MAX : quality > 0.0 ? (unsigned)quality : 0;
}

/* ---- VCF ---- */

static void put(base_buf *out, const char *text)
{
    base_buf_put(out, text, strlen(text));
}

static void put_format(base_buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Of numbers and short names. */
static void put_format(base_buf *out, const char *format, ...)
{
    char text[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    put(out, text);
}

static void put_contigs(const char *fai, base_buf *out)
{
    for (const char *line = fai; *line != '\0';) {
        size_t name = strcspn(line, "\t\n"), length = line[name] == '\t' ? strspn(line + name + 1, "0123456789") : 0;
        if (name > 0 && length > 0) {
            put(out, "##contig=<ID=");
            base_buf_put(out, line, name);
            put(out, ",length=");
            base_buf_put(out, line + name + 1, length);
            put(out, ">\n");
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
}

void genotype_write_header(const char *contigs, const char *source, const char *sample, base_buf *out)
{
    put(out, "##fileformat=VCFv4.2\n##source=");
    put(out, source);
    put(out,
        "\n##FILTER=<ID=PASS,Description=\"Has an alternative allele\">\n"
        "##FILTER=<ID=RefCall,Description=\"The genotype is that of the reference\">\n"
        "##FILTER=<ID=NotDrawn,Description=\"No picture of the site could be drawn, or it has too many alleles\">\n"
        "##FORMAT=<ID=GT,Number=1,Type=String,Description=\"Genotype\">\n"
        "##FORMAT=<ID=GQ,Number=1,Type=Integer,Description=\"Phred of the probability that the genotype is wrong\">\n"
        "##FORMAT=<ID=PL,Number=G,Type=Integer,Description=\"Phred of the genotypes' probabilities, the called one "
        "0\">\n");
    put_contigs(contigs, out);
    put(out, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t");
    put(out, sample);
    put(out, "\n");
}

static void put_likelihoods(const genotype_call *call, base_buf *out)
{
    double best = call->probability[called(call)];
    for (size_t i = 0; i < n_genotypes(call); i++) {
        put_format(out, "%s%.0f", i == 0 ? "" : ",", fmin(round(phred(call->probability[i] / best)), GENOTYPE_PL_MAX));
    }
}

void genotype_write_record(const char *contig, int64_t position, const char *ref, char *const *alts, size_t n_alts,
                           const genotype_call *call, base_buf *out)
{
    put(out, contig);
    put_format(out, "\t%lld\t.\t", (long long)position);
    put(out, ref);
    put(out, n_alts == 0 ? "\t." : "\t");
    for (size_t i = 0; i < n_alts; i++) {
        put(out, i == 0 ? "" : ",");
        put(out, alts[i]);
    }
    if (call == NULL) {
        put(out, "\t.\tNotDrawn\t.\tGT\t./.\n");
        return;
    }
    put_format(out, "\t%.1f\t%s\t.\tGT:GQ:PL\t%zu/%zu:%u:", fmin(phred(call->probability[0]), GENOTYPE_QUALITY_MAX),
               call->b > 0 ? "PASS" : "RefCall", call->a, call->b, genotype_quality(call));
    put_likelihoods(call, out);
    put(out, "\n");
}
