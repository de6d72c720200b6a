"""The story of causal representation learning: a structural causal model whose nodes are seen through data."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.infer import ELBO
from torch import Tensor, nn

from ppl_disentangle.causal.structural import NOISE, StructuralPrior, _where_known
from ppl_disentangle.story import GenerativeStory

__all__ = ["Posterior", "StructuralVAE", "check_names", "noisy_labels"]

Posterior = Literal["nodes", "noise"]


class StructuralVAE(GenerativeStory):
    r"""Nodes of a causal graph, each with noise of its own, and data that depend on them. Abstract.

    .. math:: \varepsilon_i \sim p(\varepsilon_i \mid u), \quad z_i = f_i(\varepsilon_i; z_{\text{parents}(i)}), \quad
       x \mid z \sim p(x \mid z)

    The latents are the noise, ``<node>_noise``; the representation are the nodes. There is one divergence, that of the
    noise; a correct model has no total correlation there, while its nodes have, so that an objective that weighs total
    correlation does not work against the graph. Counterfactuals are the model under ``do``, run with the guide's noise.
    What the guide states is a normal posterior of

    - the ``"nodes"``, :math:`z_i \mid x \sim \mathcal N(m_i(x), s_i^2(x))`, from which it draws the noise that gives
      them: the same bound as if it drew z. The noise of a node then depends on what was drawn for its parents.
    - the ``"noise"``, :math:`\varepsilon_i \mid x \sim \mathcal N(m_i(x), s_i^2(x))`, independent given x, as the
      minibatch estimators of :class:`~ppl_disentangle.inference.TCELBO` and its kin require. The bound is looser where
      data tell more of the nodes than of their noise, as labels do.

    Implementing one: define ``objective``; :meth:`labels_given` if the story is told labels, :meth:`base` if its noise
    depends on auxiliary variables.

    Args:
        prior: the structural causal model.
        encoder: ``encoder(x)`` is a normal over all coordinates of the nodes, of event shape ``(len(prior.columns),)``,
            or over those of the noise.
        decoder: ``decoder(z)`` is p(x | z), for all coordinates of the nodes.
        posterior: one of the above.
    """

    encoder: Callable[[Tensor], TorchDistribution]
    decoder: Callable[[Tensor], TorchDistribution]

    def __init__(
        self,
        prior: StructuralPrior,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        posterior: Posterior = "nodes",
    ) -> None:
        super().__init__()
        if posterior not in get_args(Posterior):
            raise ValueError(
                f"expected posterior {' or '.join(map(repr, get_args(Posterior)))}, got {posterior!r}"
            )
        check_names(prior.names, "x", "data")
        self.prior, self.encoder, self.decoder, self.posterior = prior, encoder, decoder, posterior
        self.dag, self.columns = prior.dag, prior.columns
        self.latents = tuple(f"{node}{NOISE}" for node in prior.names)
        self.coordinate_names = {node: (node,) for node, dim in prior.dims.items() if dim == 1}

    def model(
        self,
        x: Tensor | None = None,
        *,
        batch_size: int = 1,
        labels: Tensor | None = None,
        interventions: Tensor | None = None,
        u: Tensor | None = None,
    ) -> Tensor:
        """p(x, labels, noise).

        Args:
            x: observations.
            batch_size: how many to draw where ``x`` is ``None``.
            labels: ``(batch, columns)``, NaN where unknown.
            interventions: ``(batch, columns)``, the value that a coordinate was set to when the datum was recorded, NaN
                where it was left alone.
            u: auxiliary variables that the noise depends on, ``(batch, dim)``.
        """
        with self.data_plate(x, batch_size):
            values = self.prior(
                base=self.base(u), interventions=self._checked("interventions", interventions)
            )
            self.labels_given(values, self._checked("labels", labels))
            return pyro.sample("x", self.decoder(self.prior.join(values)), obs=x)

    def guide(
        self,
        x: Tensor,
        *,
        labels: Tensor | None = None,
        interventions: Tensor | None = None,
        u: Tensor | None = None,
    ) -> None:
        """q(noise | x), by way of the nodes or not."""
        with self.data_plate(x):
            if self.posterior == "nodes":
                self.prior.pull_back(self._posteriors(x), interventions=interventions)
                return
            posteriors = self._posteriors(x)
            for node, mechanism in self.prior.by_name():
                law = posteriors[node]
                if interventions is not None:
                    law = _where_known(
                        law, mechanism.base(), self.prior.column_of(interventions, node)
                    )
                pyro.sample(f"{node}{NOISE}", law)

    def _posteriors(self, x: Tensor) -> dict[str, TorchDistribution]:
        """What the encoder states of each node, or of its noise."""
        q = self.encoder(x).base_dist
        dims = [
            m.dim if self.posterior == "nodes" else m.noise_dim for _, m in self.prior.by_name()
        ]
        parts = zip(self.prior.names, q.loc.split(dims, -1), q.scale.split(dims, -1), strict=True)
        return {node: dist.Normal(loc, scale).to_event(1) for node, loc, scale in parts}

    def representation(self, x: Tensor) -> dict[str, TorchDistribution]:
        """q(node | x) of each node; where ``posterior`` is ``"noise"``, a point at what its mean gives."""
        posteriors = self._posteriors(x)
        if self.posterior == "nodes":
            return posteriors
        values = self.prior.values_of({node: q.mean for node, q in posteriors.items()})
        return {node: dist.Delta(value, event_dim=1) for node, value in values.items()}

    def latent_means(self, x: Tensor) -> dict[str, Tensor]:
        """The noise that gives all nodes their posterior means; its own where ``posterior`` is ``"noise"``."""
        means = {node: q.mean for node, q in self._posteriors(x).items()}
        noise = self.prior.noise_of(means) if self.posterior == "nodes" else means
        return {f"{node}{NOISE}": value for node, value in noise.items()}

    def base(self, u: Tensor | None) -> Mapping[str, TorchDistribution] | None:
        """Distributions of the noise other than the mechanisms' own, by node."""
        return None

    def labels_given(self, values: Mapping[str, Tensor], labels: Tensor | None) -> Any:
        """Sample statements of the labels, given the values of the nodes."""

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Raise a ValueError where the node ``name`` cannot have ``value``."""
        if name in self.prior.names:
            dict(self.prior.by_name())[name].check(name, value)

    def _checked(self, name: str, values: Tensor | None) -> Tensor | None:
        if values is not None and (
            values.dim() != 2 or values.shape[-1] != len(self.prior.columns)
        ):
            columns = list(self.prior.columns)
            raise ValueError(
                f"expected {name} of shape (batch, {len(columns)}), columns {columns}, got {tuple(values.shape)}"
            )
        return values

    @abc.abstractmethod
    def objective(self) -> ELBO:
        """The published objective with its published weights."""


def check_names(nodes: Sequence[str], *others: str) -> None:
    """Raise a ValueError where a node is called like another site, or like the plate, of its story."""
    taken = {*others, *(f"{node}{suffix}" for node in nodes for suffix in (NOISE, "_label"))}
    for node in nodes:
        if node in taken:
            raise ValueError(
                f"node {node!r} needs another name: the story has a site or a plate that is called so"
            )


def noisy_labels(columns: Sequence[str], z: Tensor, labels: Tensor, scale: float) -> None:
    """State that each known label is normal around its coordinate: ``<column>_label``.

    Args:
        columns: names of the coordinates.
        z: their values, ``(…, batch, columns)``.
        labels: ``(batch, columns)``, NaN where unknown.
        scale: standard deviation of a label given its coordinate.
    """
    known = ~labels.isnan()
    for i, column in enumerate(columns):
        with poutine.mask(mask=known[:, i]):
            label = torch.where(known[:, i], labels[:, i], 0.0)
            pyro.sample(f"{column}_label", dist.Normal(z[..., i], scale), obs=label)
