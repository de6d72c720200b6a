"""Data whose scale a likelihood cannot learn."""

import pytest
import torch

from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import fit
from ppl_disentangle.zoo import build

NORMAL = torch.randn(100, 6, generator=torch.Generator().manual_seed(0))
BYTES = 255 * torch.rand(100, 6, generator=torch.Generator().manual_seed(0))


def fitted(x, likelihood):
    data = from_arrays(x, name="mine")
    fit(
        build("vae", data, latent_dim=2, likelihood=likelihood),
        data,
        steps=1,
        batch_size=8,
        progress=False,
    )


@pytest.mark.parametrize(
    ("x", "remedy"),
    [
        (BYTES, r"maximum=255"),
        (NORMAL + 3, "likelihood='gaussian'"),
        (10 * NORMAL.abs(), r"x / x.max\(\)"),
    ],
)
@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli"])
def test_a_bernoulli_likelihood_of_other_values_is_refused_with_the_remedy(x, remedy, likelihood):
    with pytest.raises(ValueError, match=rf"'mine' has values in \[.*\], the Bernoulli .*{remedy}"):
        fitted(x, likelihood)


def test_one_value_out_of_range_anywhere_in_the_data_is_seen():
    x = torch.rand(5000, 6)
    x[-1, -1] = 1.5
    with pytest.raises(ValueError, match=r"values in \[.*, 1\.5\]"):
        fitted(x, "bernoulli")


@pytest.mark.parametrize("x", [NORMAL * 1e-9, BYTES], ids=["tiny", "bytes"])
def test_a_normal_likelihood_of_another_scale_is_warned_of(x):
    with pytest.warns(UserWarning, match="'mine' has mean .* standardise the data"):
        fitted(x, "gaussian")


@pytest.mark.parametrize("x", [NORMAL * 1e6, NORMAL * 1e8])
def test_a_scale_that_leaves_the_floats_is_one_short_error(x):
    with pytest.raises(
        ValueError, match="networks give parameters out of range: standardise"
    ) as error:
        fitted(x, "gaussian")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("x", [NORMAL, 5 * NORMAL - 3, torch.zeros(100, 6), NORMAL / 50])
def test_an_ordinary_scale_is_no_matter(x):
    fitted(x, "gaussian")
