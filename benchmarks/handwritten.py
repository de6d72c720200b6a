"""Training loops written by hand in PyTorch, as references: the same networks, data and Adam."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppl_disentangle.networks import Upsampling

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


def capacity(
    encoder: nn.Module, decoder: nn.Module, x: Tensor, *, gamma: float = 1000.0, nats: float = 5.0
) -> Tensor:
    """Reconstruction, and the distance of the mean KL from a capacity."""
    mean, log_variance, z = sample(encoder, x)
    return reconstruction(decoder(z), x) + gamma * (divergence(mean, log_variance) - nats).abs()


def hierarchical(
    encoder: nn.Module, decoder: nn.Module, x: Tensor, *, num_data: int = 737_280
) -> Tensor:
    """Total correlation between and within two groups of coordinates, with the symmetric estimator."""
    mean, log_variance, z = sample(encoder, x)
    pairs = log_normal(z[:, None], mean[None], log_variance[None])
    weights = pairs.new_full((len(x), len(x)), (num_data - 1) / (num_data * (len(x) - 1)))
    log_weights = weights.fill_diagonal_(1 / num_data).log()
    halves = [half.sum(-1) for half in pairs.chunk(2, -1)]
    log_q = (halves[0] + halves[1] + log_weights).logsumexp(1)
    log_groups = sum((half + log_weights).logsumexp(1) for half in halves)
    log_factored = (pairs + log_weights[..., None]).logsumexp(1).sum(-1)
    log_given_x, log_p = (
        log_normal(z, mean, log_variance).sum(-1),
        (-0.5 * (LOG_2PI + z * z)).sum(-1),
    )
    parts = (
        (log_given_x - log_q)
        + 4 * (log_q - log_groups)
        + (log_groups - log_factored)
        + (log_factored - log_p)
    )
    return reconstruction(decoder(z), x) + parts.mean()


def information(
    encoder: nn.Module, decoder: nn.Module, x: Tensor, *, scale: float = 10.0
) -> Tensor:
    """Maximum mean discrepancy between draws of the aggregate posterior and of the prior."""
    mean, log_variance, z = sample(encoder, x)
    prior, pairs = torch.randn_like(z), len(x) * (len(x) - 1)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (-(a[:, None] - b[None]).square().sum(-1) / a.shape[-1] ** 2).exp()

    def others(values: Tensor) -> Tensor:
        return (values.sum() - values.diagonal().sum()) / pairs

    discrepancy = others(kernel(z, z)) + others(kernel(prior, prior)) - 2 * kernel(z, prior).mean()
    return reconstruction(decoder(z), x) + divergence(mean, log_variance) + scale * discrepancy


def dip(encoder: nn.Module, decoder: nn.Module, x: Tensor, *, off_diagonal: float = 10.0) -> Tensor:
    """Covariance of z over the batch held to the identity (DIP-VAE-II)."""
    mean, log_variance, z = sample(encoder, x)
    centred = mean - mean.mean(0)
    covariance = centred.T @ centred / len(x) + log_variance.exp().mean(0).diag()
    square = (covariance - torch.eye(len(covariance))).square()
    penalty = square.sum()
    return reconstruction(decoder(z), x) + divergence(mean, log_variance) + off_diagonal * penalty


def sparsity(encoder: nn.Module, decoder: nn.Module, x: Tensor, *, weight: float = 1.0) -> Tensor:
    """The L1 norm of z."""
    mean, log_variance, z = sample(encoder, x)
    return (
        reconstruction(decoder(z), x)
        + divergence(mean, log_variance)
        + weight * z.abs().sum(-1).mean()
    )


def hausdorff(
    encoder: nn.Module, decoder: nn.Module, x: Tensor, *, gamma: float = 100.0, num_pairs: int = 25
) -> Tensor:
    """Distance of the support of z from the product of its coordinates' supports, on random pairs of coordinates."""
    mean, log_variance, z = sample(encoder, x)
    squares = (mean.T[:, :, None] - mean.T[:, None, :]).square()  # (dim, batch, batch)
    first, second = torch.triu_indices(mean.shape[1], mean.shape[1], 1)
    chosen = torch.randperm(len(first))[:num_pairs]
    penalty = 0.0
    for i, j in zip(first[chosen].tolist(), second[chosen].tolist(), strict=True):
        penalty = penalty + (squares[i][:, None] + squares[j][None]).amin(-1).amax()
    return reconstruction(decoder(z), x) + divergence(mean, log_variance) + gamma * penalty


