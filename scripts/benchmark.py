"""Speed, as ratios within one run on one machine. Nothing here is a test: run it on an idle machine and read the table.

    python scripts/benchmark.py simclr   # images/s of ssl_runner, of a bare PyTorch loop, of lightly with two workers
    python scripts/benchmark.py text     # tokens/s of BERT and of a language model, of Hugging Face's beside them
    python scripts/benchmark.py words    # words/s and WordSim-353 of skip-gram and CBOW, with gensim's beside them
    python scripts/benchmark.py objectives # each objective's whole step beside its encoder's forward and backward alone
    python scripts/benchmark.py precision # bfloat16 beside float32, for ssl_runner/precision.yaml, which it writes
    python scripts/benchmark.py probe    # the linear probe's whole grid against scikit-learn, setting after setting
    python scripts/benchmark.py startup  # seconds to help, to a refusal, to the first training step
    python scripts/benchmark.py checkpoints # examples/s with and without checkpoints, in one run
    python scripts/benchmark.py identity # what a run takes to know its files, and for checksums: CPU seconds
    python scripts/benchmark.py sweep    # what a sweep adds to its runs; seconds to plan a thousand
    python scripts/benchmark.py video --root ../shared/data/video # video_folder's cache beside PyAV's decoding; memory

`simclr` and `text` need the extra `benchmark` (lightly, transformers); MNIST is read from --root, or downloaded there.
They run on the GPU where there is one, and take --steps 1000 there.
"""

import argparse
import importlib.util
import itertools
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ssl_runner.assembly import construct, export
from ssl_runner.assembly.check import validate
from ssl_runner.assembly.places import with_contents
from ssl_runner.commands import sweep as sweep_command
from ssl_runner.commands.job import forked
from ssl_runner.commands.run import fresh
from ssl_runner.config.compose import compose, version_base
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.identity import run_folder
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import Config, typed
from ssl_runner.data.any.module import DataModule
from ssl_runner.data.video.clips import Cut, read_all
from ssl_runner.data.video.video_folder import SUFFIXES
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.interfaces import (
    Batch,
    Contents,
    DataSource,
    DataSpec,
    Encoder,
    Examples,
    Features,
    ImageSpec,
    Objective,
    SplitName,
    TextSpec,
)
from ssl_runner.loggers.interface import Loggers
from ssl_runner.results.result import Cost, Name, Pretraining, Result, write_result
from ssl_runner.runtime.checkpoint_files import FOLDER, LAST, check, write
from ssl_runner.runtime.devices import device_of
from ssl_runner.sweeps.engines.local import Local
from ssl_runner.sweeps.plan import Composer, Job, combinations, plan, read_axes
from ssl_runner.sweeps.scheduler import Listed, Outcome, Running, run_jobs
from ssl_runner.training import fit, precision
from ssl_runner.training.checkpointing import Checkpoint

WIDTHS, BATCH = [32, 64, 128], 256


class ThreeChannels(DataSource):
    """A gray dataset with its channel repeated, so that color can be jittered."""

    def __init__(self, source: DataSource) -> None:
        self.source = source

    @property
    def spec(self) -> ImageSpec:
        return replace(self.source.spec, channels=3)

    def check(self) -> None:
        self.source.check()

    def contents(self) -> Contents:
        return self.source.contents()

    def load(self) -> Mapping[SplitName, Examples]:
        splits = self.source.load()
        return {name: Examples(e.data.expand(-1, 3, -1, -1).contiguous(), e.label) for name, e in splits.items()}


def simclr_config(root: str, steps: int) -> Config:
    return typed(
        compose(
            [
                "dataset=mnist", f"dataset.root={root}", "objective=simclr", "objective/views=natural",
                f"backbone.widths={WIDTHS}", f"batch_size={BATCH}", "budget.unit=steps", f"budget.amount={steps}",
                "trainer.validations=0", "evaluation=[]", "logger=none",
            ]
        )
    )  # fmt: skip


def pretrained(config: Config, model: Objective, data: DataModule, folder: str) -> tuple[Pretraining, Cost]:
    """Through the whole trainer, as `ssl-run` trains, in silence."""
    optimizer_of = partial(construct.optimizer, config)
    schedule, quiet = construct.schedule(config), Console(quiet=True)
    return fit.pretrain(config, model, optimizer_of, schedule, data, Loggers([]), Path(folder), None, quiet)


def ours(config: Config, data: DataModule) -> float:
    """Images/s through the whole trainer, as `ssl-run` trains."""
    with tempfile.TemporaryDirectory() as folder:
        _, cost = pretrained(config, fresh(config, data), data, folder)
    return cost.examples_per_second


