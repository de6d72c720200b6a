"""The weight of a constraint, which grows until the constraint holds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["AugmentedLagrangian"]


class AugmentedLagrangian(nn.Module):
    r"""The weights of a constraint h = 0, for h that is nowhere negative.

    .. math:: \alpha h + \tfrac\rho2 h^2

    Every so many steps :math:`\alpha \leftarrow \alpha + \rho h`, and where h has not fallen below a part of what it
    was the last time, :math:`\rho \leftarrow \text{growth} \cdot \rho`. Both are buffers; the host reads no value.

    Args:
        every: number of steps.
        rho: its first value.
        growth: by how much it grows; [1] uses 10, after solving the problem before to the end. With so few steps in
            between, 2 leads to the same graphs with less to choose.
        progress: that part; 0.25 in [1].
        maximum: the largest value of :math:`\rho`. A stiff penalty drowns the likelihood in Adam's steps.

    Raises:
        ValueError: an argument out of its range.

    References:
        [1] Zheng et al., 2018. https://arxiv.org/abs/1803.01422

    Example:
        >>> lagrangian = AugmentedLagrangian(every=1)
        >>> lagrangian.advance(torch.tensor(1.0), step=torch.tensor(1.0))
        >>> lagrangian.weight(torch.tensor(0.5))  # 1 + 1 / 2 * 0.5
        tensor(1.2500)
    """

    multiplier: Tensor
    rho: Tensor
    reached: Tensor

    def __init__(
        self,
        *,
        every: int = 100,
        rho: float = 1.0,
        growth: float = 2.0,
        progress: float = 0.25,
        maximum: float = 1e6,
    ) -> None:
        super().__init__()
        if every < 1 or growth < 1:
            raise ValueError(
                f"expected every >= 1 and growth >= 1, got every={every}, growth={growth}"
            )
        if not 0 < rho <= maximum:
            raise ValueError(f"expected 0 < rho <= maximum, got rho={rho}, maximum={maximum}")
        if not 0 < progress < 1:
            raise ValueError(f"expected 0 < progress < 1, got {progress}")
        self.every, self.growth, self.progress, self.maximum = every, growth, progress, maximum
        self.register_buffer("multiplier", torch.zeros(()))
        self.register_buffer("rho", torch.tensor(float(rho)))
        self.register_buffer("reached", torch.tensor(torch.inf))

    def extra_repr(self) -> str:
        """The schedule, for checkpoints and tables."""
        return f"every={self.every}, growth={self.growth}, progress={self.progress}, maximum={self.maximum}"

    def weight(self, h: Tensor) -> Tensor:
        """What to multiply h by."""
        return self.multiplier.clone() + 0.5 * self.rho.clone() * h

    def advance(self, h: Tensor, *, step: Tensor) -> None:
        """Take note of h after ``step`` steps."""
        due, h = step % self.every == 0, h.detach().to(self.reached)
        self.multiplier.add_((self.rho * h).where(due, 0.0))
        stalled = due & (h > self.progress * self.reached)
        self.rho.copy_((self.growth * self.rho).clamp(max=self.maximum).where(stalled, self.rho))
        self.reached.copy_(h.where(due, self.reached))
