"""JointVAE's objective against loops over the values of discrete latents, and Pyro's bound."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO

from ppl_disentangle.inference.objectives.beta_vae import BetaELBO
from ppl_disentangle.inference.objectives.joint_vae import JointELBO
from tests.inference.pairs import BATCH, NUM_DATA, PARTICLES

T = torch.tensor(0.7, dtype=torch.float64)
KINDS = {
    "relaxed": (
        lambda a: dist.RelaxedOneHotCategorical(T, logits=a),
        lambda a: dist.RelaxedOneHotCategorical(2 * T, logits=a),
        lambda a: dist.RelaxedBernoulli(T, logits=a),
        lambda a: dist.RelaxedBernoulli(2 * T, logits=a),
    ),
    "straight-through": (
        lambda a: dist.RelaxedOneHotCategoricalStraightThrough(T, logits=a),
        lambda a: dist.OneHotCategorical(logits=a),
        lambda a: dist.RelaxedBernoulliStraightThrough(T, logits=a),
        lambda a: dist.Bernoulli(logits=a),
    ),
    "relaxed under plain": (
        lambda a: dist.RelaxedOneHotCategorical(T, logits=a),
        lambda a: dist.OneHotCategorical(logits=a, validate_args=False),
        lambda a: dist.RelaxedBernoulli(T, logits=a),
        lambda a: dist.Bernoulli(logits=a, validate_args=False),
    ),
}
LIMIT = math.log(3) + 2 * math.log(4) + 2 * 2 * math.log(2)


class Discrete:
    """z: two normals; digit: one of three; parts: two of four each; marks: two bits in each of two places."""

    def __init__(self, kind="relaxed", mask=None, scale=1.0, uniform=False):
        generator = torch.Generator().manual_seed(0)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
        self.kind, self.mask, self.scale = KINDS[kind], mask, scale
        self.loc, self.x = draw(BATCH, 2).requires_grad_(), draw(BATCH, 2)
        shapes = {"digit": (BATCH, 3), "parts": (BATCH, 2, 4), "marks": (2, BATCH, 2)}
        self.logits = {name: draw(*shape).requires_grad_() for name, shape in shapes.items()}
        self.prior = {
            k: torch.zeros_like(a[0, 0]) if uniform else draw(a.shape[-1])
            for k, a in self.logits.items()
        }
        self.prior["digit"] = torch.zeros(3, dtype=torch.float64) if uniform else draw(3)
        self.parameters = [self.loc, *self.logits.values()]

    def sample(self, logits, loc, one_hot, binary, x=None):
        mask = poutine.mask(mask=True if self.mask is None else self.mask)
        data, places = (
            pyro.plate("data", NUM_DATA, subsample=range(BATCH), dim=-1),
            pyro.plate("places", 2, dim=-2),
        )
        with data, poutine.scale(scale=self.scale), mask:
            z = pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
            pyro.sample("digit", one_hot(logits["digit"]))
            pyro.sample("parts", one_hot(logits["parts"]).to_event(1))
            with places:
                pyro.sample("marks", binary(logits["marks"]).to_event(1))
            if x is not None:
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def model(self):
        prior = self.prior | {"parts": self.prior["parts"].expand(2, 4)}
        self.sample(prior, torch.zeros_like(self.loc[0]), self.kind[1], self.kind[3], self.x)

    def guide(self):
        self.sample(self.logits, self.loc, self.kind[0], self.kind[2])

    def divergences(self):
        """KL of the discrete latents and of z of each datum, a sum over values at a time."""
        discrete, continuous = [], []
        for n in range(BATCH):
            digit = [(self.logits["digit"][n], self.prior["digit"])]
            parts = [(self.logits["parts"][n, i], self.prior["parts"]) for i in range(2)]
            bits = [
                (self.logits["marks"][i, n, j], self.prior["marks"][j])
                for i in range(2)
                for j in range(2)
            ]
            marks = [tuple(torch.stack([a, torch.zeros_like(a)]) for a in bit) for bit in bits]
            total = 0.0
            for ours, theirs in digit + parts + marks:
                for q, p in zip(ours.softmax(0).tolist(), theirs.softmax(0).tolist(), strict=True):
                    total += q * math.log(q / p)
            discrete.append(total)
            continuous.append(sum(0.5 * m * m for m in self.loc[n].tolist()))
        return discrete, continuous


def options(particles):
    return particles | ({"max_plate_nesting": 2} if "max_plate_nesting" in particles else {})


def mean(values, mask):
    """The mean over the data, of divergences that are zero where they are masked."""
    return sum(v for n, v in enumerate(values) if mask is None or mask[n]) / len(values)


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("mask", [None, torch.arange(BATCH) % 3 > 0], ids=["all", "masked"])
@pytest.mark.parametrize("kind", KINDS)
def test_divergences_and_gaps_are_their_definitions_over_several_discrete_latents(
    kind, mask, particles
):
    pair, elbo = Discrete(kind, mask, scale=0.5), JointELBO(0.2, 1.5, **options(particles))
    elbo.loss(pair.model, pair.guide)
    discrete, continuous = (0.5 * mean(values, mask) for values in pair.divergences())
    expected = {
        "kl_continuous": -NUM_DATA * continuous,
        "kl_discrete": -NUM_DATA * discrete,
        "continuous_gap": -NUM_DATA * abs(continuous - 0.2),
        "discrete_gap": -NUM_DATA * abs(discrete - 1.5),
    }
    assert {k: elbo.last_terms[k].item() for k in expected} == pytest.approx(expected, rel=1e-9)


def test_the_loss_weighs_both_gaps_and_no_divergence():
    pair, elbo = Discrete(), JointELBO(0.2, 1.5, continuous_gamma=3.0, discrete_gamma=7.0)
    loss = elbo.loss(pair.model, pair.guide)
    parts = {k: v.item() for k, v in elbo.last_terms.items()}
    assert loss == pytest.approx(
        -parts["log_likelihood"] - 3.0 * parts["continuous_gap"] - 7.0 * parts["discrete_gap"],
        rel=1e-12,
    )


@pytest.mark.parametrize(
    "capacity", [1000.0, lambda step: step + 1000.0], ids=["number", "schedule"]
)
def test_the_discrete_capacity_is_no_more_than_the_logarithm_of_the_number_of_values(capacity):
    pair = Discrete(uniform=True)
    gaps = []
    for c in (capacity, LIMIT):
        elbo = JointELBO(0.0, c)
        elbo.loss(pair.model, pair.guide)
        gaps.append(elbo.last_terms["discrete_gap"].item())
    assert gaps[0] == pytest.approx(gaps[1], rel=1e-6)
    assert gaps[1] == pytest.approx(
        -NUM_DATA * (LIMIT - mean(pair.divergences()[0], None)), rel=1e-9
    )


def test_posteriors_that_are_certain_reach_the_largest_capacity_and_none_exceed_it():
    pair = Discrete(uniform=True)
    with torch.no_grad():
        for logits in pair.logits.values():
            logits.zero_()
        pair.logits["digit"][:, 1], pair.logits["parts"][..., 2], pair.logits["marks"][:] = (
            60.0,
            60.0,
            60.0,
        )
    elbo = JointELBO(0.0, 1000.0)
    elbo.loss(pair.model, pair.guide)
    assert elbo.last_terms["kl_discrete"].item() == pytest.approx(-NUM_DATA * LIMIT, rel=1e-9)
    assert elbo.last_terms["discrete_gap"].item() == pytest.approx(0.0, abs=1e-6)


class OneHot:
    """One-hot draws, whose bound Pyro knows."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.loc, self.logits, self.x = (
            torch.randn(BATCH, 3, generator=generator) for _ in range(3)
        )
        self.parameters = [self.loc.requires_grad_(), self.logits.requires_grad_()]

    def model(self):
        with pyro.plate("data", NUM_DATA, subsample=range(BATCH)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            c = pyro.sample("c", dist.OneHotCategorical(logits=torch.arange(3.0)))
            pyro.sample("x", dist.Normal(z + c, 1.0).to_event(1), obs=self.x)

    def guide(self):
        with pyro.plate("data", NUM_DATA, subsample=range(BATCH)):
            pyro.sample("z", dist.Normal(self.loc, 1.0).to_event(1))
            pyro.sample("c", dist.OneHotCategoricalStraightThrough(logits=self.logits))


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
def test_unit_weights_of_the_divergences_of_one_hot_latents_give_pyros_bound(particles):
    pair, ours = OneHot(), JointELBO(**particles)
    ours.weights.update(kl_continuous=1.0, kl_discrete=1.0, continuous_gap=0.0, discrete_gap=0.0)
    results = []
    for elbo in (ours, TraceMeanField_ELBO(**particles)):
        pyro.set_rng_seed(0)
        loss = elbo(pair.model, pair.guide)()
        results.append([loss.detach(), *torch.autograd.grad(loss, pair.parameters)])
    for value, expected in zip(*results, strict=True):
        torch.testing.assert_close(value, expected, rtol=2e-5, atol=2e-3)


@pytest.mark.parametrize(("capacity", "sign"), [(0.0, 1.0), (math.inf, -1.0)])
def test_the_gap_pushes_the_discrete_divergence_towards_its_capacity_from_either_side(
    capacity, sign
):
    pair, gradients = OneHot(), []
    joint, reference = (
        JointELBO(0.0, capacity, continuous_gamma=0.0, discrete_gamma=7.0),
        BetaELBO({"c": 1.0, "z": 0.0}),
    )
    reference.weights["kl[c]"] = sign * 7.0
    for elbo in (joint, reference):
        pyro.set_rng_seed(0)
        gradients.append(torch.autograd.grad(elbo(pair.model, pair.guide)(), pair.parameters))
    for value, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(value, expected)


def pair_of(prior, posterior):
    def program(fn):
        with pyro.plate("data", BATCH):
            pyro.sample("z", dist.Normal(torch.zeros(BATCH, 2), 1.0).to_event(1))
            pyro.sample("c", fn)

    return lambda: program(prior), lambda: program(posterior)


def test_pairs_without_both_kinds_of_latents_are_refused():
    normal = dist.Normal(torch.zeros(BATCH), 1.0)
    with pytest.raises(
        ValueError,
        match=r"the guide has \{'z': 'Normal', 'c': 'Normal'\}; CapacityELBO has one capacity",
    ):
        JointELBO().loss(*pair_of(normal, normal))
    bits, soft = (
        dist.Bernoulli(torch.full((BATCH,), 0.5)),
        dist.RelaxedBernoulli(torch.tensor(1.0), torch.full((BATCH,), 0.5)),
    )
    with pytest.raises(
        ValueError,
        match="latent 'c' is drawn from RelaxedBernoulli; expected a prior .* got Normal",
    ):
        JointELBO().loss(*pair_of(normal, soft))
    with pyro.validation_enabled(False), pytest.raises(ValueError, match="observes nothing"):
        JointELBO().loss(*pair_of(bits, soft))

    def discrete():
        with pyro.plate("data", BATCH):
            pyro.sample("c", soft)

    with pytest.raises(
        ValueError,
        match=r"expected a continuous and a discrete latent, .* \{'c': 'RelaxedBernoulli'\}",
    ):
        JointELBO().loss(discrete, discrete)
