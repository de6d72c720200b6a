"""iVAE [Khemakhem et al., 2020]: auxiliary variables identify latents, or the noise of a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import is_validation_enabled
from torch import Tensor, nn

from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.conditions import check_conditions
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.graphs import graph_of
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.labelled import AuxiliaryFactor, factor_of
from ppl_disentangle.models.bases.structural import Posterior, StructuralVAE, normals_by_name
from ppl_disentangle.networks import Networks

__all__ = ["IVAE", "StructuralIVAE"]


class IVAE(AuxiliaryFactor):
    r"""Recovers independent sources from auxiliary variables, such as the time of recording.

    .. math:: z \mid u \sim \mathcal N(\mu(u), \operatorname{diag} \sigma^2(u)), \quad
       x \mid z \sim p(x \mid z), \quad
       q(z \mid x, u) \propto \mathcal N(z; m(x), \operatorname{diag} s^2(x))\, p(z \mid u)

    If the auxiliary variables u move the coordinates in enough different ways, p(x | u) identifies
    z up to a permutation and a function of each coordinate [1]. A prior that does not depend on u
    leaves every rotation open. The published encoder is a network of (x, u). Here it reads x and
    stands for the likelihood, since the posterior factorises in this way by Bayes' rule; a datum
    without u therefore has a representation too.

    - Story: Above.
    - Guide: The normalised product of two normals.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: auxiliary variables u of each observation, such as its segment of time (one-hot) or a
      further measurement: ``with_conditions(data, u=…)`` of shape ``(num_data, condition_dim)``.
    - For: recovering sources from nonstationary data; codes that can be compared between runs.

    Args:
        encoder: ``encoder(x)`` is a normal with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        conditional: ``conditional(u)`` is p(z | u), a normal with events of shape
            ``(latent_dim,)``. In the public code its mean is 0 and its variances are learned, and
            every network has three layers of 10 units.
        condition_dim: Number of coordinates of u.
        beta: Weight of the divergence.
        factor: Name of the factor whose class :meth:`training_data` adds as u. Empty if the data
            come with their own u.

    References:
        [1] Khemakhem et al., 2020. https://arxiv.org/abs/1907.04809

    Example:
        >>> from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
        >>> prior = Gaussian(nn.Linear(8, 4))
        >>> encoder, decoder = Gaussian(nn.Linear(6, 4)), GaussianLearnedScale(nn.Linear(2, 6))
        >>> story = IVAE(encoder, decoder, prior, condition_dim=8)
        >>> story.model(torch.zeros(5, 6), u=torch.eye(8)[:5]).shape
        torch.Size([5, 6])
    """

    latents = ("z",)
    conditions_in_latents = ("u",)
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
        factor: str = "",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.conditional = conditional
        self.condition_dim = condition_dim
        self.beta = beta
        self.factor = factor
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
        """Build the story for ``data``, with a fresh encoder and decoder and a linear p(z | u).

        Args:
            data: Observations with factors.
            networks: Makes the encoder and the decoder.
            latent_dim: Number of coordinates of z.
            factor: Name of the factor whose class is u; by default the first that varies.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: No factor of the data varies, or none has this name.
        """
        factor, num_classes = factor_of(cls.__name__, data, factor)
        return cls(
            Gaussian(networks.encoder(2 * latent_dim)),
            networks.decoder(latent_dim),
            Gaussian(nn.Linear(num_classes, 2 * latent_dim)),
            num_classes,
            factor=factor,
            **hyper,
        )

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, u: Tensor | None = None
    ) -> Tensor:
        """p(x, z | u); draws without u have u = 0."""
        if x is None and u is None:
            u = self.zeros.expand(batch_size, -1)
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", self.prior(u))
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor, *, u: Tensor | None = None) -> None:
        """q(z | x, u)."""
        with self.data_plate(x):
            pyro.sample("z", _product(self.encoder(x), self.prior(u)))

    def prior(self, u: Tensor | None) -> TorchDistribution:
        """p(z | u)."""
        return self.conditional(_checked(u, self.condition_dim))

    def representation(
        self, x: Tensor, *, u: Tensor | None = None, **conditions: Any
    ) -> dict[str, TorchDistribution]:
        """q(z | x, u); without u, the normal that the encoder reads from x alone."""
        check_conditions(self, conditions)
        q = self.encoder(x)
        return {"z": q if u is None else _product(q, self.prior(u))}

    def objective(self) -> BetaELBO:
        """The bound with its divergence weighted by beta."""
        return BetaELBO(self.beta)


class StructuralIVAE(AuxiliaryFactor, StructuralVAE):
    r"""Learns nodes of a known causal graph from auxiliary variables, such as the recording site.

    .. math:: \varepsilon_i \mid u \sim \mathcal N(\mu_i(u), \sigma_i^2(u)), \quad
       z_i = f_i(\varepsilon_i; z_{\text{parents}(i)}), \quad x \mid z \sim p(x \mid z)

    This is iVAE for the nodes of a graph: the noise depends on u, and u takes the place of labels.
    The bound has one divergence, from :math:`p(\varepsilon \mid u)`. Draws without u, and therefore
    draws under :func:`~ppl_disentangle.do`, have standard normal noise.

    - Story: Above.
    - Guide: As in :class:`~ppl_disentangle.models.StructuralVAE`.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: auxiliary variables u of each observation, as for
      :class:`~ppl_disentangle.models.IVAE`, and a causal graph; ``interventions`` are not
      supported.
    - For: causal concepts without labels, if something that was recorded with the data moves their
      noise.

    Args:
        prior: The structural causal model of the nodes.
        encoder: ``encoder(x)`` is a normal over all coordinates of the nodes, or of the noise.
        decoder: ``decoder(z)`` is p(x | z), for z all coordinates of the nodes.
        conditional: ``conditional(u)`` is a normal over all coordinates of the noise.
        condition_dim: Number of coordinates of u.
        beta: Weight of the divergence.
        posterior: ``"nodes"`` or ``"noise"``; see :class:`~ppl_disentangle.models.StructuralVAE`.
        factor: Name of the factor whose class :meth:`training_data` adds as u. Empty if the data
            come with their own u.
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
        factor: str = "",
    ) -> None:
        super().__init__(prior, encoder, decoder, posterior=posterior)
        self.conditional = conditional
        self.condition_dim = condition_dim
        self.beta = beta
        self.factor = factor

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
        """Build the story for ``data``, with a fresh encoder and decoder and a linear p(noise | u).

        Args:
            data: Observations with factors.
            networks: Makes the encoder and the decoder.
            graph: Graph of the nodes, in any form that :func:`~ppl_disentangle.graphs.as_dag`
                takes; by default the graph of the data.
            factor: Name of the factor whose class is u; by default the first that varies.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: No factor of the data varies, none has this name, or the graph is missing.
        """
        prior = StructuralPrior(graph_of(cls.__name__, data, graph))
        factor, num_classes = factor_of(cls.__name__, data, factor)
        dim = sum(prior.dims.values())
        return cls(
            prior,
            Gaussian(networks.encoder(2 * dim)),
            networks.decoder(dim),
            Gaussian(nn.Linear(num_classes, 2 * dim)),
            num_classes,
            factor=factor,
            **hyper,
        )

    def base(self, u: Tensor | None) -> Mapping[str, TorchDistribution] | None:
        """p(noise | u) of each node."""
        if u is None:
            return None
        dims = {node: mechanism.noise_dim for node, mechanism in self.prior.named_mechanisms()}
        return normals_by_name(self.conditional(_checked(u, self.condition_dim)), dims)

    def objective(self) -> BetaELBO:
        """The bound with its divergence weighted by beta."""
        return BetaELBO(self.beta)


def _checked(u: Tensor | None, dim: int) -> Tensor:
    if u is None:
        raise ValueError(
            "expected u, the auxiliary variables of each datum: fit to with_conditions(data, u=…)"
        )
    if u.dim() != 2 or u.shape[-1] != dim:
        raise ValueError(f"expected u of shape (batch, {dim}), got {tuple(u.shape)}")
    # reads the values, which would wait for the device: only under validation
    if is_validation_enabled() and u.isnan().any():
        num_missing = int(u.isnan().any(-1).sum())
        raise ValueError(
            f"expected u, the auxiliary variables, of each datum, got NaN in {num_missing} of"
            f" {len(u)} data of a batch: leave these data out, or fill in their u"
        )
    return u


def _product(a: TorchDistribution, b: TorchDistribution) -> TorchDistribution:
    """The normalised product of the densities of two normals with independent coordinates."""
    a = a.base_dist
    b = b.base_dist
    precision = a.scale**-2 + b.scale**-2
    loc = (a.loc * a.scale**-2 + b.loc * b.scale**-2) / precision
    return dist.Normal(loc, precision.rsqrt()).to_event(1)
