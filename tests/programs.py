"""Model/guide pairs as people write them, for the tests of everything that is promised of any pair.

Each function builds one pair with fresh parameters, the same in every call.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.transforms import affine_autoregressive
from pyro.infer import autoguide
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional

NUM = 6
"""Number of data of each pair."""


@dataclasses.dataclass
class Program:
    """A pair, its data, and the truth about it.

    Attributes:
        model: The model.
        guide: The guide.
        x: The data; the only batch.
        action: A latent or coordinate to intervene on; ``None`` where no latent can be set.
        value: The value to set it to.
        conditions: Further arguments of model and guide.
        observed: Name of the observed site that holds x, or of the sites that hold its columns.
        latents: Names of the latents of the story.
        enumerated: Whether the latents include classes that are summed out.
        nesting: Largest number of nested plates.
        refused: A pattern of the message for each check that must be refused.
        centres: The posterior mean of each latent, where the distributions in the guide's trace do
            not have it.
        tolerance: How far a posterior mean may be off, where it is an average of draws.
        followers: Latents that are drawn around the latent of the action: in another world their
            noise is the same, and they move with it.
        noise: ``"classes"`` if the observations in other worlds are classes, not sums.
    """

    model: Callable[..., Any]
    guide: Callable[..., Any]
    x: Tensor
    action: str | None = "z[0]"
    value: float = 0.7
    conditions: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    observed: str | tuple[str, ...] = "x"
    latents: tuple[str, ...] = ("z",)
    enumerated: bool = False
    nesting: int = 1
    refused: dict[str, str] = dataclasses.field(default_factory=dict)
    centres: Callable[[], dict[str, Tensor]] | None = None
    tolerance: float = 1e-5
    followers: tuple[str, ...] = ()
    noise: str = "sums"


def data(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def matrix(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2)) / shape[0] ** 0.5


def normal(dim):
    return dist.Normal(torch.zeros(dim), 1.0).to_event(1)


W = matrix(2, 3)


def linear_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", normal(2))
        pyro.sample("x", dist.Normal(z @ W, 0.5).to_event(1), obs=x)


def linear_guide(x):
    slope = pyro.param("slope", torch.tensor(0.5))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x[:, :2] * slope, 0.4).to_event(1))


def plain():
    """The model returns nothing."""
    return Program(linear_model, linear_guide, data(NUM, 3))


def tutorial():
    """The VAE tutorial: modules by pyro.module, images as flat Bernoulli pixels, the mean returned."""
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(784, 4), nn.Sequential(nn.Linear(2, 784), nn.Sigmoid())

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", normal(2))
            loc_img = decoder(z)
            pyro.sample("obs", dist.Bernoulli(loc_img).to_event(1), obs=x.reshape(-1, 784))
            return loc_img

    images = (data(NUM, 1, 28, 28) > 0).float()

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", x.shape[0]):
            loc, log_scale = encoder(x.reshape(-1, 784)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return Program(model, guide, images, observed="obs")


FIXED_SIZE = "one value for each of the 6 data"
"""The refusal of a guide with parameters for each datum, given other data."""


def _auto(kind, **options):
    x = data(NUM, 3)
    torch.manual_seed(0)
    guide = kind(linear_model, **options)
    refused = {"traverse": FIXED_SIZE, "part_of_the_data": FIXED_SIZE}
    if isinstance(guide, autoguide.AutoContinuous):  # one vector for all data
        refused |= dict.fromkeys(("elbo_of_each_datum", "log_marginal"), "outside of the plate")
    return Program(linear_model, guide, x, refused=refused)


def average(guide, *arguments):
    """The average of many draws of ``z``."""
    with torch.no_grad():
        draws = [poutine.trace(guide).get_trace(*arguments).nodes["z"]["value"] for _ in range(800)]
    return {"z": torch.stack(draws).mean(0)}


def auto_normal():
    return _auto(autoguide.AutoNormal)


def auto_diagonal_normal():
    return _auto(autoguide.AutoDiagonalNormal)


def auto_multivariate_normal():
    return _auto(autoguide.AutoMultivariateNormal)


def auto_low_rank():
    return _auto(autoguide.AutoLowRankMultivariateNormal, rank=2)


def auto_delta():
    return _auto(autoguide.AutoDelta)


def auto_iaf():
    program = _auto(autoguide.AutoIAFNormal, hidden_dim=[16])
    program.guide(program.x)  # makes its parameters
    centres = functools.partial(average, program.guide, program.x)
    return dataclasses.replace(program, centres=centres, tolerance=0.1)


def auto_messenger():
    return _auto(autoguide.AutoNormalMessenger)


def pyro_module():
    """A guide that is a PyroModule with a constrained PyroParam."""

    class Guide(PyroModule):
        def __init__(self):
            super().__init__()
            self.scale = PyroParam(torch.full((2,), 0.4), constraints.positive, event_dim=1)

        def forward(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x[:, :2] * 0.5, self.scale).to_event(1))

    return Program(linear_model, Guide(), data(NUM, 3))


def nested_plates():
    """A plate of pixels inside the plate over the data."""

    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            with pyro.plate("pixels", 3, dim=-1):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(2 * z, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("pixels", 3, dim=-1):
            pyro.sample("z", dist.Normal(0.4 * x, 0.3))

    return Program(model, guide, data(NUM, 3), action="z", nesting=2)


def local_and_shared_latents():
    """A latent of each datum, and one for each of its pixels."""

    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            w = pyro.sample("w", dist.Normal(0.0, 1.0))  # (batch, 1)
            with pyro.plate("pixels", 3, dim=-1):
                z = pyro.sample("z", dist.Normal(w, 1.0))
                pyro.sample("x", dist.Normal(z + w, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("w", dist.Normal(x.mean(-1, keepdim=True), 0.3))
            with pyro.plate("pixels", 3, dim=-1):
                pyro.sample("z", dist.Normal(0.4 * x, 0.3))

    return Program(
        model, guide, data(NUM, 3), action="w", latents=("w", "z"), nesting=2, followers=("z",)
    )


def global_latent():
    """Weights that all data share."""

    def model(x):
        w = pyro.sample("w", normal(3))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", normal(1))
            pyro.sample("x", dist.Normal(z * w, 0.5).to_event(1), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(torch.full((3,), 0.5), 0.1).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, :1], 0.3).to_event(1))

    outside = dict.fromkeys(("elbo_of_each_datum", "log_marginal"), "'w' is outside of the plate")
    return Program(model, guide, data(NUM, 3), latents=("w", "z"), refused=outside)


CENTRES = matrix(3, 2) * 3
CLASS_PRIOR = torch.tensor([0.2, 0.3, 0.5])


def classes():
    """A mixture whose classes the guide proposes, and the objective sums out."""

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("y", dist.Categorical(CLASS_PRIOR))
            centre = pyro.ops.indexing.Vindex(CENTRES)[k, :]
            pyro.sample("x", dist.Normal(centre, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(logits=x @ CENTRES.T))

    return Program(model, guide, data(NUM, 2), action="y", value=1, latents=("y",), enumerated=True)


def classes_and_code():
    """A class and a continuous code."""

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("y", dist.Categorical(CLASS_PRIOR))
            z = pyro.sample("z", normal(2))
            centre = pyro.ops.indexing.Vindex(CENTRES)[k, :]
            pyro.sample("x", dist.Normal(centre + z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.3 * x, 0.4).to_event(1))
            pyro.sample("y", dist.Categorical(logits=x @ CENTRES.T))

    return Program(model, guide, data(NUM, 2), latents=("y", "z"), enumerated=True)


def partly_labelled():
    """Classes that are known for some data, by Pyro's obs_mask."""
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    known = torch.tensor([1, 1, 0, 0, 0, 1]).bool()

    def model(x, y, known):
        with pyro.plate("data", len(x)):
            k = pyro.sample("y", dist.Categorical(CLASS_PRIOR), obs=y, obs_mask=known)
            centre = pyro.ops.indexing.Vindex(CENTRES)[k, :]
            pyro.sample("x", dist.Normal(centre, 1.0).to_event(1), obs=x)

    def guide(x, y, known):
        with pyro.plate("data", len(x)), poutine.mask(mask=~known):
            pyro.sample("y_unobserved", dist.Categorical(logits=x @ CENTRES.T))

    return Program(
        model,
        guide,
        data(NUM, 2),
        action=None,
        conditions={"y": y, "known": known},
        latents=("y_unobserved",),
        enumerated=True,
    )


