"""iVAE [Khemakhem et al., 2020]: latents that auxiliary variables identify; and the same for the noise of a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.graphs import graph_of
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.labelled import AuxiliaryFactor, factor_of
from ppl_disentangle.models.bases.structural import Posterior, StructuralVAE
from ppl_disentangle.networks import Networks

__all__ = ["IVAE", "StructuralIVAE"]


class IVAE(AuxiliaryFactor):
    r"""A code whose coordinates are independent given auxiliary variables u.

    .. math:: z \mid u \sim \mathcal N(\mu(u), \operatorname{diag} \sigma^2(u)), \quad x \mid z \sim p(x \mid z), \quad
       q(z \mid x, u) \propto \mathcal N(z; m(x), \operatorname{diag} s^2(x))\, p(z \mid u)

    Where u moves the coordinates in enough different ways, z is known from p(x | u) up to permutation and a function of
    each coordinate [1]; an unconditional prior leaves it open up to any rotation. The published encoder is a network of
    (x, u). Here it reads x and stands for the likelihood, as the posterior factorises so by Bayes' rule; hence a datum
    without u has a representation too.

    - Story: above.
    - Guide: the normalised product of two normals.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: observations and u of each, such as a segment of time (one-hot) or what was measured beside x,
      ``with_conditions(data, u=…)`` of shape ``(num_data, condition_dim)``.
    - For: recovering sources from nonstationary data; a code that can be compared between runs.

    Args:
        encoder: ``encoder(x)`` is a normal of event shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        conditional: ``conditional(u)`` is p(z | u), a normal of event shape ``(latent_dim,)``. The public code has mean
            0 and learns the variances, and three layers of 10 units in each network.
        condition_dim: number of coordinates of u.
        beta: weight of the divergence.

    References:
        [1] Khemakhem et al., 2020. https://arxiv.org/abs/1907.04809

    Example:
        >>> from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
        >>> prior = Gaussian(nn.Linear(8, 4))
        >>> story = IVAE(Gaussian(nn.Linear(6, 4)), GaussianLearnedScale(nn.Linear(2, 6)), prior, 8)
        >>> story.model(torch.zeros(5, 6), u=torch.eye(8)[:5]).shape
        torch.Size([5, 6])
    """

    latents = ("z",)
    encoder: Callable[[Tensor], TorchDistribution]
    decoder: Callable[[Tensor], TorchDistribution]
    conditional: Callable[[Tensor], TorchDistribution]
    zeros: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        conditional: nn.Module,
        condition_dim: int,
        *,
        beta: Weight = 1.0,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.conditional, self.beta = (
            encoder,
            decoder,
            conditional,
            beta,
        )
        self.condition_dim = condition_dim
        self.register_buffer("zeros", torch.zeros(condition_dim), persistent=False)

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        latent_dim: int = 10,
        factor: str = "",
        **hyper: Any,
    ) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: with factors.
            networks: what encoder and decoder are made by.
            latent_dim: number of coordinates of z.
            factor: whose class is u; by default the first that varies.
            **hyper: of the story.

        Raises:
            ValueError: data without such a factor.
        """
        factor, k = factor_of(cls.__name__, data, factor)
        encoder, decoder = Gaussian(networks.encoder(2 * latent_dim)), networks.decoder(latent_dim)
        story = cls(encoder, decoder, Gaussian(nn.Linear(k, 2 * latent_dim)), k, **hyper)
        story.factor = factor
        return story

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, u: Tensor | None = None
    ) -> Tensor:
        """p(x, z | u); where neither x nor u is given, u is zero."""
        if x is None and u is None:
            u = self.zeros.expand(batch_size, -1)
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", self.conditional(self._given(u)))
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor, *, u: Tensor | None = None) -> None:
        """q(z | x, u)."""
        with self.data_plate(x):
            pyro.sample("z", _product(self.encoder(x), self.conditional(self._given(u))))

    def representation(self, x: Tensor, *, u: Tensor | None = None) -> dict[str, TorchDistribution]:
        """q(z | x, u); without u what x alone tells of z."""
        return {
            "z": self.encoder(x)
            if u is None
            else _product(self.encoder(x), self.conditional(self._given(u)))
        }

    def latent_means(self, x: Tensor, *, u: Tensor | None = None) -> dict[str, Tensor]:
        """The mean of the representation."""
        return {"z": self.representation(x, u=u)["z"].mean}

    def _given(self, u: Tensor | None) -> Tensor:
        return _checked(u, self.condition_dim)

    def objective(self) -> BetaELBO:
        """The evidence lower bound."""
        return BetaELBO(self.beta)


