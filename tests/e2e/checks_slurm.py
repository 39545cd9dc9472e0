"""The batch script of `plan --sbatch`, run without Slurm: what it starts, and which signals reach it."""
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import harness

# In place of srun or mpirun: notes its arguments and each signal, and ends when the file `done` appears.
LAUNCHER = """#!/bin/bash
echo "pid $$" >> log
echo "args $*" >> log
trap 'echo USR1 >> log' USR1
trap 'echo TERM >> log' TERM
while [ ! -e done ]; do sleep 0.02; done
"""


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def run_script(folder, launcher):
    """USR1 to the script alone, as before the end of the time; then TERM to script and ranks, as scancel sends it."""
    code, _, error = harness.run_palmgrove("plan", "medgemma-27b", "--weights", "int4", "--nodes", 2, "--ranks-per-node", 2, "--cores", 64,
                                           "--sbatch", folder / "run.sh", "--launcher", launcher)
    assert code == 0, error
    fake = folder / launcher
    fake.write_text(LAUNCHER)
    fake.chmod(0o755)
    log = folder / "log"
    script = subprocess.Popen(["bash", "run.sh"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env={"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2",
                                   "SLURM_CPUS_PER_TASK": "32"})
    try:
        wait_for(lambda: log.exists() and "args" in log.read_text())
        time.sleep(0.2)  # the script's traps are set
        script.send_signal(signal.SIGUSR1)
        wait_for(lambda: "USR1" in log.read_text())
        ranks = int(log.read_text().split()[1])
        script.send_signal(signal.SIGTERM)
        os.kill(ranks, signal.SIGTERM)
        wait_for(lambda: "TERM" in log.read_text())
        time.sleep(0.3)  # a signal too many would arrive
        assert script.poll() is None, "the script waits for the ranks to finish"
    finally:
        (folder / "done").touch()
        code = script.wait(20)
    assert code == 0, code
    lines = log.read_text().splitlines()
    assert [line for line in lines if not line.startswith(("pid", "args"))] == ["USR1", "TERM"], lines
    return lines[1]


def slurm_check():
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        srun = run_script(pathlib.Path(one), "srun")
        mpirun = run_script(pathlib.Path(two), "mpirun")
    assert "--cpus-per-task=32" in srun and "palmgrove serve medgemma-27b --tp" in srun, srun
    assert "PE=32" in mpirun, mpirun
    return True, "srun gives each rank its cores; one signal drains, scancel's reaches the ranks once"
