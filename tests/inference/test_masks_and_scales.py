"""Scales, masks, inner plates, guides and classes of any program: the values of stock Pyro."""

import itertools
import random
from contextlib import ExitStack
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO, config_enumerate
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoGaussian,
    AutoHierarchicalNormalMessenger,
    AutoIAFNormal,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
    AutoRegressiveMessenger,
    AutoStructured,
)
from pyro.ops.indexing import Vindex
from torch.distributions import AffineTransform

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
    SparsityELBO,
    critic_network,
    elbo_per_datum,
    log_marginal,
)
from ppl_disentangle.inference.elbo.divergences import closed_form_kl, kl
from ppl_disentangle.inference.elbo.latents import pairs_by_plate
from ppl_disentangle.pairs import as_story
from ppl_disentangle.sites import Site, paired_traces

DOUBLE = {"dtype": torch.float64}
DATA, FULL = 6, 60


def unit_capacity(**options):
    elbo = CapacityELBO(1.0, **options)
    elbo.weights.update(kl=1.0, capacity_gap=0.0)
    return elbo


class AnyNumber(torch.nn.Module):
    """A critic of any number of latents."""

    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(0.3, **DOUBLE))

    def forward(self, z):
        return self.slope * z.square().sum(-1)


BY_SAMPLES = {
    "weighted": lambda **k: TCELBO(1.0, 1.0, 1.0, estimator="weighted", **k),
    "stratified": lambda **k: TCELBO(1.0, 1.0, 1.0, **k),
    "hierarchical": lambda **k: HFELBO(between_groups=1.0, **k),
}
UNIT = BY_SAMPLES | {
    "beta": lambda **k: BetaELBO(1.0, **k),
    "capacity": unit_capacity,
    "constrained": lambda **k: ConstrainedELBO(kl=1.0, **k),
    "geco": lambda **k: ConstrainedELBO(log_likelihood=1.0, **k),
    "control": lambda **k: ControlELBO(2.0, **k),
    "info": lambda **k: InfoELBO(0.0, 1.0, **k),
    "dip": lambda **k: DIPELBO(0.0, 0.0, variant="II", **k),
    "hausdorff": lambda **k: HausdorffELBO(0.0, **k),
    "sparsity": lambda **k: SparsityELBO(**k),
    "factor": lambda **k: FactorELBO(AnyNumber(), 0.0, **k),
}


class Program:
    """A random pair: latents a and b of each datum, and c in a plate inside, with masks and scales.

    The prior is a Student t, so that no divergence has a closed form and the losses of all
    objectives at unit weights equal Pyro's at the same draws.

    Args:
        seed: Seed of the choice of plates, scales and masks.
    """

    def __init__(self, seed):
        choose = random.Random(seed)
        self.data_dim = choose.choice([-1, -2])
        self.parts = choose.choice([None, None, (3, 3), (2, 8)])  # size and full size
        self.full = choose.choice([DATA, FULL])
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(DATA, 2, generator=generator, **DOUBLE)
        by_datum = [DATA] if self.data_dim == -1 else [DATA, 1]

        def mask():
            drawn = torch.rand(by_datum, generator=generator) < 0.7
            return choose.choice([True, drawn])

        names = ["a", "b", "c", "x"]
        self.masks = {name: mask() for name in names}
        common = choose.choice([1.0, 0.3])
        self.model_scales = {name: common for name in "abc"} | {"x": choose.choice([1.0, 2.5])}
        self.guide_scales = {name: choose.choice([common, common, 0.7]) for name in "a"}
        self.guide_scales = {name: self.guide_scales["a"] for name in "abc"}
        self.guide_masks = {name: choose.choice([m, m, True]) for name, m in self.masks.items()}

    def plate(self):
        subsample = torch.arange(DATA)
        return pyro.plate("data", self.full, subsample=subsample, dim=self.data_dim)

    def inner_plate(self):
        size, full = self.parts
        dim = -3 - self.data_dim
        return pyro.plate("parts", full, subsample=torch.arange(size), dim=dim)

    def shaped(self, values):
        """One number for each datum, in the shape of the plate."""
        return values if self.data_dim == -1 else values[:, None]

    def sample(self, name, fn, scales, masks, obs=None):
        with ExitStack() as stack:
            stack.enter_context(poutine.scale(scale=scales[name]))
            stack.enter_context(poutine.mask(mask=masks[name]))
            return pyro.sample(name, fn, obs=obs)

    def model(self, x):
        here = self.model_scales, self.masks
        zero = torch.zeros((), **DOUBLE)
        heavy = dist.StudentT(zero + 4.0, zero, 1.0)
        with self.plate():
            a = self.sample("a", heavy, *here)
            b = self.sample("b", heavy.expand([2]).to_event(1), *here)
            if self.parts:
                with self.inner_plate():
                    self.sample("c", heavy, *here)
            mean = a + b.sum(-1)
            self.sample("x", dist.Normal(mean, 1.0), *here, obs=self.shaped(x[:, 0]))

    def guide(self, x):
        here = self.guide_scales, self.guide_masks
        loc = self.shaped(x[:, 0])
        with self.plate():
            self.sample("a", dist.Normal(loc, 0.5), *here)
            vector = torch.stack([loc, loc + 1], -1)
            self.sample("b", dist.Normal(vector, 0.3).to_event(1), *here)
            if self.parts:
                with self.inner_plate():
                    self.sample("c", dist.Normal(loc, 0.7), *here)


