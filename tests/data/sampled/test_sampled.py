"""Data drawn from other data: their laws against exact probabilities, and what never changes."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, chisquare
from torch.utils.data import DataLoader

from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import (
    Factor,
    FactorGrid,
    Pendulum,
    Sprites,
    correlated,
    correlated_density,
    digits,
    from_arrays,
    groups,
    iid,
    interventional,
    laplace_transition,
    pairs,
    partial_labels,
    sharing,
    split_combinations,
    split_where,
    triplets,
    walks,
    with_conditions,
)
from ppl_disentangle.inference import BatchStream, fit
from ppl_disentangle.inference.training.batches import Batches
from ppl_disentangle.models import VAE
from ppl_disentangle.networks import mlp_decoder, mlp_encoder

LEAST = 1e-3  # p value of a goodness-of-fit test, all seeds being fixed


class Numbers(FactorGrid):
    """Observations that are the factor classes themselves."""

    def __init__(self, *sizes, name="numbers"):
        kinds = ("categorical", "ordinal", "cyclic", "ordinal", "ordinal")
        names = ("kind", "size", "turn", "x", "y")
        self.space = tuple(
            Factor(
                n,
                tuple(float(v) for v in range(size))
                if kind != "categorical"
                else tuple("abcdefgh"[:size]),
                kind,
            )
            for n, size, kind in zip(names, sizes, kinds, strict=False)
        )
        self.name, self.observation_shape, self.maximum = name, (len(sizes),), 1

    def render(self, factors):
        return factors.float()


GRID = Numbers(3, 4, 5, 2)
MORE = Numbers(3, 4, 6, 5)


def table(grid=GRID, rows=None):
    """The same data as a grid's, without its arithmetic, or some of them."""
    index = torch.arange(len(grid)) if rows is None else rows
    classes = grid.factors(index)
    columns = {
        f.name: [f.values[c] for c in classes[:, k].tolist()] for k, f in enumerate(grid.space)
    }
    data = from_arrays(grid.observations(index), columns, name="table")
    assert torch.equal(data.factors(torch.arange(len(index))), classes)
    return data


def everything(data):
    """Classes of all members of all data, as the numbers that they are drawn as."""
    return data.observations(torch.arange(len(data))).long()


def counts(rows, sizes):
    code = torch.zeros(len(rows), dtype=torch.int64)
    for column, size in zip(rows.unbind(-1), sizes, strict=True):
        code = code * size + column
    return code.bincount(minlength=math.prod(sizes))


def assert_follows(observed, probabilities):
    """Chi-square against exact probabilities, the rare ones pooled; what cannot be was not seen."""
    observed, p = (
        observed.double().flatten(),
        probabilities.double().flatten() / probabilities.double().sum(),
    )
    assert observed[p == 0].sum() == 0
    expected = p * observed.sum()
    rare = expected < 5
    assert (~rare).sum() > 1, "too few draws for this test"
    observed, expected = (torch.cat([v[~rare], v[rare].sum()[None]]) for v in (observed, expected))
    some = expected > 0
    assert chisquare(observed[some], expected[some]).pvalue > LEAST


SOURCES = pytest.mark.parametrize("data", [GRID, table()], ids=["grid", "table"])


@SOURCES
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_pairs_differ_in_exactly_k_factors_and_every_factor_changes_equally_often(data, k):
    drawn = pairs(data, k, num=6000, seed=1, conditions=True)
    first, second = everything(drawn).unbind(1)
    changed = first != second
    assert (changed.sum(1) == k).all()
    assert torch.equal(drawn.conditions(torch.arange(6000))["changed"], changed)
    assert torch.equal(drawn.factors(torch.arange(6000)), first)
    if k < 4:
        subsets = torch.tensor(
            [[i in s for i in range(4)] for s in itertools.combinations(range(4), k)]
        )
        assert_follows((changed[:, None] == subsets).all(-1).sum(0), torch.ones(len(subsets)))
    assert_follows(counts(first, GRID.factor_sizes), torch.ones(120))
    assert_follows(counts(second, GRID.factor_sizes), torch.ones(120))


