"""The evaluators of plugins, and what they say of a network that was not trained. An `Inspection` reads an objective,
which it names: a run tries it."""

from typing import Any

import pytest
import torch

from ssl_runner.assembly import construct
from ssl_runner.config.compose import compose
from ssl_runner.config.signatures import locate
from ssl_runner.config.terms import settings_of
from ssl_runner.data.any.module import DataModule
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.interfaces import Evaluator, Finding, ImageSpec, TextSpec, VectorSpec, VideoSpec
from ssl_runner.testing import cases
from ssl_runner.testing.findings import check_metrics, check_protocol


class Asked:
    """An evaluator of a plugin, and an encoder with data that it reads."""

    def __init__(self, name: str) -> None:
        self.node: dict[str, Any] = compose([f"evaluation=[{name}]"])["evaluation"][name]
        cls = locate(self.node["_target_"])
        if not issubclass(cls, Evaluator):
            pytest.skip(f"{cls.__name__} reads an objective")
        data = {ImageSpec: cases.IMAGES, TextSpec: cases.texts(), VideoSpec: cases.CLIPS, VectorSpec: cases.VECTORS}
        self.config = cases.fitting([next(words for spec, words in data.items() if issubclass(spec, cls.reads))])
        self.presentation = cls.presentation

    def subject(self) -> FrozenSubject:
        data = DataModule(construct.source(self.config)[0], batch_size=16, seed=0, rank=0, ranks=1)
        data.setup()
        torch.manual_seed(0)
        encoder = construct.encoder(self.config.backbone, data.spec)
        return FrozenSubject(encoder, data, seed=0, device=torch.device("cpu"), batch_size=16)

    def ask(self) -> Finding:
        evaluator: Evaluator = construct.construct(self.node)
        evaluator.check(construct.source(self.config)[1])
        return evaluator(self.subject())


@pytest.fixture(params=cases.options("evaluation"))
def asked(request: pytest.FixtureRequest) -> Asked:
    return Asked(request.param)


def test_what_every_finding_promises(asked: Asked) -> None:
    settings = {key: value for key, value in asked.node.items() if key != "_target_"}
    found = asked.ask()
    check_metrics(found, val=True)
    check_protocol(found, {*settings, *settings_of(settings)}, asked.presentation)


def test_a_seed_repeats_whatever_was_drawn_before(asked: Asked) -> None:
    first = asked.ask()
    torch.manual_seed(5)
    again = asked.ask()
    assert (again.metrics, again.protocol) == (first.metrics, first.protocol)


def test_encoder_and_generators_are_left_as_they_were(asked: Asked) -> None:
    evaluator: Evaluator = construct.construct(asked.node)
    subject = asked.subject()
    modes = [part.training for part in subject.encoder.modules()]
    state = {name: value.clone() for name, value in subject.encoder.state_dict().items()}
    torch.manual_seed(7)
    following = torch.rand(3)
    torch.manual_seed(7)
    evaluator(subject)
    assert torch.equal(torch.rand(3), following)
    assert all(torch.equal(value, state[name]) for name, value in subject.encoder.state_dict().items())
    assert [part.training for part in subject.encoder.modules()] == modes
