"""A W&B report of one sweep: its curves, its results against what was swept, and its comparison. Prints the address.

    python scripts/wandb_report.py my-team/ssl-runner mask-ratios
    python scripts/wandb_report.py my-team/ssl-runner mask-ratios --workspace  # a view of the workspace, alike

The sweep is a group of online runs (docs/wandb.md). Every call makes a new report. Needs a key of W&B, and the extra
`wandb-report` (wandb-workspaces, https://github.com/wandb/wandb-workspaces).
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ssl_runner.config.identity import NOT_IDENTITY
from ssl_runner.loggers.wandb_run import STEP

CURVES = ("train/loss", "val/loss", "val/knn_accuracy")
RESULTS = ("pretrained/linear.accuracy", "random_start/linear.accuracy")  # what it came to, and its control
WIDTH = 24  # of a row of panels, in the columns of a report


class ReportError(Exception):
    """Why there can be no report, in a line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 where there can be no report."""
    options = _parser().parse_args(argv)
    try:
        print((workspace if options.workspace else report)(options.project, options.group))
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def report(path: str, group: str) -> str:
    """Make a report of the runs of `group` in the project `path` ("entity/project"); return its address."""
    runs, comparisons = _runs(path, group)
    from wandb_workspaces.reports import v2

    entity, _, project = path.partition("/")
    with _saving("report"):
        made = v2.Report(
            project=project,
            entity=entity,
            title=f"Sweep {group}"[:128],
            description=f"{len(runs)} runs of the group {group}",
            blocks=_blocks(entity, project, group, runs, comparisons),
            width="fluid",
        )
        return str(made.save().url)


def workspace(path: str, group: str) -> str:
    """Save a view of the project's workspace that shows the runs of `group`, in the panels of a report; its address."""
    runs, comparisons = _runs(path, group)
    from wandb_workspaces import workspaces

    entity, _, project = path.partition("/")
    panels = _panels(runs, comparisons)
    sections = {"Results": panels.results, "Curves": panels.curves, "Comparison": panels.comparison}
    with _saving("view"):
        made = workspaces.Workspace(
            entity=entity,
            project=project,
            name=f"Sweep {group}"[:128],
            sections=[
                workspaces.Section(name=name, panels=shown, is_open=True) for name, shown in sections.items() if shown
            ],
            settings=workspaces.WorkspaceSettings(x_axis=STEP),
            runset_settings=workspaces.RunsetSettings(filters=f"Group == {group!r}"),
        )
        return str(made.save().url)


def _runs(path: str, group: str) -> tuple[list[Any], list[Any]]:
    """The runs of a group, and the comparisons of its sweep. Raises ReportError."""
    entity, _, project = path.partition("/")
    if not entity or not project or "/" in project:
        raise ReportError(f"{path!r} is no project; it must be ENTITY/PROJECT")
    try:
        import wandb
        from wandb_workspaces.reports import v2  # noqa: F401
    except ImportError as error:
        raise ReportError(f"{error.name} is not installed: pip install 'ssl-runner[wandb-report]'") from error
    wandb.setup(wandb.Settings(silent=True))  # silent: nor can it prompt
    try:
        found = list(wandb.Api().runs(path, filters={"group": group}, lazy=False))
    except wandb.errors.UsageError as error:
        raise ReportError("wandb finds no key: set WANDB_API_KEY, or run `wandb login`") from error
    except (wandb.Error, ValueError) as error:
        raise ReportError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    runs = [run for run in found if run.job_type != "comparison"]
    if not runs:
        raise ReportError(f"{path} has no run in a group {group!r}")
    return runs, [run for run in found if run.job_type == "comparison"]


@contextmanager
def _saving(what: str) -> Iterator[None]:
    import wandb

    try:
        yield
    except (wandb.Error, ValueError) as error:
        raise ReportError(f"cannot save the {what}: {str(error).splitlines()[0]}") from error


class Panels(NamedTuple):
    """What is shown of a sweep."""

    keys: list[str]  # what was swept
    results: list[Any]
    curves: list[Any]
    comparison: list[Any]


