"""Critics: their networks, the losses of the game, and the base class of adversarial objectives."""

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
    """The critic network of FactorVAE [1]: leaky ReLU units of slope 0.2, on flattened inputs.

    disentangling-vae and pythae have five hidden layers; [1] has six.

    Args:
        input_dim: Number of values in one input.
        hidden: Number of units in each hidden layer.
        layers: Number of hidden layers.
        outputs: Number of logits.

    References:
        [1] Kim & Mnih, 2018. https://arxiv.org/abs/1802.05983
    """
    network = nn.Sequential(nn.Flatten())
    width = input_dim
    for _ in range(layers):
        network.append(nn.Linear(width, hidden))
        network.append(nn.LeakyReLU(0.2))
        width = hidden
    return network.append(nn.Linear(width, outputs))


class JointCritic(nn.Module):
    """A :func:`critic_network` on pairs of an observation and a vector of latents.

    Args:
        x_dim: Number of values in one observation.
        z_dim: Number of latents.
        hidden: Number of units in each hidden layer.
        layers: Number of hidden layers.

    Example:
        >>> JointCritic(64, 10, hidden=32)(torch.zeros(5, 1, 8, 8), torch.zeros(5, 10)).shape
        torch.Size([5, 1])
    """

    def __init__(self, x_dim: int, z_dim: int, *, hidden: int = 1000, layers: int = 2) -> None:
        super().__init__()
        self.net = critic_network(x_dim + z_dim, hidden=hidden, layers=layers)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """One logit per datum, of shape ``(batch, 1)``, for ``z`` of shape ``(batch, dim)``."""
        return self.net(torch.cat([x.flatten(1), z.flatten(1)], -1))


