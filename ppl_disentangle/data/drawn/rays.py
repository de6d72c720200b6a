"""Rays through a room with one object on the floor: how much of each surface a pixel sees."""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize, one_hot

__all__ = ["SHAPES", "shares"]

SHAPES = ("cube", "cylinder", "sphere", "capsule")

# Lengths are in units of the distance between camera and object, fitted on frames of 3D Shapes.
_CAMERA_HEIGHT = 0.2915
_TARGET_HEIGHT = 0.2393  # height of the point at which the camera looks, above the object's foot
_FIELD_OF_VIEW_RADIANS = 0.7014
_ROOM_HALF_WIDTH = 0.9071
_WALL_HEIGHT = 0.5164

_CUBE_HALF_EDGE = 0.1124
_SPHERE_RADIUS = 0.1356
_CYLINDER_RADIUS = 0.1159
_CYLINDER_HALF_HEIGHT = 0.1161
_CAPSULE_RADIUS = 0.1023
_CAPSULE_HALF_HEIGHT = 0.1084  # of the straight part, without the two half spheres

_LAMP_POSITION = (-0.6203, 0.1471, 1.3629)
_SUN_DIRECTION = (-0.2682, 0.1525, 1.0)  # the light that casts the shadow and the highlight
_AMBIENT_LIGHT = 0.497
_LAMP_LIGHT = 3.3479
_LAMP_DECAY_EXPONENT = 4.7667
_CAMERA_LIGHT = 0.4582

_LEFT_WALL_BRIGHTNESS = 0.7854
_RIGHT_WALL_BRIGHTNESS = 0.6974
_BACK_WALL_DARKENING = 0.0822  # per length to the right
_CORNER_DARKENING = 0.2729  # of the side walls, per length towards the back
_SHADOW_BRIGHTNESS = 0.3333
_HIGHLIGHT_SHARE = 0.1177
_HIGHLIGHT_COSINE = 0.02  # cosine between normal and light at which the highlight is full

Surface: TypeAlias = tuple[Tensor, Tensor]
"""Distance along each ray ``(batch, height, width)``, infinite for a miss, and normals there."""


def shares(shape: int, scale: Tensor, degrees: Tensor, *, size: int, samples: int) -> Tensor:
    """Share of sky, wall, floor, object and white highlight in each pixel, times its brightness.

    Args:
        shape: Position of the object's shape in :data:`SHAPES`.
        scale: Size of the object, ``(batch,)``; 1 is the middle of the range of 3D Shapes.
        degrees: Azimuth of the camera, ``(batch,)``.
        size: Pixels along each side.
        samples: Rays in each pixel, along each side.

    Returns:
        Floats in [0, 1] of shape ``(batch, 5, size, size)``.
    """
    scale = scale.view(-1, 1, 1)
    origin, rays = _camera(degrees, size * samples)
    to_object, normal = _object(shape, scale, origin, rays)
    sky, wall, floor = _room(origin, rays, shape, scale)
    is_object = to_object.isfinite().to(rays.dtype)
    point = origin + to_object.nan_to_num(posinf=0.0)[..., None] * rays
    brightness = _brightness(point, normal, rays) * is_object
    highlight = _highlight(normal, rays) * is_object
    background = torch.stack([sky, wall, floor], 1) * (1 - is_object[:, None])
    foreground = torch.stack([brightness - highlight, highlight], 1)
    return avg_pool2d(torch.cat([background, foreground], 1), samples)


