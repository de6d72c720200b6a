"""A mechanism for a node with several classes, with noise that defines its counterfactuals."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.causal.mechanisms.affine import mlp, output_of
from ppl_disentangle.causal.mechanisms.base import Mechanism

__all__ = ["Categorical", "gumbels_of_class"]


class Categorical(Mechanism):
    r"""The class with the highest logit after Gumbel noise is added, as a one-hot row [1].

    .. math:: z = \mathrm{onehot}(\arg\max_k \,[\,l_k(\text{parents}) + \varepsilon_k\,]),
       \quad \varepsilon_k \sim \mathrm{Gumbel}(0, 1)

    with logits l, so that :math:`p(z_k = 1 \mid \text{parents}) = \mathrm{softmax}_k\, l`. The
    noise of an observed class is drawn from its exact posterior: first the largest of all sums,
    then the others, truncated at it. Counterfactuals are stable [1]: a unit of class k moves only
    to a class whose probability grew by a larger factor than the probability of k. No gradient
    passes through the class; the logits receive gradients from :meth:`conditional`.

    Args:
        dim: Number of classes.
        parent_dim: Number of coordinates of all parents; 0 for a root.
        hidden: Width of the two tanh layers of the MLP l.

    Raises:
        ValueError: There are fewer than 2 classes.

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
        """The logits l, of shape ``(…, dim)``."""
        return output_of(self.net, self.bias, parents)

    def base(self) -> TorchDistribution:
        """The distribution of the noise: independent standard Gumbels."""
        return dist.Gumbel(self.zeros, 1.0).to_event(1)

    def forward(self, noise: Tensor, parents: Tensor) -> Tensor:
        """The class as a one-hot row."""
        classes = (noise + self.logits(parents)).argmax(-1)
        return nn.functional.one_hot(classes, self.dim).to(noise)

    def abduct(self, value: Tensor, parents: Tensor) -> Tensor:
        """A draw of the noise given the class."""
        value, logits = torch.broadcast_tensors(value, self.logits(parents))
        return gumbels_of_class(value, logits)

    def conditional(self, parents: Tensor) -> TorchDistribution:
        """p(value | parents)."""
        return dist.OneHotCategorical(logits=self.logits(parents))

    def pull_back(self, posterior: TorchDistribution, parents: Tensor) -> TorchDistribution:
        """Not defined, because many values of the noise give one class."""
        raise NotImplementedError(
            f"the posterior over {self.dim} classes does not determine the posterior of the noise: pass the node as"
            " observed, or sample '<node>_noise' in the guide"
        )

    def check(self, name: str, value: Tensor) -> None:
        """Raise a ValueError unless each row of ``value`` is one-hot; an index is not accepted."""
        has_classes = value.dim() > 0 and value.shape[-1] == self.dim
        is_binary = ((value == 0) | (value == 1)).all()
        if not (has_classes and is_binary and (value.sum(-1) == 1).all()):
            got = value.tolist() if value.numel() <= self.dim else f"shape {tuple(value.shape)}"
            example = [0.0] * (self.dim - 1) + [1.0]
            raise ValueError(
                f"node {name!r} is one of {self.dim} classes: expected rows such as {example}, got {got}"
            )


def gumbels_of_class(value: Tensor, logits: Tensor) -> Tensor:
    """Draw Gumbel noise given that its sum with ``logits`` is largest for the class of ``value``.

    Args:
        value: Class as one-hot rows, ``(…, class)``.
        logits: Logits, ``(…, class)``.
    """
    gumbels = dist.Gumbel(torch.zeros_like(logits), 1.0)
    # The maximum of all sums is Gumbel around the log-sum-exp, independently of the class that attains it.
    largest = logits.logsumexp(-1, keepdim=True) + gumbels.sample()[..., :1]
    truncated = -torch.logaddexp(-largest, -(logits + gumbels.sample()))
    size = 1 + largest.abs() + logits.abs().amax(-1, keepdim=True)
    # Rounding must not produce a tie with the largest sum: keep the others a few units in the last place lower.
    upper_bound = largest - 4 * torch.finfo(logits.dtype).eps * size
    sums = torch.where(value > 0, largest, torch.minimum(truncated, upper_bound))
    return sums - logits
