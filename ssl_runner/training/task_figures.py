"""Figures of a pretext task, as pictures or text: x, y and, if available, the prediction, by name and shape, or as the
objective says them in words."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_runner.data.any.tensors import chosen
from ssl_runner.figures import Clips, Passages, Pictures
from ssl_runner.interfaces import (
    Batch,
    Combines,
    Data,
    DataSpec,
    ImageSpec,
    InPieces,
    Objective,
    Predicts,
    SplitName,
    Tells,
    TellsInText,
    TextSpec,
    VideoSpec,
)  # fmt: skip
from ssl_runner.nn.pictures import drawn_as, pictures

EXAMPLES = 8  # of a picture
UNK, SEP, MASK, EOS = "\N{REPLACEMENT CHARACTER}", "|", "\N{FULL BLOCK}", "\N{PILCROW SIGN}"  # as they are drawn


def task_figure(objective: Objective, batch: Batch, spec: DataSpec, predict: bool) -> Pictures | Clips | Passages:
    """One `split` of a batch (data as input): the example, x, y, and if `predict` the prediction."""
    if isinstance(spec, TextSpec):
        return task_passages(objective, batch, spec, predict)
    return task_pictures(objective, batch, spec, predict)


def task_passages(objective: Objective, batch: Batch, spec: TextSpec, predict: bool) -> Passages:
    """Fields of one row of ids an example, (B, ...) int64, as text; a number an example as that number."""
    reader = Reader(spec)
    rows: dict[str, Sequence[str]] = {"example": [reader(ids) for ids in batch.data.tolist()]}
    for part in _parts(objective, batch, predict):
        if isinstance(part.task, TellsInText):
            rows |= _told_in_text(part, part.task, reader)
            rows.pop("example", None)
        else:
            rows |= _rows_of_text(part, reader)
    if any(row == rows.get("example") for name, row in rows.items() if name != "example"):
        del rows["example"]  # x or y shows it
    ends = "" if spec.special.eos is None else f"{EOS} the end of a sentence, "
    said = f"{MASK} a hidden token, {ends}{SEP} the end of a segment or document"
    return Passages(rows, f"{said}, {UNK} a word that the vocabulary lacks.")


def _told_in_text(part: "Part", task: TellsInText, reader: "Reader") -> dict[str, Sequence[str]]:
    """x, y or what is predicted, as the objective shows them; x as its text, where the objective does not show it."""
    if part.role == "x":
        said = task.passages(part.x, part.y, reader)
        own = {what: texts for what, texts in said.items() if what[0] == "x"}
        return own or _rows_of_text(part, reader)
    said = task.passages(part.x, part.value, reader)
    return {f"{part.name}{what[1:]}": texts for what, texts in said.items() if what[0] == "y"}


def _rows_of_text(part: "Part", reader: "Reader") -> dict[str, Sequence[str]]:
    """Fields of one row of ids an example as text; a number an example as that number, or as what it says."""
    rows: dict[str, Sequence[str]] = {}
    for name, field in _fields(part.name, part.value).items():
        if field.dtype != torch.int64 or len(field) != part.examples:
            continue
        if field.ndim == 1:
            rows[name] = _words(part, field)
        if field.ndim == 2:
            rows[name] = [reader(ids) for ids in field.tolist()]
    return rows


class Reader:
    """Token ids as text. What is no id (negative: not asked for) is left out, as padding is."""

    def __init__(self, spec: TextSpec) -> None:
        from tokenizers import Tokenizer

        special = spec.special
        self.vocabulary = spec.vocabulary
        self.marks = dict.fromkeys(special.ids, "")  # of what is drawn, not read
        self.marks |= {special.unk: UNK, special.sep: SEP, special.mask: MASK}
        if special.eos is not None:
            self.marks[special.eos] = EOS
        self.pad = special.pad
        self.tokenizer = Tokenizer.from_str(spec.tokenizer)

    def __call__(self, ids: Sequence[int]) -> str:
        shown: list[str] = []
        run: list[int] = []
        for each in [*ids, self.pad]:
            if each in self.marks or each >= self.vocabulary:
                shown += [self.tokenizer.decode(run), self.marks.get(each, "")]
                run = []
            elif each >= 0:
                run.append(each)
        return " ".join(filter(None, (piece.strip() for piece in shown)))


def task_pictures(objective: Objective, batch: Batch, spec: DataSpec, predict: bool) -> Pictures | Clips:
    """One `split` of a batch (data as input), a column an example: the example, x, y, if `predict` the prediction.

    Of clips, film strips; single frames among them are clips of one frame.
    """
    clips = isinstance(spec, VideoSpec)
    channels = spec.channels if isinstance(spec, ImageSpec) else 1
    count = len(batch.data)
    rows = {"example": pictures(batch.data if batch.data.ndim > 3 else _gray(batch.data))}
    words: dict[str, dict[str, Sequence[str]]] = {}  # by x that they are about
    for part in _parts(objective, batch, predict):
        if part.role == "x" and isinstance(part.task, InPieces):
            part = part._replace(value=part.task.apart(part.value))
        for name, field in _fields(part.name, part.value).items():
            rows |= _clip_rows(name, field, count) if clips else _rows(name, field, count, channels)
            if field.shape == (count,) and not field.is_floating_point():
                told = isinstance(part.task, Tells) and part.role == "y"
                words.setdefault(part.seen, {})["" if told else name] = _words(part, field)
    if any(np.array_equal(rows["example"], row) for name, row in rows.items() if name != "example"):
        del rows["example"]  # x or y shows it
    kind = Clips if clips else Pictures
    names = [name for each in words.values() for name in each]
    return kind(rows, _captions(rows, words), _sentence(rows, names) + drawn_as(channels))


def _captions(rows: Mapping[str, np.ndarray], words: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    """A text an example under the last picture of the x that it is about, or under the last one of all."""
    captions = {}
    for seen, said in words.items():
        under = [name for name in rows if name.startswith(seen)] or [name for name in rows if name[0] == "x"] or [*rows]
        each = zip(*said.values(), strict=True)
        captions[under[-1]] = [", ".join(map(_caption, said, texts)) for texts in each]
    return captions


def spread(data: Data, split: SplitName, count: int, device: torch.device) -> Batch:
    """A batch of `count` examples from evenly over a split (which may be ordered by class), as input."""
    n = len(data.examples(split).label)
    return chosen(data, split, torch.linspace(0, n - 1, min(count, n)).long(), device)


class Part(NamedTuple):
    """x, y or what is predicted of y, of an objective or of one of several."""

    name: str  # "x", "y of rotation"
    role: str  # "x", "y", "predicted"
    task: Objective[Any, Any]
    x: Any
    y: Any
    value: Any  # that of its role
    examples: int

    @property
    def seen(self) -> str:
        """The name of its x."""
        return f"x{self.name.removeprefix(self.role)}"


def _words(part: Part, field: Tensor) -> Sequence[str]:
    """A number an example in words, where the task has words for it."""
    if part.role != "x" and isinstance(part.task, Tells):
        return part.task.tell(field)
    return [str(number) for number in field.tolist()]


def _caption(name: str, said: str) -> str:
    if not name:
        return said
    if name.startswith("predicted"):
        return f"{name}: {said}"
    return f"{name.removeprefix('y of ')} = {said}"


def _parts(objective: Objective, batch: Batch, predict: bool) -> list[Part]:
    """x, y, and what is predicted of y, of each part where there are several; the objective's mode stays as it was."""
    training = objective.training
    objective.eval()
    with torch.no_grad():
        x, y = objective.split(batch)
        tasks = {"": (objective, x, y)}
        if isinstance(objective, Combines):
            each = zip(objective.combined().items(), x, y, strict=True)
            tasks = {f" of {name}": (task, its_x, its_y) for (name, task), its_x, its_y in each}
        parts = []
        for name, (task, its_x, its_y) in tasks.items():
            said = {"x": its_x, "y": its_y}
            if predict and isinstance(task, Predicts):
                said["predicted"] = task.predict(its_x)
            parts += [
                Part(f"{role}{name}", role, task, its_x, its_y, each, len(batch.data)) for role, each in said.items()
            ]
    objective.train(training)
    return parts


