"""Pileups of `palmgrove pileup` against an independent reading of the encoding: `tests/conformance/run pileup`.

The reference here is written from the Med-PaLM M paper and DeepVariant's documentation (docs/GENOMICS.md) with pysam and numpy, base by base
over whole reads instead of by CIGAR operation: each read is first unrolled to one entry per pixel and one allele per position.  Made-up
BAMs: random contigs (with N and lower case), hundreds of reads with substitutions, insertions, deletions, skips, clips, flags,
qualities, HP tags and pairs; sites of every kind, with two alternatives too.  Arrays must be equal in every byte, images too; a CRAM of the
same reads gives the same.  Seeds are fixed: a failure can be repeated.

The program is that of the build folder ($PALMGROVE_BUILD_DIR, default build/release)."""

import os
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy as np
import pysam

ROOT = pathlib.Path(__file__).resolve().parents[2]
N_FILES, LENGTH = 12, 2400
COLOUR = {"A": 250, "G": 180, "T": 100, "C": 30}
M, I, D, N, S, H, P, EQ, X = range(9)
SEED = 2101079370


# ---- the reference ----

def scaled(value, cap):
    return int(np.float32(254) * (np.float32(min(value, cap)) / np.float32(cap)))


def pixels(read):
    """[(position, character, quality)] in the order of drawing."""
    position, i, found = read.reference_start, 0, []
    for op, n in read.cigartuples:
        if op in (M, EQ, X):
            found += [(position + k, read.query_sequence[i + k], read.query_qualities[i + k]) for k in range(n)]
        if op == I:
            found.append((position - 1, "*", read.query_qualities[i]))
        if op == D and i > 0:
            found.append((position - 1, "*", read.query_qualities[i - 1]))
        i += n if op in (M, I, S, EQ, X) else 0
        position += n if op in (M, D, N, EQ, X) else 0
    return found


def alleles(read, reference, min_quality):
    """{position: (reference bases, bases) or None for a clip}, the later one winning."""
    position, i, found = read.reference_start, 0, {}

    def usable(a, b):
        return all(read.query_sequence[k] in "ACGT" and read.query_qualities[k] >= min_quality for k in range(a, b))

    for op, n in read.cigartuples:
        anchor = read.query_sequence[i - 1] if i > 0 else reference[position - 1]
        if op in (M, EQ, X):
            for k in range(n):
                if usable(i + k, i + k + 1):
                    found[position + k] = (reference[position + k], read.query_sequence[i + k])
        if op in (I, S) and anchor in "ACGT" and usable(i, i + n):
            found[position - 1] = (reference[position - 1], anchor + read.query_sequence[i:i + n]) if op == I else None
        if op == D and anchor in "ACGT" and set(reference[position:position + n]) <= set("ACGT"):
            found[position - 1] = (reference[position - 1:position + n], anchor)
        i += n if op in (M, I, S, EQ, X) else 0
        position += n if op in (M, D, N, EQ, X) else 0
    return found


def supports(read, reference, start, ref, alts, min_quality):
    allele = alleles(read, reference, min_quality).get(start)
    if allele is None or len(allele[0]) > len(ref):
        return False
    return allele[1] + ref[len(allele[0]):] in alts


def wanted(read, min_mapping):
    placed = (not read.is_paired or read.is_proper_pair or read.mate_is_unmapped or read.next_reference_id < 0
              or read.next_reference_id == read.reference_id)
    bad = read.is_duplicate or read.is_qcfail or read.is_secondary or read.is_supplementary or read.is_unmapped
    return placed and not bad and read.mapping_quality >= min_mapping


def pileup(bam, reference, start, ref, alts, by_haplotype=False, min_quality=10, min_mapping=5, seed=SEED):
    image = np.zeros((100, 221, 6), np.uint8)
    left = start - 110
    for column in range(221):
        image[:5, column] = [COLOUR.get(reference[left + column], 0), 254, 254, 70, 152, 50]
    reads = [r for r in bam.fetch("chr20", start - 5, start + len(ref) + 5) if wanted(r, min_mapping)]
    if len(reads) > 95:
        np.random.RandomState(seed).shuffle(reads)
    rows = []
    for read in reads:
        drawn = pixels(read)
        if len(rows) == 95 or any(p == start and q < min_quality for p, _, q in drawn):
            continue
        row = np.zeros((221, 6), np.uint8)
        shared = [scaled(read.mapping_quality, 60), 240 if read.is_reverse else 70,
                  254 if supports(read, reference, start, ref, alts, min_quality) else 152]
        for position, base, quality in drawn:
            if left <= position < left + 221:
                row[position - left] = [COLOUR.get(base, 0), scaled(quality, 40), *shared, 50 if base == reference[position] else 254]
        haplotype = max(0, read.get_tag("HP")) if by_haplotype and read.has_tag("HP") else 0
        rows.append((haplotype, read.reference_start, row))
    for i, (_, _, row) in enumerate(sorted(rows, key=lambda r: r[:2])):
        image[5 + i] = row
    return image


