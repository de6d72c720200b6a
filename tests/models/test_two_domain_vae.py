"""Two domains: shared content is separated from attributes, without paired data."""

import math

import pytest
import torch
from pyro import poutine
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from torch import nn

from ppl_disentangle.conditionals import Bernoulli, GaussianLearnedScale, Grouped
from ppl_disentangle.data import from_arrays, with_conditions
from ppl_disentangle.inference import BetaELBO, DomainELBO, fit
from ppl_disentangle.models import TwoDomainVAE
from ppl_disentangle.zoo import build
from tests.toys import grid, mixed, network

NUM, FEATURES = 6000, 16
TRAIN, TEST = slice(0, 4000), slice(4000, NUM)


def toy():
    """Two shared factors, an attribute, a domain: ``(content, domain, x)``; x in domain 1."""
    generator = torch.Generator().manual_seed(0)
    content = (
        torch.rand(NUM, 2, generator=generator).square() * 3 - 1
    )  # no map onto itself but one is smooth
    attribute = 0.5 * torch.randn(NUM, 1, generator=generator)
    domain = (torch.rand(NUM, 1, generator=generator) > 0.5).float()

    def seen(attribute, domain):
        return mixed(torch.cat([content, attribute, 2 * domain - 1], -1), FEATURES, scale=0.8)

    x = seen(attribute, domain)
    x = x + 0.02 * torch.randn(x.shape, generator=generator)
    return content, domain, x, seen(torch.zeros_like(attribute), torch.ones_like(domain))


def fitted(x, domain, weight):
    torch.manual_seed(0)
    encoder = Grouped(network(FEATURES, 8), {"content": 3, "attribute": 1})
    story = TwoDomainVAE(
        encoder, GaussianLearnedScale(network(4, FEATURES), scale=0.3), weight=weight
    )
    fit(
        story,
        with_conditions(from_arrays(x), domain=domain),
        steps=1500,
        batch_size=128,
        progress=False,
    )
    return story


def test_data_are_carried_over_with_their_content_where_a_critic_keeps_the_domain_out_of_it():
    content, domain, x, truth = toy()
    scores = {}
    for weight in (3.0, 0.0):
        story = fitted(x[TRAIN], domain[TRAIN], weight)
        with torch.no_grad():
            code = story.encoder(x)["content"].mean
            first = domain[:, 0] == 0
            new = first & (torch.arange(NUM) >= TEST.start)
            carried = story.translate(x[new], 1)
        probe = KNeighborsClassifier(20).fit(code[TRAIN], domain[TRAIN, 0])
        accuracy = probe.score(code[TEST], domain[TEST, 0])
        read = KNeighborsRegressor(10).fit(code[TRAIN][first[TRAIN]], content[TRAIN][first[TRAIN]])
        there = read.score(code[TEST][~first[TEST]], content[TEST][~first[TEST]])
        error = (carried - truth[new]).square().mean() / truth[new].var(0).mean()
        scores[weight] = accuracy, there, error.item()
    accuracy, there, error = scores[3.0]
    assert accuracy < 0.65  # 0.5 by chance
    assert there > 0.97  # what reads contents in one domain reads them in the other
    assert error < 0.1
    accuracy, _, error = scores[0.0]
    assert accuracy > 0.9
    assert error > 0.5


def small():
    torch.manual_seed(0)
    encoder = Grouped(nn.Linear(6, 6), {"content": 2, "attribute": 1})
    return TwoDomainVAE(encoder, Bernoulli(nn.Linear(3, 6)))


def test_the_critic_is_asked_for_the_domain_and_the_pair_for_the_other_one():
    story, x = small(), torch.rand(4, 6).round()
    domain = torch.tensor([[1.0], [0.0], [0.0], [1.0]])
    logits = torch.tensor([0.3, -0.2, 0.9, -1.1])

    class Given(nn.Module):
        def forward(self, code):
            return logits

    objective = DomainELBO(Given(), "content")
    objective.loss(story.model, story.guide, x, domain=domain)
    signs = [1, -1, -1, 1]
    lost = sum(math.log1p(math.exp(-s * v)) for s, v in zip(signs, logits.tolist(), strict=True))
    swapped = sum(math.log1p(math.exp(s * v)) for s, v in zip(signs, logits.tolist(), strict=True))
    assert objective.last_terms["critic"].item() == pytest.approx(-lost, rel=1e-5)
    assert objective.last_terms["domain_confusion"].item() == pytest.approx(-swapped, rel=1e-5)


def test_the_cross_cycle_is_written_out():
    story, x = small(), torch.rand(4, 6).round()
    domain = torch.tensor([[1.0], [0.0], [0.0], [1.0]])
    trace = poutine.trace(story.guide).get_trace(x, domain=domain)
    content, attribute = (trace.nodes[name]["value"] for name in story.latents)
    for b in range(4):
        carried = story.decoder(torch.cat([content[b], attribute[b - 1]])[None]).mean
        left = story.encoder(carried)["content"].mean[0]
        expected = -story.decoder(torch.cat([left, attribute[b]])[None]).log_prob(x[b : b + 1])
        torch.testing.assert_close(trace.nodes["cross_cycle"]["fn"].log_factor[b], expected[0])


def test_attributes_are_of_their_domain_and_of_either_where_it_is_not_known():
    story = small()
    first, second = story.centres.detach()
    attributes = story.attributes(torch.tensor([[0.0], [1.0]]))
    torch.testing.assert_close(attributes.mean, torch.stack([first, second]))
    at = torch.linspace(-2, 2, 5)[:, None]
    either = torch.stack([story.attributes(torch.full((5, 1), d)).log_prob(at) for d in (0.0, 1.0)])
    torch.testing.assert_close(
        story.attributes(None).log_prob(at), either.logsumexp(0) - math.log(2)
    )


def test_domains_are_halves_of_a_factor_and_bad_ones_are_named():
    data = grid()
    story = build(
        "two_domain_vae", data, network="mlp", likelihood="gaussian", options={"factor": "factor1"}
    )
    domain = story.training_data(data).conditions(torch.arange(len(data)))["domain"]
    assert torch.equal(domain[:, 0], (data.factors(torch.arange(len(data)))[:, 1] >= 3).float())
    with pytest.raises(
        ValueError,
        match=r"TwoDomainVAE needs a factor that separates domains: toy has .*, not 'hue'",
    ):
        build("two_domain_vae", data, network="mlp", options={"factor": "hue"})
    with pytest.raises(
        ValueError, match=r"expected domains of shape \(batch, 1\), 0 or 1, got \(4,\)"
    ):
        small().model(torch.rand(4, 6), domain=torch.zeros(4))
    with pytest.raises(
        ValueError, match="expected an encoder of the groups 'content' and 'attribute'"
    ):
        TwoDomainVAE(Grouped(nn.Linear(6, 4), {"a": 2}), Bernoulli(nn.Linear(2, 6)))
    with pytest.raises(
        ValueError, match="expected a latent 'style', the content that both domains share"
    ):
        DomainELBO(nn.Linear(2, 1), "style").loss(
            small().model, small().guide, torch.rand(4, 6), domain=torch.ones(4, 1)
        )
    assert torch.isfinite(
        torch.tensor(BetaELBO().loss(small().model, small().guide, torch.rand(4, 6)))
    )
