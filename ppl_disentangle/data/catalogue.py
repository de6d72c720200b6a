"""Every known data set in a table: factors, sizes, licence, and where to get it."""

from __future__ import annotations

import dataclasses

__all__ = ["Entry", "catalogue"]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A known data set.

    Attributes:
        name: what :func:`~ppl_disentangle.data.load_data` calls it, or what its authors do where it is read from disk.
        description: one sentence.
        factors: names of the factors, the last varying fastest where every combination is there once.
        sizes: number of values of each factor; of the published files where it is read from disk, 0 where it depends on
            the data.
        num_data: number of data.
        licence: the licence of the data, in the words of their source.
        source: where they are published.
        call: the call that makes or opens them.
        needs_no_file: whether they need no file: drawn on the fly, or brought along.
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


_OURS = "Apache-2.0, as this package"
_MPI3D = ("color", "shape", "size", "height", "background", "horizontal", "vertical")
_ATTRIBUTES = (
    *(
        "5_o_Clock_Shadow",
        "Arched_Eyebrows",
        "Attractive",
        "Bags_Under_Eyes",
        "Bald",
        "Bangs",
        "Big_Lips",
        "Big_Nose",
    ),
    *(
        "Black_Hair",
        "Blond_Hair",
        "Blurry",
        "Brown_Hair",
        "Bushy_Eyebrows",
        "Chubby",
        "Double_Chin",
        "Eyeglasses",
    ),
    *(
        "Goatee",
        "Gray_Hair",
        "Heavy_Makeup",
        "High_Cheekbones",
        "Male",
        "Mouth_Slightly_Open",
        "Mustache",
    ),
    *(
        "Narrow_Eyes",
        "No_Beard",
        "Oval_Face",
        "Pale_Skin",
        "Pointy_Nose",
        "Receding_Hairline",
        "Rosy_Cheeks",
    ),
    *(
        "Sideburns",
        "Smiling",
        "Straight_Hair",
        "Wavy_Hair",
        "Wearing_Earrings",
        "Wearing_Hat",
        "Wearing_Lipstick",
    ),
    *("Wearing_Necklace", "Wearing_Necktie", "Young"),
)

_WITHOUT_FILES = (
    Entry(
        "sprites",
        "The grid of dSprites, drawn: binary squares, ellipses and hearts of 64 x 64 pixels.",
        ("shape", "scale", "orientation", "x", "y"),
        (3, 6, 40, 32, 32),
        737_280,
        _OURS,
        "https://github.com/google-deepmind/dsprites-dataset",
        'load_data("sprites")',
        needs_no_file=True,
    ),
    Entry(
        "room",
        "The grid of 3D Shapes, drawn: an object in a coloured room, 64 x 64 pixels in RGB.",
        ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation"),
        (10, 10, 10, 8, 4, 15),
        480_000,
        _OURS,
        "https://github.com/google-deepmind/3d-shapes",
        'load_data("room")',
        needs_no_file=True,
    ),
    Entry(
        "xy_squares",
        "Three squares, red, green and blue, that move on a grid without any overlap of their steps.",
        ("x_R", "y_R", "x_G", "y_G", "x_B", "y_B"),
        (8,) * 6,
        262_144,
        _OURS,
        "https://arxiv.org/abs/2202.13341",
        'load_data("xy_squares")',
        needs_no_file=True,
    ),
    Entry(
        "two_objects",
        "Two coloured sprites, the second in front of the first, each with its shape, colour and place.",
        (
            "back_shape",
            "back_hue",
            "back_x",
            "back_y",
            "front_shape",
            "front_hue",
            "front_x",
            "front_y",
        ),
        (3, 6, 8, 8) * 2,
        1_327_104,
        _OURS,
        "this package",
        'load_data("two_objects")',
        needs_no_file=True,
    ),
    Entry(
        "pendulum",
        "A pendulum, a lamp and the shadow that both cause; 64 x 64 pixels in RGB, with true counterfactuals.",
        ("angle", "light", "shadow_length", "shadow_position"),
        (84, 87, 14, 20),
        7308,
        _OURS,
        "https://arxiv.org/abs/2004.08697",
        'load_data("pendulum")',
        needs_no_file=True,
    ),
    Entry(
        "pendulum_grid",
        "The same images as a grid of what was free: the two angles.",
        ("angle", "light"),
        (84, 87),
        7308,
        _OURS,
        "https://arxiv.org/abs/2004.08697",
        'load_data("pendulum_grid")',
        needs_no_file=True,
    ),
    Entry(
        "flow",
        "A ball in a cup of water that pours from a hole; 64 x 64 pixels in RGB, with true counterfactuals.",
        ("ball", "height", "hole", "flow"),
        (30, 20, 9, 20),
        8100,
        _OURS,
        "https://arxiv.org/abs/2004.08697",
        'load_data("flow")',
        needs_no_file=True,
    ),
    Entry(
        "flow_grid",
        "The same images as a grid of what was free: ball, water and hole.",
        ("ball", "water", "hole"),
        (30, 30, 9),
        8100,
        _OURS,
        "https://arxiv.org/abs/2004.08697",
        'load_data("flow_grid")',
        needs_no_file=True,
    ),
    Entry(
        "thickness_intensity",
        "Strokes whose thickness causes their intensity, as in DeepSCM; 28 x 28 pixels, with true counterfactuals.",
        ("thickness", "intensity"),
        (20, 20),
        60_000,
        _OURS,
        "https://arxiv.org/abs/2006.06485",
        'load_data("thickness_intensity")',
        needs_no_file=True,
    ),
    Entry(
        "digits",
        "Real handwritten digits of 8 x 8 pixels, which scikit-learn brings along.",
        ("digit",),
        (10,),
        1797,
        "see the source",
        "https://archive.ics.uci.edu/dataset/80",
        'load_data("digits")',
        needs_no_file=True,
    ),
)

