"""Colours, noise and pictures behind images: formulas, distributions and dependence on the seed."""

import math

import pytest
import torch
from scipy.stats import chisquare, kstest

from ppl_disentangle.data import (
    Coloured,
    Factor,
    FactorGrid,
    Noisy,
    OnPicture,
    Sprites,
    digits,
    pairs,
    swirls,
)
from ppl_disentangle.data.randomness import random_bytes

WRAPPERS = {"coloured": Coloured, "noisy": Noisy, "on a picture": OnPicture}
INDEX = torch.tensor([500_000, 3, 737_279, 3])


@pytest.fixture(params=WRAPPERS.values(), ids=WRAPPERS)
def wrapper(request):
    return request.param


class Flat(FactorGrid):
    """Images of one brightness each, stored as it says."""

    def __init__(self, values, *, channels=1, maximum=1, size=8):
        self.space = (Factor("brightness", tuple(values)), Factor("copy", tuple(range(100))))
        self.name, self.observation_shape, self.maximum = "flat", (channels, size, size), maximum

    def render(self, factors):
        values = torch.tensor(self.space[0].values)[factors[:, 0]]
        return (values * self.maximum).view(-1, 1, 1, 1).expand(-1, *self.observation_shape)


def test_bytes_depend_on_seed_and_index_alone():
    some = random_bytes(5, INDEX, 37)
    assert some.shape == (4, 37)
    assert some.dtype == torch.uint8
    assert torch.equal(some[1], some[3])
    assert torch.equal(some[:, :9], random_bytes(5, INDEX, 9))
    assert torch.equal(some[2:3], random_bytes(5, INDEX[2:3], 37))
    for other in (random_bytes(6, INDEX, 37), random_bytes(5, INDEX + 1, 37)):
        assert (other == some).float().mean() < 0.1