def verdict_loss(game: Game, logits: Tensor, *, real: bool) -> Tensor:
    r"""The critic's loss for each of its logits :math:`\ell`; the upper sign is for real inputs.

    - ``"logistic"`` [1]: the cross-entropy, :math:`\log(1 + e^{\mp \ell})`;
    - ``"hinge"`` [2]: :math:`\max(0, 1 \mp \ell)`;
    - ``"wasserstein"`` [3]: :math:`\mp \ell`;
    - ``"least_squares"`` [4]: :math:`\tfrac12 (\ell - 1)^2` for real inputs, else
      :math:`\tfrac12 \ell^2`.

    Args:
        game: Name of the loss.
        logits: The critic's logits.
        real: Whether the critic should call these inputs real.

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
    """The loss of the critic's opponent for each of the critic's logits.

    This is equivalent to :func:`verdict_loss` with the labels swapped (the "non-saturating" loss),
    except for ``"hinge"``, whose opponent has the loss of ``"wasserstein"``.

    Args:
        game: Name of the loss.
        logits: The critic's logits.
        real: Whether the opponent wants the critic to call these inputs real.
    """
    return verdict_loss("wasserstein" if game == "hinge" else game, logits, real=real)


class TwoPlayerELBO(DecomposedELBO):
    r"""An objective with a critic that learns in the same backward pass. Abstract.

    The gradient of the loss trains both players, each by its part alone: where the pair learns, the
    critic's parameters are constants (:meth:`frozen_logits`); where the critic learns, its inputs are
    constants (:meth:`critic_loss`). The value of the loss is the value for the pair. One optimiser
    takes one step for both at a time. The critic is a submodule, so it moves with the objective and
    is part of its ``state_dict``.

    Implementing one: pass the weights and the critic to ``__init__``, and define :meth:`terms` with
    a term ``"critic"``, minus the total of :meth:`critic_loss`.

    Args:
        weights: Weights of the terms, as for :class:`~ppl_disentangle.inference.DecomposedELBO`.
        critic: A module that returns for each datum one logit, or two, "real" first.
        loss: Loss of the game; see :func:`verdict_loss`.
        gradient_penalty: Weight of a penalty on the gradient of the critic by its inputs. For
            ``"wasserstein"`` it is :math:`(\lVert\nabla\rVert - 1)^2` at random points between real
            and generated inputs [1], else R1, :math:`\tfrac12 \lVert\nabla\rVert^2` at the real
            inputs [2]. Zero leaves it out.
        critic_options: Options of the critic's optimiser, such as ``{"lr": 1e-4}``. By default it
            has the options of the pair.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.

    Raises:
        ValueError: The loss is unknown, or the penalty is negative.
        TypeError: The critic is not a module.

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
        self.critic = critic
        self.game = loss
        self.gradient_penalty = gradient_penalty
        self.optimizer_options = dict(critic_options or {})

    def extra_repr(self) -> str:
        """The weights and the loss of the game, for checkpoints and tables."""
        return (
            f"{super().extra_repr()}, loss={self.game!r}, gradient_penalty={self.gradient_penalty}"
        )

    def frozen_logits(self, *inputs: Tensor, by: nn.Module | None = None) -> Tensor:
        """The critic's logits, of shape ``(batch,)``; the pair learns from them, not the critic.

        Args:
            *inputs: Inputs of the critic, each of shape ``(batch, …)``.
            by: Submodule of the critic to use, where the objective has several critics. By default
                the whole critic.
        """
        critic = by or self.critic
        constants = {name: p.detach() for name, p in critic.named_parameters()}
        return self._logits(critic, constants, inputs)

    def critic_loss(
        self, real: Sequence[Tensor], fake: Sequence[Tensor], *, by: nn.Module | None = None
    ) -> tuple[Tensor, Tensor]:
        """The critic's losses on real and on other inputs, from which only the critic learns.

        Args:
            real: Inputs that the critic should call real, each of shape ``(batch, …)``.
            fake: Inputs that it should not.
            by: Submodule of the critic to use, where the objective has several critics. By default
                the whole critic.

        Returns:
            Two losses of shape ``(batch,)``.
        """
        critic = by or self.critic
        real = [t.detach() for t in real]
        fake = [t.detach() for t in fake]
        on_real = verdict_loss(self.game, self._logits(critic, {}, real), real=True)
        on_fake = verdict_loss(self.game, self._logits(critic, {}, fake), real=False)
        if self.gradient_penalty:
            on_real = on_real + self.gradient_penalty * self._penalty(critic, real, fake)
        return on_real, on_fake

    def _penalty(self, critic: nn.Module, real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
        """The penalty on the critic's gradient by its inputs, of shape ``(batch,)``."""
        create_graph = torch.is_grad_enabled()
        points = _between(real, fake) if self.game == "wasserstein" else real
        with torch.enable_grad():  # the slopes are needed in evaluation, too
            points = [p.detach().requires_grad_() for p in points]
            total = self._logits(critic, {}, points).sum()
            slopes = torch.autograd.grad(total, points, create_graph=create_graph)
        norms = torch.linalg.vector_norm(torch.cat([s.flatten(1) for s in slopes], -1), dim=-1)
        return (norms - 1).square() if self.game == "wasserstein" else 0.5 * norms.square()

    def _logits(
        self, critic: nn.Module, parameters: dict[str, Tensor], inputs: Sequence[Tensor]
    ) -> Tensor:
        """The logits of a critic, some of its parameters replaced, of shape ``(batch,)``."""
        parameter = next(critic.parameters(), None)
        cast = inputs if parameter is None else [t.to(parameter.dtype) for t in inputs]
        try:
            output = functional_call(critic, parameters, tuple(cast))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            shapes = " and ".join(str(tuple(t.shape)) for t in inputs)
            raise ValueError(
                f"the critic does not take inputs of shape {shapes}: {error}"
            ) from error
        return _one_logit(output, len(inputs[0]))


def _between(real: Sequence[Tensor], fake: Sequence[Tensor]) -> list[Tensor]:
    """Random points between real and fake inputs, one fraction for all inputs of a datum."""
    size = len(real[0])
    fraction = torch.rand_like(real[0].reshape(size, -1)[:, 0])
    points = []
    for start, end in zip(real, fake, strict=True):
        along = fraction.reshape(size, *(1,) * (start.dim() - 1))  # (batch, 1, …)
        points.append(start + along * (end - start))
    return points


def _one_logit(output: Tensor, size: int) -> Tensor:
    """The output of a critic as one logit per datum: of two, their difference."""
    output = output.to(torch.promote_types(output.dtype, torch.float32))  # bfloat16 under autocast
    if output.shape == (size, 2):
        return output[:, 0] - output[:, 1]
    if output.shape not in ((size,), (size, 1)):
        raise ValueError(
            f"expected a critic that returns 1 or 2 logits a datum, got shape {tuple(output.shape)}"
        )
    return output.reshape(size)
