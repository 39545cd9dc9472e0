"""Bad input: each is refused with a typed error that names the subject, and the server lives on or does not start."""
import json
import pathlib
import shutil
import socket
import struct
import tempfile
import zlib

import harness
import wire

pb = wire.pb


def png_header(width, height):
    """A PNG that claims a size and holds nothing."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b""))


def bad_requests(case):
    """(what, request, the name of the error, a word its text must have)."""
    report = wire.task("report", view=case.view)
    generate = wire.generate
    return [
        ("not an image", generate([report, wire.image(b"hello, this is text")]), "unsupported", "image"),
        ("truncated image", generate([report, wire.image(case.png[: len(case.png) // 2])]), "bad_format", "image"),
        ("empty image", generate([report, wire.image(b"")]), None, "image"),
        ("enormous image", generate([report, wire.image(png_header(100000, 100000))]), "too_large", "pixels"),
        ("no parts", generate([]), "invalid_argument", None),
        ("empty prompt", generate([wire.text("")]), "invalid_argument", None),
        ("over-long prompt", generate([wire.text("the lungs are clear. " * 20000)]), "too_large", None),
        ("unknown task", generate([wire.task("poem"), wire.image(case.png)]), "not_found", "report"),
        ("unknown field", generate([wire.task("report", colour="red"), wire.image(case.png)]), "invalid_argument", "colour"),
        ("missing field", generate([wire.task("vqa"), wire.image(case.png)]), "invalid_argument", "question"),
        ("missing image", generate([report]), "invalid_argument", "image"),
        ("negative temperature", generate([wire.text("a")], {"temperature": -1.0}), "invalid_argument", "temperature"),
        ("temperature not a number", generate([wire.text("a")], {"temperature": float("nan")}), "invalid_argument", "temperature"),
        ("top_p above 1", generate([wire.text("a")], {"temperature": 1.0, "top_p": 2.0}), "invalid_argument", "top_p"),
        ("too many stops", generate([wire.text("a")], stop=["x"] * 9), None, "stop"),
        ("wrong version", pb.Request(version=99, health=pb.HealthQuery()), "unsupported", "version"),
        ("no body", pb.Request(version=1), "unsupported", "body"),
        ("over-long id", pb.Request(version=1, request_id="x" * 65, health=pb.HealthQuery()), "invalid_argument", None),
    ]


RAW = {
    "malformed protobuf": (b"\xff\xff\xff\xff\xff",),
    "empty message": (b"",),
    "text": (b"GET / HTTP/1.1\r\n\r\n",),
    "many frames": (b"a", b"b", b"c", b"d"),
}


def one_request(connection, what, request, name, word):
    """None when it was refused as expected, else what happened."""
    over_long_id = len(request.request_id) > 64
    try:
        if over_long_id:
            connection.socket.send(request.SerializeToString())
            reply = connection.receive(10)
            if reply.WhichOneof("body") != "error":
                return f"{what}: got {reply.WhichOneof('body')}"
            error = wire.Refused(reply.error)
        else:
            connection.ask(request)
            return f"{what}: it was answered"
    except wire.Refused as refused:
        error = refused
    except wire.Silent:
        return f"{what}: no reply"
    if name is not None and error.name != name:
        return f"{what}: refused as {error.name} instead of {name} ({error.message})"
    if word is not None and word not in error.message:
        return f"{what}: '{error.message}' does not speak of '{word}'"
    return None if error.message else f"{what}: no text"


def bad_requests_check():
    """Every bad request gets its typed error, and a good one is answered as before."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder, harness.Server(1, 1) as server:
        case = harness.draw(folder, 0, 1)[0]
        cases = bad_requests(case)
        with wire.Connection(server.endpoint, timeout=30) as connection:
            before = connection.generate(wire.report(case)).text
            for row in cases:
                wrong.append(one_request(connection, *row))
            for what, frames in RAW.items():
                connection.send_raw(*frames)
                try:
                    reply = connection.receive(10)
                    wrong.append(None if reply.error.message else f"{what}: {reply}")
                except wire.Silent:
                    wrong.append(f"{what}: no reply")
            wrong.append(None if connection.generate(wire.report(case)).text == before else "the good request changed its answer")
            wrong.append(None if connection.health().state == "ready" else "the server is not ready any more")
            malformed = connection.stats().malformed_messages
        bad_log = [line for line in server.output().splitlines() if "lungs are clear" in line]
        wrong.append(None if not bad_log else "a prompt stands in the log")
    faults = [one for one in wrong if one]
    return not faults, (f"{len(cases) + len(RAW)} bad requests, {len(faults)} not refused as they should be, "
                        f"{malformed} counted as malformed" + "".join(f"; {one}" for one in faults))


