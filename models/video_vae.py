"""Space and time in video [Grathwohl & Wilson, 2016]: an identity that stays, and smooth motion."""

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
from ppl_disentangle.models.bases.content_style import normals_by_member, product_of_members
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["VideoVAE"]


class VideoVAE(GenerativeStory):
    r"""Separates the identity of an object from its motion, from video clips without labels.

    .. math:: s \sim \mathcal N(0, I), \quad p_d \sim \mathcal{GP}(0, k), \;
       k(t, t') = e^{-(t - t')^2 / 2 \ell^2}, \quad x_t \mid s, p_t \sim p(x \mid s, p_t), \qquad
       q(s \mid x_{1:T}) \propto \prod_t q(s \mid x_t), \; q(p_t \mid x_t)

    The identity s of a clip is one latent, and its divergence is paid once. As a pose it would be
    paid in each frame, so the pose p does not represent the identity. The identity cannot represent
    the motion, since it is constant. In [1] the prior of poses is a random walk, and the identity
    is read from the first frame.

    - Story, guide: Above; a single frame is a clip of one frame.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: video clips without labels, ``(batch, frames, *event)``, such as
      :func:`~ppl_disentangle.data.walks` draws. Single frames are taken as they are.
    - For: distinguishing an object from its motion without labels.

    Args:
        encoder: ``encoder(x)`` has the groups ``"identity"`` and ``"pose"``.
        decoder: ``decoder(h)`` is p(x | s, p), for h the identity followed by the pose. It takes
            any batch dimensions.
        event_dim: Number of dimensions of one frame; clips have one dimension more.
        length_scale: Length scale of the poses, in frames. The default is not from [1].
        beta: Weight of the divergences.
        warm_up: Number of steps over which the weight rises from 0.
        frames: Number of frames of the clips that :meth:`training_data` draws.
        rate: Rate of the Laplace steps by which factors move in these clips.

    Raises:
        ValueError: The encoder has other groups, or the length scale is not positive.

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
        frames: int = 8,
        rate: float = 2.0,
    ) -> None:
        super().__init__()
        encoder.check_groups(*self.latents)
        if length_scale <= 0:
            raise ValueError(f"expected length_scale > 0, got {length_scale}")
        self.encoder = encoder
        self.decoder = decoder
        self.event_dim = event_dim
        self.length_scale = length_scale
        self.beta = beta
        self.warm_up = warm_up
        self.frames = frames
        self.rate = rate
        self.register_buffer("zeros", torch.zeros(()), persistent=False)

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
        """Build the story for clips drawn from ``data``, with a fresh encoder and decoder.

        Args:
            data: Observations of all combinations of their factors. Ordered and cyclic factors
                move within a clip, categorical factors stay.
            networks: Makes the encoder and the decoder.
            identity_dim: Number of coordinates of the identity.
            pose_dim: Number of coordinates of the pose of a frame.
            frames: Number of frames of a clip.
            rate: Rate of the steps by which factors move; see
                :func:`~ppl_disentangle.data.walks`.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: No factor moves, or no factor stays.
        """
        moving = [f.kind != "categorical" for f in data.space if f.name in data.varying]
        if not any(moving) or all(moving):
            raise ValueError(
                f"{cls.__name__} needs factors that move and such that stay: {data.name} has"
                f" {list(data.factor_names)}"
            )
        dim = identity_dim + pose_dim
        encoder = Grouped(networks.encoder(2 * dim), {"identity": identity_dim, "pose": pose_dim})
        return cls(
            encoder,
            networks.decoder(dim),
            event_dim=len(data.observation_shape),
            frames=frames,
            rate=rate,
            **hyper,
        )

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """As many clips as there are data, in which ordered and cyclic factors move."""
        return walks(data, self.frames, self.rate)

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, s, p) of single frames, or of clips."""
        if x is not None and self._are_clips(x):
            return self._model_of_clips(x)
        with self.data_plate(x, batch_size):
            identity = pyro.sample("identity", self._standard_normal("identity"))
            pose = pyro.sample("pose", self._standard_normal("pose"))
            return pyro.sample("x", self.decoder(torch.cat([identity, pose], -1)), obs=x)

    def _model_of_clips(self, x: Tensor) -> Tensor:
        """p(x, s, p), with a pose for each frame of a clip."""
        with self.data_plate(x):
            identity = pyro.sample("identity", self._standard_normal("identity"))
            # sampled as (batch, pose_dim, frames), decoded as (batch, frames, pose_dim)
            pose = pyro.sample("pose", self.motion(x.shape[1])).transpose(-1, -2)
            identity = identity.unsqueeze(-2).expand(*pose.shape[:-1], -1)
            clip = self.decoder(torch.cat([identity, pose], -1)).to_event(1)
            return pyro.sample("x", clip, obs=x)

    def guide(self, x: Tensor) -> None:
        """q(s | x), q(p | x) of single frames, or the posteriors of clips."""
        if self._are_clips(x):
            self._guide_of_clips(x)
            return
        posterior = self.encoder(x)
        with self.data_plate(x):
            pyro.sample("identity", posterior["identity"])
            pyro.sample("pose", posterior["pose"])

    def _guide_of_clips(self, x: Tensor) -> None:
        """q(s | all frames), q(p | x) of each frame."""
        frames = x.shape[1]
        posterior = self.encoder(x.transpose(0, 1).flatten(0, 1))
        identity_of_frames = normals_by_member(posterior["identity"], frames)
        pose = normals_by_member(posterior["pose"], frames)
        with self.data_plate(x):
            pyro.sample("identity", product_of_members(identity_of_frames))
            # (frames, batch, dim) to the shape of the prior, (batch, dim, frames)
            loc = pose.loc.permute(1, 2, 0)
            scale = pose.scale.permute(1, 2, 0)
            pyro.sample("pose", dist.Normal(loc, scale).to_event(2))

    def _standard_normal(self, name: str) -> TorchDistribution:
        return dist.Normal(self.zeros.expand(self.encoder.groups[name]), 1.0).to_event(1)

    def motion(self, frames: int) -> TorchDistribution:
        """p(p) of a clip, with events of shape ``(pose_dim, frames)``."""
        mean = self.zeros.expand(self.encoder.groups["pose"], frames)
        return dist.MultivariateNormal(mean, self.covariance(frames)).to_event(1)

    def covariance(self, frames: int) -> Tensor:
        """Covariance of one pose coordinate between the frames of a clip, ``(frames, frames)``."""
        t = torch.arange(frames, device=self.zeros.device, dtype=self.zeros.dtype)
        distance = (t[:, None] - t) / self.length_scale
        kernel = (-0.5 * distance.square()).exp()
        jitter = 1e-3  # keeps the Cholesky factor finite; the variance stays 1
        return (1 - jitter) * kernel + jitter * torch.eye(frames, device=t.device, dtype=t.dtype)

    def _are_clips(self, x: Tensor) -> bool:
        """Whether observations are clips, ``(batch, frames, *event)``, or single frames."""
        return x.dim() == 2 + self.event_dim

    def objective(self) -> BetaELBO:
        """The bound with its divergences weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)
