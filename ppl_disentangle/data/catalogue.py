"""The catalogue of known data sets: factors, sizes, licence and source."""

from __future__ import annotations

import dataclasses

__all__ = ["Entry", "catalogue"]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A known data set.

    Attributes:
        name: Name for :func:`~ppl_disentangle.data.load_data`, or the name that the authors gave to
            a data set that is read from files.
        description: Description in one sentence.
        factors: Names of the factors; in a grid, the last factor varies fastest.
        sizes: Number of values of each factor in the published files, 0 if it depends on the files.
        num_data: Number of data.
        licence: Licence of the data, in the words of the source.
        source: Address at which the data are published.
        call: Python expression that makes or reads the data set.
        needs_no_file: Whether the data are drawn on the fly or are part of an installed package.
    """

    name: str
    description: str
    factors: tuple[str, ...]
    sizes: tuple[int, ...]
    num_data: int
    licence: str
    source: str
    call: str
    needs_no_file: bool = False


_OUR_LICENCE = "Apache-2.0, as this package"
_MPI3D_FACTORS = ("color", "shape", "size", "height", "background", "horizontal", "vertical")
_CELEBA_ATTRIBUTES = tuple(
    """
    5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose
    Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee
    Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard
    Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair
    Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young
    """.split()
)

_WITHOUT_FILES = (
    Entry(
        name="sprites",
        description=(
            "The grid of dSprites, drawn: binary squares, ellipses and hearts of 64 x 64 pixels."
        ),
        factors=("shape", "scale", "orientation", "x", "y"),
        sizes=(3, 6, 40, 32, 32),
        num_data=737_280,
        licence=_OUR_LICENCE,
        source="https://github.com/google-deepmind/dsprites-dataset",
        call='load_data("sprites")',
        needs_no_file=True,
    ),
    Entry(
        name="room",
        description=(
            "The grid of 3D Shapes, drawn: an object in a coloured room, 64 x 64 pixels in RGB."
        ),
        factors=("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation"),
        sizes=(10, 10, 10, 8, 4, 15),
        num_data=480_000,
        licence=_OUR_LICENCE,
        source="https://github.com/google-deepmind/3d-shapes",
        call='load_data("room")',
        needs_no_file=True,
    ),
    Entry(
        name="xy_squares",
        description=(
            "A red, a green and a blue square on a grid; a step of a square leaves no overlap "
            "with its old place."
        ),
        factors=("x_R", "y_R", "x_G", "y_G", "x_B", "y_B"),
        sizes=(8,) * 6,
        num_data=262_144,
        licence=_OUR_LICENCE,
        source="https://arxiv.org/abs/2202.13341",
        call='load_data("xy_squares")',
        needs_no_file=True,
    ),
    Entry(
        name="two_objects",
        description=(
            "Two coloured sprites, the second in front of the first, each with a shape, a colour "
            "and a position."
        ),
        factors=(
            "back_shape",
            "back_hue",
            "back_x",
            "back_y",
            "front_shape",
            "front_hue",
            "front_x",
            "front_y",
        ),
        sizes=(3, 6, 8, 8) * 2,
        num_data=1_327_104,
        licence=_OUR_LICENCE,
        source="this package",
        call='load_data("two_objects")',
        needs_no_file=True,
    ),
    Entry(
        name="pendulum",
        description=(
            "A pendulum, a lamp and the shadow that they cause; 64 x 64 pixels in RGB, with true "
            "counterfactuals."
        ),
        factors=("angle", "light", "shadow_length", "shadow_position"),
        sizes=(84, 87, 14, 20),
        num_data=7308,
        licence=_OUR_LICENCE,
        source="https://arxiv.org/abs/2004.08697",
        call='load_data("pendulum")',
        needs_no_file=True,
    ),
    Entry(
        name="pendulum_grid",
        description="The images of the pendulum as a grid of the two free angles.",
        factors=("angle", "light"),
        sizes=(84, 87),
        num_data=7308,
        licence=_OUR_LICENCE,
        source="https://arxiv.org/abs/2004.08697",
        call='load_data("pendulum_grid")',
        needs_no_file=True,
    ),
    Entry(
        name="flow",
        description=(
            "A ball in a cup of water that pours from a hole; 64 x 64 pixels in RGB, with true "
            "counterfactuals."
        ),
        factors=("ball", "height", "hole", "flow"),
        sizes=(30, 20, 9, 20),
        num_data=8100,
        licence=_OUR_LICENCE,
        source="https://arxiv.org/abs/2004.08697",
        call='load_data("flow")',
        needs_no_file=True,
    ),
    Entry(
        name="flow_grid",
        description=(
            "The images of the flow as a grid of the three free inputs: ball, water and hole."
        ),
        factors=("ball", "water", "hole"),
        sizes=(30, 30, 9),
        num_data=8100,
        licence=_OUR_LICENCE,
        source="https://arxiv.org/abs/2004.08697",
        call='load_data("flow_grid")',
        needs_no_file=True,
    ),
    Entry(
        name="thickness_intensity",
        description=(
            "Strokes whose thickness causes their intensity, as in DeepSCM; 28 x 28 pixels, with "
            "true counterfactuals."
        ),
        factors=("thickness", "intensity"),
        sizes=(20, 20),
        num_data=60_000,
        licence=_OUR_LICENCE,
        source="https://arxiv.org/abs/2006.06485",
        call='load_data("thickness_intensity")',
        needs_no_file=True,
    ),
    Entry(
        name="digits",
        description="Real handwritten digits of 8 x 8 pixels, part of scikit-learn.",
        factors=("digit",),
        sizes=(10,),
        num_data=1797,
        licence="see the source",
        source="https://archive.ics.uci.edu/dataset/80",
        call='load_data("digits")',
        needs_no_file=True,
    ),
)

_FROM_FILES = (
    Entry(
        name="dSprites",
        description="Binary squares, ellipses and hearts of 64 x 64 pixels: one file, npz or hdf5.",
        factors=("shape", "scale", "orientation", "x", "y"),
        sizes=(3, 6, 40, 32, 32),
        num_data=737_280,
        licence="Apache-2.0",
        source="https://github.com/google-deepmind/dsprites-dataset",
        call='DSprites("dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz")',
    ),
    Entry(
        name="3D Shapes",
        description="An object in a coloured room, 64 x 64 pixels in RGB: one file, hdf5.",
        factors=("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation"),
        sizes=(10, 10, 10, 8, 4, 15),
        num_data=480_000,
        licence="Apache-2.0",
        source="https://github.com/google-deepmind/3d-shapes",
        call='Shapes3D("3dshapes.h5")',
    ),
    Entry(
        name="MPI3D toy, realistic, real",
        description=(
            "A robot arm that holds an object, rendered simply, rendered realistically, or photographed; 64 x 64 "
            "pixels in RGB: npz."
        ),
        factors=_MPI3D_FACTORS,
        sizes=(6, 6, 2, 3, 3, 40, 40),
        num_data=1_036_800,
        licence="CC BY 4.0",
        source="https://github.com/rr-learning/disentanglement_dataset",
        call='MPI3D("mpi3d_real.npz")',
    ),
    Entry(
        name="MPI3D complex",
        description=(
            "A robot arm that holds an everyday object, photographed; 64 x 64 pixels in RGB: npz."
        ),
        factors=_MPI3D_FACTORS,
        sizes=(4, 4, 2, 3, 3, 40, 40),
        num_data=460_800,
        licence="CC BY 4.0",
        source="https://github.com/rr-learning/disentanglement_dataset",
        call='MPI3D("mpi3d_complex.npz")',
    ),
    Entry(
        name="Cars3D",
        description="Drawn cars from all sides, 128 x 128 pixels in RGB: a folder of MATLAB files.",
        factors=("elevation", "azimuth", "car"),
        sizes=(4, 24, 183),
        num_data=17_568,
        licence="none stated",
        source="https://papers.nips.cc/paper/5845-deep-visual-analogy-making",
        call='Cars3D("data/cars")',
    ),
    Entry(
        name="SmallNORB",
        description=(
            "Photographs of 50 toys by two cameras, 96 x 96 grey pixels: a folder of six files in "
            "NORB's binary format."
        ),
        factors=("category", "instance", "elevation", "azimuth", "lighting"),
        sizes=(5, 10, 9, 18, 6),
        num_data=48_600,
        licence="for research purposes; it cannot be sold",
        source="https://cs.nyu.edu/~ylclab/data/norb-v1.0-small",
        call='SmallNORB("smallnorb")',
    ),
    Entry(
        name="CelebA",
        description=(
            "Faces of celebrities with 40 attributes, 178 x 218 pixels in RGB: a folder of JPEG "
            "files and its lists."
        ),
        factors=_CELEBA_ATTRIBUTES,
        sizes=(2,) * 40,
        num_data=202_599,
        licence="non-commercial research only, see its agreement",
        source="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        call='CelebA("celeba")',
    ),
    Entry(
        name="Morpho-MNIST",
        description=(
            "Handwritten digits of 28 x 28 pixels with measured shapes: a folder of IDX files and "
            "tables."
        ),
        factors=("digit", "area", "length", "thickness", "slant", "width", "height"),
        sizes=(10, 20, 20, 20, 20, 20, 20),
        num_data=60_000,
        licence="MIT for the code; the digits are MNIST's",
        source="https://github.com/dccastro/Morpho-MNIST",
        call='MorphoMNIST("plain")',
    ),
    Entry(
        name="CausalVAE pendulum",
        description=(
            "The pendulum as the published program draws it, 96 x 96 pixels, labels in the names "
            "of the files: a folder."
        ),
        factors=("angle", "light", "shadow_length", "shadow_position"),
        sizes=(0, 0, 0, 0),
        num_data=7308,
        licence="Apache-2.0",
        source="https://github.com/huawei-noah/trustworthyAI",
        call='from_labelled_names("causal_data/pendulum/train")',
    ),
    Entry(
        name="CausalVAE flow",
        description=(
            "The flow as the published program draws it, 96 x 96 pixels, labels in the names of "
            "the files: a folder."
        ),
        factors=("ball", "height", "flow", "hole"),
        sizes=(0, 0, 0, 0),
        num_data=6874,
        licence="Apache-2.0",
        source="https://github.com/huawei-noah/trustworthyAI",
        call='from_labelled_names("causal_data/flow_noise/train")',
    ),
    Entry(
        name="MNIST and similar",
        description=(
            "Grey images in an IDX file, gzipped or not, with the labels in a file beside it."
        ),
        factors=("label",),
        sizes=(10,),
        num_data=60_000,
        licence="MNIST: CC BY-SA 3.0; Fashion-MNIST: MIT",
        source="https://github.com/zalandoresearch/fashion-mnist",
        call='from_idx("train-images-idx3-ubyte.gz")',
    ),
    Entry(
        name="your own",
        description=(
            "Arrays, torch data sets, an npz file, or a folder of images with a table of their "
            "factors."
        ),
        factors=(),
        sizes=(),
        num_data=0,
        licence="yours",
        source="you",
        call='load_data("my_images/")',
    ),
)


def catalogue() -> list[Entry]:
    """All known data sets: first the data sets that need no file, then the ones read from files.

    Example:
        >>> [entry.name for entry in catalogue()][:3]
        ['sprites', 'room', 'xy_squares']
    """
    return [*_WITHOUT_FILES, *_FROM_FILES]
