"""Stories of groups that keep the content out of the styles: by cycles, a critic or clamping."""

import numpy as np
import pytest
import torch
from pyro import poutine
from scipy.stats import spearmanr
from torch import nn

from ppl_disentangle.conditionals import Bernoulli, Gaussian, GaussianLearnedScale, Grouped
from ppl_disentangle.data import from_arrays, groups, sharing
from ppl_disentangle.inference import BetaELBO, JointCritic, SwapELBO
from ppl_disentangle.models import DCIGN, CycleConsistentVAE, MathieuVAE
from ppl_disentangle.representation import encode
from ppl_disentangle.zoo import build
from tests.models.test_weak_supervision import accuracies, codes_after, pair_of_networks
from tests.toys import grid, network

FEATURES, CONTENT, STYLE = 16, 2, 4
CHANCE = 1 / 6


@pytest.fixture(scope="module")
def toy():
    return grid()


def content_and_style():
    """A style of more coordinates than it needs, which leave room for the content."""
    encoder = Grouped(
        network(FEATURES, 2 * (CONTENT + STYLE)), {"content": CONTENT, "style": STYLE}
    )
    return encoder, GaussianLearnedScale(network(CONTENT + STYLE, FEATURES), scale=0.3)


def cycles(weight):
    return CycleConsistentVAE(*content_and_style(), event_dim=1, cycle=weight, beta=0.1)


def critic():
    return JointCritic(FEATURES, FEATURES, hidden=128)


def swaps(weight):
    return MathieuVAE(*content_and_style(), critic, event_dim=1, beta=0.1, weight=weight)


@pytest.mark.parametrize(("make", "weight"), [(cycles, 10.0), (swaps, 1.0)])
def test_styles_predict_the_shared_factors_only_without_the_term(toy, make, weight):
    """Two of four factors are shared; a probe of a class is right for one in six by chance."""
    shared = {}
    for term in (weight, 0.0):
        torch.manual_seed(1)
        codes, factors = codes_after(make(term), toy, sharing(toy, toy.factor_names[:2]))
        content, style = (
            accuracies(codes[:, :CONTENT], factors),
            accuracies(codes[:, CONTENT:], factors),
        )
        assert min(content[:2]) > 0.9
        assert max(content[2:]) < CHANCE + 0.1
        assert min(style[2:]) > 0.6
        shared[term] = max(style[:2])
    assert shared[weight] < CHANCE + 0.12
    assert shared[0.0] > 0.8


def test_the_cycle_is_the_distance_of_two_readings_and_teaches_the_encoder_alone():
    story, x = cycles(1.0), torch.randn(5, 2, FEATURES, generator=torch.Generator().manual_seed(1))
    content, style = torch.randn(5, CONTENT), torch.randn(5, STYLE)
    apart = story.reading_distance(content, style)
    for b in range(5):
        codes = torch.stack([torch.cat([content[c], style[b]]) for c in (b, b - 1)])
        own, other = story.encoder(story.decoder(codes).mean)["style"].mean
        assert apart[b].item() == pytest.approx((own - other).abs().sum().item(), rel=1e-4)
    apart.sum().backward()
    assert all(p.grad is None for p in story.decoder.parameters())
    assert any(p.grad is not None and p.grad.any() for p in story.encoder.parameters())
    objective = BetaELBO(factors={"cycle": 3.0})
    loss = objective.loss(story.model, story.guide, x)
    terms = objective.last_terms
    assert terms["cycle"] < 0
    expected = -(terms["log_likelihood"] + 4.0 * terms["kl"] + 3.0 * terms["cycle"])
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_a_swapped_member_has_the_content_of_its_group_and_the_style_of_another():
    story, x = swaps(1.0), torch.randn(5, 2, FEATURES, generator=torch.Generator().manual_seed(1))
    trace = poutine.trace(story.guide).get_trace(x)
    content, style = trace.nodes["content"]["value"], trace.nodes["style"]["value"]
    swapped = trace.nodes["swapped"]["value"]
    for g in range(5):
        expected = story.decoder(torch.cat([content[g], style[1, g - 1]])[None]).mean[0]
        torch.testing.assert_close(swapped[g], expected)


def test_the_critic_sees_a_member_beside_the_other_one_and_beside_the_swapped_one():
    story, x = swaps(1.0), torch.randn(5, 2, FEATURES, generator=torch.Generator().manual_seed(1))
    seen = []

    class Spy(nn.Module):
        def forward(self, first, second):
            seen.append((first, second))
            return first.new_full((len(first),), 0.7)

    objective = SwapELBO(Spy())
    objective.loss(story.model, story.guide, x)
    assert all(torch.equal(first, x[:, 0]) for first, _ in seen)
    assert sum(torch.equal(second, x[:, 1]) for _, second in seen) == 1
    gain, critic_gain = (objective.last_terms[name].item() for name in ("swapped", "critic"))
    assert gain == pytest.approx(-5 * np.log1p(np.exp(-0.7)), rel=1e-5)
    assert critic_gain == pytest.approx(
        -5 * (np.log1p(np.exp(-0.7)) + np.log1p(np.exp(0.7))), rel=1e-5
    )


