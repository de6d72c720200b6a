"""All that a training run has at the end of a step, to be kept, saved and restored bit for bit."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ppl_disentangle.inference.training.json_state import decoded, encoded
from ppl_disentangle.storage import load_tensors, save_tensors

__all__ = ["Capture", "History", "TrainingState"]

HELD_OUT_COLUMNS = ("held_out_elbo", "held_out_log_likelihood", "held_out_kl")
JSON_TYPES = (type(None), bool, int, float, str, list, tuple)


class History:
    """Loss and terms of every step, in nats per datum, kept on the device until they are read.

    Args:
        steps: Number of steps that there is room for.
        device: Device of the training.
        dtype: Type of the numbers; by default float32.
    """

    def __init__(self, steps: int, device: torch.device, dtype: torch.dtype | None = None) -> None:
        self.steps = steps
        self.device = device
        self.names: list[str] = []
        self.values = torch.empty(steps, 0, device=device, dtype=dtype or torch.float32)

    def record(
        self, step: int, loss: Tensor, terms: Mapping[str, Tensor], per_datum: float
    ) -> None:
        """Keep the loss and the terms of one step, multiplied by ``per_datum``."""
        row = torch.stack([loss, *terms.values()]).to(self.values.dtype) * per_datum
        self.write(step, ["loss", *terms], row)

    def write(self, step: int, names: list[str], row: Tensor) -> None:
        """Keep the loss and the terms of one step per datum, without waiting for the device."""
        if not self.names:
            self.names = names
            self.values = self._no_values(self.steps)
        self.values[step] = row

    def restore(self, names: list[str], values: Tensor) -> None:
        """Continue the history of an earlier run, with values of shape ``(steps, names)``."""
        self.names = names
        self.values = self._no_values(max(self.steps, len(values)))
        self.values[: len(values)] = values.to(self.device)

    def _no_values(self, steps: int) -> Tensor:
        return self.values.new_full((steps, len(self.names)), torch.nan)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The steps from ``start`` to ``stop``, of shape ``(steps, names)``, on the host."""
        return self.values[start:stop].cpu().numpy()

    def dataset(self, steps: int) -> xr.Dataset:
        """The first ``steps`` steps, one variable for the loss and for each term."""
        columns = zip(self.names, self.rows(0, steps).T, strict=True)
        variables = {name: ("step", column) for name, column in columns}
        return xr.Dataset(variables, {"step": np.arange(1, steps + 1)}, {"units": "nats per datum"})


@dataclass(frozen=True)
class Capture:
    """How steps are taken once they run without Pyro's interpreter, or why they do not.

    Attributes:
        how: ``"graph"``, ``"compiled"``, or ``"no"`` for eager steps.
        not_captured: Reasons why steps are not taken as asked for; empty if they are.
        seconds: Time that capturing took.
    """

    how: Literal["graph", "compiled", "no"] = "no"
    not_captured: str = ""
    seconds: float = 0.0


