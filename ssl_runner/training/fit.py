"""Pretrain an objective for a budget: Lightning's Trainer, its callbacks, and the cost."""

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from rich.console import Console

from ssl_runner.config.errors import ConfigError
from ssl_runner.config.schema import Config
from ssl_runner.data.any.module import DataModule
from ssl_runner.data.any.stream import BrokenDataError
from ssl_runner.data.any.tensors import fake_batch, moved
from ssl_runner.interfaces import Objective
from ssl_runner.loggers.interface import Loggers
from ssl_runner.nn.gather import mean_over_ranks
from ssl_runner.nn.recompute import recomputing
from ssl_runner.nn.sharding import shard, whole
from ssl_runner.nn.synced_norm import synced
from ssl_runner.results.result import Cost, Pretraining
from ssl_runner.runtime import checkpoint_files
from ssl_runner.runtime.checkpoint_files import Reached
from ssl_runner.runtime.devices import device_name, device_of, peak_memory_mb
from ssl_runner.runtime.distributed import World, world
from ssl_runner.runtime.garbage import begin_collection
from ssl_runner.runtime.malloc import keep_freed_memory
from ssl_runner.runtime.terminal import write_line
from ssl_runner.training.checkpointing import Checkpoint, ToDisk
from ssl_runner.training.collapse import Collapse, CollapsedError
from ssl_runner.training.failures import diverged, is_out_of_memory, noted, out_of_memory
from ssl_runner.training.flops import flops_of_batch
from ssl_runner.training.monitor import Monitor
from ssl_runner.training.optim import Schedule
from ssl_runner.training.precision import LIGHTNING, decide, name
from ssl_runner.training.pretrainer import Clock, DivergedError, Pretrainer, total_steps
from ssl_runner.training.progress import Record
from ssl_runner.training.strategies import Follow, Sharded, Together
from ssl_runner.training.task_figures import spread

EXPECTED = (  # warnings of torch and Lightning that do not concern users
    ".*does not have many workers",  # a batch is one gather in memory
    ".*`broadcast_buffers` is deprecated",  # torch 2.6 does not have its replacement
    ".*max_epochs",  # the budget ends training
    ".*your dataloader is not resumable",  # DataModule.skip does that
    "Sparse invariant checks",  # inside optimizers of sparse gradients
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # inside Lightning
)


class Session(NamedTuple):
    """State that the phases of pretraining share."""

    config: Config
    folder: Path  # the run's
    data: DataModule
    loggers: Loggers
    console: Console
    reached: Reached | None  # the checkpoint that it resumes from
    here: World
    device: torch.device

    @property
    def sharded(self) -> bool:
        """Whether weights are sharded over processes."""
        return self.here.size > 1 and self.config.trainer.strategy == "fsdp"


def pretrain(
    config: Config,
    model: Objective,
    optimizer_of: Callable[[Objective], torch.optim.Optimizer],
    schedule: Schedule,
    data: DataModule,
    loggers: Loggers,
    folder: Path,
    reached: Reached | None,
    console: Console,
) -> tuple[Pretraining, Cost]:
    """Train `model` for the config's budget in a run's folder, from the checkpoint `reached` if there is one.

    Raises ConfigError for problems that a setting can solve, Stopped after a request to stop.
    """
    settings = config.trainer
    session = Session(config, folder, data, loggers, console, reached, world(), device_of(settings.accelerator))

    # The model: batch normalization synchronized over processes; with sharding, a sharded copy is trained, and `model`
    # stays complete in host memory for the evaluation.
    synced(model, session.device)
    trained = model
    if session.sharded:
        trained = copy.deepcopy(model)
        shard(trained, session.device)

    # The arithmetic.
    dtype = decided(session, model)
    if session.device.type == "cpu":
        keep_freed_memory()
    begin_collection()

    # The budget in steps, and the position in the data.
    batches = len(data.train_dataloader())
    data.seen = 0 if reached is None else reached.batches % batches * config.batch_size
    steps = total_steps(config.budget, batches, config.batch_size, settings.accumulate)
    module = Pretrainer(
        trained,
        data.spec,
        optimizer_of(trained),
        schedule,
        Clock(config.budget, steps),
        config.seed,
        config.control,
        settings.skip_nonfinite,
        settings.weight_decay_end,
    )
    if reached is not None and not reached.path.is_relative_to(folder):  # of the run that this one extends
        module.batches_per_epoch = batches
    if settings.compile:
        model.encoder.compile()

    record = Record([loggers], settings.log_every_n_steps, console, folder)
    trainer = trainer_for(session, callbacks_for(session, record), dtype, steps, batches)
    flops = fit(session, trainer, module, model, record, dtype)
    if session.sharded:
        weights = whole(trained.state_dict())
        if not session.here.rank:
            model.load_state_dict(weights)
    model.to(session.device)
    return account(session, module, model, record, dtype, flops)


def decided(session: Session, model: Objective) -> torch.dtype:
    """The precision of pretraining, the same in all processes; printed with its reason."""
    begun = "" if session.reached is None else session.reached.precision
    dtype, why = decide(session.config.trainer.precision, session.device, model, begun)
    if 0 < mean_over_ranks(torch.tensor(float(dtype == torch.bfloat16))) < 1:
        dtype, why = torch.float32, "the machines differ, and not all of them would choose bfloat16"
    write_line(session.console, f"precision: {name(dtype)} ({why})")
    return dtype


