"""tools/metrics against rouge-score, sacrebleu, pycocoevalcap, scikit-learn, SQuAD's script and hap.py's definition of F1.

1,200 generated pairs: reports, short answers, copies with words dropped or swapped, empty texts, punctuation only, Chinese, mixed scripts,
odd blanks, entities and numbers.  Bound, fixed before the first run: 1e-9 (of sacrebleu's 0 to 100: 1e-9 too).

pycocoevalcap is given words as cvt2distilgpt2 cleans them, in lower case: its own PTBTokenizer is a Java program and is not used."""

import collections
import json
import random
import re
import string
import subprocess
import sys

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

import engine

TOOL = engine.BUILD / "tests/conformance/metrics_tool"
BOUND = 1e-9
N_PAIRS = 1200
WORDS = ("the a an heart lungs left right lower lobe effusion pleural is are clear no seen small mild moderate of with without in and opacity 3.5 cm "
         "T2-weighted x-ray pneumothorax , . ; : ? ! ( ) % -- 1,000 10-15 re-expansion").split()
ODD = ["", " ", ".", "...", "?!", "\u5de6\u80ba", "\u5de6\u80ba \u79ef\u6db2\u3002", "\u80ba\u3000\u708e", "Na\u00efve \u00c9TUDE", "The", "a", "A an THE the", "&quot;Quoted&quot; &amp; &lt;b&gt;",
       "line one\nline two", "end-\nofline", "tab\there", "<skipped> text", "no\u00a0break", "\u212aelvin 3.14", "O'Brien's co-op", "1.", ".5", "5,000.", "A.B.C.", "_under_ the_score",
       "\u0395\u03a6\u0399", "emoji \U0001fac1 lungs", "trailing  ", "  leading", "\u200bzero"]