LENGTHS = torch.tensor([3, 3, 2, 2, 1, 1])


def lengths():
    """Sequences of several lengths, by poutine.mask; a latent for each step."""

    def model(x, lengths):
        with pyro.plate("data", len(x)):
            for t in range(3):
                with poutine.mask(mask=lengths > t):
                    z = pyro.sample(f"z{t}", normal(1))
                    pyro.sample(f"x{t}", dist.Normal(2 * z, 1.0).to_event(1), obs=x[:, t : t + 1])

    def guide(x, lengths):
        with pyro.plate("data", len(x)):
            for t in range(3):
                with poutine.mask(mask=lengths > t):
                    pyro.sample(f"z{t}", dist.Normal(0.4 * x[:, t : t + 1], 0.5).to_event(1))

    return Program(
        model,
        guide,
        data(NUM, 3),
        action="z0[0]",
        conditions={"lengths": LENGTHS},
        observed=("x0", "x1", "x2"),
        latents=("z0", "z1", "z2"),
    )


def missing_pixels():
    """Pixels that are left out of the likelihood, by a mask of the model's own."""
    mask = torch.tensor([[1, 1, 0], [1, 0, 1], [1, 1, 1]] * 2).bool()

    def model(x, mask):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", normal(2))
            pyro.sample("x", dist.Normal(z @ W, 0.5).mask(mask).to_event(1), obs=x)

    def guide(x, mask):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x * mask)[:, :2] * 0.5, 0.4).to_event(1))

    return Program(model, guide, data(NUM, 3), conditions={"mask": mask})


