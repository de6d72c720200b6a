"""Everything that is promised of any Pyro pair, on pairs as people write them.

Each check compares with stock Pyro: its bounds, its handlers and the distributions in its traces.
"""

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.distributions.util import scale_and_mask
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO, config_enumerate
from pyro.infer.autoguide import AutoGuide
from pyro.infer.autoguide.effect import AutoMessenger
from torch import nn
from torch.distributions import kl_divergence

from ppl_disentangle import (
    as_story,
    counterfactual,
    do,
    encode,
    reconstruct,
    to_arviz,
    to_datatree,
    traverse,
)
from ppl_disentangle.data import from_arrays, with_conditions
from ppl_disentangle.inference import (
    DIPELBO,
    HFELBO,
    TCELBO,
    BetaELBO,
    CapacityELBO,
    ConstrainedELBO,
    ControlELBO,
    EnumeratedELBO,
    FactorELBO,
    HausdorffELBO,
    InfoELBO,
    JointELBO,
    SparsityELBO,
    elbo_per_datum,
    fit,
    log_marginal,
)
from tests.programs import NUM, PROGRAMS

SEED = 3
OBJECTIVES = [
    lambda dim: BetaELBO(2.0, num_data=NUM),
    lambda dim: CapacityELBO(10.0, 5.0, num_data=NUM),
    lambda dim: TCELBO(beta=2.0, num_data=NUM),
    lambda dim: HFELBO(num_data=NUM),
    lambda dim: InfoELBO(num_data=NUM),
    lambda dim: DIPELBO(num_data=NUM),
    lambda dim: DIPELBO(variant="II", num_data=NUM),
    lambda dim: HausdorffELBO(num_data=NUM),
    lambda dim: SparsityELBO(l1=1.0, num_data=NUM),
    lambda dim: ConstrainedELBO(kl=1.0, num_data=NUM),
    lambda dim: ControlELBO(kl=5.0, num_data=NUM),
    lambda dim: JointELBO(num_data=NUM),
    lambda dim: EnumeratedELBO(num_data=NUM),
    lambda dim: FactorELBO(dim, num_data=NUM),
]


@pytest.fixture(autouse=True)
def fresh_store():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


# -- what stock Pyro says ---------------------------------------------------------------------------


def stock_losses(program, seed=SEED):
    """The loss of stock Pyro with this seed: with sampled divergences, and in closed form."""
    if program.enumerated:  # TraceMeanField_ELBO refuses classes
        return [closed_form_loss(program, seed)]
    bounds = [Trace_ELBO(), TraceMeanField_ELBO()]
    return [stock_loss(program, bound, program.guide, seed) for bound in bounds]


def closed_form_loss(program, seed):
    """The loss at one draw of all latents, with the divergences of their distributions."""
    arguments = {"x": program.x, **program.conditions}
    torch.manual_seed(seed)
    guide = poutine.trace(program.guide).get_trace(**arguments)
    model = poutine.trace(poutine.replay(program.model, guide)).get_trace(**arguments)
    model.compute_log_prob()
    loss = 0.0
    for name, node in model.nodes.items():
        if node["type"] != "sample" or name == "data":
            continue
        if node["is_observed"]:
            loss -= node["log_prob_sum"].item()
        else:
            divergence = kl_divergence(guide.nodes[name]["fn"], node["fn"])
            loss += scale_and_mask(divergence, node["scale"], node["mask"]).sum().item()
    return loss


def stock_loss(program, bound, guide, seed=SEED):
    torch.manual_seed(seed)
    return bound.loss(program.model, guide, program.x, **program.conditions)


def enumerated_loss(program, seed=SEED):
    """The loss of stock Pyro with the classes summed out."""
    bound = TraceEnum_ELBO(max_plate_nesting=program.nesting)
    return stock_loss(program, bound, config_enumerate(program.guide), seed)


def expected_losses(program, seed=SEED):
    return [enumerated_loss(program, seed)] if program.enumerated else stock_losses(program, seed)


def is_one_of(value, expected, rel=1e-4):
    return any(value == pytest.approx(number, rel=rel, abs=1e-3) for number in expected)


def posterior_values(program):
    """The value of each latent at which stock Pyro's guide is centred: its mean, mode or median."""
    if program.centres is not None:
        return program.centres()
    if isinstance(program.guide, AutoGuide | AutoMessenger):
        return program.guide.median(program.x, **program.conditions)
    trace = poutine.trace(program.guide).get_trace(program.x, **program.conditions)
    values = {}
    for name, node in trace.nodes.items():
        fn = node.get("fn")
        is_draw = node["type"] == "sample" and isinstance(fn, TorchDistributionMixin)
        if not is_draw or node["is_observed"] or node["infer"].get("is_auxiliary"):
            continue
        values[name] = fn.mode if fn.support.is_discrete else fn.mean
    return values


def codes_of(program):
    """The code of each latent of the data: its mean, or the probabilities of its classes."""
    values = {
        name: value.detach()
        for name, value in posterior_values(program).items()
        if len(value) == NUM  # a latent that all data share is no code
    }
    if program.enumerated:
        trace = poutine.trace(program.guide).get_trace(program.x, **program.conditions)
        for name in values:
            fn = trace.nodes[name]["fn"]
            values[name] = fn.probs if fn.support.is_discrete else fn.mean
    return values


