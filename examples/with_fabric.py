"""Write your own training loop with Lightning Fabric, in two processes that share each batch."""

import argparse

import torch
from lightning.fabric import Fabric

from ppl_disentangle.data import digits
from ppl_disentangle.inference import BatchStream
from ppl_disentangle.zoo import build

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300)
options = parser.parse_args()


def train(fabric):
    fabric.seed_everything(0, verbose=False)  # equal weights; the processes draw different latents
    data = digits()
    story = build("beta_tcvae", data, latent_dim=4)
    story.num_data = len(data)
    loss = story.objective()(story.model, story.guide)
    loss, optimizer = fabric.setup(loss, torch.optim.Adam(loss.parameters(), lr=1e-3))
    for x, _ in BatchStream(data, 64, steps=options.steps):
        optimizer.zero_grad()
        share = x.to(fabric.device).tensor_split(fabric.world_size)[fabric.global_rank]
        fabric.backward(loss(share) / len(data))
        optimizer.step()
    fabric.barrier()
    terms = {name: round(term.item() / len(data), 2) for name, term in loss.elbo.last_terms.items()}
    fabric.print(f"{fabric.world_size} processes, nats per datum of the whole batch: {terms}")


if __name__ == "__main__":
    Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn").launch(train)
