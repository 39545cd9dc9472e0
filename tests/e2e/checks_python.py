"""The Python package proto/client/python: both clients against a real server, the old path, and what is generated or repeated in it."""
import asyncio
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import harness

PACKAGE = harness.ROOT / "proto/client/python"
sys.path.insert(0, str(PACKAGE))


def raises(name, call):
    from palmgrove import PalmgroveError

    try:
        call()
    except PalmgroveError as error:
        return [] if error.name == name else [f"{error} instead of {name}"]
    return [f"no {name}"]


def raises_type(kind, call):
    try:
        call()
    except kind:
        return []
    return [f"no {kind.__name__}"]


def repeats():
    """palmgrove_pb2.py is that of the schema, the version is the project's."""
    import google.protobuf.descriptor_pb2 as descriptors
    from palmgrove import __version__, palmgrove_pb2

    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "set"
        subprocess.run(["protoc", f"--descriptor_set_out={out}", "-I", harness.ROOT / "proto/wire", "palmgrove.proto"], check=True)
        schema = descriptors.FileDescriptorSet.FromString(out.read_bytes()).file[0]
    packaged = descriptors.FileDescriptorProto.FromString(palmgrove_pb2.DESCRIPTOR.serialized_pb)
    for file in (schema, packaged):
        for message in file.message_type:
            for field in message.field:
                field.ClearField("json_name")
    if schema != packaged:
        wrong.append("palmgrove_pb2.py is not that of proto/wire/palmgrove.proto; make it again (README.md there)")
    project = re.search(r"project\(palmgrove VERSION (\S+)", (harness.ROOT / "CMakeLists.txt").read_text()).group(1)
    return wrong if __version__ == project else [*wrong, f"version {__version__} instead of {project}"]


def sync_client(server, case):
    from palmgrove import Client, Finish, image, task, vectors

    wrong = []
    with Client(server.endpoint, timeout=60) as client:
        whole = client.generate(task="report", fields={"view": case.view, "indication": case.indication}, images=[case.png])
        events = list(client.stream([task("report", {"view": case.view, "indication": case.indication}), image(case.path)]))
        wrong += [] if "".join(events[:-1]) == events[-1].text == whole.text else ["stream and whole answer differ"]
        wrong += [] if whole.finish is Finish.EOS and whole.usage.completion_tokens == len(whole.ids) else [f"odd result {whole}"]
        number = client.generate(task="vqa", fields={"question": 57}, images=[case.png])  # numbers are words as well
        words = client.generate(task="vqa", fields={"question": "57"}, images=[case.png])
        wrong += [] if number.text == words.text else ["a number is not its text"]
        wrong += raises_type(TypeError, lambda: client.generate(task="vqa", fields={"question": None}))
        wrong += raises_type(TypeError, lambda: client.generate(task="vqa", fields={"question": True}))
        wrong += raises_type(ValueError, lambda: client.generate(task="vqa", fields={"question": float("nan")}))
        wrong += raises_type(ValueError, lambda: vectors([[1.0], [1.0, 2.0]]))
        wrong += raises("not_found", lambda: client.generate(task="no such"))
        wrong += raises("invalid_argument", lambda: client.generate())
        scored = client.generate("Findings:", answer=" no")
        wrong += [] if len(scored.logprobs) == len(scored.ids) > 0 else ["no log-probabilities"]
        for n, event in enumerate(client.stream("Findings:", max_tokens=900)):
            if n == 2:
                break  # cancels
        again = client.generate("Findings:", max_tokens=4)
        wrong += [] if len(again.ids) == 4 and client.health().state == "ready" else ["the connection does not live on"]
        stats = client.stats()
        wrong += [] if stats.requests_canceled == 1 and stats.requests_finished >= 6 else [f"odd statistics {stats}"]
    return wrong


async def async_client(server, n_requests):
    from palmgrove import AsyncClient, PalmgroveError, Result

    wrong = []
    prompts = [f"Findings {n}:" for n in range(n_requests)]
    async with AsyncClient(server.endpoint, timeout=60) as client:
        alone = [(await client.generate([prompt], max_tokens=8)).text for prompt in prompts[:3]]
        together = [result.text for result in await asyncio.gather(*(client.generate([prompt], max_tokens=8) for prompt in prompts))]
        wrong += [] if together[:3] == alone else ["answers depend on company"]
        deltas = [event async for event in client.stream("Findings:", max_tokens=20)]
        wrong += [] if isinstance(deltas[-1], Result) and "".join(deltas[:-1]) == deltas[-1].text else ["a stream that is not its result"]
        before = (await client.stats()).requests_canceled
        task = asyncio.ensure_future(client.generate("Findings:", max_tokens=900, temperature=1.0, on_text=lambda _: None))
        await asyncio.sleep(0.05)
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        for _ in range(100):
            stats = await client.stats()
            if stats.running + stats.queued == 0:
                break
            await asyncio.sleep(0.05)
        wrong += [] if stats.running + stats.queued == 0 else ["a canceled task's request still runs"]
        wrong += [] if stats.requests_canceled == before + isinstance(results[0], asyncio.CancelledError) else [f"canceled {before} -> {stats}"]
        try:
            await client.generate(task="no such")
            wrong.append("no not_found")
        except PalmgroveError as error:
            wrong += [] if error.name == "not_found" else [str(error)]
    return wrong


async def lost_server(server):
    """A server that ends, and one that is silent, are unreachable within the timeout."""
    from palmgrove import AsyncClient, PalmgroveError

    async with AsyncClient(server.endpoint, timeout=2) as client:
        await client.health()
        for pid in server.ranks():
            os.kill(pid, signal.SIGSTOP)
        start = time.monotonic()
        try:
            await client.generate("x")
            return ["an answer of a stopped server"]
        except PalmgroveError as error:
            seconds = time.monotonic() - start
            return [] if error.name == "unreachable" and 1.5 < seconds < 6 else [f"{error} after {seconds:.1f} s"]
        finally:
            for pid in server.ranks():
                os.kill(pid, signal.SIGCONT)


def python_check():
    """The package pip installs: synchronous, asynchronous, and tools/palmgrove_client.py, which is the same at its old path."""
    wrong = repeats()
    with tempfile.TemporaryDirectory() as folder, harness.Server(2, 1) as server:
        case = harness.draw(folder, 0, 1)[0]
        wrong += sync_client(server, case)
        wrong += asyncio.run(async_client(server, 24))
        for command in ([sys.executable, harness.ROOT / "tools/palmgrove_client.py"], [sys.executable, "-m", "palmgrove"]):
            run = subprocess.run([*command, server.endpoint, "report", case.path], capture_output=True, text=True, cwd=PACKAGE,
                                 env=harness.environment(PYTHONDONTWRITEBYTECODE="1"))
            wrong += [] if run.returncode == 0 and run.stdout.strip() else [f"{command[-1]}: {run.stderr}"]
        wrong += asyncio.run(lost_server(server))
    return not wrong, f"Python package: {len(wrong)} faults" + "".join(f"; {one}" for one in wrong)