@SOURCES
def test_the_other_of_a_pair_is_uniform_among_those_that_fit(data):
    first, second = everything(pairs(data, 1, factors=["turn"], num=5000)).unbind(1)
    apart = torch.ones(5, 5).fill_diagonal_(0)
    assert_follows(counts(torch.stack([first[:, 2], second[:, 2]], -1), (5, 5)), apart)


def test_a_random_number_of_factors_is_uniform_below_all():
    first, second = everything(pairs(GRID, "random", num=6000)).unbind(1)
    assert_follows((first != second).sum(1).bincount()[1:], torch.ones(3))


def test_pairs_of_a_part_are_in_that_part_and_of_the_law_given_that_a_partner_exists():
    # Of the grid 3 x 4, a cross is left: kind 0 in all sizes, and all kinds in size 0.
    cross = table(Numbers(3, 4), torch.tensor([0, 1, 2, 3, 4, 8]))
    first, second = everything(pairs(cross, 1, num=8000)).unbind(1)
    exact = torch.zeros(12, 12)
    rows = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (2, 0)]
    for a in rows:
        for k in (0, 1):
            fits = [b for b in rows if b[k] != a[k] and b[1 - k] == a[1 - k]]
            for b in fits:
                exact[4 * a[0] + a[1], 4 * b[0] + b[1]] += 1 / len(fits)
    code = 4 * first[:, 0] + first[:, 1], 4 * second[:, 0] + second[:, 1]
    assert_follows((12 * code[0] + code[1]).bincount(minlength=144), exact)


def test_a_partner_that_rejection_misses_is_found():
    x = torch.cat([torch.zeros(5000), torch.ones(1)]).long()
    first, second = everything(pairs(from_arrays(x[:, None].float(), x), num=200)).unbind(1)
    assert (first + second == 1).all()


def test_pairs_that_hardly_exist_are_an_error():
    diagonal = table(Numbers(3, 4), torch.tensor([0, 5, 10]))
    with pytest.raises(
        ValueError,
        match=r"hardly any .* 'table' differ in exactly k=1 of \['kind', 'size'\].* 0 of 1\d{3}",
    ):
        pairs(diagonal, 1, num=100)
    few = from_arrays(torch.zeros(100, 1), {"a": [*range(99), 0], "b": [*range(98), 0, 1]})
    assert len(pairs(few, 1, num=1)) == 1  # most draws find nobody
    assert (
        everything(pairs(diagonal, 2, num=100))[:, 0]
        != everything(pairs(diagonal, 2, num=100))[:, 1]
    ).all()


@SOURCES
def test_groups_vary_one_factor_which_is_told(data):
    drawn = groups(data, 5, num=4000, seed=2, conditions=True)
    members = everything(drawn)
    varies = (members != members[:, :1]).any(1)
    assert (varies.sum(1) == 1).all()
    varied = drawn.conditions(torch.arange(4000))["varied"]
    assert torch.equal(varied, varies.int().argmax(1))
    assert_follows(varied.bincount(minlength=4), torch.ones(4))
    turns = members[varied == 2][:, :, 2]
    assert_follows(counts(turns[:, :2], (5, 5)), torch.ones(5, 5).fill_diagonal_(0))
    assert_follows(counts(turns[:, [0, 4]], (5, 5)), torch.ones(5, 5))
    assert groups(data, 2, num=3).observation_shape == (2, 4)


@SOURCES
def test_groups_that_share_a_factor_are_free_in_all_others(data):
    members = everything(sharing(data, ["kind", "x"], 3, num=6000))
    assert (members[:, :, [0, 3]] == members[:, :1, [0, 3]]).all()
    assert_follows(
        counts(members[:, [0, 2]][:, :, [1, 2]].flatten(1), (4, 5, 4, 5)), torch.ones(400)
    )
    same_class = sharing(digits(), "digit", num=500)
    assert (
        digits().factors(same_class.members(torch.arange(500)).flatten()).view(-1, 2).diff(dim=1)
        == 0
    ).all()


