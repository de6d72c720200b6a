"""Stories that learn their graph: densities against closed forms, and known graphs recovered."""

import math

import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from ppl_disentangle import do
from ppl_disentangle.causal.learned_adjacency import learned_dag
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.data import EquationSCM, LinearSCM, from_arrays, with_conditions
from ppl_disentangle.inference import CausalVAEELBO, NonFiniteError, fit
from ppl_disentangle.metrics.graphs import shd
from ppl_disentangle.models import (
    CausalVAE,
    CausalVAEPaper,
    GraphVAE,
    LinearGraphStory,
    NonlinearGraphStory,
)
from ppl_disentangle.models.graph_learning import GaussianEquations

DOUBLE = {"dtype": torch.float64}
#  a -> b -> d
#  a -> c -> d
WEIGHTS = {("a", "b"): 1.2, ("b", "d"): -1.0, ("a", "c"): -1.5, ("c", "d"): 0.8}
DIAMOND = "a -> b -> d; a -> c -> d"


def linear_equations():
    """Equations x = xA + b + noise of the diamond, and the distribution of x."""
    matrix = torch.zeros(4, 4, **DOUBLE)
    for (cause, effect), weight in WEIGHTS.items():
        matrix["abcd".index(cause), "abcd".index(effect)] = weight
    offset, scale = (
        torch.tensor([0.5, -1.0, 0.0, 2.0], **DOUBLE),
        torch.tensor([1.0, 0.5, 2.0, 0.3], **DOUBLE),
    )
    total = torch.linalg.inv(torch.eye(4, **DOUBLE) - matrix)
    normal = dist.MultivariateNormal(offset @ total, total.T @ scale.square().diag() @ total)
    return GaussianEquations(lambda x: x @ matrix + offset, scale), normal


def test_the_density_of_linear_equations_is_that_of_the_normal():
    equations, normal = linear_equations()
    x = 3 * torch.randn(2, 50, 4, **DOUBLE)
    torch.testing.assert_close(equations.log_prob(x), normal.log_prob(x))


def test_draws_follow_the_equations():
    equations, normal = linear_equations()
    draws = equations.sample((40_000,))
    assert ((draws.mean(0) - normal.mean).abs() < 4 * normal.stddev / 200).all()
    products = (draws - normal.mean)[:, :, None] * (draws - normal.mean)[:, None, :]
    assert ((products.mean(0) - normal.covariance_matrix).abs() < 4 * products.std(0) / 200).all()


def test_equations_expand_to_a_batch_and_pass_gradients():
    equations, normal = linear_equations()
    batch = equations.expand((5,))
    assert (batch.batch_shape, batch.event_shape) == ((5,), (4,))
    draw = batch.rsample((3,))
    assert draw.shape == (3, 5, 4)
    torch.testing.assert_close(batch.log_prob(draw), normal.log_prob(draw))
    slope = torch.ones((), **DOUBLE, requires_grad=True)
    GaussianEquations(
        lambda x: slope * x @ torch.ones(2, 2, **DOUBLE).triu(1), torch.ones(2, **DOUBLE)
    ).rsample().sum().backward()
    assert slope.grad != 0


def test_nonlinear_draws_solve_their_equations_in_turn():
    torch.manual_seed(0)
    story = NonlinearGraphStory(
        list("abcd"), forbidden=[(b, a) for a in "abcd" for b in "abcd" if a < b]
    )
    with torch.no_grad():
        story.adjacency.weight.mul_(20)
        x = story.model(batch_size=6)
        noise = x - story.predict(x)
        again = torch.zeros_like(x)
        for i in range(4):
            again[:, i] = story.predict(again)[:, i] + noise[:, i]
    torch.testing.assert_close(again, x, rtol=1e-4, atol=1e-4)


def test_a_nonlinear_equation_is_its_network_and_no_steeper_than_the_weight_of_its_edge():
    torch.manual_seed(0)
    story, x = (
        NonlinearGraphStory(list("abc"), hidden=4, forbidden=[("a", "c")]),
        3 * torch.randn(200, 3),
    )
    with torch.no_grad():
        story.adjacency.weight.mul_(5)
    weights, bias, signs = story.adjacency.weights(), story.bias, [1, -1, 1, -1]
    for i in range(3):
        expected = sum(
            signs[k]
            / 2
            * torch.relu(bias[k, i] + sum(weights[k, j, i] * x[0, j] for j in range(3)))
            for k in range(4)
        )
        assert story.predict(x)[0, i].item() == pytest.approx(expected.item(), abs=1e-5)
    slopes = (
        torch.stack([torch.autograd.functional.jacobian(story.predict, row).T for row in x])
        .abs()
        .amax(0)
    )
    assert (slopes <= story.adjacency.matrix() + 1e-6).all()
    assert torch.equal(slopes > 0, story.adjacency.allowed > 0)