def loss(elbo, pair, seed=0):
    pyro.set_rng_seed(seed)
    return elbo.loss(pair.model, pair.guide, pair.x)


@pytest.mark.parametrize("make", UNIT.values(), ids=list(UNIT))
def test_unit_weights_give_pyros_bound_for_any_scales_masks_and_plates(make):
    refusals = []
    for seed in range(12):
        pair = Program(seed)
        elbo = make(num_data=FULL)
        expected = loss(Trace_ELBO(), pair)
        try:
            found = loss(elbo, pair)
        except ValueError as error:
            refusals.append(str(error))
        else:
            assert found == pytest.approx(expected, rel=1e-9)
    assert len(refusals) <= 4
    assert all("'parts' shows 2 of its 8" in refusal for refusal in refusals)


def test_bounds_of_each_datum_add_up_to_the_loss():
    for seed in range(12):
        pair = Program(seed)
        story = as_story(pair.model, pair.guide, example=pair.x)
        by_datum = elbo_per_datum(story, pair.x, num_samples=1, seed=3)
        torch.manual_seed(3)
        pyro.set_rng_seed(3)
        expected = -Trace_ELBO().loss(pair.model, pair.guide, pair.x)
        total = by_datum["elbo"].sum().item() * pair.full / DATA
        assert total == pytest.approx(expected, rel=1e-5)
        by_weight = log_marginal(story, pair.x, num_samples=1, seed=3)["log_marginal"]
        assert by_weight.values == pytest.approx(by_datum["elbo"].values, rel=1e-5)


def test_a_mask_of_latents_alone_is_counted_by_the_side_that_has_it():
    x = torch.randn(30, 2, **DOUBLE)

    def model(x):
        with pyro.plate("data", 30), poutine.mask(mask=torch.arange(30) > 9):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, **DOUBLE), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", 30):
            pyro.sample("z", dist.Normal(x, 0.5).to_event(1))

    pyro.set_rng_seed(0)
    ours = torch.tensor([BetaELBO(1.0).loss(model, guide, x) for _ in range(400)])
    theirs = torch.tensor([Trace_ELBO().loss(model, guide, x) for _ in range(400)])
    error = (ours.var() / 400 + theirs.var() / 400).sqrt()
    assert abs(ours.mean() - theirs.mean()) < 4 * error


