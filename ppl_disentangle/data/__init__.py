"""Data sets: observations with the factors that generated them, drawn, read from files, or your own."""

from ppl_disentangle.data.arrays import ArrayDataset, from_arrays, from_torch
from ppl_disentangle.data.base import Factor, FactorDataset, FactorGrid, Subset
from ppl_disentangle.data.digits import digits
from ppl_disentangle.data.dsprites import DSprites
from ppl_disentangle.data.files import from_folder, from_npz
from ppl_disentangle.data.load import load_data
from ppl_disentangle.data.sprites import Sprites

__all__ = [
    "ArrayDataset",
    "DSprites",
    "Factor",
    "FactorDataset",
    "FactorGrid",
    "Sprites",
    "Subset",
    "digits",
    "from_arrays",
    "from_folder",
    "from_npz",
    "from_torch",
    "load_data",
]
