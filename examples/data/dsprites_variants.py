"""dSprites in colour, with noise, and on a picture: data for ``--data examples/data/dsprites_variants.py:coloured``."""

import numpy as np
import torch
from PIL import Image

from ppl_disentangle.data import Coloured, DSprites, Noisy, OnPicture

DSPRITES, PICTURE = "data/dsprites.npz", "data/scream.jpg"


def coloured():
    return Coloured(DSprites(DSPRITES))


def noisy():
    return Noisy(DSprites(DSPRITES))


def on_picture():
    picture = np.asarray(Image.open(PICTURE).convert("RGB").resize((350, 274)))
    return OnPicture(DSprites(DSPRITES), torch.from_numpy(picture.copy()).permute(2, 0, 1))
