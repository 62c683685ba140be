"""One run of a sweep, by itself: `python -m ssl_runner.sweeps.job FILE`. Any engine can run it.

Exit codes: 0 done; 1 it failed, and the traceback is in the log; 2 its config or data were refused; `BUSY` another
process does this run; 143 stopped by SIGTERM, with a checkpoint to go on from.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ssl_runner.stopping import STOPPED, Stopped, stoppable
from ssl_runner.terminal import guard, say, told

BUSY = 75  # EX_TEMPFAIL
LOST = 76  # another process of a run on several devices has failed


def write_job(file: Path, plain: Mapping[str, Any], overrides: Sequence[str], sweep: str, label: str) -> None:
    """Freeze a run: its resolved config, the overrides that made it, the sweep it is part of."""
    from ssl_runner.reporting.results import write_atomically

    content = {"sweep": sweep, "label": label, "overrides": list(overrides), "config": dict(plain)}
    write_atomically(file, yaml.safe_dump(content, sort_keys=False))


def read_job(file: Path) -> dict[str, Any]:
    """What `write_job` wrote. Raises ConfigError for a damaged file."""
    from ssl_runner.config import ConfigError
    from ssl_runner.plain_yaml import read_yaml

    try:
        job = read_yaml(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError([f"{str(file)!r} is damaged: {error}"]) from error
    texts = [job.get(key) for key in ("sweep", "label")] if isinstance(job, dict) else [None]
    overrides = job.get("overrides") if isinstance(job, dict) else None
    if not isinstance(overrides, list) or not all(isinstance(each, str) for each in (*texts, *overrides)):
        raise ConfigError([f"{str(file)!r} is damaged: it must hold sweep, label, overrides and config"])
    return job


def work(file: Path) -> int:
    """Do the run of `file`; returns an exit code."""
    guard()
    try:
        with stoppable():
            return _work(file)
    except Stopped as stop:
        say(stop)
        return STOPPED


def _work(file: Path) -> int:
    from ssl_runner.commands.run import Part, run
    from ssl_runner.config import ConfigError, typed
    from ssl_runner.locking import BusyError
    from ssl_runner.world import LostError

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's: it asks its jobs by SIGTERM
    try:
        job = read_job(file)
        run(typed(job.get("config")), job["config"], job["overrides"], Part(job["sweep"], job["label"]))
    except ConfigError as error:
        for problem in error.problems:
            say(f"error: {problem}")
        return LOST if isinstance(error, LostError) else 2
    except BusyError as error:
        if not error.said:
            say(error)
        return BUSY
    except Exception:  # the last line of the log has to say what it was, and the exit code that it was
        print(told(traceback.format_exc()), end="", file=sys.stderr)
        return 1
    return 0


def forked(file: str, log: str, gpu: str | None) -> None:
    """Do a job in a process that was forked for it."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    _end_with_parent()
    sys.exit(work(Path(file)))


def _end_with_parent() -> None:
    """Stop as for SIGTERM when the process that started this one is gone: nothing would watch or count it.

    Of a forked job that is the sweep, and not the fork server, its parent to the system, which outlives the sweep: each
    job holds the end of a pipe that would tell it.
    """
    sweep, parent = multiprocessing.parent_process(), os.getppid()

    def watch() -> None:
        if sweep is not None:
            sweep.join()  # returns when a pipe that the sweep alone holds is closed
        else:
            while os.getppid() == parent:
                time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main(argv: Sequence[str]) -> int:
    """`--tied`: end when the starting process does."""
    if "--tied" in argv:
        _end_with_parent()
    return work(Path(argv[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