def scaled():
    """Latents with a KL of a tenth, by poutine.scale."""

    def model(x):
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=0.1):
                z = pyro.sample("z", normal(2))
            pyro.sample("x", dist.Normal(z @ W, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)), poutine.scale(scale=0.1):
            pyro.sample("z", dist.Normal(x[:, :2] * 0.5, 0.4).to_event(1))

    return Program(model, guide, data(NUM, 3))


def several_observed():
    """An image and a label of each datum."""
    label = torch.tensor([0.0, 1, 0, 1, 1, 0])

    def model(x, label):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", normal(2))
            pyro.sample("label", dist.Bernoulli(logits=z[..., 0]), obs=label)
            pyro.sample("x", dist.Normal(z @ W, 0.5).to_event(1), obs=x)

    def guide(x, label):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, :2] * 0.5 + label[:, None], 0.4).to_event(1))

    return Program(model, guide, data(NUM, 3), conditions={"label": label})


def factor():
    """A further term of the loss, by pyro.factor."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", normal(2))
            pyro.factor("smooth", -(z**2).sum(-1))
            pyro.sample("x", dist.Normal(z @ W, 0.5).to_event(1), obs=x)

    return Program(model, linear_guide, data(NUM, 3))


def subsampled_plate():
    """A plate inside the data's, of which a part is drawn."""

    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            with pyro.plate("local", 12, subsample_size=3, subsample=torch.arange(3), dim=-1):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2):
            with pyro.plate("local", 12, subsample_size=3, subsample=torch.arange(3), dim=-1):
                pyro.sample("z", dist.Normal(0.5 * x, 0.4))

    return Program(model, guide, data(NUM, 3), action="z", nesting=2)


def learned_prior():
    """A prior with a mean that is learned."""

    def model(x):
        mean = pyro.param("prior_mean", torch.tensor([0.5, -0.5]))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mean, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ W, 0.5).to_event(1), obs=x)

    return Program(model, linear_guide, data(NUM, 3))


def flow_posterior():
    """A posterior that is a normalising flow; it has no mean in closed form."""
    torch.manual_seed(0)
    flow = affine_autoregressive(2, hidden_dims=[8])

    def guide(x):
        pyro.module("flow", flow)
        with pyro.plate("data", len(x)):
            base = dist.Normal(x[:, :2] * 0.5, 0.4).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [flow]))

    x = data(NUM, 3)
    centres = functools.partial(average, guide, x)
    return Program(linear_model, guide, x, centres=centres, tolerance=0.05)


