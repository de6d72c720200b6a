"""A convolutional training step of each objective against a hand-written one: ``python -m benchmarks.objectives``."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import ELBO
from torch import Tensor, nn

from benchmarks import handwritten
from benchmarks.interleave import interleave
from benchmarks.step import library_step
from ppl_disentangle import GenerativeStory
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Sprites, from_arrays
from ppl_disentangle.inference import (
    DIPELBO,
    HFELBO,
    TCELBO,
    AdversarialMI,
    BetaELBO,
    BidirectionalELBO,
    CapacityELBO,
    ConstrainedELBO,
    ControlELBO,
    FactorELBO,
    HausdorffELBO,
    InfoELBO,
    JointELBO,
    SparsityELBO,
    critic_network,
)
from ppl_disentangle.networks import study_decoder, study_encoder


class Story(GenerativeStory):
    """z ~ N(0, I), x | z Bernoulli: one latent of ten coordinates, or two of five."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        objective: ELBO,
        sizes: tuple[int, ...] = (10,),
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.chosen, self.sizes = (
            Gaussian(encoder),
            Bernoulli(decoder),
            objective,
            sizes,
        )
        self.latents = tuple(f"z{i}" for i in range(len(sizes)))
        self.register_buffer("zero", torch.zeros(max(sizes)), persistent=False)

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        with self.data_plate(x, batch_size):
            z = [
                pyro.sample(f"z{i}", dist.Normal(self.zero[:n], 1.0).to_event(1))
                for i, n in enumerate(self.sizes)
            ]
            return pyro.sample("x", self.decoder(torch.cat(z, -1) if len(z) > 1 else z[0]), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            q = self.encoder(x).base_dist
            parts = zip(q.loc.split(self.sizes, -1), q.scale.split(self.sizes, -1), strict=True)
            for i, (loc, scale) in enumerate(parts):
                pyro.sample(f"z{i}", dist.Normal(loc, scale).to_event(1))

    def objective(self) -> ELBO:
        return self.chosen


class Generator(Story):
    """The same story with a deterministic image, for a generator against a critic."""

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        with self.data_plate(x, batch_size):
            z = pyro.sample("z0", dist.Normal(self.zero, 1.0).to_event(1))
            return pyro.sample("x", dist.Delta(self.decoder.net(z), event_dim=3), obs=x)


class Joint(Story):
    """Six normal coordinates and one of four classes, relaxed."""

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        with self.data_plate(x, batch_size):
            z = pyro.sample("z0", dist.Normal(self.zero[:6], 1.0).to_event(1))
            c = pyro.sample(
                "c", dist.RelaxedOneHotCategorical(self.zero.new_tensor(0.67), logits=self.zero[:4])
            )
            return pyro.sample("x", self.decoder(torch.cat([z, c], -1)), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            loc, log_variance, logits = self.encoder.net(x).float().split([6, 6, 4], -1)
            pyro.sample("z0", dist.Normal(loc, (0.5 * log_variance).exp()).to_event(1))
            pyro.sample("c", dist.RelaxedOneHotCategorical(loc.new_tensor(0.67), logits=logits))


class JointImageCritic(nn.Module):
    """The study's encoder of an image, its features beside the latents."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.verdict = study_encoder(64), critic_network(74, hidden=256, layers=1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.verdict(torch.cat([self.image(x), z], -1))


def joint_critic() -> nn.Module:
    torch.manual_seed(1)
    return JointImageCritic()


def latent_critic() -> nn.Module:
    torch.manual_seed(1)
    return critic_network(10, outputs=2)


def image_critic() -> nn.Module:
    torch.manual_seed(1)
    return study_encoder(1)


OBJECTIVES: dict[str, tuple[Callable[..., Tensor], Callable[[], ELBO], dict[str, Any]]] = {
    "BetaELBO": (handwritten.beta_vae, BetaELBO, {}),
    "CapacityELBO": (handwritten.capacity, lambda: CapacityELBO(5.0), {}),
    "ConstrainedELBO": (handwritten.beta_vae, lambda: ConstrainedELBO(log_likelihood=-50.0), {}),
    "ControlELBO": (handwritten.beta_vae, lambda: ControlELBO(20.0), {}),
    "TCELBO": (handwritten.beta_tcvae, lambda: TCELBO(estimator="weighted"), {}),
    "HFELBO": (handwritten.hierarchical, HFELBO, {"sizes": (5, 5)}),
    "InfoELBO": (handwritten.information, InfoELBO, {}),
    "DIPELBO": (handwritten.dip, lambda: DIPELBO(variant="II"), {}),
    "SparsityELBO": (handwritten.sparsity, lambda: SparsityELBO(l1=1.0), {}),
    "JointELBO": (handwritten.joint, lambda: JointELBO(0.0, 0.0), {"story": Joint, "outputs": 16}),
    "HausdorffELBO": (handwritten.hausdorff, HausdorffELBO, {}),
    "FactorELBO": (
        handwritten.factor,
        lambda: FactorELBO(latent_critic()),
        {"critic": latent_critic},
    ),
    "AdversarialMI": (
        handwritten.info_gan,
        lambda: AdversarialMI(image_critic(), critic_options={"betas": (0.5, 0.9)}),
        {"critic": image_critic, "story": Generator},
    ),
    "BidirectionalELBO": (
        handwritten.bidirectional,
        lambda: BidirectionalELBO(joint_critic(), critic_options={"betas": (0.5, 0.9)}),
        {"critic": joint_critic, "story": Generator},
    ),
}


def measure(name: str, stored: Tensor, batch_size: int = 64) -> dict[str, dict[str, float]]:
    """Speeds of the library's step and of the hand-written one again, relative to the hand-written one."""
    loss, objective, options = OBJECTIVES[name]
    torch.manual_seed(0)
    networks = [
        copy.deepcopy((study_encoder(options.get("outputs", 20)), study_decoder(10)))
        for _ in range(3)
    ]

    def by_hand(pair: tuple[nn.Module, nn.Module]) -> Callable[[], Tensor]:
        critic = options["critic"]() if "critic" in options else None
        return handwritten.training_step(loss, *pair, stored, batch_size, critic=critic)

    story = options.get("story", Story)(*networks[2], objective(), options.get("sizes", (10,)))
    steps = {
        "hand-written": by_hand(networks[0]),
        "hand-written again": by_hand(networks[1]),
        "fit": library_step(story, from_arrays(stored, maximum=1), batch_size),
    }
    return interleave(steps, seconds_per_slot=0.6, rounds=15)


def main(arguments: list[str]) -> dict[str, dict[str, object]]:
    """Each objective, or those named, on the study's network in batches of 64 and 256, or of a number given.

    One thread, CPU time.
    """
    torch.set_num_threads(1)
    stored = Sprites().sample(4000, torch.Generator().manual_seed(0))[1]
    sizes = [int(a) for a in arguments if a.isdigit()] or [64, 256]
    names = [a for a in arguments if not a.isdigit()] or list(OBJECTIVES)
    return {
        f"batch {size}": {name: measure(name, stored, size) for name in names} for size in sizes
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:]), indent=2))
