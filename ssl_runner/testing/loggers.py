"""What `loggers.interface` promises of every logger. A module that imports these tests defines the fixture `logger_of`:
it gives a new logger of the same run at each call."""

from collections.abc import Callable
from pathlib import Path

from ssl_runner.loggers.interface import RunLogger

Made = Callable[[], RunLogger]


def test_a_constructor_touches_no_disk(logger_of: Made, tmp_path: Path) -> None:
    logger_of()
    assert list(tmp_path.rglob("*")) == []


def test_a_run_is_logged_and_resumed(logger_of: Made) -> None:
    for resumed in (None, 1):
        logger = logger_of()
        logger.open(resumed)
        logger.log_config({"seed": 0, "budget": {"unit": "steps", "amount": 2}, "controls": []})
        for step in (1, 2):
            logger.log_metrics({"train/loss": 1.0 / step, "epoch": 0.5 * step}, step)
        logger.log_metrics({"val/accuracy": 0.5}, 2)
        logger.log_summary({})
        logger.log_figures({})
        logger.finish(success=True)


def test_finish_has_no_effect_where_nothing_is_open(logger_of: Made) -> None:
    logger_of().finish(success=False)
