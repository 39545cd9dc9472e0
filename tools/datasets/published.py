"""Reading what datasets are published as: CSV, JSON and JSON Lines (plain or .gz, with or without a byte order mark, any line ends), pickles,
sections of radiology reports, headers of DICOM files; and the split of a dataset that publishes none."""
import csv
import gzip
import hashlib
import json
import pathlib
import pickle
import re
import struct
import zlib

from neutral import Bad, Refused

FIELD_BYTES_MAX = 1 << 24
csv.field_size_limit(FIELD_BYTES_MAX)

# What gzip, json, csv and codecs raise, depending on which of a file's bytes are wrong.
BROKEN = (OSError, EOFError, zlib.error, UnicodeDecodeError, json.JSONDecodeError, csv.Error, RecursionError)


class Download:
    """A directory of downloaded files; what is looked for may lie up to two folders deep, as archives unpack."""

    def __init__(self, root, hint):
        self.root, self.hint = pathlib.Path(root), hint
        if not self.root.is_dir():
            raise Refused(f"there is no directory '{root}'")

    def look(self, *names):
        """The first of `names` (paths, may hold wildcards) that is there, or None.  Several files of one pattern: refused."""
        for depth in ("", "*/", "*/*/"):
            for name in names:
                found = sorted(path for path in self.root.glob(depth + name) if not path.name.startswith("._"))
                if len(found) > 1:
                    raise Refused(f"{len(found)} files are called '{name}' in '{self.root}': {found[0]}, {found[1]}; keep one")
                if found:
                    return found[0]
        return None

    def need(self, *names):
        path = self.look(*names)
        if path is None:
            raise Refused(f"'{self.root}' has no {' or '.join(names)}\n{self.hint}")
        return path


# ---- files ----

def open_text(path):
    opener = gzip.open if path.name.endswith((".gz", ".bgz")) else open
    return opener(path, "rt", encoding="utf-8-sig", newline="")


def read_csv(path, columns):
    """Each row as (where, {column: text}); blanks around values are dropped.  Rows of another width are Bad."""
    try:
        with open_text(path) as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            absent = [name for name in columns if name not in header]
            if absent:
                raise Refused(f"{path}: no column '{absent[0]}'; it has {', '.join(header[:30])}")
            for row in reader:
                where = f"{path.name}:{reader.line_num}"
                if not row:
                    continue
                if len(row) != len(header):
                    yield where, Bad(where, f"{len(row)} values in a row of {len(header)}")
                else:
                    yield where, dict(zip(header, (value.strip() for value in row)))
    except BROKEN as error:
        raise Refused(f"{path} is damaged: {error}; download it again") from error


def read_json(path):
    try:
        with open_text(path) as file:
            return json.load(file)
    except BROKEN as error:
        raise Refused(f"{path} is damaged: {error}; download it again") from error


def read_lines(path):
    """JSON Lines: each line as (where, object); a line that is no object is Bad."""
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, 1):
                where = f"{path.name}:{number}"
                if not line.strip():
                    continue
                try:
                    value = json.loads(line)
                except (json.JSONDecodeError, RecursionError) as error:
                    yield where, Bad(where, f"not JSON: {error}")
                    continue
                yield where, value if isinstance(value, dict) else Bad(where, "not an object")
    except BROKEN as error:
        raise Refused(f"{path} is damaged: {error}; download it again") from error


class _Plain(pickle.Unpickler):
    """A pickle is a program; this one makes lists, dicts, strings and numbers and calls nothing."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"it wants to call {module}.{name}")


def read_pickle(path):
    try:
        with open(path, "rb") as file:
            return _Plain(file, encoding="utf-8").load()
    except Exception as error:  # a damaged pickle raises whatever its wrong byte leads to
        raise Refused(f"{path} is no pickle of plain values: {error}") from error


def text_of(row, key):
    """A value as text: numbers are written out, absent ones are ""."""
    value = row.get(key)
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, (str, int)):
        return str(value).replace("\r\n", "\n").replace("\r", "\n").strip()
    return f"{value:g}" if isinstance(value, float) else ""


# ---- radiology reports ----

HEADING = re.compile(r"^[ \t]*([A-Z][A-Z /()&,\-]{2,60}):", re.MULTILINE)
PAGE_BREAK = re.compile(r"\(Over\).*?\(Cont\)", re.DOTALL)  # MIMIC-III repeats its head on each page
RULE = re.compile(r"[_=]{4,}")


def sections(report):
    """Heading in upper case -> its text on one line; of two equal headings the first."""
    report = RULE.sub("\n", PAGE_BREAK.sub(" ", report.replace("\r\n", "\n").replace("\r", "\n")))
    marks = list(HEADING.finditer(report)) + [None]
    out = {}
    for mark, after in zip(marks, marks[1:]):
        text = " ".join(report[mark.end():after.start() if after else len(report)].split())
        out.setdefault(" ".join(mark.group(1).split()), text)
    return out


# ---- DICOM ----

LONG_FORMS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
DICOM_HEAD_BYTES = 1 << 20  # of a file: what stands before the pixels
SERIES_DESCRIPTION, ROWS, COLUMNS, PIXELS = (0x0008, 0x103E), (0x0028, 0x0010), (0x0028, 0x0011), (0x7FE0, 0x0010)


def dicom_head(path):
    """(group, element) -> bytes of a little-endian file's flat elements before its pixels; sequences end the reading of undefined length."""
    with open(path, "rb") as file:
        data = file.read(DICOM_HEAD_BYTES)
    if data[128:132] != b"DICM":
        raise Refused(f"{path} is no DICOM file")
    out, at, implicit = {}, 132, False
    while at + 8 <= len(data):
        tag = struct.unpack_from("<HH", data, at)
        if tag == PIXELS:
            break
        if tag[0] > 2 and (0x0002, 0x0010) in out:
            implicit = out[0x0002, 0x0010].rstrip(b"\0 ") == b"1.2.840.10008.1.2"
        form, size, head = data[at + 4:at + 6], 0, 8
        if implicit and tag[0] > 2:
            size = struct.unpack_from("<I", data, at + 4)[0]
        elif form in LONG_FORMS and at + 12 <= len(data):
            size, head = struct.unpack_from("<I", data, at + 8)[0], 12
        else:
            size = struct.unpack_from("<H", data, at + 6)[0]
        if size == 0xFFFFFFFF or at + head + size > len(data):
            break
        out[tag] = data[at + head:at + head + size]
        at += head + size
    return out


# ---- splits ----

def share(key):
    """0 to 99, the same for ever: which hundredth of a dataset a patient falls into when no split is published."""
    return int.from_bytes(hashlib.sha256(b"palmgrove split 1\n" + key.encode()).digest()[:8], "big") % 100


def own_split(key, test, val):
    """The first `test` hundredths are the test split, the next `val` the validation split."""
    at = share(key)
    return "test" if at < test else "val" if at < test + val else "train"
