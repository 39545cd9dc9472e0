"""Tasks as data, from the command line to the ranks: a site's own task, questions, classes, scores, variants; what is wrong is refused with its place."""
import json
import math
import pathlib
import struct
import subprocess
import tempfile

import checks_input
import harness
import wire

TASKS = harness.ROOT / "coordinator/task/tasks"
MAKE_READS = harness.BUILD / "tests/e2e/make_reads"
LAYOUTS = (((1, 1), ()), ((2, 1), ("--prefix-cache", "off")), ((1, 2), ("--speculate", "off")), ((2, 2), ("--step-tokens", "64")))

OWN = {
    "name": "side", "title": "Where is it?", "instruction": "", "images": 1,
    "query": "Given <img>. Q: {question} (open domain) A:",
    "fields": {"question": {"kind": "text", "required": True}},
    "answer": {"form": "class", "match": "normalised", "end": "", "classes": [{"name": "left"}, {"name": "right"}, {"name": "both"}]},
    "metrics": ["accuracy"],
}


def write_json(folder, name, value):
    path = pathlib.Path(folder) / name
    path.write_text(json.dumps(value, indent=1))
    return path


# ---- without a server ----

def files_check():
    """list, show and check; a server does not start on a bad task file and says where it is bad."""
    faults = []

    def expect(what, done, code, *words):
        if done[0] != code or not all(word in done[1] + done[2] for word in words):
            faults.append(f"{what}: {done}")

    with tempfile.TemporaryDirectory() as folder:
        own = write_json(folder, "own.json", OWN)
        names = sorted(path.stem for path in TASKS.glob("*.json"))
        expect("list", harness.run_palmgrove("task", "list"), 0, *names)
        expect("list own", harness.run_palmgrove("task", "list", "--task-dir", folder), 0, "side ", "own ", *names)
        for name in names:
            done = harness.run_palmgrove("task", "show", name, "--json")
            if done[0] != 0 or done[1] != (TASKS / f"{name}.json").read_text():
                faults.append(f"show {name}: {done}")
        expect("show", harness.run_palmgrove("task", "show", "mimic-cxr-report"), 0, "53.56", "one for each image", "Table A.10")
        expect("show unknown", harness.run_palmgrove("task", "show", "poem"), 2, "poem", "vqa-rad")
        expect("check", harness.run_palmgrove("task", "check", own, *TASKS.glob("*.json")), 0, "'side' is right", "'medqa' is right")
        bad = pathlib.Path(folder) / "bad.json"
        bad.write_text(own.read_text().replace('"metrics"', '"metrix"'))
        line = next(n for n, text in enumerate(bad.read_text().splitlines(), 1) if "metrix" in text)
        place = f"{bad}:{line}:2: unknown key \"metrix\"; did you mean \"metrics\"?"
        expect("check bad", harness.run_palmgrove("task", "check", own, bad), 1, "'side' is right", place)
        expect("check nothing", harness.run_palmgrove("task", "check"), 2, "task files")
        expect("action", harness.run_palmgrove("task", "lsit"), 2, "list, show and check")
        faults.append(checks_input.bad_start("bad task file", [place], 2, 1, options=["--task-dir", folder]))
        bad.unlink()
        write_json(folder, "twice.json", OWN)
        faults.append(checks_input.bad_start("task defined twice", ["own.json", "twice.json", "'side'"], options=["--task-dir", folder]))
    faults = [one for one in faults if one]
    return not faults, f"{len(names)} tasks shown as their files are, 2 servers that must not start, {len(faults)} faults" + "".join(f"; {f}" for f in faults)


# ---- questions and classes ----

def task_part(name, pairs):
    return wire.pb.Part(task=wire.pb.TaskCall(name=name, fields=[wire.pb.Field(name=k, value=v) for k, v in pairs]))


