"""A server's life: idle, under crowds, told to stop, losing a rank."""
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import threading
import time

import harness
import wire

IDLE_CPU_PERCENT = 2.0          # all processes together, mpirun included
MEMORY_SLACK_BYTES = 8 << 20    # chosen before the first measurement: allocator slack, less than two images of the largest kind
END_S = 25                      # from the signal to the last process


def idle(seconds=10):
    """An idle cluster sleeps."""
    with tempfile.TemporaryDirectory() as folder, harness.Server(2, 2) as server:
        with wire.Connection(server.endpoint) as connection:
            connection.generate(wire.report(harness.draw(folder, 0, 1)[0]))
        time.sleep(1)
        before, start = harness.cpu_seconds(server.pids), time.monotonic()
        time.sleep(seconds)
        percent = 100 * (harness.cpu_seconds(server.pids) - before) / (time.monotonic() - start)
    return percent < IDLE_CPU_PERCENT, (f"4 ranks and mpirun together use {percent:.2f} % of a core over {seconds} s "
                                        f"(bound {IDLE_CPU_PERCENT} %)")


# ---- crowds ----

def good_client(endpoint, case, index, answers):
    with wire.Connection(endpoint, timeout=180) as connection:
        answers[index] = connection.generate(wire.report(case)).text


def vanishing_client(endpoint, case):
    connection = wire.Connection(endpoint, timeout=180)
    for n, _ in enumerate(connection.replies(wire.generate(wire.report(case), stream=True))):
        if n == 2:
            break
    connection.close()


def garbage_client(endpoint, seed):
    rng = random.Random(seed)
    with wire.Connection(endpoint) as connection:
        for _ in range(50):
            connection.send_raw(*(rng.randbytes(rng.choice((0, 1, 7, 300, 20000))) for _ in range(rng.choice((1, 1, 1, 2, 5)))))
        time.sleep(0.5)