@pytest.mark.parametrize("make", UNIT.values(), ids=list(UNIT))
def test_a_plate_that_only_one_side_subsamples_counts_there(make):
    x = torch.randn(6, 2, **DOUBLE)
    for sizes in ((60, 6), (6, 60)):

        def run(size, fn, obs=None):
            with pyro.plate("data", size, subsample=torch.arange(6)):
                z = pyro.sample("z", fn)
                if obs is not None:
                    pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=obs)

        heavy = dist.StudentT(4.0, torch.zeros(2, **DOUBLE), 1.0).to_event(1)
        programs = (
            partial(run, sizes[0], heavy, x),
            partial(run, sizes[1], dist.Normal(x, 0.5).to_event(1)),
        )
        losses = []
        for elbo in (make(num_data=60), Trace_ELBO()):
            pyro.set_rng_seed(0)
            losses.append(elbo.loss(*programs))
        assert losses[0] == pytest.approx(losses[1], rel=1e-9)


@pytest.mark.parametrize("make", BY_SAMPLES.values(), ids=list(BY_SAMPLES))
def test_transforms_of_single_coordinates_leave_densities_apart(make):
    x, scale = torch.randn(6, 2, **DOUBLE), torch.tensor([2.0, 0.5], **DOUBLE)
    stretch = AffineTransform(torch.zeros(2, **DOUBLE), scale, event_dim=1)

    def run(fn, obs=None):
        with pyro.plate("data", 6):
            z = pyro.sample("z", fn)
            if obs is not None:
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=obs)

    prior = dist.Normal(torch.zeros(2, **DOUBLE), 1.0).to_event(1)
    flow = dist.TransformedDistribution(dist.Normal(x, 0.5).to_event(1), [stretch])
    plain = dist.Normal(x * scale, 0.5 * scale).to_event(1)
    found = []
    for fn in (flow, plain):
        elbo = make(num_data=60)
        pyro.set_rng_seed(0)
        elbo.loss(partial(run, prior, x), partial(run, fn))
        found.append({name: value.item() for name, value in elbo.last_terms.items()})
    assert found[0] == pytest.approx(found[1], rel=1e-9)


@pytest.mark.parametrize("apart", [False, True])
def test_equal_scales_and_masks_in_different_tensors_keep_the_closed_form(apart):
    x = torch.randn(9, 2, **DOUBLE)
    tensors = [(torch.tensor(0.3, **DOUBLE), x[:, 0] > 0) for _ in range(2)]

    def run(side, fn, obs=None):
        scale, mask = tensors[side if apart else 0]
        with pyro.plate("data", 90, subsample=torch.arange(9)):
            with poutine.scale(scale=scale), poutine.mask(mask=mask):
                z = pyro.sample("z", fn)
            if obs is not None:
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=obs)

    prior = dist.Normal(torch.zeros(2, **DOUBLE), 1.0).to_event(1)
    programs = (lambda: run(0, prior, x)), (lambda: run(1, dist.Normal(x, 0.5).to_event(1)))
    losses = []
    for elbo in (BetaELBO(1.0), unit_capacity(), TraceMeanField_ELBO()):
        pyro.set_rng_seed(0)
        losses.append(elbo.loss(*programs))
    assert losses == pytest.approx([losses[-1]] * 3, rel=1e-12)


def test_an_auxiliary_site_of_another_function_is_refused():
    def guide(x):
        with pyro.plate("data", len(x)):
            fn = dist.Normal(x, 1.0).to_event(1)
            u = pyro.sample("z_unconstrained", fn, infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(2 * u, event_dim=1))

    with pytest.raises(ValueError, match="'z' is not the image of the guide's auxiliary site"):
        BetaELBO().loss(vectors, guide, torch.randn(4, 3))


# Sequences of different lengths


class Sequences:
    """Latents z0, z1, z2 of sequences of length 3 to 1, later ones masked; the prior is standard."""

    num, lengths = 8, torch.tensor([3, 3, 2, 2, 1, 1, 1, 1])

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(self.num, 3, generator=generator, **DOUBLE)
        self.present = self.lengths[:, None] > torch.arange(3)

    def model(self, x):
        with pyro.plate("data", self.num):
            for t in range(3):
                with poutine.mask(mask=self.lengths > t):
                    prior = dist.Normal(torch.zeros(1, **DOUBLE), 1.0).to_event(1)
                    z = pyro.sample(f"z{t}", prior)
                    pyro.sample(f"x{t}", dist.Normal(z, 1.0).to_event(1), obs=x[:, t : t + 1])

    def guide(self, x):
        with pyro.plate("data", self.num):
            for t in range(3):
                with poutine.mask(mask=self.lengths > t):
                    pyro.sample(f"z{t}", dist.Normal(2 * x[:, t : t + 1], 0.5).to_event(1))

    def kl(self):
        values = 0.5 * (0.25 + 4 * self.x.square() - 1) - torch.tensor(0.5, **DOUBLE).log()
        return values.where(self.present, 0.0).sum(-1)

    def terms(self, elbo):
        loss(elbo, self)
        return {name: value.item() for name, value in elbo.last_terms.items()}