def asks_check():
    """ask, classify and report give what the protocol gives; errors exit as they should."""
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        write_json(folder, "own.json", OWN)
        write_json(folder, "labels.json", dict(OWN, name="sides", answer=dict(OWN["answer"], form="labels")))
        with harness.Server(2, 1, options=["--task-dir", folder]) as server:
            case = harness.draw(folder, 0, 2)[0]
            to = ("--endpoint", server.endpoint)

            def expect(what, code, stdout, *arguments, words=()):
                done = harness.run_palmgrove(*arguments, *to)
                if done[0] != code or (stdout is not None and done[1] != stdout) or not all(word in done[2] for word in words):
                    faults.append(f"{what}: {done}")
                return done[1]

            with wire.Connection(server.endpoint) as connection:
                def said(pairs_of, images=(case.png,), **settings):
                    name, *pairs = pairs_of
                    return connection.generate([task_part(name, pairs), *map(wire.image, images)], **settings)

                question = said(["vqa", ("question", case.question)]).text
                expect("ask", 0, question + "\n", "ask", case.path, case.question)
                expect("own task", 0, said(["side", ("question", case.question)]).text + "\n", "ask", case.path, case.question, "--task", "side",
                       "--task-dir", folder)
                expect("own class", 0, f"{question}\nanswer: {question}\n", "classify", case.path, "--task", "side", "--task-dir", folder, "--field",
                       f"question={case.question}", "--quiet")
                expect("own labels", 0, f"{question}\nanswer: {question}\n", "classify", case.path, "--task", "sides", "--task-dir", folder, "--field",
                       f"question={case.question}", "--quiet")
                two = [("view", "PA"), ("view", "LATERAL")]
                expect("two views", 0, said(["mimic-cxr-report", *two], (case.png, case.png), max_tokens=256).text + "\n", "report", case.path, case.path,
                       "--task", "mimic-cxr-report", "--view", "PA", "--view", "LATERAL")
                options = [("options", "Vitamin A"), ("options", "Vitamin C")]
                expect("text only", 0, said(["medqa", ("question", "Which?"), *options], (), max_tokens=256).text + "\n", "ask", "Which?", "--task", "medqa",
                       "--field", "options=Vitamin A", "--field", "options=Vitamin C")
                told = json.loads(expect("scores", 0, None, "classify", case.path, "--field", "condition=cardiomegaly", "--field", f"view={case.view}",
                                         "--scores", "--json"))
                pairs = ["classify", ("condition", "cardiomegaly"), ("view", case.view)]
                for row in told["scores"]:
                    likely = math.fsum(said(pairs, answer=row["class"] + ".").logprobs)
                    if abs(likely - row["log_likelihood"]) > 1e-7 * max(1, abs(likely)):  # printed with nine digits
                        faults.append(f"{row['class']}: {row['log_likelihood']}, but the protocol says {likely}")
                best = max(told["scores"], key=lambda row: row["log_likelihood"])
                if told["classes"] != [best["class"]] or told["answer"] != best["class"] + "." or abs(sum(r["probability"] for r in told["scores"]) - 1) > 1e-6:
                    faults.append(f"class and scores differ: {told}")
                for what, settings in (("stop", {"stop": ["x"]}), ("max_tokens", {"max_tokens": 5}), ("resume_ids", {"resume_ids": [5]})):
                    try:
                        said(pairs, answer="Yes.", **settings)
                        faults.append(f"an answer with {what} was scored")
                    except wire.Refused as refused:
                        if refused.name != "invalid_argument" or what not in refused.message:
                            faults.append(f"{what}: {refused}")

            with server.client() as client:
                fields = {"question": "Which?", "options": ["Vitamin A", "Vitamin C"]}
                scored = client.generate(task="medqa", fields=fields, answer="Vitamin C.")
                if scored.text != "Vitamin C." or len(scored.logprobs) != len(scored.ids):
                    faults.append(f"the Python client scored {scored}")

            expect("no such task", 2, "", "ask", case.path, "Why?", "--task", "poem", words=["poem", "vqa"])
            expect("unknown field", 2, "", "ask", case.path, "Why?", "--field", "colour=red", words=["colour"])
            expect("no field", 2, "", "ask", case.path, "Why?", "--field", "colour", words=["NAME=VALUE"])
            expect("missing field", 2, "", "classify", case.path, words=["condition"])
            expect("no image", 2, "", "classify", "--field", "condition=x", words=["1 image"])
            expect("choice", 2, "", "classify", case.path, "--task", "cbis-ddsm-mass", "--field", "view=PA", words=["CC, MLO"])
            expect("free text", 2, "", "classify", case.path, "--task", "report", words=["free text"])
            expect("no class", 1, None, "classify", case.path, "--task", "vindr-mammo", words=["something else than the 5 classes"])
            expect("task of this side only", 1, None, "ask", case.path, "Why?", "--task", "mine", "--task-dir", other_dir(folder), words=["not_found", "mine"])
    return not faults, f"asked, classified, scored, refused: {len(faults)} faults" + "".join(f"; {fault}" for fault in faults)


