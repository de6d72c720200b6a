"""beta-VAE's objective."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import elbo_terms, kl, log_likelihood
from ppl_disentangle.sites import latent_sites

__all__ = [
    "BetaELBO",
    "beta_from_mean_reduction",
]


class BetaELBO(DecomposedELBO):
    r"""The evidence lower bound with its KL weighted by beta [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - \beta \operatorname{KL}(q(z \mid x) \,\|\, p(z))

    Terms: ``"log_likelihood"`` and ``"kl"`` (the negative divergence, summed over all latents; in closed form where
    torch knows it, else from the draw). ``beta=1`` is ``pyro.infer.TraceMeanField_ELBO``; beta is equivalent to
    ``poutine.scale(scale=beta)`` around the latents of model and guide.

    With a mapping from names of latents to weights the divergence is one term a latent, ``"kl[z]"`` for each latent
    ``z`` of the pair; a latent that is not named has weight 1. Equal weights for all are equivalent to one number.

    Nats per datum: a weight for a likelihood averaged over pixels is another number;
    :func:`~ppl_disentangle.inference.objectives.beta_vae.beta_from_mean_reduction` converts it.

    Avoids: beside a KL that is summed, a likelihood averaged over pixels (disent, latent_quantization), with half its
    weight (pythae) or 255 times it (disentangling-vae), and a KL multiplied by batch size over number of data
    (PyTorch-VAE): under these one beta means as many things as there are libraries.

    Args:
        beta: a number or a schedule, or such for each of some latents; [1] uses 4 on dSprites.
        may_lack: names of latents that not all batches have, such as that of a second frame.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.

    Raises:
        ValueError: a mapping that is empty, or, at the first call, that names no latent of the pair.

    Example:
        >>> from ppl_disentangle.inference.objectives.beta_vae import BetaELBO
        >>> BetaELBO({"shape": 4.0, "colour": 1.5})
        BetaELBO(kl[shape]=4.0, kl[colour]=1.5, warm_up=0)

    References:
        [1] Higgins et al., 2017. https://openreview.net/forum?id=Sy2fzU9gl
    """

    def __init__(
        self,
        beta: Weight | Mapping[str, Weight] = 4.0,
        *,
        may_lack: Sequence[str] = (),
        **options: Any,
    ) -> None:
        weights = (
            {_term(name): w for name, w in beta.items()}
            if isinstance(beta, Mapping)
            else {"kl": beta}
        )
        if not weights:
            raise ValueError(
                "expected weights of latents by name, got {}; a number weighs all of them alike"
            )
        super().__init__(weights, **options)
        self.named = tuple(beta) if isinstance(beta, Mapping) else None
        self.may_lack = tuple(may_lack)

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood and negative KL, in nats."""
        if self.named is None:
            return elbo_terms(model_trace, guide_trace)
        sites = latent_sites(model_trace, guide_trace)
        names = [q.name for q, _ in sites]
        for name in self.named:
            if name not in names and name not in self.may_lack:
                raise ValueError(
                    f"a weight for {name!r}, but no latent has that name; the pair has {names}"
                )
        divergences = {_term(q.name): -q.total(kl(q, p)) for q, p in sites}
        return {"log_likelihood": log_likelihood(model_trace), **divergences}


def _term(name: str) -> str:
    return f"kl[{name}]"


def beta_from_mean_reduction(
    beta: float, observation_shape: Sequence[int], *, latent_dim: int | None = None
) -> float:
    r"""The beta of this library, sums in nats, from that of one whose reconstruction is a mean over pixels.

    .. math:: \frac{R}{P} + \beta' \frac{\operatorname{KL}}{D}
       = \frac1P \Bigl(R + \beta' \frac{P}{D} \operatorname{KL}\Bigr)

    R is the reconstruction error summed over the P numbers of an observation, D the number of latents. The losses then
    have the same minimum; ours is P times theirs, and so is its gradient.

    Args:
        beta: theirs.
        observation_shape: shape of one observation, such as ``(3, 64, 64)``.
        latent_dim: D, if their KL is a mean over the latents too; ``None``: it is a sum.

    Raises:
        ValueError: a negative beta, or a size below 1.

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
