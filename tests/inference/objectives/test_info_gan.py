"""Games and AdversarialMI against closed forms, a plain loop of InfoGAN, and data whose codes are known."""

import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI
from pyro.optim import PyroOptim
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from ppl_disentangle import GenerativeStory
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import fit
from ppl_disentangle.inference.elbo.critics import critic_network, player_loss, verdict_loss
from ppl_disentangle.inference.elbo.generated import generated_traces
from ppl_disentangle.inference.objectives.info_gan import AdversarialMI
from tests.inference.objectives.test_factor_vae import devices_of_a_step, seen_by

GAMES = ["logistic", "hinge", "wasserstein", "least_squares"]
MEANS = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]])


class InfoGAN(GenerativeStory):
    """x = G(c, e) with a one-hot code c and noise e, and q(c | x)."""

    latents = ("c",)

    def __init__(self, hidden=32):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4 + 2, hidden), nn.ReLU(), nn.Linear(hidden, 2))
        self.encoder = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, 4))
        self.register_buffer("uniform", torch.full((4,), 0.25))

    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            c = pyro.sample("c", dist.OneHotCategorical(self.uniform))
            e = pyro.sample("e", dist.Normal(self.uniform.new_zeros(2), 1.0).to_event(1))
            return pyro.sample(
                "x", dist.Delta(self.generator(torch.cat([c, e], -1)), event_dim=1), obs=x
            )

    def guide(self, x):
        with self.data_plate(x):
            pyro.sample("c", dist.OneHotCategorical(logits=self.encoder(x)))


def four_gaussians(num=4096):
    return MEANS[torch.randint(4, (num,))] + 0.1 * torch.randn(num, 2)


def small_critic(dim=2, outputs=1):
    return critic_network(dim, hidden=32, layers=1, outputs=outputs)


def make(seed=0, num=64, **options):
    torch.manual_seed(seed)
    return InfoGAN(), AdversarialMI(small_critic(), **options), four_gaussians(num)


OPTIMA = {  # the logit that minimises p * loss(real) + (1 - p) * loss(not)
    "logistic": lambda p: math.log(p / (1 - p)),
    "hinge": lambda p: math.copysign(1.0, p - 0.5),
    "least_squares": lambda p: p,
}


@pytest.mark.parametrize("p", [0.2, 0.7])
@pytest.mark.parametrize("game", list(OPTIMA))
def test_the_optimal_logit_gives_the_probability_of_real(game, p):
    logits = torch.linspace(-3, 3, 60_001, dtype=torch.float64)
    expected = p * verdict_loss(game, logits, real=True) + (1 - p) * verdict_loss(
        game, logits, real=False
    )
    assert logits[expected.argmin()].item() == pytest.approx(OPTIMA[game](p), abs=1e-3)


def test_losses_are_those_of_the_papers():
    logits = torch.linspace(-3, 3, 13)
    for real in (True, False):
        labels = torch.full_like(logits, float(real))
        entropy = binary_cross_entropy_with_logits(logits, labels, reduction="none")
        torch.testing.assert_close(verdict_loss("logistic", logits, real=real), entropy)
        torch.testing.assert_close(player_loss("logistic", logits, real=real), entropy)
        torch.testing.assert_close(
            player_loss("least_squares", logits, real=real), (logits - labels) ** 2 / 2
        )
        for game in ("hinge", "wasserstein"):
            torch.testing.assert_close(
                player_loss(game, logits, real=real), -logits if real else logits
            )
        torch.testing.assert_close(
            verdict_loss("wasserstein", logits, real=real), -logits if real else logits
        )
        hinge = [max(0.0, 1 - value if real else 1 + value) for value in logits.tolist()]
        assert verdict_loss("hinge", logits, real=real).tolist() == pytest.approx(hinge)


