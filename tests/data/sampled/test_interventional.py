"""Draws under interventions."""

import torch

from ppl_disentangle.data import Pendulum, correlated, interventional
from tests.data.sampled.grids import GRID, assert_follows, counts, everything


def test_interventions_set_their_factors_and_no_others():
    source = correlated(GRID, {("size", "turn"): 0.2}, num=30000)
    regimes = [{}, {"size": [1.0, 3.0]}, {"kind": "c", "turn": None}]
    data = interventional(source, regimes, among=GRID, num=30000, seed=4, conditions=True)
    told = data.conditions(torch.arange(30000))["interventions"]
    drawn, done = everything(data), ~told.isnan()
    assert torch.equal(drawn[done], told[done].long())
    by = [(done == torch.tensor(row)).all(1) for row in ([0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0])]
    assert_follows(torch.stack([rows.sum() for rows in by]), torch.ones(3))
    density = torch.zeros(4, 5, dtype=torch.float64)
    density.view(-1)[:] = counts(everything(source)[:, [1, 2]], (4, 5)).double()
    observed, sizes, kinds = (drawn[rows] for rows in by)
    assert_follows(counts(observed[:, [1, 2]], (4, 5)), density)
    assert_follows(
        counts(sizes[:, [1, 2]], (4, 5)), torch.tensor([0, 0.5, 0, 0.5])[:, None] * density.sum(0)
    )
    assert (kinds[:, 0] == 2).all()
    assert_follows(counts(kinds[:, [1, 2]], (4, 5)), density.sum(1)[:, None] * torch.ones(5))


def test_interventions_on_causes_go_through_the_mechanisms():
    # light, pendulum -> shadow
    pendulum = Pendulum(400, size=32)
    data = interventional(
        pendulum, {"light": [60.0, 83.0, 100.0, 121.5, 139.0]}, num=300, seed=1, conditions=True
    )
    index = torch.arange(300)
    told = data.conditions(index)["interventions"]
    names = pendulum.factor_names
    light = told[:, names.index("light")]
    assert sorted(light.unique().tolist()) == [60.0, 83.0, 100.0, 121.5, 139.0]
    assert told.isnan().sum() == 300 * (len(names) - 1)
    units = torch.randint(400, (300,), generator=torch.Generator().manual_seed(1))
    values, images = pendulum.counterfactual(units, {"light": light})
    assert torch.equal(data.observations(index), images)
    assert not torch.equal(images, pendulum.observations(units))
    unchanged = values == pendulum.values[units]
    assert torch.equal(data.factors(index)[unchanged], pendulum.factors(units)[unchanged])
    levels = torch.tensor(pendulum.factor_values[names.index("light")])
    chosen = levels[data.factors(index)[:, names.index("light")]]
    assert ((chosen - light).abs()[:, None] <= (levels - light[:, None]).abs() + 1e-4).all()
