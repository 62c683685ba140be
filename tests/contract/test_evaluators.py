"""What `interfaces` promises of every evaluator, for each that has a config."""

import inspect
import pkgutil
from importlib import import_module
from typing import Any, get_args, get_type_hints

import pytest
import torch
from findings import changed, check, key, keys, node_of
from omegaconf import OmegaConf
from torch import Tensor, nn

import ssl_runner.evaluation
import ssl_runner.interfaces
from ssl_runner.assembly.construct import construct
from ssl_runner.config.files import register
from ssl_runner.config.paths import conf_dir, options
from ssl_runner.evaluation.any.controls import Pixels
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.interfaces import (
    Batch,
    Bounds,
    Boxes,
    Contrasts,
    Decomposes,
    Encoder,
    Evaluator,
    Examples,
    Features,
    Finding,
    Generates,
    ImageSpec,
    Inspection,
    Loss,
    MapEncoder,
    Objective,
    Parts,
    Reconstructs,
    Subject,
)

FILES = options("evaluation")
SETS = {name: path for name, path in FILES.items() if "_target_" not in OmegaConf.load(path)}
SINGLE = {name: path for name, path in FILES.items() if name not in SETS}
SMALLER = {  # numbers that cost time and change no promise
    "linear": {"steps": 30},
    "few_label": {"steps": 30, "per_class": [1]},
    "finetune": {"epochs": 2, "batch_size": 8},
    "few_label_finetune": {"fractions": [0.1, 1.0], "epochs": 2, "least_steps": 5, "batch_size": 8},
    "few_label_self_training": {"fractions": [0.1], "epochs": 2, "least_steps": 5, "batch_size": 8},
    "few_label_fixmatch": {"fractions": [0.1], "least_steps": 5, "batch_size": 8},
    "mutual_information": {"candidates": [2, 8]},
    "layers": {"steps": 30},
    "likelihood": {"samples": 3},
    "detection": {"epochs": 1, "batch_size": 24, "width": 8},
    "detection_finetune": {"epochs": 1, "batch_size": 24, "width": 8},
}


def class_of(name: str) -> type[Evaluator | Inspection]:
    module, _, cls = OmegaConf.load(SINGLE[name])["_target_"].rpartition(".")
    return getattr(import_module(module), cls)


def build(name: str, **changes: Any) -> Any:
    if getattr(class_of(name), "needs_boxes", False) and name in ("detection", "detection_finetune"):
        pytest.importorskip("pycocotools", reason="pycocotools is not installed, which matches boxes")
    return construct(changed(node_of(name), SMALLER.get(name, {}) | changes))


EVALUATORS = [name for name in SINGLE if issubclass(class_of(name), Evaluator)]
INSPECTIONS = [name for name in SINGLE if issubclass(class_of(name), Inspection)]
# Those of text alone are asked the same in tests/unit/evaluation, where there are texts and files for them.
OF_IMAGES = [name for name in SINGLE if issubclass(ImageSpec, class_of(name).reads)]