def bare(config: Config, data: DataModule) -> float:
    """Images/s of a plain loop over the same objective, with the data in the device's memory."""
    device = device_of("auto")
    model = fresh(config, data).to(device)
    optimizer = construct.optimizer(config, model)
    images = data.examples("pretrain").data.to(device)
    dtype = precision.decide(config.trainer.precision, device, model).dtype
    label = torch.zeros(BATCH, dtype=torch.int64, device=device)
    warm, steps = 3, int(config.budget.amount)
    begun = time.monotonic()
    for done in range(1, warm + steps + 1):
        index = torch.randint(len(images), (BATCH,), device=device)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            x, y = model.split(Batch(images[index].float().div_(255), label, index))
            loss = model.loss(x, y).value
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if done in (warm, warm + steps):
            loss.item()  # waits for the device
            begun, spent = time.monotonic(), time.monotonic() - begun
    return BATCH * steps / spent


def lightly(config: Config, data: DataModule, layout: torch.memory_format) -> float:
    """Images/s of lightly's SimCLR: its transform in two workers, its head and loss, the same encoder.

    `layout` of the convolutions: torch's default, or channels last as ssl_runner lays them out.
    """
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms.functional import to_pil_image

    transform = SimCLRTransform(input_size=data.spec.height, cj_strength=0.5, gaussian_blur=0.0, normalize=None)
    images = data.examples("pretrain").data

    class Views(Dataset):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, i: int) -> list[Tensor]:
            return transform(to_pil_image(images[i]))

    device = device_of("auto")
    encoder = fresh(config, data).encoder.to(device, memory_format=layout)
    head = SimCLRProjectionHead(encoder.dim, 128, 64).to(device)
    criterion = NTXentLoss(temperature=0.2)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, fused=True)
    dtype = precision.decide(config.trainer.precision, device, encoder).dtype
    loader = DataLoader(Views(), BATCH, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True)
    warm, steps = 3, int(config.budget.amount)
    begun = time.monotonic()
    for done, (first, second) in enumerate(loader, start=1):
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            z = head(encoder(torch.cat([first, second]).to(device)).pooled)
            loss = criterion(*z.float().chunk(2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if done in (warm, warm + steps):  # the workers' start is not counted
            loss.item()
            begun, spent = time.monotonic(), time.monotonic() - begun
        if done == warm + steps:
            break
    return BATCH * steps / spent


def simclr(root: str, steps: int, rounds: int) -> None:
    config = simclr_config(root, steps)
    data = DataModule(ThreeChannels(construct.construct(config.dataset)), batch_size=BATCH, seed=0)
    data.setup()
    # lightly is some ten times slower: fewer steps take as long
    slower = replace(config, budget=replace(config.budget, amount=max(steps // 5, 5)))
    what: dict[str, Callable[[], float]] = {
        "ssl_runner": lambda: ours(config, data),
        "bare loop": lambda: bare(config, data),
    }
    if importlib.util.find_spec("lightly") is None:
        print("lightly is not installed, and left out: pip install 'ssl-runner[benchmark]'")
    else:
        what["lightly, 2 workers"] = lambda: lightly(slower, data, torch.contiguous_format)
        what["lightly, and our layout"] = lambda: lightly(slower, data, torch.channels_last)
    rates = rounds_of(what, rounds)
    title = f"SimCLR, convnet {WIDTHS}, batch {BATCH}, MNIST as 3 channels, crop and color; images/s, {rounds} rounds"
    table(title, rates, "ssl_runner")


def text_config(objective: str, backbone: str, batch: int, length: int, steps: int) -> Config:
    return typed(
        compose(
            [
                "dataset=wiki_sample", f"dataset.length={length}", f"objective={objective}", f"backbone={backbone}",
                f"batch_size={batch}", "budget.unit=steps", f"budget.amount={steps}", "trainer.validations=0",
                "trainer.watch_every=0", "evaluation=[]", "logger=none",
            ]
        )
    )  # fmt: skip


def hugging_face(config: Config, data: DataModule) -> float:
    """Tokens/s of a plain loop over Hugging Face's model of the same sizes, with the data in memory.

    Its BERT normalizes after each block rather than before, and once more the embedding rather than the output: as many
    norms. Hidden tokens are drawn by two tensor operations, cheaper than its collator.
    """
    import transformers

    sizes, length = config.backbone, data.spec.length
    hidden = round(sizes["dim"] * sizes["mlp_ratio"])
    masked = config.names["objective"] == "bert"
    if masked:
        model = transformers.BertForMaskedLM(
            transformers.BertConfig(
                vocab_size=data.spec.vocabulary, max_position_embeddings=length, hidden_size=sizes["dim"],
                num_hidden_layers=sizes["depth"], num_attention_heads=sizes["heads"], intermediate_size=hidden,
                hidden_act="gelu", hidden_dropout_prob=sizes["dropout"], attention_probs_dropout_prob=0.0,
            )
        )  # fmt: skip
    else:
        model = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=data.spec.vocabulary, n_positions=length, n_embd=sizes["dim"], n_layer=sizes["depth"],
                n_head=sizes["heads"], n_inner=hidden, activation_function="gelu", resid_pdrop=sizes["dropout"],
                embd_pdrop=sizes["dropout"], attn_pdrop=0.0, use_cache=False,
            )
        )  # fmt: skip
    device = device_of("auto")
    model = model.to(device).train()
    ours_alike = fresh(config, data)  # what is decided goes by the types of modules, and its own are not known
    dtype = precision.decide(config.trainer.precision, device, ours_alike).dtype
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)
    windows = data.examples("pretrain").data
    warm, steps = 3, int(config.budget.amount)
    begun = time.monotonic()
    for done in range(1, warm + steps + 1):
        x = windows[torch.randint(len(windows), (config.batch_size,))].to(device).long()
        labels = x
        if masked:
            asked = torch.rand(x.shape, device=device) < config.objective["ratio"]
            x, labels = x.masked_fill(asked, data.spec.special.mask), x.masked_fill(~asked, -100)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = model(input_ids=x, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if done in (warm, warm + steps):
            loss.item()  # waits for the device
            begun, spent = time.monotonic(), time.monotonic() - begun
    return config.batch_size * length * steps / spent


def text(size: str, batch: int, length: int, steps: int, rounds: int) -> None:
    if importlib.util.find_spec("transformers") is None:
        raise SystemExit("text: Hugging Face's transformers is not installed: pip install 'ssl-runner[benchmark]'")
    for objective, backbone in (("bert", f"bert_{size}"), ("language_model", f"gpt_{size}")):
        config = text_config(objective, backbone, batch, length, steps)
        data = DataModule(construct.construct(config.dataset), batch_size=batch, seed=0)
        data.setup()
        what: dict[str, Callable[[], float]] = {
            "ssl_runner": partial(_tokens, config, data),
            "transformers": partial(hugging_face, config, data),
        }
        title = f"{objective}, {backbone}, batch {batch} x {length}, vocabulary {data.spec.vocabulary:,}; tokens/s"
        table(title, rounds_of(what, rounds), "ssl_runner")


def _tokens(config: Config, data: DataModule) -> float:
    return ours(config, data) * data.spec.length


def words(epochs: int, rounds: int, pairs: str | None, overrides: Sequence[str]) -> None:
    """The presets on the CPU beside gensim on the same tokens; a round is a seed. `pairs`: a file of WordSim-353."""
    from ssl_runner.evaluation.text.word_similarity import WordSimilarity

    judge = WordSimilarity(pairs={"wordsim353": pairs}, restrict=None, case="fold")
    for objective in ("skip_gram", "cbow"):
        rates: dict[str, list[float]] = {"ssl_runner": [], "gensim, 2 workers": []}
        quality: dict[str, list[float]] = {name: [] for name in rates}
        for seed in range(rounds):
            config = typed(
                compose(
                    [
                        f"experiment={objective}_wiki_sample", f"seed={seed}", f"budget.amount={epochs}", "logger=none",
                        "trainer.accelerator=cpu", "trainer.validations=0", "trainer.watch_every=0", "evaluation=[]",
                        *overrides,
                    ]
                )
            )  # fmt: skip
            data = DataModule(construct.construct(config.dataset), batch_size=config.batch_size, seed=seed)
            data.setup()
            texts = sentences_of(data)
            model = fresh(config, data)
            with tempfile.TemporaryDirectory() as folder:
                _, cost = pretrained(config, model, data, folder)
            count = sum(map(len, texts))
            rates["ssl_runner"].append(cost.examples_per_second * count / data.spec.size)
            seconds, theirs = gensim_vectors(config, data.spec, texts)
            rates["gensim, 2 workers"].append(count * epochs / seconds)
            for name, encoder in zip(rates, (model.encoder, theirs), strict=True):
                subject = FrozenSubject(encoder, data, seed=seed, device=torch.device("cpu"), batch_size=1)
                found = {metric.name: metric.value for metric in judge(subject).metrics}  # of one file of pairs
                quality[name].append(found["spearman"])
        title = f"{objective}, {count:,} words, {epochs} epochs, vocabulary {data.spec.vocabulary:,}; words/s"
        table(title, rates, "ssl_runner")
        shown = Table("", "mean", *(f"seed {seed}" for seed in range(rounds)), title="Spearman, WordSim-353")
        for name, values in quality.items():
            shown.add_row(name, *(f"{value:.3f}" for value in (statistics.mean(values), *values)))
        Console().print(shown, f"of {100 * found['coverage']:.1f} % of the pairs")


def sentences_of(data: DataModule) -> list[list[str]]:
    """The corpus that is pretrained on, as gensim takes it: ids as text, a list a sentence, unknown words left out."""
    windows = data.examples("pretrain").data
    stream = torch.cat((windows[:, :-1].flatten(), windows[-1, -1:]))  # windows overlap by one
    special = cast(TextSpec, data.spec).special
    ends = (special.among(stream) & (stream != special.unk)).nonzero().flatten()
    texts = [part[~special.among(part)].tolist() for part in stream.tensor_split(ends)]
    return [[str(word) for word in text] for text in texts if text]


def gensim_vectors(config: Config, spec: DataSpec, texts: list[list[str]]) -> tuple[float, Encoder]:
    """Seconds of gensim's training, its count of words apart, and its vectors as an encoder of ours."""
    from gensim.models import Word2Vec

    task = config.objective
    model = Word2Vec(
        sg=int(config.names["objective"] == "skip_gram"), vector_size=config.backbone["width"], window=task["window"],
        negative=task["output"]["negatives"], ns_exponent=task["output"]["power"], sample=task["subsample"],
        epochs=int(config.budget.amount), seed=config.seed, min_count=1, workers=2,
    )  # fmt: skip
    model.build_vocab(texts)
    begun = time.monotonic()
    model.train(texts, total_examples=model.corpus_count, epochs=model.epochs)
    seconds = time.monotonic() - begun
    encoder = construct.encoder(config.backbone, spec)
    with torch.no_grad():
        rows = torch.tensor([int(word) for word in model.wv.index_to_key])
        encoder.embedding.weight[rows] = torch.from_numpy(model.wv.vectors)
    return seconds, encoder


def video(root: str, rounds: int) -> None:
    """Reading the videos under `root` into a cache of 64 x 64 pixels beside decoding them; the second start; memory."""
    files = sorted(file for file in Path(root).rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"video: there are no videos in {root} (--root)")
    cut = Cut(frames=16, stride=16, rate=None, side=64, channels=3)

    def decoded() -> float:
        import av

        begun = time.monotonic()
        for file in files:
            with av.open(str(file)) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                for _ in container.decode(stream):
                    pass
        return time.monotonic() - begun

    def read(folder: str) -> float:
        begun = time.monotonic()
        read_all(Path(root).absolute(), [file.absolute() for file in files], cut=cut, cache=Path(folder))
        return time.monotonic() - begun

    def anew() -> float:
        with tempfile.TemporaryDirectory() as folder:
            return read(folder)

    with tempfile.TemporaryDirectory() as folder:
        read(folder)
        what = {"PyAV, decoding alone": decoded, "ssl_runner, to the cache": anew}
        what["ssl_runner, second start"] = partial(read, folder)
        title = f"{len(files)} videos, cut in clips of {cut.frames} x {cut.side} x {cut.side}; seconds"
        table(title, rounds_of(what, rounds), "ssl_runner, to the cache")
    larger = cut._replace(side=128)
    shown = Table("copies", "cache, MB", "peak memory, MB", title=f"reading, of {larger.side} x {larger.side}")
    for copies in (1, 10, 40):
        with tempfile.TemporaryDirectory() as folder:
            for copy, file in itertools.product(range(copies), files):
                link = Path(folder) / "videos" / f"{copy}" / file.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.absolute())
            command = [sys.executable, "-c", READ, folder, json.dumps(larger)]
            size, peak = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            shown.add_row(str(copies), f"{size / 1e6:,.1f}", f"{peak / 1e6:,.0f}")
    Console().print(shown)


READ = """
import json, resource, sys
from pathlib import Path
from ssl_runner.data.clips import Cut, read_all
folder, cut = Path(sys.argv[1]), Cut(*json.loads(sys.argv[2]))
files = sorted(path for path in (folder / "videos").rglob("*") if path.is_file())
data = read_all(folder, files, cut=cut, cache=folder / "cache").data
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps([data.nbytes, unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""  # in a process of its own, whose peak is that of reading


def rounds_of(what: Mapping[str, Callable[[], float]], rounds: int, warm: int = 1) -> dict[str, list[float]]:
    """Each once a round, in turn, so that what slows the machine slows all; the first `warm` rounds do not count."""
    found: dict[str, list[float]] = {name: [] for name in what}
    for turn in range(-warm, rounds):
        for name, measure in what.items():
            value = measure()
            if turn >= 0:
                found[name].append(value)
    return found


def table(title: str, found: Mapping[str, list[float]], base: str) -> None:
    shown = Table("", "median", "least", "most", f"{base} / this, median of rounds", title=title)
    for name, values in found.items():
        ratio = statistics.median(a / b for a, b in zip(found[base], values, strict=True))
        shown.add_row(name, *(f"{f(values):,.2f}" for f in (statistics.median, min, max)), f"{ratio:.2f}")
    Console().print(shown)


def objectives(steps: int, rounds: int) -> None:
    """Every image objective on made images: its whole step, and what its encoder reads in it, forward and backward."""
    shown = Table(
        "objective", "backbone", "examples/s", "encoder alone", "ratio",
        title=f"batches of {BATCH} of 3 x 32 x 32, {steps} steps, median of {rounds} rounds",
    )  # fmt: skip
    for path in sorted((conf_dir() / "objective").glob("*.yaml")):
        name = path.stem
        words = ["dataset=fake_images", "domain=natural", f"objective={name}", f"batch_size={BATCH}"]
        words += ["evaluation=[]", "controls=[]", "logger=none"]
        for backbone in ("convnet", "vit_micro"):
            config = typed(compose([*words, f"backbone={backbone}"]))
            try:
                _, spec = validate(config)
            except ConfigError:
                continue  # they do not go together
            one = Step(config, spec)
            rates = rounds_of({"whole": partial(one.whole, steps), "encoder": partial(one.encoder, steps)}, rounds)
            whole, alone = (statistics.median(rates[key]) for key in ("whole", "encoder"))
            ratio = statistics.median(a / b for a, b in zip(rates["whole"], rates["encoder"], strict=True))
            shown.add_row(name, backbone, f"{whole:,.0f}", f"{alone:,.0f}", f"{ratio:.2f}")
            break
    Console().print(shown)


class Step:
    """A training step of an objective, and the part of it that is its encoder's."""

    def __init__(self, config: Config, spec: DataSpec) -> None:
        self.spec = replace(spec, size=4096)
        self.model = construct.objective(config, self.spec)
        self.optimizer = construct.optimizer(config, self.model)
        self.inputs: list[tuple[Callable, tuple, dict]] = []
        self.count = config.batch_size
        self.examples = self.spec.fake(self.count)

    def batch(self) -> Batch:
        label = torch.arange(self.count) % max(self.spec.classes, 1)
        return Batch(self.spec.to_input(self.examples), label, torch.arange(self.count))

    def whole(
        self, steps: int, dtype: torch.dtype = torch.float32, clock: Callable[[], float] = time.monotonic
    ) -> float:
        """Examples/s: split, loss, backward, the optimizer, and what moves afterwards."""
        begun = clock()
        for step in range(steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
                loss = self.model.loss(*self.model.split(self.batch()))
            self.optimizer.zero_grad()
            loss.value.backward()
            self.optimizer.step()
            self.model.after_step([loss.carry], step / steps)
        return self.count * steps / (clock() - begun)

    def encoder(self, steps: int) -> float:
        """Examples/s: what the encoder read in one loss, forward and backward."""
        if not self.inputs:
            self.inputs = calls(self.model.encoder, lambda: self.model.loss(*self.model.split(self.batch())))
        begun = time.monotonic()
        for _ in range(steps):
            self.model.encoder.zero_grad()
            found = [call(*args, **kwargs) for call, args, kwargs in self.inputs]
            torch.stack(
                [each.pooled.sum() if isinstance(each, Features) else each.sum() for each in found]
            ).sum().backward()
        return self.count * steps / (time.monotonic() - begun)


def calls(encoder: Encoder, act: Callable[[], object]) -> list[tuple[Callable, tuple, dict]]:
    """What `act` gives the encoder to read with gradients: (method, arguments, keyword arguments) a call."""
    found: list[tuple[Callable, tuple, dict]] = []
    methods = [name for name in ("forward", "map") if name in dir(encoder)]
    inside = False

    def watch(method: Callable) -> Callable:
        def watched(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            if inside or not torch.is_grad_enabled():
                return method(*args, **kwargs)
            found.append((method, tuple(each.detach() for each in args), kwargs))
            inside = True
            try:
                return method(*args, **kwargs)
            finally:
                inside = False

        return watched

    for name in methods:
        setattr(encoder, name, watch(getattr(encoder, name)))
    try:
        act()
    finally:
        for name in methods:
            delattr(encoder, name)
    return found


NETWORKS = (  # of each kind several, of sizes that are trained here: what is decided has to hold for all of a kind
    "dataset=mnist_5k objective=simclr backbone=convnet",
    "dataset=mnist_5k objective=vae backbone=convnet",
    "dataset=fake_images domain=natural objective=moco backbone=convnet",
    "dataset=fake_images domain=natural objective=inpainting backbone=convnet batch_size=64",
    "dataset=fake_images domain=natural objective=simclr backbone=resnet18 batch_size=64",
    "dataset=moving_digits objective=cpc_video backbone=per_frame batch_size=32",
    "dataset=moving_digits objective=next_frame backbone=per_frame batch_size=32",
    "dataset=mnist_5k objective=mae backbone=vit_micro",
    "dataset=fake_images domain=natural objective=mae backbone=vit_tiny batch_size=64",
    "dataset=fake_images domain=natural objective=simclr backbone=vit_tiny batch_size=64",
    "dataset=wiki_sample objective=bert backbone=bert_tiny dataset.length=32 batch_size=64",
    "dataset=wiki_sample objective=language_model backbone=gpt_tiny batch_size=32",
    "dataset=wiki_sample objective=denoising_text backbone=bert_tiny dataset.length=32 batch_size=64",
    "dataset=moving_digits objective=video_mae backbone=vivit_micro batch_size=64",
    "dataset=moving_digits objective=simclr backbone=r3d18 batch_size=4",
    "dataset=moving_digits objective=sequence_order backbone=r2plus1d18 batch_size=4",
    "dataset=wiki_sample objective=language_model backbone=lstm batch_size=32",
    "dataset=wiki_sample objective=elmo backbone=bilstm dataset.length=32 batch_size=64",
    "dataset=wiki_sample objective=nnlm backbone=window_mlp batch_size=32",
    "dataset=correlated_gaussians objective=simclr backbone=mlp",
    "experiment=skip_gram_wiki_sample",
    "experiment=cbow_wiki_sample",
    "experiment=glove_wiki_sample",
)


def precisions(seconds: float, rounds: int, only: str) -> None:
    """A step of each network in float32 and in bfloat16, in turn; then the rows of this processor are written anew.

    On one thread and by the time that it computes, which other work on the machine disturbs the least. `seconds`: of a
    round in one precision, about. `only`: of networks whose words hold this; the rows of the others stay.
    """
    here = precision.processor()
    if here.feature is None:
        raise SystemExit("this processor does not compute in bfloat16: there is nothing to measure")
    torch.set_num_threads(1)
    rows: list[precision.Measured] = []
    for words in (words for words in NETWORKS if only in words):
        config = typed(compose([*words.split(), "evaluation=[]", "controls=[]", "logger=none"]))
        _, spec = construct.source(config)
        step = Step(config, spec)
        rate = min(step.whole(1, clock=time.process_time) for _ in range(2))  # which warms up, too
        steps = max(1, round(seconds * rate / step.count))
        both = {what: partial(step.whole, steps, each, time.process_time) for what, each in precision.DTYPES.items()}
        rates = rounds_of(both, rounds)
        ratios = sorted(a / b for a, b in zip(rates["bfloat16"], rates["float32"], strict=True))
        found = {what: round(statistics.median(values), 1) for what, values in rates.items()}
        spread = dict(zip(("low", "ratio", "high"), (ratios[0], statistics.median(ratios), ratios[-1]), strict=True))
        row = precision.Measured(
            vendor=here.vendor, feature=here.feature, network=precision.kind(step.model), case=words, **found,
            **{what: round(value, 3) for what, value in spread.items()}, torch=str(torch.__version__),
        )  # fmt: skip
        rows.append(row)
        print(f"{row.network:14} {row.ratio:5.2f} ({row.low:.2f} to {row.high:.2f})  {words}", flush=True)
    for network in dict.fromkeys(row.network for row in rows):
        dtype, why = precision.on_processor(here, network, rows)
        print(f"{network}: {precision.name(dtype)}, {why}")
    known = [row for row in precision.table() if (row.vendor, row.feature) != here]
    own = {row.case: row for row in (*precision.table(), *rows) if (row.vendor, row.feature) == here}
    known += [own[words] for words in NETWORKS if words in own]
    content = yaml.safe_dump({"rows": [asdict(row) for row in known]}, sort_keys=False)
    head = "# Written by `python scripts/benchmark.py precision`; ssl_runner/training/precision.py says what is what.\n"
    precision.TABLE.write_text(head + content)
    print(f"written: {precision.TABLE}")


def probe(rounds: int) -> None:
    """60,000 training features of width 256, ten overlapping classes, 24 settings."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from ssl_runner.evaluation.any.logistic import Grid, fit_linear

    generator = torch.Generator().manual_seed(0)
    n, width, classes = 72_000, 256, 10
    label = torch.randint(classes, (n,), generator=generator)
    center = torch.randn(classes, width, generator=generator) * 0.16
    mix = torch.randn(width, width, generator=generator) / width**0.5
    x = (center[label] + torch.randn(n, width, generator=generator)) @ mix
    parts = {"train": slice(0, 60_000), "val": slice(60_000, 66_000), "test": slice(66_000, None)}
    (xt, yt), (xv, yv), (xe, ye) = ((x[p], label[p]) for p in parts.values())
    mean, std = xt.mean(0), xt.std(0)
    settings = compose(["evaluation=linear"])["evaluation"]["linear"]["grid"]
    grid = Grid(**{key: settings[key] for key in ("learning_rates", "weight_decays", "steps", "batch_size")})
    accuracy: dict[str, float] = {}

    def whole_grid() -> float:
        begun = time.monotonic()
        fit = fit_linear(xt, yt, xv, yv, classes, grid, seed=0)
        seconds = time.monotonic() - begun
        accuracy["ssl_runner, the grid"] = fit.accuracy(xe, ye)
        return seconds

    def one_by_one() -> float:
        arrays = [((part - mean) / std).numpy() for part in (xt, xv, xe)]
        begun = time.monotonic()
        # scikit-learn has no learning rate: its settings are as many weight decays, over the same range
        decays = np.geomspace(min(grid.weight_decays), max(grid.weight_decays), len(grid.settings))
        strengths = [1 / (len(yt) * decay) for decay in decays]
        fits = [LogisticRegression(C=c, max_iter=1000).fit(arrays[0], yt.numpy()) for c in strengths]
        best = max(fits, key=lambda fit: fit.score(arrays[1], yv.numpy()))
        seconds = time.monotonic() - begun
        accuracy["scikit-learn, one by one"] = best.score(arrays[2], ye.numpy())
        return seconds

    found = rounds_of({"ssl_runner, the grid": whole_grid, "scikit-learn, one by one": one_by_one}, rounds, warm=0)
    table(f"linear probe, {len(grid.settings)} settings, 60,000 x 256; seconds", found, "ssl_runner, the grid")
    for name, value in accuracy.items():
        print(f"{name}: {100 * value:.2f} % on 6,000 test features")


def startup(rounds: int) -> None:
    def seconds(*words: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.monotonic()
            subprocess.run([sys.executable, "-m", "ssl_runner", *words], cwd=folder, capture_output=True, check=False)
            return time.monotonic() - begun

    def first_step() -> float:
        """From the command to the line that follows the first training step."""
        words = ["budget.unit=steps", "budget.amount=1000", "trainer.log_every_n_steps=1", "trainer.validations=0"]
        with tempfile.TemporaryDirectory() as folder:
            begun = time.monotonic()
            command = [sys.executable, "-u", "-m", "ssl_runner", *words]
            with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
                for line in process.stdout or ():
                    if line.startswith("pretraining"):
                        break
                spent = time.monotonic() - begun
                process.kill()
        return spent

    what = {
        "--help": lambda: seconds("--help"),
        "a wrong key": lambda: seconds("objective.rati=1"),
        "a value out of range": lambda: seconds("objective.loss.temperature=0"),
        "what does not go together": lambda: seconds("objective=mae", "backbone=resnet18"),
        "check=true": lambda: seconds("check=true"),
        "to the first training step": first_step,
    }
    table(f"seconds, {rounds} rounds", rounds_of(what, rounds), "--help")


def second_long(file: str, log: str, gpu: str | None) -> None:
    """A job that takes a second and finishes its run, and nothing more."""
    time.sleep(1)
    plain = yaml.safe_load(Path(file).read_text())["config"]
    config = typed(plain)
    name = Name(dataset="fake_images", objective="simclr", backbone="convnet")
    result = Result(identity="", name=name, seed=config.seed, status="done", command="", started="")
    write_result(run_folder(config, plain), result)


def sweep() -> None:
    """20 jobs, two at a time: of a second each, and real runs with a second of training each."""
    words = ["dataset=fake_images", "budget.unit=minutes", "budget.amount=0.0166667", "evaluation=[]", "controls=[]"]
    words += ["logger=none", "trainer.validations=0", "seed=range(0,20)"]
    rows = []
    for title, target in (("a second of sleep", second_long), ("a second of training, and all else of a run", forked)):
        work = sweep_command.WORK._replace(forked=target)
        with (
            tempfile.TemporaryDirectory() as folder,
            initialize_config_dir(str(conf_dir()), version_base=version_base()),
        ):
            loader = GlobalHydra.instance().config_loader()
            axes = read_axes(Composer(loader, "config", [], []), [*words, f"output={folder}"])
            jobs = plan(Composer(loader, "config", [], axes.fixed), axes, combinations(axes)).jobs
            watch = Watch()
            outcomes = run_jobs(Listed(jobs), Local(work, 2, 20, "cpu"), watch, Path(folder), "benchmark")
            total = time.monotonic() - watch.begun
            first = min(o.seconds for o in outcomes)
            rows.append((title, sum(o.state == "done" for o in outcomes), total, watch.first - watch.begun, first))
    shown = Table(
        "20 jobs, two at a time", "done", "seconds", "to the first end", "beside the ideal 10 s", "fastest job"
    )
    for title, done, total, start, first in rows:
        ratio = (total - (start - 1)) / 10
        shown.add_row(title, str(done), f"{total:.1f}", f"{start:.1f}", f"{ratio:.2f}", f"{first:.2f}")
    Console().print(shown)
    for count in (10, 1000):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.monotonic()
            command = [
                sys.executable,
                "-m",
                "ssl_runner",
                "-m",
                f"seed=range(0,{count})",
                "check=true",
                f"output={folder}",
            ]
            subprocess.run(command, capture_output=True, check=True)
            Console().print(
                f"{count} runs planned and looked up in {time.monotonic() - begun:.1f} s, Python's start included"
            )


class Watch:
    """Notes when the first job ended, and shows nothing."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.first = math.inf

    def show(self, running: Sequence[Running], outcomes: Sequence[Outcome], waiting: int) -> None:
        pass

    def started(self, job: Job) -> None:
        pass

    def ended(self, outcome: Outcome) -> None:
        self.first = min(self.first, time.monotonic())

    def stopping(self) -> None:
        pass


def checkpoints(minutes: float, overrides: Sequence[str]) -> None:
    """What checkpoints take of a run's throughput, at the default interval unless `overrides` set another.

    The run's seconds with and without those in which it wrote; the one at its end, which every run has, is in neither.
    """
    words = [
        "dataset=fake_images", "dataset.examples=2000", "dataset.height=32", "dataset.width=32", "backbone=resnet18",
        "batch_size=64", "budget.unit=minutes", f"budget.amount={minutes}", "trainer.validations=0", "evaluation=[]",
        "logger=none", *overrides,
    ]  # fmt: skip
    config = typed(compose(words))
    data = DataModule(construct.construct(config.dataset), batch_size=config.batch_size, seed=0)
    data.setup()
    taken: list[float] = []
    write = Checkpoint.write

    def timed(self: Checkpoint, trainer: Any) -> None:
        begun = time.monotonic()
        write(self, trainer)
        taken.append(time.monotonic() - begun)

    Checkpoint.write = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        pretraining, cost = pretrained(config, fresh(config, data), data, folder)
        megabytes = (Path(folder) / FOLDER / LAST).stat().st_size / 2**20
    seconds = cost.seconds - taken[-1]
    between = taken[:-1]
    if not between:
        raise SystemExit(f"no checkpoint was written in {minutes:g} minutes; let it run for longer: --minutes")
    ratio = (seconds - sum(between)) / seconds
    every = config.trainer.checkpoint_minutes
    print(f"checkpoints of {megabytes:.0f} MB every {every:g} minutes, {len(between)} in {seconds:.0f} s")
    rate = pretraining.examples / seconds
    print(f"{rate:.1f} examples/s, {rate / ratio:.1f} without")
    print(f"ratio {ratio:.5f}; a checkpoint takes {statistics.median(between):.2f} s (median)")


def identity(root: str) -> None:
    """CPU seconds, which other programs do not change, that a run takes to know its files, and for checksums: of MNIST
    at the start, of a checkpoint of 122 MiB each time it is written, of the encoder at the end."""
    words = ["dataset=mnist", f"dataset.root={root}", "dataset.download=false", "backbone=resnet18", "logger=none"]
    plain = compose(words)
    config = typed(plain)
    source, spec = construct.source(config)

    def taken(act: Callable[[], object]) -> str:
        begun = time.process_time()
        act()
        return f"{time.process_time() - begun:.3f} s"

    print(f"fingerprint of MNIST: {taken(lambda: with_contents(RunRequest(config, plain), source, spec))}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / LAST
        state = {"state_dict": {str(n): torch.randn(1000, 1000) for n in range(32)}}
        print(f"a checkpoint of {32 * 4e6 / 2**20:.0f} MiB, written: {taken(lambda: write(state, file))}")
        print(f"its checksum compared: {taken(lambda: check(file))}")
        encoder = construct.random_start(config, spec)
        print(f"encoder exported: {taken(lambda: export.export_encoder(Path(folder), encoder, config.backbone, spec))}")
        print(f"its checksums compared: {taken(lambda: export.check_sums(Path(folder)))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["simclr", "text", "words", "objectives", "precision", "probe", "startup", "sweep", "video"]
    names += ["checkpoints", "identity"]
    parser.add_argument("what", choices=names)
    parser.add_argument("--root", default="data", help="folder of MNIST (dataset.root), or of videos")
    parser.add_argument("--steps", type=int, default=100, help="training steps a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", choices=["tiny", "small"], default="tiny", help="of the encoders of text")
    parser.add_argument("--batch", type=int, default=32, help="windows of text")
    parser.add_argument("--length", type=int, default=128, help="tokens of a window")
    parser.add_argument("--epochs", type=int, default=5, help="of word vectors")
    parser.add_argument("--minutes", type=float, default=11.0, help="of the run with checkpoints")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a round of precision")
    parser.add_argument("--only", default="", help="of precision: networks whose words hold this")
    parser.add_argument("--pairs", help="file of WordSim-353; by default gensim's copy")
    parser.add_argument("overrides", nargs="*", help="of words and checkpoints: optimizer.lr=0.1")
    arguments = parser.parse_intermixed_args()
    if arguments.what == "simclr":
        simclr(arguments.root, arguments.steps, arguments.rounds)
    elif arguments.what == "text":
        text(arguments.size, arguments.batch, arguments.length, arguments.steps, arguments.rounds)
    elif arguments.what == "words":
        words(arguments.epochs, arguments.rounds, arguments.pairs, arguments.overrides)
    elif arguments.what == "objectives":
        objectives(arguments.steps, arguments.rounds)
    elif arguments.what == "precision":
        precisions(arguments.seconds, arguments.rounds, arguments.only)
    elif arguments.what == "probe":
        probe(arguments.rounds)
    elif arguments.what == "sweep":
        sweep()
    elif arguments.what == "checkpoints":
        checkpoints(arguments.minutes, arguments.overrides)
    elif arguments.what == "identity":
        identity(arguments.root)
    elif arguments.what == "video":
        video(arguments.root, arguments.rounds)
    else:
        startup(arguments.rounds)


if __name__ == "__main__":
    main()
