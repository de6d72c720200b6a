"""What is taken out of a traced step changes no bit of it; what the optimiser's step is made of neither."""

import copy

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.optim.lr_scheduler import ExponentialLR

from ppl_disentangle.inference.training.graph_passes import simplified
from ppl_disentangle.inference.training.update import Update


def traced(function, *arguments):
    return make_fx(function)(*(a.clone() for a in arguments))


def operations(graph):
    return sum(node.op == "call_function" for node in graph.graph.nodes)


def gradient_of_a_weighted_sum(x):
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        loss = torch.stack([4.0 * leaf.tanh().sum(), leaf.square().mean()]).sum() * torch.tensor(
            0.25
        )
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def test_a_gradient_keeps_its_bits_and_loses_the_arithmetic_of_its_weights():
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    graph = traced(gradient_of_a_weighted_sum, x)
    before, expected = operations(graph), graph(x)
    torch.testing.assert_close(simplified(graph)(x), expected, rtol=0, atol=0)
    assert operations(graph) <= 0.7 * before
    other = 3 * x
    torch.testing.assert_close(graph(other), gradient_of_a_weighted_sum(other), rtol=0, atol=0)


def counts_in_a_literal(x):
    total = torch.tensor([0.0, 1.0])
    total.view(2, 1)[:, 0].add_(x)
    return total.clone()


def counts_in_a_list_of_literals(x):
    totals = [torch.zeros(2), torch.tensor([1.0, 2.0])]
    torch._foreach_add_(totals, [x, x])
    return totals[0] + totals[1]


@pytest.mark.parametrize("function", [counts_in_a_list_of_literals, counts_in_a_literal])
def test_what_is_changed_in_place_begins_anew_at_each_call(function):
    x = torch.tensor([1.0, 5.0])
    graph = simplified(traced(function, x))
    first = function(x)
    for _ in range(3):
        torch.testing.assert_close(graph(x), first, rtol=0, atol=0)


def test_draws_stay_where_they_were_those_that_nobody_reads_too():
    def draws(x):
        torch.randn(5)
        return x + torch.rand(3) * torch.tensor([0.5, 0.5, 0.5]).bernoulli()

    x, graph = torch.zeros(3), simplified(traced(draws, torch.zeros(3)))
    torch.manual_seed(3)
    found = graph(x), graph(x)
    torch.manual_seed(3)
    torch.testing.assert_close(found, (draws(x), draws(x)), rtol=0, atol=0)


def test_views_of_another_layout_are_kept():
    def transposed(x):
        return (
            x.t().reshape(2, 3),
            x.t().t().detach().expand(2, 3),
            x.new_zeros(2, 3).t() + torch.ones_like(x.t()),
        )

    x = torch.arange(6.0).reshape(2, 3)
    graph = simplified(traced(transposed, x))
    torch.testing.assert_close(graph(x), transposed(x), rtol=0, atol=0)


def large(x):
    return x + torch.zeros(2**21).sum() + torch.ones(3).sum()


def test_large_constants_are_not_kept():
    graph = simplified(traced(large, torch.zeros(2)))
    assert sum(v.numel() for v in vars(graph).values() if isinstance(v, torch.Tensor)) < 100


def nets():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    return net, copy.deepcopy(net)


def train(net, optimizer, step, *, frozen_until=0, steps=6):
    """Loss of each step; parameters of the last layer have no gradient at first."""
    losses = []
    for i in range(steps):
        x = torch.full((3, 5), float(i + 1)).cumsum(1).sin()
        loss = net(x).square().sum()
        optimizer.zero_grad()
        loss.backward()
        if i < frozen_until:
            net[2].weight.grad = None
        step()
        losses.append(loss.item())
    return losses


def groups(net):
    return [
        {"params": list(net[0].parameters())},
        {"params": list(net[2].parameters()), "betas": (0.5, 0.9), "lr": 0.1},
    ]


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
        lambda p: torch.optim.Adam(p, lr=0.01),
        lambda p: torch.optim.Adam(p, lr=0.01, fused=True, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, lr=0.01, fused=True, amsgrad=True),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    ],
    ids=["fused", "not fused", "decay", "amsgrad", "sgd"],
)
@pytest.mark.parametrize("frozen_until", [0, 3])
def test_an_update_is_the_step_of_the_optimiser_bit_for_bit(optimizer, frozen_until):
    one, other = nets()
    ours, theirs = optimizer(groups(one)), optimizer(groups(other))
    expected = train(other, theirs, theirs.step, frozen_until=frozen_until)
    assert train(one, ours, Update(ours), frozen_until=frozen_until) == expected
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(
        ours.state_dict()["state"], theirs.state_dict()["state"], rtol=0, atol=0
    )


def test_an_update_goes_on_from_a_state_that_was_loaded():
    one, other = nets()
    ours, theirs = (torch.optim.Adam(net.parameters(), lr=0.01, fused=True) for net in (one, other))
    update = Update(ours)
    train(one, ours, update), train(other, theirs, theirs.step)
    before = copy.deepcopy((other.state_dict(), theirs.state_dict()))
    train(one, ours, update)
    one.load_state_dict(before[0]), ours.load_state_dict(before[1])
    train(one, ours, update), train(other, theirs, theirs.step)
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_an_update_leaves_hooks_and_schedules_of_the_rate_to_the_optimiser():
    one, other = nets()
    ours, theirs = (torch.optim.Adam(net.parameters(), lr=0.01, fused=True) for net in (one, other))
    update, called = Update(ours), []
    train(one, ours, update), train(other, theirs, theirs.step)
    schedules = [ExponentialLR(o, 0.5) for o in (ours, theirs)]
    ours.register_step_post_hook(lambda *_: called.append(1))

    def both():
        update()
        schedules[0].step()

    def step():
        theirs.step()
        schedules[1].step()

    train(one, ours, both), train(other, theirs, step)
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    assert len(called) == 6
