"""Small arrays and files in the format of dSprites."""

from pathlib import Path

import numpy as np
import torch

from ppl_disentangle.data import Sprites, from_arrays

SIZES = (3, 2, 4, 5, 3)


LEVELS = ((0, 1, 2), (0, 5), (0, 7, 20, 39), (0, 1, 15, 16, 31), (3, 8, 21))


class Hostile:
    """Touches a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def sprites_arrays():
    """A sub-grid of the sprites as the four arrays of the real file; the metadata are added by the tests."""
    classes = torch.cartesian_prod(*[torch.tensor(level) for level in LEVELS])
    space = Sprites().factor_values
    values = [[1.0, c[0] + 1.0, *(space[k][c[k]] for k in range(1, 5))] for c in classes.tolist()]
    return {
        "imgs": Sprites().render(classes)[:, 0].numpy(),
        "latents_values": np.array(values),
        "latents_classes": np.insert(classes.numpy(), 0, 0, axis=1),
    }


def small_arrays(num=7):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (num, 3, 6, 6), generator=generator, dtype=torch.uint8)
    return from_arrays(x, torch.arange(num) // 2, factor_names=["pair"])
