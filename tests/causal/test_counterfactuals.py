"""Counterfactuals: closed forms of linear stories, properties of all stories, and the labelled result."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro import poutine
from torch import nn

from ppl_disentangle import GenerativeStory
from ppl_disentangle.causal.actions import shift
from ppl_disentangle.causal.counterfactuals import counterfactual
from ppl_disentangle.causal.mechanisms import LinearGaussian, LocationScale
from ppl_disentangle.causal.structural import NOISE, StructuralPrior
from ppl_disentangle.conditionals import Bernoulli, Gaussian, GaussianLearnedScale
from ppl_disentangle.models import BetaVAE, CausalVAE, DeepSCM
from ppl_disentangle.sites import site_values

# Linear structural equations v = B v + a + tau * noise. The numbers were computed from B, a and tau by Gaussian
# conditioning, without this library: mean and covariance under do, given the evidence, and the point if all is known.
CHAIN = {
    "B": [[0, 0, 0], [0.8, 0, 0], [0, -1.2, 0]],
    "a": [0.5, 0.0, 1.0],
    "tau": [1.0, 0.5, 0.7],
    "do": (1, 2.0),
    "evidence": {0: 1.0, 2: -0.5},
    "mean": [1.0, 2.0, -1.7112941176470589],
    "cov": [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.20752941176470585]],
    "all": [-0.5, 0.4, 1.851014650557987],
    "all_changed": [-0.5, 2.0, -0.06898534944201318],
}
CONFOUNDED = {
    "B": [[0, 0, 0], [1.5, 0, 0], [-0.7, 0.6, 0]],
    "a": [0, 0.2, -0.1],
    "tau": [1.0, 0.8, 0.3],
    "do": (1, 1.0),
    "evidence": {1: 0.4, 2: 1.1},
    "mean": [-0.7025971762245075, 1.0, 1.46],
    "cov": [[0.10040090639707167, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
    "all": [-1.0, 0.2, 0.6203332407921455],
    "all_changed": [-1.0, 1.0, 1.1003332407921442],
}
DIAMOND = {
    "B": [[0, 0, 0, 0], [0.9, 0, 0, 0], [-0.5, 0, 0, 0], [0, 0.7, 1.1, 0]],
    "a": [0, 0.3, 0, -0.2],
    "tau": [1.0, 0.6, 0.9, 0.4],
    "do": (2, -1.5),
    "evidence": {3: 0.8},
    "mean": [0.04777383022148309, 0.4934840123970065, -1.5, -1.4090135308791292],
    "cov": [
        [0.9951621437750396, 0.8804066822889107, 0.0, 0.606608965152317],
        [0.8804066822889107, 1.0906470632700884, 0.0, 0.7242663088668834],
        [0.0, 0.0, 0.0, 0.0],
        [0.606608965152317, 0.7242663088668835, 0.0, 0.6202043465114523],
    ],
    "all": [-1.0, -0.06055512754639891, 0.3431876713662333, 1.160173899895142],
    "all_changed": [-1.0, -0.060555127546399024, -1.5, -0.8673325386077133],
}
CASES = {"chain": CHAIN, "confounded": CONFOUNDED, "diamond": DIAMOND}


def linear_prior(weights, intercepts, scales):
    """Nodes v0, v1, … with v = B v + a + tau * noise."""
    weights = torch.tensor(weights, dtype=torch.float64)
    edges = [f"v{j} -> v{i}" for i, j in weights.nonzero().tolist()]
    prior = StructuralPrior("; ".join(edges), LinearGaussian).double()
    for i, node in enumerate(prior.names):
        mechanism = prior.mechanisms[node]
        if mechanism.weight is not None:
            mechanism.weight.data = weights[i, [int(p[1:]) for p in prior.parents[node]]][None]
        mechanism.bias.data = torch.tensor([float(intercepts[i])], dtype=torch.float64)
        mechanism.log_scale.data = torch.tensor([float(scales[i])], dtype=torch.float64).log()
    return prior


class LinearStory(GenerativeStory):
    """Linear structural equations some of whose nodes are seen without error, and the exact posterior of the noise."""

    def __init__(self, case):
        super().__init__()
        self.prior = linear_prior(case["B"], case["a"], case["tau"])
        self.latents = tuple(f"{node}{NOISE}" for node in self.prior.names)
        weights, tau = np.array(case["B"], float), np.array(case["tau"], float)
        total = np.linalg.inv(np.eye(len(tau)) - weights)
        self.seen = list(case["evidence"])
        loading = (total * tau)[self.seen]
        gain = loading.T @ np.linalg.inv(loading @ loading.T)
        self.offset, self.gain = torch.tensor((total @ case["a"])[self.seen]), torch.tensor(gain)
        self.covariance = torch.tensor(np.eye(len(tau)) - gain @ loading)

    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            values = self.prior.side_by_side(self.prior())
            return pyro.sample("x", dist.Normal(values[..., self.seen], 0.1).to_event(1), obs=x)

    def guide(self, x):
        mean, drawn = (x - self.offset) @ self.gain.T, []
        with self.data_plate(x):
            for i, name in enumerate(self.latents):
                row = self.covariance[i, :i] @ torch.linalg.pinv(
                    self.covariance[:i, :i], hermitian=True
                )
                loc = mean[..., i] + sum(
                    row[j] * (drawn[j][..., 0] - mean[..., j]) for j in range(i)
                )
                variance = self.covariance[i, i] - row @ self.covariance[:i, i]
                scale = variance.clamp(min=1e-20).sqrt()
                drawn.append(pyro.sample(name, dist.Normal(loc[..., None], scale).to_event(1)))

    def latent_means(self, x):
        mean = (x - self.offset) @ self.gain.T
        return {name: mean[:, [i]] for i, name in enumerate(self.latents)}


def nodes_of(result, case):
    return np.stack([result[f"v{i}"].values for i in range(len(case["a"]))], -1)


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def case(request):
    return request.param


# chain: v0 -> v1 -> v2    confounded: v0 -> v1 -> v2, v0 -> v2    diamond: v0 -> v1 -> v3, v0 -> v2 -> v3
def test_the_counterfactual_mean_of_a_linear_story_is_the_closed_form(case):
    x, (node, value) = (
        torch.tensor([list(case["evidence"].values())], dtype=torch.float64),
        case["do"],
    )
    result = counterfactual(LinearStory(case), x, {f"v{node}": value}, num_samples=None)
    np.testing.assert_allclose(nodes_of(result, case)[0, 0, 0], case["mean"], atol=1e-12)


def test_counterfactual_draws_of_a_linear_story_have_the_closed_forms_covariance(case):
    x, (node, value) = (
        torch.tensor([list(case["evidence"].values())], dtype=torch.float64),
        case["do"],
    )
    draws = nodes_of(
        counterfactual(LinearStory(case), x, {f"v{node}": value}, num_samples=20_000), case
    )[0, :, 0]
    np.testing.assert_allclose(draws.mean(0), case["mean"], atol=0.03)
    np.testing.assert_allclose(np.cov(draws.T, ddof=0), case["cov"], atol=0.04)


def test_with_all_nodes_known_the_counterfactual_is_the_point_of_the_closed_form(case):
    story, (node, value) = LinearStory(case), case["do"]
    x = torch.zeros(1, len(case["evidence"]), dtype=torch.float64)
    evidence = {f"v{i}": torch.tensor([v], dtype=torch.float64) for i, v in enumerate(case["all"])}
    values = nodes_of(
        counterfactual(story, x, {f"v{node}": value}, num_samples=3, evidence=evidence), case
    )
    np.testing.assert_allclose(
        values, np.broadcast_to(case["all_changed"], values.shape), atol=1e-12
    )


NODES, FEATURES, BATCH = ("angle", "light", "length", "position"), 6, 5


def network():
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, FEATURES))


def structural(decoder=None):
    prior = StructuralPrior(
        "angle, light -> length, position", {"length": LocationScale}, dims={"position": 2}
    )
    return CausalVAE(
        prior, Gaussian(nn.Linear(FEATURES, 10)), decoder or GaussianLearnedScale(network())
    )


@pytest.fixture
def story():
    torch.manual_seed(0)
    return structural()


@pytest.fixture
def x():
    return torch.rand(BATCH, FEATURES, generator=torch.Generator().manual_seed(1))


def tensors(result, world):
    """Nodes of one world as the story has them, ``(draw, data, dim)``."""
    values = {name: torch.tensor(result[name].values[world]) for name in NODES}
    return {
        name: value if name == "position" else value[..., None] for name, value in values.items()
    }


# angle   light
#   | \   / |
#   |  \ /  |
#   |  / \  |
#   v v   v v
# length  position
def test_the_factual_world_returns_the_data_bit_by_bit(story, x):
    factual = counterfactual(story, x, [{}, {"light": 1.0}]).sel(world="factual")
    assert np.array_equal(factual["x"].values, np.broadcast_to(x, (20, BATCH, FEATURES)))


def test_setting_a_node_to_its_own_value_changes_nothing_bit_by_bit(story, x):
    factual = counterfactual(story, x, {})
    own = torch.tensor(factual["light"].values[0])[..., None]
    unchanged = counterfactual(
        story, x, [{"light": lambda natural: own}, {"angle": shift(0.0), "light": shift(0.0)}]
    )
    for name in (*NODES, "x"):
        assert np.array_equal(
            unchanged[name].values, np.broadcast_to(factual[name].values, unchanged[name].shape)
        )


def test_what_does_not_descend_from_the_nodes_set_stays_bit_by_bit(story, x):
    result = counterfactual(story, x, [{}, {"light": 1.0}, {"length": 1.0}])
    for name in ("angle", "angle_noise", "light_noise", "length_noise", "position_noise"):
        assert (result[name] == result[name].isel(world=0)).all()
    assert (result["position"].isel(world=2) == result["position"].isel(world=0)).all()
    assert not np.isclose(result["position"].isel(world=1), result["position"].isel(world=0)).any()


def test_it_is_pyro_do_on_the_model_with_the_noise_of_the_guide(story, x):
    result = counterfactual(story, x, {"light": 1.5, "length": -0.5}, noise="mean")
    noise = {f"{n}{NOISE}": torch.tensor(result[f"{n}{NOISE}"].values[0]) for n in NODES}
    noise = {n: e if "position" in n else e[..., None] for n, e in noise.items()}
    conditioned = poutine.condition(story.model, data=noise)
    values = {"light": torch.tensor([1.5]), "length": torch.tensor([-0.5])}
    trace = poutine.trace(pyro.do(conditioned, data=values)).get_trace(batch_size=BATCH)
    assert torch.equal(tensors(result, 0)["position"], site_values(trace)["position"])
    np.testing.assert_allclose(
        result["x"].values[0], trace.nodes["x"]["fn"].mean.detach(), atol=1e-6
    )


def test_draws_of_the_nodes_come_from_the_guide(story, x):
    factual = counterfactual(story, x, {}, num_samples=4000)
    for name, q in story.representation(x).items():
        draws = tensors(factual, 0)[name]
        torch.testing.assert_close(draws.mean(0), q.mean.detach(), rtol=0, atol=0.1)
        torch.testing.assert_close(draws.std(0), q.variance.sqrt().detach(), rtol=0.05, atol=0.02)


def test_the_posterior_means_stand_for_the_units_where_no_draws_are_asked_for(story, x):
    factual = counterfactual(story, x, {}, num_samples=None)
    assert factual.sizes["draw"] == 1
    for name, q in story.representation(x).items():
        torch.testing.assert_close(tensors(factual, 0)[name][0], q.mean.detach(), rtol=0, atol=1e-6)


DECODERS = {
    "one scale": lambda: GaussianLearnedScale(network(), scale=0.3),
    "a scale that depends on the nodes": lambda: Gaussian(
        nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2 * FEATURES)), input_dims=1
    ),
}


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=list(DECODERS))
def test_pixels_keep_the_noise_that_the_unit_had(decoder, x):
    torch.manual_seed(0)
    story = structural(decoder())
    result = counterfactual(story, x, [{}, {"light": 2.0}])
    here, there = (
        story.decoder(story.prior.side_by_side(tensors(result, k))).base_dist for k in (0, 1)
    )
    expected = there.loc + there.scale * (x - here.loc) / here.scale
    np.testing.assert_allclose(result["x"].values[1], expected.detach(), atol=2e-6)
    assert result["x"].attrs["noise"] == result.attrs["noise"] == "abducted"


def test_pixels_without_known_noise_are_means_and_say_so(x):
    torch.manual_seed(0)
    story = structural(Bernoulli(network()))
    result = counterfactual(story, x, [{}, {"light": 2.0}])
    for k in (0, 1):
        mean = story.decoder(story.prior.side_by_side(tensors(result, k))).mean
        np.testing.assert_allclose(result["x"].values[k], mean.detach(), atol=1e-6)
    assert result["x"].attrs["noise"] == result.attrs["noise"] == "mean"


def test_mean_images_can_be_asked_for(story, x):
    result = counterfactual(story, x, [{"light": 2.0}], noise="mean")
    mean = story.decoder(story.prior.side_by_side(tensors(result, 0))).mean
    np.testing.assert_allclose(result["x"].values[0], mean.detach(), atol=1e-6)
    assert result["x"].attrs["noise"] == "mean"


def test_there_and_back_again_is_the_unit(story, x):
    factual = counterfactual(story, x, {}, num_samples=1)
    there = counterfactual(story, x, {"light": 2.0, "length": 0.5}, num_samples=1)
    known = {name: value[0] for name, value in tensors(there, 0).items()}
    home = {name: tensors(factual, 0)[name][0] for name in ("light", "length")}
    back = counterfactual(
        story, torch.tensor(there["x"].values[0, 0]), home, num_samples=1, evidence=known
    )
    for name in (*NODES, "x"):
        np.testing.assert_allclose(back[name].values, factual[name].values, atol=1e-5)
    assert np.abs(there["x"].values - factual["x"].values).max() > 0.1


def test_evidence_takes_the_place_of_the_guides_draws_where_it_is_known(story, x):
    plain = counterfactual(story, x, {})
    light = torch.tensor([0.1, float("nan"), 0.3, 0.4, 0.5])
    result = counterfactual(story, x, {}, evidence={"light": light})
    known = ~light.isnan().numpy()
    np.testing.assert_allclose(
        result["light"].values[0][:, known], np.broadcast_to(light[known], (20, 4)), atol=1e-6
    )
    np.testing.assert_allclose(
        result["light"].values[0][:, ~known], plain["light"].values[0][:, ~known], atol=1e-6
    )
    for name in ("angle", "length", "position"):
        np.testing.assert_allclose(result[name].values, plain[name].values, atol=1e-6)
    assert np.array_equal(result["angle_noise"].values, plain["angle_noise"].values)
    assert not np.isclose(
        result["length_noise"].values[..., known], plain["length_noise"].values[..., known]
    ).any()
    assert result.attrs["evidence"] == "light"


def test_evidence_changes_what_would_have_been(story, x):
    # The child's noise is what is left of its value, hence depends on what its parent was.
    prior = story.prior
    light = torch.linspace(-1, 1, BATCH)
    result = counterfactual(story, x, [{}, {"light": 2.0}], evidence={"light": light})
    factual, changed = tensors(result, 0), tensors(result, 1)
    above = torch.cat([factual["angle"], light[:, None].expand(20, BATCH, 1)], -1)
    noise = prior.mechanisms["length"].abduct(factual["length"], above)
    expected = prior.mechanisms["length"](
        noise, torch.cat([factual["angle"], torch.full_like(above[..., :1], 2)], -1)
    )
    torch.testing.assert_close(changed["length"], expected.detach(), rtol=0, atol=1e-5)


class Hierarchical(GenerativeStory):
    """A latent that is sampled given another: cause -> shape -> x."""

    latents = ("cause", "shape")

    def __init__(self, distribution=dist.Normal):
        super().__init__()
        self.distribution = distribution

    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            cause = pyro.sample("cause", dist.Normal(0.0, 1.0))
            shape = pyro.sample("shape", self.distribution(3 * cause, cause.abs() + 0.5))
            return pyro.sample("x", dist.Normal(shape, 0.1), obs=x)

    def guide(self, x):
        with self.data_plate(x):
            cause = pyro.sample("cause", dist.Normal(x, 0.1))
            pyro.sample("shape", dist.Normal(x + cause, 0.1))


# cause -> shape -> x
def test_latents_that_are_sampled_given_others_follow_with_their_own_noise():
    x = torch.linspace(-1, 1, 4)
    result = counterfactual(Hierarchical(), x, [{}, {"cause": 2.0}])
    cause, shape = (result[name].values[0] for name in ("cause", "shape"))
    expected = 6 + 2.5 * (shape - 3 * cause) / (np.abs(cause) + 0.5)
    np.testing.assert_allclose(result["shape"].values[1], expected, atol=1e-5)
    np.testing.assert_allclose(result["x"].values[1], x.numpy() + expected - shape, atol=1e-5)


def test_a_latent_without_noise_of_its_own_has_no_counterfactual():
    with pytest.raises(
        ValueError, match="latent 'shape' has no counterfactual: .* VonMises .* give it noise"
    ):
        counterfactual(Hierarchical(dist.VonMises), torch.zeros(2), [{"cause": 2.0}])


def test_evidence_of_a_latent_is_its_value():
    result = counterfactual(
        Hierarchical(), torch.zeros(2), {}, evidence={"cause": torch.tensor([1.0, 2.0])}
    )
    assert (result["cause"].values[0] == [1.0, 2.0]).all()


def test_coordinates_of_an_isotropic_story_are_set_and_the_others_stay(x):
    torch.manual_seed(0)
    story = BetaVAE(
        Gaussian(nn.Linear(FEATURES, 8)), GaussianLearnedScale(nn.Linear(4, FEATURES)), 4
    )
    result = counterfactual(story, x, [{}, {"z[2]": 1.0}], num_samples=3)
    assert result["z"].dims == ("world", "draw", "data", "z_coordinate")
    factual, changed = result["z"].values
    assert (changed[..., 2] == 1).all()
    assert np.array_equal(changed[..., [0, 1, 3]], factual[..., [0, 1, 3]])


def test_values_may_differ_by_unit(story, x):
    result = counterfactual(
        story, x, {"light": torch.arange(float(BATCH)), "position": torch.randn(BATCH, 2)}
    )
    assert (result["light"].values == np.arange(BATCH)).all()


def test_the_labels_that_would_have_been_follow_their_nodes(story, x):
    labels = torch.zeros(BATCH, 5)
    labels[0] = float("nan")
    result = counterfactual(story, x, [{}, {"light": 2.0}], labels=labels)
    assert (result["light_label"].values[0][:, 1:] == 0).all()
    assert np.isnan(result["length_label"].values[:, :, 0]).all()
    moved = result["length"].values[1] - result["length"].values[0]
    np.testing.assert_allclose(result["length_label"].values[1][:, 1:], moved[:, 1:], atol=1e-6)


def test_a_unit_recorded_under_an_intervention_has_its_value_in_the_factual_world(story, x):
    recorded = torch.full((BATCH, 5), float("nan"))
    recorded[:, list(story.prior.columns).index("light")] = 2.0
    result = counterfactual(story, x, [{}, {"light": 3.0}], interventions=recorded)
    assert (result["light"].values[0] == 2).all()
    assert (result["light"].values[1] == 3).all()
    assert np.array_equal(result["x"].values[0], np.broadcast_to(x, (20, BATCH, FEATURES)))


class Masked(GenerativeStory):
    """Only every other unit is seen."""

    latents = ("z",)

    def model(self, x=None, *, batch_size=1):
        seen = torch.arange(batch_size if x is None else len(x)) % 2 == 0
        with self.data_plate(x, batch_size), poutine.mask(mask=seen):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))


def test_data_that_were_not_seen_have_no_counterfactual():
    result = counterfactual(Masked(), torch.zeros(4, 3), [{}, {"z": 1.0}])
    assert np.isnan(result["x"].values[:, :, 1::2]).all()
    assert not np.isnan(result["x"].values[:, :, ::2]).any()


class Parts(GenerativeStory):
    """Three parts of each unit: z -> part -> x."""

    latents = ("z",)

    def model(self, x=None, *, batch_size=1):
        with pyro.plate("data", batch_size if x is None else x.shape[-1], dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("parts", 3, dim=-2):
                return pyro.sample("x", dist.Normal(2 * z, 0.1), obs=x)

    def guide(self, x):
        with pyro.plate("data", x.shape[-1], dim=-1):
            pyro.sample("z", dist.Normal(x.mean(0) / 2, 0.1))


def test_plates_within_a_unit_have_dims_of_their_own():
    x = torch.randn(3, 5)
    result = counterfactual(Parts(), x, [{}, {"z": shift(1.0)}], num_samples=4)
    assert dict(result["x"].sizes) == {"world": 2, "draw": 4, "plate_dim_0": 3, "data": 5}
    np.testing.assert_allclose(result["x"].values[1], np.broadcast_to(x + 2, (4, 3, 5)), atol=1e-6)


class Conditioned(GenerativeStory):
    """A guide that reads a condition, which the model takes too."""

    latents = ("z",)

    def model(self, x=None, *, batch_size=1, context=None):
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample(
                "x", dist.Normal(z + (0.0 if context is None else context), 1.0), obs=x
            )

    def guide(self, x, *, context):
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x - context, 1e-6))


def test_conditions_reach_guide_and_model():
    context = torch.tensor([1.0, 2.0])
    result = counterfactual(Conditioned(), torch.zeros(2), [{}, {"z": 0.0}], context=context)
    np.testing.assert_allclose(result["z"].values[0], np.broadcast_to(-context, (20, 2)), atol=1e-4)
    np.testing.assert_allclose(result["x"].values[1], np.broadcast_to(context, (20, 2)), atol=1e-4)


def test_the_result_is_labelled_and_survives_a_file(story, tmp_path):
    story.decoder.net.append(nn.Unflatten(-1, (1, 2, 3)))
    story.encoder.net = nn.Sequential(nn.Flatten(), story.encoder.net)
    result = counterfactual(
        story, torch.rand(BATCH, 1, 2, 3), [{}, {"light": 1.0}], num_samples=2, seed=3
    )
    assert dict(result["x"].sizes) == {
        "world": 2,
        "draw": 2,
        "data": BATCH,
        "channel": 1,
        "row": 2,
        "column": 3,
    }
    assert result["light"].dims == ("world", "draw", "data")
    assert result["position_coordinate"].values.tolist() == ["position[0]", "position[1]"]
    assert result["world"].values.tolist() == ["factual", "light = 1"]
    expected = {
        "rung": "counterfactual",
        "story": "CausalVAE",
        "actions": "factual; light = 1",
        "seed": 3,
    }
    assert result.attrs.items() >= expected.items()
    result.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "result.nc", engine="h5netcdf"), result)


def test_only_the_worlds_that_were_asked_for_come_back(story, x):
    result = counterfactual(story, x, [{"light": 1.0}, {}, {"light": 2.0}])
    assert result["world"].values.tolist() == ["light = 1", "factual", "light = 2"]
    assert np.array_equal(result["x"].values[1], np.broadcast_to(x, (20, BATCH, FEATURES)))
    assert counterfactual(story, x, {"light": 1.0})["world"].values.tolist() == ["light = 1"]


def test_a_seed_fixes_the_draws_and_nothing_else_is_touched(story, x):
    state = torch.get_rng_state()
    first, again, other = (
        counterfactual(story, x, {"light": 1.0}, seed=seed) for seed in (0, 0, 1)
    )
    xr.testing.assert_identical(first, again)
    assert not np.isclose(first["angle"], other["angle"]).all()
    assert torch.equal(state, torch.get_rng_state())
    assert not dict(pyro.get_param_store().items())
    assert story.training


BAD = {
    "an unknown node": ({"actions": {"lihgt": 1.0}}, KeyError, "no latent named 'lihgt'"),
    "evidence of an unknown node": (
        {"evidence": {"lihgt": torch.zeros(5)}},
        KeyError,
        r"no evidence can be given of 'lihgt'; there are \['angle', 'light', 'length', 'position', 'angle_noise'",
    ),
    "evidence of another batch": (
        {"evidence": {"light": torch.zeros(3)}},
        ValueError,
        r"evidence of 'light': expected shape \(5, 1\), got \(3,\)",
    ),
    "a condition that nobody takes": (
        {"colour": torch.zeros(5)},
        TypeError,
        "CausalVAE takes no 'colour'",
    ),
    "no such noise": ({"noise": "abducted"}, ValueError, "'abduct' or 'mean', got 'abducted'"),
    "evidence of units under interventions": (
        {"evidence": {"light": torch.zeros(5)}, "interventions": torch.full((5, 5), float("nan"))},
        ValueError,
        "recorded under interventions is ambiguous",
    ),
}


@pytest.mark.parametrize(("arguments", "error", "message"), BAD.values(), ids=list(BAD))
def test_bad_questions_say_what_is_wrong(story, x, arguments, error, message):
    with pytest.raises(error, match=message):
        counterfactual(story, x, **{"actions": {}, **arguments})


# light -> shadow, seen through labels without error
def test_the_noise_of_a_measured_node_is_the_same_in_all_worlds():
    torch.manual_seed(0)
    prior = StructuralPrior("light -> shadow; light -> size", {"shadow": LocationScale})
    decoder = GaussianLearnedScale(nn.Linear(3 + 2, 6))
    story = DeepSCM(prior, Gaussian(nn.Linear(6, 4)), decoder, 2)
    labels = torch.randn(5, 3)
    worlds = [{}, {"light": 2.0}, {"shadow": shift(1.0)}, {"light": shift(-1.0), "size": 0.0}]
    result = counterfactual(story, torch.randn(5, 6), worlds, num_samples=2, labels=labels)
    measured = dict(zip(prior.columns, labels.unbind(-1), strict=True))
    truth = prior.noise_of({node: measured[node][:, None] for node in prior.names})
    for node in prior.names:
        noise = result[f"{node}{NOISE}"].values
        assert (noise == noise[:1]).all()
        np.testing.assert_allclose(noise[0, 0], truth[node][:, 0].detach(), atol=1e-6)
    light = torch.tensor(result["light"].values[3, 0])[:, None]
    expected = prior.mechanisms["shadow"](truth["shadow"], light)[:, 0].detach()
    np.testing.assert_allclose(result["shadow"].values[3, 0], expected, atol=1e-6)
    np.testing.assert_array_equal(result["size"].values[3], np.zeros((2, 5)))