def correlated_posterior():
    """A posterior with a full covariance."""
    tril = torch.tensor([[1.0, 0.0], [0.9, 0.4]])

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(x[:, :2] * 0.5, scale_tril=tril))

    return Program(linear_model, guide, data(NUM, 3))


def mixture_prior():
    """A prior of two components, summed out by the distribution itself."""
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    prior = dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)), dist.Normal(means, 1.0).to_event(1)
    )

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(z @ W, 0.5).to_event(1), obs=x)

    return Program(model, linear_guide, data(NUM, 3))


def counts():
    """Poisson counts."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", normal(2))
            pyro.sample("x", dist.Poisson((z @ W).exp()).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.1 * x[:, :2], 0.4).to_event(1))

    return Program(model, guide, data(NUM, 3).exp().round())


def zero_inflated():
    """Counts with too many zeros."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", normal(2))
            rate = (z @ W).exp()
            gate = torch.full_like(rate, 0.3)
            likelihood = dist.ZeroInflatedPoisson(rate, gate=gate)
            pyro.sample("x", likelihood.to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.1 * x[:, :2], 0.4).to_event(1))

    return Program(model, guide, data(NUM, 3).exp().round())


def categories():
    """One class of four for each datum, as one-hot vectors."""
    logits = matrix(2, 4)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", normal(2))
            pyro.sample("x", dist.OneHotCategorical(logits=z @ logits), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, :2], 0.4).to_event(1))

    x = functional.one_hot(torch.tensor([0, 1, 2, 3, 1, 2]), 4).float()
    return Program(model, guide, x, noise="classes")


def angles():
    """An angle, with a von Mises prior and posterior."""

    def model(x):
        with pyro.plate("data", len(x)):
            angle = pyro.sample("angle", dist.VonMises(torch.tensor(0.0), torch.tensor(0.5)))
            point = torch.stack([angle.cos(), angle.sin()], -1)
            pyro.sample("x", dist.Normal(point, 0.2).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("angle", dist.Normal(torch.atan2(x[:, 1], x[:, 0]), 0.2))

    x = functional.normalize(data(NUM, 2), dim=-1)
    return Program(model, guide, x, action="angle", latents=("angle",))


def positive_latents():
    """Gamma latents with a log-normal posterior."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(torch.full((2,), 2.0), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ W, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.LogNormal(0.1 * x[:, :2], 0.2).to_event(1))

    return Program(model, guide, data(NUM, 3))


def deterministic():
    """A deterministic statement in its default form, which leaves event_dim out."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", normal(2))
            size = pyro.deterministic("size", 2 * z[..., 0])
            pyro.sample("x", dist.Normal(size[..., None] + z @ W, 0.5).to_event(1), obs=x)

    return Program(model, linear_guide, data(NUM, 3))


def covariates():
    """A conditional VAE: model and guide take a covariate of each datum."""
    c = data(NUM, 1) * 2

    def model(x, c):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", normal(2))
            pyro.sample("x", dist.Normal(z @ W + c, 0.5).to_event(1), obs=x)

    def guide(x, c):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x - c)[:, :2] * 0.5, 0.4).to_event(1))

    return Program(model, guide, data(NUM, 3), conditions={"c": c})


def concatenated():
    """A conditional VAE of two layers of latents that puts latents and covariate side by side."""
    c = data(NUM, 1) * 2
    from_top, from_both = matrix(2, 1), matrix(3, 3)

    def model(x, c):
        with pyro.plate("data", len(x)):
            top = pyro.sample("top", normal(1))
            mean = torch.cat([top, c], -1) @ from_top
            low = pyro.sample("low", dist.Normal(mean, 1.0).to_event(1))
            x_mean = torch.cat([top, low, c], -1) @ from_both
            pyro.sample("x", dist.Normal(x_mean, 0.5).to_event(1), obs=x)

    def guide(x, c):
        slope = pyro.param("slope", torch.tensor(0.3))
        with pyro.plate("data", len(x)):
            mean = torch.cat([x, c], -1)[:, 2:] * slope
            pyro.sample("top", dist.Normal(mean[:, :1], 0.4).to_event(1))
            pyro.sample("low", dist.Normal(mean[:, 1:], 0.4).to_event(1))

    conditions = {"c": c}
    return Program(
        model, guide, data(NUM, 3), action="low[0]", conditions=conditions, latents=("top", "low")
    )


