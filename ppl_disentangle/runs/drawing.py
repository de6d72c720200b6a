"""Figures of a run: costs, reconstructions, traversals, the map of factors and the graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_disentangle import metrics
from ppl_disentangle.causal.interventions import takes_numbers
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import elbo_per_datum
from ppl_disentangle.representation import encode, reconstruct
from ppl_disentangle.runs.folder import Fitted, round_images
from ppl_disentangle.runs.rows import CellUnits, write_reconstructions, write_traversals
from ppl_disentangle.story import GenerativeStory
from ppl_disentangle.traversal import aggregate_quantiles, traverse

__all__ = ["draw", "encode_with_kl", "factor_information"]

NUM_CODED_DATA = 2000
"""Held-out data whose codes give quantiles, divergences and the map of factors."""
NUM_RECONSTRUCTIONS = 10
MAX_TRAVERSED_CODES = 20
"""Rows of a figure of traversals: as many as fit on a page."""
TRAVERSED_QUANTILES = (0.02, 0.14, 0.26, 0.38, 0.5, 0.62, 0.74, 0.86, 0.98)
"""Quantiles of the aggregate posterior, a column of the figure each."""
LEAST_INFORMATION = 0.05
"""Share of a factor's entropy from which on a traversal bears the name of the factor."""
LEAST_KL_NATS = 0.05
"""Divergence below which a code counts as unused."""


def draw(fitted: Fitted, *, units: CellUnits = "data") -> None:
    """Draw all figures of a run that its data and story allow.

    The images of the traversals, rounded to 1/1024, are written to the group ``traversals`` as
    well. Reconstructions and traversals of a table are csv files in the folder ``tables``.

    Args:
        fitted: The run with its fitted story.
        units: CellUnits of the cells of a table.
    """
    from ppl_disentangle import plots
    from ppl_disentangle.plots.dag import plot_dag

    run = fitted.run
    held_out = fitted.held_out_with_conditions
    run.write_figure("terms", plots.plot_terms(run.read_group("fit")))
    if fitted.data.kind in ("image", "signal", "sequence"):
        _draw_reconstructions(fitted)
    if fitted.data.columns:
        write_reconstructions(fitted, units)
    codes = encode_with_kl(fitted.story, held_out)
    information = factor_information(codes, held_out)
    _draw_traversals(fitted, codes, information, units)
    if information is not None:
        run.write_figure("factor_map", plots.plot_factor_map(information))
    if fitted.story.dag is not None:
        run.write_figure("graph", plot_dag(fitted.story.dag))


def _draw_reconstructions(fitted: Fitted) -> None:
    """Draw some held-out images above their reconstructions, or signals and sequences beside them."""
    from ppl_disentangle import plots

    held_out = fitted.held_out_with_conditions
    index = torch.arange(min(NUM_RECONSTRUCTIONS, len(held_out)))
    x = held_out.to_float(held_out.observations(index))
    means = reconstruct(fitted.story, held_out.subset(index))
    figure = plots.plot_reconstructions(x, means)
    fitted.run.write_figure("reconstructions", figure)


def encode_with_kl(story: GenerativeStory, data: FactorDataset) -> xr.Dataset:
    """Encode the first data of a data set.

    Args:
        story: A fitted story.
        data: Data with the conditions that the story needs.

    Returns:
        ``mean`` and ``scale`` over ``data`` and ``code``, and the mean divergence ``kl`` over
        ``code``: NaN where the story has no bound or its divergence does not split over the codes.
    """
    subset = data.subset(torch.arange(min(NUM_CODED_DATA, len(data))))
    codes = encode(story, subset)
    if not story.has_bound:
        return codes.assign(kl=codes["mean"][0] * np.nan)
    divergence = elbo_per_datum(story, subset)["kl"].mean("data")
    return codes.assign(kl=divergence.reindex(code=codes["code"].values))


def factor_information(codes: xr.Dataset, data: FactorDataset) -> xr.DataArray | None:
    """Compute the mutual information of codes and factors, over the entropy of the factor.

    Args:
        codes: The codes of the first data of ``data``; see :func:`encode_with_kl`.
        data: Data with factors.

    Returns:
        An array over ``code`` and ``factor``, without factors that have one value only; ``None``
        where no factor is left.
    """
    classes = data.factors(torch.arange(codes.sizes["data"]))
    known = (classes >= 0).all(1)
    classes = classes[known]
    varying = [k for k in range(classes.shape[1]) if classes[:, k].unique().numel() > 1]
    if not varying:
        return None
    means = codes["mean"].isel(data=known.numpy())
    information = metrics.mutual_information(means, classes[:, varying])
    share = information / metrics.entropies(classes[:, varying])
    names = [data.factor_names[k] for k in varying]
    return xr.DataArray(share, {"code": codes["code"].values, "factor": names}, ("code", "factor"))


def _draw_traversals(
    fitted: Fitted, codes: xr.Dataset, information: xr.DataArray | None, units: CellUnits
) -> None:
    """Draw the first held-out datum while one code takes quantiles of its aggregate posterior.

    A story whose codes are all classes has no traversals: a class takes no other numbers.
    """
    from ppl_disentangle import plots

    story = fitted.story
    held_out = fitted.held_out_with_conditions
    first = held_out.subset(torch.tensor([0]))
    told = first.conditions(torch.tensor([0]))
    names = _traversed_codes(story, codes, told)
    if not names:
        return
    quantiles = aggregate_quantiles(codes, TRAVERSED_QUANTILES)
    values = {name: quantiles.sel(code=name).values.tolist() for name in names}
    images = traverse(story, first, values)
    if fitted.data.columns:
        write_traversals(fitted, images, units)
    kl = codes["kl"].sel(code=names)
    notes = _traversal_notes(kl, information)
    fitted.run.write_figure("traversals", plots.plot_traversals(images, notes=notes))
    group = images.to_dataset(name="x").assign(kl=kl)
    fitted.run.write_group("traversals", round_images(group))


def _traversed_codes(
    story: GenerativeStory, codes: xr.Dataset, conditions: Mapping[str, Tensor]
) -> list[str]:
    """Name the codes that take numbers, by falling divergence, as many as fit on a page."""
    order = np.argsort(-codes["kl"].values, kind="stable")
    names = [str(name) for name in codes["code"].values[order]]
    numbers = [name for name in names if takes_numbers(story, name, conditions)]
    return numbers[:MAX_TRAVERSED_CODES]


def _traversal_notes(kl: xr.DataArray, information: xr.DataArray | None) -> dict[str, str]:
    """Write the divergence of each code, and the factor that a used code shares most with."""
    notes = {}
    for name in map(str, kl["code"].values):
        divergence = kl.sel(code=name).item()
        note = "" if np.isnan(divergence) else f"KL {divergence:.1f}"
        unused = divergence <= LEAST_KL_NATS
        if information is not None and not unused:
            shares = information.sel(code=name)
            if shares.max() > LEAST_INFORMATION:
                factor = str(shares.idxmax("factor").item())
                note = f"{note} · {factor}" if note else factor
        notes[name] = note
    return notes