def test_a_capacity_is_compared_with_the_mean_over_all_sequences():
    pair = Sequences()
    gap = pair.terms(CapacityELBO(1.0, num_data=8))["capacity_gap"]
    assert gap == pytest.approx(-8 * abs(pair.kl().mean().item() - 1))
    each = pair.terms(CapacityELBO(1.0, per_sample=True))["capacity_gap"]
    assert each == pytest.approx(-(pair.kl() - 1).abs().sum().item())


@pytest.mark.parametrize("make", [ConstrainedELBO, ControlELBO])
def test_a_constraint_is_per_sequence(make):
    pair, elbo = Sequences(), make(kl=1.0)
    pair.terms(elbo)
    reached = []
    elbo.adapt = reached.append
    elbo.advance()
    assert reached[0].item() == pytest.approx(-pair.kl().mean().item())


@pytest.mark.parametrize("variant", ["I", "II"])
def test_a_covariance_is_over_the_sequences_that_have_both_latents(variant):
    pair = Sequences()
    found = pair.terms(DIPELBO(1.0, variant=variant))
    off_diagonal = diagonal = 0.0
    for i, j in itertools.product(range(3), repeat=2):
        both = pair.present[:, i] & pair.present[:, j]
        c = torch.cov(2 * pair.x[both][:, [i, j]].T, correction=0)[0, 1]
        if i == j:
            noise = 0.25 if variant == "II" else 0.0
            diagonal += (c + noise - 1) ** 2
        else:
            off_diagonal += c**2
    assert found["off_diagonal"] == pytest.approx(-8 * off_diagonal.item())
    assert found["diagonal"] == pytest.approx(-8 * diagonal.item())


def test_a_support_is_of_the_sequences_that_have_the_latents():
    pair = Sequences()
    found = pair.terms(HausdorffELBO(1.0))["factorised_support"]
    z, total = 2 * pair.x, 0.0
    for i, j in itertools.combinations(range(3), 2):
        has_i, has_j = (torch.nonzero(pair.present[:, k])[:, 0].tolist() for k in (i, j))
        both = [n for n in has_i if n in has_j]
        corners = [
            min((z[a, i] - z[n, i]) ** 2 + (z[b, j] - z[n, j]) ** 2 for n in both)
            for a in has_i
            for b in has_j
        ]
        total += max(corners)
    assert found == pytest.approx(-8 * total.item())


def test_total_correlation_is_over_the_sequences_that_have_the_latents():
    pair = Sequences()
    found = pair.terms(TCELBO(estimator="symmetric", num_data=8))
    pyro.set_rng_seed(0)
    nodes = poutine.trace(pair.guide).get_trace(pair.x).nodes
    z = torch.cat([nodes[f"z{t}"]["value"] for t in range(3)], -1)
    q = dist.Normal(2 * pair.x, 0.5).log_prob(z[:, None]).exp()  # (i, j, t)
    joint = factored = 0.0
    for i in range(8):
        mine = [t for t in range(3) if pair.present[i, t]]
        having = [j for j in range(8) if pair.present[j, mine].all()]
        joint += q[i, having][:, mine].prod(-1).mean().log()
        for t in mine:
            factored += q[i, pair.present[:, t], t].mean().log()
    assert found["total_correlation"] == pytest.approx((factored - joint).item())


