"""The images of a STAC item collection, on disk or at an address."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

from pydantic import TypeAdapter
from typing_extensions import NotRequired, TypedDict

from data.documents import parse_document, read_document
from generate.errors import GenerateError
from generate.region.remote import fetched, is_address

MOST_PAGES = 10_000  # of a search
FIX = "Expected a STAC item collection."


class Asset(TypedDict):
    """The fields that are read."""

    href: str
    roles: NotRequired[list[str]]


class Link(TypedDict):
    """The fields that are read."""

    rel: str
    href: str
    method: NotRequired[str]


class Item(TypedDict):
    """The fields that are read."""

    id: str
    assets: dict[str, Asset]
    links: NotRequired[list[Link]]


class Collection(TypedDict):
    """The fields that are read."""

    features: list[Item]
    links: NotRequired[list[Link]]


COLLECTIONS = TypeAdapter(Collection)


def assets_on_disk(path: Path) -> list[str]:
    """For every item its image, as it is written there: relative to the file, or an address."""
    found = read_document(path, COLLECTIONS, FIX, GenerateError)
    return sorted(_image(item, str(path)) for item in found["features"])


def assets_online(address: str) -> list[str]:
    """The addresses of the images of all items; those of a search on all of its pages.

    Raises:
        GenerateError: the server does not answer; it is no collection; an image is to be read otherwise than by http.
    """
    found: list[str] = []
    for page, here in _pages(address):
        for item in page["features"]:
            # A relative reference is relative to the item, which may be kept elsewhere than in this collection.
            own = next((link["href"] for link in item.get("links", []) if link["rel"] == "self"), here)
            found.append(urljoin(urljoin(here, own), _image(item, here)))
    if strange := [one for one in found if not is_address(one)]:
        raise GenerateError(f"{address}: {strange[0]} is not an address of http or https. Download these images.")
    return sorted(found)


def _pages(address: str) -> Iterator[tuple[Collection, str]]:
    """The pages of a collection, each with its address."""
    seen: set[str] = set()
    while address:
        if address in seen or len(seen) == MOST_PAGES:
            raise GenerateError(f"{address}: its pages do not end. Save the items to a file, and name that.")
        seen.add(address)
        page = parse_document(fetched(address), address, COLLECTIONS, FIX, GenerateError)
        yield page, address
        following = next((link for link in page.get("links", []) if link["rel"] == "next"), None)
        if following and following.get("method", "GET").upper() != "GET":
            raise GenerateError(f"{address}: its next page is to be asked for by POST. Save the items to a file.")
        address = urljoin(address, following["href"]) if following else ""


def _image(item: Item, where: str) -> str:
    """The asset `visual`, else the only one with the role data."""
    assets = item["assets"]
    data = [asset for asset in assets.values() if "data" in asset.get("roles", [])]
    asset = assets.get("visual") or (data[0] if len(data) == 1 else None)
    if asset is None:
        raise GenerateError(f"{where}: item {item['id']} has no asset visual, and not one asset with the role data.")
    if "://" in asset["href"] and not is_address(asset["href"]):
        raise GenerateError(f"{where}: {asset['href']} is not an address of http or https. Download these images.")
    return asset["href"]
