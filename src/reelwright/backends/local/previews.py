"""Pictures of what is being made, from latents, at the cost of one small matrix product.

A linear map from a latent's channels to red, green and blue is fitted once a model, through its own encoder: colours go in,
latents come out, least squares does the rest (notes, 3.3). So there is no table of factors to keep for each family.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reelwright.catalog import Card, Shot
from reelwright.types import Frame

_LONGEST = 512
"""px of a preview."""
_SIDE = 128
"""px of the calibration picture's sides."""


class Painter:
    """Makes previews for one shot of one pipeline: by a small decoder if there is one, else by the linear map."""

    def __init__(self, pipe: Any, shot: Shot, matrix: Any, tiny: Any = None) -> None:
        self._pipe, self._shot, self._matrix, self._tiny = pipe, shot, matrix, tiny
        self._last: Any = None

    def paint(self, latents: Any) -> Frame | None:
        """The middle frame of these latents as a picture; None if their layout is not understood."""
        clean = self._clean(latents)
        planes = self._plane(clean)
        if planes is None or planes.shape[0] + 1 != self._matrix.shape[0]:
            return None
        if self._tiny is not None:
            return Frame.of(_enlarged(_decoded(self._tiny, planes), self._shot.width, self._shot.height))
        flat = planes.reshape(planes.shape[0], -1).T
        rgb = np.hstack([flat, np.ones((len(flat), 1), np.float32)]) @ self._matrix
        picture = np.nan_to_num(np.clip(rgb.reshape(*planes.shape[1:], 3), 0, 1) * 255).astype(np.uint8)
        return Frame.of(_enlarged(picture, self._shot.width, self._shot.height))

    def _clean(self, latents: Any) -> Any:
        """The latents without their noise, as far as two steps of a flow tell: x0 = x - s (x' - x) / (s' - s)."""
        scheduler = getattr(self._pipe, "scheduler", None)
        sigmas, index = getattr(scheduler, "sigmas", None), getattr(scheduler, "step_index", None)
        before, self._last = self._last, latents.detach()
        flow = "Flow" in type(scheduler).__name__
        if not flow or before is None or index is None or sigmas is None or before.shape != latents.shape:
            return latents
        here, there = float(sigmas[min(index, len(sigmas) - 1)]), float(sigmas[max(0, index - 1)])
        return latents if here == there else latents - here * (latents - before) / (here - there)

    def _plane(self, latents: Any) -> Any:
        """(channels, height, width) of the middle frame, as numbers."""
        values = latents.detach().float().cpu()
        width, height = self._shot.width, self._shot.height
        if values.ndim == 3 and hasattr(self._pipe, "_unpack_latents"):  # LTX: a row of tokens
            spatial = getattr(self._pipe, "vae_spatial_compression_ratio", 32)
            temporal = getattr(self._pipe, "vae_temporal_compression_ratio", 8)
            frames = (self._shot.frames - 1) // temporal + 1
            across = (frames, height // spatial, width // spatial)
            if values.shape[1] != math.prod(across):
                return None
            values = self._pipe._unpack_latents(values, *across)
        if values.ndim == 4:
            return values[0].numpy() if values.shape[0] == 1 else values[len(values) // 2].numpy()
        if values.ndim != 5:
            return None
        channels = self._matrix.shape[0] - 1
        axis = next((axis for axis in (1, 2, 4) if values.shape[axis] == channels), None)
        if axis is None:
            return None
        values = values[0].movedim(axis - 1, 0)
        return values[:, values.shape[1] // 2].numpy()


def _enlarged(picture: Any, width: int, height: int) -> Any:
    import cv2

    scale = min(1.0, _LONGEST / max(width, height))
    size = (max(16, round(width * scale) // 2 * 2), max(16, round(height * scale) // 2 * 2))
    return cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)


def tiny_decoder(card: Card, pipe: Any) -> Any:
    """The small decoder that the card names for previews (TAESD), beside the pipeline; None if there is none, or none here."""
    wanted = card.settings.get("preview_decoder")
    if wanted is None:
        return None
    import diffusers

    try:
        weight = next(pipe.vae.parameters())
        # Only if it was fetched before: a preview is worth no download, and no wait for a hub that is out of reach.
        how = {"dtype": weight.dtype, "use_safetensors": True, "local_files_only": True}
        return diffusers.AutoencoderTiny.from_pretrained(wanted["source"], **how).to(weight.device)
    except Exception:  # noqa: BLE001  it may not be on this machine, and the hub out of reach: the linear map serves then
        return None


def _decoded(tiny: Any, planes: Any) -> Any:
    """Latents (channels, h, w) as a picture by the small decoder."""
    import torch

    weight = next(tiny.parameters())
    with torch.no_grad():
        sample = tiny.decode(torch.from_numpy(planes)[None].to(weight.device, weight.dtype)).sample[0]
    return (sample.float().clamp(-1, 1).add(1).mul(127.5)).byte().permute(1, 2, 0).cpu().numpy()


def fitted_map(pipe: Any) -> Any:
    """The map from latents to colour, shape (channels + 1, 3), or None if the model has no encoder that can be asked."""
    import torch

    vae = getattr(pipe, "vae", None)
    if vae is None or not hasattr(vae, "encode"):
        return None
    try:
        with torch.no_grad():
            return _fitted(vae)
    except Exception:  # noqa: BLE001  a preview is worth no film; families differ in what their encoders take
        return None


def _fitted(vae: Any) -> Any:
    import torch

    weight = next(vae.parameters())
    colours = torch.from_numpy(_palette()).permute(2, 0, 1)[None]
    given = (colours * 2 - 1).to(weight.device, weight.dtype)
    moving = next(each for each in vae.parameters() if each.ndim >= 4).ndim == 5 and "Temporal" not in type(vae).__name__
    latents = vae.encode(given[:, :, None] if moving else given)
    latents = (latents.latent_dist.mode() if hasattr(latents, "latent_dist") else latents.latent).float()
    if latents.ndim == 5:
        latents = latents[:, :, 0]
    latents = _normalised(vae, latents)
    small = torch.nn.functional.adaptive_avg_pool2d(colours, latents.shape[-2:])
    flat = latents[0].flatten(1).T.cpu().numpy()
    known = np.hstack([flat, np.ones((len(flat), 1), np.float32)])
    return np.linalg.lstsq(known, small[0].flatten(1).T.numpy(), rcond=None)[0].astype(np.float32)


def _normalised(vae: Any, latents: Any) -> Any:
    """As pipelines hold them while they work: with the mean taken away and the spread made one."""
    import torch

    held = dict(vae.named_buffers())  # LTX keeps them there, others in the configuration
    mean, spread = (getattr(vae.config, name, held.get(name)) for name in ("latents_mean", "latents_std"))
    if mean is not None and spread is not None:
        shape = (1, -1, 1, 1)
        return (latents - torch.as_tensor(mean).reshape(shape)) / torch.as_tensor(spread).reshape(shape)
    return latents * getattr(vae.config, "scaling_factor", 1.0)


def _palette() -> Any:
    """Colours over light and dark, in patches as large as a latent sees: shape (side, side, 3), float32, 0..1."""
    rng = np.random.default_rng(5)
    patches = rng.uniform(0, 1, (_SIDE // 32, _SIDE // 32, 3)).astype(np.float32)
    y, x = np.mgrid[0 : 1 : _SIDE * 1j, 0 : 1 : _SIDE * 1j].astype(np.float32)
    smooth = np.stack([x, y, 1 - (x + y) / 2], axis=-1)
    return (np.kron(patches, np.ones((32, 32, 1), np.float32)) * 0.6 + smooth * 0.4).astype(np.float32)
