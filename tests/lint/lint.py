#!/usr/bin/python3
"""The rules of the tree that a compiler does not check.  `lint.py ROOT RULE` prints each breach as FILE:LINE: text.

A rule is a function from a Tree to breaches; `selfcheck` runs every rule over a small tree that breaks all of them, so a
rule that can find nothing does not pass unnoticed."""
import collections
import fnmatch
import pathlib
import re
import shutil
import subprocess
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
    r"cblas\.h": ("worker/kernels/blas/",),
    r"omp\.h": ("worker/",),
    r"zmq\.h": ("proto/", "coordinator/gateway/", "coordinator/engine/", "coordinator/thread_queue.", "coordinator/coordinator.c",
                "tools/palmgrove/cmd_serve.c"),
    r"jansson\.h": ("sharding/", "coordinator/", "tools/eval/", "tools/metrics/"),
    r"sodium\.h": ("sharding/", "coordinator/session/prompt_inputs.c", "tools/eval/"),
    r"xxhash\.h": ("sharding/shards/",),
    r"jpeglib\.h|png\.h|jerror\.h|tiffio\.h|zlib\.h|charls.*\.h|openjpeg\.h": ("coordinator/image/",),
    r"sentencepiece.*\.h|pcre2\.h|utf8proc\.h": ("coordinator/text/", "tools/metrics/"),
    r"sam\.h|faidx\.h|vcf\.h|hts_log\.h": ("coordinator/genomics/",),
    r"immintrin\.h|arm_neon\.h": ("worker/kernels/",),
}
GENERATED_PROTOCOL = re.compile(r"\.pb-c\.h")

# The only files that end the process: main, and a broken invariant.
ENDING_FILES = ("tools/palmgrove/main.c", "proto/base/check.c")
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
        if name in ENDING_FILES or name.startswith("tests/"):
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


# ---- language ----

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')
PROSE_FILES = ("*.c", "*.h", "*.cc", "*.md", "*.py", "*.proto")
# Rules and tests of the rules quote what they refuse; goldens and models are other people's words.
QUOTING = ("tests/lint/*", "tests/shows/*", "tests/golden/*", "models/*", "tests/conformance/texts/*", "tools/phantom/*.txt", "CHANGELOG.md")
WORDS = pathlib.Path(__file__).with_name("words.tsv")


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def prose(tree):
    """(name, text) of what is written for people: whole documents, and sources with their identifiers."""
    for name, path in tree.files(*PROSE_FILES):
        if not any(fnmatch.fnmatch(name, pattern) for pattern in QUOTING):
            yield name, path.read_text(errors="replace")


def avoided_words():
    for line in WORDS.read_text().splitlines():
        if line and not line.startswith("#"):
            pattern, instead, *exempt = line.split("\t")
            yield re.compile(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])", re.I), instead, exempt[0].split() if exempt else []


def words(tree):
    """Words that a native engineer would not use or would not find (words.tsv)."""
    avoided = list(avoided_words())
    for name, text in prose(tree):
        for pattern, instead, exempt in avoided:
            if any(fnmatch.fnmatch(name, place) for place in exempt):
                continue
            for match in pattern.finditer(text):
                yield f'{name}:{line_of(text, match.start())}: "{match.group(0)}": say {instead}'


DOUBLED = re.compile(r"(?<![\w.\-'/])([A-Za-z]{2,})(?:[ \t]+|[ \t]*\n[ \t]*(?:\*[ \t]+|//[ \t]+|# )?)\1(?![\w\-('/.])")
MAY_DOUBLE = {"long", "that", "had", "ha", "beri"}


def comments_of(name, text):
    """Comments of a source with everything else blanked, so that places keep their lines; a document as it is."""
    if name.endswith(".md"):
        return re.sub(r"```.*?```|^    .*?$|`[^`\n]*`|^\|.*?$", lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.S | re.M)
    kept, end = [], 0
    for match in COMMENT.finditer(text):
        kept.append(re.sub(r"[^\n]", " ", text[end : match.start()]) + match.group(0))
        end = match.end()
    return "".join(kept)


