"""Messages for failures of pretraining: what happened, likely causes, the key to set, the checkpoint to resume from."""

import json
from pathlib import Path

import torch

from ssl_runner.config.schema import Config
from ssl_runner.results.result import write_atomically
from ssl_runner.runtime import checkpoint_files
from ssl_runner.training.pretrainer import DivergedError

NONFINITE = "nonfinite.json"  # the batch, in the run's folder


def noted(error: BaseException) -> str:
    """The message of an error with its notes, which say whether the state is saved."""
    return "; ".join([str(error).strip().split("\n")[0], *getattr(error, "__notes__", [])])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means out of memory, on a GPU or on the CPU (which torch reports by message only)."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def out_of_memory(error: BaseException, config: Config, step: int) -> str:
    trainer = config.trainer
    return (
        f"out of memory at step {step}: {noted(error) or type(error).__name__}. Lower batch_size "
        f"({config.batch_size}), and raise trainer.accumulate ({trainer.accumulate}) by the same factor "
        f"to keep the examples per step; trainer.precision=bfloat16 (now {trainer.precision}) halves the "
        "memory of activations, and trainer.recompute=blocks keeps few of them"
    )


def diverged(error: DivergedError, config: Config, folder: Path) -> str:
    """The message of a divergence; writes the examples of the batch to `NONFINITE`."""
    if error.seen is not None:
        seen = {"step": error.seen.step, "epoch": error.seen.epoch, "batch": error.seen.batch}
        about = seen | {"loss": str(error.seen.loss.item()), "examples": error.seen.examples.tolist()}
        write_atomically(folder / NONFINITE, json.dumps(about))
    good = checkpoint_files.find(folder).newest
    where = "there is no checkpoint before it" if good is None else f"the last good checkpoint is of step {good.step}"
    skip = config.trainer.skip_nonfinite
    more = "" if skip else "; set trainer.skip_nonfinite=10 to resume from it and skip up to 10 such steps"
    return (
        f"{error}. Likely causes: a learning rate that is too high (lower optimizer.lr, or set "
        "trainer.clip_norm=1), too low a precision (set trainer.precision=float32; now "
        f"{config.trainer.precision}), or a damaged example ({NONFINITE} lists the examples); "
        f"{where}{more}"
    )
