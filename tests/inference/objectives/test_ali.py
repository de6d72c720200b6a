"""BidirectionalELBO against a plain loop, and against Gaussian pairs whose divergence is known."""

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
from torch.distributions import kl_divergence
from torch.nn.functional import softplus

from ppl_disentangle import GenerativeStory
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import fit
from ppl_disentangle.inference.elbo.critics import JointCritic, player_loss, verdict_loss
from ppl_disentangle.inference.elbo.generated import generated_traces
from ppl_disentangle.inference.objectives.ali import BidirectionalELBO
from tests.inference.objectives.test_factor_vae import devices_of_a_step, seen_by

MEAN, SCALE = 0.5, 1.5


class Line(GenerativeStory):
    """z ~ N(0, 1), x ~ N(c z + d, t^2) and q(z | x) = N(a x + b, s^2), the latter four learned."""

    latents = ("z",)

    def __init__(self, c=0.1, d=0.0, t=1.0, a=0.1, b=0.0, s=1.0):
        super().__init__()
        self.decoder = nn.ParameterList(
            [torch.tensor([c]), torch.tensor([d]), torch.tensor([math.log(t)])]
        )
        self.encoder = nn.ParameterList(
            [torch.tensor([a]), torch.tensor([b]), torch.tensor([math.log(s)])]
        )
        self.mask = True

    def model(self, x=None, *, batch_size=1):
        c, d, log_t = self.decoder
        with self.data_plate(x, batch_size), poutine.mask(mask=self.mask):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(c), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(c * z + d, log_t.exp()).to_event(1), obs=x)

    def guide(self, x):
        a, b, log_s = self.encoder
        with self.data_plate(x), poutine.mask(mask=self.mask):
            pyro.sample("z", dist.Normal(a * x + b, log_s.exp()).to_event(1))

    def joints(self):
        """q(x, z) and p(x, z) for data from N(MEAN, SCALE^2)."""
        (c, d, t), (a, b, s) = ((p.item() for p in part) for part in (self.decoder, self.encoder))
        v, q_noise, p_noise = SCALE**2, math.exp(2 * s), math.exp(2 * t)
        q = (
            torch.tensor([MEAN, a * MEAN + b]),
            torch.tensor([[v, a * v], [a * v, a * a * v + q_noise]]),
        )
        p = torch.tensor([d, 0.0]), torch.tensor([[c * c + p_noise, c], [c, 1.0]])
        return dist.MultivariateNormal(*q), dist.MultivariateNormal(*p)


def data(num):
    return MEAN + SCALE * torch.randn(num, 1)


def small_critic():
    return JointCritic(1, 1, hidden=32, layers=2)


def make(num=64, **options):
    torch.manual_seed(0)
    return Line(), BidirectionalELBO(small_critic(), **options), data(num)


