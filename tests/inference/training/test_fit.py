"""The training loop: reproducible, resumable, honest about what goes wrong."""

import copy
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn

from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import digits, from_arrays
from ppl_disentangle.inference import (
    TCELBO,
    BetaELBO,
    NonFiniteError,
    TrainingInterrupted,
    elbo_per_datum,
    fit,
)
from ppl_disentangle.inference.training.batches import Batches
from ppl_disentangle.models import BetaTCVAE
from ppl_disentangle.networks import mlp_decoder, mlp_encoder
from ppl_disentangle.storage import load_tensors
from ppl_disentangle.story import GenerativeStory

SHAPE = (1, 8, 8)


def make():
    torch.manual_seed(0)
    encoder, decoder = (
        mlp_encoder(8, shape=SHAPE, hidden=16),
        mlp_decoder(4, shape=SHAPE, hidden=16),
    )
    return BetaTCVAE(Gaussian(encoder), Bernoulli(decoder), 4, warm_up=20)


def run(story=None, **options):
    story = story or make()
    history = fit(story, digits(), **({"steps": 30, "batch_size": 32, "progress": False} | options))
    return story, history


def assert_same_weights(story, other):
    for (name, value), expected in zip(
        story.state_dict().items(), other.state_dict().values(), strict=True
    ):
        assert torch.equal(value, expected), name


def test_the_same_seed_gives_the_same_weights_and_history_and_another_seed_does_not():
    first, first_history = run()
    torch.manual_seed(99)
    torch.randn(7)
    second, second_history = run()
    assert_same_weights(first, second)
    assert first_history.identical(second_history)
    _, other = run(seed=1)
    assert not np.array_equal(other["loss"], first_history["loss"])


def test_the_history_is_the_objective_in_nats_per_datum():
    story = make()
    untouched = copy.deepcopy(story)
    _, history = run(story, steps=1, objective=BetaELBO(2.0))
    x = Batches(digits(), 32, seed=0, device=torch.device("cpu"))(0)
    untouched.num_data, elbo = len(digits()), BetaELBO(2.0)
    torch.manual_seed(0)
    loss = elbo.loss(untouched.model, untouched.guide, x)
    assert history["loss"].item() == pytest.approx(loss / len(digits()), rel=1e-5)
    assert history["kl"].item() == pytest.approx(
        elbo.last_terms["kl"].item() / len(digits()), rel=1e-5
    )
    assert history["loss"].item() == pytest.approx(
        -(history["log_likelihood"] + 2 * history["kl"]).item(), rel=1e-5
    )


def test_one_step_of_plain_sgd_follows_the_gradient_of_the_mean():
    story, hand = make(), make()
    run(story, steps=1, lr=0.5, optimizer=torch.optim.SGD, objective=BetaELBO(1.0))
    x = Batches(digits(), 32, seed=0, device=torch.device("cpu"))(0)
    torch.manual_seed(0)
    (Trace := BetaELBO(1.0))(hand.model, hand.guide)(x).div(32).backward()
    for p, q in zip(hand.parameters(), story.parameters(), strict=True):
        torch.testing.assert_close(p.detach() - 0.5 * p.grad, q.detach())
    assert Trace.step == 1


def test_batches_visit_every_datum_once_an_epoch_in_another_order_each_time():
    data = from_arrays(torch.arange(10, dtype=torch.float32)[:, None])
    batches = Batches(data, 3, seed=0, device=torch.device("cpu"))
    epochs = [
        torch.cat([batches(e * 3 + i) for i in range(3)]).flatten().tolist() for e in range(2)
    ]
    assert [len(set(e)) for e in epochs] == [9, 9]
    assert epochs[0] != epochs[1]
    assert torch.equal(batches(2), Batches(data, 3, seed=0, device=torch.device("cpu"))(2))


VARIANTS = {
    "adam": "",
    "bfloat16 convolutions": "precision='bfloat16', ",
    "momentum": "optimizer=lambda p, lr: torch.optim.SGD(p, lr=1e-4, momentum=0.9), ",
    "particles": "objective=TCELBO(num_particles=2, vectorize_particles=True), ",
    "held out": "held_out=digits().subset(torch.arange(50)), evaluate_every=7, patience=2, ",
}