@SOURCES
def test_triplets_share_the_factor_with_the_positive_only(data):
    anchor, positive, negative = everything(triplets(data, "size", num=6000)).unbind(1)
    assert torch.equal(anchor[:, 1], positive[:, 1])
    assert (anchor[:, 1] != negative[:, 1]).all()
    assert_follows(
        counts(torch.cat([positive[:, [0, 2]], negative[:, [0, 2]]], 1), (3, 5, 3, 5)),
        torch.ones(225),
    )
    assert_follows(
        counts(torch.stack([anchor, negative], -1)[:, 1], (4, 4)),
        torch.ones(4, 4).fill_diagonal_(0),
    )


@pytest.mark.parametrize("data", [MORE, table(MORE)], ids=["grid", "table"])
def test_walks_follow_their_step_law_in_every_frame(data):
    matrix = torch.tensor(
        [[0.5, 0.5, 0, 0], [0, 0.2, 0.8, 0], [0, 0, 0, 1.0], [0.1, 0.2, 0.3, 0.4]]
    )
    turn = (
        2.0 if data is MORE else laplace_transition(6, 2.0, cyclic=True)
    )  # arrays have no cyclic factors
    frames = everything(walks(data, 4, {"size": matrix, "turn": turn}, num=12000, seed=3))
    assert (frames[:, :, [0, 3]] == frames[:, :1, [0, 3]]).all()
    assert_follows(counts(frames[:, 0], MORE.factor_sizes), torch.ones(360))
    law = torch.full((4,), 0.25, dtype=torch.float64)
    for before, after in itertools.pairwise(frames.unbind(1)):
        both = torch.stack([before, after], -1)
        assert_follows(counts(both[:, 1], (4, 4)), law[:, None] * matrix)
        law = law @ matrix.double()
        for c in range(6):
            expected = [
                math.exp(-2 * min(abs(c - j), 6 - abs(c - j)) / math.log(6)) for j in range(6)
            ]
            assert_follows(
                both[both[:, 2, 0] == c][:, 2, 1].bincount(minlength=6), torch.tensor(expected)
            )
    independent = frames[:, 1][:, [1, 2]]
    assert_follows(
        counts(independent, (4, 6)), (torch.full((4,), 0.25) @ matrix)[:, None].expand(4, 6)
    )


def test_one_rate_moves_every_factor_but_categories_and_a_step_may_be_forced():
    first, second = everything(walks(MORE, 2, 3.0, num=40000)).unbind(1)
    assert (first[:, 0] == second[:, 0]).all()
    still = (first == second).all(1)
    stays = [laplace_transition(n, 3.0, cyclic=c) for n, c in ((4, False), (6, True), (5, False))]
    probability = math.prod(t.diagonal().mean().item() for t in stays)
    assert binom(40000, probability).cdf(still.sum()) == pytest.approx(0.5, abs=0.499)
    first, second = everything(walks(MORE, 2, 3.0, always_moves=True, num=40000)).unbind(1)
    assert (first != second).any(1).all()
    moved = (first[:, 1] != second[:, 1]).double().mean()
    # it moves by itself, or nothing does and it is chosen, one time in three
    expected = 1 - stays[0].diagonal().mean().item() + probability / 3
    assert moved == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 40000))


def test_the_laplace_transition_is_its_formula():
    for cyclic in (False, True):
        matrix = laplace_transition(7, 1.3, cyclic=cyclic)
        for i, j in itertools.product(range(7), repeat=2):
            distance = min(abs(i - j), 7 - abs(i - j)) if cyclic else abs(i - j)
            assert matrix[i, j] / matrix[i, i] == pytest.approx(
                math.exp(-1.3 * distance / math.log(7))
            )
        torch.testing.assert_close(matrix.sum(1), torch.ones(7).double())
    assert torch.equal(laplace_transition(4, 0.0), torch.full((4, 4), 0.25).double())


@SOURCES
@pytest.mark.parametrize("width", [0.15, 0.5, math.inf])
def test_correlated_factors_have_the_stated_density_and_marginals(data, width):
    drawn = everything(correlated(data, {("size", "turn"): width}, num=20000, seed=5))
    exact = torch.tensor(
        [[math.exp(-((a / 3 - b / 4) ** 2) / (2 * width**2)) for b in range(5)] for a in range(4)],
        dtype=torch.float64,
    )
    torch.testing.assert_close(correlated_density(4, 5, width), exact / exact.sum())
    assert_follows(counts(drawn[:, [1, 2]], (4, 5)), exact)
    assert_follows(drawn[:, 1].bincount(), exact.sum(1))
    joint = exact[:, :, None] * torch.ones(6)
    assert_follows(counts(drawn[:, [1, 2, 0, 3]], (4, 5, 3, 2)), joint)


