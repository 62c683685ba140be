"""The contrastive family: SimCLR as it was, and every axis against masks made by hand."""

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from pair import in_two_processes
from torch import Tensor, nn

from ssl_runner.assembly import check, construct
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.schema import typed
from ssl_runner.interfaces import Batch, Encoder, Features, ImageSpec, Views
from ssl_runner.losses.rules import InfoNCE, NPair
from ssl_runner.nn.positives import Augmentation, Label, Positives, PseudoLabel
from ssl_runner.objectives.contrastive_views import ContrastiveViews

CONF = conf_dir() / "objective"
RULES = sorted(path.stem for path in (CONF / "loss").glob("*.yaml"))
SIMILARITIES = ["cosine", "dot", "euclidean", "squared_euclidean", "bilinear"]


class Linear(Encoder):
    """No BatchNorm: rows are independent."""

    kind = "a test's encoder"
    dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 6)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        pooled = self.layer(x.flatten(1))
        return Features(pooled[:, None], pooled)


class Noisy(Views):
    def __init__(self, views: int = 2) -> None:
        super().__init__()
        self.views = views

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn(self.views, *x.shape)


class Same(Views):
    """The image, twice."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x, x))


def family(**changes: object) -> ContrastiveViews:
    torch.manual_seed(0)
    settings = {
        "views": Noisy(),
        "projector": [4],
        "projector_norm": "batch",
        "projector_last_norm": "none",
        "similarity": "cosine",
        "loss": InfoNCE(temperature=0.5, learn_temperature=False, prior=0.0),
        "positives": Augmentation(),
        "negatives": None,
        "hardness": 0.0,
        "queue": 0,
        "ranks": "own",
    }
    spec = ImageSpec(channels=3, height=2, width=2, classes=3)
    return ContrastiveViews(Linear(), spec, **settings | changes)


def batch(n: int = 8, start: int = 0) -> Batch:
    torch.manual_seed(1 + start)
    return Batch(torch.rand(n, 3, 2, 2), torch.arange(n) % 3, torch.arange(start, start + n))


def embed(objective: ContrastiveViews, x: Tensor) -> Tensor:
    return objective.projector(objective.encoder(x.flatten(0, 1)).pooled)


def test_by_default_it_is_nt_xent() -> None:
    """The cross-entropy of each view's twin among all other views of the batch, at SimCLR's temperature."""
    config = typed(compose(["dataset=fake_images", "evaluation=[]", "backbone.widths=[8,16]"]))
    source, spec = construct.source(config)
    examples = source.load()["train"]
    objective = construct.objective(config, spec)
    batch = Batch(spec.to_input(examples.data[:32]), examples.label[:32], torch.arange(32))
    x, y = objective.split(batch)
    loss = objective.loss(x, y)
    z = F.normalize(embed(objective, x), dim=1)
    logits = (z @ z.T / 0.2).fill_diagonal_(float("-inf"))
    twin = torch.arange(64).roll(32)
    torch.testing.assert_close(loss.value, F.cross_entropy(logits, twin))
    assert loss.logs["accuracy"].item() == pytest.approx((logits.argmax(1) == twin).float().mean().item())
    assert loss.logs["log_candidates"].item() == pytest.approx(math.log(63))
    assert loss.logs["information_bound"].item() == pytest.approx(math.log(63) - loss.value.item(), abs=1e-5)
    label = y.label.flatten()
    other = ~(torch.arange(32).repeat(2)[:, None] == torch.arange(32).repeat(2))
    rate = (label[:, None] == label)[other].float().mean()
    assert loss.logs["false_negatives"].item() == pytest.approx(rate.item())


@pytest.mark.parametrize("views", [2, 3])
def test_several_views_are_all_positives(views: int) -> None:
    objective = family(views=Noisy(views), loss=NPair(), similarity="dot")
    x, y = objective.split(batch(5))
    z = embed(objective, x).detach()
    terms = []
    for i in range(5 * views):
        for j in range(5 * views):
            if i != j and i % 5 == j % 5:
                rest = sum(math.exp(z[i] @ z[k]) for k in range(5 * views) if k % 5 != i % 5)
                terms.append(math.log(1 + rest / math.exp(z[i] @ z[j])))
    assert objective.loss(x, y).value.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


class Recorder(NPair):
    """Keeps what it is given."""

    def forward(self, sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        self.seen = (sim.detach(), pos.clone(), neg.clone())
        return super().forward(sim, pos, neg)


def seen(objective: ContrastiveViews, data: Batch, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    objective.loss(*objective.split(data))
    assert isinstance(objective.rule, Recorder)
    return objective.rule.seen


def test_labels_make_positives_of_other_examples() -> None:
    objective = family(loss=Recorder(), positives=Label())
    data = batch(6)
    _, pos, neg = seen(objective, data._replace(label=torch.tensor([0, 0, 1, 1, -1, -1])))
    group = torch.tensor([0, 0, 1, 1, 10, 11]).repeat(2)
    same = group[:, None] == group
    assert torch.equal(pos, same & ~torch.eye(12, dtype=torch.bool))
    assert torch.equal(neg, ~same)


class Halves(Positives):
    def forward(self, features: Tensor, source: Tensor, label: Tensor) -> Tensor:
        return source // 4


def test_the_queue_holds_negatives_and_nothing_else() -> None:
    objective = family(loss=Recorder(), positives=Halves(), queue=10)
    sim, pos, neg = seen(objective, batch(8))
    assert sim.shape == (16, 26)
    assert not neg[:, 16:].any()  # nothing has been pushed
    x, y = objective.split(batch(8))
    carry = objective.loss(x, y).carry
    assert torch.equal(carry.keys, embed(objective, x)[8:])
    objective.after_step([carry], 0.5)
    _, pos, neg = seen(objective, batch(8))
    assert not pos[:, 16:].any()
    group = (torch.arange(8) // 4).repeat(2)
    assert torch.equal(neg[:, 16:24], group[:, None] != torch.arange(8) // 4)
    assert not neg[:, 24:].any()
    objective.after_step([carry], 0.5)
    assert objective.queue.filled.all()


def test_a_given_number_of_negatives_from_the_batch_first() -> None:
    objective = family(loss=Recorder(), negatives=5, queue=16)
    x, y = objective.split(batch(8))
    objective.after_step([objective.loss(x, y).carry], 0.0)
    _, _, neg = seen(objective, batch(8, start=8))
    assert (neg.sum(dim=1) == 5).all()
    assert not neg[:, 16:].any()
    _, _, other = seen(objective, batch(8, start=8), seed=1)
    assert not torch.equal(neg, other)

    objective.negatives = 20
    _, _, neg = seen(objective, batch(8, start=8))
    assert (neg[:, :16].sum(dim=1) == 14).all()  # all there are in the batch
    assert (neg[:, 16:].sum(dim=1) == 6).all()
    assert not neg[:, 24:].any()  # what was never pushed

    objective.negatives = 1000
    _, _, neg = seen(objective, batch(8, start=8))
    assert (neg.sum(dim=1) == 14 + 8).all()


def test_hard_negatives_weigh_more() -> None:
    objective = family(loss=Recorder(), hardness=3.0)
    sim, pos, weight = seen(objective, batch(8))
    neg = ~pos & ~torch.eye(16, dtype=torch.bool)
    expected = torch.where(neg, (3 * sim).exp(), 0)
    torch.testing.assert_close(weight, 14 * expected / expected.sum(dim=1, keepdim=True))


def test_the_critic_scores_first_views_against_second_ones() -> None:
    objective = family().eval()
    x, _ = objective.split(batch(8))
    scores = objective.critic(x)
    first, second = F.normalize(embed(objective, x), dim=1).chunk(2)
    torch.testing.assert_close(scores, first @ second.T / 0.5)


SMALL = ["dataset=fake_images", "evaluation=[]", "logger=none", "backbone.widths=[8,16]", "objective.projector=[16]"]


def made(*overrides: str) -> tuple[ContrastiveViews, Batch]:
    config = typed(compose([*SMALL, *overrides]))
    source, spec = construct.source(config)
    data = source.load()["train"]
    objective = construct.objective(config, spec)
    assert isinstance(objective, ContrastiveViews)
    return objective, Batch(spec.to_input(data.data[:16]), data.label[:16], torch.arange(16))


CASES = (
    [f"objective/loss={rule}" for rule in RULES]
    + [f"objective.similarity={name}" for name in SIMILARITIES]
    + [f"objective/loss={rule} objective.similarity=euclidean" for rule in ("triplet", "lifted", "soft_nn")]
    + ["objective/loss=pair objective.similarity=euclidean objective.loss.attract=0 objective.loss.repel=-1"]
    + [f"objective/loss=triplet objective.loss.mining={mining}" for mining in ("all", "hard")]
    + [f"objective/loss={rule} objective.loss.learn_temperature=true" for rule in ("info_nce", "nce", "supcon")]
    + ["objective.negatives=5", "objective.hardness=2", "objective.loss.prior=0.1 objective.hardness=2"]
    + ["objective/positives=label objective/loss=supcon", "objective/positives=pseudo_label objective.queue=20"]
    + ["objective.negatives=40 objective.queue=64", "objective.ranks=all"]
)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.sampled(8)
def test_every_choice_trains_and_moves_state_after_a_step_only(case: str) -> None:
    objective, data = made(*case.split())
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    values = []
    for step in range(12):
        torch.manual_seed(0)
        x, y = objective.split(data)
        state = copy.deepcopy(objective.state_dict())
        loss = objective.loss(x, y)
        for name, value in objective.state_dict().items():
            assert "running" in name or "num_batches" in name or torch.equal(value, state[name]), name
        assert all(not log.requires_grad and log.shape == () and log.isfinite() for log in loss.logs.values())
        optimizer.zero_grad()
        loss.value.backward()
        for name, parameter in objective.named_parameters():
            assert not parameter.requires_grad or parameter.grad.isfinite().all(), name
        optimizer.step()
        objective.after_step([loss.carry], 0.01 * step)
        values.append(loss.value.item())
    expected = {"accuracy", "log_candidates", "information_bound", "positive_similarity", "negative_similarity"}
    assert expected | {"false_negatives"} <= set(loss.logs)
    assert values[-1] < values[0]


def test_unlabeled_data_have_no_rate_of_false_negatives() -> None:
    objective, data = made("dataset.classes=0")
    assert "false_negatives" not in objective.loss(*objective.split(data)).logs


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"projector": []}, r"objective\.projector is \[\]"),
        ({"negatives": 0}, r"objective\.negatives is 0; it must be at least 1"),
        ({"hardness": -1.0}, r"objective\.hardness is -1\.0"),
        ({"queue": -1}, r"objective\.queue is -1"),
    ],
)
def test_what_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        family(**change)


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size is 1"):
        check.validate(typed(compose([*SMALL, "batch_size=1"])))


def on_rank(number: int, port: int, folder: str) -> None:
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=number, world_size=2)
    torch.save(gradients(number), Path(folder) / f"{number}.pt")
    dist.destroy_process_group()


def gradients(number: int | None) -> dict[str, Tensor]:
    """Of the whole batch, or of a rank's half of its examples."""
    objective = family(ranks="all", queue=12, positives=Label())
    data = batch(8)
    x, y = objective.split(data)
    if number is not None:
        part = slice(4 * number, 4 * number + 4)
        y = y._replace(source=y.source[:, part], label=y.label[:, part], member=y.member[:, :4])
        x = x[:, part]
    loss = objective.loss(x, y)
    loss.value.backward()
    objective.after_step([loss.carry], 0.5)
    found = {name: p.grad for name, p in objective.named_parameters()}
    if number is not None:
        for grad in found.values():
            dist.all_reduce(grad)
            grad /= 2
    return found | {"keys": objective.queue.keys, "loss": loss.value.detach()}


