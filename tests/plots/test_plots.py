"""Figures draw exactly the numbers they are given, name what they show, and cut nothing off."""

import itertools
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text

from ppl_disentangle.data import random_dag
from ppl_disentangle.plots import (
    plot_factor_map,
    plot_intervention,
    plot_reconstructions,
    plot_terms,
    plot_traversals,
)
from ppl_disentangle.plots.dag import plot_dag
from ppl_disentangle.plots.sheet import BLUE

IMAGES = ("code", "position", "channel", "row", "column")
TERMS = ("log_likelihood", "mutual_information", "total_correlation", "dimension_wise_kl")


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def history(*terms, steps=300, held_out=False):
    values = {name: ("step", uniform(steps, seed=i) - i) for i, name in enumerate(("loss", *terms))}
    dataset = xr.Dataset(values, {"step": np.arange(1, steps + 1)})
    if held_out:
        bounds = {
            f"held_out_{name}": ("held_out_step", -uniform(3, seed=9))
            for name in ("elbo", "log_likelihood")
        }
        bounds["held_out_kl"] = ("held_out_step", uniform(3, seed=8))
        dataset = dataset.assign(bounds).assign_coords(held_out_step=[100, 200, 300])
    return dataset


def traversals(*shape, codes=("z[0]", "z[1]"), same=True, dims=IMAGES):
    values = np.linspace(-2.5, 2.5, shape[0]) * (
        np.ones((len(codes), 1)) if same else np.arange(1, 3)[:, None]
    )
    coordinates = {"code": list(codes), "value": (("code", "position"), values)}
    return xr.DataArray(uniform(len(codes), *shape), coordinates, dims)


def factor_map(codes=3, factors=("shape", "scale")):
    names = {"code": [f"z[{i}]" for i in range(codes)], "factor": list(factors)}
    return xr.DataArray(uniform(codes, len(factors)), names, ("code", "factor"))


FIGURES = {
    "loss alone": lambda: plot_terms(history()),
    "terms": lambda: plot_terms(history(*TERMS, held_out=True)),
    "one step": lambda: plot_terms(history("kl", steps=1)),
    "traversals": lambda: plot_traversals(
        traversals(11, 1, 8, 8), notes={"z[1]": "KL 3.1 nats · orientation"}
    ),
    "traversals in colour, own values": lambda: plot_traversals(
        traversals(5, 3, 8, 12, same=False)
    ),
    "traversals of small tiles": lambda: plot_traversals(
        traversals(40, 1, 4, 4), notes={"z[0]": "KL 0.0 nats"}
    ),
    "traversals of features": lambda: plot_traversals(
        traversals(5, 6, dims=("code", "position", "x_dim_0"))
    ),
    "reconstructions": lambda: plot_reconstructions(uniform(11, 1, 8, 8), uniform(11, 1, 8, 8)),
    "reconstructions of features": lambda: plot_reconstructions(uniform(4, 6), uniform(4, 6)),
    "factor map": lambda: plot_factor_map(factor_map()),
    "factor map with long names": lambda: plot_factor_map(
        factor_map(factors=["a rather long factor"] * 6)
    ),
    "intervention": lambda: plot_intervention(
        uniform(8, 3, 8, 8), uniform(8, 3, 8, 8, seed=1), title="do(sun = 2)"
    ),
    "counterfactual beside the truth": lambda: plot_intervention(
        *(uniform(8, 3, 8, 8, seed=i) for i in (0, 1)),
        title="do(sun = 2)",
        observed=uniform(8, 3, 8, 8),
        truth=uniform(8, 3, 8, 8),
    ),
    "graph": lambda: plot_dag(
        "light, angle -> shadow_length, shadow_position", intervened=["light"]
    ),
    "graph of one node": lambda: plot_dag("light"),
    "graph of many": lambda: plot_dag(random_dag(12, expected_degree=4, seed=0)),
    "intervention on features": lambda: plot_intervention(
        uniform(2, 6), uniform(2, 6), title="do(sun = 2)"
    ),
}


def texts(figure):
    """Everything that is written in a figure."""
    return [t.get_text() for t in figure.findobj(Text) if t.get_text() and t.get_visible()]


def tiles(figure):
    """The images of a figure by their place, (row, column)."""
    images = figure.axes[0].get_images()
    heights = sorted({image.get_extent()[3] for image in images})
    return {
        (heights.index(i.get_extent()[3]), int(i.get_extent()[0])): np.asarray(i.get_array())
        for i in images
    }