class Linear(nn.Module):
    """The logit w . x."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([3.0, 4.0]))

    def forward(self, x):
        return x @ self.w


class Quadratic(Linear):
    """The logit |w * x|^2 / 2, whose gradient at w = 1 is x."""

    def forward(self, x):
        return (x * self.w).square().sum(-1) / 2


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_gradient_penalties_are_those_of_critics_whose_gradient_is_known(training):
    real, fake = 3 * torch.randn(1000, 2), torch.zeros(1000, 2)

    def penalty(critic, game):
        with torch.set_grad_enabled(training):
            with_it, _ = AdversarialMI(critic, loss=game, gradient_penalty=2.0).critic_loss(
                [real], [fake]
            )
            return (with_it - verdict_loss(game, critic(real), real=True)) / 2.0

    r1 = penalty(Linear(), "logistic")
    torch.testing.assert_close(r1.detach(), torch.full((1000,), 0.5 * 25.0))
    torch.testing.assert_close(penalty(Linear(), "wasserstein").detach(), torch.full((1000,), 16.0))
    quadratic = Quadratic()
    nn.init.ones_(quadratic.w)
    torch.testing.assert_close(penalty(quadratic, "hinge").detach(), real.square().sum(-1) / 2)
    between = penalty(
        quadratic, "wasserstein"
    ).detach()  # (u |x| - 1)^2, u uniform, the other end being 0
    lengths = real.norm(dim=-1)
    expected = (lengths**2 / 3 - lengths + 1).mean()
    assert between.mean().item() == pytest.approx(
        expected.item(), abs=5 * between.std().item() / 1000**0.5
    )
    assert r1.requires_grad == training
    if training:
        critic = Linear()
        penalty(critic, "logistic").mean().backward()
        torch.testing.assert_close(critic.w.grad, critic.w.detach())


@pytest.mark.parametrize("game", GAMES)
def test_each_player_has_the_gradient_of_a_plain_loop(game):
    weight, penalty = 0.7, 0.3 if game != "wasserstein" else 0.0
    story, elbo, x = (
        part.double() for part in make(weight=weight, loss=game, gradient_penalty=penalty)
    )
    story.num_data, critic = 1000, elbo.critic
    parameters = [*story.parameters(), *critic.parameters()]
    torch.manual_seed(5)
    loss = elbo(story.model, story.guide)(x)
    gradients = torch.autograd.grad(loss, parameters)

    torch.manual_seed(5)
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.OneHotCategorical(story.uniform))
        e = pyro.sample("e", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
    fake, frozen = (
        story.generator(torch.cat([c, e], -1)),
        copy.deepcopy(critic).requires_grad_(False),
    )
    information = (story.encoder(fake).log_softmax(-1) * c).sum(-1).mean() + math.log(4)
    generator = player_loss(game, frozen(fake)[:, 0], real=True).mean()
    x = x.requires_grad_()
    logits = critic(x)[:, 0]
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    of_critic = (
        verdict_loss(game, logits, real=True) + penalty / 2 * slope.square().sum(-1)
    ).mean()
    of_critic = of_critic + verdict_loss(game, critic(fake.detach())[:, 0], real=False).mean()
    expected = torch.autograd.grad(
        1000 * (generator - weight * information + of_critic), parameters
    )
    for gradient, reference in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, reference)
    torch.testing.assert_close(loss, 1000 * (generator - weight * information))
    torch.testing.assert_close(elbo.last_terms["mutual_information"], 1000 * information.detach())
    torch.testing.assert_close(elbo.last_terms["critic"], -1000 * of_critic.detach())


@pytest.mark.parametrize("penalty", [0.0, 10.0])
@pytest.mark.parametrize("game", GAMES)
def test_neither_player_gets_any_of_the_others_gradient(game, penalty):
    story, elbo, x = make(loss=game, gradient_penalty=penalty)
    terms = elbo.terms(*generated_traces(story.model, story.guide, x, read_back=True))
    players = {"encoder": story.encoder, "generator": story.generator, "critic": elbo.critic}
    moved = {
        (term, name)
        for term, value in terms.items()
        for name, player in players.items()
        if any(
            g is not None and g.any()
            for g in torch.autograd.grad(
                value, list(player.parameters()), retain_graph=True, allow_unused=True
            )
        )
    }
    both = {("mutual_information", "encoder"), ("mutual_information", "generator")}
    assert moved == {("generator", "generator"), ("critic", "critic"), *both}


def test_the_entropy_of_the_codes_is_held_fixed():
    story, elbo, x = make()
    story.uniform.requires_grad_()
    information = elbo.terms(*generated_traces(story.model, story.guide, x, read_back=True))[
        "mutual_information"
    ]
    assert torch.autograd.grad(information, story.uniform, allow_unused=True) == (None,)


class Codes(nn.Module):
    """c ~ N(0, I), x ~ N(slope * c, noise^2); q(c | x) = N(a x, b^2): as one site or two, all scalars known."""

    slope, noise, a, b = 1.5, 0.8, 0.4, 0.6

    def __init__(self, split=(2,), num_data=None, mask=None):
        super().__init__()
        self.split, self.num_data, self.mask = split, num_data, True if mask is None else mask

    def plate(self, size):
        return pyro.plate("data", self.num_data or size, subsample=range(size))

    def model(self, x=None, *, batch_size=1):
        with self.plate(batch_size if x is None else len(x)), poutine.mask(mask=self.mask):
            prior = [dist.Normal(torch.zeros(n), 1.0).to_event(1) for n in self.split]
            c = torch.cat([pyro.sample(f"c{i}", p) for i, p in enumerate(prior)], -1)
            return pyro.sample("x", dist.Normal(self.slope * c, self.noise).to_event(1), obs=x)

    def guide(self, x):
        with self.plate(len(x)), poutine.mask(mask=self.mask):
            for i, part in enumerate(x.split(self.split, -1)):
                pyro.sample(f"c{i}", dist.Normal(self.a * part, self.b).to_event(1))


@pytest.mark.parametrize("split", [(2,), (1, 1)], ids=str)
def test_the_bound_on_the_information_has_its_closed_form(split):
    pair, x, b = Codes(split), torch.zeros(100_000, 2), Codes.b
    elbo = AdversarialMI(small_critic())

    def information():
        elbo.loss(pair.model, pair.guide, x)
        return elbo.last_terms["mutual_information"].item() / len(x)

    error = (1 - pair.a * pair.slope) ** 2 + (pair.a * pair.noise) ** 2  # E (c - a x)^2
    assert information() == pytest.approx(2 * (-math.log(b) - error / (2 * b**2) + 0.5), abs=0.02)
    pair.a = pair.slope / (pair.slope**2 + pair.noise**2)
    pair.b = (1 - pair.a * pair.slope) ** 0.5
    assert information() == pytest.approx(math.log(1 + (pair.slope / pair.noise) ** 2), abs=0.02)


def test_terms_are_on_pyros_scale_and_masked_data_do_not_count():
    mask = torch.arange(8) % 3 > 0
    x = torch.randn(8, 2)

    def terms(**options):
        torch.manual_seed(0)
        pair, elbo = Codes(**options), AdversarialMI(small_critic())
        seen = seen_by(elbo.critic)
        torch.manual_seed(1)
        elbo.loss(pair.model, pair.guide, x)
        return elbo, elbo.last_terms, seen

    (_, plain, _), (_, scaled, _), (elbo, masked, seen) = (
        terms(),
        terms(num_data=80),
        terms(mask=mask),
    )
    for name, value in plain.items():
        torch.testing.assert_close(scaled[name], 10 * value)
    real, generated, _ = seen
    assert torch.equal(real, x)
    torch.testing.assert_close(
        masked["generator"], -softplus(-elbo.critic(generated[mask])).sum().detach()
    )
    expected = softplus(-elbo.critic(x[mask])).sum() + softplus(elbo.critic(generated[mask])).sum()
    torch.testing.assert_close(masked["critic"], -expected.detach())


def test_particles_average_the_terms():
    torch.manual_seed(0)
    pair, critic, x = Codes(), small_critic(), torch.randn(8, 2)

    def terms(num_particles, times):
        torch.manual_seed(1)
        elbo, sums = AdversarialMI(critic, num_particles=num_particles), {}
        for _ in range(times):
            elbo.loss(pair.model, pair.guide, x)
            sums = {k: sums.get(k, 0) + v / times for k, v in elbo.last_terms.items()}
        return sums

    torch.testing.assert_close(terms(3, 1), terms(1, 3))


@pytest.mark.parametrize("seed", range(5))
def test_codes_come_to_name_the_modes_of_the_data(seed):
    story, elbo, data = make(seed, 4096, critic_options={"lr": 4e-3})
    options = elbo.svi_options(lr=2e-3, betas=(0.5, 0.999))
    svi = SVI(story.model, story.guide, PyroOptim(torch.optim.Adam, options), elbo)
    entropy, bounds = math.log(4), []
    for _ in range(500):
        svi.step(data[torch.randint(len(data), (128,))])
        bounds.append(elbo.last_terms["mutual_information"] / 128)
    assert max(bounds) <= entropy + 1e-5
    elbo.loss(story.model, story.guide, data)
    assert elbo.last_terms["mutual_information"].item() / len(data) == pytest.approx(
        entropy, rel=0.02
    )
    trace = poutine.trace(story.model).get_trace(batch_size=2000)
    distances = torch.cdist(trace.nodes["x"]["value"], MEANS)
    assert distances.min(-1).values.mean() < 0.4
    modes = torch.stack(
        [distances.argmin(-1)[trace.nodes["c"]["value"][:, k] > 0].mode().values for k in range(4)]
    )
    assert modes.sort().values.tolist() == [0, 1, 2, 3]


def test_fit_trains_all_players_and_resumes_bit_for_bit(tmp_path):
    def run(*stops, **options):
        for steps in stops:
            story, elbo, x = make(gradient_penalty=0.1, critic_options={"lr": 1e-2})
            before = copy.deepcopy(story.state_dict() | elbo.state_dict())
            history = fit(
                story,
                from_arrays(x),
                steps=steps,
                objective=elbo,
                batch_size=16,
                progress=False,
                **options,
            )
        return history, story.state_dict() | elbo.state_dict(), before

    history, weights, before = run(6)
    parts, resumed, _ = run(3, 6, checkpoint=tmp_path / "run", resume=True)
    assert history.equals(parts)
    assert all(torch.equal(v, resumed[k]) for k, v in weights.items())
    assert [k for k, v in weights.items() if torch.equal(v, before[k])] == ["uniform"]
    assert any(k.startswith("critic.") for k in weights)
    value = -(history["generator"] + history["mutual_information"])
    torch.testing.assert_close(torch.tensor(history["loss"].values), torch.tensor(value.values))


@pytest.mark.parametrize("game", ["logistic", "wasserstein"])
def test_logits_of_a_bfloat16_critic_are_float32(game):
    story, elbo, x = make(loss=game, gradient_penalty=1.0)
    history = fit(
        story, from_arrays(x), steps=2, objective=elbo, precision="bfloat16", progress=False
    )
    assert bool(history.to_array().notnull().all())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert elbo.frozen_logits(x.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("game", ["logistic", "wasserstein"])
def test_a_training_step_stays_on_the_meta_device(game):
    pyro.enable_validation(False)
    with torch.device("meta"):
        story, elbo, x = (
            InfoGAN(),
            AdversarialMI(small_critic(), loss=game, gradient_penalty=1.0),
            torch.empty(64, 2),
        )
    assert devices_of_a_step(story, elbo, x) == {"meta"}


def test_errors_say_what_is_expected():
    story, elbo, x = make()

    def loss(model=story.model, guide=story.guide, x=x):
        return elbo.loss(model, guide, x)

    def other():
        with pyro.plate("data", 64):
            pyro.sample("k", dist.Normal(torch.zeros(64), 1.0))

    with pytest.raises(
        ValueError, match=r"samples latents of the model, \['c', 'e', 'x'\], got \['k'\]"
    ):
        loss(guide=lambda x: other())
    with pytest.raises(ValueError, match=r"got \[\]"):
        loss(guide=lambda x: None)
    with pytest.raises(
        ValueError,
        match=r"the data have shape \(64, 3\), the samples that the model generates have \(64, 2\)",
    ):
        loss(x=torch.zeros(64, 3))
    with pytest.raises(ValueError, match="returns the value of its observed site, got NoneType"):
        loss(model=lambda batch_size: other())

    def discrete(batch_size):
        with pyro.plate("data", batch_size):
            return pyro.sample("x", dist.Bernoulli(torch.zeros(batch_size, 2)).to_event(1))

    with pytest.raises(ValueError, match="no gradient passes through 'x', drawn from Independent"):
        loss(model=discrete)
    with pytest.raises(
        ValueError, match="vectorize_particles does not apply to data that the model generates"
    ):
        AdversarialMI(small_critic(), num_particles=2, vectorize_particles=True)
    with pytest.raises(ValueError, match=r"loss to be one of \['logistic', .*\], got 'gan'"):
        AdversarialMI(small_critic(), loss="gan")
    with pytest.raises(ValueError, match="gradient_penalty >= 0, got -1"):
        AdversarialMI(small_critic(), gradient_penalty=-1.0)
    with pytest.raises(
        ValueError, match="weight of 'mutual_information' that is not negative, got -1"
    ):
        AdversarialMI(small_critic(), -1.0)
