"""Stories of the zoo on tables with holes, and on counts: each column by its own likelihood."""

import numpy as np
import pandas as pd
import pytest
import torch

from ppl_disentangle import encode, reconstruct
from ppl_disentangle.data import from_arrays, from_table, to_frame
from ppl_disentangle.inference import elbo_per_datum, fit
from ppl_disentangle.networks import Networks
from ppl_disentangle.zoo import build, stories, story_options
from tests.data.test_table import FRAME

TABLE = from_table(FRAME.sample(200, replace=True, random_state=0), factors=["city", "stage"])
NUMBERS = from_table(
    pd.DataFrame(np.random.default_rng(0).normal(size=(200, 5)), columns=list("abcde")).mask(
        np.random.default_rng(1).random((200, 5)) < 0.3
    )
)
REFUSED = {
    "ali": "no gradient through the classes of column 'zip'",
    "info_gan": "no gradient through the classes of column 'zip'",
    "structured_gan": "no gradient through the classes of column 'zip'",
    "conv_draw": "expected images",
    "darla": "DARLA compares features of whole observations",
    "factor_analysis": "FactorAnalysis takes numbers, but column 'cells' is of type count",
    "probabilistic_pca": "ProbabilisticPCA takes numbers, but column 'cells' is of type count",
    "sparse_autoencoder": "SparseAutoencoder takes numbers, but column 'cells' is of type count",
    "oi_vae": "8 groups do not divide the features",
    "mathieu_vae": "SwapELBO compares the observations themselves",
    "video_vae": "no datum of 'table' has city",
}
NEEDS_A_GRAPH = {name for name in stories() if "graph" in story_options(name)}


def trained(name, data):
    story = build(name, data)
    fit(story, story.training_data(data), steps=3, batch_size=16, progress=False)
    return story


@pytest.mark.parametrize("name", sorted(stories().keys() - NEEDS_A_GRAPH))
def test_a_story_trains_on_a_table_with_holes_or_says_why_not(name):
    if name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name]):
            trained(name, TABLE)
        return
    story = trained(name, TABLE)
    few = story.held_out_data(TABLE.subset(torch.arange(20)))
    assert np.isfinite(elbo_per_datum(story, few)["elbo"]).all()


@pytest.mark.parametrize(
    "name", ["factor_analysis", "oi_vae", "probabilistic_pca", "sparse_autoencoder", "vae"]
)
def test_a_story_trains_on_a_table_of_numbers_with_holes(name):
    options = {"groups": 5} if name == "oi_vae" else {}
    story = build(name, NUMBERS, options=options)
    fit(story, NUMBERS, steps=3, progress=False)
    assert np.isfinite(elbo_per_datum(story, NUMBERS)["elbo"]).all()


def test_groups_of_columns_need_one_likelihood_for_all():
    with pytest.raises(ValueError, match="needs a likelihood with one number for each element"):
        build("oi_vae", TABLE, options={"groups": 7})


def mixed_frame(num, generator):
    """Columns of all types that follow from one cause, and the cause."""
    cause = generator.normal(size=num)
    logits = np.stack([2 * cause, 0 * cause, -2 * cause], -1)
    noise = generator.gumbel(size=(num, 3))
    frame = pd.DataFrame(
        {
            "height": 170 + 10 * cause + 2 * generator.normal(size=num),
            "weight": 70 - 8 * cause + 2 * generator.normal(size=num),
            "visits": generator.poisson(np.exp(1 + cause)),
            "city": np.array(["a", "b", "c"])[(logits + noise).argmax(-1)],
            "grade": 1 + np.digitize(cause + 0.5 * generator.normal(size=num), [-1, 0, 1]),
            "won": cause + generator.logistic(size=num) > 0,
        }
    )
    return frame, cause


@pytest.fixture(scope="module")
def mixed():
    generator = np.random.default_rng(0)
    frame, cause = mixed_frame(1000, generator)
    holes = generator.random(frame.shape) < 0.4
    data = from_table(frame.astype(object).mask(holes))
    story = build("vae", data, latent_dim=2)
    fit(story, data, steps=600, lr=3e-3, progress=False)
    return frame, cause, holes, data, story