_READ = (
    Entry(
        "dSprites",
        "Binary squares, ellipses and hearts of 64 x 64 pixels: one file, npz or hdf5.",
        ("shape", "scale", "orientation", "x", "y"),
        (3, 6, 40, 32, 32),
        737_280,
        "Apache-2.0",
        "https://github.com/google-deepmind/dsprites-dataset",
        'DSprites("dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz")',
    ),
    Entry(
        "3D Shapes",
        "An object in a coloured room, 64 x 64 pixels in RGB: one file, hdf5.",
        ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation"),
        (10, 10, 10, 8, 4, 15),
        480_000,
        "Apache-2.0",
        "https://github.com/google-deepmind/3d-shapes",
        'Shapes3D("3dshapes.h5")',
    ),
    Entry(
        "MPI3D toy, realistic, real",
        "A robot arm that holds an object, drawn simply, drawn well, or photographed; 64 x 64 pixels in RGB: npz.",
        _MPI3D,
        (6, 6, 2, 3, 3, 40, 40),
        1_036_800,
        "CC BY 4.0",
        "https://github.com/rr-learning/disentanglement_dataset",
        'MPI3D("mpi3d_real.npz")',
    ),
    Entry(
        "MPI3D complex",
        "A robot arm that holds an everyday object, photographed; 64 x 64 pixels in RGB: npz.",
        _MPI3D,
        (4, 4, 2, 3, 3, 40, 40),
        460_800,
        "CC BY 4.0",
        "https://github.com/rr-learning/disentanglement_dataset",
        'MPI3D("mpi3d_complex.npz")',
    ),
    Entry(
        "Cars3D",
        "Drawn cars from all sides, 128 x 128 pixels in RGB: a folder of MATLAB files.",
        ("elevation", "azimuth", "car"),
        (4, 24, 183),
        17_568,
        "none stated",
        "https://papers.nips.cc/paper/5845-deep-visual-analogy-making",
        'Cars3D("data/cars")',
    ),
    Entry(
        "SmallNORB",
        "Photographs of 50 toys by two cameras, 96 x 96 grey pixels: a folder of six files in NORB's binary format.",
        ("category", "instance", "elevation", "azimuth", "lighting"),
        (5, 10, 9, 18, 6),
        48_600,
        "for research purposes; it cannot be sold",
        "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small",
        'SmallNORB("smallnorb")',
    ),
    Entry(
        "CelebA",
        "Faces of celebrities with 40 attributes, 178 x 218 pixels in RGB: a folder of JPEG files and its lists.",
        _ATTRIBUTES,
        (2,) * 40,
        202_599,
        "non-commercial research only, see its agreement",
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        'CelebA("celeba")',
    ),
    Entry(
        "Morpho-MNIST",
        "Handwritten digits of 28 x 28 pixels with measured shapes: a folder of IDX files and tables.",
        ("digit", "area", "length", "thickness", "slant", "width", "height"),
        (10, 20, 20, 20, 20, 20, 20),
        60_000,
        "MIT for the code; the digits are MNIST's",
        "https://github.com/dccastro/Morpho-MNIST",
        'MorphoMNIST("plain")',
    ),
    Entry(
        "CausalVAE pendulum",
        "The pendulum as the published program draws it, 96 x 96 pixels, labels in the names of the files: a folder.",
        ("angle", "light", "shadow_length", "shadow_position"),
        (0, 0, 0, 0),
        7308,
        "Apache-2.0",
        "https://github.com/huawei-noah/trustworthyAI",
        'from_labelled_names("causal_data/pendulum/train")',
    ),
    Entry(
        "CausalVAE flow",
        "The flow as the published program draws it, 96 x 96 pixels, labels in the names of the files: a folder.",
        ("ball", "height", "flow", "hole"),
        (0, 0, 0, 0),
        6874,
        "Apache-2.0",
        "https://github.com/huawei-noah/trustworthyAI",
        'from_labelled_names("causal_data/flow_noise/train")',
    ),
    Entry(
        "MNIST and its like",
        "Grey images in an IDX file, gzipped or not, with the labels in the file beside it.",
        ("label",),
        (10,),
        60_000,
        "MNIST: CC BY-SA 3.0; Fashion-MNIST: MIT",
        "https://github.com/zalandoresearch/fashion-mnist",
        'from_idx("train-images-idx3-ubyte.gz")',
    ),
    Entry(
        "your own",
        "Arrays, torch data sets, an npz file, or a folder of images with a table of their factors.",
        (),
        (),
        0,
        "yours",
        "you",
        'load_data("my_images/")',
    ),
)


def catalogue() -> list[Entry]:
    """All known data sets: first those that need no file, then those that are read from your disk.

    Example:
        >>> [entry.name for entry in catalogue()][:3]
        ['sprites', 'room', 'xy_squares']
    """
    return [*_WITHOUT_FILES, *_READ]
