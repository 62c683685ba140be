"""Images from codes that a language model writes: samples of a prior over the codes of images."""

from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ssl_runner.data.text.codes import FILE, FIRST, decoder_in, file_of, read
from ssl_runner.evaluation.any.energy import energy_distance
from ssl_runner.evaluation.any.subject import TOLD, evaluating, seeded
from ssl_runner.figures import Pictures
from ssl_runner.interfaces import DataSpec, Finding, Inspection, PredictsNext, Subject, TextSpec
from ssl_runner.nn.code_decoder import CodeDecoder
from ssl_runner.nn.pictures import drawn_as, pictures
from ssl_runner.results.metrics import Better, Metric, Protocol, Split, Unit

KEY = "evaluation.code_samples"
BATCH = 250  # images at once
PRIORS = ("learned", "of frequencies", "uniform")


class CodeSamples(Inspection):
    """Draw grids of codes from a prior, one code after the other, and compare their images with those of real codes.

        learned:         p(code | codes before it), the language model's, of codes alone
        of frequencies:  p(code), how often it is in train, each cell by itself
        uniform:         1 / K

    energy_distance, of each prior: `evaluation=samples` says what it is; the images of test and val are those that the
    decoder makes of their codes, so that what the decoder loses does not count. nats: -log p of the codes of an image.
    A prior that ignores their order gives textures; the uniform one is what the VQ-VAE is trained with.

    van den Oord, Vinyals, Kavukcuoglu 2017, https://arxiv.org/abs/1711.00937, section 4. Differs: a language model of
    rows of codes in place of a PixelCNN.
    """

    reads: ClassVar[type[DataSpec]] = TextSpec
    presentation: ClassVar[frozenset[str]] = frozenset({"run", "rows", "columns"})

    def __init__(self, *, run: str, examples: int, rows: int, columns: int) -> None:
        for key, value, least in (("examples", examples, 2), ("rows", rows, 1), ("columns", columns, 2)):
            if value < least:
                raise ValueError(f"{KEY}.{key} is {value}; it must be at least {least}")
        self.file = file_of(Path(run).expanduser().absolute(), f"{KEY}.run")
        self.contents = {"run": {FILE: self.file}}
        self.examples = examples
        self.rows = rows
        self.columns = columns

    def check(self, spec: TextSpec) -> None:
        grid = read(self.file)["x_train"].shape[1:]
        if grid[0] * grid[1] + 2 != spec.length:
            raise ValueError(
                f"{KEY}.run has {grid[0]} x {grid[1]} codes an image, and texts have {spec.length - 2}; set it, and "
                "dataset=codes dataset.run, to the same run"
            )

    def __call__(self, objective: PredictsNext, subject: Subject) -> Finding:
        model = cast(nn.Module, objective).to(subject.device)
        arrays = read(self.file)
        decoder = CodeDecoder(decoder_in(arrays)).to(subject.device)
        grid, count = arrays["x_train"].shape[1:], int(arrays["count"])
        used = torch.from_numpy(arrays["x_train"]).flatten().bincount(minlength=count).double()
        metrics: list[Metric] = []
        with evaluating(model), seeded(subject.seed), torch.inference_mode():
            real = {split: self._real(subject, split) for split in TOLD}
            n = len(real["test"])
            fixed = {"of frequencies": (used + 1) / (used + 1).sum(), "uniform": torch.ones(count).double() / count}
            codes = {"learned": self._written(objective, subject, n, count)}
            codes |= {name: p.multinomial(n * grid[0] * grid[1], replacement=True) for name, p in fixed.items()}
            images = {name: decoder(each.view(n, *grid).to(subject.device)) for name, each in codes.items()}
            for split in TOLD:
                shown = decoder(real[split].view(-1, *grid).to(subject.device))
                nats = {name: -p.log()[real[split]].sum(dim=1).mean().item() for name, p in fixed.items()}
                nats["learned"] = self._nats(objective, subject, real[split])
                for name in PRIORS:
                    metrics += _metrics(name, split, energy_distance(images[name], shown), nats[name])
            rows = {name: each[: self.rows * self.columns] for name, each in images.items()}
            rows["real codes"] = decoder(real["test"][: self.rows * self.columns].view(-1, *grid).to(subject.device))
        return Finding(
            metrics,
            Protocol(
                terms={"method": "samples of codes", "compared": "images made of codes, all pixels in [0, 1]"},
                measured={f"{split} examples": len(each) for split, each in real.items()} | {"seed": subject.seed},
            ),
            {"samples of codes": self._drawn(rows)},
        )

    def _real(self, subject: Subject, split: Split) -> Tensor:
        """(m, h w): the codes of random images of a split."""
        rows = subject.data.examples(split).data
        return rows[torch.randperm(len(rows))[: self.examples], 1:-1].long() - FIRST

    def _written(self, objective: PredictsNext, subject: Subject, n: int, count: int) -> Tensor:
        """(n, h w): codes drawn one after the other."""
        spec = cast(TextSpec, subject.data.spec)
        tokens = torch.full((n, 1), spec.special.cls, device=subject.device)
        for _ in range(spec.length - 2):
            logits = objective.next_logits(tokens)[:, FIRST : FIRST + count].float()
            tokens = torch.cat([tokens, FIRST + logits.softmax(dim=1).multinomial(1)], dim=1)
        return tokens[:, 1:].cpu() - FIRST

    def _nats(self, objective: PredictsNext, subject: Subject, codes: Tensor) -> float:
        """-log p of the codes of an image, mean over images (m, h w)."""
        begin = torch.full((len(codes), 1), cast(TextSpec, subject.data.spec).special.cls)
        tokens = torch.cat([begin, codes + FIRST], dim=1).to(subject.device)
        found = [objective.log_likelihood(part).sum(dim=1) for part in tokens.split(BATCH)]
        return -torch.cat(found).mean().item()

    def _drawn(self, images: dict[str, Tensor]) -> Pictures:
        rows = {
            name if part == 0 else f"{name} {part + 1}": pictures(chunk)
            for name, each in images.items()
            for part, chunk in enumerate(each.split(self.columns))
        }
        note = (
            "Images made of codes: drawn from the prior that was learned; from one that knows how often each code is; "
        )
        return Pictures(rows, note=f"{note}from one that knows nothing; and those of test images.{drawn_as(3)}")


def _metrics(prior: str, split: Split, distance: float, nats: float) -> list[Metric]:
    about: dict[str, Any] = {"better": Better.LOWER, "split": split, "condition": {"prior": prior}}
    return [
        Metric(name="energy_distance", value=distance, unit=Unit.PLAIN, headline=prior == PRIORS[0], **about),
        Metric(name="nats", value=nats, unit=Unit.NATS, **about),
    ]
