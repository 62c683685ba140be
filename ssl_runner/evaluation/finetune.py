"""Fine-tuning: how far the pretrained weights carry when the whole network is trained on labels."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.evaluation.subject import evaluating, seeded
from ssl_runner.interfaces import DataSpec, Encoder, Evaluator, Examples, Finding, Subject

WARMUP = 0.1  # of the steps, linear


class FineTune(Evaluator):
    """Train a copy of the encoder with a linear head on "train" for a fixed number of epochs; report "test", once.

    AdamW (no decay of biases and norms), warm-up over a tenth of the steps, cosine decay to 0, float32. The head reads
    `pooled`, standardised by the frozen encoder's statistics on train, and starts at zero. No augmentation, so that
    what is compared is the weights. Nothing is chosen: "val" is not used. Metric: accuracy in [0, 1].
    """

    pixels_are_control = False  # they have no weights to train

    def __init__(self, *, epochs: int, batch_size: int, learning_rate: float, weight_decay: float) -> None:
        for key, value, least in (
            ("epochs", epochs, 1),
            ("batch_size", batch_size, 2),
            ("weight_decay", weight_decay, 0),
        ):
            if value < least:
                raise ValueError(f"evaluation.finetune.{key} is {value}; it must be at least {least}")
        if learning_rate <= 0:
            raise ValueError(f"evaluation.finetune.learning_rate is {learning_rate}; it must be above 0")
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def __call__(self, subject: Subject) -> Finding:
        spec, train, test = subject.data.spec, subject.data.examples("train"), subject.data.examples("test")
        frozen = subject.features("train").data
        with seeded(subject.seed):
            network = _Classifier(copy.deepcopy(subject.encoder), frozen, spec.classes).to(subject.device)
            self._train(network, spec, train, subject.device)
        with evaluating(network), torch.inference_mode():
            right = sum(
                int((network(spec.to_input(x.to(subject.device))).argmax(dim=1).cpu() == y).sum())
                for x, y in zip(test.data.split(self.batch_size), test.label.split(self.batch_size), strict=True)
            )
        return Finding(
            metrics={"accuracy": right / len(test.label)},
            protocol={
                "evaluator": "fine-tuning of all weights",
                "layer": "pooled",
                "split": "test",
                "train": len(train.label),
                "epochs": self.epochs,
                "batch_size": self.batch_size,
                "learning_rate": self.learning_rate,
                "weight_decay": self.weight_decay,
                "augmentation": "none",
                "seed": subject.seed,
            },
        )

    def _train(self, network: nn.Module, spec: DataSpec, train: Examples, device: torch.device) -> None:
        decayed = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate)
        n, size = len(train.label), min(self.batch_size, len(train.label))
        per_epoch = n // size  # whole batches only: BatchNorm cannot train on one example
        steps = self.epochs * per_epoch
        network.train()
        for step in range(steps):
            place = step % per_epoch
            if place == 0:
                order = torch.randperm(n)
            chosen = order[place * size : (place + 1) * size]
            x, y = spec.to_input(train.data[chosen].to(device)), train.label[chosen].to(device)
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * _pace((step + 1) / steps)
            loss = F.cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if not loss.isfinite():
            raise ValueError(
                f"fine-tuning diverged (the loss is {loss.item()}); set evaluation.finetune.learning_rate below "
                f"{self.learning_rate}"
            )


class _Classifier(nn.Module):
    """An encoder, standardisation by statistics of `frozen` features (n, D), a linear head that starts at zero."""

    def __init__(self, encoder: Encoder, frozen: Tensor, classes: int) -> None:
        super().__init__()
        std, mean = torch.std_mean(frozen, dim=0, correction=0)
        self.encoder = encoder.requires_grad_(True)
        self.register_buffer("mean", mean)
        self.register_buffer("std", torch.where(std > 1e-6 * mean.abs(), std, 1.0))
        self.head = nn.Linear(frozen.shape[1], classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) as input -> (B, K) logits"""
        return self.head((self.encoder(x).pooled - self.mean) / self.std)


def _pace(progress: float) -> float:
    """The share of the learning rate at `progress` in (0, 1]."""
    if progress < WARMUP:
        return progress / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (progress - WARMUP) / (1 - WARMUP)))
