"""Training by one process, or by several that share each batch; run by ``torchrun``, or alone.

``python -m tests.inference.distributed.shared_fit FOLDER`` writes there what came of it.
"""

import os
import signal
import sys
import warnings
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO

from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import (
    TCELBO,
    BetaELBO,
    FactorELBO,
    NonFiniteError,
    TrainingInterrupted,
    critic_network,
    fit,
)
from ppl_disentangle.inference.distributed.processes import (
    gathered,
    group_of_processes,
    num_processes,
    rank,
    separate_streams,
)
from tests.inference.distributed.shared_batch import BATCH, SameDraws
from tests.models.test_stories import STORIES, data_for, observations

OBJECTIVES = {
    "tc": TCELBO,
    "factor": lambda: FactorELBO(critic_network(4, hidden=8, layers=1)),
    "pyro": Trace_ELBO,
}


def story_of(name="beta_vae"):
    torch.manual_seed(rank())  # the first process's weights are everybody's
    return STORIES[name]()


def same_draws():
    return SameDraws(*(BATCH * (rank() + i) // num_processes() for i in range(2)))


def trained(objective):
    """Weights and history after some steps of uneven parts, one of them with the held-out bound."""
    story, objective = story_of(), objective()
    options = {"optimizer": torch.optim.SGD, "batch_size": BATCH, "progress": False, "lr": 1e-3}
    with same_draws():
        history = fit(
            story, data_for(story), steps=6, objective=objective, validate_steps=2, **options
        )
    assert getattr(objective, "part_sizes", None) is None  # another batch may be of another size
    weights = story.state_dict()
    others = gathered({name: value.clone() for name, value in weights.items()})
    assert all(torch.equal(other[name], weights[name]) for other in others for name in weights)
    return dict(weights), {name: torch.tensor(history[name].values) for name in history}


def resumed(folder):
    """Weights of a run of 40 steps, and of one that stopped after 20."""
    found, options = [], {"batch_size": 16, "progress": False, "seed": 3}
    for steps in ([40], [20, 40]):
        for upto in steps:
            story = story_of("beta_tcvae")
            data, path = data_for(story), folder / f"resumed-{len(steps)}.safetensors"
            judged = {"held_out": data.subset(torch.arange(20)), "evaluate_every": 10}
            history = fit(
                story, data, steps=upto, checkpoint=path, resume=True, **judged, **options
            )
        found.append((dict(story.state_dict()), torch.tensor(history["held_out_elbo"].values)))
    return found


def interrupted(folder):
    """The step at which all stop when the last process is asked to, and that of the checkpoint."""

    class Asked(type(from_arrays(observations()))):
        def observations(self, index):
            self.batches = getattr(self, "batches", 0) + 1
            if self.batches == 30 and rank() == num_processes() - 1:
                os.kill(os.getpid(), signal.SIGINT)
            return super().observations(index)

    data = from_arrays(observations())
    data.__class__ = Asked
    try:
        fit(
            story_of(),
            data,
            steps=400,
            batch_size=16,
            progress=False,
            checkpoint=folder / "interrupted.safetensors",
        )
    except TrainingInterrupted as stopped:
        return gathered(stopped.step)
    return []


def diverged():
    """What all processes say of a run that diverges."""
    try:
        fit(
            story_of(),
            from_arrays(observations()),
            steps=60,
            batch_size=16,
            lr=1e18,
            validate_steps=0,
            progress=False,
        )
    except NonFiniteError as error:
        return gathered(str(error))
    return []


def refused():
    """What is said of a latent of all data, and of processes that began apart."""
    x, messages = torch.zeros(4, 2), []

    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w, 1.0).expand([2]).to_event(1), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(torch.zeros((), requires_grad=True), 1.0))

    story = story_of()
    for seed, pair in ((0, (model, guide)), (rank(), (story.model, story.guide))):
        torch.manual_seed(seed)
        try:
            BetaELBO().differentiable_loss(*pair, x if pair[0] is model else observations(4))
        except ValueError as error:
            messages.append(str(error))
    return messages


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with group_of_processes(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = {name: trained(objective) for name, objective in OBJECTIVES.items()}
        found |= {
            "resumed": resumed(folder),
            "interrupted": interrupted(folder),
            "diverged": diverged(),
        }
        torch.manual_seed(0)
        with separate_streams():
            found["own draws"] = gathered(torch.rand(3))
        found["common draws"] = gathered(torch.rand(3))
        fit(story_of(), data_for(story_of()), steps=5, batch_size=16, progress=False, compile=True)
        found["refused"] = refused() if num_processes() > 1 else []
        found["store"] = len(pyro.get_param_store())
        found["warnings"] = [str(w.message) for w in caught]
        if rank() == 0:
            torch.save(found, folder / "found.pt")
