"""palmgrove eval: the demonstration's skill, a killed run that goes on, what is refused, all tasks of the benchmark from one command."""
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import harness

N_CASES = 12
# Far from chance and from a model that always says the same: 0.5 for the AUC of two classes, about 0.33 for the F1 of a constant answer.
SKILL = {("classify", "macro_auc"): 0.8, ("classify", "macro_f1"): 0.6, ("report", "cider_d"): 2.0, ("vqa", "exact_match"): 0.6, ("choice", "accuracy"): 0.6}
TASKS = harness.ROOT / "coordinator/task/tasks"


def arguments(cases, out, server, *more):
    return ["eval", cases, "--output", out, "--endpoint", server.endpoint, "--bootstrap", 100, "--timeout-ms", 60000, *more]


def figures(out):
    found = json.loads((out / "results.json").read_text())
    return found, {(task["task"], one["name"]): one["value"] for task in found["tasks"] for one in task["metrics"]}


def lines_of(out):
    return {path.parent.name: path.read_text().splitlines() for path in out.glob("*/answers.jsonl")}


def n_requests(lines):
    """Finished requests of a journal, each counted once, and how many lines say them."""
    rows = [(task, json.loads(line)) for task in lines for line in lines[task]]
    keys = [(task, row["id"], row.get("class")) for task, row in rows if "id" in row]
    return len(set(keys)), len(keys)


class Faults(list):
    def expect(self, what, held):
        if not held:
            self.append(what)


def kill_in_the_middle(cases, out, server, faults):
    """SIGKILL while answers come in; returns what the journals hold then."""
    process = subprocess.Popen([str(harness.PALMGROVE), *map(str, arguments(cases, out, server, "--in-flight", 2))], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=harness.environment())
    end = time.monotonic() + 60
    while sum(map(len, lines_of(out).values())) < 20 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    faults.expect("the run ended before it was killed", process.wait() == -signal.SIGKILL)
    return lines_of(out)


def settled(server):
    with server.client() as client:
        end = time.monotonic() + 30
        while (stats := client.stats()).running + stats.queued > 0 and time.monotonic() < end:
            time.sleep(0.05)
        return stats.requests_admitted


def resume_check(cases, out, server, faults):
    """The same command goes on: finished requests are not sent again, a torn line is."""
    before = kill_in_the_middle(cases, out, server, faults)
    torn = next(iter(sorted(before)))
    with open(out / torn / "answers.jsonl", "a") as journal:
        journal.write('{"id":"phantom-')
    known = n_requests(before)[0]
    admitted = settled(server)
    code, table, errors = harness.run_palmgrove(*arguments(cases, out, server, "--in-flight", 8), timeout=240)
    faults.expect(f"resumed with {code}: {errors}", code == 0)
    done, n_lines = n_requests(lines_of(out))
    total = N_CASES * (1 + 2 + 2 * 3 + 1)  # report, vqa twice, classify twice with two scores each, choice
    faults.expect(f"{done} of {total} requests in {n_lines} lines", done == n_lines == total)
    asked = settled(server) - admitted
    faults.expect(f"{asked} requests sent for {total - known} that were missing", asked == total - known)
    faults.expect("nothing was finished when it was killed", 0 < known < total)
    admitted = settled(server)
    again = harness.run_palmgrove(*arguments(cases, out, server))
    faults.expect(f"a finished run: {again}", again[0] == 0 and settled(server) == admitted and again[1] == table)
    return table


def skill_check(out, faults):
    found, values = figures(out)
    for key, least in SKILL.items():
        faults.expect(f"{key}: {values.get(key)}", values.get(key) is not None and values[key] >= least)
    faults.expect(f"model {found['model']}", len(found["model"]["digest"]) == 64 and found["model"]["name"] == "phantom")
    page = (out / "report.html").read_text()
    faults.expect("the rule of matching is not named", {task["task"]: task.get("match") for task in found["tasks"]}["classify"] == "normalised")
    faults.expect("the page lacks plots", all(word in page for word in ("<h4>ROC", "<h4>Confusion", "<h4>Reliability", "<h4>Latency", "data:image/png")))
    return values


