"""DARLA's story: features that compare images, and codes of images that look new."""

import itertools
import math

import pytest
import torch
from sklearn.neighbors import KNeighborsRegressor
from torch import nn

from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import digits, from_arrays
from ppl_disentangle.inference import fit
from ppl_disentangle.models import DARLA, BetaVAE, DenoisingAutoencoder
from ppl_disentangle.models.darla import NormalInFeatures
from ppl_disentangle.zoo import build

SIDE, SHAPE = 12, (3, 12, 12)


def coloured_squares(num, *, new, seed):
    """Coloured squares on a ground and their positions; ``new`` ones combine colours anew."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(num, 2, generator=generator) * (SIDE - 4)
    colours = torch.rand(8 * num, 2, generator=generator)
    met = (colours > 0.5).all(-1)
    colours = colours[met if new else ~met][:num]
    pixel = torch.arange(SIDE) + 0.5
    x, y = (
        torch.sigmoid(3 * (pixel - p)) * torch.sigmoid(3 * (p + 4 - pixel))
        for p in places.T[..., None]
    )
    square = (x[:, None, :] * y[:, :, None])[:, None]
    thirds = 2 * math.pi * torch.arange(3) / 3
    front, back = (
        0.5 + 0.5 * torch.cos(2 * math.pi * hue[:, None] + thirds)
        for hue in (colours + torch.tensor([0, 1])).T / 2
    )
    image = square * front[..., None, None] + (1 - square) * 0.6 * back[..., None, None]
    return image.clamp(0, 1), places


def encoder(outputs):
    sizes = (math.prod(SHAPE), 256, 128, outputs)
    layers = [
        m for i, o in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(i, o), nn.ReLU())
    ]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def decoder(inputs):
    sizes = (inputs, 128, 256, math.prod(SHAPE))
    layers = [
        m for i, o in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(i, o), nn.ReLU())
    ]
    return Bernoulli(nn.Sequential(*layers[:-1], nn.Unflatten(1, SHAPE)))


@pytest.mark.slow
def test_positions_learned_from_codes_hold_for_new_combinations_of_colours():
    """Loss in R^2 of positions read from the nearest codes, for new colours; mean of three runs."""
    seen, places = coloured_squares(4000, new=False, seed=0)
    as_before, new = (coloured_squares(1500, new=new, seed=2) for new in (False, True))
    lost = {DARLA: 0.0, BetaVAE: 0.0}
    for make, seed in itertools.product(lost, range(3)):
        torch.manual_seed(seed)
        networks = Gaussian(encoder(12)), decoder(6), 6
        if make is DARLA:
            story = DARLA(
                *networks, DenoisingAutoencoder(encoder(50), decoder(50), 50), warm_up=1000
            )
            data = story.training_data(from_arrays(seen))
        else:
            story, data = BetaVAE(*networks, beta=1.0, warm_up=1000), from_arrays(seen)
        fit(story, data, steps=2500, batch_size=128, seed=seed, progress=False)
        with torch.no_grad():
            code = KNeighborsRegressor(10).fit(story.encoder(seen[:1000]).mean, places[:1000])
            here, there = (
                code.score(story.encoder(x).mean, where) for x, where in (as_before, new)
            )
        assert here > 0.95
        lost[make] += (here - there) / 3
    print({make.__name__: round(loss, 3) for make, loss in lost.items()})
    assert lost[DARLA] < 0.03
    assert lost[BetaVAE] > 1.5 * lost[DARLA]


def test_images_are_as_likely_as_their_features_are_near():
    torch.manual_seed(0)
    features = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    images, x = torch.rand(5, 2, 3), torch.rand(5, 2, 3)
    q = NormalInFeatures(images, features, 2)
    expected = -0.5 * (features(x) - features(images)).square().sum(-1)
    torch.testing.assert_close(q.log_prob(x), expected)
    torch.testing.assert_close(
        q.expand((4, 5)).log_prob(x.expand(4, 5, 2, 3)), expected.expand(4, 5)
    )
    assert torch.equal(q.rsample((7,)), images.expand(7, 5, 2, 3))
    assert torch.equal(q.log_prob(images), torch.zeros(5))


def test_an_autoencoder_completes_hidden_values():
    """Two values that are always equal: where one is hidden, the other determines it."""
    x = (
        torch.randint(0, 2, (2000, 4), generator=torch.Generator().manual_seed(0))
        .float()
        .repeat(1, 2)
    )
    torch.manual_seed(0)
    networks = (
        nn.Sequential(nn.Linear(i, 32), nn.ReLU(), nn.Linear(32, o)) for i, o in ((8, 4), (4, 8))
    )
    code, image = networks
    story = DenoisingAutoencoder(code, Bernoulli(image), 4, hidden=0.5)
    fit(story, from_arrays(x), steps=1500, batch_size=128, lr=5e-3, progress=False)
    half = x * torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0])
    with torch.no_grad():
        completed = (story.decoder(story.representation(half)["z"].mean).mean > 0.5).float()
    assert (completed == x).float().mean() > 0.95


def test_features_learn_before_and_are_held_then():
    data = digits()
    story = build("darla", data, options={"feature_steps": 5, "feature_dim": 12})
    before = {k: p.detach().clone() for k, p in story.features.named_parameters()}
    assert story.training_data(data) is data
    taught = {k: p.detach().clone() for k, p in story.features.named_parameters()}
    assert not any(torch.equal(taught[k], before[k]) for k in before)
    fit(story, data, steps=5, progress=False)
    assert all(torch.equal(p, taught[k]) for k, p in story.features.named_parameters())
    with pytest.raises(ValueError, match=r"expected a share 0 <= hidden < 1, got 1\.0"):
        build("denoising_autoencoder", data, options={"hidden": 1.0})
