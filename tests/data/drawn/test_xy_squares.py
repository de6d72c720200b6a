"""Three squares on a grid."""

import numpy as np
import torch

from ppl_disentangle.data import XYSquares


def test_the_squares_are_where_their_factors_say():
    squares = XYSquares()
    index = torch.randint(len(squares), (50,), generator=torch.Generator().manual_seed(0))
    for image, i in zip(squares.observations(index).numpy(), index.tolist(), strict=True):
        places = np.unravel_index(i, (8,) * 6)  # x and y of red, of green, of blue
        expected = np.zeros((3, 64, 64), np.uint8)
        for channel in range(3):
            x, y = places[2 * channel : 2 * channel + 2]
            expected[channel, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8] = 255
        assert np.array_equal(image, expected)


def test_the_distance_of_two_images_of_squares_counts_the_squares_that_moved():
    squares, rng = XYSquares(), torch.Generator().manual_seed(1)
    one, other = (squares.sample_factors(200, rng) for _ in range(2))
    pixels = (squares.render(one) != squares.render(other)).sum((1, 2, 3))
    moved = (one != other).view(-1, 3, 2).any(-1).sum(-1)
    assert torch.equal(pixels, 128 * moved)