def refusals_check(folder, cases, out, server, faults):
    def refused(what, code, words, *more, data=cases, where=out):
        done = harness.run_palmgrove(*arguments(data, where, server, *more))
        faults.expect(f"{what}: {done}", done[0] == code and all(word in done[2] for word in words))

    other = folder / "other"
    shutil.copytree(cases, other)
    lines = (other / "vqa/cases.jsonl").read_text().splitlines(True)
    (other / "vqa/cases.jsonl").write_text("".join(lines[1:]))
    refused("other data", 2, ["another data", "--output"], "--task", "vqa", data=other)
    refused("other wording", 2, ["another settings"], "--answer-begin", " ")
    (other / "vqa/cases.jsonl").write_text(lines[0] + lines[1].replace('"fields"', '"feilds"', 1))
    refused("unknown key", 1, ["cases.jsonl:2", "feilds", "did you mean 'fields'"], "--task", "vqa", data=other, where=folder / "o1")
    (other / "vqa/cases.jsonl").write_text(lines[0] + lines[0])
    refused("the same id twice", 1, ["cases.jsonl:2", "line 1"], "--task", "vqa", data=other, where=folder / "o1")
    (other / "vqa/cases.jsonl").write_text(lines[0].replace("images/0", "../images/0"))
    refused("a path that leads out", 1, ["cases.jsonl:1", "inside"], "--task", "vqa", data=other, where=folder / "o1")
    (other / "vqa/cases.jsonl").write_text(lines[0].replace("images/0", "images/none"))
    refused("no such image", 1, ["cases.jsonl:1", "images/none.png"], "--task", "vqa", data=other, where=folder / "o1")
    refused("no such task", 2, ["poem"], "--task", "poem")
    refused("no such field", 2, ["--slice", "'colour'"], "--task", "vqa", "--slice", "colour")
    refused("no cases", 2, ["no known task"], data=folder)
    changed = folder / "changed"
    shutil.copytree(out, changed)
    rows = (changed / "vqa/answers.jsonl").read_text().splitlines(True)
    digest = json.loads(rows[1])["model_digest"]
    (changed / "vqa/answers.jsonl").write_text(rows[0] + rows[1].replace(digest, "0" * 64) + "".join(rows[2:-1]))
    refused("other model", 1, ["another model"], where=changed)
    (changed / "vqa/answers.jsonl").write_text("".join(rows[:3]) + "{}\n")
    refused("a damaged journal", 1, ["answers.jsonl:4"], where=changed)


def failures_check(folder, cases, server, faults):
    """A case that the server refuses is counted and named, the others are judged; it is asked again."""
    broken, out = folder / "broken", folder / "broken-out"
    shutil.copytree(cases, broken)
    image = broken / "vqa/images/1.png"
    good = image.read_bytes()
    image.unlink()
    image.write_bytes(b"x" * len(good))
    done = harness.run_palmgrove(*arguments(broken, out, server, "--task", "vqa", "--no-cases"))
    if not (out / "results.json").exists():
        faults.append(f"a broken image: {done}")
        return
    task = figures(out)[0]["tasks"][0]
    page = (out / "report.html").read_text()
    faults.expect(f"a broken image: {done}", done[0] == 1 and task["n_failed"] == 2 and task["n_answered"] == 2 * N_CASES - 2 and "phantom-1" in page)
    faults.expect("failures have no reason", all("image" in one["error"] for one in task["failures"]) and len(task["failures"]) == 2)
    faults.expect("--no-cases shows cases", "data:image/png" not in page and "Worst cases" not in page)
    image.write_bytes(good)
    done = harness.run_palmgrove(*arguments(broken, out, server, "--task", "vqa"))
    faults.expect(f"mended: {done}", done[0] == 0 and figures(out)[0]["tasks"][0]["n_failed"] == 0)


def eval_check():
    faults = Faults()
    with tempfile.TemporaryDirectory(prefix="palmgrove-eval-") as folder, harness.Server(2, 1) as server:
        folder = pathlib.Path(folder)
        cases, out = folder / "cases", folder / "out"
        done = harness.run_palmgrove("demo", "--cases", cases, "--n", N_CASES)
        faults.expect(f"cases: {done}", done[0] == 0)
        resume_check(cases, out, server, faults)
        values = skill_check(out, faults)
        second = folder / "second"
        done = harness.run_palmgrove(*arguments(cases, second, server, "--task", "vqa", "--in-flight", 1, "--compare", out, "--slice", "type"))
        faults.expect(f"compare: {done}", done[0] == 0 and " out" in done[1].splitlines()[0])
        faults.expect("one at a time gives other figures", all(figures(second)[1][key] == values[key] for key in figures(second)[1]))
        sliced = {(one["name"], one["value"]): one["n"] for one in figures(second)[0]["tasks"][0]["slices"] if one["name"] == "type"}
        faults.expect(f"--slice: {sliced}", len(sliced) > 0 and sum(sliced.values()) == 2 * N_CASES)
        refusals_check(folder, cases, out, server, faults)
        failures_check(folder, cases, server, faults)
    shown = ", ".join(f"{task} {name} {values[task, name]:.3f}" for task, name in SKILL)
    return not faults, f"{shown}; killed, resumed, refused: {len(faults)} faults" + "".join(f"; {fault}" for fault in faults)


