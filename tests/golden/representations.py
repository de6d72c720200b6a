"""Codes of known quality on a grid of dSprites' sizes, the same to the last digit on every machine."""

from __future__ import annotations

import dataclasses

import numpy as np

SIZES = (3, 6, 40, 32, 32)
NUM_TRAIN, NUM_TEST = 10_000, 5_000
_NOISE_ROWS = 65_537
_WARPS = {
    "none": lambda h: h,
    "cube": lambda h: h**3,
    "exp": np.exp,
    "tanh": lambda h: np.tanh(1.5 * h),
    "root": lambda h: np.sign(h) * np.sqrt(np.abs(h)),
}


@dataclasses.dataclass(frozen=True)
class Representation:
    """Codes: a linear map of standardised factors, warped, with noise from a table, scaled and shifted.

    Attributes:
        seed: seed of the rows; of the map, scale and offset (plus 1000); of the noise (plus 2000).
        mixing: "permutation" (signed), "rotation", or the matrix itself over ``features``.
        features: which factor, and "linear", "sin" or "cos" of it.
        noise: standard deviation of the noise, of all codes or each.
        scale, offset: of all codes; random for each code if None.
        warps: name of the monotone map of each code.
        duplicates: (code, sign) of codes to repeat at the end.
        dead: number of codes added that ignore the factors.
        levels: number of levels each code is rounded to; none if empty.
        correlated: (factor, other, share): in this share of the rows, the other factor follows the factor.
    """

    seed: int
    mixing: object = "permutation"
    features: tuple = tuple((k, "linear") for k in range(5))
    noise: object = 0.0
    scale: float | None = None
    offset: float | None = None
    warps: tuple = ()
    duplicates: tuple = ()
    dead: int = 0
    levels: tuple = ()
    correlated: tuple = ()

    def factors(self):
        """Classes ``(15000, 5)``, training rows first."""
        rng, num = np.random.Generator(np.random.PCG64(self.seed)), NUM_TRAIN + NUM_TEST
        v = np.stack([rng.integers(0, size, size=num) for size in SIZES], axis=1)
        for i, j, share in self.correlated:
            follow = np.floor((v[:, i] + rng.random(num)) / SIZES[i] * SIZES[j]).astype(np.int64)
            v[:, j] = np.where(rng.random(num) < share, np.minimum(follow, SIZES[j] - 1), v[:, j])
        return v

    def encoder(self):
        """A function from factor classes ``(num, 5)`` to codes."""
        rng = np.random.Generator(np.random.PCG64(self.seed + 1000))
        matrix = self._matrix(rng)
        num_codes = len(matrix)
        scale = rng.uniform(0.5, 3.0, size=num_codes) if self.scale is None else self.scale
        offset = rng.uniform(-2.0, 2.0, size=num_codes) if self.offset is None else self.offset
        table = np.random.Generator(np.random.PCG64(self.seed + 2000)).standard_normal(
            (_NOISE_ROWS, num_codes)
        )
        first = num_codes - self.dead - len(self.duplicates)
        for i, (source, sign) in enumerate(self.duplicates):
            table[:, first + i] = sign * table[:, source]

        def encode(factors):
            features = np.stack(
                [_feature(kind, SIZES[k])[factors[:, k]] for k, kind in self.features], axis=1
            )
            codes = features @ matrix.T
            for d, warp in enumerate(self.warps):
                codes[:, d] = _WARPS[warp](codes[:, d])
            row = (np.ravel_multi_index(factors.T, SIZES) * 48271 + 11) % _NOISE_ROWS
            codes = codes + self.noise * table[row]
            for d, levels in enumerate(self.levels):
                codes[:, d] = np.clip(np.floor((codes[:, d] + 3.0) / 6.0 * levels), 0, levels - 1)
            return np.round(codes * scale + offset, 8)

        return encode

    def _matrix(self, rng):
        size = len(self.features)
        if isinstance(self.mixing, str) and self.mixing == "permutation":
            matrix = np.zeros((size, size))
            matrix[np.arange(size), rng.permutation(size)] = rng.choice([-1.0, 1.0], size=size)
        elif isinstance(self.mixing, str):
            q, r = np.linalg.qr(rng.standard_normal((size, size)))
            matrix = q * np.sign(np.diag(r))
        else:
            matrix = np.array(self.mixing, dtype=np.float64)
        repeated = [matrix[[d]] * sign for d, sign in self.duplicates]
        return np.concatenate([matrix, *repeated, np.zeros((self.dead, matrix.shape[1]))])


def _feature(kind, size):
    v = np.arange(size, dtype=np.float64)
    if kind != "linear":
        v = getattr(np, kind)(2 * np.pi * (v + 0.25) / size)
    return (v - v.mean()) / v.std()


REPRESENTATIONS = {
    "perfect": Representation(101),
    "rotated": Representation(102, "rotation", scale=1.0, offset=0.0),
    "noisy_dead": Representation(
        103, noise=np.array([0.5] * 5 + [0, 0, 1e-3, 1e-3, 1.0]), dead=5, scale=1.0
    ),
    "split_merge": Representation(
        104,
        mixing=(
            (0.8, 0.6, 0, 0, 0, 0),
            (0, 0, 1, 0, 0, 0),
            (0, 0, 0, 1, 0, 0),
            (0, 0, 0, 0, 1, 0.3),
            (0, 0, 0, 0, 0.2, -1),
        ),
        features=(
            (0, "linear"),
            (1, "linear"),
            (2, "sin"),
            (2, "cos"),
            (3, "linear"),
            (4, "linear"),
        ),
        noise=0.1,
    ),
    "corr_warp": Representation(
        105,
        noise=0.05,
        warps=("cube", "exp", "tanh", "root", "none"),
        correlated=((2, 3, 0.6), (0, 1, 0.4)),
    ),
    "quantised_dup": Representation(
        106,
        noise=0.3,
        scale=1.0,
        offset=0.0,
        duplicates=((0, 1.0), (3, -1.0)),
        levels=(4, 8, 16, 12, 10, 4, 12),
    ),
}