def lines(axes):
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.get_lines()}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_a_figure_is_as_wide_as_a_page_on_white_and_nothing_written_is_cut_off(draw):
    dark = dict.fromkeys(["figure.facecolor", "axes.facecolor"], "black")
    with rc_context(dark | dict.fromkeys(["text.color", "xtick.color", "ytick.color"], "white")):
        figure = draw()
    assert isinstance(figure, Figure)
    assert figure.get_figwidth() == 6
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert figure.axes[0].get_facecolor() == (1, 1, 1, 1) or not figure.axes[0].axison
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = figure.get_tightbbox(canvas.get_renderer())
    assert min(drawn.x0, drawn.y0) >= -0.01
    assert drawn.x1 <= 6.01
    assert drawn.y1 <= figure.get_figheight() + 0.01


def test_the_library_imports_without_figures_and_figures_without_pyplot():
    program = """
import sys, ppl_disentangle
assert not any(name.startswith("matplotlib") for name in sys.modules)
import ppl_disentangle.plots, ppl_disentangle.runs.report
assert "matplotlib.figure" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_terms_have_a_panel_each_after_that_of_the_loss():
    figure = plot_terms(history(*TERMS, held_out=True))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "loss",
        "negative log likelihood",
        "mutual information",
        "total correlation",
        "dimension-wise KL",
        "negative ELBO",
    ]


def test_terms_are_drawn_as_costs_and_the_loss_as_it_is():
    data = history("log_likelihood", "kl")
    loss, likelihood, kl = (lines(axes)["every step"] for axes in plot_terms(data).axes)
    np.testing.assert_array_equal(loss, data["loss"])
    np.testing.assert_array_equal(likelihood, -data["log_likelihood"])
    np.testing.assert_array_equal(kl, -data["kl"])


def test_the_dark_line_is_the_median_of_a_hundredth_of_the_steps_on_either_side():
    data = history(steps=700)
    axes = plot_terms(data).axes[0]
    dark = axes.get_lines()[1]
    assert len(dark.get_xdata()) == 400
    steps, losses = data["step"].values.tolist(), data["loss"].values.tolist()
    for step, value in zip(dark.get_xdata(), dark.get_ydata(), strict=True):
        near = [loss for s, loss in zip(steps, losses, strict=True) if abs(s - step) <= 7]
        assert value == pytest.approx(np.median(near))


def test_held_out_data_are_dots_in_the_panels_of_their_terms_as_costs():
    data = history("log_likelihood", "kl", held_out=True)
    loss, likelihood, kl, elbo = plot_terms(data).axes
    assert "held out" not in lines(loss)
    np.testing.assert_array_equal(lines(likelihood)["held out"], -data["held_out_log_likelihood"])
    np.testing.assert_array_equal(lines(kl)["held out"], data["held_out_kl"])
    np.testing.assert_array_equal(lines(elbo)["held out"], -data["held_out_elbo"])


def test_the_start_of_training_does_not_flatten_the_rest():
    data = history(steps=1000)
    data["loss"][:40] = 1e6
    low, high = plot_terms(data).axes[0].get_ylim()
    assert low < 0.02
    assert 0.98 < high < 1.5


def test_traversals_draw_every_image_in_its_place():
    data = traversals(5, 1, 8, 6)
    drawn = tiles(plot_traversals(data))
    assert set(drawn) == {(row, column) for row in range(2) for column in range(5)}
    for (row, column), image in drawn.items():
        np.testing.assert_array_equal(image, data[row, column, 0])


def test_traversals_in_colour_put_channels_last_whatever_the_order_of_dims():
    data = traversals(5, 3, 8, 6)
    drawn = tiles(plot_traversals(data.transpose("row", "position", "code", "column", "channel")))
    np.testing.assert_array_equal(drawn[1, 4], np.moveaxis(data.values[1, 4], 0, -1))


@pytest.mark.parametrize("channels", [1, 3])
def test_values_beyond_the_unit_interval_are_drawn_as_its_ends(channels):
    data = traversals(2, channels, 4, 4) * 4 - 2
    assert {(image.min(), image.max()) for image in tiles(plot_traversals(data)).values()} == {
        (0, 1)
    }


def test_traversals_name_codes_values_and_notes():
    written = texts(plot_traversals(traversals(3, 1, 4, 4), notes={"z[1]": "KL 3.1 nats"}))
    assert sorted(written) == sorted(["z[0]", "z[1]", "KL 3.1 nats", "−2.5", "0", "2.5"])


def test_values_that_differ_from_code_to_code_are_written_at_each():
    written = texts(plot_traversals(traversals(3, 1, 4, 4, same=False)))
    assert sorted(written) == sorted(["z[0]", "z[1]", "−2.5", "0", "2.5", "−5", "0", "5"])


def test_labels_stay_apart_when_tiles_are_small():
    data = traversals(40, 1, 4, 4)
    figure = plot_traversals(data, notes={"z[0]": "first", "z[1]": "second"})
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = {t.get_text(): t.get_window_extent() for t in figure.axes[0].texts}
    assert boxes["first"].y0 > boxes["z[1]"].y1


def test_values_stay_apart_when_tiles_are_small():
    figure = plot_traversals(traversals(40, 1, 4, 4))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [
        t.get_window_extent() for t in figure.axes[0].texts if not t.get_text().startswith("z")
    ]
    assert len(boxes) >= 10
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_a_note_for_no_code_is_refused():
    with pytest.raises(
        KeyError, match=r"no code named 'w'; the traversals are of \['z\[0\]', 'z\[1\]'\]"
    ):
        plot_traversals(traversals(3, 1, 4, 4), notes={"w": "wind"})


def test_images_of_two_channels_are_refused():
    with pytest.raises(ValueError, match="expected images with 1 or 3 channels, got 2"):
        plot_traversals(traversals(3, 2, 4, 4))


def test_traversals_of_neither_images_nor_features_are_refused():
    with pytest.raises(
        ValueError, match=r"expected the dims \('channel', 'row', 'column'\), or one or two, after"
    ):
        plot_traversals(traversals(3, 4, 4, 4, dims=("code", "position", "a", "b", "c")))


def test_traversals_of_features_are_lines_a_panel_a_code():
    data = traversals(5, 6, dims=("code", "position", "x_dim_0"))
    figure = plot_traversals(data, notes={"z[1]": "KL 3.1 nats"})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["z[0]", "z[1] · KL 3.1 nats"]
    drawn = [[line.get_ydata() for line in axes.get_lines()] for axes in figure.axes]
    np.testing.assert_array_equal(drawn, data)


@pytest.mark.parametrize("as_given", [np.asarray, torch.from_numpy, torch.nn.Parameter])
def test_reconstructions_stand_under_their_originals_in_rows_of_one_length(as_given):
    x, other = (
        torch.rand(11, 1, 4, 4, generator=torch.Generator().manual_seed(i)).numpy()
        for i in range(2)
    )
    given = [
        as_given(torch.from_numpy(a) if as_given is torch.nn.Parameter else a) for a in (x, other)
    ]
    figure = plot_reconstructions(*given)
    expected = [(x[:6], 0), (other[:6], 1), (x[6:], 2), (other[6:], 3)]
    drawn = tiles(figure)
    assert len(drawn) == 22
    for images, row in expected:
        for column, image in enumerate(images):
            np.testing.assert_array_equal(drawn[row, column], image[0])
    assert texts(figure) == ["original", "reconstruction"] * 2


def test_ten_reconstructions_fit_in_one_row():
    assert set(tiles(plot_reconstructions(uniform(10, 1, 4, 4), uniform(10, 1, 4, 4)))) == {
        (row, column) for row in range(2) for column in range(10)
    }


def test_reconstructions_of_features_are_two_lines_a_datum():
    x, other = uniform(4, 6), uniform(4, 6, seed=1)
    figure = plot_reconstructions(x, other)
    for axes, first, second in zip(figure.axes, x, other, strict=True):
        np.testing.assert_allclose(lines(axes)["original"], first, rtol=1e-6)
        np.testing.assert_allclose(lines(axes)["reconstruction"], second, rtol=1e-6)


@pytest.mark.parametrize(
    "shapes",
    [((2, 1, 4, 4), (3, 1, 4, 4)), ((2, 1, 1, 4, 4), (2, 1, 1, 4, 4)), ((0, 1, 4, 4),) * 2],
)
def test_shapes_that_do_not_fit_are_refused_with_both_of_them(shapes):
    with pytest.raises(ValueError, match=re.escape(f"got {shapes[0]} and {shapes[1]}")):
        plot_reconstructions(*(uniform(*shape) for shape in shapes))


def test_the_factor_map_writes_every_number_and_marks_the_best_of_each_factor():
    matrix = factor_map(factors=("shape", "scale", "x"))
    figure = plot_factor_map(matrix.transpose("factor", "code"))
    cells = {t.get_position(): t for t in figure.axes[0].texts}
    assert len(cells) == matrix.size
    for (x, y), text in cells.items():
        column = matrix.isel(factor=int(x))
        assert text.get_text() == f"{column[int(y)].item():.2f}"
        assert (text.get_fontweight() == "bold") == (np.argmax(column.values) == int(y))
    assert set(texts(figure)) >= {"z[0]", "z[1]", "z[2]", "shape", "scale", "x"}


def test_the_factor_map_shows_numbers_in_their_cells():
    matrix = factor_map()
    figure = plot_factor_map(matrix)
    (mesh,) = figure.axes[0].collections
    np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(matrix.shape), matrix)
    assert mesh.get_clim() == (0, 1)
    assert figure.axes[0].yaxis_inverted()


def test_no_code_is_the_best_for_a_factor_that_none_knows():
    figure = plot_factor_map(factor_map() * 0)
    assert {t.get_fontweight() for t in figure.axes[0].texts} == {"normal"}


def test_the_intervention_sheet_shows_the_mean_difference_over_channels_about_zero():
    before, after = uniform(3, 3, 4, 4), uniform(3, 3, 4, 4, seed=1)
    figure = plot_intervention(before, after, title="do(sun = 2)")
    drawn = tiles(figure)
    for column in range(3):
        np.testing.assert_allclose(drawn[0, column], np.moveaxis(before[column], 0, -1), rtol=1e-6)
        np.testing.assert_allclose(drawn[1, column], np.moveaxis(after[column], 0, -1), rtol=1e-6)
        np.testing.assert_allclose(drawn[2, column], (after - before)[column].mean(0), atol=1e-6)
    low, high = figure.axes[0].get_images()[-1].get_clim()
    assert high == -low == pytest.approx(np.abs((after - before).mean(1)).max())
    assert {"do(sun = 2)", "before", "after", "difference"} <= set(texts(figure))


def test_the_sheet_of_a_counterfactual_has_the_units_above_and_the_truth_beneath():
    before, after, observed, truth = (uniform(3, 3, 4, 4, seed=seed) for seed in range(4))
    drawn = tiles(
        plot_intervention(before, after, title="do(sun = 2)", observed=observed, truth=truth)
    )
    for row, images in enumerate((observed, before, after, truth)):
        for column in range(3):
            np.testing.assert_allclose(
                drawn[row, column], np.moveaxis(images[column], 0, -1), rtol=1e-6
            )
    np.testing.assert_allclose(drawn[4, 1], (after - before)[1].mean(0), atol=1e-6)


def arrows(figure):
    """The edges of a graph by the boxes that they join."""
    names = {tuple(text.get_position()): text.get_text() for text in figure.axes[0].texts}
    return {
        tuple(names[p] for p in a._posA_posB): a
        for a in figure.axes[0].patches
        if isinstance(a, FancyArrowPatch)
    }


def test_the_graph_has_every_edge_and_causes_above_their_effects():
    dag = random_dag(10, expected_degree=3, seed=1)
    figure = plot_dag(dag)
    assert set(arrows(figure)) == set(dag.edges)
    height = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    assert all(height[cause] > height[effect] for cause, effect in dag.edges)


def test_the_boxes_of_the_graph_do_not_overlap_and_hold_their_names():
    figure = plot_dag(random_dag(14, expected_degree=2, seed=3))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [p.get_window_extent() for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]
    assert len(boxes) == 14
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    for text in figure.axes[0].texts:
        inside = text.get_window_extent()
        assert any(
            b.x0 < inside.x0 and inside.x1 < b.x1 and b.y0 < inside.y0 and inside.y1 < b.y1
            for b in boxes
        )


#  age -> dose -> health -> mood
#   `------------^
def test_an_intervention_cuts_the_edges_into_its_node_and_colours_what_follows():
    figure = plot_dag("age -> dose -> health -> mood; age -> health", intervened=["dose"])
    cut = {edge for edge, arrow in arrows(figure).items() if arrow.get_linestyle() != "-"}
    assert cut == {("age", "dose")}
    blue = {edge for edge, arrow in arrows(figure).items() if to_hex(arrow.get_edgecolor()) == BLUE}
    assert blue == {("dose", "health"), ("health", "mood")}


def test_an_intervention_on_no_node_is_refused_with_the_nodes_there_are():
    with pytest.raises(KeyError, match=r"no node named 'sun'; the graph has \['angle', 'light'\]"):
        plot_dag("angle -> light", intervened=["sun"])
