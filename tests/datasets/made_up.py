#!/usr/bin/python3
"""Tiny downloads of the 14 datasets of MultiMedBench in the forms in which they are published, made up from first to last, and their import.

    tests/datasets/made_up.py OUT      writes OUT/downloads/NAME and imports each into OUT/data/NAME

The forms have what real files have and importers trip over: byte order marks, CRLF, line breaks inside quotes, numbers where text is expected, gzip,
rows that are broken.  The genome needs $PALMGROVE and the program make_reads of the tests, $MAKE_READS."""
import base64
import csv
import gzip
import io
import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import zlib

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/datasets"))
IMPORT = ROOT / "tools/datasets/import.py"

from published import own_split  # noqa: E402

# A grey ramp of 48 x 40, by Pillow: Image.new("L", (48, 40)) with pixel (x, y) = (5 x + 9 (y // 8)) % 256, saved with quality 15, optimize.
JPEG = base64.b64decode("/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDADUlKC8oITUvKy88OTU/UIVXUElJUKN1e2GFwarLyL6qurfV8P//1eL/5re6////////////zv//////////////wAALCAAoADABAREA/8QA"
                        "FgABAQEAAAAAAAAAAAAAAAAAAwUE/8QAHxABAQAABQUAAAAAAAAAAAAAAAIBAwQFNEOBgrHB/9oACAEBAAA/AJ0mk0mk0nlCk0mk0mk0oUmk0mk0mlCk0mk8mkev4OZ294Jkmk0mk0sW79Hy+P/Z")


# ---- files ----

def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))


