"""How fast data come, drawn and from the packed dSprites file: ``python -m benchmarks.data``."""

from __future__ import annotations

import itertools
import json
import platform
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from torch.utils.data import DataLoader

from benchmarks.interleave import interleave
from ppl_disentangle.data import (
    Coloured,
    DSprites,
    FactorDataset,
    Noisy,
    OnPicture,
    Sprites,
    correlated,
    groups,
    iid,
    interventional,
    load_data,
    pairs,
    split_combinations,
    triplets,
    walks,
)
from ppl_disentangle.inference.training.batches import Batches

BATCH = 64
DRAWN = ("sprites", "room", "xy_squares", "two_objects", "pendulum", "flow")


def cpu_milliseconds(
    call: Callable[[], object], *, rounds: int = 15, calls: int = 60
) -> dict[str, float]:
    """Median, least and greatest CPU time of a call over rounds of many calls."""
    call()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(calls):
            call()
        times.append((time.process_time() - start) / calls * 1e3)
    return {"median": statistics.median(times), "least": min(times), "greatest": max(times)}


def batches(dataset: FactorDataset) -> Callable[[], torch.Tensor]:
    """A function that draws the next indices of a random order; a new batch at each call."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
    chunks = itertools.cycle(order.split(BATCH)[:-1])
    return lambda: next(chunks)


def write_synthetic(path: Path) -> None:
    """A file of the real format and size, with the same 4,096 drawn images 180 times."""
    sprites = Sprites()
    images = sprites.observations(torch.randperm(len(sprites))[:4096]).numpy()
    classes = np.insert(sprites.factors(torch.arange(len(sprites))).numpy(), 0, 0, axis=1)
    values = classes + np.array([1.0, 1, 0, 0, 0, 0])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("imgs.npy", "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(sprites), 64, 64)}
            npy.write_array_header_1_0(member, header)
            for _ in range(len(sprites) // 4096):
                member.write(images.tobytes())
        for key, table in (("latents_classes", classes), ("latents_values", values)):
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, table)


def drawn(name: str) -> dict[str, object]:
    """CPU time of uint8 batches of a data set that is drawn, and of all that comes before the second of them."""
    start = time.process_time()
    data = load_data(name)
    draw = batches(data)
    data.observations(draw())
    before = time.process_time() - start
    took = cpu_milliseconds(lambda: data.observations(draw()), calls=20)
    images_per_s = BATCH / took["median"] * 1e3
    return {
        "shape": data.observation_shape,
        "ms": took,
        "images_per_s": images_per_s,
        "seconds_before": before,
    }


def samplers(sprites: Sprites) -> dict[str, dict[str, float]]:
    """CPU time of float batches of 64 images as ``fit`` draws them, and their speed against independent draws."""
    num = 100_000
    data: dict[str, FactorDataset] = {
        "independent": iid(sprites, num),
        "pairs": pairs(sprites, num=num, conditions=True),
        "pairs of a split": pairs(split_combinations(sprites)[0], num=num),
        "groups of 8": groups(sprites, 8, num=num, conditions=True),
        "triplets": triplets(sprites, "shape", num=num),
        "walks of 8": walks(sprites, 8, num=num),
        "correlated": correlated(sprites, {("scale", "x"): 0.2}, num=num),
        "interventional": interventional(sprites, [{}, {"x": None}], num=num, conditions=True),
        "coloured": Coloured(sprites),
        "noisy": Noisy(sprites),
        "on a picture": OnPicture(sprites),
    }
    steps = {name: epochs(of, images=BATCH) for name, of in data.items()}
    loader = itertools.chain.from_iterable(
        itertools.repeat(DataLoader(data["independent"], batch_size=BATCH))
    )
    return interleave(
        steps | {"independent, by a torch DataLoader": lambda: next(loader)}, seconds_per_slot=0.1
    )


def epochs(data: FactorDataset, *, images: int) -> Callable[[], object]:
    """Make a function that returns the next batch of images, with the conditions of a story."""
    members = len(data.observations(torch.tensor([0])).flatten(0, -4))
    batches, steps = (
        Batches(data, images // members, seed=0, device=torch.device("cpu")),
        itertools.count(),
    )

    def step() -> object:
        number = next(steps)
        return batches(number), batches.conditions(number)

    return step


def main() -> None:
    torch.set_num_threads(1)
    sprites = Sprites()
    with tempfile.TemporaryDirectory() as folder:
        write_synthetic(Path(folder) / "dsprites.npz")
        start = time.process_time()
        dsprites = DSprites(Path(folder) / "dsprites.npz")
        loading = time.process_time() - start
    read = batches(dsprites)
    fetched = cpu_milliseconds(lambda: dsprites.to_float(dsprites.observations(read())), calls=400)
    result = {
        "drawn": {
            "what": f"observations of {BATCH} random indices: uint8 images, CPU time",
            **{name: drawn(name) for name in DRAWN},
        },
        "packed": {
            "what": f"DSprites.observations of {BATCH} random rows of 737,280, and to_float, CPU time",
            "ms": fetched,
            "images_per_s": BATCH / fetched["median"] * 1e3,
            "seconds_to_load": loading,
            "megabytes_kept": dsprites._packed.on(torch.device("cpu")).nbytes / 1e6,
            "file": "synthetic, of the real format and size",
        },
        "samplers": {
            "what": f"batches of {BATCH} images in all; speed is that of independent draws over that of each",
            **samplers(sprites),
        },
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