def test_several_pairs_multiply_and_tables_go_by_the_order_of_their_names():
    kinds = np.array([[0.1, 0.9], [1.0, 0.0], [0.5, 0.5]])
    drawn = everything(
        correlated(
            GRID, {("turn", "size"): 0.3, ("kind", "x"): kinds, ("x", "size"): 0.4}, num=30000
        )
    )
    exact = torch.zeros(3, 4, 5, 2, dtype=torch.float64)
    for a, b, c, d in itertools.product(range(3), range(4), range(5), range(2)):
        exact[a, b, c, d] = kinds[a, d] * math.exp(
            -((c / 4 - b / 3) ** 2) / 0.18 - (d - b / 3) ** 2 / 0.32
        )
    assert_follows(counts(drawn, (3, 4, 5, 2)), exact)


def test_a_correlation_with_a_combination_that_does_not_exist_is_an_error():
    training, _ = split_where(GRID, {"kind": "b", "size": 3.0})
    with pytest.raises(ValueError, match=r"no datum of 'numbers' has kind='b', size=3\.0"):
        correlated(training, {("kind", "size"): torch.ones(3, 4)})
    allowed = torch.ones(3, 4)
    allowed[1, 3] = 0
    drawn = everything(correlated(training, {("kind", "size"): allowed}, num=5000))
    assert_follows(counts(drawn[:, :2], (3, 4)), allowed)


def test_interventions_set_what_they_say_and_leave_the_others_alone():
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


def combinations(data, columns):
    return {tuple(row) for row in everything(data)[:, columns].tolist()}


@SOURCES
@pytest.mark.parametrize("factors", [None, ["size", "kind"]])
def test_held_out_combinations_are_never_seen_though_each_value_is(data, factors):
    for seed in range(5):
        training, test = split_combinations(data, factors, fraction=0.4, seed=seed)
        columns = [0, 1] if factors else [0, 1, 2, 3]
        seen, unseen = combinations(training, columns), combinations(test, columns)
        assert seen.isdisjoint(unseen)
        assert len(unseen) == round(0.4 * (12 if factors else 120))
        assert len(training) + len(test) == len(data)
        assert all(
            set(v) == set(range(n))
            for v, n in zip(zip(*seen, strict=True), GRID.factor_sizes, strict=False)
        )
        for drawn in (
            pairs(training, num=500),
            groups(training, 3, num=500),
            triplets(training, "size", num=500),
        ):
            members = drawn.observations(torch.arange(500)).long().flatten(0, 1)[:, columns]
            assert {tuple(row) for row in members.tolist()} <= seen
    splits = [
        sorted(combinations(split_combinations(data, factors, seed=s)[1], columns))
        for s in (0, 0, 1)
    ]
    assert splits[0] == splits[1] != splits[2]


def test_every_combination_but_a_cover_can_be_held_out():
    square = Numbers(3, 3)
    seen = set()
    for seed in range(40):
        training, test = split_combinations(square, fraction=4 / 9, seed=seed)
        assert len(test) == 4
        assert {
            len(set(column)) for column in zip(*combinations(training, [0, 1]), strict=True)
        } == {3}
        seen |= combinations(test, [0, 1])
    assert len(seen) == 9
    with pytest.raises(
        ValueError,
        match=r"cannot hold out 8 of 9 combinations: between 1 and [3456] leave each value",
    ):
        split_combinations(square, fraction=8 / 9)
    with pytest.raises(ValueError, match="cannot hold out 0 of 9"):
        split_combinations(square, fraction=0.01)


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({"size": (2, 3)}, lambda k, s, t, x: s >= 2),
        ({"kind": "b", "turn": (1.5, 4)}, lambda k, s, t, x: k == 1 and t >= 2),
        ({"kind": ["a", "c"], "size": 0.0}, lambda k, s, t, x: k != 1 and s == 0),
        (
            [{"kind": "a", "size": 1.0}, {"kind": "b", "size": 2.0}],
            lambda k, s, t, x: s == k + 1 and k < 2,
        ),
    ],
    ids=["extrapolation", "recombination", "values", "named combinations"],
)
@SOURCES
def test_data_that_meet_conditions_are_held_out_and_no_others(data, where, holds):
    training, test = split_where(data, where)
    assert all(holds(*row) for row in everything(test).tolist())
    assert not any(holds(*row) for row in everything(training).tolist())
    assert len(training) + len(test) == 120


