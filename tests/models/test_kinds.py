"""Stories that find the kinds of data, or groups of factors."""

import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import nn

from ppl_disentangle.causal.interventions import do
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale, Grouped
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import Linear, fit
from ppl_disentangle.models import BetaVAE, CategoricalVAE, JointVAE, VaDE

KINDS, FEATURES = 4, 12


def kinds(num):
    """Four kinds, each around a centre, with two shared coordinates; observed through tanh."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[3.0, 0.0], [0.0, 3.0], [-3.0, 0.0], [0.0, -3.0]])
    kind = torch.randint(KINDS, (num,), generator=generator)
    factors = torch.cat([centres[kind], 0.5 * torch.randn(num, 2, generator=generator)], -1)
    mixing = torch.randn(4, FEATURES, generator=torch.Generator().manual_seed(9))
    return kind, torch.tanh(0.4 * factors @ mixing) + 0.05 * torch.randn(
        num, FEATURES, generator=generator
    )


def network(inputs, outputs):
    sizes = (inputs, 64, 64, outputs)
    layers = [
        layer
        for i, o in zip(sizes, sizes[1:], strict=False)
        for layer in (nn.Linear(i, o), nn.Tanh())
    ]
    return nn.Sequential(*layers[:-1])


def purity(probabilities, kind):
    """Share of data in a cluster's most frequent kind: 1 if perfect, about 1 / KINDS by chance."""
    clusters = probabilities.argmax(-1)
    counts = torch.stack(
        [
            torch.bincount(kind[clusters == k], minlength=KINDS)
            for k in range(probabilities.shape[-1])
        ]
    )
    return counts.amax(-1).sum().item() / len(kind)


def decoder(inputs):
    return GaussianLearnedScale(network(inputs, FEATURES), scale=0.3)


@pytest.fixture(scope="module")
def joint():
    kind, x = kinds(2000)
    torch.manual_seed(0)
    story = JointVAE(
        Grouped(network(FEATURES, 4 + KINDS), {"z": 2}, {"kind": KINDS}),
        decoder(2 + KINDS),
        continuous_capacity=Linear(0.0, 1.5, 1000),  # less than the other factors would take
        discrete_capacity=Linear(0.0, 1.4, 500),
        continuous_gamma=100.0,
        discrete_gamma=100.0,
    )
    fit(story, from_arrays(x), steps=1500, batch_size=256, lr=2e-3, progress=False)
    return story, kind, x


def test_the_discrete_latent_of_joint_vae_finds_the_kinds(joint):
    story, kind, x = joint
    assert purity(story.representation(x)["kind"].mean, kind) > 0.99


def test_setting_the_kind_draws_data_of_that_kind(joint):
    story, kind, x = joint
    found = story.representation(x)["kind"].mean.argmax(-1)
    for k in range(KINDS):
        with torch.no_grad():
            drawn = do(story, {"kind": torch.eye(KINDS)[k]}).model(batch_size=200)
        assert (story.representation(drawn)["kind"].mean.argmax(-1) == k).float().mean() > 0.95
        nearest = torch.cdist(drawn, x).argmin(-1)
        assert (kind[nearest] == kind[found == k].mode().values).float().mean() > 0.95


def test_the_mixture_of_vade_finds_the_kinds():
    kind, x = kinds(2000)
    torch.manual_seed(0)
    encoder = Gaussian(network(FEATURES, 8))
    story = VaDE(encoder, decoder(4), 4, num_clusters=KINDS, warm_up=500)
    fit(story, from_arrays(x), steps=1000, batch_size=128, lr=3e-3, progress=False)
    with torch.no_grad():
        assert purity(story.clusters(x), kind) > 0.98
        shares = torch.bincount(kind) / len(kind)
        torch.testing.assert_close(
            story.logits.softmax(-1).sort().values, shares.sort().values, atol=0.03, rtol=0.0
        )


def test_a_value_that_is_not_a_class_is_refused():
    story = JointVAE(
        Grouped(nn.Linear(6, 7), {"z": 2}, {"kind": 3}), GaussianLearnedScale(nn.Linear(5, 6))
    )
    for value in (1.5, torch.tensor([1.0, 1.0, 0.0]), torch.tensor([2.0, -1.0, 0.0])):
        with pytest.raises(ValueError, match=r"do\('kind'\): expected rows over 3 values"):
            do(story, {"kind": value})
    with pytest.raises(ValueError, match="expected a group and a class"):
        JointVAE(Grouped(nn.Linear(6, 4), {"z": 2}), GaussianLearnedScale(nn.Linear(2, 6)))
    with pytest.raises(ValueError, match="num_clusters >= 1, got 0"):
        VaDE(Gaussian(nn.Linear(6, 4)), GaussianLearnedScale(nn.Linear(2, 6)), 2, num_clusters=0)


