#!/usr/bin/python3
"""check.py NAME: run one check against real servers; prints its figure, exits with 0 when it held.

tests/shows/end-to-end runs the same checks with larger numbers."""
import sys

import checks_bench
import checks_calls
import checks_eval
import checks_input
import checks_vectors
import checks_layouts
import checks_life
import checks_numeric
import checks_products
import checks_python
import checks_slurm
import checks_tasks
import checks_teacher
import checks_reuse

CHECKS = {
    "report": lambda: checks_layouts.clients_agree(n_cases=1),
    "layouts": lambda: checks_layouts.layouts(),
    "requests": checks_input.bad_requests_check,
    "starts": checks_input.bad_starts,
    "frames": checks_input.frames_check,
    "warnings": checks_input.warnings_check,
    "render": checks_input.render_check,
    "headers": checks_input.headers_check,
    "calls": checks_calls.calls_check,
    "vectors": checks_vectors.vectors_check,
    "taskfiles": checks_tasks.files_check,
    "asks": checks_tasks.asks_check,
    "scores": checks_tasks.scores_check,
    "variants": checks_tasks.variants_check,
    "clients": lambda: checks_life.clients(n_clients=16, rounds=2),
    "sigterm": checks_life.sigterm,
    "killed": checks_life.rank_killed,
    "notfinite": checks_numeric.not_finite_check,
    "demo": checks_life.demo,
    "teacher": checks_teacher.teacher,
    "bench": checks_bench.bench_check,
    "trace": checks_bench.trace_check,
    "slurm": checks_slurm.slurm_check,
    "products": checks_products.products_check,
    "python": checks_python.python_check,
    "reuse": checks_reuse.reuse_check,
    "draft": checks_reuse.draft_check,
    "eval": checks_eval.eval_check,
    "evaltasks": checks_eval.all_tasks_check,
    "labeller": checks_eval.labeller_check,
    "idle": lambda: checks_life.idle(seconds=5),
}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in CHECKS:
        sys.exit(f"usage: check.py {'|'.join(CHECKS)}")
    held, figure = CHECKS[sys.argv[1]]()
    print(figure)
    sys.exit(0 if held else 1)