def test_partial_labels_are_known_and_wrong_as_often_as_stated():
    data = correlated(GRID, {("size", "turn"): 0.3}, num=40000)
    truth = everything(data)
    values, known, mean, scale = partial_labels(
        data, ["turn", "kind"], fraction=0.3, wrong=0.25, seed=1
    )
    assert known.sum() == 12000
    assert torch.equal(values.isnan(), ~known[:, None].expand(-1, 2))
    assert (mean.tolist(), scale.tolist()) == ([0, 0], [1, 1])
    shift = (values[known] - truth[known][:, [2, 0]]).long() % torch.tensor([5, 3])
    assert_follows(shift[:, 0].bincount(), torch.tensor([0.75, *[0.25 / 4] * 4]))
    assert_follows(shift[:, 1].bincount(), torch.tensor([0.75, 0.125, 0.125]))
    assert_follows(counts((shift > 0).long(), (2, 2)), torch.tensor([9.0, 3, 3, 1]))
    more = partial_labels(data, fraction=0.5, seed=1)
    assert (known <= more.known).all()
    assert torch.equal(more.values[more.known].long(), truth[more.known])
    told = with_conditions(data, labels=values)
    index = torch.tensor([5, 9])
    torch.testing.assert_close(told.conditions(index)["labels"], values[index], equal_nan=True)


def test_iid_draws_are_uniform_with_replacement():
    assert_follows(counts(everything(iid(GRID, 5000)), GRID.factor_sizes), torch.ones(120))
    assert len(iid(GRID)) == len(GRID)


SAMPLERS = {
    "iid": lambda data, seed: iid(data, 300, seed=seed),
    "pairs": lambda data, seed: pairs(data, "random", num=300, seed=seed),
    "groups": lambda data, seed: groups(data, 3, num=300, seed=seed, conditions=True),
    "sharing": lambda data, seed: sharing(data, "size", num=300, seed=seed),
    "triplets": lambda data, seed: triplets(data, "size", num=300, seed=seed),
    "walks": lambda data, seed: walks(data, 3, num=300, seed=seed),
    "correlated": lambda data, seed: correlated(data, {("size", "turn"): 0.3}, num=300, seed=seed),
    "interventional": lambda data, seed: interventional(
        data, {"size": None}, num=300, seed=seed, conditions=True
    ),
}


@pytest.fixture(params=SAMPLERS.values(), ids=SAMPLERS)
def sampler(request):
    return request.param


@SOURCES
def test_the_same_seed_draws_the_same_and_no_one_elses_draws_matter(sampler, data):
    state = torch.get_rng_state()
    first, again, other = (sampler(data, seed) for seed in (7, 7, 8))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(everything(first), everything(again))
    assert not torch.equal(everything(first), everything(other))
    index = torch.tensor([250, 3, 3])
    assert torch.equal(first.observations(index), everything(first)[index].float())
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(everything(sampler(data, generator)), everything(first))
    assert not torch.equal(everything(sampler(data, generator)), everything(first))


