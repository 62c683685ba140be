"""How well an objective fills in whole images that it was shown a part of."""

import math
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from ssl_runner.evaluation.subject import evaluating, seeded
from ssl_runner.figures import Pictures
from ssl_runner.interfaces import Batch, Finding, Inspection, Objective, Reconstructs, Subject

CHUNK = 512  # examples at once, for the mean image


class Reconstruction(Inspection):
    """Split every image of "test" as in training, under a fixed seed, reconstruct it, and compare all of its pixels.

    Metrics: mse (mean squared error per value of images in [0, 1]), psnr (decibels, 10 log10(1 / mse), at most 100),
    and mse_mean_image: the error of the mean of "train", which knows nothing of the image and is to be beaten.
    """

    higher_is_better: ClassVar[bool] = False

    def __init__(self, *, batch_size: int, pictures: int) -> None:
        if batch_size < 1:
            raise ValueError(f"evaluation.reconstruction.batch_size is {batch_size}; it must be at least 1")
        if pictures < 1:
            raise ValueError(f"evaluation.reconstruction.pictures is {pictures}; it must be at least 1")
        self.batch_size = batch_size
        self.pictures = pictures

    def __call__(self, objective: Reconstructs, subject: Subject) -> Finding:
        task = cast(Objective[Any, Any], objective).to(subject.device)
        spec, test = subject.data.spec, subject.data.examples("test")
        mean = _mean_image(subject)
        error = error_of_mean = 0.0
        rows: dict[str, np.ndarray] = {}
        with evaluating(task), seeded(subject.seed), torch.inference_mode():
            for index in torch.arange(len(test.label)).split(self.batch_size):
                truth = spec.to_input(test.data[index].to(subject.device))
                x, _ = task.split(Batch(truth, test.label[index].to(subject.device), index.to(subject.device)))
                filled = objective.reconstruct(x).float()
                error += (filled - truth).square().sum().item()
                error_of_mean += (mean - truth).square().sum().item()
                if not rows:
                    shown = {"truth": truth, **_seen(x, truth), "reconstruction": filled}
                    rows = {name: picture(image[: self.pictures]) for name, image in shown.items()}
        values = len(test.label) * mean.numel()
        mse = error / values
        return Finding(
            metrics={
                "mse": mse,
                "psnr": -10 * math.log10(max(mse, 1e-10)),
                "mse_mean_image": error_of_mean / values,
            },
            protocol={
                "evaluator": "reconstruction",
                "compared": "all pixels, in [0, 1]",
                "split": "test",
                "examples": len(test.label),
                "seed": subject.seed,
            },
            figures={
                "reconstruction": Pictures(rows, note="Images of test, what was seen of them, and what was made of it.")
            },
        )


def _mean_image(subject: Subject) -> Tensor:
    """The mean of "train" as input, on the subject's device: (C, H, W)."""
    data = subject.data.examples("train").data
    sums = [subject.data.spec.to_input(part.to(subject.device)).sum(dim=0) for part in data.split(CHUNK)]
    return torch.stack(sums).sum(dim=0) / len(data)


def _seen(x: Any, truth: Tensor) -> dict[str, Tensor]:
    """The images in x, a tensor or a tuple of tensors, that have the truth's shape and are not the truth itself."""
    parts = {"seen": x} if isinstance(x, Tensor) else {f"seen: {k}": v for k, v in x._asdict().items()}
    return {
        name: part
        for name, part in parts.items()
        if part.shape == truth.shape and part.is_floating_point() and not torch.equal(part.to(truth.dtype), truth)
    }


def picture(images: Tensor) -> np.ndarray:
    """(n, C, H, W) -> (n, H, W) or (n, H, W, 3), as figures take it; other numbers of channels are averaged."""
    images = images.float().clamp(0, 1).cpu()
    if images.shape[1] == 3:
        return images.permute(0, 2, 3, 1).numpy()
    return images.mean(dim=1).numpy()
