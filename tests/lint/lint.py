#!/usr/bin/python3
"""The rules of the tree that a compiler does not check.  `lint.py ROOT RULE` prints each breach as FILE:LINE: text.

A rule is a function from a Tree to breaches; `selfcheck` runs every rule over a small tree that breaks all of them, so a
rule that can find nothing does not pass unnoticed."""
import pathlib
import re
import sys
import tempfile

SOURCE_FOLDERS = ("proto", "sharding", "worker", "coordinator", "tools", "tests")

# Which folders the files of a folder may include from; the longest matching folder counts.
LAYERS = {
    "proto/base": ("proto/base",),
    "proto": ("proto",),
    "sharding": ("proto", "sharding"),
    "worker": ("proto", "sharding", "worker"),
    "sharding/pack": ("proto/base", "sharding/pack"),
    "worker/team": ("proto/base", "worker/team"),
    "worker/trace": ("proto/base", "worker/trace"),
    "worker/kernels": ("proto", "sharding/pack", "worker/team", "worker/kernels"),
    "worker/par": ("proto/base", "worker/team", "worker/trace", "worker/par"),
    "worker/topo": ("proto/base", "worker/topo"),
    "coordinator": ("proto", "sharding", "coordinator"),
    "coordinator/text": ("proto/base", "sharding", "coordinator/text"),
    "coordinator/image": ("proto/base", "coordinator/image"),
    "coordinator/genomics": ("proto/base", "coordinator/genomics", "coordinator/image"),
    "coordinator/task": ("proto/base", "coordinator/task"),
    "tools/phantom": ("proto/base", "tools/phantom"),
    "tools/output": ("proto/base", "tools/output"),
    "tools/ask": ("proto", "coordinator/task", "tools/ask"),
    "tools/metrics": ("proto/base", "tools/metrics"),
    "tools/eval": ("proto", "coordinator/task", "coordinator/image", "tools/metrics", "tools/output", "tools/ask", "tools/eval"),
    "tools/palmgrove": ("proto", "sharding", "worker", "coordinator", "tools"),
    "tests": ("proto", "sharding", "worker", "coordinator", "tools", "tests"),
}

# Every foreign header has one owner, so that a library can be replaced in one place.  Tests may look behind the owner.
OWNERS = {
    r"mpi\.h": ("worker/par/",),
    r"hwloc.*\.h": ("worker/topo/",),
    r"cblas\.h": ("worker/kernels/blas/", "tests/unit/worker/test_kern_blas.c"),
    r"omp\.h": ("worker/",),
    r"zmq\.h": ("proto/", "coordinator/gateway/", "coordinator/engine/", "coordinator/mail.", "coordinator/coordinator.c",
                "tools/palmgrove/cmd_serve.c"),
    r"jansson\.h": ("sharding/", "coordinator/", "tools/eval/", "tools/metrics/"),
    r"sodium\.h": ("sharding/", "coordinator/session/prompt.c", "tools/eval/"),
    r"xxhash\.h": ("sharding/shards/",),
    r"jpeglib\.h|png\.h|jerror\.h|tiffio\.h|zlib\.h|charls.*\.h|openjpeg\.h": ("coordinator/image/",),
    r"sentencepiece.*\.h|pcre2\.h|utf8proc\.h": ("coordinator/text/", "tools/metrics/"),
    r"sam\.h|faidx\.h|vcf\.h|hts_log\.h": ("coordinator/genomics/",),
    r"immintrin\.h|arm_neon\.h": ("worker/kernels/",),
}
GENERATED_PROTOCOL = re.compile(r"\.pb-c\.h")

# The only file that ends the process.
MAIN = "tools/palmgrove/main.c"
ENDS_PROCESS = re.compile(r"(?<![\w.>])(?:exit|_exit|_Exit|quick_exit|abort)\s*\(")

# File names are unique but for tests, which may be named after what they test.
OWN_NAMES = ("tests/",)

MAX_LINES = 800
# Longer for a reason: tables and generated goldens may be.
LONG_FILES = set()


class Tree:
    def __init__(self, root):
        self.root = pathlib.Path(root)

    def files(self, *patterns):
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            hidden = any(part.startswith((".", "__pycache__", "build")) for part in name.split("/")[:-1])
            if path.is_file() and not hidden and any(path.match(pattern) for pattern in patterns):
                yield name, path

    def sources(self):
        for name, path in self.files("*.c", "*.h", "*.cc"):
            if name.startswith(SOURCE_FOLDERS):
                yield name, path.read_text(errors="replace").splitlines()


def includes(lines):
    for number, line in enumerate(lines, 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1) == '"', match.group(2)


