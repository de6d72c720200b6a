"""Stories with shared factors or a few labels find factors that other stories mix."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from ppl_disentangle.conditionals import Bernoulli, Gaussian, GaussianLearnedScale, Grouped
from ppl_disentangle.data import (
    digits,
    from_arrays,
    pairs,
    partial_labels,
    sharing,
    with_conditions,
)
from ppl_disentangle.inference import TCELBO, BetaELBO, fit
from ppl_disentangle.metrics import mcc
from ppl_disentangle.models import MLVAE, AdaGVAE, BetaVAE, SupervisedVAE
from ppl_disentangle.representation import encode
from ppl_disentangle.zoo import build
from tests.toys import grid, network

FEATURES, FACTORS = 16, 4


@pytest.fixture(scope="module")
def toy():
    return grid()


def pair_of_networks():
    return Gaussian(network(FEATURES, 2 * FACTORS)), GaussianLearnedScale(
        network(FACTORS, FEATURES), scale=0.3
    )


def codes_after(story, data, train, *, steps=2000):
    fit(story, train, steps=steps, batch_size=64, lr=2e-3, progress=False)
    index = torch.arange(len(data))
    return encode(story, data.observations(index))["mean"].values, data.factors(index).numpy()


@pytest.mark.parametrize("average", ["arithmetic", "product"])
def test_pairs_separate_factors_that_a_vae_mixes(toy, average):
    scores = {}
    for make in (BetaVAE, AdaGVAE):
        torch.manual_seed(0)
        options = {"event_dim": 1, "average": average} if make is AdaGVAE else {"beta": 1.0}
        story = make(*pair_of_networks(), FACTORS, **options)
        scores[make] = mcc(*codes_after(story, toy, story.training_data(toy)), method="spearman")
    assert scores[AdaGVAE] > 0.95
    assert scores[BetaVAE] < 0.93


def ada(average="arithmetic"):
    torch.manual_seed(0)
    return AdaGVAE(
        Gaussian(nn.Linear(6, 8)), Bernoulli(nn.Linear(4, 6)), 4, event_dim=1, average=average
    )


@pytest.mark.parametrize("average", ["arithmetic", "product"])
def test_the_coordinates_of_small_divergence_are_averaged_and_the_others_are_each_members_own(
    average,
):
    story, x = ada(average), torch.randn(7, 2, 6, generator=torch.Generator().manual_seed(1))
    q = poutine.trace(story.guide).get_trace(x).nodes["z"]["fn"].base_dist
    own = [story.encoder(x[:, i]).base_dist for i in (0, 1)]
    for b in range(7):
        left, right = ((p.loc[b].tolist(), p.scale[b].square().tolist()) for p in own)
        kl = [
            0.5 * (v / w + (m - n) ** 2 / w - 1 + np.log(w / v))
            for m, v, n, w in zip(left[0], left[1], right[0], right[1], strict=True)
        ]
        for i in range(4):
            (m, n), (v, w) = ((left[k][i], right[k][i]) for k in (0, 1))
            if kl[i] < (max(kl) + min(kl)) / 2:
                spread = (v + w) / 2 if average == "arithmetic" else 2 * v * w / (v + w)
                mean = (m + n) / 2 if average == "arithmetic" else 0.5 * spread * (m / v + n / w)
                expected = [(mean, spread)] * 2
            else:
                expected = [(m, v), (n, w)]
            for member in (0, 1):
                found = q.loc[2 * b + member, i].item(), q.scale[2 * b + member, i].item() ** 2
                assert found == pytest.approx(expected[member], rel=1e-5)


def test_members_of_pairs_are_data_in_every_objective():
    story, x = ada(), torch.rand(8, 2, 6, generator=torch.Generator().manual_seed(1))
    story.num_data = 100
    for objective in (BetaELBO(), TCELBO()):
        objective(story.model, story.guide)(x)
    trace = poutine.trace(
        poutine.replay(story.model, trace=poutine.trace(story.guide).get_trace(x))
    ).get_trace(x)
    assert torch.equal(trace.nodes["x"]["value"], x.flatten(0, 1))
    single = encode(story, x[:, 0])["mean"].values
    np.testing.assert_allclose(single, story.encoder(x[:, 0]).mean.detach().numpy(), rtol=1e-6)


def accuracies(codes, factors):
    """Accuracy of each factor predicted from the nearest codes; 1/6 by chance."""
    order = np.random.default_rng(0).permutation(len(codes))
    train, test = order[:900], order[900:]
    probes = (KNeighborsClassifier(10).fit(codes[train], column[train]) for column in factors.T)
    return [p.score(codes[test], column[test]) for p, column in zip(probes, factors.T, strict=True)]


def ml_vae():
    torch.manual_seed(0)
    encoder = Grouped(network(FEATURES, 2 * FACTORS), {"content": 2, "style": 2})
    return MLVAE(encoder, GaussianLearnedScale(network(FACTORS, FEATURES), scale=0.3), event_dim=1)


def test_the_content_holds_the_shared_factors_and_the_style_the_others(toy):
    """A factor that is not in the code is predicted at chance, or a little above on a grid of 6."""
    codes, factors = codes_after(ml_vae(), toy, sharing(toy, toy.factor_names[:2], 4))
    content, style = accuracies(codes[:, :2], factors), accuracies(codes[:, 2:], factors)
    assert min(content[:2] + style[2:]) > 0.7
    assert max(content[2:] + style[:2]) < 1 / 6 + 0.1
    alone, factors = codes_after(ml_vae(), toy, toy)
    assert max(accuracies(alone[:, :2], factors)[2:]) > 0.3


def test_the_posterior_of_a_group_is_the_product_of_its_members_and_counted_once():
    story, x = ml_vae(), torch.randn(5, 3, FEATURES, generator=torch.Generator().manual_seed(1))
    guide = poutine.trace(story.guide).get_trace(x)
    group = guide.nodes["content"]["fn"].base_dist
    members = [story.encoder(x[:, m])["content"].base_dist for m in range(3)]
    precision = sum(q.scale.square().reciprocal() for q in members)
    mean = sum(q.loc / q.scale.square() for q in members) / precision
    torch.testing.assert_close(group.loc, mean)
    torch.testing.assert_close(group.scale, precision.rsqrt())
    objective = BetaELBO()
    objective(story.model, story.guide)(x)
    standard = dist.Normal(0.0, 1.0)
    styles = guide.nodes["style"]["fn"].base_dist
    expected = -sum(
        torch.distributions.kl_divergence(
            q.base_dist if hasattr(q, "base_dist") else q, standard
        ).sum()
        for q in (group, styles)
    )
    torch.testing.assert_close(objective.last_terms["kl"], expected.detach())


@pytest.mark.parametrize("fraction", [0.05, 1.0])
def test_labels_of_few_data_anchor_their_coordinates(toy, fraction):
    torch.manual_seed(0)
    networks = pair_of_networks()
    story = SupervisedVAE(*networks, FACTORS, toy.factor_names, fraction=fraction)
    codes, factors = codes_after(story, toy, story.training_data(toy))
    own = [np.corrcoef(codes[:, k], factors[:, k])[0, 1] for k in range(FACTORS)]
    assert min(own) > 0.97
    torch.manual_seed(0)
    unlabelled, _ = codes_after(
        SupervisedVAE(*pair_of_networks(), FACTORS, toy.factor_names), toy, toy
    )
    assert (
        min(abs(np.corrcoef(unlabelled[:, k], factors[:, k])[0, 1]) for k in range(FACTORS)) < 0.6
    )


def test_labels_of_which_a_fifth_is_wrong_still_name_the_coordinates(toy):
    labels = partial_labels(toy, wrong=0.2).values
    train = with_conditions(toy, labels=(labels - labels.mean(0)) / labels.std(0))
    torch.manual_seed(0)
    story = SupervisedVAE(*pair_of_networks(), FACTORS, toy.factor_names, label_scale=0.2)
    codes, factors = codes_after(story, toy, train)
    assert min(np.corrcoef(codes[:, k], factors[:, k])[0, 1] for k in range(FACTORS)) > 0.9


def test_data_without_the_needed_factors_are_refused():
    with pytest.raises(
        ValueError, match="AdaGVAE needs pairs that share a factor: expected data with two factors"
    ):
        build("ada_gvae", digits())
    plain = from_arrays(torch.rand(20, 5))
    with pytest.raises(
        ValueError, match="MLVAE needs groups that share a factor: arrays has no factors"
    ):
        build("ml_vae", plain)
    with pytest.raises(ValueError, match="SupervisedVAE needs labels: arrays has no factors"):
        build("supervised_vae", plain)


BAD = {
    "no pairs": (
        lambda: ada().guide(torch.zeros(4, 3, 6)),
        r"expected pairs \(batch, 2, …\) or single .* \(4, 3, 6\)",
    ),
    "another average": (
        lambda: ada("median"),
        "expected average 'arithmetic' or 'product', got 'median'",
    ),
    "other groups": (
        lambda: MLVAE(Grouped(nn.Linear(6, 8), {"a": 2, "b": 2}), Bernoulli(nn.Linear(4, 6))),
        "expected an encoder of the groups 'content' and 'style', got {'a': 2, 'b': 2}",
    ),
    "more names than coordinates": (
        lambda: SupervisedVAE(*pair_of_networks(), 1, ["a", "b"]),
        r"expected at most 1 names and label_scale > 0, got \['a', 'b'\]",
    ),
    "labels of other columns": (
        lambda: SupervisedVAE(*pair_of_networks(), 4, ["a", "b"]).model(
            torch.zeros(3, 16), labels=torch.zeros(3, 3)
        ),
        r"expected labels of \['a', 'b'\], \(batch, 2\), got shape \(3, 3\)",
    ),
}


@pytest.mark.parametrize(("build", "message"), BAD.values(), ids=list(BAD))
def test_bad_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_story_learns_from_pairs_of_a_data_set(toy):
    train = ada().training_data(toy)
    assert train.observation_shape == (2, FEATURES)
    assert len(train) == len(pairs(toy, "random"))


def test_stories_of_pairs_and_groups_are_judged_by_single_observations(toy):
    train, held_out = sharing(toy, "factor0", num=64), toy.subset(torch.arange(50))
    history = fit(
        ml_vae(), train, steps=2, batch_size=16, held_out=held_out, evaluate_every=1, progress=False
    )
    assert history.sizes["held_out_step"] == 2
    assert bool(history["held_out_elbo"].notnull().all())
    with pytest.raises(
        ValueError, match=r"held_out has observations of shape \(5,\), the data of \(2, 16\)"
    ):
        fit(ml_vae(), train, steps=2, held_out=from_arrays(torch.rand(9, 5)), progress=False)
