"""Minimal pairs: whether a language model prefers the acceptable one of two sentences. n pairs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from ssl_runner.data.any.progress import tracked
from ssl_runner.evaluation.any.subject import evaluating
from ssl_runner.evaluation.text.data import encodings, fingerprint, padded, read_text, tokenizer_of
from ssl_runner.evaluation.text.reading import text_spec
from ssl_runner.evaluation.text.tokens import beginning, ending
from ssl_runner.figures import HeatMap
from ssl_runner.interfaces import DataSpec, Finding, Inspection, PredictsHidden, PredictsNext, Subject, TextSpec
from ssl_runner.results.metrics import Better, Metric, Protocol, share

KEY = "evaluation.minimal_pairs"
EQUAL = 1e-4  # nats: scores that differ by less are a tie; sums of float32 are not exact
SUFFIX = ".jsonl"

MERGED = {"s-selection": "argument_structure"}  # a term of BLiMP's files -> the phenomenon that the paper counts it to
# Table 3 of Warstadt et al. 2020, percent, in the order of PHENOMENA. Their repository has a later GPT-2: 83.0 in all.
PAPER = {
    "5-gram": (47.9, 71.9, 64.4, 68.5, 70.0, 36.9, 60.2, 79.5, 57.2, 45.5, 53.5, 60.3),
    "LSTM": (91.7, 73.2, 73.5, 67.0, 85.4, 67.6, 73.9, 89.1, 46.6, 51.7, 64.5, 80.1),
    "Transformer-XL": (94.1, 72.2, 74.7, 71.5, 83.0, 77.2, 66.6, 78.2, 48.4, 55.2, 69.3, 76.0),
    "GPT-2": (99.6, 78.3, 80.1, 80.5, 93.3, 86.6, 81.3, 84.1, 70.6, 78.9, 71.3, 89.0),
    "people": (97.5, 90.0, 87.3, 83.9, 92.2, 85.0, 86.9, 97.0, 84.9, 88.1, 86.6, 90.9),
}
PHENOMENA = (
    "anaphor_agreement", "argument_structure", "binding", "control_raising", "determiner_noun_agreement", "ellipsis",
    "filler_gap_dependency", "irregular_forms", "island_effects", "npi_licensing", "quantifiers",
    "subject_verb_agreement",
)  # fmt: skip


class Pair(NamedTuple):
    phenomenon: str
    good: str
    bad: str


class Scored(NamedTuple):
    """What is known of n pairs, (n,) each."""

    right: Tensor  # float64: 1 where the acceptable sentence scores higher, 1/2 in a tie
    tie: Tensor  # bool
    known: Tensor  # bool: no token of either sentence is [UNK]
    even: Tensor  # bool: both sentences have as many tokens
    cut: Tensor  # bool: a sentence was longer than what is read


class MinimalPairs(Inspection):
    """The share of pairs whose acceptable sentence has the higher score.

        score(s) = sum over n of log p(s_n | s_1 ... s_{n-1})          of objectives that predict the next token
                   sum over n of log p(s_n | all other tokens of s)    of those that predict hidden ones

    Scores within 1e-4 nats are a tie, which counts half: so a model that scores by length alone, as a uniform one, gets
    half of the pairs of equal length. `score=mean`: per token. A sentence stands where one of the corpus does: after
    [CLS], or after the end of a sentence; of objectives that predict the next token its own end counts as a token of
    it, where ends are marked. Tokens beyond `length` (`reading.text_spec`) are not scored.

    Warstadt, Parrish, Liu, Mohananey, Peng, Wang, Bowman 2020, "BLiMP", https://arxiv.org/abs/1912.00582;
    pseudo-log-likelihood: Salazar, Liang, Nguyen, Kirchhoff 2020, https://arxiv.org/abs/1910.14659.
    Metrics: accuracy, over all pairs and by phenomenon, each also over the pairs all of whose words are known; over
    those with an unknown word, and those of unequal length; coverage, the share of pairs of known words; ties, their
    share. The set is published as a whole, and no part of it is "val".
    """

    reads: ClassVar[type[DataSpec]] = TextSpec
    presentation: ClassVar[frozenset[str]] = frozenset({"path", "batch_size"})

    def __init__(
        self,
        *,
        path: str,
        good: str,
        bad: str,
        phenomenon: str | None,
        pairs: int | None,
        score: Literal["sum", "mean"],
        length: int,
        batch_size: int,
    ) -> None:
        if score not in ("sum", "mean"):
            raise ValueError(f"{KEY}.score is {score!r}; it must be sum or mean")
        for key, value, least in (("pairs", pairs, 1), ("length", length, 3), ("batch_size", batch_size, 1)):
            if value is not None and value < least:
                raise ValueError(f"{KEY}.{key} is {value}; it must be at least {least}")
        self.files = pair_files(path)
        self.contents = {"path": {file.name: file for file in self.files}}
        keys = {"good": good, "bad": bad} | ({} if phenomenon is None else {"phenomenon": phenomenon})
        self.pairs = [pair for file in self.files for pair in read_pairs(file, keys)[:pairs]]
        self.score = score
        self.length = length
        self.batch_size = batch_size

    def __call__(self, objective: PredictsNext | PredictsHidden, subject: Subject) -> Finding:
        spec = text_spec(subject, self.length)
        begin = beginning(spec, subject.data.examples("test").data) or [spec.special.sep]
        if isinstance(objective, PredictsHidden):
            begin = [spec.special.cls]
        scored = self._scored(objective, subject, spec, begin)
        names = [MERGED.get(each.phenomenon, each.phenomenon) for each in self.pairs]
        by_phenomenon = {name: torch.tensor([each == name for each in names]) for name in sorted(set(names))}
        return Finding(
            list(metrics_of(scored, by_phenomenon)),
            Protocol(
                terms={"method": "minimal pairs", "files": fingerprint(self.files)},
                measured={
                    "examples": len(self.pairs),
                    "given": "all other tokens" if isinstance(objective, PredictsHidden) else "earlier tokens",
                    "of unequal length": round((~scored.even).double().mean().item(), 4),
                    "read": spec.length,
                    "cut": round(scored.cut.double().mean().item(), 4),
                    "seed": subject.seed,
                },
            ),
            figures={"phenomena": drawn(scored, by_phenomenon)},
        )

    def _scored(self, objective: Any, subject: Subject, spec: TextSpec, begin: list[int]) -> Scored:
        columns = [[each.good for each in self.pairs], [each.bad for each in self.pairs]]
        texts = [[each.ids for each in encodings(tokenizer_of(spec), column)] for column in columns]
        room = spec.length - len(begin) - 1
        rows = [
            [*begin, *ids[:room], *(ending(spec, begin) if len(ids) <= room else [])] for ids in [*texts[0], *texts[1]]
        ]
        score = sentence_scores(objective, rows, spec, subject.device, self.batch_size)
        tokens = torch.tensor([max(1, len(row) - len(begin)) for row in rows])
        good, bad = (score / tokens if self.score == "mean" else score).chunk(2)
        tie = (good - bad).abs() < EQUAL
        unk = spec.special.unk
        return Scored(
            right=torch.where(tie, 0.5, (good > bad).double()),
            tie=tie,
            known=torch.tensor([unk not in a and unk not in b for a, b in zip(*texts, strict=True)]),
            even=torch.tensor([len(a) == len(b) for a, b in zip(*texts, strict=True)]),
            cut=torch.tensor([max(len(a), len(b)) > room for a, b in zip(*texts, strict=True)]),
        )


def sentence_scores(
    objective: PredictsNext | PredictsHidden,
    rows: Sequence[Sequence[int]],
    spec: TextSpec,
    device: torch.device,
    batch_size: int,
) -> Tensor:
    """(n,) float64: the sum over each row of the log-probabilities of its tokens, of all but the first.

    Raises ValueError where one is not finite."""
    model = cast(nn.Module, objective).to(device)
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))  # rows of like length together
    found = torch.empty(len(rows), dtype=torch.float64)
    with evaluating(model), torch.inference_mode():
        for first in tracked(range(0, len(order), batch_size), "sentences"):
            places = order[first : first + batch_size]
            tokens = padded([rows[place] for place in places], spec.special.pad).long().to(device)
            if isinstance(objective, PredictsHidden):
                nats = objective.pseudo_log_likelihood(tokens)
            else:
                nats = objective.log_likelihood(tokens)
            found[places] = nats.double().sum(dim=1).cpu()
    if not found.isfinite().all():
        raise ValueError("a sentence has probability 0 or NaN: the scores of minimal pairs are not finite")
    return found


def metrics_of(scored: Scored, by_phenomenon: Mapping[str, Tensor]) -> list[Metric]:
    every = torch.ones_like(scored.tie)
    found = [share("accuracy", mean(scored.right, every), headline=True)]
    apart = {"words": {"known": scored.known, "unknown": ~scored.known}, "tokens": {"unequal": ~scored.even}}
    for what, parts in apart.items():
        found += [
            share("accuracy", mean(scored.right, part), condition={what: name})
            for name, part in parts.items()
            if part.any()
        ]
    found += [
        share("coverage", mean(scored.known, every), better=Better.NEITHER),
        share("ties", mean(scored.tie, every), better=Better.NEITHER),
    ]
    for name, part in by_phenomenon.items():
        of: dict[str, str | int | float] = {"phenomenon": name}
        found += [
            share("accuracy", mean(scored.right, part), condition=of),
            share("coverage", mean(scored.known, part), better=Better.NEITHER, condition=of),
        ]
        if (part & scored.known).any():
            known = of | {"words": "known"}
            found.append(share("accuracy", mean(scored.right, part & scored.known), condition=known))
    return found


def mean(values: Tensor, of: Tensor) -> float:
    """The mean of (n,) values over some pairs, (n,) bool; nan of none."""
    return values[of].double().mean().item()


def drawn(scored: Scored, by_phenomenon: Mapping[str, Tensor]) -> HeatMap:
    """Accuracy by phenomenon, of the model and, of BLiMP's phenomena, of the paper's."""
    columns = {
        "all pairs": [mean(scored.right, part) for part in by_phenomenon.values()],
        "known words": [mean(scored.right, part & scored.known) for part in by_phenomenon.values()],
    }
    blimp = tuple(by_phenomenon) == PHENOMENA
    values = np.array([[100 * value for value in column] for column in columns.values()])
    if blimp:
        values = np.concatenate([values, np.array(list(PAPER.values()))])
    return HeatMap(
        rows=[name.replace("_", " ") for name in by_phenomenon],
        columns=[*columns, *(f"{name}, paper" for name in (PAPER if blimp else ()))],
        values=values.T,
        row_label="phenomenon",
        column_label="accuracy, %",
        span=(0, 100),
        note="Pairs whose acceptable sentence is the more probable one; chance is 50 %, and a tie counts half."
        + (" Beside it what the paper reports of models of far more text, and of people." if blimp else ""),
    )


# --------------------------------------------------------------------------------------------------------------- files


def pair_files(path: str) -> list[Path]:
    """The file, or the files in the folder. Raises ValueError where there are none."""
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise ValueError(
            f"{KEY}.path is {path!r}, which does not exist; set it to a {SUFFIX} file or a folder of these"
        )
    files = sorted(each for each in place.iterdir() if each.suffix == SUFFIX and each.is_file())
    if not files:
        raise ValueError(f"{KEY}.path is {path!r}, a folder without {SUFFIX} files; set it to the folder that has them")
    return files


def read_pairs(file: Path, keys: Mapping[str, str]) -> list[Pair]:
    """The pairs of a file. `keys`: setting -> key of a line. Raises ValueError, with the line, for another form."""
    found = []
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where} is not JSON: {error.msg}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{where} is not a JSON object; it must have the keys {', '.join(keys.values())}")
        for setting, key in keys.items():
            if key not in row:
                raise ValueError(f"{where} has no {key!r}, which {KEY}.{setting} names; it has {', '.join(row)}")
            if not isinstance(row[key], str) or not row[key].strip():
                raise ValueError(f"{where}: {key!r} is {row[key]!r}; it must be text")
        phenomenon = row[keys["phenomenon"]] if "phenomenon" in keys else file.stem
        found.append(Pair(phenomenon, row[keys["good"]], row[keys["bad"]]))
    if not found:
        raise ValueError(f"{file} has no pairs")
    return found
