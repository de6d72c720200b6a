"""The loop that one would write by hand in PyTorch, to be measured against: same networks, data and Adam."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOG_2PI = math.log(2 * math.pi)


def beta_vae(encoder: nn.Module, decoder: nn.Module, x: Tensor, *, beta: float = 4.0) -> Tensor:
    """Reconstruction and weighted KL, in nats per datum."""
    mean, log_variance = encoder(x).chunk(2, -1)
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    divergence = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(-1).mean()
    return reconstruction(decoder(z), x) + beta * divergence


def beta_tcvae(
    encoder: nn.Module, decoder: nn.Module, x: Tensor, *, beta: float = 6.0, num_data: int = 737_280
) -> Tensor:
    """Reconstruction and weighted total correlation by minibatch weighted sampling, in nats per datum."""
    mean, log_variance = encoder(x).chunk(2, -1)
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    pairs = log_normal(z[:, None], mean[None], log_variance[None])
    constant = math.log(len(x) * num_data)
    log_q = pairs.sum(-1).logsumexp(1) - constant
    log_factored = (pairs.logsumexp(1) - constant).sum(-1)
    log_given_x = log_normal(z, mean, log_variance).sum(-1)
    log_p = (-0.5 * (LOG_2PI + z * z)).sum(-1)
    parts = (log_given_x - log_q) + beta * (log_q - log_factored) + (log_factored - log_p)
    return reconstruction(decoder(z), x) + parts.mean()


def log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    return -0.5 * (LOG_2PI + log_variance + (z - mean) ** 2 * torch.exp(-log_variance))


def reconstruction(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)


def training_step(
    loss: Callable[..., Tensor],
    encoder: nn.Module,
    decoder: nn.Module,
    data: Tensor,
    batch_size: int,
    *,
    lr: float = 1e-4,
) -> Callable[[], Tensor]:
    """One optimisation step on the next random batch of stored observations ``data``."""
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=lr)
    state = {"position": len(data), "order": torch.empty(0)}

    def step() -> Tensor:
        if state["position"] + batch_size > len(data):
            state.update(order=torch.randperm(len(data)), position=0)
        index = state["order"][state["position"] : state["position"] + batch_size]
        state["position"] += batch_size
        x = data.index_select(0, index).float()
        optimizer.zero_grad(set_to_none=True)
        value = loss(encoder, decoder, x)
        value.backward()
        optimizer.step()
        return value

    return step
