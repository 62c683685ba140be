"""Which precision is chosen: by hand-made rows, by the types of modules, and as a run that is resumed began."""

from dataclasses import fields, replace
from typing import get_args, get_type_hints

import pytest
import torch
import yaml
from torch import nn

from ssl_runner.assembly import construct
from ssl_runner.config.compose import compose
from ssl_runner.config.schema import typed
from ssl_runner.training import precision
from ssl_runner.training.precision import (
    Decision,
    Measured,
    Processor,
    decide,
    described,
    fastest,
    kind,
    on_processor,
)

ROW = Measured(
    vendor="AuthenticAMD", feature="avx512_bf16", network="convolutional", case="", float32=100.0, bfloat16=130.0,
    ratio=1.3, low=1.2, high=1.4, torch="2.14.1",
)  # fmt: skip
ROWS = [
    ROW,
    replace(ROW, ratio=1.65),
    replace(ROW, network="attention", ratio=1.2),
    replace(ROW, network="attention", ratio=0.8),  # sqrt(1.2 x 0.8) = 0.98: as good as equal
    replace(ROW, network="dense", ratio=1.19),
    replace(ROW, network="recurrent", ratio=0.6),
]
ZEN = Processor("AuthenticAMD", "avx512_bf16")


@pytest.mark.parametrize(
    ("here", "network", "dtype", "why"),
    [
        (ZEN, "convolutional", torch.bfloat16, "bfloat16 was 1.46 times as fast, 1.30 to 1.65 (convolutional"),
        (ZEN, "attention", torch.float32, "bfloat16 was 0.98 times as fast, 0.80 to 1.20"),
        (ZEN, "recurrent", torch.float32, "bfloat16 was 0.60 times as fast (recurrent"),
        (ZEN, "dense", torch.float32, "bfloat16 was 1.19 times as fast"),
        (ZEN, "table", torch.float32, "not measured (table networks, AuthenticAMD, avx512_bf16)"),
        (ZEN._replace(vendor="GenuineIntel"), "convolutional", torch.float32, "not measured"),
        (ZEN._replace(feature="amx_tile"), "convolutional", torch.bfloat16, "not measured"),
        (Processor("", None), "convolutional", torch.float32, "a processor of unknown make, no bfloat16"),
    ],
)
def test_a_processor_and_a_kind_of_network_decide(
    here: Processor, network: precision.Network, dtype: torch.dtype, why: str
) -> None:
    found = on_processor(here, network, ROWS)
    assert found.dtype == dtype
    assert why in found.why


def test_what_is_asked_for_is_done() -> None:
    cpu, network = torch.device("cpu"), nn.Linear(1, 1)
    assert decide("float32", cpu, network, "bfloat16").dtype == torch.float32
    assert decide("bfloat16", cpu, network, "float32").dtype == torch.bfloat16
    assert decide("auto", cpu, network).dtype == fastest(cpu, "dense").dtype
    assert fastest(torch.device("mps"), "dense") == (torch.float32, "auto: not measured on mps")


@pytest.mark.parametrize("began", ["bfloat16", "float32"])
def test_a_run_goes_on_in_what_it_began_in(began: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = torch.float32 if began == "bfloat16" else torch.bfloat16
    monkeypatch.setattr(precision, "fastest", lambda device, network: Decision(other, "auto: here"))
    found = decide("auto", torch.device("cpu"), nn.Linear(1, 1), began)
    assert found == (
        precision.DTYPES[began],
        f"as at the start of the run; a new run would be in {precision.name(other)} here: auto: here",
    )


@pytest.mark.parametrize(
    ("said", "tiles", "expected"),
    [
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512f avx512_bf16 vp\n", False, ZEN),
        ("vendor_id\t: GenuineIntel\nflags\t\t: avx512_bf16 amx_tile\n", True, Processor("GenuineIntel", "amx_tile")),
        ("vendor_id\t: GenuineIntel\nflags\t\t: avx512f avx2\n", False, Processor("GenuineIntel", None)),
        ("CPU implementer\t: 0x41\nFeatures\t: fp asimd bf16\n", False, Processor("", None)),
        ("", False, Processor("", None)),
    ],
)
def test_a_processor_is_read_from_what_linux_says(said: str, tiles: bool, expected: Processor) -> None:
    assert described(said, tiles=tiles) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("objective=simclr backbone=convnet", "convolutional"),
        ("objective=simclr backbone=resnet18", "convolutional"),
        ("objective=mae backbone=vit_micro", "attention"),
        ("dataset=wiki_sample objective=bert backbone=bert_tiny", "attention"),
        ("dataset=wiki_sample objective=language_model backbone=lstm", "recurrent"),
        ("dataset=wiki_sample objective=nnlm backbone=window_mlp", "dense"),
        ("dataset=moving_digits objective=simclr backbone=per_frame backbone.pool=lstm", "convolutional"),
        ("dataset=moving_digits objective=simclr backbone=r3d18", "volumetric"),
        ("dataset=moving_digits objective=video_mae backbone=vivit_micro", "attention"),
        ("experiment=glove_wiki_sample", "table"),
        ("dataset=correlated_gaussians objective=simclr backbone=mlp", "dense"),
    ],
)
def test_the_kind_of_a_network_is_known_by_its_modules(words: str, expected: str) -> None:
    config = typed(compose([*words.split(), "evaluation=[]"]))
    _, spec = construct.source(config)
    assert kind(construct.objective(config, spec)) == expected


def test_the_table_that_is_shipped_is_well_formed() -> None:
    hints = get_type_hints(Measured)
    assert set(yaml.safe_load(precision.TABLE.read_text())) == {"rows"}
    for row in precision.table():
        for field in fields(Measured):
            value, hint = getattr(row, field.name), hints[field.name]
            assert value in get_args(hint) if get_args(hint) else type(value) is hint, field.name
        assert row.low <= row.ratio <= row.high
    cases = [(row.vendor, row.feature, row.case) for row in precision.table()]
    assert len(cases) == len(set(cases))
