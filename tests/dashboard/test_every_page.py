"""Every page, in light on a desk and in dark on a phone: it fits, and everybody can use it.

Pictures of them lie in .cache/screens afterwards, to be looked at.
"""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from conftest import ROOT

from .conftest import Screen, Ward, screen_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PICTURES = ROOT / ".cache" / "screens"
AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
_TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def addresses(ward: Ward) -> dict[str, str]:
    return {
        "now": "/",
        "studies": "/studies",
        "study": f"/studies/{ward.series.study_instance_uid}",
        "jobs": "/jobs",
        "job": f"/jobs/{ward.job_id}",
        "deliveries": "/deliveries",
        "dead-letters": "/deliveries?state=dead",
        "destinations": "/destinations",
        "models": "/models",
        "rules": "/rules",
        "users": "/users",
        "audit": "/audit",
        "account": "/password",
        "nothing": "/jobs/none",
    }


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_it_fits_and_everybody_can_use_it(
    chromium: Browser, ward: Ward, scheme: str, width: int
) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with screen_of(chromium, ward.url, width=width, scheme=scheme) as screen:
        screen.open("/login")
        found = faults(screen, "login")
        picture(screen, f"login-{scheme}-{width}")
        screen.log_in("eve")
        for name, path in addresses(ward).items():
            screen.open(path)
            found += faults(screen, name)
            picture(screen, f"{name}-{scheme}-{width}")
        assert "\n".join(found) == ""
        assert screen.elsewhere() == []
        # The one that is not there is 404, which Chromium calls an error.
        assert [each for each in screen.errors if "404" not in each] == []


def faults(screen: Screen, name: str) -> list[str]:
    """What is wider than the window, and what axe finds."""
    too_wide = screen.page.evaluate(_TOO_WIDE)
    found = Axe().run(screen.page, options=AXE).response["violations"]
    return [
        *([f"{name}: {too_wide} px too wide"] if too_wide > 0 else []),
        *(f"{name}: {each['id']}: {each['nodes'][0]['html']}" for each in found),
    ]


def picture(screen: Screen, name: str) -> None:
    screen.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