def test_two_processes_have_the_gradient_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    in_two_processes(on_rank, tmp_path)
    whole = gradients(None)
    halves = [torch.load(tmp_path / f"{number}.pt") for number in range(2)]
    torch.testing.assert_close((halves[0]["loss"] + halves[1]["loss"]) / 2, whole.pop("loss"))
    for name, value in whole.items():
        for half in halves:
            torch.testing.assert_close(half[name], value, msg=f"{name}: {{}}".format)


@pytest.mark.parametrize("positives", ["augmentation", "label", "pseudo_label"])
@pytest.mark.sampled(1)
def test_in_the_control_no_positive_pair_is_more_alike_than_any_two_views(positives: str) -> None:
    """60 examples of three classes, told apart by their pixels: of which the views at hand are is read from them."""
    count, label = 60, torch.arange(60) % 3
    data = F.one_hot(label, 12).float()
    data[:, 11] = torch.arange(60) / 1000
    known = Batch(data.view(60, 3, 2, 2), label, torch.arange(60))
    clusters = PseudoLabel(Linear(), clusters=3, momentum=0.5, warmup=0.0)
    made = {"augmentation": Augmentation(), "label": Label(), "pseudo_label": clusters}[positives]
    objective = family(loss=Recorder(), positives=made, views=Same())
    for _ in range(20):
        objective.after_step([objective.loss(*objective.split(known)).carry], 1.0)
    alike = {"same example": 0.0, "same label": 0.0, "pairs": 0.0}
    for seed in range(300):
        torch.manual_seed(seed)
        x, y = objective.shuffle(*objective.split(known))
        objective.loss(x, y)
        pos = objective.rule.seen[1]
        who = (x.flatten(0, 1).flatten(1)[:, 11] * 1000).round()
        assert torch.equal(y.source.flatten().float(), who)  # what the logs count is of the views as they are
        for name, kind in (("same example", who), ("same label", who % 3), ("pairs", who * 0)):
            alike[name] += (pos & (kind[:, None] == kind)).sum().item()
    any_two = {"same example": 1 / (2 * count - 1), "same label": (2 * count / 3 - 1) / (2 * count - 1)}
    for name, chance in any_two.items():
        assert alike[name] / alike["pairs"] == pytest.approx(chance, abs=0.02), name


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_prior_is_refused_where_similarities_have_no_least_value(similarity: str) -> None:
    debiased = InfoNCE(temperature=0.5, learn_temperature=False, prior=0.1)
    if similarity == "cosine":
        assert family(loss=debiased, similarity=similarity).rule is debiased
        return
    said = rf"objective\.loss\.prior is above 0, and objective\.similarity is {similarity}, which has no minimum"
    with pytest.raises(ValueError, match=said):
        family(loss=debiased, similarity=similarity)
