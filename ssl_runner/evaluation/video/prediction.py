"""Prediction of future frames, per time step."""

import warnings
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ssl_runner.evaluation.any.subject import TOLD, batches, evaluating, seeded, sizes
from ssl_runner.evaluation.images.reconstruction import decibels
from ssl_runner.figures import Clips, Figure, Lines
from ssl_runner.interfaces import Finding, Inspection, Objective, PredictsFuture, Subject, VideoSpec
from ssl_runner.nn.pictures import pictures
from ssl_runner.results.metrics import Better, Metric, Protocol, Split, Unit

WINDOW = 11  # side of SSIM's, pixels
PSNR = {"psnr": "mean over frames"}
SSIM = {"ssim": f"mean over frames, Gaussian window of {WINDOW} pixels"}


class Prediction(Inspection):
    """Split each clip of a split as in training, with a fixed seed, and compare the predicted frames with the truth.

    Metrics, on test and val, each a mean over frames to come: psnr (decibels, 10 log10(1 / mse) of a frame, at most
    100), mse (per value in [0, 1]) and ssim (structural similarity, at most 1). psnr_pooled is 10 log10(1 / mse) of the
    mean mse instead, which is never more. Those of copying the last frame that was seen, which are to be beaten:
    psnr_copy and so on. All but the pooled ones are given of each frame to come alone, too: frame 1 is the next.
    SSIM: Wang, Bovik, Sheikh, Simoncelli 2004, https://doi.org/10.1109/TIP.2003.819861, in a Gaussian window of 11
    pixels and deviation 1.5, where it lies inside the frame; its mean over places and channels.
    """

    reads: ClassVar[type[VideoSpec]] = VideoSpec
    presentation: ClassVar[frozenset[str]] = frozenset({"pictures"})

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

    def __call__(self, objective: PredictsFuture, subject: Subject) -> Finding:
        metrics: list[Metric] = []
        figures: dict[str, Figure] = {}
        scores: dict[Split, Tensor] = {}
        seen = 0
        for split in TOLD:
            scores[split], seen, drawn = self._scores(objective, subject, split)
            metrics += told(scores[split], split)
            figures = figures or drawn
        steps = scores["test"].shape[2]
        for place, (name, label) in enumerate((("psnr", "PSNR, decibels"), ("ssim", "SSIM")), start=1):
            predicted, copied = scores["test"][:, place].tolist()
            figures[f"{name} by step"] = Lines(
                x=range(1, steps + 1),
                y={"predicted": predicted, "copy of the last frame": copied},
                x_label="frames ahead",
                y_label=label,
            )
        return Finding(
            metrics,
            Protocol(
                terms={
                    "method": "prediction of frames",
                    "control": "last frame copied",
                    "compared": "all pixels, in [0, 1]",
                    "frames seen": seen,
                    "frames predicted": steps,
                },
                measured={**sizes(subject, *TOLD), "seed": subject.seed},
            ),
            figures,
        )

    def _scores(
        self, objective: PredictsFuture, subject: Subject, split: Split
    ) -> tuple[Tensor, int, dict[str, Figure]]:
        """(2, 3, K): of predictions and of copies, mse, psnr and ssim of each step; frames that were seen; pictures."""
        task = cast(Objective[Any, Any], objective).to(subject.device)
        places = torch.arange(len(subject.data.examples(split).label))
        sums: list[Tensor] = []
        figures: dict[str, Figure] = {}
        with evaluating(task), seeded(subject.seed), torch.inference_mode():
            for batch in batches(subject, split, places, self.batch_size):
                x, y = task.split(batch)
                made, copied = objective.foresee(x).float(), x[:, -1:].expand_as(y)
                sums.append(torch.stack([compare(frames, y).sum(dim=1) for frames in (made, copied)]).cpu())
                if not figures:
                    figures = self._strips(x, y, made)
        return torch.stack(sums).sum(dim=0) / len(places), x.shape[1], figures

    def _strips(self, x: Tensor, y: Tensor, made: Tensor) -> dict[str, Figure]:
        """The given frames and, after a gap, the true and the predicted next frames, of a few clips."""
        rows = {
            name: pictures(torch.cat((x, after), dim=1)[: self.pictures])
            for name, after in (("truth", y), ("predicted", made))
        }
        note = "Test clips: the frames given, and after the gap the true and the predicted next frames."
        return {"prediction": Clips(rows, note=note, gap=x.shape[1])}


def told(scores: Tensor, split: Split) -> list[Metric]:
    """Metrics of what `Prediction._scores` gave: over all steps, and of each, "frame" 1 the next."""
    metrics: list[Metric] = []
    for whose, better, (mse, psnr, ssim) in zip(
        ("", "_copy"), ((Better.HIGHER, Better.LOWER), (Better.NEITHER,) * 2), scores, strict=True
    ):
        more, less = better
        error = partial(Metric, name=f"mse{whose}", unit=Unit.PLAIN, better=less, split=split)
        ratio = partial(Metric, name=f"psnr{whose}", unit=Unit.DB, better=more, split=split, terms=PSNR)
        likeness = partial(Metric, name=f"ssim{whose}", unit=Unit.PLAIN, better=more, split=split, terms=SSIM)
        mean = mse.mean().item()
        metrics += [
            ratio(value=psnr.mean().item(), headline=not whose),
            error(value=mean),
            likeness(value=ssim.mean().item()),
            Metric(
                name=f"psnr_pooled{whose}",
                value=decibels(torch.tensor(mean)).item(),
                unit=Unit.DB,
                better=more,
                split=split,
            ),
        ]
        for step, values in enumerate(torch.stack((mse, psnr, ssim)).mT.tolist(), start=1):
            for metric, value in zip((error, ratio, likeness), values, strict=True):
                metrics.append(metric(value=value, condition={"frame": step}))
    return metrics


def compare(made: Tensor, truth: Tensor) -> Tensor:
    """Frames (B, K, C, H, W), twice -> (3, B, K): mean squared error of each, its decibels, structural similarity."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of memory, which is that of a batch
        _, similar = structural_similarity_index_measure(
            made.flatten(0, 1), truth.flatten(0, 1), data_range=1.0, reduction="none", return_full_image=True
        )
    inside = similar[..., WINDOW // 2 : -(WINDOW // 2), WINDOW // 2 : -(WINDOW // 2)]  # the rest sees mirrored pixels
    error = (made - truth).square().mean(dim=(2, 3, 4))
    return torch.stack((error, decibels(error), inside.mean(dim=(1, 2, 3)).view_as(error)))
