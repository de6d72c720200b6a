"""Stories of several levels or steps: information of upper levels and of first steps."""

import numpy as np
import pytest
import torch
from pyro import poutine
from sklearn.linear_model import LogisticRegression
from torch import nn

from ppl_disentangle import do
from ppl_disentangle.conditionals import Bernoulli, GaussianLearnedScale
from ppl_disentangle.data import digits, from_arrays
from ppl_disentangle.data.base import Subset
from ppl_disentangle.inference import BetaELBO, compression_curve, elbo_per_datum, fit
from ppl_disentangle.models import ConvDRAW, LadderVAE
from ppl_disentangle.plots import plot_compression
from ppl_disentangle.representation import decode, reconstruct
from ppl_disentangle.zoo import build
from tests.models.test_kinds import kinds
from tests.toys import network

FEATURES = 12


def ladder(merged):
    torch.manual_seed(0)
    features = nn.Sequential(network(FEATURES, 64), nn.Tanh())
    decoder = GaussianLearnedScale(network(4, FEATURES), scale=0.3)
    return LadderVAE(features, decoder, (4, 2), width=64, merged=merged)


@pytest.fixture(scope="module")
def ladders():
    """Both guides fitted to data of four kinds, and the share of the divergence of each latent."""
    x, shares, stories = kinds(5000)[1], {}, {}
    for merged in (True, False):
        story = ladder(merged)
        fit(story, from_arrays(x[:4000]), steps=2000, batch_size=128, progress=False)
        nats = elbo_per_datum(story, x[4000:], num_samples=10)["kl"].mean("data")
        shares[merged], stories[merged] = (nats.values[:2].sum() / nats.values.sum()).item(), story
    return shares, stories


def test_a_guide_that_corrects_the_storys_prediction_keeps_more_at_the_top(ladders):
    shares, _ = ladders
    assert shares[True] > shares[False] + 0.15


def test_the_top_of_a_ladder_moves_the_levels_below(ladders):
    _, stories = ladders
    story = stories[True]
    below = [
        poutine.trace(do(story, {"z2": torch.tensor(value)}).model)
        .get_trace(batch_size=500)
        .nodes["z1"]["value"]
        for value in ([2.0, 0.0], [-2.0, 0.0], [2.0, 0.0])
    ]
    means = [z.mean(0) for z in below]
    assert (means[0] - means[1]).abs().max() > 5 * (means[0] - means[2]).abs().max()


def test_a_level_is_the_product_of_its_reading_and_the_storys_prediction():
    story, x = ladder(True), torch.randn(7, FEATURES, generator=torch.Generator().manual_seed(1))
    trace = poutine.trace(story.guide).get_trace(x)
    reading, above = story.readings(x)[1], trace.nodes["z2"]["value"]
    prior, q = story.down[0](above), trace.nodes["z1"]["fn"]
    at = torch.randn(3, 7, 4)
    unnormalised = reading.log_prob(at) + prior.log_prob(at) - q.log_prob(at)
    torch.testing.assert_close(unnormalised, unnormalised[:1].expand(3, -1), rtol=1e-4, atol=1e-4)
    own = ladder(False)
    torch.testing.assert_close(
        own.readings(x)[1].mean, poutine.trace(own.guide).get_trace(x).nodes["z1"]["fn"].mean
    )


@pytest.fixture(scope="module")
def drawing():
    data = digits()
    train, new = (Subset(data, torch.arange(a, b)) for a, b in ((0, 1300), (1300, len(data))))
    torch.manual_seed(0)
    story = ConvDRAW(
        (1, 8, 8),
        Bernoulli(nn.Identity(), input_dims=3),
        steps=4,
        latent_channels=1,
        hidden=16,
        stride=2,
    )
    fit(story, train, steps=1000, batch_size=32, lr=4e-3, progress=False)
    curve = compression_curve(story, new, num_samples=4, num_images=len(new))
    return story, train, new, curve


def floats(data):
    index = torch.arange(len(data))
    return data.observations(index) / data.maximum, data.factors(index)[:, 0].numpy()


def test_the_first_steps_keep_most_of_an_image_and_its_digit(drawing):
    """Accuracy of a classifier on digits generated from the first latents; 0.1 by chance."""
    _, train, new, curve = drawing
    rate, distortion = curve["rate"].values, curve["distortion"].values
    assert rate[0] == 0
    assert (np.diff(rate) > 0).all()
    assert (np.diff(distortion) < 0).all()
    saved = -np.diff(distortion)
    assert saved[0] > 2 * saved[2:].sum()
    x, digit = floats(train)
    judge = LogisticRegression(max_iter=2000).fit(x.flatten(1), digit)
    _, truth = floats(new)
    read = [judge.score(image.reshape(len(truth), -1), truth) for image in curve["image"].values]
    assert read[0] < 0.2
    assert read[2] > 0.4
    assert read[0] < read[1] < read[2]