# ---- every task ----

def field_value(spec, number):
    if spec["kind"] == "options":
        return [f"option {k}" for k in range(4)]
    if spec["kind"] == "choice":
        return spec["choices"][number % len(spec["choices"])]
    if spec["kind"] == "number":
        return str(spec.get("least", 1))
    return f"some text {number}"


def make_case(definition, number):
    images = definition.get("images", 0)
    n_images = images if isinstance(images, int) else images["least"]
    fields = {name: field_value(spec, number) for name, spec in definition.get("fields", {}).items()}
    case = {"id": f"case-{number}", "fields": fields, "images": ["images/0.png"] * n_images, "group": f"patient-{number // 2}", "slices": {"half": "ab"[number % 2]}}
    answer = definition["answer"]
    if answer["form"] == "text":
        case["answer"] = [f"some text {number}", "another"]
    elif answer["form"] == "genotype":
        case["answer"] = str(number % 3)
        case["variant"] = {"contig": "chr1", "position": 100 + number, "ref": "A", "alts": ["C"], "kind": "snp" if number % 2 else "indel"}
    elif answer["form"] == "choice":
        options = [value for name in answer["options"] for value in (fields[name] if isinstance(fields[name], list) else [fields[name]])]
        case["answer"] = options[number % len(options)]
    else:
        names = [one["name"] for one in answer["classes"]]
        case.update({"answer": names[number % len(names)]} if answer["form"] == "class" else {"labels": names[: 1 + number % 2]})
    return case


