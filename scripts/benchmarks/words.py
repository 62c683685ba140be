"""words/s and WordSim-353 of skip-gram and CBOW, beside those of gensim

The presets on the CPU, and gensim on the same tokens; a round is a seed. gensim goes on for twice the epochs, and twice
again, until it judges words as well as ours: the time to the same quality.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from rich.console import Console
from rich.table import Table

from ssl_runner.assembly import construct
from ssl_runner.backbones.word_vectors import WordVectors
from ssl_runner.commands.run import fresh
from ssl_runner.config.compose import compose
from ssl_runner.config.schema import Config, typed
from ssl_runner.data.any.module import DataModule
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.evaluation.text.word_similarity import WordSimilarity
from ssl_runner.interfaces import DataSpec, Encoder, TextSpec

from .shared import MACHINE, loaded, machine_rate, pretrained, print_rates, trainer_flops

THEIRS = "gensim, 2 workers"
DOUBLINGS = 4


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", help="file of WordSim-353; by default gensim's copy")
    parser.add_argument("overrides", nargs="*", help="of the config: optimizer.lr=0.1")


def measure(arguments: argparse.Namespace) -> None:
    judge = WordSimilarity(pairs={"wordsim353": arguments.pairs}, restrict=None, case="fold")
    for objective in ("skip_gram", "cbow"):
        found: dict[str, list[float]] = {"ssl_runner": [], THEIRS: [], MACHINE: []}
        quality: dict[str, list[float]] = {"ssl_runner": [], THEIRS: []}
        caught: list[str] = []
        for seed in range(arguments.rounds):
            config = _config(objective, arguments.epochs, seed, arguments.overrides)
            data = loaded(config)
            texts = sentences_of(data)
            count = sum(map(len, texts))
            model = fresh(config, data)
            with tempfile.TemporaryDirectory() as folder:
                trained = pretrained(config, model, data, folder)
            found["ssl_runner"].append(trained.rate * count / data.spec.size)
            seconds, theirs = gensim_vectors(config, data.spec, texts, arguments.epochs)
            found[THEIRS].append(count * arguments.epochs / seconds)
            found[MACHINE].append(machine_rate(torch.float32))
            for name, encoder in zip(quality, (model.encoder, theirs), strict=True):
                spearman, coverage = _judged(judge, encoder, data, seed)
                quality[name].append(spearman)
            ours = count * arguments.epochs / found["ssl_runner"][-1]
            caught.append(_same_quality(config, data, texts, judge, quality["ssl_runner"][-1], ours))
        vocabulary = cast(TextSpec, data.spec).vocabulary
        title = f"{objective}, {count:,} words, {arguments.epochs} epochs, vocabulary {vocabulary:,}; words/s"
        flops = {"ssl_runner": trainer_flops(config, data) / config.batch_size * data.spec.size / count}
        print_rates(title, found, "ssl_runner", flops)  # gensim's are not counted by torch
        _print_quality(quality, coverage)
        Console().print(*caught, sep="\n")


def sentences_of(data: DataModule) -> list[list[str]]:
    """The corpus that is pretrained on, as gensim takes it: ids as text, a list a sentence, unknown words left out."""
    windows = data.examples("pretrain").data
    stream = torch.cat((windows[:, :-1].flatten(), windows[-1, -1:]))  # windows overlap by one
    special = cast(TextSpec, data.spec).special
    ends = (special.among(stream) & (stream != special.unk)).nonzero().flatten()
    texts = [part[~special.among(part)].tolist() for part in stream.tensor_split(ends)]
    return [[str(word) for word in text] for text in texts if text]


def gensim_vectors(config: Config, spec: DataSpec, texts: list[list[str]], epochs: int) -> tuple[float, Encoder]:
    """Seconds of gensim's training without its count of words, and its vectors as an encoder of ours."""
    from gensim.models import Word2Vec

    task = config.objective
    model = Word2Vec(
        sg=int(config.names["objective"] == "skip_gram"), vector_size=config.backbone["width"], window=task["window"],
        negative=task["output"]["negatives"], ns_exponent=task["output"]["power"], sample=task["subsample"],
        epochs=epochs, seed=config.seed, min_count=1, workers=2,
    )  # fmt: skip
    model.build_vocab(texts)
    begun = time.monotonic()
    model.train(texts, total_examples=model.corpus_count, epochs=model.epochs)
    seconds = time.monotonic() - begun
    encoder = construct.encoder(config.backbone, spec)
    assert isinstance(encoder, WordVectors)
    with torch.no_grad():
        rows = torch.tensor([int(word) for word in model.wv.index_to_key])
        encoder.embedding.weight[rows] = torch.from_numpy(model.wv.vectors)
    return seconds, encoder


def _same_quality(
    config: Config, data: DataModule, texts: list[list[str]], judge: WordSimilarity, goal: float, ours: float
) -> str:
    """Seconds that gensim needs until its Spearman's correlation is `goal`, beside our seconds `ours`.

    Its learning rate falls over the epochs that it is told, so each number of epochs is a training of its own, and only
    the last one's time is counted.
    """
    best = float("-inf")
    for doubling in range(1, DOUBLINGS + 1):
        epochs = 2**doubling * int(config.budget.amount)
        seconds, encoder = gensim_vectors(config, data.spec, texts, epochs)
        spearman, _ = _judged(judge, encoder, data, config.seed)
        best = max(best, spearman)
        if spearman >= goal:
            break
    what = f"reaches {goal:.3f} in" if best >= goal else f"has at most {best:.3f} in up to"
    return f"seed {config.seed}: gensim {what} {epochs} epochs, {seconds:.1f} s; ours: {ours:.1f} s"


def _judged(judge: WordSimilarity, encoder: Encoder, data: DataModule, seed: int) -> tuple[float, float]:
    """Spearman's correlation, and the share of pairs of which both words are known."""
    subject = FrozenSubject(encoder, data, seed=seed, device=torch.device("cpu"), batch_size=1)
    found = {metric.name: metric.value for metric in judge(subject).metrics}  # of one file of pairs
    return found["spearman"], found["coverage"]


def _print_quality(quality: Mapping[str, Sequence[float]], coverage: float) -> None:
    seeds = range(len(next(iter(quality.values()))))
    shown = Table("", "mean", *(f"seed {seed}" for seed in seeds), title="Spearman, WordSim-353")
    for name, values in quality.items():
        shown.add_row(name, *(f"{value:.3f}" for value in (statistics.mean(values), *values)))
    Console().print(shown, f"of {100 * coverage:.1f} % of the pairs")


def _config(objective: str, epochs: int, seed: int, overrides: Sequence[str]) -> Config:
    words = [
        f"experiment={objective}_wiki_sample", f"seed={seed}", f"budget.amount={epochs}", "logger=none",
        "trainer.accelerator=cpu", "trainer.validations=0", "trainer.watch_every=0", "evaluation=[]", *overrides,
    ]  # fmt: skip
    return typed(compose(words))
