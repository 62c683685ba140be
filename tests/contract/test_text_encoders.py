"""What `interfaces` promises of every encoder of text, for every backbone that has a config."""

import libraries
import pytest
import torch
import yaml

from ssl_runner.assembly import construct
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.signatures import locate
from ssl_runner.interfaces import (
    BiCausalEncoder,
    CausalEncoder,
    CountEncoder,
    TextEncoder,
    TokenEncoder,
    WordEncoder,
)  # fmt: skip
from ssl_runner.testing.text_encoders import (  # noqa: F401
    SPEC,
    test_evaluation_is_deterministic,
    test_gradients_reach_every_weight,
    test_padding_does_not_matter,
    test_shapes_are_as_promised,
    test_state_round_trips_strictly,
    test_the_embedding_has_a_row_a_token_and_none_for_padding,
    test_who_sees_whom,
    texts,
)

NODES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((conf_dir() / "backbone").glob("*.yaml"))}
NODES = {name: node for name, node in NODES.items() if issubclass(locate(node["_target_"]), TextEncoder)}
SMALLER = {  # numbers that cost time and change no promise
    **libraries.SMALLER,
    "bert_small": {"depth": 2},
    "gpt_small": {"depth": 2},
}
KINDS = (TokenEncoder, CausalEncoder, BiCausalEncoder, WordEncoder, CountEncoder)


@pytest.fixture(params=NODES)
def encoder(request: pytest.FixtureRequest) -> TextEncoder:
    libraries.needs(request.param)
    torch.manual_seed(0)
    made = construct.encoder(NODES[request.param] | SMALLER.get(request.param, {}), SPEC)
    assert isinstance(made, TextEncoder)
    return made.eval()


@pytest.fixture
def x() -> torch.Tensor:
    return texts()


def test_all_kinds_are_tried() -> None:
    assert {kind for kind in KINDS if any(issubclass(locate(node["_target_"]), kind) for node in NODES.values())} == {
        *KINDS
    }
