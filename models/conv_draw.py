"""Convolutional DRAW [Gregor et al., 2016]: an image drawn in steps, the first of which say what it is."""

from __future__ import annotations

from typing import Any, Self

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.conditionals import Conditional, Gaussian
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["ConvDRAW"]


class ConvDRAW(GenerativeStory):
    r"""An image that is drawn on a canvas r in T steps, each of which has maps of latents.

    .. math:: z_t \sim \mathcal N(\mu(h_{t-1}), \operatorname{diag} \sigma^2(h_{t-1})), \quad
       h_t = \operatorname{LSTM}(z_t, h_{t-1}), \quad r_t = r_{t-1} + W h_t, \quad x \sim p(x \mid r_T)

    .. math:: e_t = \operatorname{LSTM}(x, x - \mathbb E[x \mid r_{t-1}], h_{t-1}; e_{t-1}), \quad
       q(z_t \mid x, z_{<t}) = \mathcal N(\mu(e_t), \operatorname{diag} \sigma^2(e_t))

    What the guide has still to explain it reads from the error that is left. Steps share all weights; maps are a
    ``stride``-th of the image.

    - Story, guide: above, the guide drawing along. Latents are ``z1`` to ``zT``; the representation of a step is its
      posterior at the means of those before. [1] has two layers of such latents, here is one.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: images alone.
    - For: lossy codes: the first steps tell what an image is, the later ones its details;
      :func:`~ppl_disentangle.inference.compression_curve` shows what remains when only the first are kept.

    Args:
        shape: of one image, channels first, its sides multiples of ``stride``.
        likelihood: p(x | r), a conditional on a canvas of that shape, such as ``Bernoulli(nn.Identity())``.
        steps: T.
        latent_channels: maps of latents in a step.
        hidden: channels of h and e; sizes are choices of ours.
        stride: sides of the image by those of the maps.
        beta: weight of the divergences.
        warm_up: steps over which it rises from 0.

    Raises:
        ValueError: another shape.

    References:
        [1] Gregor et al., 2016. Towards conceptual compression. https://arxiv.org/abs/1604.08772

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> story = ConvDRAW((1, 8, 8), Bernoulli(nn.Identity(), input_dims=3), steps=3, stride=4)
        >>> {name: tuple(q.event_shape) for name, q in story.representation(torch.zeros(5, 1, 8, 8)).items()}
        {'z1': (8,), 'z2': (8,), 'z3': (8,)}
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        likelihood: Conditional,
        *,
        steps: int = 8,
        latent_channels: int = 2,
        hidden: int = 32,
        stride: int = 4,
        beta: Weight = 1.0,
        warm_up: int = 0,
    ) -> None:
        super().__init__()
        if len(shape) != 3 or any(side % stride for side in shape[1:]):
            raise ValueError(
                f"expected images (channels, rows, columns) of sides that {stride} divides, got {shape}"
            )
        self.shape, self.likelihood, self.beta, self.warm_up = (
            tuple(shape),
            likelihood,
            beta,
            warm_up,
        )
        self.latents = tuple(f"z{step + 1}" for step in range(steps))
        self.maps = latent_channels, shape[1] // stride, shape[2] // stride
        self.look = nn.Conv2d(2 * shape[0], hidden, stride + 2, stride, 1)
        self.reader = _ConvLSTM(2 * hidden, hidden)
        self.drawer = _ConvLSTM(latent_channels, hidden)
        maps = (nn.Conv2d(hidden, 2 * latent_channels, 3, padding=1) for _ in range(2))
        self.posterior, self.prior = (Gaussian(nn.Sequential(conv, nn.Flatten())) for conv in maps)
        self.paint = nn.ConvTranspose2d(hidden, shape[0], stride + 2, stride, 1)
        self.blank = nn.Parameter(torch.zeros(shape))
        self.hidden = hidden

    @classmethod
    def for_data(cls, data: FactorDataset, networks: Networks, **hyper: Any) -> Self:
        """A story of images of that shape; it has networks of its own. See :func:`~ppl_disentangle.zoo.build`."""
        return cls(
            data.observation_shape, networks.likelihood(nn.Identity(), input_dims=3), **hyper
        )

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z)."""
        with self.data_plate(x, batch_size):
            drawing = _Drawing(self, batch_size if x is None else len(x))
            for name in self.latents:
                drawing.add(pyro.sample(name, drawing.prior()))
            return pyro.sample("x", self.likelihood(drawing.canvas), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z | x), step by step."""
        with self.data_plate(x):
            drawing = _Drawing(self, len(x))
            for name in self.latents:
                drawing.add(pyro.sample(name, drawing.posterior(x)))

    def representation(self, x: Tensor) -> dict[str, TorchDistribution]:
        """q of each step at the means of those before."""
        drawing, found = _Drawing(self, len(x)), {}
        for name in self.latents:
            found[name] = drawing.posterior(x)
            drawing.add(found[name].mean)
        return found

    def objective(self) -> BetaELBO:
        """The bound, its divergences weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)


class _Drawing:
    """A canvas, and the states of those who read and draw."""

    def __init__(self, story: ConvDRAW, size: int) -> None:
        self.story, self.canvas = story, story.blank.expand(size, *story.shape)
        state = story.blank.new_zeros(size, story.hidden, *story.maps[1:])
        self.read = self.drawn = (state, state)

    def prior(self) -> TorchDistribution:
        """p of the next latents, given all before."""
        return self.story.prior(self.drawn[0])

    def posterior(self, x: Tensor) -> TorchDistribution:
        """q of the next latents, given x and all before."""
        seen = self.story.look(torch.cat([x, x - self.story.likelihood(self.canvas).mean], 1))
        self.read = self.story.reader(torch.cat([seen, self.drawn[0]], 1), self.read)
        return self.story.posterior(self.read[0])

    def add(self, z: Tensor) -> None:
        """Draw the latents ``(batch, dim)`` of a step."""
        self.drawn = self.story.drawer(z.reshape(-1, *self.story.maps), self.drawn)
        self.canvas = self.canvas + self.story.paint(self.drawn[0])


class _ConvLSTM(nn.Module):
    """A long short-term memory whose gates are convolutions of 3 x 3."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(inputs + hidden, 4 * hidden, 3, padding=1)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, cell = state
        take, keep, show, new = self.gates(torch.cat([x, h], 1)).chunk(4, 1)
        cell = torch.sigmoid(keep + 1.0) * cell + torch.sigmoid(take) * torch.tanh(new)
        return torch.sigmoid(show) * torch.tanh(cell), cell
