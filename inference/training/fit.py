"""Stochastic variational inference: one function for every story, objective and optimiser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import xarray as xr
from pyro.optim import PyroOptim
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from ppl_disentangle.conditions import arranged
from ppl_disentangle.data import FactorDataset, as_dataset
from ppl_disentangle.inference.distributed.processes import num_processes, rank
from ppl_disentangle.inference.objectives.beta_vae import BetaELBO
from ppl_disentangle.inference.training.any_objective import Objective
from ppl_disentangle.inference.training.batches import batches_for
from ppl_disentangle.inference.training.held_out import HeldOutBound
from ppl_disentangle.inference.training.loop import Compile, Schedule, train_loop
from ppl_disentangle.inference.training.objective_attributes import restored_sizes
from ppl_disentangle.inference.training.optimizers import OptimiserSettings
from ppl_disentangle.inference.training.state import Capture, TrainingState
from ppl_disentangle.inference.training.trainer import Trainer
from ppl_disentangle.pairs import Pair, story_of
from ppl_disentangle.parameter_store import isolated_store
from ppl_disentangle.story import (
    GenerativeStory,
    default_dtype,
    dtype_of,
    fork_randomness,
    parameters_stay_local,
)

__all__ = ["fit", "resolve_device"]


def fit(
    story: GenerativeStory,
    data: Any,
    *,
    steps: int,
    objective: Objective | None = None,
    batch_size: int = 64,
    lr: float | None = None,
    optimizer: Callable[..., Optimizer] | PyroOptim | None = None,
    scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
    dtype: torch.dtype | None = None,
    held_out: Any = None,
    evaluate_every: int = 1000,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    resume: bool = False,
    progress: bool = True,
    validate_steps: int = 3,
    compile: Compile = "auto",
) -> xr.Dataset:
    """Fit ``story`` to ``data`` in place.

    The same seed gives the same weights, bit for bit, on one kind of CPU and with the same number
    of threads. ``fit`` changes neither the caller's random state nor Pyro's parameter store. Only
    where ``story`` is a plain pair, an object with a ``model`` and a ``guide``, are the fitted
    values of its ``pyro.param`` statements in Pyro's store at the end.

    Where ``torch.distributed`` is initialised, all processes call ``fit`` alike and share each
    batch. The order of the data does not depend on the number of processes, and the gradients
    equal the gradients of a single process. The first process writes the checkpoints and evaluates
    the held-out bound. Two things stay within each process's part of a batch: batch normalisation,
    and whatever a guide does across the data of a batch, such as swapping styles.

    Args:
        story: A story, or any object with a ``model`` and a ``guide``.
        data: A data set, or a tensor, an array, a table, a torch ``Dataset`` or ``DataLoader``; see
            :func:`~ppl_disentangle.data.as_dataset`.
        steps: Number of steps in all, including the steps of a run that is resumed.
        objective: Any Pyro ELBO, or a function ``loss(model, guide, *args)`` that ``SVI`` takes. By
            default the story's own objective, or the evidence lower bound if it has none. An
            objective that was used before keeps its schedules, its critic and its multipliers as
            they are.
        batch_size: Number of data in each step. A guide that has one value for each datum, as
            AutoGuides may have, gets all data in each step.
        lr: Learning rate, by default 0.001.
        optimizer: Function that makes the optimiser as ``optimizer(parameters, lr=lr)``, such as
            ``torch.optim.SGD``; by default fused Adam. Or an optimiser of Pyro, such as
            ``pyro.optim.ClippedAdam({"lr": 0.01})``, which has its learning rate already and takes
            the gradient of the loss summed over the data, as in ``SVI``.
        scheduler: Function that makes the schedule of the learning rate of an optimiser, such as
            ``lambda optimizer: CosineAnnealingLR(optimizer, steps)``. It advances after every step;
            ``ReduceLROnPlateau`` follows the held-out bound instead. A ``PyroLRScheduler``, passed
            as ``optimizer``, also advances after every step.
        clip_norm: Largest norm of the gradient of the loss per datum: a longer gradient is
            shortened. Parameters of the objective, such as a critic's, have a gradient of their
            own.
        clip_value: Largest absolute value of each element of that gradient.
        seed: Seed of the order of the data and of the random draws.
        device: Device of the training. ``"auto"`` takes CUDA where there is one.
        precision: ``"bfloat16"`` runs the networks in bfloat16 and channels-last. Distributions,
            structural mechanisms, and the small linear layers at the ends of networks, which write
            and read codes, stay in float32.
        dtype: ``torch.float64`` trains in double precision, as a story with parameters in float64
            does anyway. The story keeps it.
        held_out: Data for the held-out bound, all of which are used at each evaluation; or a number
            of data to be drawn from ``data``, which are not trained on. Where ``data`` are pairs or
            groups, these may be pairs or groups, or single observations.
        evaluate_every: Number of steps between two held-out bounds.
        patience: Number of held-out bounds without a better one after which training stops; the
            story then has its best weights. By default all steps are taken.
        checkpoint: File to save to every ``checkpoint_every`` steps and at the end; by default
            nothing is saved.
        checkpoint_every: Number of steps between two checkpoints.
        resume: Whether to continue from ``checkpoint`` if it exists. The result equals the result
            of an uninterrupted run bit for bit.
        progress: Whether to show a progress bar with the terms.
        validate_steps: Number of first steps under Pyro's validation.
        compile: Whether later steps run as one graph of tensor operations, without Pyro's
            interpreter. ``"auto"`` does so in long runs, where the step allows it, and gives the
            same weights bit for bit. ``True`` also compiles the graph, including Adam's update,
            which takes 10 to 30 seconds at the start; the weights are the same up to rounding. A
            step that reads values on the host, or branches on them, runs as it is.

    Returns:
        ``loss`` and the objective's terms over ``step``, in nats per datum. With ``held_out`` also
        ``held_out_elbo``, ``held_out_log_likelihood`` and ``held_out_kl`` over ``held_out_step``.
        The attributes have the ``device``, the ``settings``, and how steps were taken:
        ``captured`` is ``"graph"``, ``"compiled"`` or ``"no"``, ``capture_seconds`` is the time
        that capturing took, and ``not_captured`` gives the reason if steps were not taken as asked
        for.

    Raises:
        NonFiniteError: A term became NaN or infinite.
        TrainingInterrupted: Ctrl-C was pressed.
        FileExistsError: ``checkpoint`` exists and ``resume`` is false.
        TypeError: The objective, the optimiser, the schedule or the data have another type.
        ValueError: An argument is wrong, or the checkpoint is of a run with other settings.
    """
    data, held_out = _datasets(data, held_out, seed)
    _check_arguments(data, held_out, steps, patience)
    optimiser = OptimiserSettings(optimizer, lr, scheduler, clip_norm, clip_value)
    path = _checkpoint_path(checkpoint, resume)
    schedule = Schedule(steps, path, checkpoint_every, validate_steps, compile)
    trained = story_of(story)
    data = arranged(trained, data)
    held_out = held_out if held_out is None else arranged(trained, held_out)
    dtype = _dtype(trained, dtype, precision)
    with (
        fork_randomness(),
        isolated_store(),
        parameters_stay_local(),
        default_dtype(dtype or dtype_of(trained)),
    ):
        torch.manual_seed(seed)
        batches = batches_for(
            trained,
            data,
            batch_size,
            seed=seed,
            device=resolve_device(device),
            part=(rank(), num_processes()),
            dtype=dtype,
        )
        objective = objective or trained.objective() or BetaELBO(1.0)
        with restored_sizes(objective):
            trainer = Trainer(trained, objective, batches, precision=precision, optimiser=optimiser)
            bound = None
            if held_out is not None:
                bound = HeldOutBound(trained, held_out, evaluate_every, patience, seed)
            if trainer.optimisation.follows_held_out and bound is None:
                raise ValueError("ReduceLROnPlateau follows the held-out bound: pass held_out data")
            settings = _settings(data, seed, dtype, optimiser)
            state = _first_state(trainer, schedule, settings)
            with _progress_bar(state.step, steps, shown=progress) as bar:
                train_loop(trainer, state, schedule, bound, bar)
    if isinstance(trained, Pair) and trained is not story:
        trained.publish()
    return _with_attributes(state, batches.device)


def _datasets(data: Any, held_out: Any, seed: int) -> tuple[FactorDataset, FactorDataset | None]:
    """The data to train on, and the held-out data, if any."""
    data = as_dataset(data)
    if isinstance(held_out, int) and not isinstance(held_out, bool):
        return data.split(held_out, seed=seed)
    return data, None if held_out is None else as_dataset(held_out)


def _dtype(story: GenerativeStory, dtype: torch.dtype | None, precision: str) -> torch.dtype | None:
    """The type to train in; ``None`` leaves the types as they are."""
    if dtype is None and dtype_of(story) == torch.float64:
        dtype = torch.float64
    if dtype not in (None, torch.float32, torch.float64):
        raise ValueError(
            f"expected dtype torch.float32 or torch.float64, got {dtype}; precision='bfloat16' runs"
            " the networks in bfloat16"
        )
    if dtype == torch.float64 and precision != "float32":
        raise ValueError(f"precision={precision!r} and float64 exclude each other")
    return dtype


def _settings(
    data: FactorDataset, seed: int, dtype: torch.dtype | None, optimiser: OptimiserSettings
) -> dict[str, Any]:
    """Settings of the run that a checkpoint must agree with."""
    return {
        "seed": seed,
        "lr": optimiser.learning_rate,
        "data": data.name,
        "num_data": len(data),
        "dtype": str(dtype) if dtype == torch.float64 else None,
        **optimiser.bounds,
    }


def _check_arguments(
    data: FactorDataset, held_out: FactorDataset | None, steps: int, patience: int | None
) -> None:
    if steps < 1:
        raise ValueError(f"expected steps >= 1, got {steps}")
    if held_out is None:
        if patience is not None:
            raise ValueError("patience needs held_out data to judge by")
        return
    shape = tuple(data.observation_shape)
    held_out_shape = tuple(held_out.observation_shape)
    # Data that are pairs or groups, (members, *event), may be held out as single observations.
    if held_out_shape not in (shape, shape[1:]):
        raise ValueError(
            f"held_out has observations of shape {held_out_shape}, the data of {shape}"
        )


def _checkpoint_path(checkpoint: str | Path | None, resume: bool) -> Path | None:
    if checkpoint is None:
        return None
    path = Path(checkpoint)
    if path.exists() and not resume:
        raise FileExistsError(f"{path} exists; pass resume=True to go on from it, or another path")
    return path


def _first_state(trainer: Trainer, schedule: Schedule, settings: dict[str, Any]) -> TrainingState:
    """The state of the checkpoint, if there is one, or else before the first step."""
    state = trainer.state(schedule.steps, settings)
    if schedule.checkpoint is not None and schedule.checkpoint.exists():
        state.load(schedule.checkpoint)
    return state


def _progress_bar(step: int, steps: int, *, shown: bool) -> tqdm:
    hidden = not shown or rank() > 0
    return tqdm(total=steps, initial=step, unit="step", disable=hidden, dynamic_ncols=True)


def _with_attributes(state: TrainingState, device: torch.device) -> xr.Dataset:
    """The history, with the device, the settings, and how steps were taken as attributes."""
    capture = state.capture or Capture()
    return state.dataset().assign_attrs(
        device=str(device),
        settings=json.dumps(state.settings),
        captured=capture.how,
        not_captured=capture.not_captured,
        capture_seconds=round(capture.seconds, 1),
    )


def resolve_device(device: str | torch.device) -> torch.device:
    """``"auto"`` as CUDA where there is one, else the CPU; anything else as it is."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
