"""Properties of every story of the zoo: a catalogue of constructors, and each property once."""

import copy
import inspect
import itertools
import subprocess
import sys
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.optim import PyroOptim
from pyro.poutine.util import prune_subsample_sites
from torch import nn

import ppl_disentangle.models as zoo
from ppl_disentangle import GenerativeStory, as_story, do
from ppl_disentangle.causal.interventions import takes_numbers
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import (
    Bernoulli,
    Deterministic,
    Gaussian,
    GaussianLearnedScale,
    Grouped,
)
from ppl_disentangle.data import from_arrays, with_conditions
from ppl_disentangle.inference import (
    DIPELBO,
    HFELBO,
    TCELBO,
    BetaELBO,
    CapacityELBO,
    ConstrainedELBO,
    ControlELBO,
    EnumeratedELBO,
    FactorELBO,
    HausdorffELBO,
    InfoELBO,
    JointCritic,
    SparsityELBO,
    critic_network,
    fit,
)
from ppl_disentangle.inference.elbo.aggregate import AggregateELBO
from ppl_disentangle.inference.training.batches import Batches
from ppl_disentangle.inference.training.state import History
from ppl_disentangle.models import (
    ALI,
    DARLA,
    DCIGN,
    DEAR,
    DIPVAE,
    FSQVAE,
    HFVAE,
    IVAE,
    M2,
    MLVAE,
    OIVAE,
    QLAE,
    VAE,
    AdaGVAE,
    AnnealedVAE,
    BetaTCVAE,
    BetaVAE,
    CategoricalVAE,
    CausalVAE,
    CausalVAEPaper,
    ConstrainedVAE,
    ControlVAE,
    ConvDRAW,
    CycleConsistentVAE,
    DeepSCM,
    DenoisingAutoencoder,
    FactorAnalysis,
    FactorVAE,
    GraphVAE,
    InfoGAN,
    InfoVAE,
    JointVAE,
    LadderVAE,
    LinearGraphStory,
    MathieuVAE,
    NonlinearGraphStory,
    ProbabilisticPCA,
    SlowVAE,
    SparseAutoencoder,
    StructuralIVAE,
    StructuredGAN,
    SupervisedVAE,
    TwoDomainVAE,
    VaDE,
    VideoVAE,
)
from ppl_disentangle.models.oi_vae import GroupReaders
from ppl_disentangle.representation import decode, encode, reconstruct
from ppl_disentangle.traversal import traverse
from tests import ROOT

FEATURES, LATENT, SEGMENTS = 6, 4, 3
#  a -> c -> d
#  b ---^
GRAPH = "a -> c; b -> c; c -> d"


def networks(given=0):
    """An encoder, and a decoder of the latents and of ``given`` further inputs."""
    return Gaussian(nn.Linear(FEATURES, 2 * LATENT)), Bernoulli(nn.Linear(LATENT + given, FEATURES))


def conditional():
    return Gaussian(nn.Linear(SEGMENTS, 2 * LATENT))


def grouped(groups, classes=None):
    sizes = sum(groups.values()), sum((classes or {}).values())
    encoder = Grouped(nn.Linear(FEATURES, 2 * sizes[0] + sizes[1]), groups, classes)
    return encoder, GaussianLearnedScale(nn.Linear(sum(sizes), FEATURES))


def pair_critic():
    return JointCritic(FEATURES, FEATURES, hidden=8)


def m2():
    heads = (
        Gaussian(nn.Linear(5 + 3, 2 * LATENT), input_dims=1),
        Bernoulli(nn.Linear(LATENT + 3, FEATURES)),
    )
    return M2(nn.Linear(FEATURES, 5), nn.Linear(5, 3), *heads, LATENT, 3)


def cleaner():
    return DenoisingAutoencoder(nn.Linear(FEATURES, 3), Bernoulli(nn.Linear(3, FEATURES)), 3)