def test_an_absent_latent_changes_no_term():
    for make in (
        lambda: TCELBO(num_data=100),
        lambda: HFELBO(num_data=100),
        lambda: DIPELBO(variant="II"),
        HausdorffELBO,
        lambda: InfoELBO(0.5, 3.0),
        lambda: CapacityELBO(1.0),
    ):
        pair = Sequences()
        before = pair.terms(make())
        pair.x = pair.x.where(pair.present, 100.0)
        assert pair.terms(make()) == pytest.approx(before, rel=1e-9, abs=1e-12)


def test_a_critic_sees_zeros_for_absent_latents():
    pair, seen = Sequences(), []
    critic = critic_network(3, hidden=4, layers=1, outputs=2).double()
    critic.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    loss(FactorELBO(critic), pair)
    for draws in seen:
        assert ((draws != 0) == pair.present).all()
    permuted = seen[-1]
    assert sorted(permuted[:4, 1].tolist()) == sorted(seen[0][:4, 1].tolist())


# Numbers of data


def annealed(scale):
    """A pair whose latents are scaled, as for an annealed KL."""
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(1), **DOUBLE)

    def model(x):
        with pyro.plate("data", 20):
            with poutine.scale(scale=scale):
                z = pyro.sample("z", dist.Normal(torch.zeros(2, **DOUBLE), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", 20), poutine.scale(scale=scale):
            pyro.sample("z", dist.Normal(0.5 * x, 0.7).to_event(1))

    return model, guide, x


def test_scaled_latents_leave_the_log_likelihood_per_datum_as_it_is():
    averages = []
    for scale in (1.0, 0.1):
        model, guide, x = annealed(scale)
        elbo = ConstrainedELBO(log_likelihood=-3.0)
        pyro.set_rng_seed(0)
        elbo(model, guide)(x)
        averages.append(elbo.average.item())
        expected = -3.0 - elbo.last_terms["log_likelihood"].item() / 20
        assert averages[-1] == pytest.approx(expected, rel=1e-5)
    assert averages[0] == averages[1]


def test_a_subsampled_plate_inside_scales_a_divergence_not_the_number_of_data():
    def run(fn, obs=None):
        with pyro.plate("data", 5):
            with pyro.plate("parts", 12, subsample=torch.arange(3), dim=-2):
                z = pyro.sample("z", fn)
            if obs is not None:
                pyro.sample("x", dist.Normal(z.sum(-2), 1.0), obs=obs)

    elbo, q, p = CapacityELBO(1.0), dist.Normal(0.5, 0.5), dist.Normal(0.0, 1.0)
    elbo.loss(lambda: run(p, torch.zeros(5)), lambda: run(q))
    divergence = 12 * torch.distributions.kl_divergence(q, p).item()
    assert elbo.last_terms["capacity_gap"].item() == pytest.approx(-5 * abs(divergence - 1.0))


# Guides of Pyro


def vectors(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def positive_vectors(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Gamma(torch.ones(3), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def shared_shift(x):
    shift = pyro.sample("shift", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z + shift, 1.0).to_event(1), obs=x)


AUTO = [
    AutoDelta,
    AutoDiagonalNormal,
    AutoGaussian,
    AutoHierarchicalNormalMessenger,
    AutoIAFNormal,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
    AutoRegressiveMessenger,
    AutoStructured,
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", [vectors, positive_vectors, shared_shift])
@pytest.mark.parametrize("auto", AUTO)
def test_guides_of_pyro_have_the_loss_of_pyro(auto, model):
    pyro.set_rng_seed(0)
    x = torch.randn(9, 3) + 1
    guide = auto(model)
    guide(x)
    refusals = []
    for make in UNIT.values():
        elbo = make(num_data=9)
        pyro.set_rng_seed(1)
        expected = Trace_ELBO().loss(model, guide, x)
        pyro.set_rng_seed(1)
        try:
            found = elbo.loss(model, guide, x)
        except ValueError as error:
            refusals.append(str(error))
        else:
            assert found == pytest.approx(expected, rel=1e-4)
    assert all("latent" in text or "auxiliary site" in text for text in refusals)
    drawn_apart = auto in (AutoNormal, AutoNormalMessenger) and model is vectors
    assert len(refusals) <= (0 if drawn_apart else 6)


def test_moments_of_auto_normal_are_those_of_its_normal():
    pyro.set_rng_seed(0)
    x = torch.randn(9, 3)
    guide = AutoNormal(vectors)
    guide(x)
    latents = pairs_by_plate(*paired_traces(vectors, guide, (x,), {})).latents()
    torch.testing.assert_close(latents.means(), guide.locs.z)
    torch.testing.assert_close(latents.variances(), guide.scales.z.square())


def test_weights_of_single_latents_need_latents_that_are_drawn_apart():
    guide = AutoMultivariateNormal(vectors)
    x = torch.randn(4, 3)
    guide(x)
    with pytest.raises(ValueError, match="auxiliary site '_AutoMultivariateNormal"):
        BetaELBO({"z": 2.0}).loss(vectors, guide, x)


@pytest.mark.parametrize("low_rank", [False, True])
def test_dip_two_has_the_covariances_of_a_correlated_posterior(low_rank):
    factor = torch.tensor([[1.0, 0.0], [0.9, 0.4]], **DOUBLE)
    x = torch.randn(50, 2, **DOUBLE)
    noise = factor @ factor.T

    def model(x):
        with pyro.plate("data", 50):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, **DOUBLE), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        q = dist.MultivariateNormal(x, scale_tril=factor)
        if low_rank:
            q = dist.LowRankMultivariateNormal(x, factor, torch.full((2,), 1e-9, **DOUBLE))
        with pyro.plate("data", 50):
            pyro.sample("z", q)

    elbo = DIPELBO(1.0, variant="II")
    elbo.loss(model, guide, x)
    covariance = torch.cov(x.T, correction=0) + noise
    expected = -50 * 2 * covariance[0, 1] ** 2
    assert elbo.last_terms["off_diagonal"].item() == pytest.approx(expected.item())
    with pytest.raises(ValueError, match="latent 'z': .* got .*MultivariateNormal"):
        TCELBO(num_data=50).loss(model, guide, x)


def test_wrappers_of_distributions_leave_a_divergence_right():
    q, p = dist.Normal(torch.randn(4, 3), 0.5), dist.Normal(torch.zeros(3), 1.0)
    mask = torch.rand(4, 3) < 0.5
    value = q.sample()
    plain = torch.distributions.kl_divergence(q, p)
    masked = closed_form_kl(q.mask(mask).to_event(1), p.expand([4, 3]).mask(mask).to_event(1))
    torch.testing.assert_close(masked, plain.where(mask, 0.0).sum(-1))
    # Different masks: each side counts its own elements, at the draw.
    sites = [
        Site("z", fn, value, 1.0, None, ()) for fn in (q.mask(mask).to_event(1), p.to_event(1))
    ]
    expected = q.log_prob(value).where(mask, 0.0).sum(-1) - p.log_prob(value).sum(-1)
    torch.testing.assert_close(kl(*sites), expected)


# Classes


def loss_of_classes(elbo, model, guide, x):
    pyro.set_rng_seed(0)
    return elbo.loss(model, guide, x)


class Classes:
    """Labels of three classes and what is seen of them; a dictionary of pairs with TraceEnum's."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(6, 2, generator=generator)
        self.y = torch.tensor([0, 1, 2, 0, 1, 2])
        self.known = torch.tensor([1, 1, 0, 0, 0, 1]).bool()
        self.centres = torch.randn(3, 2, generator=generator)
        self.prior = torch.tensor([0.2, 0.3, 0.5])
        self.logits = torch.randn(6, 3, generator=generator)

    def seen(self, y, x):
        pyro.sample("x", dist.Normal(Vindex(self.centres)[y, :], 1.0).to_event(1), obs=x)

    def partly_labelled(self):
        def model(x):
            with pyro.plate("data", 6):
                y = pyro.sample("y", dist.Categorical(self.prior), obs=self.y, obs_mask=self.known)
                self.seen(y, x)

        def guide(x):
            with pyro.plate("data", 6), poutine.mask(mask=~self.known):
                pyro.sample("y_unobserved", dist.Categorical(logits=self.logits))

        return model, guide, 1

    def masked(self):
        def model(x):
            with pyro.plate("data", 6), poutine.mask(mask=self.known):
                self.seen(pyro.sample("y", dist.Categorical(self.prior)), x)

        def guide(x):
            with pyro.plate("data", 6), poutine.mask(mask=self.known):
                pyro.sample("y", dist.Categorical(logits=self.logits))

        return model, guide, 1

    def scaled(self):
        def model(x):
            with pyro.plate("data", 60, subsample=torch.arange(6)):
                y = pyro.sample("y", dist.Categorical(self.prior))
                with poutine.scale(scale=0.1):
                    self.seen(y, x)

        def guide(x):
            with (
                pyro.plate("data", 60, subsample=torch.arange(6)),
                poutine.scale(scale=torch.tensor(0.7)),
            ):
                pyro.sample("y", dist.Categorical(logits=self.logits))

        return model, guide, 1

    def inside(self):
        def model(x):
            with pyro.plate("data", 6), pyro.plate("two", 2):
                y = pyro.sample("y", dist.Categorical(self.prior))
                pyro.sample("x", dist.Normal(Vindex(self.centres)[y, 0], 1.0), obs=x.T)

        def guide(x):
            with pyro.plate("data", 6), pyro.plate("two", 2):
                pyro.sample("y", dist.Categorical(logits=self.logits.expand(2, 6, 3)))

        return model, guide, 2

    def several(self):
        def model(x):
            with pyro.plate("data", 6):
                y = pyro.sample("y", dist.Categorical(self.prior))
                b = pyro.sample("b", dist.Bernoulli(self.prior[0]))
                with poutine.scale(scale=0.3), pyro.plate("two", 2, dim=-2):
                    t = pyro.sample("t", dist.Bernoulli(self.prior[1]))
                    mean = Vindex(self.centres)[y, 0] + b + t
                    pyro.sample("x", dist.Normal(mean, 1.0), obs=x.T)

        def guide(x):
            with pyro.plate("data", 6):
                y = pyro.sample("y", dist.Categorical(logits=self.logits))
                b = pyro.sample("b", dist.Bernoulli(logits=1.0 * y + x[:, 0]))
                with poutine.scale(scale=0.7), pyro.plate("two", 2, dim=-2):
                    pyro.sample("t", dist.Bernoulli(logits=x.T + b))

        return model, guide, 2


KINDS_OF_CLASSES = ["partly_labelled", "masked", "scaled", "inside", "several"]


@pytest.mark.parametrize("kind", KINDS_OF_CLASSES)
def test_enumerated_classes_have_the_loss_of_pyro(kind):
    classes = Classes()
    model, guide, nesting = getattr(classes, kind)()
    expected = TraceEnum_ELBO(max_plate_nesting=nesting).loss(
        model, config_enumerate(guide), classes.x
    )
    assert EnumeratedELBO().loss(model, guide, classes.x) == pytest.approx(expected, rel=1e-5)


def test_a_class_without_probability_gives_no_nan():
    classes = Classes()
    logits = classes.logits.clone().requires_grad_()
    closed = torch.tensor([False, True, False])

    def model(x):
        with pyro.plate("data", 6):
            prior = classes.prior.log().masked_fill(closed, -torch.inf)
            classes.seen(pyro.sample("y", dist.Categorical(logits=prior)), x)

    def guide(x):
        with pyro.plate("data", 6):
            masked = logits.masked_fill(closed, -torch.inf)
            pyro.sample("y", dist.Categorical(logits=masked))

    loss = EnumeratedELBO()(model, guide)(classes.x)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
    assert (gradient[:, 0] != 0).all()
    q = dist.Categorical(logits=logits.masked_fill(closed, -torch.inf))
    divergence = closed_form_kl(q, q)
    (gradient,) = torch.autograd.grad(divergence.sum(), logits)
    assert torch.isfinite(divergence).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("outside", ["guide", "model"])
def test_a_site_outside_of_the_plate_of_its_class_is_refused(outside):
    def model(x):
        with pyro.plate("data", 6):
            with pyro.plate("two", 2, dim=-2):
                infer = {"enumerate": "parallel"} if outside == "model" else {}
                t = pyro.sample("t", dist.Bernoulli(torch.full((2, 6), 0.3)), infer=infer)
            pyro.sample("z", dist.Normal(torch.zeros(6), 1.0))
            pyro.sample("x", dist.Normal(t.sum(-2), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", 6):
            if outside == "guide":
                with pyro.plate("two", 2, dim=-2):
                    pyro.sample("t", dist.Bernoulli(torch.full((2, 6), 0.4)))
            pyro.sample("z", dist.Normal(x, 1.0))

    with pytest.raises(ValueError, match="site 'x' depends on the class 't', but is outside"):
        EnumeratedELBO().loss(model, guide, torch.randn(6))


class SummedOut:
    """Pairs whose guide lacks the classes; nothing is sampled after what they need."""

    def __init__(self):
        self.classes = Classes()
        self.x = self.classes.x

    def mixture(self):
        def model(x):
            weights = pyro.sample("weights", dist.Dirichlet(torch.ones(3)))
            with pyro.plate("components", 3):
                prior = dist.StudentT(4.0, torch.zeros(2), 1.0).to_event(1)
                centres = pyro.sample("centres", prior)
            with pyro.plate("data", 60, subsample=torch.arange(6)):
                y = pyro.sample("y", dist.Categorical(weights), infer={"enumerate": "parallel"})
                pyro.sample("x", dist.Normal(Vindex(centres)[y, :], 1.0).to_event(1), obs=x)

        pyro.set_rng_seed(0)
        guide = AutoNormal(poutine.block(model, hide=["y"]))
        guide(self.x)
        return model, guide, 1

    def mixture_prior(self):
        def model(x):
            with pyro.plate("data", 6), poutine.mask(mask=self.classes.known):
                y = pyro.sample(
                    "y", dist.Categorical(self.classes.prior), infer={"enumerate": "parallel"}
                )
                fn = dist.Normal(Vindex(self.classes.centres)[y, :], 0.5).to_event(1)
                z = pyro.sample("z", fn)
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

        return model, self.local, 1

    def nested(self):
        def model(x):
            with pyro.plate("data", 6):
                prior = dist.StudentT(4.0, torch.zeros(2), 1.0).to_event(1)
                z = pyro.sample("z", prior)
                infer = {"enumerate": "parallel"}
                k = pyro.sample("k", dist.Categorical(self.classes.prior[:2]), infer=infer)
                with pyro.plate("two", 2):
                    fn = dist.Categorical(Vindex(self.classes.logits.exp())[k, :])
                    y = pyro.sample("y", fn, infer=infer)
                    mean = Vindex(self.classes.centres)[y, 0] + k
                    pyro.sample("x", dist.Normal(mean, 1.0), obs=x.T)
                pyro.sample("x2", dist.Normal(z + k[..., None], 1.0).to_event(1), obs=x)

        return model, self.local, 2

    def local(self, x):
        with pyro.plate("data", 6):
            pyro.sample("z", dist.Normal(x, 0.3).to_event(1))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["mixture", "mixture_prior", "nested"])
def test_classes_of_the_model_alone_are_summed_out(kind):
    pair = SummedOut()
    model, guide, nesting = getattr(pair, kind)()
    theirs = TraceEnum_ELBO(max_plate_nesting=nesting)
    losses = [loss_of_classes(e, model, guide, pair.x) for e in (EnumeratedELBO(), theirs)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    with pytest.raises(ValueError, match="the guide does not; .* use EnumeratedELBO"):
        BetaELBO().loss(model, guide, pair.x)


def test_too_many_combinations_are_refused():
    def model(x):
        with pyro.plate("data", 6):
            bits = [pyro.sample(f"b{i}", dist.Bernoulli(0.5)) for i in range(13)]
            pyro.sample("x", dist.Normal(sum(bits), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", 6):
            for i in range(13):
                pyro.sample(f"b{i}", dist.Bernoulli(0.5))

    with pytest.raises(ValueError, match="8192 combinations"):
        EnumeratedELBO().loss(model, guide, torch.zeros(6))
