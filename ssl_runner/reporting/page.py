"""Pages that show a run, or many: one file each, which loads nothing from elsewhere and runs no script.

The templates escape everything: names, captions and configs are text, never markup.
"""

import base64
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from ssl_runner.figures import Lines
from ssl_runner.reporting.axes import Axis
from ssl_runner.reporting.comparison import Column, Comparison, Setting
from ssl_runner.reporting.comparison_figures import (
    MOST_FIGURES,
    Panel,
    column_name,
    comparison_figures,
    datasets,
    differing,
    say_value,
    setting_name,
)
from ssl_runner.reporting.leaderboard import Search, main_column, search_of, verdict
from ssl_runner.reporting.leaderboard import best_first as rank
from ssl_runner.reporting.plots import DARK, LEAST_DRAWN, LIGHT, PARTS, draw, draw_svg, loss_curves
from ssl_runner.reporting.protocols import apart, elsewhere, quantity
from ssl_runner.reporting.rows import (
    NOTHING,
    Row,
    listed,
    report_rows,
    show,
    show_difference,
    show_interval,
    subject_name,
    subject_place,
    subjects,
    unit_word,
)
from ssl_runner.reporting.search_figures import search_figures, searched
from ssl_runner.reporting.tables import headlines
from ssl_runner.results.metrics import Better, Metric, Unit
from ssl_runner.results.result import (
    METRICS,
    PRETRAINED,
    RANDOM_START,
    REPORT,
    Evaluation,
    ResultError,
    Run,
    read_about,
    read_metrics,
    read_result,
    write_atomically,
)
from ssl_runner.results.values import text
from ssl_runner.runtime.progress import duration

HEAD, BODY = "<!-- read again -->", "<!-- under way -->"  # where `live` puts what still runs into a comparison
LONG_TABLE = 24  # settings; a longer table scrolls in a box of its own
LONG_PROTOCOL = 20  # lines; a longer one is folded away
SAME = 1e-6  # a relative difference of a curve's values that is rounding


class Shot(NamedTuple):
    """A figure ready for a page."""

    name: str
    kind: str  # of figures.py, in lower case: pictures, clips, scatter, lines, passages
    title: str
    note: str
    light: str  # base64 PNG
    dark: str  # "" where there is none
    text: str = ""  # of passages, which have no PNG
    moving: str = ""  # base64 GIF, of clips
    owner: str = ""  # the evaluation that it is part of: `Evaluation.owner`


class Drawing(NamedTuple):
    """A figure of a comparison, ready for its page."""

    title: str
    note: str
    svg: str


class Listing(NamedTuple):
    """The table of the settings on one dataset."""

    dataset: str
    axes: list[Axis]  # in which they differ
    common: str  # what they have in common, of what differs between the tables
    columns: list[Column]  # headlines
    others: list[Column]
    settings: list[Setting]
    ranked: str = ""  # the column by which settings are ranked, best first; empty: they are not


class Study(NamedTuple):
    """One evaluator: its results for all subjects."""

    title: str
    subjects: list[str]
    metrics: list[tuple[str, list[str]]]  # name, and a cell a subject
    protocol: list[tuple[str, str]]
    seconds: float | None
    shots: list[Shot]


def write_report(folder: Path) -> Path:
    """Write report.html from the files in a run's folder; missing parts are named. Returns its path.

    Raises ResultError where there is no readable result.json.
    """
    result = read_result(folder)
    shots = _shots(folder / "figures")
    rows, again = _once(report_rows(result))
    studies = [
        _study(name, found, [shot for shot in shots if shot.kind != "scatter" and shot.owner == found[0].owner])
        for name, found in _by_evaluation(result.results)
    ]
    beside = {shot.name for study in studies for shot in study.shots}
    loose = [shot for shot in shots if shot.name not in beside]
    curves, told, curves_note = _curves(folder / METRICS)
    config = folder / "config.yaml"
    page = (
        templates()
        .get_template("report.html.j2")
        .render(
            result=result,
            lead=_typeset(_lead(rows)),
            rows=rows,
            again=again,
            asked=_unbroken(_own_task(rows)),
            subjects=subjects(rows),
            task=[shot for shot in loose if shot.kind in ("pictures", "clips", "passages")],
            projection=[shot for shot in loose if shot.kind == "scatter"],
            others=[shot for shot in loose if shot.kind not in ("pictures", "clips", "scatter", "passages")],
            curves=curves,
            told=[_unbroken(line) for line in told],
            curves_note=curves_note,
            studies=studies,
            config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        )
    )
    return write_atomically(folder / REPORT, page)


