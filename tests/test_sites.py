"""Records of the sites of traces, and traces inside of traces."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from ppl_disentangle.sites import (
    deterministic_sites,
    inner_trace,
    nested_trace,
    observed_sites,
    sampled_sites,
    state_auxiliary,
)


def guide(x):
    with pyro.plate("data", len(x)):
        y = pyro.sample("y", dist.Normal(x, 1.0))
        pyro.sample("z", dist.Normal(y, 1.0))
        state_auxiliary("labels", x, event_dim=0)
        pyro.factor("distance", -x.square(), has_rsample=True)


def trace(x):
    return poutine.trace(guide).get_trace(x)


def test_latents_of_an_inner_trace_come_back_as_they_were():
    outer = trace(torch.zeros(3))
    inner = trace(torch.ones(5))
    nested = nested_trace(outer, inner, "inner/")
    assert list(sampled_sites(nested)) == ["y", "z", "inner/y", "inner/z"]
    assert sampled_sites(inner_trace(nested, "inner/")) == sampled_sites(inner)
    assert list(sampled_sites(outer)) == ["y", "z"]


def test_statements_of_an_inner_trace_stay_out():
    nested = nested_trace(trace(torch.zeros(3)), trace(torch.ones(5)), "inner/")
    assert list(observed_sites(nested)) == ["distance"]
    assert list(deterministic_sites(nested)) == ["labels"]
    assert torch.equal(deterministic_sites(nested)["labels"].value, torch.zeros(3))
