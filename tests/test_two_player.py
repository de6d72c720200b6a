"""Generators against critics: codes that name the modes of the data, and an encoder that inverts a generator."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from toys import mixed, network

from ppl_disentangle import do
from ppl_disentangle.conditionals import Deterministic, Gaussian, Grouped
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import JointCritic, critic_network, fit
from ppl_disentangle.models import ALI, InfoGAN
from ppl_disentangle.representation import reconstruct

MEANS = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
ADAM = partial(torch.optim.Adam, betas=(0.5, 0.99))


def small(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, outputs))


def info_gan(weight=1.0, seed=0):
    """A generator of four far Gaussians, its history, and the true mode of each datum."""
    torch.manual_seed(seed)
    mode = torch.randint(4, (4096,))
    x = MEANS[mode] + 0.1 * torch.randn(4096, 2)
    story = InfoGAN(
        Grouped(small(2, 4), {}, {"mode": 4}),
        Deterministic(small(6, 2)),
        2,
        critic=lambda: critic_network(2, hidden=32, layers=1),
        weight=weight,
        critic_options={"lr": 4e-3, "betas": (0.5, 0.99)},
    )
    history = fit(story, from_arrays(x), steps=1500, batch_size=256, lr=2e-3, optimizer=ADAM, seed=seed, progress=False)
    return story, history, x, mode


def purity(story, x, mode):
    codes = story.representation(x)["mode"].probs.argmax(-1)
    counts = torch.stack([torch.bincount(mode[codes == k], minlength=4) for k in range(4)])
    return counts.amax(-1).sum().item() / len(x)


@pytest.mark.parametrize("seed", range(3))
def test_the_class_of_info_gan_comes_to_name_the_mode(seed):
    story, history, x, mode = info_gan(seed=seed)
    assert history["mutual_information"].values[-50:].mean() == pytest.approx(math.log(4), abs=0.05)
    assert purity(story, x, mode) > 0.99
    named = {int(m): int(c) for m, c in zip(mode, story.representation(x)["mode"].probs.argmax(-1), strict=True)}
    for k in range(4):  # an intervention on the class draws its mode
        drawn = do(story, {"mode": nn.functional.one_hot(torch.tensor(named[k]), 4).float()}).model(batch_size=200)
        assert (torch.cdist(drawn, MEANS).argmin(-1) == k).float().mean() > 0.9


def test_without_the_information_the_class_names_nothing():
    story, history, x, mode = info_gan(weight=0.0)
    assert history["mutual_information"].values[-50:].mean() < 0.3
    assert purity(story, x, mode) < 0.9


def test_the_encoder_of_ali_comes_to_invert_its_generator_though_neither_is_told_to():
    torch.manual_seed(0)
    x = mixed(torch.randn(8192, 2), 4, scale=0.5)
    x = (x - x.mean(0)) / x.std()
    story = ALI(
        Gaussian(network(4, 4)),
        Deterministic(network(2, 4)),
        2,
        critic=lambda: JointCritic(4, 2, hidden=128),
        critic_options={"lr": 1e-3, "betas": (0.5, 0.99)},
        game={"gradient_penalty": 0.1},
    )
    untrained = (reconstruct(story, x) - x).square().mean().item()
    fit(story, from_arrays(x), steps=2000, batch_size=256, lr=5e-4, optimizer=ADAM, progress=False)
    trained = (reconstruct(story, x) - x).square().mean().item()
    of_another = (x[torch.randperm(len(x))] - x).square().mean().item()
    assert untrained > 0.9
    assert of_another > 1.5
    assert trained < 0.35
    drawn = story.model(batch_size=8192).detach()
    assert (drawn.mean(0) - x.mean(0)).abs().max() < 0.4
    assert 0.6 < drawn.std() / x.std() < 1.5