def test_a_loader_with_two_workers_gives_each_datum_once(sampler):
    data = sampler(GRID, 0)
    loader = DataLoader(data, batch_size=32, num_workers=2)
    x, factors = (torch.cat(parts) for parts in zip(*loader, strict=True))
    index = torch.arange(len(data))
    assert torch.equal(x, data.observations(index))
    assert torch.equal(factors, data.factors(index))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_is_the_batches_of_fit_in_their_order_each_datum_once_an_epoch(workers):
    data = pairs(GRID, num=96, conditions=True)
    stream = BatchStream(data, 16, seed=3)
    batches = Batches(data, 16, seed=3, device=torch.device("cpu"))
    given = list(DataLoader(stream, batch_size=None, num_workers=workers))
    assert len(given) == len(stream) == 6
    for step, (x, conditions) in enumerate(given):
        assert torch.equal(x, batches(step))
        assert torch.equal(conditions["changed"], batches.conditions(step)["changed"])
    rows = torch.cat([x for x, _ in given]).flatten(1).tolist()
    assert sorted(rows) == sorted(data.observations(torch.arange(96)).flatten(1).tolist())
    assert len(list(BatchStream(data, 16, steps=20))) == 20


def test_conditions_of_the_members_come_for_each_member():
    told = with_conditions(GRID, number=torch.arange(120))
    data = pairs(told, num=50, conditions=True)
    index = torch.tensor([4, 9])
    conditions = data.conditions(index)
    assert torch.equal(
        GRID.factors(conditions["number"].flatten()), data.observations(index).long().flatten(0, 1)
    )
    assert conditions["changed"].shape == (2, 4)


class PairVAE(VAE):
    """Both images of a pair as one observation; is told which factors changed."""

    def model(self, x=None, *, batch_size=1, changed=None):
        assert x is None or changed.shape == (len(x), 5)
        return super().model(x, batch_size=batch_size)

    def guide(self, x, *, changed=None):
        super().guide(x)


def test_fit_takes_pairs_resumes_them_exactly_and_scales_to_their_number(tmp_path):
    def story():
        torch.manual_seed(0)
        shape = (2, 1, 64, 64)
        encoder, decoder = (
            mlp_encoder(8, shape=shape, hidden=8),
            mlp_decoder(4, shape=shape, hidden=8),
        )
        return PairVAE(Gaussian(encoder), Bernoulli(decoder), 4)

    def data():
        return pairs(Sprites(), num=200, conditions=True)

    options = {"batch_size": 16, "progress": False, "validate_steps": 0}
    whole, stopped = story(), story()
    history = fit(whole, data(), steps=30, **options)
    fit(stopped, data(), steps=14, checkpoint=tmp_path / "c", **options)
    fit(stopped, data(), steps=30, checkpoint=tmp_path / "c", resume=True, **options)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), stopped.parameters(), strict=True)
    )
    # An untrained decoder gives each of 2 * 64 * 64 pixels about log 2 nats: terms are per pair, not per image.
    assert history["loss"].values[0] == pytest.approx(2 * 64 * 64 * math.log(2), rel=0.02)


