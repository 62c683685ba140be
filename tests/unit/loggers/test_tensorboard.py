import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ssl_runner.loggers.interface import RunContext
from ssl_runner.loggers.tensorboard import TensorBoard
from ssl_runner.results.metrics import share


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return events


def test_events_read_back(context: RunContext, tmp_path: Path) -> None:
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    Image.fromarray(picture).save(tmp_path / "f.png")
    logger = TensorBoard(context, flush_seconds=30)
    assert not context.outputs.exists()
    logger.open()
    logger.log_config({"objective": {"ratio": 0.75, "dims": [1, 2], "name": None}})
    logger.log_metrics({"train/loss": 0.5}, 10)
    logger.log_metrics({"train/loss": 0.25, "lr": 0.125}, 20)
    logger.log_summary({"pretrained/knn.accuracy": share("accuracy", 0.75)})
    logger.log_figures({"x": tmp_path / "f.png"})
    logger.finish(success=True)
    logger.finish(success=True)

    events = read(context.folder / "tensorboard")
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(10, 0.5), (20, 0.25)]
    assert [(e.step, e.value) for e in events.Scalars("lr")] == [(20, 0.125)]
    assert [e.value for e in events.Scalars("pretrained/knn.accuracy")] == [0.75]
    (image,) = events.Images("figures/x")
    (tmp_path / "back.png").write_bytes(image.encoded_image_string)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "back.png")), picture)
    assert b'"ratio": 0.75' in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]

    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    hparams = HParamsPluginData.FromString(content).session_start_info.hparams
    assert hparams["objective.ratio"].number_value == 0.75
    assert hparams["objective.dims"].string_value == "[1, 2]"


def test_a_resumed_run_hides_later_steps(context: RunContext) -> None:
    for resume_step, steps in ((None, (10, 20, 30)), (20, (25,))):
        logger = TensorBoard(context, flush_seconds=30)
        logger.open(resume_step)
        for step in steps:
            logger.log_metrics({"loss": float(step)}, step)
        logger.finish(success=True)
    assert [e.step for e in read(context.folder / "tensorboard").Scalars("loss")] == [10, 20, 25]


def test_a_new_start_leaves_nothing_of_the_old_run(context: RunContext) -> None:
    for step in (10, 5):
        logger = TensorBoard(context, flush_seconds=30)
        logger.open()
        logger.log_metrics({"loss": 1.0}, step)
        logger.finish(success=True)
    assert [e.step for e in read(context.folder / "tensorboard").Scalars("loss")] == [5]


def test_refusals(context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"flush_seconds is 0; it must be at least 1"):
        TensorBoard(context, flush_seconds=0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'ssl-runner\[tensorboard\]'"):
        TensorBoard(context, flush_seconds=1)