class TrainingState:
    """Weights, optimiser, objective, random numbers, history and best weights after a step.

    Args:
        story: The story that is trained.
        objective: Its objective, which is part of the state if it is a module.
        optimizer: The optimiser of both.
        history: The history, which is empty at first.
        settings: Settings of the run. A checkpoint of a run with other settings is refused.
        scheduler: The schedule of the learning rate, if any.

    Attributes:
        step: Number of steps taken.
        held_out: Rows ``[step, elbo, log_likelihood, kl]``, one for each held-out evaluation.
        best: Weights with the best held-out bound; empty unless training has patience.
        capture: How steps are taken; ``None`` until that is decided.
    """

    def __init__(
        self,
        story: nn.Module,
        objective: Any,
        optimizer: Optimizer,
        history: History,
        settings: Mapping[str, Any],
        *,
        scheduler: LRScheduler | None = None,
    ) -> None:
        self.modules: dict[str, nn.Module] = {"story": story}
        if isinstance(objective, nn.Module):
            self.modules["objective"] = objective
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.history = history
        self.settings = dict(settings)
        self.step = 0
        self.held_out: list[list[float]] = []
        self.best: dict[str, Tensor] = {}
        self.capture: Capture | None = None

    def dataset(self) -> xr.Dataset:
        """The history so far, with the held-out bounds over ``held_out_step``."""
        dataset = self.history.dataset(self.step)
        if not self.held_out:
            return dataset
        steps, *columns = np.array(self.held_out).T
        named_columns = zip(HELD_OUT_COLUMNS, columns, strict=True)
        dataset = dataset.assign({name: ("held_out_step", c) for name, c in named_columns})
        return dataset.assign_coords(held_out_step=steps.astype(int))

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the state by name.

        Tensors of the optimiser are called by the position of their parameter, as in
        ``"optimizer.0.exp_avg"``.
        """
        tensors: dict[str, Tensor] = {}
        for part, module in self.modules.items():
            tensors |= _prefixed(part, module.state_dict())
        for position, name, value in self._optimizer_items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{position}.{name}"] = value
        tensors |= _prefixed("best", self.best)
        tensors["random.cpu"] = torch.get_rng_state()
        if self.history.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.history.device)
        return tensors

    def numbers(self) -> dict[str, Any]:
        """The rest of the state, as values that JSON can hold."""
        optimizer_state = [
            [position, name, value]
            for position, name, value in self._optimizer_items()
            if not isinstance(value, Tensor)
        ]
        return {
            "step": self.step,
            "settings": self.settings,
            "held_out": self.held_out,
            "optimizer_state": optimizer_state,
            "optimizer_groups": list(map(_group_options, self.optimizer.param_groups)),
            "scheduler": encoded(self.scheduler.state_dict()) if self.scheduler else None,
        }

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """A copy of the state, which :meth:`restore` goes back to."""
        copies = {name: tensor.detach().clone() for name, tensor in self.tensors().items()}
        return copies, self.numbers()

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go back to a state, given its :meth:`tensors` and :meth:`numbers`."""
        for part, module in self.modules.items():
            module.load_state_dict(_without_prefix(part, tensors))
        self._restore_optimizer(_without_prefix("optimizer", tensors), numbers)
        if self.scheduler is not None:
            self.scheduler.load_state_dict(decoded(numbers["scheduler"]))
        torch.set_rng_state(tensors["random.cpu"].cpu())
        if "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"].cpu(), self.history.device)
        self.best = _without_prefix("best", tensors)
        self.held_out = list(numbers["held_out"])
        self.step = numbers["step"]

    def save(self, path: Path) -> None:
        """Write the state to one file, atomically."""
        tensors = self.tensors() | {"history": self.history.values[: self.step]}
        save_tensors(path, tensors, self.numbers() | {"history_names": self.history.names})

    def load(self, path: Path) -> None:
        """Continue from a file that :meth:`save` wrote.

        Raises:
            ValueError: The file is of a run with other settings.
        """
        tensors, numbers = load_tensors(path)
        self._check_settings(path, numbers.get("settings", {}))
        self.restore(tensors, numbers)
        self.history.restore(numbers["history_names"], tensors["history"])

    def _check_settings(self, path: Path, saved: Mapping[str, Any]) -> None:
        ours = json.loads(json.dumps(self.settings))  # tuples become lists, as in the file
        differences = [
            f"{name} was {saved.get(name)!r}, now {value!r}"
            for name, value in ours.items()
            if saved.get(name) != value
        ]
        if differences:
            raise ValueError(f"{path} is of another run: {'; '.join(differences)}")

    def _optimizer_items(self) -> Iterator[tuple[int, str, Any]]:
        """Position of a parameter, name and value for all that the optimiser keeps."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for position, parameter in enumerate(parameters):
            for name, value in self.optimizer.state.get(parameter, {}).items():
                yield position, name, value

    def _restore_optimizer(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        state: defaultdict[int, dict[str, Any]] = defaultdict(dict)
        for path, tensor in tensors.items():
            position, name = path.split(".", 1)
            state[int(position)][name] = tensor
        for index, name, value in numbers["optimizer_state"]:
            state[index][name] = value
        groups = zip(
            self.optimizer.state_dict()["param_groups"], numbers["optimizer_groups"], strict=True
        )
        restored = list(itertools.starmap(_restored_group, groups))
        self.optimizer.load_state_dict({"state": dict(state), "param_groups": restored})
        for parameter, values in self.optimizer.state.items():
            _lay_out_as(parameter, values)


def _prefixed(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{part}.{name}": tensor for name, tensor in tensors.items()}


def _without_prefix(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that :func:`_prefixed` named, under their own names."""
    prefix = f"{part}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _group_options(group: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a group of parameters that JSON can hold, such as its learning rate."""
    return {
        name: value
        for name, value in group.items()
        if name != "params" and isinstance(value, JSON_TYPES)
    }


def _restored_group(group: Mapping[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """A group of parameters with the saved options; JSON made lists of its tuples."""
    options = {
        name: tuple(value) if isinstance(group.get(name), tuple) else value
        for name, value in saved.items()
    }
    return {**group, **options}


def _lay_out_as(parameter: Tensor, values: dict[str, Any]) -> None:
    """Give the optimiser's tensors of a parameter the strides of the parameter.

    Fused kernels go through both by one index, and a file has lost the strides.
    """
    for name, value in values.items():
        same_shape = isinstance(value, Tensor) and value.shape == parameter.shape
        if same_shape and value.stride() != parameter.stride():
            values[name] = torch.empty_like(parameter).copy_(value)
