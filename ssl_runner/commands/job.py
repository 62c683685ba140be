"""Execute one run of a sweep: `python -m ssl_runner.commands.job FILE`. Any engine can start it.

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
from collections.abc import Sequence
from pathlib import Path

from ssl_runner.commands.answers import begin
from ssl_runner.runtime.job_file import BUSY, LOST, read_job
from ssl_runner.runtime.signals import STOPPED, Stopped, stoppable
from ssl_runner.runtime.terminal import guard, say, told


def work(file: Path) -> int:
    """Execute the run of `file`; returns an exit code."""
    guard()
    try:
        with stoppable():
            return _work(file)
    except Stopped as stop:
        say(stop)
        return STOPPED


def _work(file: Path) -> int:
    from ssl_runner.commands.run import run
    from ssl_runner.config.errors import ConfigError
    from ssl_runner.runtime.distributed import LostError
    from ssl_runner.runtime.locks import BusyError

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's: it asks its jobs by SIGTERM
    try:
        request = read_job(file)
        if "WORLD_SIZE" not in os.environ:  # else a process of a run that has said so
            begin(f"ssl-run: {request.described} seed={request.config.seed}")
        run(request)
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
