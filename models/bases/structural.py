"""The abstract story of causal representations: a structural causal model seen through data."""

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

from ppl_disentangle.causal.structural import NOISE, StructuralPrior, posterior_unless_set
from ppl_disentangle.conditions import check_conditions
from ppl_disentangle.names import free_name
from ppl_disentangle.story import GenerativeStory

__all__ = ["Posterior", "StructuralVAE", "noisy_labels", "normals_by_name"]

Posterior = Literal["nodes", "noise"]


class StructuralVAE(GenerativeStory):
    r"""Abstract: nodes of a causal graph with independent noise, and data that depend on them.

    .. math:: \varepsilon_i \sim p(\varepsilon_i \mid u), \quad
       z_i = f_i(\varepsilon_i; z_{\text{parents}(i)}), \quad x \mid z \sim p(x \mid z)

    The latents are the noise, ``<node>_noise``; the representation is the nodes. The bound has one
    divergence, between posterior and prior of the noise. The noise of a correct model has no total
    correlation, while its nodes are correlated by the graph; an objective that penalises total
    correlation therefore does not work against the graph. A counterfactual is the model under
    ``do``, run with the noise that the guide infers.

    The guide states a normal posterior in one of two ways:

    - ``"nodes"``: :math:`z_i \mid x \sim \mathcal N(m_i(x), s_i^2(x))`. The guide draws the noise
      that gives such nodes, so the bound is the same as if it drew z. The noise of a node then
      depends on the values drawn for its parents.
    - ``"noise"``: :math:`\varepsilon_i \mid x \sim \mathcal N(m_i(x), s_i^2(x))`, independent given
      x, as required by the minibatch estimators of :class:`~ppl_disentangle.inference.TCELBO` and
      related objectives. The bound is looser where data inform the nodes more directly than their
      noise, as labels do.

    Implementing one: define ``objective``. Hooks with a default: :meth:`observe_labels`, for a
    story that learns with labels, and :meth:`base`, for noise that depends on auxiliary variables.

    Args:
        prior: The structural causal model of the nodes.
        encoder: ``encoder(x)`` is a normal over all coordinates of the nodes, with events of shape
            ``(len(prior.columns),)``, or over all coordinates of the noise.
        decoder: ``decoder(z)`` is p(x | z), for z all coordinates of the nodes.
        posterior: ``"nodes"`` or ``"noise"``, see above.

    Attributes:
        observation_site: Name of the site of the observations: ``x``, or ``x_site`` if a node is
            named ``x``.
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
            choices = " or ".join(map(repr, get_args(Posterior)))
            raise ValueError(f"expected posterior {choices}, got {posterior!r}")
        self.observation_site = free_name("x", prior.names)
        self.prior = prior
        self.encoder = encoder
        self.decoder = decoder
        self.posterior = posterior
        self.dag = prior.dag
        self.columns = prior.columns
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
            x: Observations; ``None`` draws them.
            batch_size: Number of observations to draw.
            labels: Labels of the coordinates, ``(batch, columns)``, NaN where unknown.
            interventions: Values to which coordinates were set when the datum was recorded,
                ``(batch, columns)``, NaN where nothing was set.
            u: Auxiliary variables on which the noise depends, ``(batch, dim)``.
        """
        with self.data_plate(x, batch_size):
            interventions = self._checked("interventions", interventions)
            values = self.prior(base=self.base(u), interventions=interventions)
            self.observe_labels(values, self._checked("labels", labels))
            likelihood = self.decoder(self.prior.side_by_side(values))
            return pyro.sample(self.observation_site, likelihood, obs=x)

    def guide(
        self,
        x: Tensor,
        *,
        labels: Tensor | None = None,
        interventions: Tensor | None = None,
        u: Tensor | None = None,
    ) -> None:
        """q(noise | x), by way of the nodes or directly."""
        posteriors = self._posteriors(x)
        with self.data_plate(x):
            if self.posterior == "nodes":
                self.prior.pull_back(posteriors, interventions=interventions)
            else:
                self._sample_noise(posteriors, interventions)

    def _sample_noise(
        self, posteriors: Mapping[str, TorchDistribution], interventions: Tensor | None
    ) -> None:
        """Sample the noise of each node from its posterior."""
        for node, mechanism in self.prior.named_mechanisms():
            posterior = posteriors[node]
            if interventions is not None:
                # where a node was set, data say nothing about its noise: the prior stands in
                target = self.prior.column_of(interventions, node)
                posterior = posterior_unless_set(posterior, mechanism.base(), target)
            pyro.sample(f"{node}{NOISE}", posterior)

    def _posteriors(self, x: Tensor) -> dict[str, TorchDistribution]:
        """The encoder's normal for each node, or for its noise if ``posterior`` is ``"noise"``."""
        dims = self.prior.dims
        if self.posterior == "noise":
            dims = {node: mechanism.noise_dim for node, mechanism in self.prior.named_mechanisms()}
        return normals_by_name(self.encoder(x), dims)

    def representation(
        self, x: Tensor, *, interventions: Tensor | None = None, **conditions: Any
    ) -> dict[str, TorchDistribution]:
        """q(node | x) of each node; a node that was set has a scale of almost zero there.

        If ``posterior`` is ``"noise"``, a point: the value of the node at the mean of all noise.
        """
        check_conditions(self, conditions)
        posteriors = self._posteriors(x)
        if self.posterior == "noise":
            noise = {node: q.mean for node, q in posteriors.items()}
            values = self.prior.values_of(noise, interventions=interventions)
            return {node: dist.Delta(value, event_dim=1) for node, value in values.items()}
        if interventions is None:
            return posteriors
        targets = self.prior.split(interventions)
        return {node: _set_where_given(q, targets[node]) for node, q in posteriors.items()}

    def latent_means(
        self, x: Tensor, *, interventions: Tensor | None = None, **conditions: Any
    ) -> dict[str, Tensor]:
        """The noise that gives all nodes their posterior means.

        If ``posterior`` is ``"noise"``, the posterior means of the noise. Where a node was set, the
        mean of the prior of its noise.
        """
        noise = {node: q.mean for node, q in self._posteriors(x).items()}
        if self.posterior == "nodes":
            nodes = self.representation(x, interventions=interventions, **conditions)
            noise = self.prior.noise_of({node: q.mean for node, q in nodes.items()})
        if interventions is not None:
            noise = self._prior_means_where_set(noise, interventions)
        return {f"{node}{NOISE}": value for node, value in noise.items()}

    def _prior_means_where_set(
        self, noise: Mapping[str, Tensor], interventions: Tensor
    ) -> dict[str, Tensor]:
        """The noise, with the mean of its prior where a node was set."""
        targets = self.prior.split(interventions)
        return {
            node: torch.where(targets[node].isnan(), noise[node], mechanism.base().mean)
            for node, mechanism in self.prior.named_mechanisms()
        }

    def base(self, u: Tensor | None) -> Mapping[str, TorchDistribution] | None:
        """p(noise | u) of each node; ``None``, the default, keeps the mechanisms' distributions."""
        return None

    def observe_labels(self, values: Mapping[str, Tensor], labels: Tensor | None) -> None:
        """Condition on the labels, given the values of the nodes; does nothing by default."""

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Raise a ValueError if the node ``name`` cannot take ``value``."""
        if name in self.prior.names:
            self.prior.mechanism_of(name).check(name, value)

    def _checked(self, name: str, values: Tensor | None) -> Tensor | None:
        columns = list(self.prior.columns)
        if values is not None and (values.dim() != 2 or values.shape[-1] != len(columns)):
            raise ValueError(
                f"expected {name} of shape (batch, {len(columns)}), columns {columns},"
                f" got {tuple(values.shape)}"
            )
        return values

    @abc.abstractmethod
    def objective(self) -> ELBO:
        """The published objective with its published weights."""


def _set_where_given(posterior: TorchDistribution, target: Tensor) -> TorchDistribution:
    """A normal, or where a target is given, which is not NaN, almost a point at the target."""
    normal = posterior.base_dist
    is_natural = target.isnan()
    point = torch.finfo(normal.scale.dtype).tiny
    loc = torch.where(is_natural, normal.loc, target)
    return dist.Normal(loc, normal.scale.where(is_natural, point)).to_event(1)


def normals_by_name(
    joint: TorchDistribution, dims: Mapping[str, int]
) -> dict[str, TorchDistribution]:
    """Split a normal with independent coordinates into one normal for each name.

    Args:
        joint: The normal, with events of shape ``(sum(dims.values()),)``.
        dims: Number of coordinates of each name, in the order of the coordinates.
    """
    normal = joint.base_dist
    sizes = list(dims.values())
    locs = normal.loc.split(sizes, -1)
    scales = normal.scale.split(sizes, -1)
    return {
        name: dist.Normal(loc, scale).to_event(1)
        for name, loc, scale in zip(dims, locs, scales, strict=True)
    }


def noisy_labels(columns: Sequence[str], z: Tensor, labels: Tensor, scale: float) -> None:
    """Observe each known label, ``<column>_label``, as a normal around its coordinate.

    Args:
        columns: Names of the coordinates.
        z: Values of the coordinates, ``(…, batch, columns)``.
        labels: The labels, ``(batch, columns)``, NaN where unknown.
        scale: Standard deviation of a label given its coordinate.
    """
    known = ~labels.isnan()
    for i, column in enumerate(columns):
        with poutine.mask(mask=known[:, i]):
            # a masked observation must still be a number, or its gradient is NaN
            label = torch.where(known[:, i], labels[:, i], 0.0)
            pyro.sample(f"{column}_label", dist.Normal(z[..., i], scale), obs=label)
