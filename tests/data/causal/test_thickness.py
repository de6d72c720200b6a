"""Mechanisms that are fitted to thickness and intensity: how near their densities come to the exact ones."""

import pytest
import torch
from torch import nn
from torch.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    SigmoidTransform,
)

from ppl_disentangle import StructuralPrior
from ppl_disentangle.causal.mechanisms import LocationScale, MonotoneSpline
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import ThicknessIntensity, from_arrays, with_conditions
from ppl_disentangle.inference import fit
from ppl_disentangle.models import DeepSCM
from ppl_disentangle.models.deep_scm import RescaledMechanism


# thickness ──► intensity
#      └─► image ◄─┘
@pytest.mark.parametrize("kind", [LocationScale, MonotoneSpline])
def test_densities_come_near_the_exact_ones_and_do_not_exceed_them(kind):
    torch.manual_seed(0)
    grey = ComposeTransform([SigmoidTransform(), AffineTransform(64.0, 191.0)])
    mechanisms = {
        "thickness": RescaledMechanism(kind(1, 0), ExpTransform()),
        "intensity": RescaledMechanism(kind(1, 1), grey),
    }
    prior = StructuralPrior("thickness -> intensity", mechanisms)
    story = DeepSCM(
        prior,
        Gaussian(nn.Linear(1, 2)),
        Bernoulli(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))),
        1,
    )
    strokes, held_out = ThicknessIntensity(20_000, seed=0), ThicknessIntensity(10_000, seed=1)
    bright = (
        strokes.values[:, 1:] / 255
    )  # in the place of the image, of which the densities do not depend
    data = with_conditions(from_arrays(bright), labels=strokes.values)
    for steps, lr in ((400, 1e-2), (200, 1e-3)):
        fit(story, data, steps=steps, lr=lr, batch_size=256, progress=False)
    with torch.no_grad():
        difference = (story.log_prob(held_out.values) - held_out.log_prob(held_out.values)).double()
    mean, error = difference.mean(0), difference.std(0) / len(difference) ** 0.5
    assert (mean > -0.05).all(), mean
    assert (mean < error).all(), (mean, error)
