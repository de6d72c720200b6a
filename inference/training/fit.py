"""Stochastic variational inference: one loop for every story, objective and optimiser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
import xarray as xr
from pyro.infer import ELBO
from torch.optim import Optimizer
from tqdm import tqdm

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference.distributed.processes import num_processes, rank
from ppl_disentangle.inference.objectives.beta_vae import BetaELBO
from ppl_disentangle.inference.training.batches import Batches
from ppl_disentangle.inference.training.loop import Compile, run
from ppl_disentangle.inference.training.state import UNDECIDED
from ppl_disentangle.inference.training.trainer import Judge, Trainer, forgets_num_data, fused_adam
from ppl_disentangle.story import (
    GenerativeStory,
    Pair,
    fork_randomness,
    parameters_stay_local,
    story_of,
)

__all__ = ["fit", "resolve_device"]


def fit(
    story: GenerativeStory,
    data: FactorDataset,
    *,
    steps: int,
    objective: ELBO | None = None,
    batch_size: int = 64,
    lr: float = 1e-3,
    optimizer: Callable[..., Optimizer] | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
    held_out: FactorDataset | None = None,
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

    The same seed gives the same weights bit for bit on one kind of CPU and number of threads. Neither the caller's
    random state nor Pyro's parameter store is touched.

    Where ``torch.distributed`` is initialised, its processes share each batch, whose order does not depend on their
    number, and the gradients are those of one process. All call it alike; the first writes checkpoints and judges the
    held-out bound. What a guide does across the data of a batch, such as swapping styles, and batch normalisation are
    within each process's part.

    Args:
        story: a story, or anything with a ``model`` and a ``guide``.
        data: the observations.
        steps: number of steps in all, those of a resumed run included.
        objective: any Pyro ELBO; by default the story's own, else the evidence lower bound. One that was used before
            goes on with its schedules, its critic and its multipliers as they are.
        batch_size: data per step.
        lr: learning rate.
        optimizer: ``optimizer(parameters, lr=lr)``, such as ``torch.optim.SGD``; by default fused Adam.
        seed: of the order of the data and of the draws.
        device: ``"auto"`` is CUDA where there is one.
        precision: ``"bfloat16"`` runs the networks in bfloat16 and channels-last; distributions, structural mechanisms
            and small linear layers at the ends of networks, which write and read codes, stay in float32.
        held_out: data for a held-out bound, all of them every ``evaluate_every`` steps; where ``data`` are pairs or
            groups, such or single observations.
        evaluate_every: steps between two held-out bounds.
        patience: stop after so many held-out bounds without a better one, and keep the best weights.
        checkpoint: a file to save to every ``checkpoint_every`` steps and at the end.
        checkpoint_every: steps between two checkpoints.
        resume: go on from ``checkpoint`` if it exists; the result is that of an uninterrupted run bit for bit.
        progress: show a bar with the terms.
        validate_steps: number of first steps under Pyro's validation.
        compile: whether further steps run as one graph of tensor operations, without Pyro's interpreter. ``"auto"``:
            in long runs, where the step allows it, with the same weights bit for bit. ``True``: as compiled kernels,
            the update of Adam in them, which takes some 10 to 30 seconds before it starts; the weights are the same
            but for rounding. A step that reads values on the host, or branches on them, runs as it is.

    Returns:
        ``loss`` and the objective's terms over ``step``, in nats per datum; with ``held_out`` also ``held_out_elbo``,
        ``held_out_log_likelihood`` and ``held_out_kl`` over ``held_out_step``. Its attributes have the ``device``, the
        ``settings``, and how steps were taken: ``captured`` is ``"graph"``, ``"compiled"`` or ``"no"``, after
        ``capture_seconds``, and if not as asked for, ``not_captured`` says why.

    Raises:
        NonFiniteError: a term became NaN or infinite.
        TrainingInterrupted: Ctrl-C.
        FileExistsError: ``checkpoint`` exists and ``resume`` is false.
        ValueError: an argument, or a checkpoint of a run with other settings.
    """
    if steps < 1:
        raise ValueError(f"expected steps >= 1, got {steps}")
    if patience is not None and held_out is None:
        raise ValueError("patience needs held_out data to judge by")
    shape = tuple(data.observation_shape)
    if held_out is not None and tuple(held_out.observation_shape) not in (
        shape,
        shape[1:],
    ):  # single ones of groups
        shapes = f"{tuple(held_out.observation_shape)}, the data of {tuple(data.observation_shape)}"
        raise ValueError(f"held_out has observations of shape {shapes}")
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.exists() and not resume:
        raise FileExistsError(f"{path} exists; pass resume=True to go on from it, or another path")
    device = resolve_device(device)
    batches = Batches(data, batch_size, seed=seed, device=device, part=(rank(), num_processes()))
    own = story_of(story)
    with fork_randomness(), parameters_stay_local():
        torch.manual_seed(seed)
        objective = objective or own.objective() or BetaELBO(1.0)
        with forgets_num_data(objective):
            trainer = Trainer(own, objective, batches, precision)
            trainer.prepare(optimizer or fused_adam, lr)
            state = trainer.state(
                steps, {"seed": seed, "lr": lr, "data": data.name, "num_data": len(data)}
            )
            if path is not None and path.exists():
                state.load(path)
            judge = (
                None if held_out is None else Judge(own, held_out, evaluate_every, patience, seed)
            )
            with tqdm(
                total=steps,
                initial=state.step,
                unit="step",
                disable=not progress or rank() > 0,
                dynamic_ncols=True,
            ) as bar:
                run(
                    trainer,
                    state,
                    steps,
                    judge,
                    path,
                    checkpoint_every,
                    validate_steps,
                    compile,
                    bar,
                )
    if isinstance(own, Pair) and own is not story:
        own.publish()
    return state.dataset().assign_attrs(
        device=str(device),
        settings=json.dumps(state.settings),
        captured="no" if state.captured == UNDECIDED else state.captured,
        not_captured=state.not_captured,
        capture_seconds=round(state.capture_seconds, 1),
    )


def resolve_device(device: str | torch.device) -> torch.device:
    """``"auto"`` as the best device at hand, anything else as it is."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
