"""The story of causal representation learning: a structural causal model whose nodes are seen through data."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any

import pyro
import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from pyro.infer import ELBO
from torch import Tensor, nn

from ppl_disentangle.story import GenerativeStory
from ppl_disentangle.structural import NOISE, StructuralPrior

__all__ = ["StructuralVAE"]


class StructuralVAE(GenerativeStory):
    r"""Nodes of a causal graph, each with noise of its own, and data that depend on them. Abstract.

    .. math:: \varepsilon_i \sim p(\varepsilon_i), \quad z_i = f_i(\varepsilon_i; z_{\text{parents}(i)}), \quad
       x \mid z \sim p(x \mid z)

    The latents are the noise, ``<node>_noise``; the representation are the nodes. The guide states normal posteriors of
    the nodes, :math:`z_i \mid x \sim \mathcal N(m_i(x), s_i^2(x))`, and samples the noise that gives them: the same
    bound as if it sampled z, and counterfactuals by running the model under ``do`` with the guide's noise. There is one
    divergence, that of the noise; a correct model has no total correlation there, while its nodes have, so that an
    objective that weighs total correlation does not work against the graph.

    Implementing one: define ``objective``, and :meth:`labels_given` if the story is told labels.

    Args:
        prior: the structural causal model.
        encoder: ``encoder(x)`` is a normal over all coordinates of the nodes, of event shape ``(len(prior.columns),)``.
        decoder: ``decoder(z)`` is p(x | z), for z of the same shape.
    """

    encoder: Callable[[Tensor], TorchDistribution]
    decoder: Callable[[Tensor], TorchDistribution]

    def __init__(self, prior: StructuralPrior, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.prior, self.encoder, self.decoder = prior, encoder, decoder
        self.latents = tuple(f"{node}{NOISE}" for node in prior.names)
        self.coordinate_names = {node: (node,) for node, dim in prior.dims.items() if dim == 1}

    def model(
        self,
        x: Tensor | None = None,
        *,
        batch_size: int = 1,
        labels: Tensor | None = None,
        interventions: Tensor | None = None,
    ) -> Tensor:
        """p(x, labels, noise).

        Args:
            x: observations.
            batch_size: how many to draw where ``x`` is ``None``.
            labels: ``(batch, columns)``, NaN where unknown.
            interventions: ``(batch, columns)``, the value that a coordinate was set to when the datum was recorded, NaN
                where it was left alone.
        """
        with self.data_plate(x, batch_size):
            values = self.prior(base=self.base(labels), interventions=interventions)
            self.labels_given(values, labels)
            return pyro.sample("x", self.decoder(self.prior.join(values)), obs=x)

    def guide(self, x: Tensor, *, labels: Tensor | None = None, interventions: Tensor | None = None) -> None:
        """q(noise | x), by way of the nodes."""
        with self.data_plate(x):
            self.prior.pull_back(self.representation(x), interventions=interventions)

    def representation(self, x: Tensor) -> dict[str, TorchDistribution]:
        """q(node | x) of each node."""
        q = self.encoder(x).base_dist
        locs, scales = self.prior.split(q.loc), self.prior.split(q.scale)
        return {node: dist.Normal(locs[node], scales[node]).to_event(1) for node in self.prior.names}

    def latent_means(self, x: Tensor) -> dict[str, Tensor]:
        """The noise that gives all nodes their posterior means."""
        noise = self.prior.noise_of({node: q.mean for node, q in self.representation(x).items()})
        return {f"{node}{NOISE}": value for node, value in noise.items()}

    def base(self, labels: Tensor | None) -> Mapping[str, TorchDistribution] | None:
        """Distributions of the noise other than the mechanisms' own, by node."""
        return None

    def labels_given(self, values: Mapping[str, Tensor], labels: Tensor | None) -> Any:
        """Sample statements of the labels, given the values of the nodes."""

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Raise a ValueError where the node ``name`` cannot have ``value``."""
        if name in self.prior.names:
            dict(self.prior.by_name())[name].check(name, value)

    @abc.abstractmethod
    def objective(self) -> ELBO:
        """The published objective with its published weights."""