def callbacks_for(session: Session, record: Record) -> list[pl.Callback]:
    """The callbacks, in the order of their calls."""
    config, settings, here = session.config, session.config.trainer, session.here
    speaks = session.sharded or not here.rank  # with sharding, all processes have to gather the weights
    callbacks: list[pl.Callback] = []
    if settings.monitor_examples and speaks:  # before `record`, which then does not count its seconds
        callbacks.append(Monitor(session.data, settings.monitor_examples, [session.loggers], config.batch_size))
    if here.size > 1:
        callbacks.append(Follow())
    callbacks.append(record)
    if speaks:
        saving = Checkpoint(
            session.folder / checkpoint_files.FOLDER,
            minutes=settings.checkpoint_minutes,
            steps=settings.checkpoint_steps,
            count=settings.checkpoints,
            contents=config.contents,
        )
        saving.folder.mkdir(parents=True, exist_ok=True)
        callbacks.append(saving)
    if settings.watch_every:
        watched = spread(session.data, "val", 256, session.device)
        callbacks.append(
            Collapse(watched, record, [session.loggers], settings.watch_every, settings.early_stop, session.console)
        )
    return callbacks


def trainer_for(
    session: Session, callbacks: list[pl.Callback], dtype: torch.dtype, steps: int | None, batches: int
) -> pl.Trainer:
    """Lightning's Trainer, used for its loop over the data only.

    `steps`: total optimizer steps, None for a budget in minutes; `batches`: per epoch.
    """
    settings, here = session.config.trainer, session.here
    logging.getLogger("pytorch_lightning").setLevel(
        logging.ERROR
    )  # otherwise each Trainer logs hardware and an advertisement
    every = batches if steps is None else max(1, steps * settings.accumulate // max(settings.validations, 1))
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=here.local_size,
        num_nodes=here.size // here.local_size,
        strategy=Sharded() if session.sharded else Together() if here.size > 1 else "auto",
        plugins=[ToDisk()] if here.size > 1 else [ToDisk(), LightningEnvironment()],  # which does not query SLURM
        use_distributed_sampler=False,  # DataModule shards the data
        precision=LIGHTNING[name(dtype)],
        max_epochs=-1,
        max_steps=-1 if steps is None else steps,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.clip_norm,
        val_check_interval=every,
        check_val_every_n_epoch=None,
        limit_val_batches=settings.val_batches if settings.validations else 0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=session.folder,
        callbacks=callbacks,
    )


def fit(
    session: Session, trainer: pl.Trainer, module: Pretrainer, model: Objective, record: Record, dtype: torch.dtype
) -> int | None:
    """Train. Returns the floating-point operations of a batch over all processes; None with sharding, where they are
    not counted.

    Raises ConfigError for problems that a setting can solve, Stopped after a request to stop.
    """
    reached, here, settings = session.reached, session.here, session.config.trainer
    flops: int | None = None
    with told_apart(session, trainer, record), quiet():
        if not session.sharded:
            batch = moved(fake_batch(session.data.spec, session.config.batch_size // here.size), session.device)
            flops = here.size * flops_of_batch(model, batch, dtype)
            if session.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(session.device)  # measure training only
        with recomputing(module.objective, blocks=settings.recompute == "blocks", chunk=settings.chunk):
            trainer.fit(module, session.data, ckpt_path=None if reached is None else reached.path, weights_only=True)
    return flops


@contextmanager
def told_apart(session: Session, trainer: pl.Trainer, record: Record) -> Iterator[None]:
    """Translate an error that ends training to one that names the key to set."""
    config, here, reached = session.config, session.here, session.reached
    try:
        yield
    except BrokenDataError as error:
        raise ConfigError([noted(error)]) from error
    except DivergedError as error:  # raised in all processes, reported by one
        raise ConfigError([] if here.rank else [diverged(error, config, session.folder)]) from error
    except CollapsedError as error:
        raise ConfigError([] if here.rank else [str(error)]) from error
    except SystemExit as stop:  # raised by Lightning at a second Ctrl-C
        raise KeyboardInterrupt from stop
    except Exception as error:
        if is_out_of_memory(error):
            raise ConfigError([out_of_memory(error, config, trainer.global_step + 1)]) from error
        if reached is None or record.began:
            raise
        why = f"does not fit this run ({type(error).__name__}: {str(error)[:100]})"  # intact, with other contents
        raise ConfigError([f"{str(reached.path)!r} {why}; set resume=never to start over"]) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the warnings in `EXPECTED`."""
    with warnings.catch_warnings():
        for words in EXPECTED:
            warnings.filterwarnings("ignore", words)
        yield


def account(
    session: Session, module: Pretrainer, model: Objective, record: Record, dtype: torch.dtype, flops: int | None
) -> tuple[Pretraining, Cost]:
    """The extent and the cost of pretraining. `flops`: floating-point operations per batch."""
    pretraining = Pretraining(
        epochs=round(module.examples / session.data.spec.size, 2),
        steps=module.trainer.global_step,
        examples=module.examples,
        loss_first=record.loss_first,
        loss_last=record.last,
    )
    cost = Cost(
        seconds=round(module.clock.seconds, 2),
        examples_per_second=round(module.examples / record.seconds, 1) if record.seconds else None,
        peak_memory_mb=round(peak_memory_mb(session.device), 1),
        device=device_name(session.device),
        precision=name(dtype),
        flops_per_step=None if flops is None else flops * session.config.trainer.accumulate,
        flops=None if flops is None else flops * module.batches,
        parameters=sum(p.numel() for p in model.encoder.parameters()),
    )
    return pretraining, cost