def write_comparison(
    path: Path,
    comparison: Comparison,
    title: str = "Runs compared",
    problems: Sequence[str] = (),
    best_first: bool = True,
) -> Path:
    """Write a page that compares runs: what is ahead, tables and pictures, in which each point leads to its run's
    report.

    `problems`: a line for each run that was left out, besides what the comparison notes itself. `best_first`: whether
    settings are ranked by the first figure in which one is better, or by the one that a search was after; else they
    keep their order.
    """
    page = comparison_page(path, comparison, title, problems, best_first)
    return write_atomically(path, page.replace(HEAD, "", 1).replace(BODY, "", 1))


def comparison_page(
    path: Path, comparison: Comparison, title: str, problems: Sequence[str] = (), best_first: bool = True
) -> str:
    """The page of `write_comparison`, with the marks `HEAD` and `BODY`."""
    runs = [run for setting in comparison.settings for run in setting.runs.values()]
    links = {run.folder: _link(run.folder / REPORT, path.parent) for run in runs}
    links = {folder: link for folder, link in links.items() if link}
    panels = comparison_figures(comparison, links)
    search = search_of(comparison)
    history = search_figures(comparison, search, links) if search else []
    drawn = _drawings(panels[:MOST_FIGURES], "figure")
    by_dataset = datasets(comparison)
    return (
        templates()
        .get_template("compare.html.j2")
        .render(
            title=title,
            runs=len(runs),
            settings=len(comparison.settings),
            axes=comparison.axes,
            shared=_shared(runs),
            verdicts=[
                (dataset if len(by_dataset) > 1 else "", _unbroken(said))
                for dataset, settings in by_dataset.items()
                if (said := verdict(comparison, settings, differing(comparison.axes, settings), search))
            ],
            tables=[
                _listing(comparison, dataset, settings, search, best_first) for dataset, settings in by_dataset.items()
            ],
            searched=_unbroken(searched(comparison, search)) if search else "",
            history=_drawings(history, "search"),
            cells=comparison.cells,
            controlled=any(RANDOM_START in cell.controls for cell in comparison.cells.values()),
            operations=any(setting.cost("flops") is not None for setting in comparison.settings),
            seeds=max((len(setting.runs) for setting in comparison.settings), default=0),
            protocols=[(column, list(_flat(column.protocol))) for column in comparison.columns],
            links=links,
            drawings=drawn,
            more=len(panels) - len(drawn),
            problems=[*comparison.problems, *problems],
        )
    )


def _drawings(panels: Sequence[Panel], name: str) -> list[Drawing]:
    return [
        Drawing(panel.title, panel.figure.note, draw_svg(panel.figure, f"{name}-{place}"))
        for place, panel in enumerate(panels)
    ]


def _listing(
    comparison: Comparison, dataset: str, settings: list[Setting], search: Search | None, best_first: bool
) -> Listing:
    """The table of one dataset; the figure that a search was after stands first."""
    columns = _there(comparison, settings, headline=True)
    others = _there(comparison, settings, headline=False)
    if search is not None and search.column in others:
        columns, others = [search.column, *columns], [column for column in others if column != search.column]
    by = main_column(columns, search) if best_first else None
    return Listing(
        dataset=dataset,
        axes=differing(comparison.axes, settings),
        common=setting_name(settings[0], _common(comparison.axes, settings)),
        columns=columns,
        others=others,
        settings=rank(comparison, settings, by),
        ranked=column_name(by) if by is not None and len(settings) > 1 else "",
    )


def _there(comparison: Comparison, settings: Sequence[Setting], headline: bool) -> list[Column]:
    """The columns in which these settings have a number; of headlines those that compare."""
    shown = {column.key for column in headlines(comparison)}
    return [
        column
        for column in comparison.columns
        if (column.key in shown) == headline
        and any((setting.label, column.key) in comparison.cells for setting in settings)
    ]


def _common(axes: Sequence[Axis], settings: Sequence[Setting]) -> list[Axis]:
    return [axis for axis in axes if axis.key != "dataset" and axis not in differing(axes, settings)]


