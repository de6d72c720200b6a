"""The objective of structured GANs: two adversarial games over a class and a style."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor, nn

from ppl_disentangle.inference.elbo.critics import TwoPlayerELBO, player_loss
from ppl_disentangle.inference.elbo.generated import (
    generated_latents,
    generated_traces,
    real_and_generated,
)
from ppl_disentangle.inference.elbo.latents import Latents
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.sites import (
    Site,
    deterministic_sites,
    inner_trace,
    nested_trace,
    sampled_sites,
)

__all__ = ["StructuredGame"]

GENERATED = "generated/"
"""Prefix, in the guide's trace, of the latents that the guide infers from generated samples."""


class StructuredGame(TwoPlayerELBO):
    r"""Two adversarial games and two reconstructions of latents, for a class y and a style z [1].

    .. math:: \min_{p, q} \max_{\ell, m}\; V_{xz}(\ell) + V_{xy}(m)
       - \mathbb E_{p(x, y, z)} \bigl[ \lambda_y \log q(y \mid x) + \lambda_z \log q(z \mid x) \bigr]

    The class is known for some of the data. The first critic compares data with the styles that the
    guide infers from them, and generated samples with the styles they were generated from; this is
    the game of :class:`~ppl_disentangle.inference.BidirectionalELBO`. The second critic compares
    data with their known classes, and generated samples with theirs: a generated sample has to look
    like its class. The guide also infers class and style from the generated samples; both log
    probabilities, as in :class:`~ppl_disentangle.inference.AdversarialMI`, keep the style out of
    the class and the class out of the style.

    The guide states the known classes, one-hot, and zeros for the other data, as the auxiliary site
    ``"labels"``, of shape ``(batch, classes)``. Without that site the second game is not played. The
    guide may state a classification loss for the known classes with ``pyro.factor``.

    Terms: ``"style_game"`` and ``"class_game"`` (minus the losses of model and guide in the two
    games), ``"read[y]"`` and ``"read[z]"``, with the names of the latents (log probabilities under
    the guide of the latents that generated the samples), ``"critic"``, and the statements of the
    guide. None of them bounds log p(x).

    Args:
        critics: Two modules by the names of the latents: one from data and style, one from data and
            class, each to one logit per datum.
        read_class: Weight lambda of the class.
        read_style: Weight lambda of the style. log q(z | x) has no upper bound; with a large weight
            the style takes over all of x.
        style: Name of the latent z.
        label: Name of the latent y.
        **options: Further options of
            :class:`~ppl_disentangle.inference.elbo.critics.TwoPlayerELBO`, except particles; see
            there.

    Raises:
        ValueError: More than one particle, an unknown loss, or critics under other names.

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
                "particles do not apply to data that the model generates: use a larger batch"
            )
        self.style = style
        self.label = label

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """The negative losses of both games, and the log probabilities of the true latents."""
        real, generated = real_and_generated(model_trace)
        pairs = generated_latents(model_trace, inner_trace(guide_trace, GENERATED))
        latents = Latents([q for q, _ in pairs])
        drawn = {p.name: Latents([p]).draws() for _, p in pairs}
        encoded = Latents([sampled_sites(guide_trace)[self.style]]).draws()

        loss, critic_loss = self._style_game((real, encoded), (generated, drawn[self.style]))
        terms = {"style_game": -latents.total(loss)} | _inferred(pairs, latents)
        labels = deterministic_sites(guide_trace).get("labels")
        if labels is not None:
            loss, on_real, on_generated = self._class_game(
                (real, labels.value), (generated, drawn[self.label])
            )
            terms["class_game"] = -latents.total(loss)
            critic_loss = critic_loss + on_real + on_generated
        return terms | {"critic": -latents.total(critic_loss)}

    def _style_game(
        self, encoded: Sequence[Tensor], generated: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Losses of the pair and of the critic of styles, each of shape ``(batch,)``.

        Args:
            encoded: Data, and the styles that the guide inferred from them.
            generated: Generated samples, and the styles that they were generated from.
        """
        critic = self.critic.get_submodule(self.style)
        on_encoded, on_generated = self.critic_loss(encoded, generated, by=critic)
        guide_loss = player_loss(self.game, self.frozen_logits(*encoded, by=critic), real=False)
        model_loss = player_loss(self.game, self.frozen_logits(*generated, by=critic), real=True)
        return guide_loss + model_loss, on_encoded + on_generated

    def _class_game(
        self, labelled: Sequence[Tensor], generated: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Losses of the model, and of the critic of classes on data and on generated samples.

        Args:
            labelled: Data, and their known classes: a row of zeros where the class is not known.
            generated: Generated samples, and the classes that they were generated from.

        Returns:
            Three losses of shape ``(batch,)``. The second is zero for data without a label, and
            scaled up so that its mean is the mean over the data with one.
        """
        critic = self.critic.get_submodule(self.label)
        labels = labelled[1]
        is_known = labels.sum(-1)  # (batch,): 1 for data with a label, else 0
        weights = is_known / is_known.mean().clamp(min=1 / len(labels))
        on_labelled, on_generated = self.critic_loss(labelled, generated, by=critic)
        model_loss = player_loss(self.game, self.frozen_logits(*generated, by=critic), real=True)
        return model_loss, weights * on_labelled, on_generated

    def _get_trace(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[Trace, Trace]:
        """A trace of generated samples, and one of the guide on the data and on those samples."""
        of_data = poutine.trace(guide).get_trace(*args, **kwargs)
        model_trace, of_generated = generated_traces(model, guide, args[0], read_back=True)
        return model_trace, nested_trace(of_data, of_generated, GENERATED)


def _inferred(pairs: Sequence[tuple[Site, Site]], latents: Latents) -> dict[str, Tensor]:
    """Log probabilities, under the guide, of the latents that generated the samples."""
    terms: dict[str, Tensor] = {}
    for q, _ in pairs:
        log_prob = q.per_datum(q.log_prob(), latents.plate)
        terms[f"read[{q.name}]"] = latents.total(log_prob)
    return terms
