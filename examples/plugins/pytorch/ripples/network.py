"""The network, as it was trained; it knows nothing of Reelwright."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

CHANNELS = 8
SCALE = 8


class Generator(nn.Module):
    """Latents (n, 8, h, w) become pictures (n, 3, 8h, 8w), 0..1."""

    def __init__(self) -> None:
        super().__init__()
        self.calm = nn.AvgPool2d(9, stride=1, padding=4)
        self.mix = nn.Conv2d(CHANNELS, 16, 3, padding=1)
        self.grow = nn.Upsample(scale_factor=SCALE, mode="bilinear")
        self.paint = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """One step from noise to a picture."""
        return torch.sigmoid(6 * self.paint(self.grow(torch.tanh(self.mix(9 * self.calm(latent))))))


def load(path: Path) -> Generator:
    """The network with the weights of a file, on the GPU if there is one."""
    network = Generator()
    network.load_state_dict(load_file(path))
    return network.to("cuda" if torch.cuda.is_available() else "cpu").eval()
