"""Groups of rows that share the value of a factor."""

import numpy as np

from ppl_disentangle.metrics.estimators.row_sampler import RowSampler


def test_pairs_share_one_factor_and_its_value_differs_from_pair_to_pair():
    factors = np.stack(
        [np.random.default_rng(k).integers(n, size=3000) for k, n in enumerate((30, 40))], 1
    )
    fixed, pairs = RowSampler(factors.astype(float), factors, 0).sample_groups(50, 20, 2)
    assert pairs.shape == (50, 20, 2, 2)
    alike = (pairs[:, :, 0] == pairs[:, :, 1]).all(1)
    assert (alike.argmax(1) == fixed).all()
    assert (alike.sum(1) == 1).all()
    shared = np.take_along_axis(pairs[:, :, 0], fixed[:, None, None], 2)[..., 0]
    assert (shared != shared[:, :1]).any(1).all()
    assert set(fixed) == {0, 1}
