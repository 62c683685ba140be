"""TensorBoard as a logger of a run."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_runner.loggers.interface import RunContext, RunLogger
from ssl_runner.results.metrics import Metric


class TensorBoard(RunLogger):
    """Mirror a run to event files in its folder; `tensorboard --logdir outputs` compares all runs.

    flush_seconds: the longest time for which what was logged may be missing from the file.
    Raises ValueError if tensorboard is not installed.
    """

    def __init__(self, context: RunContext, *, flush_seconds: int) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ValueError(
                "logger=tensorboard needs the package tensorboard, which is not installed:"
                " pip install 'ssl-runner[tensorboard]'"
            )
        if flush_seconds < 1:
            raise ValueError(f"logger.tensorboard.flush_seconds is {flush_seconds}; it must be at least 1")
        self.folder = context.folder / "tensorboard"
        self._flush_seconds = flush_seconds
        self._config: dict[str, str | int | float | bool] = {}
        self._writer: Any = None

    def open(self, resume_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if resume_step is None:
            for old in self.folder.glob("events.out.tfevents.*"):
                old.unlink()
        self._writer = SummaryWriter(
            str(self.folder),
            purge_step=None if resume_step is None else resume_step + 1,
            flush_secs=self._flush_seconds,
        )

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def log_config(self, config: Mapping[str, Any]) -> None:
        self._config = _flat(config)
        self._writer.add_text("config", f"```json\n{json.dumps(config, indent=2, default=str)}\n```")

    def log_summary(self, summary: Mapping[str, Metric]) -> None:
        """Fill a row of the HPARAMS tab: the config's leaves beside these numbers."""
        from torch.utils.tensorboard.summary import hparams

        values = {name: metric.value for name, metric in summary.items()}
        for record in hparams(self._config, values):
            self._writer.file_writer.add_summary(record)
        for name, value in values.items():
            self._writer.add_scalar(name, value)

    def log_figures(self, figures: Mapping[str, Path]) -> None:
        import numpy as np
        from PIL import Image

        for name, path in figures.items():
            with Image.open(path, formats=["PNG"]) as picture:
                self._writer.add_image(f"figures/{name}", np.asarray(picture.convert("RGB")), dataformats="HWC")

    def finish(self, success: bool) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """{"a": {"b": 1}} -> {"a.b": 1}; what is neither number, text nor bool becomes text."""
    leaves: dict[str, str | int | float | bool] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            leaves |= _flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value if isinstance(value, str | int | float | bool) else str(value)
    return leaves
