"""Train a story as a LightningModule, with a Trainer that shares each batch between two processes."""

import argparse

import torch
from lightning import LightningModule, Trainer, seed_everything
from torch.utils.data import DataLoader, TensorDataset

from ppl_disentangle.data import digits
from ppl_disentangle.zoo import build


class Disentangling(LightningModule):
    def __init__(self, story, num_data):
        super().__init__()
        story.num_data = num_data
        self.loss, self.num_data = story.objective()(story.model, story.guide), num_data

    def training_step(self, batch):
        loss = self.loss(*batch) / self.num_data  # the loss of the whole batch, in each process
        self.log_dict({k: term / self.num_data for k, term in self.loss.elbo.last_terms.items()})
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.loss.parameters(), lr=1e-3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=300)
    steps = parser.parse_args().steps
    seed_everything(0, verbose=False)  # equal weights; the processes draw different latents
    data = digits()
    module = Disentangling(build("beta_tcvae", data, latent_dim=4), len(data))
    x = data.to_float(data.observations(torch.arange(len(data))))
    loader = DataLoader(TensorDataset(x), batch_size=32, shuffle=True, drop_last=True)
    options = {"accelerator": "cpu", "devices": 2, "strategy": "ddp_spawn", "logger": False}
    trainer = Trainer(max_steps=steps, enable_checkpointing=False, **options)
    trainer.fit(module, loader)
    print({name: round(value.item(), 2) for name, value in trainer.callback_metrics.items()})