def put_csv(path, rows, mark=b"", end="\r\n"):
    """Rows of one set of columns; gzip by the name."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    content = mark + text.getvalue().encode("utf-8")
    put(path, gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content)


def png(width, height, seed):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + bytes((x * 3 + y * seed) % 256 for x in range(width) for _ in range(3)) for y in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


PATIENT = b"SECRET^NAME"


def element(group, number, form, value):
    value += (b"\0" if form in (b"UI", b"OW") else b" ") * (len(value) % 2)
    size = struct.pack("<HI", 0, len(value)) if form == b"OW" else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + form + size + value


def dicom(width, height, seed, series=b"full mammogram images"):
    """16-bit grey, explicit little endian, a window, and a patient who must never be seen again."""
    meta = element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1")
    pixels = struct.pack(f"<{width * height}H", *((x * 37 + y * seed) % 4096 for y in range(height) for x in range(width)))
    number = lambda tag, value: element(0x28, tag, b"US", struct.pack("<H", value))  # noqa: E731
    return (bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + element(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.1.2")
            + element(8, 0x60, b"CS", b"MG") + element(8, 0x103E, b"LO", series) + element(0x10, 0x10, b"PN", PATIENT) + number(2, 1)
            + element(0x28, 4, b"CS", b"MONOCHROME2") + number(0x10, height) + number(0x11, width) + number(0x100, 16) + number(0x101, 12) + number(0x102, 11)
            + number(0x103, 0) + element(0x28, 0x1050, b"DS", b"2048") + element(0x28, 0x1051, b"DS", b"4096") + element(0x7FE0, 0x10, b"OW", pixels))


def in_split(what, test, val, n, split="test"):
    """The first n numbers of patients that fall into our own split."""
    found = [number for number in range(1, 1000) if own_split(f"{what} {number}", test, val) == split]
    return found[:n]


# ---- questions ----

def medqa(folder):
    rows = [{"question": f"A {30 + i}-year-old has a cough.\nWhich is next?", "answer": "Rest" if i else "X-ray", "meta_info": f"step{1 + i}", "answer_idx": "B" if i else "A",
             "options": {"A": "X-ray", "B": "Rest", "C": "CT", "D": "MRI"}, "metamap_phrases": []} for i in range(3)]
    lines = [json.dumps(row) for row in rows] + ["{broken", json.dumps({**rows[0], "answer": "CT"})]
    put(folder / "data_clean/questions/US/4_options/phrases_no_exclude_test.jsonl", b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\r\n")


def medmcqa(folder):
    rows = [{"id": f"q-{i}", "question": "Which bone is longest?", "opa": "Femur", "opb": "Tibia", "opc": "Ulna", "opd": 4, "cop": 1 + i % 4, "choice_type": "single",
             "exp": None, "subject_name": "Anatomy", "topic_name": None} for i in range(4)]
    put(folder / "data/dev.json", "".join(json.dumps(row) + "\n" for row in rows))


def pubmedqa(folder):
    rows = {str(100 + i): {"QUESTION": "Does it help?", "CONTEXTS": ["Some did.", "Others\ndid not."], "LABELS": [], "YEAR": "2010", "LONG_ANSWER": "Perhaps.",
                           "final_decision": ("yes", "no", "maybe")[i % 3]} for i in range(5)}
    put(folder / "data/ori_pqal.json", json.dumps(rows))
    put(folder / "data/test_ground_truth.json", json.dumps({pmid: rows[pmid]["final_decision"] for pmid in list(rows)[:3]}))


# ---- questions about pictures ----

def vqa_rad(folder):
    rows = [{"qid": str(i), "image_name": f"synpic{i % 2}.jpg", "image_organ": "CHEST", "question": "Is there a fracture?", "answer": ["No", 3, "left  lung "][i % 3],
             "answer_type": "CLOSED " if i % 2 else "OPEN", "phrase_type": "test_freeform" if i < 3 else "freeform"} for i in range(5)]
    put(folder / "VQA_RAD Dataset Public.json", json.dumps(rows))
    for i in range(2):
        put(folder / f"VQA_RAD Image Folder/synpic{i}.jpg", JPEG)


def slake(folder):
    rows = [{"img_id": i, "img_name": f"xmlab{i}/source.jpg", "question": "\u56fe\u4e2d\u662f\u4ec0\u4e48\u5668\u5b98\uff1f" if i else "What organ is it?",
             "answer": "\u80ba" if i else "Lung", "q_lang": "zh" if i else "en", "location": "Lung", "modality": "X-Ray", "answer_type": "OPEN", "base_type": "vqa",
             "content_type": "Organ", "triple": ["vhead", "_", "_"], "qid": 11 + i} for i in range(2)]
    put(folder / "test.json", json.dumps(rows, ensure_ascii=False))
    for i in range(2):
        put(folder / f"imgs/xmlab{i}/source.jpg", JPEG)


def path_vqa(folder):
    rows = [{"answer_type": "yes/no" if i else "other", "img_id": f"test_000{i}", "label": {"yes" if i else "a cell": 1}, "question_id": 50 + i, "question_type": "is",
             "sent": "Is it necrosis?"} for i in range(2)]
    put(folder / "pvqa/qas/test_vqa.pkl", pickle.dumps(rows))
    for i in range(2):
        put(folder / f"pvqa/images/test/test_000{i}.jpg", JPEG)


# ---- reports ----

REPORT = "                      FINAL REPORT\r\n INDICATION:  Cough, fever.\r\n\r\n FINDINGS:  The lungs are clear.\r\n No effusion.\r\n\r\n IMPRESSION:  Normal, \"clear\".\r\n"


def mimic_iii(folder):
    rows = [{"ROW_ID": 1 + i, "SUBJECT_ID": subject, "HADM_ID": "", "CHARTDATE": "2100-01-01", "CHARTTIME": "", "STORETIME": "", "CATEGORY": "Radiology", "DESCRIPTION": "CT HEAD",
             "CGID": "", "ISERROR": "1" if i == 2 else "", "TEXT": REPORT} for i, subject in enumerate(in_split("mimic-iii", 16, 9, 3))]
    rows.append({**rows[0], "ROW_ID": 80, "SUBJECT_ID": in_split("mimic-iii", 16, 9, 1, "train")[0]})
    rows.append({**rows[0], "ROW_ID": 90, "CATEGORY": "Nursing"})
    rows.append({**rows[0], "ROW_ID": 91, "TEXT": "IMPRESSION: Nothing was found."})
    put_csv(folder / "NOTEEVENTS.csv.gz", rows)


def mimic_cxr(folder):
    pictures = [("a1", "s50000001", "PA", "test"), ("a2", "s50000001", "LATERAL", "test"), ("b1", "s50000002", "AP", "test"), ("c1", "s50000003", "PA", "train")]
    put_csv(folder / "mimic-cxr-2.0.0-split.csv.gz", [{"dicom_id": d, "study_id": s[1:], "subject_id": "10000001", "split": split} for d, s, _, split in pictures])
    put_csv(folder / "mimic-cxr-2.0.0-metadata.csv.gz", [{"dicom_id": d, "subject_id": "10000001", "study_id": s[1:], "ViewPosition": view} for d, s, view, _ in pictures])
    findings = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
    put_csv(folder / "mimic-cxr-2.0.0-chexpert.csv.gz",
            [{"subject_id": "10000001", "study_id": s, **{name: ("1.0", "0.0", "-1.0", "", "1.0")[(k + i) % 5] for k, name in enumerate(findings)}, "No Finding": ""}
             for i, s in enumerate(("50000001", "50000002", "50000003"))])
    for d, s, _, _ in pictures:
        base = folder / "files/p10/p10000001"
        put(base / f"{s}.txt", REPORT if s != "s50000002" else REPORT.replace("FINDINGS", "COMPARISON"))
        put(base / s / (f"{d}.dcm" if d == "b1" else f"{d}.jpg"), dicom(40, 48, 11) if d == "b1" else JPEG)


# ---- lesions ----

def pad_ufes(folder):
    names, rows = ("NEV", "BCC", "MEL", "ACK", "SCC"), []
    for i, patient in enumerate(in_split("pad-ufes-20", 20, 0, 4) + in_split("pad-ufes-20", 20, 0, 1, "train")):
        rows.append({"patient_id": patient, "lesion_id": 7 + i, "smoke": "True" if i else "", "drink": "False", "background_father": "", "background_mother": "", "age": 50 + i,
                     "pesticide": "", "gender": "FEMALE" if i else "", "skin_cancer_history": "True", "cancer_history": "", "has_piped_water": "", "has_sewage_system": "",
                     "fitspatrick": "2.0", "region": "ARM", "diameter_1": "6.0", "diameter_2": "5.0", "diagnostic": names[i], "itch": "True", "grew": "UNK", "hurt": "False",
                     "changed": "UNK", "bleed": "False", "elevation": "True", "img_id": f"PAT_{patient}_{7 + i}_{i}.png", "biopsed": "True"})
        put(folder / f"images/imgs_part_1/PAT_{patient}_{7 + i}_{i}.png", png(33, 21, 5 + i))
    put_csv(folder / "metadata.csv", rows, mark=b"\xef\xbb\xbf", end="\n")


def vindr(folder):
    rows = [{"study_id": "st1", "series_id": "se1", "laterality": "LR"[i % 2], "image_id": f"im{i}", "view_position": ("CC", "MLO")[i % 2], "height": 48, "width": 40,
             "breast_birads": f"BI-RADS {1 + i}", "breast_density": "DENSITY C", "split": "test" if i < 3 else "training"} for i in range(4)]
    put_csv(folder / "breast-level_annotations.csv", rows, end="\n")
    for i in range(4):
        put(folder / f"images/st1/im{i}.dicom", dicom(40, 48, 3 + i))


def cbis(folder, kind):
    named, rows = {"mass": "Mass", "calc": "Calc"}[kind], []
    for i, pathology in enumerate(("MALIGNANT", "BENIGN", "BENIGN_WITHOUT_CALLBACK")):
        name = f"{named}-Test_P_0000{i}_LEFT_{('CC', 'MLO')[i % 2]}_1"
        path = f"{name}/1.3.6.1.4.1.9590.{i}/1.3.6.1.4.1.9590.9{i}/00000{i % 2}.dcm\n"  # a line break inside the quotes, as published
        rows.append({"patient_id": f"P_0000{i}", "breast_density" if kind == "mass" else "breast density": 3, "left or right breast": "LEFT", "image view": ("CC", "MLO")[i % 2],
                     "abnormality id": 1, "abnormality type": "mass" if kind == "mass" else "calcification", "assessment": 4, "pathology": pathology, "subtlety": 4,
                     "image file path": f"{name[:-2]}/1/2/000000.dcm", "cropped image file path": path, "ROI mask file path": path})
        put(folder / f"CBIS-DDSM/{name}/08-29-2017-DDSM/1.000000-ROI mask images/1-1.dcm", dicom(24, 20, 5 + i, b"cropped images"))
        put(folder / f"CBIS-DDSM/{name}/08-29-2017-DDSM/1.000000-ROI mask images/1-2.dcm", dicom(80, 96, 5 + i, b"ROI mask images"))
    put_csv(folder / f"{kind}_case_description_test_set.csv", rows, end="\n")


# ---- variants ----

def precisionfda(folder):
    """Reads and candidate sites of tests/e2e/make_reads; of the sites every fourth is not in the truth."""
    folder.mkdir(parents=True)
    subprocess.run([os.environ["MAKE_READS"], folder], check=True)
    sites = [line.split("\t") for line in (folder / "sites.vcf").read_text().splitlines() if not line.startswith("#")]
    head = "##fileformat=VCFv4.2\n##contig=<ID=chr20,length=1200>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    sites = [site for site in sites if 300 < int(site[1]) < 700]
    known = [f"chr20\t{site[1]}\t.\t{site[3]}\t{site[4]}\t50\tPASS\t.\tGT:PS\t{('0|1', '1/1', '1|0')[i % 3]}:." for i, site in enumerate(sites) if i % 4]
    put(folder / "HG002_GRCh38_1_22_v4.2.1_benchmark.vcf.gz", gzip.compress((head + "\tFORMAT\tHG002\n" + "\n".join(known) + "\n").encode(), mtime=0))
    put(folder / "HG002_GRCh38_1_22_v4.2.1_benchmark_noinconsistent.bed", "chr20\t250\t450\nchr20\t500\t560\n")
    put(folder / "candidates.vcf", head + "\n" + "\n".join(f"chr20\t{site[1]}\t.\t{site[3]}\t{site[4]}\t.\t.\t." for site in sites) + "\n")
    (folder / "sites.vcf").unlink()


DOWNLOADS = {
    "medqa": medqa, "medmcqa": medmcqa, "pubmedqa": pubmedqa, "mimic-iii-summary": mimic_iii, "vqa-rad": vqa_rad, "slake-vqa": slake, "path-vqa": path_vqa,
    "mimic-cxr-report": mimic_cxr, "mimic-cxr-classification": mimic_cxr, "pad-ufes-20": pad_ufes, "vindr-mammo": vindr,
    "cbis-ddsm-mass": lambda folder: cbis(folder, "mass"), "cbis-ddsm-calcification": lambda folder: cbis(folder, "calc"), "precisionfda-variant-calling": precisionfda,
}


def run_import(name, download, data, *options):
    """(exit code, what it said)"""
    done = subprocess.run([sys.executable, IMPORT, name, download, data, *options], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def main(out):
    for name, make in DOWNLOADS.items():
        make(out / "downloads" / name)
        code, told = run_import(name, out / "downloads" / name, out / "data")
        print(told.strip())
        if code != 0:
            return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(pathlib.Path(sys.argv[1])))