def _panels(runs: Sequence[Any], comparisons: Sequence[Any]) -> Panels:
    from wandb_workspaces.reports import v2

    keys = swept([run.config for run in runs])
    logged = {name for run in runs for name in run.summary.keys()}  # noqa: SIM118 - it is no dict
    results = [name for name in RESULTS if name in logged]
    curves = [v2.LinePlot(title=name, x=STEP, y=[name]) for name in CURVES if name in logged]
    against = [
        panel
        for key in keys
        for name in results
        for panel in (
            v2.ScatterPlot(title=f"{name} against {key}", x=v2.Config(key), y=v2.SummaryMetric(name)),
            v2.BarPlot(title=f"{name}, mean by {key}", metrics=[name], groupby=v2.Config(key), groupby_aggfunc="mean"),
        )
    ]
    if not keys and results:
        against = [v2.BarPlot(title="accuracy of the linear probe", metrics=results)]
    shown: list[Any] = []
    if comparisons:
        shown = [v2.WeavePanelSummaryTable(table_name="runs")]
        if figures := sorted(key for key in comparisons[0].summary.keys() if key.startswith("figures/")):  # noqa: SIM118
            shown.append(v2.MediaBrowser(media_keys=figures))
    return Panels(keys, against, curves, shown)


def _blocks(entity: str, project: str, group: str, runs: Sequence[Any], comparisons: Sequence[Any]) -> list[Any]:
    from wandb_workspaces.reports import v2

    keys, against, curves, shown = _panels(runs, comparisons)

    def runset(name: str, job_is: str, groupby: Sequence[str] = ()) -> v2.Runset:
        only = f"Group == {group!r} and JobType {job_is} 'comparison'"
        return v2.Runset(entity=entity, project=project, name=name, filters=only, groupby=list(groupby))

    blocks: list[Any] = [v2.H1("Results"), v2.P(f"Swept: {', '.join(keys) or 'nothing but the seed'}.")]
    if against:
        blocks.append(v2.PanelGrid(runsets=[runset("runs", "!=")], panels=_in_rows(against, 2)))
    if curves:
        averaged = runset("runs, seeds averaged", "!=", [f"config.{key}" for key in keys])
        blocks += [v2.H1("Curves"), v2.PanelGrid(runsets=[averaged], panels=_in_rows(curves, len(curves)))]
    if shown:
        blocks += [v2.H1("Comparison"), v2.PanelGrid(runsets=[runset("comparison", "==")], panels=_in_rows(shown, 1))]
    differences = v2.PanelGrid(runsets=[runset("runs", "!=")], panels=_in_rows([v2.RunComparer(diff_only="split")], 1))
    return [*blocks, v2.H1("What differs"), differences]


def swept(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The dotted keys in which the configs of runs differ, other than the seed.

    Of an axis chosen differently (objective=mae, objective=simclr) the choice is named, `names.objective`, and not what
    follows from it.
    """
    flat = [dict(_leaves(config)) for config in configs]
    shared = set(flat[0]).intersection(*flat[1:])
    differ = {key for key in shared if any(leaves[key] != flat[0][key] for leaves in flat)}
    chosen = {key.removeprefix("names.") for key in differ if key.startswith("names.")}
    follows = (*NOT_IDENTITY, *chosen, "seed")
    return sorted(
        key for key in differ if key.startswith("names.") or not any(f"{key}.".startswith(f"{f}.") for f in follows)
    )


def _leaves(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """{"a": {"b": 1}} -> [("a.b", 1)]"""
    return [
        leaf
        for key, value in config.items()
        for leaf in (_leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)])
    ]


def _in_rows(panels: Sequence[Any], columns: int) -> list[Any]:
    """`panels`, laid out left to right and down."""
    from wandb_workspaces.reports import v2

    width, height = WIDTH // columns, 8 if columns > 1 else 12
    for i, panel in enumerate(panels):
        panel.layout = v2.Layout(x=i % columns * width, y=i // columns * height, w=width, h=height)
    return list(panels)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Make a W&B report of a sweep.")
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="where its runs are: my-team/ssl-runner")
    parser.add_argument("group", metavar="GROUP", help="the sweep's name")
    parser.add_argument("--workspace", action="store_true", help="a view of the project's workspace, not a report")
    return parser


if __name__ == "__main__":
    sys.exit(main())
