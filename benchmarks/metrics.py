"""Speed and agreement of the metrics: ``python -m benchmarks.metrics`` prints one JSON object (CPU seconds)."""

from __future__ import annotations

import json
import statistics
import time

import numpy as np
import torch

from ppl_disentangle.metrics import (
    dci,
    factor_vae_score,
    factor_vae_score_from_codes,
    mig,
    mutual_information,
    neighbour_information,
)

SIZES = (3, 6, 40, 32, 32)
NUM_CODES, ROUNDS = 10, 7


class Grid:
    """A grid of dSprites' sizes whose observation is its factor vector."""

    factor_sizes = SIZES

    def render(self, factors):
        return factors.double()


def seconds(function):
    start = time.process_time()
    value = function()
    return time.process_time() - start, value


def draw(num, *, seed=0, noise=0.3):
    """Factors, and codes: a rotation of the factors with noise, and as many codes of noise only."""
    rng = np.random.default_rng(seed)
    factors = np.stack([rng.integers(n, size=num) for n in SIZES], 1)
    codes = rng.standard_normal((num, NUM_CODES))
    codes[:, : len(SIZES)] *= noise
    codes[:, : len(SIZES)] += ((factors - factors.mean(0)) / factors.std(0)) @ rotation()
    return codes, factors


def rotation():
    return np.linalg.qr(np.random.default_rng(0).standard_normal((len(SIZES), len(SIZES))))[0]


def pairwise(codes, factors):
    """Mutual information as disentanglement_lib computes it: one call of scikit-learn for every pair."""
    from sklearn.metrics import mutual_info_score

    bins = [np.digitize(code, np.histogram(code, 20)[1][:-1]) for code in codes.T]
    return np.array([[mutual_info_score(factor, b) for factor in factors.T] for b in bins])


def mutual_information_against_pairs():
    """Both in turn on 10,000 rows, 10 codes and 5 factors; medians."""
    codes, factors = draw(10_000)
    times = {"ours": [], "pairs": []}
    mutual_information(codes, factors), pairwise(codes, factors)
    for _ in range(ROUNDS):
        ours, value = seconds(lambda: [mutual_information(codes, factors) for _ in range(5)][0])
        pairs, expected = seconds(lambda: pairwise(codes, factors))
        times["ours"].append(ours / 5)
        times["pairs"].append(pairs)
    medians = {name: statistics.median(values) for name, values in times.items()}
    difference = float(np.abs(value - expected).max())
    return medians | {"ratio": medians["pairs"] / medians["ours"], "largest_difference": difference}


def neighbour_information_against_scikit_learn():
    """Both once on 10,000 rows, 10 codes without ties and 5 factors."""
    from sklearn.feature_selection import mutual_info_classif

    codes, factors = draw(10_000)
    ours, value = seconds(lambda: neighbour_information(codes, factors))
    pairs, columns = seconds(
        lambda: [mutual_info_classif(codes, v, n_neighbors=10, random_state=0) for v in factors.T]
    )
    difference = float(np.abs(value - np.stack(columns, 1)).max())
    return {"ours": ours, "pairs": pairs, "ratio": pairs / ours, "largest_difference": difference}


def lightgbm_against_gbt(num_train=10_000, num_test=5_000):
    """DCI of both predictors on the same rows, one run each: 113 classes take the reference minutes."""
    codes, factors = draw(num_train + num_test, seed=1)
    split = codes[:num_train], factors[:num_train], codes[num_train:], factors[num_train:]
    result = {"num_train": num_train, "num_test": num_test}
    for predictor in ("gbt", "lightgbm"):
        result[predictor], scores = seconds(lambda p=predictor: dci(*split, predictor=p))
        result[f"{predictor}_scores"] = scores[:3]
    difference = np.abs(np.subtract(result["gbt_scores"], result["lightgbm_scores"])).max()
    return result | {
        "ratio": result["gbt"] / result["lightgbm"],
        "largest_difference": float(difference),
    }


def given_rows_against_drawn(rows=(2_000, 5_000, 15_000), seeds=range(5)):
    """FactorVAE score of rotated factors, mean and deviation: votes drawn from the grid, and among given rows."""
    matrix = rotation()

    def encode(factors):
        centre = (np.array(SIZES) - 1) / 2
        return (factors.numpy() - centre) / np.sqrt((np.array(SIZES) ** 2 - 1) / 12) @ matrix

    def given(num, seed):
        factors = torch.tensor(draw(num, seed=seed)[1])
        return factor_vae_score_from_codes(encode(factors), factors, seed=seed)

    drawn = [factor_vae_score(Grid(), encode, seed=seed) for seed in seeds]
    result = {"drawn": [statistics.mean(drawn), statistics.stdev(drawn)]}
    for num in rows:
        scores = [given(num, seed) for seed in seeds]
        result[f"given_{num}"] = [statistics.mean(scores), statistics.stdev(scores)]
    return result


def main():
    torch.set_num_threads(1)
    codes, factors = draw(10_000)
    result = {
        "mutual_information": mutual_information_against_pairs(),
        "neighbour_information": neighbour_information_against_scikit_learn(),
        "mig": seconds(lambda: mig(codes, factors))[0],
        "factor_vae_score_from_codes": seconds(
            lambda: factor_vae_score_from_codes(codes, factors, seed=0)
        )[0],
        "factor_vae_given_rows": given_rows_against_drawn(),
        "dci": lightgbm_against_gbt(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