def oi_vae():
    readers = GroupReaders(
        LATENT, [nn.Linear(3, FEATURES // 2), nn.Linear(3, FEATURES - FEATURES // 2)], 3
    )
    return OIVAE(networks()[0], Bernoulli(readers), LATENT)


ISOTROPIC = {
    c.__module__.rpartition(".")[2]: lambda c=c: c(*networks(), LATENT)
    for c in (VAE, AnnealedVAE, ConstrainedVAE, ControlVAE, DIPVAE, FactorVAE, InfoVAE, BetaTCVAE)
}
"""Papers that share the story of ``beta_vae`` and differ in their objective."""
WITH_CLASSES = {
    "joint_vae": lambda: JointVAE(*grouped({"z": 2}, {"kind": 3})),
    "categorical_vae": lambda: CategoricalVAE(*grouped({}, {"shape": 3, "colour": 2})),
    "hfvae with classes": lambda: HFVAE(*grouped({"z": 2}, {"kind": 3})),
}
OF_GROUPS_OR_LABELS = {
    "ada_gvae": lambda: AdaGVAE(*networks(), LATENT, event_dim=1),
    "ml_vae": lambda: MLVAE(*grouped({"content": 2, "style": 1}), event_dim=1),
    "cycle_consistent_vae": lambda: CycleConsistentVAE(
        *grouped({"content": 2, "style": 1}), event_dim=1
    ),
    "mathieu_vae": lambda: MathieuVAE(
        *grouped({"content": 2, "style": 1}), pair_critic, event_dim=1
    ),
    "dc_ign": lambda: DCIGN(*networks(), dict.fromkeys("abcd", 1), event_dim=1),
    "slow_vae": lambda: SlowVAE(*networks(), LATENT, event_dim=1),
    "oi_vae": oi_vae,
    "video_vae": lambda: VideoVAE(*grouped({"identity": 2, "pose": 1}), event_dim=1),
    "ladder_vae": lambda: LadderVAE(
        nn.Linear(FEATURES, 8), Bernoulli(nn.Linear(LATENT, FEATURES)), (LATENT, 2), width=8
    ),
    "conv_draw": lambda: ConvDRAW(
        (1, 2, 3), Bernoulli(nn.Identity(), input_dims=3), steps=2, hidden=4, stride=1
    ),
    "darla": lambda: DARLA(*networks(), LATENT, cleaner()),
    "two_domain_vae": lambda: TwoDomainVAE(*grouped({"content": 2, "attribute": 1})),
    "supervised_vae": lambda: SupervisedVAE(*networks(), LATENT, list("abcd")),
}
"""Stories with groups, labels or several levels, under their published objective alone."""
OF_POINTS = {
    "sparse_autoencoder": lambda: SparseAutoencoder((FEATURES,), LATENT),
    "fsq_vae": lambda: FSQVAE(
        nn.Linear(FEATURES, LATENT), Bernoulli(nn.Linear(LATENT, FEATURES)), LATENT, levels=5
    ),
    "denoising_autoencoder": cleaner,
    "qlae": lambda: QLAE(
        nn.Linear(FEATURES, LATENT), Bernoulli(nn.Linear(LATENT, FEATURES)), LATENT, levels=5
    ),
}
"""Stories whose posterior is a point, which only their own objective takes."""
SUMMED_OUT = {"m2": m2}
"""Stories with latents that no gradient passes through, under the objective that sums these out."""
STORIES = {
    "beta_vae": lambda: BetaVAE(*networks(), LATENT),
    **ISOTROPIC,
    "probabilistic_pca": lambda: ProbabilisticPCA((FEATURES,), LATENT),
    "factor_analysis": lambda: FactorAnalysis((FEATURES,), LATENT),
    "hfvae": lambda: HFVAE(*grouped({"a": 1, "b": 3})),
    **WITH_CLASSES,
    **OF_GROUPS_OR_LABELS,
    **OF_POINTS,
    **SUMMED_OUT,
    "vade": lambda: VaDE(*networks(), LATENT, num_clusters=3),
    "causal_vae": lambda: CausalVAE(StructuralPrior(GRAPH), *networks()),
    "causal_vae of noise": lambda: CausalVAE(
        StructuralPrior(GRAPH), *networks(), posterior="noise"
    ),
    "causal_vae_paper": lambda: CausalVAEPaper(GRAPH, *networks(), dim=1),
    "dear": lambda: DEAR(list("abcd"), *networks(), posterior="noise"),
    "deep_scm": lambda: DeepSCM(StructuralPrior(GRAPH), *networks(given=4), LATENT),
    "ivae": lambda: IVAE(*networks(), conditional(), SEGMENTS),
    "structural_ivae": lambda: StructuralIVAE(
        StructuralPrior(GRAPH), *networks(), conditional(), SEGMENTS
    ),
}
NAMES = [f"x{i + 1}" for i in range(FEATURES)]
LEARNING_GRAPHS = {
    "causal_vae_paper of names": lambda: CausalVAEPaper(list("abcd"), *networks(), dim=1),
    "graph_vae": lambda: GraphVAE(NonlinearGraphStory(list("abcd")), *networks()),
    "linear_graph_story": lambda: LinearGraphStory(NAMES),
    "nonlinear_graph_story": lambda: NonlinearGraphStory(NAMES),
}
"""Stories without interventions, some without latents, under the objective of their graph."""
GAMES = {
    "ali": lambda: ALI(
        Gaussian(nn.Linear(FEATURES, 2 * LATENT)),
        Deterministic(nn.Linear(LATENT, FEATURES)),
        LATENT,
        critic=lambda: JointCritic(FEATURES, LATENT, hidden=8),
    ),
    "structured_gan": lambda: StructuredGAN(
        Grouped(nn.Linear(FEATURES, 2 * 2 + 3), {"z": 2}, {"y": 3}),
        Deterministic(nn.Linear(2 + 3, FEATURES)),
        critics=lambda: {
            "z": JointCritic(FEATURES, 2, hidden=8),
            "y": JointCritic(FEATURES, 3, hidden=8),
        },
    ),
    "info_gan": lambda: InfoGAN(
        Grouped(nn.Linear(FEATURES, 2 * 2 + 3), {"z": 2}, {"kind": 3}),
        Deterministic(nn.Linear(2 + 3 + 2, FEATURES)),
        2,
        critic=lambda: critic_network(FEATURES, hidden=8, layers=1),
    ),
}
"""Stories that have no likelihood, under the game that trains them."""
OF_ONE_CODE = {
    name: STORIES[name] for name in ("beta_vae", "beta_tcvae", "ivae", "probabilistic_pca", "vade")
}
OF_IMAGES_ALONE = {name: make for name, make in STORIES.items() if name != "deep_scm"}
"""Stories that reconstruct an image without the values of its nodes."""
WITH_A_DECODER = {name: make for name, make in STORIES.items() if hasattr(make(), "decoder")}
OBJECTIVES = {
    "published": lambda story: story.objective(),
    "beta": lambda _: BetaELBO(),
    "beta per site": lambda story: BetaELBO(dict.fromkeys(inferred(story), 2.0)),
    "capacity": lambda _: CapacityELBO(),
    "constrained": lambda _: ConstrainedELBO(kl=1.0),
    "control": lambda _: ControlELBO(2.0),
    "tc": lambda _: TCELBO(),
    "hierarchical": lambda _: HFELBO(),
    "info": lambda _: InfoELBO(),
    "dip": lambda _: DIPELBO(variant="II"),
    "sparsity": lambda _: SparsityELBO(l1=1.0),
    "hausdorff": lambda _: HausdorffELBO(),
    "factor": lambda _: FactorELBO(critic_network(LATENT, hidden=8, layers=1)),
}
"""Those that every story with continuous latents takes."""
PAIRS = [
    pytest.param(make, objective, id=f"{name}-{kind}")
    for name, make in STORIES.items()
    for kind, objective in OBJECTIVES.items()
    if kind == "published"
    or name not in ISOTROPIC | WITH_CLASSES | OF_GROUPS_OR_LABELS | OF_POINTS | SUMMED_OUT
] + [
    pytest.param(make, OBJECTIVES["published"], id=f"{name}-published")
    for name, make in (LEARNING_GRAPHS | GAMES).items()
]
"""Each story under each objective, one story that many papers share but once."""


@pytest.fixture(params=STORIES.values(), ids=list(STORIES))
def make(request):
    torch.manual_seed(0)
    return request.param


@pytest.fixture
def story(make) -> GenerativeStory:
    return make()


def observations(num=64, story=None):
    """Of the shape that a story has, else vectors."""
    x = torch.rand(num, FEATURES, generator=torch.Generator().manual_seed(1)).round()
    return x.reshape(num, *getattr(story, "shape", (FEATURES,)))


def conditions_of(story, num=64):
    """The conditions that a story takes with each datum."""
    labels = torch.randn(num, 4, generator=torch.Generator().manual_seed(2))
    classes = torch.where(labels[:, :1] > 0, torch.nan, 1.0)
    known = {
        "labels": labels,
        "classes": classes,
        "domain": (labels[:, :1] > 0).float(),
        "u": torch.eye(SEGMENTS)[torch.arange(num) % SEGMENTS],
    }
    return {
        name: value
        for name, value in known.items()
        if name in inspect.signature(story.model).parameters
    }


def data_for(story):
    conditions = conditions_of(story)
    columns = story.columns if "labels" in conditions else None
    return with_conditions(from_arrays(observations(story=story)), columns=columns, **conditions)


def inferred(story):
    """The latents that the guide samples, which do not follow from measured nodes."""
    return tuple(
        name
        for name in story.latents
        if name.removesuffix("_noise") not in getattr(story, "observed", ())
    )


def refused(story, objective):
    """Why the objective refuses the story, if it does."""
    if getattr(story, "posterior", None) == "nodes" and isinstance(objective, AggregateELBO):
        return "use FactorELBO, or a structural story with posterior='noise'"
    if isinstance(story, VaDE) and isinstance(objective, InfoELBO):
        return "its prior is learned, but draws from MixtureSameFamily are not reparameterised"
    return None


def test_the_catalogue_has_every_story_that_can_be_built():
    final = {
        name for name in zoo.__all__ if not getattr(getattr(zoo, name), "__abstractmethods__", None)
    }
    assert {type(make()).__name__ for make in (STORIES | LEARNING_GRAPHS | GAMES).values()} == final


def test_the_model_draws_a_batch(story):
    assert story.model(batch_size=5).shape == observations(5, story).shape


def test_model_and_guide_sample_the_declared_latents_in_one_plate(story):
    story.num_data = 100
    x = observations(3, story)
    guide = prune_subsample_sites(
        poutine.trace(story.guide).get_trace(x, **conditions_of(story, 3))
    )
    model = prune_subsample_sites(
        poutine.trace(story.model).get_trace(x, **conditions_of(story, 3))
    )
    assert tuple(guide.stochastic_nodes) == inferred(story)
    assert set(inferred(story)) <= set(model.stochastic_nodes)
    assert set(story.latents) <= set(poutine.trace(story.model).get_trace().stochastic_nodes)
    for name in inferred(story):
        assert guide.nodes[name]["fn"].shape() == model.nodes[name]["fn"].shape()
        for trace in (guide, model):
            (frame,) = trace.nodes[name]["cond_indep_stack"]
            assert (frame.name, frame.size, frame.full_size) == ("data", 3, 100)


@pytest.mark.parametrize(("make", "objective"), PAIRS)
def test_training_moves_every_parameter_and_keeps_every_term_finite(story, objective):
    before = {k: p.detach().clone() for k, p in story.named_parameters()}
    data, objective = data_for(story), objective(story)
    if why := refused(story, objective):
        with pytest.raises(ValueError, match=why):
            fit(story, data, steps=3, objective=objective, batch_size=16, progress=False)
        return
    history = fit(story, data, steps=3, objective=objective, batch_size=16, progress=False)
    assert not [
        k for k, p in story.named_parameters() if p.requires_grad and torch.equal(p, before[k])
    ]
    assert bool(history.to_array().notnull().all())


@pytest.mark.parametrize(("make", "objective"), PAIRS)
def test_the_loss_is_the_weighted_sum_of_the_terms(story, objective):
    objective = objective(story)
    story.num_data = 100
    loss = objective.loss(
        story.model, story.guide, observations(story=story), **conditions_of(story)
    )
    terms = {
        n: t.item() * float(objective.weight(n))
        for n, t in objective.last_terms.items()
        if n not in objective.critics
    }
    assert -sum(terms.values()) == pytest.approx(loss, rel=1e-5)


def test_a_story_in_double_precision_is_in_double_precision(story):
    story, x = story.double(), observations(8, story).double()
    conditions = {name: value.to(torch.float64) for name, value in conditions_of(story, 8).items()}
    objective = EnumeratedELBO() if isinstance(story, M2) else BetaELBO()
    objective(story.model, story.guide)(x, **conditions).backward()
    assert {term.dtype for term in objective.last_terms.values()} == {torch.float64}
    assert all(p.grad is None or p.grad.dtype == torch.float64 for p in story.parameters())


def test_two_stories_in_one_process_train_apart_under_bare_svi(make):
    x = observations(story=make())
    first, second = make(), make()
    for story in (first, second, copy.deepcopy(second)):
        before = {k: p.detach().clone() for k, p in story.named_parameters()}
        svi = SVI(story.model, story.guide, PyroOptim(torch.optim.Adam, {"lr": 1e-2}), Trace_ELBO())
        svi.step(x, **conditions_of(story))
        still = {
            k for k, p in story.named_parameters() if p.requires_grad and torch.equal(p, before[k])
        }
        assert still == (
            {"codebook"} if isinstance(story, QLAE) else set()
        )  # which learns by its own objective alone


def test_fit_leaves_the_parameter_store_and_the_random_state_alone(story):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    fit(story, data_for(story), steps=2, progress=False)
    assert not dict(pyro.get_param_store().items())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("make", OF_IMAGES_ALONE.values(), ids=list(OF_IMAGES_ALONE))
def test_evaluation_changes_no_parameter_and_no_random_state(make):
    story = make()
    x = observations(story=story)
    before = copy.deepcopy(story.state_dict())
    state = torch.get_rng_state()
    encode(story, x)
    reconstruct(story, x)
    numbers = [name for name in story.latents if takes_numbers(story, f"{name}[0]")]
    if numbers:  # all latents of a categorical VAE are classes
        traverse(story, x[:1], {f"{numbers[0]}[0]": [0.0, 1.0]})
    assert all(torch.equal(value, before[key]) for key, value in story.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("make", OF_IMAGES_ALONE.values(), ids=list(OF_IMAGES_ALONE))
def test_a_state_dict_restores_a_story(make):
    story, other = make(), make()
    x = observations(story=story)
    assert not torch.equal(reconstruct(story, x), reconstruct(other, x))
    other.load_state_dict(story.state_dict())
    assert torch.equal(reconstruct(story, x), reconstruct(other, x))


@pytest.mark.parametrize("make", OF_IMAGES_ALONE.values(), ids=list(OF_IMAGES_ALONE))
def test_a_reconstruction_decodes_the_means_of_the_representation(make):
    story = make()
    x = observations(story=story)
    codes = torch.tensor(encode(story, x, batch_size=10)["mean"].values)
    parts = story.representation(x)
    means = dict(
        zip(parts, codes.split([q.event_shape[0] for q in parts.values()], -1), strict=True)
    )
    numbers = {name: mean for name, mean in means.items() if takes_numbers(story, f"{name}[0]")}
    torch.testing.assert_close(reconstruct(do(story, numbers), x), reconstruct(story, x))


@pytest.mark.parametrize("make", WITH_A_DECODER.values(), ids=list(WITH_A_DECODER))
def test_do_sets_the_value_that_the_program_goes_on_with(make):
    story = make()
    read = {
        M2: "z",
        LadderVAE: "z1",
    }  # the latent that the decoder reads first, where it is not the first
    name = read.get(type(story)) or next(iter(story.coordinate_names), story.latents[0])
    seen, to = {}, torch.eye(3)[1] if isinstance(story, CategoricalVAE) else torch.tensor(2.0)
    story.decoder.register_forward_pre_hook(lambda _, args: seen.update(h=args[0]))
    trace = poutine.trace(do(story, {name: to}).model).get_trace(batch_size=3)
    value = trace.nodes[name]["value"]
    assert torch.equal(value, to.expand_as(value))
    assert torch.equal(seen["h"][:, : value.shape[-1]], value)
    assert not torch.equal(trace.nodes[f"{name}_natural"]["value"], value)


@pytest.mark.parametrize("make", OF_ONE_CODE.values(), ids=list(OF_ONE_CODE))
def test_traversal_is_a_chain_of_interventions(make):
    story, x = make(), observations(1)
    images = traverse(story, x, {"z[1]": [-2.0, 0.5], "z[3]": [0.0, 1.0]})
    assert images.dims[:2] == ("code", "position")
    means = torch.tensor(encode(story, x)["mean"].values)
    for (code, coordinate), (position, _) in itertools.product(
        enumerate((1, 3)), enumerate(images["value"].values[0])
    ):
        changed = means.clone()
        changed[0, coordinate] = float(images["value"].values[code, position])
        torch.testing.assert_close(
            torch.tensor(images.values[code, position]), decode(story, {"z": changed})[0]
        )
    assert images["value"].values.tolist() == [[-2.0, 0.5], [0.0, 1.0]]


def training_step(story, objective, x):
    """One step as ``fit`` takes it, from observations on the device to weights and history."""
    story.num_data = 100
    bound = objective(story.model, story.guide)
    parameters = list(story.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    history = History(1, x.device)
    loss = bound(
        x, **{name: value.to(x.device) for name, value in conditions_of(story, len(x)).items()}
    )
    (loss / 100).backward()
    optimizer.step()
    history.record(0, loss.detach(), objective.last_terms, 0.01)
    return [*(p.grad.device for p in parameters if p.requires_grad), history.values.device]


@pytest.mark.parametrize(("make", "objective"), PAIRS)
def test_a_training_step_stays_on_the_meta_device(make, objective):
    pyro.enable_validation(False)
    with torch.device("meta"):
        story = make()
    objective = objective(story).to("meta")
    x = Batches(from_arrays(observations(story=story)), 16, seed=0, device=torch.device("meta"))(0)
    assert {d.type for d in training_step(story, objective, x)} == {"meta"}


def test_training_steps_stay_on_an_accelerator():
    checks = Path(__file__).with_name("accelerator_checks.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(checks)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stdout
    assert f"{len(PAIRS) + 2 * len(STORIES)} passed" in run.stdout


class Scene(GenerativeStory):
    """A story of a user: two scalar latents and a vector, no objective."""

    latents = ("sun", "shade", "w")

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(FEATURES, 4), Bernoulli(nn.Linear(4, FEATURES))

    def model(self, x=None, *, batch_size=1):
        with self.data_plate(x, batch_size):
            sun = pyro.sample("sun", dist.Normal(0.0, 1.0))
            shade = pyro.sample("shade", dist.Normal(sun, 1.0))
            w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample(
                "x", self.decoder(torch.cat([sun[:, None], shade[:, None], w], -1)), obs=x
            )

    def guide(self, x):
        h = self.encoder(x)
        with self.data_plate(x):
            pyro.sample("sun", dist.Normal(h[:, 0], 1.0))
            pyro.sample("shade", dist.Normal(h[:, 1], 1.0))
            pyro.sample("w", dist.Normal(h[:, 2:], 1.0).to_event(1))


def test_a_story_of_ones_own_gets_objectives_codes_and_interventions():
    torch.manual_seed(0)
    story, x = Scene(), observations()
    for objective in (None, TCELBO()):
        history = fit(story, from_arrays(x), steps=2, objective=objective, progress=False)
        assert bool(history.to_array().notnull().all())
    assert list(encode(story, x)["code"].values) == ["sun", "shade", "w[0]", "w[1]"]
    assert reconstruct(do(story, {"sun": 1.0, "w[1]": torch.zeros(64)}), x).shape == (64, FEATURES)


def test_do_on_a_latent_reaches_the_latents_that_depend_on_it():
    #  sun -> shade
    story = Scene()
    shade = (
        poutine.trace(do(story, {"sun": 50.0}).model)
        .get_trace(batch_size=100)
        .nodes["shade"]["value"]
    )
    assert 45 < shade.mean() < 55


def plain_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        scale = pyro.param("noise.scale", torch.tensor(2.0), constraint=dist.constraints.positive)
        pyro.sample("x", dist.Normal(z * pyro.param("slope", torch.tensor(0.5)), scale), obs=x)


def plain_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample(
            "z",
            dist.Normal(
                pyro.param("a", torch.tensor(0.1)) * x, pyro.param("b", torch.tensor(1.0)).exp()
            ),
        )


class PlainPair:
    """An object with a model and a guide whose parameters live in Pyro's store, not in a module."""

    model, guide = staticmethod(plain_model), staticmethod(plain_guide)


def test_a_pair_of_plain_functions_trains_as_a_story():
    x = torch.randn(64, generator=torch.Generator().manual_seed(0))
    story = as_story(plain_model, plain_guide, example=x)
    before = copy.deepcopy(story.state_dict())
    assert len(before) == 4
    fit(story, from_arrays(x), steps=5, lr=0.1, progress=False)
    assert all(not torch.equal(v, before[k]) for k, v in story.state_dict().items())
    assert not dict(pyro.get_param_store().items())
    drawn = poutine.trace(story.model).get_trace(batch_size=7).nodes["x"]
    assert drawn["value"].shape == (7,)
    assert not drawn["is_observed"]


def test_a_model_that_returns_nothing_draws_its_observed_site():
    x = torch.randn(9, generator=torch.Generator().manual_seed(0))
    story = as_story(plain_model, plain_guide, example=x)
    torch.testing.assert_close(reconstruct(story, x), 0.5 * 0.1 * x)
    set_x = poutine.condition(do(story, {"z": 3.0}).model, data={"x": torch.ones(4)})
    assert torch.equal(set_x(batch_size=4), torch.ones(4))
    trace = poutine.trace(story.model).get_trace(batch_size=4)
    assert trace.nodes["_RETURN"]["value"] is trace.nodes["x"]["value"]


def test_a_pair_that_is_not_a_story_leaves_its_parameters_in_pyros_store():
    x = torch.randn(64, generator=torch.Generator().manual_seed(0))
    fit(PlainPair(), from_arrays(x), steps=5, lr=0.1, progress=False)
    store = pyro.get_param_store()
    assert set(store) == {"noise.scale", "slope", "a", "b"}
    assert 0 < store["noise.scale"] != 2.0
    codes = encode(PlainPair(), x)["mean"].values[:, 0]
    torch.testing.assert_close(torch.tensor(codes), (store["a"] * x).detach())


def test_networks_that_plain_functions_register_are_trained_and_saved_with_the_pair():
    encoder, decoder = nn.Linear(FEATURES, LATENT), nn.Linear(LATENT, FEATURES)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), LATENT), 1.0).to_event(1))
            return pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), 1.0).to_event(1))

    story = as_story(model, guide, example=observations())
    before = copy.deepcopy([*encoder.parameters(), *decoder.parameters()])
    fit(story, from_arrays(observations()), steps=3, progress=False)
    assert not any(
        torch.equal(a, b)
        for a, b in zip(before, [*encoder.parameters(), *decoder.parameters()], strict=True)
    )
    trained = reconstruct(story, observations())
    weights = copy.deepcopy(story.state_dict())
    with torch.no_grad():
        encoder.weight.zero_()
    assert not torch.equal(reconstruct(story, observations()), trained)
    story.load_state_dict(weights)
    assert torch.equal(reconstruct(story, observations()), trained)


