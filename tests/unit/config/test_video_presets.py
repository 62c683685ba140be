"""Every preset on moving digits composes, goes together, and does one step."""

import pytest

from ssl_runner.assembly import check
from ssl_runner.config.compose import compose
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.schema import typed

PRESETS = sorted(path.stem for path in (conf_dir() / "experiment").glob("*_moving_digits.yaml"))


def test_each_objective_of_video_has_one() -> None:
    arrows = "arrow_of_time arrow_of_time_symmetric arrow_of_time_friction"
    names = "sequence_order odd_one_out tracking_by_colorization next_frame video_mae cpc_video simclr byol"
    wanted = {f"{name}_moving_digits" for name in f"{names} {arrows}".split()}
    assert wanted <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.sampled(4)
def test_it_goes_together(name: str) -> None:
    config = typed(compose([f"experiment={name}", "logger=none"]))
    check.validate(config)  # what check=true does
    assert config.budget.unit == "minutes"
