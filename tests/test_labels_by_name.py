"""Labels by name: columns in any order are the story's columns; an order that is not stated is refused."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import nn

from ppl_disentangle import encode, to_datatree
from ppl_disentangle.causal import StructuralPrior, average_effect, counterfactual, do, worlds
from ppl_disentangle.causal.mechanisms import LinearGaussian
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.data import Pendulum, from_arrays, with_conditions
from ppl_disentangle.inference import elbo_per_datum, fit
from ppl_disentangle.models import IVAE, CausalVAE, DeepSCM

NUM = 60
COLUMNS = ("age", "zinc", "shape")  # parents first, then by name
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"zinc": RNG.normal(size=NUM), "age": 10 + RNG.normal(size=NUM)})
FRAME["shape"] = 5 * FRAME["zinc"]
X = torch.from_numpy(RNG.normal(size=(NUM, 6))).float()
TRUTH = torch.tensor(FRAME[list(COLUMNS)].to_numpy().tolist())

FORMS = {
    "a frame": FRAME,
    "a frame in another order": FRAME[["shape", "age", "zinc"]],
    "a frame in the right order": FRAME[list(COLUMNS)],
    "columns": {name: FRAME[name].to_numpy() for name in FRAME},
    "columns as lists": {name: FRAME[name].tolist() for name in FRAME},
    "columns as tensors": {name: torch.tensor(FRAME[name].tolist()) for name in FRAME},
    "a data set": xr.Dataset({name: ("data", FRAME[name]) for name in FRAME}),
    "an array": xr.DataArray(FRAME.to_numpy(), {"node": list(FRAME)}, ("data", "node")),
    "numbers that may be missing": FRAME.astype("Float64"),
}


def story():
    torch.manual_seed(0)
    prior = StructuralPrior("zinc -> shape; age -> shape", LinearGaussian)
    return DeepSCM(prior, Gaussian(nn.Linear(6, 4)), GaussianLearnedScale(nn.Linear(5, 6)), 2)


def bounds(labels, **options):
    data = with_conditions(from_arrays(X), labels=labels, **options)
    return elbo_per_datum(story(), data)["elbo"].values


@pytest.fixture(scope="module")
def right():
    return bounds(TRUTH, columns=COLUMNS)


@pytest.mark.parametrize("labels", FORMS.values(), ids=list(FORMS))
def test_columns_are_found_by_name(labels, right):
    np.testing.assert_allclose(bounds(labels), right, rtol=1e-5)
    by_keyword = elbo_per_datum(story(), from_arrays(X), labels=labels)["elbo"].values
    np.testing.assert_allclose(by_keyword, right, rtol=1e-5)


@pytest.mark.parametrize("labels", FORMS.values(), ids=list(FORMS))
def test_all_functions_read_the_columns_by_name(labels):
    made = story()
    actions = {"zinc": 1.0}
    expected = counterfactual(made, X, [{}, actions], num_samples=2, labels=TRUTH)
    xr.testing.assert_allclose(
        counterfactual(made, X, [{}, actions], num_samples=2, labels=labels), expected
    )
    assert torch.equal(
        torch.from_numpy(expected["age"].values[0, 0]), TRUTH[:, COLUMNS.index("age")]
    )
    values = worlds(made, [{}, actions], labels=labels).values(X, labels=labels)
    assert torch.equal(values["age"][0, :, 0], TRUTH[:, 0])
    effect = average_effect(
        made, "zinc", "shape", values=(0.0, 1.0), x=X, conditions={"labels": labels}
    )
    of_tensor = average_effect(
        made, "zinc", "shape", values=(0.0, 1.0), x=X, conditions={"labels": TRUTH}
    )
    assert effect["mean"].item() == pytest.approx(of_tensor["mean"].item(), rel=1e-5)
    assert do(made, actions, labels=labels).columns == COLUMNS


def test_fit_and_results_read_the_columns_by_name_through_subsets():
    weights = []
    for labels in (FRAME, TRUTH):
        columns = {} if labels is FRAME else {"columns": COLUMNS}
        data = with_conditions(from_arrays(X), labels=labels, **columns)
        made = story()
        train, held_out = data.split(10)
        fit(made, train, held_out=held_out, steps=3, batch_size=20, progress=False)
        weights.append(torch.cat([p.flatten() for p in made.parameters()]))
        tree = to_datatree(made, held_out, num_data=5, draws=1)
        assert set(tree["observed_data"].data_vars) >= {"age", "x"}
        encode(made, held_out)
    torch.testing.assert_close(*weights)


BARE = {
    "an array": FRAME.to_numpy(),
    "a tensor": torch.tensor(FRAME.to_numpy().tolist()),
    "a frame of numbered columns": pd.DataFrame(FRAME.to_numpy()),
    "an array without coordinates": xr.DataArray(FRAME.to_numpy()),
}


@pytest.mark.parametrize("labels", BARE.values(), ids=list(BARE))
def test_an_order_that_is_not_stated_is_refused(labels):
    message = (
        r"order of the columns of 'labels' is not known: DeepSCM takes \['age', 'zinc', 'shape'\]"
    )
    data = with_conditions(from_arrays(X), labels=labels)
    for use in (elbo_per_datum, encode, lambda made, data: fit(made, data, steps=1)):
        with pytest.raises(ValueError, match=message):
            use(story(), data)
    if not isinstance(labels, torch.Tensor):
        with pytest.raises(ValueError, match=message):
            counterfactual(story(), X, {"zinc": 1.0}, labels=labels)


def test_an_order_that_is_stated_is_used(right):
    values = bounds(FRAME.to_numpy(), columns=["zinc", "age", "shape"])
    np.testing.assert_allclose(values, right, rtol=1e-5)
    with pytest.raises(ValueError, match=r"expected a condition with the columns \['a', 'b'\]"):
        bounds(FRAME.to_numpy(), columns=["a", "b"])


WRONG = {
    "a column is missing": (FRAME[["zinc", "shape"]], r"lacks \['age'\]"),
    "a column is unknown": (FRAME.assign(id=1.0), r"has also \['id'\]"),
    "another name": (
        FRAME.rename(columns={"age": "years"}),
        r"lacks \['age'\] and has also \['years'\]",
    ),
}


@pytest.mark.parametrize(("labels", "message"), WRONG.values(), ids=list(WRONG))
def test_missing_and_unknown_columns_are_named(labels, message):
    with pytest.raises(ValueError, match="'labels': DeepSCM takes the columns .*" + message):
        bounds(labels)


def test_columns_of_text_are_named():
    with pytest.raises(TypeError, match="'labels', column 'age': expected numbers, got text"):
        bounds(FRAME.assign(age="old"))


def test_missing_numbers_are_nan():
    labels = FRAME.astype("Float64").mask(FRAME["zinc"] > 0)
    data = with_conditions(from_arrays(X), labels=labels)
    known = data.conditions(torch.arange(NUM))["labels"].isnan()
    assert torch.equal(known, torch.tensor(labels.isna().to_numpy().tolist()))


def test_columns_of_a_data_set_that_names_them_need_no_order():
    data = Pendulum(50)
    prior = StructuralPrior(data.dag)
    networks = Gaussian(nn.Linear(6, 8)), GaussianLearnedScale(nn.Linear(4, 6))
    labelled = with_conditions(data, labels=data.labels().values)
    from ppl_disentangle.conditions import arranged

    assert arranged(CausalVAE(prior, *networks), labelled) is labelled


def test_a_frame_of_auxiliary_variables_is_a_tensor():
    frame = FRAME[["zinc", "age"]]
    made = IVAE(
        Gaussian(nn.Linear(6, 4)),
        GaussianLearnedScale(nn.Linear(2, 6)),
        Gaussian(nn.Linear(2, 4)),
        2,
    )
    by_frame = encode(made, from_arrays(X), u=frame)["mean"].values
    by_tensor = encode(made, from_arrays(X), u=torch.tensor(frame.to_numpy().tolist()))
    np.testing.assert_allclose(by_frame, by_tensor["mean"].values, rtol=1e-5)


@pytest.mark.parametrize("form", ["a frame", "columns as lists", "a data set"])
def test_evidence_by_name(form):
    prior = StructuralPrior("zinc -> shape; age -> shape", LinearGaussian)
    made = CausalVAE(prior, Gaussian(nn.Linear(6, 6)), GaussianLearnedScale(nn.Linear(3, 6)))
    evidence = (
        FORMS[form][["zinc", "age"]]
        if form != "columns as lists"
        else {name: FORMS[form][name] for name in ("zinc", "age")}
    )
    result = counterfactual(made, X, [{}], num_samples=2, evidence=evidence)
    np.testing.assert_allclose(result["age"].isel(world=0, draw=1), FRAME["age"], rtol=1e-5)
    with pytest.raises(TypeError, match="expected evidence by name"):
        counterfactual(made, X, [{}], evidence=FRAME.to_numpy())
