"""The phantom library through ctypes, and the drawings as the engine sees them.

The C library is the one source of drawings and texts; this module compiles it into a cache folder and wraps it."""

import ctypes
import hashlib
import os
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = [
    "tools/phantom/case.c",
    "tools/phantom/draw.c",
    "tools/phantom/report.c",
    "tools/phantom/question.c",
    "coordinator/task/task.c",
    "proto/base/status.c",
    "proto/base/buf.c",
]
HEADERS = ["tools/phantom/phantom.h", "tools/phantom/wording.h", "coordinator/task/task.h", "proto/base/status.h"]

TRAIN, VALIDATION, HELD_OUT = 1, 2, 3
KINDS = {"open": 0, "closed": 1, "classify": 2, "choice": 3}
IMAGE_SIZE, GRID, N_LABELS = 224, 16, 16
REPORT_BYTES, TEXT_BYTES, MAX_OPTIONS = 768, 96, 4


class Case(ctypes.Structure):
    _fields_ = [("seed", ctypes.c_uint64)] + [
        (name, ctypes.c_uint8)
        for name in (
            "view tube line pacemaker consolidation consolidation_zone nodule nodule_zone nodule_size "
            "effusion_right effusion_left pneumothorax pneumothorax_size heart fracture indication"
        ).split()
    ]


class Image(ctypes.Structure):
    _fields_ = [
        ("pixels", ctypes.c_void_p),
        ("labels", ctypes.c_void_p),
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("max_value", ctypes.c_uint32),
    ]


class Question(ctypes.Structure):
    _fields_ = [
        ("text", ctypes.c_char * TEXT_BYTES),
        ("options", (ctypes.c_char * TEXT_BYTES) * MAX_OPTIONS),
        ("answer", ctypes.c_char * TEXT_BYTES),
        ("n_options", ctypes.c_uint32),
    ]


class TaskField(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("value", ctypes.c_char_p)]


class TaskPart(ctypes.Structure):
    _fields_ = [("is_image", ctypes.c_bool), ("text", ctypes.c_char_p)]


class TaskPrompt(ctypes.Structure):
    _fields_ = [("parts", ctypes.POINTER(TaskPart)), ("n_parts", ctypes.c_size_t)]


class BaseError(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("text", ctypes.c_char * 384)]


def build(folder=None):
    """Compile the shared library once per content of its sources; returns its path."""
    folder = pathlib.Path(folder or pathlib.Path(tempfile.gettempdir()) / f"phantom-{os.getuid()}")
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in SOURCES + HEADERS)).hexdigest()[:16]
    path = folder / f"phantom-{digest}.so"
    if not path.exists():
        scratch = folder / f"phantom-{digest}.{os.getpid()}.so"
        command = ["cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-o", str(scratch)]
        command += [f"-I{ROOT}"] + [str(ROOT / name) for name in SOURCES] + ["-lm"]
        subprocess.run(command, check=True)
        scratch.rename(path)
    return path


def load(path=None):
    library = ctypes.CDLL(str(path or build()))
    library.phantom_seed.restype = ctypes.c_uint64
    library.phantom_seed.argtypes = [ctypes.c_int, ctypes.c_uint64]
    library.phantom_case_init.argtypes = [ctypes.POINTER(Case), ctypes.c_uint64]
    library.phantom_case_labels.restype = ctypes.c_uint32
    library.phantom_case_labels.argtypes = [ctypes.POINTER(Case)]
    library.phantom_case_view.restype = ctypes.c_char_p
    library.phantom_case_indication.restype = ctypes.c_char_p
    library.phantom_label_text.restype = ctypes.c_char_p
    library.phantom_report_findings.restype = ctypes.c_uint32
    library.phantom_report_findings.argtypes = [ctypes.c_char_p]
    library.phantom_case_question.argtypes = [
        ctypes.POINTER(Case),
        ctypes.c_int,
        ctypes.c_uint64,
        ctypes.POINTER(Question),
    ]
    return library


class Phantom:
    """Cases, drawings and texts of the C library, as Python values."""

    def __init__(self, path=None):
        self.c = load(path)

    def case(self, space, index):
        facts = Case()
        self.c.phantom_case_init(ctypes.byref(facts), self.c.phantom_seed(space, index))
        return facts

    def labels(self, facts):
        return self.c.phantom_case_labels(ctypes.byref(facts))

    def label_names(self):
        return [self.c.phantom_label_text(i).decode() for i in range(N_LABELS)]

    def view(self, facts):
        return self.c.phantom_case_view(ctypes.byref(facts)).decode()

    def indication(self, facts):
        return self.c.phantom_case_indication(ctypes.byref(facts)).decode()

    def report(self, facts):
        out = ctypes.create_string_buffer(REPORT_BYTES)
        self.c.phantom_case_report(ctypes.byref(facts), out)
        return out.value.decode()

    def findings(self, report):
        return self.c.phantom_report_findings(report.encode())

    def question(self, facts, kind, index):
        """Question `index` of a kind: (text, options, answer)."""
        out = Question()
        self.c.phantom_case_question(ctypes.byref(facts), KINDS[kind], index, ctypes.byref(out))
        options = [out.options[i].value.decode() for i in range(out.n_options)]
        return out.text.decode(), options, out.answer.decode()

    def draw(self, facts):
        """(width, height, 8-bit grey bytes, labels of each patch)."""
        image = Image()
        if self.c.phantom_case_draw(ctypes.byref(facts), ctypes.byref(image)) != 0:
            raise MemoryError("cannot draw a phantom")
        grey = ctypes.create_string_buffer(image.width * image.height)
        patches = (ctypes.c_uint32 * (GRID * GRID))()
        self.c.phantom_image_to_u8(ctypes.byref(image), grey)
        self.c.phantom_image_patch_labels(ctypes.byref(image), GRID, patches)
        width, height = image.width, image.height
        self.c.phantom_image_release(ctypes.byref(image))
        return width, height, grey.raw, patches

    def render(self, task, fields, exemplar=""):
        """The prompt's parts: text as str, the image as None."""
        rows = (TaskField * max(1, len(fields)))(*[(k.encode(), v.encode()) for k, v in fields.items()])
        prompt, error = TaskPrompt(), BaseError()
        status = self.c.task_render(
            task.encode(), rows, ctypes.c_size_t(len(fields)), exemplar.encode(), ctypes.byref(prompt), ctypes.byref(error)
        )
        if status != 0:
            raise ValueError(error.text.decode())
        parts = [None if p.is_image else p.text.decode() for p in prompt.parts[: prompt.n_parts]]
        self.c.task_prompt_release(ctypes.byref(prompt))
        return parts