def test_bare_svi_trains_a_lifted_pair():
    x = torch.randn(64, generator=torch.Generator().manual_seed(0))
    story = as_story(plain_model, plain_guide)
    svi = SVI(story.model, story.guide, PyroOptim(torch.optim.Adam, {"lr": 0.1}), Trace_ELBO())
    before = None
    for _ in range(2):
        svi.step(x)
        now = [p.detach().clone() for p in story.parameters()]
        assert before is None or not any(
            torch.equal(a, b) for a, b in zip(now, before, strict=True)
        )
        before = now


class TutorialVAE(nn.Module):
    """A pair after Pyro's tutorial: a module's methods, which register parts by ``pyro.module``."""

    def __init__(self):
        super().__init__()
        self.enc, self.dec = nn.Linear(FEATURES, LATENT), nn.Linear(LATENT, FEATURES)

    def model(self, x):
        pyro.module("decoder", self.dec)
        with pyro.plate("data", len(x)):
            z = pyro.sample("latent", dist.Normal(x.new_zeros(len(x), LATENT), 1.0).to_event(1))
            return pyro.sample("obs", dist.Bernoulli(logits=self.dec(z)).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.enc)
        with pyro.plate("data", len(x)):
            pyro.sample("latent", dist.Normal(self.enc(x), 1.0).to_event(1))


