/* make_reads DIR: a small genome and reads of it, for `palmgrove variants`: DIR/ref.fa, reads.bam (both with their
 * index) and sites.vcf. Every tenth site from 300 on is a candidate; how many of the 40 reads over it support it goes
 * round from none to all. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <htslib/faidx.h>
#include <htslib/sam.h>

enum { CONTIG_BASES = 1200, FIRST_SITE = 300, LAST_SITE = 690, STRIDE = 10, READ_BASES = 100, N_LAYERS = 40 };

static char contig[CONTIG_BASES + 1];

static FILE *create(const char *folder, const char *name, char path[1024])
{
    snprintf(path, 1024, "%s/%s", folder, name);
    return fopen(path, "w");
}

static char other_base(char base)
{
    return base == 'A' ? 'G' : 'A';
}

static int write_reference(const char *folder)
{
    char path[1024];
    FILE *file = create(folder, "ref.fa", path);
    if (file == NULL)
        return 1;
    for (int i = 0; i < CONTIG_BASES; i++)
        contig[i] = "ACGT"[(i * 7 + i / 4) % 4];
    fprintf(file, ">chr20\n%s\n", contig);
    return fclose(file) != 0 || fai_build(path) != 0;
}

/* Layer `k` of reads carries the variants of sites whose share reaches it. */
static void write_read(FILE *sam, int start, int k)
{
    char bases[READ_BASES + 1], qualities[READ_BASES + 1];
    for (int i = 0; i < READ_BASES; i++) {
        int at = start + i, site = (at - FIRST_SITE) / STRIDE;
        int is_site = at >= FIRST_SITE && at <= LAST_SITE && (at - FIRST_SITE) % STRIDE == 0;
        bases[i] = is_site && k < site % 5 * N_LAYERS / 4 ? other_base(contig[at]) : contig[at];
        qualities[i] = (char)('!' + 20 + (i + k) % 20);
    }
    bases[READ_BASES] = qualities[READ_BASES] = '\0';
    fprintf(sam, "r%d_%d\t%d\tchr20\t%d\t60\t%dM\t*\t0\t0\t%s\t%s\n", start, k, k % 2 ? 16 : 0, start + 1, READ_BASES,
            bases, qualities);
}

static int convert(const char *from, const char *to)
{
    samFile *in = sam_open(from, "r"), *out = sam_open(to, "wb");
    sam_hdr_t *header = in != NULL ? sam_hdr_read(in) : NULL;
    bam1_t *read = bam_init1();
    int failed = out == NULL || header == NULL || read == NULL || sam_hdr_write(out, header) != 0;
    while (!failed && sam_read1(in, header, read) >= 0)
        failed = sam_write1(out, header, read) < 0;
    bam_destroy1(read);
    sam_hdr_destroy(header);
    failed |= in == NULL || sam_close(in) != 0;
    failed |= out == NULL || sam_close(out) != 0;
    return failed || sam_index_build(to, 0) != 0;
}

static int write_reads(const char *folder)
{
    char path[1024], bam[1024];
    FILE *sam = create(folder, "reads.sam", path);
    if (sam == NULL)
        return 1;
    fprintf(sam, "@HD\tVN:1.6\tSO:coordinate\n@SQ\tSN:chr20\tLN:%d\n", CONTIG_BASES);
    for (int start = 150; start + READ_BASES < 900; start += READ_BASES / 2)
        for (int k = 0; k < N_LAYERS; k++)
            write_read(sam, start, k);
    snprintf(bam, sizeof bam, "%s/reads.bam", folder);
    return fclose(sam) != 0 || convert(path, bam);
}

static int write_sites(const char *folder)
{
    char path[1024];
    FILE *vcf = create(folder, "sites.vcf", path);
    if (vcf == NULL)
        return 1;
    fprintf(vcf, "##fileformat=VCFv4.2\n##contig=<ID=chr20,length=%d>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n",
            CONTIG_BASES);
    fprintf(vcf, "chr20\t20\t.\t%c\t%c\t.\t.\t.\n", contig[19],
            other_base(contig[19])); /* too near to the end of the contig */
    for (int at = FIRST_SITE; at <= LAST_SITE; at += STRIDE)
        fprintf(vcf, "chr20\t%d\t.\t%c\t%c\t.\t.\t.\n", at + 1, contig[at], other_base(contig[at]));
    fprintf(vcf, "chr20\t701\t.\t%c\t%s\t.\t.\t.\n", contig[700], contig[700] == 'C' ? "A,G" : "C,CA");
    fprintf(vcf, "chr20\t702\t.\t%c\t<DEL>\t.\t.\tSVTYPE=DEL\n", contig[701]);
    return fclose(vcf) != 0;
}

int main(int argc, char **argv)
{
    if (argc != 2 || write_reference(argv[1]) != 0 || write_reads(argv[1]) != 0 || write_sites(argv[1]) != 0) {
        fprintf(stderr, "usage: make_reads DIR\n");
        return 1;
    }
    return 0;
}
