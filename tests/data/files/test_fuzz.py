"""Damaged files of every format are read, or are one line that begins with their path."""

import gzip
import random
import struct
import time
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from PIL import Image

from ppl_disentangle.data import load_data
from tests.data.files.formats import idx, pictures
from tests.data.made import sprites_arrays

NUM_VARIANTS = 60


def write_npz(folder, save=np.savez):
    path = folder / "mine.npz"
    save(path, x=pictures(6, 3, 4, 4), y=np.arange(6))
    return path, path


def write_npy(folder):
    path = folder / "mine.npy"
    np.save(path, pictures(6, 3, 4, 4))
    return path, path


def write_dsprites(folder):
    path = folder / "dsprites.npz"
    np.savez_compressed(path, **sprites_arrays())
    return path, path


def write_dsprites_hdf5(folder):
    path = folder / "dsprites.hdf5"
    arrays = sprites_arrays()
    with h5py.File(path, "w") as file:
        file.create_dataset("imgs", data=arrays["imgs"], chunks=(40, 64, 64), compression=4)
        file["latents/values"] = arrays["latents_values"]
        file["latents/classes"] = arrays["latents_classes"]
    return path, path


def write_shapes3d(folder):
    path = folder / "3dshapes.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=pictures(2, 64, 64, 3), chunks=(1, 64, 64, 3))
        file["labels"] = np.array([[0.0] * 6, [0.0] * 5 + [30.0]])
    return path, path


def write_idx(folder, zip_content=bytes):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(zip_content(idx(pictures(5, 8, 8))))
    return path, path


def write_norb(folder):
    matrices = {
        "dat": pictures(2, 2, 8, 8),
        "cat": np.array([0, 1], np.int32),
        "info": np.zeros((2, 4), np.int32),
    }
    for key, array in matrices.items():
        header = struct.pack("<2i", 0x1E3D4C55 if key == "dat" else 0x1E3D4C54, array.ndim)
        sizes = [*array.shape, *[1] * (3 - array.ndim)]
        content = header + struct.pack(f"<{len(sizes)}i", *sizes) + array.tobytes()
        (folder / f"smallnorb-5x01-training-{key}.mat").write_bytes(content)
    return folder, folder / "smallnorb-5x01-training-dat.mat"


def write_cars(folder):
    (folder / "list.txt").write_text("car_001_mesh\n")
    path = folder / "car_001_mesh.mat"
    scipy.io.savemat(path, {"im": pictures(8, 8, 3, 2, 2)}, do_compression=True)
    return folder, path


def write_celeba(folder):
    (folder / "img_align_celeba").mkdir()
    names = [f"{k:06}.jpg" for k in range(3)]
    for name in names:
        Image.fromarray(pictures(8, 8, 3)).save(folder / "img_align_celeba" / name)
    rows = [f"{name} {' '.join(['1', '-1'])}" for name in names]
    path = folder / "list_attr_celeba.txt"
    path.write_text("\n".join(["3", "Young Smiling", *rows]) + "\n")
    return folder, path


def write_table(folder):
    for k in range(4):
        Image.fromarray(pictures(4, 4)).save(folder / f"{k}.png")
    path = folder / "factors.csv"
    path.write_text("file,hue,size\n" + "".join(f"{k}.png,{k % 2},{k / 2}\n" for k in range(4)))
    return folder, path


def write_picture(folder, suffix=".png", **options):
    path = folder / f"picture{suffix}"
    Image.fromarray(pictures(8, 8, 3)).save(path, **options)
    return folder, path


def write_labelled_names(folder):
    path = folder / "a_3_70_4_5.png"
    Image.fromarray(pictures(8, 8, 4)).save(path)
    return folder, path


def write_morpho(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(idx(pictures(3, 8, 8)))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(3, dtype=np.uint8)))
    path = folder / "train-morpho.csv"
    header = "index,area,length,thickness,slant,width,height\n"
    path.write_text(header + "".join(f"{k},1,2,3,0.5,{k},2\n" for k in range(3)))
    return folder, path


def write_mpi3d(folder):
    path = folder / "mpi3d.npz"
    np.savez(path, images=pictures(2, 64, 64, 3))
    return path, path


def write_rows(folder, suffix=".csv"):
    path = folder / f"rows{suffix}"
    frame = pd.DataFrame({"age": [1.5, 2.25, 3.5, 9.0] * 5, "sort": ["a", "b", "b", "c"] * 5})
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    return path, path