def test_two_modules_after_the_tutorial_train_in_place_and_apart():
    for _ in range(2):
        pair = TutorialVAE()
        before = copy.deepcopy(pair.state_dict())
        history = fit(
            pair, from_arrays(observations()), steps=3, objective=TCELBO(), progress=False
        )
        assert all(not torch.equal(v, before[k]) for k, v in pair.state_dict().items())
        assert "total_correlation" in history
    x = observations()
    with pytest.raises(
        RuntimeError, match="draws need the shape of an observation: pass example=x to as_story"
    ):
        do(pair, {"latent[0]": 1.0})
    story = as_story(pair.model, pair.guide, example=x)
    assert reconstruct(do(story, {"latent[0]": 1.0}), x).shape == (64, FEATURES)


def test_a_pair_without_an_example_says_how_to_give_one():
    with pytest.raises(RuntimeError, match="pass example=x or latents= to as_story"):
        _ = as_story(plain_model, plain_guide).latents
    with pytest.raises(TypeError, match="an object with a model and a guide, got int"):
        encode(3, observations())


def test_predictive_of_an_intervened_story_reports_the_intervened_value():
    story = STORIES["beta_vae"]()
    draws = Predictive(
        do(story, {"z": 3.0}).model, num_samples=4, return_sites=["z", "z_natural", "x"]
    )(batch_size=2)
    assert (draws["z"] == 3.0).all()
    assert draws["z_natural"].std() > 0
