"""A room with one object on its floor, cast by rays: how much of each surface a pixel sees, and how bright it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, one_hot

__all__ = ["SHAPES", "shares"]

SHAPES = ("cube", "cylinder", "sphere", "capsule")

# Lengths in units of the distance between camera and object, fitted on frames of 3D Shapes.
_CAMERA_HEIGHT, _LOOK_HEIGHT, _FIELD = 0.2915, 0.2393, 0.7014
_ROOM, _WALL = 0.9071, 0.5164
_HALF_CUBE, _SPHERE = 0.1124, 0.1356
_CYLINDER, _HALF_CYLINDER = 0.1159, 0.1161
_CAPSULE, _HALF_CAPSULE = 0.1023, 0.1084
_LAMP, _SUN = (-0.6203, 0.1471, 1.3629), (-0.2682, 0.1525, 1.0)
_AMBIENT, _GLOW, _FALL, _HEAD = 0.497, 3.3479, 4.7667, 0.4582
_LEFT, _RIGHT, _BACK, _CORNER = 0.7854, 0.6974, 0.0822, 0.2729
_SHADOW, _GLOSS, _SHARP = 0.3333, 0.1177, 0.02


def shares(shape: int, scale: Tensor, degrees: Tensor, *, size: int, samples: int) -> Tensor:
    """What the pixels of each image are made of: sky, wall, floor, object and white.

    Args:
        shape: which of :data:`SHAPES`.
        scale: size of the object, 1 in the middle of the range of 3D Shapes, ``(batch,)``.
        degrees: azimuth of the camera, ``(batch,)``.
        size: pixels along each side.
        samples: rays in each pixel, along each side.

    Returns:
        Share of each times its brightness, floats in [0, 1] of shape ``(batch, 5, size, size)``.
    """
    origin, rays = _camera(degrees, size * samples)
    to_object, normal = _hit(shape, scale.view(-1, 1, 1), origin, rays)
    sky, wall, floor = _room(origin, rays, shape, scale.view(-1, 1, 1))
    place = origin + to_object.nan_to_num(posinf=0.0)[..., None] * rays
    is_object = to_object.isfinite().to(rays.dtype)
    white = ((normal * _sun(rays)).sum(-1) / _SHARP).clamp(0, 1) * _GLOSS * is_object
    brightness = _brightness(place, normal, rays) * is_object
    maps = torch.stack([sky, wall, floor], 1) * (1 - is_object[:, None])
    return avg_pool2d(torch.cat([maps, torch.stack([brightness - white, white], 1)], 1), samples)


def _camera(degrees: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Where the camera stands, ``(batch, 1, 1, 3)``, and unit vectors along its rays, ``(batch, num, num, 3)``."""
    azimuth = degrees.deg2rad()
    origin = torch.stack(
        [azimuth.sin(), -azimuth.cos(), torch.full_like(azimuth, _CAMERA_HEIGHT)], -1
    )
    ahead = torch.nn.functional.normalize(azimuth.new_tensor([0, 0, _LOOK_HEIGHT]) - origin, dim=-1)
    right = torch.stack([azimuth.cos(), azimuth.sin(), torch.zeros_like(azimuth)], -1)
    down = torch.linalg.cross(ahead, right)
    steps = ((torch.arange(num, device=degrees.device) + 0.5) * 2 / num - 1) * math.tan(_FIELD / 2)
    aside, below = (steps[:, None] * axis[:, None] for axis in (right, down))  # (batch, num, 3)
    rays = ahead[:, None, None] + aside[:, None] + below[:, :, None]
    return origin[:, None, None], torch.nn.functional.normalize(rays, dim=-1)


