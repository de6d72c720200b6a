"""Tensors, arrays, frames, torch data sets and loaders as data sets of this library."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data

from ppl_disentangle.data.arrays import ArrayDataset, from_arrays
from ppl_disentangle.data.base import FactorDataset, Kind
from ppl_disentangle.data.conditioned import ConditionedDataset
from ppl_disentangle.data.frames import Parts, parts_of_anndata, parts_of_frame, parts_of_xarray
from ppl_disentangle.data.observations import as_tensor

__all__ = ["as_dataset", "has_parts"]

_OBSERVATION_NAMES = ("x", "image", "images", "observations")
_ACCEPTED = (
    "a tensor, an array, lists of numbers, a mapping of arrays, a torch data set or DataLoader, a"
    " pandas, xarray or AnnData object, or a data set of this library"
)


def as_dataset(
    data: Any,
    *,
    conditions: Sequence[str] = (),
    kind: Kind | None = None,
    maximum: float | None = None,
    name: str | None = None,
) -> FactorDataset:
    """Data of any common type as a data set, for every function of the library that takes data.

    - A data set of this library is returned as it is.
    - A tensor, an array or lists are the observations; see
      :func:`~ppl_disentangle.data.from_arrays`. Whole numbers become float32.
    - A torch data set of ``x`` or ``(x, y)`` is read once. ``y`` are the factors: numbers or texts
      of shape ``(num,)`` or ``(num, factors)``. If ``y`` and further parts are arguments of model
      and guide instead, name them: ``conditions=("labels", "mask")``. For a torch ``Subset``, the
      rows in results are the rows of the data set behind it.
    - A mapping of arrays, a torch data set of such mappings, or an xarray ``Dataset`` has the
      observations under ``x``, ``image``, ``images`` or ``observations``. The other arrays are
      factors if they have one number or text for each datum; otherwise, or if ``conditions`` names
      them, they are conditions.
    - A torch ``DataLoader`` stands for its data set. The library draws batches itself: batch size
      and shuffling of the loader are ignored. Samplers with weights and own ``collate_fn`` are
      errors.
    - A pandas frame or series has the observations in its columns, as they are; its index labels
      the rows in results. :func:`~ppl_disentangle.data.from_table` reads columns of texts and
      standardises numbers.
    - An xarray ``DataArray`` has the data along its first dim, or along ``data``, whose coordinate
      labels the rows. Dims ``channel`` and ``time`` make it signals or sequences.
    - An ``AnnData`` has the observations in ``X``, dense or sparse, and its ``obs_names`` label the
      rows. A sparse matrix of scipy becomes dense.

    Args:
        data: The data.
        conditions: Names of parts that are arguments of model and guide.
        kind: Kind of the observations; see :func:`~ppl_disentangle.data.from_arrays`.
        maximum: Stored value that stands for 1; see :func:`~ppl_disentangle.data.from_arrays`.
        name: Short name for tables and run folders.

    Raises:
        TypeError: The data have a type that is not taken, such as an ``IterableDataset``.
        ValueError: Parts do not fit each other, or a loader draws its batches in its own way.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> as_dataset(TensorDataset(torch.rand(5, 3), torch.tensor([0, 1, 1, 0, 2])))
        ArrayDataset 'data': 5 vectors 3, float32, factors factor0 (3)
        >>> as_dataset({"x": torch.rand(5, 3), "mask": torch.ones(5, 3)}).conditions([0])
        {'mask': tensor([[1., 1., 1.]])}
    """
    if isinstance(data, FactorDataset):
        return data
    if isinstance(data, torch_data.DataLoader):
        return as_dataset(
            _dataset_of_loader(data), conditions=conditions, kind=kind, maximum=maximum, name=name
        )
    if isinstance(data, torch_data.Subset) and _is_in_memory(data.dataset):
        whole = as_dataset(
            data.dataset, conditions=conditions, kind=kind, maximum=maximum, name=name
        )
        return whole.subset(torch.as_tensor(data.indices))
    parts = _parts_of(data, conditions)
    return _assembled(parts, kind=kind, maximum=maximum, name=name or "data")


def has_parts(data: Any) -> bool:
    """Whether data of another library may have factors beside the observations."""
    with_parts = (torch_data.Dataset, torch_data.DataLoader, Mapping)
    return isinstance(data, with_parts) or _is_of("xarray", ("Dataset",), data)


def _is_in_memory(dataset: Any) -> bool:
    """Whether a torch data set need not be read item by item."""
    if isinstance(dataset, torch_data.Subset):
        return _is_in_memory(dataset.dataset)
    return isinstance(dataset, FactorDataset | torch_data.TensorDataset)


def _dataset_of_loader(loader: torch_data.DataLoader[Any]) -> Any:
    """The data set of a loader, after checking that the loader only splits it into batches."""
    if isinstance(loader.dataset, torch_data.IterableDataset):
        return loader.dataset
    _check_sampler(loader.sampler)
    batches = loader.batch_sampler
    # A sampler of batches that the user made may hold another sampler than the loader.
    _check_sampler(batches.sampler if isinstance(batches, torch_data.BatchSampler) else batches)
    if loader.collate_fn not in _DEFAULT_COLLATES:
        raise ValueError(
            "the DataLoader has its own collate_fn, which the library would ignore: pass a data"
            " set whose items are complete"
        )
    return loader.dataset


def _check_sampler(sampler: Any) -> None:
    """Raise an error unless a sampler visits every datum once, in any order."""
    visits_all = sampler is None or isinstance(sampler, torch_data.SequentialSampler)
    if isinstance(sampler, torch_data.RandomSampler):
        visits_all = not sampler.replacement and sampler.num_samples == len(sampler.data_source)
    if not visits_all:
        raise ValueError(
            f"the DataLoader draws its data by {type(sampler).__name__}, which the library would"
            " ignore: pass its data set, or a subset or a data set that is drawn anew"
        )


_DEFAULT_COLLATES = (torch_data.default_collate, torch_data.default_convert)


def _parts_of(data: Any, conditions: Sequence[str]) -> Parts:
    """Observations, factors and conditions of data that are not a data set of this library."""
    if _is_of("xarray", ("DataArray", "Dataset"), data):
        return parts_of_xarray(data, conditions, _OBSERVATION_NAMES)
    if isinstance(data, torch_data.TensorDataset):
        return _positional(list(data.tensors), conditions)
    if isinstance(data, Mapping):
        return _named({str(key): value for key, value in data.items()}, conditions)
    if (observed := _observations_alone(data)) is not None:
        return _without_conditions(observed, conditions)
    return _parts_of_items(data, conditions)


def _observations_alone(data: Any) -> Parts | None:
    """The observations of data that have no parts beside them; ``None`` for other data."""
    if _is_of("pandas", ("DataFrame", "Series"), data):
        return parts_of_frame(data)
    if _is_of("scipy.sparse", ("spmatrix", "sparray"), data):
        return Parts(data.toarray())
    if _is_of("anndata", ("AnnData",), data):
        return parts_of_anndata(data)
    if isinstance(data, Tensor | np.ndarray) or (_is_list(data) and not _rows_have_parts(data)):
        return Parts(data)
    return None


def _is_of(package: str, classes: Sequence[str], data: Any) -> bool:
    """Whether data are of a class of a package, which is not imported for it."""
    module = sys.modules.get(package)
    return module is not None and isinstance(data, tuple(getattr(module, c) for c in classes))


def _is_list(data: Any) -> bool:
    return isinstance(data, list | tuple)


def _rows_have_parts(rows: Sequence[Any]) -> bool:
    """Whether rows are ``(x, …)`` with an array x, or mappings, as the items of a torch data set."""
    if not len(rows):
        return False
    first = rows[0]
    in_tuple = isinstance(first, list | tuple) and len(first) > 0
    return isinstance(first, Mapping) or (in_tuple and isinstance(first[0], Tensor | np.ndarray))


def _items(dataset: Any) -> list[Any]:
    """All items of a data set, of which there must be one."""
    _check_readable(dataset)
    items = [dataset[i] for i in range(len(dataset))]
    if not items:
        raise ValueError("expected at least one observation, got an empty data set")
    return items


def _parts_of_items(dataset: Any, conditions: Sequence[str]) -> Parts:
    """The parts of a map-style torch data set, each item of which is read once."""
    items = _items(dataset)
    if isinstance(items[0], Mapping):
        rows = [list(item.values()) for item in items]
        columns = _columns(rows, dataset)
        parts = _named(dict(zip(map(str, items[0]), columns, strict=True)), conditions)
    else:
        rows = [list(item) if _is_list(item) else [item] for item in items]
        parts = _positional(_columns(rows, dataset), conditions)
    if isinstance(dataset, torch_data.Subset):
        return parts._replace(rows=_root_rows(dataset))
    return parts


def _check_readable(dataset: Any) -> None:
    """Raise an error unless the items of a data set can be read by their number."""
    got = type(dataset).__name__
    if isinstance(dataset, torch_data.IterableDataset):
        raise TypeError(
            f"expected data with a length, got the stream {got}: read it into memory with list(…)"
        )
    if isinstance(dataset, str | bytes):
        raise TypeError(f"expected {_ACCEPTED}, got a text; load_data reads a path or a name")
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(f"expected {_ACCEPTED}, got {got}")


def _root_rows(subset: torch_data.Subset[Any]) -> Tensor:
    """Rows of a subset in the data set behind all subsets, ``(len(subset),)``."""
    indices = torch.as_tensor(subset.indices)
    inner = subset.dataset
    return _root_rows(inner)[indices] if isinstance(inner, torch_data.Subset) else indices


def _columns(rows: Sequence[Sequence[Any]], dataset: Any) -> list[Any]:
    """Each part of all items as one array or tensor."""
    expected = len(rows[0])
    for i, row in enumerate(rows):
        if len(row) != expected:
            raise ValueError(f"expected {expected} parts in each item, got {len(row)} at {i}")
    named = type(dataset).__name__
    return [_stacked(column, named, k) for k, column in enumerate(zip(*rows, strict=True))]


def _stacked(column: Sequence[Any], dataset: str, k: int) -> Any:
    """One part of all items as a tensor, or as an array if its values are numbers or texts."""
    values = [torch.from_numpy(v) if isinstance(v, np.ndarray) else v for v in column]
    if all(isinstance(value, Tensor) for value in values):
        shapes = {tuple(value.shape) for value in values}
        if len(shapes) == 1:
            return torch.stack(values)
        got = " and ".join(map(str, sorted(shapes)[:2]))
        raise ValueError(f"{dataset}: expected part {k} of one shape in all items, got {got}")
    if k == 0 and not isinstance(values[0], int | float | np.number | list | tuple):
        got = type(values[0]).__name__
        raise TypeError(
            f"{dataset}: expected items x or (x, y) with a tensor x, got {got}; give the data set"
            " a transform to tensors"
        )
    return np.array(values)


def _positional(values: list[Any], conditions: Sequence[str]) -> Parts:
    """Parts from values in order: observations, then factors or the named conditions."""
    x, *others = values
    if conditions:
        if len(conditions) != len(others):
            raise ValueError(
                f"expected a name in conditions for each of {len(others)} parts beside x, got"
                f" {list(conditions)}"
            )
        return Parts(x, conditions=dict(zip(conditions, others, strict=True)))
    if len(others) > 1:
        raise ValueError(
            f"expected x or (x, y), got {len(values)} parts; if model and guide take the others as"
            " arguments, name them: as_dataset(data, conditions=('labels', 'mask'))"
        )
    return Parts(x, factors=others[0] if others else None)


def _named(values: Mapping[str, Any], conditions: Sequence[str]) -> Parts:
    """Parts from values by name: observations, conditions, and factors of one value a datum."""
    found = [name for name in _OBSERVATION_NAMES if name in values]
    if len(found) != 1:
        expected = f"the observations under one of {list(_OBSERVATION_NAMES)}"
        raise ValueError(f"expected {expected}, got {list(values)}")
    others = {name: value for name, value in values.items() if name != found[0]}
    return Parts(values[found[0]]).with_others(others, conditions)


def _without_conditions(parts: Parts, conditions: Sequence[str]) -> Parts:
    """The parts, after checking that no conditions are asked for."""
    if conditions:
        raise ValueError(
            f"the data have no parts for the conditions {list(conditions)}; add them by"
            " with_conditions(as_dataset(data), …)"
        )
    return parts


def _assembled(
    parts: Parts, *, kind: Kind | None, maximum: float | None, name: str
) -> FactorDataset:
    """A data set of the parts."""
    dataset: ArrayDataset = from_arrays(
        _floats(parts.x),
        parts.factors,
        kind=kind or parts.kind,
        maximum=maximum,
        row_labels=parts.row_labels,
        rows=parts.rows,
        name=name,
    )
    if not parts.conditions:
        return dataset
    values = {condition: _numbers(condition, v) for condition, v in parts.conditions.items()}
    return ConditionedDataset(dataset, values)


def _numbers(name: str, value: Any) -> Tensor:
    """A condition as a tensor."""
    try:
        return value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    except TypeError:
        got = np.asarray(value).dtype
        raise TypeError(f"condition {name!r}: expected numbers for each datum, got {got}") from None


def _floats(x: Any) -> Any:
    """Observations, with whole numbers other than bytes as float32.

    Raises:
        ValueError: A number exceeds 2^24, up to which float32 holds every whole number.
    """
    if isinstance(x, np.ndarray) and x.dtype.kind in "iu" and x.dtype != np.uint8:
        x = torch.from_numpy(x.astype(np.int64))
    x = as_tensor(x)
    if x.dtype == torch.uint8 or x.is_floating_point() or x.is_complex() or not x.numel():
        return x
    low, high = (int(end) for end in torch.aminmax(x))
    if max(-low, high) > 1 << 24:
        raise ValueError(
            f"expected whole numbers up to 2^24, got {low} to {high}; convert them to floats"
        )
    return x.float()