PROGRAM = """
import os, signal, torch
torch.set_num_threads(1)
from torch import nn
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import digits
from ppl_disentangle.inference import TCELBO, fit
from ppl_disentangle.inference.training.trainer import Trainer
from ppl_disentangle.models import BetaTCVAE
torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports much of torch, once for all children

def train(folder, kill_at):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 4, 2, 1),
                            nn.Flatten(), nn.Linear(32, 8))
    decoder = nn.Sequential(nn.Linear(4, 32), nn.Unflatten(1, (8, 2, 2)), nn.ConvTranspose2d(8, 8, 4, 2, 1),
                            nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1))
    story, taken, step = BetaTCVAE(Gaussian(encoder), Bernoulli(decoder), 4, warm_up=20), [], Trainer.step

    def counted(self, *args):
        if len(taken) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        taken.append(step(self, *args))

    Trainer.step = counted
    history = fit(story, digits(), steps=40, batch_size=32, OPTIONS progress=False, resume=True,
                  checkpoint=folder + "/checkpoint.safetensors", checkpoint_every=6)
    torch.save([story.state_dict(), history["loss"].values.tolist()], folder + "/result.pt")

for folder, kill_at in (("WHOLE", -1), ("KILLED", 4), ("KILLED", 15), ("KILLED", -1)):
    child = os.fork()
    if not child:
        train(folder, kill_at)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert (os.WTERMSIG(status) == signal.SIGKILL) if kill_at > 0 else status == 0, status
"""


@pytest.mark.parametrize("options", VARIANTS.values(), ids=list(VARIANTS))
def test_a_run_that_is_killed_and_resumed_ends_with_the_weights_of_one_that_was_not(
    tmp_path, options
):
    program = PROGRAM.replace("OPTIONS", options)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        program = program.replace(name.upper(), str(tmp_path / name))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (weights, losses), (resumed, resumed_losses) = (
        torch.load(tmp_path / name / "result.pt", weights_only=True) for name in ("whole", "killed")
    )
    assert losses == resumed_losses
    for name, value in weights.items():
        assert torch.equal(value, resumed[name]), name


def test_a_checkpoint_is_never_overwritten_unasked_nor_taken_for_another_run(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    run(checkpoint=path)
    with pytest.raises(FileExistsError, match="exists; pass resume=True to go on from it"):
        run(checkpoint=path)
    with pytest.raises(ValueError, match="is of another run: batch_size was 32, now 16"):
        run(checkpoint=path, resume=True, batch_size=16)
    with pytest.raises(ValueError, match="is of another run: objective was .TCELBO"):
        run(checkpoint=path, resume=True, objective=BetaELBO())
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        run(checkpoint=path, resume=True)


def test_more_steps_go_on_where_a_finished_run_stopped(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    run(steps=20, checkpoint=path)
    longer, history = run(steps=30, checkpoint=path, resume=True)
    whole, expected = run(steps=30)
    assert_same_weights(longer, whole)
    np.testing.assert_array_equal(history["loss"], expected["loss"])


def test_ctrl_c_finishes_the_step_saves_and_can_be_resumed(tmp_path):
    class Interrupting(TCELBO):
        def terms(self, model_trace, guide_trace):
            if self.step == 11:
                os.kill(os.getpid(), signal.SIGINT)
            return super().terms(model_trace, guide_trace)

    path, handler = tmp_path / "checkpoint.safetensors", signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingInterrupted, match=r"stopped after \d+ steps; saved") as stopped:
        run(checkpoint=path, objective=Interrupting(), steps=10_000)
    assert 12 <= stopped.value.step < 10_000
    assert signal.getsignal(signal.SIGINT) is handler
    steps = stopped.value.step + 5
    interrupting = Interrupting()
    interrupting.__class__.__name__ = "Interrupting"
    resumed, _ = run(checkpoint=path, objective=interrupting, steps=steps, resume=True)
    assert_same_weights(resumed, run(objective=TCELBO(), steps=steps)[0])


class Fragile(GenerativeStory):
    """Its scale turns NaN at the step that it is told."""

    latents = ("z",)

    def __init__(self, bad_step):
        super().__init__()
        self.net, self.bad_step = nn.Linear(64, 2), bad_step
        self.decoder = Bernoulli(nn.Sequential(nn.Linear(1, 64), nn.Unflatten(1, SHAPE)))
        self.register_buffer("count", torch.zeros(()))

    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", self.decoder(z[:, None]), obs=x)

    def guide(self, x):
        loc, scale = self.net(x.flatten(1)).unbind(-1)
        broken = torch.where(self.count == self.bad_step, torch.nan, 1.0)
        if torch.is_grad_enabled():
            self.count += 1
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(loc, scale.exp() * broken))


