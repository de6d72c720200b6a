"""Missing values: a story as it is asked about observations of which some elements are NaN."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from pyro.distributions import TorchDistribution
from pyro.infer import ELBO, is_validation_enabled
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_disentangle.conditions import Arguments, accepted, opened
from ppl_disentangle.networks import ObservedInput
from ppl_disentangle.observed_elements import filled, observing
from ppl_disentangle.sites import DETERMINISTIC, Site
from ppl_disentangle.story import GenerativeStory

if TYPE_CHECKING:
    from pyro.poutine.runtime import Message

__all__ = ["Incomplete", "ObservedElements", "for_missing", "has_missing"]

OBSERVED = "observed"
"""The condition that says which elements of an observation are observed."""


def for_missing(story: GenerativeStory, data: Any) -> GenerativeStory:
    r"""The story as it is asked about ``data``: itself, unless the data have missing values.

    The likelihood of a datum is over its observed elements, :math:`p(x_{obs} \mid z)`: NaN in an
    observed site is integrated out, see
    :func:`~ppl_disentangle.observed_elements.observing`. The guide gets the observations with zeros
    in place of NaN. A model or guide with a parameter ``observed`` gets, as this condition, which
    elements are observed, of the shape of the observations. A guide whose networks start with
    :class:`~ppl_disentangle.networks.ObservedInput` gets NaN as it is.

    Args:
        story: A story.
        data: Data, or observations ``(batch, *event)``.

    Raises:
        ValueError: Values are missing, and the story has no likelihood that could leave them out.

    References:
        [1] Mattei & Frellsen, 2019. MIWAE. https://arxiv.org/abs/1812.02633
    """
    if isinstance(story, Incomplete):
        return story
    if not has_missing(data):
        needs_observed = OBSERVED in story.guide_arguments().required
        return Incomplete(story) if needs_observed else story
    if not story.has_bound:
        raise ValueError(
            f"{story.title} has no likelihood of an observation, so that missing values cannot be"
            " left out; impute them first, or choose a story with a bound"
        )
    return Incomplete(story)


def has_missing(data: Any) -> bool:
    """Whether data, in any form that ``as_dataset`` takes, have missing values."""
    known = opened(data)
    if isinstance(known, Tensor):
        return known.is_floating_point() and bool(known.isnan().any())
    return known.has_missing


class Incomplete(GenerativeStory):
    """A story that leaves missing values out; see :func:`for_missing`.

    Attributes:
        story: The story.
    """

    def __init__(self, story: GenerativeStory) -> None:
        super().__init__()
        self.story = story
        self.has_bound = story.has_bound
        self.fixed_size = story.fixed_size
        self.coordinate_names = story.coordinate_names
        self.conditions_in_latents = story.conditions_in_latents
        self.already_set = story.already_set
        self.intervened = story.intervened
        self.dag = story.dag
        self.columns = story.columns
        self.needs_labels = story.needs_labels
        self._reads_missing = any(isinstance(module, ObservedInput) for module in story.modules())

    @property
    def latents(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the latents."""
        return self.story.latents

    @property
    def title(self) -> str:
        """Name of the story in messages."""
        return self.story.title

    def model_arguments(self) -> Arguments:
        """The conditions that the model takes; ``observed`` need not be given."""
        return _without_observed(self.story.model_arguments())

    def guide_arguments(self) -> Arguments:
        """The conditions that the guide takes; ``observed`` need not be given."""
        return _without_observed(self.story.guide_arguments())

    def told(self, size: int) -> dict[str, Any]:
        """Conditions of ``size`` units that the story holds itself."""
        return self.story.told(size)

    def read_first_batch(self, x: Tensor, conditions: Mapping[str, Any]) -> None:
        """Read from a batch what cannot be known before."""
        self.story.read_first_batch(self._input(x), conditions)

    def example_conditions(self) -> dict[str, Any]:
        """Conditions of one datum, from which the sites of a draw can be read."""
        return self.story.example_conditions()

    @property
    def has_own_representation(self) -> bool:
        """Whether the representation is not the guide's."""
        return self.story.has_own_representation

    def posterior_sites(self, x: Tensor, **conditions: Any) -> dict[str, Site]:
        """The sites of the guide that draw the latents."""
        given = self._guide_conditions(self.story.guide, x, conditions)
        return self.story.posterior_sites(self._input(x), **given)

    def objective(self) -> ELBO | None:
        """The objective of the story."""
        return self.story.objective()

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Raise a ValueError if an intervention cannot set the site ``name`` to ``value``."""
        self.story.check_intervention(name, value)

    def model(self, x: Tensor | None = None, *, batch_size: int = 1, **conditions: Any) -> Tensor:
        """p(x, z), in which the observed sites count where they are not NaN."""
        if x is None:
            given = self.story.model_arguments().select(conditions)
            return self.story.model(batch_size=batch_size, **given)
        given = self.story.model_arguments().select(_with_observed(x, conditions))
        with ObservedElements() as messenger:
            result = self.story.model(x, **given)
        if is_validation_enabled():
            messenger.check(x, self.title)
        return result

    def guide(self, x: Tensor, **conditions: Any) -> None:
        """q(z | x), in which zeros stand for missing values."""
        given = self.story.guide_arguments().select(_with_observed(x, conditions))
        self.story.guide(self._input(x), **given)

    def representation(self, x: Tensor, **conditions: Any) -> dict[str, TorchDistribution]:
        """The representation of x."""
        given = self._guide_conditions(self.story.representation, x, conditions)
        return self.story.representation(self._input(x), **given)

    def latent_means(self, x: Tensor, **conditions: Any) -> dict[str, Tensor]:
        """One value of every latent for each x."""
        given = self._guide_conditions(self.story.latent_means, x, conditions)
        return self.story.latent_means(self._input(x), **given)

    def _guide_conditions(
        self, function: Any, x: Tensor, conditions: dict[str, Any]
    ) -> dict[str, Any]:
        """The conditions that a function of the story takes, which passes them to the guide."""
        names = self.story.guide_arguments().names
        taken = _with_observed(x, conditions) if OBSERVED in names else conditions
        return accepted(function, taken)

    def _input(self, x: Tensor) -> Tensor:
        """The observations as the guide gets them."""
        return x if self._reads_missing else x.nan_to_num(0.0)


def _without_observed(arguments: Arguments) -> Arguments:
    """Arguments of which ``observed`` may be left out."""
    required = tuple(name for name in arguments.required if name != OBSERVED)
    if required == arguments.required:
        return arguments
    optional = (*arguments.optional, OBSERVED)
    return dataclasses.replace(arguments, required=required, optional=optional)


def _with_observed(x: Tensor, conditions: dict[str, Any]) -> dict[str, Any]:
    return {OBSERVED: ~x.isnan(), **conditions}


class ObservedElements(Messenger):
    """Leaves the NaN elements of all observed sites out of the log density.

    Attributes:
        sites: Values of the observed sites, by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sites: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Message) -> None:
        value = msg["value"]
        if not msg["is_observed"] or msg["infer"].get(DETERMINISTIC):
            return
        if not isinstance(value, Tensor) or not value.numel():
            return  # pyro.factor
        name = str(msg["name"])
        self.sites[name] = value
        if value.is_floating_point():
            observed = ~value.isnan()
            msg["value"] = filled(msg["fn"], value, observed, name)
            msg["fn"] = observing(msg["fn"], observed, name)

    def check(self, x: Tensor, title: str) -> None:
        """Refuse a model that turns missing values into other values before it observes them.

        Args:
            x: The observations of the model.
            title: Name of the story in messages.

        Raises:
            ValueError: An observed site has integers where x is missing, or as many elements as x
                and none of them is missing.
        """
        if not x.isnan().any():
            return
        for name, value in self.sites.items():
            lost = value.numel() == x.numel() and not value.isnan().any()
            if lost or _is_cast_from_nan(value):
                raise ValueError(
                    f"the model of {title} observes missing values of x as other values in"
                    f" {name!r}, as a comparison or .long() gives; observe floats that stay NaN"
                )


def _is_cast_from_nan(value: Tensor) -> bool:
    """Whether an integer is the one that a cast makes of NaN."""
    if value.is_floating_point() or value.dtype == torch.bool:
        return False
    return bool((value == torch.iinfo(value.dtype).min).any()) and value.dtype != torch.uint8
