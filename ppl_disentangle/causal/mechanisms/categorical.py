"""A node that is one of several classes, with noise by which it has counterfactuals."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.causal.mechanisms.affine import mlp
from ppl_disentangle.causal.mechanisms.base import Mechanism
from ppl_disentangle.conditionals import unrounded

__all__ = ["Categorical", "gumbels_of_class"]


class Categorical(Mechanism):
    r"""The class that is likeliest after Gumbel noise is added, as a one-hot row [1].

    .. math:: z = \mathrm{onehot}(\arg\max_k \,[\,l_k(\text{parents}) + \varepsilon_k\,]),
       \quad \varepsilon_k \sim \mathrm{Gumbel}(0, 1)

    so that :math:`p(z_k = 1 \mid \text{parents}) = \mathrm{softmax}_k\, l`. Noise that gives a class is drawn from its
    exact posterior: the largest of all sums first, then the others, truncated at it. Counterfactuals are stable [1]: a
    unit of class k leaves it only for a class whose probability has grown by a larger factor than that of k. No
    gradient passes through the class; the logits have theirs from :meth:`conditional`.

    Args:
        dim: number of classes.
        parent_dim: as in :class:`Mechanism`.
        hidden: width of the two tanh layers of the MLP l.

    Raises:
        ValueError: fewer than 2 classes.

    References:
        [1] Oberst & Sontag, 2019. Counterfactual off-policy evaluation with Gumbel-max structural causal models.
        https://arxiv.org/abs/1905.05824

    Example:
        >>> mechanism, rainy = Categorical(3, 1), torch.tensor([[0.0, 0.0, 1.0]])
        >>> noise = mechanism.abduct(rainy, torch.zeros(5, 1))
        >>> mechanism(noise, torch.zeros(5, 1)).argmax(-1)
        tensor([2, 2, 2, 2, 2])
    """

    def __init__(self, dim: int = 1, parent_dim: int = 0, *, hidden: int = 32) -> None:
        if dim < 2:
            raise ValueError(
                f"expected dim >= 2, the number of classes, got {dim}: pass dims={{node: classes}}"
            )
        super().__init__(dim, parent_dim)
        self.net = mlp(parent_dim, hidden, dim) if parent_dim else None
        self.bias = nn.Parameter(torch.zeros(dim))

    def logits(self, parents: Tensor) -> Tensor:
        """l, of shape ``(…, dim)``."""
        return (
            self.bias
            if self.net is None
            else self.bias + unrounded(self.net, parents.to(self.bias.dtype))
        )

    def base(self) -> TorchDistribution:
        """The distribution of the noise: independent standard Gumbels."""
        return dist.Gumbel(self.zeros, 1.0).to_event(1)

    def forward(self, noise: Tensor, parents: Tensor) -> Tensor:
        """The class as a one-hot row."""
        return nn.functional.one_hot((noise + self.logits(parents)).argmax(-1), self.dim).to(noise)

    def abduct(self, value: Tensor, parents: Tensor) -> Tensor:
        """A draw of the noise given the class."""
        return gumbels_of_class(*torch.broadcast_tensors(value, self.logits(parents)))

    def conditional(self, parents: Tensor) -> TorchDistribution:
        """p(value | parents)."""
        return dist.OneHotCategorical(logits=self.logits(parents))

    def pull_back(self, posterior: TorchDistribution, parents: Tensor) -> TorchDistribution:
        """Not defined: many values of the noise give one class."""
        raise NotImplementedError(
            f"a posterior of one of {self.dim} classes does not say that of its noise: pass the node as observed, or"
            " sample '<node>_noise' from a posterior of its own in the guide"
        )

    def check(self, name: str, value: Tensor) -> None:
        """Raise a ValueError unless each row of ``value`` is one-hot; an index is not taken for a class."""
        one_hot = value.dim() > 0 and value.shape[-1] == self.dim
        if not (one_hot and ((value == 0) | (value == 1)).all() and (value.sum(-1) == 1).all()):
            got = value.tolist() if value.numel() <= self.dim else f"shape {tuple(value.shape)}"
            example = [0.0] * (self.dim - 1) + [1.0]
            raise ValueError(
                f"node {name!r} is one of {self.dim} classes: expected rows such as {example}, got {got}"
            )


def gumbels_of_class(value: Tensor, logits: Tensor) -> Tensor:
    """A draw of the Gumbel noise whose sums with ``logits`` are largest where ``value``, of the same shape, is one."""
    gumbels = dist.Gumbel(torch.zeros_like(logits), 1.0)
    largest = logits.logsumexp(-1, keepdim=True) + gumbels.sample()[..., :1]
    truncated = -torch.logaddexp(-largest, -(logits + gumbels.sample()))
    size = 1 + largest.abs() + logits.abs().amax(-1, keepdim=True)
    below = largest - 4 * torch.finfo(logits.dtype).eps * size  # no rounding may bring about a tie
    return torch.where(value > 0, largest, torch.minimum(truncated, below)) - logits
