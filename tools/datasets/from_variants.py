"""PrecisionFDA Truth Challenge V2: reads of HG002, GIAB's truth and confident regions to pictures and copies of the variant.

A candidate inside the confident regions is a case: its answer is how many copies of the alternative (of both, where a picture asks about two)
the truth has there, 0 if the truth does not have it.  Alleles are compared after bases that they share at the ends are cut."""
import bisect
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

from neutral import Bad, Case, LeftOut, Picture, Refused
from published import BROKEN, open_text

ID_BYTES_MAX = 160


def trimmed(position, ref, alt):
    """The same change without shared bases; one base is kept of each allele."""
    while len(ref) > 1 and len(alt) > 1 and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    while len(ref) > 1 and len(alt) > 1 and ref[0] == alt[0]:
        position, ref, alt = position + 1, ref[1:], alt[1:]
    return position, ref, alt


def read_vcf(path):
    """(where, contig, position, ref, alts, genotype or None) of each record; what is no record is Bad."""
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, 1):
                where = f"{path.name}:{number}"
                if line.startswith("#") or not line.strip():
                    continue
                part = line.rstrip("\r\n").split("\t")
                if len(part) < 8 or not part[1].isdigit():
                    yield where, Bad(where, "no VCF record")
                    continue
                copies = None
                if len(part) > 9 and part[8].split(":")[0] == "GT":
                    copies = part[9].split(":")[0].replace("|", "/").split("/")
                yield where, (part[0], int(part[1]), part[3].upper(), part[4].upper().split(","), copies)
    except BROKEN as error:
        raise Refused(f"{path} is damaged: {error}; download it again") from error


def read_truth(path, contig):
    """(contig, position, ref, alt), trimmed -> copies."""
    truth = {}
    for where, record in read_vcf(path):
        if isinstance(record, Bad):
            raise Refused(f"{where}: {record.why}")
        name, position, ref, alts, genotype = record
        if contig in ("", name) and genotype:
            for i, alt in enumerate(alts, 1):
                truth[(name, *trimmed(position, ref, alt))] = genotype.count(str(i))
    return truth


def read_regions(path):
    """contig -> ([starts], [ends]), from 0, half open."""
    regions = {}
    try:
        with open_text(path) as file:
            for line in file:
                part = line.split()
                if len(part) >= 3 and part[1].isdigit() and part[2].isdigit():
                    regions.setdefault(part[0], []).append((int(part[1]), int(part[2])))
    except BROKEN as error:
        raise Refused(f"{path} is damaged: {error}; download it again") from error
    return {name: tuple(zip(*sorted(spans))) for name, spans in regions.items()}


def is_confident(regions, contig, position, ref):
    starts, ends = regions.get(contig, ((), ()))
    at = bisect.bisect_right(starts, position - 1) - 1
    return at >= 0 and position - 1 + len(ref) <= ends[at]


def wanted_sites(candidates, regions, options):
    """The candidates to draw, and rows for those that are not."""
    sites, others = [], []
    for where, record in read_vcf(candidates):
        if isinstance(record, Bad):
            others.append(record)
        elif options.contig not in ("", record[0]):
            others.append(LeftOut("another contig"))
        elif not is_confident(regions, record[0], record[1], record[2]):
            others.append(LeftOut("outside the confident regions"))
        elif options.limit and len(sites) >= options.limit:
            break
        else:
            sites.append(record)
    return sites, others


def write_sites(path, sites):
    with open(path, "w", encoding="ascii", newline="\n") as out:
        out.write("##fileformat=VCFv4.2\n")
        out.writelines(f"##contig=<ID={name}>\n" for name in dict.fromkeys(site[0] for site in sites))
        out.write("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
        out.writelines(f"{contig}\t{position}\t.\t{ref}\t{','.join(alts)}\t.\t.\t.\n" for contig, position, ref, alts, _ in sites)


def draw(program, reads, reference, sites, folder):
    """`palmgrove pileup`; the rows of its list."""
    command = [program, "pileup", "--bam", str(reads), "--reference", str(reference), "--vcf", str(sites), "--out-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refused(f"palmgrove pileup failed: {done.stderr.strip()[-600:]}")
    lines = (folder / "pileups.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines[1:]], done.stderr.strip()


def program_of(options):
    program = options.palmgrove or os.environ.get("PALMGROVE", "") or shutil.which("palmgrove")
    if not program or not shutil.which(program):
        raise Refused("pictures of variants are drawn by the program 'palmgrove': say where it is with --palmgrove PATH")
    return program


def case_of(row, truth, folder):
    name, contig, position, ref, alts = row[0], row[1], int(row[2]), row[3].upper(), row[4].upper().split(",")
    copies = sum(truth.get((contig, *trimmed(position, ref, alt)), 0) for alt in alts)
    text = f"{contig}:{position}:{ref}:{','.join(alts)}"
    if len(text) > ID_BYTES_MAX:
        text = f"{contig}:{position}:{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    kind = "snp" if len(ref) == 1 and all(len(alt) == 1 for alt in alts) else "indel"
    variant = {"contig": contig, "position": position, "ref": ref, "alts": alts, "kind": kind}
    return Case(f"{contig}:{position}", text, {}, str(copies), [Picture(folder / name, name, drawn=True)], f"{contig}:{position}",
                {"kind": kind, "contig": contig}, variant)


def precisionfda(download, options):
    """*.bam or *.cram, *benchmark*.vcf.gz, *benchmark*.bed, a FASTA file, and candidates*.vcf(.gz) if there are any."""
    if options.split != "test":
        raise Refused("the truth of HG002 has no splits: leave out --split, choose a part with --contig")
    program = program_of(options)
    reads, reference = download.need("*.bam", "*.cram"), download.need("*.fa", "*.fasta", "*.fna")
    truth_path, bed = download.need("*benchmark*.vcf.gz", "*benchmark*.vcf"), download.need("*benchmark*.bed", "*benchmark*.bed.gz")
    truth, candidates = read_truth(truth_path, options.contig), download.look("candidates*.vcf.gz", "candidates*.vcf")
    sites, others = wanted_sites(candidates or truth_path, read_regions(bed), options)
    yield from others
    if candidates is None:
        yield LeftOut("note: no candidates*.vcf, so the truth's own variants are the cases and none has 0 copies")
    if not sites:
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_sites(folder / "sites.vcf", sites)
        rows, warning = draw(program, reads, reference, folder / "sites.vcf", folder / "drawn")
        if warning:
            yield LeftOut(f"note: {warning.splitlines()[-1]}")
        for row in rows:
            yield case_of(row, truth, folder / "drawn")
