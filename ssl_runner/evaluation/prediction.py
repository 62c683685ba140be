"""How well an objective predicts the frames to come, step by step."""

import warnings
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from ssl_runner.evaluation.reconstruction import decibels, picture
from ssl_runner.evaluation.subject import evaluating, seeded
from ssl_runner.figures import Clips, Figure, Lines
from ssl_runner.interfaces import Batch, Finding, Foresees, Inspection, Objective, Subject, VideoSpec

WINDOW = 11  # side of SSIM's, pixels


class Prediction(Inspection):
    """Split every clip of "test" as in training, under a fixed seed, and compare the frames to come with the truth.

    Metrics, each a mean over frames to come: psnr (decibels, 10 log10(1 / mse) of a frame, at most 100), mse (per value
    in [0, 1]) and ssim (structural similarity, at most 1). psnr_pooled is 10 log10(1 / mse) of the mean mse instead,
    which is never more. Those of copying the last frame that was seen, which are to be beaten: psnr_copy and so on. Of
    each step ahead alone: psnr_1, psnr_copy_1, ...
    SSIM: Wang, Bovik, Sheikh, Simoncelli 2004, https://doi.org/10.1109/TIP.2003.819861, in a Gaussian window of 11
    pixels and deviation 1.5, where it lies inside the frame; its mean over places and channels.
    """

    reads: ClassVar[type[VideoSpec]] = VideoSpec
    higher_is_better: ClassVar[bool] = True

    def __init__(self, *, batch_size: int, pictures: int) -> None:
        for key, value in (("batch_size", batch_size), ("pictures", pictures)):
            if value < 1:
                raise ValueError(f"evaluation.prediction.{key} is {value}; it must be at least 1")
        self.batch_size = batch_size
        self.pictures = pictures

    def check(self, spec: VideoSpec) -> None:
        if min(spec.height, spec.width) < WINDOW:
            raise ValueError(
                f"evaluation=prediction compares frames in windows of {WINDOW} x {WINDOW} pixels (SSIM), and these "
                f"are of {spec.height} x {spec.width}: set dataset.side to {WINDOW} or more, or leave prediction out "
                "of evaluation"
            )

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
        whole = torch.stack(sums).sum(dim=0) / len(test.label)  # (2, mse, psnr and ssim, steps)
        steps = whole.shape[2]
        metrics: dict[str, float] = {}
        for whose, (mse, psnr, ssim) in zip(("", "_copy"), whole.mean(dim=2).tolist(), strict=True):
            metrics |= {f"psnr{whose}": psnr, f"mse{whose}": mse, f"ssim{whose}": ssim}
            metrics[f"psnr_pooled{whose}"] = decibels(torch.tensor(mse)).item()
        curves: dict[str, dict[str, list[float]]] = {"psnr": {}, "ssim": {}}
        for whose, (mse, psnr, ssim) in zip(("", "_copy"), whole.tolist(), strict=True):
            name = "copy of the last frame" if whose else "predicted"
            curves["psnr"][name], curves["ssim"][name] = psnr, ssim
            for step, (error, ratio, similar) in enumerate(zip(mse, psnr, ssim, strict=True), start=1):
                metrics |= {f"psnr{whose}_{step}": ratio, f"mse{whose}_{step}": error, f"ssim{whose}_{step}": similar}
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
                "psnr": "mean over frames",
                "ssim": f"mean over frames, Gaussian window of {WINDOW} pixels",
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
    """Frames (B, K, C, H, W), twice -> (3, B, K): mean squared error, its decibels and structural similarity of each."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of memory, which is that of a batch
        _, similar = structural_similarity_index_measure(
            made.flatten(0, 1), truth.flatten(0, 1), data_range=1.0, reduction="none", return_full_image=True
        )
    inside = similar[..., WINDOW // 2 : -(WINDOW // 2), WINDOW // 2 : -(WINDOW // 2)]  # the rest sees mirrored pixels
    error = (made - truth).square().mean(dim=(2, 3, 4))
    return torch.stack((error, decibels(error), inside.mean(dim=(1, 2, 3)).view_as(error)))
