"""Fresh networks for one kind of observation: what a story is built from when it is built from data."""

from __future__ import annotations

import dataclasses
import math
from types import MappingProxyType

from torch import nn

from ppl_disentangle import networks
from ppl_disentangle.conditionals import Bernoulli, Conditional, Deterministic, GaussianLearnedScale

__all__ = ["NETWORKS", "STEADY_CRITIC", "STEADY_GAME", "Networks"]

PAIRS = {
    "study": (networks.study_encoder, networks.study_decoder),
    "ported": (networks.pytorch_port_encoder, networks.pytorch_port_decoder),
    "burgess": (networks.burgess_encoder, networks.burgess_decoder),
}
NETWORKS = (*PAIRS, "mlp")

STEADY_GAME = MappingProxyType({"gradient_penalty": 0.1})
STEADY_CRITIC = MappingProxyType({"lr": 3e-4, "betas": (0.5, 0.99)})
"""Options of games and of their critics' optimisers, choices of ours: else InfoGAN drew few of the digits."""


@dataclasses.dataclass(frozen=True)
class Networks:
    """Encoders and decoders of one architecture, each with weights of its own.

    Attributes:
        shape: of one observation.
        kind: ``"study"``, ``"ported"`` and ``"burgess"`` take images of 64x64, ``"mlp"`` anything; by default the first
            that fits.
        likelihood: of the decoders.

    Raises:
        ValueError: a kind that there is not, or that does not take the observations.

    Example:
        >>> import torch
        >>> networks = Networks((1, 8, 8))
        >>> networks.encoder(6)(torch.zeros(5, 1, 8, 8)).shape, networks.decoder(3)(torch.zeros(5, 3)).event_shape
        (torch.Size([5, 6]), torch.Size([1, 8, 8]))
    """

    shape: tuple[int, ...]
    kind: str | None = None
    likelihood: type[Conditional] = Bernoulli

    def __post_init__(self) -> None:
        images = len(self.shape) == 3 and self.shape[1:] == (64, 64)
        kind = self.kind or ("study" if images else "mlp")
        if kind not in NETWORKS:
            raise ValueError(f"no network named {kind!r}; there are {', '.join(NETWORKS)}")
        if kind in PAIRS and not images:
            raise ValueError(
                f"network {kind!r} takes images of shape (channels, 64, 64), the data are {self.shape}; use 'mlp'"
            )
        object.__setattr__(self, "kind", kind)

    def encoder(self, outputs: int) -> nn.Module:
        """A network from ``(batch, *shape)`` to ``(batch, outputs)``."""
        if self.kind in PAIRS:
            return PAIRS[self.kind][0](outputs, channels=self.shape[0])
        return networks.mlp_encoder(outputs, shape=self.shape, hidden=self._hidden)

    def decoder(self, inputs: int) -> Conditional:
        """p(x | h) for h of shape ``(batch, inputs)``."""
        return self.likelihood(self._to_observations(inputs))

    def generator(self, inputs: int) -> Deterministic:
        """A point for h of shape ``(batch, inputs)``: what the likelihood's mean would be."""
        net = self._to_observations(inputs)
        return Deterministic(net if self.likelihood is GaussianLearnedScale else nn.Sequential(net, nn.Sigmoid()))

    def _to_observations(self, inputs: int) -> nn.Module:
        if self.kind in PAIRS:
            return PAIRS[self.kind][1](inputs, channels=self.shape[0])
        activation = nn.Tanh if self._hidden == 1200 else nn.ReLU
        return networks.mlp_decoder(inputs, shape=self.shape, hidden=self._hidden, activation=activation)

    @property
    def _hidden(self) -> int:
        """The 1200 units of the literature, and their tanh, were chosen for 4096 pixels."""
        return 1200 if math.prod(self.shape) >= 1024 else 256
