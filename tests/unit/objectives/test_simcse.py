"""SimCSE: NT-Xent by a double loop and another library, dropout as the only difference, pairs with hard negatives."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import NTXentLoss
from sentences import SPEC, Running, Words, made, padded
from special_ids import CLS, SEP
from torch import Tensor

from ssl_runner.config.compose import compose
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.schema import typed
from ssl_runner.interfaces import Contrasts
from ssl_runner.losses.rules import InfoNCE, NPair
from ssl_runner.nn.positives import Augmentation
from ssl_runner.objectives.contrastive_views import ContrastiveViews
from ssl_runner.objectives.simcse import SimCSE
from ssl_runner.views.text import Repeat, Segments

INFO_NCE = {"temperature": 0.05, "learn_temperature": False, "prior": 0.0}


def task(dropout: float = 0.3, **changes: object) -> SimCSE:
    torch.manual_seed(0)
    settings = {
        "views": Repeat(views=2), "alike": 2, "pooler": "mean", "projector": [4], "similarity": "cosine",
        "loss": InfoNCE(**INFO_NCE),
    }  # fmt: skip
    return SimCSE(Words(dropout=dropout), SPEC, **settings | changes)


def embedded(objective: SimCSE, x: Tensor) -> Tensor:
    """What the loss compares, with the draws of dropout that it will make."""
    torch.manual_seed(5)
    features = objective.encoder(x.flatten(0, 1))
    return objective.projector(features.pooled if objective.pooler == "mean" else features.tokens[:, 0])


def loss(objective: SimCSE, x: Tensor, y: Tensor) -> float:
    torch.manual_seed(5)
    return objective.loss(x, y).value.item()


@pytest.mark.parametrize("pooler", ["mean", "cls"])
def test_it_is_nt_xent(pooler: str) -> None:
    objective = task(pooler=pooler)
    x, y = objective.split(made([5, 2, 6, 1, 4]))
    z = embedded(objective, x)
    terms = []
    for i in range(10):
        scores = [(F.cosine_similarity(z[i], z[j], dim=0) / 0.05).item() for j in range(10)]
        others = sum(math.exp(s) for j, s in enumerate(scores) if j != i)
        terms.append(-math.log(math.exp(scores[(i + 5) % 10]) / others))
    ours = loss(objective, x, y)
    assert ours == pytest.approx(sum(terms) / 10, rel=1e-4)
    assert ours == pytest.approx(NTXentLoss(temperature=0.05)(z, torch.arange(5).repeat(2)).item(), rel=1e-4)


def test_it_is_the_contrastive_family_on_text() -> None:
    ours = task()
    family = ContrastiveViews(
        ours.encoder, SPEC, views=Repeat(views=2), projector=[4], projector_norm="batch",
        projector_last_norm="none", similarity="cosine", loss=InfoNCE(**INFO_NCE),
        positives=Augmentation(), negatives=None, hardness=0.0, queue=0, ranks="own",
    )  # fmt: skip
    family.projector = ours.projector
    batch = made([5, 2, 6, 1, 4])
    x, y = family.split(batch)
    torch.manual_seed(5)
    theirs = family.loss(x, y)
    assert loss(ours, *ours.split(batch)) == pytest.approx(theirs.value.item(), rel=1e-6)


def test_the_two_passes_differ_in_training_alone() -> None:
    objective = task()
    x, _ = objective.split(made([5, 2, 6]))
    assert torch.equal(x[0], x[1])
    first, second = embedded(objective, x).chunk(2)
    assert not torch.isclose(first, second).all(dim=1).any()
    first, second = embedded(objective.eval(), x).chunk(2)
    torch.testing.assert_close(first, second)  # rows of one product: a kernel may treat the first and the last unlike


def test_a_contradiction_is_a_negative_of_all_and_has_no_positive() -> None:
    objective = task(views=Segments(SPEC, views=3), loss=NPair(), similarity="dot", dropout=0.0)
    batch = made([6, 6, 6])
    rows = torch.tensor(
        [[CLS, a, b, SEP, c, SEP, d, SEP] for a, b, c, d in [(6, 7, 8, 9), (10, 11, 12, 13), (14, 15, 16, 17)]]
    )
    x, y = objective.split(batch._replace(data=rows))
    assert x.shape == (3, 3, 3)
    z = embedded(objective, x).detach().unflatten(0, (3, 3))  # (V, B, d)
    texts = list(product(range(3), range(3)))
    terms = []
    for v, b in texts:
        if v < 2:
            scores = {(w, c): math.exp(z[v, b] @ z[w, c]) for w, c in texts}
            hit = scores[1 - v, b]
            rest = sum(s for (w, c), s in scores.items() if c != b or w == 2)
            terms.append(-math.log(hit / (hit + rest)))
    assert loss(objective, x, y) == pytest.approx(sum(terms) / 6, rel=1e-5)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 3, 4, 5])
    oracle = NTXentLoss(temperature=0.05)(z.flatten(0, 1), labels).item()
    objective = task(views=Segments(SPEC, views=3), dropout=0.0)
    assert loss(objective, x, y) == pytest.approx(oracle, rel=1e-4)


def test_padding_changes_nothing() -> None:
    objective = task().eval()
    batch = made([5, 2, 6])
    x, y = objective.split(batch)
    assert loss(objective, padded(x, 3), y) == pytest.approx(loss(objective, x, y), rel=1e-6)


def test_shuffling_puts_together_what_does_not_belong_together() -> None:
    objective = task(dropout=0.0)
    x, y = objective.split(made([6] * 5))
    torch.manual_seed(0)
    other, same = objective.shuffle(x, y)
    assert same is y
    assert torch.equal(other[0], x[0])
    assert not (other[1] == x[1]).all(dim=1).any()
    assert loss(objective, other, y) > loss(objective, x, y) + 1


def test_its_critic_is_the_score_of_first_with_second_texts() -> None:
    objective = task().eval()
    x, _ = objective.split(made([5, 2, 6]))
    first, second = F.normalize(embedded(objective, x), dim=1).chunk(2)
    assert isinstance(objective, Contrasts)
    torch.testing.assert_close(objective.critic(x), first @ second.T / 0.05)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"projector": []}, r"objective\.projector is \[\]"),
        ({"alike": 1}, r"objective\.alike is 1"),
        (
            {"loss": InfoNCE(**INFO_NCE | {"prior": 0.1}), "similarity": "dot"},
            r"objective\.similarity is dot, which has",
        ),
    ],
)
def test_what_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        task(**change)


def test_what_does_not_go_together_is_refused() -> None:
    settings = {"views": Repeat(views=2), "alike": 2, "projector": [4], "similarity": "cosine", "loss": NPair()}
    with pytest.raises(ValueError, match=r"objective\.pooler is cls, and the backbone is a causal encoder"):
        SimCSE(Running(), SPEC, pooler="cls", **settings)
    with pytest.raises(ValueError, match=r"objective\.alike is 2; objective\.views gives no more than 1"):
        task(views=Repeat(views=1)).split(made([3, 3]))
    with pytest.raises(ValueError, match="batch_size is 1"):
        task().split(made([3]))


@pytest.mark.parametrize("rule", sorted(path.stem for path in (conf_dir() / "objective" / "loss").glob("*.yaml")))
def test_every_rule_can_be_chosen(rule: str) -> None:
    node = typed(compose(["objective=simcse", f"objective/loss={rule}"])).objective
    assert node["loss"]["_target_"].startswith("ssl_runner.losses.rules.")
    assert node["views"] == {"_target_": "ssl_runner.views.text.Repeat", "views": 2}
