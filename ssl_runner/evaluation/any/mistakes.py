"""Figures of what a classifier confuses, and of its most confident mistakes."""

import numpy as np
import torch

from ssl_runner.figures import Bars, Clips, Figure, HeatMap, Passages, Pictures
from ssl_runner.interfaces import Data, ImageSpec, VideoSpec
from ssl_runner.nn.pictures import drawn_as, pictures
from ssl_runner.results.predictions import Predictions, confusion, mistakes

MANY = 20  # more classes than these are not drawn as a table
DRAWN = 8  # mistakes
MISTAKES = "mistakes"  # title of a figure that is drawn of the pretrained encoder alone
CONFUSED = 15  # pairs of classes


def figures_of(predictions: Predictions, data: Data) -> dict[str, Figure]:
    """Of the predictions on a split of `data`, or on texts of their own."""
    found: dict[str, Figure] = {}
    if len(predictions.label):
        found["confusion"] = _table(predictions) if len(predictions.names) <= MANY else _pairs(predictions)
    places = mistakes(predictions, DRAWN)
    shown = _shown(predictions, places, data) if len(places) else None
    if shown is not None:
        found[MISTAKES if np.isnan(predictions.probability).all() else "most confident mistakes"] = shown
    return found


def _table(predictions: Predictions) -> HeatMap:
    counts = confusion(predictions)
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(100 * counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    return HeatMap(
        rows=[str(name) for name in predictions.names],
        columns=[str(name) for name in predictions.names],
        values=shares,
        row_label="class",
        column_label="prediction",
        decimals=0,
        span=(0.0, 100.0),
        note="Of the test examples of each class (a row), the percentage that was given each class (a column).",
    )


def _pairs(predictions: Predictions) -> Bars:
    counts = confusion(predictions)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:CONFUSED]
    pairs = [divmod(int(place), len(counts)) for place in order if counts.flat[place]]
    return Bars(
        labels=[f"{predictions.names[one]}, called {predictions.names[other]}" for one, other in pairs] or ["none"],
        values={"test examples": [float(counts[pair]) for pair in pairs] or [0.0]},
        value_label="test examples",
        decimals=0,
        note=f"The most frequent confusions among {len(predictions.names)} classes.",
    )


def _shown(predictions: Predictions, places: np.ndarray, data: Data) -> Figure | None:
    said = [
        f"{predictions.names[predictions.label[place]]}, called {predictions.names[predictions.predicted[place]]}"
        + ("" if np.isnan(predictions.probability[place]) else f" ({100 * predictions.probability[place]:.0f}%)")
        for place in places
    ]
    note = "Test examples that were given a wrong class"
    note += "." if np.isnan(predictions.probability).all() else ", those of the highest probability first."
    if predictions.texts:
        return Passages({"text": [predictions.texts[place] for place in places], "class": said}, note)
    if not isinstance(data.spec, ImageSpec | VideoSpec):
        return None
    examples = data.spec.to_input(data.examples(predictions.split).data[torch.from_numpy(places)])
    drawn, note = pictures(examples), note + drawn_as(data.spec.channels)
    if isinstance(data.spec, VideoSpec):
        return Clips({"clip": drawn}, {"clip": said}, note)
    return Pictures({"image": drawn}, {"image": said}, note)
