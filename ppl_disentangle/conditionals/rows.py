"""The conditional of a row of a table: a likelihood for each column."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn
from torch.distributions.utils import lazy_property

from ppl_disentangle.columns import Column
from ppl_disentangle.conditionals.base import Conditional, at_least_single
from ppl_disentangle.conditionals.classes import UNIT_GAP, cumulative_logit, increasing
from ppl_disentangle.conditionals.counts import ZeroInflated, negative_binomial

__all__ = ["Row", "RowDistribution", "num_row_outputs"]


class Part(NamedTuple):
    """The columns of a row that share a family of distributions.

    Attributes:
        positions: Positions of the columns in the row.
        fn: Their distributions, of batch shape ``(…, columns of the part)``.
        mean: The value by which each column is summarised, of the same shape.
    """

    positions: Tensor
    fn: TorchDistribution
    mean: Callable[[], Tensor]


class RowDistribution(TorchDistribution):
    r"""Independent columns of different families: a distribution over the encoded row of a table.

    .. math:: \log p(y) = \sum_d [o_d] \log p_d(y_d)

    The sum is over the observed columns, :math:`o_d = 1`. All columns are observed unless
    :meth:`observing` says otherwise.

    Args:
        parts: The columns by family; together they hold each position of the row once.
        observed: Which elements count, of a shape that broadcasts to ``(*batch, columns)``; ``None``
            if all do.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real_vector

    def __init__(self, parts: Sequence[Part], *, observed: Tensor | None = None) -> None:
        self.parts = tuple(parts)
        self.observed = observed
        batch_shape = self.parts[0].fn.batch_shape[:-1]
        size = sum(part.fn.batch_shape[-1] for part in self.parts)
        super().__init__(batch_shape, torch.Size([size]), validate_args=False)

    def observing(self, observed: Tensor) -> RowDistribution:
        """The same distribution, of which only the elements where ``observed`` is true count."""
        if self.observed is not None:
            observed = observed & self.observed
        return RowDistribution(self.parts, observed=observed)

    def log_prob_by_column(self, value: Tensor) -> Tensor:
        """Log density of each column, of shape ``(*batch, columns)``; zero where not observed."""
        return self._in_order([self._density(part, value) for part in self.parts])

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of rows, summed over the observed columns, of shape ``batch``."""
        densities = [self._density(part, value) for part in self.parts]
        return torch.cat(densities, -1).sum(-1)

    def _density(self, part: Part, value: Tensor) -> Tensor:
        """Log density of the columns of a part, zero where not observed."""
        density = part.fn.log_prob(value[..., part.positions])
        if self.observed is None:
            return density
        return torch.where(self.observed[..., part.positions], density, density.new_zeros(()))

    @lazy_property
    def mean(self) -> Tensor:
        """One value of each column, of shape ``(*batch, columns)``.

        This is the mean of a number, count, binary or ordered column (the mean of level numbers),
        and the most probable class of a column of classes.
        """
        return self._in_order([part.mean() for part in self.parts])

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw rows, of shape ``(*sample_shape, *batch, columns)``."""
        shape = torch.Size(sample_shape)
        draws = [at_least_single(part.fn.sample(shape)) for part in self.parts]
        return self._in_order(draws)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> RowDistribution:
        """The same rows for a larger batch."""
        shape = torch.Size(batch_shape)
        parts = []
        for part in self.parts:
            columns = part.fn.batch_shape[-1:]
            mean = _Expanded(part.mean, shape + columns)
            parts.append(Part(part.positions, part.fn.expand(shape + columns), mean))
        return RowDistribution(parts, observed=self.observed)

    def _in_order(self, values: Sequence[Tensor]) -> Tensor:
        """Values of the parts as columns of the row."""
        order = torch.cat([part.positions for part in self.parts])
        joined = torch.cat(list(values), -1)
        return joined.index_select(-1, order.argsort())


class _Expanded:
    """A tensor that is computed and broadcast when it is asked for."""

    def __init__(self, tensor: Callable[[], Tensor], shape: torch.Size) -> None:
        self._tensor = tensor
        self._shape = shape

    def __call__(self) -> Tensor:
        return self._tensor().expand(self._shape)


