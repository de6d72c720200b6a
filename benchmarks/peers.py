"""Training steps beside the loops of pythae and disent: ``pip install pythae disent``, ``python -m benchmarks.peers``.

Each library trains by its own loop, with its own loss and loader; all have the same networks, data, Adam and batches.
"""

from __future__ import annotations

import copy
import itertools
import json
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from unittest.mock import MagicMock

import torch
from lightning import Callback
from lightning import Trainer as LightningTrainer

from benchmarks import handwritten
from benchmarks.step import library_step, networks, tutorial_step
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Sprites, digits, from_arrays
from ppl_disentangle.inference import FactorELBO, critic_network
from ppl_disentangle.models import BetaTCVAE, BetaVAE, FactorVAE

for name in ("", ".models", ".datasets", ".transforms", ".transforms.functional"):
    sys.modules.setdefault(
        f"torchvision{name}", MagicMock()
    )  # which disent imports for what is not used here

from disent.frameworks.vae import BetaTcVae, BetaVae  # noqa: E402
from disent.model import AutoEncoder, DisentDecoder, DisentEncoder  # noqa: E402
from pythae import models as pythae  # noqa: E402
from pythae.data.datasets import BaseDataset  # noqa: E402
from pythae.models.base.base_utils import ModelOutput  # noqa: E402
from pythae.models.nn import BaseDecoder, BaseEncoder  # noqa: E402
from pythae.trainers import (  # noqa: E402
    AdversarialTrainer,
    AdversarialTrainerConfig,
    BaseTrainer,
    BaseTrainerConfig,
)

ROUNDS = 5
SIZES = {"mlp": (10, 128, 300), "study": (10, 64, 15)}
"""Coordinates of z, data per batch, steps per slot."""


class Encoder(BaseEncoder):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        mean, log_variance = self.net(x).chunk(2, -1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, z):
        return ModelOutput(reconstruction=self.net(z).sigmoid())


def pythae_run(kind, pair, stored, batch_size, folder):
    """A function of a number of steps: pythae's training epoch on so many batches, its CPU seconds."""
    names = {"beta_vae": "BetaVAE", "beta_tcvae": "BetaTCVAE", "factor_vae": "FactorVAE"}
    shape, name = tuple(stored.shape[1:]), names[kind]
    config = getattr(pythae, f"{name}Config")(
        input_dim=shape, latent_dim=10, reconstruction_loss="bce"
    )
    model = getattr(pythae, name)(config, encoder=Encoder(pair[0]), decoder=Decoder(pair[1]))
    adversarial = kind == "factor_vae"
    make, settings = (
        (AdversarialTrainer, AdversarialTrainerConfig)
        if adversarial
        else (BaseTrainer, BaseTrainerConfig)
    )
    rates = dict.fromkeys(("autoencoder_learning_rate", "discriminator_learning_rate"), 1e-4)
    options = settings(
        output_dir=folder,
        num_epochs=1,
        per_device_train_batch_size=batch_size,
        no_cuda=True,
        **(rates if adversarial else {"learning_rate": 1e-4}),
    )

    def run(steps):
        images = stored[torch.arange(steps * batch_size) % len(stored)].float()
        trainer = make(
            model=model,
            train_dataset=BaseDataset(images, torch.zeros(len(images))),
            training_config=options,
        )
        trainer.prepare_training()
        start = time.process_time()
        trainer.train_step(epoch=1)
        return time.process_time() - start

    return run


class Timed(Callback):
    """CPU time at the end of each step."""

    def __init__(self):
        self.ends = []

    def on_train_batch_end(self, *_):
        self.ends.append(time.process_time())


class EncoderOfDisent(DisentEncoder):
    def __init__(self, net, shape):
        super().__init__(x_shape=shape, z_size=10, z_multiplier=2)
        self.net = net

    def encode(self, x):
        return self.net(x)


class DecoderOfDisent(DisentDecoder):
    def __init__(self, net, shape):
        super().__init__(x_shape=shape, z_size=10, z_multiplier=1)
        self.net = net

    def decode(self, z):
        return self.net(z)