@pytest.mark.parametrize("seed", range(5))
def test_the_trained_critic_reports_the_divergence_of_two_gaussians(seed):
    torch.manual_seed(seed)
    pair = Line(c=0.5, d=0.2, t=1.0, a=0.5, b=0.2, s=0.7)
    q, p = pair.joints()
    elbo = BidirectionalELBO(small_critic())
    bound, steps = elbo(pair.model, pair.guide), 400
    optimizer = torch.optim.Adam(elbo.parameters(), lr=5e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (bound(data(1024)) / 1024).backward()
        optimizer.step()
        decay.step()
    x, z = q.sample((20_000,)).split(1, -1)
    assert elbo.frozen_logits(x, z).mean().item() == pytest.approx(
        kl_divergence(q, p).item(), abs=0.04
    )


@pytest.mark.parametrize("seed", range(3))
def test_encoder_and_generator_come_to_draw_the_same_pairs(seed):
    torch.manual_seed(seed)
    pair, elbo = (
        Line(c=-0.5, t=0.5, a=0.5),
        BidirectionalELBO(small_critic(), critic_options={"lr": 1e-2}),
    )
    before = kl_divergence(*pair.joints()).item()
    svi = SVI(
        pair.model,
        pair.guide,
        PyroOptim(torch.optim.Adam, elbo.svi_options(lr=1e-2, betas=(0.5, 0.99))),
        elbo,
    )
    for _ in range(400):
        svi.step(data(256))
    after = kl_divergence(*pair.joints()).item()
    assert before > 5
    assert after < 0.05


@pytest.mark.parametrize("game", ["logistic", "hinge", "wasserstein", "least_squares"])
def test_each_player_has_the_gradient_of_a_plain_loop(game):
    pair, elbo, x = (part.double() for part in make(loss=game))
    pair.num_data, critic = 1000, elbo.critic
    parameters = [*pair.parameters(), *critic.parameters()]
    torch.manual_seed(5)
    loss = elbo(pair.model, pair.guide)(x)
    gradients = torch.autograd.grad(loss, parameters)

    torch.manual_seed(5)
    (c, d, log_t), (a, b, log_s) = pair.decoder, pair.encoder
    z = torch.randn_like(x)
    drawn = c * z + d + log_t.exp() * torch.randn_like(x)
    read = a * x + b + log_s.exp() * torch.randn_like(x)
    frozen = copy.deepcopy(critic).requires_grad_(False)
    encoder = player_loss(game, frozen(x, read), real=False).mean()
    generator = player_loss(game, frozen(drawn, z), real=True).mean()
    of_critic = verdict_loss(game, critic(x, read.detach()), real=True).mean()
    of_critic = of_critic + verdict_loss(game, critic(drawn.detach(), z), real=False).mean()
    expected = torch.autograd.grad(1000 * (encoder + generator + of_critic), parameters)
    for gradient, reference in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, reference)
    torch.testing.assert_close(loss, 1000 * (encoder + generator))
    for name, value in {"encoder": encoder, "generator": generator, "critic": of_critic}.items():
        torch.testing.assert_close(elbo.last_terms[name], -1000 * value.detach())


@pytest.mark.parametrize("penalty", [0.0, 10.0])
@pytest.mark.parametrize("game", ["logistic", "wasserstein"])
def test_each_term_trains_one_player_alone(game, penalty):
    pair, elbo, x = make(loss=game, gradient_penalty=penalty)
    terms = elbo.terms(*generated_traces(pair.model, pair.guide, x, read_back=False))
    players = {"encoder": pair.encoder, "generator": pair.decoder, "critic": elbo.critic}
    for name, term in terms.items():
        for player, module in players.items():
            own = torch.autograd.grad(
                term, list(module.parameters()), retain_graph=True, allow_unused=True
            )
            assert any(g is not None and g.any() for g in own) == (player == name)


def test_the_penalty_is_on_the_gradient_by_data_and_latents():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([3.0, 4.0]))

        def forward(self, x, z):
            return torch.cat([x, z], -1) @ self.w

    pair, _, x = make()
    for game, penalty in (("least_squares", 12.5), ("wasserstein", 16.0)):
        values = []
        for weight in (0.0, 1.0):
            elbo = BidirectionalELBO(Linear(), loss=game, gradient_penalty=weight)
            torch.manual_seed(1)
            elbo.loss(pair.model, pair.guide, x)
            values.append(elbo.last_terms["critic"].item() / len(x))
        assert values[0] - values[1] == pytest.approx(penalty, rel=1e-4)


def test_masked_data_do_not_count():
    pair, elbo, x = make(8)
    pair.mask = mask = torch.arange(8) % 3 > 0
    seen = seen_by(elbo.critic)
    elbo.loss(pair.model, pair.guide, x)
    (encoded, generated), critic = [[t[mask] for t in inputs] for inputs in seen[:2]], elbo.critic
    torch.testing.assert_close(
        elbo.last_terms["encoder"], -softplus(critic(*encoded)).sum().detach()
    )
    torch.testing.assert_close(
        elbo.last_terms["generator"], -softplus(-critic(*generated)).sum().detach()
    )
    expected = softplus(-critic(*encoded)).sum() + softplus(critic(*generated)).sum()
    torch.testing.assert_close(elbo.last_terms["critic"], -expected.detach())