def test_with_all_steps_kept_the_curve_ends_at_the_reconstruction(drawing):
    story, _, new, curve = drawing
    x, _ = floats(new)
    by_means = (reconstruct(story, x) - x).square().mean().item()
    assert by_means <= curve["distortion"].values[-1] < 1.5 * by_means
    nats = elbo_per_datum(story, new, num_samples=4)["kl"].mean("data").sum().item()
    assert curve["rate"].values[-1] == pytest.approx(nats, rel=0.05)
    mean = x.mean(0)
    drawn = decode(story, {"z1": torch.randn(2000, 16)}).mean(
        0
    )  # at random, a digit of the average kind
    assert (drawn - mean).abs().mean() < 0.1


def test_the_guide_draws_along_with_the_model(drawing):
    story, _, new, _ = drawing
    x, _ = floats(new)
    guide = poutine.trace(story.guide).get_trace(x[:5])
    model = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace(x[:5])
    with torch.no_grad():
        codes = torch.stack([guide.nodes[name]["value"] for name in story.latents])
        h = c = torch.zeros(5, 16, 4, 4)
        canvas = story.blank.expand(5, 1, 8, 8)
        for z in codes:
            take, keep, show, new_value = story.drawer.gates(
                torch.cat([z.reshape(5, 1, 4, 4), h], 1)
            ).chunk(4, 1)
            c = torch.sigmoid(keep + 1.0) * c + torch.sigmoid(take) * torch.tanh(new_value)
            h = torch.sigmoid(show) * torch.tanh(c)
            canvas = canvas + story.paint(h)
    torch.testing.assert_close(model.nodes["x"]["fn"].base_dist.logits, canvas)


def test_deep_stories_are_built_from_data_and_refuse_bad_arguments():
    data = digits()
    index = torch.arange(4)
    for name, options in (("ladder_vae", {"dims": [6, 3, 2]}), ("conv_draw", {"steps": 3})):
        story = build(name, data, options=options)
        assert len(story.latents) == 3
        assert np.isfinite(
            BetaELBO().loss(story.model, story.guide, data.observations(index) / data.maximum)
        )
    with pytest.raises(ValueError, match=r"coordinates of two levels or more, got \[4\]"):
        build("ladder_vae", data, options={"dims": [4]})
    with pytest.raises(
        ValueError, match=r"expected images \(channels, rows, columns\), got \(6,\)"
    ):
        build("conv_draw", from_arrays(torch.rand(8, 6)))


@pytest.mark.parametrize("size", [(8, 12), (9, 11), (28, 30)], ids=str)
def test_images_whose_sides_the_stride_does_not_divide_are_drawn_whole(size):
    torch.manual_seed(0)
    story = build("conv_draw", from_arrays(torch.rand(4, 3, *size)), options={"steps": 2})
    x = torch.rand(4, 3, *size, requires_grad=True)
    loss = BetaELBO().loss_and_grads(story.model, story.guide, x)
    assert np.isfinite(float(loss))
    codes = story.representation(x)
    assert codes["z1"].event_shape == (2 * -(-size[0] // 4) * -(-size[1] // 4),)
    codes["z1"].mean.sum().backward()
    assert (x.grad != 0).all()
    assert all(parameter.grad.abs().sum() > 0 for parameter in story.parameters())


def test_a_row_of_the_picture_shows_the_image_at_its_rate(drawing):
    _, _, new, curve = drawing
    x, _ = floats(new)
    shown = curve.isel(data=slice(3))
    axes = plot_compression(shown, x[:3]).axes[0]
    labels = " ".join(text.get_text() for text in axes.texts)
    rate, distortion = (curve[name].values[2] for name in ("rate", "distortion"))
    assert f"2 kept: {rate:.1f} nats, error {distortion:.3f}" in labels
    with pytest.raises(ValueError, match="shape"):
        plot_compression(shown, x[:2])


def test_generated_latents_depend_on_the_conditions_of_each_datum():
    data = digits()
    subset = build("ivae", data, latent_dim=2).held_out_data(data).subset(torch.arange(300))
    story = build("ivae", data, latent_dim=2)
    # the prior is nearly a point, another one for each class
    with torch.no_grad():
        for p in story.parameters():
            p.zero_()
        story.conditional.net.weight[0] = torch.linspace(-3, 3, 10)
        story.conditional.net.bias[2:] = -20.0
    read = []
    story.decoder.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    compression_curve(story, subset, num_samples=1, batch_size=300)
    _, nothing_kept, _ = read  # after the pair's own run
    digit = subset.factors(torch.arange(300))[:, 0]
    torch.testing.assert_close(
        nothing_kept[:, 0], torch.linspace(-3, 3, 10)[digit], atol=0.01, rtol=0
    )
