"""Data sets: observations with the factors that generated them, drawn, read from files, or your own."""

from ppl_disentangle.data.arrays import ArrayDataset, from_arrays, from_torch
from ppl_disentangle.data.backgrounds import Coloured, Noisy, OnPicture, swirls
from ppl_disentangle.data.base import Factor, FactorDataset, FactorGrid, Subset
from ppl_disentangle.data.cars3d import Cars3D
from ppl_disentangle.data.catalogue import Entry, catalogue
from ppl_disentangle.data.causal import CausalDataset, Labels
from ppl_disentangle.data.celeba import CelebA
from ppl_disentangle.data.conditioned import with_conditions
from ppl_disentangle.data.digits import digits
from ppl_disentangle.data.dsprites import DSprites
from ppl_disentangle.data.files import from_folder, from_npz
from ppl_disentangle.data.flow import Flow
from ppl_disentangle.data.groups import groups, sharing, triplets
from ppl_disentangle.data.idx import from_idx
from ppl_disentangle.data.input_grid import InputGrid, flow_grid, pendulum_grid
from ppl_disentangle.data.interventional import interventional
from ppl_disentangle.data.labelled_names import from_labelled_names
from ppl_disentangle.data.labels import partial_labels
from ppl_disentangle.data.linear_scm import LinearSCM
from ppl_disentangle.data.load import load_data
from ppl_disentangle.data.morpho_mnist import MorphoMNIST
from ppl_disentangle.data.mpi3d import MPI3D
from ppl_disentangle.data.nonlinear_scm import NonlinearSCM
from ppl_disentangle.data.pairs import pairs
from ppl_disentangle.data.pendulum import Pendulum
from ppl_disentangle.data.published_scms import PUBLISHED_SCMS, published_scm
from ppl_disentangle.data.resampled import correlated, correlated_density, iid
from ppl_disentangle.data.room import Room
from ppl_disentangle.data.scm import EquationSCM, SyntheticSCM, random_dag
from ppl_disentangle.data.shapes3d import Shapes3D
from ppl_disentangle.data.smallnorb import SmallNORB
from ppl_disentangle.data.splits import split_combinations, split_where
from ppl_disentangle.data.sprites import Sprites
from ppl_disentangle.data.thickness import ThicknessIntensity
from ppl_disentangle.data.tuples import Tuples
from ppl_disentangle.data.two_objects import TwoObjects
from ppl_disentangle.data.walks import laplace_transition, walks
from ppl_disentangle.data.xy_squares import XYSquares

__all__ = [
    "PUBLISHED_SCMS",
    "ArrayDataset",
    "Cars3D",
    "CausalDataset",
    "CelebA",
    "Coloured",
    "DSprites",
    "Entry",
    "EquationSCM",
    "Factor",
    "FactorDataset",
    "FactorGrid",
    "Flow",
    "InputGrid",
    "Labels",
    "LinearSCM",
    "MPI3D",
    "MorphoMNIST",
    "Noisy",
    "NonlinearSCM",
    "OnPicture",
    "Pendulum",
    "Room",
    "Shapes3D",
    "SmallNORB",
    "Sprites",
    "Subset",
    "SyntheticSCM",
    "ThicknessIntensity",
    "Tuples",
    "TwoObjects",
    "XYSquares",
    "catalogue",
    "correlated",
    "correlated_density",
    "digits",
    "flow_grid",
    "from_arrays",
    "from_folder",
    "from_idx",
    "from_labelled_names",
    "from_npz",
    "from_torch",
    "groups",
    "iid",
    "interventional",
    "laplace_transition",
    "load_data",
    "pairs",
    "partial_labels",
    "pendulum_grid",
    "published_scm",
    "random_dag",
    "sharing",
    "split_combinations",
    "split_where",
    "swirls",
    "triplets",
    "walks",
    "with_conditions",
]