ERRORS = {
    "a factor": (
        lambda: pairs(GRID, factors=["sise"]),
        KeyError,
        r"no factor named 'sise'; 'numbers' has .*'size'",
    ),
    "no factor": (
        lambda: pairs(from_arrays(torch.rand(4, 2))),
        ValueError,
        "expected factors, 'arrays' has none",
    ),
    "a constant": (
        lambda: pairs(Numbers(3, 1), factors=["size"]),
        ValueError,
        "'size' has one value",
    ),
    "twice": (
        lambda: sharing(GRID, ["x", "x"]),
        ValueError,
        r"expected different factors, got \['x', 'x'\]",
    ),
    "too many": (lambda: pairs(GRID, 5), ValueError, "expected 1 <= k <= 4 or k='random', got k=5"),
    "none": (lambda: pairs(GRID, 0), ValueError, "expected 1 <= k <= 4 or k='random', got k=0"),
    "one to choose": (
        lambda: pairs(GRID, "random", factors=["x"]),
        ValueError,
        "k='random' needs two factors",
    ),
    "empty": (lambda: pairs(GRID, num=0), ValueError, "expected num >= 1, got 0"),
    "a group of one": (lambda: groups(GRID, 1), ValueError, "expected size >= 2, got 1"),
    "a single shared": (lambda: sharing(GRID, "x", 1), ValueError, "expected size >= 2, got 1"),
    "one class": (
        lambda: triplets(split_where(GRID, {"size": 2.0})[1], "size"),
        ValueError,
        "expected two classes of 'size' or more, all of 'numbers' have one",
    ),
    "a still": (lambda: walks(GRID, 1), ValueError, "expected length >= 2, got 1"),
    "a matrix": (
        lambda: walks(GRID, 2, {"size": torch.ones(4, 4)}),
        ValueError,
        r"probabilities \(4, 4\) for 'size', whose rows sum to 1; got shape \(4, 4\)",
    ),
    "a trap": (
        lambda: walks(GRID, 2, {"x": [[0.5, 0.5], [0, 1]]}, always_moves=True),
        ValueError,
        "always_moves needs another class to go to from each of 'x'",
    ),
    "a range of a node": (
        lambda: interventional(Pendulum(9, size=32), {"light": (60, 100)}),
        ValueError,
        r"expected a number, numbers in a list, or None for node 'light', got \(60, 100\)",
    ),
    "a rate": (
        lambda: walks(GRID, 2, {"size": -1.0}),
        ValueError,
        "a finite rate >= 0, got size=4, rate=-1.0",
    ),
    "a missing step": (
        lambda: walks(split_where(GRID, {"kind": "a", "turn": 2.0})[0], 9, {"turn": 0.0}),
        ValueError,
        r"no datum of 'numbers' has kind='a', size=\d.0, turn=2.0, x=\d.0",
    ),
    "no pair": (
        lambda: correlated(GRID, {}),
        ValueError,
        "expected at least one pair of factors, got none",
    ),
    "no order": (
        lambda: correlated(GRID, {("kind", "x"): 0.1}),
        ValueError,
        r"a table of weights \(3, 2\) for",
    ),
    "weights": (
        lambda: correlated(GRID, {("kind", "x"): -torch.ones(3, 2)}),
        ValueError,
        r"expected finite weights >= 0 of shape \(3, 2\) for \('kind', 'x'\), got .* in \[-1, -1\]",
    ),
    "all zero": (
        lambda: correlated(GRID, {("kind", "x"): torch.zeros(3, 2)}),
        ValueError,
        "has a positive weight",
    ),
    "itself": (
        lambda: correlated(GRID, {("x", "x"): 0.1}),
        ValueError,
        "expected different factors",
    ),
    "a width": (
        lambda: correlated(GRID, {("size", "x"): 0.0}),
        ValueError,
        "expected width > 0, got 0.0",
    ),
    "no regime": (
        lambda: interventional(GRID, []),
        ValueError,
        "expected at least one regime, got none",
    ),
    "no such value": (
        lambda: interventional(GRID, {"kind": "d"}),
        ValueError,
        r"no value 'd' of factor 'kind'; expected among \['a', 'b', 'c'\]",
    ),
    "other factors": (
        lambda: interventional(GRID, {"x": 0.0}, among=MORE),
        ValueError,
        "expected among with the factors of data, got the factors of 'numbers'",
    ),
    "no such datum": (
        lambda: interventional(split_where(GRID, {"kind": "a", "size": 0.0})[0], {"size": 0.0}),
        ValueError,
        "no datum of 'numbers' has kind='a', size=0.0",
    ),
    "all of it": (
        lambda: split_where(GRID, {"size": (0, 9)}),
        ValueError,
        "120 of 120 data meet .* and not all",
    ),
    "nothing": (
        lambda: split_where(GRID, {"size": (7, 9)}),
        ValueError,
        "0 of 120 data meet .* expected some",
    ),
    "no condition": (
        lambda: split_where(GRID, {}),
        ValueError,
        "expected conditions on factors, got {}",
    ),
    "an unordered range": (
        lambda: split_where(GRID, {"kind": ("a", "b")}),
        ValueError,
        r"expected a range \(low, high\) of an ordered factor, got kind=\('a', 'b'\)",
    ),
    "a fraction": (
        lambda: split_combinations(GRID, fraction=1.0),
        ValueError,
        "expected 0 < fraction < 1, got 1.0",
    ),
    "a share": (
        lambda: partial_labels(GRID, fraction=2),
        ValueError,
        "fraction and wrong in .0, 1., got 2 and 0.0",
    ),
    "a stream": (
        lambda: BatchStream(pairs(GRID, num=8), 16),
        ValueError,
        "batch_size=16 is more than the 8 data",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=list(ERRORS))
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()