class Row(Conditional):
    r"""A row of a table: one likelihood for each column, all from one network.

    .. math:: p(y \mid h) = \prod_d p_d(y_d \mid f_d(h))

    Numbers are normal or Student-t with a learned scale, counts are negative binomial or Poisson with
    or without extra zeros, classes categorical, levels ordinal and binary values Bernoulli; see
    :class:`~ppl_disentangle.columns.Column`.

    Args:
        net: Network from ``(batch, *input)`` to ``(batch, num_row_outputs(columns))``.
        columns: The columns of the table.
        input_dims: Number of dimensions of one input; see :class:`Conditional`.

    Example:
        >>> columns = [Column("age", "number"), Column("stage", "ordered", ("I", "II", "III"))]
        >>> row = Row(nn.Linear(4, num_row_outputs(columns)), columns)(torch.zeros(8, 4))
        >>> row.event_shape, row.log_prob(torch.tensor([0.5, 2.0])).shape
        (torch.Size([2]), torch.Size([8]))
    """

    def __init__(
        self, net: nn.Module, columns: Sequence[Column], *, input_dims: int | None = 1
    ) -> None:
        super().__init__(net, input_dims=input_dims)
        families = _families(columns)
        self.columns = tuple(columns)
        self.sizes = [family.num_outputs for family in families]
        self.families = nn.ModuleList(families)

    def distribution(self, output: Tensor, event_dim: int) -> RowDistribution:
        """Build the row from the outputs of the network.

        Raises:
            ValueError: The network has another number of outputs.
        """
        if event_dim != 1 or output.shape[-1] != sum(self.sizes):
            shape = tuple(output.shape[-event_dim:])
            raise ValueError(f"expected a network with {sum(self.sizes)} outputs, got {shape}")
        outputs = output.split(self.sizes, -1)
        return RowDistribution(
            [family(part) for family, part in zip(self.families, outputs, strict=True)]
        )


def num_row_outputs(columns: Sequence[Column]) -> int:
    """Number of outputs that a network needs for a :class:`Row` of these columns."""
    return sum(family.num_outputs for family in _families(columns))


def _families(columns: Sequence[Column]) -> list[_Family]:
    """The families of the columns: one for each likelihood and, for classes, each number of values."""
    positions: dict[tuple[str | None, int], list[int]] = {}
    for position, column in enumerate(columns):
        size = column.size if column.likelihood in ("categorical", "ordinal") else 0
        positions.setdefault((column.likelihood, size), []).append(position)
    families = []
    for (likelihood, _), index in positions.items():
        members = [columns[position] for position in index]
        families.append(_FAMILIES[str(likelihood)](index, members))
    return families


class _Family(nn.Module, abc.ABC):
    """Columns of one likelihood.

    Args:
        positions: Positions of the columns in the row.
        columns: The columns.
    """

    positions: Tensor
    outputs_per_column = 1

    def __init__(self, index: Sequence[int], columns: Sequence[Column]) -> None:
        super().__init__()
        self.register_buffer("positions", torch.tensor(index), persistent=False)
        self.num_columns = len(columns)
        self.add_parameters(columns)

    def add_parameters(self, columns: Sequence[Column]) -> None:
        """Make the parameters that the network does not compute; without any by default."""

    @property
    def num_outputs(self) -> int:
        """Number of outputs of the network that belong to these columns."""
        return self.outputs_per_column * self.num_columns

    @abc.abstractmethod
    def forward(self, output: Tensor) -> Part:
        """The distributions of the columns, from outputs ``(…, num_outputs)``."""

    def whole(self, fn: TorchDistribution) -> Part:
        """The part of a distribution that is summarised by its mean."""
        return Part(self.positions, fn, lambda: fn.mean)


class _Numbers(_Family):
    """Normal columns with a learned scale each."""

    def add_parameters(self, columns: Sequence[Column]) -> None:
        self.log_scale = nn.Parameter(torch.zeros(len(columns)))

    def forward(self, output: Tensor) -> Part:
        return self.whole(dist.Normal(output, self.log_scale.exp()))


