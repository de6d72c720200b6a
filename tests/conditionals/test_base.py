"""Networks that do not return one tensor are refused by name; missing conditions are named."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_disentangle import as_story
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import from_arrays, with_conditions
from ppl_disentangle.inference import fit


class Returns(nn.Module):
    """A network whose output has another type."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


OUTPUTS = {
    "means and log variances": (lambda x: (x[:, :2], x[:, 2:4]), "a tuple of 2"),
    "a list": (lambda x: [x], "a list of 1"),
    "a distribution": (lambda x: dist.Normal(x, 1.0), "a Normal"),
    "nothing": (lambda x: None, "a NoneType"),
}


@pytest.mark.parametrize(("make", "got"), OUTPUTS.values(), ids=list(OUTPUTS))
@pytest.mark.parametrize("conditional", [Gaussian, Bernoulli])
def test_an_output_that_is_not_a_tensor_is_refused_by_name(make, got, conditional):
    with pytest.raises(TypeError, match=f"one tensor from Returns, .* side by side, got {got};"):
        conditional(Returns(make))(torch.randn(5, 4))


def test_a_condition_with_missing_values_is_named_where_a_distribution_refuses_them():
    def model(x, c):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(c, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))

    c = torch.zeros(64, 2)
    c[:5] = torch.nan
    data = with_conditions(from_arrays(torch.randn(64, 2)), c=c)
    message = r"found invalid values: \(the condition 'c' is NaN in 5 data of the first batch\)"
    with pytest.raises(ValueError, match=message) as error:
        fit(as_story(model, guide), data, steps=1, progress=False)
    assert "tensor(" not in str(error.value)