def test_codes_of_a_table_with_holes_find_the_cause(mixed):
    _, cause, _, data, story = mixed
    codes = encode(story, data)["mean"].values
    best = max(abs(np.corrcoef(codes[:, k], cause)[0, 1]) for k in range(2))
    assert best > 0.8


def test_missing_cells_are_imputed_better_than_by_columns(mixed):
    frame, _, holes, data, story = mixed
    x = data.observations(torch.arange(len(data)))
    imputed = to_frame(data, reconstruct(story, x))
    for k, name in enumerate(frame.columns):
        truth = frame[name].to_numpy()[holes[:, k]]
        guess = imputed[name].to_numpy()[holes[:, k]]
        if name == "city":
            assert (truth == guess).mean() > (truth == frame[name].mode()[0]).mean() + 0.1
            continue
        error = np.square(truth.astype(float) - guess.astype(float)).mean()
        assert error < 0.92 * np.var(truth.astype(float)), name


@pytest.mark.parametrize(
    "likelihood",
    ["poisson", "negative_binomial", "zero_inflated_poisson", "zero_inflated_negative_binomial"],
)
@pytest.mark.parametrize("shape", [(6,), (2, 16, 16)], ids=["vectors", "images"])
def test_counts_have_a_likelihood_of_counts(likelihood, shape):
    counts = np.random.default_rng(0).poisson(3, (100, *shape))
    data = from_arrays(counts, kind="image" if len(shape) == 3 else None)
    story = build("vae", data, likelihood=likelihood, latent_dim=2)
    fit(story, data, steps=3, progress=False)
    assert reconstruct(story, counts[:4].astype(np.float32)).shape == (4, *shape)
    with_holes = counts.astype(np.float32)
    with_holes[counts == 1] = np.nan
    incomplete = from_arrays(with_holes, kind=data.kind)
    other = build("vae", incomplete, likelihood=likelihood, latent_dim=2)
    fit(other, incomplete, steps=3, progress=False)
    assert np.isfinite(elbo_per_datum(other, incomplete)["elbo"]).all()


def test_a_poisson_story_learns_the_rates():
    rates = np.array([0.5, 2.0, 10.0, 40.0])
    counts = np.random.default_rng(0).poisson(rates, (500, 4))
    data = from_arrays(counts)
    story = build("vae", data, likelihood="poisson", latent_dim=1)
    fit(story, data, steps=600, progress=False)
    means = reconstruct(story, data.to_float(data.observations(torch.arange(500)))).mean(0)
    np.testing.assert_allclose(means, counts.mean(0), rtol=0.15)


@pytest.mark.parametrize(
    ("data", "likelihood", "message"),
    [
        (from_arrays(np.full((9, 2), 0.5)), "poisson", "takes counts 0, 1, 2, …; arrays has 0.5"),
        (from_arrays(np.array([[200]] * 9, np.uint8)), "poisson", "pass maximum=1"),
        (TABLE, "gaussian", "does not fit column 'cells' of type count"),
        (NUMBERS, "poisson", "does not fit column 'a' of type number"),
    ],
)
def test_a_likelihood_that_does_not_fit_is_refused(data, likelihood, message):
    with pytest.raises(ValueError, match=message):
        build("vae", data, likelihood=likelihood)


def test_the_likelihood_of_a_table_of_numbers_can_be_chosen():
    story = build("vae", NUMBERS, likelihood="student_t")
    assert [column.likelihood for column in story.decoder.columns] == ["student_t"] * 5


@pytest.mark.parametrize("kind", ["image", "signal", "sequence", "vector"])
def test_encoders_of_incomplete_observations_read_which_elements_are_observed(kind):
    shape = {"image": (2, 32, 32), "signal": (2, 32), "sequence": (32, 2), "vector": (9,)}[kind]
    networks = Networks(shape, observations=kind, has_missing=True)
    encoder = networks.encoder(4)
    x = torch.rand(3, *shape)
    x[0, 0] = 0.0
    holes = x.clone()
    holes[0, 0] = float("nan")
    assert encoder(holes).isfinite().all()
    assert not torch.equal(encoder(holes)[0], encoder(x)[0])
    torch.testing.assert_close(encoder(holes)[1:], encoder(x)[1:])
