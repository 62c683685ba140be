"""The comparison of a sweep's runs, as a wandb run of its own."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_runner.loggers.interface import RunContext
from ssl_runner.loggers.wandb_run import WandbRun, say


def log_comparison(
    context: RunContext,
    settings: Mapping[str, Any],
    *,
    columns: Sequence[str],
    rows: Sequence[Sequence[str | float | None]],
    figures: Mapping[str, Path],
) -> None:
    """Log a table of a sweep's runs and its plots (PNG files by name), beside the runs: same project, same group.

    context: the sweep as if it were a run: its folder, its name, its group. settings: the parameters of `WandbRun` that
    its runs were logged with. The wandb run is called by the context's name, whatever the runs were called.

    The id of the wandb run follows from the group: logged again, online it goes on in the same run, which then shows
    the new table. What is on disk is replaced: the folder written last is the only one.

    Like other uses of wandb, it never fails a run: an error is reported in one line, and nothing is raised.
    """
    comparison = context._replace(job_type="comparison")
    run_id = hashlib.sha256(f"comparison of {context.group}".encode()).hexdigest()[:16]
    offline_id = f"{run_id}-offline"  # once it could not go online as `run_id`, wandb begins nothing more by that id
    try:
        run = WandbRun(comparison, **{**settings, "name": None})
        run.begin(run_id, resumes=True, offline_id=offline_id)
    except ValueError as error:
        say(f"warning: the comparison is not logged to wandb: {error}")
        return
    run.log_table("runs", columns, rows)
    run.log_figures(figures)
    run.finish(success=True)
    for superseded in sorted(run.folders(run_id), key=_begun)[:-1]:
        shutil.rmtree(superseded, ignore_errors=True)


def _begun(folder: Path) -> str:
    """When wandb began it, from its name: offline-run-20270131_235959-..."""
    return folder.name.rpartition("run-")[2]