class Tool:
    def __init__(self):
        self.process = subprocess.Popen([TOOL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def value(self, metric, cases, **more):
        self.process.stdin.write(json.dumps({"metric": metric, "cases": cases, **more}) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def sentence(r):
    return " ".join(r.choice(WORDS) for _ in range(r.randint(1, 25)))


def changed(r, text):
    words = text.split(" ")
    for _ in range(r.randint(0, 4)):
        i = r.randrange(len(words))
        words[i : i + 1] = r.choice([[], [r.choice(WORDS)], [words[i], words[i]], [words[i].upper()]])
        words = words or [""]
    return " ".join(words)


def pairs(r):
    """prediction, references"""
    for i in range(N_PAIRS):
        kind = i % 6
        if kind == 0:
            yield r.choice(ODD), [r.choice(ODD)]
        elif kind == 1:
            yield sentence(r), [r.choice(ODD)]
        elif kind == 2:
            yield r.choice(ODD), [sentence(r), sentence(r)]
        elif kind == 3:
            text = sentence(r)
            yield changed(r, text), [text, changed(r, text), sentence(r)]
        else:
            text = sentence(r) if kind == 4 else sentence(r) + " " + r.choice(ODD)
            yield changed(r, text), [text]


def coco(text):
    return " ".join(text.lower().replace(".", " .").split())


# SQuAD's evaluate-v2.0.py, as published
def squad_normalise(s):
    s = "".join(c for c in s.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def squad_f1(reference, prediction):
    gold, said = squad_normalise(reference).split(), squad_normalise(prediction).split()
    same = sum((collections.Counter(gold) & collections.Counter(said)).values())
    if len(gold) == 0 or len(said) == 0:
        return float(gold == said)
    if same == 0:
        return 0.0
    precision, recall = same / len(said), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def recall(reference, prediction):
    gold, said = squad_normalise(reference).split(), squad_normalise(prediction).split()
    if len(gold) == 0:
        return float(len(said) == 0)
    return sum((collections.Counter(gold) & collections.Counter(said)).values()) / len(gold)


def check(found, expected, name, bad):
    same = abs(found - expected) <= BOUND or (np.isnan(found) and np.isnan(expected))
    if not same:
        bad.append(f"{name}: {found!r} instead of {expected!r}")
    return same


def check_texts(tool, data, bad):
    """Case by case, then all together."""
    rouge = RougeScorer(["rougeL"], use_stemmer=False)
    own = {
        "exact_match": lambda p, rs: max(float(squad_normalise(p) == squad_normalise(r)) for r in rs),
        "token_f1": lambda p, rs: max(squad_f1(r, p) for r in rs),
        "token_recall": lambda p, rs: max(recall(r, p) for r in rs),
        "rouge_l": lambda p, rs: max(rouge.score(r, p)["rougeL"].fmeasure for r in rs),
        "rouge_l_coco": lambda p, rs: Rouge().calc_score([coco(p)], [coco(r) for r in rs]),
    }
    n = 0
    for name, expected in own.items():
        values = []
        for p, rs in data:
            values.append(expected(p, rs))
            n += 1
            check(tool.value(name, [{"prediction": p, "references": rs}]), values[-1], f"{name} of {p!r} and {rs!r}", bad)
        check(tool.value(name, cases_of(data)), float(np.mean(values)), f"{name} of all", bad)
    return n


def cases_of(data):
    return [{"prediction": p, "references": rs} for p, rs in data]


def quietly(scorer, references, said):
    """pycocoevalcap prints its counts"""
    stdout, sys.stdout = sys.stdout, sys.stderr
    try:
        return scorer.compute_score(references, said)[0]
    finally:
        sys.stdout = stdout


def check_corpora(tool, data, r, bad):
    n = 0
    for size in [1, 2, 3, 7, 50, 400, len(data)]:
        for _ in range(1 if size == len(data) else 5):
            part = data if size == len(data) else r.sample(data, size)
            said = {i: [coco(p)] for i, (p, _) in enumerate(part)}
            references = {i: [coco(x) for x in rs] for i, (_, rs) in enumerate(part)}
            bleu = quietly(Bleu(4), references, said)
            check(tool.value("bleu_1", cases_of(part)), bleu[0], f"bleu_1 of {size}", bad)
            check(tool.value("bleu_4", cases_of(part)), bleu[3], f"bleu_4 of {size}", bad)
            check(tool.value("cider_d", cases_of(part)), quietly(Cider(), references, said), f"cider_d of {size}", bad)
            most = max(len(rs) for _, rs in part)
            streams = [[rs[k] if k < len(rs) else None for _, rs in part] for k in range(most)]
            check(tool.value("sacrebleu", cases_of(part)), BLEU().corpus_score([p for p, _ in part], streams).score, f"sacrebleu of {size}", bad)
            n += 4
    return n


def check_classes(tool, r, bad):
    n = 0
    for _ in range(60):
        classes, size = r.randint(2, 9), r.choice([1, 2, 5, 40, 300])
        truth = [r.randrange(classes) for _ in range(size)]
        said = [t if r.random() < 0.5 else r.randrange(classes) for t in truth]
        cases = [{"truth": t, "predicted": s} for t, s in zip(truth, said)]
        check(tool.value("accuracy", cases, n_classes=classes), accuracy_score(truth, said), "accuracy", bad)
        check(tool.value("macro_f1", cases, n_classes=classes), f1_score(truth, said, average="macro"), "macro_f1", bad)
        check(tool.value("micro_f1", cases, n_classes=classes), f1_score(truth, said, average="micro"), "micro_f1", bad)
        n += 3
    return n


def check_labels(tool, r, bad):
    n = 0
    for _ in range(40):
        classes, size = r.randint(2, 8), r.choice([1, 5, 100])
        truth = np.array([[r.random() < 0.4 for _ in range(classes)] for _ in range(size)])
        said = np.array([[t if r.random() < 0.6 else not t for t in row] for row in truth])
        cases = [{"true_labels": t.tolist(), "predicted_labels": s.tolist()} for t, s in zip(truth, said)]
        present = [k for k in range(classes) if truth[:, k].any() or said[:, k].any()]
        if len(present) > 1:  # scikit-learn takes a single column for one answer of two classes
            check(tool.value("macro_f1", cases, n_classes=classes), f1_score(truth[:, present], said[:, present], average="macro", zero_division=0), "macro_f1 of labels", bad)
            check(tool.value("micro_f1", cases, n_classes=classes), f1_score(truth, said, average="micro", zero_division=0), "micro_f1 of labels", bad)
        check(tool.value("accuracy", cases, n_classes=classes), float((truth == said).all(axis=1).mean()), "accuracy of labels", bad)
        n += 3
    return n


def check_aucs(tool, r, bad):
    n = 0
    for i in range(60):
        classes, size = r.randint(2, 6), r.choice([20, 100, 500])
        truth = list(range(classes)) + [r.randrange(classes) for _ in range(size)]
        raw = np.array([[r.choice([0.1, 0.2, 0.5, r.random()]) + (t == k) * 0.3 for k in range(classes)] for t in truth])
        scores = raw / raw.sum(axis=1, keepdims=True)
        cases = [{"truth": t, "scores": s.tolist()} for t, s in zip(truth, scores)]
        if classes == 2:
            found, expected = tool.value("macro_auc", cases, n_classes=2, positive=1), roc_auc_score(truth, scores[:, 1])
        else:
            found, expected = tool.value("macro_auc", cases, n_classes=classes), roc_auc_score(truth, scores, multi_class="ovr", average="macro")
        check(found, expected, f"macro_auc of {classes} classes", bad)
        n += 1
    return n


def happy_f1(cases, kind):
    """hap.py's METRIC.F1_Score at sites that truth and query share: a call whose genotype differs is a false positive and a false negative."""
    tp_truth = sum(t > 0 and t == q for t, q, k in cases if k == kind)
    fn = sum(t > 0 and t != q for t, q, k in cases if k == kind)
    tp_query, fp = tp_truth, sum(q > 0 and t != q for t, q, k in cases if k == kind)
    precision = tp_query / (tp_query + fp) if tp_query + fp else 0.0
    sensitivity = tp_truth / (tp_truth + fn) if tp_truth + fn else 0.0
    return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def check_variants(tool, r, bad):
    n = 0
    for _ in range(40):
        cases = [(r.randrange(3), r.randrange(-1, 3), r.choice([1, 2])) for _ in range(r.choice([4, 30, 300]))]
        listed = [{"truth": t, "predicted": q, "kind": k} for t, q, k in cases]
        for name, kind in (("snp_f1", 1), ("indel_f1", 2)):
            expected = happy_f1(cases, kind) if any(k == kind for _, _, k in cases) else float("nan")
            check(tool.value(name, listed, n_classes=3), expected, name, bad)
            n += 1
    return n


def main():
    r, tool, bad = random.Random(14), Tool(), []
    data = list(pairs(r))
    n = check_texts(tool, data, bad) + check_corpora(tool, data, r, bad)
    n += check_classes(tool, r, bad) + check_labels(tool, r, bad) + check_aucs(tool, r, bad) + check_variants(tool, r, bad)
    for line in bad[:20]:
        print(line)
    print(f"metrics: {N_PAIRS} pairs, {n} values compared, {len(bad)} differ by more than {BOUND}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
