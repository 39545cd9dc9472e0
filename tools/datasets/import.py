#!/usr/bin/python3
"""A dataset of MultiMedBench as it is published, to the neutral layout of `palmgrove eval`.

    tools/datasets/import.py NAME DOWNLOAD_DIR DATA [--split test|val|train] [--limit N] [--copy|--link] [--partial] [--replace]
    tools/datasets/import.py --list

NAME is a task (docs/DATASETS.md says where each download comes from, under which rules, and what it must look like); DATA/NAME is written
whole or not at all, several imports may share one DATA.  What was left out and why stands in DATA/NAME/import-report.json.  Needs Python
alone; variant calling needs the program `palmgrove`, which draws its pictures."""
import argparse
import collections
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import from_lesions  # noqa: E402
import from_questions  # noqa: E402
import from_reports  # noqa: E402
import from_variants  # noqa: E402
import from_vqa  # noqa: E402
from neutral import Refused, Writer  # noqa: E402
from published import Download  # noqa: E402

Dataset = collections.namedtuple("Dataset", "rows name version source")

DATASETS = {
    "medqa": Dataset(from_questions.medqa, "MedQA (USMLE, 4 options)", "2021", "https://github.com/jind11/MedQA"),
    "medmcqa": Dataset(from_questions.medmcqa, "MedMCQA", "2022", "https://medmcqa.github.io"),
    "pubmedqa": Dataset(from_questions.pubmedqa, "PubMedQA (PQA-L)", "2019", "https://github.com/pubmedqa/pubmedqa"),
    "mimic-iii-summary": Dataset(from_reports.mimic_iii_summary, "MIMIC-III radiology reports", "1.4", "https://physionet.org/content/mimiciii/1.4/"),
    "vqa-rad": Dataset(from_vqa.vqa_rad, "VQA-RAD", "2018", "https://osf.io/89kps/"),
    "slake-vqa": Dataset(from_vqa.slake, "Slake", "1.0", "https://www.med-vqa.com/slake/"),
    "path-vqa": Dataset(from_vqa.path_vqa, "Path-VQA", "2020", "https://github.com/UCSD-AI4H/PathVQA"),
    "mimic-cxr-report": Dataset(from_reports.mimic_cxr_report, "MIMIC-CXR reports", "2.0.0 or later", "https://physionet.org/content/mimic-cxr-jpg/"),
    "mimic-cxr-classification": Dataset(from_reports.mimic_cxr_classification, "MIMIC-CXR findings", "2.0.0 or later",
                                        "https://physionet.org/content/mimic-cxr-jpg/"),
    "pad-ufes-20": Dataset(from_lesions.pad_ufes_20, "PAD-UFES-20", "1", "https://data.mendeley.com/datasets/zr7vgbcyr2/1"),
    "vindr-mammo": Dataset(from_lesions.vindr_mammo, "VinDr-Mammo", "1.0.0", "https://physionet.org/content/vindr-mammo/1.0.0/"),
    "cbis-ddsm-mass": Dataset(from_lesions.cbis_ddsm("mass"), "CBIS-DDSM", "1", "https://www.cancerimagingarchive.net/collection/cbis-ddsm/"),
    "cbis-ddsm-calcification": Dataset(from_lesions.cbis_ddsm("calc"), "CBIS-DDSM", "1", "https://www.cancerimagingarchive.net/collection/cbis-ddsm/"),
    "precisionfda-variant-calling": Dataset(from_variants.precisionfda, "PrecisionFDA Truth Challenge V2, HG002", "GIAB 4.2.1",
                                            "https://precision.fda.gov/challenges/10"),
}


def count(text):
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def parse(arguments):
    parser = argparse.ArgumentParser(prog="import.py", description="A published dataset to the neutral layout of palmgrove eval (docs/DATASETS.md).",
                                     allow_abbrev=False)
    parser.add_argument("name", metavar="NAME", choices=sorted(DATASETS), nargs="?", help="a task: --list prints them")
    parser.add_argument("download", metavar="DOWNLOAD_DIR", nargs="?", help="where the dataset's files are, as its archives unpack")
    parser.add_argument("data", metavar="DATA", nargs="?", help="the directory that palmgrove eval will read")
    parser.add_argument("--list", action="store_true", help="the names, and where each download comes from")
    parser.add_argument("--split", choices=("test", "val", "train"), default="test", help="[test]")
    parser.add_argument("--limit", type=count, default=0, help="the first N cases; 0: all [0]")
    parser.add_argument("--ids", metavar="FILE", help="only the cases whose ids stand in FILE, one a line; takes the place of our own split where none is published")
    parser.add_argument("--language", choices=("all", "en", "zh"), default="all", help="slake-vqa: of the questions [all, as in the paper]")
    parser.add_argument("--contig", default="", help="precisionfda-variant-calling: one contig, chr20 [all]")
    parser.add_argument("--palmgrove", metavar="PATH", default="", help="precisionfda-variant-calling: the program that draws [PALMGROVE, or on the PATH]")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--copy", action="store_true", help="copy the pictures (the default)")
    how.add_argument("--link", action="store_true", help="link to the pictures of the download, which then has to stay")
    parser.add_argument("--partial", action="store_true", help="import what is there of an incomplete download")
    parser.add_argument("--replace", action="store_true", help="write anew what was imported before")
    options = parser.parse_args(arguments)
    if not options.list and options.data is None:
        parser.error("NAME, DOWNLOAD_DIR and DATA are needed")
    return options


def read_ids(path):
    try:
        return {line.strip() for line in pathlib.Path(path).read_text(encoding="utf-8-sig").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read --ids '{path}': {error}") from error


def run(options):
    options.only = read_ids(options.ids) if options.ids else None
    dataset = DATASETS[options.name]
    hint = f"Download it from {dataset.source} (docs/DATASETS.md says what and under which rules)."
    writer = Writer(options.data, options.name, options.limit, options.link, options.partial, options.only)
    about = {"name": dataset.name, "version": dataset.version, "source": dataset.source, "split": options.split}
    return writer.run(dataset.rows(Download(options.download, hint), options), about, hint, options.replace)


def tell(report, folder):
    expected = report["published_test_cases"]
    beside = f" (the paper: {expected})" if expected and report["split"] == "test" and not report["limit"] else ""
    print(f"{folder}: {report['cases']} cases{beside}")
    for why, n in report["left_out"].items():
        print(f"  {why}" if why.startswith("note: ") else f"  left out {n}: {why}")
    if report["bad_rows"]:
        print(f"  bad rows {report['bad_rows']}; the first: {report['bad'][0]['where']}: {report['bad'][0]['why']}")
    if report["missing_files"]:
        print(f"  missing files {report['missing_files']}; the first: {report['missing'][0]}")


def main(arguments):
    options = parse(arguments)
    if options.list:
        for name, dataset in DATASETS.items():
            print(f"{name:30} {dataset.name}, {dataset.source}")
        return 0
    try:
        tell(run(options), pathlib.Path(options.data) / options.name)
    except (Refused, OSError) as error:
        print(f"import.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