class _HeavyTails(_Family):
    """Student-t columns with a learned scale and learned degrees of freedom above 1 each."""

    def add_parameters(self, columns: Sequence[Column]) -> None:
        self.log_scale = nn.Parameter(torch.zeros(len(columns)))
        self.log_freedom = nn.Parameter(torch.ones(len(columns)))

    def forward(self, output: Tensor) -> Part:
        freedom = 1 + self.log_freedom.exp()
        return self.whole(dist.StudentT(freedom, output, self.log_scale.exp()))


class _CountFamily(_Family):
    """Abstract: columns of counts, whose outputs are logarithms relative to the column's mean."""

    log_loc: Tensor

    def add_parameters(self, columns: Sequence[Column]) -> None:
        loc = torch.tensor([max(column.loc, 1e-3) for column in columns])
        self.register_buffer("log_loc", loc.log())


class _Counts(_CountFamily):
    """Poisson columns; outputs are log rates."""

    def forward(self, output: Tensor) -> Part:
        return self.whole(dist.Poisson((output + self.log_loc).exp()))


class _ZeroInflatedCounts(_CountFamily):
    """Poisson columns with extra zeros; outputs are log rates, then logits of an extra zero."""

    outputs_per_column = 2

    def forward(self, output: Tensor) -> Part:
        log_rate, gate = output.chunk(2, -1)
        rate = (log_rate + self.log_loc).exp()
        return self.whole(ZeroInflated(dist.Poisson(rate), gate))


class _OverdispersedFamily(_CountFamily):
    """Abstract: negative binomial columns with a learned concentration each."""

    def add_parameters(self, columns: Sequence[Column]) -> None:
        super().add_parameters(columns)
        self.log_concentration = nn.Parameter(torch.zeros(len(columns)))


class _OverdispersedCounts(_OverdispersedFamily):
    """Negative binomial columns; outputs are log means."""

    def forward(self, output: Tensor) -> Part:
        return self.whole(negative_binomial(output + self.log_loc, self.log_concentration))


class _ZeroInflatedOverdispersedCounts(_OverdispersedFamily):
    """Negative binomial columns with extra zeros; outputs are log means, then logits of an extra zero."""

    outputs_per_column = 2

    def forward(self, output: Tensor) -> Part:
        log_mean, gate = output.chunk(2, -1)
        concentration = self.log_concentration
        return self.whole(negative_binomial(log_mean + self.log_loc, concentration, gate))


class _BinaryValues(_Family):
    """Bernoulli columns."""

    def forward(self, output: Tensor) -> Part:
        return self.whole(dist.Bernoulli(logits=output))


class _Classes(_Family):
    """Categorical columns with the same number of classes."""

    def add_parameters(self, columns: Sequence[Column]) -> None:
        self.outputs_per_column = columns[0].size

    def forward(self, output: Tensor) -> Part:
        logits = output.unflatten(-1, (self.num_columns, self.outputs_per_column))
        fn = dist.Categorical(logits=logits)
        return Part(self.positions, fn, lambda: logits.argmax(-1).to(logits.dtype))


class _Levels(_Family):
    """Ordinal columns with the same number of levels and learned cut points each."""

    def add_parameters(self, columns: Sequence[Column]) -> None:
        size = columns[0].size
        first_cut = -0.5 * (size - 2)  # evenly spaced around zero
        self.first_cut = nn.Parameter(torch.full((len(columns),), first_cut))
        self.gaps = nn.Parameter(torch.full((len(columns), size - 2), UNIT_GAP))

    def forward(self, output: Tensor) -> Part:
        fn = cumulative_logit(output, increasing(self.first_cut, self.gaps))
        return Part(self.positions, fn, lambda: _mean_level(fn.probs))


def _mean_level(probabilities: Tensor) -> Tensor:
    """The mean of level numbers with the given probabilities ``(…, levels)``."""
    levels = torch.arange(probabilities.shape[-1], device=probabilities.device)
    return (probabilities * levels).sum(-1)


_FAMILIES: dict[str, type[_Family]] = {
    "gaussian": _Numbers,
    "student_t": _HeavyTails,
    "poisson": _Counts,
    "negative_binomial": _OverdispersedCounts,
    "zero_inflated_poisson": _ZeroInflatedCounts,
    "zero_inflated_negative_binomial": _ZeroInflatedOverdispersedCounts,
    "bernoulli": _BinaryValues,
    "categorical": _Classes,
    "ordinal": _Levels,
}
