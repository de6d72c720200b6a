"""The weight of a constraint, raised until the constraint holds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["AugmentedLagrangian"]


class AugmentedLagrangian(nn.Module):
    r"""The weight of a constraint h = 0, for a function h that is never negative.

    .. math:: \alpha h + \tfrac\rho2 h^2

    Every ``every`` steps :math:`\alpha \leftarrow \alpha + \rho h`. If h has then not fallen below
    ``progress`` times its value at the previous update, also
    :math:`\rho \leftarrow \text{growth} \cdot \rho`. Both :math:`\alpha` and :math:`\rho` are
    buffers on the device; the update never waits for the device.

    Args:
        every: Number of steps between updates.
        rho: Initial value of :math:`\rho`.
        growth: Factor by which :math:`\rho` grows. [1] uses 10 and minimises to convergence between
            updates; with the few steps taken here, a factor of 2 finds the same graphs and is less
            sensitive to the other settings.
        progress: Fraction of the previous h that counts as sufficient progress; [1] uses 0.25.
        maximum: Largest value of :math:`\rho`. With a larger penalty the likelihood no longer
            affects Adam's steps.

    Raises:
        ValueError: An argument is out of its range.

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
        self.every = every
        self.growth = growth
        self.progress = progress
        self.maximum = maximum
        self.register_buffer("multiplier", torch.zeros(()))
        self.register_buffer("rho", torch.tensor(float(rho)))
        self.register_buffer("reached", torch.tensor(torch.inf))

    def extra_repr(self) -> str:
        """The schedule, for checkpoints and tables."""
        return (
            f"every={self.every}, growth={self.growth}, progress={self.progress},"
            f" maximum={self.maximum}"
        )

    def weight(self, h: Tensor) -> Tensor:
        """The weight of h in the loss: alpha + rho h / 2."""
        # Copies: the buffers change in place before the backward pass may have used them.
        return self.multiplier.clone() + 0.5 * self.rho.clone() * h

    def advance(self, h: Tensor, *, step: Tensor) -> None:
        """Update the weight if an update is due.

        Args:
            h: Value of the constraint in the last step.
            step: Number of steps taken, a scalar on the device.
        """
        due = step % self.every == 0
        h = h.detach().to(self.reached)
        # Masked updates in place of a branch, which would wait for the device.
        self.multiplier.add_((self.rho * h).where(due, 0.0))
        stalled = due & (h > self.progress * self.reached)
        self.rho.copy_((self.growth * self.rho).clamp(max=self.maximum).where(stalled, self.rho))
        self.reached.copy_(h.where(due, self.reached))
