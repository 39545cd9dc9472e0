"""PAD-UFES-20, VinDr-Mammo, CBIS-DDSM: a lesion or a breast and its class."""
import pathlib

from neutral import Bad, Case, LeftOut, Missing, Picture, Refused
from published import COLUMNS, ROWS, SERIES_DESCRIPTION, dicom_head, own_split, read_csv

# ---- PAD-UFES-20 ----

DIAGNOSES = {"NEV": "Nevus", "BCC": "Basal Cell Carcinoma", "SCC": "Squamous Cell Carcinoma", "ACK": "Actinic Keratosis", "SEK": "Seborrheic Keratosis",
             "MEL": "Melanoma"}
FLAGS = {"smoke": "smoke", "drink": "drink", "skin_cancer_history": "skin_cancer_history", "cancer_history": "cancer_history", "itch": "itch", "grew": "grew",
         "bled": "bleed", "elevation": "elevation"}  # the task's field -> the dataset's column
TEXTS = {"age": "age", "region": "region", "gender": "gender", "fitzpatrick": "fitspatrick", "diameter_1": "diameter_1", "diameter_2": "diameter_2"}
UNKNOWN = ("", "UNK", "nan")


def history(row):
    """What is known of the patient; the task's defaults say "unknown" for the rest."""
    fields = {field: row[column].lower() for field, column in TEXTS.items() if row[column] not in UNKNOWN}
    fields.update({field: row[column].lower() for field, column in FLAGS.items() if row[column] not in UNKNOWN})
    return fields


def pad_ufes_20(download, options):
    """metadata.csv and images/**/NAME.png.  No split is published: a fifth of the patients by own_split, or --ids."""
    path = download.need("metadata.csv")
    pictures = {}
    for file in sorted((path.parent).rglob("*.png")):
        pictures.setdefault(file.name, file)
    for where, row in read_csv(path, ("patient_id", "lesion_id", "img_id", "diagnostic", *FLAGS.values(), *TEXTS.values())):
        if isinstance(row, Bad):
            yield row
        elif options.only is None and own_split(f"pad-ufes-20 {row['patient_id']}", 20, 0) != options.split:
            yield LeftOut("another split")
        elif row["diagnostic"] not in DIAGNOSES:
            yield Bad(where, f"diagnostic '{row['diagnostic'][:20]}'")
        else:
            name = pathlib.PurePosixPath(row["img_id"]).name
            yield Case(where, row["img_id"], history(row), DIAGNOSES[row["diagnostic"]], [Picture(pictures.get(name, path.parent / "images" / name), name)],
                       row["patient_id"], {"gender": row["gender"].lower() or "unknown", "fitzpatrick": row["fitspatrick"] or "unknown"})


# ---- VinDr-Mammo ----

VIEW_NAMES = {"CC": "bilateral craniocaudal", "MLO": "mediolateral oblique"}


def vindr_mammo(download, options):
    """breast-level_annotations.csv, images/STUDY/IMAGE.dicom; a case for each picture."""
    if options.split == "val":
        raise Refused("VinDr-Mammo publishes no validation split")
    path = download.need("breast-level_annotations.csv")
    wanted = {"test": "test", "train": "training"}[options.split]
    for where, row in read_csv(path, ("study_id", "image_id", "laterality", "view_position", "breast_birads", "breast_density", "split")):
        if isinstance(row, Bad):
            yield row
        elif row["split"] != wanted:
            yield LeftOut("another split")
        elif row["view_position"] not in VIEW_NAMES:
            yield Bad(where, f"view_position '{row['view_position'][:20]}'")
        else:
            name = f"{row['study_id']}/{row['image_id']}.dicom"
            yield Case(where, row["image_id"], {"view": VIEW_NAMES[row["view_position"]]}, row["breast_birads"].removeprefix("BI-RADS").strip(),
                       [Picture(path.parent / "images" / name, name)], row["study_id"],
                       {"view": row["view_position"], "side": row["laterality"] or "unknown", "density": row["breast_density"] or "unknown"})


# ---- CBIS-DDSM ----

def number_of(head, tag):
    return int.from_bytes(head.get(tag, b"")[:2], "little")


def cropped_picture(folder):
    """The cut-out abnormality among a folder's files, or None.

    The CSV files cannot be asked: their names (000000.dcm) are not those of the download (1-1.dcm), and cut-out and mask are exchanged in a part of
    the rows.  The mask is as large as the whole mammogram, so the cut-out is the smaller one; a single file has to say that it is one."""
    found = []
    for path in sorted(folder.rglob("*.dcm")):
        head = dicom_head(path)
        told = head.get(SERIES_DESCRIPTION, b"").decode("latin-1").strip("\0 ").lower()
        found.append((number_of(head, ROWS) * number_of(head, COLUMNS), "cropped" not in told, path))
    found.sort()
    sure = len(found) > 1 and found[0][:2] != found[1][:2] or len(found) == 1 and not found[0][1]
    return found[0][2] if sure and found[0][0] > 0 else None


def abnormality_folder(download, name):
    for depth in ("", "CBIS-DDSM", "*/CBIS-DDSM"):
        for root in sorted(download.root.glob(depth)) if depth else [download.root]:
            if (root / name).is_dir():
                return root / name
    return None


def cbis_ddsm(kind):
    """The importer of one kind of abnormality: "mass" or "calc"."""

    def rows(download, options):
        if options.split == "val":
            raise Refused("CBIS-DDSM publishes no validation split")
        path = download.need(f"{kind}_case_description_{options.split}_set.csv")
        for where, row in read_csv(path, ("patient_id", "image view", "abnormality id", "assessment", "pathology", "subtlety", "cropped image file path")):
            if isinstance(row, Bad):
                yield row
                continue
            name = row["cropped image file path"].split("/")[0].strip()
            if not name or name in (".", ".."):
                yield Bad(where, "no path of the cropped image")
                continue
            folder = abnormality_folder(download, name)
            if folder is None:
                yield Missing(download.root / "CBIS-DDSM" / name)
                continue
            picture = cropped_picture(folder)
            if picture is None:
                yield Bad(where, f"cannot tell cut-out from mask among the files of {name}")
                continue
            density = row.get("breast_density", row.get("breast density", ""))
            yield Case(where, name, {"view": row["image view"]}, row["pathology"], [Picture(picture, f"{name}.dcm")], row["patient_id"],
                       {"view": row["image view"], "density": density or "unknown", "subtlety": row["subtlety"] or "unknown"})

    return rows
