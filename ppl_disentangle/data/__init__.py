"""Data sets: observations with the factors that generated them, drawn, read from files, or your own."""

from ppl_disentangle.data.arrays import ArrayDataset, from_arrays, from_torch
from ppl_disentangle.data.base import Factor, FactorDataset, FactorGrid, Subset
from ppl_disentangle.data.causal import CausalDataset, Labels
from ppl_disentangle.data.conditioned import with_conditions
from ppl_disentangle.data.digits import digits
from ppl_disentangle.data.dsprites import DSprites
from ppl_disentangle.data.files import from_folder, from_npz
from ppl_disentangle.data.flow import Flow
from ppl_disentangle.data.linear_scm import LinearSCM
from ppl_disentangle.data.load import load_data
from ppl_disentangle.data.nonlinear_scm import NonlinearSCM
from ppl_disentangle.data.pendulum import Pendulum
from ppl_disentangle.data.published_scms import PUBLISHED_SCMS, published_scm
from ppl_disentangle.data.scm import EquationSCM, SyntheticSCM, random_dag
from ppl_disentangle.data.sprites import Sprites
from ppl_disentangle.data.thickness import ThicknessIntensity

__all__ = [
    "PUBLISHED_SCMS",
    "ArrayDataset",
    "CausalDataset",
    "DSprites",
    "EquationSCM",
    "Factor",
    "FactorDataset",
    "FactorGrid",
    "Flow",
    "Labels",
    "LinearSCM",
    "NonlinearSCM",
    "Pendulum",
    "Sprites",
    "Subset",
    "SyntheticSCM",
    "ThicknessIntensity",
    "digits",
    "from_arrays",
    "from_folder",
    "from_npz",
    "from_torch",
    "load_data",
    "published_scm",
    "random_dag",
    "with_conditions",
]