def crowd(endpoint, cases, expected, n_clients):
    """One round: half of the clients are well-behaved, a quarter vanishes, a quarter sends garbage.  Returns unanswered or wrong ones."""
    answers, threads = {}, []
    for i in range(n_clients):
        case = cases[i % len(cases)]
        if i % 4 < 2:
            threads.append(threading.Thread(target=good_client, args=(endpoint, case, i, answers)))
        elif i % 4 == 2:
            threads.append(threading.Thread(target=vanishing_client, args=(endpoint, case)))
        else:
            threads.append(threading.Thread(target=garbage_client, args=(endpoint, i)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [i for i in range(n_clients) if i % 4 < 2 and answers.get(i) != expected[cases[i % len(cases)].index]]


def settled(connection, timeout=30):
    """Statistics once nothing runs any more and the idle server has given memory back, which it does after a second."""
    end = time.monotonic() + timeout
    while True:
        stats = connection.stats()
        if stats.running == 0 and stats.queued == 0 and stats.kv_blocks_free == stats.kv_blocks_total or time.monotonic() > end:
            break
        time.sleep(0.2)
    time.sleep(2)
    return connection.stats()


def clients(n_clients=32, rounds=3):
    """Many clients at once, some vanishing, some sending garbage: everybody well-formed is answered and memory comes back."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder, harness.Server(2, 2) as server:
        cases = harness.draw(folder, 0, 4)
        with wire.Connection(server.endpoint, timeout=180) as connection:
            expected = {case.index: connection.generate(wire.report(case)).text for case in cases}
            wrong += crowd(server.endpoint, cases, expected, n_clients)  # this round warms the allocator up
            warm = settled(connection).resident_bytes
            for _ in range(rounds - 1):
                wrong += crowd(server.endpoint, cases, expected, n_clients)
            stats = settled(connection)
    grown = stats.resident_bytes - warm
    held = not wrong and grown <= MEMORY_SLACK_BYTES and stats.kv_blocks_free == stats.kv_blocks_total
    return held, (f"{rounds} rounds of {n_clients} clients: {len(wrong)} well-formed requests without their answer, "
                  f"{stats.malformed_messages} malformed messages, resident memory {warm / 1e6:.1f} MB warm, {grown / 1e6:+.1f} MB after "
                  f"(bound {MEMORY_SLACK_BYTES / 1e6:.1f} MB), {stats.kv_blocks_total - stats.kv_blocks_free} KV blocks not returned")


# ---- ends ----

def segments(pids):
    """Files of /dev/shm that these processes map."""
    found = set()
    for pid in pids:
        try:
            lines = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
        except OSError:
            continue
        found |= {line.split("/dev/shm/", 1)[1].split(" ")[0] for line in lines if "/dev/shm/" in line}
    return found


def remains(server, mapped):
    """What is left of a server that should be gone."""
    end = time.monotonic() + 5
    while any(map(harness.is_alive, server.pids)) and time.monotonic() < end:
        time.sleep(0.1)
    left = [f"process {pid}" for pid in server.pids if harness.is_alive(pid)]
    left += [f"socket {path}" for path in server.folder.iterdir() if path.is_socket()]
    left += [f"/dev/shm/{name}" for name in mapped if os.path.exists(f"/dev/shm/{name}")]
    return left


def stop_one(whom, number, expected_code):
    """Stop a server while a request runs; returns what went wrong."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder, harness.Server(2, 2, kill_s=5) as server:
        case = harness.draw(folder, 0, 1)[0]
        mapped = segments(server.pids)
        with wire.Connection(server.endpoint) as connection:
            replies = connection.replies(wire.generate(wire.report(case), stream=True))
            next(replies)  # it runs
            target = server.ranks()[0] if whom == "rank 0" else server.process.pid
            os.kill(target, number)
            last = list(replies)[-1]
            if last.WhichOneof("body") != "result":
                wrong.append(f"the admitted request got {last.error.name}")
        code = server.wait_end(END_S)
        wrong += [] if code == expected_code else [f"exit code {code} instead of {expected_code}"]
        wrong += remains(server, mapped)
    return [f"{signal.Signals(number).name} to {whom}: {one}" for one in wrong]


def sigterm():
    """SIGTERM, SIGINT and SIGUSR1 finish what is admitted and leave nothing behind.  mpirun itself exits with 1 when it is signalled."""
    ways = (("rank 0", signal.SIGTERM, 0), ("mpirun", signal.SIGTERM, 1), ("mpirun", signal.SIGINT, 1), ("mpirun", signal.SIGUSR1, 0))
    wrong = [one for way in ways for one in stop_one(*way)]
    return not wrong, f"{len(ways)} ways to stop a busy 2 x 2 server: {len(wrong)} faults" + "".join(f"; {one}" for one in wrong)


def rank_killed():
    """A rank that dies takes the job down: non-zero, no orphans; the open request is told that the ranks are gone, not that it was canceled."""
    with tempfile.TemporaryDirectory() as folder, harness.Server(2, 2) as server:
        case = harness.draw(folder, 0, 1)[0]
        mapped = segments(server.pids)
        with wire.Connection(server.endpoint) as connection:
            os.kill(server.ranks()[3], signal.SIGSTOP)  # so that the request cannot end before
            replies = connection.replies(wire.generate(wire.report(case), stream=True))
            threading.Timer(0.3, os.kill, (server.ranks()[3], signal.SIGKILL)).start()
            start = time.monotonic()
            last = list(replies)[-1]
            told = f"{last.error.name}: {last.error.message}" if last.WhichOneof("body") == "error" else last.WhichOneof("body")
        code = server.wait_end(END_S)
        seconds = time.monotonic() - start
        left = [one for one in remains(server, mapped) if one.startswith("process")]
    return code not in (0, None) and not left and told.startswith("io_error: the model's ranks failed"), \
        f"the client was told {told}; mpirun ended with {code} after {seconds:.1f} s; left: {left or 'nothing'}"


# ---- the demonstration ----

def start_demo(folder):
    (pathlib.Path(folder) / "tmp").mkdir()
    return subprocess.Popen([harness.PALMGROVE, "demo", "--model", harness.MODEL, "--out", f"{folder}/out"], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=harness.environment(TMPDIR=f"{folder}/tmp"))


def demo_remains(folder, pids):
    end = time.monotonic() + 5
    while any(map(harness.is_alive, pids)) and time.monotonic() < end:
        time.sleep(0.1)
    return [f"process {pid}" for pid in pids if harness.is_alive(pid)] + [str(path) for path in pathlib.Path(folder, "tmp").iterdir()]


def demo():
    """The demonstration runs to its end, and Ctrl-C in the middle of it leaves nothing behind either."""
    wrong = []
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        process = start_demo(folder)
        output, _ = process.communicate(timeout=120)
        n_reports, n_answers = output.count("the model's report"), output.count("\n  Q: ")
        n_pictures = len(list(pathlib.Path(folder, "out").glob("*.png")))
        if (process.returncode, n_reports, n_answers, n_pictures) != (0, 3, 2, 3):
            wrong.append(f"exit code {process.returncode}, {n_reports} reports, {n_answers} answers, {n_pictures} pictures:\n{output}")
        wrong += demo_remains(folder, [])
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        process = start_demo(folder)
        for line in process.stdout:
            if "rank 0 (stage 0" in line:  # all ranks run, none is ready
                break
        pids = harness.descendants(process.pid)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        wrong += [] if process.returncode == 130 else [f"exit code {process.returncode} after Ctrl-C"]
        wrong += demo_remains(folder, pids)
    return not wrong, f"{n_reports} reports and {n_answers} answers, then once more with Ctrl-C: {len(wrong)} faults" + "".join(
        f"; {one}" for one in wrong)