# ---- servers that must not start ----

def copy_model(folder):
    target = pathlib.Path(folder) / "model"
    shutil.copytree(harness.MODEL, target)
    return target


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def widen(path):
    config = json.loads(path.read_text())
    config["text_config"]["hidden_size"] += 8
    path.write_text(json.dumps(config))


def without_library(folder):
    """The program as it is on a machine that lacks a library."""
    target = pathlib.Path(folder) / "palmgrove"
    data = harness.PALMGROVE.read_bytes()
    assert b"libsentencepiece.so" in data
    target.write_bytes(data.replace(b"libsentencepiece.so", b"libsentencepiece.xx"))
    target.chmod(0o755)
    return target


def bad_start(what, words, tp=1, pp=1, change=None, **settings):
    """None when the server refused to start as expected, else what happened."""
    with tempfile.TemporaryDirectory() as folder:
        if change is not None:
            settings["model"] = copy_model(folder)
            change(settings["model"])
        server = harness.Server(tp, pp, **settings)
        try:
            server.launch()
            pids = set()
            code = None
            for _ in range(300):
                pids |= set(harness.descendants(server.process.pid))
                code = server.wait_end(0.1)
                if code is not None:
                    break
            server.pids = sorted(pids)
            output = server.output()
            left = [pid for pid in server.pids if pid != server.process.pid and harness.is_alive(pid)]
        finally:
            server.__exit__()
    complaints = [line for line in output.splitlines() if "error" in line and line.startswith("palmgrove")]
    if code is None or code == 0:
        return f"{what}: exit code {code}\n{output}"
    if left:
        return f"{what}: orphans {left}"
    if not all(word in output for word in words):
        return f"{what}: the output does not name {words}:\n{output}"
    if "library" not in what and len(complaints) != 1:
        return f"{what}: {len(complaints)} error lines instead of one: {complaints}"
    return None


def bad_starts():
    """Servers that cannot serve say why in one line, exit with non-zero and leave no rank."""
    with socket.socket() as taken, tempfile.TemporaryDirectory() as folder:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        faults = [
            bad_start("no model", ["/nowhere"], model="/nowhere"),
            bad_start("no weights", ["model.safetensors"], 2, 2, change=lambda m: (m / "model.safetensors").unlink()),
            bad_start("cut weights", ["model.safetensors"], 2, 2, change=lambda m: cut(m / "model.safetensors")),
            bad_start("no tokenizer", ["tokenizer.model"], change=lambda m: (m / "tokenizer.model").unlink()),
            bad_start("cut tokenizer", ["tokenizer.model"], change=lambda m: cut(m / "tokenizer.model")),
            bad_start("no config", ["config.json"], 1, 2, change=lambda m: (m / "config.json").unlink()),
            bad_start("config is no JSON", ["config.json"], change=lambda m: (m / "config.json").write_text("{")),
            bad_start("wrong shapes", ["language_model"], 1, 2, change=lambda m: widen(m / "config.json")),
            bad_start("layout that is not the number of ranks", ["tp"], 1, 2, options=["--tp", "3"]),
            bad_start("more stages than layers", ["pp"], 1, 1, options=["--tp", "1", "--pp", "1000"]),
            bad_start("port in use", [str(port)], 2, 1, endpoints=[f"tcp://127.0.0.1:{port}"]),
            bad_start("address of other machines", ["insecure"], endpoints=["tcp://0.0.0.0:0"]),
            bad_start("bad endpoint", ["carrier"], endpoints=["carrier://pigeon"]),
            bad_start("unknown kernel set", ["abacus", "avx2"], options=["--isa", "abacus"]),
            bad_start("unknown option", ["--thraeds", "--threads"], 2, 1, options=["--thraeds", "2"]),
            bad_start("a rank lacks a library", ["libsentencepiece.xx"], 2, 1, program=without_library(folder)),
        ]
    n = len(faults)
    faults = [one for one in faults if one]
    return not faults, f"{n} servers that must not start, {len(faults)} faults" + "".join(f"; {one}" for one in faults)


