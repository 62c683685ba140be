"""bfloat16 beside float32 for each kind of network; writes ssl_runner/training/precision.yaml

A step of each network in float32 and in bfloat16, in turn; then the rows of this processor are written anew. On one
thread and by the time that it computes, which other work on the machine disturbs the least.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import torch
import yaml

from ssl_runner.assembly import construct
from ssl_runner.config.compose import compose
from ssl_runner.config.schema import typed
from ssl_runner.training import precision

from .shared import rates
from .step import Step

HEAD = "# Written by `python -m scripts.benchmarks precision`; ssl_runner/training/precision.py says what is what.\n"

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


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=0.5, help="of a round in one precision, about")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="networks whose words hold this; the rows of the others stay")


def measure(arguments: argparse.Namespace) -> None:
    here = precision.processor()
    if here.feature is None:
        raise SystemExit("this processor does not compute in bfloat16: there is nothing to measure")
    torch.set_num_threads(1)
    rows: list[precision.Measured] = []
    for case in (case for case in NETWORKS if arguments.only in case):
        row = measured(here.vendor, here.feature, case, arguments.seconds, arguments.rounds)
        rows.append(row)
        print(f"{row.network:14} {row.ratio:5.2f} ({row.low:.2f} to {row.high:.2f})  {case}", flush=True)
    for network in dict.fromkeys(row.network for row in rows):
        dtype, why = precision.on_processor(here, network, rows)
        print(f"{network}: {precision.name(dtype)}, {why}")
    write_rows(here, rows)
    print(f"written: {precision.TABLE}")


def measured(vendor: str, feature: precision.Feature, case: str, seconds: float, rounds: int) -> precision.Measured:
    """One row of the table: the step of the network that `case` says, in both precisions."""
    config = typed(compose([*case.split(), "evaluation=[]", "controls=[]", "logger=none"]))
    _, spec = construct.source(config)
    step = Step(config, spec)
    rate = min(step.whole(1, clock=time.process_time) for _ in range(2))  # which warms up, too
    steps = max(1, round(seconds * rate / step.count))
    both = {what: partial(step.whole, steps, each, time.process_time) for what, each in precision.DTYPES.items()}
    found = rates(both, rounds)
    ratios = sorted(a / b for a, b in zip(found["bfloat16"], found["float32"], strict=True))
    medians = {what: round(statistics.median(values), 1) for what, values in found.items()}
    low, ratio, high = (round(value, 3) for value in (ratios[0], statistics.median(ratios), ratios[-1]))
    return precision.Measured(
        vendor=vendor, feature=feature, network=precision.kind(step.model), case=case, **medians,
        low=low, ratio=ratio, high=high, torch=str(torch.__version__),
    )  # fmt: skip


def write_rows(here: precision.Processor, rows: Sequence[precision.Measured]) -> None:
    """Write the table anew: `rows` in place of those of the same cases on this processor, all others as they were."""
    known = [row for row in precision.table() if (row.vendor, row.feature) != here]
    own = {row.case: row for row in (*precision.table(), *rows) if (row.vendor, row.feature) == here}
    known += [own[case] for case in NETWORKS if case in own]
    content = yaml.safe_dump({"rows": [asdict(row) for row in known]}, sort_keys=False)
    precision.TABLE.write_text(HEAD + content)
