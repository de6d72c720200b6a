"""Every objective on a pair with latents of several shapes and two kinds of data, and what it refuses."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from pyro.poutine.messenger import Messenger
from torch import nn

from ppl_disentangle.inference import (
    DIPELBO,
    HFELBO,
    TCELBO,
    AdversarialMI,
    BetaELBO,
    BidirectionalELBO,
    CapacityELBO,
    ConstrainedELBO,
    ControlELBO,
    FactorELBO,
    HausdorffELBO,
    InfoELBO,
    JointCritic,
    SparsityELBO,
    critic_network,
    elbo_per_datum,
    log_marginal,
)
from ppl_disentangle.pairs import as_story
from tests.inference.pairs import PARTICLES

BATCH, NUM_DATA, WIDTH = 8, 1000, 11
SHAPES = {"image": (2, 3), "scalar": (), "vector": (4,)}
DOUBLE = {"dtype": torch.float64}


class Several:
    """Three latents of event dimensions 2, 0 and 1; five numbers and a bit are observed of each datum.

    ``names`` is the order of the latents; ``split`` makes two sites of the vector.
    """

    def __init__(self, names=tuple(SHAPES), *, split=False, mask=True, scale=1.0, prefix=""):
        generator = torch.Generator().manual_seed(2)

        def draw(*shape):
            return torch.randn(*shape, generator=generator, **DOUBLE)

        self.loc, self.log_scale, self.noise = (
            {k: draw(BATCH, *s) for k, s in SHAPES.items()} for _ in range(3)
        )
        self.weight, self.numbers, self.bits = draw(5, 7), draw(BATCH, 5), draw(BATCH).sign().relu()
        self.names, self.split, self.mask, self.scale, self.prefix = (
            names,
            split,
            mask,
            scale,
            prefix,
        )
        leaves = [*self.loc.values(), *self.log_scale.values(), self.weight]
        self.parameters = [leaf.requires_grad_() for leaf in leaves]

    def plate(self):
        return pyro.plate("data", NUM_DATA, subsample=range(BATCH))

    def statements(self, *tensors):
        """Name of a site and its part of each of ``tensors``, in order."""
        for name in self.names:
            parts = [t[name] for t in tensors]
            if name == "vector" and self.split:
                yield f"{self.prefix}first", *(p[..., 0] for p in parts)
                yield f"{self.prefix}rest", *(p[..., 1:] for p in parts)
            else:
                yield f"{self.prefix}{name}", *parts

    def around(self):
        return poutine.scale(scale=self.scale), poutine.mask(mask=self.mask)

    def model(self):
        scale, mask = self.around()
        with self.plate():
            with scale, mask:
                z = {
                    name: pyro.sample(
                        name, dist.Normal(torch.zeros_like(loc), 1.0).to_event(loc.dim() - 1)
                    )
                    for name, loc in self.statements(self.loc)
                }
            at = {name.removeprefix(self.prefix): value for name, value in z.items()}
            if self.split:
                at["vector"] = torch.cat([at["first"][..., None], at["rest"]], -1)
            inputs = torch.cat([at["image"].flatten(-2), at["scalar"][..., None]], -1)
            pyro.sample(
                "numbers", dist.Normal(inputs @ self.weight.T, 1.0).to_event(1), obs=self.numbers
            )
            pyro.sample("bits", dist.Bernoulli(logits=at["vector"].sum(-1)), obs=self.bits)

    def guide(self):
        scale, mask = self.around()
        with self.plate(), scale, mask:
            for name, loc, log_scale in self.statements(self.loc, self.log_scale):
                pyro.sample(name, dist.Normal(loc, log_scale.exp()).to_event(loc.dim() - 1))

    def held(self):
        """The guide, its draws those of :attr:`noise` whatever the order and the names of its sites."""
        parts = self.statements(self.loc, self.log_scale, self.noise)
        draws = {name: loc + log_scale.exp() * noise for name, loc, log_scale, noise in parts}
        return Held(draws)(self.guide)


class Held(Messenger):
    """Latents take given values and stay latents."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def _pyro_sample(self, message):
        if message["name"] in self.values:
            message["value"], message["done"] = self.values[message["name"]], True


