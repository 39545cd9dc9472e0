"""Requests and replies as Python types; no sockets here.  Field meanings: docs/PROTOCOL.md."""
from __future__ import annotations

import dataclasses
import enum
import math
import numbers
import os
import pathlib
import uuid
from typing import Any, Iterable, Mapping, Sequence, Tuple, TypedDict, Union

from palmgrove import palmgrove_pb2 as pb

Part = pb.Part
PartLike = Union[str, bytes, Part]
"""A text, the bytes of an image file, or a part made by image(), vectors() or task_part() (palmgrove.task)."""
Parts = Union[PartLike, Iterable[PartLike], None]
FieldValue = Union[str, float, numbers.Real]

UNREACHABLE = "unreachable"


class PalmgroveError(Exception):
    """A refusal of the server (code, name and message of its Error), or name "unreachable" with code 0."""

    def __init__(self, code: int, name: str, message: str):
        super().__init__(f"{name}: {message}")
        self.code, self.name, self.message = code, name, message

    def __reduce__(self):
        return type(self), (self.code, self.name, self.message)


# ---- replies ----

class Finish(enum.IntEnum):
    UNKNOWN = 0  # also: a reason of a newer server
    EOS = 1
    STOP = 2
    LENGTH = 3

    @classmethod
    def _missing_(cls, value):
        return cls.UNKNOWN


@dataclasses.dataclass(frozen=True)
class Usage:
    prompt_tokens: int
    image_tokens: int
    completion_tokens: int