def test_a_term_that_is_not_finite_stops_training_and_keeps_the_last_good_weights(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    story = Fragile(bad_step=17)
    good = copy.deepcopy(story)
    with pytest.raises(
        NonFiniteError, match="step 17: the term 'kl' is not finite, first at site 'z'"
    ) as caught:
        run(story, checkpoint=path, objective=BetaELBO())
    assert (caught.value.step, caught.value.site, caught.value.term) == (17, "z", "kl")
    run(good, steps=17, objective=BetaELBO())
    assert_same_weights(story, good)
    assert path.exists()
    fresh = Fragile(bad_step=-1)
    fit(
        fresh,
        digits(),
        steps=17,
        batch_size=32,
        objective=BetaELBO(),
        checkpoint=path,
        resume=True,
        progress=False,
    )
    torch.testing.assert_close(fresh.net.weight, good.net.weight)


def test_a_diverging_run_is_stopped_too():
    with pytest.raises(NonFiniteError, match="Lower the learning rate"):
        run(lr=1e30, steps=200)


def test_observations_that_are_not_finite_are_named_at_the_first_step():
    class Broken(type(digits())):
        def observations(self, index):
            return super().observations(index).float() / 0

    data = copy.copy(digits())
    data.__class__ = Broken
    with pytest.raises(NonFiniteError, match="step 0: the term 'observations'"):
        fit(make(), data, steps=5, progress=False)


def test_pyros_validation_checks_the_first_steps_and_leaves():
    seen = []

    class Watching(BetaELBO):
        def terms(self, model_trace, guide_trace):
            if torch.is_grad_enabled():
                seen.append(pyro.poutine.util.is_validation_enabled())
            return super().terms(model_trace, guide_trace)

    run(steps=6, objective=Watching(), validate_steps=2)
    assert seen == [True, True, False, False, False, False]
    assert pyro.poutine.util.is_validation_enabled()


def test_held_out_bounds_are_the_evidence_and_stop_training_when_they_get_worse():
    held_out = digits().subset(torch.arange(100))
    story, history = run(held_out=held_out, evaluate_every=10)
    assert history["held_out_step"].values.tolist() == [10, 20, 30]
    means = elbo_per_datum(story, held_out).sum("code").mean()
    assert history["held_out_elbo"].values[-1] == pytest.approx(means["elbo"].item(), rel=1e-6)
    worse, history = run(held_out=held_out, evaluate_every=10, patience=1, steps=500, lr=0.05)
    assert history.sizes["step"] < 500
    best = history["held_out_elbo"].max().item()
    assert elbo_per_datum(worse, held_out)["elbo"].mean().item() == pytest.approx(best, rel=1e-6)
    assert history["held_out_elbo"].values[-1] < best


def test_the_bound_of_each_datum_sums_to_pyros():
    story, x = make(), digits().to_float(digits().observations(torch.arange(40)))
    ours = elbo_per_datum(story, x, num_samples=200, seed=3)
    assert ours["kl"].shape == (40, 4)
    losses = [Trace_ELBO().loss(story.model, story.guide, x) for _ in range(200)]
    error = np.std(losses) / 200**0.5
    assert abs(ours["elbo"].sum().item() + np.mean(losses)) < 5 * error
    expected = torch.distributions.kl_divergence(story.encoder(x).base_dist, dist.Normal(0.0, 1.0))
    np.testing.assert_allclose(ours["kl"], expected.detach(), rtol=1e-5, atol=1e-6)


def test_bfloat16_networks_move_the_terms_by_little():
    full, half = make(), make()
    _, expected = run(full, steps=1)
    _, history = run(half, steps=1, precision="bfloat16")
    assert abs(history["log_likelihood"] - expected["log_likelihood"]).item() < 0.1
    assert next(half.parameters()).dtype == torch.float32


def test_any_pyro_objective_trains():
    story = make()
    before = copy.deepcopy(story.state_dict())
    _, history = run(story, objective=Trace_ELBO())
    assert list(history.data_vars) == ["loss"]
    assert all(not torch.equal(v, before[k]) for k, v in story.state_dict().items())


def test_an_objective_that_was_told_the_number_of_data_is_free_for_others():
    objective = TCELBO()
    run(steps=1, objective=objective)
    assert objective.num_data is None
    fit(
        make(),
        digits().subset(torch.arange(50)),
        steps=1,
        batch_size=20,
        objective=objective,
        progress=False,
    )


def test_a_batch_of_all_data_trains():
    data = digits().subset(torch.arange(20))
    history = fit(make(), data, steps=2, batch_size=20, progress=False)
    assert bool(history.to_array().notnull().all())


def test_data_that_do_not_fit_the_story_are_told_so():
    with pytest.raises(
        ValueError, match=r"does not take a batch of observations of shape \(4, 1, 5, 5\): mat1"
    ):
        fit(make(), from_arrays(torch.rand(9, 1, 5, 5)), steps=1, batch_size=4, progress=False)
    data = from_arrays(torch.linspace(-3, 2, 640).reshape(10, 1, 8, 8))
    with pytest.raises(
        ValueError,
        match=r"values in \[-3, 2\], the Bernoulli likelihood of 'x' takes \[0, 1\]: scale",
    ):
        fit(make(), data, steps=1, batch_size=10, progress=False)


def test_a_truncated_checkpoint_is_told_so_and_kept(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    run(checkpoint=path)
    cut = path.read_bytes()[:-100]
    path.write_bytes(cut)
    with pytest.raises(ValueError, match="checkpoint.safetensors is not a checkpoint"):
        run(checkpoint=path, resume=True)
    assert path.read_bytes() == cut


FULL_DISK = """
import resource, signal, sys, torch
from pathlib import Path
from ppl_disentangle.storage import save_tensors
path = Path(sys.argv[1])
save_tensors(path, {"a": torch.ones(10)}, {"step": 1})
before = path.read_bytes()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    save_tensors(path, {"a": torch.ones(100_000)}, {"step": 2})
except OSError as error:
    print(error)
assert path.read_bytes() == before
assert [p.name for p in path.parent.iterdir()] == [path.name]
"""


def test_a_disk_that_is_full_costs_nothing_that_was_saved(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "could not save" in done.stdout
    assert "the earlier file is unchanged" in done.stdout


KILLED_WHILE_SAVING = """
import os, signal, sys, torch
from pathlib import Path
from ppl_disentangle.storage import save_tensors
save_tensors(Path(sys.argv[1]), {"a": torch.ones(10)}, {"step": 1})
os.fsync = lambda number: os.kill(os.getpid(), signal.SIGKILL)
save_tensors(Path(sys.argv[1]), {"a": torch.zeros(10)}, {"step": 2})
"""


def test_a_run_that_is_killed_while_it_saves_keeps_what_it_saved_before(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_SAVING, str(path)], capture_output=True
    )
    assert done.returncode == -signal.SIGKILL
    tensors, numbers = load_tensors(path)
    assert numbers == {"step": 1}
    assert torch.equal(tensors["a"], torch.ones(10))


def test_a_bound_that_cannot_be_had_of_held_out_data_is_told_before_training():
    class Wide(Fragile):
        def model(self, x=None, *, batch_size=1):
            pyro.sample("width", dist.Normal(0.0, 1.0))
            return super().model(x, batch_size=batch_size)

        def guide(self, x):
            pyro.sample("width", dist.Normal(0.0, 1.0))
            super().guide(x)

    story = Wide(-1)
    before = copy.deepcopy(story)
    with pytest.raises(ValueError, match="latent 'width' is outside of the plate"):
        run(story, held_out=digits(), objective=BetaELBO())
    assert_same_weights(story, before)


def test_bad_arguments_get_errors_that_name_them():
    for options, message in (
        ({"steps": 0}, "steps >= 1, got 0"),
        ({"patience": 2}, "patience needs held_out data"),
        ({"held_out": digits().subset(torch.arange(0))}, "at least one held-out datum, got none"),
        (
            {"held_out": from_arrays(torch.rand(9, 1, 5, 5))},
            r"shape \(1, 5, 5\), the data of \(1, 8, 8\)",
        ),
        ({"batch_size": 0}, "batch_size >= 1, got 0"),
        ({"batch_size": 2000}, "batch_size=2000 is more than the 1797 data of 'digits'"),
        ({"precision": "half"}, "precision 'float32' or 'bfloat16', got 'half'"),
        ({"objective": TCELBO(num_data=3)}, "num_data=3, the data are 1797"),
    ):
        with pytest.raises(ValueError, match=message):
            run(**options)


def test_checkpoints_hold_no_pickle(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    run(checkpoint=path)
    header = Path(path).read_bytes()[8:9]
    assert header == b"{"
    assert not list(tmp_path.glob(".*"))
