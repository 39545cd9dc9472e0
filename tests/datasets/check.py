#!/usr/bin/python3
"""Importers on made-up downloads: what becomes a case, what is counted as left out or bad, what is refused, and that the bytes are the same again."""
import hashlib
import json
import pathlib
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True
import made_up  # noqa: E402

CASES = {"medqa": 3, "medmcqa": 4, "pubmedqa": 3, "mimic-iii-summary": 2, "vqa-rad": 3, "slake-vqa": 2, "path-vqa": 2, "mimic-cxr-report": 2, "mimic-cxr-classification": 15,
         "pad-ufes-20": 4, "vindr-mammo": 3, "cbis-ddsm-mass": 3, "cbis-ddsm-calcification": 3, "precisionfda-variant-calling": 21}
BAD = {"medqa": 2}
# of the first case: fields, answer
FIRST = {
    "medqa": ({"question": "A 30-year-old has a cough.\nWhich is next?", "options": ["X-ray", "Rest", "CT", "MRI"]}, "X-ray"),
    "medmcqa": ({"question": "Which bone is longest?", "options": ["Femur", "Tibia", "Ulna", "4"]}, "Femur"),
    "pubmedqa": ({"context": "Some did. Others\ndid not.", "question": "Does it help?"}, "yes"),
    "mimic-iii-summary": ({"findings": "The lungs are clear. No effusion."}, "Normal, \"clear\"."),
    "vqa-rad": ({"question": "Is there a fracture?", "type": "open"}, "No"),
    "slake-vqa": ({"question": "What organ is it?"}, "Lung"),
    "path-vqa": ({"question": "Is it necrosis?", "type": "other"}, "a cell"),
    "mimic-cxr-report": ({"view": "PA", "indication": "Cough, fever"}, "The lungs are clear. No effusion."),
    "mimic-cxr-classification": ({"view": "PA", "condition": "atelectasis"}, "Yes"),
    "vindr-mammo": ({"view": "bilateral craniocaudal"}, "1"),
    "cbis-ddsm-mass": ({"view": "CC"}, "MALIGNANT"),
    "cbis-ddsm-calcification": ({"view": "CC"}, "MALIGNANT"),
}


def digest(folder):
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(f"{path.relative_to(folder)}\n".encode() + (path.read_bytes() if path.is_file() else b""))
    return found.hexdigest()


def cases_of(data, name):
    return [json.loads(line) for line in (data / name / "cases.jsonl").read_text(encoding="utf-8").splitlines()]


def check_dataset(name, folder, faults):
    download, data = folder / "downloads" / name, folder / "data"
    made_up.DOWNLOADS[name](download)
    code, told = made_up.run_import(name, download, data)
    if code != 0:
        faults.append(f"{name}: {told}")
        return
    cases, report = cases_of(data, name), json.loads((data / name / "import-report.json").read_text())
    if len(cases) != CASES[name] or report["bad_rows"] != BAD.get(name, 0):
        faults.append(f"{name}: {len(cases)} cases, {report['bad_rows']} bad rows")
    texts = told.encode() + b"".join(path.read_bytes() for path in data.rglob("*.json*"))
    if made_up.PATIENT in texts:
        faults.append(f"{name}: a patient's name of a DICOM header came out")
    if name in FIRST and (cases[0].get("fields"), cases[0]["answer"]) != FIRST[name]:
        faults.append(f"{name}: the first case is {cases[0]}")
    if not all((data / name / picture).is_file() for case in cases for picture in case.get("images", ())):
        faults.append(f"{name}: a picture is not there")
    before = digest(data / name)
    again = made_up.run_import(name, download, data)
    if again[0] == 0 or "--replace" not in again[1] or digest(data / name) != before:
        faults.append(f"{name}: imported over what was there: {again}")
    made_up.run_import(name, download, data, "--replace")
    if digest(data / name) != before:
        faults.append(f"{name}: other bytes the second time")


def check_options(folder, faults):
    """What each option takes, beside the import without it."""
    downloads, n = folder / "downloads", 0

    def imported(name, *options, refused=None):
        """Its cases and its report; None where it was refused as expected."""
        nonlocal n
        n += 1
        data = folder / f"options-{n}"
        code, told = made_up.run_import(name, downloads / name, data, *options)
        if refused is not None:
            if code == 0 or refused not in told or "Traceback" in told or data.exists() and any(data.iterdir()):
                faults.append(f"{name} {options}: {code} {told}")
            return None
        if code != 0:
            faults.append(f"{name} {options}: {told}")
            return [], {"left_out": {}, "limit": 0}, data / name
        return cases_of(data, name), json.loads((data / name / "import-report.json").read_text()), data / name

    def expect(what, held):
        if not held:
            faults.append(what)

    def whole(name):
        return cases_of(folder / "data", name)

    check_limit(imported, expect, whole)
    check_ids(folder, imported, expect, whole)
    check_link(downloads, imported, expect, whole)
    for language in ("en", "zh"):
        cases, report, _ = imported("slake-vqa", "--language", language)
        expect(f"--language {language}: {cases}", cases == [case for case in whole("slake-vqa") if case["slices"]["language"] == language] and len(cases) == 1)
    for name, split, expected in (("vqa-rad", "train", 2), ("vindr-mammo", "train", 1), ("mimic-cxr-report", "train", 1), ("pad-ufes-20", "train", 1),
                                  ("mimic-iii-summary", "train", 1)):
        cases, report, _ = imported(name, "--split", split)
        expect(f"{name} --split {split}: {cases}", len(cases) == expected and not {case["id"] for case in cases} & {case["id"] for case in whole(name)})
    check_contig(downloads, imported, expect, whole)