def _camera(degrees: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Position of the camera ``(batch, 1, 1, 3)`` and unit vectors along its rays.

    The rays have shape ``(batch, num, num, 3)``, with rows from top to bottom.
    """
    origin, ahead, right = _camera_frame(degrees.deg2rad())
    down = torch.linalg.cross(ahead, right)
    centres = (torch.arange(num, device=degrees.device) + 0.5) * 2 / num - 1  # in [-1, 1]
    steps = centres * math.tan(_FIELD_OF_VIEW_RADIANS / 2)
    to_right = steps[:, None] * right[:, None]  # (batch, num, 3)
    to_bottom = steps[:, None] * down[:, None]
    rays = ahead[:, None, None] + to_right[:, None] + to_bottom[:, :, None]
    return origin[:, None, None], normalize(rays, dim=-1)


def _camera_frame(azimuth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Position of the camera and unit vectors ahead and to its right, ``(batch, 3)`` each."""
    sin = azimuth.sin()
    cos = azimuth.cos()
    origin = torch.stack([sin, -cos, torch.full_like(azimuth, _CAMERA_HEIGHT)], -1)
    ahead = normalize(azimuth.new_tensor([0, 0, _TARGET_HEIGHT]) - origin, dim=-1)
    right = torch.stack([cos, sin, torch.zeros_like(azimuth)], -1)
    return origin, ahead, right


def _room(origin: Tensor, rays: Tensor, shape: int, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Brightness of sky, wall and floor along each ray, 0 if the ray meets another of them."""
    level_rays = rays[..., :2]
    wall_distances = (level_rays.sign() * _ROOM_HALF_WIDTH - origin[..., :2]) / level_rays
    to_wall, wall_axis = wall_distances.min(-1)
    to_floor = -origin[..., 2] / rays[..., 2]
    is_floor = (rays[..., 2] < 0) & (to_floor < to_wall)
    point = origin + torch.where(is_floor, to_floor, to_wall)[..., None] * rays
    is_wall = ~is_floor & (point[..., 2] <= _WALL_HEIGHT)
    sky = ~(is_floor | is_wall) * 1.0
    wall = _wall_brightness(point, rays, wall_axis) * is_wall
    return sky, wall, _floor_brightness(point, rays, shape, scale) * is_floor


def _wall_brightness(point: Tensor, rays: Tensor, axis: Tensor) -> Tensor:
    """Brightness of points on the walls; ``axis`` is 0 on a side wall and 1 on the back wall."""
    corner = (point[..., 1] - 0.4).clamp(min=0) * _CORNER_DARKENING
    is_left = rays[..., 0] < 0
    side = torch.where(is_left, _LEFT_WALL_BRIGHTNESS, _RIGHT_WALL_BRIGHTNESS) - corner
    back = 1 - _BACK_WALL_DARKENING * point[..., 0].clamp(min=0)
    return torch.where(axis == 1, back, side)


def _floor_brightness(point: Tensor, rays: Tensor, shape: int, scale: Tensor) -> Tensor:
    """Brightness of points on the floor, in the shadow of the object or not."""
    up = torch.zeros_like(rays)
    up[..., 2] = 1
    to_object, _ = _object(shape, scale, point, _sun(rays).expand_as(rays))
    is_shadow = to_object.isfinite()
    return torch.where(is_shadow, _SHADOW_BRIGHTNESS, _brightness(point, up, rays))


def _sun(like: Tensor) -> Tensor:
    """Unit vector towards the light that casts the shadow."""
    return normalize(like.new_tensor(_SUN_DIRECTION), dim=0)


def _brightness(point: Tensor, normal: Tensor, rays: Tensor) -> Tensor:
    """Light of the lamp, of the camera and from all around, at most 1."""
    to_lamp = rays.new_tensor(_LAMP_POSITION) - point
    distance = to_lamp.norm(dim=-1)
    lamp_cosine = ((normal * to_lamp).sum(-1) / distance).clamp(min=0)
    lamp = lamp_cosine * distance.pow(-_LAMP_DECAY_EXPONENT)
    camera = -(normal * rays).sum(-1)
    return (_AMBIENT_LIGHT + _LAMP_LIGHT * lamp + _CAMERA_LIGHT * camera.clamp(min=0)).clamp(max=1)


def _highlight(normal: Tensor, rays: Tensor) -> Tensor:
    """Share of white where the object faces the sun."""
    sun_cosine = (normal * _sun(rays)).sum(-1)
    return (sun_cosine / _HIGHLIGHT_COSINE).clamp(0, 1) * _HIGHLIGHT_SHARE


def _object(shape: int, scale: Tensor, origin: Tensor, rays: Tensor) -> Surface:
    """First intersection of each ray with the object.

    Args:
        shape: Position of the object's shape in :data:`SHAPES`.
        scale: Size of the object, ``(batch, 1, 1)``.
        origin: Start of each ray, outside of the object, ``(batch, height, width, 3)`` or broadcast
            to it.
        rays: Unit vectors ``(batch, height, width, 3)``.
    """
    half_heights = {
        "cube": _CUBE_HALF_EDGE,
        "cylinder": _CYLINDER_HALF_HEIGHT,
        "sphere": _SPHERE_RADIUS,
        "capsule": _CAPSULE_RADIUS + _CAPSULE_HALF_HEIGHT,
    }
    half_height = half_heights[SHAPES[shape]] * scale
    start = origin.expand_as(rays) - _upwards(half_height)  # the object's centre is at 0
    match SHAPES[shape]:
        case "cube":
            return _cube(start, rays, half_height)
        case "sphere":
            return _ball(start, rays, half_height)
        case "cylinder":
            return _cylinder(start, rays, _CYLINDER_RADIUS * scale, _CYLINDER_HALF_HEIGHT * scale)
        case _:
            return _capsule(start, rays, _CAPSULE_RADIUS * scale, _CAPSULE_HALF_HEIGHT * scale)


def _upwards(height: Tensor) -> Tensor:
    """Vectors (0, 0, height)."""
    zero = torch.zeros_like(height)
    return torch.stack([zero, zero, height], -1)


def _cylinder(start: Tensor, rays: Tensor, radius: Tensor, half_height: Tensor) -> Surface:
    top = _disc(start, rays, radius, half_height)
    bottom = _disc(start, rays, radius, -half_height)
    return _nearest(_mantle(start, rays, radius, half_height), top, bottom)


def _capsule(start: Tensor, rays: Tensor, radius: Tensor, half_height: Tensor) -> Surface:
    top = _ball(start - _upwards(half_height), rays, radius)
    bottom = _ball(start - _upwards(-half_height), rays, radius)
    return _nearest(_mantle(start, rays, radius, half_height), top, bottom)


def _nearest(*surfaces: Surface) -> Surface:
    """The surface that each ray meets first."""
    distances = torch.stack([distance for distance, _ in surfaces], -1)
    normals = torch.stack([normal for _, normal in surfaces], -2)  # (…, surfaces, 3)
    distance, nearest = distances.min(-1)
    row = nearest[..., None, None].expand(*nearest.shape, 1, 3)
    return distance, normals.gather(-2, row)[..., 0, :]


def _cube(start: Tensor, rays: Tensor, half_edge: Tensor) -> Surface:
    """An upright cube: a ray is inside between the last entry and the first exit of three slabs."""
    to_low = (-half_edge[..., None] - start) / rays
    to_high = (half_edge[..., None] - start) / rays
    distance, axis = torch.minimum(to_low, to_high).max(-1)
    meets = (distance <= torch.maximum(to_low, to_high).amin(-1)) & (distance > 0)
    normal = -rays.sign() * one_hot(axis, 3)
    return distance.masked_fill(~meets, math.inf), normal


def _ball(start: Tensor, rays: Tensor, radius: Tensor) -> Surface:
    """A ball around 0: the smaller root of a quadratic equation in the distance."""
    along = (rays * start).sum(-1)
    discriminant = along.square() - start.square().sum(-1) + radius.square()
    distance = -along - discriminant.clamp(min=0).sqrt()
    meets = (discriminant >= 0) & (distance > 0)
    normal = (start + distance[..., None] * rays) / radius[..., None]
    return distance.masked_fill(~meets, math.inf), normal


def _mantle(start: Tensor, rays: Tensor, radius: Tensor, half_height: Tensor) -> Surface:
    """The side of an upright cylinder."""
    distance, meets_circle = _circle(start[..., :2], rays[..., :2], radius)
    point = start + distance[..., None] * rays
    meets = meets_circle & (point[..., 2].abs() <= half_height) & (distance > 0)
    normal = point * point.new_tensor([1, 1, 0]) / radius[..., None]
    return distance.masked_fill(~meets, math.inf), normal


def _circle(start: Tensor, rays: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to a circle in the plane, the smaller root of a quadratic, and if it is real."""
    square = rays.square().sum(-1).clamp(min=1e-9)
    along = (rays * start).sum(-1)
    outside = start.square().sum(-1) - radius.square()
    discriminant = along.square() - square * outside
    distance = (-along - discriminant.clamp(min=0).sqrt()) / square
    return distance, discriminant >= 0


def _disc(start: Tensor, rays: Tensor, radius: Tensor, height: Tensor) -> Surface:
    """A level disc at ``height``, whose normal points away from height 0."""
    distance = (height - start[..., 2]) / rays[..., 2]
    point = start + distance[..., None] * rays
    meets = (point[..., :2].square().sum(-1) <= radius.square()) & (distance > 0)
    normal = torch.zeros_like(rays)
    normal[..., 2] = height.sign()
    return distance.masked_fill(~meets, math.inf), normal
