"""`ssl_runner.commands.job.forked`, but some jobs are made to end badly: {label: fault} in <output>/faults.json.

Their figures are blank.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import yaml

from ssl_runner.commands import job

FORKED = job.forked  # before it is replaced by the one below


def forked(file: str, log: str, gpu: str | None) -> None:
    """`fault`: raise, exit, kill, or hang (until it is stopped)."""
    faults = Path(file).parents[3] / "faults.json"
    label = yaml.safe_load(Path(file).read_text())["label"]
    with (faults.parent / "started.txt").open("a") as started:
        started.write(label + "\n")
    match json.loads(faults.read_text()).get(label) if faults.exists() else None:
        case "raise":
            job.work = fails
        case "exit":
            sys.exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(60)
    from undrawn import undrawn  # here, where the process that is forked from has imported what draws

    with undrawn():
        FORKED(file, log, gpu)


def fails(file: Path) -> int:
    try:
        raise ArithmeticError("made to fail")
    except ArithmeticError:
        import traceback

        traceback.print_exc()
        return 1