# ---- frames of a DICOM file ----

def element(group, number, kind, value):
    value += (b"\0" if kind in (b"UI", b"OB") else b" ") * (len(value) % 2)
    length = struct.pack("<2xI", len(value)) if kind in (b"OB", b"OW") else struct.pack("<H", len(value))
    return struct.pack("<2H", group, number) + kind + length + value


def dicom(frames, side, header=b""):
    """An uncompressed file of 8-bit grey frames, explicit VR, little endian; `header`: elements before group 0028."""
    syntax = element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1")
    head = element(2, 0, b"UL", struct.pack("<I", len(syntax))) + syntax
    grey = [(0x02, b"US", struct.pack("<H", 1)), (0x04, b"CS", b"MONOCHROME2"), (0x08, b"IS", str(len(frames)).encode()),
            (0x10, b"US", struct.pack("<H", side)), (0x11, b"US", struct.pack("<H", side)), (0x100, b"US", struct.pack("<H", 8)),
            (0x101, b"US", struct.pack("<H", 8)), (0x102, b"US", struct.pack("<H", 7)), (0x103, b"US", struct.pack("<H", 0))]
    return b"\0" * 128 + b"DICM" + head + header + b"".join(element(0x28, *row) for row in grey) + element(0x7FE0, 0x10, b"OB", b"".join(frames))


def frames_check():
    """--frame of generate and report picks what an own file of that frame gives; a frame that is not there is refused."""
    side, wrong = 64, []
    pictures = [bytes((x * y + 37 * k * x) % 256 for y in range(side) for x in range(side)) for k in range(2)]
    with tempfile.TemporaryDirectory() as folder, harness.Server(1, 1) as server:
        both = pathlib.Path(folder) / "both.dcm"
        both.write_bytes(dicom(pictures, side))
        commands = {"generate": lambda file: ("generate", "--text", "report:", "--image", file, "--temperature", "1", "--max-tokens", "40"),
                    "report": lambda file: ("report", file, "--temperature", "1")}
        for name, command in commands.items():
            def ask(file, frame):
                return harness.run_palmgrove(*command(file), "--endpoint", server.endpoint, "--frame", str(frame))

            answers = []
            for frame, picture in enumerate(pictures):
                alone = pathlib.Path(folder) / f"{frame}.dcm"
                alone.write_bytes(dicom([picture], side))
                code, answer, error = ask(both, frame)
                answers.append(answer)
                wrong += [] if code == 0 and answer == ask(alone, 0)[1] else [f"{name} frame {frame}: {error or answer}"]
            wrong += [] if answers[0] != answers[1] else [f"{name}: both frames have one answer"]
            code, _, error = ask(both, 2)
            wrong += [] if code != 0 and "frame" in error else [f"{name}: frame 2 of 2 gave {code}: {error}"]
    return not wrong, f"2 commands, {len(wrong)} faults" + "".join(f"; {one}" for one in wrong)


# ---- what the tower sees ----