def image(array):
    stacked = np.concatenate([array[:, :, :3], array[:, :, 3:]])
    return np.pad(stacked, ((0, 24), (0, 3), (0, 0)))


# ---- made-up files ----

def make_read(rng, reference, number, variants):
    start, operations, bases = rng.randrange(0, LENGTH - 400), [], []
    position = start
    if rng.random() < 0.1:
        operations.append((H, 3))
    if rng.random() < 0.15:
        n = rng.randint(1, 20)
        operations.append((S, n))
        bases += rng.choices("ACGTN", k=n)
    if rng.random() < 0.03:
        operations.append((I, 2))
        bases += rng.choices("ACGT", k=2)
    end = position + rng.randint(60, 250)
    run = 0
    while position < end:
        ref, alt = next(((r, a) for r, a in variants.get(position, []) if rng.random() < 0.4), (None, None))
        if ref is None and rng.random() < 0.02:
            kind = rng.choice("IDNX")
            n = rng.randint(1, 6)
            ref = reference[position:position + (n + 1 if kind == "D" else 1)]
            alt = ref + "".join(rng.choices("ACGT", k=n)) if kind == "I" else ref[0]
            if kind == "X":
                alt = rng.choice("ACGTN")
            if kind == "N":
                bases.append(reference[position])
                operations += [(M, run + 1), (N, n)]
                position += n + 1
                run = 0
                continue
        if ref is None:
            ref = alt = reference[position]
        bases.append(alt[0])
        position += 1
        run += 1
        if len(alt) > 1 or len(ref) > 1:
            operations += [(M, run), (I, len(alt) - 1) if len(alt) > 1 else (D, len(ref) - 1)]
            run = 0
            bases += alt[1:]
            position += len(ref) - 1
    operations.append((M, run + 1))
    bases.append(reference[position])
    if rng.random() < 0.15:
        operations.append((S, 7))
        bases += rng.choices("ACGT", k=7)
    read = pysam.AlignedSegment()
    read.query_name = f"r{number}"
    read.reference_id, read.reference_start = 0, start
    read.cigartuples = operations
    read.query_sequence = "".join(bases)
    read.query_qualities = pysam.qualitystring_to_array("".join(chr(33 + rng.choice((2, 8, 9, 10, 11, 25, 37, 39, 40, 41, 60))) for _ in bases))
    read.mapping_quality = rng.choice((0, 4, 5, 20, 37, 59, 60, 60, 60, 60, 70, 255))
    read.flag = 16 * (rng.random() < 0.5) + rng.choice((0,) * 30 + (256, 512, 1024, 2048))
    if rng.random() < 0.5:
        read.flag |= 1 | rng.choice((64, 128)) | rng.choice((0, 2, 8))
        read.next_reference_id, read.next_reference_start = rng.choice((0, 0, 1)), start
    if rng.random() < 0.5:
        read.set_tag("HP", rng.choice((1, 2, 2, -1, 7)))
    return read


