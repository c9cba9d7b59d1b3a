"""Pictures of the page of the service for the documentation, from releases that it serves.

    python -m docs.generate.screenshots two_tower=DIRECTORY item_cf=DIRECTORY --user 22

The second release answers the first picture: of the two, ItemCF has reasons with titles.
"""

import argparse
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.serving.browsing import ARGUMENTS, CHROMIUM
from tests.serving.running import running

IMAGES = Path(__file__).parents[1] / "images"
# Pixels of a picture for one of the page: sharp on dense screens, and below 250 KB.
SCALE = 1.5
# Requests before a picture, so that its latencies are those of a service that runs.
WARM = 3


class Picture(NamedTuple):
    """One picture.

    Attributes:
        name: of its file.
        address: of the page, after the host.
        width, height: of the window.
        scheme: light or dark.
        ready: selector of an element that is there when the view is.
        before: steps before the picture.
    """

    name: str
    address: str
    width: int
    height: int
    scheme: str = "light"
    ready: str = ".row"
    before: Callable[[Page], Any] = lambda page: None


def pictures(user: str, release: str) -> list[Picture]:
    """All pictures of the documentation."""
    return [
        Picture("page.png", f"#user={user}&release={release}", 1200, 760),
        Picture("page-compare.png", f"#view=compare&user={user}&k=20", 1200, 760, "dark"),
        Picture("page-map.png", f"#view=map&user={user}", 1200, 860, ready=".legend", before=_select),
        Picture("page-evaluation.png", "#view=evaluation", 1200, 900, ready="td.best"),
        Picture("page-phone.png", f"#user={user}&release={release}", 390, 844),
    ]


def _select(page: Page) -> None:
    """Select the most popular item of the map."""
    page.wait_for_function("async () => (await import('/page/map.js')).drawn().plane !== null")
    item = page.evaluate("async () => (await import('/page/map.js')).drawn().plane.points[0].id")
    page.evaluate("item => { location.hash += `&item=${item}`; }", item)
    page.wait_for_selector("#map-side .row")


def take(browser: Browser, url: str, picture: Picture) -> None:
    """Take one picture."""
    size = {"width": picture.width, "height": picture.height}
    context = browser.new_context(viewport=size, color_scheme=picture.scheme, device_scale_factor=SCALE)
    page = context.new_page()
    for _ in range(WARM):
        page.goto(f"{url}/{picture.address}")
        page.reload()
        page.wait_for_selector(picture.ready)
        page.wait_for_load_state("networkidle")
    picture.before(page)
    page.wait_for_load_state("networkidle")
    shot = Image.open(BytesIO(page.screenshot()))
    # A page has few colours: a third of the bytes.
    shot.quantize(256, dither=Image.Dither.NONE).save(IMAGES / picture.name, optimize=True)
    context.close()


def main() -> None:
    """Take all pictures of the given releases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("releases", nargs="+", help="NAME=DIRECTORY, as `tfrecall serve` takes them")
    parser.add_argument("--user", required=True, help="user of the pictures")
    given = parser.parse_args()
    names = [release.partition("=")[0] for release in given.releases]
    with running(*given.releases) as service, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for picture in pictures(given.user, names[-1]):
            take(browser, service.url, picture)
        browser.close()


if __name__ == "__main__":
    main()
