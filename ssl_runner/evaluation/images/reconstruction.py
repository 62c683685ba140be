"""Reconstruction of whole images from visible parts."""

from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from ssl_runner.evaluation.any.subject import TOLD, batches, evaluating, seeded, sizes
from ssl_runner.figures import Pictures
from ssl_runner.interfaces import Finding, ImageSpec, Inspection, Objective, Reconstructs, Subject
from ssl_runner.nn.pictures import drawn_as, pictures
from ssl_runner.results.metrics import (
    Better,
    Metric,
    Protocol,
    Split,
    Unit,
    description,
)

CHUNK = 512  # examples at once, for the mean image

SHOWN = "Test images, their visible part, and the reconstruction."


class Reconstruction(Inspection):
    """Mask each image of a split as in training, with a fixed seed, reconstruct it, and compare the hidden values.

    Which values were hidden is the objective's to say (`Reconstructs.hidden`): holes, hidden patches, colors, or all
    of the image; what it is shown counts for nothing. Metrics, on test and val: mse (mean squared error per hidden
    value, in [0, 1]), psnr (decibels, 10 log10(1 / mse) of an image, at most 100; mean over images), psnr_pooled (that
    of mse), and mse_mean_image and psnr_mean_image: those of the mean of "train" at the same values, which knows
    nothing of the image and is to be beaten. What was hidden is a term of the protocol; so is `batch_size`, since it is
    drawn batch by batch.
    """

    presentation: ClassVar[frozenset[str]] = frozenset({"pictures"})

    def __init__(self, *, batch_size: int, pictures: int) -> None:
        if batch_size < 1:
            raise ValueError(f"evaluation.reconstruction.batch_size is {batch_size}; it must be at least 1")
        if pictures < 1:
            raise ValueError(f"evaluation.reconstruction.pictures is {pictures}; it must be at least 1")
        self.batch_size = batch_size
        self.pictures = pictures

    def __call__(self, objective: Reconstructs, subject: Subject) -> Finding:
        mean = _mean(objective, subject)
        metrics: list[Metric] = []
        rows: dict[str, np.ndarray] = {}
        for split in TOLD:
            error, count, drawn = self._errors(objective, subject, split, mean)
            metrics += _scores(error, count, split)
            rows = rows or drawn
        return Finding(
            metrics,
            Protocol(
                terms={"method": "reconstruction", "hides": dict(objective.hides())},
                measured={**sizes(subject, "train", *TOLD), "seed": subject.seed},
            ),
            {"reconstruction": Pictures(rows, note=f"{SHOWN}{drawn_as(cast(ImageSpec, subject.data.spec).channels)}")},
        )

    def _errors(
        self, objective: Reconstructs, subject: Subject, split: Split, mean: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, np.ndarray]]:
        """Summed squared errors of reconstructions and of the mean, (2, n), over (n,) hidden values; pictures."""
        task = cast(Objective[Any, Any], objective).to(subject.device)
        places = torch.arange(len(subject.data.examples(split).label))
        errors: list[Tensor] = []
        counts: list[Tensor] = []
        rows: dict[str, np.ndarray] = {}
        with evaluating(task), seeded(subject.seed), torch.inference_mode():
            for batch in batches(subject, split, places, self.batch_size):
                x, _ = task.split(batch)
                filled = objective.reconstruct(x).float()
                right = objective.compared(batch.data).float()
                hidden = objective.hidden(x).expand_as(right)
                guesses = (objective.compared(filled).float(), mean.expand_as(right))
                squares = [((guess - right).square() * hidden).flatten(1).sum(dim=1) for guess in guesses]
                errors.append(torch.stack(squares).cpu())
                counts.append(hidden.flatten(1).sum(dim=1).cpu())
                if not rows:
                    shown = {"truth": batch.data, **_seen(x, batch.data), "reconstruction": filled}
                    rows = {name: pictures(image[: self.pictures]) for name, image in shown.items()}
        return torch.cat(errors, dim=1), torch.cat(counts), rows


def _scores(error: Tensor, count: Tensor, split: Split) -> list[Metric]:
    """Metrics of summed squared errors (2, n), of reconstructions and of the mean, over (n,) hidden values.

    Images without hidden values are excluded. Raises ValueError if all are.
    """
    error, count = error[:, count > 0].double(), count[count > 0]
    if not len(count):
        raise ValueError(f"the objective masked nothing in any image of {split}: there is nothing to reconstruct")
    ours, means = (error.sum(dim=1) / count.sum()).tolist()
    psnr, psnr_of_mean = decibels(error / count).mean(dim=1).tolist()
    db = partial(Metric, unit=Unit.DB, split=split)
    by_image = {"psnr": "mean over images"}
    return [
        Metric(name="mse", value=ours, unit=Unit.PLAIN, better=Better.LOWER, headline=True, split=split),
        db(name="psnr", value=psnr, better=Better.HIGHER, terms=by_image),
        db(name="psnr_pooled", value=decibels(torch.tensor(ours)).item(), better=Better.HIGHER),
        description("mse_mean_image", means, split=split),
        db(name="psnr_mean_image", value=psnr_of_mean, better=Better.NEITHER, terms=by_image),
    ]


def _mean(objective: Reconstructs, subject: Subject) -> Tensor:
    """The mean of what is compared over "train", on the subject's device: (c, H, W)."""
    data, spec = subject.data.examples("train").data, subject.data.spec
    parts = (objective.compared(spec.to_input(part.to(subject.device))).float() for part in data.split(CHUNK))
    return torch.stack([part.sum(dim=0) for part in parts]).sum(dim=0) / len(data)


def decibels(mse: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of mean squared errors of values in [0, 1], at most 100.

    >>> decibels(torch.tensor([0.01, 0.0]))
    tensor([ 20., 100.])
    """
    return -10 * mse.clamp_min(1e-10).log10()


def _seen(x: Any, truth: Tensor) -> dict[str, Tensor]:
    """The images in x, a tensor or a tuple of tensors, that have the truth's shape and are not the truth itself."""
    parts = {"seen": x} if isinstance(x, Tensor) else {f"seen: {k}": v for k, v in x._asdict().items()}
    return {
        name: part
        for name, part in parts.items()
        if part.shape == truth.shape and part.is_floating_point() and not torch.equal(part.to(truth.dtype), truth)
    }
