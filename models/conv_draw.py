"""Convolutional DRAW [Gregor et al., 2016]: an image drawn in steps, from gist to details."""

from __future__ import annotations

import math
from typing import Any, Self

import pyro
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.conditionals import Conditional, Gaussian
from ppl_disentangle.conditions import check_conditions
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["ConvDRAW"]


class ConvDRAW(GenerativeStory):
    r"""Compresses images without labels into steps, from the gist of an image to its details.

    .. math:: z_t \sim \mathcal N(\mu(h_{t-1}), \operatorname{diag} \sigma^2(h_{t-1})), \quad
       h_t = \operatorname{LSTM}(z_t, h_{t-1}), \quad r_t = r_{t-1} + W h_t, \quad
       x \sim p(x \mid r_T)

    .. math:: e_t = \operatorname{LSTM}(x, x - \mathbb E[x \mid r_{t-1}], h_{t-1}; e_{t-1}), \quad
       q(z_t \mid x, z_{<t}) = \mathcal N(\mu(e_t), \operatorname{diag} \sigma^2(e_t))

    An image is drawn on a canvas r in T steps, each with its own maps of latents z. The guide reads
    the remaining error, which is still to be explained. All steps share their weights. The sides
    of the maps are the sides of the image divided by ``stride``, rounded up.

    - Story, guide: Above; the guide draws along. Latents are named ``z1`` to ``zT``. The
      representation of a step is its posterior at the means of the steps before. In [1] there are
      two layers of such latents, here there is one.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: images without labels.
    - For: lossy compression. The first steps represent the gist of an image, the later ones its
      details; :func:`~ppl_disentangle.inference.compression_curve` shows images drawn by the
      first steps alone.

    Args:
        shape: Shape of one image, channels first.
        likelihood: Conditional p(x | r) on a canvas of that shape, such as
            ``Bernoulli(nn.Identity())``.
        steps: Number T of steps.
        latent_channels: Number of maps of latents in a step.
        hidden: Number of channels of h and e. The default sizes are not from [1].
        stride: Ratio of the sides of the image to the sides of the maps.
        beta: Weight of the divergences.
        warm_up: Number of steps over which the weight rises from 0.

    Raises:
        ValueError: The shape is not an image's.

    References:
        [1] Gregor et al., 2016. Towards conceptual compression. https://arxiv.org/abs/1604.08772

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> likelihood = Bernoulli(nn.Identity(), input_dims=3)
        >>> story = ConvDRAW((1, 8, 8), likelihood, steps=3, stride=4)
        >>> representation = story.representation(torch.zeros(5, 1, 8, 8))
        >>> {name: tuple(q.event_shape) for name, q in representation.items()}
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
        if len(shape) != 3:
            raise ValueError(f"expected images (channels, rows, columns), got {shape}")
        _, rows, columns = shape
        self.shape = tuple(shape)
        self.hidden = hidden
        self.maps = (latent_channels, math.ceil(rows / stride), math.ceil(columns / stride))
        # left, right, top, bottom: pixels that complete the last column and row of the maps
        self.margin = (0, -columns % stride, 0, -rows % stride)
        self.latents = tuple(f"z{step + 1}" for step in range(steps))
        self.beta = beta
        self.warm_up = warm_up
        self.likelihood = likelihood
        self._add_networks(stride)

    def _add_networks(self, stride: int) -> None:
        """Add the networks that read images and draw on the canvas, and the blank canvas."""
        channels = self.shape[0]
        latent_channels = self.maps[0]
        hidden = self.hidden
        self.look = nn.Conv2d(2 * channels, hidden, stride + 2, stride, 1)
        self.reader = _ConvLSTM(2 * hidden, hidden)
        self.drawer = _ConvLSTM(latent_channels, hidden)
        self.posterior = _normal_maps(hidden, latent_channels)
        self.prior = _normal_maps(hidden, latent_channels)
        self.paint = nn.ConvTranspose2d(hidden, channels, stride + 2, stride, 1)
        self.blank = nn.Parameter(torch.zeros(self.shape))

    @classmethod
    def for_data(cls, data: FactorDataset, networks: Networks, **hyper: Any) -> Self:
        """Build the story for ``data``, with its own convolutional networks.

        Args:
            data: Images.
            networks: Makes the likelihood; its other networks are not used.
            **hyper: Further arguments of the story.
        """
        likelihood = networks.likelihood(nn.Identity(), input_dims=3)
        return cls(data.observation_shape, likelihood, **hyper)

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

    def representation(self, x: Tensor, **conditions: Any) -> dict[str, TorchDistribution]:
        """q of each step at the means of the steps before."""
        check_conditions(self, conditions)
        drawing = _Drawing(self, len(x))
        posteriors = {}
        for name in self.latents:
            posteriors[name] = drawing.posterior(x)
            drawing.add(posteriors[name].mean)
        return posteriors

    def objective(self) -> BetaELBO:
        """The bound with its divergences weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)


class _Drawing:
    """A canvas, and the states of the networks that read images and draw on it.

    Attributes:
        canvas: The canvas r, ``(batch, *shape)``.
        read_state: The state e of the reader and its memory.
        drawn_state: The state h of the drawer and its memory.
    """

    def __init__(self, story: ConvDRAW, batch_size: int) -> None:
        self.story = story
        self.canvas = story.blank.expand(batch_size, *story.shape)
        zeros = story.blank.new_zeros(batch_size, story.hidden, *story.maps[1:])
        self.read_state = (zeros, zeros)
        self.drawn_state = (zeros, zeros)

    def prior(self) -> TorchDistribution:
        """p of the latents of the next step, given all latents before."""
        return self.story.prior(self.drawn_state[0])

    def posterior(self, x: Tensor) -> TorchDistribution:
        """q of the latents of the next step, given x and all latents before."""
        error = x - self.story.likelihood(self.canvas).mean
        images = torch.cat([x, error], 1)
        if any(self.story.margin):
            images = F.pad(images, self.story.margin)
        maps = self.story.look(images)
        inputs = torch.cat([maps, self.drawn_state[0]], 1)
        self.read_state = self.story.reader(inputs, self.read_state)
        return self.story.posterior(self.read_state[0])

    def add(self, z: Tensor) -> None:
        """Draw one step on the canvas, from its latents ``(batch, dim)``."""
        self.drawn_state = self.story.drawer(z.reshape(-1, *self.story.maps), self.drawn_state)
        _, rows, columns = self.story.shape
        strokes = self.story.paint(self.drawn_state[0])
        self.canvas = self.canvas + strokes[..., :rows, :columns]


class _ConvLSTM(nn.Module):
    """A long short-term memory whose gates are 3 x 3 convolutions."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(inputs + hidden, 4 * hidden, 3, padding=1)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The next state and memory, from the inputs ``(batch, inputs, rows, columns)``."""
        h, memory = state
        input_gate, forget_gate, output_gate, update = self.gates(torch.cat([x, h], 1)).chunk(4, 1)
        remembered = torch.sigmoid(forget_gate + 1.0) * memory
        memory = remembered + torch.sigmoid(input_gate) * torch.tanh(update)
        return torch.sigmoid(output_gate) * torch.tanh(memory), memory


def _normal_maps(channels: int, latent_channels: int) -> Gaussian:
    """A normal over flattened maps of latents, read from maps with ``channels`` channels."""
    convolution = nn.Conv2d(channels, 2 * latent_channels, 3, padding=1)
    return Gaussian(nn.Sequential(convolution, nn.Flatten()))