def _room(origin: Tensor, rays: Tensor, shape: int, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Brightness of sky, wall and floor along each ray, 0 where it sees another of them."""
    walls = (rays[..., :2].sign() * _ROOM - origin[..., :2]) / rays[..., :2]
    to_wall, axis = walls.min(-1)
    to_floor = -origin[..., 2] / rays[..., 2]
    is_floor = (rays[..., 2] < 0) & (to_floor < to_wall)
    place = origin + torch.where(is_floor, to_floor, to_wall)[..., None] * rays
    is_wall = ~is_floor & (place[..., 2] <= _WALL)
    up = torch.zeros_like(rays)
    up[..., 2] = 1
    shadow = _hit(shape, scale, place, _sun(rays).expand_as(rays))[0].isfinite()
    floor = torch.where(shadow, _SHADOW, _brightness(place, up, rays))
    corner = (place[..., 1] - 0.4).clamp(min=0) * _CORNER
    side = torch.where(rays[..., 0] < 0, _LEFT, _RIGHT) - corner
    wall = torch.where(axis == 1, 1 - _BACK * place[..., 0].clamp(min=0), side)
    return ~(is_floor | is_wall) * 1.0, wall * is_wall, floor * is_floor


def _sun(like: Tensor) -> Tensor:
    """Where the light comes from that casts the shadow."""
    return torch.nn.functional.normalize(like.new_tensor(_SUN), dim=0)


def _brightness(place: Tensor, normal: Tensor, rays: Tensor) -> Tensor:
    """Light of the lamp, of the camera and from all around, at most 1."""
    towards = rays.new_tensor(_LAMP) - place
    distance = towards.norm(dim=-1)
    lamp = ((normal * towards).sum(-1) / distance).clamp(min=0) * distance.pow(-_FALL)
    head = -(normal * rays).sum(-1)
    return (_AMBIENT + _GLOW * lamp + _HEAD * head.clamp(min=0)).clamp(max=1)


def _hit(shape: int, scale: Tensor, origin: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """How far along each ray the object is, infinity where it is not, and its normal there.

    Args:
        shape: which of :data:`SHAPES`.
        scale: ``(batch, 1, 1)``.
        origin: where each ray starts, outside of the object; ``(batch, height, width, 3)`` or broadcast to it.
        rays: unit vectors ``(batch, height, width, 3)``.
    """
    half = (_HALF_CUBE, _HALF_CYLINDER, _SPHERE, _CAPSULE + _HALF_CAPSULE)[shape] * scale
    start = origin.expand_as(rays) - torch.stack([torch.zeros_like(half)] * 2 + [half], -1)
    if shape == 0:
        return _cube(start, rays, half)
    if shape == 2:
        return _ball(start, rays, half)
    radius = (_CYLINDER if shape == 1 else _CAPSULE) * scale
    straight = (_HALF_CYLINDER if shape == 1 else _HALF_CAPSULE) * scale
    end = _disc if shape == 1 else _ball_at
    parts = [
        _mantle(start, rays, radius, straight),
        *(end(start, rays, radius, s * straight) for s in (1, -1)),
    ]
    distance, nearest = torch.stack([part[0] for part in parts], -1).min(-1)
    normals = torch.stack([part[1] for part in parts], -2)
    return distance, normals.gather(-2, nearest[..., None, None].expand(*nearest.shape, 1, 3))[
        ..., 0, :
    ]


def _cube(start: Tensor, rays: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    one, other = (-half[..., None] - start) / rays, (half[..., None] - start) / rays
    distance, axis = torch.minimum(one, other).max(-1)
    meets = (distance <= torch.maximum(one, other).amin(-1)) & (distance > 0)
    return distance.masked_fill(~meets, math.inf), -rays.sign() * one_hot(axis, 3)


def _ball(start: Tensor, rays: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    along = (rays * start).sum(-1)
    inside = along.square() - start.square().sum(-1) + radius.square()
    distance = -along - inside.clamp(min=0).sqrt()
    meets = (inside >= 0) & (distance > 0)
    return distance.masked_fill(~meets, math.inf), (start + distance[..., None] * rays) / radius[
        ..., None
    ]


def _ball_at(start: Tensor, rays: Tensor, radius: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
    return _ball(start - torch.stack([torch.zeros_like(height)] * 2 + [height], -1), rays, radius)


def _mantle(start: Tensor, rays: Tensor, radius: Tensor, straight: Tensor) -> tuple[Tensor, Tensor]:
    """The side of an upright cylinder."""
    level, across = rays[..., :2], start[..., :2]
    square = level.square().sum(-1).clamp(min=1e-9)
    along = (level * across).sum(-1)
    inside = along.square() - square * (across.square().sum(-1) - radius.square())
    distance = (-along - inside.clamp(min=0).sqrt()) / square
    place = start + distance[..., None] * rays
    meets = (inside >= 0) & (place[..., 2].abs() <= straight) & (distance > 0)
    return distance.masked_fill(~meets, math.inf), place * place.new_tensor([1, 1, 0]) / radius[
        ..., None
    ]


def _disc(start: Tensor, rays: Tensor, radius: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
    """A level disc, seen from the side that faces away from height 0."""
    distance = (height - start[..., 2]) / rays[..., 2]
    place = start + distance[..., None] * rays
    meets = (place[..., :2].square().sum(-1) <= radius.square()) & (distance > 0)
    normal = torch.zeros_like(rays)
    normal[..., 2] = height.sign()
    return distance.masked_fill(~meets, math.inf), normal