def factor(
    encoder: nn.Module, decoder: nn.Module, x: Tensor, critic: nn.Module, *, gamma: float = 10.0
) -> Tensor:
    """Density ratio of a critic, and the critic's own loss on detached draws: one batch, permuted."""
    mean, log_variance, z = sample(encoder, x)
    critic.requires_grad_(False)
    logits = critic(z)
    critic.requires_grad_(True)
    ratio = (logits[:, 0] - logits[:, 1]).mean()
    permuted = z.detach().gather(0, torch.rand_like(z).argsort(0))
    real = torch.zeros(len(x), dtype=torch.long)
    opponent = 0.5 * (
        F.cross_entropy(critic(z.detach()), real) + F.cross_entropy(critic(permuted), real + 1)
    )
    return reconstruction(decoder(z), x) + divergence(mean, log_variance) + gamma * ratio + opponent


def info_gan(encoder: nn.Module, decoder: nn.Module, x: Tensor, critic: nn.Module) -> Tensor:
    """A generator against a critic of images, with codes inferred from the generated images."""
    z = torch.randn(len(x), 10)
    fake = decoder(z)
    mean, log_variance = encoder(fake).chunk(2, -1)
    information = (log_normal(z, mean, log_variance) + 0.5 * (LOG_2PI + z * z)).sum(-1).mean()
    critic.requires_grad_(False)
    generator = F.softplus(-critic(fake)).mean()
    critic.requires_grad_(True)
    opponent = F.softplus(-critic(x)).mean() + F.softplus(critic(fake.detach())).mean()
    return generator - information + opponent


def joint(
    encoder: nn.Module, decoder: nn.Module, x: Tensor, *, gamma: float = 30.0, classes: int = 4
) -> Tensor:
    """Normal and Gumbel-softmax latents, each divergence held to a capacity of 0 nats."""
    outputs = encoder(x)
    mean, log_variance, logits = outputs.split([6, 6, classes], -1)
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    uniform = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
    c = ((logits - (-uniform.log()).log()) / 0.67).softmax(-1)
    log_q = logits.log_softmax(-1)
    discrete = (log_q.exp() * (log_q + math.log(classes))).sum(-1).mean()
    gaps = divergence(mean, log_variance).abs() + discrete.abs()
    return reconstruction(decoder(torch.cat([z, c], -1)), x) + gamma * gaps


def bidirectional(encoder: nn.Module, decoder: nn.Module, x: Tensor, critic: nn.Module) -> Tensor:
    """A critic distinguishes (x, z ~ q) from (G(z), z ~ p); the pair is trained to confuse it."""
    _, _, z = sample(encoder, x)
    prior = torch.randn_like(z)
    fake = decoder(prior)
    critic.requires_grad_(False)
    players = F.softplus(critic(x, z)).mean() + F.softplus(-critic(fake, prior)).mean()
    critic.requires_grad_(True)
    opponent = (
        F.softplus(-critic(x, z.detach())).mean() + F.softplus(critic(fake.detach(), prior)).mean()
    )
    return players + opponent


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL from the standard normal, in nats per datum."""
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(-1).mean()


def sample(encoder: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means and log variances of q(z | x), and a draw."""
    mean, log_variance = encoder(x).chunk(2, -1)
    return mean, log_variance, mean + (0.5 * log_variance).exp() * torch.randn_like(mean)


def as_usual(net: nn.Module | None) -> None:
    """Give ``net`` the layout and the layers that PyTorch's users have: the same function of the same parameters."""
    if net is None:
        return
    net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for module in net.modules():
        if isinstance(module, Upsampling):
            module.__class__ = nn.ConvTranspose2d


def training_step(
    loss: Callable[..., Tensor],
    encoder: nn.Module,
    decoder: nn.Module,
    data: Tensor,
    batch_size: int,
    *,
    lr: float = 1e-4,
    critic: nn.Module | None = None,
    compiled: bool = False,
) -> Callable[[], Tensor]:
    """One optimisation step on the next random batch of stored observations ``data``; compiled, Adam is fused, too.

    The networks become :func:`as_usual`.
    """
    for net in (encoder, decoder, critic):
        as_usual(net)
    groups: list[dict[str, Any]] = [{"params": [*encoder.parameters(), *decoder.parameters()]}]
    if critic is not None:
        groups.append({"params": list(critic.parameters()), "betas": (0.5, 0.9)})
    optimizer = torch.optim.Adam(groups, lr=lr, fused=compiled or None)
    loss = torch.compile(loss, fullgraph=True, dynamic=False) if compiled else loss
    state = {"position": len(data), "order": torch.empty(0)}

    def step() -> Tensor:
        if state["position"] + batch_size > len(data):
            state.update(order=torch.randperm(len(data)).to(data.device), position=0)
        index = state["order"][state["position"] : state["position"] + batch_size]
        state["position"] += batch_size
        x = data.index_select(0, index).float()
        optimizer.zero_grad(set_to_none=True)
        value = loss(encoder, decoder, x, *(() if critic is None else (critic,)))
        value.backward()
        optimizer.step()
        return value

    return step