def test_bytes_are_uniform_and_independent_in_every_direction():
    for seed, index, num in (
        (0, torch.arange(2000), 64),
        (1, torch.arange(0, 2**40, 2**31), 256),
        (7, INDEX[:1], 60000),
    ):
        drawn = random_bytes(seed, index, num).long()
        assert chisquare(drawn.flatten().bincount(minlength=256)).pvalue > 1e-3
        neighbours = (drawn[:, 1:] // 16 * 16 + drawn[:, :-1] // 16).flatten()
        assert chisquare(neighbours.bincount(minlength=256)).pvalue > 1e-3
    drawn = random_bytes(0, torch.arange(5000), 8).double()
    seeds = torch.stack([random_bytes(s, torch.arange(1), 8)[0] for s in range(5000)]).double()
    for rows in (drawn, seeds):
        after = torch.corrcoef(torch.cat([rows[:-1], rows[1:]], 1).T) - torch.eye(16)
        assert after.abs().max() < 4.5 / math.sqrt(5000)


def test_an_image_is_the_same_by_index_and_by_factors_alone_and_in_a_pair(wrapper):
    data = wrapper(Sprites(), seed=3)
    x = data.observations(INDEX)
    assert x.shape == (4, 3, 64, 64)
    assert x.dtype == torch.uint8
    assert torch.equal(x, data.render(data.factors(INDEX)))
    assert torch.equal(x[1:2], data.observations(INDEX[1:2]))
    assert torch.equal(data.factors(INDEX), Sprites().factors(INDEX))
    assert not torch.equal(x, wrapper(Sprites(), seed=4).observations(INDEX))
    both = pairs(data, num=5)
    assert torch.equal(
        both.observations(torch.tensor([2]))[0],
        data.observations(both.members(torch.tensor([2]))[0]),
    )


def test_a_coloured_image_is_the_image_times_a_colour():
    sprites, data = Sprites(), Coloured(Sprites())
    index = torch.arange(0, 737_280, 1000)
    inside, x = sprites.observations(index).bool(), data.observations(index)
    assert (x[~inside.expand_as(x)] == 0).all()
    masked = x.float().masked_fill(~inside, torch.nan).flatten(2)
    colours = masked.nanmean(-1)
    assert (masked - colours[..., None]).nan_to_num().abs().max() < 1e-3
    for column in colours.unbind(1):
        assert kstest(column.numpy(), "uniform", (127.5, 127.5)).pvalue > 1e-3
    assert torch.corrcoef(colours.T).fill_diagonal_(0).abs().max() < 4 / math.sqrt(len(index))


def test_noise_is_uniform_around_the_sprite_and_never_in_it():
    sprites, data = Sprites(), Noisy(Sprites())
    index = torch.arange(0, 737_280, 20_000)
    inside, x = sprites.observations(index).bool().expand(-1, 3, -1, -1), data.observations(index)
    assert (x[inside] == 255).all()
    assert chisquare(x[~inside].bincount(minlength=256)).pvalue > 1e-3
    half = Noisy(Flat([0.25])).observations(torch.arange(100)).flatten() / 255
    assert half.min() > 0.24
    assert (half == 1).double().mean() == pytest.approx(0.25, abs=0.03)


def test_an_image_is_a_negative_on_a_tinted_part_of_the_picture():
    height, width, size = 20, 31, 8
    picture = torch.randint(
        256, (3, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    data = OnPicture(Flat([0.0, 0.25, 1.0]), picture, seed=2)
    windows = (
        picture.unfold(1, size, 1).unfold(2, size, 1).permute(1, 2, 0, 3, 4).flatten(0, 1).float()
    )
    places, tints = [], []
    for brightness in (0.0, 0.25, 1.0):
        index = torch.arange(100) + {0.0: 0, 0.25: 100, 1.0: 200}[brightness]
        part = (data.observations(index) / 255 - brightness) / (
            1 - 2 * brightness
        )  # undo the negative
        tint = 2 * part[:, None] - windows / 255  # a constant of each channel at the right place
        error, place = tint.std((-2, -1)).amax(-1).min(1)
        assert error.max() < 0.02
        places.append(place)
        tints.append(tint[torch.arange(100), place].mean((-2, -1)))
    top, left = torch.cat(places) // (width - size + 1), torch.cat(places) % (width - size + 1)
    assert chisquare(top.bincount(minlength=height - size + 1)).pvalue > 1e-3
    assert chisquare(left.bincount(minlength=width - size + 1)).pvalue > 1e-3
    assert kstest(torch.cat(tints).flatten().numpy(), "uniform").pvalue > 1e-3
    numbers = torch.cat([top[:, None], left[:, None], torch.cat(tints)], -1)
    assert torch.corrcoef(numbers.T).fill_diagonal_(0).abs().max() < 4 / math.sqrt(300)


def test_colour_images_and_any_maximum_are_taken():
    grid = Flat([0.0, 0.5, 1.0], channels=3, maximum=255)
    index = torch.tensor([0, 100, 200])
    black, grey, white = Coloured(grid).observations(index).float()[:, :, 0, 0]
    assert (black == 0).all()
    assert ((127 <= white) & (white <= 255)).all()
    assert ((63 <= grey) & (grey <= 128)).all()


def test_the_picture_that_is_drawn_has_the_published_size_and_many_colours():
    picture = swirls()
    assert picture.shape == (3, 274, 350)
    assert len(picture.flatten(1).unique(dim=1).T) > 5000
    assert picture.float().std((1, 2)).min() > 15
    assert torch.equal(swirls(), picture)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Coloured(digits()), TypeError, "expected a grid of images, got ArrayDataset"),
        (
            lambda: Noisy(Flat([0.0], channels=2)),
            ValueError,
            r"1 or 3 channels, got observations of shape \(2, 8, 8\)",
        ),
        (
            lambda: OnPicture(Sprites(), torch.zeros(3, 70, 70)),
            ValueError,
            "uint8 and shape .3, height, width., got .*32",
        ),
        (
            lambda: OnPicture(Sprites(), torch.zeros(70, 70).byte()),
            ValueError,
            r"got torch.uint8 of shape \(70, 70\)",
        ),
        (
            lambda: OnPicture(Sprites(), torch.zeros(3, 70, 63).byte()),
            ValueError,
            r"64 x 64 pixels, got \(70, 63\)",
        ),
    ],
)
def test_invalid_arguments_are_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