def layers(tree):
    for name, lines in tree.sources():
        folders = [folder for folder in LAYERS if name.startswith(folder + "/")]
        allowed = LAYERS[max(folders, key=len)] if folders else ()
        for number, quoted, header in includes(lines):
            if not quoted or GENERATED_PROTOCOL.search(header) or header.endswith("build_info.h"):
                continue
            if not (tree.root / header).is_file():
                yield f'{name}:{number}: "{header}" is not written from the root of the tree'
            elif not header.startswith(tuple(folder + "/" for folder in allowed)):
                yield f'{name}:{number}: "{header}" is not a layer that {name.rsplit("/", 1)[0]} may see'


def owners(tree):
    protocol_files = []
    for name, lines in tree.sources():
        for number, _, header in includes(lines):
            if GENERATED_PROTOCOL.search(header) and not name.startswith("tests/"):
                protocol_files.append((name, number))
            for pattern, places in OWNERS.items():
                if re.fullmatch(pattern, header.split("/")[-1]) and not name.startswith(places + ("tests/",)):
                    yield f"{name}:{number}: <{header}> belongs to {' and '.join(places)}"
    for name, number in protocol_files[1:]:
        yield f"{name}:{number}: the generated protocol header belongs to {protocol_files[0][0]} alone"


def names(tree):
    seen = {}
    for name, path in tree.files("*.c", "*.h", "*.cc", "*.py"):
        if path.name in seen and not name.startswith(OWN_NAMES):
            yield f"{name}:1: the name is taken by {seen[path.name]}"
        seen.setdefault(path.name, name)
        if not re.fullmatch(r"[a-z0-9_]+\.[a-z]+", path.name):
            yield f"{name}:1: source files are named in lower case with underscores"


def readmes(tree):
    for folder in sorted(tree.root.iterdir()):
        if folder.is_dir() and not folder.name.startswith((".", "build", "palmgrove-demo", "__pycache__")):
            readme = folder / "README.md"
            if not readme.is_file():
                yield f"{folder.name}/README.md:1: missing: say what the folder is, what it is not, where to start"
            elif len(readme.read_text().splitlines()) > 60:
                yield f"{folder.name}/README.md:61: longer than a README of a folder should be"


def exits(tree):
    for name, lines in tree.sources():
        if name == MAIN or name.startswith("tests/"):
            continue
        for number, line in enumerate(lines, 1):
            code = re.sub(r'"(\\.|[^"\\])*"', '""', line.split("//")[0])
            if not code.lstrip().startswith(("*", "/*")) and ENDS_PROCESS.search(code):
                yield f"{name}:{number}: only main ends the process: return a status"


def sizes(tree):
    for name, lines in tree.sources():
        if len(lines) > MAX_LINES and name not in LONG_FILES:
            yield f"{name}:{MAX_LINES + 1}: {len(lines)} lines: too long for one file"


def paths(tree):
    """A path in backquotes in a document exists."""
    tops = "|".join(re.escape(p.name) for p in tree.root.iterdir() if p.is_dir() and p.name != "build")
    pattern = re.compile(rf"`((?:\./)?(?:{tops})/[\w./-]*)`") if tops else None
    for name, path in tree.files("*.md"):
        if name.startswith("models/") or pattern is None:
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for match in pattern.finditer(line):
                if not (tree.root / match.group(1)).exists():
                    yield f"{name}:{number}: there is no {match.group(1)}"


RULES = {rule.__name__: rule for rule in (layers, owners, names, readmes, exits, sizes, paths)}

BROKEN = {  # rule -> files that break it
    "layers": {"worker/a.c": '#include "coordinator/b.h"\n', "coordinator/b.h": "", "worker/c.c": '#include "c2.h"\n'},
    "owners": {"worker/model/d.c": "#include <mpi.h>\n", "proto/e.c": '#include "x.pb-c.h"\n', "proto/f.c": '#include "x.pb-c.h"\n'},
    "names": {"proto/g.h": "", "worker/g.h": "", "worker/Bad-Name.c": ""},
    "readmes": {"proto/h.c": ""},
    "exits": {"worker/i.c": "void f(void)\n{\n    exit(1);\n}\n", "proto/i2.c": "    abort();\n"},
    "sizes": {"proto/j.c": "\n" * (MAX_LINES + 1)},
    "paths": {"proto/README.md": "see `proto/nothing.c`\n"},
}
EXPECTED = {"layers": 2, "owners": 2, "names": 2, "readmes": 1, "exits": 2, "sizes": 1, "paths": 1}


def selfcheck():
    for rule, files in BROKEN.items():
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = pathlib.Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            found = list(RULES[rule](Tree(folder)))
            if len(found) != EXPECTED[rule]:
                yield f"rule {rule} found {len(found)} of {EXPECTED[rule]} breaches: {found}"


def main(root, rule):
    if rule != "selfcheck" and rule not in RULES:
        sys.exit(f"lint.py: unknown rule '{rule}'; known are {', '.join(RULES)}, selfcheck")
    breaches = list(selfcheck() if rule == "selfcheck" else RULES[rule](Tree(root)))
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: lint.py ROOT RULE")
    sys.exit(main(sys.argv[1], sys.argv[2]))