def posterior_dim(program, story):
    """Number of coordinates of the latents of one datum."""
    values = posterior_values(program)
    return sum(values[name].numel() // NUM for name in story.latents if name in values) or 1


def means(program, values):
    """The mean of x with these latents, from the distributions in stock Pyro's trace."""
    model = poutine.condition(program.model, data=values)
    trace = poutine.trace(model).get_trace(program.x, **program.conditions)
    sites = (program.observed,) if isinstance(program.observed, str) else program.observed
    columns = [trace.nodes[name]["fn"].mean for name in sites]
    return torch.cat(columns, -1).detach() if len(sites) > 1 else columns[0].detach()


def changed(program, values):
    """The latents after the program's action."""
    site, _, coordinate = program.action.partition("[")
    value = values[site].clone()
    if coordinate:
        value[..., int(coordinate[:-1])] = program.value
    else:
        value = torch.full_like(value, program.value)
    return values | {site: value}


# -- the checks -------------------------------------------------------------------------------------


def check_loss(program, story, data):
    compare_losses(program, story)


def check_loss_of_the_bare_pair(program, story, data):
    compare_losses(program, program)


def compare_losses(program, pair):
    objective = EnumeratedELBO(num_data=NUM) if program.enumerated else BetaELBO(1.0, num_data=NUM)

    def loss(seed):
        torch.manual_seed(seed)
        return objective.loss(pair.model, pair.guide, program.x, **program.conditions)

    if not (program.enumerated and len(program.latents) > 1):
        assert is_one_of(loss(SEED), expected_losses(program))
        return
    # A continuous latent is drawn anew for each class: the two bounds are equal on average.
    ours = torch.tensor([loss(seed) for seed in range(40)])
    stock = torch.tensor([enumerated_loss(program, seed) for seed in range(40)])
    standard_error = (ours.var() / 40 + stock.var() / 40).sqrt()
    assert (ours.mean() - stock.mean()).abs() < 4 * standard_error


def check_elbo_of_each_datum(program, story, data):
    if any(isinstance(module, nn.Dropout) for module in story.modules()):
        story.eval()
    value = elbo_per_datum(story, data, seed=SEED)["elbo"]
    assert value.sizes == {"data": NUM}
    assert is_one_of(-float(value.sum()), stock_losses(program))


def check_log_marginal(program, story, data):
    if any(isinstance(module, nn.Dropout) for module in story.modules()):
        story.eval()
    value = log_marginal(story, data, seed=SEED, num_samples=1)["log_marginal"]
    torch.manual_seed(SEED)
    stock = Trace_ELBO().loss(program.model, program.guide, program.x, **program.conditions)
    assert -float(value.sum()) == pytest.approx(stock, rel=1e-4, abs=1e-3)


def check_encode(program, story, data):
    story.eval()
    codes = encode(story, data)["mean"]
    values = codes_of(program)
    columns = [values[name].reshape(NUM, -1) for name in story.latents if name in values]
    assert codes.dims == ("data", "code")
    expected = torch.cat(columns, -1).numpy()
    np.testing.assert_allclose(codes.values, expected, atol=program.tolerance)


def check_reconstruct(program, story, data):
    story.eval()
    images = reconstruct(story, program.x, **program.conditions)
    assert images.shape == program.x.shape
    expected = means(program, posterior_values(program)).reshape(images.shape)
    np.testing.assert_allclose(images, expected, atol=3 * program.tolerance)


def check_do(program, story, data):
    story.eval()
    intervened = do(story, {program.action: program.value})
    images = reconstruct(intervened, program.x, **program.conditions)
    expected = means(program, changed(program, posterior_values(program))).reshape(images.shape)
    np.testing.assert_allclose(images, expected, atol=3 * program.tolerance)


def check_traverse(program, story, data):
    story.eval()
    first = {name: value[:1] for name, value in program.conditions.items()}
    images = traverse(story, program.x[:1], {program.action: [0.0, program.value]}, **first)
    expected = means(program, changed(program, posterior_values(program)))[0]
    assert images.dims[:2] == ("code", "position")
    expected = expected.reshape(images.shape[2:])
    np.testing.assert_allclose(images[0, 1], expected, atol=3 * program.tolerance)


def check_counterfactual(program, story, data):
    story.eval()
    worlds = [{}, {program.action: program.value}]
    result = counterfactual(story, program.x, worlds, num_samples=None, **program.conditions)
    names = (program.observed,) if isinstance(program.observed, str) else program.observed
    in_worlds = [torch.tensor(result[name].isel(draw=0).values) for name in names]
    observed = torch.cat(in_worlds, -1) if len(names) > 1 else in_worlds[0]
    factual, other = observed.reshape(2, *program.x.shape)
    before = means(program, posterior_values(program)).reshape(program.x.shape)
    values = posterior_values(program)
    values_after = changed(program, values)
    for name in program.followers:
        values_after[name] = values[name] + program.value - values[program.action]
    after = means(program, values_after).reshape(program.x.shape)
    if result[names[0]].attrs["noise"] == "mean":
        expected_factual, expected = before, after
    else:
        expected_factual, expected = program.x, program.x + after - before
    seen = ~factual.isnan()
    assert seen.float().mean() > 0.5
    tolerance = 3 * program.tolerance
    assert torch.allclose(factual[seen], expected_factual[seen], atol=tolerance)
    if program.noise == "classes":
        assert torch.equal(other.sum(-1), torch.ones(NUM))
        assert set(other.flatten().tolist()) == {0.0, 1.0}
    else:
        assert torch.allclose(other[seen], expected[seen], atol=tolerance)


def check_part_of_the_data(program, story, data):
    story.eval()
    worlds = [{}, {program.action: program.value}]
    first = {name: value[:2] for name, value in program.conditions.items()}
    every = counterfactual(story, program.x, worlds, num_samples=None, **program.conditions)
    few = counterfactual(story, program.x[:2], worlds, num_samples=None, **first)
    if program.noise == "classes":  # the noise of a class is drawn anew
        few, every = few.isel(world=[0]), every.isel(world=[0])
    for name in few.data_vars:
        if "data" in few[name].dims:
            expected = every[name].isel(data=slice(2)).values
            np.testing.assert_allclose(few[name], expected, atol=10 * program.tolerance)


def check_tree(program, story, data, tmp_path):
    story.eval()
    tree = to_datatree(story, data, draws=3, num_data=NUM, predictive="draws")
    for name in story.latents:
        assert {"chain", "draw"} <= set(tree["posterior"][name].dims)
        assert "data" not in tree["prior"][name].dims
    names = (program.observed,) if isinstance(program.observed, str) else program.observed
    order = np.argsort(tree["observed_data"]["data"].values)
    columns = [tree["observed_data"][name].values[order].reshape(NUM, -1) for name in names]
    np.testing.assert_array_equal(np.concatenate(columns, -1), program.x.reshape(NUM, -1))
    assert tree["posterior_predictive"][names[0]].sizes["data"] == NUM
    assert tree["posterior_predictive"].sizes["draw"] == 3
    tree.to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
    assert set(story.latents) <= set(to_arviz(tree)["posterior"].data_vars)


def check_fit(program, story, data):
    if not list(story.parameters()):
        with pytest.raises(ValueError, match="parameter"):
            fit(story, data, steps=1, batch_size=NUM, progress=False)
        return
    losses = np.array([expected_losses(program, seed=seed)[0] for seed in range(40)])
    history = fit(
        story,
        data,
        steps=4,
        batch_size=NUM,
        lr=1e-6,
        objective=EnumeratedELBO(num_data=NUM) if program.enumerated else BetaELBO(1.0),
        progress=False,
    )
    spread = 5 * losses.std() + 1e-3 * abs(losses.mean()) + 1e-3
    assert abs(float(history["loss"].mean()) * NUM - losses.mean()) < spread


OF_ACTIONS = ("do", "traverse", "counterfactual", "part_of_the_data")
CHECKS = {
    name.removeprefix("check_"): check
    for name, check in globals().items()
    if name.startswith("check_")
}
"""The checks by name."""


def built(function):
    """A program, its story and its data set."""
    program = function()
    story = as_story(program.model, program.guide, example=program.x, **program.conditions)
    data = from_arrays(program.x)
    if program.conditions:
        data = with_conditions(data, **program.conditions)
    return program, story, data


@pytest.mark.parametrize("check", CHECKS, ids=str)
@pytest.mark.parametrize("function", PROGRAMS, ids=lambda function: function.__name__)
def test_a_promise_holds_or_is_refused_by_name(function, check, tmp_path):
    program, story, data = built(function)
    if program.action is None and check in OF_ACTIONS:
        pytest.skip("no latent of this pair can be set")
    arguments = (tmp_path,) if check == "tree" else ()
    if check not in program.refused:
        CHECKS[check](program, story, data, *arguments)
        return
    with pytest.raises((ValueError, TypeError), match=program.refused[check]):
        CHECKS[check](program, story, data, *arguments)


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda function: function.__name__)
def test_every_objective_is_right_or_refused_by_name(function):
    program, story, _ = built(function)
    refusals = []
    stock = expected_losses(program)
    dim = posterior_dim(program, story)
    for make in OBJECTIVES:
        objective = make(dim)
        torch.manual_seed(SEED)
        try:
            loss = objective(story.model, story.guide)(program.x, **program.conditions)
        except ValueError as error:
            refusals.append(str(error))
            continue
        assert torch.isfinite(loss), objective
        outside = {*objective.penalties, *objective.critics}
        bound = sum(v for name, v in objective.last_terms.items() if name not in outside)
        if program.enumerated and len(program.latents) > 1:
            continue  # compared on average by check_loss
        assert is_one_of(-float(bound), stock, rel=1e-3), objective
    names = [*story.latents, "plate", "num_data"]
    unnamed = [text for text in refusals if not any(name in text for name in names)]
    assert not unnamed
    assert len(refusals) < len(OBJECTIVES)
