"""VQA-RAD, Slake-VQA, Path-VQA: questions about pictures."""
import pathlib

from neutral import Bad, Case, LeftOut, Picture, Refused
from published import read_json, read_pickle, text_of


def rows_of(path, value):
    """A list of objects as (where, object); anything else in it is Bad."""
    if not isinstance(value, list):
        raise Refused(f"{path} must be a list")
    for number, row in enumerate(value, 1):
        where = f"{path.name}:{number}"
        yield where, row if isinstance(row, dict) else Bad(where, "not an object")


def safe_name(name):
    """A relative path without "..", or "": what a dataset may call a picture."""
    path = pathlib.PurePosixPath(name)
    return "" if not name or path.is_absolute() or ".." in path.parts else str(path)


def vqa_rad(download, options):
    """One JSON for both splits: a phrase_type that begins with "test" is of the test split.  Answers may be numbers, types end in blanks."""
    if options.split == "val":
        raise Refused("VQA-RAD publishes no validation split")
    path = download.need("VQA_RAD Dataset Public.json", "VQA_RAD*.json")
    for where, row in rows_of(path, read_json(path)):
        if isinstance(row, Bad):
            yield row
            continue
        if text_of(row, "phrase_type").startswith("test") != (options.split == "test"):
            yield LeftOut("another split")
            continue
        name, kind = safe_name(text_of(row, "image_name")), text_of(row, "answer_type").lower()
        if not name:
            yield Bad(where, "no image_name")
            continue
        picture = path.parent / "VQA_RAD Image Folder" / name
        if not picture.is_file():
            picture = download.look(f"VQA_RAD Image Folder/{name}", f"images/{name}") or picture
        yield Case(where, f"vqa-rad-{text_of(row, 'qid')}", {"question": text_of(row, "question"), "type": kind}, text_of(row, "answer"),
                   [Picture(picture, name)], name,
                   {"type": kind, "organ": text_of(row, "image_organ") or "unknown", "phrase": text_of(row, "phrase_type")})


def slake(download, options):
    """{train,validate,test}.json and imgs/xmlabN/source.jpg; q_lang is en or zh."""
    path = download.need({"test": "test", "val": "validate", "train": "train"}[options.split] + ".json")
    for where, row in rows_of(path, read_json(path)):
        if isinstance(row, Bad):
            yield row
            continue
        language = text_of(row, "q_lang")
        if options.language not in ("all", language):
            yield LeftOut(f"language {language}")
            continue
        name = safe_name(text_of(row, "img_name"))
        if not name:
            yield Bad(where, "no img_name")
            continue
        yield Case(where, f"slake-{text_of(row, 'qid')}", {"question": text_of(row, "question")}, text_of(row, "answer"),
                   [Picture(path.parent / "imgs" / name, name)], f"slake-image-{text_of(row, 'img_id')}",
                   {"language": language, "type": text_of(row, "answer_type").lower() or "unknown", "modality": text_of(row, "modality") or "unknown",
                    "content": text_of(row, "content_type") or "unknown"})


def path_answers(row):
    """`label` of SPLIT_vqa.pkl is {answer: score}; `answer` of SPLIT_qa.pkl is a string."""
    label = row.get("label")
    if isinstance(label, dict) and label and all(isinstance(score, (int, float)) for score in label.values()):
        best = sorted(str(answer).strip() for answer, score in label.items() if score == max(label.values()))
        return best[0] if len(best) == 1 else best
    return text_of(row, "answer")


def path_vqa(download, options):
    """qas/SPLIT_vqa.pkl (with the type of each answer) or qas/SPLIT/SPLIT_qa.pkl; images/SPLIT/NAME.jpg."""
    name = options.split
    path = download.need(f"qas/{name}_vqa.pkl", f"qas/{name}/{name}_qa.pkl")
    folder = (path.parent.parent if path.parent.name == name else path.parent).parent / "images" / name
    for number, (where, row) in enumerate(rows_of(path, read_pickle(path)), 1):
        if isinstance(row, Bad):
            yield row
            continue
        image, answer = safe_name(text_of(row, "img_id") or text_of(row, "image")), path_answers(row)
        if not image:
            yield Bad(where, "no image")
            continue
        kind = text_of(row, "answer_type") or ("yes/no" if str(answer).lower() in ("yes", "no") else "other")
        file = image if image.lower().endswith((".jpg", ".png")) else f"{image}.jpg"
        yield Case(where, f"path-vqa-{name}-{text_of(row, 'question_id') or number}",
                   {"question": text_of(row, "sent") or text_of(row, "question"), "type": kind}, answer, [Picture(folder / file, file)], image, {"type": kind})
