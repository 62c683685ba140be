"""Start and monitor one process per device. torchrun does the same, also on several machines.

Every process reads the same config and data, makes the same model, and takes its part of every batch. Process 0 alone
writes, speaks, heeds signals and, when training is done, evaluates.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from ssl_runner.assembly import construct
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import Config
from ssl_runner.config.signatures import nodes_of
from ssl_runner.interfaces import CountEncoder, DataSpec, Objective
from ssl_runner.runtime.distributed import world
from ssl_runner.runtime.job_file import BUSY, LOST, write_job
from ssl_runner.runtime.locks import BusyError
from ssl_runner.runtime.signals import REQUESTS, STOPPED, Stopped, handled

GRACE = 5.0  # seconds in which the others may end by themselves, and say why, when one has failed
LOOK = 0.1  # seconds between two looks at the processes
GONE = r"gloo|NCCL|[Cc]onnection (closed|reset|refused)|Broken pipe"  # in what torch says when another process is gone


def check_devices(config: Config, spec: DataSpec, device: torch.device) -> None:
    """Check the config against the available devices and the limits of distributed training. Raises ConfigError."""
    here = world()
    size = here.size if here.size > 1 else config.trainer.devices
    problems = []
    if here.size > 1 and config.trainer.devices not in (1, here.size):
        problems.append(
            f"trainer.devices is {config.trainer.devices}, and {here.size} processes were started; omit "
            f"it, or set it to {here.size}"
        )
    if config.batch_size % size:
        below = max(config.batch_size // size, 1) * size
        problems.append(
            f"batch_size is {config.batch_size}; it is split over {size} devices: set a multiple of "
            f"{size}, such as {below}"
        )
    needed = here.local_size if here.size > 1 else size
    there = torch.cuda.device_count() if device.type == "cuda" else needed if device.type == "cpu" else 1
    if needed > there:
        problems.append(
            f"trainer.devices is {needed}, and this machine has {there} ({device.type}); set "
            f"trainer.devices={there}, or trainer.accelerator=cpu for a trial"
        )
    if size > 1 and config.budget.unit == "minutes":
        problems.append(
            f"budget.unit is minutes, and the clocks of {size} processes differ: set budget.unit to "
            "steps, epochs or samples"
        )
    own = [path for path, node, _ in nodes_of(Objective, config.objective, "objective") if node.get("ranks") == "own"]
    if size > 1:
        problems += [
            f"{path}.ranks is own; with {size} devices each would use only the negatives of its part "
            f"of the batch: set {path}.ranks=all, which gives the same loss as one device"
            for path in own
        ]
    if size > 1 and config.backbone.get("gradient") == "sparse":
        problems.append(
            f"backbone.gradient is sparse; {size} devices reduce dense gradients: set backbone.gradient=dense"
        )
    if size > 1 and config.trainer.strategy == "fsdp":
        problems += _unshardable(config, spec)
    if problems:
        raise ConfigError(problems)


def _unshardable(config: Config, spec: DataSpec) -> list[str]:
    """Why weights cannot be shared out over processes: a line each."""
    problems = []
    if config.trainer.compile:
        problems.append(
            "trainer.strategy is fsdp, which is not supported with torch.compile: set trainer.compile=false"
        )
    model = construct.objective(config, spec)
    numbers = [name for name, parameter in model.named_parameters() if not parameter.ndim]
    if isinstance(model.encoder, CountEncoder):
        problems.append(
            f"trainer.strategy is fsdp, and backbone={config.names.get('backbone')} holds tables of "
            "counts, which cannot be sharded: set trainer.strategy=ddp"
        )
    elif numbers:
        problems.append(
            f"trainer.strategy is fsdp, and {', '.join(numbers)} of "
            f"objective={config.names.get('objective')} has no dimension along which to shard it: give it "
            "shape (1,), or set trainer.strategy=ddp"
        )
    return problems


def launch(request: RunRequest) -> None:
    """Execute a run in `trainer.devices` processes; returns when it is done.

    Raises ConfigError, BusyError, Stopped or SystemExit where it is not; the process at fault has said why.
    """
    size = request.config.trainer.devices
    with tempfile.TemporaryDirectory(prefix="ssl-run-") as place:
        file = Path(place) / "run.yaml"
        write_job(file, request)
        about = {
            "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "GROUP_RANK": "0",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // size, 1))),
        }  # fmt: skip
        command = [sys.executable, "-m", "ssl_runner.commands.job", str(file), "--tied"]
        processes = [
            subprocess.Popen(
                command,
                env=os.environ | about | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                start_new_session=True,  # Ctrl-C comes through this process
            )
            for rank in range(size)
        ]
        with passed_on(processes[0]) as asked:
            rank, code = watch(processes)
    if code == 0:
        return
    if code in (STOPPED, -signal.SIGTERM):
        raise Stopped(asked[0] if asked else signal.SIGTERM)
    if code == 2:
        raise ConfigError([])
    if code == BUSY:
        raise BusyError("the run's folder is in use", said=True)
    how = f"with exit code {code}" if code > 0 else f"by signal {-code} ({signal.Signals(-code).name})"
    raise SystemExit(
        f"error: process {rank} of {size} ended {how}, and the others were stopped; its output is above. The same "
        "command resumes from the last checkpoint, if there is one"
    )


def watch(processes: Sequence["subprocess.Popen[bytes]"]) -> tuple[int, int]:
    """Wait until the processes are done, or until one has failed: then the others are ended within seconds.

    Returns the rank of the one at fault, and its exit code; (0, 0) where none is.
    """
    try:
        failed = _first_end(processes)
        if failed is not None and failed[0]:
            with suppress(subprocess.TimeoutExpired):
                processes[0].wait(GRACE)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    return failed or (0, 0)


def _first_end(processes: Sequence["subprocess.Popen[bytes]"]) -> tuple[int, int] | None:
    """(rank, exit code) of the first to fail by itself; None when process 0 has ended well."""
    ends = None
    while True:
        codes = [process.poll() for process in processes]
        if codes[0] == 0:
            return None
        failed = [(rank, code) for rank, code in enumerate(codes) if code]
        for rank, code in failed:
            if code != LOST:
                return rank, code
        if failed:  # only of losing another one, which has not come to its end yet
            ends = time.monotonic() + GRACE if ends is None else ends
            if time.monotonic() > ends or None not in codes:
                return failed[0]
        time.sleep(LOOK)


@contextmanager
def passed_on(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Hand requests to stop on to process 0, whose end is that of all; Ctrl-C as SIGTERM. Those that came."""
    asked: list[int] = []

    def tell(number: int, frame: object) -> None:
        asked.append(number)
        process.send_signal(signal.SIGTERM if number == signal.SIGINT else number)

    with handled(REQUESTS, tell):
        yield asked


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_lost(error: RuntimeError) -> bool:
    """Whether a step failed because another process has ended."""
    return world().size > 1 and re.search(GONE, str(error)) is not None