def critic():
    torch.manual_seed(3)
    return critic_network(WIDTH, hidden=8, layers=1, outputs=2).double()


class Symmetric(nn.Module):
    """A critic to whom all coordinates are alike."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.3, **DOUBLE))

    def forward(self, z):
        return self.slope * z.square().sum(-1)


EXACT, DRAWN = TraceMeanField_ELBO, Trace_ELBO
UNIT = {
    "beta": (lambda **k: BetaELBO(1.0, **k), EXACT),
    "beta of one site": (lambda **k: BetaELBO({"scalar": 1.0}, **k), EXACT),
    "constrained": (lambda **k: ConstrainedELBO(kl=1.0, **k), EXACT),
    "control": (lambda **k: ControlELBO(2.0, **k), EXACT),
    "info": (lambda **k: InfoELBO(0.0, 1.0, **k), EXACT),
    "dip": (lambda **k: DIPELBO(0.0, variant="II", **k), EXACT),
    "sparsity": (lambda **k: SparsityELBO(**k), EXACT),
    "hausdorff": (lambda **k: HausdorffELBO(0.0, **k), EXACT),
    "factor": (lambda **k: FactorELBO(critic(), 0.0, **k), EXACT),
    "factor of halves": (lambda **k: FactorELBO(critic(), 0.0, permute="halves", **k), EXACT),
    "weighted": (lambda **k: TCELBO(1.0, 1.0, 1.0, estimator="weighted", **k), DRAWN),
    "stratified": (lambda **k: TCELBO(1.0, 1.0, 1.0, **k), DRAWN),
    "hierarchical": (
        lambda **k: HFELBO(between_groups=1.0, groups=[["image", "vector"], ["scalar"]], **k),
        DRAWN,
    ),
}
WEIGHTED = {
    "beta": lambda _, **k: BetaELBO(4.0, **k),
    "capacity": lambda _, **k: CapacityELBO(3.0, gamma=7.0, **k),
    "capacity of each": lambda _, **k: CapacityELBO(3.0, gamma=7.0, per_sample=True, **k),
    "constrained": lambda _, **k: ConstrainedELBO(kl=1.0, multiplier=3.0, **k),
    "control": lambda _, **k: ControlELBO(2.0, minimum=3.0, **k),
    "weighted": lambda _, **k: TCELBO(0.5, 6.0, 2.0, estimator="weighted", **k),
    "stratified": lambda _, **k: TCELBO(0.5, 6.0, 2.0, **k),
    "symmetric": lambda _, **k: TCELBO(0.5, 6.0, 2.0, estimator="symmetric", **k),
    "hierarchical": lambda _, **k: HFELBO(within_groups=0.5, **k),
    "info": lambda _, **k: InfoELBO(0.5, 100.0, **k),
    "dip one": lambda _, **k: DIPELBO(**k),
    "dip two": lambda _, **k: DIPELBO(variant="II", **k),
    "sparsity": lambda pair, **k: SparsityELBO(
        2.0, l1=3.0, group_lasso=0.5, columns=pair.weight, **k
    ),
    "hausdorff": lambda _, **k: HausdorffELBO(10.0, num_pairs=100, **k),
}
NEED_A_PLATE = {k: v for k, v in WEIGHTED.items() if k not in ("beta", "sparsity")} | {
    "factor": lambda _, **k: FactorELBO(critic(), **k)
}


@pytest.mark.parametrize("unit", UNIT.values(), ids=list(UNIT))
@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize(
    "setting", [{}, {"scale": 0.3, "mask": torch.arange(BATCH) % 3 > 0}], ids=["plain", "masked"]
)
def test_unit_weights_give_pyros_bound_and_gradients_at_the_same_seed(setting, particles, unit):
    (ours, theirs), pair, found = unit, Several(**setting), []
    for elbo in (ours(**particles), theirs(**particles)):
        pyro.set_rng_seed(0)
        loss = elbo(pair.model, pair.guide)()
        found.append([loss.detach(), *torch.autograd.grad(loss, pair.parameters)])
    for value, reference in zip(*found, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize("make", WEIGHTED.values(), ids=list(WEIGHTED))
@pytest.mark.parametrize(
    "particles", [PARTICLES["one"], PARTICLES["three at once"]], ids=["one", "three at once"]
)
def test_gradients_equal_finite_differences(particles, make):
    pair = Several(scale=0.3, mask=torch.arange(BATCH) % 3 > 0)
    module = make(pair, **particles)(pair.model, pair.guide).eval()

    def loss(*parameters):
        pyro.set_rng_seed(0)
        return module() / NUM_DATA

    assert torch.autograd.gradcheck(loss, tuple(pair.parameters), fast_mode=True)


@pytest.mark.parametrize("make", WEIGHTED.values(), ids=list(WEIGHTED))
@pytest.mark.parametrize(
    "other",
    [
        *({"names": names} for names in itertools.islice(itertools.permutations(SHAPES), 1, 4)),
        {"prefix": "a name of "},
        {"split": True},
    ],
    ids=str,
)
def test_terms_do_not_depend_on_names_order_and_split_of_sites(other, make):
    found = []
    for pair in (Several(), Several(**other)):
        elbo = make(pair)
        if isinstance(elbo, HFELBO):
            elbo.groups = [[name for name, *_ in pair.statements()]]  # a split makes other groups
        elbo.loss(pair.model, pair.held())
        found.append(
            {k: v for k, v in elbo.last_terms.items() if k != "mmd"}
        )  # has draws of its own
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-9, atol=1e-8, msg=name)


@pytest.mark.parametrize("other", [{"names": tuple(reversed(SHAPES))}, {"split": True}], ids=str)
def test_a_critics_estimate_does_not_depend_on_order_and_split_of_sites(other):
    found = []
    for pair in (Several(), Several(**other)):
        elbo = FactorELBO(Symmetric())
        elbo.loss(pair.model, pair.held())
        found.append(elbo.last_terms["density_ratio"])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("make", NEED_A_PLATE.values(), ids=list(NEED_A_PLATE))
def test_a_latent_of_all_data_is_a_term_of_weight_one(make):
    pair, local = Several(), Several().held()
    prior, posterior = (
        dist.Normal(torch.tensor(loc, **DOUBLE), scale) for loc, scale in ((0.0, 1.0), (0.3, 0.5))
    )

    def model():
        pyro.sample("width", prior)
        pair.model()

    def guide():
        pyro.sample("width", posterior)
        local()

    held = Held({"width": torch.tensor(0.7, **DOUBLE)})
    losses = []
    for programs in ((model, held(guide)), (pair.model, local)):
        elbo = make(pair)
        pyro.set_rng_seed(0)
        losses.append(elbo.loss(*programs))
    expected = torch.distributions.kl_divergence(posterior, prior)
    if isinstance(elbo, TCELBO | HFELBO):  # which score the draw
        expected = (posterior.log_prob(held.values["width"])) - prior.log_prob(held.values["width"])
    assert losses[0] - losses[1] == pytest.approx(expected.item(), rel=1e-6)
    pyro.set_rng_seed(0)
    ours = BetaELBO(1.0).loss(model, guide)
    pyro.set_rng_seed(0)
    assert ours == pytest.approx(TraceMeanField_ELBO().loss(model, guide), rel=1e-12)


@pytest.mark.parametrize("make", NEED_A_PLATE.values(), ids=list(NEED_A_PLATE))
def test_a_scale_for_each_datum_is_refused(make):
    pair = Several(scale=torch.linspace(0.5, 2.0, BATCH, **DOUBLE))
    with pytest.raises(
        ValueError, match=r"expected one scale for all data, got a tensor of shape \(8,\)"
    ):
        make(pair).loss(pair.model, pair.guide)


def test_a_mask_over_another_plate_of_the_same_size_is_not_taken_for_one_over_the_data():
    loc = torch.randn(BATCH, BATCH, **DOUBLE)
    kept = torch.arange(BATCH) % 2 > 0

    def penalties(loc, mask):
        def pair(fn):
            data = pyro.plate("data", BATCH, dim=-1)
            with data, pyro.plate("parts", len(loc), dim=-2), poutine.mask(mask=mask[:, None]):
                z = pyro.sample("z", fn)
            return data, z

        def model():
            data, z = pair(dist.Normal(torch.zeros((), **DOUBLE), 1.0))
            with data:
                pyro.sample("x", dist.Normal(z.sum(0), 1.0), obs=torch.zeros(BATCH, **DOUBLE))

        elbo = DIPELBO()
        elbo.loss(model, lambda: pair(dist.Normal(loc, 1.0)))
        return elbo.last_terms

    masked, alone = penalties(loc, kept), penalties(loc[kept], kept[kept])
    for name in ("off_diagonal", "diagonal"):
        torch.testing.assert_close(masked[name], alone[name])


def test_latents_in_an_inner_plate_are_the_coordinates_of_a_vector():
    loc, x = torch.randn(BATCH, 4, requires_grad=True), torch.randn(BATCH, 4)

    def inner(fn, obs=None):
        with (
            pyro.plate("data", NUM_DATA, subsample=range(BATCH), dim=-2),
            pyro.plate("parts", 4, dim=-1),
        ):
            z = pyro.sample("z", fn)
            return z if obs is None else pyro.sample("x", dist.Normal(z, 1.0), obs=obs)

    def outer(fn, obs=None):
        with pyro.plate("data", NUM_DATA, subsample=range(BATCH)):
            z = pyro.sample(
                "z", fn.expand([4]).to_event(1) if fn.batch_shape == () else fn.to_event(1)
            )
            return z if obs is None else pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=obs)

    for make in [m for k, m in WEIGHTED.items() if k != "sparsity"]:
        found = []
        for pair in (inner, outer):
            pyro.set_rng_seed(0)
            elbo = make(None)
            elbo.loss(
                lambda pair=pair: pair(dist.Normal(0.0, 1.0), x),
                lambda pair=pair: pair(dist.Normal(loc, 0.5)),
            )
            found.append(elbo.last_terms)
        for name, value in found[0].items():
            torch.testing.assert_close(found[1][name], value, msg=name)


@pytest.mark.parametrize(
    "make", [lambda: BetaELBO(), lambda: TCELBO(num_data=100)], ids=["beta", "tc"]
)
def test_a_latent_that_needs_enumeration_is_refused(make):
    loc = torch.zeros(4, requires_grad=True)

    def model():
        with pyro.plate("data", 4):
            kind = pyro.sample(
                "kind", dist.Categorical(logits=torch.zeros(3)), infer={"enumerate": "parallel"}
            )
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + kind, 1.0), obs=torch.zeros(4))

    def guide(kinds=()):
        with pyro.plate("data", 4):
            for name in kinds:
                pyro.sample(
                    name, dist.Categorical(logits=torch.zeros(3)), infer={"enumerate": "parallel"}
                )
            pyro.sample("z", dist.Normal(loc, 1.0))

    with pytest.raises(
        ValueError, match="samples 'kind', the guide does not; .* nothing is enumerated here"
    ):
        make().loss(model, guide)
    with pytest.raises(
        ValueError, match="latent 'kind' is drawn from Categorical, which is not reparameterised"
    ):
        make().loss(model, lambda: guide(["kind"]))


@pytest.mark.parametrize("elbo", [BetaELBO(), SparsityELBO()], ids=["beta", "sparsity"])
def test_a_pair_without_latents_has_its_likelihood(elbo):
    def model(x):
        pyro.sample("x", dist.Normal(pyro.param("loc", torch.zeros(3)), 1.0).to_event(1), obs=x)

    assert elbo.loss(model, lambda x: None, torch.ones(3)) == pytest.approx(
        1.5 * math.log(2 * math.pi) + 1.5
    )


@pytest.mark.parametrize(
    "elbo",
    [AdversarialMI(critic_network(5, hidden=4)), BidirectionalELBO(JointCritic(5, 2, hidden=4))],
)
def test_a_model_that_cannot_generate_data_is_refused(elbo):
    with pytest.raises(ValueError, match="takes no batch_size; as_story"):
        elbo.loss(lambda x: None, lambda x: None, torch.zeros(3, 5))


def test_a_critic_in_single_precision_judges_latents_in_double():
    pair = Several()
    elbo = FactorELBO(critic().float(), 2.0)
    loss = elbo(pair.model, pair.guide)()
    assert all(
        g.dtype == torch.float64
        for g in torch.autograd.grad(loss, pair.parameters, retain_graph=True)
    )
    assert all(
        g.dtype == torch.float32 for g in torch.autograd.grad(loss, list(elbo.critic.parameters()))
    )


def of_each_datum(*, mask=True, parts=None, outside=()):
    """A pair of functions; ``parts`` of 40 pixels are shown, and sites called so are ``outside`` of the plate."""
    slope = torch.randn(40, 2, generator=torch.Generator().manual_seed(4))

    def model(x):
        if "width" in outside:
            pyro.sample("width", dist.Normal(0.0, 1.0))
        if "year" in outside:
            pyro.sample("year", dist.Normal(0.0, 1.0), obs=torch.tensor(0.5))
        with pyro.plate("data", len(x), dim=-2), poutine.mask(mask=mask):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            with pyro.plate("pixels", 40, subsample_size=parts, dim=-1) as shown:
                pyro.sample(
                    "x", dist.Normal((z.squeeze(-2) @ slope.T)[:, shown], 1.0), obs=x[:, shown]
                )

    def guide(x):
        if "width" in outside:
            pyro.sample("width", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), dim=-2), poutine.mask(mask=mask):
            pyro.sample("z", dist.Normal(0.1 * (x @ slope)[:, None], 0.5).to_event(1))

    return as_story(model, guide)


def test_the_bound_of_each_datum_respects_masks():
    x, mask = torch.randn(6, 40), (torch.arange(6) % 2 > 0)[:, None]
    masked, whole = (elbo_per_datum(of_each_datum(mask=m), x, num_samples=3) for m in (mask, True))
    for name in ("elbo", "log_likelihood"):
        assert (masked[name].values == whole[name].values * mask[:, 0].numpy()).all()
    assert masked["kl"].sum("code").values == pytest.approx(
        whole["kl"].sum("code").values * mask[:, 0].numpy()
    )


def test_the_bound_of_each_datum_counts_pixels_for_those_that_are_not_shown():
    x = torch.randn(6, 40)
    some, whole = (
        elbo_per_datum(of_each_datum(parts=n), x, num_samples=4000)["log_likelihood"]
        for n in (10, None)
    )
    assert some.values == pytest.approx(whole.values, rel=0.05)


@pytest.mark.parametrize("measure", [elbo_per_datum, log_marginal])
def test_a_latent_shared_by_all_data_has_no_bound_per_datum(measure):
    x = torch.randn(6, 40)
    with pytest.raises(
        ValueError, match="latent 'width' is outside of the plate 'data' over the data"
    ):
        measure(of_each_datum(outside=("width",)), x)
    with pytest.raises(
        ValueError, match="observed site 'year' is outside of the plate 'data' over the data"
    ):
        measure(of_each_datum(outside=("year",)), x)
