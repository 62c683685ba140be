"""tokens/s of BERT and of a language model, beside those of Hugging Face's

Both have the same sizes, windows and optimizer.
"""

import argparse
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from ssl_runner.commands.run import fresh
from ssl_runner.config.compose import compose
from ssl_runner.config.schema import Config, typed
from ssl_runner.data.any.module import DataModule
from ssl_runner.interfaces import TextSpec
from ssl_runner.runtime.devices import device_of
from ssl_runner.training import precision

from .shared import (
    MACHINE,
    loaded,
    loop_rate,
    machine_rate,
    print_rates,
    rates,
    step_flops,
    trainer_flops,
    trainer_rate,
)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=["tiny", "small"], default="tiny", help="of the encoders")
    parser.add_argument("--batch", type=int, default=32, help="windows of text")
    parser.add_argument("--length", type=int, default=128, help="tokens of a window")
    parser.add_argument("--steps", type=int, default=100, help="training steps a round")
    parser.add_argument("--rounds", type=int, default=3)


def measure(arguments: argparse.Namespace) -> None:
    if importlib.util.find_spec("transformers") is None:
        raise SystemExit("text: Hugging Face's transformers is not installed: pip install 'ssl-runner[benchmark]'")
    batch, length = arguments.batch, arguments.length
    for objective, backbone in (("bert", f"bert_{arguments.size}"), ("language_model", f"gpt_{arguments.size}")):
        config = _config(objective, backbone, batch, length, arguments.steps)
        data = loaded(config)
        spec = cast(TextSpec, data.spec)
        what: dict[str, Callable[[], float]] = {
            "ssl_runner": partial(ours, config, data),
            "transformers": partial(hugging_face, config, data),
        }
        dtype = dtype_of(config, data)
        what[MACHINE] = partial(machine_rate, dtype)
        steps = {
            "ssl_runner": trainer_flops(config, data),
            "transformers": step_flops(hugging_face_loop(config, data)[0]),
        }
        flops = {name: count / (batch * spec.length) for name, count in steps.items()}
        kind = precision.name(dtype)
        title = f"{objective}, {backbone}, batch {batch} x {length}, vocabulary {spec.vocabulary:,}, {kind}; tokens/s"
        print_rates(title, rates(what, arguments.rounds), "ssl_runner", flops)


def ours(config: Config, data: DataModule) -> float:
    """Tokens/s through the whole trainer."""
    return trainer_rate(config, data) * cast(TextSpec, data.spec).length


def dtype_of(config: Config, data: DataModule) -> torch.dtype:
    """The precision of both: what is decided goes by the types of modules, and those of others are not known."""
    return precision.decide(config.trainer.precision, device_of("auto"), fresh(config, data)).dtype


def hugging_face(config: Config, data: DataModule) -> float:
    """Tokens/s of the plain loop."""
    length = cast(TextSpec, data.spec).length
    return config.batch_size * length * loop_rate(*hugging_face_loop(config, data), int(config.budget.amount))


def hugging_face_loop(config: Config, data: DataModule) -> tuple[Callable[[], Tensor], torch.optim.Optimizer]:
    """A plain loop over Hugging Face's model of the same sizes, with the data in memory: a loss, and what it trains.

    Its BERT normalizes after each block rather than before, and once more the embedding rather than the output: as many
    norms. Hidden tokens are drawn by two tensor operations, cheaper than its collator.
    """
    spec = cast(TextSpec, data.spec)
    masked = config.names["objective"] == "bert"
    device = device_of("auto")
    model = (_bert(config, spec) if masked else _gpt(config, spec)).to(device).train()
    dtype = dtype_of(config, data)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)
    windows = data.examples("pretrain").data

    def loss_of() -> Tensor:
        x = windows[torch.randint(len(windows), (config.batch_size,))].to(device).long()
        labels = x
        if masked:
            asked = torch.rand(x.shape, device=device) < config.objective["ratio"]
            x, labels = x.masked_fill(asked, spec.special.mask), x.masked_fill(~asked, -100)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            return model(input_ids=x, labels=labels).loss

    return loss_of, optimizer


def _bert(config: Config, spec: TextSpec) -> Any:
    import transformers

    sizes = config.backbone
    return transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=spec.vocabulary, max_position_embeddings=spec.length, hidden_size=sizes["dim"],
            num_hidden_layers=sizes["depth"], num_attention_heads=sizes["heads"], intermediate_size=_hidden(config),
            hidden_act="gelu", hidden_dropout_prob=sizes["dropout"], attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip


def _gpt(config: Config, spec: TextSpec) -> Any:
    import transformers

    sizes = config.backbone
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=spec.vocabulary, n_positions=spec.length, n_embd=sizes["dim"], n_layer=sizes["depth"],
            n_head=sizes["heads"], n_inner=_hidden(config), activation_function="gelu", resid_pdrop=sizes["dropout"],
            embd_pdrop=sizes["dropout"], attn_pdrop=0.0, use_cache=False,
        )
    )  # fmt: skip


def _hidden(config: Config) -> int:
    return round(config.backbone["dim"] * config.backbone["mlp_ratio"])


def _config(objective: str, backbone: str, batch: int, length: int, steps: int) -> Config:
    words = [
        "dataset=wiki_sample", f"dataset.length={length}", f"objective={objective}", f"backbone={backbone}",
        f"batch_size={batch}", "budget.unit=steps", f"budget.amount={steps}", "trainer.validations=0",
        "trainer.watch_every=0", "evaluation=[]", "logger=none",
    ]  # fmt: skip
    return typed(compose(words))
