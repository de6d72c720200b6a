"""Data sets of observations and ground-truth factors: drawn, read from files, or user-defined."""

from ppl_disentangle.data.arrays import ArrayDataset, from_arrays, from_torch
from ppl_disentangle.data.base import Factor, FactorDataset, FactorGrid, Subset
from ppl_disentangle.data.catalogue import Entry, catalogue
from ppl_disentangle.data.causal.dataset import CausalDataset, Labels
from ppl_disentangle.data.causal.flow import Flow
from ppl_disentangle.data.causal.input_grid import InputGrid, flow_grid, pendulum_grid
from ppl_disentangle.data.causal.linear_scm import LinearSCM
from ppl_disentangle.data.causal.nonlinear_scm import NonlinearSCM
from ppl_disentangle.data.causal.pendulum import Pendulum
from ppl_disentangle.data.causal.published_scms import PUBLISHED_SCMS, published_scm
from ppl_disentangle.data.causal.scm import EquationSCM, SyntheticSCM, random_dag
from ppl_disentangle.data.causal.thickness import ThicknessIntensity
from ppl_disentangle.data.conversion import as_dataset
from ppl_disentangle.data.digits import digits
from ppl_disentangle.data.drawn.backgrounds import Coloured, Noisy, OnPicture, swirls
from ppl_disentangle.data.drawn.room import Room
from ppl_disentangle.data.drawn.sprites import Sprites
from ppl_disentangle.data.drawn.two_objects import TwoObjects
from ppl_disentangle.data.drawn.xy_squares import XYSquares
from ppl_disentangle.data.files.cars3d import Cars3D
from ppl_disentangle.data.files.celeba import CelebA
from ppl_disentangle.data.files.dsprites import DSprites
from ppl_disentangle.data.files.idx import from_idx
from ppl_disentangle.data.files.labelled_names import from_labelled_names
from ppl_disentangle.data.files.morpho_mnist import MorphoMNIST
from ppl_disentangle.data.files.mpi3d import MPI3D
from ppl_disentangle.data.files.own_files import from_folder, from_npy, from_npz
from ppl_disentangle.data.files.shapes3d import Shapes3D
from ppl_disentangle.data.files.smallnorb import SmallNORB
from ppl_disentangle.data.load import load_data
from ppl_disentangle.data.sampled.conditioned import with_conditions
from ppl_disentangle.data.sampled.groups import groups, sharing, triplets
from ppl_disentangle.data.sampled.interventional import interventional
from ppl_disentangle.data.sampled.pairs import pairs
from ppl_disentangle.data.sampled.partial_labels import partial_labels
from ppl_disentangle.data.sampled.resampled import correlated, correlated_density, iid
from ppl_disentangle.data.sampled.splits import split_combinations, split_where
from ppl_disentangle.data.sampled.tuples import Tuples
from ppl_disentangle.data.sampled.walks import laplace_transition, walks
from ppl_disentangle.data.sequences import from_sequences
from ppl_disentangle.data.table import encode_rows, from_table, to_frame

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
    "as_dataset",
    "catalogue",
    "correlated",
    "correlated_density",
    "digits",
    "encode_rows",
    "flow_grid",
    "from_arrays",
    "from_folder",
    "from_idx",
    "from_labelled_names",
    "from_npy",
    "from_npz",
    "from_sequences",
    "from_table",
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
    "to_frame",
    "triplets",
    "walks",
    "with_conditions",
]