class Images(torch.utils.data.Dataset):
    """Data as disent's frameworks read them, one datum at a time like its data sets."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return {"x_targ": (self.images[i].float(),)}


def disent_run(kind, pair, stored, batch_size, folder):
    """A function of a number of steps: those that Lightning takes with disent's framework, their CPU seconds."""
    framework = {"beta_vae": BetaVae, "beta_tcvae": BetaTcVae}[kind]
    shape = tuple(stored.shape[1:])
    config = framework.cfg(
        optimizer="adam",
        optimizer_kwargs={"lr": 1e-4},
        recon_loss="bce",
        loss_reduction="mean_sum",
        beta=4.0,
    )
    nets = EncoderOfDisent(pair[0], shape), DecoderOfDisent(pair[1], shape)
    model = framework(AutoEncoder(*nets), cfg=config)

    def run(steps):
        timed, first = Timed(), 3
        number = (steps + first) * batch_size
        loader = torch.utils.data.DataLoader(
            Images(stored[torch.arange(number) % len(stored)]), batch_size=batch_size, shuffle=True
        )
        quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
        trainer = LightningTrainer(
            max_epochs=1,
            accelerator="cpu",
            callbacks=[timed],
            default_root_dir=folder,
            enable_progress_bar=False,
            **quiet,
        )
        trainer.fit(model, loader)
        return timed.ends[-1] - timed.ends[first - 1]

    return run


def steps_of(step):
    """A function of a number of calls: their CPU seconds."""

    def run(steps):
        start = time.process_time()
        for _ in range(steps):
            step()
        return time.process_time() - start

    return run


class OfFiveLayers(FactorVAE):
    """FactorVAE with a critic of the layers that pythae's discriminator has."""

    def objective(self):
        return FactorELBO(critic_network(self.latent_dim, outputs=2, layers=5), gamma=6.4)


def measure(kind, size, folder):
    """CPU milliseconds a step of each loop, and the median over rounds of the library's speed relative to each."""
    dim, batch_size, calls = SIZES[size]
    stored = Sprites().sample(2000, torch.Generator().manual_seed(0))[1]
    if size == "mlp":
        stored = (digits().observations(torch.arange(1797)) > 7).to(torch.uint8)
    data, pairs = (
        from_arrays(stored, maximum=1),
        (copy.deepcopy(networks(size)) for _ in itertools.count()),
    )

    def usual():
        pair = next(pairs)
        for net in pair:
            handwritten.as_usual(net)
        return pair

    def ours(taken_by=None, precision="float32"):
        encoder, decoder = next(pairs)
        parts = Gaussian(encoder), Bernoulli(decoder), dim
        if kind == "factor_vae":
            story = OfFiveLayers(*parts)
        else:
            story = (
                BetaVAE(*parts) if kind == "beta_vae" else BetaTCVAE(*parts, estimator="weighted")
            )
        size = batch_size // 2 if kind == "factor_vae" else batch_size
        return steps_of(library_step(story, data, size, taken_by=taken_by, precision=precision))

    runs = {"fit": ours(), "fit, bfloat16": ours(precision="bfloat16")}
    if size == "mlp":
        runs = {"fit, compiled": ours("compiled"), "fit, graph": ours("graph"), "fit": ours()}
    runs["pythae"] = pythae_run(kind, usual(), stored, batch_size, folder)
    if kind != "factor_vae":
        runs["disent"] = disent_run(kind, usual(), stored, batch_size, folder)
        loss = handwritten.beta_vae if kind == "beta_vae" else handwritten.beta_tcvae
        runs["hand-written"] = steps_of(
            handwritten.training_step(loss, *usual(), stored, batch_size)
        )
    if kind == "beta_vae":
        runs["SVI as in the tutorial"] = steps_of(tutorial_step(*usual(), data, batch_size))
    taken = {name: [] for name in runs}
    for r in range(ROUNDS + 1):
        for name, run in list(runs.items())[:: 1 if r % 2 else -1]:
            seconds = run(calls)
            if r:
                taken[name].append(1e3 * seconds / calls)
    first = next(iter(runs))
    return {
        name: {
            "cpu_ms": statistics.median(times),
            "times_as_fast": statistics.median(
                a / b for a, b in zip(times, taken[first], strict=True)
            ),
        }
        for name, times in taken.items()
    }


def main():
    """Both sizes; ``times_as_fast``: our first row's speed relative to each row's."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    os.environ["TQDM_DISABLE"] = "1"
    kinds = {"mlp": ("beta_vae", "beta_tcvae"), "study": ("beta_vae", "beta_tcvae", "factor_vae")}
    with tempfile.TemporaryDirectory() as folder:
        found = {
            size: {kind: measure(kind, size, folder) for kind in kinds[size]}
            for size in sys.argv[1:] or kinds
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
