"""M2, and the bound that sums discrete latents out."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch import nn

from ppl_disentangle import do
from ppl_disentangle.conditionals import Bernoulli, Gaussian, GaussianLearnedScale
from ppl_disentangle.data import digits, from_arrays, with_conditions
from ppl_disentangle.inference import BetaELBO, EnumeratedELBO, elbo_per_datum, fit
from ppl_disentangle.models import M2
from ppl_disentangle.zoo import build
from tests.toys import network

CLASSES, FEATURES, NUM = 4, 12, 4000


def prototypes():
    """Four kinds around prototypes, with two coordinates of style of equal size: ``(kind, x)``."""
    generator = torch.Generator().manual_seed(0)
    kind = torch.randint(CLASSES, (NUM,), generator=generator)
    centres = torch.randn(CLASSES, FEATURES, generator=torch.Generator().manual_seed(5))
    style = torch.randn(2, FEATURES, generator=torch.Generator().manual_seed(6))
    x = centres[kind] + torch.randn(NUM, 2, generator=generator) @ style
    return kind, x + 0.3 * torch.randn(NUM, FEATURES, generator=generator)


def labels_of_two(kind):
    """The classes of two data of each kind, NaN for the others."""
    classes = torch.full((len(kind), 1), math.nan)
    for k in range(CLASSES):
        classes[(kind == k).nonzero()[:2, 0]] = k
    return classes


def classifier():
    return nn.Sequential(network(FEATURES, 32), nn.Tanh()), nn.Linear(32, CLASSES)


def accuracy(logits, kind):
    return (logits.argmax(-1) == kind).float().mean().item()


def test_data_without_labels_teach_the_classes_that_eight_labels_do_not():
    kind, x = prototypes()
    train, test, classes = slice(0, 2000), slice(2000, None), labels_of_two(kind[:2000])
    torch.manual_seed(0)
    heads = (
        Gaussian(nn.Linear(32 + CLASSES, 4), input_dims=1),
        GaussianLearnedScale(network(2 + CLASSES, FEATURES)),
    )
    story = M2(*classifier(), *heads, 2, CLASSES)
    fit(
        story,
        with_conditions(from_arrays(x[train]), classes=classes),
        steps=1000,
        batch_size=256,
        lr=2e-3,
        progress=False,
    )
    posterior = story.representation(x[test])
    assert accuracy(posterior["y"].logits, kind[test]) > 0.97
    torch.manual_seed(0)
    alone, known = nn.Sequential(*classifier()), ~classes[:, 0].isnan()
    optimizer = torch.optim.Adam(alone.parameters(), lr=2e-3)
    for _ in range(500):
        optimizer.zero_grad()
        nn.functional.cross_entropy(alone(x[train][known]), kind[train][known]).backward()
        optimizer.step()
    assert accuracy(alone(x[test]), kind[test]) < 0.9
    moved = do(story, {"y": torch.eye(CLASSES)[2]}).model(
        batch_size=500
    )  # what is drawn with a class is of it
    assert accuracy(story.representation(moved)["y"].logits, torch.full((500,), 2)) > 0.95


def small(num_classes=3):
    torch.manual_seed(0)
    heads = (
        Gaussian(nn.Linear(8 + num_classes, 4), input_dims=1),
        Bernoulli(nn.Linear(2 + num_classes, 6)),
    )
    return M2(nn.Linear(6, 8), nn.Linear(8, num_classes), *heads, 2, num_classes)


def test_the_bound_is_that_of_pyro_under_enumeration():
    story, x = small(), torch.rand(32, 6, generator=torch.Generator().manual_seed(1)).round()
    ours = EnumeratedELBO(num_particles=400)
    theirs = TraceEnum_ELBO(max_plate_nesting=1, num_particles=400)
    torch.manual_seed(3)
    expected = theirs.loss(story.model, config_enumerate(story.guide), x)
    assert ours.loss(story.model, story.guide, x) == pytest.approx(expected, rel=2e-3)


def test_the_bound_is_the_sum_over_classes_written_out():
    story, x = small(), torch.rand(5, 6, generator=torch.Generator().manual_seed(1)).round()
    with torch.no_grad():
        for p in story.encoder.parameters():
            p.mul_(0.1)
    pinned = torch.Generator().manual_seed(4)
    draws = torch.randn(3, 5, 2, generator=pinned)

    class Pinned(dist.Normal):
        noise: list[torch.Tensor] = []

        def rsample(self, sample_shape=torch.Size()):  # noqa: B008
            return self.loc + self.scale * self.noise.pop(0)

    plain = story.encoder
    story.encoder = nn.Module()
    story.encoder.forward = lambda h: Pinned(
        plain(h).base_dist.loc, plain(h).base_dist.scale
    ).to_event(1)
    Pinned.noise = [torch.zeros(5, 2), *draws]  # the first run only tells which values there are
    objective = EnumeratedELBO(2.0)
    loss = objective.loss(story.model, story.guide, x)
    total = 0.0
    for b in range(5):
        h = story.features(x[b : b + 1])
        q_y = story.classifier(h).softmax(-1)[0]
        for k in range(3):
            y = torch.eye(3)[k][None]
            q = plain(torch.cat([h, y], -1)).base_dist
            z = q.loc + q.scale * draws[k, b]
            likelihood = (
                dist.Bernoulli(logits=story.decoder.net(torch.cat([z, y], -1))).log_prob(x[b]).sum()
            )
            kl = (
                (0.5 * (q.loc**2 + q.scale**2 - 1) - q.scale.log()).sum()
                + q_y[k].log()
                + math.log(3)
            )
            total += (q_y[k] * (likelihood - 2.0 * kl)).item()
    assert -loss == pytest.approx(total, rel=1e-5)


def test_a_known_class_is_certain_and_its_log_probability_is_a_term():
    story, x = small(), torch.rand(4, 6, generator=torch.Generator().manual_seed(1)).round()
    classes = torch.tensor([[2.0], [math.nan], [0.0], [math.nan]])
    trace = poutine.trace(story.guide).get_trace(x, classes=classes)
    probabilities = trace.nodes["y"]["fn"].probs
    torch.testing.assert_close(probabilities[[0, 2]], torch.eye(3)[[2, 0]], atol=1e-6, rtol=0)
    own = story.classifier(story.features(x)).log_softmax(-1)
    torch.testing.assert_close(probabilities[[1, 3]], own[[1, 3]].exp())
    objective = story.objective()
    objective.loss(story.model, story.guide, x, classes=classes)
    assert objective.last_terms["misread"].item() == pytest.approx(
        (own[0, 2] + own[2, 0]).item(), rel=1e-4
    )
    assert objective.weight("misread") == 100.0


def test_the_bound_of_each_datum_takes_draws_of_a_class():
    story, x = small(), torch.rand(200, 6, generator=torch.Generator().manual_seed(1)).round()
    story.num_data = None
    bound = elbo_per_datum(story, x, num_samples=200)["elbo"].values.sum()
    exact = -EnumeratedELBO(num_particles=50).loss(story.model, story.guide, x)
    assert bound == pytest.approx(exact, rel=5e-3)


def test_gradients_that_would_be_lost_are_refused():
    story, x = small(), torch.rand(4, 6).round()
    with (
        pyro.validation_enabled(),
        pytest.raises(ValueError, match="use a relaxed distribution, EnumeratedELBO or"),
    ):
        BetaELBO().loss(story.model, story.guide, x)
    continuous = build("vae", from_arrays(x), latent_dim=2)
    with pytest.raises(ValueError, match="expected a guide with a discrete latent, it samples"):
        EnumeratedELBO().loss(continuous.model, continuous.guide, x)
    with pytest.raises(
        ValueError, match="vectorize_particles does not apply to enumerated latents"
    ):
        EnumeratedELBO(num_particles=2, vectorize_particles=True)


def test_it_is_built_from_data_and_refuses_data_without_factors():
    data = digits()
    story = build("m2", data, options={"fraction": 0.2})
    classes = story.training_data(data).conditions(torch.arange(len(data)))["classes"]
    assert classes.shape == (len(data), 1)
    assert (~classes.isnan()).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert story.num_classes == 10
    with pytest.raises(ValueError, match="M2 needs the classes of a factor: arrays has"):
        build("m2", from_arrays(torch.rand(8, 6)))
    with pytest.raises(ValueError, match=r"expected classes of shape \(batch, 1\)"):
        small().guide(torch.rand(4, 6), classes=torch.zeros(4))
    with pytest.raises(
        ValueError, match="expected rows over 3 values, none negative, that sum to 1"
    ):
        do(small(), {"y": torch.tensor([0.5, 0.5, 0.5])}).model()
    with pytest.raises(ValueError, match="at least two classes, got 1"):
        small(1)


def test_classes_and_latents_that_would_be_lost_are_named():
    story, x = small(), torch.rand(4, 6).round()
    with (
        pyro.validation_enabled(),
        pytest.raises(ValueError, match=r"expected classes 0 to 2, .* got \[-1\.0, 3\.0\]"),
    ):
        story.guide(x, classes=torch.tensor([[3.0], [math.nan], [-1.0], [0.0]]))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Bernoulli(0.5))
            pyro.sample("count", dist.Poisson(2.0))

    with pytest.raises(
        ValueError, match="latent 'count' is drawn from Poisson, which is not reparameterised"
    ):
        EnumeratedELBO().loss(story.model, guide, x)