def ign(factors=("a", "b", "c", "d"), **options):
    return DCIGN(*pair_of_networks(), dict.fromkeys(factors, 1), event_dim=1, **options)


def test_each_coordinate_finds_the_factor_whose_groups_it_was_free_in(toy):
    torch.manual_seed(0)
    story = ign(toy.factor_names)
    codes, factors = codes_after(story, toy, story.training_data(toy))
    found = np.abs(spearmanr(codes, factors).statistic[:4, 4:])
    assert np.diag(found).min() > 0.97
    assert (found - np.diag(np.diag(found))).max() < 0.2
    torch.manual_seed(0)
    codes, factors = codes_after(ign(toy.factor_names), toy, toy)  # single observations: a VAE
    assert np.diag(np.abs(spearmanr(codes, factors).statistic[:4, 4:])).min() < 0.7


def test_factors_that_stay_have_the_mean_of_the_group_and_learn_by_its_distance_alone():
    torch.manual_seed(0)
    story, x = ign(invariance=0.5), torch.randn(3, 4, FEATURES)
    varied = torch.tensor([2, 0, 2])
    trace = poutine.trace(story.guide).get_trace(x, varied=varied)
    q, own = trace.nodes["z"]["fn"].base_dist, story.encoder(x.flatten(0, 1)).base_dist
    distance = torch.zeros(12)
    for g in range(3):
        rows = slice(4 * g, 4 * g + 4)
        for d in range(4):
            loc, mean = own.loc[rows, d], own.loc[rows, d].mean()
            if d == varied[g]:
                torch.testing.assert_close(q.loc[rows, d], loc)
            else:
                torch.testing.assert_close(q.loc[rows, d], mean.expand(4))
                torch.testing.assert_close(
                    q.scale[rows, d] ** 2, (own.scale[rows, d] ** 2).mean().expand(4)
                )
                distance[rows] += 0.5 * (loc - mean) ** 2
    torch.testing.assert_close(
        trace.nodes["invariance"]["fn"].log_prob(torch.tensor(0.0)), distance
    )
    gradients = {}
    for weight in (0.0, 0.5):
        objective = BetaELBO(1.0, factors={"invariance": weight})
        raw = {}
        handle = story.encoder.net.register_forward_hook(
            lambda _, __, out, raw=raw: raw.update(out=out) or out.retain_grad()
        )
        objective.differentiable_loss(
            story.model, lambda x, v=varied: story.guide(x, varied=v), x
        ).backward()
        handle.remove()
        gradients[weight] = raw["out"].grad[:, :4]
    others = (torch.arange(4) != varied[:, None]).repeat_interleave(4, 0)
    assert not gradients[0.0][others].any()
    group_means = own.loc.unflatten(0, (3, 4)).mean(1).repeat_interleave(4, 0)
    torch.testing.assert_close(gradients[0.5][others], 0.5 * (own.loc - group_means)[others])


def test_stories_of_swaps_and_clamps_are_built_from_data_and_refuse_bad_data(toy):
    for name in ("cycle_consistent_vae", "mathieu_vae", "dc_ign"):
        story = build(name, toy, network="mlp", likelihood="gaussian")
        data = story.training_data(toy)
        index = torch.arange(6)
        x = data.observations(index)
        objective = story.objective()
        assert np.isfinite(objective.loss(story.model, story.guide, x, **data.conditions(index)))
        assert encode(story, toy.observations(index))["mean"].shape[0] == 6
    plain = from_arrays(torch.rand(8, 6))
    with pytest.raises(
        ValueError, match="MathieuVAE needs groups that share a factor: arrays has no factors"
    ):
        build("mathieu_vae", plain)
    with pytest.raises(
        ValueError, match="DCIGN needs groups in which a factor varies: arrays has none that does"
    ):
        build("dc_ign", plain)
    with pytest.raises(ValueError, match="groups .* need varied="):
        ign().guide(groups(toy, 4).observations(torch.arange(3)))
    with pytest.raises(
        ValueError, match="expected a number of coordinates for each factor, got {'a': 0}"
    ):
        DCIGN(Gaussian(nn.Linear(6, 2)), Bernoulli(nn.Linear(1, 6)), {"a": 0})
