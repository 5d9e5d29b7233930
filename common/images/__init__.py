"""Images that domains boot from: published in a folder that every host sees, checked before a start (docs/images.md)."""

from common.images.cache import Cache
from common.images.manifest import ImageFault, Manifest
from common.images.repository import Draft, Repository
from common.images.resolve import Resolved, image_of, resolve

__all__ = ["Cache", "Draft", "ImageFault", "Manifest", "Repository", "Resolved", "image_of", "resolve"]