def _fields(part: str, value: object) -> dict[str, Tensor]:
    """The tensors of x or y by name: themselves, or a NamedTuple's fields."""
    if isinstance(value, Tensor):
        return {part: value}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {f"{part} {name}": field for name, field in zip(value._fields, value, strict=True)}
    raise TypeError(f"{part} is a {type(value).__name__}; it must be a tensor or a NamedTuple of tensors")


def _gray(vectors: Tensor) -> Tensor:
    """(n, N, D) -> (n, 1, N, D): as gray images, black at -3 and white at 3."""
    return (vectors[:, None] + 3) / 6


def _rows(name: str, field: Tensor, count: int, channels: int) -> dict[str, np.ndarray]:
    """Pictures of a field, if it holds any: (B, C, H, W), or (V, B, C, H, W) with a row a view. C: 1, 3 or `channels`,
    those of the data."""
    if not field.is_floating_point():
        return {}
    if field.ndim == 4 and len(field) == count and field.shape[1] in (1, 3, channels):
        return {name: pictures(field)}
    if field.ndim == 5 and field.shape[1] == count and field.shape[2] in (1, 3, channels):
        return {f"{name}, view {v + 1}": pictures(view) for v, view in enumerate(field)}
    return {}


def _clip_rows(name: str, field: Tensor, count: int) -> dict[str, np.ndarray]:
    """Strips of a field, if it holds any: (B, T, C, H, W), or one frame (B, C, H, W), or several clips of an example,
    (V, B, T, C, H, W), a row each."""
    if not field.is_floating_point() or field.ndim < 4 or field.shape[-3] not in (1, 3):
        return {}
    if field.ndim == 6 and field.shape[1] == count:
        return {f"{name}, clip {v + 1}": pictures(clips) for v, clips in enumerate(field)}
    if len(field) == count and field.ndim < 6:
        return {name: pictures(field if field.ndim == 5 else field[:, None])}
    return {}


def _sentence(rows: Mapping[str, np.ndarray], names: Sequence[str]) -> str:
    """What the picture shows, in words."""
    said = " and ".join(name or "the answer y" for name in names)
    return f"From above: {'; '.join(rows)}" + (f"; {said} below." if said else ".")
