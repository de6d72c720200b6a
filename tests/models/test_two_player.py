"""Generators against critics: codes that name modes of the data; encoders of generators."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from ppl_disentangle import do
from ppl_disentangle.conditionals import Deterministic, Gaussian, Grouped
from ppl_disentangle.data import from_arrays, with_conditions
from ppl_disentangle.inference import JointCritic, StructuredGame, critic_network, fit
from ppl_disentangle.models import ALI, InfoGAN, StructuredGAN
from ppl_disentangle.representation import reconstruct
from tests.toys import mixed, network

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
    history = fit(
        story,
        from_arrays(x),
        steps=1500,
        batch_size=256,
        lr=2e-3,
        optimizer=ADAM,
        seed=seed,
        progress=False,
    )
    return story, history, x, mode


def purity(story, x, mode):
    codes = story.representation(x)["mode"].probs.argmax(-1)
    counts = torch.stack([torch.bincount(mode[codes == k], minlength=4) for k in range(4)])
    return counts.amax(-1).sum().item() / len(x)


@pytest.mark.parametrize("seed", range(3))
def test_the_class_of_info_gan_names_the_mode(seed):
    story, history, x, mode = info_gan(seed=seed)
    assert history["mutual_information"].values[-50:].mean() == pytest.approx(math.log(4), abs=0.05)
    assert purity(story, x, mode) > 0.99
    named = {
        int(m): int(c)
        for m, c in zip(mode, story.representation(x)["mode"].probs.argmax(-1), strict=True)
    }
    for k in range(4):  # an intervention on the class draws its mode
        drawn = do(story, {"mode": nn.functional.one_hot(torch.tensor(named[k]), 4).float()}).model(
            batch_size=200
        )
        assert (torch.cdist(drawn, MEANS).argmin(-1) == k).float().mean() > 0.9


def test_without_the_information_the_class_names_nothing():
    story, history, x, mode = info_gan(weight=0.0)
    assert history["mutual_information"].values[-50:].mean() < 0.3
    assert purity(story, x, mode) < 0.9


def test_the_encoder_of_ali_inverts_its_generator_without_a_reconstruction_loss():
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


def structured_gan(alpha=10.0, **weights):
    critics = {
        "z": JointCritic(2, 2, hidden=32, layers=1),
        "y": JointCritic(2, 4, hidden=32, layers=1),
    }
    return StructuredGAN(
        Grouped(small(2, 2 * 2 + 4), {"z": 2}, {"y": 4}),
        Deterministic(small(6, 2)),
        critics=lambda: critics,
        alpha=alpha,
        critic_options={"lr": 4e-3, "betas": (0.5, 0.99)},
        **weights,
    )


def drawn_as_asked(story):
    """Share of samples of a class that are of the mode with its number; the smallest share."""
    classes = torch.eye(4)
    drawn = [do(story, {"y": classes[k]}).model(batch_size=300) for k in range(4)]
    return min(
        (torch.cdist(x, MEANS).argmin(-1) == k).float().mean().item() for k, x in enumerate(drawn)
    )


@pytest.mark.parametrize("seed", range(2))
def test_with_few_labels_a_structured_gan_generates_the_mode_of_a_class(seed):
    torch.manual_seed(seed)
    mode = torch.randint(4, (4096,))
    x, classes = MEANS[mode] + 0.1 * torch.randn(4096, 2), torch.full((4096, 1), math.nan)
    for k in range(4):
        classes[(mode == k).nonzero()[:8, 0]] = k
    story = structured_gan()
    data = with_conditions(from_arrays(x), classes=classes)
    fit(story, data, steps=1500, batch_size=256, lr=2e-3, optimizer=ADAM, seed=seed, progress=False)
    assert drawn_as_asked(story) > 0.95
    assert (story.representation(x)["y"].probs.argmax(-1) == mode).float().mean() > 0.99
    drawn = story.model(batch_size=4000).detach()
    shares = torch.bincount(torch.cdist(drawn, MEANS).argmin(-1), minlength=4) / 4000
    assert (shares - 0.25).abs().max() < 0.05
    assert torch.cdist(drawn, MEANS).amin(-1).mean() < 0.3


def test_each_term_of_the_structured_game_is_written_out():
    torch.manual_seed(0)
    story, x = structured_gan(), torch.randn(6, 2)
    classes = torch.tensor([[1.0], [math.nan], [3.0], [math.nan], [math.nan], [0.0]])
    objective = story.objective()
    pairs = {"z": [], "y": []}
    for name, critic in objective.critic.items():
        critic.register_forward_hook(
            lambda _, args, out, name=name: pairs[name].append((args, out[:, 0]))
        )
    objective.loss(story.model, story.guide, x, classes=classes)
    terms = {name: term.item() for name, term in objective.last_terms.items()}
    (of_x, if_x), (of_generated, if_generated), *_ = pairs["z"]
    assert torch.equal(of_x[0], x)
    softplus = nn.functional.softplus
    style_critic = softplus(-if_x).sum() + softplus(if_generated).sum()
    assert terms["style_game"] == pytest.approx(
        -(softplus(if_x) + softplus(-if_generated)).sum().item(), rel=1e-4
    )
    (labelled, if_labelled), (asked, if_asked), *_ = pairs["y"]
    known = [0, 2, 5]
    assert labelled[1][known].argmax(-1).tolist() == [1, 3, 0]
    assert not labelled[1][[1, 3, 4]].any()
    assert torch.equal(asked[0], of_generated[0])
    class_critic = (
        2 * softplus(-if_labelled[known]).sum() + softplus(if_asked).sum()
    )  # half of the data are labelled
    assert terms["critic"] == pytest.approx(-(style_critic + class_critic).item(), rel=1e-4)
    assert terms["class_game"] == pytest.approx(-softplus(-if_asked).sum().item(), rel=1e-4)
    inferred = story.representation(of_generated[0])
    for name, value in (("z", of_generated[1]), ("y", asked[1])):
        assert terms[f"read[{name}]"] == pytest.approx(
            inferred[name].log_prob(value).sum().item(), rel=1e-4
        )
    own = story.representation(x)["y"].logits.log_softmax(-1)
    assert terms["misread"] == pytest.approx((own[0, 1] + own[2, 3] + own[5, 0]).item(), rel=1e-4)


def test_a_structured_gan_refuses_bad_arguments():
    with pytest.raises(
        ValueError, match="expected a group 'z' and a class 'y', got {'w': 2} and {'y': 4}"
    ):
        StructuredGAN(
            Grouped(small(2, 8), {"w": 2}, {"y": 4}), Deterministic(small(6, 2)), critics=dict
        )
    with pytest.raises(ValueError, match=r"expected the critics 'z' and 'y', got \['x'\]"):
        StructuredGame({"x": JointCritic(2, 2, hidden=8)})
    with pytest.raises(ValueError, match="particles do not apply to data that the model generates"):
        StructuredGame(
            {"z": JointCritic(2, 2, hidden=8), "y": JointCritic(2, 4, hidden=8)}, num_particles=2
        )
