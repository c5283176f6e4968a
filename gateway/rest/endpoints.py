"""All that answers over plain HTTP, put together from the running parts."""

from importlib.metadata import version

from starlette.routing import Route

from gateway.access.auth import user_of
from gateway.config import Config
from gateway.rest.gallery import GalleryRoutes
from gateway.rest.pages import PageRoutes
from gateway.rest.reference import reference_routes
from gateway.rest.routes import Rest
from gateway.rest.uploads import UploadLimits, UploadRoutes
from gateway.services import Services


def all_routes(services: Services, config: Config) -> list[Route]:
    """The routes of one gateway; the gallery and uploads need a store on disk."""
    rest = Rest(
        services.sessions,
        services.artifacts,
        services.signer,
        services.healthy,
        services.obstacle,
        services.entrance.access,
        body_bytes=config.wire.message_bytes,
    )
    routes = [
        *rest.routes(),
        *services.streams.routes(),
        *services.metrics.routes(),
        *reference_routes(),
        *PageRoutes().routes(),
    ]
    if services.store is None:
        return routes
    gallery = GalleryRoutes(
        services.store.agents,
        services.artifacts,
        services.signer,
        owner_of=user_of,
        version=version("hatchery"),
    )
    limits = UploadLimits(bytes=config.hatch.upload_bytes, pixels=config.hatch.upload_pixels)
    shares = services.entrance.shares
    uploads = UploadRoutes(services.store.uploads, services.artifacts, limits, owner_of=user_of, shares=shares)
    return [*routes, *gallery.routes(), *uploads.routes()]