@dataclasses.dataclass(frozen=True)
class Timings:
    """Milliseconds, and tokens of work that was skipped; may differ from run to run."""
    prepare_ms: float
    queue_ms: float
    first_token_ms: float
    total_ms: float
    reused_tokens: int
    drafted_tokens: int
    accepted_tokens: int


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What made the answer."""
    model: str
    model_digest: str
    version: str
    layout: str
    isa: str
    seed: int
    logits_digest: str


@dataclasses.dataclass(frozen=True)
class ImageWarning:
    code: int
    name: str
    image: int
    message: str


@dataclasses.dataclass(frozen=True)
class Result:
    """The whole answer; logprobs has the log-probabilities of `ids` when an answer was scored."""
    request_id: str
    text: str
    finish: Finish
    ids: Tuple[int, ...]
    logprobs: Tuple[float, ...]
    usage: Usage
    timings: Timings
    provenance: Provenance
    warnings: Tuple[ImageWarning, ...]


@dataclasses.dataclass(frozen=True)
class Health:
    state: str
    version: str
    model: str
    layout: str
    uptime_s: float


@dataclasses.dataclass(frozen=True)
class Stats:
    """Counters since the server started, and present values."""
    requests_admitted: int
    requests_finished: int
    requests_failed: int
    requests_refused: int
    requests_canceled: int
    queued: int
    running: int
    prompt_tokens: int
    completion_tokens: int
    steps: int
    kv_blocks_total: int
    kv_blocks_free: int
    malformed_messages: int
    resident_bytes: int
    prefix_requests: int
    prefix_tokens: int
    drafted_tokens: int
    accepted_tokens: int
    kv_blocks_kept: int
    images_reused: int


def _fill(kind: Any, message: Any) -> Any:
    return kind(**{field.name: getattr(message, field.name) for field in dataclasses.fields(kind)})


def _result(reply: Any) -> Result:
    body = reply.result
    return Result(reply.request_id, body.text, Finish(body.finish), tuple(body.ids), tuple(body.logprobs), _fill(Usage, body.usage),
                  _fill(Timings, body.timings), _fill(Provenance, body.provenance),
                  tuple(_fill(ImageWarning, warning) for warning in body.warnings))


def read_reply(frame: bytes) -> Tuple[str, Any]:
    """The request id and what came for it: a text delta (str), Result, Health, Stats or PalmgroveError; None: of a newer server."""
    try:
        reply = pb.Reply.FromString(frame)
    except Exception as error:  # DecodeError lives in different places of different protobufs
        raise PalmgroveError(0, "bad_format", f"the peer does not answer like a palmgrove server: {error}") from None
    body = reply.WhichOneof("body")
    if body == "token":
        return reply.request_id, reply.token.text
    if body == "result":
        return reply.request_id, _result(reply)
    if body == "health":
        return reply.request_id, _fill(Health, reply.health)
    if body == "stats":
        return reply.request_id, _fill(Stats, reply.stats)
    if body == "error":
        return reply.request_id, PalmgroveError(reply.error.code, reply.error.name, reply.error.message)
    return reply.request_id, None


# ---- parts ----

def image(file: Union[bytes, str, os.PathLike], frame: int = 0) -> Part:
    """An image file, by its bytes or its path; frame: of a DICOM file, from 0."""
    data = bytes(file) if isinstance(file, (bytes, bytearray, memoryview)) else pathlib.Path(file).read_bytes()
    return pb.Part(image=data, image_frame=frame)


def vectors(rows: Sequence[Sequence[float]], encoder: str = "") -> Part:
    """One position of the prompt for each row; rows of equal width for a vector encoder of the model, or embeddings without a name."""
    if len(rows) == 0 or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("vectors need at least one row, all of one width")
    return pb.Part(vectors=pb.Vectors(encoder=encoder, width=len(rows[0]), values=[value for row in rows for value in row]))


def _field_text(name: str, value: FieldValue) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"field {name!r} is text or a number, not {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"field {name!r} is {value}, not a finite number")
    return str(int(value)) if isinstance(value, numbers.Integral) else repr(float(value))


def _pairs(fields: Iterable[Tuple[str, Any]]) -> list:
    """A list gives a field several values."""
    return [pb.Field(name=name, value=_field_text(name, value)) for name, values in fields
            for value in (values if isinstance(values, (list, tuple)) else [values])]


def task_part(name: str, fields: Union[Mapping[str, Any], Iterable[Tuple[str, Any]], None] = None) -> Part:
    """A named prompt template; fields as a mapping, or as pairs where the order matters."""
    pairs = fields.items() if isinstance(fields, Mapping) else fields or ()
    return pb.Part(task=pb.TaskCall(name=name, fields=_pairs(pairs)))


def _part(part: PartLike) -> Part:
    if isinstance(part, Part):
        return part
    if hasattr(part, "SerializeToString"):  # a Part of another copy of palmgrove_pb2
        return Part.FromString(part.SerializeToString())
    return pb.Part(text=part) if isinstance(part, str) else pb.Part(image=bytes(part))


# ---- requests ----

def request_of(body: str, request_id: str | None = None, message: Any = None) -> Any:
    """A Request of version 1: body "generate", "cancel", "health" or "stats"."""
    request = pb.Request(version=1, request_id=request_id or uuid.uuid4().hex)
    getattr(request, body).SetInParent()
    if message is not None:
        getattr(request, body).CopyFrom(message)
    return request


class Options(TypedDict, total=False):
    """What generate and stream take besides the parts; absent: off, or the server's default."""
    task: str  # a prompt template's name
    fields: Union[Mapping[str, Any], Iterable[Tuple[str, Any]]]  # of the task: text, numbers or lists of them
    images: Iterable[PartLike]  # after the task
    chat: Union[str, Iterable[Tuple[str, str]]]  # the user's words, or pairs of a role and a text
    max_tokens: int
    temperature: float  # 0: greedy
    top_k: int
    top_p: float
    seed: int
    stop: Iterable[str]
    deadline_ms: int
    stat: bool  # urgent
    logits_digest: bool
    strict_images: bool
    answer: str  # score this instead of generating one
    resume_ids: Iterable[int]  # continue after these tokens of the answer


def generate_body(parts: Parts = None, *, task: str | None = None, fields: Any = None, images: Iterable[PartLike] = (),
                  chat: Any = None, max_tokens: int = 0, temperature: float = 0.0, top_k: int = 0, top_p: float = 0.0, seed: int = 0,
                  stop: Iterable[str] = (), deadline_ms: int = 0, stat: bool = False, logits_digest: bool = False, strict_images: bool = False,
                  answer: str = "", resume_ids: Iterable[int] = (), stream: bool = False) -> Any:
    """The Generate of Client.generate, whose arguments these are."""
    prompt = [_part(part) for part in ([parts] if isinstance(parts, (str, bytes, Part)) or hasattr(parts, "SerializeToString") else parts or ())]
    if task is not None:
        prompt.append(task_part(task, fields))
    if chat is not None:
        prompt.append(task_part("chat", [("user", chat)] if isinstance(chat, str) else chat))
    prompt += [_part(one) for one in images]
    return pb.Generate(parts=prompt, max_tokens=max_tokens, stop=list(stop), stream=stream, deadline_ms=deadline_ms,
                       priority=pb.STAT if stat else pb.ROUTINE, logits_digest=logits_digest, strict_images=strict_images, answer=answer,
                       resume_ids=list(resume_ids), sampling=pb.Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed))