def doubled(tree):
    for name, path in tree.files("*.c", "*.h", "*.cc", "*.md"):
        if any(fnmatch.fnmatch(name, pattern) for pattern in QUOTING):
            continue
        text = comments_of(name, path.read_text(errors="replace"))
        for match in DOUBLED.finditer(text):
            if match.group(1).lower() not in MAY_DOUBLE and not re.search(r"  |[|+]", match.group(0).split("\n")[0]):
                yield f'{name}:{line_of(text, match.start())}: doubled word "{match.group(1)}"'


CITED = re.compile(r"(?<![\w./<*])((?:\w[\w-]*/)*\w[\w-]*\.(?:c|h|cc))(?![\w*])")
# Of libraries and of the programs whose arithmetic is followed.
FOREIGN_FILES = re.compile(r"(?:mpi|hwloc|cblas|zmq|jansson|jpeglib|png|omp|mpi-ext|ggml-common)\.h$|pb-c\.h$|build_info\.h$|"
                           r"(?:Resample|ggml-quants|NAME)\.c$")


def cited(tree):
    """A file that a comment or a document names exists."""
    known = {name for name, _ in tree.files("*.c", "*.h", "*.cc", "*.py", "*.md", "*.proto")}
    known |= {name.split("/", n)[-1] for name in known for n in range(1, name.count("/") + 1)}
    for name, path in tree.files("*.c", "*.h", "*.cc"):
        text = comments_of(name, path.read_text(errors="replace"))
        for match in CITED.finditer(text):
            if match.group(1) not in known and not FOREIGN_FILES.search(match.group(1)):
                yield f"{name}:{line_of(text, match.start())}: there is no {match.group(1)}"


# ---- structure ----

def inside(tree):
    """A header named *_int.h is for its own folder, the folders below it, and tests."""
    for name, lines in tree.sources():
        for number, quoted, header in includes(lines):
            if quoted and header.endswith("_int.h") and not name.startswith((header.rsplit("/", 1)[0] + "/", "tests/")):
                yield f'{name}:{number}: "{header}" is inside {header.rsplit("/", 1)[0]}/'


def code_of(text):
    text = COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)
    return STRING.sub('""', text)


DEFINED = re.compile(r"^(?!static|typedef|return|else)[A-Za-z_][\w *]*?[ *](\w+)\([^;{}]*\)\s*\{", re.M)
CALLED = re.compile(r"\b([a-z]\w+)\s*\(")


def rings(edges):
    """Strongly connected components of more than one node (Tarjan 1972, iterative)."""
    index, low, on_stack, stack, found = {}, {}, set(), [], []
    for root in list(edges):
        if root in index:
            continue
        work = [(root, iter(edges.get(root, ())))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, following = work[-1]
            for other in following:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(edges.get(other, ()))))
                    break
                if other in on_stack:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    ring = []
                    while not ring or ring[-1] != node:
                        ring.append(stack.pop())
                        on_stack.discard(ring[-1])
                    if len(ring) > 1:
                        found.append(sorted(ring))
    return found


# Families call each other's parts (a vision family is a decoder and a tower); everything else is layered.
MAY_CIRCLE = ("sharding/families/",)


def call_graph(tree):
    """File -> files whose functions it calls.  Names of functions are unique outside tests; static ones are left out."""
    owner, texts = {}, {}
    for name, path in tree.files("*.c", "*.cc"):
        if name.startswith(SOURCE_FOLDERS) and not name.startswith("tests/"):
            texts[name] = code_of(path.read_text(errors="replace"))
            for match in DEFINED.finditer(texts[name]):
                owner.setdefault(match.group(1), name)
    return {name: {owner[call] for call in CALLED.findall(text) if call in owner and owner[call] != name} for name, text in texts.items()}


def circles(tree):
    """No circle of calls between files, and none of includes between folders that do not contain each other."""
    graph = call_graph(tree)
    calls = {name: {other for other in others if not other.startswith(MAY_CIRCLE)} for name, others in graph.items() if not name.startswith(MAY_CIRCLE)}
    for ring in rings(calls):
        yield f"{ring[0]}:1: a circle of calls: {', '.join(ring)}"
    folders = collections.defaultdict(set)
    for name, lines in tree.sources():
        if name.startswith("tests/"):
            continue
        here = name.rsplit("/", 1)[0]
        for _, quoted, header in includes(lines):
            there = header.rsplit("/", 1)[0]
            if quoted and there != here and not (here + "/").startswith(there + "/") and not (there + "/").startswith(here + "/"):
                folders[here].add(there)
    for ring in rings(folders):
        yield f"{ring[0]}/README.md:1: a circle of includes between folders: {', '.join(ring)}"


