"""Models of random networks."""

import math

import pytest
import torch

from ppl_disentangle.data import NonlinearSCM

# a ──► b ──► c ◄── a


def test_nonlinear_nodes_are_their_networks_plus_noise():
    scm = NonlinearSCM("a -> b -> c; a -> c", num_data=50, hidden=3, scale=0.3, seed=2)
    a, b, c = scm.values.T
    assert torch.equal(a, scm.noise[:, 0])
    for child, node, above in ((1, "b", [a]), (2, "c", [a, b])):
        *weights, bias, output = scm._networks[node].on(torch.device("cpu"))
        for i in range(50):
            hidden = [
                math.tanh(bias[h] + sum(w[h] * p[i] for w, p in zip(weights, above, strict=True)))
                for h in range(3)
            ]
            expected = (
                2 / math.sqrt(3) * sum(v * x for v, x in zip(output.tolist(), hidden, strict=True))
            )
            assert scm.values[i, child].item() == pytest.approx(
                expected + 0.3 * scm.noise[i, child].item(), abs=1e-5
            )


def test_nonlinear_models_are_not_linear():
    scm = NonlinearSCM("a -> b", num_data=4000, scale=0.0)
    design = torch.stack([scm.values[:, 0], torch.ones(4000)], 1)
    fitted = design @ torch.linalg.lstsq(design, scm.values[:, 1:]).solution[:, 0]
    assert (scm.values[:, 1] - fitted).var() > 0.02 * scm.values[:, 1].var()