def normalised():
    """Networks with batch normalisation and dropout."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), 0.4).to_event(1))

    return Program(linear_model, guide, data(NUM, 3))


def hierarchy():
    """A latent above another."""

    def model(x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("top", normal(1))
            z = pyro.sample("z", dist.Normal(top.expand(*top.shape[:-1], 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ W, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("top", dist.Normal(x[:, 2:], 0.4).to_event(1))
            pyro.sample("z", dist.Normal(x[:, :2] * 0.5, 0.4).to_event(1))

    return Program(model, guide, data(NUM, 3), latents=("top", "z"))


def matrix_latent():
    """A latent that is a matrix."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
            pyro.sample("x", dist.Normal(z.sum(-2), 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            mean = torch.stack([0.3 * x, 0.2 * x], -2)
            pyro.sample("z", dist.Normal(mean, 0.4).to_event(2))

    refused = {"traverse": "expected a value that broadcasts"}
    return Program(model, guide, data(NUM, 3), action="z", refused=refused)


def scalar_latents():
    """Two scalar latents and scalar data."""

    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(a, 1.0))
            pyro.sample("x", dist.Normal(a + 2 * b, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(0.2 * x, 0.4))
            pyro.sample("b", dist.Normal(0.4 * x, 0.4))

    return Program(model, guide, data(NUM), action="b", latents=("a", "b"))


def double():
    """A program in double precision."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=x.dtype), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ W.double(), 0.5).to_event(1), obs=x)

    def guide(x):
        slope = pyro.param("slope", torch.tensor(0.5, dtype=x.dtype))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, :2] * slope, 0.4).to_event(1))

    return Program(model, guide, data(NUM, 3).double())


def auxiliary():
    """A guide with an auxiliary draw, which the model lacks."""

    def guide(x):
        with pyro.plate("data", len(x)):
            extra = pyro.sample("extra", dist.Normal(0.0, 0.3), infer={"is_auxiliary": True})
            mean = x[:, :2] * 0.5 + 0.1 * extra[..., None]
            pyro.sample("z", dist.Normal(mean, 0.4).to_event(1))

    x = data(NUM, 3)
    return Program(linear_model, guide, x, centres=lambda: {"z": x[:, :2] * 0.5}, tolerance=0.05)


def joint_likelihood():
    """Observations with a full covariance."""
    tril = torch.tensor([[1.0, 0, 0], [0.5, 1.0, 0], [0.2, 0.3, 0.8]])

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", normal(2))
            pyro.sample("x", dist.MultivariateNormal(z @ W, scale_tril=tril), obs=x)

    return Program(model, linear_guide, data(NUM, 3))


def heavy_tails():
    """Student-t observations."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", normal(2))
            pyro.sample("x", dist.StudentT(4.0, z @ W, 0.5).to_event(1), obs=x)

    return Program(model, linear_guide, data(NUM, 3))


PROGRAMS = [
    plain,
    tutorial,
    auto_normal,
    auto_diagonal_normal,
    auto_multivariate_normal,
    auto_low_rank,
    auto_delta,
    auto_iaf,
    auto_messenger,
    pyro_module,
    nested_plates,
    local_and_shared_latents,
    global_latent,
    classes,
    classes_and_code,
    partly_labelled,
    lengths,
    missing_pixels,
    scaled,
    several_observed,
    factor,
    subsampled_plate,
    learned_prior,
    flow_posterior,
    correlated_posterior,
    mixture_prior,
    counts,
    zero_inflated,
    categories,
    angles,
    positive_latents,
    deterministic,
    covariates,
    concatenated,
    normalised,
    hierarchy,
    matrix_latent,
    scalar_latents,
    double,
    auxiliary,
    joint_likelihood,
    heavy_tails,
]
