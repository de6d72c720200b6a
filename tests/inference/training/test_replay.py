"""The logic of replayed steps, by a stand-in that keeps the rules of CUDA graphs; ``-m gpu`` has the real ones."""

import copy
from contextlib import contextmanager

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from ppl_disentangle.inference import fit
from ppl_disentangle.inference.training import capture, loop
from ppl_disentangle.inference.training.replay import Replay
from tests.models.test_stories import STORIES, data_for


class Recorded(TorchDispatchMode):
    """While it records, operations have memory for results but do nothing, as kernels in a stream that is captured."""

    def __init__(self):
        super().__init__()
        self.operations = []
        self.replays = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if operation is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        if operation.is_view:
            return operation(*args, **kwargs)
        if operation._schema.is_mutable:
            self.operations.append((operation, args, kwargs, None))
            return args[0]
        with torch.random.fork_rng(devices=[]):
            results = tree_map_only(
                torch.Tensor,
                lambda t: t.clone().fill_(7) if t.dtype is not torch.bool else t.clone(),
                operation(*args, **kwargs),
            )
        self.operations.append((operation, args, kwargs, results))
        return results

    def replay(self):
        self.replays += 1
        for operation, args, kwargs, results in self.operations:
            found = operation(*args, **kwargs)
            if results is not None:
                for kept, value in zip(tree_leaves(results), tree_leaves(found), strict=True):
                    kept.copy_(value)


@pytest.fixture
def graphs(monkeypatch):
    made = []

    def make():
        made.append(Recorded())
        return made[-1]

    @contextmanager
    def record(graph):
        with graph:
            yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", make)
    monkeypatch.setattr(torch.cuda, "graph", record)
    return made


def step(weights, moment, x):
    moment.mul_(0.9).add_(x.mean() + 0.1 * torch.randn(()))
    weights.sub_(moment * x.sum(0))
    return [weights.sum(), x.max() * torch.ones(2)]


def test_recorded_steps_are_those_that_run_as_they_are(graphs):
    batches = [torch.randn(4, 3, generator=torch.Generator().manual_seed(i)) for i in range(6)]
    states = [[torch.zeros(3), torch.zeros(())] for _ in range(2)]
    traced = make_fx(step)(*(t.clone() for t in states[0]), batches[0])
    torch.manual_seed(0)
    expected = [[t.clone() for t in step(*states[0], x)] for x in batches]
    replay = Replay(traced, states[1])
    torch.manual_seed(0)
    found = [[t.clone() for t in replay([x.clone()])] for x in batches]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=0)
    assert [graph.replays for graph in graphs] == [5]


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so_once(graphs):
    def reads(weights, x):
        weights.add_(float(x.sum()))
        return [weights.clone()]

    replay = Replay(reads, [torch.zeros(2)])
    with pytest.warns(
        UserWarning, match="not replayed as a CUDA graph: operation not permitted"
    ) as warned:
        found = [replay([torch.full((2,), float(i))])[0].tolist() for i in range(4)]
    assert found == [[0, 0], [2, 2], [6, 6], [12, 12]]
    assert len(warned) == 1


@pytest.mark.parametrize("name", ["beta_tcvae", "control_vae"])
def test_training_by_replayed_steps_ends_with_the_eager_weights(name, graphs, monkeypatch):
    monkeypatch.setattr(loop, "MIN_GRAPH_STEPS", 0)
    monkeypatch.setattr(capture, "REPLAYING_DEVICES", ("cpu",))
    found = []
    for how in (False, "auto"):
        torch.manual_seed(0)
        story = STORIES[name]()
        history = fit(story, data_for(story), steps=30, batch_size=16, compile=how, progress=False)
        found.append([history["loss"].values.tolist(), copy.deepcopy(story.state_dict())])
    torch.testing.assert_close(*found, rtol=0, atol=0)
    assert [graph.replays for graph in graphs] == [
        1,
        26,
    ]  # one beside an eager step; of 30 the first three are validated, and one runs as it is
