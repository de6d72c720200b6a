"""Training steps on an accelerator that does not exist, in a separate process.

Autograd must know the accelerator before anything else is imported.

Run by ``test_stories.py``, or as ``pytest tests/models/accelerator_checks.py``.
"""

import pyro
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils import backend_registration

from ppl_disentangle.inference import BetaELBO
from tests.models.test_stories import FEATURES, PAIRS, STORIES, training_step

ACCELERATOR = "npu"
backend_registration._setup_privateuseone_for_python_backend(ACCELERATOR)


@pytest.fixture(params=STORIES.values(), ids=list(STORIES))
def make(request):
    return request.param


class FakeAccelerator(FakeTensorMode):
    """Fake tensors that never touch the device, which does not exist."""

    avoid_device_init = True


@pytest.mark.parametrize(("make", "objective"), PAIRS)
def test_a_training_step_stays_on_an_accelerator(make, objective):
    pyro.enable_validation(False)
    with FakeAccelerator():
        with torch.device(ACCELERATOR):
            story = make()
            x = torch.zeros(16, *getattr(story, "shape", (FEATURES,)), device=ACCELERATOR)
            objective = objective(story)
        assert {d.type for d in training_step(story, objective, x)} == {ACCELERATOR}


@pytest.mark.parametrize("bug", ["item", "cpu tensor"])
def test_the_accelerator_test_sees_a_host_sync_and_a_stray_cpu_tensor(make, bug):
    class Wrong(BetaELBO):
        def terms(self, model_trace, guide_trace):
            terms = super().terms(model_trace, guide_trace)
            if bug == "item":
                terms["kl"].item()
            else:
                terms["kl"] = (terms["kl"].expand(3) * torch.ones(3)).sum()
            return terms

    pyro.enable_validation(False)
    with FakeAccelerator():
        with torch.device(ACCELERATOR):
            story, objective = make(), Wrong()
            x = torch.zeros(16, *getattr(story, "shape", (FEATURES,)), device=ACCELERATOR)
        with pytest.raises(Exception, match="_local_scalar_dense|data-dependent|item|device"):
            training_step(story, objective, x)
