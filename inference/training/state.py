"""Everything that a run of training has at the end of a step, to be held, saved and restored exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.optim import Optimizer

from ppl_disentangle.storage import load_tensors, save_tensors

__all__ = ["UNDECIDED", "History", "TrainingState"]

UNDECIDED = "undecided"
"""Whether steps are taken by a graph."""


class History:
    """Loss and terms of every step, in nats per datum, kept on the device until they are read."""

    def __init__(self, steps: int, device: torch.device) -> None:
        self.steps, self.device = steps, device
        self.names: list[str] = []
        self.values = torch.empty(steps, 0, device=device)

    def record(
        self, step: int, loss: Tensor, terms: Mapping[str, Tensor], per_datum: float
    ) -> None:
        """Keep one step, without waiting for it."""
        self.write(step, ["loss", *terms], torch.stack([loss, *terms.values()]).float() * per_datum)

    def write(self, step: int, names: list[str], row: Tensor) -> None:
        """Keep the loss and terms of one step, per datum."""
        if not self.names:
            self.names = names
            self.values = torch.full((self.steps, len(names)), torch.nan, device=self.device)
        self.values[step] = row

    def restore(self, names: list[str], values: Tensor) -> None:
        """Take over the steps of an earlier run."""
        self.names = names
        self.values = torch.full(
            (max(self.steps, len(values)), len(names)), torch.nan, device=self.device
        )
        self.values[: len(values)] = values.to(self.device)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The steps from ``start`` to ``stop``, of shape ``(steps, names)``, on the host."""
        return self.values[start:stop].cpu().numpy()

    def dataset(self, steps: int) -> xr.Dataset:
        """The first ``steps`` steps, a variable a term."""
        columns = self.rows(0, steps).T
        variables = {
            name: ("step", column) for name, column in zip(self.names, columns, strict=True)
        }
        return xr.Dataset(variables, {"step": np.arange(1, steps + 1)}, {"units": "nats per datum"})


class TrainingState:
    """Weights, optimiser, objective, random state, history and the best weights so far, after :attr:`step` steps."""

    def __init__(
        self,
        story: nn.Module,
        objective: Any,
        optimizer: Optimizer,
        history: History,
        settings: Mapping[str, Any],
    ) -> None:
        self.modules: dict[str, nn.Module] = {"story": story}
        if isinstance(objective, nn.Module):
            self.modules["objective"] = objective
        self.optimizer, self.history, self.settings = optimizer, history, dict(settings)
        self.step = 0
        self.held_out: list[
            list[float]
        ] = []  # [step, elbo, log_likelihood, kl] of each held-out evaluation
        self.best: dict[str, Tensor] = {}
        self.captured, self.not_captured, self.capture_seconds = UNDECIDED, "", 0.0

    def dataset(self) -> xr.Dataset:
        """The history so far, with the held-out bounds over ``held_out_step``."""
        dataset = self.history.dataset(self.step)
        if self.held_out:
            steps, *columns = np.array(self.held_out).T
            names = ("held_out_elbo", "held_out_log_likelihood", "held_out_kl")
            dataset = dataset.assign(
                {n: ("held_out_step", c) for n, c in zip(names, columns, strict=True)}
            )
            dataset = dataset.assign_coords(held_out_step=steps.astype(int))
        return dataset

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name; those of the optimiser by the number of their parameter."""
        tensors = {
            f"{part}.{k}": v for part, m in self.modules.items() for k, v in m.state_dict().items()
        }
        tensors |= {
            f"optimizer.{i}.{k}": v for i, k, v in self._optimizer_items() if isinstance(v, Tensor)
        }
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.history.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.history.device)
        return tensors

    def numbers(self) -> dict[str, Any]:
        """All that is no tensor, as JSON."""
        state = [[i, k, v] for i, k, v in self._optimizer_items() if not isinstance(v, Tensor)]
        groups = [
            {k: v for k, v in g.items() if k != "params"} for g in self.optimizer.param_groups
        ]
        return {
            "step": self.step,
            "settings": self.settings,
            "held_out": self.held_out,
            "optimizer_state": state,
            "optimizer_groups": [{k: v for k, v in g.items() if _is_json(v)} for g in groups],
        }

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """A copy to go back to with :meth:`restore`."""
        return {k: v.detach().clone() for k, v in self.tensors().items()}, self.numbers()

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go back to what :meth:`snapshot` or :meth:`save` kept."""
        for part, module in self.modules.items():
            module.load_state_dict(_below(tensors, part))
        self._restore_optimizer(_below(tensors, "optimizer"), numbers)
        torch.set_rng_state(tensors["random.cpu"].cpu())
        if "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"].cpu(), self.history.device)
        self.best, self.held_out, self.step = (
            _below(tensors, "best"),
            list(numbers["held_out"]),
            numbers["step"],
        )

    def save(self, path: Path) -> None:
        """Write all of it to one file, atomically."""
        tensors = self.tensors() | {"history": self.history.values[: self.step]}
        save_tensors(path, tensors, self.numbers() | {"history_names": self.history.names})

    def load(self, path: Path) -> None:
        """Go on from a file that :meth:`save` wrote.

        Raises:
            ValueError: the file is of a run with other settings.
        """
        tensors, numbers = load_tensors(path)
        saved, ours = numbers.get("settings", {}), json.loads(json.dumps(self.settings))
        other = [
            f"{k} was {saved.get(k)!r}, now {v!r}" for k, v in ours.items() if saved.get(k) != v
        ]
        if other:
            raise ValueError(f"{path} is of another run: {'; '.join(other)}")
        self.restore(tensors, numbers)
        self.history.restore(numbers["history_names"], tensors["history"])

    def _parameters(self) -> list[nn.Parameter]:
        return [p for g in self.optimizer.param_groups for p in g["params"]]

    def _optimizer_items(self) -> list[tuple[int, str, Any]]:
        state = self.optimizer.state
        return [
            (i, k, v) for i, p in enumerate(self._parameters()) for k, v in state.get(p, {}).items()
        ]

    def _restore_optimizer(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        state: dict[int, dict[str, Any]] = {}
        for name, value in tensors.items():
            number, key = name.split(".", 1)
            state.setdefault(int(number), {})[key] = value
        for number, key, value in numbers["optimizer_state"]:
            state.setdefault(number, {})[key] = value
        groups = [
            group
            | {k: tuple(v) if isinstance(group.get(k), tuple) else v for k, v in saved.items()}
            for group, saved in zip(
                self.optimizer.state_dict()["param_groups"],
                numbers["optimizer_groups"],
                strict=True,
            )
        ]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        for p, held in self.optimizer.state.items():
            for key, value in held.items():
                if (
                    isinstance(value, Tensor)
                    and value.shape == p.shape
                    and value.stride() != p.stride()
                ):
                    held[key] = torch.empty_like(p).copy_(
                        value
                    )  # fused kernels expect the parameter's layout


def _below(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}


def _is_json(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, list, tuple))