def test_the_likelihood_of_a_story_is_that_of_its_equations():
    story, x = LinearGraphStory(list("abc"), equal_scales=False), torch.randn(7, 3)
    with torch.no_grad():
        story.adjacency.weight.copy_(torch.randn(3, 3).triu(1))
        story.intercept.copy_(torch.randn(3))
        story.log_scale.copy_(torch.randn(3))
    expected = sum(
        dist.Normal(
            story.intercept[i] + sum(story.adjacency.weight[j, i] * x[:, j] for j in range(i)),
            story.log_scale[i].exp(),
        ).log_prob(x[:, i])
        for i in range(3)
    )
    with torch.no_grad():
        site = poutine.trace(story.model).get_trace(x).nodes["x"]
        torch.testing.assert_close(site["fn"].log_prob(x), expected)


def diamond(num=1000, **options):
    return LinearSCM(DIAMOND, num_data=num, weights=WEIGHTS, **options)


def train(story, x, steps=1000, **options):
    fit(
        story,
        from_arrays(x - x.mean(0)),
        steps=steps,
        batch_size=250,
        lr=0.02,
        progress=False,
        **options,
    )
    return story


def test_linear_equations_are_found_again_and_their_weights_once_the_graph_is_known():
    scm = diamond()
    torch.manual_seed(0)
    story = train(LinearGraphStory(list(scm.names)), scm.values.float(), steps=2500)
    dag = learned_dag(story)
    assert set(dag.edges) == set(WEIGHTS)
    story.adjacency.restrict(dag)
    train(story, scm.values.float(), steps=300)
    for (cause, effect), weight in WEIGHTS.items():
        assert learned_dag(story).edges[cause, effect]["weight"] == pytest.approx(weight, abs=0.1)
    assert story.log_scale.exp().item() == pytest.approx(1.0, abs=0.1)


def test_a_nonlinear_equation_is_found_again_where_a_linear_one_is_not():
    # a -> b <- c, of which b has no linear part
    equations = {"b": lambda e, a, c: 2 * a.abs() + 2 * c.abs() + e}
    scm = EquationSCM("a -> b; c -> b", equations, num_data=1000)
    found = {}
    for kind in (NonlinearGraphStory, LinearGraphStory):
        torch.manual_seed(0)
        found[kind] = learned_dag(train(kind(list(scm.names)), scm.values.float()))
    assert shd(found[NonlinearGraphStory], scm.dag) == 0
    assert not found[LinearGraphStory].edges


@pytest.mark.parametrize("direction", [("a", "b"), ("b", "a")])
def test_a_known_edge_decides_a_direction_that_data_leave_open(direction):
    # of a linear edge with normal noise of any scale, the direction is not in the data
    cause = torch.randn(1000)
    x = torch.stack([cause, cause + torch.randn(1000)], -1)
    story = LinearGraphStory(["a", "b"], required=[direction], equal_scales=False)
    assert set(learned_dag(train(story, x, steps=300)).edges) == {direction}
    story = LinearGraphStory(["a", "b"], forbidden=[direction], equal_scales=False)
    assert set(learned_dag(train(story, x, steps=300)).edges) == {direction[::-1]}


# Graphs of latents


def seen(scm):
    """Observations of all units, and their labels."""
    return scm.observations(torch.arange(len(scm))).float(), scm.values.float()


def networks(dim=4, features=16):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(features, 64), nn.Tanh(), nn.Linear(64, 2 * dim))
    decoder = nn.Sequential(nn.Linear(dim, 64), nn.Tanh(), nn.Linear(64, features))
    return Gaussian(encoder), GaussianLearnedScale(decoder, scale=0.3)


def with_some(labels, share):
    """Labels of a share of the data."""
    return labels.where(torch.arange(len(labels))[:, None] % round(1 / share) == 0, math.nan)


