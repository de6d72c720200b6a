"""Clips: identity in the latent that they share, and not in the poses of their frames."""

import math

import numpy as np
import pytest
import torch
from pyro import poutine
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from ppl_disentangle import do
from ppl_disentangle.conditionals import Bernoulli, GaussianLearnedScale, Grouped
from ppl_disentangle.data import Tuples, from_arrays
from ppl_disentangle.inference import fit
from ppl_disentangle.models import VideoVAE
from ppl_disentangle.representation import encode
from tests.toys import mixed, network

CLIPS, FRAMES, KINDS, FEATURES = 3000, 8, 8, 16


@pytest.fixture(scope="module")
def clips():
    """Frames with one of eight kinds and a smoothly moving pose; the kind of each frame."""
    generator = torch.Generator().manual_seed(5)
    kind = torch.randint(KINDS, (CLIPS,), generator=generator)
    appearance = 1.2 * torch.randn(KINDS, 2, generator=generator)
    t = torch.arange(FRAMES).float()
    smooth = torch.linalg.cholesky(
        (-0.5 * ((t[:, None] - t) / 2) ** 2).exp() + 1e-4 * torch.eye(FRAMES)
    )
    pose = torch.einsum("ts,nsd->ntd", smooth, torch.randn(CLIPS, FRAMES, 2, generator=generator))
    factors = torch.cat([appearance[kind][:, None].expand(-1, FRAMES, -1), pose], -1)
    x = mixed(factors.flatten(0, 1), FEATURES, scale=0.6)
    return x, kind.repeat_interleave(FRAMES).numpy()


def kind_accuracy(codes, kind):
    """How often the nearest frames of other clips are of the same kind, and the standard error."""
    first = np.arange(len(codes)) < 16_000
    accuracy = (
        KNeighborsClassifier(20).fit(codes[first], kind[first]).score(codes[~first], kind[~first])
    )
    return accuracy, math.sqrt(
        accuracy * (1 - accuracy) / ((~first).sum() / FRAMES)
    )  # frames of a clip are alike


def trained(data, batch_size):
    torch.manual_seed(0)
    encoder = Grouped(network(FEATURES, 8), {"identity": 2, "pose": 2})
    story = VideoVAE(encoder, GaussianLearnedScale(network(4, FEATURES), scale=0.3), event_dim=1)
    fit(story, data, steps=1500, batch_size=batch_size, lr=3e-3, progress=False)
    return story


def test_identity_is_in_the_latent_of_the_clip_and_next_to_nothing_of_it_in_the_poses(clips):
    x, kind = clips
    frames = from_arrays(x)
    story = trained(Tuples(frames, torch.arange(len(x)).reshape(CLIPS, FRAMES), name="clips"), 32)
    codes = encode(story, x)["mean"].values
    (identity, _), (pose, error) = (
        kind_accuracy(codes[:, :2], kind),
        kind_accuracy(codes[:, 2:], kind),
    )
    assert identity > 0.95
    assert pose - 4 * error < 1 / KINDS  # chance
    assert pose < 0.25
    of_frames = encode(trained(frames, 128), x)["mean"].values  # single frames do not separate them
    assert kind_accuracy(of_frames[:, 2:], kind)[0] > 0.5


def small(**options):
    torch.manual_seed(0)
    encoder = Grouped(nn.Linear(6, 10), {"identity": 3, "pose": 2})
    return VideoVAE(encoder, Bernoulli(nn.Linear(5, 6)), event_dim=1, **options)


def test_the_bound_of_a_clip_has_one_identity_and_poses_that_move_together():
    story, x = small(), torch.rand(4, 5, 6)
    guide = poutine.trace(story.guide).get_trace(x)
    model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(x)
    model.compute_log_prob()
    z, pose = guide.nodes["identity"]["value"], guide.nodes["pose"]["value"]
    assert (z.shape, pose.shape) == ((4, 3), (4, 2, 5))
    covariance = story.covariance(5)
    exact = (
        torch.distributions.MultivariateNormal(torch.zeros(5), covariance).log_prob(pose).sum(-1)
    )
    torch.testing.assert_close(model.nodes["pose"]["log_prob"], exact)
    assert covariance[0, 1] > covariance[0, 2] > 0.5 * covariance[0, 1]
    logits = story.decoder.net(torch.cat([z[:, None].expand(-1, 5, -1), pose.transpose(1, 2)], -1))
    likelihood = -nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(
        (1, 2)
    )
    torch.testing.assert_close(model.nodes["x"]["log_prob"], likelihood)


def test_an_intervention_on_identity_changes_every_frame_of_single_ones_the_same_way():
    story = small()
    torch.manual_seed(1)
    trace = poutine.trace(do(story, {"identity": 2.0}).model).get_trace(batch_size=3)
    assert (trace.nodes["identity"]["value"] == 2.0).all()


def test_bad_arguments_are_refused():
    with pytest.raises(
        ValueError, match="expected an encoder of the groups 'identity' and 'pose', got {'a': 2}"
    ):
        VideoVAE(Grouped(nn.Linear(6, 4), {"a": 2}), Bernoulli(nn.Linear(2, 6)))
    with pytest.raises(ValueError, match="expected length_scale > 0, got 0"):
        small(length_scale=0)
