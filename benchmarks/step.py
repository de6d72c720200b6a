"""A training step beside the hand-written one and Pyro's tutorial: ``python -m benchmarks.step [study] [mlp]``."""

from __future__ import annotations

import copy
import itertools
import json
import os
import subprocess
import sys
import time
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import PyroOptim
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import handwritten
from benchmarks.interleave import interleave
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Sprites, digits, from_arrays
from ppl_disentangle.inference.training.batches import Batches
from ppl_disentangle.inference.training.optimizers import OptimiserSettings
from ppl_disentangle.inference.training.state import History
from ppl_disentangle.inference.training.trainer import Trainer
from ppl_disentangle.models import BetaTCVAE, BetaVAE
from ppl_disentangle.networks import study_decoder, study_encoder
from ppl_disentangle.story import parameters_stay_local

CPU = torch.device("cpu")


def library_step(story, data, batch_size, *, taken_by=None, precision="float32", device=CPU):
    """The step that ``fit`` takes, its history included: as it is, or by a ``"graph"``, or ``"compiled"``."""
    batches = Batches(data, batch_size, seed=0, device=device)
    with parameters_stay_local():
        trainer = Trainer(
            story,
            story.objective(),
            batches,
            precision=precision,
            optimiser=OptimiserSettings(lr=1e-4),
        )
        if taken_by:
            state = trainer.state(2, {})
            with pyro.validation_enabled(False):
                trainer.step(0, None)
            start = time.perf_counter()  # the compiler is a process of its own
            trainer.capture(state, compiler=taken_by == "compiled", batch_inside=True)
            captured = time.perf_counter() - start
    numbers, history = itertools.count(), History(1_000_000, device)

    def step():
        with parameters_stay_local(), pyro.validation_enabled(False):
            trainer.step(next(numbers), history)

    step.trainer, step.capture_s = trainer, captured if taken_by else 0.0
    return step


def graph_alone(step):
    """The graph of a :func:`library_step` on one batch again and again: without its place in training."""
    graph, index = step.trainer.graph, step.trainer.batches.index(0)
    return lambda: graph(index)


def floor(kind, batch_size, time_of=interleave, device=CPU):
    """Milliseconds of a step's arithmetic at the rate of large matrix products, and that rate."""
    encoder, decoder = networks(kind)
    story, size = BetaVAE(Gaussian(encoder), Bernoulli(decoder), 10), 8 if kind == "mlp" else 64
    with FlopCounterMode(display=False) as counter:
        story.objective()(story.model, story.guide)(
            torch.zeros(batch_size, 1, size, size)
        ).backward()
    length = 1024 if device.type == "cpu" else 8192
    square = torch.rand(length, length, device=device)
    row = time_of({"product": lambda: square @ square})["product"]
    rate = 2 * length**3 / (1e-3 * row.get("cpu_ms", row.get("ms")))
    return {"ms": 1e3 * counter.get_total_flops() / rate, "gflop_per_s": rate / 1e9}


def tutorial_step(encoder, decoder, data, batch_size, *, beta=4.0):
    """SVI as in Pyro's tutorial on variational autoencoders, validation on."""

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            loc = x.new_zeros(len(x), 10)
            with pyro.poutine.scale(scale=beta):
                z = pyro.sample("latent", dist.Normal(loc, torch.ones_like(loc)).to_event(1))
            pyro.sample(
                "obs", dist.Bernoulli(decoder(z).sigmoid(), validate_args=False).to_event(3), obs=x
            )

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=beta):
            loc, log_variance = encoder(x).chunk(2, -1)
            pyro.sample("latent", dist.Normal(loc, (0.5 * log_variance).exp()).to_event(1))

    for net in (encoder, decoder):
        handwritten.as_usual(net)
    svi = SVI(model, guide, PyroOptim(torch.optim.Adam, {"lr": 1e-4}), Trace_ELBO())
    batches, numbers = (
        Batches(data, batch_size, seed=0, device=torch.device("cpu")),
        itertools.count(),
    )

    def step():
        with pyro.validation_enabled(True):
            svi.step(batches(next(numbers)))

    return step


def networks(kind) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    if kind == "study":
        return study_encoder(20), study_decoder(10)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 20))
    return encoder, nn.Sequential(
        nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.Unflatten(1, (1, 8, 8))
    )


def measure(kind: str, batch_size: int) -> dict[str, dict[str, dict[str, float]]]:
    """Speeds of both objectives on one pair of networks, relative to the hand-written step."""
    if kind == "study":
        stored = Sprites().sample(4000, torch.Generator().manual_seed(0))[1]
    else:
        stored = (digits().observations(torch.arange(1797)) > 7).to(torch.uint8)
    data, results, capture = from_arrays(stored, maximum=1), {}, {}
    for name, loss, story in (
        ("beta_vae", handwritten.beta_vae, BetaVAE),
        ("beta_tcvae", handwritten.beta_tcvae, partial(BetaTCVAE, estimator="weighted")),
    ):
        pairs = [copy.deepcopy(networks(kind)) for _ in range(7)]
        steps = {
            "hand-written": handwritten.training_step(loss, *pairs[0], stored, batch_size),
            "hand-written again": handwritten.training_step(loss, *pairs[1], stored, batch_size),
            "hand-written, compiled": handwritten.training_step(
                loss, *pairs[6], stored, batch_size, compiled=True
            ),
            "fit": library_step(
                story(Gaussian(pairs[2][0]), Bernoulli(pairs[2][1]), 10), data, batch_size
            ),
        }
        for taken_by, pair in (("graph", pairs[4]), ("compiled", pairs[5])):
            captured = story(Gaussian(pair[0]), Bernoulli(pair[1]), 10)
            steps[f"fit, {taken_by}"] = library_step(captured, data, batch_size, taken_by=taken_by)
        steps["its graph alone"] = graph_alone(steps["fit, compiled"])
        if name == "beta_vae":
            steps["SVI as in the tutorial"] = tutorial_step(*pairs[3], data, batch_size)
        results[name] = interleave(steps)
        capture[name] = {way: steps[way].capture_s for way in ("fit, graph", "fit, compiled")}
    return results | {"floor": floor(kind, batch_size), "capture_s": capture}


SIZES = {"study": ("study network, batch 64", 64), "mlp": ("small MLP, batch 128", 128)}


def main(kinds: list[str]) -> dict[str, object]:
    """Both sizes, each in a new process, or one size; one thread, CPU time.

    ``speed`` is relative to the hand-written step, and its pair the noise.
    """
    if len(kinds) != 1:
        command, found = [sys.executable, "-m", "benchmarks.step"], {}
        for kind in kinds or SIZES:
            found |= json.loads(
                subprocess.run([*command, kind], check=True, capture_output=True, text=True).stdout
            )
        return found
    torch.set_num_threads(1)
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = (
        "1"  # what capturing costs is what it costs the first time
    )
    title, size = SIZES[kinds[0]]
    return {title: measure(kinds[0], size)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:]), indent=2))
