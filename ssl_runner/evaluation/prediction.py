"""How well an objective predicts the frames to come, step by step."""

import math
import warnings
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from ssl_runner.evaluation.reconstruction import picture
from ssl_runner.evaluation.subject import evaluating, seeded
from ssl_runner.figures import Clips, Figure, Lines
from ssl_runner.interfaces import Batch, Finding, Foresees, Inspection, Objective, Subject, VideoSpec


class Prediction(Inspection):
    """Split every clip of "test" as in training, under a fixed seed, and compare the frames to come with the truth.

    Metrics: psnr (decibels, 10 log10(1 / mse), at most 100), mse (per value in [0, 1]) and ssim (structural
    similarity, at most 1), each over all frames to come; those of copying the last frame that was seen, which are to
    be beaten: psnr_copy and so on; and of each step ahead alone: psnr_1, psnr_copy_1, ...
    SSIM: Wang, Bovik, Sheikh, Simoncelli 2004, https://doi.org/10.1109/TIP.2003.819861, mean over frames.
    """

    reads: ClassVar[type[VideoSpec]] = VideoSpec
    higher_is_better: ClassVar[bool] = True

    def __init__(self, *, batch_size: int, pictures: int) -> None:
        for key, value in (("batch_size", batch_size), ("pictures", pictures)):
            if value < 1:
                raise ValueError(f"evaluation.prediction.{key} is {value}; it must be at least 1")
        self.batch_size = batch_size
        self.pictures = pictures

    def __call__(self, objective: Foresees, subject: Subject) -> Finding:
        task = cast(Objective[Any, Any], objective).to(subject.device)
        spec, test = subject.data.spec, subject.data.examples("test")
        sums: list[Tensor] = []
        figures: dict[str, Figure] = {}
        with evaluating(task), seeded(subject.seed), torch.inference_mode():
            for index in torch.arange(len(test.label)).split(self.batch_size):
                data = spec.to_input(test.data[index].to(subject.device))
                x, y = task.split(Batch(data, test.label[index].to(subject.device), index.to(subject.device)))
                made, copied = objective.foresee(x).float(), x[:, -1:].expand_as(y)
                sums.append(torch.stack([compare(frames, y).sum(dim=1) for frames in (made, copied)]).cpu())
                if not figures:
                    figures = self._strips(x, y, made)
        whole = torch.stack(sums).sum(dim=0) / len(test.label)  # (2, mse and ssim, steps)
        steps = whole.shape[2]
        metrics: dict[str, float] = {}
        for whose, (mse, ssim) in zip(("", "_copy"), whole, strict=True):
            mean = mse.mean().item()
            metrics |= {f"psnr{whose}": psnr(mean), f"mse{whose}": mean, f"ssim{whose}": ssim.mean().item()}
        curves: dict[str, dict[str, list[float]]] = {"psnr": {}, "ssim": {}}
        for whose, (mse, ssim) in zip(("", "_copy"), whole, strict=True):
            name = "copy of the last frame" if whose else "predicted"
            curves["psnr"][name] = [psnr(each) for each in mse.tolist()]
            curves["ssim"][name] = ssim.tolist()
            for step, values in enumerate(zip(mse.tolist(), ssim.tolist(), strict=True), start=1):
                metrics |= {f"psnr{whose}_{step}": psnr(values[0]), f"mse{whose}_{step}": values[0]}
                metrics[f"ssim{whose}_{step}"] = values[1]
        for name, label in (("psnr", "PSNR, decibels"), ("ssim", "SSIM")):
            figures[f"{name} by step"] = Lines(
                x=range(1, steps + 1), y=curves[name], x_label="frames ahead", y_label=label
            )
        return Finding(
            metrics=metrics,
            protocol={
                "evaluator": "prediction of frames",
                "control": "last frame copied",
                "compared": "all pixels, in [0, 1]",
                "steps": steps,
                "split": "test",
                "examples": len(test.label),
                "seed": subject.seed,
            },
            figures=figures,
        )

    def _strips(self, x: Tensor, y: Tensor, made: Tensor) -> dict[str, Figure]:
        """What was seen and, behind the gap, what came next and what was said, of a few clips."""
        rows = {
            name: np.stack([picture(clip) for clip in torch.cat((x, after), dim=1)[: self.pictures]])
            for name, after in (("truth", y), ("predicted", made))
        }
        note = "Clips of test: the frames that were seen, and behind the gap what came next and what was predicted."
        return {"prediction": Clips(rows, note=note, gap=x.shape[1])}


def compare(made: Tensor, truth: Tensor) -> Tensor:
    """Frames (B, K, C, H, W), twice -> (2, B, K): mean squared error and structural similarity of each."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of memory, which is that of a batch
        similar = structural_similarity_index_measure(
            made.flatten(0, 1), truth.flatten(0, 1), data_range=1.0, reduction="none"
        )
    error = (made - truth).square().mean(dim=(2, 3, 4))
    return torch.stack((error, cast(Tensor, similar).view_as(error)))


def psnr(mse: float) -> float:
    """Decibels of a mean squared error of values in [0, 1], at most 100.

    >>> psnr(0.01)
    20.0
    """
    return -10 * math.log10(max(mse, 1e-10))