# ---- format ----

MAX_WIDTH = 120


def width(tree):
    for name, lines in tree.sources():
        for number, line in enumerate(lines, 1):
            if len(line) > MAX_WIDTH:
                yield f"{name}:{number}: {len(line)} columns; the limit is {MAX_WIDTH}"


def clang_format():
    """clang-format 14, Debian 12's; other versions format otherwise."""
    for program in ("clang-format-14", "clang-format"):
        if shutil.which(program) and " 14." in subprocess.run([program, "--version"], capture_output=True, text=True).stdout:
            return program
    return None


def format(tree):
    program = clang_format()
    if program is None:
        yield "tests/lint/lint.py:1: the format rule needs clang-format 14 (package clang-format-14)"
        return
    files = [path for name, path in tree.files("*.c", "*.h", "*.cc") if name.startswith(SOURCE_FOLDERS)]
    for start in range(0, len(files), 100):
        done = subprocess.run([program, "--dry-run", "-Werror", *files[start : start + 100]], capture_output=True, text=True)
        for match in re.finditer(r"^(.+?):(\d+):\d+: error: code should be clang-formatted", done.stderr, re.M):
            yield f"{pathlib.Path(match[1]).relative_to(tree.root).as_posix()}:{match[2]}: not formatted: {program} -i"


RULES = {rule.__name__: rule for rule in (layers, owners, names, readmes, exits, sizes, paths, words, doubled, cited, inside, circles, width, format)}

BROKEN = {  # rule -> files that break it
    "layers": {"worker/a.c": '#include "coordinator/b.h"\n', "coordinator/b.h": "", "worker/c.c": '#include "c2.h"\n'},
    "owners": {"worker/model/d.c": "#include <mpi.h>\n", "proto/e.c": '#include "x.pb-c.h"\n', "proto/f.c": '#include "x.pb-c.h"\n'},
    "names": {"proto/g.h": "", "worker/g.h": "", "worker/Bad-Name.c": ""},
    "readmes": {"proto/h.c": ""},
    "exits": {"worker/i.c": "void f(void)\n{\n    exit(1);\n}\n", "proto/i2.c": "    abort();\n"},
    "sizes": {"proto/j.c": "\n" * (MAX_LINES + 1)},
    "paths": {"proto/README.md": "see `proto/nothing.c`\n"},
    "words": {"proto/k.c": "/* The rest stands behind it. */\nint kv_lend(void);\n", "docs/k.md": "whoever asks\n"},
    "doubled": {"proto/l.c": "/* one of the\n * the rows */\nlong long fine_fine;\n", "docs/l.md": "it is is so\n"},
    "cited": {"proto/m.c": "/* as in hierarchy.h; m.c and <mpi.h> are there */\n"},
    "inside": {"proto/n.c": '#include "worker/par/n_int.h"\n', "worker/par/n.c": '#include "worker/par/n_int.h"\n'},
    "circles": {"proto/a/o.c": '#include "proto/b/p.h"\nint oo(void)\n{\n    return pp();\n}\n',
                "proto/b/p.c": '#include "proto/a/o.h"\nint pp(void)\n{\n    return oo();\n}\n'},
    "width": {"proto/q.c": "/* " + "x" * MAX_WIDTH + " */\n"},
    "format": {"proto/r.c": "int   f( void ){return 1;}\n", ".clang-format": "BasedOnStyle: LLVM\n"},
}
EXPECTED = {"layers": 2, "owners": 2, "names": 2, "readmes": 1, "exits": 2, "sizes": 1, "paths": 1, "words": 4, "doubled": 2, "cited": 1,
            "inside": 1, "circles": 2, "width": 1, "format": 1}


def selfcheck():
    for rule, files in BROKEN.items():
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = pathlib.Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            found = list(RULES[rule](Tree(folder)))
            if rule == "format":  # clang-format names each place of a line
                found = found[:1]
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
