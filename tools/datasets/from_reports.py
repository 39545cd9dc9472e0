"""MIMIC-III radiology reports; MIMIC-CXR reports and findings."""
from neutral import Bad, Case, LeftOut, Missing, Picture
from published import own_split, read_csv, sections, text_of

NOTE_COLUMNS = ("ROW_ID", "SUBJECT_ID", "CATEGORY", "DESCRIPTION", "ISERROR", "TEXT")
CXR = "mimic-cxr-2.*-"
FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")  # the five that the paper reports
INDICATIONS = ("INDICATION", "REASON FOR EXAM", "REASON FOR EXAMINATION", "REASON FOR THE EXAM", "HISTORY", "CLINICAL INFORMATION", "CLINICAL HISTORY")
VIEWS = ("PA", "AP", "LATERAL", "LL", "AP AXIAL", "AP LLD", "AP RLD", "PA LLD", "PA RLD", "LAO", "RAO", "LPO", "SWIMMERS", "XTABLE LATERAL")


def mimic_iii_summary(download, options):
    """NOTEEVENTS.csv(.gz), category Radiology: findings to impression.  No split is published here: patients fall by own_split, or --ids says which."""
    path = download.need("NOTEEVENTS.csv.gz", "NOTEEVENTS.csv")
    for where, row in read_csv(path, NOTE_COLUMNS):
        if isinstance(row, Bad):
            yield row
            continue
        if row["CATEGORY"] != "Radiology":
            yield LeftOut("no radiology report")
            continue
        if row["ISERROR"] == "1":
            yield LeftOut("marked as an error")
            continue
        if options.only is None and own_split(f"mimic-iii {row['SUBJECT_ID']}", 16, 9) != options.split:
            yield LeftOut("another split")
            continue
        parts = sections(row["TEXT"])
        if not parts.get("FINDINGS") or not parts.get("IMPRESSION"):
            yield LeftOut("no findings or no impression")
            continue
        yield Case(where, row["ROW_ID"], {"findings": parts["FINDINGS"]}, parts["IMPRESSION"], group=row["SUBJECT_ID"],
                   slices={"exam": row["DESCRIPTION"] or "unknown"})


# ---- MIMIC-CXR ----

class Files:
    """files/pNN/pSUBJECT/sSTUDY...: reports and pictures may come from two downloads that lie side by side."""

    def __init__(self, download):
        self.roots = [path for depth in ("", "*/", "*/*/") for path in sorted(download.root.glob(depth + "files"))] or [download.root / "files"]

    def find(self, *names):
        """The first of `names` that is there, else where the first was looked for."""
        for name in names:
            for root in self.roots:
                if (root / name).is_file():
                    return root / name
        return self.roots[0] / names[0]


def study_folder(row):
    subject = row["subject_id"]
    return f"p{subject[:2]}/p{subject}/s{row['study_id']}"


def views_of(download):
    path = download.need(CXR + "metadata.csv.gz", CXR + "metadata.csv")
    return {row["dicom_id"]: row["ViewPosition"] for _, row in read_csv(path, ("dicom_id", "ViewPosition")) if not isinstance(row, Bad)}


def cxr_pictures(download, options):
    """The pictures of the split as (where, row, view, Picture), in the order of the published split."""
    path = download.need(CXR + "split.csv.gz", CXR + "split.csv")
    views, files = views_of(download), Files(download)
    wanted = {"test": "test", "val": "validate", "train": "train"}[options.split]
    for where, row in read_csv(path, ("dicom_id", "study_id", "subject_id", "split")):
        if isinstance(row, Bad):
            yield where, row, "", None
        elif row["split"] == wanted:
            name = f"{study_folder(row)}/{row['dicom_id']}"
            file = files.find(f"{name}.jpg", f"{name}.dcm")
            yield where, row, views.get(row["dicom_id"], ""), Picture(file, name + file.suffix)
        else:
            yield where, LeftOut("another split"), "", None


def view_fields(view):
    """The task's default stands for a view that is not told or that it does not know."""
    return {"view": view} if view in VIEWS else {}


def indication_of(parts):
    return next((parts[name] for name in INDICATIONS if parts.get(name)), "").rstrip(". ")


def mimic_cxr_report(download, options):
    """A case for each picture: its view, the reason for the study; the answer is the report's findings."""
    files, read = Files(download), {}
    for where, row, view, picture in cxr_pictures(download, options):
        if picture is None:
            yield row
            continue
        study = study_folder(row)
        if study not in read:
            path = files.find(f"{study}.txt")
            read = {study: sections(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else path}
        parts = read[study]
        if not isinstance(parts, dict):
            yield Missing(parts)
            continue
        if not parts.get("FINDINGS"):
            yield LeftOut("a report without findings")
            continue
        fields, indication = view_fields(view), indication_of(parts)
        if indication:
            fields["indication"] = indication
        yield Case(where, row["dicom_id"], fields, parts["FINDINGS"], [picture], f"p{row['subject_id']}", {"view": view or "unknown"})


def mimic_cxr_classification(download, options):
    """CheXpert's labels of the report: 1 is yes; 0, -1 (uncertain) and nothing (not mentioned) are no.  A case for each picture and finding."""
    path = download.need(CXR + "chexpert.csv.gz", CXR + "chexpert.csv")
    labels = {row["study_id"]: row for _, row in read_csv(path, ("subject_id", "study_id", *FINDINGS)) if not isinstance(row, Bad)}
    for where, row, view, picture in cxr_pictures(download, options):
        if picture is None:
            yield row
            continue
        label = labels.get(row["study_id"])
        if label is None:
            yield LeftOut("a study without labels")
            continue
        for finding in FINDINGS:
            value = text_of(label, finding)
            if value not in ("1.0", "0.0", "-1.0", "1", "0", "-1", ""):
                yield Bad(where, f"label '{value[:20]}' of {finding}")
                continue
            told = {"1": "positive", "0": "negative", "-1": "uncertain", "": "not mentioned"}[value.removesuffix(".0")]
            yield Case(where, f"{row['dicom_id']}/{finding.lower()}", {**view_fields(view), "condition": finding.lower()},
                       "Yes" if told == "positive" else "No", [picture], f"p{row['subject_id']}", {"view": view or "unknown", "label": told})
