"""The flow: its published figures and its causes."""

import pytest
import torch

from ppl_disentangle.data import Flow
from tests.data.causal.test_pendulum import linear_fit

# ball ──► height ──► flow ◄── hole


def test_the_published_flow_has_its_published_figures():
    flow = Flow()
    ball, height, hole, jet = flow.values.unbind(1)
    assert len(flow) == 8100
    assert (ball[0], ball[-1], hole[0], hole[1]) == (5, 34, 6, 7)
    assert (height.min(), height.max()) == pytest.approx((1.005, 5.356), abs=5e-4)
    assert (jet.min(), jet.max()) == pytest.approx((1.72, 6.61), abs=0.005)
    assert linear_fit(ball[:, None], height) == pytest.approx(0.18, abs=0.03)
    assert linear_fit(torch.stack([height, hole], 1), jet) == pytest.approx(0.979, abs=5e-4)


def test_as_many_published_files_of_the_flow_collide():
    flow = Flow()
    names = torch.stack(
        [flow.values[:, 0], flow.values[:, 1], 10 * flow.values[:, 3], flow.values[:, 2]], 1
    ).trunc()
    training, test = (
        {tuple(row) for row in names[index].tolist()} for index in flow.published_split()
    )
    assert (len(training), len(test), len(training & test)) == (5254, 1620, 824)


def test_the_ball_acts_on_the_jet_through_the_height_only():
    flow, index = Flow(400, noise=0.3), torch.arange(400)
    bigger = flow.intervene(index, {"ball": 34.0})
    water = flow.values[:, 1] - (flow.values[:, 0] / 30) ** 3
    torch.testing.assert_close(bigger[:, 1], (34 / 30) ** 3 + water)
    held = flow.intervene(index, {"ball": 34.0, "height": flow.values[:, 1]})
    assert torch.equal(held[:, 3], flow.values[:, 3])
    torricelli = (2 * 0.98 * bigger[:, 1] * (bigger[:, 2] / 3 - 0.5)).sqrt()
    torch.testing.assert_close(bigger[:, 3], torricelli + 0.3 * flow.noise[:, 3])
