"""Client of the palmgrove gateway (docs/PROTOCOL.md): Client for one thread, AsyncClient for asyncio."""
from palmgrove._version import __version__
from palmgrove.aio import AsyncClient
from palmgrove.client import Client
from palmgrove.messages import (FieldValue, Finish, Health, ImageWarning, PalmgroveError, Part, PartLike, Provenance, Result, Stats, Timings,
                                Usage, image, task_part as task, vectors)

__all__ = ["AsyncClient", "Client", "FieldValue", "Finish", "Health", "ImageWarning", "PalmgroveError", "Part", "PartLike", "Provenance",
           "Result", "Stats", "Timings", "Usage", "__version__", "image", "task", "vectors"]
