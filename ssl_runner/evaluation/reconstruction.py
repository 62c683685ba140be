"""How well an objective fills in whole images that it was shown a part of."""

from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from ssl_runner.evaluation.subject import evaluating, seeded
from ssl_runner.figures import Pictures
from ssl_runner.interfaces import Batch, Finding, Inspection, Objective, Reconstructs, Subject

CHUNK = 512  # examples at once, for the mean image


class Reconstruction(Inspection):
    """Split every image of "test" as in training, under a fixed seed, reconstruct it, and compare what was hidden.

    Which values were hidden is the objective's to say (`Reconstructs.hidden`): holes, hidden patches, colours, or all of
    the image; what it is shown counts for nothing. Metrics: mse (mean squared error per hidden value, in [0, 1]), psnr
    (decibels, 10 log10(1 / mse) of an image, at most 100; mean over images), psnr_pooled (that of the mean mse, never
    more), and mse_mean_image and psnr_mean_image: those of the mean of "train" at the same values, which knows nothing
    of the image and is to be beaten.
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
        mean = _mean(objective, subject)
        errors: list[Tensor] = []
        counts: list[Tensor] = []
        rows: dict[str, np.ndarray] = {}
        with evaluating(task), seeded(subject.seed), torch.inference_mode():
            for index in torch.arange(len(test.label)).split(self.batch_size):
                truth = spec.to_input(test.data[index].to(subject.device))
                x, _ = task.split(Batch(truth, test.label[index].to(subject.device), index.to(subject.device)))
                filled = objective.reconstruct(x).float()
                right = objective.compared(truth).float()
                hidden = objective.hidden(x).expand_as(right)
                guesses = (objective.compared(filled).float(), mean.expand_as(right))
                squares = [((guess - right).square() * hidden).flatten(1).sum(dim=1) for guess in guesses]
                errors.append(torch.stack(squares).cpu())
                counts.append(hidden.flatten(1).sum(dim=1).cpu())
                if not rows:
                    shown = {"truth": truth, **_seen(x, truth), "reconstruction": filled}
                    rows = {name: picture(image[: self.pictures]) for name, image in shown.items()}
        metrics = _scores(torch.cat(errors, dim=1), torch.cat(counts))
        return Finding(
            metrics=metrics,
            protocol={
                "evaluator": "reconstruction",
                **objective.hides(),
                "psnr": "mean over images",
                "split": "test",
                "examples": len(test.label),
                "seed": subject.seed,
            },
            figures={
                "reconstruction": Pictures(rows, note="Images of test, what was seen of them, and what was made of it.")
            },
        )


def _scores(error: Tensor, count: Tensor) -> dict[str, float]:
    """Metrics of summed squared errors (2, n), of reconstructions and of the mean, over (n,) hidden values.

    An image of which nothing is hidden has no figure. Raises ValueError where that is so of all.
    """
    error, count = error[:, count > 0].double(), count[count > 0]
    if not len(count):
        raise ValueError("the objective hid nothing of any image of test: there is nothing to reconstruct")
    ours, means = (error.sum(dim=1) / count.sum()).tolist()
    psnr, psnr_of_mean = decibels(error / count).mean(dim=1).tolist()
    return {
        "mse": ours,
        "psnr": psnr,
        "psnr_pooled": decibels(torch.tensor(ours)).item(),
        "mse_mean_image": means,
        "psnr_mean_image": psnr_of_mean,
    }


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


def picture(images: Tensor) -> np.ndarray:
    """(n, C, H, W) -> (n, H, W) or (n, H, W, 3), as figures take it; other numbers of channels are averaged."""
    images = images.float().clamp(0, 1).cpu()
    if images.shape[1] == 3:
        return images.permute(0, 2, 3, 1).numpy()
    return images.mean(dim=1).numpy()