class Vectors(GenerativeStory):
    """Two latents and noise that the guide lacks, both conditionals deterministic, as in BiGAN."""

    latents = ("u", "v")

    def __init__(self):
        super().__init__()
        self.generator, self.encoder = nn.Linear(2 + 1 + 1, 3), nn.Linear(3, 3)

    def model(self, x=None, *, batch_size=1):
        zeros = self.encoder.bias.new_zeros(())
        with self.data_plate(x, batch_size):
            v = pyro.sample("v", dist.Normal(zeros, 1.0))
            u = pyro.sample("u", dist.Normal(zeros.expand(2), 1.0).to_event(1))
            e = pyro.sample("e", dist.Normal(zeros, 1.0))
            x_of = self.generator(torch.cat([u, v[:, None], e[:, None]], -1))
            return pyro.sample("x", dist.Delta(x_of, event_dim=1), obs=x)

    def guide(self, x):
        h = self.encoder(x)
        with self.data_plate(x):
            pyro.sample("u", dist.Delta(h[:, :2], event_dim=1))
            pyro.sample("v", dist.Delta(h[:, 2]))


def test_latents_stand_in_the_guides_order_on_both_sides():
    torch.manual_seed(0)
    story, x = Vectors(), torch.randn(8, 3)
    elbo = BidirectionalELBO(JointCritic(3, 3, hidden=8))
    seen = seen_by(elbo.critic)
    torch.manual_seed(1)
    elbo.loss(story.model, story.guide, x)
    torch.manual_seed(1)
    nodes = poutine.trace(story.model).get_trace(batch_size=8).nodes
    (real, encoded), (generated, drawn) = seen[:2]
    assert torch.equal(real, x)
    torch.testing.assert_close(encoded, story.encoder(x))
    torch.testing.assert_close(generated, nodes["x"]["value"])
    torch.testing.assert_close(
        drawn, torch.cat([nodes["u"]["value"], nodes["v"]["value"][:, None]], -1)
    )


def test_fit_trains_all_players_and_resumes_bit_for_bit(tmp_path):
    def run(*stops, **options):
        for steps in stops:
            torch.manual_seed(0)
            story, elbo = (
                Vectors(),
                BidirectionalELBO(JointCritic(3, 3, hidden=8), critic_options={"lr": 1e-2}),
            )
            before = copy.deepcopy(story.state_dict() | elbo.state_dict())
            x = from_arrays(torch.randn(64, 3))
            history = fit(
                story, x, steps=steps, objective=elbo, batch_size=16, progress=False, **options
            )
        return history, story.state_dict() | elbo.state_dict(), before

    history, weights, before = run(6)
    parts, resumed, _ = run(3, 6, checkpoint=tmp_path / "run", resume=True)
    assert history.equals(parts)
    assert all(torch.equal(v, resumed[k]) for k, v in weights.items())
    assert not [k for k, v in weights.items() if torch.equal(v, before[k])]
    assert any(k.startswith("critic.") for k in weights)


@pytest.mark.parametrize("game", ["logistic", "wasserstein"])
def test_a_training_step_stays_on_the_meta_device(game):
    pyro.enable_validation(False)
    with torch.device("meta"):
        story, critic, x = Vectors(), JointCritic(3, 3, hidden=8), torch.empty(16, 3)
        elbo = BidirectionalELBO(critic, loss=game, gradient_penalty=1.0)
    assert devices_of_a_step(story, elbo, x) == {"meta"}


def test_errors_say_what_is_expected():
    pair, elbo, x = make()

    def discrete(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.OneHotCategorical(torch.ones(len(x), 1)))

    with pytest.raises(
        ValueError, match="latent 'z' is drawn from OneHotCategorical, which is not reparameterised"
    ):
        elbo.loss(pair.model, discrete, x)
    with pytest.raises(
        ValueError, match=r"the critic does not take inputs of shape \(64, 1\) and \(64, 1\)"
    ):
        BidirectionalELBO(JointCritic(1, 2)).loss(pair.model, pair.guide, x)
    with pytest.raises(
        ValueError, match="vectorize_particles does not apply to data that the model generates"
    ):
        BidirectionalELBO(small_critic(), num_particles=2, vectorize_particles=True)