def render_check():
    """`palmgrove render` writes the tower's pixels: sent in place of the file they give the same logits, bit for bit.  A frame of a file that is
    far larger than a message is sent alone."""
    side, wrong = 96, []
    pictures = [bytes((3 * x * y + 37 * k * x) % 256 for y in range(side) for x in range(side)) for k in range(3)]
    with tempfile.TemporaryDirectory() as folder, harness.Server(1, 1) as server:
        folder = pathlib.Path(folder)

        def digest(file, *words):
            code, out, error = harness.run_palmgrove("generate", "--image", file, "--text", "report:", "--endpoint", server.endpoint, "--max-tokens", "8", "--logits-digest",
                                                     "--json", *words)
            return (json.loads(out)["logits_digest"], json.loads(out)["ids"]) if code == 0 else error

        three = folder / "three.dcm"
        three.write_bytes(dicom(pictures, side, element(0x18, 0x1164, b"DS", b"1\\1.7")))
        for frame in range(3):
            seen = folder / f"{frame}.png"
            code, out, error = harness.run_palmgrove("render", three, "--model", harness.MODEL, "--output", seen, "--frame", frame)
            wrong += [] if code == 0 and "warning: the file has 3 frames" in error else [f"render {frame}: {out} {error}"]
            told, shown = digest(three, "--frame", str(frame)), digest(seen)
            wrong += [] if told == shown and isinstance(told, tuple) else [f"frame {frame}: {told} and {shown}"]
        strict = folder / "strict.png"
        code, _, error = harness.run_palmgrove("render", three, "--model", harness.MODEL, "--output", strict, "--strict")
        wrong += [] if code == 1 and not strict.exists() and "nothing is written" in error else [f"--strict: {code} {error}"]

        large, n = folder / "large.dcm", 40000
        head = dicom([b""], side).replace(element(0x28, 8, b"IS", b"1"), element(0x28, 8, b"IS", str(n).encode()))[:-4]
        with large.open("wb") as out:  # a hole but for the last frame
            out.write(head + struct.pack("<I", n * side * side))
            out.seek((n - 1) * side * side, 1)
            out.write(pictures[1])
        alone = folder / "alone.dcm"
        alone.write_bytes(dicom([pictures[1]], side))
        told = digest(large, "--frame", str(n - 1))
        wrong += [] if told == digest(alone) and isinstance(told, tuple) else [f"frame {n - 1} of {large.stat().st_size} bytes: {told}"]
    return not wrong, f"render: {len(wrong)} faults" + "".join(f"; {one}" for one in wrong)


# ---- warnings about an image ----

def warnings_check():
    """What should be known about an image comes with the answer: as data in --json, as lines on stderr, of the image that it is about."""
    side, wrong = 64, []
    picture = bytes((x * y) % 256 for y in range(side) for x in range(side))
    with tempfile.TemporaryDirectory() as folder, harness.Server(1, 1) as server:
        def ask(*words):
            return harness.run_palmgrove("generate", *words, "--endpoint", server.endpoint, "--max-tokens", "4")

        folder = pathlib.Path(folder)
        plain, marked = folder / "plain.dcm", folder / "marked.dcm"
        plain.write_bytes(dicom([picture], side))
        marked.write_bytes(dicom([picture], side, element(0x28, 0x301, b"CS", b"YES") + element(0x28, 0x2110, b"CS", b"01") + element(0x28, 0x2112, b"DS", b"12.5")))
        words = ("--image", plain, "--text", "and", "--image", marked, "--text", "report:")
        told = json.loads(ask(*words, "--json")[1])["warnings"]
        seen = [(one["name"], one["code"], one["image"]) for one in told]
        wrong += [] if seen == [("burned_in_annotation", 4, 1), ("lossy", 6, 1)] and "12.5" in told[1]["message"] else [f"--json: {told}"]
        error = ask(*words)[2]
        wrong += [] if error.count("palmgrove: warning: image 2: ") == 2 else [f"stderr: {error}"]
        code, out, error = ask("--image", plain, "--text", "report:", "--json")
        wrong += [] if code == 0 and json.loads(out)["warnings"] == [] and "warning" not in error else [f"plain: {out} {error}"]
        chest, head = folder / "chest.dcm", folder / "head.dcm"
        for path, modality, part in ((chest, b"DX", b"CHEST"), (head, b"CT", b"HEAD")):
            path.write_bytes(dicom([picture], side, element(8, 0x60, b"CS", modality) + element(0x18, 0x15, b"CS", part)))
        for command in (("report", chest), ("generate", "--image", head, "--text", "report:")):  # fits; no task, so anything does
            code, out, error = harness.run_palmgrove(*command, "--endpoint", server.endpoint, "--max-tokens", "4", "--json")
            wrong += [] if code == 0 and json.loads(out)["warnings"] == [] else [f"{command}: {out} {error}"]
        code, out, error = harness.run_palmgrove("report", head, "--endpoint", server.endpoint, "--strict")
        wrong += [] if code == 1 and "image 1 of 1: the modality is CT" in error and not out.strip() else [f"--strict: {code} {out} {error}"]
        code, out, error = harness.run_palmgrove("report", head, "--endpoint", server.endpoint, "--max-tokens", "4", "--json")
        told = [(one["name"], one["message"]) for one in json.loads(out)["warnings"]]
        wrong += [] if [name for name, _ in told] == ["modality", "body_part"] and "is CT; expected is CR DX" in told[0][1] else [f"report of a head: {told}"]
    return not wrong, f"warnings: {len(wrong)} faults" + "".join(f"; {one}" for one in wrong)