def _shared(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """The names that all runs have in common."""
    names = [asdict(run.result.name) for run in runs]
    return [(key, names[0][key]) for key in ("dataset", "objective", "backbone") if len({n[key] for n in names}) == 1]


def _seconds(setting: Setting) -> str:
    """What pretraining took, on average over the seeds that measured it."""
    seconds = setting.cost("seconds")
    return NOTHING if seconds is None else took(seconds.mean)


def _operations(setting: Setting) -> str:
    """What pretraining computed, on average over the seeds."""
    found = setting.cost("flops")
    return NOTHING if found is None else _typeset(flops(found.mean))


def templates() -> jinja2.Environment:
    """What renders the templates of pages."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ssl_runner.reporting", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": duration,
        "took": took,
        "flops": lambda number: _typeset(flops(number)),
        "count": lambda number: _typeset(f"{number:,.0f}" if abs(number) >= 100 else f"{number:.4g}"),
        "typeset": _typeset,
        "subject": subject_name,
        "say": say,
        "column_name": column_name,
        "setting_name": setting_name,
        "interval": lambda interval, unit: _typeset(show_interval(unit, interval, sign="")),
        "say_value": say_value,
        "seconds": _seconds,
        "operations": _operations,
        "unit_word": unit_word,
        "moment": lambda iso: iso[:16].replace("T", " "),
    }
    environment.globals |= {
        "colors": {"light": LIGHT, "dark": DARK},
        "LONG_PROTOCOL": LONG_PROTOCOL,
        "LONG_TABLE": LONG_TABLE,
        "BODY": Markup(BODY),
        "HEAD": Markup(HEAD),
        "NOTHING": NOTHING,
        "PRETRAINED": PRETRAINED,
        "RANDOM_START": RANDOM_START,
        "LOWER": Better.LOWER,
        "SHARE": Unit.SHARE,
    }
    return environment


def flops(number: float) -> str:
    """A number of operations in the unit that suits it.

    >>> flops(0), flops(22_847_283_200), flops(1.2e18)
    ('0 FLOPs', '22.8 GFLOPs', '1200 PFLOPs')
    """
    step = 0
    while number >= 999.5 and step < 5:
        number, step = number / 1000, step + 1
    return f"{number:.{4 if number >= 999.5 else 3}g} {('', 'K', 'M', 'G', 'T', 'P')[step]}FLOPs"


def took(seconds: float) -> str:
    """A measured span of time: a short one in tenths of a second.

    >>> took(0.42), took(75), took(7500)
    ('0.4 s', '1 min 15 s', '2 h 5 min')
    """
    if not math.isfinite(seconds):
        return "not a number"
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def _once(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Rows without those that hold the numbers of an earlier one again, and a sentence for each that is left out."""
    kept: list[Row] = []
    again: dict[str, list[str]] = {}
    for row in rows:
        same = (each for each in kept if len(row.values) > 1 and row.values.items() <= each.values.items())
        first = next(same, None)
        if first is None or first.unit is not row.unit or row.baseline != first.baseline:
            kept.append(row)
        else:
            again.setdefault(first.label, []).append(row.label)
    return kept, [f"The same as {first}: {'; '.join(others)}." for first, others in again.items()]


def _lead(rows: Sequence[Row]) -> str:
    """The verdict in a sentence: the figure, each control with the difference, and whether it exceeds them."""
    told = [row for row in rows if PRETRAINED in row.values]
    if not told:
        return "Nothing was evaluated."
    row = next((row for row in told if row.better.sign), told[0])
    said = f"{row.label[0].upper()}{row.label[1:]} is {row.shown(PRETRAINED)}"
    against = [*_against(row)]
    if not against:
        return f"{said}. There is no control to compare it with."
    beside = listed(against)
    if not row.better.sign:
        return f"{said}, {beside}; neither higher nor lower is better."
    beats = "exceeds" if row.better is Better.HIGHER else "is below"
    if not row.verdict:
        return f"{said}, {beside}: it {beats} {'its control' if len(against) == 1 else 'all of its controls'}."
    if math.isnan(row.values[PRETRAINED]):
        return f"{said}; {beside}."
    does_not = "exceed" if row.better is Better.HIGHER else "fall below"
    return f"{said}, {beside}: it does not {does_not} {row.unbeaten_words}."


def _against(row: Row) -> Iterator[str]:
    """Each control: "3.0 points above random start (90.2 %)"."""
    controls = [(subject_name(subject), value) for subject, value in row.controls.items()]
    for name, value in [*controls, *([row.baseline] if row.baseline else [])]:
        difference = show_difference(row.unit, row.values[PRETRAINED], value)
        shown = show(row.unit, value)
        if show(row.unit, row.values[PRETRAINED]) == shown:
            yield f"as {name} ({shown})"
        elif difference == NOTHING:
            yield f"{name} {shown}"
        else:
            yield f"{difference[1:]} {'above' if difference[0] == '+' else 'below'} {name} ({shown})"


def _own_task(rows: Sequence[Row]) -> str:
    """How often held-out answers to the task itself were right, beside chance; empty where nobody asked."""
    said = [
        f"{row.address.metric.replace('_', ' ')} {row.shown(PRETRAINED)} ({row.shown_baseline})"
        for row in rows
        if row.address.evaluator == "pretext" and row.baseline and PRETRAINED in row.values
    ]
    return f"On held-out examples: {'; '.join(said)}." if said else ""


def _by_evaluation(results: Sequence[Evaluation]) -> list[tuple[str, list[Evaluation]]]:
    """Evaluations of one owner together, called by their evaluator, the data and what tells those of one name apart."""
    owners: dict[str, list[Evaluation]] = {}
    for found in results:
        owners.setdefault(found.owner, []).append(found)
    alike: dict[str, list[list[Evaluation]]] = {}
    for of_owner in owners.values():
        alike.setdefault(of_owner[0].evaluator, []).append(of_owner)
    studies = []
    for evaluator, several in alike.items():
        told = apart([{**elsewhere(each[0].on), **each[0].protocol.terms} for each in several])
        for differs, each in zip(told, several, strict=True):
            said = {**elsewhere(each[0].on), **differs}
            words = [evaluator.replace("_", " "), *(f"{key} {say(value)}" for key, value in said.items())]
            studies.append((", ".join(words), each))
    return studies


def _study(title: str, found: Sequence[Evaluation], shots: list[Shot]) -> Study:
    by_subject = {evaluation.subject: evaluation for evaluation in found}
    there = [s for s in (PRETRAINED, RANDOM_START) if s in by_subject]
    there += [s for s in by_subject if s not in there]
    lines: dict[tuple[Any, ...], dict[str, Metric]] = {}  # by quantity and subject
    for subject in there:
        for metric in by_subject[subject].metrics:
            lines.setdefault(quantity(metric), {})[subject] = metric
    protocols = {s: by_subject[s].protocol for s in there}
    return Study(
        title=title,
        subjects=there,
        metrics=[  # headlines stand above
            (_metric_name(next(iter(of.values()))), [_cell(of.get(subject)) for subject in there])
            for of in lines.values()
            if not next(iter(of.values())).shown
        ],
        protocol=[
            *_lines({s: each.terms for s, each in protocols.items()}),
            *_lines({s: {"chosen on val": each.chosen} for s, each in protocols.items() if each.chosen}),
            *_lines({s: each.measured for s, each in protocols.items()}),
            *_lines({s: by_subject[s].on.settings for s in there}),
            *_lines({s: {"precision": by_subject[s].precision.evaluation} for s in there}),
        ],
        seconds=by_subject[there[0]].seconds,
        shots=shots,
    )


def _metric_name(metric: Metric) -> str:
    """A metric in words: "accuracy on val, labels=0.01"."""
    told = [f"{key.replace('_', ' ')}={text(value)}" for key, value in metric.condition.items()]
    where = "" if metric.split == "test" else f" on {metric.split}"
    return ", ".join([metric.name.replace("_", " ") + where, *told])


def _cell(metric: Metric | None) -> str:
    return NOTHING if metric is None else _typeset(show(metric.unit, metric.value))


def _lines(protocols: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """A line a key; where subjects differ (a setting chosen for each), whose value is whose."""
    flat = {subject: dict(_flat(protocol)) for subject, protocol in protocols.items()}
    lines = []
    for key in dict.fromkeys(key for protocol in flat.values() for key in protocol):
        values = {subject: say(protocol[key]) for subject, protocol in flat.items() if key in protocol}
        if len(set(values.values())) == 1 and len(values) == len(flat):
            told = next(iter(values.values()))
        else:
            told = ", ".join(f"{value} ({subject_name(subject)})" for subject, value in values.items())
        lines.append((key, told))
    return lines


def _flat(protocol: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in protocol.items():
        name = f"{above}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}, ")
        else:
            yield name, value


def say(value: object) -> str:
    """A value of a protocol in words.

    >>> say(True), say(None), say([0.1, 1]), say("")
    ('yes', 'none', '0.1, 1', 'none')
    """
    match value:
        case bool():
            return "yes" if value else "no"
        case None | "" | [] | ():
            return "none"
        case float():
            return f"{value:.6g}"
        case list() | tuple():
            return ", ".join(say(part) for part in value)
        case Mapping():
            return ", ".join(f"{key} {say(part)}" for key, part in value.items())
        case _:
            return str(value)


def _curves(path: Path) -> tuple[list[Shot], list[str], str]:
    """Drawn panels, a line for each of those that a line says whole, and a sentence on what is missing."""
    try:
        rows = read_metrics(path)
    except ResultError as error:
        missing = "was not written" if not path.exists() else f"cannot be read: {error}"
        return [], [], f"{METRICS} {missing}, so no curves are drawn."
    lost = sorted({name for row in rows for name, value in row.items() if not math.isfinite(value)})
    note = f"Not finite at some steps, and not drawn there: {', '.join(lost)}." if lost else ""
    panels, again = _different(loss_curves(rows))
    told = {name: _told(name.replace("_", " "), lines) for name, lines in panels.items()}
    shots = [
        Shot(name, "lines", name.replace("_", " "), lines.note, _encode(draw(lines)), _encode(draw(lines, DARK)))
        for name, lines in panels.items()
        if not told[name]
    ]
    return shots, [*again, *(line for line in told.values() if line)], note if panels else f"{METRICS} holds no rows."


def _different(panels: Mapping[str, Lines]) -> tuple[dict[str, Lines], list[str]]:
    """Panels without those whose curves are those of an earlier one again, and a line for each that is left out."""
    kept: dict[str, Lines] = {}
    again = []
    for name, lines in panels.items():
        curves = repr(sorted(lines.y.items()))
        first = next((other for other, each in kept.items() if repr(sorted(each.y.items())) == curves), None)
        if first is None:
            kept[name] = lines
        else:
            again.append(f"{name.replace('_', ' ')}: as {first.replace('_', ' ')}")
    return kept, again


def _told(name: str, lines: Lines) -> str:
    """A panel as a line of text where it shows no more than that: a constant, or up to two points a curve."""
    points = {
        curve: [(x, y) for x, y in zip(lines.x, values, strict=True) if math.isfinite(y)]
        for curve, values in {**lines.y, **lines.references}.items()
    }
    points = {curve: found for curve, found in points.items() if found}
    ends = {curve: (min(y for _, y in found), max(y for _, y in found)) for curve, found in points.items()}
    whose = {curve: f" ({curve})" if curve in PARTS or len(points) > 1 else "" for curve in points}
    if points and all(high - low <= SAME * max(abs(low), abs(high)) for low, high in ends.values()):
        values = {curve: f"{low:.4g}" for curve, (low, _) in ends.items()}
        alike = len(set(values.values())) == 1
        told = ", ".join(
            [value + whose[curve] * (not alike) for curve, value in values.items()][: 1 if alike else None]
        )
        return f"{name}: {told}{' throughout' if any(len(found) > 1 for found in points.values()) else ''}"
    if any(len(found) >= LEAST_DRAWN for found in points.values()):
        return ""
    each = (", ".join(f"{y:.4g} at step {x:,.0f}" for x, y in found) + whose[curve] for curve, found in points.items())
    return f"{name}: {'; '.join(each)}" if points else ""


def _shots(folder: Path) -> list[Shot]:
    """What `save_figure` wrote, in order. A file without a readable sidecar is shown under its name."""
    placed = []
    for file in sorted([*folder.glob("*.png"), *folder.glob("*.txt")]):
        passages = file.read_text(encoding="utf-8", errors="replace") if file.suffix == ".txt" else ""
        about = read_about(file.with_suffix(".json"))
        owner, subject = (str(about.get(key, "")) for key in ("owner", "subject"))
        try:
            order, kind, title, note = (about[key] for key in ("order", "kind", "title", "note"))
        except KeyError:
            kind = "passages" if passages else "pictures"
            order, title, note = math.inf, file.stem, "Its caption cannot be read."
        dark = folder / "dark" / file.name
        dark_png = _encode(dark.read_bytes()) if dark.is_file() else ""
        light = "" if file.suffix == ".txt" else _encode(file.read_bytes())
        gif = file.with_suffix(".gif")
        moving = _encode(gif.read_bytes()) if gif.is_file() else ""
        shot = Shot(file.stem, kind, title, note, light, dark_png, passages, moving, owner)
        placed.append(((order, subject_place(subject)), shot))
    return [shot for _, shot in sorted(placed, key=lambda place: place[0])]


def _encode(image: bytes) -> str:
    return base64.b64encode(image).decode()


def _link(report: Path, start: Path) -> str:
    """A relative URL, "" where there is no report."""
    return quote(Path(os.path.relpath(report, start)).as_posix()) if report.is_file() else ""


def _typeset(text: str) -> str:
    """Signs and spaces of numbers as a page wants them: a true minus, no break before %."""
    if text == NOTHING:
        return "\N{EN DASH}"
    return _unbroken(text.replace("-", "\N{MINUS SIGN}"))


def _unbroken(text: str) -> str:
    """A sentence without a break before %; its hyphens stay."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")
