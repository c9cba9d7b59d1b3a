"""Engines that run one function on many parts: this machine's processes, Apache Beam, Ray."""

from tfrecall.engines.base import Engine
from tfrecall.engines.beam import Beam
from tfrecall.engines.local import Local
from tfrecall.engines.ray import Ray
from tfrecall.engines.registry import ENGINES, engine_of

__all__ = ["ENGINES", "Beam", "Engine", "Local", "Ray", "engine_of"]