def make_files(folder, number, n_reads):
    rng = random.Random(number)
    reference = "".join(rng.choices("ACGTN", weights=(25, 25, 25, 25, 1), k=LENGTH))
    shown = "".join(c.lower() if rng.random() < 0.2 else c for c in reference)
    fasta = folder / f"{number}.fa"
    fasta.write_text(">chr20\n" + "\n".join(shown[i:i + 60] for i in range(0, LENGTH, 60)) + "\n>chr21\nACGTACGT\n")
    pysam.faidx(str(fasta))
    variants = {}
    for start in sorted(rng.sample(range(115, LENGTH - 150), 30)):
        base = reference[start]
        if set(reference[start:start + 5]) <= set("ACGT"):
            substitution = rng.choice([c for c in "ACGT" if c != base])
            insertion, deleted = base + "".join(rng.choices("ACGT", k=rng.randint(1, 5))), reference[start:start + rng.randint(2, 5)]
            variants[start] = rng.choice(([(base, substitution)], [(base, insertion)], [(deleted, base)],
                                          [(base, substitution), (deleted, base)], [(base, insertion), (deleted, base)]))
    reads = sorted((make_read(rng, reference, i, variants) for i in range(n_reads)), key=lambda r: r.reference_start)
    header = {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": "chr20", "LN": LENGTH}, {"SN": "chr21", "LN": 8}]}
    bam, cram = folder / f"{number}.bam", folder / f"{number}.cram"
    for path, mode in ((bam, "wb"), (cram, "wc")):
        with pysam.AlignmentFile(path, mode, header=header, reference_filename=str(fasta)) as out:
            for read in reads:
                out.write(read)
        pysam.index(str(path))
    records = []
    for start, pairs in variants.items():
        ref = max((r for r, _ in pairs), key=len)
        records.append((start, ref, [a + ref[len(r):] for r, a in pairs]))
    vcf = folder / f"{number}.vcf"
    vcf.write_text("##fileformat=VCFv4.2\n" + f"##contig=<ID=chr20,length={LENGTH}>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
                   + "".join(f"chr20\t{s + 1}\t.\t{r}\t{','.join(a)}\t.\t.\t.\n" for s, r, a in records))
    return reference, fasta, bam, cram, vcf, records


def run(program, *options):
    subprocess.run([program, "pileup", *map(str, options)], check=True, stdout=subprocess.DEVNULL)


def read_png(path):
    import struct
    import zlib
    data, at, packed = path.read_bytes(), 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        packed += data[at + 8:at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    raw, rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(224, 1 + 224 * 3), []
    before = np.zeros(224 * 3, np.int64)
    for line in raw:  # undo PNG's filters
        kind, line, row = line[0], line[1:].astype(np.int64), np.zeros(224 * 3, np.int64)
        for i in range(224 * 3):
            a, b, c = row[i - 3] if i >= 3 else 0, before[i], before[i - 3] if i >= 3 else 0
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            row[i] = (line[i] + (0, a, b, (a + b) // 2, paeth)[kind]) & 255
        rows.append(row)
        before = row
    return np.array(rows, np.uint8).reshape(224, 224, 3)


def check_file(program, folder, number):
    n_reads = (60, 300, 900, 4000)[number % 4]
    reference, fasta, bam, cram, vcf, records = make_files(folder, number, n_reads)
    by_haplotype = number % 3 == 2
    compared = same = supported = crowded = 0
    with pysam.AlignmentFile(bam) as reads:
        for alignments in (bam, cram):
            out = folder / f"{number}-{alignments.suffix[1:]}"
            run(program, "--bam", alignments, "--reference", fasta, "--vcf", vcf, "--out-dir", out, "--format", "npy",
                *(["--sort-by-haplotype"] if by_haplotype else []))
            for line in (out / "pileups.tsv").read_text().splitlines()[1:]:
                name, _, position, ref, alts = line.split("\t")
                expected = pileup(reads, reference, int(position) - 1, ref, alts.split(","), by_haplotype)
                found = np.load(out / name)
                compared += 1
                same += np.array_equal(found, expected)
                supported += (expected[5:, 110, 4] == 254).any()
                crowded += expected[99].any()
                if not np.array_equal(found, expected):
                    print(f"  {out / name} at {position} {ref} {alts}: differs in {np.argwhere(found != expected)[:5].tolist()}")
        start, ref, alts = records[0]
        path = folder / "one.png"
        run(program, "--bam", bam, "--reference", fasta, "--site", f"chr20:{start + 1}:{ref}:{alts[0]}", "--output", path)
        images = np.array_equal(read_png(path), image(pileup(reads, reference, start, ref, alts[:1])))
    return compared, same, supported, crowded, images


def main():
    build = pathlib.Path(os.environ.get("PALMGROVE_BUILD_DIR", ROOT / "build" / "release"))
    program = str(build / "tools" / "palmgrove" / "palmgrove")
    with tempfile.TemporaryDirectory() as folder:
        results = [check_file(program, pathlib.Path(folder), number) for number in range(N_FILES)]
    compared, same, supported, crowded, images = (sum(column) for column in zip(*results))
    print(f"pileups: {same} of {compared} arrays equal ({supported} with support, {crowded} with all rows in use), "
          f"{images} of {N_FILES} images equal")
    good = same == compared and images == N_FILES and compared >= 500 and supported > compared // 2 and crowded > 50
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
