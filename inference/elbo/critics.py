"""Critics: their networks, the losses of the game, and what objectives with an opponent have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import relu, softplus

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.schedules import Weight

__all__ = ["Game", "JointCritic", "TwoPlayerELBO", "critic_network", "player_loss", "verdict_loss"]

Game = Literal["logistic", "hinge", "wasserstein", "least_squares"]


def critic_network(
    input_dim: int, *, hidden: int = 1000, layers: int = 6, outputs: int = 1
) -> nn.Sequential:
    """The critic of FactorVAE [1]: ``layers`` layers of ``hidden`` leaky ReLU units of slope 0.2, on flattened inputs.

    Avoids: five layers where [1] has six (disentangling-vae, pythae).

    References:
        [1] Kim & Mnih, 2018. https://arxiv.org/abs/1802.05983
    """
    widths = (input_dim, *(layers * (hidden,)))
    units = (
        m
        for i, o in zip(widths, widths[1:], strict=False)
        for m in (nn.Linear(i, o), nn.LeakyReLU(0.2))
    )
    return nn.Sequential(nn.Flatten(), *units, nn.Linear(widths[-1], outputs))


class JointCritic(nn.Module):
    """A :func:`critic_network` on observations and latents side by side; the sizes are choices of ours.

    Example:
        >>> JointCritic(64, 10, hidden=32)(torch.zeros(5, 1, 8, 8), torch.zeros(5, 10)).shape
        torch.Size([5, 1])
    """

    def __init__(self, x_dim: int, z_dim: int, *, hidden: int = 1000, layers: int = 2) -> None:
        super().__init__()
        self.net = critic_network(x_dim + z_dim, hidden=hidden, layers=layers)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """One logit a datum, of shape ``(batch, 1)``, for ``z`` of shape ``(batch, dim)``."""
        return self.net(torch.cat([x.flatten(1), z.flatten(1)], -1))


def verdict_loss(game: Game, logits: Tensor, *, real: bool) -> Tensor:
    r"""What a critic loses by its logits :math:`\ell` for what is real, or is not, one number each.

    - ``"logistic"`` [1]: the cross-entropy, :math:`\log(1 + e^{\mp \ell})`;
    - ``"hinge"`` [2]: :math:`\max(0, 1 \mp \ell)`;
    - ``"wasserstein"`` [3]: :math:`\mp \ell`;
    - ``"least_squares"`` [4]: :math:`\tfrac12 (\ell - 1)^2` for what is real, :math:`\tfrac12 \ell^2` for what is not.

    References:
        [1] Goodfellow et al., 2014. https://arxiv.org/abs/1406.2661
        [2] Lim & Ye, 2017. https://arxiv.org/abs/1705.02894
        [3] Arjovsky et al., 2017. https://arxiv.org/abs/1701.07875
        [4] Mao et al., 2017. https://arxiv.org/abs/1611.04076
    """
    if game == "least_squares":
        return 0.5 * (logits - float(real)).square()
    signed = logits if real else -logits
    if game == "logistic":
        return softplus(-signed)
    return relu(1 - signed) if game == "hinge" else -signed


def player_loss(game: Game, logits: Tensor, *, real: bool) -> Tensor:
    """What the other player loses by the critic's logits, who wants its draws taken for real, or for not.

    This is equivalent to :func:`verdict_loss` with the labels swapped (the "non-saturating" loss), but for
    ``"hinge"``, whose player has the loss of ``"wasserstein"``.
    """
    return verdict_loss("wasserstein" if game == "hinge" else game, logits, real=real)


class TwoPlayerELBO(DecomposedELBO):
    r"""An objective with an opponent: a critic that learns in the same backward pass, from the same draws.

    The loss has the gradients of both players, each of its own part alone: in what the pair learns from, the critic's
    parameters are constants (:meth:`judge`); in what the critic learns from, the draws are (:meth:`critic_loss`). Its
    value is that of the pair. Both take one step at a time, by one optimiser. The critic is part of the module, hence
    moves with it and is in its ``state_dict``.

    Implementing one: pass the weights and the critic to ``__init__``, and define :meth:`terms` with one term
    ``"critic"``, minus the total of :meth:`critic_loss`.

    Args:
        weights: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.
        critic: a module that returns for each datum one logit, or two: that of "real", and that of "not".
        loss: of the critic, as in :func:`verdict_loss`.
        gradient_penalty: weight of the penalty on the critic's gradient by its inputs: for ``"wasserstein"``
            :math:`(\lVert\nabla\rVert - 1)^2` between what is real and what is not [1], else R1,
            :math:`\tfrac12 \lVert\nabla\rVert^2` at what is real [2].
        critic_options: options of the critic's optimiser; by default those of the pair.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.

    Raises:
        ValueError: another loss, or a negative penalty.
        TypeError: the critic is no module.

    References:
        [1] Gulrajani et al., 2017. https://arxiv.org/abs/1704.00028
        [2] Mescheder et al., 2018. https://arxiv.org/abs/1801.04406
    """

    critics: ClassVar[tuple[str, ...]] = ("critic",)
    reads_data: ClassVar[bool] = True

    def __init__(
        self,
        weights: Mapping[str, Weight],
        critic: nn.Module,
        *,
        loss: Game = "logistic",
        gradient_penalty: float = 0.0,
        critic_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(weights, **options)
        if not isinstance(critic, nn.Module):
            raise TypeError(f"expected the critic as a module, got {type(critic).__name__}")
        if loss not in get_args(Game):
            raise ValueError(f"expected loss to be one of {list(get_args(Game))}, got {loss!r}")
        if gradient_penalty < 0:
            raise ValueError(f"expected gradient_penalty >= 0, got {gradient_penalty}")
        self.critic, self.game, self.gradient_penalty = critic, loss, gradient_penalty
        self.optimizer_options = dict(critic_options or {})

    def extra_repr(self) -> str:
        """The weights and the rules of the game, for checkpoints and tables."""
        return (
            f"{super().extra_repr()}, loss={self.game!r}, gradient_penalty={self.gradient_penalty}"
        )

    def judge(self, *inputs: Tensor, by: nn.Module | None = None) -> Tensor:
        """The logits of the critic, or of one of its parts, ``(batch,)``, for the player to learn from: it does not."""
        critic = by or self.critic
        return self._logits(
            critic, {name: p.detach() for name, p in critic.named_parameters()}, inputs
        )

    def critic_loss(
        self, real: Sequence[Tensor], fake: Sequence[Tensor], *, by: nn.Module | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the critic loses by each real datum, and by each other, each of shape ``(batch,)``; it alone learns.

        Args:
            real: the critic's inputs that are real, each of shape ``(batch, …)``.
            fake: those that are not.
            by: the part of the critic that is asked, where it has several.
        """
        critic = by or self.critic
        real, fake = [t.detach() for t in real], [t.detach() for t in fake]
        by_real = verdict_loss(self.game, self._logits(critic, {}, real), real=True)
        by_fake = verdict_loss(self.game, self._logits(critic, {}, fake), real=False)
        if self.gradient_penalty:
            by_real = by_real + self.gradient_penalty * self._penalty(critic, real, fake)
        return by_real, by_fake

    def _penalty(self, critic: nn.Module, real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
        size, create_graph = len(real[0]), torch.is_grad_enabled()
        points = real
        if self.game == "wasserstein":
            at = torch.rand_like(real[0].reshape(size, -1)[:, 0])
            points = [
                r + at.reshape(size, *(1,) * (r.dim() - 1)) * (f - r)
                for r, f in zip(real, fake, strict=True)
            ]
        with torch.enable_grad():
            points = [p.detach().requires_grad_() for p in points]
            slopes = torch.autograd.grad(
                self._logits(critic, {}, points).sum(), points, create_graph=create_graph
            )
        norms = torch.linalg.vector_norm(torch.cat([s.flatten(1) for s in slopes], -1), dim=-1)
        return (norms - 1).square() if self.game == "wasserstein" else 0.5 * norms.square()

    def _logits(
        self, critic: nn.Module, parameters: dict[str, Tensor], inputs: Sequence[Tensor]
    ) -> Tensor:
        own = next(critic.parameters(), None)
        try:
            output = functional_call(
                critic, parameters, tuple(t if own is None else t.to(own.dtype) for t in inputs)
            )
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            shapes = " and ".join(str(tuple(t.shape)) for t in inputs)
            raise ValueError(
                f"the critic does not take inputs of shape {shapes}: {error}"
            ) from error
        size, output = (
            len(inputs[0]),
            output.to(torch.promote_types(output.dtype, torch.float32)),
        )  # under autocast
        if output.shape == (size, 2):
            return output[:, 0] - output[:, 1]
        if output.shape not in ((size,), (size, 1)):
            raise ValueError(
                f"expected a critic that returns 1 or 2 logits a datum, got shape {tuple(output.shape)}"
            )
        return output.reshape(size)
