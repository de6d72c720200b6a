"""The objective of structured GANs: a class and a style, each held to its meaning by games and by being read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor, nn

from ppl_disentangle.inference.distributed.joined_traces import joined_traces
from ppl_disentangle.inference.distributed.processes import num_processes
from ppl_disentangle.inference.elbo.critics import TwoPlayerELBO, player_loss
from ppl_disentangle.inference.elbo.generated import (
    generated_latents,
    generated_traces,
    real_and_generated,
)
from ppl_disentangle.inference.elbo.latents import Latents
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.sites import deterministic_sites, observed_sites, sampled_sites

__all__ = ["StructuredGame"]


class StructuredGame(TwoPlayerELBO):
    r"""Two games and two readings [1], of a story with a class y, known of some data, and a style z.

    .. math:: \min_{p, q} \max_{\ell, m}\; V_{xz}(\ell) + V_{xy}(m)
       - \mathbb E_{p(x, y, z)} \bigl[ \lambda_y \log q(y \mid x) + \lambda_z \log q(z \mid x) \bigr]

    One critic tells data with the styles that the guide reads of them from dreams with those they were dreamt with, the
    game of :class:`~ppl_disentangle.inference.BidirectionalELBO`. The other tells data with the classes that are known
    of them from dreams with theirs: a dream has to be of its class. The readings keep the style out of the class and
    the class out of the style, as in :class:`~ppl_disentangle.inference.AdversarialMI`.

    The guide states the known classes, one-hot, and zeros for the others, as the auxiliary site ``"told"``, of shape
    ``(batch, classes)``; without, the second game is not played. It may state by ``pyro.factor`` how far q(y | x) is
    from what is known.

    Terms: ``"style_game"``, ``"class_game"`` (what the pair gains in either), ``"read[y]"`` and ``"read[z]"``, by the
    names of the latents (log probabilities of what the dreams were drawn with), ``"critic"``, and what the guide
    states. Nothing here is a bound on log p(x).

    Avoids: no port was read.

    Args:
        critics: modules by the names of both latents, from data and style, and from data and class, to one logit each.
        style: the name of z.
        label: the name of y.
        read_class: lambda of the class.
        read_style: lambda of the style. log q(z | x) has no upper bound: of much weight it makes all of x a style.
        **options: of the game and its critics, as in :class:`~ppl_disentangle.inference.elbo.critics.TwoPlayerELBO`;
            particles are not for it.

    Raises:
        ValueError: particles, another loss, or critics of other names.

    References:
        [1] Deng et al., 2017. https://arxiv.org/abs/1711.00889
    """

    def __init__(
        self,
        critics: Mapping[str, nn.Module],
        read_class: Weight = 1.0,
        read_style: Weight = 0.1,
        *,
        style: str = "z",
        label: str = "y",
        **options: Any,
    ) -> None:
        if set(critics) != {style, label}:
            raise ValueError(f"expected the critics {style!r} and {label!r}, got {list(critics)}")
        super().__init__(
            {f"read[{label}]": read_class, f"read[{style}]": read_style},
            nn.ModuleDict(dict(critics)),
            **options,
        )
        if self.num_particles > 1:
            raise ValueError(
                "particles are not for data that the model draws itself: take a larger batch"
            )
        self.style, self.label = style, label
        self._seen: Trace | None = None

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """What the pair gains in both games and by what is read of dreams, and what the critics learn by."""
        seen, self._seen = self._seen, None
        assert seen is not None
        if num_processes() > 1 and torch.is_grad_enabled():
            _, seen = joined_traces(None, seen, self.parts)
        real, dreamt = real_and_generated(model_trace)
        dreams = {q.name: (q, p) for q, p in generated_latents(model_trace, guide_trace)}
        latents = Latents([q for q, _ in dreams.values()])
        of_style, of_class = (self.critic.get_submodule(name) for name in (self.style, self.label))
        encoded = real, Latents([sampled_sites(seen)[self.style]]).draws()
        style, label = (Latents([dreams[name][1]]).draws() for name in (self.style, self.label))
        by_encoded, by_dream = self.critic_loss(encoded, (dreamt, style), by=of_style)
        lost = player_loss(self.game, self.judge(*encoded, by=of_style), real=False)
        lost = lost + player_loss(self.game, self.judge(dreamt, style, by=of_style), real=True)
        terms = {"style_game": -latents.total(lost)}
        terms |= {
            f"read[{n}]": latents.total(q.per_datum(q.log_prob(), latents.plate))
            for n, (q, _) in dreams.items()
        }
        critic = by_encoded + by_dream
        if "told" in (stated := deterministic_sites(seen)):
            told = stated["told"].value
            known = told.sum(-1) / told.sum(-1).mean().clamp(min=1 / len(told))
            by_told, by_dream = self.critic_loss((real, told), (dreamt, label), by=of_class)
            lost = player_loss(self.game, self.judge(dreamt, label, by=of_class), real=True)
            terms["class_game"] = -latents.total(lost)
            critic = critic + known * by_told + by_dream
        factors = {
            name: -site.total(site.log_prob()) for name, site in observed_sites(seen).items()
        }
        return terms | factors | {"critic": -latents.total(critic)}

    def _get_trace(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[Trace, Trace]:
        self._seen = poutine.trace(guide).get_trace(*args, **kwargs)
        return generated_traces(model, guide, args[0], read_back=True)