FORMATS = {
    "npz": write_npz,
    "npz, compressed": lambda folder: write_npz(folder, np.savez_compressed),
    "npy": write_npy,
    "dsprites": write_dsprites,
    "dsprites, hdf5": write_dsprites_hdf5,
    "shapes3d": write_shapes3d,
    "mpi3d": write_mpi3d,
    "idx": write_idx,
    "idx, gzipped": lambda folder: write_idx(folder, gzip.compress),
    "norb": write_norb,
    "cars3d": write_cars,
    "celeba": write_celeba,
    "morpho": write_morpho,
    "table of factors": write_table,
    "csv": write_rows,
    "parquet": lambda folder: write_rows(folder, ".parquet"),
    "labelled names": write_labelled_names,
    **{
        suffix: lambda folder, suffix=suffix: write_picture(folder, suffix)
        for suffix in (".png", ".jpg", ".bmp", ".gif", ".tiff", ".webp", ".ppm")
    },
}


def damaged(content, generator):
    """The content with bytes flipped, cut off or inserted; half of the flips hit the header."""
    changed = bytearray(content)
    kind = generator.random()
    if kind < 0.25:
        return bytes(changed[: generator.randrange(len(changed))])
    if kind < 0.35:
        position = generator.randrange(len(changed))
        changed[position:position] = generator.randbytes(generator.randint(1, 9))
        return bytes(changed)
    for _ in range(generator.choice([1, 1, 2, 8, 40])):
        end = len(changed) if generator.random() < 0.5 else min(len(changed), 128)
        changed[generator.randrange(end)] = generator.choice([0, 1, 127, 128, 255, 10, 34])
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", FORMATS.values(), ids=list(FORMATS))
def test_a_damaged_file_is_read_or_is_one_line_that_begins_with_its_path(write, tmp_path):
    source, path = write(tmp_path)
    load_data(source)
    content = path.read_bytes()
    generator = random.Random(path.name)
    for variant in range(NUM_VARIANTS):
        path.write_bytes(damaged(content, generator))
        start = time.monotonic()
        try:
            message = f"{source}: {load_data(source)}"
        except ValueError as error:
            message = str(error)
        assert message.startswith(str(source)), variant
        assert "\n" not in message, variant
        assert time.monotonic() - start < 5, variant


HUGE = 2**31 - 1


def huge_npy(shape):
    return (
        b"\x93NUMPY\x01\x00v\x00"
        + f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode()
        + b"\n"
    )


def write_huge_npz(folder, **options):
    path = folder / "huge.npz"
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("x.npy", huge_npy((HUGE, HUGE)) + bytes(8))
    return path


def write_huge_npy(folder):
    path = folder / "huge.npy"
    path.write_bytes(huge_npy((HUGE, HUGE, HUGE)) + bytes(8))
    return path


def write_huge_idx(folder):
    path = folder / "huge-idx3-ubyte"
    path.write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3i", HUGE, HUGE, HUGE) + bytes(8))
    return path


def write_huge_norb(folder):
    write_norb(folder)
    header = struct.pack("<6i", 0x1E3D4C55, 4, 2, 2, HUGE, HUGE)
    (folder / "smallnorb-5x01-training-dat.mat").write_bytes(header + bytes(8))
    return folder


def write_huge_hdf5(folder):
    path = folder / "huge.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (2**50, 64, 64, 3), "u1", chunks=(1, 64, 64, 3))
        file.create_dataset("labels", (2**50, 6), "f8", chunks=(1024, 6))
    return path


@pytest.mark.parametrize(
    "write",
    [
        write_huge_npz,
        lambda folder: write_huge_npz(folder, compression=zipfile.ZIP_DEFLATED),
        write_huge_npy,
        write_huge_idx,
        write_huge_norb,
        write_huge_hdf5,
    ],
    ids=["npz", "npz, compressed", "npy", "idx", "norb", "hdf5"],
)
def test_a_header_that_declares_petabytes_is_refused_before_memory_is_taken(write, tmp_path):
    source = write(tmp_path)
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"expected (at least )?[\d,]+ bytes") as error:
        load_data(source)
    assert str(error.value).startswith(str(source))
    assert time.monotonic() - start < 1
