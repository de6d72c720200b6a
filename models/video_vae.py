"""Space and time in video [Grathwohl & Wilson, 2016]: what stays in a clip, and what moves smoothly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.data import FactorDataset, walks
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.ml_vae import product_of_members
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["VideoVAE"]


class VideoVAE(GenerativeStory):
    r"""Clips with one identity, and a pose of each frame that moves smoothly.

    .. math:: s \sim \mathcal N(0, I), \quad p_d \sim \mathcal{GP}(0, k), \; k(t, t') = e^{-(t - t')^2 / 2 \ell^2},
       \quad x_t \mid s, p_t \sim p(x \mid s, p_t), \qquad
       q(s \mid x_{1:T}) \propto \prod_t q(s \mid x_t), \; q(p_t \mid x_t)

    What stays has one latent for the clip, at the price of one; as a pose it would pay in each frame. What moves
    cannot be identity. In [1] the prior of poses is a random walk and identity is read from the first frame.

    - Story, guide: above. Of single frames, a clip of one.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: clips ``(batch, frames, *event)``, such as of :func:`~ppl_disentangle.data.walks`; single frames are taken
      as they are.
    - For: telling objects from their motion without labels.

    Args:
        encoder: ``encoder(x)`` has the groups ``"identity"`` and ``"pose"``.
        decoder: ``decoder(h)`` is p(x | s, p), h the identity followed by the pose; it takes any batch dimensions.
        event_dim: number of dimensions of one frame, by which clips are told from single frames.
        length_scale: l, in frames; a choice of ours.
        beta: weight of the divergences.
        warm_up: steps over which the weight rises from 0.

    Raises:
        ValueError: an encoder of other groups, or a length that is not positive.

    References:
        [1] Grathwohl & Wilson, 2016. https://arxiv.org/abs/1612.04440

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> encoder = Grouped(nn.Linear(6, 10), {"identity": 3, "pose": 2})
        >>> story = VideoVAE(encoder, Bernoulli(nn.Linear(5, 6)), event_dim=1)
        >>> story.model(torch.zeros(8, 12, 6)).shape
        torch.Size([8, 12, 6])
    """

    latents = ("identity", "pose")
    decoder: Callable[[Tensor], TorchDistribution]
    zeros: Tensor

    def __init__(
        self,
        encoder: Grouped,
        decoder: nn.Module,
        *,
        event_dim: int = 3,
        length_scale: float = 2.0,
        beta: Weight = 1.0,
        warm_up: int = 0,
    ) -> None:
        super().__init__()
        encoder.check_groups(*self.latents)
        if length_scale <= 0:
            raise ValueError(f"expected length_scale > 0, got {length_scale}")
        self.encoder, self.decoder, self.event_dim, self.length_scale = (
            encoder,
            decoder,
            event_dim,
            length_scale,
        )
        self.beta, self.warm_up = beta, warm_up
        self.register_buffer("zeros", torch.zeros(()), persistent=False)

    frames: int = 8
    rate: float = 2.0
    """Of the clips of :meth:`training_data`: their length, and the rate of the Laplace steps of what moves."""

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        identity_dim: int = 5,
        pose_dim: int = 5,
        frames: int = 8,
        rate: float = 2.0,
        **hyper: Any,
    ) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: with factors of all combinations, of which those that are ordered or cyclic move.
            networks: what encoder and decoder are made by.
            identity_dim: coordinates of the identity.
            pose_dim: coordinates of a pose.
            frames: of a clip.
            rate: of the steps of what moves, as in :func:`~ppl_disentangle.data.walks`.
            **hyper: of the story.

        Raises:
            ValueError: data of which nothing moves, or nothing stays.
        """
        moving = [f.kind != "categorical" for f in data.space if f.name in data.varying]
        if not any(moving) or all(moving):
            raise ValueError(
                f"{cls.__name__} needs factors that move and such that stay: {data.name} has {list(data.factor_names)}"
            )
        dim = identity_dim + pose_dim
        encoder = Grouped(networks.encoder(2 * dim), {"identity": identity_dim, "pose": pose_dim})
        story = cls(encoder, networks.decoder(dim), event_dim=len(data.observation_shape), **hyper)
        story.frames, story.rate = frames, rate
        return story

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """As many clips as there are data."""
        return walks(data, self.frames, self.rate)

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, s, p)."""
        sizes, frames = self.encoder.groups, self._frames(x)
        with self.data_plate(x, batch_size):
            identity = pyro.sample(
                "identity", dist.Normal(self.zeros.expand(sizes["identity"]), 1.0).to_event(1)
            )
            if frames is None:
                pose = pyro.sample(
                    "pose", dist.Normal(self.zeros.expand(sizes["pose"]), 1.0).to_event(1)
                )
                return pyro.sample("x", self.decoder(torch.cat([identity, pose], -1)), obs=x)
            motion = dist.MultivariateNormal(
                self.zeros.expand(sizes["pose"], frames), self.covariance(frames)
            )
            pose = pyro.sample("pose", motion.to_event(1)).transpose(-1, -2)
            identity = identity.unsqueeze(-2).expand(*pose.shape[:-1], -1)
            return pyro.sample(
                "x", self.decoder(torch.cat([identity, pose], -1)).to_event(1), obs=x
            )

    def guide(self, x: Tensor) -> None:
        """q(s | all frames), q(p | x) of each frame."""
        frames = self._frames(x)
        posterior = self.encoder(x if frames is None else x.transpose(0, 1).flatten(0, 1))
        with self.data_plate(x):
            if frames is None:
                for name in self.latents:
                    pyro.sample(name, posterior[name])
                return
            q = {name: p.base_dist for name, p in posterior.items()}
            shaped = {
                n: [t.unflatten(0, (frames, -1)) for t in (p.loc, p.scale)] for n, p in q.items()
            }
            pyro.sample("identity", product_of_members(dist.Normal(*shaped["identity"])))
            loc, scale = (t.permute(1, 2, 0) for t in shaped["pose"])
            pyro.sample("pose", dist.Normal(loc, scale).to_event(2))

    def covariance(self, frames: int) -> Tensor:
        """Of the poses of a clip, ``(frames, frames)``."""
        t = torch.arange(frames, device=self.zeros.device, dtype=self.zeros.dtype)
        jitter = 1e-3 * torch.eye(frames, device=t.device, dtype=t.dtype)
        return (1 - 1e-3) * (-0.5 * ((t[:, None] - t) / self.length_scale).square()).exp() + jitter

    def _frames(self, x: Tensor | None) -> int | None:
        """The number of frames; ``None`` for single ones."""
        return x.shape[1] if x is not None and x.dim() == 2 + self.event_dim else None

    def objective(self) -> BetaELBO:
        """The bound with its divergences weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)