def test_a_grouped_encoder_refuses_bad_arguments():
    with pytest.raises(ValueError, match="expected a network with 7 outputs, got 6"):
        Grouped(nn.Linear(6, 6), {"z": 2}, {"kind": 3})(torch.zeros(5, 6))
    for groups, classes in (({}, {}), ({"a": 1}, {"a": 2})):
        with pytest.raises(ValueError, match="expected names for each latent"):
            Grouped(nn.Linear(6, 6), groups, classes)
    with pytest.raises(ValueError, match="positive sizes and temperature"):
        Grouped(nn.Linear(6, 6), {"a": 0})


def test_a_grouped_encoder_has_the_densities_of_its_parts():
    net = nn.Linear(3, 2 * 3 + 4)
    x = torch.randn(5, 3)
    found = Grouped(net, {"a": 1, "b": 2}, {"kind": 4}, temperature=0.5)(x)
    loc, log_variance, logits = net(x).split([3, 3, 4], -1)
    assert torch.equal(found["a"].mean, loc[:, :1])
    torch.testing.assert_close(found["b"].variance, log_variance[:, 1:].exp())
    expected = torch.distributions.RelaxedOneHotCategorical(torch.tensor(0.5), logits=logits)
    value = expected.sample()
    torch.testing.assert_close(found["kind"].log_prob(value), expected.log_prob(value))


def kinds_of_several_things(num):
    """Three objects, each of four unordered kinds, and their sum: ``(kinds, x)``."""
    generator = torch.Generator().manual_seed(0)
    kind = torch.randint(KINDS, (num, 3), generator=generator)
    parts = torch.randn(3, KINDS, 16, generator=torch.Generator().manual_seed(3))
    x = sum(part[column] for part, column in zip(parts, kind.T, strict=True))
    return kind, x + 0.05 * torch.randn(num, 16, generator=generator)


def shared_information(codes, kind):
    """Normalised mutual information of each code with each thing."""
    pairs = [
        [normalized_mutual_info_score(code, column) for column in kind.T.numpy()] for code in codes
    ]
    return torch.tensor(pairs)


@pytest.mark.slow
def test_classes_name_the_kinds_of_things_in_the_run_of_least_loss():
    kind, x = kinds_of_several_things(4000)
    runs = []
    for seed in range(3):
        torch.manual_seed(seed)
        encoder = Grouped(network(16, 3 * KINDS), {}, dict.fromkeys("abc", KINDS), temperature=1.0)
        story = CategoricalVAE(encoder, GaussianLearnedScale(network(3 * KINDS, 16), scale=0.5))
        history = fit(
            story, from_arrays(x), steps=2000, batch_size=256, lr=2e-3, seed=seed, progress=False
        )
        runs.append((history["loss"].values[-200:].mean(), seed, story))
    story = min(runs)[-1]
    codes = [q.probs.argmax(-1).numpy() for q in story.representation(x).values()]
    found = shared_information(codes, kind)
    assert found.amax(-1).min() > 0.97
    assert sorted(found.argmax(-1).tolist()) == [0, 1, 2]
    torch.manual_seed(0)
    axes = BetaVAE(
        Gaussian(network(16, 6)), GaussianLearnedScale(network(3, 16), scale=0.5), 3, beta=1.0
    )
    fit(axes, from_arrays(x), steps=2000, batch_size=256, lr=2e-3, progress=False)
    means = axes.representation(x)["z"].mean.detach()
    quarters = [
        torch.bucketize(z, z.quantile(torch.tensor([0.25, 0.5, 0.75]))).numpy()
        for z in means.T.contiguous()
    ]
    assert shared_information(quarters, kind).amax(-1).min() < 0.5


def test_a_code_of_classes_has_no_coordinates():
    with pytest.raises(
        ValueError, match="expected an encoder of classes alone, got the groups {'z': 2}"
    ):
        CategoricalVAE(Grouped(nn.Linear(4, 7), {"z": 2}, {"kind": 3}), decoder(5))
