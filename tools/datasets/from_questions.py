"""MedQA, MedMCQA, PubMedQA: questions in text."""
from neutral import Bad, Case, LeftOut, Refused
from published import read_json, read_lines, text_of

LETTERS = "ABCDEFGHIJ"


def medqa(download, options):
    """questions/US/4_options/phrases_no_exclude_SPLIT.jsonl: options is an object of letters, answer_idx the right letter."""
    name = {"test": "test", "val": "dev", "train": "train"}[options.split]
    path = download.need(f"questions/US/4_options/phrases_no_exclude_{name}.jsonl", f"US/4_options/phrases_no_exclude_{name}.jsonl",
                         f"4_options/phrases_no_exclude_{name}.jsonl", f"phrases_no_exclude_{name}.jsonl")
    for number, (where, row) in enumerate(read_lines(path), 1):
        if isinstance(row, Bad):
            yield row
            continue
        choices, right = row.get("options"), text_of(row, "answer_idx")
        letters = sorted(choices) if isinstance(choices, dict) else []
        if letters != list("ABCD") or right not in letters:
            yield Bad(where, "not four options A to D with the right one's letter")
            continue
        texts = [text_of(choices, letter) for letter in letters]
        if text_of(row, "answer") != texts[letters.index(right)]:
            yield Bad(where, "\"answer\" and \"answer_idx\" disagree")
            continue
        yield Case(where, f"medqa-{name}-{number}", {"question": text_of(row, "question"), "options": texts}, texts[letters.index(right)],
                   slices={"step": text_of(row, "meta_info") or "unknown"})


def medmcqa(download, options):
    """SPLIT.json is JSON Lines; cop counts the right option from 1 (the copy on Hugging Face counts from 0)."""
    name = {"test": "dev", "val": "dev", "train": "train"}[options.split]
    path = download.need(f"data/{name}.json", f"{name}.json")
    numbers = {row.get("cop") for _, row in read_lines(path) if isinstance(row, dict)}
    if 0 in numbers or "0" in numbers:
        raise Refused(f"{path}: \"cop\" is 0 somewhere: this is an export of the copy on Hugging Face, which counts options from 0.\n{download.hint}")
    for where, row in read_lines(path):
        if isinstance(row, Bad):
            yield row
            continue
        texts, right = [text_of(row, key) for key in ("opa", "opb", "opc", "opd")], text_of(row, "cop")
        if right not in ("1", "2", "3", "4"):
            yield Bad(where, f"\"cop\" is '{right[:20]}'")
            continue
        yield Case(where, text_of(row, "id"), {"question": text_of(row, "question"), "options": texts}, texts[int(right) - 1],
                   slices={"subject": text_of(row, "subject_name") or "unknown", "choice": text_of(row, "choice_type") or "unknown"})


def pubmedqa(download, options):
    """ori_pqal.json: an object by PMID; the 500 of test_ground_truth.json are the test split, the others were for training."""
    path, truth_path = download.need("data/ori_pqal.json", "ori_pqal.json"), download.need("data/test_ground_truth.json", "test_ground_truth.json")
    rows, truth = read_json(path), read_json(truth_path)
    if not isinstance(rows, dict) or not isinstance(truth, dict):
        raise Refused(f"{path} and {truth_path} must be objects by PMID")
    if options.split == "val":
        raise Refused("PubMedQA publishes no validation split (its ten folds are cut out of train)")
    for absent in sorted(set(truth) - set(rows)):
        yield Bad(f"{truth_path.name}:{absent}", f"not in {path.name}")
    for pmid in sorted(rows):
        where, row = f"{path.name}:{pmid}", rows[pmid]
        if (pmid in truth) != (options.split == "test"):
            yield LeftOut("another split")
        elif not isinstance(row, dict) or not isinstance(row.get("CONTEXTS"), list):
            yield Bad(where, "no list of CONTEXTS")
        elif pmid in truth and truth[pmid] != row.get("final_decision"):
            yield Bad(where, f"final_decision and {truth_path.name} disagree")
        else:
            context = " ".join(text_of({"": part}, "") for part in row["CONTEXTS"])
            yield Case(where, pmid, {"context": context, "question": text_of(row, "QUESTION")}, text_of(row, "final_decision"),
                       slices={"year": text_of(row, "YEAR") or "unknown"})
