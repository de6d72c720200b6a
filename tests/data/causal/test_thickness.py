"""Mechanisms that are fitted to thickness and intensity: how near their densities come to the exact ones."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn
from torch.distributions import Gamma, Normal, TransformedDistribution
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
    data = with_conditions(from_arrays(bright), labels=strokes.values, columns=strokes.names)
    for steps, lr in ((400, 1e-2), (200, 1e-3)):
        fit(story, data, steps=steps, lr=lr, batch_size=256, progress=False)
    with torch.no_grad():
        difference = (story.log_prob(held_out.values) - held_out.log_prob(held_out.values)).double()
    mean, error = difference.mean(0), difference.std(0) / len(difference) ** 0.5
    assert (mean > -0.05).all(), mean
    assert (mean < error).all(), (mean, error)


# thickness ──► intensity


def test_log_densities_of_strokes_equal_their_distributions():
    strokes = ThicknessIntensity(500)
    thickness, intensity = strokes.values.double().unbind(1)
    of_thickness = Gamma(torch.tensor(10.0, dtype=torch.float64), 5.0).log_prob(thickness - 0.5)
    conditional = TransformedDistribution(
        Normal(2 * thickness - 5, 0.5), [SigmoidTransform(), AffineTransform(64.0, 191.0)]
    )
    expected = torch.stack([of_thickness, conditional.log_prob(intensity)], 1)
    torch.testing.assert_close(strokes.log_prob(strokes.values.double()), expected)
    outside = strokes.log_prob(torch.tensor([[0.4, 60.0], [2.0, 300.0]]))
    assert (outside[:, 1] == -math.inf).all()
    assert outside[0, 0] == -math.inf


def test_expected_log_densities_of_strokes_are_their_integrals():
    strokes = ThicknessIntensity(10)

    def density(thickness, intensity):
        return strokes.log_prob(torch.tensor([[thickness, intensity]], dtype=torch.float64))[
            0
        ].tolist()

    def of_intensity(thickness):
        def integrand(u):  # substituting intensity = 64 + 191 / (1 + exp(-u))
            share = 1 / (1 + math.exp(-u))
            log_p = density(thickness, 64 + 191 * share)[1]
            return math.exp(log_p) * log_p * 191 * share * (1 - share)

        centre = 2 * thickness - 5
        return quad(integrand, centre - 4, centre + 4, limit=30, epsabs=1e-7)[0]

    nodes, weights = np.polynomial.legendre.leggauss(40)
    thickness = 0.5 + 3.5 * (nodes + 1)  # beyond 7.5, less than 1e-9 of the mass
    density_of_thickness = [math.exp(density(t, 100.0)[0]) for t in thickness]
    expected = 3.5 * sum(
        w * p * of_intensity(t)
        for w, p, t in zip(weights, density_of_thickness, thickness, strict=True)
    )
    entropy = 3.5 * sum(
        w * p * math.log(p) for w, p in zip(weights, density_of_thickness, strict=True)
    )
    assert strokes.expected_log_prob().tolist() == pytest.approx([entropy, expected], abs=2e-4)


def test_expected_log_densities_are_the_means_over_units_and_the_known_entropies():
    strokes = ThicknessIntensity(100_000)
    log_prob, expected = strokes.log_prob(strokes.values).double(), strokes.expected_log_prob()
    error = log_prob.std(0) / math.sqrt(len(strokes))
    assert ((log_prob.mean(0) - expected).abs() < 4 * error).all()
    assert expected.tolist() == pytest.approx([-0.9266, -4.204], abs=2e-4)
    # On the 10,000 published rows for testing, the mean of log p(i | t) is -4.1955, and of log p(t) -0.9268.
    published = torch.tensor([-0.9268, -4.1955], dtype=torch.float64)
    assert ((published - expected).abs() < 3 * log_prob.std(0) / 100).all()


def test_the_thickness_of_a_stroke_is_its_area_over_its_length():
    strokes, index = ThicknessIntensity(200), torch.arange(200)
    values, images = strokes.counterfactual(
        index, {"thickness": torch.linspace(0, 7, 200), "intensity": 200.0}
    )
    area = images.float().sum((1, 2, 3)) / 200
    torch.testing.assert_close(area / (2 * math.pi * 8), values[:, 0], atol=0.03, rtol=0.01)
    brightest = strokes.observations(index).flatten(1).amax(1)
    thick = strokes.values[:, 0] > 2
    assert (brightest[thick] - strokes.values[thick, 1]).abs().max() <= 0.5