def other_dir(folder):
    other = pathlib.Path(folder) / "other"
    other.mkdir()
    write_json(other, "mine.json", dict(OWN, name="mine"))
    return other


# ---- scores ----

WORDS = ("The lungs are clear.", " There is no pleural effusion or pneumothorax. The heart is normal in size.")  # a token begins at the cut


def logprobs_of_dump(path, n_last):
    """The log-probabilities of the last tokens of a text, from `palmgrove perplexity --dump-logits`."""
    data = pathlib.Path(path).read_bytes()
    n, vocab = struct.unpack_from("<QI", data, 8)
    targets = struct.unpack_from(f"<{n}i", data, 24)
    rows = 24 + 4 * n
    return targets[-n_last:], [struct.unpack_from("<f", data, rows + 4 * (i * vocab + targets[i]))[0] for i in range(n - n_last, n)]


def scores_check():
    """An answer's likelihood is what teacher forcing finds, and the same bits on every layout, alone and in a crowd."""
    faults, seen = [], set()
    with tempfile.TemporaryDirectory() as folder:
        case = harness.draw(folder, 0, 1)[0]
        for (tp, pp), options in LAYOUTS:
            with harness.Server(tp, pp, options=options) as server, wire.Connection(server.endpoint) as connection:
                said = connection.generate([wire.text(WORDS[0])], answer=WORDS[1])
                of_image = [connection.generate(wire.report(case), answer=text) for text in (case.report, "No.", case.report)]
                if of_image[0].logprobs != of_image[2].logprobs or of_image[0].text != case.report or of_image[0].finish != wire.pb.FINISH_LENGTH:
                    faults.append(f"{tp}x{pp}: the report was not scored alike twice, or not whole")
                if any(len(r.logprobs) != len(r.ids) or r.usage.completion_tokens != len(r.ids) or max(r.logprobs) > 0 for r in of_image):
                    faults.append(f"{tp}x{pp}: {of_image[1]}")
                seen.add(tuple(struct.pack(f"<{len(r.logprobs)}f", *r.logprobs) for r in (said, *of_image)))
        text = pathlib.Path(folder) / "text"
        text.write_text("".join(WORDS))
        dump = pathlib.Path(folder) / "dump"
        done = harness.run_palmgrove("perplexity", harness.MODEL, "--text", text, "--dump-logits", dump)
        ids, expected = logprobs_of_dump(dump, len(said.ids)) if done[0] == 0 else ((), ())
        # The same logits; two ways to sum exponentials in f32 differ by a few of its last bits.
        if list(ids) != list(said.ids) or any(abs(a - b) > 1e-5 * max(1, abs(b)) for a, b in zip(said.logprobs, expected)):
            faults.append(f"scored {list(zip(said.ids, said.logprobs))}, expected {list(zip(ids, expected))}; {done}")
    if len(seen) != 1:
        faults.append(f"{len(seen)} different scores on {len(LAYOUTS)} layouts")
    return not faults, f"{len(LAYOUTS)} layouts, {len(seen)} set of scores, {len(said.ids)} tokens against teacher forcing" + "".join(f"; {f}" for f in faults)


