"""The neutral layout that `palmgrove eval` reads, written whole or not at all.

    DATA/dataset.json               name, version, source, made_by: of all tasks in DATA
    DATA/TASK/cases.jsonl           one case a line
    DATA/TASK/images/...            copies of, or links to, the pictures of the download
    DATA/TASK/import-report.json    what was read, what was left out and why

An importer is a generator of Case, Bad, Missing and LeftOut.  The writer checks every case against the task's own file, so that fields and answers
agree with what a server takes, writes into DATA/.TASK.importing, and renames.  Nothing depends on the time, the machine or the order of
a directory: the same download gives the same bytes."""
import collections
import dataclasses
import json
import os
import pathlib
import shutil

TASKS = pathlib.Path(__file__).resolve().parents[2] / "coordinator/task/tasks"
NAME_BYTES_MAX = 200  # of an id, a group and a slice's value: EVAL_ID_BYTES_MAX
LISTED_MAX = 1000     # bad rows and missing files that a report names; all are counted


class Refused(Exception):
    """The download cannot be imported; the text says why and what to do."""


@dataclasses.dataclass
class Picture:
    path: pathlib.Path
    name: str  # below images/
    drawn: bool = False  # made for this import: never linked to


@dataclasses.dataclass
class Case:
    where: str  # in the download, for reports
    id: str
    fields: dict
    answer: object  # a string, or a list of strings that are all right
    images: list = dataclasses.field(default_factory=list)
    group: str = ""
    slices: dict = dataclasses.field(default_factory=dict)
    variant: dict = None


@dataclasses.dataclass
class Bad:
    """A row that is not what its format promises."""
    where: str
    why: str


@dataclasses.dataclass
class Missing:
    """A file that the download lacks."""
    path: object


@dataclasses.dataclass
class LeftOut:
    """A row that is sound and not wanted."""
    why: str


def has_control(text):
    return any(ord(c) < 0x20 or ord(c) == 0x7F for c in text)


def load_task(name):
    return json.loads((TASKS / f"{name}.json").read_text(encoding="utf-8"))


def normalised(text):
    return " ".join(text.lower().split()).removesuffix(".").rstrip()


# ---- a case against its task ----

def field_fault(task, name, values, n_images):
    rule = task.get("fields", {}).get(name)
    if rule is None:
        return f"task '{task['name']}' has no field '{name}'"
    if any(not isinstance(value, str) or "\0" in value for value in values):
        return f"field '{name}' is not text"
    if any(not value.strip() for value in values):
        return f"field '{name}' is empty"
    if rule["kind"] == "choice" and any(value not in rule["choices"] for value in values):
        return f"field '{name}' is '{values[0]}', none of its choices"
    if rule["kind"] == "options" and not 2 <= len(values) <= 26:
        return f"{len(values)} options"
    if rule["kind"] != "options" and len(values) != (n_images if rule.get("each") else 1):
        return f"field '{name}' has {len(values)} values"
    return None


def answer_fault(task, case, answers):
    if not answers or any(not isinstance(a, str) or not a.strip() or "\0" in a for a in answers):
        return "no answer"
    answer = task["answer"]
    known = None
    if answer["form"] == "class":
        known = [name for c in answer["classes"] for name in (c["name"], *c.get("synonyms", ()))]
    elif answer["form"] == "choice":
        known = [option for field in answer["options"] for option in case.fields.get(field, ())]
    elif answer["form"] == "genotype":
        known = ["0", "1", "2"]
    for text in answers:
        if known is not None and normalised(text) not in [normalised(k) for k in known]:
            return f"answer '{text[:80]}' is none of the task's"
    return None


def fault_of(task, case):
    """Why the case is none of its task, or None."""
    named = {"id": case.id, "group": case.group or case.id, **{f"slice '{k}'": v for k, v in case.slices.items()}}
    for what, text in named.items():
        if not text or has_control(text) or len(text.encode("utf-8", "replace")) > NAME_BYTES_MAX:
            return f"{what} is empty, too long or holds control characters"
    images = task["images"]
    least, most = (images, images) if isinstance(images, int) else (images["least"], images["most"])
    if not least <= len(case.images) <= most:
        return f"{len(case.images)} images"
    for name, rule in task.get("fields", {}).items():
        if rule.get("required") and name not in case.fields:
            return f"field '{name}' is missing"
    for name, value in case.fields.items():
        fault = field_fault(task, name, value if isinstance(value, list) else [value], len(case.images))
        if fault:
            return fault
    if case.variant and len(case.variant["ref"]) > NAME_BYTES_MAX:
        return f"a reference allele of more than {NAME_BYTES_MAX} bases"
    return answer_fault(task, case, case.answer if isinstance(case.answer, list) else [case.answer])


# ---- writing ----

def line_of(case):
    out = {"id": case.id}
    if case.fields:
        out["fields"] = case.fields
    if case.images:
        out["images"] = [f"images/{picture.name}" for picture in case.images]
    out["answer"] = case.answer
    if case.group:
        out["group"] = case.group
    if case.slices:
        out["slices"] = case.slices
    if case.variant:
        out["variant"] = case.variant
    return json.dumps(out, ensure_ascii=False, separators=(", ", ": ")).encode("utf-8") + b"\n"


