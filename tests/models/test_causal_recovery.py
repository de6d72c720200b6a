"""Causal stories recover a known truth: edges of a super-graph, sources, missing labels."""

import math

import torch
from torch import nn

from ppl_disentangle import encode
from ppl_disentangle.causal.mechanisms import LinearGaussian
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.data import LinearSCM, from_arrays, with_conditions
from ppl_disentangle.inference import fit
from ppl_disentangle.metrics import mcc
from ppl_disentangle.models import DEAR, IVAE, VAE, CausalVAE, StructuralIVAE


def seen(scm, num=2000):
    return scm.observations(torch.arange(num)).float(), scm.values[:num].float()


def with_labels_of(labels, share):
    """Labels of the first of each ``1 / share`` data, NaN for the others."""
    return labels.where(torch.arange(len(labels))[:, None] % round(1 / share) == 0, math.nan)


def two_layers(inputs, outputs, hidden=64):
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs))


def visible(nodes, features=16):
    torch.manual_seed(0)
    return Gaussian(two_layers(features, 2 * nodes)), GaussianLearnedScale(
        two_layers(nodes, features), scale=0.3
    )


def test_dear_finds_the_real_edges_of_its_super_graph():
    # a -> b, a -> c -> d among all six edges along the order a, b, c, d
    weights = {("a", "b"): 1.2, ("a", "c"): -0.8, ("c", "d"): 1.0}
    x, labels = seen(
        LinearSCM("a -> b; a -> c -> d", num_data=2000, weights=weights, observation_shape=(16,))
    )
    story = DEAR(list("abcd"), *visible(4))
    data = with_conditions(from_arrays(x), labels=with_labels_of(labels, 0.5), columns="abcd")
    fit(story, data, steps=600, batch_size=64, lr=1e-2, progress=False)
    found = story.weights()
    assert len(found) == 6
    assert {edge for edge, weight in found.items() if abs(weight) > 0.3} == weights.keys()
    assert all(found[edge] * weight > 0 for edge, weight in weights.items())


def nonstationary(num=4000, dim=3, segments=10):
    """Sources whose scales differ between segments, mixed by a rotation and bent."""
    generator = torch.Generator().manual_seed(3)
    u = torch.eye(segments)[torch.arange(num) % segments]
    scales = torch.rand(segments, dim, generator=generator) * 2.5 + 0.2
    sources = (u @ scales) * torch.randn(num, dim, generator=generator)
    mixing = torch.linalg.qr(torch.randn(8, dim, generator=generator)).Q
    x = torch.tanh(0.3 * sources @ mixing.T) + 0.01 * torch.randn(num, 8, generator=generator)
    return x, u, sources


def test_auxiliary_variables_identify_sources_that_data_alone_leave_open():
    x, u, sources = nonstationary()
    scores = {}
    for name, conditions in (("ivae", {"u": u}), ("vae", {})):
        encoder, decoder = visible(3, features=8)
        conditional = Gaussian(nn.Linear(10, 6))
        story = IVAE(encoder, decoder, conditional, 10) if conditions else VAE(encoder, decoder, 3)
        data = with_conditions(from_arrays(x), **conditions)
        fit(story, data, steps=1500, batch_size=128, lr=1e-2, progress=False)
        with torch.no_grad():
            codes = story.latent_means(x, **conditions)["z"]
        scores[name] = mcc(codes.numpy(), sources.numpy())
    assert scores["ivae"] > 0.93
    assert scores["ivae"] > scores["vae"] + 0.1


def test_auxiliary_variables_identify_the_nodes_of_a_graph():
    # a -> b, and noise whose scales differ between segments
    x, u, noise = nonstationary(dim=2)
    generator = torch.Generator().manual_seed(4)
    nodes = torch.stack([noise[:, 0], noise[:, 1] - 1.5 * noise[:, 0]], -1)
    mixing = torch.linalg.qr(torch.randn(8, 2, generator=generator)).Q
    x = torch.tanh(0.2 * nodes @ mixing.T) + 0.01 * torch.randn(len(nodes), 8, generator=generator)
    encoder, decoder = visible(2, features=8)
    prior = StructuralPrior("a -> b", LinearGaussian)
    story = StructuralIVAE(prior, encoder, decoder, Gaussian(nn.Linear(10, 4)), 10)
    fit(
        story,
        with_conditions(from_arrays(x), u=u),
        steps=1000,
        batch_size=64,
        lr=1e-2,
        progress=False,
    )
    means = {name.removesuffix("_noise"): value for name, value in story.latent_means(x).items()}
    assert mcc(torch.cat(list(means.values()), -1).detach().numpy(), noise.numpy()) > 0.9


def labelled(labels_from):
    """Error of the posterior means on fresh data, for a story with ``labels_from(labels)``."""
    scm = LinearSCM(
        "a -> b -> c",
        num_data=3000,
        weights={("a", "b"): 1.0, ("b", "c"): -1.0},
        observation_shape=(16,),
    )
    x, labels = seen(scm, 3000)
    story = CausalVAE(StructuralPrior("a -> b -> c", LinearGaussian), *visible(3))
    given_labels = labels_from(labels[:2000])
    conditions = {} if given_labels is None else {"labels": given_labels, "columns": "abc"}
    data = with_conditions(from_arrays(x[:2000]), **conditions)
    fit(story, data, steps=400, batch_size=64, lr=1e-2, progress=False)
    codes = torch.tensor(encode(story, x[2000:])["mean"].values)
    return ((codes - labels[2000:]).square().mean() / labels.var()).item()


def test_a_few_labels_help_and_noisy_labels_are_averaged():
    def noisy(labels):
        return labels + 0.5 * torch.randn(labels.shape, generator=torch.Generator().manual_seed(5))

    errors = {
        "full": labelled(lambda labels: labels),
        "a tenth": labelled(lambda labels: with_labels_of(labels, 0.1)),
        "noisy": labelled(noisy),
        "none": labelled(lambda labels: None),
    }
    assert errors["full"] < 0.02
    assert errors["a tenth"] < 0.05 < 0.2 < errors["none"]
    assert errors["noisy"] < 0.05  # the labels themselves: 0.25 / variance