# ---- fields from a DICOM header ----

SECRET = "Maxine Mustermann"


def described(view, reason, age="045Y"):
    """A header: a patient whose name is nobody's business, and what a request may be made from."""
    return (element(0x10, 0x10, b"PN", SECRET.encode()) + element(0x10, 0x1010, b"AS", age.encode()) + element(0x18, 0x5101, b"CS", view.encode())
            + element(0x20, 0x10, b"SH", b"two\\values") + element(0x32, 0x1030, b"LO", reason.encode()))


def headers_check():
    """A field taken from a header gives what the same field by hand gives; nothing else of the header gets into prompts, errors or logs."""
    side, wrong = 64, []
    picture = bytes((x * y) % 256 for y in range(side) for x in range(side))
    with tempfile.TemporaryDirectory() as folder, harness.Server(1, 1, options=["--log-level", "debug"]) as server:
        def file(name, header):
            path = pathlib.Path(folder) / name
            path.write_bytes(dicom([picture], side, header))
            return path

        def ask(command, *words):
            code, out, error = harness.run_palmgrove(command, *words, "--endpoint", server.endpoint, "--temperature", "1", "--max-tokens", "40", "--json")
            if SECRET in out + error:
                wrong.append(f"{words}: the patient's name came out")
            told = json.loads(out) if code == 0 else {}
            return code, (told.get("ids") or told.get("classes"), told.get("prompt_tokens")), error

        def same(what, one, other):
            wrong.extend([] if one[0] == other[0] == 0 and one[1] == other[1] else [f"{what}: {one} and {other}"])

        def refused(what, code, word, *words):
            done = ask("report", *words)
            wrong.extend([] if done[0] == code and word in done[2] else [f"{what}: {done}"])

        ap, pa, plain = file("ap.dcm", described("AP", "persistent fever")), file("pa.dcm", described("PA", "persistent fever")), file("plain.dcm", b"")
        other = file("other.dcm", described("PA", "trauma", "006M"))
        taken = ("--field-from-dicom", "indication=0032,1030", "--field-from-dicom", "view=ViewPosition")
        by_hand = ask("report", plain, "--indication", "persistent fever", "--view", "AP")
        same("report", ask("report", ap, *taken), by_hand)
        without = ask("report", ap)
        same("nothing named", without, ask("report", plain))
        wrong += [] if without[1] != by_hand[1] else ["the field made no difference"]
        same("classify", ask("classify", ap, "--field", "condition=edema", "--field-from-dicom", "view=0018,5101"),
             ask("classify", plain, "--field", "condition=edema", "--field", "view=AP"))
        two = ("--task", "mimic-cxr-report")
        same("a value for each image", ask("report", ap, pa, *two, *taken), ask("report", plain, plain, *two, "--indication", "persistent fever", "--view", "AP", "--view", "PA"))
        refused("images that disagree", 1, "another value", ap, other, *two, *taken)
        refused("an age in months", 1, "not in years", other, "--field-from-dicom", "indication=PatientAge")
        refused("several values", 1, "several values", ap, "--field-from-dicom", "indication=0020,0010")
        refused("no such element", 1, "no value for", plain, *taken)
        refused("no element's name", 2, "is no DICOM element", ap, "--field-from-dicom", "indication=Reason")
        refused("no such field", 2, 'no field "colour"', ap, "--field-from-dicom", "colour=ViewPosition")
        refused("a field twice", 2, "indication", ap, *taken, "--indication", "trauma")
        refused("no DICOM file", 1, "not a DICOM file", harness.draw(folder, 0, 1)[0].path, *taken)
        wrong += [f"the log has {word}" for word in (SECRET, "persistent fever") if word in server.output()]
    return not wrong, f"fields from DICOM headers: {len(wrong)} faults" + "".join(f"; {one}" for one in wrong)
