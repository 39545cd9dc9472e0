"""Real servers for the tests: start mpirun, wait for the ready line, find its processes, stop it, see what is left behind."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PALMGROVE_BUILD_DIR", ROOT / "build/release"))
PALMGROVE = BUILD / "tools/palmgrove/palmgrove"
DRAW_CASES = BUILD / "tests/e2e/draw_cases"
MODEL = pathlib.Path(os.environ.get("PALMGROVE_TEST_MODEL", ROOT / "models/phantom"))
READY_S = 120

sys.path[:0] = [str(ROOT / "tools"), str(BUILD / "python")]

# Ranks outnumber cores here and the tests may run as root in a container.
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1",
          "--mca", "btl_vader_single_copy_mechanism", "none"]


def environment(**extra):
    values = {k: v for k, v in os.environ.items() if not k.startswith("PALMGROVE_")}
    if os.geteuid() == 0:
        values.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    values.update(extra)
    return values


def descendants(pid):
    """The process and everything below it."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
            except (OSError, IndexError):
                pass  # it ended meanwhile
    found, queue = [], [pid]
    while queue:
        one = queue.pop()
        found.append(one)
        queue += children.get(one, [])
    return found


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return ticks / os.sysconf("SC_CLK_TCK")


def shared_memory():
    return set(os.listdir("/dev/shm"))


class Server:
    """`mpirun palmgrove serve` on an ipc endpoint in a folder of its own.  A context manager: leaves nothing behind."""

    def __init__(self, tp=1, pp=1, model=MODEL, options=(), program=PALMGROVE, endpoints=None, kill_s=1, variables=None):
        """kill_s: half the seconds that mpirun gives its ranks when it is told to end (odls_base_sigkill_timeout); variables: of the environment."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="palmgrove-test-", dir="/tmp"))
        self.endpoint = endpoints[0] if endpoints else f"ipc://{self.folder}/gateway"
        self.layout = (tp, pp)
        self.variables = variables or {}
        self.log = self.folder / "log"
        self.command = [*MPIRUN, "--mca", "odls_base_sigkill_timeout", str(kill_s), "-n", str(tp * pp), str(program), "serve", str(model),
                        "--tp", str(tp), "--pp", str(pp)]
        for endpoint in endpoints or [self.endpoint]:
            self.command += ["--endpoint", endpoint]
        self.command += list(options)
        self.process = None
        self.pids = []

    def launch(self):
        """Start without waiting."""
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                            env=environment(TMPDIR=str(self.folder), **self.variables))
        return self

    def output(self):
        return self.log.read_text(errors="replace")

    def wait_ready(self, timeout=READY_S):
        end = time.monotonic() + timeout
        while not re.search(r"^ready", self.output(), re.M):
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode} before it was ready:\n{self.output()}")
            if time.monotonic() > end:
                raise AssertionError(f"the server was not ready after {timeout} s:\n{self.output()}")
            time.sleep(0.05)
        self.pids = descendants(self.process.pid)
        return self

    def ranks(self):
        """Process ids of the ranks, rank 0 first."""
        found = {}
        for pid in self.pids:
            try:
                variables = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            for variable in variables:
                if variable.startswith(b"OMPI_COMM_WORLD_RANK="):
                    found[int(variable.split(b"=")[1])] = pid
        return [found[rank] for rank in sorted(found)]

    def wait_end(self, timeout):
        """mpirun's exit code; None when it still runs."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR1)
            if self.wait_end(30) is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                for pid in self.pids:
                    if is_alive(pid):
                        os.kill(pid, signal.SIGKILL)
                self.process.wait()

    def __enter__(self):
        return self.launch().wait_ready()

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self, timeout=60):
        import palmgrove_client  # tools/, on the path above

        return palmgrove_client.Client(self.endpoint, timeout=timeout)


class Case:
    """One held-out drawing: a PNG and what belongs to it."""

    def __init__(self, folder, line):
        self.index, self.view, self.indication, self.report, self.question, self.answer = line.split("\t")
        self.path = pathlib.Path(folder) / f"{self.index}.png"
        self.png = self.path.read_bytes()


def draw(folder, first, n):
    lines = subprocess.run([DRAW_CASES, folder, str(first), str(n)], check=True, capture_output=True, text=True).stdout
    return [Case(folder, line) for line in lines.splitlines()]


def run_palmgrove(*arguments, **kwargs):
    """The program as a user runs it: (exit code, stdout, stderr)."""
    done = subprocess.run([PALMGROVE, *map(str, arguments)], capture_output=True, text=True, timeout=kwargs.pop("timeout", 120),
                          env=environment(), **kwargs)
    return done.returncode, done.stdout, done.stderr