class Images:
    """Noise; an image's class brightens one of its rows, which is its box too, and its only tag."""

    def __init__(self) -> None:
        names = ("a", "b", "c")
        self.spec = ImageSpec(
            channels=3, height=8, width=8, classes=3, class_names=names, box_names=names, tag_names=names
        )
        g = torch.Generator().manual_seed(0)
        self.splits = {}
        for split, n in {"train": 48, "val": 24, "test": 30}.items():
            label = torch.arange(n) % 3
            data = torch.randint(128, (n, 3, 8, 8), generator=g, dtype=torch.uint8)
            data[torch.arange(n), :, 2 * label] += 127
            self.splits[split] = Examples(data, label)

    def examples(self, split: str) -> Examples:
        return self.splits[split]

    def boxes(self, split: str) -> Boxes:
        n = len(self.splits[split].data)
        row = 2 * (torch.arange(n) % 3)
        corners = torch.stack([torch.zeros(n), row / 8, torch.ones(n), (row + 1) / 8], dim=1)
        return Boxes(torch.arange(n), corners, row // 2, torch.zeros(n, dtype=torch.bool))

    def tags(self, split: str) -> Tensor:
        return nn.functional.one_hot(torch.arange(len(self.splits[split].data)) % 3, 3).to(torch.int8)


class Net(MapEncoder):
    """BatchNorm, dropout, and two blocks."""

    kind = "a test's encoder"
    dim = 5

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
        self.second = nn.Conv2d(4, 5, 3)

    def map(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        first = self.first(x)
        second = self.second(first)
        pooled = second.mean((2, 3))
        return Features(second.flatten(2).mT, pooled, (first.mean((2, 3)), pooled) if layers else ())


class Copy(Objective[Tensor, Tensor]):
    """Offers all that inspections ask for, from noise and weights, so that all that can be moved is there."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = nn.Linear(encoder.dim, 3 * 64)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.data + 0.1 * torch.randn_like(batch.data), batch.data

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        return Loss((self.reconstruct(x) - y).square().mean())

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    def compared(self, image: Tensor) -> Tensor:
        return image

    def hidden(self, x: Tensor) -> Tensor:
        return torch.ones_like(x, dtype=torch.bool)

    def hides(self) -> dict[str, str]:
        return {"pixels": "all"}

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x).pooled

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).view(-1, 3, 8, 8)

    def sample(self, n: int) -> Tensor:
        return self.decode(torch.randn(n, self.encoder.dim))

    def density(self) -> dict[str, str]:
        return {"family": "none"}

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.encode(x), torch.ones(len(x), self.encoder.dim)

    def log_weights(self, x: Tensor, y: Tensor, samples: int) -> Tensor:
        return -(self.encode(x).mean(dim=1) - torch.randn(samples, len(y))).square()

    def family(self) -> str:
        return "none"

    def decompose(self, x: Tensor, y: Tensor, samples: int) -> Parts:
        kl = torch.rand(samples, len(y)).mean(dim=0)
        return Parts(self.encode(x).mean(dim=1), self.encode(x).mean(dim=1) - kl, kl)

    def critic(self, x: Tensor) -> Tensor:
        z = self.encoder(x).pooled
        return z @ z.T


PROTOCOLS = (Bounds, Contrasts, Decomposes, Generates, Reconstructs)


def subject(encoder: Encoder) -> FrozenSubject:
    return FrozenSubject(encoder, Images(), seed=0, device=torch.device("cpu"), batch_size=16)


def net() -> Net:
    torch.manual_seed(1)
    return Net()


def ask(name: str, encoder: Encoder, **changes: Any) -> Finding:
    asked, evaluation = subject(encoder), build(name, **changes)
    return evaluation(asked) if name in EVALUATORS else evaluation(Copy(encoder), asked)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_what_every_finding_promises(name):
    check(name, ask(name, net()))


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        (name, setting)
        for name in OF_IMAGES
        for setting in sorted(class_of(name).presentation)
        if type(node_of(name).get(setting)) is int
    ],
)
@pytest.mark.sampled(2)
def test_a_setting_of_presentation_changes_no_number(name, setting):
    found, other = ask(name, net()), ask(name, net(), **{setting: 2})
    assert keys(found) == keys(other)
    for one, another in zip(found.metrics, other.metrics, strict=True):
        assert one.value == pytest.approx(another.value, rel=1e-5, abs=1e-7)
    assert found.protocol.terms == other.protocol.terms


@pytest.mark.parametrize(
    ("name", "setting", "value"), [("few_label", "per_class", [2]), ("few_label", "fractions", [])]
)
def test_which_conditions_are_asked_for_changes_no_number_of_the_others(name, setting, value):
    found, other = ask(name, net()), ask(name, net(), **{setting: value})
    same = set(keys(found)) & set(keys(other))
    assert same
    assert keys(found) != keys(other)
    for one in found.metrics:
        if key(one) in same:
            assert one == next(each for each in other.metrics if key(each) == key(one))


@pytest.mark.parametrize("name", OF_IMAGES)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.sampled(12)
def test_encoder_data_and_generators_are_left_as_they_were(name, training):
    encoder = net().train(training)
    encoder.second.eval()
    whole = Copy(encoder)
    weights = {key: value.clone() for key, value in whole.state_dict().items()}
    modes = [part.training for part in whole.modules()]
    asked = subject(encoder)
    data = {split: [part.clone() for part in examples] for split, examples in asked.data.splits.items()}
    torch.manual_seed(7)
    following = torch.rand(3)
    torch.manual_seed(7)
    build(name)(asked) if name in EVALUATORS else build(name)(whole, asked)
    assert torch.equal(torch.rand(3), following)
    assert all(torch.equal(value, weights[key]) for key, value in whole.state_dict().items())
    assert [part.training for part in whole.modules()] == modes
    assert all(p.requires_grad and p.grad is None for p in whole.parameters())
    for split, parts in data.items():
        assert all(torch.equal(a, b) for a, b in zip(parts, asked.data.examples(split), strict=True))


@pytest.mark.parametrize("name", OF_IMAGES)
@pytest.mark.sampled(6)
def test_a_seed_repeats_whatever_was_drawn_before(name):
    results = []
    for before in (1, 2):
        whole = Copy(net())
        torch.manual_seed(before)
        asked = subject(whole.encoder)
        found = build(name)(asked) if name in EVALUATORS else build(name)(whole, asked)
        results.append((found.metrics, found.protocol))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "name", [name for name in EVALUATORS if name in OF_IMAGES and class_of(name).pixels_are_control]
)
def test_pixels_are_evaluated_alike(name):
    pixels, encoder = ask(name, Pixels(Images().spec)), ask(name, net())
    assert keys(pixels) == keys(encoder)
    assert pixels.protocol.terms == encoder.protocol.terms
    assert [each.terms for each in pixels.metrics] == [each.terms for each in encoder.metrics]


@pytest.mark.parametrize("name", [name for name in EVALUATORS if name in OF_IMAGES and not class_of(name).needs_labels])
@pytest.mark.sampled(2)
def test_labels_are_not_needed_where_that_is_said(name):
    asked, unlabeled = subject(net()), subject(net())
    for split, examples in unlabeled.data.splits.items():
        unlabeled.data.splits[split] = Examples(examples.data, torch.full_like(examples.label, -1))
    assert build(name)(asked).metrics == build(name)(unlabeled).metrics


@pytest.mark.parametrize("name", [name for name in EVALUATORS if name in OF_IMAGES and class_of(name).needs_labels])
def test_labels_matter_where_that_is_said(name):
    right, wrong = subject(net()), subject(net())
    test = wrong.data.examples("test")
    wrong.data.splits["test"] = Examples(test.data, test.label.sort().values)
    assert build(name)(right).metrics != build(name)(wrong).metrics


@pytest.mark.parametrize("name", INSPECTIONS)
def test_inspections_say_what_they_ask_of_an_objective(name):
    needs = get_type_hints(class_of(name).__call__)["objective"]
    if name in OF_IMAGES:
        assert needs in (*PROTOCOLS, Objective)
        assert isinstance(Copy(net()), PROTOCOLS)
    else:
        for each in get_args(needs) or (needs,):  # one of several
            assert vars(ssl_runner.interfaces)[each.__name__] is each


def test_every_evaluator_has_a_config():
    packages = pkgutil.walk_packages(ssl_runner.evaluation.__path__, "ssl_runner.evaluation.")
    modules = [import_module(each.name) for each in packages]
    classes = {
        cls
        for module in modules
        for cls in vars(module).values()
        if inspect.isclass(cls)
        and issubclass(cls, Evaluator | Inspection)
        and not inspect.isabstract(cls)
        and cls.__module__ == module.__name__
    }
    assert {class_of(name) for name in SINGLE} == classes
    assert len(classes) == len(SINGLE) >= 8


@pytest.mark.parametrize("name", SINGLE)
def test_configs_name_their_place_and_all_parameters_and_no_code_has_defaults(name):
    assert SINGLE[name].read_text().startswith(f"# @package evaluation.{name}\n# ")
    parameters = list(inspect.signature(class_of(name).__init__).parameters.values())[1:]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)
    assert {p.name for p in parameters} == set(node_of(name)) - {"_target_", "defaults"}


def test_sets_compose(tmp_path):
    from hydra import compose, initialize_config_dir

    register()  # options lie on floors
    (tmp_path / "root.yaml").write_text("defaults: [_self_, {evaluation: image}]\n")
    with initialize_config_dir(str(tmp_path), version_base=None):
        override = [f"hydra.searchpath=[file://{conf_dir()}]"]
        whole = compose("root", override)["evaluation"]
        assert {"linear", "knn", "layers", "geometry"} <= set(whole) <= set(SINGLE)
        assert not {"finetune", "few_label_finetune"} & set(whole)  # minutes each: to be asked for by name
        two = compose(
            "root", [*override, "evaluation=[linear,knn]", "evaluation.knn.k=5", "evaluation.linear.layer=-2"]
        )
        assert set(two["evaluation"]) == {"linear", "knn"}
        assert (two["evaluation"]["knn"]["k"], two["evaluation"]["linear"]["layer"]) == (5, -2)
        assert "evaluation" not in compose("root", [*override, "evaluation=[]"])


def test_frozen_subject_is_a_subject():
    assert set(get_type_hints(Subject)) <= set(vars(subject(net())))
