"""What of a sweep still runs, as a part of its page: how far each run is, its loss so far, and the time left.

The page is a file that is written anew, and asks the browser to read it again: no server, no script. What is finished
costs seconds to draw, what runs a few milliseconds. So the first is drawn as runs finish, and the second put into it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ssl_runner.reporting.page import BODY, HEAD, templates
from ssl_runner.results.result import METRICS, ResultError, read_metrics

CURVE = "train/loss"
WIDTH, HEIGHT = 240, 48  # of a curve, in units of its picture
POINTS = 240  # of a curve, at most


class UnderWay(NamedTuple):
    """A run that is not finished."""

    label: str
    doing: str  # "pretraining"; "starting"
    progress: float  # of pretraining, in [0, 1]
    loss: float | None
    seconds_left: float | None  # of what it does
    curve: Sequence[tuple[float, float]]  # steps and losses


class Live(NamedTuple):
    """How far a sweep is."""

    running: Sequence[UnderWay]
    failed: Sequence[tuple[str, str]]  # label and reason
    finished: int
    waiting: int
    seconds_left: float | None  # of the whole sweep
    written: str  # when, by the clock of the machine
    every: int  # seconds after which a browser reads the page again


def put_into(page: str, live: Live | None) -> str:
    """The page of a comparison with what runs; without, where the sweep has ended."""
    if live is None:
        return page.replace(HEAD, "", 1).replace(BODY, "", 1)
    pictures = [polyline(each.curve) for each in live.running]
    part = templates().get_template("live.html.j2").render(live=live, pictures=pictures, size=(WIDTH, HEIGHT))
    head = f'<meta http-equiv="refresh" content="{live.every}">'
    return page.replace(HEAD, head, 1).replace(BODY, part, 1)


def curve_of(run: Path) -> list[tuple[float, float]]:
    """(step, loss) of a run so far, of at most `POINTS` steps evenly over all; none where there is none yet."""
    try:
        rows = read_metrics(run / METRICS)
    except ResultError:
        return []
    found = [(row["step"], row[CURVE]) for row in rows if CURVE in row and "step" in row]
    return found[:: max(1, -(-len(found) // POINTS))]


def polyline(curve: Sequence[tuple[float, float]]) -> str:
    """The points of an SVG polyline, the lowest loss at the bottom; "" for fewer than two, or a flat curve.

    >>> polyline([(0, 2.0), (10, 1.0)])
    '0.0,2.0 240.0,46.0'
    """
    finite = [(step, loss) for step, loss in curve if abs(loss) < float("inf")]
    if len(finite) < 2:
        return ""
    steps, losses = zip(*finite, strict=True)
    wide, high = steps[-1] - steps[0], max(losses) - min(losses)
    if not wide or not high:
        return ""
    places = (
        (WIDTH * (step - steps[0]) / wide, 2 + (HEIGHT - 4) * (max(losses) - loss) / high) for step, loss in finite
    )
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
