"""Networks of signals and sequences."""

import pytest
import torch

from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import fit
from ppl_disentangle.networks import Networks
from ppl_disentangle.networks_1d import SequenceDecoder, SequenceEncoder
from ppl_disentangle.plots import plot_reconstructions, plot_traversals
from ppl_disentangle.representation import encode, reconstruct
from ppl_disentangle.traversal import traverse
from ppl_disentangle.zoo import build, likelihood_for


@pytest.mark.parametrize("kind", ["signal", "sequence"])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 33, 100, 1001])
def test_decoders_write_what_encoders_read(kind, length):
    shape = (3, length) if kind == "signal" else (length, 3)
    networks = Networks(shape, observations=kind)
    x = torch.randn(2, *shape)
    assert networks.encoder(4)(x).shape == (2, 4)
    assert networks.decoder(5)(torch.randn(2, 5)).event_shape == shape
    modules = [networks.encoder(4), networks.decoder(5)]
    assert sum(p.numel() for module in modules for p in module.parameters()) < 1e6


def test_the_kind_of_the_data_chooses_the_network():
    x = torch.randn(4, 3, 16)
    assert Networks((3, 16), observations="signal").kind == "conv1d"
    assert Networks((3, 16), observations="sequence").kind == "gru"
    assert Networks((3, 4), observations="signal").kind == "mlp"
    names = {
        type(module).__name__
        for kind in ("signal", "sequence")
        for module in build("vae", from_arrays(x, kind=kind)).modules()
    }
    assert {"Conv1d", "ConvTranspose1d", "GRU"} <= names
    with pytest.raises(ValueError, match="network 'gru' takes sequences .*, the data are"):
        Networks((1, 8, 8), "gru")


def test_a_sequence_encoder_reads_the_order_of_both_ends():
    encoder = SequenceEncoder(2, shape=(6, 1))
    x = torch.randn(1, 6, 1)
    for step in (0, 5):
        changed = x.clone()
        changed[0, step] += 1
        assert (encoder(x) - encoder(changed)).abs().max() > 1e-5
    assert (encoder(x) - encoder(x.flip(1))).abs().max() > 1e-5


def test_parameters_of_a_sequence_are_stacked_along_time():
    decoder = SequenceDecoder(2, shape=(6, 3), num_parameters=2)
    z = torch.randn(4, 2)
    first, second = decoder(z).chunk(2, 1)
    assert first.shape == second.shape == (4, 6, 3)
    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["signal", "sequence"])
def test_a_story_is_trained_on_curves_and_drawn_as_curves(kind):
    time = torch.linspace(0, 6, 24)
    phase = torch.rand(128, 1, generator=torch.Generator().manual_seed(0)) * 3
    x = torch.stack([torch.sin(time + phase), torch.cos(time + phase)], 1)
    data = from_arrays(x if kind == "signal" else x.transpose(1, 2), kind=kind)
    story = build("vae", data, latent_dim=2, likelihood="gaussian")
    fit(story, data, steps=60, batch_size=32, lr=1e-2, progress=False)
    observed = data.observations(range(4))
    error = (reconstruct(story, observed) - observed).square().mean()
    assert error < 0.5 * observed.var()
    codes = encode(story, data)["mean"]
    assert codes.shape == (128, 2)
    figure = plot_reconstructions(observed, reconstruct(story, observed))
    assert all(len(line.get_xdata()) == 24 for axes in figure.axes for line in axes.get_lines())
    images = traverse(story, observed[:1], {"z[0]": [-1.0, 1.0], "z[1]": [-1.0, 1.0]})
    lines = plot_traversals(images).axes[0].get_lines()
    assert len(lines) == 2 * 2  # a line for each channel at each position


def test_signals_outside_the_unit_interval_are_normal_by_default():
    x = torch.randn(8, 2, 16, generator=torch.Generator().manual_seed(0))
    assert likelihood_for(from_arrays(x)) == "gaussian"
    assert likelihood_for(from_arrays(x.sigmoid(), kind="sequence")) == "bernoulli"
    assert likelihood_for(from_arrays(x[:, 0])) == "bernoulli"  # vectors are refused by fit
    fit(
        build("vae", from_arrays(x), latent_dim=2),
        from_arrays(x),
        steps=1,
        batch_size=4,
        progress=False,
    )