def check_limit(imported, expect, whole):
    for name in ("vqa-rad", "mimic-cxr-classification", "precisionfda-variant-calling"):
        cases, report, _ = imported(name, "--limit", "2")
        expect(f"{name} --limit 2: {cases}", cases == whole(name)[:2] and report["limit"] == 2)
    imported("vqa-rad", "--limit", "-1", refused="must not be negative")


def check_ids(folder, imported, expect, whole):
    """A byte order mark, blank lines and ids that are not there do no harm; own splits give way."""
    wanted = [case["id"] for case in whole("medmcqa")][1:3]
    (folder / "ids").write_text("\ufeff" + "\n\n".join(wanted) + "\n no such id \n", encoding="utf-8")
    cases, report, _ = imported("medmcqa", "--ids", folder / "ids")
    expect(f"--ids: {cases}", [case["id"] for case in cases] == wanted and report["left_out"] == {"not in --ids": 2})
    learnt = imported("pad-ufes-20", "--split", "train")[0]
    (folder / "ids").write_text("".join(case["id"] + "\n" for case in learnt + whole("pad-ufes-20")[:1]))
    cases = imported("pad-ufes-20", "--ids", folder / "ids")[0]
    expect(f"--ids over splits: {cases}", sorted(case["id"] for case in cases) == sorted((folder / "ids").read_text().split()) and len(cases) == 2)
    imported("medmcqa", "--ids", folder / "nowhere", refused="cannot read --ids")
    (folder / "ids").write_text("")
    imported("medmcqa", "--ids", folder / "ids", refused="no case of this split")


def check_link(downloads, imported, expect, whole):
    """The same lines; pictures are links into the download, but for those that were drawn."""
    for name, linked in (("vqa-rad", True), ("vindr-mammo", True), ("precisionfda-variant-calling", False)):
        cases, _, place = imported(name, "--link")
        pictures = [place / picture for case in cases for picture in case["images"]]
        expect(f"{name} --link: other cases", cases == whole(name))
        expect(f"{name} --link: {pictures}", all(path.is_symlink() == linked and path.is_file() for path in pictures)
               and all((downloads / name).resolve() in path.resolve().parents for path in pictures if linked))
    imported("vqa-rad", "--link", "--copy", refused="not allowed with")


def check_contig(downloads, imported, expect, whole):
    """Candidates of a contig that the reads lack are drawn by no import of another."""
    name = "precisionfda-variant-calling"
    with open(downloads / name / "candidates.vcf", "a", encoding="ascii") as candidates:
        candidates.write("chr21\t300\t.\tA\tG\t.\t.\t.\n")
    bed = next((downloads / name).glob("*benchmark*.bed"))
    bed.write_text(bed.read_text() + "chr21\t250\t450\n")
    cases, report, _ = imported(name, "--contig", "chr20")
    expect(f"--contig chr20: {report}", cases == whole(name) and report["left_out"].get("another contig") == 1)
    imported(name, refused="chr21")
    imported(name, "--contig", "chr22", refused="no case of this split")


def check_refusals(folder, faults):
    """Each leaves DATA as it was and says what is missing."""
    downloads, data, before = folder / "downloads", folder / "data", digest(folder / "data")

    def refused(name, text, *options):
        code, told = made_up.run_import(name, downloads / name, data, "--replace", *options)
        if code == 0 or text not in told or "Traceback" in told or digest(data) != before:
            faults.append(f"{name} {options}: {code} {told}")

    (downloads / "vqa-rad/VQA_RAD Image Folder/synpic0.jpg").unlink()
    refused("vqa-rad", "synpic0.jpg")
    (downloads / "medqa/data_clean/questions/US/4_options/phrases_no_exclude_test.jsonl").unlink()
    refused("medqa", "https://github.com/jind11/MedQA")
    refused("pubmedqa", "no validation split", "--split", "val")
    path = downloads / "path-vqa/pvqa/qas/test_vqa.pkl"
    path.write_bytes(b"cos\nsystem\n(S'echo called'\ntR.")
    refused("path-vqa", "wants to call os.system")
    path = downloads / "mimic-iii-summary/NOTEEVENTS.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    refused("mimic-iii-summary", "damaged")
    path = downloads / "vindr-mammo/breast-level_annotations.csv"
    path.write_text(path.read_text().replace("breast_birads", "birads"))
    refused("vindr-mammo", "no column 'breast_birads'")
    code, told = made_up.run_import("vqa-rad", downloads / "vqa-rad", folder / "partial", "--partial")
    if code != 0 or "missing files 2" not in told or len(cases_of(folder / "partial", "vqa-rad")) != 1:
        faults.append(f"--partial: {code} {told}")


def main():
    faults, folder = [], pathlib.Path(tempfile.mkdtemp(prefix="palmgrove-datasets-"))
    try:
        for name in made_up.DOWNLOADS:
            check_dataset(name, folder, faults)
        if not faults:
            check_options(folder, faults)
            check_refusals(folder, faults)
    finally:
        shutil.rmtree(folder)
    for fault in faults:
        print(fault)
    print(f"{len(made_up.DOWNLOADS)} datasets, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
