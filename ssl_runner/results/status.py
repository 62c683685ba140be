"""The current status of a run, in a file of its folder, so that it can be monitored from any machine."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

STATUS = "status.json"


class Status(NamedTuple):
    doing: str  # in words: "pretraining", "evaluating linear"
    progress: float = 0.0  # of pretraining, in [0, 1]
    loss: float | None = None
    seconds_left: float | None = None  # of what is done: of pretraining, of an evaluation
    written: float = 0.0  # seconds since 1970
    failed: str = ""  # why the run ended without a result; "": it did not, or was stopped or killed


def write_status(folder: Path, status: Status) -> None:
    """Replace the file at once. It is not flushed to the disk: it means nothing after a crash. Nor does a run end for
    want of it: where it cannot be written, what matters cannot be either, and says so."""
    part = folder / f".{STATUS}.part"
    try:
        part.write_text(json.dumps(status._replace(written=time.time())._asdict()))
        part.replace(folder / STATUS)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def read_status(folder: Path, within: float | None = None) -> Status | None:
    """None where there is none, none that can be read, or none of the last `within` seconds, by the time of day."""
    try:
        found = Status(**json.loads((folder / STATUS).read_text()))
        return None if within is not None and found.written < time.time() - within else found
    except (OSError, ValueError, TypeError):
        return None