class StructuralIVAE(AuxiliaryFactor, StructuralVAE):
    r"""Structural latents whose noise depends on auxiliary variables u, such as the site where a datum was recorded.

    .. math:: \varepsilon_i \mid u \sim \mathcal N(\mu_i(u), \sigma_i^2(u)), \quad
       z_i = f_i(\varepsilon_i; z_{\text{parents}(i)}), \quad x \mid z \sim p(x \mid z)

    What iVAE is to a VAE, for the nodes of a graph: u takes the place of labels. There is one divergence, from
    :math:`p(\varepsilon \mid u)`. Draws without u, hence :func:`~ppl_disentangle.do`, have standard noise.

    - Story: above.
    - Guide, data, use: as of :class:`StructuralVAE` and :class:`IVAE`; not with ``interventions``.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.

    Args:
        prior: as in :class:`StructuralVAE`.
        encoder: as in :class:`StructuralVAE`.
        decoder: as in :class:`StructuralVAE`.
        conditional: ``conditional(u)`` is a normal over all coordinates of the noise.
        condition_dim: number of coordinates of u.
        beta: weight of the divergence.
        posterior: as in :class:`StructuralVAE`.
    """

    conditional: Callable[[Tensor], TorchDistribution]

    def __init__(
        self,
        prior: StructuralPrior,
        encoder: nn.Module,
        decoder: nn.Module,
        conditional: nn.Module,
        condition_dim: int,
        *,
        beta: Weight = 1.0,
        posterior: Posterior = "nodes",
    ) -> None:
        super().__init__(prior, encoder, decoder, posterior=posterior)
        self.conditional, self.condition_dim, self.beta = conditional, condition_dim, beta

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        graph: Any = None,
        factor: str = "",
        **hyper: Any,
    ) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: with factors.
            networks: what encoder and decoder are made by.
            graph: what :func:`~ppl_disentangle.graphs.as_dag` takes; by default that of the data.
            factor: whose class is u; by default the first that varies.
            **hyper: of the story.

        Raises:
            ValueError: data without such a factor, or no graph.
        """
        prior = StructuralPrior(graph_of(cls.__name__, data, graph))
        factor, k = factor_of(cls.__name__, data, factor)
        dim = sum(prior.dims.values())
        encoder, decoder = Gaussian(networks.encoder(2 * dim)), networks.decoder(dim)
        story = cls(prior, encoder, decoder, Gaussian(nn.Linear(k, 2 * dim)), k, **hyper)
        story.factor = factor
        return story

    def base(self, u: Tensor | None) -> Mapping[str, TorchDistribution] | None:
        """p(noise | u)."""
        if u is None:
            return None
        law = self.conditional(_checked(u, self.condition_dim)).base_dist
        dims = [m.noise_dim for _, m in self.prior.named_mechanisms()]
        parts = zip(
            self.prior.names, law.loc.split(dims, -1), law.scale.split(dims, -1), strict=True
        )
        return {node: dist.Normal(loc, scale).to_event(1) for node, loc, scale in parts}

    def objective(self) -> BetaELBO:
        """The evidence lower bound."""
        return BetaELBO(self.beta)


def _checked(u: Tensor | None, dim: int) -> Tensor:
    if u is None:
        raise ValueError(
            "expected u, the auxiliary variables of each datum: fit to with_conditions(data, u=…)"
        )
    if u.dim() != 2 or u.shape[-1] != dim:
        raise ValueError(f"expected u of shape (batch, {dim}), got {tuple(u.shape)}")
    return u


def _product(a: TorchDistribution, b: TorchDistribution) -> TorchDistribution:
    """The normalised product of two densities of independent normals."""
    a, b = a.base_dist, b.base_dist
    precision = a.scale**-2 + b.scale**-2
    return dist.Normal(
        (a.loc * a.scale**-2 + b.loc * b.scale**-2) / precision, precision.rsqrt()
    ).to_event(1)
