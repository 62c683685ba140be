"""Samples from an objective with a prior: their distance from real images, and pictures."""

from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ssl_runner.data.any.tensors import chosen
from ssl_runner.evaluation.any.energy import energy_distance
from ssl_runner.evaluation.any.subject import TOLD, evaluating, seeded
from ssl_runner.figures import Pictures
from ssl_runner.interfaces import Batch, Finding, Generates, Inspection, Objective, SplitName, Subject
from ssl_runner.nn.pictures import drawn_as, pictures
from ssl_runner.results.metrics import Better, Metric, Protocol, Unit, description

EXTREME = 0.02  # the manifold is drawn from this quantile of the prior to the same from above


class Samples(Inspection):
    """Draw codes from the prior, and compare the images with those of "test" and of "val" as two clouds of points.

        energy distance = 2 E|s - t| - E|s - s'| - E|t - t'|,   s, s' samples, t, t' of the split, pixels in [0, 1]

    It is 0 if both are of one distribution, and only then (Szekely, Rizzo 2013, "Energy Statistics",
    https://doi.org/10.1016/j.jspi.2013.03.018); `energy_distance_train` is that of "train", which perfect samples would
    have but for chance. Up to `examples` of each, drawn by the seed. Samples are expected images, without the noise of
    their pixels. Pictures: samples; straight lines between the codes of two test images; for a code of two numbers all
    of it, in equal steps of probability.
    """

    presentation: ClassVar[frozenset[str]] = frozenset({"rows", "columns"})

    def __init__(self, *, examples: int, rows: int, columns: int) -> None:
        for key, value, least in (("examples", examples, 2), ("rows", rows, 1), ("columns", columns, 2)):
            if value < least:
                raise ValueError(f"evaluation.samples.{key} is {value}; it must be at least {least}")
        self.examples = examples
        self.rows = rows
        self.columns = columns

    def __call__(self, objective: Generates, subject: Subject) -> Finding:
        task = cast(Objective[Any, Any], objective).to(subject.device)
        with evaluating(task), seeded(subject.seed), torch.inference_mode():
            test, train = self._drawn(subject, "test"), self._drawn(subject, "train")
            samples = objective.sample(len(test.data)).float()
            drawn = {"test": test.data, "val": self._drawn(subject, "val").data}
            codes = objective.encode(task.split(test._replace(data=test.data[: 2 * self.rows]))[0])
            figures = {
                "samples from the prior": self._samples(samples),
                "between two images": self._between(objective, test.data, codes),
            }
            if codes.shape[1] == 2:
                figures["manifold"] = self._manifold(objective, codes.device)
        metrics = [
            metric
            for split in TOLD
            for metric in (
                Metric(
                    name="energy_distance",
                    value=energy_distance(samples, drawn[split]),
                    unit=Unit.PLAIN,
                    better=Better.LOWER,
                    headline=True,
                    split=split,
                ),
                description("energy_distance_train", energy_distance(train.data, drawn[split]), split=split),
            )
        ]
        return Finding(
            metrics,
            Protocol(
                terms={"method": "samples from the prior", "compared": "expected images, all pixels in [0, 1]"},
                measured={
                    **{f"{split} examples": len(drawn[split]) for split in TOLD},
                    "samples": len(samples),
                    "seed": subject.seed,
                },
            ),
            figures,
        )

    def _drawn(self, subject: Subject, split: SplitName) -> Batch:
        """Random examples of a split, as input, on the subject's device."""
        index = torch.randperm(len(subject.data.examples(split).label))[: self.examples]
        return chosen(subject.data, split, index, subject.device)

    def _samples(self, samples: Tensor) -> Pictures:
        chunks = samples[: self.rows * self.columns].split(self.columns)
        rows = {f"row {i + 1}": pictures(chunk) for i, chunk in enumerate(chunks)}
        note = "Images decoded from codes drawn from the prior."
        return Pictures(rows, note=note + drawn_as(samples.shape[1]))

    def _between(self, objective: Generates, images: Tensor, codes: Tensor) -> Pictures:
        share = torch.linspace(0, 1, self.columns, device=codes.device)[:, None]
        rows = {}
        for i in range(len(codes) // 2):
            a, b = codes[2 * i], codes[2 * i + 1]
            steps = objective.decode((1 - share) * a + share * b).float()
            rows[f"pair {i + 1}"] = pictures(torch.cat([images[2 * i, None], steps, images[2 * i + 1, None]]))
        note = "Left and right: test images; between them: images decoded along the straight line between their codes."
        return Pictures(rows, note=note + drawn_as(images.shape[1]))

    def _manifold(self, objective: Generates, device: torch.device) -> Pictures:
        quantiles = torch.linspace(EXTREME, 1 - EXTREME, self.columns, device=device)
        axis = torch.special.ndtri(quantiles)
        rows, channels = {}, 1
        for second in axis.flip(0):
            z = torch.stack([axis, second.expand_as(axis)], dim=1)
            decoded = objective.decode(z)
            rows[f"second number {second:.2f}"], channels = pictures(decoded), decoded.shape[1]
        note = "Images of all codes, in equal steps of the prior's probability; the first number grows to the right."
        return Pictures(rows, note=note + drawn_as(channels))