def all_tasks_check():
    """Every shipped task, those of the benchmark among them, over made-up cases in one command."""
    faults = Faults()
    with tempfile.TemporaryDirectory(prefix="palmgrove-eval-") as folder, harness.Server(2, 1) as server:
        folder = pathlib.Path(folder)
        drawing = harness.draw(folder, 0, 1)[0].png
        names = sorted(path.stem for path in TASKS.glob("*.json"))
        for name in names:
            definition = json.loads((TASKS / f"{name}.json").read_text())
            (folder / "data" / name / "images").mkdir(parents=True)
            (folder / "data" / name / "images/0.png").write_bytes(drawing)
            cases = [make_case(definition, number) for number in range(4)]
            (folder / "data" / name / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
        done = harness.run_palmgrove(*arguments(folder / "data", folder / "out", server), timeout=280)
        faults.expect(f"eval: {done}", done[0] == 0)
        if not faults:
            found, _ = figures(folder / "out")
            page = (folder / "out/report.html").read_text()
            faults.expect("tasks are missing", [one["task"] for one in found["tasks"]] == names and all(f"<code>{name}</code>" in page for name in names))
            faults.expect("cases are missing", all(one["n_answered"] == 4 for one in found["tasks"]))
            faults.expect("published figures are missing", all(figure in page for figure in ("53.56", "69.68", "99.16")))
    return not faults, f"{len(names)} tasks in one command: {len(faults)} faults" + "".join(f"; {fault}" for fault in faults)


# ---- an outside labeller ----

# Findings and entities that depend on every byte of a text and on nothing else, so that a text that went wrong on its way gives other figures.
LABELLER = """#!/usr/bin/python3
import hashlib, json, sys

def findings(text):
    return [byte % 4 for byte in hashlib.sha256(text.encode()).digest()[:14]]

def entities(text):
    return [f"{word}|OBS-DP" for word in text.split()]

if __name__ == "__main__":
    for line in reversed(list(sys.stdin)):
        case = json.loads(line)
        print(json.dumps({"id": case["id"], **{f"{kind}_{side}": label(case[side]) for kind, label in (("findings", findings), ("entities", entities))
                                               for side in ("prediction", "reference")}}))
"""
FIVE = (1, 4, 5, 7, 9)


def f1(pairs):
    """Of pairs of truth values: said, true."""
    hit, said, true = sum(a and b for a, b in pairs), sum(a for a, _ in pairs), sum(b for _, b in pairs)
    return 2 * hit / (said + true) if said + true else 0.0


def labelled_figures(texts):
    """What docs/METRICS.md says of the labels of (prediction, reference) texts."""
    script = {"__name__": "labeller"}
    exec(LABELLER, script)
    positive = [[[k == 1 for k in script["findings"](text)] for text in pair] for pair in texts]
    columns = [[(said[k], true[k]) for said, true in positive] for k in range(14)]
    told = {}
    for name, chosen in (("14", columns), ("5", [columns[k] for k in FIVE])):
        told[f"chexbert_micro_f1_{name}"] = f1([pair for column in chosen for pair in column])
        told[f"chexbert_macro_f1_{name}"] = sum(map(f1, chosen)) / len(chosen)
    sets = [tuple(set(script["entities"](text)) for text in pair) for pair in texts]
    told["radgraph_f1"] = sum(2 * len(a & b) / (len(a) + len(b)) if a or b else 0.0 for a, b in sets) / len(sets)
    return told


def report_cases(folder, references):
    """Cases of mimic-cxr-report about drawings, in the neutral layout."""
    task = folder / "data/mimic-cxr-report"
    drawn = harness.draw(folder, 0, len(references))
    (task / "images").mkdir(parents=True)
    for case in drawn:
        shutil.copy(case.path, task / "images")
    (task / "cases.jsonl").write_text("".join(json.dumps({"id": f"case-{k}", "images": [f"images/{case.path.name}"], "answer": references[k]}) + "\n"
                                              for k, case in enumerate(drawn)))
    return folder / "data"


def labeller_check():
    """--labeller over a run: its labels become the figures that they say; a labeller that fails ends the run with its name; without one there is a reason."""
    faults = Faults()
    references = ["The lungs are clear.", "A nodule in the left \u80ba, \"round\".", "No acute finding.\nHeart normal.", "\u00e9panchement", "Effusion on the right.", "x"]
    with tempfile.TemporaryDirectory(prefix="palmgrove-eval-") as folder, harness.Server(1, 1) as server:
        folder = pathlib.Path(folder)
        script, data, out = folder / "labeller.py", report_cases(folder, references), folder / "out"
        script.write_text(LABELLER)
        script.chmod(0o755)
        done = harness.run_palmgrove(*arguments(data, out, server))
        missing = {one["name"]: one.get("missing") for one in figures(out)[0]["tasks"][0]["metrics"]}
        faults.expect(f"without a labeller: {done} {missing}", done[0] == 0 and missing["radgraph_f1"] == missing["chexbert_micro_f1_5"] == "needs --labeller")
        done = harness.run_palmgrove(*arguments(data, out, server, "--labeller", script))
        faults.expect(f"with a labeller: {done}", done[0] == 0)
        rows = [json.loads(line) for line in (out / "mimic-cxr-report/answers.jsonl").read_text().splitlines()]
        said = {row["id"]: row["text"] for row in rows if "id" in row}
        expected = labelled_figures([(said[f"case-{k}"], reference) for k, reference in enumerate(references)])
        values = figures(out)[1]
        for name, value in expected.items():
            told = values["mimic-cxr-report", name]
            faults.expect(f"{name}: {told}, not {value}", told is not None and abs(told - value) <= 1e-6 * max(1.0, value))  # results.json has six digits
        faults.expect("labels without any hit test nothing", expected["chexbert_micro_f1_14"] > 0 and expected["radgraph_f1"] < 1)
        page = (out / "report.html").read_text()
        faults.expect("the page lacks the labels' figures", "radgraph_f1" in page and "needs --labeller" not in page)
        for command, words in (("exit 3", "exit code 3"), (f"{script} | head -n 1", "1 lines for 6 cases"), (folder / "none", "exit code 127")):
            done = harness.run_palmgrove(*arguments(data, out, server, "--labeller", command))
            faults.expect(f"labeller '{command}': {done}", done[0] == 1 and words in done[2])
    return not faults, f"{len(expected)} figures of a labeller, {len(faults)} faults" + "".join(f"; {fault}" for fault in faults)