def write_json(path, value):
    """Beside its place, then renamed."""
    beside = path.with_name(f".{path.name}.importing")
    beside.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(beside, path)


class Writer:
    def __init__(self, data, task_name, limit=0, link=False, partial=False, only=None):
        self.data, self.task, self.limit, self.link, self.partial = pathlib.Path(data), load_task(task_name), limit, link, partial
        self.only = only  # ids, or None: all
        self.folder = self.data / task_name
        self.scratch = self.data / f".{task_name}.importing"
        self.ids, self.pictures, self.bad, self.missing = set(), {}, [], []
        self.n_bad = self.n_missing = 0
        self.left_out = collections.Counter()

    def note_bad(self, where, why):
        self.n_bad += 1
        if len(self.bad) < LISTED_MAX:
            self.bad.append({"where": where, "why": why})

    def note_missing(self, path):
        self.n_missing += 1
        if len(self.missing) < LISTED_MAX:
            self.missing.append(str(path))

    def place(self, picture):
        """False when the file is not there."""
        if picture.name in self.pictures:
            if self.pictures[picture.name] != picture.path:
                raise Refused(f"two pictures are called '{picture.name}': {self.pictures[picture.name]} and {picture.path}")
            return True
        if not picture.path.is_file():
            return False
        target = self.scratch / "images" / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.link and not picture.drawn:
            target.symlink_to(picture.path.resolve())
        else:
            shutil.copyfile(picture.path, target)
        self.pictures[picture.name] = picture.path
        return True

    def take(self, case, out):
        """Write a case, or note why not."""
        fault = fault_of(self.task, case)
        if not fault and case.id in self.ids:
            fault = f"id '{case.id}' stands twice"
        try:
            line = b"" if fault else line_of(case)
        except UnicodeEncodeError:
            fault = "text that is not Unicode"
        if fault:
            self.note_bad(case.where, fault)
            return
        absent = [picture.path for picture in case.images if not picture.path.is_file()]
        for path in absent:
            self.note_missing(path)
        if absent:
            return
        for picture in case.images:
            self.place(picture)
        self.ids.add(case.id)
        out.write(line)

    def fill(self, rows):
        with open(self.scratch / "cases.jsonl", "wb") as out:
            for row in rows:
                if isinstance(row, Bad):
                    self.note_bad(row.where, row.why)
                elif isinstance(row, LeftOut):
                    self.left_out[row.why] += 1
                elif isinstance(row, Missing):
                    self.note_missing(row.path)
                elif self.only is not None and row.id not in self.only:
                    self.left_out["not in --ids"] += 1
                else:
                    self.take(row, out)
                if self.limit and len(self.ids) >= self.limit:
                    break

    def judge(self, hint):
        if self.n_missing and not self.partial:
            names = "\n  ".join(self.missing[:10]) + ("\n  ..." if self.n_missing > 10 else "")
            raise Refused(f"{self.n_missing} files are not there:\n  {names}\n{hint}\n"
                          "Or import what there is with --partial: scores are then not those of the whole split.")
        if not self.ids:
            first = f"; the first bad row: {self.bad[0]['where']}: {self.bad[0]['why']}" if self.bad else ""
            raise Refused(f"no case of this split: {dict(self.left_out)}, {self.n_bad} bad rows, {self.n_missing} missing files{first}")

    def report(self, about):
        expected = self.task.get("test_cases")
        return {**about, "task": self.task["name"], "cases": len(self.ids), "published_test_cases": expected, "limit": self.limit,
                "left_out": dict(sorted(self.left_out.items())), "bad_rows": self.n_bad, "missing_files": self.n_missing,
                "bad": self.bad, "missing": self.missing}

    def run(self, rows, about, hint, replace=False):
        """Import; the report.  On failure DATA is as it was."""
        if self.folder.exists() and not replace:
            raise Refused(f"'{self.folder}' is there already; --replace writes it anew")
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        try:
            self.fill(rows)
            self.judge(hint)
            report = self.report(about)
            write_json(self.scratch / "import-report.json", report)
            shutil.rmtree(self.folder, ignore_errors=True)
            os.rename(self.scratch, self.folder)
        except BaseException:
            shutil.rmtree(self.scratch, ignore_errors=True)
            raise
        write_dataset(self.data)
        return report


def write_dataset(data):
    """DATA/dataset.json from the reports of the tasks in it."""
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(data.glob("*/import-report.json"))]
    together = {key: "; ".join(dict.fromkeys(report[key] for report in reports)) for key in ("name", "version", "source")}
    if len(reports) > 3:
        together = {"name": f"{len(reports)} tasks of MultiMedBench", "version": "see */import-report.json", "source": "see */import-report.json"}
    write_json(data / "dataset.json", {**together, "made_by": "tools/datasets/import.py"})
