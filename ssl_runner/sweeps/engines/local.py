"""Jobs as processes on this machine."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing import connection
from pathlib import Path
from typing import Any

from ssl_runner.sweeps.engines.interface import Engine, Handle, Work

GIGABYTES_A_JOB = 2  # of memory, where `sweep.jobs` is left open: recorded runs took up to 1.3


class Local(Engine):
    """Processes on this machine, forked from one that has imported all they need: a start takes 0.02 s, not 5.

    A job on several devices is an interpreter of its own instead, since Lightning starts more of its kind.
    """

    def __init__(self, work: Work, jobs: int | None, waiting: int, accelerator: str) -> None:
        self._work = work
        self._gpus = gpus() if accelerator in ("auto", "gpu") else []
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        room = len(self._gpus) or min(cores, max(1, int(available_gigabytes() // GIGABYTES_A_JOB)))
        self.slots = min(jobs or room, max(1, waiting))
        self.threads = max(1, cores // self.slots)
        self._taken: list[Any] = [None] * self.slots
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(name, str(self.threads))  # for the processes to come; this one computes nothing
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", work.preload])  # else each job imports the command

    def start(self, file: Path, log: Path, devices: int) -> Handle:
        slot = next(i for i, handle in enumerate(self._taken) if handle is None or handle.poll() is not None)
        gpu = self._gpus[slot % len(self._gpus)] if self._gpus and devices == 1 else None
        if devices == 1:
            handle: Handle = _Forked(self._context.Process(target=self._work.forked, args=(str(file), str(log), gpu)))
        else:
            handle = _Spawned([sys.executable, "-m", self._work.module, str(file), "--tied"], log)
        self._taken[slot] = handle
        return handle

    def wait(self, seconds: float) -> None:
        ends = [each.end for each in self._taken if isinstance(each, _Forked) and each.poll() is None]
        if ends:
            connection.wait(ends, seconds)
        else:
            time.sleep(seconds)


class _Forked:
    def __init__(self, process: Any) -> None:
        self._process = process
        process.start()

    @property
    def end(self) -> int:
        """A descriptor that is ready once the process has ended."""
        return int(self._process.sentinel)

    def poll(self) -> int | None:
        return self._process.exitcode

    def stop(self) -> None:
        if self.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        if self.poll() is None:
            self._process.kill()


class _Spawned:
    def __init__(self, command: list[str], log: Path) -> None:
        with log.open("ab") as file:  # a session of its own: Ctrl-C reaches the sweep alone, and a kill its whole group
            self._process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)

    def poll(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            os.killpg(self._process.pid, number)


def gpus() -> list[str]:
    """The CUDA devices that may be used, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if named else [str(i) for i in range(count)]


def available_gigabytes() -> float:
    """Memory that programs may still take; endless where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(float(line.split()[1]) / 2**20 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return float("inf")
