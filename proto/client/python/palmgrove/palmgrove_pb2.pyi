from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor
FINISH_EOS: FinishReason
FINISH_LENGTH: FinishReason
FINISH_STOP: FinishReason
FINISH_UNKNOWN: FinishReason
ROUTINE: Priority
STAT: Priority

class Cancel(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class Error(_message.Message):
    __slots__ = ["code", "message", "name"]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    name: str
    def __init__(self, code: _Optional[int] = ..., name: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Field(_message.Message):
    __slots__ = ["name", "value"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Generate(_message.Message):
    __slots__ = ["answer", "deadline_ms", "logits_digest", "max_tokens", "parts", "priority", "resume_ids", "sampling", "stop", "stream", "strict_images"]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    LOGITS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    RESUME_IDS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    STRICT_IMAGES_FIELD_NUMBER: _ClassVar[int]
    answer: str
    deadline_ms: int
    logits_digest: bool
    max_tokens: int
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    priority: Priority
    resume_ids: _containers.RepeatedScalarFieldContainer[int]
    sampling: Sampling
    stop: _containers.RepeatedScalarFieldContainer[str]
    stream: bool
    strict_images: bool
    def __init__(self, parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., max_tokens: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ..., stream: bool = ..., deadline_ms: _Optional[int] = ..., priority: _Optional[_Union[Priority, str]] = ..., logits_digest: bool = ..., resume_ids: _Optional[_Iterable[int]] = ..., answer: _Optional[str] = ..., strict_images: bool = ...) -> None: ...

class Health(_message.Message):
    __slots__ = ["layout", "model", "state", "uptime_s", "version"]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    layout: str
    model: str
    state: str
    uptime_s: float
    version: str
    def __init__(self, state: _Optional[str] = ..., version: _Optional[str] = ..., model: _Optional[str] = ..., layout: _Optional[str] = ..., uptime_s: _Optional[float] = ...) -> None: ...

class HealthQuery(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class Part(_message.Message):
    __slots__ = ["image", "image_frame", "task", "text", "vectors"]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FRAME_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    image_frame: int
    task: TaskCall
    text: str
    vectors: Vectors
    def __init__(self, text: _Optional[str] = ..., image: _Optional[bytes] = ..., task: _Optional[_Union[TaskCall, _Mapping]] = ..., vectors: _Optional[_Union[Vectors, _Mapping]] = ..., image_frame: _Optional[int] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ["isa", "layout", "logits_digest", "model", "model_digest", "seed", "version"]
    ISA_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    LOGITS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    isa: str
    layout: str
    logits_digest: str
    model: str
    model_digest: str
    seed: int
    version: str
    def __init__(self, model: _Optional[str] = ..., model_digest: _Optional[str] = ..., version: _Optional[str] = ..., layout: _Optional[str] = ..., isa: _Optional[str] = ..., seed: _Optional[int] = ..., logits_digest: _Optional[str] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ["error", "health", "request_id", "result", "stats", "token", "version"]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    error: Error
    health: Health
    request_id: str
    result: Result
    stats: Stats
    token: TokenEvent
    version: int
    def __init__(self, version: _Optional[int] = ..., request_id: _Optional[str] = ..., token: _Optional[_Union[TokenEvent, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., health: _Optional[_Union[Health, _Mapping]] = ..., stats: _Optional[_Union[Stats, _Mapping]] = ...) -> None: ...

class Request(_message.Message):
    __slots__ = ["cancel", "generate", "health", "request_id", "stats", "version"]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    GENERATE_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    cancel: Cancel
    generate: Generate
    health: HealthQuery
    request_id: str
    stats: StatsQuery
    version: int
    def __init__(self, version: _Optional[int] = ..., request_id: _Optional[str] = ..., generate: _Optional[_Union[Generate, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., health: _Optional[_Union[HealthQuery, _Mapping]] = ..., stats: _Optional[_Union[StatsQuery, _Mapping]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ["finish", "ids", "logprobs", "provenance", "text", "timings", "usage", "warnings"]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    finish: FinishReason
    ids: _containers.RepeatedScalarFieldContainer[int]
    logprobs: _containers.RepeatedScalarFieldContainer[float]
    provenance: Provenance
    text: str
    timings: Timings
    usage: Usage
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    def __init__(self, text: _Optional[str] = ..., finish: _Optional[_Union[FinishReason, str]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., ids: _Optional[_Iterable[int]] = ..., logprobs: _Optional[_Iterable[float]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ...) -> None: ...

class Sampling(_message.Message):
    __slots__ = ["seed", "temperature", "top_k", "top_p"]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    seed: int
    temperature: float
    top_k: int
    top_p: float
    def __init__(self, temperature: _Optional[float] = ..., top_k: _Optional[int] = ..., top_p: _Optional[float] = ..., seed: _Optional[int] = ...) -> None: ...

class Stats(_message.Message):
    __slots__ = ["accepted_tokens", "completion_tokens", "drafted_tokens", "images_reused", "kv_blocks_free", "kv_blocks_kept", "kv_blocks_total", "malformed_messages", "prefix_requests", "prefix_tokens", "prompt_tokens", "queued", "requests_admitted", "requests_canceled", "requests_failed", "requests_finished", "requests_refused", "resident_bytes", "running", "steps"]
    ACCEPTED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DRAFTED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_REUSED_FIELD_NUMBER: _ClassVar[int]
    KV_BLOCKS_FREE_FIELD_NUMBER: _ClassVar[int]
    KV_BLOCKS_KEPT_FIELD_NUMBER: _ClassVar[int]
    KV_BLOCKS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    MALFORMED_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    PREFIX_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_ADMITTED_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_CANCELED_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FAILED_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FINISHED_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_REFUSED_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    accepted_tokens: int
    completion_tokens: int
    drafted_tokens: int
    images_reused: int
    kv_blocks_free: int
    kv_blocks_kept: int
    kv_blocks_total: int
    malformed_messages: int
    prefix_requests: int
    prefix_tokens: int
    prompt_tokens: int
    queued: int
    requests_admitted: int
    requests_canceled: int
    requests_failed: int
    requests_finished: int
    requests_refused: int
    resident_bytes: int
    running: int
    steps: int
    def __init__(self, requests_admitted: _Optional[int] = ..., requests_finished: _Optional[int] = ..., requests_failed: _Optional[int] = ..., requests_refused: _Optional[int] = ..., requests_canceled: _Optional[int] = ..., queued: _Optional[int] = ..., running: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., steps: _Optional[int] = ..., kv_blocks_total: _Optional[int] = ..., kv_blocks_free: _Optional[int] = ..., malformed_messages: _Optional[int] = ..., resident_bytes: _Optional[int] = ..., prefix_requests: _Optional[int] = ..., prefix_tokens: _Optional[int] = ..., drafted_tokens: _Optional[int] = ..., accepted_tokens: _Optional[int] = ..., kv_blocks_kept: _Optional[int] = ..., images_reused: _Optional[int] = ...) -> None: ...

class StatsQuery(_message.Message):
    __slots__ = []
    def __init__(self) -> None: ...

class TaskCall(_message.Message):
    __slots__ = ["fields", "name"]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedCompositeFieldContainer[Field]
    name: str
    def __init__(self, name: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[Field, _Mapping]]] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ["accepted_tokens", "drafted_tokens", "first_token_ms", "prepare_ms", "queue_ms", "reused_tokens", "total_ms"]
    ACCEPTED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DRAFTED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    PREPARE_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    REUSED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    accepted_tokens: int
    drafted_tokens: int
    first_token_ms: float
    prepare_ms: float
    queue_ms: float
    reused_tokens: int
    total_ms: float
    def __init__(self, prepare_ms: _Optional[float] = ..., queue_ms: _Optional[float] = ..., first_token_ms: _Optional[float] = ..., total_ms: _Optional[float] = ..., reused_tokens: _Optional[int] = ..., drafted_tokens: _Optional[int] = ..., accepted_tokens: _Optional[int] = ...) -> None: ...

class TokenEvent(_message.Message):
    __slots__ = ["ids", "index", "text"]
    IDS_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    index: int
    text: str
    def __init__(self, index: _Optional[int] = ..., ids: _Optional[_Iterable[int]] = ..., text: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ["completion_tokens", "image_tokens", "prompt_tokens"]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    completion_tokens: int
    image_tokens: int
    prompt_tokens: int
    def __init__(self, prompt_tokens: _Optional[int] = ..., image_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ...) -> None: ...

class Vectors(_message.Message):
    __slots__ = ["encoder", "values", "width"]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    encoder: str
    values: _containers.RepeatedScalarFieldContainer[float]
    width: int
    def __init__(self, encoder: _Optional[str] = ..., width: _Optional[int] = ..., values: _Optional[_Iterable[float]] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ["code", "image", "message", "name"]
    CODE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    code: int
    image: int
    message: str
    name: str
    def __init__(self, code: _Optional[int] = ..., name: _Optional[str] = ..., image: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
