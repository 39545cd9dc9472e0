"""`palmgrove compare-variants` on drawn genomes: calls and truth are written in different ways, the counts are known from how they were drawn."""
import json
import pathlib
import random
import subprocess
import tempfile

import harness

HEAD = ("##fileformat=VCFv4.2\n{}##FORMAT=<ID=GT,Number=1,Type=String,Description=\"g\">\n"
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts\n")


def genome(dice):
    """Contigs with many repeats."""
    def stretch():
        unit = "".join(dice.choice("ACGT") for _ in range(dice.randint(1, 5)))
        return unit * dice.randint(1, 9)

    return {name: "".join(stretch() for _ in range(400)) for name in ("chr1", "chr2", "chrX")}


def spellings(contig, start, ref, alt):
    """All (start, ref, alt) within reach that spell the same sequence: moved one base at a time by comparing whole sequences."""
    target = contig[:start] + alt + contig[start + len(ref):]
    found = []
    for begin in range(max(0, start - 40), min(len(contig) - len(ref), start + 40) + 1):
        end = begin + len(ref)
        tail = len(contig) - end
        if len(target) - tail >= begin and target[:begin] == contig[:begin] and (tail == 0 or target[-tail:] == contig[end:]):
            found.append((begin, contig[begin:end], target[begin:len(target) - tail]))
    return found


def padded(dice, contig, start, ref, alt):
    """The same with bases that need not be there."""
    before, behind = dice.randint(0, min(3, start)), dice.randint(0, min(3, len(contig) - start - len(ref)))
    end = start + len(ref)
    return start - before, contig[start - before:start] + ref + contig[end:end + behind], contig[start - before:start] + alt + contig[end:end + behind]


def draw_variants(dice, contigs):
    """(contig, spellings, kind, copies), far enough apart that none can meet another."""
    drawn = []
    for name, bases in contigs.items():
        at = 60
        while at < len(bases) - 120:
            length = dice.choice((0, 0, 0, 1, 1, 2, 3, 6))
            ref, is_insertion = bases[at], dice.random() < 0.5
            if length == 0:
                alt = dice.choice([base for base in "ACGT" if base != ref])
            elif is_insertion:
                alt = ref + dice.choice((bases[at + 1:at + 1 + length], "".join(dice.choice("ACGT") for _ in range(length))))
            else:
                ref, alt = bases[at:at + 1 + length], bases[at]
            drawn.append((name, spellings(bases, at, ref, alt), "snp" if length == 0 else "indel", dice.choice((1, 2))))
            at += dice.randint(150, 300)
    return drawn


def write_vcf(path, dice, contigs, variants):
    """Shuffled within each contig, each variant in one of its spellings."""
    lines = []
    for name, ways, _, copies in variants:
        start, ref, alt = padded(dice, contigs[name], *dice.choice(ways))
        genotype = "1/1" if copies == 2 else dice.choice(("0/1", "1/0", "0|1"))
        lines.append(f"{name}\t{start + 1}\t.\t{ref}\t{alt}\t50\t{dice.choice(('PASS', '.'))}\t.\tGT\t{genotype}\n")
    dice.shuffle(lines)
    path.write_text(HEAD.format("".join(f"##contig=<ID={name},length={len(bases)}>\n" for name, bases in contigs.items())) + "".join(lines))


def place(variant):
    """What must be inside a region: the reference allele of the leftmost shortest spelling."""
    start, ref, _ = min(variant[1])
    return start, start + len(ref)


def one(seed, folder):
    """None when the counts are those that were drawn, else both."""
    dice = random.Random(seed)
    contigs = genome(dice)
    all_drawn = draw_variants(dice, contigs)
    truth, calls, expected = [], [], {kind: {"tp": 0, "fp": 0, "fn": 0} for kind in ("snp", "indel")}
    bed = [(name, begin, begin + dice.randint(200, 900)) for name, bases in contigs.items() for begin in range(dice.randint(0, 50), len(bases), 1000)]
    for variant in all_drawn:
        name, ways, kind, copies = variant
        fate = dice.choice(("both", "both", "both", "missed", "false", "genotype"))
        if fate != "false":
            truth.append(variant)
        if fate != "missed":
            calls.append((name, ways, kind, 3 - copies if fate == "genotype" else copies))
        begin, end = place(variant)
        if any(region[0] == name and region[1] <= begin and end <= region[2] for region in bed):
            expected[kind]["tp"] += fate == "both"
            expected[kind]["fp"] += fate in ("false", "genotype")
            expected[kind]["fn"] += fate in ("missed", "genotype")
    fasta = folder / "r.fa"
    fasta.write_text("".join(f">{name}\n{bases}\n" for name, bases in contigs.items()))
    offset, index = 0, ""
    for name, bases in contigs.items():
        offset += len(name) + 2
        index += f"{name}\t{len(bases)}\t{offset}\t{len(bases)}\t{len(bases) + 1}\n"
        offset += len(bases) + 1
    (folder / "r.fa.fai").write_text(index)
    (folder / "r.bed").write_text("".join(f"{name}\t{begin}\t{end}\n" for name, begin, end in bed))
    write_vcf(folder / "truth.vcf", dice, contigs, truth)
    write_vcf(folder / "calls.vcf", dice, contigs, calls)
    run = subprocess.run([harness.PALMGROVE, "compare-variants", folder / "calls.vcf", "--truth", folder / "truth.vcf", "--confident", folder / "r.bed",
                          "--reference", fasta, "--json", "-", "--resamples", "50"], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        return f"seed {seed}: {run.stderr.strip()}"
    found = json.loads(run.stdout)
    for kind, counts in expected.items():
        tp, fp, fn = (counts[key] for key in ("tp", "fp", "fn"))
        # six digits are written
        if {key: found[kind][key] for key in counts} != counts or abs(found[kind]["f1"] - 2 * tp / (2 * tp + fp + fn)) > 1e-6:
            return f"seed {seed}, {kind}: {found[kind]} instead of {counts}"
    return None


def calls_check():
    """Counts of drawn calls and truths are those that were drawn, however each variant is written."""
    n = 40
    with tempfile.TemporaryDirectory() as folder:
        faults = [fault for fault in (one(seed, pathlib.Path(folder)) for seed in range(n)) if fault]
    return not faults, f"{n} genomes, {len(faults)} counted wrong" + "".join(f"; {fault}" for fault in faults[:3])
