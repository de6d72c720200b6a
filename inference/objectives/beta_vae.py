"""The objective of the beta-VAE."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.divergences import kl_total
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import elbo_terms, log_likelihood
from ppl_disentangle.sites import Site, latent_sites

__all__ = [
    "BetaELBO",
    "beta_from_mean_reduction",
]


class BetaELBO(DecomposedELBO):
    r"""The evidence lower bound with its KL weighted by beta: beta-VAE [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - \beta \operatorname{KL}(q(z \mid x) \,\|\, p(z))

    Terms: ``"log_likelihood"`` and ``"kl"`` (the negative divergence, summed over all latents; in
    closed form where torch knows it, else from the draw). ``beta=1`` is equivalent to
    ``pyro.infer.TraceMeanField_ELBO``; another beta to ``poutine.scale(scale=beta)`` around the
    latents of model and guide.

    With a mapping from names of latents to weights there is one term for each latent ``z`` of the
    pair, ``"kl[z]"``. Latents that are not listed have weight 1. Equal weights for all latents are
    equivalent to one number.

    Terms are in nats per datum. To use a weight chosen for a likelihood averaged over pixels,
    convert it with :func:`~ppl_disentangle.inference.objectives.beta_vae.beta_from_mean_reduction`.

    Other implementations: They sum the KL but scale the likelihood differently: disent and
    latent_quantization average it over pixels, pythae halves it, disentangling-vae multiplies it by
    255. PyTorch-VAE multiplies the KL by batch size over number of data. The same beta therefore
    means something different in each.

    Args:
        beta: Weight of the KL: a number, a schedule, or a mapping from latent names to either. [1]
            uses 4 on dSprites.
        may_lack: Names of latents that may be absent from a batch, such as the latents of a second
            frame.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.

    Raises:
        ValueError: The mapping is empty, or, at the first call, names a latent that the pair lacks.

    References:
        [1] Higgins et al., 2017. https://openreview.net/forum?id=Sy2fzU9gl

    Example:
        >>> from ppl_disentangle.inference.objectives.beta_vae import BetaELBO
        >>> BetaELBO({"shape": 4.0, "colour": 1.5})
        BetaELBO(kl[shape]=4.0, kl[colour]=1.5, warm_up=0)
    """

    def __init__(
        self,
        beta: Weight | Mapping[str, Weight] = 4.0,
        *,
        may_lack: Sequence[str] = (),
        **options: Any,
    ) -> None:
        if not isinstance(beta, Mapping):
            weights: dict[str, Weight] = {"kl": beta}
        elif beta:
            weights = {_term(name): weight for name, weight in beta.items()}
        else:
            raise ValueError(
                "expected weights of latents by name, got {}; a number weights all of them equally"
            )
        super().__init__(weights, **options)
        self.named = tuple(beta) if isinstance(beta, Mapping) else None
        self.may_lack = tuple(may_lack)

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood and negative KL, in nats."""
        if self.named is None:
            return elbo_terms(model_trace, guide_trace)
        sites = latent_sites(model_trace, guide_trace)
        _check_drawn_apart([q for q, _ in sites])
        self._check_names([q.name for q, _ in sites])
        divergences = {_term(q.name): -kl_total(q, p) for q, p in sites}
        return {"log_likelihood": log_likelihood(model_trace), **divergences}

    def _check_names(self, names: Sequence[str]) -> None:
        """Refuse weights of latents that the pair lacks."""
        for name in self.named or ():
            if name not in names and name not in self.may_lack:
                raise ValueError(
                    f"a weight for {name!r}, but no latent has that name; the pair has {names}"
                )


def _check_drawn_apart(sites: Sequence[Site]) -> None:
    """Refuse weights of single latents where the guide draws several at once."""
    for site in sites:
        if site.is_auxiliary:
            raise ValueError(
                f"the guide draws its latents through the auxiliary site {site.name!r}, so that none"
                " has a divergence of its own; pass one number as beta, or use AutoNormal or a guide"
                " of your own"
            )


def _term(name: str) -> str:
    return f"kl[{name}]"


def beta_from_mean_reduction(
    beta: float, observation_shape: Sequence[int], *, latent_dim: int | None = None
) -> float:
    r"""Convert a beta from a library that averages over pixels to this library, which sums.

    .. math:: \frac{R}{P} + \beta' \frac{\operatorname{KL}}{D}
       = \frac1P \Bigl(R + \beta' \frac{P}{D} \operatorname{KL}\Bigr)

    R is the reconstruction error summed over the P values of an observation, D the number of
    latents, :math:`\beta'` the beta of the other library. Both losses have the same minimum; the
    loss here is P times the other, and so is its gradient.

    Args:
        beta: The beta of the other library.
        observation_shape: Shape of one observation, such as ``(3, 64, 64)``.
        latent_dim: D, if the other library averages the KL over the latents. By default it sums the
            KL.

    Raises:
        ValueError: The beta is negative, or a size is below 1.

    Example:
        >>> beta_from_mean_reduction(0.5, (1, 64, 64), latent_dim=8)
        256.0
    """
    if beta < 0:
        raise ValueError(f"expected a beta that is not negative, got {beta}")
    if any(size < 1 for size in observation_shape):
        raise ValueError(
            f"expected an observation_shape of sizes >= 1, got {tuple(observation_shape)}"
        )
    if latent_dim is not None and latent_dim < 1:
        raise ValueError(f"expected latent_dim >= 1 or None, got {latent_dim}")
    return beta * math.prod(observation_shape) / (1 if latent_dim is None else latent_dim)
