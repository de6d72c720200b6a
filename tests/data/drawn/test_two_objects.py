"""Two sprites, one in front of the other."""

import torch

from ppl_disentangle.data import Sprites, TwoObjects


def test_the_front_covers_the_back():
    scene, sprites = TwoObjects(), Sprites()
    places = [0, 4, 8, 13, 17, 22, 26, 31]
    colours = [(255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255)]
    index = torch.randint(len(scene), (30,), generator=torch.Generator().manual_seed(0))
    factors = scene.factors(index)
    overlaps = 0
    for image, row in zip(scene.observations(index), factors.tolist(), strict=True):
        masks = [
            sprites.render(torch.tensor([[shape, 5, 0, places[x], places[y]]]))[0, 0].bool()
            for shape, _, x, y in (row[:4], row[4:])
        ]
        overlaps += bool((masks[0] & masks[1]).any())
        expected = torch.zeros(64, 64, 3, dtype=torch.uint8)
        for mask, hue in zip(masks, (row[1], row[5]), strict=True):
            expected[mask] = torch.tensor(colours[hue], dtype=torch.uint8)
        assert torch.equal(image, expected.permute(2, 0, 1))
    assert overlaps > 3
    values = [sprites.space[3].values[k] for k in places]
    assert scene.factor_values[2] == scene.factor_values[7] == tuple(values)
