"""Networks of the literature, layer by layer, and the distributions that conditionals make of them."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from torch import nn

from ppl_disentangle import encode
from ppl_disentangle.conditionals import (
    Bernoulli,
    ContinuousBernoulli,
    Gaussian,
    GaussianLearnedScale,
)
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import fit
from ppl_disentangle.models import BetaVAE
from ppl_disentangle.networks import (
    Networks,
    Upsampling,
    burgess_decoder,
    burgess_encoder,
    mlp_decoder,
    mlp_encoder,
    pytorch_port_decoder,
    pytorch_port_encoder,
    study_decoder,
    study_encoder,
    tensorflow_init,
)
from ppl_disentangle.zoo import build


def layers(net):
    """(kind, inputs, outputs, kernel) of each layer with weights."""
    found = []
    for m in net.modules():
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d):
            kind = nn.Conv2d if isinstance(m, nn.Conv2d) else nn.ConvTranspose2d
            found.append(
                (kind.__name__, m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0])
            )
        elif isinstance(m, nn.Linear):
            found.append(("Linear", m.in_features, m.out_features))
    return found


def test_the_studys_networks_are_those_of_its_table():
    assert layers(study_encoder(20, channels=3)) == [
        ("Conv2d", 3, 32, 4, 2),
        ("Conv2d", 32, 32, 4, 2),
        ("Conv2d", 32, 64, 2, 2),
        ("Conv2d", 64, 64, 2, 2),
        ("Linear", 1024, 256),
        ("Linear", 256, 20),
    ]
    assert layers(study_decoder(10, channels=3)) == [
        ("Linear", 10, 256),
        ("Linear", 256, 1024),
        ("ConvTranspose2d", 64, 64, 4, 2),
        ("ConvTranspose2d", 64, 32, 4, 2),
        ("ConvTranspose2d", 32, 32, 4, 2),
        ("ConvTranspose2d", 32, 3, 4, 2),
    ]


def test_the_pytorch_port_has_the_studys_widths_and_4x4_kernels():
    assert layers(pytorch_port_encoder(20)) == [
        *(("Conv2d", i, o, 4, 2) for i, o in ((1, 32), (32, 32), (32, 64), (64, 64))),
        ("Linear", 1024, 256),
        ("Linear", 256, 20),
    ]
    assert layers(pytorch_port_decoder(10)) == layers(study_decoder(10))
    assert pytorch_port_decoder(10)[0].bias.any()
    assert not study_decoder(10)[0].bias.any()


def test_burgess_networks_mirror_each_other():
    down = [("Conv2d", 1, 32, 4, 2)] + 3 * [("Conv2d", 32, 32, 4, 2)]
    assert layers(burgess_encoder(20)) == [
        *down,
        ("Linear", 512, 256),
        ("Linear", 256, 256),
        ("Linear", 256, 20),
    ]
    up = 3 * [("ConvTranspose2d", 32, 32, 4, 2)] + [("ConvTranspose2d", 32, 1, 4, 2)]
    assert layers(burgess_decoder(10)) == [
        ("Linear", 10, 256),
        ("Linear", 256, 256),
        ("Linear", 256, 512),
        *up,
    ]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("outputs", [1, 3])
def test_upsampling_is_the_transposed_convolution_and_has_its_gradients(layout, outputs):
    torch.manual_seed(0)
    ours, plain = Upsampling(5, outputs).double(), nn.ConvTranspose2d(5, outputs, 4, 2, 1).double()
    plain.load_state_dict(ours.state_dict())
    x, target = (
        torch.randn(3, 5, 6, 7).double().to(memory_format=layout),
        torch.randn(3, outputs, 12, 14).double(),
    )
    found = []
    for layer in (ours, plain):
        h = x.clone(memory_format=layout).requires_grad_()
        y = layer(h)
        found.append([y, *torch.autograd.grad((y * target).sum(), [h, *layer.parameters()])])
    torch.testing.assert_close(*found)


def test_convolutions_are_laid_out_channels_last_which_changes_no_value():
    torch.manual_seed(0)
    encoder, decoder = study_encoder(20), study_decoder(10)
    assert encoder[2].weight.is_contiguous(memory_format=torch.channels_last)
    x = torch.rand(4, 1, 64, 64)
    expected = encoder(x), decoder(encoder(x)[:, :10])
    for net in (encoder, decoder):
        net.to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(
        (encoder(x), decoder(encoder(x)[:, :10])), expected, rtol=1e-4, atol=1e-6
    )


def test_codes_by_networks_in_bfloat16_are_near_those_in_float32_however_they_are_batched():
    torch.manual_seed(0)
    story = BetaVAE(Gaussian(study_encoder(20)), Bernoulli(study_decoder(10)), 10)
    x = torch.rand(9, 1, 64, 64)
    codes = encode(story, x, batch_size=4)
    xr.testing.assert_allclose(encode(story, x), codes, atol=1e-6)
    half = encode(story, x, precision="bfloat16")
    assert 0 < abs(half - codes).to_array().max() < 0.05 * codes["mean"].std()
    assert {v.dtype for v in half.values()} == {np.dtype("float32")}
    assert {p.dtype for p in story.parameters()} == {torch.float32}


def test_the_mlp_has_1200_units_of_relu_and_of_tanh():
    assert [n for _, _, n in layers(mlp_encoder(20))] == [1200, 1200, 20]
    assert [n for _, _, n in layers(mlp_decoder(10))] == [1200, 1200, 1200, 4096]
    assert sum(isinstance(m, nn.ReLU) for m in mlp_encoder(20)) == 2
    assert sum(isinstance(m, nn.Tanh) for m in mlp_decoder(10)) == 3


PAIRS = {
    "study": (study_encoder(20, channels=3), study_decoder(10, channels=3), (3, 64, 64)),
    "pytorch_port": (
        pytorch_port_encoder(20, channels=3),
        pytorch_port_decoder(10, channels=3),
        (3, 64, 64),
    ),
    "burgess": (burgess_encoder(20, channels=3), burgess_decoder(10, channels=3), (3, 64, 64)),
    "mlp": (
        mlp_encoder(20, shape=(2, 5), hidden=8),
        mlp_decoder(10, shape=(2, 5), hidden=8),
        (2, 5),
    ),
}


@pytest.mark.parametrize(("encoder", "decoder", "shape"), PAIRS.values(), ids=list(PAIRS))
def test_shapes_from_observation_to_code_and_back(encoder, decoder, shape):
    q = Gaussian(encoder)(torch.rand(7, *shape))
    assert (q.batch_shape, q.event_shape) == ((7,), (10,))
    p = Bernoulli(decoder)(torch.zeros(4, 7, 10))
    assert (p.batch_shape, p.event_shape) == ((4, 7), shape)
    last = [m for m in decoder.modules() if isinstance(m, nn.Linear | nn.ConvTranspose2d)][-1]
    assert last.bias is not None


def test_the_studys_initial_weights_are_glorot_uniform_with_zero_biases():
    layer = study_encoder(20)[2]
    bound = (6 / (32 * 16 + 32 * 16)) ** 0.5
    assert layer.weight.abs().max() <= bound
    assert layer.weight.abs().max() > 0.98 * bound
    assert not layer.bias.any()


def test_gaussian_takes_means_and_log_variances():
    q = Gaussian(nn.Identity())(torch.tensor([[1.0, -1.0, 0.0, 2.0]]))
    assert q.mean.tolist() == [[1.0, -1.0]]
    torch.testing.assert_close(q.variance, torch.tensor([[1.0, 2.0]]).sub(1).mul(2).exp())
    with pytest.raises(ValueError, match="an even number of outputs .*, got 3"):
        Gaussian(nn.Identity())(torch.zeros(1, 3))


def test_bernoulli_is_the_cross_entropy_of_grey_values_too():
    x, logits = torch.rand(5, 8), torch.randn(5, 8)
    expected = -nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
    torch.testing.assert_close(Bernoulli(nn.Identity())(logits).log_prob(x), expected)


def test_continuous_bernoulli_is_normalised_and_bernoulli_is_not():
    grid, logits = torch.linspace(0, 1, 20_001)[:, None], torch.tensor([[1.7]]).expand(20_001, 1)
    masses = [
        torch.trapezoid(conditional(nn.Identity())(logits).log_prob(grid).exp(), grid[:, 0]).item()
        for conditional in (ContinuousBernoulli, Bernoulli)
    ]
    assert masses[0] == pytest.approx(1, abs=1e-5)
    assert abs(masses[1] - 1) > 0.1


def test_the_learned_scale_reaches_its_maximum_likelihood():
    generator = torch.Generator().manual_seed(0)
    x, conditional = (
        0.3 * torch.randn(2000, 4, generator=generator),
        GaussianLearnedScale(nn.Identity()),
    )
    optimizer = torch.optim.Adam(conditional.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        (-conditional(torch.zeros_like(x)).log_prob(x).mean()).backward()
        optimizer.step()
    assert conditional.log_scale.exp().item() == pytest.approx(
        x.square().mean().sqrt().item(), rel=1e-3
    )


def coarse(values):
    """Whether bfloat16 holds all values as they are."""
    return torch.equal(values.bfloat16().to(values.dtype), values)


def test_a_code_is_written_and_read_without_rounding_where_networks_are_in_bfloat16():
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Linear(4, 300), nn.ReLU(), nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 6)
    )
    decoder = nn.Sequential(
        nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 300), nn.ReLU(), nn.Linear(300, 300)
    )
    z = torch.tensor([[1.0, 1.0, 1.0], [1.002, 1.0, 1.0]])  # which bfloat16 does not tell apart
    with torch.autocast("cpu", dtype=torch.bfloat16):
        q, p = Gaussian(encoder)(torch.rand(5, 4)), Bernoulli(decoder)(z)
        rounded = encoder(torch.rand(5, 4))
    assert coarse(rounded)
    assert not coarse(q.mean)
    assert coarse(p.base_dist.logits)  # the widest layers stay in bfloat16
    assert not torch.equal(*p.base_dist.logits)
    gradient = torch.autograd.grad(q.mean.sum(), list(encoder.parameters()))
    assert {g.dtype for g in gradient} == {torch.float32}


class Residual(nn.Sequential):
    def forward(self, h):
        return h + super().forward(h)


def test_a_network_of_your_own_is_called_as_it_is_in_bfloat16_too():
    net, h = Residual(nn.Linear(4, 4)), torch.full((2, 4), 100.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = Bernoulli(net)(h).base_dist.logits
        torch.testing.assert_close(logits, net(h).float(), rtol=0, atol=0)


def test_distributions_are_float32_when_networks_are_not():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        net = nn.Linear(4, 6)
        assert net(torch.zeros(2, 4)).dtype == torch.bfloat16
        assert Gaussian(net)(torch.zeros(2, 4)).mean.dtype == torch.float32
        likelihood = Bernoulli(net)(torch.zeros(2, 4))
        assert likelihood.log_prob(torch.ones(2, 6)).dtype == torch.float32
    assert isinstance(likelihood.base_dist, dist.Bernoulli)


# Sizes of images: powers of two, odd ones, others, and one axis that is small already.
SIZES = [(8, 8), (8, 256), (9, 10), (15, 8), (17, 31), (28, 28), (65, 65), (96, 128), (127, 33)]
LARGE_SIZES = [(128, 128), (200, 255), (256, 256)]


@pytest.mark.parametrize("size", SIZES + LARGE_SIZES, ids=str)
@pytest.mark.parametrize("kind", ["study", "pytorch_port", "burgess"])
def test_images_of_every_size_get_a_convolutional_network_that_returns_their_size(kind, size):
    torch.manual_seed(0)
    shape = (2, *size)
    networks = Networks(shape, kind)
    encoder, decoder = networks.encoder(6), networks.decoder(3)
    x = torch.rand(3, *shape, requires_grad=True)
    likelihood = decoder(encoder(x)[:, :3])
    assert likelihood.event_shape == shape
    likelihood.log_prob(torch.rand(3, *shape)).sum().backward()
    parameters = [*encoder.parameters(), *decoder.parameters()]
    assert all(parameter.grad.abs().sum() > 0 for parameter in parameters)
    # Every row and column is read: some unit is active at it.
    assert x.grad.abs().sum((0, 1, 3)).min() > 0
    assert x.grad.abs().sum((0, 1, 2)).min() > 0
    assert sum(parameter.numel() for parameter in parameters) < 5e6


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_images_of_any_number_of_channels_get_a_convolutional_network(channels):
    networks = Networks((channels, 28, 40))
    assert networks.kind == "study"
    h = networks.encoder(4)(torch.rand(2, channels, 28, 40))
    assert networks.decoder(4)(h).event_shape == (channels, 28, 40)


def test_every_pixel_is_drawn_by_its_own_inputs():
    """A decoder whose last row or column is only bias would give all codes the same edge."""
    torch.manual_seed(0)
    for size in SIZES:
        decoder = study_decoder(5, size=size)
        images = decoder(torch.randn(8, 5))
        assert images.std(0).min() > 0, size


# A layer of the study's table, by hand: the initial weights of a seed are those of these layers.
def study_by_hand(outputs, channels):
    return nn.Sequential(
        *(nn.Conv2d(channels, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 4, 2, 1), nn.ReLU()),
        *(nn.Conv2d(32, 64, 2, 2), nn.ReLU(), nn.Conv2d(64, 64, 2, 2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, outputs)),
    )


def study_decoder_by_hand(latent_dim, channels):
    return nn.Sequential(
        *(nn.Linear(latent_dim, 256), nn.ReLU(), nn.Linear(256, 1024), nn.ReLU()),
        nn.Unflatten(1, (64, 4, 4)),
        *(nn.ConvTranspose2d(64, 64, 4, 2, 1), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU()),
        *(nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.ReLU()),
        nn.ConvTranspose2d(32, channels, 4, 2, 1),
    )


def test_networks_for_64x64_have_the_studys_weights_bit_for_bit():
    torch.manual_seed(7)
    expected = [tensorflow_init(net(4, 3)) for net in (study_by_hand, study_decoder_by_hand)]
    torch.manual_seed(7)
    found = [study_encoder(4, channels=3), study_decoder(4, channels=3)]
    for ours, by_hand in zip(found, expected, strict=True):
        assert list(ours.state_dict()) == list(by_hand.state_dict())
        for weights, right in zip(ours.parameters(), by_hand.parameters(), strict=True):
            assert torch.equal(weights, right)


@pytest.mark.parametrize("odd", [(0, 1), (1, 0), (1, 1)])
def test_upsampling_to_odd_sizes_is_the_transposed_convolution(odd):
    torch.manual_seed(0)
    ours = Upsampling(5, 2, output_padding=odd).double()
    plain = nn.ConvTranspose2d(5, 2, 4, 2, 1, output_padding=odd).double()
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(3, 5, 6, 7).double().to(memory_format=torch.channels_last)
    torch.testing.assert_close(ours(x), plain(x))
    assert ours(x).shape == (3, 2, 12 + odd[0], 14 + odd[1])


def test_the_default_network_is_convolutional_above_16_pixels_and_can_be_chosen_from_8():
    kinds = {shape: Networks(shape).kind for shape in [(1, 8, 8), (3, 16, 16), (1, 17, 8), (5,)]}
    assert kinds == {(1, 8, 8): "mlp", (3, 16, 16): "mlp", (1, 17, 8): "study", (5,): "mlp"}
    assert Networks((1, 8, 8), "study").encoder(4)(torch.zeros(2, 1, 8, 8)).shape == (2, 4)
    assert Networks((40, 40, 7)).kind == "mlp"  # no convolution halves 7 pixels
    for shape in [(1, 7, 64), (64, 64), (2, 3, 8, 8)]:
        with pytest.raises(ValueError, match="takes images of shape .* of 8x8 pixels or more"):
            Networks(shape, "burgess")


def test_the_cost_of_a_step_grows_with_the_pixels_and_no_faster():
    def multiplications(size):
        """Products of one image through encoder and decoder, counted at each layer."""
        count = 0

        def add(module, inputs, output):
            nonlocal count
            if isinstance(module, nn.Linear):
                count += module.weight.numel()
            elif isinstance(module, nn.Conv2d):
                count += module.weight.numel() * output[0, 0].numel()
            elif isinstance(module, nn.ConvTranspose2d):
                count += module.weight.numel() * inputs[0][0, 0].numel()

        networks = [study_encoder(20, channels=3, size=size)]
        networks.append(study_decoder(20, channels=3, size=size))
        x = torch.zeros(1, 3, *size)
        for net in networks:
            for module in net.modules():
                module.register_forward_hook(add)
            x = net(x)
        return count

    small, large = multiplications((64, 64)), multiplications((256, 256))
    assert large < 1.05 * 16 * small


@pytest.mark.parametrize(("shape", "batch_size"), [((1, 28, 28), 32), ((3, 96, 128), 4)], ids=str)
def test_a_story_of_images_of_another_size_learns_them(shape, batch_size):
    """Pictures of a bright half: the bound approaches that of knowing which half it is."""
    halves = torch.zeros(64, *shape)
    halves[:32, :, : shape[1] // 2] = 1
    halves[32:, :, shape[1] // 2 :] = 1
    data = from_arrays(halves.to(torch.uint8))
    story = build("vae", data, latent_dim=2)
    history = fit(story, data, steps=40, batch_size=batch_size, lr=3e-3, progress=False)[
        "loss"
    ].values
    num_pixels = halves[0].numel()
    assert history[0] == pytest.approx(num_pixels * np.log(2), rel=0.1)
    # without a code, each pixel is bright in half of the pictures: log 2 nats at best
    assert history[-1] < 0.7 * num_pixels * np.log(2)