# ---- variants ----

def likelihoods(connection, png):
    """Phred-scaled, the likeliest 0, from three requests of our own."""
    scores = [math.fsum(connection.generate([wire.task("precisionfda-variant-calling"), wire.image(png)], answer=f"{n}.").logprobs) for n in range(3)]
    return [min(round(10 * (max(scores) - score) / math.log(10)), 990) for score in scores]


def variants_check():
    """A VCF in the order of the sites whatever is in flight, with the likelihoods that the protocol gives for the same picture."""
    faults = []
    with tempfile.TemporaryDirectory() as folder, harness.Server(1, 2) as server:
        subprocess.run([MAKE_READS, folder], check=True)
        files = ("--bam", f"{folder}/reads.bam", "--reference", f"{folder}/ref.fa")
        base = ("variants", *files, "--vcf", f"{folder}/sites.vcf", "--endpoint", server.endpoint)
        texts = []
        for n in (1, 8):
            output = pathlib.Path(folder) / f"{n}.vcf"
            done = harness.run_palmgrove(*base, "--in-flight", n, "--output", output, "--sample", "HG002")
            if done[0] != 0 or not output.exists() or "43 sites" not in done[2]:
                return False, f"{n} in flight: {done}"
            texts.append(output.read_text())
        printed = harness.run_palmgrove(*base, "--sample", "HG002", "--quiet")
        if len({*texts, printed[1]}) != 1 or printed[2]:
            faults.append("the file depends on how many sites are in flight, or differs from what is printed")
        header = [line for line in texts[0].splitlines() if line.startswith("#")]
        lines = [line.split("\t") for line in texts[0].splitlines() if not line.startswith("#")]
        if "##contig=<ID=chr20,length=1200>" not in header or not header[-1].endswith("\tFORMAT\tHG002"):
            faults.append(f"header {header}")
        if [line[1] for line in lines] != ["20", *map(str, range(301, 692, 10)), "701", "702"]:
            faults.append(f"sites {[line[1] for line in lines]}")
        if [line[-1] for line in lines[::len(lines) - 1]] != ["./.", "./."] or lines[-1][4] != "." or len(lines[-2][-1].split(":")[2].split(",")) != 6:
            faults.append(f"what cannot be drawn: {lines[0]}, {lines[-1]}; two alternatives: {lines[-2]}")
        with wire.Connection(server.endpoint) as connection:
            for line in lines[1:5]:
                png = pathlib.Path(folder) / "site.png"
                harness.run_palmgrove("pileup", *files, "--site", f"chr20:{line[1]}:{line[3]}:{line[4]}", "--output", png)
                expected = likelihoods(connection, png.read_bytes())
                genotype, _, told = line[-1].split(":")
                if list(map(int, told.split(","))) != expected or expected[("0/0", "0/1", "1/1").index(genotype)] != 0:
                    faults.append(f"{line} instead of {expected}")
        bad = harness.run_palmgrove(*base, "--output", f"{folder}/none.vcf", "--field", "x=y")
        gone = harness.run_palmgrove("variants", *files, "--vcf", f"{folder}/sites.vcf", "--output", f"{folder}/none.vcf", "--endpoint",
                                     f"ipc://{folder}/nobody", "--timeout-ms", "500")
        if bad[0] != 2 or gone[0] != 3 or list(pathlib.Path(folder).glob("none.vcf*")):
            faults.append(f"failures: {bad}, {gone}")
    return not faults, f"{len(lines)} sites in order, {len(faults)} faults" + "".join(f"; {fault}" for fault in faults)