@pytest.mark.parametrize(
    ("equations", "share"),
    [(lambda names: LinearGraphStory(names, rho=1.0), 1.0), (NonlinearGraphStory, 0.2)],
)
def test_a_graph_of_latents_is_learned_from_observations_and_labels(equations, share):
    scm = diamond(2000, observation_shape=(16,))
    x, labels = seen(scm)
    encoder, decoder = networks()
    story = GraphVAE(equations(list(scm.names)), encoder, decoder)
    data = with_conditions(from_arrays(x), labels=with_some(labels, share), columns=scm.names)
    fit(story, data, steps=700, batch_size=64, lr=1e-2, progress=False)
    dag = learned_dag(story)
    assert set(dag.edges) == set(WEIGHTS)
    prior = StructuralPrior(dag)
    program = CausalVAE(prior, *networks())
    assert do(program, {"c": 1.0}).model(batch_size=3).shape == (3, 16)
    with pytest.raises(
        ValueError, match=r"do\('z'\): the graph is still to be learned; intervene on CausalVAE"
    ):
        do(story, {"c": 1.0})


def test_the_bound_of_a_learned_graph_is_pyros_and_scores_labels_where_they_are():
    story, x = GraphVAE(LinearGraphStory(list("ab")), *networks(2)), torch.randn(3, 16)
    labels = torch.tensor([[1.0, math.nan], [math.nan, math.nan], [0.5, -1.0]])
    trace = poutine.trace(story.model).get_trace(x, labels=labels)
    z = trace.nodes["z"]["value"]
    expected = sum(
        dist.Normal(z[n, i], 0.1).log_prob(labels[n, i]) for n, i in ((0, 0), (2, 0), (2, 1))
    )
    trace.compute_log_prob()
    scored = sum(trace.nodes[f"{name}_label"]["log_prob_sum"] for name in "ab")
    torch.testing.assert_close(scored, expected)


def test_the_graph_of_the_paper_is_learned_by_its_linear_layer_and_fixed():
    # a -> c <- b. The losses of the two layers leave the scale of A open: both have weight 0.
    scm = LinearSCM(
        "a -> c; b -> c",
        num_data=2000,
        weights={("a", "c"): 1.5, ("b", "c"): -1.2},
        observation_shape=(16,),
    )
    x, labels = seen(scm)
    story = CausalVAEPaper(list(scm.names), *networks(3), dim=1, label_scale=0.3)
    data = with_conditions(from_arrays(x), labels=labels, columns=scm.names)
    objective = CausalVAEELBO(story.adjacency, label_loss=0.0, mask_loss=0.0, sparsity=0.05)
    fit(story, data, steps=1000, batch_size=64, lr=1e-2, objective=objective, progress=False)
    dag = learned_dag(story)
    assert shd(dag, scm.dag) == 0
    with pytest.raises(
        ValueError,
        match=r"do\('a'\): the graph is still to be learned; call fix_graph\(learned_dag\(story\)\)",
    ):
        do(story, {"a": 1.0})
    story.fix_graph(dag)
    assert do(story, {"a": 1.0}).model(batch_size=3).shape == (3, 16)
    assert set(learned_dag(story).edges) == set(scm.dag.edges)


BAD = {
    "an odd number of hidden units": (
        lambda: NonlinearGraphStory(["a"], hidden=3),
        "even number of hidden units, at least 2, got 3",
    ),
    "a cycle of known edges": (
        lambda: LinearGraphStory(["a", "b"], required=[("a", "b"), ("b", "a")]),
        "the graph has a cycle: a -> b -> a",
    ),
    "a label scale of zero": (
        lambda: GraphVAE(LinearGraphStory(["a", "b"]), *networks(2), label_scale=0.0),
        "label_scale > 0, got 0",
    ),
    "labels with other columns": (
        lambda: GraphVAE(LinearGraphStory(["a", "b"]), *networks(2)).model(
            torch.zeros(5, 16), labels=torch.zeros(5, 3)
        ),
        r"expected labels of \['a', 'b'\], \(batch, 2\), got shape \(5, 3\)",
    ),
    "columns without a node": (
        lambda: fit(
            LinearGraphStory(["a", "b"]), from_arrays(torch.zeros(64, 3)), steps=1, progress=False
        ),
        r"expected x of shape \(batch, 2\), columns \['a', 'b'\], got \(64, 3\)",
    ),
}


@pytest.mark.parametrize(("build", "message"), BAD.values(), ids=list(BAD))
def test_bad_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_data_that_are_not_numbers_are_refused():
    x = torch.zeros(5, 2)
    x[3, 1] = math.nan
    with pytest.raises((ValueError, NonFiniteError), match="missing"):
        fit(LinearGraphStory(["a", "b"]), from_arrays(x), steps=1, batch_size=5, progress=False)
